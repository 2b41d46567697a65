//! A clock turned by hand.

use std::sync::Arc;
use std::time::Duration;

use crate::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use crate::vfs::Clock;

/// A clock turned by hand, shared by its clones. Nothing else moves it.
#[derive(Debug, Clone)]
pub struct SimClock(Arc<Hands>);

#[derive(Debug)]
struct Hands {
    wall: AtomicI64,
    boot: AtomicU64,
    boots: AtomicU64,
}

impl SimClock {
    /// A machine that has just booted, `wall` nanoseconds after 1970.
    pub fn new(wall: i64) -> SimClock {
        SimClock(Arc::new(Hands { wall: wall.into(), boot: 0.into(), boots: 1.into() }))
    }

    /// Another clock that shows the same and is turned apart from this one.
    pub fn fork(&self) -> SimClock {
        let hands = Hands {
            wall: self.wall().into(),
            boot: self.boot().into(),
            boots: self.0.boots.load(Ordering::SeqCst).into(),
        };
        SimClock(Arc::new(hands))
    }

    /// Lets time pass. Both readings stop at the last one there is.
    pub fn advance(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let boot = self.boot().saturating_add(nanos);
        self.0.boot.store(boot, Ordering::SeqCst);
        self.set_wall(self.wall().saturating_add_unsigned(nanos));
    }

    /// Sets the wall clock, as an operator or NTP does; the boot clock takes no notice.
    pub fn set_wall(&self, wall: i64) {
        self.0.wall.store(wall, Ordering::SeqCst);
    }

    /// Boots anew: another boot id, and the boot clock at 0. The wall clock runs on.
    pub fn reboot(&self) {
        self.0.boots.fetch_add(1, Ordering::SeqCst);
        self.0.boot.store(0, Ordering::SeqCst);
    }
}

impl Clock for SimClock {
    fn wall(&self) -> i64 {
        self.0.wall.load(Ordering::SeqCst)
    }

    fn boot(&self) -> u64 {
        self.0.boot.load(Ordering::SeqCst)
    }

    fn boot_id(&self) -> Option<u128> {
        Some(self.0.boots.load(Ordering::SeqCst).into())
    }
}
