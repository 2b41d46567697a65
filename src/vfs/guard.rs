//! The store's clock: the wall clock, held against the boot clock, never going back.
//!
//! Ingest times and TTL both run by it, so "expired" means expired by this clock. Between looks at the
//! wall clock it runs on the steady one, so a jump shows only when `look` has judged it.

use std::sync::Arc;

use crate::Timestamp;
use crate::mutants::{self, Mutant};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicI64, Ordering};
use crate::vfs::Clock;
use crate::vfs::os::OsClock;

const HOUR: i64 = 3_600_000_000_000;

/// A step ahead up to this much is believed at once while the machine runs.
const STEP: i64 = HOUR;
/// A step ahead up to this much is believed at once when the boot clock cannot tell how long it really was.
const STEP_UNSEEN: i64 = 30 * 24 * HOUR;
/// A larger step is believed once it has stood for this long.
const CONFIRM: u64 = 10 * 60 * 1_000_000_000;

/// Where the store's time stood at some moment, as it is kept across restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Mark {
    pub(crate) store: i64,
    pub(crate) boot: u64,
    pub(crate) boot_id: Option<u128>,
}

/// What a look at the clocks comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Judged {
    store: i64,
    /// Since which boot time a step ahead has stood unbelieved.
    doubted: Option<u64>,
}

/// Judges a reading of the wall clock. `expected` is the store's last time plus what the boot clock says went by.
///
/// | wall against expected    | the store's time is                                         |
/// |--------------------------|-------------------------------------------------------------|
/// | behind                   | as expected: it never goes back                             |
/// | ahead, at most `step`    | the wall's                                                  |
/// | ahead, more              | as expected, until that has stood for ten minutes           |
fn judge(expected: i64, wall: i64, step: i64, boot: u64, doubted: Option<u64>) -> Judged {
    if wall <= expected {
        return Judged { store: expected, doubted: None };
    }
    let since = doubted.unwrap_or(boot);
    if wall.saturating_sub(expected) <= step || CONFIRM <= boot.saturating_sub(since) {
        return Judged { store: wall, doubted: None };
    }
    Judged { store: expected, doubted: Some(since) }
}

#[derive(Debug)]
enum Source {
    /// Kept apart so that an append reads it without dynamic dispatch.
    Os(OsClock),
    Other(Arc<dyn Clock>),
}

impl Source {
    fn get(&self) -> &dyn Clock {
        match self {
            Source::Os(clock) => clock,
            Source::Other(clock) => &**clock,
        }
    }

    #[inline]
    fn steady(&self) -> u64 {
        match self {
            Source::Os(clock) => clock.steady(),
            Source::Other(clock) => clock.steady(),
        }
    }
}

/// The store's clock.
#[derive(Debug)]
pub(crate) struct GuardedClock {
    source: Source,
    /// Store time less steady time. Raised only, so the store's time never goes back.
    ahead: AtomicI64,
    last: Mutex<Last>,
}

/// The last judgement, for the next one.
#[derive(Debug)]
struct Last {
    mark: Mark,
    doubted: Option<u64>,
}

impl GuardedClock {
    /// Starts the clock where `mark`, kept from an earlier time, allows. `None`: the machine's own clock.
    pub(crate) fn new(clock: Option<Arc<dyn Clock>>, mark: Option<Mark>) -> GuardedClock {
        let source = clock.map_or(Source::Os(OsClock), Source::Other);
        let (wall, boot, boot_id) = (source.get().wall(), source.get().boot(), source.get().boot_id());
        let judged = match mark {
            None => Judged { store: wall, doubted: None },
            Some(mark) if mark.boot_id.is_some() && mark.boot_id == boot_id => {
                judge(elapse(mark, boot), wall, STEP, boot, None)
            }
            Some(mark) => judge(mark.store, wall, STEP_UNSEEN, boot, None),
        };
        let ahead = judged.store.saturating_sub(source.steady() as i64);
        let mark = Mark { store: judged.store, boot, boot_id };
        GuardedClock {
            source,
            ahead: AtomicI64::new(ahead),
            last: Mutex::new(Last { mark, doubted: judged.doubted }),
        }
    }

    /// The store's time.
    #[inline]
    pub(crate) fn now(&self) -> Timestamp {
        let steady = self.source.steady() as i64;
        Timestamp::from_nanos(steady.saturating_add(self.ahead.load(Ordering::Relaxed)))
    }

    /// The store's time, which nobody reads again who begins to read after this returns: later readings are later.
    pub(crate) fn cut(&self) -> Timestamp {
        let steady = self.source.steady() as i64;
        // The clock is coarse, so its next reading could be the same but for this nanosecond.
        Timestamp::from_nanos(steady.saturating_add(self.ahead.fetch_add(1, Ordering::AcqRel)))
    }

    /// Brings the store's time up to `time` at least.
    pub(crate) fn raise(&self, time: Timestamp) {
        let steady = self.source.steady() as i64;
        self.ahead.fetch_max(time.as_nanos().saturating_sub(steady), Ordering::AcqRel);
    }

    /// Looks at the wall clock and follows it as far as it is believed. To be called every second or so.
    pub(crate) fn look(&self) -> Mark {
        let mut last = self.last.lock();
        let (wall, boot) = (self.source.get().wall(), self.source.get().boot());
        let judged = judge(elapse(last.mark, boot), wall, STEP, boot, last.doubted);
        let store = judged.store.max(self.now().as_nanos());
        if mutants::on(Mutant::ClockGoesBack) {
            self.ahead.fetch_min(wall.saturating_sub(self.source.steady() as i64), Ordering::Relaxed);
            return last.mark;
        }
        last.mark = Mark { store, boot, ..last.mark };
        last.doubted = judged.doubted;
        self.ahead.fetch_max(store.saturating_sub(self.source.steady() as i64), Ordering::Relaxed);
        last.mark
    }

    /// The id of this boot.
    pub(crate) fn boot_id(&self) -> Option<u128> {
        self.source.get().boot_id()
    }
}

fn elapse(mark: Mark, boot: u64) -> i64 {
    mark.store.saturating_add(i64::try_from(boot.saturating_sub(mark.boot)).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000_000_000_000;

    #[track_caller]
    fn check(wall: i64, step: i64, doubted: Option<u64>, store: i64, still_doubted: Option<u64>) {
        let boot = 5_000 * 1_000_000_000;
        let judged = judge(NOW, wall, step, boot, doubted);
        assert_eq!(judged, Judged { store, doubted: still_doubted });
    }

    #[test]
    fn the_store_clock_follows_small_steps_and_never_goes_back() {
        check(NOW, STEP, None, NOW, None);
        check(NOW + HOUR, STEP, None, NOW + HOUR, None);
        check(NOW - 1, STEP, None, NOW, None);
        check(i64::MIN, STEP, None, NOW, None);
    }

    #[test]
    fn a_step_of_years_is_not_believed_until_it_has_stood_for_ten_minutes() {
        let boot = 5_000 * 1_000_000_000;
        check(i64::MAX, STEP, None, NOW, Some(boot));
        check(NOW + 2 * HOUR, STEP, Some(boot - CONFIRM + 1), NOW, Some(boot - CONFIRM + 1));
        check(NOW + 2 * HOUR, STEP, Some(boot - CONFIRM), NOW + 2 * HOUR, None);
    }

    #[test]
    fn a_weekend_without_power_is_believed_at_once() {
        check(NOW + 60 * HOUR, STEP_UNSEEN, None, NOW + 60 * HOUR, None);
    }
}
