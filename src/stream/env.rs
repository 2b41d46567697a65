//! What all streams of a store share: files, clock, settings, and the queues of background work.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::format::Epoch;
use crate::segment::Segment;
use crate::segment::maps::Maps;
use crate::stream::checkpoint::Era;
use crate::stream::{Core, Durability, Verify};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Condvar, Mutex};
use crate::vfs::Vfs;
use crate::vfs::guard::GuardedClock;
use crate::{Error, ErrorKind, Quotas, Result, StreamId, Timestamp};

/// What all streams of a store share.
#[derive(Debug)]
pub(crate) struct Env {
    pub(crate) vfs: Arc<dyn Vfs>,
    pub(crate) maps: Arc<Maps>,
    pub(crate) clock: GuardedClock,
    pub(crate) era: Era,
    /// The store's time when it was opened.
    pub(crate) opened: Timestamp,
    pub(crate) store: Uuid,
    pub(crate) settings: Settings,
    pub(crate) read_only: bool,
    closed: AtomicBool,
    /// Streams with something to sync.
    pub(crate) dirty: Queue,
    /// Streams whose next pages or next segment are to be made ready.
    pub(crate) thirsty: Queue,
    /// Nothing ever stands in it: the compactor waits here for its next turn.
    pub(crate) turns: Queue,
}

/// The settings a store was opened with.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) durability: Durability,
    pub(crate) verify: Verify,
    pub(crate) sync_interval: Duration,
    pub(crate) max_segment_bytes: u64,
    /// Whether threads of our own take from the queues; otherwise `tick` does.
    pub(crate) background: bool,
    pub(crate) quotas: Quotas,
}

impl Env {
    /// Draws an epoch of that number.
    pub(crate) fn epoch(&self, number: u64) -> Epoch {
        Epoch { number, id: self.vfs.random() as u64 }
    }

    pub(crate) fn new(
        vfs: Arc<dyn Vfs>,
        clock: GuardedClock,
        era: Era,
        store: Uuid,
        settings: Settings,
        read_only: bool,
    ) -> Arc<Env> {
        Arc::new(Env {
            vfs,
            maps: Arc::default(),
            opened: clock.now(),
            clock,
            era,
            store,
            settings,
            read_only,
            closed: AtomicBool::new(false),
            dirty: Queue::default(),
            thirsty: Queue::default(),
            turns: Queue::default(),
        })
    }

    /// The segment in `dir` that begins at `base`, by name: nothing is looked at yet.
    pub(crate) fn segment(&self, dir: &Path, stream: StreamId, base: u64) -> Segment {
        Segment::new(&self.vfs, &self.maps, dir, self.store, stream, base)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Refuses everything from now on. True for the caller who did it.
    pub(crate) fn close(&self) -> bool {
        let first = !self.closed.swap(true, Ordering::AcqRel);
        self.dirty.wake();
        self.thirsty.wake();
        self.turns.wake();
        first
    }

    /// Forgets the streams that wait for work, which hold this in turn, and the maps kept.
    pub(crate) fn let_go(&self) {
        self.dirty.close();
        self.thirsty.close();
        self.maps.clear();
    }

    pub(crate) fn check_open(&self) -> Result<()> {
        if self.is_closed() {
            return Err(Error::new(ErrorKind::Closed, "use the store: it was closed"));
        }
        Ok(())
    }
}

/// Streams that wait for background work. A stream stands in it once, however often it asks.
#[derive(Debug)]
pub(crate) struct Queue {
    /// `None` once the store is closed: streams hold the queue, so those in it would hold themselves.
    waiting: Mutex<Option<Vec<Arc<Core>>>>,
    arrived: Condvar,
}

impl Default for Queue {
    fn default() -> Queue {
        Queue { waiting: Mutex::new(Some(Vec::new())), arrived: Condvar::new() }
    }
}

/// Longer than any process lives, and not too long to be added to an instant.
const FAR: Duration = Duration::from_secs(1 << 32);

impl Queue {
    pub(crate) fn push(&self, core: &Arc<Core>) {
        let mut slot = self.waiting.lock();
        let Some(waiting) = slot.as_mut() else { return };
        if !waiting.iter().rev().take(8).any(|other| Arc::ptr_eq(other, core)) {
            waiting.push(Arc::clone(core));
            // Who waits looks for the first one, and then lets the others come.
            if waiting.len() == 1 {
                self.arrived.notify_one();
            }
        }
    }

    pub(crate) fn take(&self) -> Vec<Arc<Core>> {
        self.waiting.lock().as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Lets go of the streams in it, and takes no more.
    pub(crate) fn close(&self) {
        let streams = self.waiting.lock().take();
        drop(streams);
    }

    /// Waits until a stream stands in the queue, `timeout` is over, or `wake` is called after `stop` became true.
    pub(crate) fn wait(&self, timeout: Duration, stop: impl Fn() -> bool) {
        let mut waiting = self.waiting.lock();
        if waiting.as_ref().is_none_or(Vec::is_empty) && !stop() {
            self.arrived.wait_for(&mut waiting, timeout);
        }
    }

    /// Lets `time` go by, whatever arrives, unless `wake` is called after `stop` became true.
    pub(crate) fn pause(&self, time: Duration, stop: impl Fn() -> bool) {
        let until = Instant::now() + time.min(FAR);
        let mut waiting = self.waiting.lock();
        while !stop() && !self.arrived.wait_until(&mut waiting, until).timed_out() {}
    }

    pub(crate) fn wake(&self) {
        let _waiting = self.waiting.lock();
        self.arrived.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfs::sim::SimDisk;
    use crate::{Options, Record, StreamName, StreamSpec};

    #[test]
    fn an_interval_of_any_length_is_waited_for() {
        let (queue, stops) = (Queue::default(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let pausing = scope.spawn(|| queue.pause(Duration::MAX, || stops.load(Ordering::Relaxed)));
            stops.store(true, Ordering::Relaxed);
            queue.wake();
            pausing.join().unwrap();
        });
    }

    #[test]
    fn a_closed_store_lets_go_of_streams_that_waited_for_a_tick() {
        let options = Options::new().background(false).vfs(Arc::new(SimDisk::new()));
        let store = options.open("/store").unwrap();
        let stream = store.create_stream(StreamSpec::new(StreamName::new("a").unwrap())).unwrap();
        stream.append(&Record::new("1")).unwrap();
        let core = Arc::downgrade(&stream.core);
        store.close().unwrap();
        drop((store, stream));
        assert!(core.upgrade().is_none());
    }
}
