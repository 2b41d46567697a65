//! Whose turn it is to read a session: one connection at a time.
//!
//! That a read ends which somebody resumed the session under is the engine's doing. Here is only what it cannot know: that an
//! answer is still being waited for while nothing is read.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::SessionId;
use crate::sync::Mutex;

/// The connections that read sessions.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// The turn that each session's reader holds.
    held: Mutex<HashMap<SessionId, u64>>,
    /// Numbers turns.
    last: AtomicU64,
}

/// The right to read one session, given back when dropped.
#[derive(Debug)]
pub(super) struct Turn {
    turns: Arc<Turns>,
    id: SessionId,
    number: u64,
}

impl Turns {
    /// Takes the turn where nobody has it.
    pub(super) fn begin(self: &Arc<Turns>, id: SessionId) -> Option<Turn> {
        let mut held = self.held.lock();
        if held.contains_key(&id) {
            return None;
        }
        Some(self.turn(id, &mut held))
    }

    /// Takes the turn, from whoever has it.
    pub(super) fn take_over(self: &Arc<Turns>, id: SessionId) -> Turn {
        self.turn(id, &mut self.held.lock())
    }

    fn turn(self: &Arc<Turns>, id: SessionId, held: &mut HashMap<SessionId, u64>) -> Turn {
        let number = self.last.fetch_add(1, Ordering::Relaxed);
        held.insert(id, number);
        Turn { turns: Arc::clone(self), id, number }
    }
}

impl Turn {
    /// Whether nobody took it over.
    pub(super) fn is_mine(&self) -> bool {
        self.turns.held.lock().get(&self.id) == Some(&self.number)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut held = self.turns.held.lock();
        if held.get(&self.id) == Some(&self.number) {
            held.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_turn_is_had_once_and_again_when_it_was_given_back() {
        let (turns, id) = (Arc::new(Turns::default()), SessionId::from(Uuid::from_u128(1)));
        let first = turns.begin(id).unwrap();
        assert!(turns.begin(id).is_none());
        assert!(turns.begin(SessionId::from(Uuid::from_u128(2))).is_some());
        drop(first);
        assert!(turns.begin(id).is_some());
    }

    #[test]
    fn a_turn_taken_over_ends_without_ending_the_new_one() {
        let (turns, id) = (Arc::new(Turns::default()), SessionId::from(Uuid::from_u128(1)));
        let first = turns.begin(id).unwrap();
        let second = turns.take_over(id);
        assert!(!first.is_mine() && second.is_mine());
        drop(first);
        assert!(second.is_mine() && turns.begin(id).is_none());
        drop(second);
        assert!(turns.held.lock().is_empty());
    }
}
