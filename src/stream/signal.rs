//! Waking those who wait for something new, at no cost to those who bring it while nobody waits.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;
use std::time::Duration;

use crate::sync::{Condvar, Mutex};

/// A counter that can be waited on, by threads and by tasks.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    raised: Mutex<Raised>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Raised {
    count: u64,
    /// Tasks to wake at the next raise, by who waits.
    tasks: HashMap<u64, Waker>,
}

/// Somebody who waits as a task, and for one thing at a time.
#[derive(Debug)]
pub(crate) struct Waiter(u64);

impl Waiter {
    pub(crate) fn new() -> Waiter {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        Waiter(COUNT.fetch_add(1, Ordering::Relaxed))
    }
}

impl Signal {
    /// The count to wait from. Taken before looking whether there is something new.
    pub(crate) fn count(&self) -> u64 {
        self.raised.lock().count
    }

    /// Wakes everybody who waits.
    pub(crate) fn raise(&self) {
        let tasks = {
            let mut raised = self.raised.lock();
            raised.count += 1;
            std::mem::take(&mut raised.tasks)
        };
        self.changed.notify_all();
        // Without the lock: a waker may run the task, which asks again.
        tasks.into_values().for_each(Waker::wake);
    }

    /// Waits until the signal was raised since `count` was taken, or `timeout` is over.
    pub(crate) fn wait(&self, count: u64, timeout: Duration) {
        let mut raised = self.raised.lock();
        if raised.count == count {
            self.changed.wait_for(&mut raised, timeout);
        }
    }

    /// Has `task` woken when the signal is raised next. False where that happened since `count` was taken: look again.
    pub(crate) fn register(&self, count: u64, waiter: &Waiter, task: &Waker) -> bool {
        let mut raised = self.raised.lock();
        if raised.count != count {
            return false;
        }
        let replaced = raised.tasks.insert(waiter.0, task.clone());
        // Without the lock: with its last waker a task may go, and what waits here in it.
        drop(raised);
        drop(replaced);
        true
    }

    /// Forgets somebody who waits no more.
    pub(crate) fn forget(&self, waiter: &Waiter) {
        let forgotten = self.raised.lock().tasks.remove(&waiter.0);
        drop(forgotten);
    }
}

#[cfg(test)]
mod proofs;

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    #[derive(Default)]
    struct Counter(AtomicUsize);

    impl std::task::Wake for Counter {
        fn wake(self: Arc<Counter>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_task_is_woken_once_a_raise_and_told_when_it_came_too_late() {
        let (signal, counter) = (Signal::default(), Arc::new(Counter::default()));
        let task = Waker::from(Arc::clone(&counter));
        let (count, waiter) = (signal.count(), Waiter::new());
        assert!(signal.register(count, &waiter, &task) && signal.register(count, &waiter, &task));
        signal.raise();
        signal.raise();
        assert_eq!(counter.0.load(Ordering::Relaxed), 1);
        assert!(!signal.register(count, &waiter, &task));
    }

    /// A task that goes with its last waker, and on whose going somebody looks at the signal, as a tail in it does.
    struct Last(Arc<Signal>, Arc<AtomicUsize>);

    impl std::task::Wake for Last {
        fn wake(self: Arc<Last>) {}
    }

    impl Drop for Last {
        fn drop(&mut self) {
            self.1.fetch_add(usize::from(self.0.raised.try_lock().is_some()), Ordering::Relaxed);
        }
    }

    #[test]
    fn a_task_that_goes_with_its_waker_may_look_at_the_signal() {
        let (signal, looked, waiter) = (Arc::new(Signal::default()), Arc::default(), Waiter::new());
        let task = || Waker::from(Arc::new(Last(Arc::clone(&signal), Arc::clone(&looked))));
        // Replaced, forgotten, woken.
        assert!(signal.register(0, &waiter, &task()) && signal.register(0, &waiter, &task()));
        assert_eq!(looked.load(Ordering::Relaxed), 1);
        signal.forget(&waiter);
        assert_eq!(looked.load(Ordering::Relaxed), 2);
        assert!(signal.register(0, &waiter, &task()));
        signal.raise();
        assert_eq!(looked.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn who_waits_no_more_is_forgotten() {
        let (signal, counter) = (Signal::default(), Arc::new(Counter::default()));
        let (waiter, other) = (Waiter::new(), Waiter::new());
        let task = Waker::from(Arc::clone(&counter));
        assert!(signal.register(0, &waiter, &task) && signal.register(0, &other, &task));
        signal.forget(&waiter);
        signal.raise();
        assert_eq!(counter.0.load(Ordering::Relaxed), 1);
        assert_eq!(Arc::strong_count(&counter), 2, "no waker is left but the test's own");
    }
}
