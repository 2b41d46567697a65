//! Reading forward: batches of records, gaps where there are none to be had, and the end.
//!
//! A reader holds the segment it stands in and takes no lock while it stays there. Everything is decided
//! per call: what is published, what has expired, what is damaged.

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::format::Epoch;
use crate::format::frame::{Header, Kind};
use crate::format::header::Header as Head;
use crate::format::index::{BLOCK, Index};
use crate::mutants::{self, Mutant};
use crate::segment::Segment;
use crate::segment::walk::{Frames, Spot};
use crate::stream::sift::{Sieve, WORK};
use crate::stream::{Batch, Core, Handle, Limit, Start, Stream, Verify};
use crate::sync::atomic::Ordering;
use crate::vfs::region::{FLOOR, Region};
use crate::{Cursor, ErrorKind, Result, StreamId};

/// What a read comes to.
#[derive(Debug, Clone)]
pub enum Step {
    /// Records, in order.
    Records(Batch),
    /// Bytes of the log that hold no record any more, and why.
    Gap(Gap),
    /// Records that the filter leaves out were passed, as many as one read looks at, and none that passes it: ask again. The
    /// cursor has moved on. Only readers and tails with a filter return this.
    Passed,
    /// Nothing more for now: a reader is at the published end, a tail has caught up.
    End,
}

/// A stretch of a stream that a reader passed without getting records. Nothing is ever skipped without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// The stream.
    pub stream: StreamId,
    /// Offset of its first byte.
    pub start: u64,
    /// Offset behind its last byte.
    pub end: u64,
    /// Why.
    pub reason: GapReason,
    /// The cursor after it.
    pub cursor: Cursor,
}

impl Gap {
    /// How many bytes of log it covers.
    pub fn bytes(&self) -> u64 {
        self.end - self.start
    }
}

/// Why a [`Gap`] holds no records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum GapReason {
    /// They expired, or `max_bytes` made them go, before they were read.
    Expired,
    /// The bytes are not what was written.
    Corrupt,
    /// The file that held them is not there.
    Missing,
    /// Their stream was deleted. Only a session, which has other streams to go on with, is told so; a reader ends.
    Deleted,
}

impl fmt::Display for GapReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            GapReason::Expired => "expired",
            GapReason::Corrupt => "corrupt",
            GapReason::Missing => "missing",
            GapReason::Deleted => "deleted",
        })
    }
}

/// Reads a stream from some start up to its published end.
///
/// ```
/// # fn main() -> tailwater::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # use tailwater::{Record, Start, Step, Store, StreamName, StreamSpec};
/// # let store = Store::open(dir.path())?;
/// # let stream = store.create_stream(StreamSpec::new(StreamName::new("web")?))?;
/// stream.append(&Record::new("GET / 200"))?;
/// let mut reader = stream.read(Start::Beginning)?;
/// loop {
///     match reader.next()? {
///         Step::Records(batch) => {
///             for record in &batch {
///                 assert_eq!(record.body(), b"GET / 200");
///             }
///         }
///         Step::Gap(gap) => eprintln!("{} bytes {}", gap.bytes(), gap.reason),
///         // Only readers with a filter say so.
///         Step::Passed => {}
///         Step::End => break,
///     }
/// }
/// # Ok(())
/// # }
/// ```
pub struct Reader {
    pub(crate) core: Counted,
    /// The next byte to look at.
    pub(crate) offset: u64,
    /// The epoch in force there; the cursor, which may lie before it, has its own.
    pub(super) epoch: Epoch,
    pub(super) cursor: Cursor,
    durable_only: bool,
    pub(super) place: Option<Standing>,
    /// `None`: every record passes.
    pub(super) sieve: Option<Sieve>,
    /// Where the records of the last batch lie, to be used again once nobody holds that batch.
    spots: Option<Arc<Vec<Spot>>>,
}

/// Up to this many records are looked for again by who visits them: a list of where they lie would cost more.
pub(super) const FEW: usize = 16;

/// An empty list, in memory used before where nobody holds it any more.
fn reused(kept: &mut Arc<Vec<Spot>>) -> Vec<Spot> {
    let Some(spots) = Arc::get_mut(kept) else {
        *kept = Arc::default();
        return Vec::new();
    };
    spots.clear();
    std::mem::take(spots)
}

/// The segment a reader stands in.
pub(super) struct Standing {
    pub(super) segment: Arc<Segment>,
    pub(super) region: Arc<Region>,
    pub(super) salt: u64,
    /// The epoch in force at the base.
    pub(super) epoch: Epoch,
    base: u64,
    /// Reads that gave records out of it, one after the other.
    reads: u64,
    /// The index of a sealed segment, once a filter asked for it.
    pub(super) index: Option<Arc<Index>>,
}

impl Standing {
    pub(super) fn new(segment: Arc<Segment>) -> Result<Standing> {
        let region = segment.region()?;
        let Head { salt, epoch, .. } = *segment.head()?;
        Ok(Standing { region, salt, epoch, base: segment.base, reads: 0, index: None, segment })
    }

    pub(super) fn position(&self, offset: u64) -> usize {
        (offset - self.base) as usize + FLOOR
    }

    /// The header of the frame at `offset`, if one is published there and sound.
    pub(super) fn header(&self, offset: u64, follow: bool) -> Result<Option<Header>> {
        let end = self.segment.published(&self.region, follow)?;
        let held = self.position(end).min(self.region.capacity());
        if held <= self.position(offset) {
            return Ok(None);
        }
        let bytes = self.region.show(self.position(offset)..held);
        Ok(Frames { bytes, base: offset, salt: self.salt }.header(offset))
    }
}

impl Stream {
    /// Opens a reader at `start`.
    ///
    /// # Errors
    /// For a cursor: `CursorStreamMismatch`, `CursorInvalid`, `CursorDiverged`, `CursorAhead`, `CursorExpired`. `Closed`,
    /// `StreamDeleted`, `Io`.
    pub fn read(&self, start: Start) -> Result<Reader> {
        self.core.check()?;
        // Resuming is what a host does for a page at a time: one look at the log serves the checks and the read.
        let stands = match start {
            Start::Cursor(cursor) => self.core.stand_behind(&cursor).map(|place| (cursor, place)),
            _ => None,
        };
        // While the record is on its way: to count somebody is to wait for all that came before.
        let core = Counted::new(&self.handle);
        let (cursor, place) = match stands {
            Some((cursor, place)) if core.holds(&cursor, &place)? => (cursor, Some(place)),
            _ => (core.seek(start)?, None),
        };
        Ok(Reader::new(core, cursor, place))
    }
}

impl Stream {
    /// Opens a reader at a position that the caller knows to be one; what went since is a gap.
    pub(crate) fn read_at(&self, cursor: Cursor) -> Reader {
        Reader::new(Counted::new(&self.handle), cursor, None)
    }
}

impl Reader {
    // A reader is large, and one record is often all it is for.
    #[inline(always)]
    fn new(core: Counted, cursor: Cursor, place: Option<Standing>) -> Reader {
        let Cursor { offset, epoch, .. } = cursor;
        Reader { core, offset, epoch, cursor, durable_only: false, place, sieve: None, spots: None }
    }

    /// Goes to `start`, where a reader opened there would stand. What is set of this one stays, and so does what it holds: for
    /// records here and there it costs less than a reader each.
    ///
    /// # Errors
    /// As [`Stream::read`]; the reader stands where it stood.
    ///
    /// ```
    /// # fn main() -> tailwater::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use tailwater::{Limit, Record, Start, Step, Store, StreamName, StreamSpec};
    /// # let store = Store::open(dir.path())?;
    /// # let stream = store.create_stream(StreamSpec::new(StreamName::new("web")?))?;
    /// let behind_first = stream.append(&Record::new("1"))?.cursor();
    /// let behind_second = stream.append(&Record::new("2"))?.cursor();
    /// stream.append(&Record::new("3"))?;
    /// let mut reader = stream.read(Start::Now)?;
    /// for (cursor, body) in [(behind_second, b"3"), (behind_first, b"2")] {
    ///     reader.seek(Start::Cursor(cursor))?;
    ///     let Step::Records(batch) = reader.next_within(Limit::records(1))? else { panic!() };
    ///     assert_eq!(batch.iter().next().unwrap().body(), body);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn seek(&mut self, start: Start) -> Result<()> {
        self.core.check()?;
        if let Start::Cursor(cursor) = start
            && self.stand_behind(&cursor)?
        {
            self.move_to(cursor);
            return Ok(());
        }
        self.place = None;
        self.move_to(self.core.seek(start)?);
        Ok(())
    }

    /// Whether one look shows that a cursor holds. The reader stands in the segment behind it then, and else maybe in another than its
    /// position's.
    fn stand_behind(&mut self, cursor: &Cursor) -> Result<bool> {
        match &mut self.place {
            Some(place) if place.segment.holds(cursor.offset) && self.core.may_hold(cursor) => {
                place.segment.fetch(cursor.offset);
                place.reads = 0;
            }
            _ => self.place = self.core.stand_behind(cursor),
        }
        let held = self.place.as_ref().map_or(Ok(false), |place| self.core.holds(cursor, place));
        if held.is_err() {
            self.place = None;
        }
        held
    }

    /// Goes to a position that the caller knows to be one.
    pub(crate) fn go_to(&mut self, cursor: Cursor) {
        self.place = None;
        self.move_to(cursor);
    }

    /// The same, where the reader stands in its segment.
    fn move_to(&mut self, cursor: Cursor) {
        self.offset = cursor.offset;
        self.epoch = cursor.epoch;
        self.cursor = cursor;
        if let Some(sieve) = &mut self.sieve {
            sieve.ingest = Some(cursor.ingest);
        }
    }

    /// Shows only what is durable, so that nothing it returned can be lost to a power failure.
    pub fn durable_only(mut self, durable_only: bool) -> Reader {
        self.set_durable_only(durable_only);
        self
    }

    pub(super) fn set_durable_only(&mut self, durable_only: bool) {
        self.durable_only = durable_only;
    }

    /// The position immediately after the last record or gap returned; with a filter, also after the records passed before a
    /// [`Step::Passed`] or [`Step::End`].
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Reads on, up to the default [`Limit`].
    ///
    /// # Errors
    /// `Closed`, `StreamDeleted`; `Io` where a file cannot be opened: the reader stands where it stood and may be
    /// asked again.
    // Not `Iterator::next`: reading can fail, and the end is not for ever.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Step> {
        self.next_within(Limit::default())
    }

    /// Reads on, up to `limit`.
    ///
    /// # Errors
    /// As [`next`](Reader::next).
    pub fn next_within(&mut self, limit: Limit) -> Result<Step> {
        self.core.check()?;
        if let Some(sieve) = &mut self.sieve {
            sieve.work = WORK;
        }
        let step = self.step(limit);
        if matches!(step, Ok(Step::End)) {
            self.settle()?;
        }
        step
    }

    fn step(&mut self, limit: Limit) -> Result<Step> {
        loop {
            let log_start = self.core.log_start();
            if self.offset < log_start {
                return self.gap(log_start, GapReason::Expired);
            }
            if self.place.is_none()
                && let Some(step) = self.enter()?
            {
                return Ok(step);
            }
            // Retention was quicker; there is a new start now.
            let Some(place) = &self.place else { continue };
            let mut end = place.segment.published(&place.region, self.core.env.read_only)?;
            if self.durable_only {
                end = end.min(self.core.durable());
            }
            if end <= self.offset {
                match place.segment.end() {
                    Some(end) if end <= self.offset => self.place = None,
                    // The writer, another process, may have gone on to the next segment.
                    None if self.core.env.read_only && self.core.follow(self.offset)? => self.place = None,
                    _ => return Ok(Step::End),
                }
                if self.place.is_none() && !self.has_next() {
                    return Ok(Step::End);
                }
                continue;
            }
            let step =
                if self.sieve.is_some() { self.sift_place(end, limit) } else { self.read_place(end, limit) };
            if let Some(step) = step.transpose() {
                return step;
            }
        }
    }

    /// Whether a segment covers the offset or begins behind it.
    fn has_next(&self) -> bool {
        self.core
            .segments()
            .last()
            .is_some_and(|last| self.offset <= last.base || last.end().is_none_or(|end| self.offset < end))
    }

    /// Finds the segment that covers the offset. A step: what came instead. Neither: the log begins behind the offset by now.
    fn enter(&mut self) -> Result<Option<Step>> {
        if self.core.env.read_only {
            self.core.follow(self.offset)?;
        }
        let segments = self.core.segments();
        // What retention removed is missing from the list only once the log's new start is known.
        if self.offset < self.core.log_start() {
            return Ok(None);
        }
        let after = segments.partition_point(|segment| segment.base <= self.offset);
        let next = segments.get(after).map(|segment| segment.base);
        let segment = match after.checked_sub(1).map(|index| &segments[index]) {
            Some(segment) if segment.holds(self.offset) => segment,
            // Between segments, or before the first: files are missing.
            _ => match next {
                Some(base) => return self.gap(base, GapReason::Missing).map(Some),
                None => return Ok(Some(Step::End)),
            },
        };
        let entered = Standing::new(Arc::clone(segment));
        // Reading the header may have shown that the segment ends before the next one begins.
        if segment.end().is_some_and(|end| end <= self.offset) {
            return match next {
                Some(base) => self.gap(base, GapReason::Missing).map(Some),
                None => Ok(Some(Step::End)),
            };
        }
        match entered {
            Ok(place) => {
                // Damage may have hidden where the epoch began.
                if self.offset == place.base {
                    self.epoch = place.epoch;
                }
                self.place = Some(place);
                let Some(sieve) = &mut self.sieve else { return Ok(None) };
                sieve.work = sieve.work.saturating_sub(BLOCK);
                if sieve.work == 0 {
                    self.settle()?;
                    return Ok(Some(Step::Passed));
                }
                Ok(None)
            }
            Err(err) => {
                // Retention may have been quicker, also where the log ended with the segment and nothing in it; or it is no
                // part of the log, and is gone from the list now.
                let retained = self.offset < self.core.log_start_now()? || !self.core.lists(segment);
                if retained || self.core.forget_stranger(segment) {
                    return Ok(None);
                }
                let reason = match err.kind() {
                    ErrorKind::Corrupt => GapReason::Corrupt,
                    ErrorKind::Io if !segment.exists() => GapReason::Missing,
                    _ => return Err(err),
                };
                match segment.end().or(next) {
                    Some(end) => self.gap(end, reason).map(Some),
                    // The writer, another process, is deleting the stream, or has ended it a moment ago.
                    None if self.core.env.read_only && reason == GapReason::Missing => Ok(Some(Step::End)),
                    None => Err(err),
                }
            }
        }
    }

    /// Reads from the segment the reader stands in, which has something up to `end`. `None`: look again.
    fn read_place(&mut self, end: u64, limit: Limit) -> Result<Option<Step>> {
        let place = self.place.as_ref().expect("the caller stands");
        let from = place.position(self.offset);
        let held = place.position(end).min(place.region.capacity());
        if held <= from {
            // The file is shorter than its segment.
            return self.gap(end, GapReason::Corrupt).map(Some);
        }
        let lent = place.region.lend(from..held);
        let frames = Frames { bytes: &lent, base: self.offset, salt: place.salt };
        let cutoff = self.core.cutoff();
        let known = self.known(place);
        let most = self.offset.saturating_add(limit.bytes as u64);
        let start = self.offset;
        // Who reads on, by however few, goes through it.
        if FEW < limit.records || 0 < place.reads {
            place.region.advise_scan();
        }
        let mut spots = (FEW < limit.records).then(|| reused(self.spots.get_or_insert_default()));
        // As far as this goes on: without a record, to the end.
        let (mut at, mut until) = (start, frames.end());
        let (mut records, mut last) = (0, start);
        while at < until {
            let frame = match frames.parse_known(at, known) {
                Ok(frame) => frame,
                Err(_) if records == 0 => {
                    let next = frames.resync(at + 8).unwrap_or(end.max(frames.end()));
                    if mutants::on(Mutant::SilentGap) {
                        self.offset = next;
                        return Ok(None);
                    }
                    self.offset = at;
                    return self.gap(next, GapReason::Corrupt).map(Some);
                }
                Err(_) => break,
            };
            let behind = at + frame.header.word.step() as u64;
            match frame.kind() {
                Kind::Record => {
                    if records == 0 {
                        if frame.header.ingest < cutoff && !mutants::on(Mutant::ExpiredUnderWay) {
                            self.offset = at;
                            let visible = self.core.visible_from(cutoff)?.max(behind);
                            return self.gap(visible, GapReason::Expired).map(Some);
                        }
                        until = until.min(most);
                    }
                    (last, records, at) = (at, records + 1, behind);
                    if let Some(spots) = &mut spots {
                        spots.push(Spot::new(last - start, frame.header.word));
                        // Mostly nothing but records follows.
                        let left = limit.records - records;
                        at = frames.records(behind, until, known, left, start, spots);
                        records = spots.len();
                        last = start + spots[records - 1].at() as u64;
                    }
                    if limit.records <= records {
                        break;
                    }
                    continue;
                }
                Kind::Batch | Kind::Void => {}
                Kind::Epoch if records == 0 => self.epoch = frame.epoch(),
                Kind::Lost if records == 0 => {
                    self.offset = at;
                    return self.gap(behind, GapReason::Corrupt).map(Some);
                }
                // What has a cursor of another epoch, or is no record, begins the next read.
                Kind::Epoch | Kind::Lost => break,
            }
            at = behind;
        }
        self.offset = at;
        self.verified(start..at);
        if records == 0 {
            return Ok(None);
        }
        let header = frames.checked(last);
        let (behind, ingest) = (last + header.word.span() as u64, header.ingest);
        self.place.as_mut().expect("it stands there").reads += 1;
        self.cursor = Cursor { epoch: self.epoch, offset: behind, ingest, ..self.cursor };
        let spots = spots.map(|spots| {
            let kept = self.spots.get_or_insert_default();
            *Arc::get_mut(kept).expect("nobody has it yet") = spots;
            Arc::clone(kept)
        });
        let batch = Batch {
            lent: lent.narrow(0..(behind - start) as usize),
            stream: self.core.id,
            epoch: self.epoch,
            offset: start,
            records,
            spots,
            ingest,
        };
        Ok(Some(Step::Records(batch)))
    }

    /// Offset up to which payloads in `place` need not be checked again.
    pub(super) fn known(&self, place: &Standing) -> u64 {
        match self.core.env.settings.verify {
            Verify::Always => 0,
            Verify::Once => place.segment.verified(),
        }
    }

    /// Takes note that the frames of `range`, in the segment the reader stands in, were found sound.
    pub(super) fn verified(&self, range: Range<u64>) {
        if self.core.env.settings.verify == Verify::Once
            && let Some(place) = &self.place
        {
            place.segment.set_verified(range);
        }
    }

    /// Passes the log up to `end`.
    pub(super) fn gap(&mut self, end: u64, reason: GapReason) -> Result<Step> {
        let start = self.offset;
        let (epoch, ingest) = self.core.before(end)?.unwrap_or((self.epoch, self.cursor.ingest));
        self.offset = end;
        self.epoch = epoch;
        self.place = None;
        self.cursor = Cursor { epoch, offset: end, ingest: ingest.max(self.cursor.ingest), ..self.cursor };
        if let Some(sieve) = &mut self.sieve {
            sieve.ingest = Some(self.cursor.ingest);
        }
        Ok(Step::Gap(Gap { stream: self.core.id, start, end, reason, cursor: self.cursor }))
    }
}

/// A stream that knows it is read, as long as this lives.
pub(crate) struct Counted(Arc<Handle>);

impl Counted {
    fn new(handle: &Arc<Handle>) -> Counted {
        handle.core.readers.fetch_add(1, Ordering::Relaxed);
        Counted(Arc::clone(handle))
    }
}

impl Deref for Counted {
    type Target = Arc<Core>;

    #[inline]
    fn deref(&self) -> &Arc<Core> {
        &self.0.core
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.readers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reader(at {} of {})", self.offset, self.core.id)
    }
}
