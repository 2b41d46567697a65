//! Reading forward through a filter: records chosen one by one, and blocks left unread whose summary proves that none of
//! their records passes.
//!
//! Every frame that is walked over is verified, as without a filter. A block in which damage was there when it was summarised
//! is never left out, so a gap is reported wherever a record that passes may have been lost. The cursor moves on over what
//! does not pass, to where it would be had the records there been returned.

use std::sync::Arc;

use crate::filter::{Filter, Summary};
use crate::format::frame::{ALIGN, Kind, Word};
use crate::format::index::{BLOCK, Index};
use crate::segment::walk::{Frames, Spot};
use crate::stream::{Batch, GapReason, Limit, Reader, Step};
use crate::vfs::region::Lent;
use crate::{Cursor, Result, Timestamp};

/// Bytes of log that one read looks at before it says where it stands; a segment entered counts as a block.
pub(super) const WORK: u64 = 32 << 20;

/// Log ahead from which on the index is asked: less is sooner read than known about.
const AHEAD: u64 = 4 * BLOCK;

/// What a reader with a filter knows beside where it stands.
#[derive(Debug)]
pub(super) struct Sieve {
    pub(super) filter: Filter,
    /// Ingest time of the last record before the reader's offset; `None` where that one was left unread.
    pub(super) ingest: Option<Timestamp>,
    /// Bytes this read may still look at.
    pub(super) work: u64,
}

/// How far from `at` on, up to `end`, no record passes by what the index says.
fn barren_to(index: &Index, filter: &Filter, at: u64, end: u64) -> u64 {
    let behind = index.blocks.partition_point(|block| block.offset <= at);
    let Some(first) = behind.checked_sub(1) else { return at };
    let may_match =
        |number: &usize| Summary::of(index, *number).is_none_or(|summary| filter.may_match(&summary));
    match (first..index.blocks.len()).find(may_match) {
        Some(next) => index.blocks[next].offset.clamp(at, end),
        None => index.end.min(end).max(at),
    }
}

/// Where the block ends that `at` lies in.
fn block_end(index: &Index, at: u64) -> u64 {
    let next = index.blocks.partition_point(|block| block.offset <= at);
    index.blocks.get(next).map_or(u64::MAX, |block| block.offset)
}

impl Reader {
    /// Returns only the records that pass `filter`; the cursor moves on over the others.
    ///
    /// What lies between is verified as ever, but for blocks of the log, about 64 KiB each, whose summary proves that no record
    /// in them passes: they are not read, and damage that came to them later is not reported. One read looks at 32 MiB of log
    /// at most; where nothing passed there it returns [`Step::Passed`]. Of a [`Limit`], the bytes count for records returned.
    ///
    /// ```
    /// # fn main() -> tailwater::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use tailwater::{Filter, Level, Record, Start, Step, Store, StreamName, StreamSpec};
    /// # let store = Store::open(dir.path())?;
    /// # let stream = store.create_stream(StreamSpec::new(StreamName::new("web")?))?;
    /// stream.append(&Record::new("all is well").level(Level::Info))?;
    /// stream.append(&Record::new("upstream timed out").level(Level::Error))?;
    /// let mut reader = stream.read(Start::Beginning)?.filter(Filter::parse("level>=warn")?);
    /// loop {
    ///     match reader.next()? {
    ///         Step::Records(batch) => {
    ///             for record in &batch {
    ///                 assert_eq!(record.body(), b"upstream timed out");
    ///             }
    ///         }
    ///         Step::Gap(gap) => eprintln!("{} bytes {}", gap.bytes(), gap.reason),
    ///         // Nothing here. A good moment to save `reader.cursor()`, or to look at the clock.
    ///         Step::Passed => {}
    ///         Step::End => break,
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn filter(mut self, filter: Filter) -> Reader {
        self.set_filter(filter);
        self
    }

    pub(super) fn set_filter(&mut self, filter: Filter) {
        let is_at_cursor = self.offset == self.cursor.offset;
        let ingest = is_at_cursor.then_some(self.cursor.ingest);
        self.sieve = if filter.is_all() { None } else { Some(Sieve { filter, ingest, work: WORK }) };
    }

    /// Moves the cursor to where the reader stands.
    pub(super) fn settle(&mut self) -> Result<()> {
        let Some(sieve) = &mut self.sieve else { return Ok(()) };
        if self.cursor.offset == self.offset {
            return Ok(());
        }
        let (epoch, ingest) = match sieve.ingest {
            Some(ingest) => (self.epoch, ingest),
            None => self.core.before(self.offset)?.unwrap_or((self.epoch, self.cursor.ingest)),
        };
        sieve.ingest = Some(ingest);
        self.epoch = epoch;
        self.cursor = Cursor { epoch, offset: self.offset, ingest, ..self.cursor };
        Ok(())
    }

    /// The index of the segment the reader stands in, which has something up to `end`, where asking it is worth while.
    ///
    /// That of a sealed segment is held as long as the reader stands there. That of another grows with its segment, and would
    /// have to be copied for whoever holds it.
    fn index(&mut self, end: u64) -> Option<Arc<Index>> {
        let place = self.place.as_mut().expect("the caller stands");
        if let Some(index) = &place.index {
            return Some(Arc::clone(index));
        }
        if end - self.offset < AHEAD {
            return None;
        }
        // Without an index everything is read, which serves as well.
        let index = place.segment.index(&place.region, end).ok()?;
        if place.segment.seal().is_some() {
            place.index = Some(Arc::clone(&index));
        }
        Some(index)
    }

    /// Reads what passes from the segment the reader stands in, which has something up to `end`. `None`: look again.
    pub(super) fn sift_place(&mut self, end: u64, limit: Limit) -> Result<Option<Step>> {
        let index = self.index(end);
        let index = index.as_deref();
        let known = self.known(self.place.as_ref().expect("the caller stands"));
        let sieve = self.sieve.as_mut().expect("the caller has a filter");
        let place = self.place.as_ref().expect("the caller stands");
        let from = place.position(self.offset);
        // However few are asked for, what passes has to be found.
        place.region.advise_scan();
        let held = place.position(end).min(place.region.capacity()).max(from);
        // What the file is too short for may be left unread like anything else.
        let lent = (from < held).then(|| place.region.lend(from..held));
        let bytes = lent.as_deref().unwrap_or_default();
        let frames = Frames { bytes, base: self.offset, salt: place.salt };
        let cutoff = self.core.cutoff();
        let mut chosen = Chosen { start: self.offset, ..Chosen::default() };
        let mut at = self.offset;
        let mut gap = None;
        let mut read = None;
        'walk: while at < end && gap.is_none() {
            let mut until = end;
            if let Some(index) = index {
                let to = barren_to(index, &sieve.filter, at, end);
                if at < to {
                    // Left unread.
                    read.get_or_insert(at);
                    let epoch = index.epoch_before(to).map_or(place.epoch, |(_, epoch)| epoch);
                    // All records of a batch are of one epoch.
                    if 0 < chosen.count() && epoch != self.epoch {
                        break;
                    }
                    (at, self.epoch, sieve.ingest) = (to, epoch, None);
                    continue;
                }
                until = block_end(index, at).min(end);
            }
            if frames.end() <= at {
                gap = Some((end, GapReason::Corrupt));
            }
            while at < until.min(frames.end()) {
                if chosen.is_full(limit) || sieve.work == 0 {
                    break 'walk;
                }
                let Ok(frame) = frames.parse_known(at, known) else {
                    let next = if chosen.count() == 0 { frames.resync(at + ALIGN as u64) } else { None };
                    gap = Some((next.unwrap_or(end), GapReason::Corrupt));
                    break;
                };
                let behind = at + frame.header.word.step() as u64;
                let ingest = frame.header.ingest;
                match frame.kind() {
                    Kind::Record if ingest < cutoff => {
                        let visible = self.core.visible_from(cutoff)?.max(behind);
                        gap = Some((visible, GapReason::Expired));
                        break;
                    }
                    Kind::Record => {
                        if sieve.filter.matches_encoded(frame.header.word, ingest, frame.payload) {
                            chosen.add(at, frame.header.word, ingest);
                        }
                        sieve.ingest = Some(ingest);
                    }
                    Kind::Batch | Kind::Void => {}
                    Kind::Epoch if chosen.count() == 0 => self.epoch = frame.epoch(),
                    Kind::Epoch => break 'walk,
                    Kind::Lost => {
                        gap = Some((behind, GapReason::Corrupt));
                        break;
                    }
                }
                sieve.work = sieve.work.saturating_sub(behind - at);
                at = behind;
            }
        }
        let is_spent = sieve.work == 0;
        self.verified(self.offset..read.unwrap_or(at));
        self.offset = at;
        if 0 < chosen.count() {
            // A gap behind them begins the next read.
            return Ok(Some(Step::Records(self.batch(chosen, lent.expect("records lie there")))));
        }
        if let Some((end, reason)) = gap {
            return self.gap(end, reason).map(Some);
        }
        if is_spent && at < end {
            self.settle()?;
            return Ok(Some(Step::Passed));
        }
        Ok(None)
    }

    /// The records chosen, in memory lent from where the first place was.
    fn batch(&mut self, chosen: Chosen, lent: Lent) -> Batch {
        let (end, ingest) = chosen.last.expect("some were chosen");
        self.cursor = Cursor { epoch: self.epoch, offset: end, ingest, ..self.cursor };
        Batch {
            lent: lent.narrow(0..(end - chosen.start) as usize),
            stream: self.core.id,
            epoch: self.epoch,
            offset: chosen.start,
            records: chosen.count(),
            spots: Some(Arc::new(chosen.spots)),
            ingest,
        }
    }
}

/// Records that passed.
#[derive(Debug, Default)]
struct Chosen {
    start: u64,
    /// Where they lie behind the start.
    spots: Vec<Spot>,
    bytes: u64,
    /// Where the last one ends, and its ingest time.
    last: Option<(u64, Timestamp)>,
}

impl Chosen {
    fn count(&self) -> usize {
        self.spots.len()
    }

    fn add(&mut self, at: u64, word: Word, ingest: Timestamp) {
        self.spots.push(Spot::new(at - self.start, word));
        self.bytes += word.span() as u64;
        self.last = Some((at + word.span() as u64, ingest));
    }

    fn is_full(&self, limit: Limit) -> bool {
        0 < self.count() && (limit.records <= self.count() || limit.bytes as u64 <= self.bytes)
    }
}
