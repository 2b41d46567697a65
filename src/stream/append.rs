//! Appending: claim under the writer's lock, write outside it, publish, and do what durability asks.

use std::sync::Arc;

use crate::format::Epoch;
use crate::format::frame::{self, Checked, HEADER, Kind, Word};
use crate::mutants::{self, Mutant};
use crate::record::Record;
use crate::segment::active::Open;
use crate::stream::{Core, Durability, State, Stream, Writer};
use crate::sync::atomic::Ordering;
use crate::{Cursor, Error, ErrorKind, Result, StreamId, Timestamp};

/// Where appended records are. Making a cursor of it costs nothing until asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    stream: StreamId,
    epoch: Epoch,
    offset: u64,
    end: u64,
    ingest: Timestamp,
    records: u32,
}

impl Appended {
    /// The offset of the first record.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The offset behind the last record: what `append_if` takes to follow it.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// The ingest time the engine gave them, all the same. Its resolution is that of the kernel's coarse clock, 1 to 4 ms.
    pub fn ingest_time(&self) -> Timestamp {
        self.ingest
    }

    /// How many records.
    pub fn records(&self) -> u32 {
        self.records
    }

    /// The cursor immediately after the last of them.
    pub fn cursor(&self) -> Cursor {
        Cursor { stream: self.stream, epoch: self.epoch, offset: self.end, ingest: self.ingest }
    }
}

/// What the claim's lock said is to be done once the frame is published.
#[derive(Clone, Copy, Default)]
struct After {
    wake: bool,
    announced: bool,
    dirty: bool,
    thirsty: bool,
}

impl Stream {
    /// Appends one record, with the stream's durability.
    ///
    /// With `Interval`, the default, it returns when readers see the record: no syscall, no allocation.
    ///
    /// # Errors
    /// `TooLarge` and `Invalid` before anything is stored; `NoSpace` (nothing stored, works again by itself once there is
    /// room); `Poisoned` after a failed sync; `Closed`, `StreamDeleted`, `ReadOnly`; `Io`.
    ///
    /// ```
    /// # fn main() -> tailwater::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use tailwater::{Level, Record, Store, StreamName, StreamSpec};
    /// # let store = Store::open(dir.path())?;
    /// let stream = store.create_stream(StreamSpec::new(StreamName::new("web")?))?;
    /// let appended = stream.append(&Record::new("GET / 200").level(Level::Info))?;
    /// assert_eq!(appended.end(), stream.published()?);
    /// # Ok(())
    /// # }
    /// ```
    // Part of its caller, here and below: the compiler leaves out what the caller knows of the record or does not ask of the result. As
    // a call, an append takes a fifth longer.
    #[inline(always)]
    pub fn append(&self, record: &Record<'_>) -> Result<Appended> {
        self.append_with(record, self.core.durability())
    }

    /// Appends one record with a durability of its own.
    ///
    /// # Errors
    /// As [`append`](Stream::append).
    #[inline(always)]
    pub fn append_with(&self, record: &Record<'_>, durability: Durability) -> Result<Appended> {
        self.core.append(record, durability, None)
    }

    /// Appends one record if the log still ends at `tail`, so that of several writers one wins. Where an epoch begins the log's end moves
    /// as well.
    ///
    /// # Errors
    /// `TailMoved`, with nothing stored, where it does not; else as [`append`](Stream::append).
    pub fn append_if(&self, record: &Record<'_>, tail: u64) -> Result<Appended> {
        self.core.append(record, self.core.durability(), Some(tail))
    }

    /// Appends up to [`MAX_BATCH_RECORDS`](crate::MAX_BATCH_RECORDS) records of at most [`MAX_BATCH`](crate::MAX_BATCH)
    /// bytes together, all or nothing, also across a crash. No other record comes between them, and they share one ingest time.
    ///
    /// # Errors
    /// As [`append`](Stream::append); `Invalid` for an empty batch.
    pub fn append_batch(&self, records: &[Record<'_>]) -> Result<Appended> {
        self.append_batch_with(records, self.core.durability())
    }

    /// Appends a batch with a durability of its own.
    ///
    /// # Errors
    /// As [`append_batch`](Stream::append_batch).
    pub fn append_batch_with(&self, records: &[Record<'_>], durability: Durability) -> Result<Appended> {
        self.core.append_batch(records, durability)
    }
}

impl Core {
    #[inline]
    fn durability(&self) -> Durability {
        self.policy.durability()
    }

    #[inline(always)]
    fn append(
        self: &Arc<Core>,
        record: &Record<'_>,
        durability: Durability,
        tail: Option<u64>,
    ) -> Result<Appended> {
        let checked = Checked::new(record)?;
        let (open, epoch, after) = self.claim(checked.word(), durability, tail)?;
        let appended = self.appended(&open, epoch, open.offset(), 1);
        open.write_record(&checked);
        self.published_one(after, durability, appended.end)?;
        Ok(appended)
    }

    fn append_batch(self: &Arc<Core>, records: &[Record<'_>], durability: Durability) -> Result<Appended> {
        if let [record] = records {
            return self.append(record, durability, None);
        }
        if records.is_empty() {
            return Err(Error::invalid("records", "an empty batch"));
        }
        if frame::MAX_BATCH_RECORDS < records.len() {
            return Err(frame::too_large("append a batch: records", frame::MAX_BATCH_RECORDS, records.len()));
        }
        let (mut payload, mut length) = (0, HEADER);
        for record in records {
            let checked = Checked::new(record)?;
            payload += checked.payload();
            length += checked.word().span();
        }
        if frame::MAX_BATCH < payload {
            return Err(frame::too_large(
                "append a batch: bytes of bodies and metadata",
                frame::MAX_BATCH,
                payload,
            ));
        }
        let count = records.len() as u32;
        let (open, epoch, after) = self.claim(Word::new(Kind::Batch, length), durability, None)?;
        let appended = self.appended(&open, epoch, open.offset() + HEADER as u64, count);
        open.write_batch(records.iter().map(Checked::again), length);
        self.published_one(after, durability, appended.end)?;
        Ok(appended)
    }

    #[inline]
    fn appended(&self, open: &Open, epoch: Epoch, offset: u64, records: u32) -> Appended {
        Appended { stream: self.id, epoch, offset, end: open.end(), ingest: open.ingest, records }
    }

    /// Takes the next place in the log. The one lock of the append path; nothing waits for the disk under it.
    #[inline(always)]
    fn claim(
        self: &Arc<Core>,
        word: Word,
        durability: Durability,
        tail: Option<u64>,
    ) -> Result<(Open, Epoch, After)> {
        loop {
            let mut writer = self.writer.lock();
            if let Some(tail) = tail {
                check_tail(&writer, tail)?;
            }
            let Writer { state, active, last_ingest, watched, .. } = &mut *writer;
            if let (State::Open, Some(active)) = (*state, active)
                && active.fits(word.length())
            {
                // Before the clock is read: see `changes`.
                let announced = *watched;
                if announced {
                    self.announce();
                }
                // Under the lock, so that times follow offsets, and that whoever takes this lock after reading
                // the clock finds no claim of an earlier time still to come.
                let ingest = self.env.clock.now().max(*last_ingest);
                *last_ingest = ingest;
                let open = active.claim(word, ingest, self.durable.load(Ordering::Relaxed));
                let position = active.position();
                let thirsty = writer.pace.thirsty_at <= position;
                let dirty = !writer.dirty && durability != Durability::Buffered;
                let mut after = After::default();
                if announced | writer.wanted | dirty | thirsty {
                    after = writer.note(announced, dirty, thirsty);
                }
                return Ok((open, writer.epoch, after));
            }
            drop(writer);
            self.roll(word.length())?;
        }
    }

    #[inline]
    fn published_one(self: &Arc<Core>, after: After, durability: Durability, end: u64) -> Result<()> {
        if after.wake | after.announced | after.dirty | after.thirsty {
            self.follow_up(after);
        }
        let waits = durability == Durability::Sync && !mutants::on(Mutant::AckBeforeSync);
        if waits { self.sync_to(end) } else { Ok(()) }
    }

    #[cold]
    fn announce(&self) {
        self.changes.note(self.id);
    }

    #[cold]
    fn follow_up(self: &Arc<Core>, after: After) {
        if after.wake {
            self.signal.raise();
        }
        if after.announced {
            self.changes.signal.raise();
        }
        if after.dirty {
            self.env.dirty.push(self);
        }
        if after.thirsty {
            self.env.thirsty.push(self);
        }
    }
}

impl Writer {
    /// Takes down what is to be done once the frame just claimed is published. Apart, so that an append with nothing to do
    /// writes none of it.
    #[cold]
    fn note(&mut self, announced: bool, dirty: bool, thirsty: bool) -> After {
        // Not sooner: a host's clock may panic, and then the next append is the one that tells.
        self.watched &= !announced;
        self.dirty |= dirty;
        if thirsty {
            self.pace.thirsty_at = usize::MAX;
        }
        After { wake: std::mem::take(&mut self.wanted), announced, dirty, thirsty }
    }
}

fn check_tail(writer: &Writer, tail: u64) -> Result<()> {
    let next = writer.next();
    if next == tail {
        return Ok(());
    }
    let kind = ErrorKind::TailMoved { tail: next };
    Err(Error::new(kind, format!("append if the tail is at {tail}: it is at {next}")))
}
