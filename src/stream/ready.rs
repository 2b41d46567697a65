//! Making pages and files ready before a busy writer needs them.
//!
//! A first store to a page costs twenty times an append, and a new file ten thousand times. A helper thread touches pages ahead
//! of the writer, on into the segments to come, and makes their files. A hot writer, which fills segments faster than pages
//! can be touched one by one, gets its files earlier, and larger pages unless it syncs little at a time. Quiet streams get nothing.

use std::sync::Arc;
use std::time::Duration;

use crate::Timestamp;
use crate::segment::active::{BUSY_BYTES, Fresh};
use crate::stream::{Core, State};
use crate::sync::atomic::Ordering;

/// Bytes made ready ahead of the writer of a busy segment.
const AHEAD: usize = 16 << 20;
/// Bytes made ready at a time.
const CHUNK: usize = 4 << 20;
/// Bytes a second from which on a writer is hot.
const HOT: u64 = 32 << 20;
/// Files made ready for a hot writer. Making one can take as long as the disk needs for a segment, and so can filling one.
const HOT_FILES: usize = 2;

/// Bytes of the largest pages. A sync writes all of one, however little of it is new.
pub(super) const LARGE_PAGE: u64 = 2 << 20;

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

/// What a writer has ahead of it in the segments to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Next {
    /// Files that were made.
    files: usize,
    /// Of the first one, how many bytes there are, and up to where its pages were touched.
    capacity: usize,
    ready_to: usize,
}

/// What the helper does next for a writer.
#[derive(Debug, PartialEq, Eq)]
enum Need {
    /// Touches the active segment's pages from here on.
    Pages(usize),
    /// Makes a file for a segment to come.
    File,
    /// Touches the next segment's pages from here on.
    NextPages(usize),
    /// Nothing, until the writer stands here.
    Nothing(usize),
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
            let untouched = if ready_to < capacity { ready_to.saturating_sub(AHEAD / 2) } else { usize::MAX };
            pace.thirsty_at = untouched.min(capacity / 2);
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

    /// What is to be done for a writer at `position`: its pages where they are near, files before pages that are far.
    fn need(&self, position: usize, next: Next) -> Need {
        let half = self.capacity / 2;
        let files = if self.hot { HOT_FILES } else { usize::from(half <= position) };
        let here = self.ready_to.max(position & !4095);
        if here < self.capacity && here < position + AHEAD / 2 {
            return Need::Pages(here);
        }
        if next.files < files {
            return Need::File;
        }
        // How far pages are touched from this segment's start, and whether those after that are of the next one.
        let beyond = self.capacity <= here;
        let touched = if beyond { self.capacity + next.ready_to } else { here };
        let more = if beyond { next.ready_to < next.capacity } else { true };
        if more && touched < position + AHEAD {
            return if beyond { Need::NextPages(next.ready_to) } else { Need::Pages(here) };
        }
        let pages = if more { touched - AHEAD / 2 } else { usize::MAX };
        Need::Nothing(if next.files == 0 { pages.min(half) } else { pages })
    }
}

/// The end of the chunk that begins at `from` or somewhat before.
fn chunk_end(from: usize) -> usize {
    (from / CHUNK + 1) * CHUNK
}

/// Whether large pages serve a writer of whose frames a sync brings `brought` bytes.
fn large_pages(hot: bool, brought: u64) -> bool {
    hot && LARGE_PAGE <= brought
}

impl Core {
    /// Makes ready what the writer will need soon: pages ahead of it, files of the next segments.
    pub(crate) fn make_ready(self: &Arc<Core>) {
        // A file that cannot be had now is not asked for again until the writer calls.
        let mut refused = false;
        loop {
            let (need, region) = {
                let files = self.next.lock();
                let mut next = Next { files: files.len(), capacity: 0, ready_to: 0 };
                if let Some(first) = files.front() {
                    next = Next {
                        capacity: first.capacity as usize,
                        ready_to: first.region.populated(),
                        ..next
                    };
                }
                if refused {
                    next.files = HOT_FILES;
                }
                let mut writer = self.writer.lock();
                let Some(active) = &writer.active else { return };
                let need = writer.pace.need(active.position(), next);
                let region = match (&need, files.front()) {
                    (Need::NextPages(_), Some(first)) => &first.region,
                    _ => active.region(),
                };
                let region = Arc::clone(region);
                if let Need::Nothing(until) = need {
                    writer.pace.thirsty_at = until;
                    return;
                }
                (need, region)
            };
            // The reservation holds, so populating can fail only where it is none; a store would then find out.
            match need {
                Need::Pages(from) => {
                    let to = chunk_end(from);
                    let _ = region.populate(from..to);
                    let mut writer = self.writer.lock();
                    if writer.active.as_ref().is_some_and(|active| Arc::ptr_eq(active.region(), &region)) {
                        writer.pace.ready_to = to.min(writer.pace.capacity);
                    }
                }
                Need::NextPages(from) => {
                    let _ = region.populate(from..chunk_end(from));
                }
                Need::File | Need::Nothing(_) => refused = !self.make_next(),
            }
        }
    }

    /// Makes a file for a segment to come. False where that cannot be now: a full disk is reported to the append that
    /// needs the space.
    fn make_next(&self) -> bool {
        let _making = self.making.lock();
        let last = self.next.lock().back().map(|last| last.capacity);
        let (capacity, hot) = {
            let writer = self.writer.lock();
            let (State::Open, Some(active)) = (writer.state, &writer.active) else { return false };
            let fast = || writer.pace.is_fast(active.position() as u64, self.env.clock.now());
            (last.unwrap_or(active.capacity), writer.pace.hot || fast())
        };
        if self.env.is_closed() {
            return false;
        }
        let (capacity, large) = (self.next_size(capacity, hot), self.wants_large(hot));
        let Ok(fresh) = Fresh::new(&self.env.vfs, &self.dir, capacity, large) else { return false };
        // Who let go of the stream meanwhile waits to remove the file.
        self.next.lock().push_back(fresh);
        true
    }

    /// The file made ready for the next segment, if it has `capacity` bytes. Where none is there and one is just being made,
    /// waits for it, which is sooner than making another.
    pub(super) fn take_next(&self, capacity: u64) -> Option<Fresh> {
        let mut fresh = self.next.lock().pop_front();
        if fresh.is_none() {
            let _making = self.making.lock();
            fresh = self.next.lock().pop_front();
        }
        fresh.filter(|fresh| capacity <= fresh.capacity)
    }

    /// Whether a writer that is `hot` or not gets large pages.
    pub(super) fn wants_large(&self, hot: bool) -> bool {
        large_pages(hot, self.brought.load(Ordering::Relaxed))
    }

    /// Removes the files made ready; one that is just being made, too.
    pub(super) fn forget_next(&self) {
        let _making = self.making.lock();
        let files = std::mem::take(&mut *self.next.lock());
        drop(files);
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
    fn a_writer_that_syncs_less_than_a_large_page_at_a_time_gets_small_ones() {
        assert!(large_pages(true, 2 << 20));
        assert!(!large_pages(true, 20 << 10) && !large_pages(false, 2 << 20));
    }

    #[test]
    fn the_helper_is_called_for_pages_and_at_half_and_never_for_a_small_segment() {
        let thirsty = |capacity, ready_to| Pace::new(capacity, ready_to, false, Timestamp::MIN).thirsty_at;
        assert_eq!(thirsty(64 << 10, 0), usize::MAX);
        assert_eq!(thirsty(64 << 20, 0), 0);
        assert_eq!(thirsty(64 << 20, 32 << 20), 24 << 20);
        assert_eq!(thirsty(64 << 20, 64 << 20), 32 << 20);
    }

    const MIB: usize = 1 << 20;

    /// Of a segment of 64 MiB, touched up to `ready_to`; of the next one, of 64 MiB too, `files` are made, and the first is
    /// touched up to `next_to`. In MiB, as is what is needed.
    #[track_caller]
    fn check(hot: bool, position: usize, ready_to: usize, files: usize, next_to: usize, expected: Need) {
        let pace = Pace::new(64 << 20, ready_to * MIB, hot, Timestamp::MIN);
        let capacity = if 0 < files { 64 * MIB } else { 0 };
        let in_mib = match pace.need(position * MIB, Next { files, capacity, ready_to: next_to * MIB }) {
            Need::Pages(from) => Need::Pages(from / MIB),
            Need::File => Need::File,
            Need::NextPages(from) => Need::NextPages(from / MIB),
            Need::Nothing(usize::MAX) => Need::Nothing(usize::MAX),
            Need::Nothing(until) => Need::Nothing(until / MIB),
        };
        assert_eq!(in_mib, expected);
    }

    #[test]
    fn a_busy_writer_gets_pages_ahead_then_a_file_at_half_then_pages_of_that() {
        check(false, 0, 0, 0, 0, Need::Pages(0));
        check(false, 0, 12, 0, 0, Need::Pages(12));
        check(false, 0, 16, 0, 0, Need::Nothing(8));
        check(false, 9, 0, 0, 0, Need::Pages(9));
        check(false, 31, 48, 0, 0, Need::Nothing(32));
        check(false, 32, 48, 0, 0, Need::File);
        check(false, 32, 48, 1, 0, Need::Nothing(40));
        check(false, 48, 64, 1, 0, Need::Nothing(56));
        check(false, 56, 64, 1, 0, Need::NextPages(0));
        check(false, 56, 64, 1, 8, Need::Nothing(64));
        check(false, 63, 64, 1, 64, Need::Nothing(usize::MAX));
    }

    #[test]
    fn a_hot_writer_gets_files_early_but_first_the_pages_it_is_about_to_need() {
        check(true, 0, 4, 0, 0, Need::Pages(4));
        check(true, 0, 8, 0, 0, Need::File);
        check(true, 0, 8, 1, 0, Need::File);
        check(true, 0, 8, 2, 0, Need::Pages(8));
        check(true, 0, 16, 2, 0, Need::Nothing(8));
        check(true, 63, 64, 2, 12, Need::NextPages(12));
    }
}
