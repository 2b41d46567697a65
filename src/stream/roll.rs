//! The active segment: taking one up, rolling to the next, letting go of it when idle, and making pages and files
//! ready before they are needed.
//!
//! Whoever changes the active segment holds `rolling` and takes the segment out of `writer` first. Appenders that
//! meanwhile find none wait for `rolling`, so no file is made under the lock of the append path.

use std::sync::Arc;
use std::time::Duration;

use crate::format::Epoch;
use crate::format::header::Header;
use crate::segment::Segment;
use crate::segment::active::{Active, BUSY_BYTES, Fresh, MIN_BYTES, next_capacity};
use crate::stream::{Core, State, Unsealed, Writer};
use crate::vfs::region::FLOOR;
use crate::{Error, ErrorKind, Result, Timestamp};

/// Bytes made ready ahead of the writer of a busy segment.
const AHEAD: usize = 16 << 20;
/// A writer that half fills a segment within this will fill the next one in a moment, too.
const HOT: Duration = Duration::from_secs(1);
/// Bytes made ready at a time.
const CHUNK: usize = 4 << 20;

/// The last things a new segment must know of the log before it.
#[derive(Debug, Clone, Copy)]
struct Last {
    end: u64,
    ingest: Timestamp,
    epoch: Epoch,
}

impl Core {
    /// Makes room for a frame of `length` bytes: takes up the segment the log ends in, or starts the next one.
    ///
    /// # Errors
    /// `Closed`, `StreamDeleted`, `ReadOnly`, `Poisoned`; `NoSpace` and `Io`, after which the log is as it was.
    #[cold]
    pub(crate) fn roll(self: &Arc<Core>, length: usize) -> Result<()> {
        let mut rolling = self.rolling.lock();
        let (taken, last) = {
            let mut writer = self.writer.lock();
            self.check_writable(&writer)?;
            if writer.active.as_ref().is_some_and(|active| active.fits(length)) {
                return Ok(());
            }
            let taken = writer.active.take();
            writer.end = taken.as_ref().map_or(writer.end, Active::next);
            (taken, Last { end: writer.end, ingest: writer.last_ingest, epoch: writer.epoch })
        };
        let end = last.end;
        if let Some(taken) = &taken {
            settle(taken);
        }
        if taken.is_none() {
            self.mark_unclean()?;
            match self.take_up(end)? {
                Some(active) if active.fits(length) => {
                    self.install(active);
                    return Ok(());
                }
                Some(full) => self.retire(full, end),
                None => {}
            }
        }
        let started = self.start_segment(&mut rolling, taken.as_ref(), last, length);
        match started {
            Ok(active) => {
                if let Some(taken) = taken {
                    self.retire(taken, end);
                }
                self.install(active);
                Ok(())
            }
            Err(err) => {
                // Smaller records may still fit.
                self.writer.lock().active = taken;
                Err(err)
            }
        }
    }

    fn check_writable(&self, writer: &Writer) -> Result<()> {
        self.check()?;
        match writer.state {
            State::Open => Ok(()),
            State::ReadOnly => Err(Error::new(
                ErrorKind::ReadOnly,
                format!("append to stream {}: the store is open read-only", self.id),
            )),
            State::Poisoned => Err(self.poisoned()),
        }
    }

    pub(crate) fn poisoned(&self) -> Error {
        let text = format!("write to stream {}: an earlier sync failed; open the store anew", self.id);
        Error::new(ErrorKind::Poisoned, text)
    }

    /// Takes the unsealed segment up in which the log ends, if there is one.
    fn take_up(&self, end: u64) -> Result<Option<Active>> {
        let last = self.segments().last().cloned();
        let Some(segment) = last.filter(|segment| segment.seal().is_none() && segment.end().is_none()) else {
            return Ok(None);
        };
        let active = Active::resume(Arc::clone(&segment), end)?;
        let mut unsealed = self.unsealed.lock();
        unsealed.retain(|other| other.segment.base != segment.base);
        unsealed.push_back(Unsealed {
            segment,
            region: Arc::clone(active.region()),
            rolled: None,
            named: true,
            watermarks: 0,
        });
        Ok(Some(active))
    }

    /// Makes the next segment part of the log, from the file made ready if it serves.
    fn start_segment(
        &self,
        ready: &mut Option<Fresh>,
        old: Option<&Active>,
        last: Last,
        length: usize,
    ) -> Result<Active> {
        let capacity = self.capacity_after(old, length);
        let ready = ready
            .take()
            .filter(|fresh| capacity <= fresh.capacity || BUSY_BYTES <= fresh.capacity.min(capacity));
        let fits = ready.filter(|fresh| next_capacity(0, 0, length, MIN_BYTES) <= fresh.capacity);
        let fresh = match fits {
            Some(fresh) => fresh,
            None => Fresh::new(&self.env.vfs, &self.dir, capacity, false)?,
        };
        let head = Header {
            store: self.env.store,
            stream: self.id,
            base: last.end,
            epoch: last.epoch,
            salt: random(),
            created: self.env.clock.now(),
            capacity: fresh.capacity,
            previous_durable: self.durable().min(last.end),
            previous_ingest: last.ingest,
        };
        let active = fresh.activate(&self.env.maps, &self.dir, head)?;
        let entry = Unsealed {
            segment: Arc::clone(&active.segment),
            region: Arc::clone(active.region()),
            rolled: None,
            named: false,
            watermarks: 0,
        };
        self.unsealed.lock().push_back(entry);
        Ok(active)
    }

    /// The size of the next segment: what the last one suggests, but a fraction of `max_bytes`, so that removing
    /// one whole segment at a time keeps near it.
    fn capacity_after(&self, old: Option<&Active>, length: usize) -> u64 {
        let max = self.env.settings.max_segment_bytes;
        let max = self.max_bytes().map_or(max, |bytes| max.min((bytes / 8).next_power_of_two()));
        let (capacity, used) = match old {
            Some(active) => (active.capacity, active.position() as u64),
            None => match self
                .segments()
                .last()
                .and_then(|last| Some((last.head().ok()?.capacity, last.end()? - last.base)))
            {
                Some((capacity, used)) => (capacity, used),
                None => (0, 0),
            },
        };
        next_capacity(capacity, used, length, max)
    }

    /// Puts a segment in front of the appenders.
    fn install(&self, active: Active) {
        {
            let mut segments = self.segments.write();
            if segments.last().is_none_or(|last| last.base < active.segment.base) {
                let mut next = Vec::clone(&segments);
                next.push(Arc::clone(&active.segment));
                *segments = Arc::new(next);
            }
        }
        let mut writer = self.writer.lock();
        writer.ready_to = active.region().populated();
        writer.thirsty_at = match active.capacity {
            BUSY_BYTES.. => {
                thirst(writer.ready_to, active.capacity as usize).min(active.capacity as usize / 2)
            }
            _ => usize::MAX,
        };
        writer.active = Some(active);
        writer.installed = self.env.clock.now();
        drop(writer);
        // Readers at the end of the last segment look for the next one.
        self.signal.raise();
    }

    /// The log goes on in another segment, or for now in none: this one only waits for its seal.
    fn retire(self: &Arc<Core>, active: Active, end: u64) {
        active.segment.set_end(end);
        let mut unsealed = self.unsealed.lock();
        let entry = unsealed.iter_mut().find(|entry| entry.segment.base == active.segment.base);
        entry.expect("an active segment is not sealed").rolled = Some(active);
        drop(unsealed);
        self.env.dirty.push(self);
    }

    /// Ends the active segment, or the one a later append would go on with; the next append starts a new one.
    pub(crate) fn end_segment(self: &Arc<Core>) -> Result<()> {
        let _rolling = self.rolling.lock();
        let taken = {
            let mut writer = self.writer.lock();
            let taken = writer.active.take();
            writer.end = taken.as_ref().map_or(writer.end, Active::next);
            taken.ok_or(writer.end)
        };
        let taken = match taken {
            Ok(active) => Some(active),
            Err(end) => self.take_up(end)?,
        };
        if let Some(active) = taken {
            settle(&active);
            let end = active.next();
            self.retire(active, end);
        }
        Ok(())
    }

    /// Lets go of the active segment: everything durable, marked clean, unmapped. The next append takes it up again.
    ///
    /// # Errors
    /// Of the sync; the stream is then poisoned.
    pub(crate) fn detach(self: &Arc<Core>) -> Result<()> {
        let mut rolling = self.rolling.lock();
        if let Some(fresh) = rolling.take() {
            fresh.discard();
        }
        let taken = {
            let mut writer = self.writer.lock();
            if writer.state != State::Open {
                return Ok(());
            }
            let taken = writer.active.take();
            writer.end = taken.as_ref().map_or(writer.end, Active::next);
            writer.dirty = false;
            taken
        };
        let Some(active) = taken else { return Ok(()) };
        let end = active.next();
        // The segment stays in `unsealed` while the sync looks for it.
        let synced = self.sync_to(end).and_then(|()| self.seal_rolled()).and_then(|()| self.mark_clean(end));
        if let Err(err) = synced {
            self.writer.lock().active = Some(active);
            return Err(err);
        }
        self.unsealed.lock().retain(|entry| entry.segment.base != active.segment.base);
        Ok(())
    }

    /// Marks the log clean, unless somebody took a segment up since.
    pub(crate) fn mark_clean_if_idle(&self, end: u64) -> Result<()> {
        let _rolling = self.rolling.lock();
        let idle = {
            let writer = self.writer.lock();
            writer.active.is_none() && writer.end == end
        };
        if idle { self.mark_clean(end) } else { Ok(()) }
    }

    /// Makes ready what a busy writer will need soon: pages ahead of it, then the next segment's file.
    pub(crate) fn make_ready(self: &Arc<Core>) {
        loop {
            let (region, position, ready_to, capacity, hot) = {
                let writer = self.writer.lock();
                let Some(active) = &writer.active else { return };
                let hot = writer.last_ingest.saturating_sub(HOT) < writer.installed;
                (
                    Arc::clone(active.region()),
                    active.position(),
                    writer.ready_to,
                    active.capacity as usize,
                    hot,
                )
            };
            let from = ready_to.max(position & !4095);
            if from < capacity && from < position + AHEAD {
                let to = (from + CHUNK).min(capacity);
                // The reservation holds, so this can fail only where it is none; a store would then find out.
                let _ = region.populate(from..to);
                let mut writer = self.writer.lock();
                if writer.active.as_ref().is_some_and(|active| Arc::ptr_eq(active.region(), &region)) {
                    writer.ready_to = to;
                }
                continue;
            }
            let half = capacity / 2;
            if half <= position {
                self.make_next_ready(capacity as u64, hot);
            }
            let mut writer = self.writer.lock();
            if writer.active.as_ref().is_some_and(|active| Arc::ptr_eq(active.region(), &region)) {
                let next = if position < half { half } else { usize::MAX };
                writer.thirsty_at = thirst(writer.ready_to, capacity).min(next);
            }
            return;
        }
    }

    fn make_next_ready(&self, capacity: u64, hot: bool) {
        // The file is made without the lock: whoever rolls meanwhile makes its own.
        if self.rolling.try_lock().is_none_or(|rolling| rolling.is_some()) {
            return;
        }
        let capacity = (capacity * 2).min(self.env.settings.max_segment_bytes).max(capacity);
        // A full disk is reported to the append that needs the space.
        let Ok(fresh) = Fresh::new(&self.env.vfs, &self.dir, capacity, hot) else { return };
        let first = (FLOOR + AHEAD).min(capacity as usize);
        let _ = fresh.region.populate(0..first);
        let mut rolling = self.rolling.lock();
        if rolling.is_some() || self.env.is_closed() || !self.is_attached() {
            fresh.discard();
        } else {
            *rolling = Some(fresh);
        }
    }

    /// The active segment, if one is being written or would be gone on with.
    pub(crate) fn open_segment(&self) -> Option<Arc<Segment>> {
        self.segments().last().filter(|last| last.end().is_none()).cloned()
    }

    pub(crate) fn is_attached(&self) -> bool {
        self.writer.lock().active.is_some()
    }
}

/// Waits until every claim in a segment that takes no more is committed, which is a copy's time. Only then may anybody
/// learn that it ends: what lies before a known end is read without asking again.
fn settle(active: &Active) {
    while !active.is_settled() {
        std::thread::yield_now();
    }
}

/// The position from which on more pages are to be made ready.
fn thirst(ready_to: usize, capacity: usize) -> usize {
    if ready_to < capacity { ready_to.saturating_sub(AHEAD / 2) } else { usize::MAX }
}

/// 64 random bits, from the operating system.
pub(crate) fn random() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().0 ^ uuid::Uuid::new_v4().as_u64_pair().1.rotate_left(32)
}
