//! Files under a segment's name that are no part of the log: they lie, by their name, inside another segment.
//!
//! Only names are known of a stream's segments until something is read, so a copy of a segment under another name stands in
//! the list like any. Its header says that it is none, but so does one that is damaged; that the segment before it reaches beyond
//! its name tells the two apart.

use std::sync::Arc;

use crate::segment::{Segment, file_name};
use crate::stream::Core;
use crate::stream::quarantine::set_aside;
use crate::sync::atomic::Ordering;
use crate::{ErrorKind, Result};

impl Core {
    /// Takes `segment` off the list if it is a stranger.
    pub(crate) fn forget_stranger(&self, segment: &Segment) -> bool {
        let is_sound = |err: &crate::Error| *err.kind() != ErrorKind::Corrupt;
        if segment.head().as_ref().err().is_none_or(is_sound) {
            return false;
        }
        let segments = self.segments();
        let before = segments.iter().rev().filter(|other| other.base < segment.base);
        let before =
            before.map(|other| (other.head(), other)).find_map(|(head, other)| head.ok().map(|_| other));
        let inside = before.and_then(|other| other.seal()).is_some_and(|seal| segment.base < seal.end);
        if inside {
            let mut list = self.segments.write();
            let kept = list.iter().filter(|other| other.base != segment.base).cloned();
            *list = Arc::new(kept.collect());
            drop(list);
            self.strangers.lock().insert(segment.path.clone());
        }
        inside
    }

    /// Looks at the directory of a stream that was opened without, for files that are called like its segments: what lies before the
    /// log's start retention left, and goes; what else is not on the list is no part of the log.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn look_around(&self) -> Result<()> {
        if !self.unlisted.load(Ordering::Acquire) {
            return Ok(());
        }
        // Meanwhile no segment is named that is not on the list yet.
        let _rolling = self.rolling.lock();
        self.list_strangers()
    }

    /// The same, for who holds `rolling`.
    fn list_strangers(&self) -> Result<()> {
        if !self.unlisted.load(Ordering::Acquire) {
            return Ok(());
        }
        let (bases, segments) = (self.bases()?.unwrap_or_default(), self.segments());
        for base in bases.into_iter().filter(|base| segments.iter().all(|segment| segment.base != *base)) {
            let path = self.dir.join(file_name(base));
            if base < self.log_start() {
                self.doomed.lock().push(path);
            } else {
                self.strangers.lock().insert(path);
            }
        }
        self.unlisted.store(false, Ordering::Release);
        Ok(())
    }

    /// Sets aside what is called like a segment to come, before the log goes on in one: it may have to be called the same, and who lists
    /// the directory after a kill would take the other for the one behind it. The caller holds `rolling`.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn clear_way(&self) -> Result<()> {
        self.list_strangers()?;
        if self.strangers.lock().is_empty() {
            return Ok(());
        }
        let last = self.segments().last().map_or(self.log_start(), |last| last.base);
        // Names sort as bases do.
        let way = self.dir.join(file_name(last));
        let strangers: Vec<_> = self.strangers.lock().range(way..).cloned().collect();
        for path in strangers {
            set_aside(&self.env, &self.dir, &path)?;
            self.strangers.lock().remove(&path);
        }
        Ok(())
    }

    /// Takes every stranger off the list, which looks at every segment's header.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn forget_strangers(&self) -> Result<()> {
        self.look_around()?;
        for segment in self.segments().iter() {
            self.forget_stranger(segment);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::sync::atomic::Ordering;

    use crate::format::header::{SEAL, SEAL_AT};
    use crate::store::repair;
    use crate::{Limit, Record, Start, Step, Store, Stream, StreamName, StreamSpec};

    /// A store that was closed, with one stream, to which `fill` was done.
    fn closed(dir: &Path, fill: impl FnOnce(&Stream)) {
        let store = Store::open(dir).unwrap();
        let stream = store.create_stream(StreamSpec::new(StreamName::new("a").unwrap())).unwrap();
        fill(&stream);
        store.close().unwrap();
    }

    fn count(stream: &Stream) -> usize {
        let (mut reader, mut count) = (stream.read(Start::Beginning).unwrap(), 0);
        loop {
            match reader.next_within(Limit::default()).unwrap() {
                Step::Records(batch) => count += batch.len(),
                Step::End => return count,
                step => panic!("{step:?}"),
            }
        }
    }

    fn is_unlisted(stream: &Stream) -> bool {
        stream.core.unlisted.load(Ordering::Acquire)
    }

    #[test]
    fn a_log_of_one_segment_that_was_closed_properly_needs_no_look_at_its_directory() {
        let dir = tempfile::tempdir().unwrap();
        closed(dir.path(), |stream| assert!(stream.append(&Record::new("1")).is_ok()));
        for number in 1..4 {
            let store = Store::open(dir.path()).unwrap();
            let stream = store.stream("a").unwrap();
            assert!(is_unlisted(&stream) && stream.recovery().clean);
            assert_eq!(count(&stream), number);
            stream.append(&Record::new("next")).unwrap();
            assert_eq!(count(&stream), number + 1);
            store.close().unwrap();
        }
    }

    #[test]
    fn what_is_called_like_a_segment_beside_a_log_of_one_is_told_and_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        closed(dir.path(), |stream| assert!(stream.append(&Record::new("1")).is_ok()));
        let store = Store::open(dir.path()).unwrap();
        let stream = store.stream("a").unwrap();
        let (first, end) = (stream.core.segments()[0].path.clone(), stream.published().unwrap());
        store.close().unwrap();
        for (base, bytes) in [(8, fs::read(&first).unwrap()), (end, vec![0; 1 << 15]), (1 << 20, vec![0xff])]
        {
            let path = first.with_file_name(crate::segment::file_name(base));
            fs::write(&path, bytes).unwrap();
            let store = Store::open(dir.path()).unwrap();
            let stream = store.stream("a").unwrap();
            assert!(is_unlisted(&stream));
            assert_eq!(count(&stream), 1);
            let damage = store.verify().unwrap().damage;
            assert_eq!(damage.iter().map(|damage| &damage.path).collect::<Vec<_>>(), [&path]);
            store.close().unwrap();
            assert_eq!(repair(dir.path()).unwrap().set_aside.len(), 1);
            assert!(!path.exists() && first.exists());
        }
        assert!(Store::open(dir.path()).unwrap().verify().unwrap().is_sound());
    }

    #[test]
    fn a_segment_whose_seal_is_damaged_hides_none_behind_it() {
        for body in [0, 8_000] {
            let dir = tempfile::tempdir().unwrap();
            closed(dir.path(), |stream| {
                stream.append(&Record::new("1")).unwrap();
                stream.core.end_durably().unwrap();
                stream.core.roll(32).unwrap();
                if 0 < body {
                    stream.append(&Record::new(&vec![b'x'; body])).unwrap();
                }
            });
            let store = Store::open(dir.path()).unwrap();
            let stream = store.stream("a").unwrap();
            assert_eq!(stream.core.segments().len(), 2);
            let first = stream.core.segments()[0].path.clone();
            store.close().unwrap();
            let mut bytes = fs::read(&first).unwrap();
            SEAL_AT.into_iter().for_each(|at| bytes[at..at + SEAL].fill(0xff));
            fs::write(&first, bytes).unwrap();
            let store = Store::open(dir.path()).unwrap();
            let stream = store.stream("a").unwrap();
            assert_eq!(stream.core.segments().len(), 2);
            assert_eq!(count(&stream), 1 + usize::from(0 < body));
        }
    }

    #[test]
    fn what_retention_left_before_a_log_of_one_segment_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let mut kept = None;
        closed(dir.path(), |stream| {
            stream.append(&Record::new("1")).unwrap();
            let end = stream.core.end_durably().unwrap();
            stream.append(&Record::new("2")).unwrap();
            let first = stream.core.segments()[0].path.clone();
            let bytes = fs::read(&first).unwrap();
            stream.core.remove_before(end).unwrap();
            kept = Some((first, bytes));
        });
        let (first, bytes) = kept.unwrap();
        fs::write(&first, bytes).unwrap();
        let store = Store::open(dir.path()).unwrap();
        let stream = store.stream("a").unwrap();
        assert!(is_unlisted(&stream));
        assert_eq!(count(&stream), 1);
        stream.core.retain().unwrap();
        assert!(!first.exists());
        assert!(store.verify().unwrap().is_sound());
    }
}
