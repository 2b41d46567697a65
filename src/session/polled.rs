//! What one read of a session gave.

use std::sync::Arc;

use uuid::Uuid;

use crate::SessionCursor;
use crate::session::entry::Epochs;
use crate::session::registry::Registry;
use crate::stream::{Batch, Gap, RecordRef};

/// What one read of a session gave: records and gaps, in the order of delivery. It keeps the memory the records lie in, so it
/// stays valid whatever happens to their streams.
#[derive(Debug, Clone)]
pub struct Polled {
    store: Uuid,
    epochs: Arc<Epochs>,
    items: Vec<Item>,
    next: SessionCursor,
    caught_up: bool,
}

/// One of them, as it is kept.
#[derive(Debug, Clone)]
pub(super) enum Item {
    /// The record that begins at an offset.
    Record(Arc<Batch>, u64),
    /// A gap, and the position behind it.
    Gap(Gap, SessionCursor),
}

/// A record or a gap that a read of a session gave.
#[derive(Debug, Clone, Copy)]
pub enum PolledItem<'a> {
    /// A record.
    Record(RecordRef<'a>),
    /// Bytes of a stream that hold no record any more, and why.
    Gap(Gap),
}

impl Polled {
    pub(super) fn new(registry: &Registry, position: SessionCursor) -> Polled {
        let (store, epochs) = registry.epochs();
        Polled { store, epochs, items: Vec::new(), next: position, caught_up: false }
    }

    /// A read that gave nothing, for nothing was there.
    pub(crate) fn nothing(registry: &Registry, position: SessionCursor) -> Polled {
        Polled { caught_up: true, ..Polled::new(registry, position) }
    }

    pub(super) fn push(&mut self, item: Item) {
        self.items.push(item);
    }

    /// The position behind the last record or gap, or where the read began.
    pub(super) fn given(&self) -> SessionCursor {
        self.items.last().map_or(self.next, |item| self.behind(item))
    }

    pub(super) fn end(&mut self, next: SessionCursor, caught_up: bool) {
        self.next = next;
        self.caught_up = caught_up;
    }

    fn behind(&self, item: &Item) -> SessionCursor {
        match item {
            Item::Record(batch, offset) => {
                let cursor = batch.record_at(*offset).cursor();
                SessionCursor::behind(self.store, self.epochs.at(cursor.ingest), cursor)
            }
            Item::Gap(_, behind) => *behind,
        }
    }

    /// Records and gaps in the order of delivery, each with the session's cursor behind it.
    pub fn iter(&self) -> impl Iterator<Item = (PolledItem<'_>, SessionCursor)> {
        self.items.iter().map(|item| {
            let given = match item {
                Item::Record(batch, offset) => PolledItem::Record(batch.record_at(*offset)),
                Item::Gap(gap, _) => PolledItem::Gap(*gap),
            };
            (given, self.behind(item))
        })
    }

    /// The position behind everything this read gave or passed: what to commit once it is consumed.
    pub fn cursor(&self) -> SessionCursor {
        self.next
    }

    /// Whether nothing more was there.
    pub fn is_caught_up(&self) -> bool {
        self.caught_up
    }

    /// How many records and gaps there are.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether the read gave neither a record nor a gap.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}
