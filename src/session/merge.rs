//! One read of a session: the records of many streams, put in the order (ingest time, stream, offset).
//!
//! A read begins with a cut: a time before which no record will come any more to a stream that is settled. What came in up to the
//! cut is merged; what is later waits for the next read. A stream with a claim still open, or one whose filter has
//! not found anything within one read's work, is a bar: nothing behind its position is given, for it may have something
//! before that. So a position in this order says for every stream how far it was read, and is three numbers.
//!
//! Nothing is kept for a slow reader but its place: at most one small batch, lent from the map, for each stream that
//! has something to read.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;

use uuid::Uuid;

use crate::filter::Filter;
use crate::session::polled::{Held, Polled};
use crate::session::registry::Registry;
use crate::stream::{Gap, GapReason, Limit, Reader, Start, Step, Stream};
use crate::{Cursor, Error, ErrorKind, Result, SessionCursor, StreamId, Timestamp};

/// Records read ahead of the merge from one stream, at least and at most.
const CHUNK: (usize, usize) = (16, 1024);
/// Streams whose place is remembered after nothing was left to read in them; of others it is found by time.
const REMEMBERED: usize = 1024;
/// What a session that is not read keeps of either, and of streams with something left to read.
const RESTING: (usize, usize) = (32, 8);
/// Looks at a stream with an open claim, which is committed after a copy's time, before it becomes a bar.
const LOOKS: usize = 64;

/// A place in the order of delivery: of a record, where it begins; of a position, what it lies behind.
type Key = (Timestamp, StreamId, u64);

fn key(cursor: &Cursor) -> Key {
    (cursor.ingest, cursor.stream, cursor.offset)
}

/// Where a session reads.
#[derive(Debug)]
pub(crate) struct Reading {
    /// Behind what was given.
    pub(crate) position: SessionCursor,
    /// Changes that were taken note of; `None`: everything is to be looked at.
    pub(crate) seen: Option<u64>,
    /// Streams that have, or may have, something behind the position.
    pending: BTreeMap<StreamId, Source>,
    /// Where reading ended in streams that had nothing left.
    known: HashMap<StreamId, Cursor>,
}

/// One of the streams, with what was read ahead of it.
#[derive(Debug)]
struct Source {
    stream: Stream,
    reader: Reader,
    /// The batch that the records are in.
    batch: Held,
    /// Its records that were not given yet.
    records: VecDeque<Head>,
    /// Gaps before the first of them.
    gaps: Vec<Gap>,
    /// Immediately behind what was given or passed before the batch.
    from: Cursor,
    /// The last record of the batch that was given.
    given: Option<u64>,
    chunk: usize,
    rest: Rest,
}

/// A record read ahead.
#[derive(Debug, Clone, Copy)]
struct Head {
    offset: u64,
    ingest: Timestamp,
    bytes: u32,
}

impl Head {
    fn key(&self, stream: StreamId) -> Key {
        (self.ingest, stream, self.offset)
    }
}

/// What comes when the records read ahead are used up.
#[derive(Debug)]
enum Rest {
    /// Perhaps more: it was not asked.
    Unasked,
    /// Nothing was found within one read's work, or what is there is not settled.
    Bar,
    /// Nothing that came in up to the cut.
    Nothing,
    /// The stream was deleted.
    Deleted,
    /// It cannot be told.
    Failed(Error),
}

impl Reading {
    /// A session's place that begins at `position`.
    pub(crate) fn new(position: SessionCursor) -> Reading {
        Reading { position, seen: None, pending: BTreeMap::new(), known: HashMap::new() }
    }

    /// Gives up most of what it remembers, while nobody reads. Where it reads on is found by the position.
    pub(crate) fn rest(&mut self) {
        if RESTING.1 < self.pending.len() {
            let places = self.pending.values().map(|source| (source.stream.id(), source.place()));
            self.known.extend(places);
            self.pending.clear();
            self.seen = None;
        }
        let mut kept = 0;
        self.known.retain(|_, _| {
            kept += 1;
            kept <= RESTING.0
        });
        self.known.shrink_to_fit();
    }

    /// Whether something is left from the last read.
    pub(crate) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    pub(crate) fn is_pending(&self, stream: StreamId) -> bool {
        self.pending.contains_key(&stream)
    }

    /// Whether a stream whose last record came in at `last` may have one behind the position.
    pub(crate) fn may_hold(&self, stream: StreamId, last: Timestamp) -> bool {
        let (ingest, of) = (self.position.ingest, self.position.stream);
        ingest < last || ingest == last && of <= stream
    }

    /// Takes a stream in, from the position on, with the records that `filter` lets pass.
    ///
    /// # Errors
    /// `SessionDiverged`, `SessionAhead`, `CursorInvalid` where the position is in this stream and does not hold there; `Io`.
    pub(crate) fn add(&mut self, stream: Stream, filter: Filter) -> Result<()> {
        let id = stream.id();
        let reader = match self.known.remove(&id) {
            Some(cursor) => stream.read_at(cursor),
            None => reader_at(&stream, &self.position)?,
        };
        let from = reader.cursor();
        let source = Source {
            stream,
            reader: reader.filter(filter),
            batch: Held::default(),
            records: VecDeque::new(),
            gaps: Vec::new(),
            from,
            given: None,
            chunk: CHUNK.0,
            rest: Rest::Unasked,
        };
        self.pending.insert(id, source);
        Ok(())
    }

    /// Reads on, up to `limit`, what came in up to `cut`.
    ///
    /// # Errors
    /// A stream's, where nothing can be given before it; what was given before stays given.
    pub(crate) fn read(&mut self, cut: Timestamp, limit: Limit, registry: &Registry) -> Result<Polled> {
        let chunk = (limit.records / self.pending.len().max(1)).clamp(CHUNK.0, CHUNK.1);
        let mut sources: Vec<&mut Source> = self.pending.values_mut().collect();
        let mut order = Order { cut, heads: BinaryHeap::new(), bar: None };
        for (index, source) in sources.iter_mut().enumerate() {
            source.prepare(chunk);
            source.fill();
            order.enter(source, index);
        }
        let mut polled = Polled::new(registry, self.position);
        let (mut records, mut bytes) = (0, 0);
        let is_full = |records, bytes| limit.records.max(1) <= records || 0 < records && limit.bytes <= bytes;
        while !is_full(records, bytes)
            && let Some((next, index)) = order.next()
        {
            let source = &mut sources[index];
            for gap in source.gaps.drain(..) {
                // Its place in the order is right before what follows it.
                let behind = Cursor { ingest: next.0, ..gap.cursor };
                source.from = gap.cursor;
                polled.push_gap(gap, registry.behind(behind));
            }
            // As long as the next one is of the same stream, the others need not be asked.
            let (until, before) = (order.until(), records);
            while let Some(head) = source.records.front()
                && head.key(next.1) < until
                && !is_full(records, bytes)
            {
                polled.push_record(&mut source.batch, head.offset);
                records += 1;
                bytes += head.bytes as usize;
                source.given = Some(head.offset);
                source.records.pop_front();
            }
            if before < records {
                source.fill();
            }
            order.enter(source, index);
        }
        let next_head = order.heads.peek().map(|Reverse((key, _))| *key);
        self.position = self.behind_all_read(cut, next_head, order.bar, polled.given(), registry);
        let failed = self.settle();
        polled.end(self.position, self.pending.is_empty());
        match failed {
            Some(err) if polled.is_empty() => Err(err),
            _ => Ok(polled),
        }
    }

    /// The position behind the last record that was given or passed, with nothing left out before it.
    fn behind_all_read(
        &self,
        cut: Timestamp,
        next_head: Option<Key>,
        bar: Option<Key>,
        given: SessionCursor,
        registry: &Registry,
    ) -> SessionCursor {
        let passed =
            self.pending.values().filter(|source| source.records.is_empty() && source.gaps.is_empty());
        let passed = passed.map(|source| source.reader.cursor());
        let in_reach = passed.filter(|cursor| {
            let key = key(cursor);
            cursor.ingest <= cut
                && next_head.is_none_or(|head| key < head)
                && bar.is_none_or(|bar| key <= bar)
        });
        in_reach.map(|cursor| registry.behind(cursor)).fold(given, Ord::max)
    }

    /// Lets go of the streams that have nothing left; the error of one that failed.
    fn settle(&mut self) -> Option<Error> {
        let mut failed = None;
        let known = &mut self.known;
        self.pending.retain(|id, source| {
            match std::mem::replace(&mut source.rest, Rest::Unasked) {
                Rest::Failed(err) => failed = Some(err),
                Rest::Deleted if source.gaps.is_empty() => return false,
                Rest::Nothing if source.records.is_empty() && source.gaps.is_empty() => {
                    if REMEMBERED <= known.len() {
                        known.clear();
                    }
                    known.insert(*id, source.reader.cursor());
                    return false;
                }
                _ => {}
            }
            true
        });
        failed
    }
}

/// What comes next of all the sources, each by its index.
struct Order {
    cut: Timestamp,
    heads: BinaryHeap<Reverse<(Key, usize)>>,
    /// Nothing is given from here on.
    bar: Option<Key>,
}

impl Order {
    /// Takes the first head out, if it may be given.
    fn next(&mut self) -> Option<(Key, usize)> {
        let Reverse((key, index)) = *self.heads.peek()?;
        if self.bar.is_some_and(|bar| bar <= key) || self.cut < key.0 {
            return None;
        }
        self.heads.pop();
        Some((key, index))
    }

    /// Up to where nothing else comes before what is given.
    fn until(&self) -> Key {
        // Behind everything of the cut.
        let end =
            (Timestamp::from_nanos(self.cut.as_nanos().saturating_add(1)), StreamId::from(Uuid::nil()), 0);
        let head = self.heads.peek().map_or(end, |Reverse((key, _))| *key);
        head.min(self.bar.unwrap_or(end)).min(end)
    }

    /// Enters a source's next head, or what stands in its place.
    fn enter(&mut self, source: &Source, index: usize) {
        let id = source.stream.id();
        let head = match (source.records.front(), source.gaps.first(), &source.rest) {
            (Some(head), None, _) => Some(head.key(id)),
            (Some(head), Some(gap), _) => Some((head.ingest, id, gap.start)),
            (None, Some(gap), Rest::Nothing | Rest::Deleted) => Some((self.cut, id, gap.start)),
            (None, None, Rest::Nothing | Rest::Deleted) => None,
            (None, gap, Rest::Unasked | Rest::Bar | Rest::Failed(_)) => {
                // Gaps that wait for what follows them are not given yet.
                let at = key(&if gap.is_none() { source.reader.cursor() } else { source.from });
                self.bar = Some(self.bar.map_or(at, |bar| bar.min(at)));
                None
            }
        };
        self.heads.extend(head.map(|key| Reverse((key, index))));
    }
}

impl Source {
    /// Drops what was read ahead and has gone since.
    fn prepare(&mut self, chunk: usize) {
        self.chunk = self.chunk.max(chunk);
        self.batch.begin();
        let is_gone = self.stream.core.check().is_err()
            || self.records.front().is_some_and(|head| head.ingest < self.stream.core.cutoff());
        if is_gone {
            let from = self.place();
            self.records.clear();
            self.gaps.clear();
            self.given = None;
            self.from = from;
            self.reader.go_to(from);
        }
    }

    /// Immediately behind what was given or passed.
    fn place(&self) -> Cursor {
        self.given.map_or(self.from, |offset| self.batch.cursor_behind(offset))
    }

    /// Reads ahead where nothing was.
    fn fill(&mut self) {
        if !self.records.is_empty() {
            return;
        }
        if self.gaps.is_empty() {
            self.from = self.reader.cursor();
            self.given = None;
        }
        // Before reading: of a stream that is settled now, its end is the end of all that came in up to the cut, and of what comes
        // later `changes` will tell.
        let core = Arc::clone(&self.stream.core);
        let mut look = core.look();
        for _ in 0..LOOKS {
            if look.settled {
                break;
            }
            crate::sync::yield_now();
            look = core.look();
        }
        self.rest = loop {
            match self.reader.next_within(Limit { records: self.chunk, ..Limit::default() }) {
                Ok(Step::Records(batch)) => {
                    self.records.extend(batch.iter().map(|record| Head {
                        offset: record.offset(),
                        ingest: record.ingest_time(),
                        bytes: (record.end() - record.offset()) as u32,
                    }));
                    self.batch = Held::new(batch);
                    self.chunk = (self.chunk * 4).min(CHUNK.1);
                    return;
                }
                Ok(Step::Gap(gap)) => self.note(gap),
                Ok(Step::Passed) => break Rest::Bar,
                Ok(Step::End) if look.settled => break Rest::Nothing,
                Ok(Step::End) => break Rest::Bar,
                Err(err) if *err.kind() == ErrorKind::StreamDeleted => {
                    self.note_deleted();
                    break Rest::Deleted;
                }
                Err(err) => break Rest::Failed(err),
            }
        };
    }

    /// Takes note of a gap; one that goes on with the last is one with it.
    fn note(&mut self, gap: Gap) {
        match self.gaps.last_mut() {
            Some(last) if last.reason == gap.reason && last.end == gap.start => {
                *last = Gap { start: last.start, ..gap };
            }
            _ => self.gaps.push(gap),
        }
    }

    /// What is left of a deleted stream is a gap.
    fn note_deleted(&mut self) {
        let (stream, start) = (self.stream.id(), self.from.offset);
        // As far as it can be told still.
        let end = self.stream.core.published().unwrap_or(start);
        if start < end {
            let cursor = Cursor { offset: end, ..self.from };
            self.note(Gap { stream, start, end, reason: GapReason::Deleted, cursor });
        }
    }
}

/// A reader of `stream` that begins behind `position`.
pub(crate) fn reader_at(stream: &Stream, position: &SessionCursor) -> Result<Reader> {
    let id = stream.id();
    if let Some(cursor) = position.in_stream().filter(|cursor| cursor.stream == id) {
        let opened = stream.read(Start::Cursor(cursor));
        return match opened.as_ref().map_err(Error::kind) {
            Err(ErrorKind::CursorExpired { .. }) => Ok(stream.read_at(cursor)),
            _ => opened,
        };
    }
    if position.ingest == Timestamp::MIN {
        return stream.read(Start::Beginning);
    }
    // Behind the position's own time where it lies behind this stream.
    let beyond = if id < position.stream { 1 } else { 0 };
    let time = Timestamp::from_nanos(position.ingest.as_nanos().saturating_add(beyond));
    Ok(stream.read_at(stream.core.behind(time)?))
}

/// Says of a stream's error what it means for the session that has `position`; it is now `now`.
pub(crate) fn as_sessions(err: Error, position: SessionCursor, tail: SessionCursor) -> Error {
    let kind = match err.kind() {
        ErrorKind::CursorDiverged { safe } => {
            let safe = SessionCursor { offset: safe.offset, epoch: safe.epoch, ..position };
            ErrorKind::SessionDiverged { safe }
        }
        ErrorKind::CursorAhead { .. } => ErrorKind::SessionAhead { tail },
        _ => return err,
    };
    Error::new(kind, format!("resume a session: {err}"))
}
