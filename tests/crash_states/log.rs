//! The reference model: what was appended, how much of it is acknowledged, and what a crash may leave of that.

use tailwater::vfs::sim::Crash;
use tailwater::*;

/// Bytes of a frame's header, and of the frame with which recovery begins an epoch.
pub const HEADER: u64 = 24;
pub const EPOCH: u64 = 40;

/// A record that was appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub offset: u64,
    pub end: u64,
    pub ingest: Timestamp,
    pub body: Vec<u8>,
    /// Entries of one batch share it.
    pub batch: u64,
}

/// A cursor somebody kept.
#[derive(Debug, Clone)]
pub struct Kept {
    pub cursor: Cursor,
    /// How many entries lie before it.
    pub consumed: usize,
    /// A crash lost what it says was consumed.
    pub lost: bool,
}

/// What the model knows of a stream.
#[derive(Debug, Clone, Default)]
pub struct Log {
    pub entries: Vec<Entry>,
    /// How many of them are acknowledged as durable.
    pub durable: usize,
    /// What the call under way may or may not leave.
    pub in_flight: Vec<Entry>,
    pub kept: Vec<Kept>,
    pub epoch: u64,
    pub log_start: u64,
    /// Time to live, in nanoseconds.
    pub ttl: i64,
    /// Retention removes by size as well, so that what lives may go.
    pub limited: bool,
    /// The call under way may be writing a footer behind the log's end.
    pub seals: bool,
    /// The power failed, and what it left is not recovered yet.
    pub lost_power: bool,
}

/// What opening a stream again left of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// Entries, those in flight included.
    pub count: usize,
    /// No record is visible any more, so nobody can tell `count` for sure.
    pub blind: bool,
    pub tail: u64,
    /// How far the stream says it is durable.
    pub durable: u64,
    pub epoch: u64,
    pub log_start: u64,
}

impl Log {
    /// What must be left after `crash`: a killed process loses nothing that was returned.
    pub fn needed(&self, crash: Crash) -> usize {
        if crash == Crash::KeepAll { self.entries.len() } else { self.durable }
    }

    fn entry(&self, index: usize) -> Option<&Entry> {
        self.entries.iter().chain(&self.in_flight).nth(index)
    }

    pub fn partition(&self, before: impl Fn(&Entry) -> bool) -> usize {
        match self.entries.partition_point(&before) {
            whole if whole == self.entries.len() => whole + self.in_flight.partition_point(&before),
            part => part,
        }
    }

    /// Index of the first entry readers see at the time `now`.
    pub fn visible(&self, now: i64, log_start: u64) -> usize {
        let cutoff = Timestamp::from_nanos(now - self.ttl);
        self.partition(|entry| entry.ingest < cutoff || entry.offset < log_start)
    }

    /// Checks what opening the stream after `crash` found: a prefix of what was appended, with at least `needed` entries,
    /// and nothing said to be damaged.
    #[track_caller]
    pub fn check(&self, stream: &Stream, now: i64, needed: usize, crash: Option<Crash>) -> Left {
        let recovery = stream.recovery();
        assert_eq!(recovery.corrupt, [], "false corruption: nothing was damaged");
        if recovery.clean {
            assert!(self.epoch <= recovery.epoch, "the epoch went back");
        } else {
            assert!(self.epoch < recovery.epoch, "the epoch does not rise");
        }
        let tail = stream.published().unwrap();
        if crash == Some(Crash::KeepAll) && !recovery.clean {
            // What a killed process had not made durable is served, and durable with the next sync.
            let durable = self.durable.checked_sub(1).map_or(0, |last| self.entries[last].end);
            assert!(durable <= stream.durable() && stream.durable() <= tail, "what was durable stays so");
        } else {
            assert_eq!(stream.durable(), tail, "what was read from the disk is durable");
        }
        let log_start = if self.limited { stream.stats().unwrap().log_start } else { self.log_start };
        let visible = self.visible(now, log_start);
        let seen = self.follow(stream, Start::Beginning, visible);
        let kept_end = tail - if recovery.clean { 0 } else { EPOCH };
        let blind = seen == 0;
        let count =
            if blind { self.partition(|entry| entry.end <= kept_end).min(visible) } else { visible + seen };
        assert!(needed <= count, "{count} entries are left of {needed} that were acknowledged");
        let before = count.checked_sub(1).and_then(|last| self.entry(last));
        let is_whole = |before: &Entry| self.entry(count).is_none_or(|next| next.batch != before.batch);
        assert!(before.is_none_or(is_whole), "a batch is kept as a whole or not at all");
        self.check_torn(recovery, crash);
        let durable = stream.durable();
        let left = Left { count, blind, tail, durable, epoch: recovery.epoch, log_start };
        // The newest, and one that differs from check to check.
        let some = self.kept.len().saturating_sub(1);
        let picks = [some, recovery.epoch as usize * 7 + count];
        for kept in picks.iter().filter_map(|pick| self.kept.get(pick % self.kept.len().max(1))) {
            self.resume(stream, kept, left, now);
        }
        left
    }

    /// A killed process tears nothing; a power loss no more than what was not acknowledged.
    #[track_caller]
    fn check_torn(&self, recovery: &Recovery, crash: Option<Crash>) {
        let Some(crash) = crash else { return };
        if crash == Crash::KeepAll && !self.lost_power {
            assert_eq!(recovery.torn_bytes, 0, "a killed process tears nothing");
            assert_eq!(
                recovery.set_aside,
                Vec::<std::path::PathBuf>::new(),
                "a killed process sets nothing aside"
            );
            assert!(recovery.unfinished <= 1);
        } else if crash != Crash::KeepAll && !self.seals {
            let end = |last: Option<&Entry>| last.map_or(0, |last| last.end);
            let durable = end(self.entries[..self.durable].last());
            let tail = end(self.in_flight.last().or(self.entries.last()));
            // Noise reaches to the end of a page.
            let slack = if matches!(crash, Crash::Noise { .. }) { 4096 } else { EPOCH };
            assert!(
                recovery.torn_bytes <= tail.saturating_sub(durable) + slack,
                "{} torn bytes of {tail}-{durable} that were not durable",
                recovery.torn_bytes
            );
        }
    }

    /// Reads from `start` on; what comes must be the entries from `first` on. Returns how many came.
    #[track_caller]
    pub fn follow(&self, stream: &Stream, start: Start, first: usize) -> usize {
        self.follow_reader(&mut stream.read(start).unwrap(), first)
    }

    #[track_caller]
    fn follow_reader(&self, reader: &mut Reader, first: usize) -> usize {
        let mut at = first;
        loop {
            match reader.next_within(Limit::default()).unwrap() {
                Step::Records(batch) => {
                    for record in &batch {
                        let Some(entry) = self.entry(at) else {
                            panic!("the record at {} was never appended", record.offset());
                        };
                        let (offset, end) = (record.offset(), record.end());
                        assert_eq!(
                            (offset, end),
                            (entry.offset, entry.end),
                            "record {at} is in another place"
                        );
                        assert_eq!(record.ingest_time(), entry.ingest, "record {at} has another time");
                        assert!(record.body() == entry.body, "record {at} at {offset} has other bytes");
                        at += 1;
                    }
                }
                Step::Gap(gap) => panic!("nothing is missing, and there is {gap:?}"),
                Step::Passed => panic!("there is no filter"),
                Step::End => return at - first,
            }
        }
    }

    /// An old cursor resumes exactly, or says why not.
    #[track_caller]
    pub fn resume(&self, stream: &Stream, kept: &Kept, left: Left, now: i64) {
        let Kept { cursor, consumed, lost } = kept;
        let lost = *lost || left.count < *consumed;
        let visible = self.visible(now, left.log_start);
        let missed = *consumed < visible.min(left.count);
        match stream.read(Start::Cursor(*cursor)) {
            Ok(mut reader) => {
                assert!(left.blind || !lost, "{cursor:?}: what it consumed was lost, and it resumes");
                assert!(left.blind || !missed, "{cursor:?}: what comes next expired, and it resumes");
                let came = self.follow_reader(&mut reader, *consumed);
                assert!(left.blind || consumed + came == left.count, "{cursor:?} gets {came} records");
            }
            Err(err) => match *err.kind() {
                ErrorKind::CursorDiverged { safe } => {
                    assert!(
                        left.blind || lost,
                        "nothing was lost before {cursor:?}, and it diverges to {safe:?}: {left:?}, {:?}",
                        stream.recovery()
                    );
                    if let Ok(mut reader) = stream.read(Start::Cursor(safe)) {
                        let from = self.partition(|entry| entry.offset < safe.offset()).max(visible);
                        let came = self.follow_reader(&mut reader, from);
                        assert!(from + came == left.count.max(from), "{safe:?} gets {came} from {from}");
                    } else {
                        assert!(left.blind || 0 < visible, "{safe:?} is not safe");
                    }
                }
                ErrorKind::CursorExpired { oldest, skipped_bytes } => {
                    // Where the log was removed nobody knows any more whether records or marks were there.
                    let is_removed = || cursor.offset() < stream.stats().unwrap().log_start;
                    assert!(missed || left.blind || is_removed(), "{cursor:?} did not expire");
                    assert_eq!(oldest.offset() - cursor.offset(), skipped_bytes);
                    assert_eq!(
                        visible + self.follow(stream, Start::Cursor(oldest), visible),
                        left.count.max(visible)
                    );
                }
                _ => panic!("{cursor:?} gets {err:?}"),
            },
        }
    }

    /// The power failed: what was not durable may be there or not.
    pub fn lose_power(&mut self) {
        let mut unsure = self.entries.split_off(self.durable);
        unsure.append(&mut self.in_flight);
        self.in_flight = unsure;
        self.lost_power = true;
    }

    /// The log is what was left.
    pub fn accept(&mut self, left: Left) {
        self.entries.append(&mut self.in_flight);
        self.entries.truncate(left.count);
        self.durable = self.entries.partition_point(|entry| entry.end <= left.durable);
        self.epoch = left.epoch;
        self.log_start = left.log_start;
        self.lost_power = false;
        if left.blind {
            // Nobody can tell any more what these had consumed.
            self.kept.clear();
        }
        for kept in &mut self.kept {
            if left.count < kept.consumed {
                kept.lost = true;
                kept.consumed = left.count;
            }
        }
    }
}
