//! Finding positions: by cursor, by time, by count; and what was in force before a position.
//!
//! Segments are found by bisection over their headers, blocks in a segment's index, and at most one block is
//! walked. Damage on the way makes a seek land earlier, never later: the reader then reports the gap.

use std::sync::Arc;

use crate::format::Epoch;
use crate::format::frame::Kind;
use crate::mutants::{self, Mutant};
use crate::segment::Segment;
use crate::segment::walk::{self, Found};
use crate::stream::Core;
use crate::stream::reader::Standing;
use crate::{Cursor, Error, ErrorKind, Result, Timestamp};

/// Where to begin reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At the published end: only what is appended from here on.
    Now,
    /// At the oldest visible record.
    Beginning,
    /// Immediately after the last record that the cursor's owner consumed.
    Cursor(Cursor),
    /// At the first record with this ingest time or a later one. Takes time logarithmic in the size of the log.
    Time(Timestamp),
    /// At the first record with this event time or a later one. Event times need not rise along the log, so this looks
    /// at the index of every segment before it.
    EventTime(Timestamp),
    /// At the last this many visible records, or at the oldest where there are fewer.
    Last(u64),
}

/// What was in force just before an offset.
type Before = (Epoch, Timestamp);

impl Core {
    /// The position that `start` means.
    pub(crate) fn seek(&self, start: Start) -> Result<Cursor> {
        loop {
            let segments = self.segments();
            match self.seek_once(start) {
                // The list changes before files are removed. So where it is another by now retention may have been quicker,
                // and what failed may be no part of the log any more.
                Err(err) if *err.kind() == ErrorKind::Io && !Arc::ptr_eq(&segments, &self.segments()) => {}
                done => return done,
            }
        }
    }

    fn seek_once(&self, start: Start) -> Result<Cursor> {
        let offset = match start {
            Start::Cursor(cursor) => return self.resume(cursor),
            Start::Now => return self.now(),
            Start::Beginning => self.visible_from(self.cutoff())?,
            Start::Time(time) => self.first_since(time.max(self.cutoff()))?,
            Start::EventTime(time) => self.first_event_since(time)?,
            Start::Last(0) => return self.now(),
            Start::Last(records) => self.last(records)?.max(self.visible_from(self.cutoff())?),
        };
        self.cursor_before(offset)
    }

    pub(super) fn cursor_before(&self, offset: u64) -> Result<Cursor> {
        let (epoch, ingest) = match self.before(offset)? {
            Some(before) => before,
            None => {
                let writer = self.writer.lock();
                (writer.epoch, writer.last_ingest)
            }
        };
        Ok(self.cursor_at(epoch, offset, ingest))
    }

    /// The position at the published end.
    fn now(&self) -> Result<Cursor> {
        if !self.env.read_only {
            // Mostly nothing is being written this instant, and the writer knows all there is to know.
            for _ in 0..64 {
                let writer = self.writer.lock();
                if writer.active.as_ref().is_none_or(|active| active.is_settled()) {
                    return Ok(self.cursor_at(writer.epoch, writer.next(), writer.last_ingest));
                }
                drop(writer);
                std::hint::spin_loop();
            }
        }
        let end = self.published()?;
        self.cursor_before(end)
    }

    /// The segment to read on in behind a cursor, where one look at it, [`holds`](Core::holds), can show that the cursor
    /// holds. What stands there has been asked for, and arrives while the caller does something else. `None`: whatever else is for
    /// [`resume`](Core::resume) to say.
    pub(super) fn stand_behind(&self, cursor: &Cursor) -> Option<Standing> {
        if !self.may_hold(cursor) {
            return None;
        }
        Standing::new(self.segment_at(cursor.offset)?).ok()
    }

    /// Whether a sound frame behind a cursor is all it takes for the cursor to hold: it is of the current epoch.
    #[inline]
    pub(super) fn may_hold(&self, cursor: &Cursor) -> bool {
        let Some((epoch, epoch_start)) = self.settled_epoch() else { return false };
        cursor.stream == self.id
            && !self.env.read_only
            && cursor.epoch == epoch
            && epoch_start < cursor.offset
            && self.log_start() <= cursor.offset
            && cursor.offset.is_multiple_of(8)
    }

    /// Whether a sound frame that has not expired stands behind a cursor, in `place`.
    pub(super) fn holds(&self, cursor: &Cursor, place: &Standing) -> Result<bool> {
        let cutoff = self.cutoff();
        Ok(place.header(cursor.offset, false)?.is_some_and(|header| {
            matches!(header.word.kind(), Some(Kind::Record | Kind::Batch)) && cutoff <= header.ingest
        }))
    }

    /// Checks a cursor against every way in which it may not hold here, and the log against damage at its position.
    fn resume(&self, mut cursor: Cursor) -> Result<Cursor> {
        let doing = |what: &str| {
            format!("resume stream {} from a cursor at offset {}: {what}", self.id, cursor.offset)
        };
        if cursor.stream != self.id && !mutants::on(Mutant::CursorOfAnyStream) {
            let text = format!("resume stream {} from a cursor: it is of stream {}", self.id, cursor.stream);
            return Err(Error::new(ErrorKind::CursorStreamMismatch, text));
        }
        if !cursor.offset.is_multiple_of(8) {
            return Err(Error::new(ErrorKind::CursorInvalid, doing("no record ends there")));
        }
        if mutants::on(Mutant::DivergedResumes) || mutants::on(Mutant::CursorOfAnyStream) {
            cursor.epoch = self.epoch_at(cursor.offset)?.unwrap_or(cursor.epoch);
            cursor.stream = self.id;
        }
        let published = self.published()?;
        let kept = self.kept_end(cursor.epoch, published)?;
        if kept < cursor.offset {
            let is_current = if self.env.read_only {
                self.epoch_at(published)? == Some(cursor.epoch)
            } else {
                // Where an epoch is owed, or begins just now, a crash took what is missing.
                self.settled_epoch().is_some_and(|(epoch, _)| epoch == cursor.epoch)
            };
            if is_current {
                let tail = self.cursor_before(published)?;
                let text = doing(&format!("it lies ahead of the published end, {published}"));
                return Err(Error::new(ErrorKind::CursorAhead { tail }, text));
            }
            let safe = self.cursor_before(kept)?;
            let text =
                doing(&format!("of epoch {} the log kept only what lies before {kept}", cursor.epoch.number));
            return Err(Error::new(ErrorKind::CursorDiverged { safe }, text));
        }
        let cutoff = self.cutoff();
        let known = self.segments().first().is_some_and(|first| first.base <= cursor.offset);
        let differs = known && self.epoch_at(cursor.offset)?.is_some_and(|epoch| epoch != cursor.epoch);
        // Of a known epoch it differs only where damage hides that epoch's mark: what comes behind it tells of it.
        if differs && !self.has_had(cursor.epoch)? {
            // An epoch this log never had, or one that ended before all that is left of it. Nobody knows where.
            let safe = self.cursor_before(self.visible_from(cutoff)?)?;
            let text = doing(&format!("epoch {} is not of this log", cursor.epoch.number));
            return Err(Error::new(ErrorKind::CursorDiverged { safe }, text));
        }
        let start = self.log_start();
        if cursor.offset < start || self.is_expired_at(cursor.offset, cutoff)? {
            let visible = self.visible_from(cutoff)?;
            let skipped_bytes = visible.saturating_sub(cursor.offset);
            if 0 < skipped_bytes {
                let oldest = self.cursor_before(visible)?;
                let text = doing(&format!("{skipped_bytes} bytes behind it expired"));
                return Err(Error::new(ErrorKind::CursorExpired { oldest, skipped_bytes }, text));
            }
        }
        if !self.is_boundary(cursor.offset, published)? {
            return Err(Error::new(ErrorKind::CursorInvalid, doing("it points inside a frame")));
        }
        Ok(cursor)
    }

    /// The last offset up to which the log is the one that `epoch` saw: where a later one begins, or the published end.
    fn kept_end(&self, epoch: Epoch, published: u64) -> Result<u64> {
        if !self.env.read_only && epoch == self.writer.lock().epoch {
            return Ok(published);
        }
        let is_later =
            |other: Epoch| epoch.number < other.number || (epoch.number == other.number && epoch != other);
        let (before, later) = self.turn(is_later);
        let kept = later.map_or(published, |(base, _)| base);
        let later = before.map(|segment| self.first_epoch(&segment, is_later)).transpose()?;
        Ok(later.flatten().map_or(kept, |(start, _)| start))
    }

    /// Whether anything sound in the log names the epoch.
    fn has_had(&self, epoch: Epoch) -> Result<bool> {
        if !self.env.read_only && self.writer.lock().epoch.number < epoch.number {
            return Ok(false);
        }
        let (before, after) = self.turn(|other| epoch.number <= other.number);
        if after.is_some_and(|(_, other)| other == epoch) {
            return Ok(true);
        }
        let began = before.map(|segment| self.first_epoch(&segment, |other| other == epoch)).transpose()?;
        Ok(began.flatten().is_some())
    }

    /// The last segment whose header names an epoch that is not `reached`, and the base and that epoch of the first whose header
    /// names one that is: epochs rise along the log. A segment that cannot be read tells nothing; its neighbours do.
    fn turn(&self, reached: impl Fn(Epoch) -> bool) -> (Option<Arc<Segment>>, Option<(u64, Epoch)>) {
        let segments = self.segments();
        let (mut low, mut high) = (0, segments.len());
        let (mut before, mut after) = (None, None);
        while low < high {
            let middle = low + (high - low) / 2;
            let readable = (middle..high).find_map(|at| Some((at, segments[at].head().ok()?.epoch)));
            match readable {
                Some((at, epoch)) if !reached(epoch) => {
                    before = Some(Arc::clone(&segments[at]));
                    low = at + 1;
                }
                Some((at, epoch)) => {
                    after = Some((segments[at].base, epoch));
                    high = middle;
                }
                None => high = middle,
            }
        }
        (before, after)
    }

    /// Where the first epoch that is `wanted` begins in a segment, if it can be read.
    fn first_epoch(
        &self,
        segment: &Arc<Segment>,
        wanted: impl Fn(Epoch) -> bool,
    ) -> Result<Option<(u64, Epoch)>> {
        let Ok(region) = segment.region() else { return Ok(None) };
        let end = segment.published(&region, self.env.read_only)?;
        let index = segment.index(&region, end)?;
        Ok(index.epochs.iter().copied().find(|(_, epoch)| wanted(*epoch)))
    }

    /// The epoch in force just before `offset`.
    fn epoch_at(&self, offset: u64) -> Result<Option<Epoch>> {
        if !self.env.read_only {
            let (epoch, start) = self.current_epoch();
            if start < offset {
                return Ok(Some(epoch));
            }
        }
        Ok(self.before(offset)?.map(|(epoch, _)| epoch))
    }

    /// Whether the record at `offset`, or the first behind the marks there, has expired, if it can be read.
    fn is_expired_at(&self, offset: u64, cutoff: Timestamp) -> Result<bool> {
        if self.segment_at(offset).is_none() {
            return Ok(offset < self.published()?);
        }
        let mut at = offset;
        while let Some(segment) = self.segment_at(at) {
            let Ok(region) = segment.region() else { return Ok(false) };
            let end = segment.published(&region, self.env.read_only)?;
            let lent = segment.lend(&region, end)?;
            let frames = segment.frames(&lent)?;
            if end <= at {
                return Ok(false);
            }
            while at < frames.end() {
                let Some(header) = frames.header(at) else { return Ok(false) };
                match header.word.kind() {
                    Some(Kind::Record) => return Ok(header.ingest < cutoff),
                    Some(Kind::Batch | Kind::Void | Kind::Epoch) => at += header.word.step() as u64,
                    Some(Kind::Lost) | None => return Ok(false),
                }
            }
            if at < end {
                // The file is shorter than its segment.
                return Ok(false);
            }
        }
        Ok(false)
    }

    /// Whether a frame begins at `offset`, or the log ends there.
    fn is_boundary(&self, offset: u64, published: u64) -> Result<bool> {
        if offset == published {
            return Ok(true);
        }
        let Some(segment) = self.segment_at(offset) else { return Ok(true) };
        // A segment that cannot be read is a gap, and every place in it as good as any.
        let Ok(region) = segment.region() else { return Ok(true) };
        let end = segment.published(&region, self.env.read_only)?;
        let lent = segment.lend(&region, end)?;
        let frames = segment.frames(&lent)?;
        if frames.end() <= offset || frames.header(offset).is_some() {
            return Ok(true);
        }
        let index = segment.index(&region, end)?;
        let from = index.walk_from(offset).unwrap_or(segment.base);
        Ok(walk::is_boundary(frames, from, offset))
    }

    /// The segment whose frames cover `offset`.
    fn segment_at(&self, offset: u64) -> Option<Arc<Segment>> {
        self.last_begun(offset).filter(|segment| segment.holds(offset))
    }

    /// The last segment that begins at or before `offset`.
    fn last_begun(&self, offset: u64) -> Option<Arc<Segment>> {
        loop {
            let segment = {
                let segments = self.segments.read();
                let after = segments.partition_point(|segment| segment.base <= offset);
                let segment = &segments[after.checked_sub(1)?];
                // Mostly somebody will read there. It arrives while the segment is counted and its memory looked for.
                segment.fetch(offset);
                Arc::clone(segment)
            };
            if !self.forget_stranger(&segment) {
                return Some(segment);
            }
        }
    }

    /// Epoch and ingest time in force just before `offset`; `None` where no segment tells.
    pub(crate) fn before(&self, offset: u64) -> Result<Option<Before>> {
        let Some(segment) = self.last_begun(offset) else { return Ok(None) };
        let Ok(head) = segment.head() else { return Ok(None) };
        let mut before = (head.epoch, head.previous_ingest);
        if offset == segment.base {
            return Ok(Some(before));
        }
        let Ok(region) = segment.region() else { return Ok(Some(before)) };
        let end = segment.published(&region, self.env.read_only)?;
        let index = segment.index(&region, end)?;
        if let Some((_, epoch)) = index.epoch_before(offset) {
            before.0 = epoch;
        }
        let lent = segment.lend(&region, end)?;
        let frames = segment.frames(&lent)?;
        let mut until = offset;
        // Back from block to block, should one have no record before the offset.
        while segment.base < until {
            let from = index.walk_from(until - 8).unwrap_or(segment.base);
            let mut last = None;
            for found in frames.walk(from) {
                match found {
                    Found::Frame(at, _) if until <= at => break,
                    Found::Frame(_, frame) if walk::is_record(&frame) => last = Some(frame.header.ingest),
                    Found::Frame(..) => {}
                    Found::Damage(range, _) if until <= range.start => break,
                    Found::Damage(..) => {}
                }
            }
            if let Some(ingest) = last {
                before.1 = ingest;
                break;
            }
            until = from;
        }
        Ok(Some(before))
    }

    /// The offset of the oldest record that has not expired, or the published end.
    pub(crate) fn visible_from(&self, cutoff: Timestamp) -> Result<u64> {
        let start = self.log_start();
        // Before the look at the segments: what is appended after it must not be passed.
        let published = self.published()?;
        match self.segments().first() {
            None => Ok(start.max(published)),
            Some(first) if start < first.base => Ok(start),
            Some(_) if !self.is_expired_at(start, cutoff)? => Ok(start),
            Some(_) => Ok(self.first_since(cutoff)?.max(start)),
        }
    }

    /// The offset of the first record with an ingest time of `time` or later, or the published end.
    fn first_since(&self, time: Timestamp) -> Result<u64> {
        // Before the look at the segments: of what is appended after it everything is to be read.
        let published = self.published()?;
        let segments = self.segments();
        let begins_before =
            |segment: &Arc<Segment>| segment.head().is_ok_and(|head| head.previous_ingest < time);
        let first = segments.partition_point(begins_before).saturating_sub(1);
        for segment in &segments[first..] {
            let Ok(region) = segment.region() else { continue };
            let end = segment.published(&region, self.env.read_only)?;
            let index = segment.index(&region, end)?;
            let Some(block) = index.walk_from_time(time) else { continue };
            let lent = segment.lend(&region, end)?;
            for found in segment.frames(&lent)?.walk(block.offset) {
                if let Found::Frame(offset, frame) = found
                    && walk::is_record(&frame)
                    && time <= frame.header.ingest
                {
                    return Ok(offset);
                }
            }
        }
        Ok(published)
    }

    /// The position immediately behind the last record with an ingest time before `time`, whatever has expired since. Where
    /// what lay there was removed, it is the beginning of the log, so that reading on from it reports that as a gap.
    ///
    /// Unlike the first record of that time or later, it lies before whatever is damaged between the two.
    pub(crate) fn behind(&self, time: Timestamp) -> Result<Cursor> {
        let segments = self.segments();
        let begins_before =
            |segment: &Arc<Segment>| segment.head().is_ok_and(|head| head.previous_ingest < time);
        let candidates = segments.partition_point(begins_before);
        for segment in segments[..candidates].iter().rev() {
            let Ok(region) = segment.region() else { continue };
            let end = segment.published(&region, self.env.read_only)?;
            let index = segment.index(&region, end)?;
            let Some(block) = index.walk_from_time(time) else { continue };
            let lent = segment.lend(&region, end)?;
            let mut last = None;
            for found in segment.frames(&lent)?.walk(block.offset) {
                if let Found::Frame(offset, frame) = found
                    && walk::is_record(&frame)
                {
                    if time <= frame.header.ingest {
                        break;
                    }
                    last = Some(offset + frame.header.word.step() as u64);
                }
            }
            if let Some(offset) = last {
                return self.cursor_before(offset);
            }
        }
        let first =
            segments.first().map(|first| (first.base, first.head().ok().map(|head| head.previous_ingest)));
        let (base, before) = match first {
            Some((base, Some(before))) => (base, before),
            Some((base, None)) => (base, Timestamp::MIN),
            None => (self.log_start(), self.writer.lock().last_ingest),
        };
        if before < time {
            return self.cursor_before(base.max(self.log_start()));
        }
        // Of what was removed the last record's time is known, and not its place.
        Ok(self.cursor_at(Epoch::default(), 0, Timestamp::MIN))
    }

    /// The position before the oldest record that has not expired.
    pub(crate) fn visible(&self) -> Result<Cursor> {
        self.cursor_before(self.visible_from(self.cutoff())?)
    }

    /// Bytes of log behind `offset` that have expired.
    pub(crate) fn expired_behind(&self, offset: u64) -> Result<u64> {
        Ok(self.visible_from(self.cutoff())?.saturating_sub(offset))
    }

    /// The offset of the first visible record with an event time of `time` or later, or the published end.
    fn first_event_since(&self, time: Timestamp) -> Result<u64> {
        // Before the look at the segments: of what is appended after it everything is to be read.
        let published = self.published()?;
        let visible = self.visible_from(self.cutoff())?;
        for segment in self.segments().iter() {
            if segment.end().is_some_and(|end| end <= visible) {
                continue;
            }
            let Ok(region) = segment.region() else { continue };
            let end = segment.published(&region, self.env.read_only)?;
            let index = segment.index(&region, end)?;
            let lent = segment.lend(&region, end)?;
            let frames = segment.frames(&lent)?;
            for (number, block) in index.blocks.iter().enumerate() {
                let behind = index.blocks.get(number + 1).map_or(u64::MAX, |next| next.offset);
                if block.max_event < time || behind <= visible {
                    continue;
                }
                for found in frames.walk(block.offset) {
                    match found {
                        Found::Frame(offset, _) if behind <= offset => break,
                        Found::Frame(offset, frame) if visible <= offset && walk::is_record(&frame) => {
                            let event = frame.record().meta.and_then(|meta| meta.event_time);
                            if event.is_some_and(|event| time <= event) {
                                return Ok(offset);
                            }
                        }
                        _ => {}
                    }
                }
            }
        }
        Ok(published.max(visible))
    }

    /// The offset of the `records`-th readable record from the end, or of the first.
    fn last(&self, records: u64) -> Result<u64> {
        // An index counts by headers, so damaged records among them, and those do not count here.
        let mut wanted = records;
        loop {
            let offset = self.last_by_index(wanted)?;
            let first = self.segments().first().map_or(u64::MAX, |first| first.base);
            if offset <= first.max(self.log_start()) {
                return Ok(offset);
            }
            let missing = records.saturating_sub(self.readable_from(offset)?);
            if missing == 0 {
                return Ok(offset);
            }
            wanted = wanted.saturating_add(missing);
        }
    }

    /// How many records can be read from `offset` on.
    fn readable_from(&self, offset: u64) -> Result<u64> {
        let mut readable = 0;
        for segment in self.segments().iter() {
            if segment.end().is_some_and(|end| end <= offset) {
                continue;
            }
            let Ok(region) = segment.region() else { continue };
            let end = segment.published(&region, self.env.read_only)?;
            let lent = segment.lend(&region, end)?;
            let records = segment
                .frames(&lent)?
                .walk(offset.max(segment.base))
                .filter(|found| matches!(found, Found::Frame(_, frame) if walk::is_record(frame)));
            readable += records.count() as u64;
        }
        Ok(readable)
    }

    /// The offset of the `records`-th record from the end by the segments' indexes, or of the first.
    fn last_by_index(&self, records: u64) -> Result<u64> {
        let mut wanted = records;
        for segment in self.segments().iter().rev() {
            let Ok(region) = segment.region() else { continue };
            let end = segment.published(&region, self.env.read_only)?;
            let index = segment.index(&region, end)?;
            if index.records < wanted {
                wanted -= index.records;
                continue;
            }
            let skip = index.records - wanted;
            let Some(block) = index.walk_from_record(skip) else { continue };
            let mut skip = skip - block.records;
            let lent = segment.lend(&region, end)?;
            let frames = segment.frames(&lent)?;
            // As the index was made.
            for (offset, frame) in frames.glances(block.offset) {
                if walk::is_record(&frame) {
                    if skip == 0 {
                        return Ok(offset);
                    }
                    skip -= 1;
                }
            }
        }
        Ok(self.log_start())
    }
}
