//! Files under a segment's name that are no part of the log: they lie, by their name, inside another segment.
//!
//! Only names are known of a stream's segments until something is read, so a copy of a segment under another name stands in
//! the list like any. Its header says that it is none, but so does one that is damaged; that the segment before it reaches beyond
//! its name tells the two apart.

use std::sync::Arc;

use crate::ErrorKind;
use crate::segment::Segment;
use crate::stream::Core;

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

    /// Takes every stranger off the list, which looks at every segment's header.
    pub(crate) fn forget_strangers(&self) {
        for segment in self.segments().iter() {
            self.forget_stranger(segment);
        }
    }
}
