//! Epochs: which one is in force, and those that are owed.
//!
//! An epoch tells records from those that a crash took and that stood at the same offsets, so recovery begins one, durable in the
//! checkpoint and published in the log, before anything is served. On a full disk there may be no room for its frame: then it is
//! *owed*, what is there is served, and the next append begins it.

use crate::format::Epoch;
use crate::format::frame::{EPOCH_BYTES, Kind, Word};
use crate::segment::active::Active;
use crate::stream::{Core, Writer};
use crate::{Result, Timestamp};

impl Core {
    /// The epoch in force at the end, and the offset it began at.
    #[inline]
    pub(crate) fn current_epoch(&self) -> (Epoch, u64) {
        self.settled_epoch().unwrap_or_else(|| {
            let writer = self.writer.lock();
            (writer.epoch, writer.epoch_start)
        })
    }

    /// The same, where it is the one that the next record will be of.
    #[inline]
    pub(crate) fn settled_epoch(&self) -> Option<(Epoch, u64)> {
        self.epoch.get().copied().or_else(|| {
            let writer = self.writer.lock();
            // What is owed once nobody owes again.
            writer.owed.is_empty().then(|| *self.epoch.get_or_init(|| (writer.epoch, writer.epoch_start)))
        })
    }

    /// Bytes of the frames that are owed.
    pub(super) fn owed_bytes(&self) -> usize {
        self.writer.lock().owed.len() * EPOCH_BYTES
    }

    /// Says in the checkpoint, durably, which epoch is about to begin where the log ends, if one is owed. Not sooner: one that nothing
    /// was written in would be taken for the log's own where nothing else is left of it.
    ///
    /// # Errors
    /// `Io`, `NoSpace`.
    pub(super) fn name_owed(&self) -> Result<()> {
        let (owed, end) = {
            let writer = self.writer.lock();
            (writer.owed.clone(), writer.next())
        };
        let Some(last) = owed.last() else { return Ok(()) };
        self.mark_unclean()?;
        self.mark_epoch(*last, end + ((owed.len() - 1) * EPOCH_BYTES) as u64)
    }
}

impl Writer {
    /// Begins the epochs that are owed, which the checkpoint names and for whose frames there is room.
    pub(super) fn begin_owed(&mut self, active: &mut Active, now: Timestamp, durable: u64) {
        for epoch in std::mem::take(&mut self.owed) {
            let ingest = now.max(self.last_ingest);
            let open = active.claim(Word::new(Kind::Epoch, EPOCH_BYTES), ingest, durable);
            (self.epoch, self.epoch_start, self.last_ingest) = (epoch, open.offset(), ingest);
            open.write_epoch(epoch);
        }
    }
}
