//! Making pages and files ready before a busy writer needs them.
//!
//! A first store to a page costs twenty times an append, and a new file ten thousand times. A helper thread touches pages ahead
//! of the writer and makes the next segment's file. A hot writer, which fills segments faster than pages can be
//! touched one by one, gets files whose pages were made as a whole. Quiet streams get nothing.

use std::sync::Arc;
use std::time::Duration;

use crate::Timestamp;
use crate::segment::active::{BUSY_BYTES, Fresh};
use crate::stream::{Core, State};
use crate::vfs::region::FLOOR;

/// Bytes made ready ahead of the writer of a busy segment.
const AHEAD: usize = 16 << 20;
/// Bytes made ready at a time.
const CHUNK: usize = 4 << 20;
/// Bytes a second from which on a writer is hot.
const HOT: u64 = 32 << 20;

/// How a writer goes through its active segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pace {
    /// Position from which on the helper is to be called.
    pub(crate) thirsty_at: usize,
    /// Position up to which pages were touched.
    ready_to: usize,
    capacity: usize,
    /// When the segment was taken up.
    since: Timestamp,
    /// The segment before filled up as fast as a hot writer fills it.
    hot: bool,
}

impl Pace {
    /// For a writer without a segment.
    pub(crate) const NONE: Pace =
        Pace { thirsty_at: usize::MAX, ready_to: 0, capacity: 0, since: Timestamp::MIN, hot: false };

    /// For a segment of `capacity` bytes, `ready_to` of which are touched.
    pub(crate) fn new(capacity: u64, ready_to: usize, hot: bool, since: Timestamp) -> Pace {
        let capacity = capacity as usize;
        let mut pace = Pace { thirsty_at: usize::MAX, ready_to, capacity, since, hot };
        if BUSY_BYTES <= capacity as u64 {
            pace.thirsty_at = pace.thirst().min(capacity / 2);
        }
        pace
    }

    /// Whether the segment, now full, filled up as fast as a hot writer fills it.
    pub(crate) fn is_hot(&self, now: Timestamp) -> bool {
        self.is_fast(self.capacity as u64, now)
    }

    /// Whether `bytes` since the segment was taken up are what a hot writer brings.
    fn is_fast(&self, bytes: u64, now: Timestamp) -> bool {
        let limit = Duration::from_nanos(1_000_000_000 / HOT.min(1_000_000_000) * bytes);
        0 < self.capacity && now.saturating_sub(limit) < self.since
    }

    /// The position from which on more pages are to be touched.
    fn thirst(&self) -> usize {
        if self.ready_to < self.capacity { self.ready_to.saturating_sub(AHEAD / 2) } else { usize::MAX }
    }
}

impl Core {
    /// Makes ready what the writer will need soon: pages ahead of it, then the next segment's file.
    pub(crate) fn make_ready(self: &Arc<Core>) {
        loop {
            let (region, position, pace) = {
                let writer = self.writer.lock();
                let Some(active) = &writer.active else { return };
                (Arc::clone(active.region()), active.position(), writer.pace)
            };
            let from = pace.ready_to.max(position & !4095);
            let needs_pages = from < pace.capacity && from < position + AHEAD;
            let to = (from + CHUNK).min(pace.capacity);
            let half = pace.capacity / 2;
            if needs_pages {
                // The reservation holds, so this can fail only where it is none; a store would then find out.
                let _ = region.populate(from..to);
            } else if half <= position || pace.hot {
                let hot = pace.hot || pace.is_fast(position as u64, self.env.clock.now());
                self.make_next_ready(hot);
            }
            let mut writer = self.writer.lock();
            if writer.active.as_ref().is_some_and(|active| Arc::ptr_eq(active.region(), &region)) {
                if needs_pages {
                    writer.pace.ready_to = to;
                } else {
                    let next = if half <= position || pace.hot { usize::MAX } else { half };
                    writer.pace.thirsty_at = writer.pace.thirst().min(next);
                }
            }
            if !needs_pages {
                return;
            }
        }
    }

    fn make_next_ready(&self, hot: bool) {
        // Held while the file is made: whoever rolls meanwhile waits for it, which is sooner than making another.
        let mut next = self.next.lock();
        let capacity = {
            let writer = self.writer.lock();
            let (State::Open, Some(active)) = (writer.state, &writer.active) else { return };
            active.capacity
        };
        let capacity = self.next_size(capacity, hot);
        if next.is_some() || self.env.is_closed() {
            return;
        }
        // A full disk is reported to the append that needs the space.
        let Ok(fresh) = Fresh::new(&self.env.vfs, &self.dir, capacity, hot) else { return };
        let _ = fresh.region.populate(0..(FLOOR + AHEAD).min(capacity as usize));
        // Who let go of the stream meanwhile waits to remove the file.
        *next = Some(fresh);
    }

    /// Whether segments fill as fast as a hot writer fills them.
    pub(crate) fn is_hot(&self) -> bool {
        let writer = self.writer.lock();
        let lately = self.env.clock.now().saturating_sub(Duration::from_secs(2)) < writer.pace.since;
        writer.pace.hot && lately
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_is_hot_when_it_fills_a_segment_at_32_mib_a_second() {
        let since = Timestamp::from_nanos(0);
        let pace = Pace::new(64 << 20, 0, false, since);
        assert!(pace.is_hot(Timestamp::from_millis(1_900)));
        assert!(!pace.is_hot(Timestamp::from_millis(2_100)));
        assert!(!Pace::NONE.is_hot(since));
    }

    #[test]
    fn the_helper_is_called_for_pages_and_at_half_and_never_for_a_small_segment() {
        let thirsty = |capacity, ready_to| Pace::new(capacity, ready_to, false, Timestamp::MIN).thirsty_at;
        assert_eq!(thirsty(64 << 10, 0), usize::MAX);
        assert_eq!(thirsty(64 << 20, 0), 0);
        assert_eq!(thirsty(64 << 20, 32 << 20), 24 << 20);
        assert_eq!(thirsty(64 << 20, 64 << 20), 32 << 20);
    }
}
