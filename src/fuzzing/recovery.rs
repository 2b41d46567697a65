//! Segments that were not closed, and what recovery makes of them.

use byteorder::{ByteOrder, LittleEndian as LE};

use crate::Timestamp;
use crate::format::frame::{self, Kind, Place};
use crate::format::header::{self, Header, Seal, Watermark};
use crate::fuzzing::frames::check_frames;
use crate::fuzzing::log::draw_segments;
use crate::fuzzing::mend::{mend_log, mend_page};
use crate::fuzzing::{Input, MAX_INPUT, MEND, SAME_BOOT, reference};
use crate::segment::recover::{decide, scan};
use crate::segment::walk::Frames;

/// Bytes of zero behind the image of a segment.
const ROOM: usize = 1024;

/// Flags (1 byte), then the image of a segment file, cut off anywhere: some of what is missing is zero.
pub fn segment_recover(data: &[u8]) {
    let Some((flags, image)) = data.split_first() else { return };
    let mut image = image[..image.len().min(MAX_INPUT)].to_vec();
    if flags & MEND != 0 {
        mend_page(&mut image);
    }
    let Ok(head) = Header::decode(&image) else { return };
    let bytes = (image.len() + ROOM).next_multiple_of(8).max(header::PAGE);
    image.resize(bytes.min(head.capacity as usize), 0);
    if flags & MEND != 0 {
        mend_log(&mut image[header::PAGE..], head.salt, head.base);
    }
    let (page, log) = image.split_at_mut(header::PAGE);
    Seal::decode(page, &head);
    let watermark = Watermark::decode(page, &head).map_or(0, |mark| mark.durable);
    let frames = Frames { bytes: log, base: head.base, salt: head.salt };
    check_frames(frames);
    let first = scan(frames);
    let proven = first.proven.max(watermark).max(head.previous_durable);
    let same_boot = flags & SAME_BOOT != 0;
    let decision = decide(std::slice::from_ref(&first), proven, same_boot);

    assert!(proven <= decision.end, "the log ends below what is proven durable");
    assert!(decision.end.is_multiple_of(8) && decision.end <= head.offset(head.capacity));
    assert!(decision.torn_bytes <= first.written.max(first.end) - first.base);
    let mut behind = head.base;
    for range in &decision.corrupt {
        assert!(behind <= range.start && range.start < range.end, "corrupt ranges are ordered and apart");
        behind = range.end;
    }
    // Recovery that a crash interrupts is done again: it must come to the same.
    for range in &decision.void {
        let covers = range.end - range.start;
        assert!(
            (frame::HEADER as u64..=frame::MAX_FRAME as u64).contains(&covers),
            "a void mark fits its claim"
        );
        let place = Place { salt: head.salt, offset: range.start };
        let mark = frame::mark(Kind::Void, (range.end - range.start) as usize, &[], Timestamp::MIN, place);
        log[(range.start - head.base) as usize..][..mark.len()].copy_from_slice(&mark);
    }
    let end = ((decision.end - head.base) as usize).min(log.len());
    log[end..].fill(0);
    let second = scan(Frames { bytes: log, base: head.base, salt: head.salt });
    let again = decide(&[second], proven, same_boot);
    assert!(proven <= again.end, "recovery done twice forgets what is proven durable");
    // A damaged commit word may look like a claim. Whether one is believed depends on what lies behind it, so once there is
    // damage, what the cut leaves may be read otherwise.
    if decision.corrupt.is_empty() {
        assert_eq!((again.end, again.torn_bytes), (decision.end, 0), "recovery done twice cuts twice");
        assert!(again.corrupt.is_empty() && again.void.is_empty());
    }
}

/// Flags (1 byte), how far durability is proven (2), then segments: what recovery decides is what its table says, worked out
/// slowly from the words of `docs/design.md` and `docs/format.md`.
pub fn recover_diff(data: &[u8]) {
    let Some((head, rest)) = data.split_first_chunk::<3>() else { return };
    let same_boot = head[0] & SAME_BOOT != 0;
    let segments = draw_segments(&mut Input(rest), head[0] & MEND != 0);
    let scans: Vec<_> = segments.iter().map(|segment| scan(segment.frames())).collect();
    let witnessed = scans.iter().map(|scan| scan.proven).max().unwrap_or(0);
    assert_eq!(witnessed, reference::witnessed(&segments));
    // A checkpoint or a watermark may know of more.
    let known = u64::from(LE::read_u16(&head[1..])) << 3;
    let proven = witnessed.max(if known < 1 << 13 { known } else { 0 });
    assert_eq!(decide(&scans, proven, same_boot), reference::decide(&segments, proven, same_boot));
}
