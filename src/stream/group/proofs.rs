//! Group commit, tried in every order of its locks, waits and wakes.
#![cfg(tailwater_loom)]

use std::sync::Arc;

use loom::thread;

use super::Group;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::vfs::region::proofs::every_order;

/// What is published and what of it is durable, one bit a writer.
#[derive(Default)]
struct Log {
    published: AtomicUsize,
    durable: AtomicUsize,
    /// How many syncs run.
    running: AtomicUsize,
    group: Group,
}

impl Log {
    /// As `Core::append` and `Core::sync_to`, but joins once.
    fn append(&self, bit: usize) {
        self.published.fetch_or(bit, Ordering::Release);
        if let Some(_leading) = self.group.join() {
            assert_eq!(self.running.fetch_add(1, Ordering::Relaxed), 0, "one sync runs at a time");
            self.durable.fetch_or(self.published.load(Ordering::Acquire), Ordering::AcqRel);
            self.running.fetch_sub(1, Ordering::Relaxed);
        }
        assert_ne!(self.durable.load(Ordering::Acquire) & bit, 0, "the sync covered who joined it");
    }
}

// Who is not woken waits for ever, which loom calls a deadlock.

#[test]
fn the_sync_that_is_joined_covers_who_joins_and_nobody_waits_for_ever() {
    every_order("three who join a sync", 2, || {
        let log = Arc::new(Log::default());
        let others = [1, 2].map(|bit| {
            let log = Arc::clone(&log);
            thread::spawn(move || log.append(bit))
        });
        log.append(4);
        others.into_iter().for_each(|other| other.join().unwrap());
    });
}

#[test]
fn who_comes_back_while_the_next_sync_gathers_joins_that() {
    every_order("two who join syncs twice", 3, || {
        let log = Arc::new(Log::default());
        let other = Arc::clone(&log);
        let other = thread::spawn(move || [1, 2].into_iter().for_each(|bit| other.append(bit)));
        [4, 8].into_iter().for_each(|bit| log.append(bit));
        other.join().unwrap();
    });
}
