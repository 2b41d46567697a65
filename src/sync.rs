//! Locks, atomics and threads: the system's, or those of a checker that decides who runs next.
//!
//! | cfg                  | from               | what for                                                        |
//! |----------------------|--------------------|-----------------------------------------------------------------|
//! | none                 | parking_lot, `std` | every build but the next two: names only, no code of its own    |
//! | `tailwater_shuttle`  | shuttle            | many schedules of a whole store: `tests/interleave*.rs`         |
//! | `tailwater_loom`     | loom               | every schedule of the protocol of `vfs/region`, orderings included |
//!
//! A checker sees what goes through here and nothing else. Counts (`Arc`), what is set once (`OnceLock`) and counters in
//! statics, which nobody waits for, are `std`'s in all three.
//!
//! A checker has no time. A wait with a timeout of up to [`MOMENT`] may end at once there, and a longer one only when it is
//! told to: who relies on a long timeout to be woken hangs, which the checker calls a deadlock.

#[cfg(any(tailwater_loom, tailwater_shuttle))]
pub(crate) use self::checked::*;
#[cfg(not(any(tailwater_loom, tailwater_shuttle)))]
pub(crate) use self::system::*;

#[cfg(not(any(tailwater_loom, tailwater_shuttle)))]
mod system {
    pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};
    pub(crate) use std::sync as plain;
    pub(crate) use std::sync::atomic;
    pub(crate) use std::sync::atomic::AtomicU32 as Word;
    pub(crate) use std::thread::yield_now;
    pub(crate) use std::time::Instant as Stopwatch;

    use std::ops::Range;

    /// Memory that no checker watches.
    #[derive(Debug)]
    pub(crate) struct Watch;

    impl Watch {
        #[inline(always)]
        pub(crate) fn new(_: Range<usize>) -> Watch {
            Watch
        }

        #[inline(always)]
        pub(crate) fn reads(&self, _: Range<usize>) {}

        #[inline(always)]
        pub(crate) fn writes(&self, _: Range<usize>) {}

        #[inline(always)]
        pub(crate) fn touches_word(&self) {}
    }
}

#[cfg(any(tailwater_loom, tailwater_shuttle))]
mod checked {
    #[cfg(tailwater_loom)]
    use loom as checker;
    #[cfg(tailwater_shuttle)]
    use shuttle as checker;

    use std::fmt;
    use std::ops::{Deref, DerefMut};
    use std::time::{Duration, Instant};

    use checker::sync as inner;
    pub(crate) use checker::sync as plain;
    pub(crate) use checker::sync::atomic;
    pub(crate) use checker::thread::yield_now;

    pub(crate) use super::watch::{Watch, Word};

    /// The longest wait that ends by itself.
    const MOMENT: Duration = Duration::from_millis(50);

    /// A steady clock that stands.
    #[derive(Debug)]
    pub(crate) struct Stopwatch;

    impl Stopwatch {
        pub(crate) fn now() -> Stopwatch {
            Stopwatch
        }

        pub(crate) fn elapsed(&self) -> Duration {
            Duration::ZERO
        }
    }

    /// parking_lot's mutex, as far as it is used here.
    pub(crate) struct Mutex<T>(inner::Mutex<T>);

    pub(crate) struct MutexGuard<'a, T> {
        mutex: &'a Mutex<T>,
        /// Empty only within a wait.
        held: Option<inner::MutexGuard<'a, T>>,
    }

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Mutex<T> {
            Mutex(inner::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            MutexGuard { mutex: self, held: Some(self.0.lock().unwrap_or_else(|err| err.into_inner())) }
        }

        pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            match self.0.try_lock() {
                Ok(held) => Some(MutexGuard { mutex: self, held: Some(held) }),
                Err(std::sync::TryLockError::Poisoned(err)) => {
                    Some(MutexGuard { mutex: self, held: Some(err.into_inner()) })
                }
                Err(std::sync::TryLockError::WouldBlock) => None,
            }
        }
    }

    impl<T: Default> Default for Mutex<T> {
        fn default() -> Mutex<T> {
            Mutex::new(T::default())
        }
    }

    impl<T> fmt::Debug for Mutex<T> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Mutex")
        }
    }

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            self.held.as_ref().expect("held")
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            self.held.as_mut().expect("held")
        }
    }

    impl<T: fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            (**self).fmt(f)
        }
    }

    /// parking_lot's lock for many readers, as far as it is used here.
    pub(crate) struct RwLock<T>(inner::RwLock<T>);

    impl<T> RwLock<T> {
        pub(crate) fn new(value: T) -> RwLock<T> {
            RwLock(inner::RwLock::new(value))
        }

        pub(crate) fn read(&self) -> inner::RwLockReadGuard<'_, T> {
            self.0.read().unwrap_or_else(|err| err.into_inner())
        }

        pub(crate) fn write(&self) -> inner::RwLockWriteGuard<'_, T> {
            self.0.write().unwrap_or_else(|err| err.into_inner())
        }
    }

    impl<T> fmt::Debug for RwLock<T> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("RwLock")
        }
    }

    /// parking_lot's condition, as far as it is used here.
    pub(crate) struct Condvar(inner::Condvar);

    pub(crate) struct WaitTimeoutResult(bool);

    impl WaitTimeoutResult {
        pub(crate) fn timed_out(&self) -> bool {
            self.0
        }
    }

    impl Condvar {
        pub(crate) fn new() -> Condvar {
            Condvar(inner::Condvar::new())
        }

        pub(crate) fn notify_one(&self) {
            self.0.notify_one();
        }

        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
        }

        pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
            let held = guard.held.take().expect("held");
            guard.held = Some(self.0.wait(held).unwrap_or_else(|err| err.into_inner()));
        }

        pub(crate) fn wait_for<T>(
            &self,
            guard: &mut MutexGuard<'_, T>,
            timeout: Duration,
        ) -> WaitTimeoutResult {
            if MOMENT < timeout {
                self.wait(guard);
                return WaitTimeoutResult(false);
            }
            guard.held = None;
            yield_now();
            guard.held = Some(guard.mutex.0.lock().unwrap_or_else(|err| err.into_inner()));
            WaitTimeoutResult(true)
        }

        pub(crate) fn wait_until<T>(
            &self,
            guard: &mut MutexGuard<'_, T>,
            until: Instant,
        ) -> WaitTimeoutResult {
            self.wait_for(guard, until.saturating_duration_since(Instant::now()))
        }
    }

    impl Default for Condvar {
        fn default() -> Condvar {
            Condvar::new()
        }
    }

    impl fmt::Debug for Condvar {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Condvar")
        }
    }
}

/// Memory as shuttle watches it: somebody else may run before every touch of a commit word and every copy.
#[cfg(tailwater_shuttle)]
mod watch {
    use std::ops::Range;

    use shuttle::sync::atomic::{AtomicBool, Ordering};
    pub(crate) use std::sync::atomic::AtomicU32 as Word;

    #[derive(Debug)]
    pub(crate) struct Watch(AtomicBool);

    impl Watch {
        pub(crate) fn new(_: Range<usize>) -> Watch {
            Watch(AtomicBool::new(false))
        }

        pub(crate) fn reads(&self, _: Range<usize>) {}

        pub(crate) fn writes(&self, _: Range<usize>) {
            self.touches_word();
        }

        pub(crate) fn touches_word(&self) {
            self.0.load(Ordering::Relaxed);
        }
    }
}

/// Memory as loom watches it. Loom's atomics do not lie in memory of ours, so each place that may hold a commit word has one
/// of its own here; and each eight bytes a cell that holds nothing, which is looked at and written when they are, so
/// that loom finds a read and a write of them that nothing orders.
#[cfg(tailwater_loom)]
mod watch {
    use std::ops::Range;

    use loom::cell::UnsafeCell;
    pub(crate) use loom::sync::atomic::AtomicU32 as Word;

    #[derive(Debug)]
    pub(crate) struct Watch {
        start: usize,
        words: Vec<Word>,
        bytes: Vec<UnsafeCell<()>>,
    }

    impl Watch {
        pub(crate) fn new(range: Range<usize>) -> Watch {
            let count = range.len() / 8;
            let words = (0..count).map(|_| Word::new(0)).collect();
            Watch { start: range.start, words, bytes: (0..count).map(|_| UnsafeCell::new(())).collect() }
        }

        pub(crate) fn word(&self, position: usize) -> &Word {
            &self.words[(position - self.start) / 8]
        }

        pub(crate) fn reads(&self, range: Range<usize>) {
            self.cells(range).iter().for_each(|cell| cell.with(|_| ()));
        }

        pub(crate) fn writes(&self, range: Range<usize>) {
            self.cells(range).iter().for_each(|cell| cell.with_mut(|_| ()));
        }

        fn cells(&self, range: Range<usize>) -> &[UnsafeCell<()>] {
            &self.bytes[(range.start - self.start) / 8..(range.end - self.start).div_ceil(8)]
        }
    }
}
