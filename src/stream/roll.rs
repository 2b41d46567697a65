//! The active segment: taking one up, rolling to the next, letting go of it when idle.
//!
//! Whoever changes the active segment holds `rolling` and takes the segment out of `writer` first. Appenders that
//! meanwhile find none wait for `rolling`, so no file is made under the lock of the append path.

use std::sync::Arc;

use crate::format::Epoch;
use crate::format::frame::{HEADER, Kind, Word};
use crate::format::header::Header;
use crate::mutants::{self, Mutant};
use crate::segment::Segment;
use crate::segment::active::{Active, BUSY_BYTES, Fresh, next_capacity};
use crate::stream::ready::Pace;
use crate::stream::{Core, State, Unsealed, Writer};
use crate::vfs::Access;
use crate::{Error, ErrorKind, Result, Timestamp};

/// The last things a new segment must know of the log before it.
#[derive(Debug, Clone, Copy)]
struct Last {
    end: u64,
    ingest: Timestamp,
    epoch: Epoch,
}

impl Last {
    fn of(writer: &Writer) -> Last {
        Last { end: writer.end, ingest: writer.last_ingest, epoch: writer.epoch }
    }
}

impl Core {
    /// Makes room for a frame of `length` bytes: takes up the segment the log ends in, or starts the next one.
    ///
    /// # Errors
    /// `Closed`, `StreamDeleted`, `ReadOnly`, `Poisoned`; `NoSpace` and `Io`, after which the log is as it was.
    #[cold]
    pub(crate) fn roll(self: &Arc<Core>, mut length: usize) -> Result<()> {
        let _rolling = self.rolling.lock();
        let (taken, mut last, hot) = {
            let mut writer = self.writer.lock();
            self.check_writable(&writer)?;
            if writer.active.as_ref().is_some_and(|active| active.fits(length)) {
                return Ok(());
            }
            let taken = self.take_active(&mut writer);
            (taken, Last::of(&writer), writer.pace.is_hot(self.env.clock.now()))
        };
        if taken.is_none() {
            self.go_on()?;
            length += self.owed_bytes();
            match self.take_up(last.end)? {
                Some(active) if active.fits(length) => {
                    self.name_owed()?;
                    self.install(active, false);
                    return Ok(());
                }
                Some(mut full) => {
                    self.mark_unclean()?;
                    self.fill(&mut full)?;
                    last = Last::of(&self.writer.lock());
                    self.retire(full);
                }
                None => {}
            }
        }
        let started =
            self.mark_unclean().and_then(|()| self.start_segment(taken.as_ref(), last, length, hot));
        match started {
            Ok(active) => {
                if let Some(taken) = taken {
                    self.retire(taken);
                }
                self.install(active, hot);
                Ok(())
            }
            Err(err) => {
                // Smaller records may still fit.
                match taken {
                    Some(active) if mutants::on(Mutant::NoSpaceTakesPlace) => {
                        self.writer.lock().end += 8;
                        self.retire(active);
                    }
                    taken => self.writer.lock().active = taken,
                }
                // A stream that was deleted meanwhile has no directory any more.
                Err(self.check().err().unwrap_or(err))
            }
        }
    }

    /// Takes the active segment out of the writer, so that nobody claims in it; every claim in it is committed then.
    /// Only afterwards may anybody learn that it ends: what lies before a known end is read without asking again.
    fn take_active(&self, writer: &mut Writer) -> Option<Active> {
        let mut taken = writer.active.take()?;
        self.occupy(writer, &mut taken);
        // Whoever claimed needs no lock to commit, and a copy's time to do so.
        while !taken.is_settled() {
            crate::sync::yield_now();
        }
        Some(taken)
    }

    /// Readies a segment for its end that was taken up for nothing else.
    fn fill(&self, active: &mut Active) -> Result<()> {
        if active.next() == active.segment.base {
            self.name_owed()?;
        }
        self.occupy(&mut self.writer.lock(), active);
        Ok(())
    }

    /// Puts a frame into a segment that has none and takes no more: segments are called after their base, and the next one must
    /// not be called the same. Where an epoch is owed, one that begins it, so that nothing stands where lost records stood before
    /// it does; else a void.
    fn occupy(&self, writer: &mut Writer, active: &mut Active) {
        if active.next() == active.segment.base {
            // As old as its segment: where nothing was ever appended the last time is the oldest there is, and the frame would
            // expire at once, as a gap to who reads from there on.
            let ingest =
                active.segment.head().map_or(writer.last_ingest, |head| writer.last_ingest.max(head.created));
            let durable = self.durable();
            if writer.owed.is_empty() {
                // Dropped unfinished, a claim becomes void.
                drop(active.claim(Word::new(Kind::Void, HEADER), ingest, durable));
            }
            writer.begin_owed(active, ingest, durable);
        }
        writer.end = active.next();
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
        let region = Arc::clone(active.region());
        let mut unsealed = self.unsealed.lock();
        let left = unsealed.iter().position(|other| other.segment.base == segment.base);
        let left = left.and_then(|index| unsealed.remove(index));
        let (named, owed) = left.map_or((true, 0), |left| (left.named, left.owed));
        unsealed.push_back(Unsealed { segment, region, rolled: None, named, owed });
        Ok(Some(active))
    }

    /// Makes the next segment part of the log, from the file made ready if it serves.
    fn start_segment(&self, old: Option<&Active>, last: Last, length: usize, hot: bool) -> Result<Active> {
        self.clear_way()?;
        let capacity = self.capacity_after(old, length, hot);
        let fresh = match self.take_next(capacity) {
            Some(fresh) => fresh,
            None => self.reserve(capacity, next_capacity(0, 0, length, 0, false), hot)?,
        };
        self.name_owed()?;
        let head = Header {
            store: self.env.store,
            stream: self.id,
            base: last.end,
            epoch: last.epoch,
            salt: self.env.vfs.random() as u64,
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
            owed: 0,
        };
        self.unsealed.lock().push_back(entry);
        Ok(active)
    }

    /// Makes a file of `capacity` bytes, or of what there is room for, down to `least`.
    fn reserve(&self, mut capacity: u64, least: u64, hot: bool) -> Result<Fresh> {
        loop {
            match Fresh::new(
                &self.env.vfs,
                &self.dir,
                capacity,
                BUSY_BYTES <= capacity && self.wants_large(hot),
            ) {
                Err(err) if *err.kind() == ErrorKind::NoSpace && least < capacity => {
                    capacity = (capacity / 2).max(least);
                }
                made => return made,
            }
        }
    }

    /// The size of the segment after `old`: what it suggests, but a fraction of `max_bytes`, so that removing one whole
    /// segment at a time keeps near it.
    pub(super) fn capacity_after(&self, old: Option<&Active>, length: usize, hot: bool) -> u64 {
        let max = self.max_capacity();
        let last = || {
            let last = self.segments().last().cloned()?;
            Some((last.head().ok()?.capacity, last.end()?.checked_sub(last.base)?))
        };
        let (capacity, used) = match old {
            Some(active) => (active.capacity, active.position() as u64),
            None => last().unwrap_or((0, 0)),
        };
        next_capacity(capacity, used, length, max, hot)
    }

    /// The size of the segment after one of `capacity` bytes that will have filled up.
    pub(super) fn next_size(&self, capacity: u64, hot: bool) -> u64 {
        next_capacity(capacity, capacity, 0, self.max_capacity(), hot)
    }

    fn max_capacity(&self) -> u64 {
        let max = self.env.settings.max_segment_bytes;
        self.max_bytes().map_or(max, |bytes| max.min((bytes / 8).next_power_of_two()))
    }

    /// Puts a segment in front of the appenders.
    fn install(self: &Arc<Core>, mut active: Active, hot: bool) {
        {
            let mut segments = self.segments.write();
            let last = segments.last().map(|last| last.base);
            // A segment taken up again is there already.
            assert!(last.is_none_or(|last| last <= active.segment.base), "segments are taken up in order");
            if last != Some(active.segment.base) {
                let mut next = Vec::clone(&segments);
                next.push(Arc::clone(&active.segment));
                *segments = Arc::new(next);
            }
        }
        let mut writer = self.writer.lock();
        writer.begin_owed(&mut active, self.env.clock.now(), self.durable());
        writer.pace = Pace::new(active.capacity, active.region().populated(), hot, self.env.clock.now());
        writer.active = Some(active);
        drop(writer);
        if hot {
            self.env.thirsty.push(self);
        }
        // Readers at the end of the last segment look for the next one.
        self.signal.raise();
    }

    /// The log goes on in another segment, or for now in none: this one only waits for its seal.
    fn retire(self: &Arc<Core>, active: Active) {
        let mut unsealed = self.unsealed.lock();
        let entry = unsealed.iter_mut().find(|entry| entry.segment.base == active.segment.base);
        let entry = entry.expect("an active segment is not sealed");
        // Under the lock: whoever seals finds an end only together with the tail that wrote up to it.
        active.segment.set_end(active.next());
        entry.rolled = Some(active);
        drop(unsealed);
        self.env.dirty.push(self);
    }

    /// Ends the active segment, or the one a later append would go on with; the next append starts a new one.
    pub(crate) fn end_segment(self: &Arc<Core>) -> Result<()> {
        let _rolling = self.rolling.lock();
        if self.open_segment().is_none() {
            return Ok(());
        }
        // Its footer may be half written when this process dies.
        self.mark_unclean()?;
        let taken = {
            let mut writer = self.writer.lock();
            self.take_active(&mut writer).ok_or(writer.end)
        };
        let ended = match taken {
            Ok(active) => active,
            Err(end) => {
                let Some(mut active) = self.take_up(end)? else { return Ok(()) };
                self.fill(&mut active)?;
                active
            }
        };
        self.retire(ended);
        Ok(())
    }

    /// Lets go of the active segment: everything durable, unmapped, marked clean. The next append takes it up again.
    ///
    /// # Errors
    /// Of the sync; the stream is then poisoned.
    pub(crate) fn detach(self: &Arc<Core>) -> Result<()> {
        self.leave(true)
    }

    /// Lets go of the active segment: everything durable, unmapped. Not marked clean, it costs the next open a look at its
    /// frames if this process dies before it is.
    ///
    /// # Errors
    /// Of the sync; the stream is then poisoned.
    pub(crate) fn unmap(self: &Arc<Core>) -> Result<()> {
        self.leave(false)
    }

    fn leave(self: &Arc<Core>, clean: bool) -> Result<()> {
        let _rolling = self.rolling.lock();
        let (taken, end) = {
            let mut writer = self.writer.lock();
            match writer.state {
                State::Open => {}
                // What is published and not durable stays so, and whoever closes the store is told.
                State::Poisoned => return Err(self.poisoned()),
                State::ReadOnly => return Ok(()),
            }
            writer.dirty = false;
            (self.take_active(&mut writer), writer.end)
        };
        // Now that no writer is there, nobody makes another.
        self.forget_next();
        let Some(active) = taken else {
            // Whoever wanted to append and found no room said that frames may follow, and none did.
            if clean && self.may_be_unclean() {
                self.sync_to(end).and_then(|()| self.seal_rolled())?;
                // Where that cannot be said, the next open looks for itself.
                let _ = self.mark_clean(end);
            }
            return Ok(());
        };
        // The segment stays in `unsealed` while the sync looks for it.
        let synced = self.sync_to(end).and_then(|()| self.seal_rolled());
        let synced = synced.and_then(|()| if clean { self.mark_clean(end) } else { Ok(()) });
        if let Err(err) = synced {
            self.writer.lock().active = Some(active);
            return Err(err);
        }
        {
            let mut unsealed = self.unsealed.lock();
            unsealed.retain(|entry| entry.segment.base != active.segment.base);
            // Quiet streams may be very many.
            unsealed.shrink_to_fit();
        }
        active.segment.set_left_at(end);
        give_back(&active);
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

    /// The active segment, if one is being written or would be gone on with.
    pub(crate) fn open_segment(&self) -> Option<Arc<Segment>> {
        self.segments().last().filter(|last| last.end().is_none()).cloned()
    }

    /// Whether the files say all there is to know of the stream: to open it anew would find it as it is. Where recovery found
    /// anything, that is kept for whoever asks.
    pub(crate) fn is_at_rest(&self) -> bool {
        let is_open = {
            let writer = self.writer.lock();
            writer.active.is_none() && writer.state == State::Open
        };
        is_open
            && self.recovery.found_nothing()
            && !self.may_be_unclean()
            && self.doomed.lock().is_empty()
            && self.strangers.lock().is_empty()
    }
}

/// Gives back what a large segment holds above its end while nobody writes; taking it up again reserves it again.
fn give_back(active: &Active) {
    let used = (active.position() as u64).next_multiple_of(4096);
    if used + BUSY_BYTES <= active.capacity {
        // It is only space: where it cannot be given back now, the seal does so.
        if let Ok(file) = active.segment.open(Access::Write) {
            let _ = file.punch(used..active.capacity);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::vfs::sim::{Crash, SimClock, SimDisk};
    use crate::{Durability, Options, Record, Start, Step, Store, StreamName, StreamSpec};

    #[test]
    fn a_clean_stream_whose_next_segment_was_named_and_not_written_is_no_clean_one() {
        let (disk, clock) = (SimDisk::new(), SimClock::new(1_700_000_000_000_000_000));
        let open = || {
            let options = Options::new().background(false).vfs(Arc::new(disk.clone()));
            options.clock(Arc::new(clock.clone())).open("/store").unwrap()
        };
        let store = open();
        let stream = store.create_stream(StreamSpec::new(StreamName::new("a").unwrap())).unwrap();
        stream.append(&Record::new("1")).unwrap();
        store.close().unwrap();
        // Whoever made the next segment was killed before it claimed a place there, right at the clean end.
        let store = open();
        store.stream("a").unwrap().core.roll(200 << 10).unwrap();
        disk.crash(Crash::KeepAll);
        drop(store);
        let store = open();
        let stream = store.stream("a").unwrap();
        assert!(!stream.recovery().clean);
        stream.append_with(&Record::new("2"), Durability::Sync).unwrap();
        disk.crash(Crash::DropUnsynced);
        clock.reboot();
        let store = open();
        let mut reader = store.stream("a").unwrap().read(Start::Beginning).unwrap();
        for body in [b"1", b"2"] {
            let step = reader.next().unwrap();
            assert!(
                matches!(&step, Step::Records(batch) if batch.iter().next().unwrap().body() == body),
                "{step:?}"
            );
        }
    }

    #[test]
    fn a_segment_that_idled_before_its_first_frame_is_no_gap() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let stream = store.create_stream(StreamSpec::new(StreamName::new("a").unwrap())).unwrap();
        let mut reader = stream.read(Start::Beginning).unwrap();
        // An appender found no segment, and is slow to claim in the one it made.
        stream.core.roll(32).unwrap();
        stream.core.detach().unwrap();
        stream.core.retain().unwrap();
        stream.append(&Record::new("came at last")).unwrap();
        stream.core.retain().unwrap();
        let step = reader.next().unwrap();
        assert!(matches!(&step, Step::Records(batch) if batch.len() == 1), "{step:?}");
        let cursor = reader.cursor();
        assert!(matches!(stream.read(Start::Cursor(cursor)).unwrap().next().unwrap(), Step::End));
    }

    #[test]
    fn a_frame_too_large_for_a_segment_just_started_gets_another_and_the_first_stays() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let stream = store.create_stream(StreamSpec::new(StreamName::new("a").unwrap())).unwrap();
        // Two appenders that found no segment, one after the other, before either claims.
        stream.core.roll(32).unwrap();
        let small = stream.core.segments();
        stream.core.roll(200 << 10).unwrap();
        stream.append(&Record::new(&[b'x'; 200 << 10])).unwrap();
        let segments = stream.core.segments();
        assert_eq!(segments.len(), small.len() + 1);
        assert!(segments[0].base < segments[1].base && segments[0].exists() && segments[1].exists());
        let mut reader = stream.read(Start::Beginning).unwrap();
        assert!(matches!(reader.next().unwrap(), Step::Records(batch) if batch.len() == 1));
        store.close().unwrap();
        assert!(Store::open(dir.path()).unwrap().verify().unwrap().is_sound());
    }
}
