//! From frame to frame over a segment's bytes, past damage where there is any. Pure.

use std::ops::Range;

use crate::format::frame::{self, ALIGN, Bad, Frame, Header, Kind, Place};

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
    fn at(&self, offset: u64) -> &'a [u8] {
        &self.bytes[(offset - self.base) as usize..]
    }

    #[inline]
    fn place(&self, offset: u64) -> Place {
        Place { salt: self.salt, offset }
    }

    /// Reads the frame at `offset`, which lies in `base..end` and at a multiple of 8.
    #[inline]
    pub(crate) fn parse(&self, offset: u64) -> Result<Frame<'a>, Bad> {
        frame::parse(self.at(offset), self.place(offset))
    }

    /// The header of the frame at `offset`, its payload unchecked.
    #[inline]
    pub(crate) fn header(&self, offset: u64) -> Option<Header> {
        Header::decode(self.at(offset), self.place(offset))
    }

    /// The frame at `offset` by its header alone, its payload unchecked but for its form.
    #[inline]
    pub(crate) fn glance(&self, offset: u64) -> Option<Frame<'a>> {
        if self.end() <= offset {
            return None;
        }
        frame::glance(self.at(offset), self.place(offset))
    }

    /// The first valid frame at or after `offset`.
    ///
    /// A frame is valid only at its own place under its segment's salt, so one is enough: neither stale
    /// bytes nor a payload that looks like a segment can pass for it. Work is linear: headers that promise much
    /// and hold nothing are no longer followed once they have cost four times the bytes there are.
    pub(crate) fn resync(&self, offset: u64) -> Option<u64> {
        let mut budget = 4 * self.bytes.len() + (4 << 20);
        let mut at = offset.next_multiple_of(ALIGN as u64);
        while at + frame::HEADER as u64 <= self.end() {
            let bytes = self.at(at);
            let blank = bytes[..8] == [0; 8];
            if !blank && let Some(header) = self.header(at) {
                let cost = header.word.length();
                if budget < cost {
                    return None;
                }
                budget -= cost;
                if frame::parse(bytes, self.place(at)).is_ok() {
                    return Some(at);
                }
            }
            at += ALIGN as u64;
        }
        None
    }

    /// Every frame from `offset` on, and every stretch that holds none.
    pub(crate) fn walk(self, offset: u64) -> Walk<'a> {
        Walk { frames: self, at: offset }
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
}

impl<'a> Iterator for Walk<'a> {
    type Item = Found<'a>;

    #[inline]
    fn next(&mut self) -> Option<Found<'a>> {
        let at = self.at;
        if self.frames.end() <= at {
            return None;
        }
        match self.frames.parse(at) {
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

impl Walk<'_> {
    /// Where the walk goes on behind a place without a frame.
    fn after(&self, at: u64, bad: Bad) -> u64 {
        let end = self.frames.end();
        if let Bad::Claimed(bytes) = bad {
            // What a claim covers is its writer's, finished records of an unfinished batch included.
            let behind = at + bytes as u64;
            if behind == end || !matches!(self.frames.parse(behind), Err(Bad::Invalid)) {
                return behind;
            }
        }
        self.frames.resync(at + ALIGN as u64).unwrap_or(end)
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
