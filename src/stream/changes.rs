//! Which streams of a tenant were appended to, told to whoever follows many of them.
//!
//! A stream tells of its first append since somebody who follows it looked; until the next look, appending to it costs a
//! flag's test. So a session finds what changed without looking at what did not, and costs who appends nothing while
//! nobody reads it.
//!
//! The flag is tested under the stream's `writer` lock, before the ingest time is taken. Hence, for who calls
//! [`cut`](crate::vfs::guard::GuardedClock::cut) and then takes the list: a stream that is not in it has, and will have, no
//! record from before the cut that was not there at the last look.

use std::collections::{BTreeMap, HashMap};

use crate::StreamId;
use crate::stream::signal::Signal;
use crate::sync::Mutex;

/// The streams of one tenant that were appended to, in the order in which they said so.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    list: Mutex<List>,
    /// Raised when a stream that had told of nothing yet has something to read.
    pub(crate) signal: Signal,
}

/// Every stream stands in it once, at its last change.
#[derive(Debug, Default)]
struct List {
    count: u64,
    in_order: BTreeMap<u64, StreamId>,
    last: HashMap<StreamId, u64>,
}

impl Changes {
    /// Takes note of a change.
    pub(crate) fn note(&self, stream: StreamId) {
        let mut list = self.list.lock();
        list.count += 1;
        let count = list.count;
        if let Some(before) = list.last.insert(stream, count) {
            list.in_order.remove(&before);
        }
        list.in_order.insert(count, stream);
    }

    /// How many changes there were.
    pub(crate) fn count(&self) -> u64 {
        self.list.lock().count
    }

    /// The streams that changed since `seen` changes, and how many there were by now.
    pub(crate) fn since(&self, seen: u64) -> (Vec<StreamId>, u64) {
        let list = self.list.lock();
        (list.in_order.range(seen + 1..).map(|(_, stream)| *stream).collect(), list.count)
    }

    /// Forgets a stream that is deleted.
    pub(crate) fn forget(&self, stream: StreamId) {
        let mut list = self.list.lock();
        if let Some(before) = list.last.remove(&stream) {
            list.in_order.remove(&before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn a_stream_stands_in_the_list_once_at_its_last_change() {
        let changes = Changes::default();
        let id = |number| StreamId::from(Uuid::from_u128(number));
        for number in [1, 2, 1, 3] {
            changes.note(id(number));
        }
        assert_eq!(changes.since(0), (vec![id(2), id(1), id(3)], 4));
        assert_eq!(changes.since(3), (vec![id(3)], 4));
        changes.forget(id(1));
        assert_eq!(changes.since(0), (vec![id(2), id(3)], 4));
        assert_eq!(changes.since(4), (vec![], 4));
    }
}
