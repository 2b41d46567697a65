//! What one read of a session gave.

use std::sync::Arc;

use uuid::Uuid;

use crate::session::entry::Epochs;
use crate::session::registry::Registry;
use crate::stream::{Batch, Gap, RecordRef};
use crate::{Cursor, SessionCursor};

/// What one read of a session gave: records and gaps, in the order of delivery. It keeps the memory the records lie in, so it
/// stays valid whatever happens to their streams.
#[derive(Debug, Clone)]
pub struct Polled {
    store: Uuid,
    epochs: Arc<Epochs>,
    batches: Vec<Batch>,
    items: Vec<Item>,
    next: SessionCursor,
    caught_up: bool,
}

/// One of them, as it is kept.
#[derive(Debug, Clone)]
enum Item {
    /// The record that begins at an offset, and which batch it is in.
    Record { batch: u32, offset: u64 },
    /// A gap, and the position behind it.
    Gap(Box<(Gap, SessionCursor)>),
}

/// A record or a gap that a read of a session gave.
#[derive(Debug, Clone, Copy)]
pub enum PolledItem<'a> {
    /// A record.
    Record(RecordRef<'a>),
    /// Bytes of a stream that hold no record any more, and why.
    Gap(Gap),
}

/// A batch whose records are given one after the other, and which of a read's batches it is.
#[derive(Debug, Default)]
pub(super) struct Held {
    batch: Option<Batch>,
    number: Option<u32>,
}

impl Held {
    pub(super) fn new(batch: Batch) -> Held {
        Held { batch: Some(batch), number: None }
    }

    /// Another read begins.
    pub(super) fn begin(&mut self) {
        self.number = None;
    }

    /// The cursor behind the record that begins at `offset`.
    pub(super) fn cursor_behind(&self, offset: u64) -> Cursor {
        self.batch.as_ref().expect("a record lies in a batch").record_at(offset).cursor()
    }
}

impl Polled {
    pub(super) fn new(registry: &Registry, position: SessionCursor) -> Polled {
        let (store, epochs) = registry.epochs();
        Polled { store, epochs, batches: Vec::new(), items: Vec::new(), next: position, caught_up: false }
    }

    /// A read that gave nothing, for nothing was there.
    pub(crate) fn nothing(registry: &Registry, position: SessionCursor) -> Polled {
        Polled { caught_up: true, ..Polled::new(registry, position) }
    }

    pub(super) fn push_record(&mut self, held: &mut Held, offset: u64) {
        let number = *held.number.get_or_insert_with(|| {
            self.batches.push(held.batch.clone().expect("a record lies in a batch"));
            self.batches.len() as u32 - 1
        });
        self.items.push(Item::Record { batch: number, offset });
    }

    pub(super) fn push_gap(&mut self, gap: Gap, behind: SessionCursor) {
        self.items.push(Item::Gap(Box::new((gap, behind))));
    }

    /// The position behind the last record or gap, or where the read began.
    pub(super) fn given(&self) -> SessionCursor {
        self.items.last().map_or(self.next, |item| self.show(item).1)
    }

    pub(super) fn end(&mut self, next: SessionCursor, caught_up: bool) {
        self.next = next;
        self.caught_up = caught_up;
    }

    fn show(&self, item: &Item) -> (PolledItem<'_>, SessionCursor) {
        match item {
            Item::Record { batch, offset } => {
                let record = self.batches[*batch as usize].record_at(*offset);
                let cursor = record.cursor();
                let behind = SessionCursor::behind(self.store, self.epochs.at(cursor.ingest), cursor);
                (PolledItem::Record(record), behind)
            }
            Item::Gap(gap) => (PolledItem::Gap(gap.0), gap.1),
        }
    }

    /// Records and gaps in the order of delivery, each with the session's cursor behind it.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (PolledItem<'_>, SessionCursor)> {
        self.items.iter().map(|item| self.show(item))
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
