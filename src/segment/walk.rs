//! From frame to frame over a segment's bytes, past damage where there is any. Pure.

use std::ops::Range;

use crate::format::frame::{self, ALIGN, Bad, Checker, Frame, Header, Kind, Place, Word};
use crate::mutants::{self, Mutant};

/// Where a record lies among others, and its word, so that who visits it need not look there to know how long it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spot {
    /// In units of [`ALIGN`]: a segment takes less than 32 GiB.
    units: u32,
    pub(crate) word: Word,
}

impl Spot {
    /// `at`: bytes behind wherever it is counted from.
    #[inline]
    pub(crate) fn new(at: u64, word: Word) -> Spot {
        Spot { units: (at / ALIGN as u64) as u32, word }
    }

    #[inline]
    pub(crate) fn at(self) -> usize {
        self.units as usize * ALIGN
    }
}

/// The frames of a segment: its bytes behind the first page, as far as they count.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frames<'a> {
    pub(crate) bytes: &'a [u8],
    /// Offset of `bytes[0]`.
    pub(crate) base: u64,
    pub(crate) salt: u64,
}

impl<'a> Frames<'a> {
    /// Offset behind the last byte.
    pub(crate) fn end(&self) -> u64 {
        self.base + self.bytes.len() as u64
    }

    #[inline]
    fn at(self, offset: u64) -> &'a [u8] {
        &self.bytes[(offset - self.base) as usize..]
    }

    #[inline]
    fn place(&self, offset: u64) -> Place {
        Place { salt: self.salt, offset }
    }

    /// Reads the frame at `offset`, which lies in `base..end` and at a multiple of 8.
    #[inline(always)]
    pub(crate) fn parse(&self, offset: u64) -> Result<Frame<'a>, Bad> {
        frame::parse(self.at(offset), self.place(offset))
    }

    /// The same where all before `known` was verified earlier: such a frame's payload is only checked for its form.
    #[inline(always)]
    pub(crate) fn parse_known(&self, offset: u64, known: u64) -> Result<Frame<'a>, Bad> {
        if offset < known {
            return frame::glance(self.at(offset), self.place(offset)).ok_or(Bad::Invalid);
        }
        self.parse(offset)
    }

    /// The header of the frame at `offset`, its payload unchecked.
    #[inline]
    pub(crate) fn header(&self, offset: u64) -> Option<Header> {
        Header::decode(self.at(offset), self.place(offset))
    }

    /// The header of the frame at `offset`, which was checked before.
    #[inline]
    pub(crate) fn checked(&self, offset: u64) -> Header {
        Header::of_checked(self.at(offset))
    }

    /// Goes over sound records, from one that may begin at `offset` to the last that begins before `until`, `most` at the most, and
    /// notes where they begin behind `origin`. Returns the offset behind them; where those below `known` were verified before, as for [`parse_known`](Frames::parse_known), it stops there at the latest.
    pub(crate) fn records(
        self,
        offset: u64,
        until: u64,
        known: u64,
        most: usize,
        origin: u64,
        spots: &mut Vec<Spot>,
    ) -> u64 {
        if offset < known {
            return self.records_by(offset, until.min(known), most, origin, spots, frame::glance_record);
        }
        let checker = Checker::default();
        self.records_by(offset, until, most, origin, spots, |bytes, place| checker.record(bytes, place))
    }

    // A function of its own: a scan stays in this loop, and what it needs stays in registers.
    #[inline(never)]
    fn records_by(
        self,
        offset: u64,
        until: u64,
        most: usize,
        origin: u64,
        spots: &mut Vec<Spot>,
        check: impl Fn(&[u8], Place) -> Option<Word>,
    ) -> u64 {
        let (bytes, before) = (self.at(offset), offset - origin);
        let until = bytes.len().min(until.saturating_sub(offset) as usize);
        let (mut at, mut left) = (0, most);
        while at < until && 0 < left {
            let Some(word) = check(&bytes[at..], self.place(offset + at as u64)) else { break };
            spots.push(Spot::new(before + at as u64, word));
            at += word.span();
            left -= 1;
        }
        offset + at as u64
    }

    /// The frames from `offset` on by their headers alone, payloads checked for no more than their form, past stretches
    /// without one.
    pub(crate) fn glances(self, offset: u64) -> impl Iterator<Item = (u64, Frame<'a>)> {
        let mut at = offset;
        let mut budget = self.budget();
        std::iter::from_fn(move || {
            while at < self.end() {
                if let Some(frame) = frame::glance(self.at(at), self.place(at)) {
                    let offset = at;
                    at += frame.header.word.step() as u64;
                    return Some((offset, frame));
                }
                at = self.resync_within(at + ALIGN as u64, &mut budget)?;
            }
            None
        })
    }

    /// The first valid frame at or after `offset`.
    ///
    /// A frame is valid only at its own place under its segment's salt, so one is enough: neither stale
    /// bytes nor a payload that looks like a segment can pass for it. Work is linear: see [`budget`](Frames::budget).
    pub(crate) fn resync(&self, offset: u64) -> Option<u64> {
        self.resync_within(offset, &mut self.budget())
    }

    /// Bytes that checksums found wrong may cover. Damaged frames that do not overlap come to the length of the log
    /// at most; headers made to overlap, which promise much and hold nothing, are no longer followed beyond this.
    fn budget(&self) -> usize {
        4 * self.bytes.len() + (4 << 20)
    }

    fn resync_within(&self, offset: u64, budget: &mut usize) -> Option<u64> {
        let mut at = offset.next_multiple_of(ALIGN as u64);
        while at + frame::HEADER as u64 <= self.end() {
            let bytes = self.at(at);
            let blank = bytes[..8] == [0; 8];
            if blank && mutants::on(Mutant::ZeroEndsLog) {
                return None;
            }
            if !blank && let Some(header) = self.header(at) {
                *budget = budget.checked_sub(header.word.length())?;
                if frame::parse(bytes, self.place(at)).is_ok() {
                    return Some(at);
                }
            }
            at += ALIGN as u64;
        }
        None
    }

    /// Every frame from `offset` on, and every stretch that holds none. No claim is open in what is published, so what looks like
    /// one is damage of no more than its own frame.
    pub(crate) fn walk(self, offset: u64) -> Walk<'a> {
        Walk { frames: self, at: offset, budget: self.budget(), claims: false, bodies: true }
    }

    /// The same where a writer may have died: what a claim covers is passed over.
    pub(crate) fn walk_unsettled(self, offset: u64) -> Walk<'a> {
        Walk { claims: true, ..self.walk(offset) }
    }

    /// The same where a process died and the machine did not: all it committed is whole, so records count by their headers.
    pub(crate) fn walk_committed(self, offset: u64) -> Walk<'a> {
        Walk { bodies: false, ..self.walk_unsettled(offset) }
    }
}

/// What a walk comes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    /// A valid frame, and its offset.
    Frame(u64, Frame<'a>),
    /// No valid frame: why, and the stretch up to the next one, or to the end of the bytes.
    Damage(Range<u64>, Bad),
}

/// An iterator over [`Found`].
#[derive(Debug, Clone)]
pub(crate) struct Walk<'a> {
    frames: Frames<'a>,
    at: u64,
    /// What is left of [`Frames::budget`].
    budget: usize,
    /// Whether claims count.
    claims: bool,
    /// Whether the checksums of records are looked at.
    bodies: bool,
}

impl<'a> Iterator for Walk<'a> {
    type Item = Found<'a>;

    #[inline]
    fn next(&mut self) -> Option<Found<'a>> {
        let at = self.at;
        if self.frames.end() <= at {
            return None;
        }
        let parsed = match self.glance(at) {
            Some(frame) => Ok(frame),
            None => self.frames.parse(at),
        };
        match parsed {
            Ok(frame) => {
                self.at = at + frame.header.word.step() as u64;
                Some(Found::Frame(at, frame))
            }
            Err(bad) => {
                self.at = self.after(at, bad);
                Some(Found::Damage(at..self.at, bad))
            }
        }
    }
}

impl<'a> Walk<'a> {
    /// The record at `at` by its header, where that is enough.
    #[inline]
    fn glance(&self, at: u64) -> Option<Frame<'a>> {
        if self.bodies {
            return None;
        }
        frame::glance(self.frames.at(at), self.frames.place(at)).filter(is_record)
    }

    /// Where the walk goes on behind a place without a frame.
    fn after(&mut self, at: u64, bad: Bad) -> u64 {
        let end = self.frames.end();
        let mut invalid = at;
        if let Bad::Claimed(bytes) = bad
            && self.claims
            && !mutants::on(Mutant::BatchByRecords)
        {
            // What a claim covers is its writer's, finished records of an unfinished batch included.
            let behind = at + bytes as u64;
            if behind == end || !matches!(self.frames.parse(behind), Err(Bad::Invalid)) {
                return behind;
            }
            invalid = behind;
        }
        let wasted = self.frames.header(invalid).map_or(0, |header| header.word.length());
        self.budget = self.budget.saturating_sub(wasted);
        self.frames.resync_within(at + ALIGN as u64, &mut self.budget).unwrap_or(end)
    }
}

/// Whether `offset` begins a frame, as far as the bytes from `from`, which does, can tell.
pub(crate) fn is_boundary(frames: Frames<'_>, from: u64, offset: u64) -> bool {
    for found in frames.walk(from) {
        match found {
            Found::Frame(at, _) if at == offset => return true,
            Found::Frame(at, frame) => {
                let end = at + frame.header.word.step() as u64;
                // Right behind a frame is a boundary, whatever stands there.
                if end == offset {
                    return true;
                }
                if offset < end {
                    // Inside what a mark covers there is no record, and no position either.
                    return false;
                }
            }
            // Nobody can tell where frames began in a damaged stretch.
            Found::Damage(range, _) if range.contains(&offset) || range.end == offset => return true,
            Found::Damage(..) => {}
        }
    }
    offset == frames.end()
}

/// Whether a record lies in the frame.
pub(crate) fn is_record(frame: &Frame<'_>) -> bool {
    frame.kind() == Kind::Record
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timestamp;
    use crate::format::frame::{HEADER, mark};
    use crate::record::Record;

    const SALT: u64 = 0x5a17;

    /// A record's frame for `offset`, padded.
    fn frame_at(offset: u64, body: &[u8]) -> Vec<u8> {
        let record = Record::new(body);
        let checked = frame::Checked::new(&record).unwrap();
        let mut bytes = vec![0; checked.word().span()];
        checked.write(Place { salt: SALT, offset }, 0, Timestamp::MIN, |at, piece| {
            bytes[at..at + piece.len()].copy_from_slice(piece);
        });
        bytes
    }

    fn walk(bytes: &[u8]) -> Vec<Found<'_>> {
        Frames { bytes, base: 0, salt: SALT }.walk(0).collect()
    }

    #[test]
    fn a_claim_covers_a_batch_where_its_writer_may_have_died_and_nothing_in_what_is_published() {
        let mut bytes = mark(Kind::Batch, 24 + 32, &[], Timestamp::MIN, Place { salt: SALT, offset: 0 });
        bytes.extend(frame_at(24, b"inside"));
        let end = bytes.len() as u64;
        bytes.extend(frame_at(end, b"behind"));
        bytes[3] ^= 0x80;
        let found = walk(&bytes);
        assert_eq!(found[0], Found::Damage(0..24, Bad::Claimed(56)));
        assert!(matches!(found[1..], [Found::Frame(24, _), Found::Frame(at, _)] if at == end), "{found:?}");
        let unsettled = Frames { bytes: &bytes, base: 0, salt: SALT }.walk_unsettled(0).collect::<Vec<_>>();
        assert_eq!(unsettled[0], Found::Damage(0..end, Bad::Claimed(56)));
        assert!(matches!(unsettled[1..], [Found::Frame(at, _)] if at == end), "{unsettled:?}");
    }

    #[test]
    fn a_payload_that_holds_whole_segments_is_never_resynchronised_into() {
        // The payload is a log of the same salt, written for other offsets, at every distance from its own ones.
        for shift in (0..80).step_by(8) {
            let mut inner = vec![0xAA; shift];
            while inner.len() < 4000 {
                inner.extend(frame_at(inner.len() as u64, b"inner"));
            }
            let mut bytes = frame_at(0, &inner);
            let outer = bytes.len() as u64;
            let next = frame_at(outer, b"next");
            bytes.extend(&next);
            bytes[HEADER + 1] ^= 1;
            let found = walk(&bytes);
            assert_eq!(found[0], Found::Damage(0..outer, Bad::Invalid));
            assert!(matches!(found[1], Found::Frame(at, _) if at == outer) && found.len() == 2);
        }
    }

    #[test]
    fn overlapping_headers_that_hold_nothing_cost_linear_work() {
        // Each trap is a good header over the rest of the log with a checksum that is wrong; a small frame follows it, so
        // that looking for the next frame ends at once and the walk comes by the next trap.
        let total = 1 << 20;
        for claimed in [false, true] {
            let mut bytes: Vec<u8> = Vec::new();
            while bytes.len() + 96 <= total {
                if claimed {
                    bytes.extend((HEADER as u32 | crate::vfs::region::CLAIMED).to_le_bytes());
                    bytes.resize(bytes.len().next_multiple_of(8) + 16, 0);
                }
                let offset = bytes.len() as u64;
                let trap = crate::format::frame::Header {
                    word: Word::new(Kind::Record, total - bytes.len()),
                    witness: 0,
                    ingest: Timestamp::MIN,
                };
                bytes.extend(trap.encode(Place { salt: SALT, offset }, 0));
                bytes.extend(frame_at(offset + HEADER as u64, b""));
            }
            bytes.resize(total, 0xEE);
            let frames = Frames { bytes: &bytes, base: 0, salt: SALT };
            let mut walk = frames.walk_unsettled(0);
            let found = walk.by_ref().count();
            // As many traps as the budget pays for, and one stretch of damage for the rest.
            assert!((2..64).contains(&found), "{found} found");
        }
    }

    #[test]
    fn a_claim_that_no_writer_could_make_covers_nothing() {
        // A page of ones, as an erased flash block reads: its word claims 16 MiB.
        let mut bytes = frame_at(0, b"first");
        let erased = bytes.len() as u64;
        bytes.resize(bytes.len() + (16 << 20) + 4096, 0);
        bytes[erased as usize..][..4096].fill(0xFF);
        let end = bytes.len() as u64;
        assert_eq!(walk(&bytes)[1], Found::Damage(erased..end, Bad::Invalid));
    }

    #[test]
    fn a_mark_covers_what_lies_behind_its_header_whatever_that_is() {
        let mut bytes = mark(Kind::Void, 80, &[], Timestamp::MIN, Place { salt: SALT, offset: 0 });
        bytes.resize(80, 0xEE);
        bytes.extend(frame_at(80, b"next"));
        let found = walk(&bytes);
        assert!(matches!(found[..], [Found::Frame(0, _), Found::Frame(80, _)]));
    }
}
