//! Figures about a stream, cheap enough to poll.

use serde::Serialize;

use crate::segment::walk::Found;
use crate::stream::{Core, Stream};
use crate::sync::atomic::Ordering;
use crate::{Result, StreamId, Timestamp};

/// Figures about one stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StreamStats {
    /// The stream.
    pub id: StreamId,
    /// Records held, those included that have expired and were not removed yet.
    pub records: u64,
    /// Bytes of log held, headers included.
    pub bytes: u64,
    /// Bytes of disk its segments take.
    pub disk_bytes: u64,
    /// Segment files.
    pub segments: usize,
    /// Ingest time of the oldest record held.
    pub oldest: Option<Timestamp>,
    /// Ingest time of the newest record.
    pub newest: Option<Timestamp>,
    /// Offset before which everything was removed.
    pub log_start: u64,
    /// The published end.
    pub published: u64,
    /// The offset up to which everything is on stable storage.
    pub durable: u64,
    /// Readers and tails open in this process.
    pub readers: usize,
    /// A sync failed: the stream takes no appends until the store is opened anew.
    pub poisoned: bool,
}

impl StreamStats {
    /// Bytes published and not durable yet.
    pub fn durable_lag(&self) -> u64 {
        self.published.saturating_sub(self.durable)
    }
}

impl Stream {
    /// Figures about the stream. It costs a look at each segment's size.
    ///
    /// # Errors
    /// `Closed`, `StreamDeleted`, `Io`.
    pub fn stats(&self) -> Result<StreamStats> {
        self.core.check()?;
        self.core.stats()
    }
}

impl Core {
    pub(crate) fn stats(&self) -> Result<StreamStats> {
        let published = self.published()?;
        let segments = self.segments();
        let log_start = self.log_start();
        let (mut records, mut disk_bytes) = (0, 0);
        for segment in segments.iter() {
            disk_bytes += segment.disk_bytes();
            match segment.seal() {
                Some(seal) => records += seal.records,
                None => {
                    // A segment that cannot be read holds no record that anybody could get.
                    let Ok(region) = segment.region() else { continue };
                    let end = segment.published(&region, self.env.read_only)?;
                    records += segment.index(&region, end)?.records;
                }
            }
        }
        let oldest = segments.first().map(|first| self.first_ingest(first).unwrap_or(None));
        let newest = self.newest()?.filter(|_| 0 < records);
        Ok(StreamStats {
            id: self.id,
            records,
            bytes: published.saturating_sub(log_start),
            disk_bytes,
            segments: segments.len(),
            oldest: oldest.flatten().filter(|_| 0 < records),
            newest,
            log_start,
            published,
            durable: self.durable().min(published),
            readers: self.readers.load(Ordering::Relaxed),
            poisoned: self.is_poisoned(),
        })
    }

    fn newest(&self) -> Result<Option<Timestamp>> {
        if !self.env.read_only {
            let last = self.writer.lock().last_ingest;
            return Ok(Some(last).filter(|last| *last != Timestamp::MIN));
        }
        let Some(last) = self.segments().last().cloned() else { return Ok(None) };
        let Ok(region) = last.region() else { return Ok(None) };
        let end = last.published(&region, true)?;
        Ok(Some(last.index(&region, end)?.last_ingest).filter(|last| *last != Timestamp::MIN))
    }

    /// Ingest time of a segment's first frame.
    pub(crate) fn first_ingest(
        &self,
        segment: &std::sync::Arc<crate::segment::Segment>,
    ) -> Result<Option<Timestamp>> {
        let region = segment.region()?;
        let end = segment.published(&region, self.env.read_only)?;
        let lent = segment.lend(&region, end)?;
        let mut walk = segment.frames(&lent)?.walk(segment.base);
        let first = walk.find_map(|found| match found {
            Found::Frame(_, frame) => Some(frame.header.ingest),
            Found::Damage(..) => None,
        });
        Ok(first)
    }
}
