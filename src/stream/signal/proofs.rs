//! Waking, tried in every order: a mark under the writer's lock, a claim that takes it, a raise after the commit.
//!
//! `Signal` and `Region` are the code itself; the steps of `Core::claim` and of `Tail` stand in [`Log`], since a whole store
//! is too much for loom. Those steps in place are what `tests/interleave.rs` tries.
#![cfg(tailwater_loom)]

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use loom::thread;

use super::{Signal, Waiter};
use crate::sync::Mutex;
use crate::vfs::region::proofs::{SPAN, append, check_whole, every_order, region};
use crate::vfs::region::{FLOOR, Region, Tail};

const HOUR: Duration = Duration::from_secs(3600);

/// The lock of a writer, what it guards, and what wakes who waits.
struct Log {
    region: Arc<Region>,
    writer: Mutex<(Tail, bool)>,
    signal: Signal,
}

impl Log {
    fn new() -> Arc<Log> {
        let region = region();
        let tail = Tail::new(Arc::clone(&region), region.capacity());
        Arc::new(Log { region, writer: Mutex::new((tail, false)), signal: Signal::default() })
    }

    /// As `Core::claim` and `Core::follow_up`.
    fn append(&self) {
        let (claim, wake) = {
            let mut writer = self.writer.lock();
            (writer.0.claim(SPAN as u32), std::mem::take(&mut writer.1))
        };
        append(claim);
        if wake {
            self.signal.raise();
        }
    }

    /// As `Tail::next_within`: says that somebody waits, and where the next claim will begin.
    fn want(&self) -> usize {
        let mut writer = self.writer.lock();
        writer.1 = true;
        writer.0.next()
    }
}

#[test]
fn a_waiting_thread_is_woken_by_the_append_it_waits_for() {
    every_order("a thread that waits, and an append", 4, || {
        let log = Log::new();
        let writer = Arc::clone(&log);
        let writer = thread::spawn(move || writer.append());
        // A wake that is missed leaves this waiting for ever, which loom calls a deadlock.
        loop {
            let count = log.signal.count();
            let end = log.region.published();
            if FLOOR < end {
                check_whole(&log.region, end);
                break;
            }
            let moment = end < log.want();
            log.signal.wait(count, if moment { Duration::from_millis(1) } else { HOUR });
        }
        writer.join().unwrap();
    });
}

/// Unparks the thread that polls.
struct Unpark(thread::Thread);

impl std::task::Wake for Unpark {
    fn wake(self: Arc<Unpark>) {
        self.0.unpark();
    }
}

#[test]
fn a_waiting_task_is_woken_by_the_append_it_waits_for() {
    every_order("a task that waits, and an append", 4, || {
        let log = Log::new();
        let writer = Arc::clone(&log);
        let writer = thread::spawn(move || writer.append());
        let (waiter, task) = (Waiter::new(), Waker::from(Arc::new(Unpark(thread::current()))));
        loop {
            let count = log.signal.count();
            let end = log.region.published();
            if FLOOR < end {
                check_whole(&log.region, end);
                break;
            }
            if end < log.want() {
                thread::yield_now();
            } else if log.signal.register(count, &waiter, &task) {
                thread::park();
            }
        }
        log.signal.forget(&waiter);
        writer.join().unwrap();
    });
}
