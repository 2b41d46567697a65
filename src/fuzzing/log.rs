//! Frames and segments that an input asks for, as a writer would lay them down.

use byteorder::{ByteOrder, LittleEndian as LE};

use crate::format::frame::{self, Checked, HEADER, Header as FrameHeader, Kind, Place, Word};
use crate::fuzzing::Input;
use crate::fuzzing::mend::mend_log;
use crate::segment::walk::Frames;
use crate::vfs::region::CLAIMED;
use crate::{Level, Record, Timestamp};

/// Writes the frame that `input` asks for behind `bytes`, and notes where it begins.
pub(super) fn write_frame(input: &mut Input<'_>, bytes: &mut Vec<u8>, starts: &mut Vec<usize>, base: Place) {
    let start = bytes.len();
    let place = Place { offset: base.offset + start as u64, ..base };
    let ingest = Timestamp::from_nanos(i64::from(input.byte()) << 32);
    let mut mark = |kind, length: usize, payload: &[u8]| {
        bytes.extend(frame::mark(kind, length, payload, ingest, place));
        bytes.resize((start + length).next_multiple_of(8), 0);
        starts.push(start);
    };
    match input.byte() % 8 {
        0 => mark(Kind::Void, HEADER + input.short(), &[]),
        1 => mark(Kind::Lost, HEADER + input.short(), &[]),
        2 => {
            let mut epoch = [0; 16];
            epoch.fill_with(|| input.byte());
            mark(Kind::Epoch, frame::EPOCH_BYTES, &epoch);
        }
        3 => {
            let length = HEADER + input.short();
            bytes.extend((length as u32 | CLAIMED).to_le_bytes());
            bytes.resize((start + length).next_multiple_of(8), input.byte());
        }
        4 => {
            bytes.resize(start + HEADER, 0);
            for _ in 0..input.byte() % 4 {
                write_record(input, bytes, starts, base, ingest);
            }
            let header =
                FrameHeader { word: Word::new(Kind::Batch, bytes.len() - start), witness: 0, ingest };
            bytes[start..start + HEADER].copy_from_slice(&header.encode(place, 0));
            starts.push(start);
        }
        _ => write_record(input, bytes, starts, base, ingest),
    }
}

pub(super) fn write_record(
    input: &mut Input<'_>,
    bytes: &mut Vec<u8>,
    starts: &mut Vec<usize>,
    base: Place,
    ingest: Timestamp,
) {
    let flags = input.byte();
    let service = (flags & 1 != 0).then(|| input.text());
    let texts: Vec<_> = (0..flags >> 5).map(|_| (input.text(), input.text())).collect();
    let attributes: Vec<_> = texts.iter().map(|(key, value)| (&key[..], &value[..])).collect();
    let length = input.short();
    let record = Record {
        body: &vec![input.byte(); length],
        event_time: (flags & 2 != 0).then(|| Timestamp::from_nanos(i64::from(input.byte()))),
        level: Level::from_repr(flags >> 2 & 7),
        service: service.as_deref(),
        attributes: &attributes,
    };
    let checked = Checked::new(&record).expect("within the limits");
    let start = bytes.len();
    bytes.resize(start + checked.word().span(), 0);
    let place = Place { offset: base.offset + start as u64, ..base };
    let witness = u32::from(input.byte());
    checked.write(place, witness, ingest, |at, piece| {
        bytes[start + at..][..piece.len()].copy_from_slice(piece);
    });
    starts.push(start);
}

/// A segment that was not closed: what stands behind its page.
pub(super) struct Segment {
    pub(super) base: u64,
    pub(super) salt: u64,
    pub(super) log: Vec<u8>,
}

impl Segment {
    pub(super) fn frames(&self) -> Frames<'_> {
        Frames { bytes: &self.log, base: self.base, salt: self.salt }
    }
}

/// Segments one behind another, damaged: how many, frames for each, then edits. `mend` makes the frames' checksums right
/// again, as far as their lengths lead to them.
pub(super) fn draw_segments(input: &mut Input<'_>, mend: bool) -> Vec<Segment> {
    let mut base = u64::from(input.byte()) << 3;
    let mut segments: Vec<Segment> = Vec::new();
    for number in 0..=input.byte() % 3 {
        let place = Place { salt: (u64::from(number) + 1) << 32, offset: base };
        let (mut log, mut starts) = (Vec::new(), Vec::new());
        for _ in 0..input.byte() % 8 {
            write_frame(input, &mut log, &mut starts, place);
        }
        let written = log.len() as u64;
        // Mostly the next begins where this one ends.
        let hole = input.byte();
        log.resize(log.len() + 8 * usize::from(input.byte() % 8), 0);
        segments.push(Segment { base, salt: place.salt, log });
        base += written + if hole < 192 { 0 } else { 8 * u64::from(hole & 15) };
    }
    while let Some(edit) = input.take(4) {
        let Some(segment) = segments.get_mut(usize::from(edit[3] & 3)) else { continue };
        let at = usize::from(LE::read_u16(edit));
        let bytes = segment.log.len().max(1);
        let rest = segment.log.get_mut(at % bytes..).unwrap_or_default();
        let length = rest.len().min(usize::from(edit[2]));
        match edit[3] >> 2 & 3 {
            0 => rest.iter_mut().take(1).for_each(|byte| *byte ^= edit[2]),
            1 => rest[..length].fill(0),
            2 => rest[..length].fill(edit[3]),
            _ => rest.fill(0),
        }
    }
    let bases: Vec<u64> = segments.iter().skip(1).map(|segment| segment.base).collect();
    for (segment, next) in segments.iter_mut().zip(bases) {
        // Behind the next segment's base there is no frame.
        segment.log.truncate((next - segment.base) as usize);
    }
    if mend {
        for segment in &mut segments {
            mend_log(&mut segment.log, segment.salt, segment.base);
        }
    }
    segments
}
