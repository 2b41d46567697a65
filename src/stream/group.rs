//! Group commit: of those who wait for the same sync one leads it, and it serves them all.
//!
//! ```text
//!  sync n           gathers | runs . . . . . . . . . . | ends: wakes the leader of n + 1, then whom n served
//!  sync n + 1               | gathers . . . . . . . . . . . . . . . . | runs
//! ```
//!
//! A sync covers who joins before it runs; who joins later waits for the next one, which gathers meanwhile. Its leader is
//! the first who joins it. Those who were served are about to join it, too: so the leader gives them a moment.

use std::time::Duration;

use crate::sync::{Mutex, Stopwatch, plain, yield_now};

/// Who waits for the syncs of a stream.
#[derive(Debug, Default)]
pub(crate) struct Group {
    state: Mutex<State>,
    /// Where a leader waits for the sync before its own.
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
    company: Company,
}

/// Whom a leader has reason to wait for: those who were served by the last sync, or joined the next one while it ran.
#[derive(Debug, Default)]
struct Company {
    expected: usize,
    /// How long the last sync ran.
    took: Duration,
    /// How many syncs begin without waiting, for those who were waited for did not come; and how many that were at first.
    shy: u32,
    vain: u32,
}

/// The most yields of a leader who waits for others. A yield lets one of them run, and costs nothing where all of them sleep.
const MAX_YIELDS: u32 = 24;

/// The most syncs that begin at once after waiting in vain.
const MAX_SHY: u32 = 63;

impl Company {
    /// Whether a leader waits for others, `joined` being there by now, itself included.
    fn is_awaited(&mut self, joined: usize) -> bool {
        let missed = joined < self.expected;
        let shy = missed && 0 < self.shy;
        self.shy -= u32::from(shy);
        missed && !shy
    }

    /// Whether they are waited for no longer: after so many yields, or as long as the last sync took, which is what whoever
    /// comes too late has to wait for. A yield is long where somebody else has work for the processor.
    fn is_over(&self, yields: u32, waited: Duration) -> bool {
        MAX_YIELDS <= yields || self.took < waited
    }

    /// Waiting ended with `joined` there, and `before` when it began. Where less than half of those came who were waited for,
    /// leaders wait the more rarely.
    fn waited(&mut self, before: usize, joined: usize) {
        let came = self.expected.saturating_sub(before) <= 2 * (joined - before);
        self.vain = if came { 0 } else { (2 * self.vain + 1).min(MAX_SHY) };
        self.shy = self.vain;
    }

    /// A sync ended that served `members` and took so long; `waiting` joined the next one.
    fn ended(&mut self, members: usize, waiting: usize, took: Duration) {
        (self.expected, self.took) = (members + waiting, took);
    }
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
    members: usize,
    begun: Stopwatch,
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
        let before = state.joined;
        if state.company.is_awaited(before) {
            let (begun, mut yields) = (Stopwatch::now(), 0);
            while state.joined < state.company.expected && !state.company.is_over(yields, begun.elapsed()) {
                drop(state);
                yield_now();
                yields += 1;
                state = self.state.lock();
            }
            let joined = state.joined;
            state.company.waited(before, joined);
        }
        state.begun = nth;
        let members = std::mem::take(&mut state.joined);
        drop(state);
        Some(Leading { group: self, nth, members, begun: Stopwatch::now() })
    }

    fn served(&self, nth: u64) -> &Gate {
        &self.served[nth as usize % 2]
    }
}

impl Drop for Leading<'_> {
    fn drop(&mut self) {
        let took = self.begun.elapsed();
        {
            let mut state = self.group.state.lock();
            state.running = false;
            let waiting = state.joined;
            state.company.ended(self.members, waiting, took);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn company(expected: usize) -> Company {
        Company { expected, took: Duration::from_micros(100), ..Company::default() }
    }

    #[test]
    fn a_lone_writer_never_waits() {
        let mut company = company(0);
        company.ended(1, 0, Duration::from_micros(100));
        assert!(!company.is_awaited(1));
    }

    #[test]
    fn those_are_awaited_who_were_served_or_joined_meanwhile() {
        let mut company = company(0);
        company.ended(3, 2, Duration::from_micros(100));
        assert!(company.is_awaited(4) && !company.is_awaited(5));
    }

    #[test]
    fn waiting_ends_after_some_yields_or_as_long_as_a_sync_takes() {
        let (company, moment) = (company(8), Duration::from_micros(100));
        assert!(!company.is_over(MAX_YIELDS - 1, moment));
        assert!(company.is_over(MAX_YIELDS, Duration::ZERO));
        assert!(company.is_over(0, Duration::from_micros(101)));
    }

    #[test]
    fn who_waits_in_vain_waits_the_more_rarely_until_half_of_them_come() {
        let mut company = company(9);
        let mut at_once = || {
            let count = (0..).take_while(|_| !company.is_awaited(1)).count();
            company.waited(1, 4);
            count
        };
        assert_eq!([at_once(), at_once(), at_once(), at_once()], [0, 1, 3, 7]);
        company.shy = 0;
        company.waited(1, 5);
        assert!(company.is_awaited(1));
    }
}
