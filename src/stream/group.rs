//! Group commit: of those who wait for the same sync one leads it, and it serves them all.
//!
//! ```text
//!  sync n           gathers | runs . . . . . . . . . . | ends: wakes the leader of n + 1, then whom n served
//!  sync n + 1               | gathers . . . . . . . . . . . . . . . . | runs
//! ```
//!
//! A sync covers who joins before it runs; who joins later waits for the next one, which gathers meanwhile. Its leader is
//! the first who joins it.

use crate::sync::{Mutex, plain};

/// Who waits for the syncs of a stream.
#[derive(Debug, Default)]
pub(crate) struct Group {
    state: Mutex<State>,
    /// Where a leader waits for the sync before his.
    turn: Gate,
    /// Where those wait whom a sync serves: two syncs are waited for at a time.
    served: [Gate; 2],
}

#[derive(Debug, Default)]
struct State {
    /// The last sync that ran or runs. The next one gathers.
    begun: u64,
    running: bool,
    /// How many joined the one that gathers.
    joined: usize,
}

/// Passed by waiting until a sync ended.
#[derive(Debug, Default)]
struct Gate {
    ended: plain::Mutex<u64>,
    /// Wakes all at once. parking_lot's would have each who wakes wake the next.
    opened: plain::Condvar,
}

/// That a sync is led, by one at a time. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Leading<'a> {
    group: &'a Group,
    nth: u64,
}

impl Group {
    /// Waits for a sync that did not run yet when this was called. `None` when somebody else led it to its end; else it is
    /// the caller's to lead, and begins now.
    pub(crate) fn join(&self) -> Option<Leading<'_>> {
        let mut state = self.state.lock();
        let nth = state.begun + 1;
        state.joined += 1;
        if 1 < state.joined {
            drop(state);
            self.served(nth).wait(nth);
            return None;
        }
        while state.running {
            drop(state);
            self.turn.wait(nth - 1);
            state = self.state.lock();
        }
        state.running = true;
        state.begun = nth;
        state.joined = 0;
        Some(Leading { group: self, nth })
    }

    fn served(&self, nth: u64) -> &Gate {
        &self.served[nth as usize % 2]
    }
}

impl Drop for Leading<'_> {
    fn drop(&mut self) {
        self.group.state.lock().running = false;
        // The leader first: while those who were served wake, the next sync runs.
        self.group.turn.open(self.nth);
        self.group.served(self.nth).open(self.nth);
    }
}

impl Gate {
    fn wait(&self, nth: u64) {
        let mut ended = self.ended.lock().expect("nothing panics in a gate");
        while *ended < nth {
            ended = self.opened.wait(ended).expect("nothing panics in a gate");
        }
    }

    fn open(&self, nth: u64) {
        *self.ended.lock().expect("nothing panics in a gate") = nth;
        self.opened.notify_all();
    }
}

#[cfg(test)]
mod proofs;
