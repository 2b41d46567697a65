//! What all streams of a store share: files, clock, settings, and the queues of background work.

use crate::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::sync::{Condvar, Mutex};
use uuid::Uuid;

use crate::segment::maps::Maps;
use crate::stream::{Core, Durability};
use crate::vfs::Vfs;
use crate::vfs::guard::GuardedClock;
use crate::{Error, ErrorKind, Quotas, Result, Timestamp};

/// What all streams of a store share.
#[derive(Debug)]
pub(crate) struct Env {
    pub(crate) vfs: Arc<dyn Vfs>,
    pub(crate) maps: Arc<Maps>,
    pub(crate) clock: GuardedClock,
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
    pub(crate) sync_interval: Duration,
    pub(crate) max_segment_bytes: u64,
    /// Whether threads of our own take from the queues; otherwise `tick` does.
    pub(crate) background: bool,
    pub(crate) quotas: Quotas,
}

impl Env {
    pub(crate) fn new(
        vfs: Arc<dyn Vfs>,
        clock: GuardedClock,
        store: Uuid,
        settings: Settings,
        read_only: bool,
    ) -> Arc<Env> {
        Arc::new(Env {
            vfs,
            maps: Arc::default(),
            opened: clock.now(),
            clock,
            store,
            settings,
            read_only,
            closed: AtomicBool::new(false),
            dirty: Queue::default(),
            thirsty: Queue::default(),
            turns: Queue::default(),
        })
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

    pub(crate) fn check_open(&self) -> Result<()> {
        if self.is_closed() {
            return Err(Error::new(ErrorKind::Closed, "use the store: it was closed"));
        }
        Ok(())
    }
}

/// Streams that wait for background work. A stream stands in it once, however often it asks.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: Mutex<Vec<Arc<Core>>>,
    arrived: Condvar,
}

impl Queue {
    pub(crate) fn push(&self, core: &Arc<Core>) {
        let mut waiting = self.waiting.lock();
        if !waiting.iter().rev().take(8).any(|other| Arc::ptr_eq(other, core)) {
            waiting.push(Arc::clone(core));
        }
        self.arrived.notify_one();
    }

    pub(crate) fn take(&self) -> Vec<Arc<Core>> {
        std::mem::take(&mut *self.waiting.lock())
    }

    /// Waits until a stream stands in the queue, `timeout` is over, or `wake` is called after `stop` became true.
    pub(crate) fn wait(&self, timeout: Duration, stop: impl Fn() -> bool) {
        let mut waiting = self.waiting.lock();
        if waiting.is_empty() && !stop() {
            self.arrived.wait_for(&mut waiting, timeout);
        }
    }

    /// Lets `time` go by, whatever arrives, unless `wake` is called after `stop` became true.
    pub(crate) fn pause(&self, time: Duration, stop: impl Fn() -> bool) {
        let until = Instant::now() + time;
        let mut waiting = self.waiting.lock();
        while !stop() && !self.arrived.wait_until(&mut waiting, until).timed_out() {}
    }

    pub(crate) fn wake(&self) {
        let _waiting = self.waiting.lock();
        self.arrived.notify_all();
    }
}
