//! What is kept of a session on disk, and how one change alters all that is kept: values, no files.
//!
//! A change is one record of the sessions' log, in an [envelope](crate::format::envelope) with the magic `89 TWSC 0D 0A 1A`.
//! [`docs/format.md`] has the fields. Applying the same changes in the same order always ends in the same state, and a
//! change of something that is not there alters nothing: a damaged log loses what the damage hit and no more.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::format::Epoch;
use crate::format::envelope::{self, EnvelopeError, Magic};
use crate::names::{SessionId, TenantId, UserId};
use crate::session::{OnExpired, Scope};
use crate::{SessionCursor, Timestamp};

const MAGIC: Magic = *b"\x89TWSC\r\n\x1a";
const VERSION: u16 = 1;

/// Epochs of the store that are remembered, at most.
const EPOCHS: usize = 1000;

/// A session, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) id: SessionId,
    pub(crate) tenant: TenantId,
    pub(crate) user: UserId,
    pub(crate) filter: String,
    pub(crate) service: Option<String>,
    pub(crate) scope: Scope,
    pub(crate) on_expired: OnExpired,
    pub(crate) created: Timestamp,
    pub(crate) committed: SessionCursor,
    pub(crate) phase: Phase,
}

/// Where in its life a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Phase {
    /// It is read from.
    Open,
    /// Nobody reads it.
    Suspended {
        /// Since when.
        since: Timestamp,
    },
    /// It was closed.
    Closed {
        /// When.
        since: Timestamp,
    },
}

/// One life of the store in one process, as far as it had sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoreEpoch {
    pub(crate) number: u64,
    /// Drawn at random: tells epochs of one number apart, as when a copy of the store went its own way.
    pub(crate) id: u64,
    /// The store's time when it was opened: nothing that came in during this epoch is earlier.
    pub(crate) start: Timestamp,
}

impl StoreEpoch {
    pub(crate) fn epoch(&self) -> Epoch {
        Epoch { number: self.number, id: self.id }
    }
}

/// One step from a state to the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Change {
    /// Adds a session, or replaces it.
    Put(Entry),
    /// A position was committed.
    Commit(SessionId, SessionCursor),
    /// A session is in another phase.
    Phase(SessionId, Phase),
    /// A session is forgotten.
    Forget(SessionId),
    /// The store was opened.
    Epoch(StoreEpoch),
}

impl Change {
    pub(crate) fn encode(&self) -> Vec<u8> {
        envelope::encode(MAGIC, VERSION, self)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Change, EnvelopeError> {
        match envelope::decode(MAGIC, VERSION, bytes)? {
            (change, used) if used == bytes.len() => Ok(change),
            _ => Err(EnvelopeError::Invalid),
        }
    }
}

/// Everything that is kept.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) sessions: BTreeMap<SessionId, Entry>,
    pub(crate) epochs: Epochs,
}

impl Kept {
    pub(crate) fn apply(&mut self, change: Change) {
        match change {
            Change::Put(entry) => drop(self.sessions.insert(entry.id, entry)),
            Change::Commit(id, cursor) => {
                if let Some(entry) = self.sessions.get_mut(&id) {
                    entry.committed = cursor;
                }
            }
            Change::Phase(id, phase) => {
                if let Some(entry) = self.sessions.get_mut(&id) {
                    entry.phase = phase;
                }
            }
            Change::Forget(id) => drop(self.sessions.remove(&id)),
            Change::Epoch(epoch) => self.epochs.push(epoch),
        }
    }
}

/// The epochs of the store, oldest first.
///
/// Sessions put the records of many streams in the order of their ingest times. That order holds as long as the store's time
/// does not go back, which only a lost clock can make it do, between one life of the store and the next. The epochs tell: a
/// position later than the beginning of the epoch after its own is in a stretch of time that came twice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Epochs(Vec<StoreEpoch>);

/// What becomes of a position in the light of the epochs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It holds.
    Holds,
    /// The log kept only what came in before this.
    KeptBefore(Timestamp),
    /// Its epoch is not of this store, but of a copy that went its own way, nobody knows since when.
    Unknown,
}

impl Epochs {
    fn push(&mut self, epoch: StoreEpoch) {
        // A log that is written anew says again what it has said.
        if self.0.last().is_none_or(|last| last.number < epoch.number) {
            self.0.push(epoch);
        }
        if EPOCHS < self.0.len() {
            self.0.remove(0);
        }
    }

    /// The changes that make these out of none.
    pub(crate) fn changes(&self) -> impl Iterator<Item = Change> {
        self.0.iter().copied().map(Change::Epoch)
    }

    /// The epoch that begins with the store's opening at `start`.
    pub(crate) fn next(&self, id: u64, start: Timestamp) -> StoreEpoch {
        StoreEpoch { number: self.0.last().map_or(1, |last| last.number + 1), id, start }
    }

    /// The epoch in which a record of this time came in, so that one position has one text.
    pub(crate) fn at(&self, time: Timestamp) -> Epoch {
        let found = self.0.iter().rev().find(|epoch| epoch.start <= time).or(self.0.first());
        found.map_or(Epoch::default(), StoreEpoch::epoch)
    }

    /// Whether the position at `time` of `epoch` still holds.
    pub(crate) fn judge(&self, epoch: Epoch, time: Timestamp) -> Standing {
        let later = match self.0.iter().position(|known| known.epoch() == epoch) {
            Some(index) => &self.0[index + 1..],
            None if self.0.first().is_none_or(|first| epoch.number < first.number) => &self.0[..],
            None => return Standing::Unknown,
        };
        match later.iter().map(|epoch| epoch.start).min() {
            Some(start) if start <= time => Standing::KeptBefore(start),
            _ => Standing::Holds,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(nanos: i64) -> Timestamp {
        Timestamp::from_nanos(nanos)
    }

    /// Epochs that begin at these times, with ids ten times their numbers.
    fn epochs(starts: &[i64]) -> Epochs {
        let mut epochs = Epochs::default();
        for start in starts {
            let next = epochs.next(0, at(*start));
            epochs.push(StoreEpoch { id: next.number * 10, ..next });
        }
        epochs
    }

    fn epoch(number: u64) -> Epoch {
        Epoch { number, id: number * 10 }
    }

    #[test]
    fn a_time_belongs_to_the_last_epoch_that_began_by_then() {
        let epochs = epochs(&[100, 200, 300]);
        for (time, number) in [(50, 1), (100, 1), (199, 1), (200, 2), (999, 3)] {
            assert_eq!(epochs.at(at(time)), epoch(number), "{time}");
        }
    }

    #[test]
    fn a_position_holds_unless_a_later_epoch_began_before_it() {
        let epochs = epochs(&[100, 200, 150]);
        assert_eq!(epochs.judge(epoch(1), at(149)), Standing::Holds);
        assert_eq!(epochs.judge(epoch(1), at(150)), Standing::KeptBefore(at(150)));
        assert_eq!(epochs.judge(epoch(2), at(250)), Standing::KeptBefore(at(150)));
        assert_eq!(epochs.judge(epoch(3), at(250)), Standing::Holds);
        assert_eq!(epochs.judge(Epoch { number: 2, id: 7 }, at(0)), Standing::Unknown);
        assert_eq!(epochs.judge(epoch(9), at(0)), Standing::Unknown);
    }

    #[test]
    fn epochs_said_again_are_not_counted_twice_and_the_oldest_are_forgotten() {
        let mut epochs = epochs(&[100, 200]);
        epochs.push(StoreEpoch { number: 1, id: 10, start: at(100) });
        assert_eq!(epochs, self::epochs(&[100, 200]));
        let many: Vec<i64> = (0..EPOCHS as i64 + 5).collect();
        let epochs = self::epochs(&many);
        assert_eq!(epochs.0.len(), EPOCHS);
        // One that was forgotten holds up to where those that are known begin.
        assert_eq!(epochs.judge(epoch(1), at(4)), Standing::Holds);
        assert_eq!(epochs.judge(epoch(1), at(5)), Standing::KeptBefore(at(5)));
    }
}
