//! The streams in memory: each opened once, whoever asks, and none waiting for another's recovery.

use std::collections::HashMap;
use std::sync::Arc;

use crate::stream::Core;
use crate::sync::Mutex;
use crate::{Result, StreamId};

/// A stream in memory, or one that is being opened by whoever holds the lock.
type Slot = Arc<Mutex<Option<Arc<Core>>>>;

/// The streams in memory.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    slots: Mutex<HashMap<StreamId, Slot>>,
}

impl Loaded {
    /// The stream, if it is in memory; waits while it is being opened.
    pub(crate) fn get(&self, id: StreamId) -> Option<Arc<Core>> {
        let slot = self.slots.lock().get(&id).cloned()?;
        slot.lock().clone()
    }

    /// The stream, opened by `open` if it is not in memory.
    pub(crate) fn get_or_open(
        &self,
        id: StreamId,
        open: impl FnOnce() -> Result<Arc<Core>>,
    ) -> Result<Arc<Core>> {
        let slot = Arc::clone(self.slots.lock().entry(id).or_default());
        let opened = {
            let mut slot = slot.lock();
            match &*slot {
                Some(core) => return Ok(Arc::clone(core)),
                None => open().map(|core| Arc::clone(slot.insert(core))),
            }
        };
        if opened.is_err() {
            // A slot that nobody waits in is not to be taken for a stream in memory.
            let mut slots = self.slots.lock();
            if slots.get(&id).is_some_and(|other| Arc::ptr_eq(other, &slot)) && Arc::strong_count(&slot) == 2
            {
                slots.remove(&id);
            }
        }
        opened
    }

    /// Every stream in memory; waits for those that are being opened.
    pub(crate) fn all(&self) -> Vec<Arc<Core>> {
        let slots: Vec<_> = self.slots.lock().values().cloned().collect();
        slots.iter().filter_map(|slot| slot.lock().clone()).collect()
    }

    /// Forgets the stream.
    pub(crate) fn remove(&self, id: StreamId) -> Option<Arc<Core>> {
        let slot = self.slots.lock().remove(&id)?;
        slot.lock().take()
    }

    /// Calls `look` with a test of who is in memory, or being opened. Nobody comes or goes meanwhile.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&dyn Fn(StreamId) -> bool) -> T) -> T {
        let slots = self.slots.lock();
        look(&|id| slots.contains_key(&id))
    }

    /// Forgets a stream that nobody but the caller uses, if `may` says so.
    pub(crate) fn remove_unused(&self, id: StreamId, core: Arc<Core>, may: impl FnOnce(&Core) -> bool) {
        let mut slots = self.slots.lock();
        // Nobody can come by the stream while the slots are locked, unless it waits in its slot already.
        let unused =
            slots.get(&id).is_some_and(|slot| Arc::strong_count(slot) == 1) && Arc::strong_count(&core) == 2;
        if unused && may(&core) {
            let slot = slots.remove(&id);
            // The last of it goes without the lock.
            drop(slots);
            drop((slot, core));
        }
    }
}
