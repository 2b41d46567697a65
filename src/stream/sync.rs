//! Making the log durable, sealing what is full, and failing for good when a sync fails.
//!
//! One sync serves all who wait for it: see `group`. The order on disk is that of the log:
//! an earlier segment before a later one, a segment's name and header before its frames count, frames before the watermark
//! that tells of them, all of a segment before its seal.

use std::sync::Arc;

use crate::mutants::{self, Mutant};
use crate::segment::seal::{self, NotSealed};
use crate::stream::{Core, State, Stream};
use crate::sync::atomic::Ordering;
use crate::vfs::Access;
use crate::vfs::region::FLOOR;
use crate::{Error, Result};

/// Poisons the stream when whoever leads a sync panics: nobody knows what of it was done.
struct Doubt<'a>(&'a Core);

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        self.0.poison();
    }
}

/// Segments that may wait for their seal while their writer is hot: so many does recovery look at.
const MAX_WAITING: usize = 16;

impl Stream {
    /// Makes everything published so far durable, whatever the durability it was appended with.
    ///
    /// # Errors
    /// `Io`, after which the stream is poisoned: the kernel may have dropped what it could not write, so asking again
    /// would prove nothing. `Poisoned`, `Closed`, `StreamDeleted`. In a read-only store there is nothing to do.
    pub fn sync(&self) -> Result<()> {
        self.core.check()?;
        if self.core.env.read_only {
            return Ok(());
        }
        let end = self.core.writer.lock().next();
        self.core.sync_to(end)
    }
}

impl Core {
    /// Waits until the log is durable up to `end`, which was claimed.
    pub(crate) fn sync_to(self: &Arc<Core>, end: u64) -> Result<()> {
        while self.durable() < end {
            if let Some(leading) = self.group.join() {
                let doubt = Doubt(self);
                let done = self.sync_published();
                std::mem::forget(doubt);
                drop(leading);
                self.unless_deleted(done)?;
            } else if self.durable() < end && self.is_poisoned() {
                return self.unless_deleted(Err(self.poisoned()));
            }
            if self.durable() < end {
                // An earlier claim is still being written.
                crate::sync::yield_now();
            }
        }
        Ok(())
    }

    /// Makes durable what is published by now. One caller at a time.
    fn sync_published(&self) -> Result<()> {
        if self.is_poisoned() {
            return Err(self.poisoned());
        }
        let begun = self.durable();
        let unsealed: Vec<_> = {
            let unsealed = self.unsealed.lock();
            unsealed
                .iter()
                .map(|entry| (Arc::clone(&entry.segment), Arc::clone(&entry.region), entry.named, entry.owed))
                .collect()
        };
        for (segment, region, named, owed) in unsealed {
            let durable = self.durable();
            // The end first: what is below it was claimed, and a claim is committed after a copy's time.
            let rolled = segment.end();
            let head = *segment.head()?;
            let mut published = head.offset(region.published() as u64);
            if let Some(end) = rolled {
                while published < end {
                    crate::sync::yield_now();
                    published = head.offset(region.published() as u64);
                }
                published = end;
            }
            if published <= durable && named {
                continue;
            }
            let from = durable.min(published).max(segment.base);
            let mut range = head.position(from) as usize..head.position(published.max(from)) as usize;
            if mutants::on(Mutant::SyncWholePages) {
                range.end = range.start.max(range.end & !4095);
            }
            if mutants::on(Mutant::DurableBeforeSync) {
                self.durable.fetch_max(published, Ordering::AcqRel);
            }
            let mark = {
                let unsealed = self.unsealed.lock();
                // Somebody let go of it, which is done to what is durable.
                if !unsealed.iter().any(|entry| entry.segment.base == segment.base) {
                    continue;
                }
                segment.next_mark(published)
            };
            let synced = (|| {
                let path = &segment.path;
                let io = |doing: &'static str| move |err| Error::io(doing, path, err);
                if 0 < owed && !mutants::on(Mutant::SkipRedirty) {
                    let file = segment.open(Access::Write)?;
                    for range in [0..FLOOR as u64, head.position(from)..head.position(owed.max(from))] {
                        file.redirty(range).map_err(io("write segment anew"))?;
                    }
                }
                if !named && !mutants::on(Mutant::SkipHeaderSync) {
                    region.sync(0..FLOOR).map_err(io("sync header of segment"))?;
                }
                if !named && !mutants::on(Mutant::SkipDirectorySync) {
                    self.env
                        .vfs
                        .sync_dir(&self.dir)
                        .map_err(|err| Error::io("sync directory", &self.dir, err))?;
                }
                region.sync(range).map_err(io("sync segment"))?;
                region.write_slot(mark.at(), &mark.encode(head.salt));
                if 0 < owed {
                    // Recovery did not look at all of what was left. Where that is damaged, nothing but this proves what follows.
                    region.sync(0..FLOOR).map_err(io("sync header of segment"))?;
                }
                Ok(())
            })();
            if let Err(err) = synced {
                self.poison();
                return Err(err);
            }
            self.durable.fetch_max(published, Ordering::AcqRel);
            let mut unsealed = self.unsealed.lock();
            if let Some(entry) = unsealed.iter_mut().find(|entry| entry.segment.base == segment.base) {
                (entry.named, entry.owed) = (true, 0);
            }
            drop(unsealed);
            if rolled.is_none() {
                break;
            }
        }
        self.note_brought(self.durable() - begun);
        // Readers of durable records wait for this.
        self.signal.raise();
        Ok(())
    }

    /// Takes down what a sync brought, of all its segments together: the first of a log are tiny, and say nothing of its writer.
    fn note_brought(&self, bytes: u64) {
        if 0 < bytes {
            let brought = (self.brought.load(Ordering::Relaxed) + bytes) / 2;
            self.brought.store(brought, Ordering::Relaxed);
        }
    }

    /// Refuses appends from now on and lets those who wait for a sync know.
    fn poison(&self) {
        if mutants::on(Mutant::RetryFailedSync) {
            return;
        }
        self.writer.lock().state = State::Poisoned;
    }

    /// Seals the segments that took their last frame. What cannot be sealed stays unsealed, which costs the next open
    /// a look at its frames, and nothing else.
    pub(crate) fn seal_rolled(&self) -> Result<()> {
        let _sealing = self.sealing.lock();
        loop {
            let next = {
                let unsealed = self.unsealed.lock();
                let settled = |entry: &&super::Unsealed| {
                    let end = entry.segment.end();
                    let quiet = entry.rolled.as_ref().is_none_or(|active| active.is_settled());
                    // While a sync pays what is owed it writes to the header's page, too.
                    let paid = entry.named && entry.owed == 0;
                    quiet && paid && end.is_some_and(|end| end <= self.durable())
                };
                unsealed.front().filter(settled).map(|entry| Arc::clone(&entry.segment))
            };
            let Some(segment) = next else { return Ok(()) };
            let end = segment.end().expect("checked above");
            match seal::seal(&segment, end) {
                Ok(()) => {}
                Err(NotSealed::Unsynced(err)) => {
                    self.poison();
                    return Err(err);
                }
                Err(NotSealed::Yet(err)) => return Err(err),
            }
            let mut unsealed = self.unsealed.lock();
            if unsealed.front().is_some_and(|entry| entry.segment.base == segment.base) {
                // Unmapped without the lock.
                let sealed = unsealed.pop_front();
                drop(unsealed);
                drop(sealed);
            }
        }
    }

    /// Whether the next sync writes anew what a killed process left: far more than what an interval brings.
    pub(crate) fn owes(&self) -> bool {
        self.unsealed.lock().iter().any(|entry| 0 < entry.owed)
    }

    /// What the sync thread does for a stream that asked: syncs what is published, then seals.
    pub(crate) fn sync_in_background(self: &Arc<Core>) -> Result<()> {
        let end = {
            let mut writer = self.writer.lock();
            writer.dirty = false;
            writer.next()
        };
        self.sync_to(end)?;
        // While a writer rolls from one segment into the next its seals wait, for they would slow it down. Idling,
        // retention and closing seal what is left.
        let waiting = self.unsealed.lock().len();
        if self.is_hot() && waiting < MAX_WAITING { Ok(()) } else { self.seal_rolled() }
    }
}
