//! Pages of a stream: the records of a stretch of time that pass a test, from either end, a limit at a time.
//!
//! Forwards it is a reader that stops. Backwards it steps from block to block by the segments' indexes, reads each
//! forwards and turns it round, so that the newest records of a long log cost what they are and not what the log is.

use std::fmt;
use std::ops::Range;

use crate::stream::{Batch, Core, Gap, Limit, Reader, RecordRef, Start, Step, Stream};
use crate::{Result, Timestamp};

/// Which records of a stream to read, and in what order. See [`Stream::query`].
///
/// ```
/// use tailwater::{Query, Timestamp};
///
/// let hour = Timestamp::from_millis(1_700_000_000_000)..Timestamp::from_millis(1_700_003_600_000);
/// let newest = Query::new(hour).descending(true).limit(50);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    times: Range<Timestamp>,
    after: Option<u64>,
    before: Option<u64>,
    descending: bool,
    limit: usize,
}

impl Query {
    /// The oldest records with an ingest time in `times`, as many as a default [`Limit`] has.
    pub fn new(times: Range<Timestamp>) -> Query {
        Query { times, after: None, before: None, descending: false, limit: Limit::default().records }
    }

    /// Only records behind the one at `offset`. Default: no such limit.
    pub fn after(self, offset: u64) -> Query {
        Query { after: Some(offset), ..self }
    }

    /// Only records before the one at `offset`. Default: no such limit.
    pub fn before(self, offset: u64) -> Query {
        Query { before: Some(offset), ..self }
    }

    /// Newest first. Default: oldest first.
    pub fn descending(self, descending: bool) -> Query {
        Query { descending, ..self }
    }

    /// At most `limit` records, at least one.
    pub fn limit(self, limit: usize) -> Query {
        Query { limit: limit.max(1), ..self }
    }
}

/// What a query found, in its order. It keeps the memory the records lie in.
#[derive(Clone, Default)]
pub struct Page {
    batches: Vec<Batch>,
    /// Each record as the number of its batch and its offset.
    found: Vec<(usize, u64)>,
    gaps: Vec<Gap>,
    complete: bool,
}

impl Page {
    /// How many records there are.
    pub fn len(&self) -> usize {
        self.found.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// The records, in the query's order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = RecordRef<'_>> + ExactSizeIterator {
        self.found.iter().map(|&(batch, offset)| self.batches[batch].record_at(offset))
    }

    /// What was passed on the way and holds no records any more, in the query's order.
    pub fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    /// Whether nothing was left to read in the query's direction. A page that reached its limit may be followed by an
    /// empty one that is complete.
    pub fn is_complete(&self) -> bool {
        self.complete
    }
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Page({} records, {} gaps, complete: {})", self.len(), self.gaps.len(), self.complete)
    }
}

impl Stream {
    /// Reads the records that `query` asks for and `passes` lets through: those visible and published as it begins.
    ///
    /// Offsets to go on from may come from anybody: one that is no record's stands for the place where it lies.
    ///
    /// # Errors
    /// `Closed`, `StreamDeleted`, `Io`.
    ///
    /// ```
    /// # fn main() -> tailwater::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use tailwater::{Query, Record, Store, StreamName, StreamSpec, Timestamp};
    ///
    /// # let store = Store::open(dir.path())?;
    /// let stream = store.create_stream(StreamSpec::new(StreamName::new("web")?))?;
    /// for line in ["GET /a 200", "GET /b 500", "GET /c 200"] {
    ///     stream.append(&Record::new(line))?;
    /// }
    /// let query = Query::new(Timestamp::MIN..Timestamp::MAX).descending(true).limit(1);
    /// let page = stream.query(&query, |record| record.body().ends_with(b"200"))?;
    /// let newest = page.iter().next().expect("one passes");
    /// assert_eq!(newest.body(), b"GET /c 200");
    /// let page = stream.query(&query.before(newest.offset()), |record| record.body().ends_with(b"200"))?;
    /// assert_eq!(page.iter().next().expect("another one does").body(), b"GET /a 200");
    /// # Ok(())
    /// # }
    /// ```
    pub fn query(&self, query: &Query, passes: impl FnMut(&RecordRef<'_>) -> bool) -> Result<Page> {
        self.core.check()?;
        let core = &self.core;
        let mut end = core.published()?.min(core.seek(Start::Time(query.times.end))?.offset);
        end = end.min(query.before.unwrap_or(u64::MAX));
        let mut start = core.seek(Start::Time(query.times.start))?.offset;
        if let Some(after) = query.after {
            // Where `after` itself stands nobody has said; its block begins with a frame for certain.
            start = start.max(core.block_before(after.saturating_add(1)).min(end));
        }
        let mut search = Search { query, passes, page: Page::default() };
        if query.descending {
            self.backwards(&mut search, start, end)?;
        } else {
            search.page.complete = search.read(self.read_from(start)?, end, query.limit)?;
        }
        Ok(search.page)
    }

    /// Block by block from `end` down to `start`.
    fn backwards<P: FnMut(&RecordRef<'_>) -> bool>(
        &self,
        search: &mut Search<'_, P>,
        start: u64,
        end: u64,
    ) -> Result<()> {
        let mut end = end;
        while start < end {
            let block = self.core.block_before(end).max(start);
            let (records, gaps) = (search.page.found.len(), search.page.gaps.len());
            search.read(self.read_from(block)?, end, usize::MAX)?;
            search.page.found[records..].reverse();
            search.page.gaps[gaps..].reverse();
            end = block;
            let limit = search.query.limit;
            if limit <= search.page.found.len() {
                search.page.complete = end <= start && search.page.found.len() == limit;
                search.page.found.truncate(limit);
                return Ok(());
            }
        }
        search.page.complete = true;
        Ok(())
    }

    /// A reader that stands at `offset`, where a frame or nothing begins.
    fn read_from(&self, offset: u64) -> Result<Reader> {
        Ok(self.read_at(self.core.cursor_before(offset)?))
    }
}

/// A query on its way.
struct Search<'q, P> {
    query: &'q Query,
    passes: P,
    page: Page,
}

impl<P: FnMut(&RecordRef<'_>) -> bool> Search<'_, P> {
    /// Takes what passes of the records up to `end`, `limit` at most; whether it came to `end`.
    fn read(&mut self, mut reader: Reader, end: u64, limit: usize) -> Result<bool> {
        // The block it begins in begins before it.
        let after = self.query.after;
        let mut taken = 0;
        while reader.offset < end {
            let bytes = usize::try_from(end - reader.offset).unwrap_or(usize::MAX);
            let within = Limit { bytes: bytes.min(Limit::default().bytes), ..Limit::default() };
            match reader.next_within(within)? {
                Step::Records(batch) => {
                    let number = self.page.batches.len();
                    let before = self.page.found.len();
                    let mut filled = None;
                    for record in batch.iter().take_while(|record| record.offset() < end) {
                        if after.is_none_or(|after| after < record.offset()) && (self.passes)(&record) {
                            self.page.found.push((number, record.offset()));
                            taken += 1;
                            if taken == limit {
                                filled = Some(record.end());
                                break;
                            }
                        }
                    }
                    if before < self.page.found.len() {
                        self.page.batches.push(batch);
                    }
                    if let Some(behind) = filled {
                        return Ok(end <= behind);
                    }
                }
                Step::Gap(gap) => self.page.gaps.push(gap),
                Step::Passed => {}
                Step::End => break,
            }
        }
        Ok(true)
    }
}

impl Core {
    /// Where the block begins that holds the last frame before `end`; 0 where no segment is known to.
    fn block_before(&self, end: u64) -> u64 {
        let segments = self.segments();
        let after = segments.partition_point(|segment| segment.base < end);
        let Some(segment) = after.checked_sub(1).map(|index| &segments[index]) else { return 0 };
        // A segment that cannot be read is one block: its reader says why.
        let block = segment.region().and_then(|region| {
            let published = segment.published(&region, self.env.read_only)?;
            let index = segment.index(&region, published)?;
            Ok(index.walk_from(end.saturating_sub(1)))
        });
        block.ok().flatten().unwrap_or(segment.base)
    }
}
