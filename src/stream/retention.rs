//! What retention removes: a decision, as a pure function.

use std::time::Duration;

use crate::Timestamp;

/// What must be known of a segment to decide about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Ingest time of its last record; `None` where nobody can tell.
    pub(crate) last_ingest: Option<Timestamp>,
    /// Bytes of disk it holds.
    pub(crate) bytes: u64,
    /// Nothing will be appended to it any more.
    pub(crate) sealed: bool,
}

/// How many segments, counted from the oldest, are to be removed.
///
/// A segment goes when all of it expired, or when the log holds more than `max_bytes` without what goes before it. Only
/// sealed ones go, and only from the front, so that the log stays one piece. A segment that nobody can date stays until
/// one behind it has expired: then it has, too.
pub(crate) fn expired(segments: &[Facts], cutoff: Timestamp, max_bytes: Option<u64>) -> usize {
    let sealed = segments.iter().take_while(|segment| segment.sealed).count();
    let by_time = segments[..sealed]
        .iter()
        .rposition(|segment| segment.last_ingest.is_some_and(|last| last < cutoff))
        .map_or(0, |last| last + 1);
    let mut bytes: u64 = segments.iter().map(|segment| segment.bytes).sum();
    let mut by_size = 0;
    while by_size < sealed && max_bytes.is_some_and(|max| max < bytes) {
        bytes -= segments[by_size].bytes;
        by_size += 1;
    }
    by_time.max(by_size)
}

/// How old the first record of an active segment may get before the segment is ended, so that space comes back within
/// the TTL, this, and one tick.
pub(crate) fn roll_age(ttl: Duration) -> Duration {
    (ttl / 8).max(Duration::from_secs(3600))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Segments as `(last ingest, bytes)`; the last one is active.
    #[track_caller]
    fn check(segments: &[(Option<i64>, u64)], cutoff: i64, max_bytes: Option<u64>, removed: usize) {
        let facts: Vec<Facts> = segments
            .iter()
            .enumerate()
            .map(|(index, (last, bytes))| Facts {
                last_ingest: last.map(Timestamp::from_nanos),
                bytes: *bytes,
                sealed: index + 1 < segments.len(),
            })
            .collect();
        assert_eq!(expired(&facts, Timestamp::from_nanos(cutoff), max_bytes), removed);
    }

    #[test]
    fn whole_expired_segments_go_from_the_front() {
        let log = [(Some(10), 100), (Some(20), 100), (Some(30), 100), (Some(40), 100)];
        check(&log, 10, None, 0);
        check(&log, 11, None, 1);
        check(&log, 25, None, 2);
        check(&log, i64::MAX, None, 3);
    }

    #[test]
    fn the_active_segment_never_goes() {
        check(&[(Some(10), 100)], i64::MAX, Some(0), 0);
        check(&[], i64::MAX, Some(0), 0);
    }

    #[test]
    fn what_is_over_the_size_goes_oldest_first() {
        let log = [(Some(10), 100), (Some(20), 100), (Some(30), 100)];
        check(&log, 0, Some(300), 0);
        check(&log, 0, Some(299), 1);
        check(&log, 0, Some(150), 2);
        check(&log, 0, Some(0), 2);
    }

    #[test]
    fn a_segment_nobody_can_date_goes_with_the_one_behind_it() {
        let log = [(None, 100), (Some(20), 100), (Some(30), 100)];
        check(&log, 15, None, 0);
        check(&log, 21, None, 2);
    }

    #[test]
    fn segments_are_ended_by_age_within_an_eighth_of_the_ttl_and_no_sooner_than_an_hour() {
        let day = Duration::from_secs(86_400);
        assert_eq!(roll_age(day), day / 8);
        assert_eq!(roll_age(Duration::from_secs(60)), Duration::from_secs(3600));
    }
}
