//! Records read together: a lent stretch of a segment, decoded as it is looked at.

use std::sync::Arc;
use std::{fmt, slice};

use crate::filter::Filter;
use crate::format::Epoch;
use crate::format::frame::{self, Attributes, Header, Kind, Meta, Word};
use crate::record::Level;
use crate::segment::walk::Spot;
use crate::vfs::region::Lent;
use crate::{Cursor, StreamId, Timestamp};

/// How much one read may return. The record that reaches a limit is still returned.
///
/// A read never spans segments or gaps, so it may return less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Records.
    pub records: usize,
    /// Bytes of log, headers included; with a filter, of the records that pass.
    pub bytes: usize,
}

impl Default for Limit {
    /// 4,096 records, 256 KiB: what is verified is still in the cache when it is looked at.
    fn default() -> Limit {
        Limit { records: 4096, bytes: 256 << 10 }
    }
}

impl Limit {
    /// At most `records` records.
    pub fn records(records: usize) -> Limit {
        Limit { records, ..Limit::default() }
    }
}

/// Records read together, verified. It keeps the memory it lies in, so it stays valid whatever happens to the
/// stream: also when its records expire or its file is removed.
#[derive(Clone)]
pub struct Batch {
    pub(crate) lent: Lent,
    pub(crate) stream: StreamId,
    pub(crate) epoch: Epoch,
    /// Offset of the first lent byte.
    pub(crate) offset: u64,
    pub(crate) records: usize,
    /// Where the records lie; `None`: every record of the stretch is one, and they are few.
    pub(crate) spots: Option<Arc<Vec<Spot>>>,
    /// Of the last record.
    pub(crate) ingest: Timestamp,
}

impl Batch {
    /// How many records there are; at least one.
    pub fn len(&self) -> usize {
        self.records
    }

    /// Whether there is none, which never happens.
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// The cursor after the last record.
    pub fn cursor(&self) -> Cursor {
        Cursor { stream: self.stream, epoch: self.epoch, offset: self.end(), ingest: self.ingest }
    }

    /// The offset behind the last record, which is where the stretch ends.
    fn end(&self) -> u64 {
        self.offset + self.lent.len() as u64
    }

    /// The record at `offset`, where one of the batch begins.
    pub(crate) fn record_at(&self, offset: u64) -> RecordRef<'_> {
        let at = (offset - self.offset) as usize;
        let bytes: &[u8] = &self.lent;
        self.record(bytes, at, Header::of_checked(&bytes[at..]).word)
    }

    /// The record that begins at `at` in the batch's `bytes` with `word`.
    #[inline]
    fn record<'a>(&'a self, bytes: &'a [u8], at: usize, word: Word) -> RecordRef<'a> {
        RecordRef {
            batch: self,
            offset: self.offset + at as u64,
            word,
            frame: &bytes[at..at + word.length()],
        }
    }

    /// The records, oldest first.
    pub fn iter(&self) -> Records<'_> {
        let spots = self.spots.as_ref().map(|spots| spots.iter());
        Records { batch: self, bytes: &self.lent, spots, at: 0 }
    }
}

impl<'a> IntoIterator for &'a Batch {
    type Item = RecordRef<'a>;
    type IntoIter = Records<'a>;

    fn into_iter(self) -> Records<'a> {
        self.iter()
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.end();
        write!(f, "Batch({} records, offsets {}..{end} of {})", self.records, self.offset, self.stream)
    }
}

/// The records of a [`Batch`].
#[derive(Debug, Clone)]
pub struct Records<'a> {
    batch: &'a Batch,
    bytes: &'a [u8],
    /// Where the next ones lie. With that at hand, none waits for the length of the one before it.
    spots: Option<slice::Iter<'a, Spot>>,
    /// Without: where to look on.
    at: usize,
}

impl<'a> Iterator for Records<'a> {
    type Item = RecordRef<'a>;

    // Part of its caller's loop, and so is `body`: else every record goes through memory, which takes half as long again as finding it.
    #[inline(always)]
    fn next(&mut self) -> Option<RecordRef<'a>> {
        let (at, word) = match &mut self.spots {
            Some(spots) => spots.next().map(|spot| (spot.at(), spot.word))?,
            None => record_from(self.bytes, self.at)?,
        };
        self.at = at + word.span();
        Some(self.batch.record(self.bytes, at, word))
    }
}

/// The first record at or behind `at` in a batch's bytes, and its word.
#[inline(never)]
fn record_from(bytes: &[u8], mut at: usize) -> Option<(usize, Word)> {
    while at < bytes.len() {
        let word = Header::of_checked(&bytes[at..]).word;
        if word.kind() == Some(Kind::Record) {
            return Some((at, word));
        }
        at += word.step();
    }
    None
}

/// One record, read in place.
#[derive(Clone, Copy)]
pub struct RecordRef<'a> {
    batch: &'a Batch,
    offset: u64,
    word: Word,
    /// All of it: what is asked for is decoded then.
    frame: &'a [u8],
}

impl<'a> RecordRef<'a> {
    /// Where it is in the stream.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The offset behind it.
    pub fn end(&self) -> u64 {
        self.offset + self.word.span() as u64
    }

    /// When the engine took it in.
    #[inline]
    pub fn ingest_time(&self) -> Timestamp {
        Header::of_checked(self.frame).ingest
    }

    /// When its source says it happened.
    pub fn event_time(&self) -> Option<Timestamp> {
        self.meta().and_then(|meta| meta.event_time)
    }

    /// Its level.
    pub fn level(&self) -> Option<Level> {
        self.word.level()
    }

    /// Its service.
    pub fn service(&self) -> Option<&'a str> {
        self.meta().and_then(|meta| meta.service)
    }

    /// Its attributes, in the order they were given.
    pub fn attributes(&self) -> Attributes<'a> {
        self.meta().map(|meta| meta.attributes()).unwrap_or_default()
    }

    /// Its bytes.
    #[inline(always)]
    pub fn body(&self) -> &'a [u8] {
        frame::body(self.word, self.payload())
    }

    /// Metadata, if any, and the body.
    #[inline]
    fn payload(&self) -> &'a [u8] {
        &self.frame[frame::HEADER..]
    }

    fn meta(&self) -> Option<Meta<'a>> {
        frame::meta(self.word, self.payload())
    }

    /// Whether it passes `filter`.
    ///
    /// ```
    /// # fn main() -> tailwater::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use tailwater::{Filter, Level, Record, Start, Step, Store, StreamName, StreamSpec};
    /// # let store = Store::open(dir.path())?;
    /// # let stream = store.create_stream(StreamSpec::new(StreamName::new("web")?))?;
    /// stream.append(&Record::new("upstream timed out").level(Level::Error))?;
    /// let filter = Filter::parse("level>=warn timed")?;
    /// let Step::Records(batch) = stream.read(Start::Beginning)?.next()? else { panic!() };
    /// assert!(batch.iter().all(|record| record.matches(&filter)));
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn matches(&self, filter: &Filter) -> bool {
        filter.matches_encoded(self.word, self.ingest_time(), self.payload())
    }

    /// The cursor immediately after it.
    pub fn cursor(&self) -> Cursor {
        let Batch { stream, epoch, .. } = *self.batch;
        Cursor { stream, epoch, offset: self.end(), ingest: self.ingest_time() }
    }
}

impl fmt::Debug for RecordRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordRef")
            .field("offset", &self.offset)
            .field("ingest_time", &self.ingest_time())
            .field("level", &self.level())
            .field("service", &self.service())
            .field("body", &self.body().escape_ascii().to_string())
            .finish()
    }
}
