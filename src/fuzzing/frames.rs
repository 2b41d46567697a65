//! A frame, and the frames of a log.

use byteorder::{ByteOrder, LittleEndian as LE};

use crate::format::frame::{self, Bad, Frame, HEADER, Header, Kind, Place};
use crate::format::index::Index;
use crate::fuzzing::log::write_frame;
use crate::fuzzing::mend::mend_frame;
use crate::fuzzing::{Input, MAX_INPUT, MEND};
use crate::segment::extend;
use crate::segment::walk::{Found, Frames, is_boundary};
use crate::{Level, Timestamp};

/// Bytes that `frame_parse` looks at.
const SHORT: usize = 256;

/// Flags (1 byte), salt (8), offset (8), then the bytes that stand there.
pub fn frame_parse(data: &[u8]) {
    let Some((flags, rest)) = data.split_first() else { return };
    let Some((place, bytes)) = rest.split_first_chunk::<16>() else { return };
    let place = place_of(place);
    let mut copy = [0; SHORT];
    let length = bytes.len().min(SHORT);
    copy[..length].copy_from_slice(&bytes[..length]);
    let bytes = &mut copy[..length];
    if flags & MEND != 0 {
        mend_frame(bytes, place);
    }
    match frame::parse(bytes, place) {
        Ok(found) => {
            look_at(&found);
            assert!(HEADER <= found.header.word.length() && found.header.word.length() <= bytes.len());
            assert_eq!(frame::glance(bytes, place), Some(found), "a glance sees what is sound");
            assert_eq!(Header::decode(bytes, place), Some(found.header));
            assert_eq!(Header::of_checked(bytes), found.header);
            // Its own place only: I13.
            let elsewhere = Place { offset: place.offset ^ 8, ..place };
            assert!(frame::parse(bytes, elsewhere).is_err(), "sound at another place");
            bytes[usize::from(*flags >> 1) % 16] ^= 1;
            assert!(frame::parse(bytes, place).is_err(), "an altered header is sound");
        }
        Err(Bad::Claimed(covered)) => {
            assert!(HEADER <= covered && covered <= bytes.len() && covered.is_multiple_of(8));
        }
        Err(Bad::Empty) => assert!(bytes.iter().take(4).all(|byte| *byte == 0)),
        Err(Bad::Invalid) => {}
    }
}

/// Salt (8 bytes), base (8), then the bytes of a log, as they are.
pub fn frame_raw(data: &[u8]) {
    let Some((place, bytes)) = data.split_first_chunk::<16>() else { return };
    let Place { salt, offset: base } = place_of(place);
    let bytes = &bytes[..bytes.len().min(MAX_INPUT) & !7];
    for at in (0..bytes.len()).step_by(8) {
        if let Ok(frame) = frame::parse(&bytes[at..], Place { salt, offset: base + at as u64 }) {
            look_at(&frame);
        }
    }
    check_frames(Frames { bytes, base, salt });
}

/// Salt (8 bytes), base (8), a list of frames to write, then edits to them; the frames' checksums are made right again.
pub fn frame_fix(data: &[u8]) {
    let Some((place, program)) = data.split_first_chunk::<16>() else { return };
    let Place { salt, offset: base } = place_of(place);
    let mut input = Input(program);
    let mut bytes = Vec::new();
    let mut starts = Vec::new();
    for _ in 0..input.byte() % 32 {
        write_frame(&mut input, &mut bytes, &mut starts, Place { salt, offset: base });
    }
    while let Some(edit) = input.take(3).filter(|_| !bytes.is_empty()) {
        let at = usize::from(LE::read_u16(edit)) % bytes.len();
        bytes[at] ^= edit[2];
    }
    // From the last to the first: an altered length may make a frame cover those behind it.
    for &at in starts.iter().rev() {
        mend_frame(&mut bytes[at..], Place { salt, offset: base + at as u64 });
    }
    check_frames(Frames { bytes: &bytes, base, salt });
}

/// Any salt; a base that a log can have.
pub(super) fn place_of(bytes: &[u8; 16]) -> Place {
    Place { salt: LE::read_u64(bytes), offset: LE::read_u64(&bytes[8..]) >> 3 & !7 }
}

/// Reads every part of a frame.
fn look_at(frame: &Frame<'_>) {
    match frame.kind() {
        Kind::Record => {
            let fields = frame.record();
            let meta = frame.payload.len() - frame::body(frame.header.word, frame.payload).len();
            let attributes: usize = fields.meta.map_or(0, |meta| meta.attributes().count());
            assert!(3 * attributes <= meta && fields.level.is_none_or(|level| Level::ALL.contains(&level)));
        }
        Kind::Epoch => assert!(frame.epoch() <= frame.epoch()),
        Kind::Batch | Kind::Void | Kind::Lost => assert!(frame.payload.is_empty()),
    }
}

/// Walks a log: every byte is passed once, and its index comes back from a footer.
pub(super) fn check_frames(frames: Frames<'_>) {
    let mut at = frames.base;
    for found in frames.walk(frames.base) {
        let end = match found {
            Found::Frame(start, frame) => {
                assert_eq!(start, at);
                look_at(&frame);
                start + frame.header.word.step() as u64
            }
            Found::Damage(range, _) => {
                assert_eq!(range.start, at);
                range.end
            }
        };
        assert!(at < end && end <= frames.end(), "a walk goes forward, within the log");
        at = end;
    }
    assert_eq!(at, frames.end());
    assert!(is_boundary(frames, frames.base, frames.end()));
    let mut index = Index::new(frames.base, Timestamp::MIN);
    extend(&mut index, frames);
    index.reach(frames.end());
    assert_eq!(Index::decode(&index.encode(frames.salt), frames.salt).as_ref(), Some(&index));
}
