//! Reading a stream that another process writes: no lock, no write, only looking again.
//!
//! What recovery would do to a log that nobody closed is not done yet, and its writer may be making a file right now. So of the
//! segments behind the last sealed one, those are shown that go on where the log before them stops to validate:
//!
//! | behind the log that validates, up to X, stands       | something proves the log durable behind X | so                    |
//! |------------------------------------------------------|-------------------------------------------|-----------------------|
//! | a segment that begins at X                           | any                                       | shown                 |
//! | a segment that begins further on                     | yes                                       | shown, behind a gap   |
//! | a segment that begins further on                     | no                                        | looked at again later |
//! | files without a sound header and nothing behind them | any                                       | looked at again later |

use std::io;
use std::sync::Arc;

use crate::segment::{Segment, file_name, parse_file_name};
use crate::stream::Core;
use crate::stream::open::read_checkpoint;
use crate::sync::atomic::Ordering;
use crate::vfs::{Access, EntryKind};
use crate::{Error, ErrorKind, Result};

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
        let Some(bases) = self.bases()? else {
            // A directory goes only with its stream; one that was never there waits for the first append.
            if !self.segments().is_empty() || 0 < self.log_start() {
                self.mark_deleted();
            }
            return self.check().map(|()| false);
        };
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
                Err(_) => Arc::new(self.env.segment(&self.dir, self.id, base)),
            })
            .collect();
        let (segments, proven) = shown(segments, self.log_start(), self.durable())?;
        self.durable.fetch_max(proven, Ordering::AcqRel);
        if known.iter().map(|segment| segment.base).eq(segments.iter().map(|segment| segment.base)) {
            return Ok(false);
        }
        *self.segments.write() = Arc::new(segments);
        Ok(true)
    }

    /// Offset before which retention removed everything by now. Its writer tells a follower of none.
    pub(crate) fn log_start_now(&self) -> Result<u64> {
        if self.env.read_only {
            self.refresh()?;
        }
        Ok(self.log_start())
    }

    /// The offsets after which files are called as segments are, those known as strangers left out; `None` where the stream has no directory.
    pub(super) fn bases(&self) -> Result<Option<Vec<u64>>> {
        let entries = match self.env.vfs.list(&self.dir) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
            entries => entries.map_err(|err| Error::io("list directory of stream", &self.dir, err))?,
        };
        let files = entries.iter().filter(|entry| entry.kind == EntryKind::File);
        let strangers = self.strangers.lock();
        let files = files.filter(|entry| !strangers.contains(&self.dir.join(&entry.name)));
        let mut bases: Vec<u64> = files.filter_map(|entry| parse_file_name(&entry.name)).collect();
        bases.sort_unstable();
        Ok(Some(bases))
    }

    /// The published end, as far as it validates.
    pub(crate) fn follow_end(&self) -> Result<u64> {
        self.refresh()?;
        let Some(last) = self.segments().last().cloned() else { return Ok(self.log_start()) };
        if let Some(end) = last.end() {
            return Ok(end);
        }
        let region = last.region()?;
        if let Some(mark) = last.watermark(&region)? {
            self.durable.fetch_max(mark.durable, Ordering::AcqRel);
        }
        last.published(&region, true)
    }
}

/// Those of `segments` that a follower shows, their ends told where they are known, and the offset up to which something proves
/// the log durable, be it `durable`.
pub(super) fn shown(
    mut segments: Vec<Arc<Segment>>,
    log_start: u64,
    durable: u64,
) -> Result<(Vec<Arc<Segment>>, u64)> {
    let mut proven = durable;
    let mut unsealed = segments.len();
    // Where the log before the unsealed ones ends.
    let mut reached = log_start;
    for segment in segments.iter().rev() {
        if segment.seal().is_none()
            && let Ok(region) = segment.region()
        {
            segment.look_for_seal(&region)?;
            proven = proven
                .max(segment.head()?.previous_durable)
                .max(segment.watermark(&region)?.map_or(0, |mark| mark.durable));
        }
        if let Some(seal) = segment.seal() {
            reached = reached.max(seal.end);
            break;
        }
        unsealed -= 1;
    }
    let mut count = unsealed;
    for (index, segment) in segments.iter().enumerate().skip(unsealed) {
        let region = match segment.region() {
            Err(err) if *err.kind() == ErrorKind::Corrupt => continue,
            region => region,
        };
        if reached < segment.base && proven <= reached {
            break;
        }
        count = index + 1;
        // What cannot be read for now is its reader's to report.
        reached = region.map_or(Ok(segment.base), |region| segment.published(&region, true))?;
    }
    segments.truncate(count);
    for pair in segments.windows(2) {
        if pair[0].end().is_none() {
            pair[0].set_end(pair[1].base);
        }
    }
    Ok((segments, proven))
}
