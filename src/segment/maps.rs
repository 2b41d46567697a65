//! Segments that were read lately stay mapped for a while, so that reading here and there does not map and unmap
//! at every step. Bounded: maps are scarce, and what is mapped counts as memory.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::sync::Mutex;
use crate::vfs::region::Region;

/// Maps kept at the most, in one store.
const MAPS: usize = 128;

/// The maps made last.
#[derive(Debug, Default)]
pub(crate) struct Maps {
    kept: Mutex<VecDeque<Arc<Region>>>,
}

impl Maps {
    /// Keeps a map just made.
    pub(crate) fn keep(&self, region: &Arc<Region>) {
        let mut kept = self.kept.lock();
        kept.push_back(Arc::clone(region));
        let oldest = if MAPS < kept.len() { kept.pop_front() } else { None };
        drop(kept);
        // Unmapped, where nobody else holds it, without the lock.
        drop(oldest);
    }

    /// Lets go of all. Who reads holds its own.
    pub(crate) fn clear(&self) {
        let kept = std::mem::take(&mut *self.kept.lock());
        drop(kept);
    }
}
