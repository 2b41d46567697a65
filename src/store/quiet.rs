//! What is known of streams that are not in memory, so that nobody opens one to find nothing to do.

use std::collections::HashMap;

use crate::{StreamId, Timestamp};

/// What is known of a stream that is not in memory, and that nobody appends to therefore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    /// When retention has to look again.
    pub(super) due: Timestamp,
    /// Ingest time of its last record.
    pub(super) last_ingest: Timestamp,
}

/// What is known of each, and when the first of them is due.
#[derive(Debug)]
pub(super) struct Quiet {
    known: HashMap<StreamId, Known>,
    /// No stream is due before this, those included of which nothing is known.
    next: Timestamp,
}

impl Default for Quiet {
    fn default() -> Quiet {
        Quiet { known: HashMap::new(), next: Timestamp::MIN }
    }
}

impl Quiet {
    pub(super) fn get(&self, id: StreamId) -> Option<Known> {
        self.known.get(&id).copied()
    }

    /// Whether the stream was in memory, and left it whole.
    pub(super) fn was_opened(&self, id: StreamId) -> bool {
        self.known.get(&id).is_some_and(|known| known.last_ingest < Timestamp::MAX)
    }

    /// Takes note of a stream that leaves memory. Whoever did not ask when it is due leaves what is known of that: nothing
    /// expires sooner for an append.
    pub(super) fn note(&mut self, id: StreamId, known: Known) {
        let before = self.known.get(&id).map_or(Timestamp::MIN, |before| before.due);
        let due = if known.due == Timestamp::MIN { before } else { known.due };
        self.known.insert(id, Known { due, ..known });
        self.next = self.next.min(due);
    }

    /// Forgets what was known of a stream, which retention looks at soon therefore.
    pub(super) fn forget(&mut self, id: StreamId) {
        self.known.remove(&id);
        self.next = Timestamp::MIN;
    }

    /// Whether one may be due: what [`due`](Quiet::due) finds out at the cost of going through them all.
    pub(super) fn may_be_due(&self, now: Timestamp) -> bool {
        self.next <= now
    }

    /// Of `ids`, every stream there is that is not in memory, those that are due; at most `most`.
    pub(super) fn due(
        &mut self,
        now: Timestamp,
        ids: impl Iterator<Item = StreamId>,
        most: usize,
    ) -> Vec<StreamId> {
        let mut due = Vec::new();
        let mut next = Timestamp::MAX;
        for id in ids {
            match self.known.get(&id) {
                Some(known) if now < known.due => next = next.min(known.due),
                _ => due.push(id),
            }
            if due.len() == most {
                next = Timestamp::MIN;
                break;
            }
        }
        // Who is due and cannot be looked at is due again at the next turn.
        self.next = if due.is_empty() { next } else { Timestamp::MIN };
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn who_is_due_or_unknown_is_looked_at_and_nobody_goes_through_them_before() {
        let id = |number| StreamId::from(Uuid::from_u128(number));
        let at = Timestamp::from_nanos;
        let known = |due| Known { due: at(due), last_ingest: Timestamp::MIN };
        let mut quiet = Quiet::default();
        assert!(quiet.may_be_due(Timestamp::MIN), "nothing is known of those that are there at first");
        assert_eq!(quiet.due(at(0), [id(1), id(2)].into_iter(), 1), [id(1)]);
        quiet.note(id(1), known(10));
        quiet.note(id(2), known(20));
        assert!(quiet.may_be_due(at(0)), "there were more than were asked for");
        assert_eq!(quiet.due(at(0), [id(1), id(2)].into_iter(), 1), []);
        assert!(!quiet.may_be_due(at(9)) && quiet.may_be_due(at(10)));
        assert_eq!(quiet.due(at(10), [id(1), id(2)].into_iter(), 9), [id(1)]);
        quiet.note(id(1), known(30));
        assert_eq!(quiet.due(at(10), [id(1), id(2)].into_iter(), 9), []);
        assert!(!quiet.may_be_due(at(19)));
        quiet.forget(id(1));
        assert!(quiet.may_be_due(at(10)));
        assert_eq!(quiet.due(at(10), [id(1), id(2)].into_iter(), 9), [id(1)]);
    }
}
