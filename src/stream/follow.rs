//! Reading a stream that another process writes: no lock, no write, only looking again.

use crate::sync::atomic::Ordering;
use std::io;
use std::sync::Arc;

use crate::segment::{Segment, file_name, parse_file_name};
use crate::stream::Core;
use crate::stream::open::read_checkpoint;
use crate::vfs::{Access, EntryKind};
use crate::{Error, Result};

impl Core {
    /// Looks whether the log went on behind `offset` in another segment; takes new and removed segments in.
    pub(crate) fn follow(&self, offset: u64) -> Result<bool> {
        let segments = self.segments();
        if let Some(last) = segments.last()
            && last.end().is_none()
            && last.base < offset
        {
            // The next segment is called after the offset the last one ended at; after damage it is called
            // otherwise, and then the last one is sealed.
            let next = self.dir.join(file_name(offset));
            let there = self.env.vfs.open(&next, Access::Read).is_ok();
            if !there {
                match last.region() {
                    // It went by retention, or with its stream.
                    _ if !last.exists() => {}
                    region => {
                        let region = region?;
                        last.look_for_seal(&region)?;
                        if last.end().is_none() {
                            return Ok(false);
                        }
                    }
                }
            }
        }
        self.refresh()
    }

    /// Lists the segments anew. True where they changed.
    pub(crate) fn refresh(&self) -> Result<bool> {
        let entries = match self.env.vfs.list(&self.dir) {
            Ok(entries) => entries,
            Err(err) if err.kind() == io::ErrorKind::NotFound => {
                // A directory goes only with its stream; one that was never there waits for the first append.
                if !self.segments().is_empty() || 0 < self.log_start() {
                    self.mark_deleted();
                }
                return self.check().map(|()| false);
            }
            Err(err) => return Err(Error::io("list directory of stream", &self.dir, err)),
        };
        let files = entries.iter().filter(|entry| entry.kind == EntryKind::File);
        let mut bases: Vec<u64> = files.filter_map(|entry| parse_file_name(&entry.name)).collect();
        bases.sort_unstable();
        if let Some(checkpoint) = read_checkpoint(&self.env, &self.dir, self.id)? {
            self.log_start.fetch_max(checkpoint.log_start, Ordering::AcqRel);
            self.durable.fetch_max(checkpoint.end, Ordering::AcqRel);
        }
        let known = self.segments();
        if known.iter().map(|segment| segment.base).eq(bases.iter().copied()) {
            return Ok(false);
        }
        if bases.is_empty() && known.last().is_some_and(|last| self.log_start() <= last.base) {
            // Retention takes nothing from the log's start on: the stream is being deleted.
            return Ok(false);
        }
        let segments: Vec<Arc<Segment>> = bases
            .into_iter()
            .map(|base| match known.binary_search_by_key(&base, |segment| segment.base) {
                Ok(index) => Arc::clone(&known[index]),
                Err(_) => Arc::new(Segment::new(
                    &self.env.vfs,
                    &self.env.maps,
                    &self.dir,
                    self.env.store,
                    self.id,
                    base,
                )),
            })
            .collect();
        for pair in segments.windows(2) {
            if pair[0].end().is_none() {
                pair[0].set_end(pair[1].base);
            }
        }
        *self.segments.write() = Arc::new(segments);
        Ok(true)
    }

    /// The published end, as far as it validates.
    pub(crate) fn follow_end(&self) -> Result<u64> {
        self.refresh()?;
        let Some(last) = self.segments().last().cloned() else { return Ok(self.log_start()) };
        if let Some(end) = last.end() {
            return Ok(end);
        }
        let region = last.region()?;
        if let Some(durable) = last.watermark(&region)? {
            self.durable.fetch_max(durable, Ordering::AcqRel);
        }
        last.published(&region, true)
    }
}
