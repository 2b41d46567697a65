//! Retention and idling, carried out: the log start made durable, whole segments removed, quiet streams let go of.

use std::sync::Arc;
use std::time::Duration;

use crate::mutants::{self, Mutant};
use crate::segment::Segment;
use crate::stream::retention::{Facts, expired, roll_age};
use crate::stream::{Core, State};
use crate::sync::atomic::Ordering;
use crate::{Error, ErrorKind, Result, Timestamp};

/// How long after its last append a stream is unmapped.
const IDLE: Duration = Duration::from_secs(3);

/// How long after its last append a stream is marked clean. From then on the next open has no look at its frames.
const REST: Duration = Duration::from_secs(60);

/// What one pass over a stream did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Retained {
    pub(crate) segments: usize,
    pub(crate) bytes: u64,
}

impl Core {
    /// Ends an active segment that grew old, and removes what expired.
    ///
    /// The order makes it safe to die anywhere: the new start of the log is durable before the first file goes, and opening the
    /// stream removes what lies before it.
    ///
    /// # Errors
    /// `Io`. What was not removed is tried again at the next pass.
    pub(crate) fn retain(self: &Arc<Core>) -> Result<Retained> {
        self.check()?;
        if self.writer.lock().state != State::Open {
            return Ok(Retained::default());
        }
        self.look_around()?;
        // What an earlier pass could not remove is no part of the log any more.
        self.remove_doomed()?;
        // Only what is sealed can go. On a full disk one that gave its space back may find none for its footer. What was sealed before
        // goes all the same, and makes room.
        match self.seal_rolled() {
            Err(err) if *err.kind() == ErrorKind::NoSpace => {}
            sealed => sealed?,
        }
        let (cutoff, now) = (self.cutoff(), self.env.clock.now());
        let age = roll_age(self.ttl());
        if let Some(active) = self.open_segment()
            && self
                .first_ingest(&active)?
                .is_some_and(|first| first < now.saturating_sub(age) || first < cutoff)
        {
            match self.end_durably() {
                // Nor can it be taken up then.
                Err(err) if *err.kind() == ErrorKind::NoSpace => {}
                ended => self.mark_clean_if_idle(ended?)?,
            }
        }
        let segments = self.segments();
        let facts = segments.iter().enumerate().map(|(index, segment)| self.facts(&segments, index, segment));
        let facts: Vec<Facts> = facts.collect::<Result<_>>()?;
        self.due.store(self.next_due(&segments, &facts, age, now).as_nanos(), Ordering::Relaxed);
        let removed = expired(&facts, cutoff, self.max_bytes());
        if removed == 0 {
            return Ok(Retained::default());
        }
        let last = &segments[removed - 1];
        let start = segments.get(removed).map_or_else(|| last.end().unwrap_or(last.base), |next| next.base);
        self.remove_before(start)?;
        Ok(Retained { segments: removed, bytes: facts[..removed].iter().map(|facts| facts.bytes).sum() })
    }

    /// Ends the active segment; what is appended from here on goes to another, whose base is returned once all before it is
    /// durable and sealed.
    pub(crate) fn end_durably(self: &Arc<Core>) -> Result<u64> {
        self.end_segment()?;
        let end = self.writer.lock().next();
        self.sync_to(end)?;
        self.seal_rolled()?;
        Ok(end)
    }

    /// Removes the sealed segments before `start`, where one begins or the log ends.
    pub(crate) fn remove_before(&self, start: u64) -> Result<()> {
        let late = mutants::on(Mutant::UnlinkBeforeLogStart);
        if !late {
            self.mark_log_start(start)?;
        }
        let removed = {
            let mut list = self.segments.write();
            let (kept, removed) = list.iter().cloned().partition(|segment| start <= segment.base);
            *list = Arc::new(kept);
            let removed: Vec<Arc<Segment>> = removed;
            removed
        };
        self.doomed.lock().extend(removed.iter().map(|segment| segment.path.clone()));
        self.remove_doomed()?;
        if late {
            self.mark_log_start(start)?;
        }
        self.signal.raise();
        Ok(())
    }

    /// Removes the files of segments that are no part of the log; what cannot be removed stays for the next pass.
    fn remove_doomed(&self) -> Result<()> {
        let mut doomed = self.doomed.lock();
        if doomed.is_empty() {
            return Ok(());
        }
        let mut outcome = Ok(());
        doomed.retain(|path| match self.env.vfs.remove_file(path) {
            Err(err) if err.kind() != std::io::ErrorKind::NotFound => {
                let failed = Err(Error::io("remove segment", path, err));
                outcome = std::mem::replace(&mut outcome, Ok(())).and(failed);
                true
            }
            _ => false,
        });
        drop(doomed);
        outcome?;
        self.env.vfs.sync_dir(&self.dir).map_err(|err| Error::io("sync directory", &self.dir, err))
    }

    /// Lets go of the stream's memory if nothing was appended for a while, and marks it clean after a longer one.
    pub(crate) fn idle(self: &Arc<Core>) -> Result<()> {
        let (last, attached, state) = {
            let writer = self.writer.lock();
            (writer.last_ingest, writer.active.is_some(), writer.state)
        };
        let now = self.env.clock.now();
        let is_quiet = |time| last.saturating_add(time) <= now;
        match state {
            State::Open if is_quiet(REST) && (attached || self.may_be_unclean()) => self.detach(),
            State::Open if is_quiet(IDLE) && attached => self.unmap(),
            _ => Ok(()),
        }
    }

    fn facts(&self, segments: &[Arc<Segment>], index: usize, segment: &Segment) -> Result<Facts> {
        let next = segments.get(index + 1);
        let sealed = segment.seal().copied();
        // The next segment knows when the last record before it came, also where this one cannot be read.
        let told = || next.and_then(|next| next.head().ok()).map(|head| head.previous_ingest);
        Ok(Facts {
            last_ingest: match sealed {
                Some(_) if mutants::on(Mutant::RetireLivingSegment) => {
                    segment.head().ok().map(|head| head.created)
                }
                sealed => sealed.map(|seal| seal.last_ingest).or_else(told),
            },
            bytes: segment.disk_bytes(),
            sealed: sealed.is_some() || (next.is_some() && !self.is_unsealed(segment)),
        })
    }

    /// Whether the segment waits for its seal.
    fn is_unsealed(&self, segment: &Segment) -> bool {
        self.unsealed.lock().iter().any(|entry| entry.segment.base == segment.base)
    }

    /// When something may expire or grow old next.
    fn next_due(
        &self,
        segments: &[Arc<Segment>],
        facts: &[Facts],
        age: Duration,
        now: Timestamp,
    ) -> Timestamp {
        let oldest =
            facts.first().and_then(|facts| facts.last_ingest).map(|last| last.saturating_add(self.ttl()));
        let young = segments.last().filter(|last| last.end().is_none()).map(|_| now.saturating_add(age / 4));
        // A size limit can be passed at any time.
        let size = self.max_bytes().map(|_| now);
        let quiet = now.saturating_add(Duration::from_secs(3600));
        [oldest, young, size].into_iter().flatten().min().unwrap_or(quiet).min(quiet)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use crate::{Record, Store, StreamName, StreamSpec};

    #[test]
    fn who_stands_in_a_segment_whose_file_is_gone_has_its_index_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let stream = store.create_stream(StreamSpec::new(StreamName::new("a").unwrap())).unwrap();
        stream.append(&Record::new("1")).unwrap();
        let end = stream.core.end_durably().unwrap();
        let segment = stream.core.segments()[0].clone();
        assert!(segment.seal().is_some());
        let region = segment.region().unwrap();
        fs::remove_file(&segment.path).unwrap();
        assert_eq!(segment.index(&region, end).unwrap().end, end);
    }
}
