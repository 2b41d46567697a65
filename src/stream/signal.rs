//! Waking those who wait for something new, at no cost to those who bring it while nobody waits.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// A counter that can be waited on.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    raised: Mutex<u64>,
    changed: Condvar,
}

impl Signal {
    /// The count to wait from. Taken before looking whether there is something new.
    pub(crate) fn count(&self) -> u64 {
        *self.raised.lock()
    }

    /// Wakes everybody who waits.
    pub(crate) fn raise(&self) {
        *self.raised.lock() += 1;
        self.changed.notify_all();
    }

    /// Waits until the signal was raised since `count` was taken, or `timeout` is over.
    pub(crate) fn wait(&self, count: u64, timeout: Duration) {
        let mut raised = self.raised.lock();
        if *raised == count {
            self.changed.wait_for(&mut raised, timeout);
        }
    }
}
