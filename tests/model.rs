//! Any history of a stream, against a vector of what was appended: appends, reads from everywhere, retention, closing,
//! killed processes and lost power, also while recovery runs.

#![cfg(feature = "sim")]

mod common;

use std::ops::Range;
use std::time::Duration;

use common::*;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use tailwater::vfs::Clock;
use tailwater::vfs::sim::Crash;
use tailwater::*;

/// Bytes of a frame's header, and of the frame with which recovery begins an epoch.
const HEADER: u64 = 24;
const EPOCH: u64 = 40;
/// The store believes a clock that ran on by less than a month while the machine was off.
const LONGEST: Duration = Duration::from_secs(25 * 86_400);

#[derive(Debug, Clone)]
enum Op {
    Append {
        times: usize,
        size: usize,
        zeros: bool,
        event: Option<i8>,
        durability: Option<Durability>,
    },
    Batch {
        sizes: Vec<usize>,
        durability: Option<Durability>,
    },
    AppendIf {
        size: usize,
        right: bool,
    },
    Sync,
    Tick,
    Advance {
        millis: u64,
    },
    Read {
        from: From,
        limit: Limit,
    },
    Resume {
        pick: u64,
    },
    Reopen,
    Ttl {
        days: u16,
    },
    MaxBytes {
        kib: Option<u64>,
    },
    Writeback {
        seed: u64,
    },
    Crash {
        crash: Crash,
        nested: Option<(u64, Crash)>,
    },
    /// The machine stops at this of the calls to come.
    CrashAt {
        nth: u64,
        crash: Crash,
    },
}

#[derive(Debug, Clone, Copy)]
enum From {
    Now,
    Beginning,
    Time { pick: u64, off: i8 },
    EventTime(i8),
    Last(u64),
}

fn crashes() -> impl Strategy<Value = Crash> {
    prop_oneof![
        3 => Just(Crash::KeepAll),
        1 => Just(Crash::DropUnsynced),
        1 => any::<u64>().prop_map(|seed| Crash::Pages { seed }),
        1 => any::<u64>().prop_map(|seed| Crash::Sectors { seed }),
    ]
}

fn sizes() -> impl Strategy<Value = usize> {
    prop_oneof![2 => 0..40usize, 8 => 0..3000usize]
}

fn durabilities() -> impl Strategy<Value = Option<Durability>> {
    prop_oneof![
        4 => Just(None),
        2 => Just(Some(Durability::Buffered)),
        1 => Just(Some(Durability::Interval)),
        2 => Just(Some(Durability::Sync)),
    ]
}

fn ops() -> impl Strategy<Value = Op> {
    let times = prop_oneof![6 => Just(1usize), 1 => 5..40usize];
    let append = (times, sizes(), any::<bool>(), any::<Option<i8>>(), durabilities());
    let limit = (1..20usize, 1..9000usize).prop_map(|(records, bytes)| Limit { records, bytes });
    let from = prop_oneof![
        1 => Just(From::Now),
        2 => Just(From::Beginning),
        2 => (any::<u64>(), -1..=1i8).prop_map(|(pick, off)| From::Time { pick, off }),
        1 => any::<i8>().prop_map(From::EventTime),
        2 => (0..60u64).prop_map(From::Last),
    ];
    let millis = prop_oneof![
        2 => 1..5000u64,
        2 => 5000..4_000_000u64,
        1 => (3..30u64).prop_map(|hours| hours * 3_600_000),
    ];
    prop_oneof![
        24 => append.prop_map(|(times, size, zeros, event, durability)| {
            Op::Append { times, size, zeros, event, durability }
        }),
        1 => (0..=1usize << 20, durabilities()).prop_map(|(size, durability)| {
            Op::Append { times: 1, size, zeros: false, event: None, durability }
        }),
        6 => (prop::collection::vec(sizes(), 1..12), durabilities())
            .prop_map(|(sizes, durability)| Op::Batch { sizes, durability }),
        2 => (sizes(), any::<bool>()).prop_map(|(size, right)| Op::AppendIf { size, right }),
        3 => Just(Op::Sync),
        5 => Just(Op::Tick),
        5 => millis.prop_map(|millis| Op::Advance { millis }),
        6 => (from, limit).prop_map(|(from, limit)| Op::Read { from, limit }),
        6 => any::<u64>().prop_map(|pick| Op::Resume { pick }),
        3 => Just(Op::Reopen),
        1 => (1..4u16).prop_map(|days| Op::Ttl { days }),
        1 => prop::option::of(100..600u64).prop_map(|kib| Op::MaxBytes { kib }),
        2 => any::<u64>().prop_map(|seed| Op::Writeback { seed }),
        5 => (crashes(), prop::option::of((any::<u64>(), crashes())))
            .prop_map(|(crash, nested)| Op::Crash { crash, nested }),
        4 => (1..40u64, crashes()).prop_map(|(nth, crash)| Op::CrashAt { nth, crash }),
    ]
}

/// A record that was appended.
#[derive(Clone)]
struct Entry {
    offset: u64,
    end: u64,
    ingest: Timestamp,
    event: Option<Timestamp>,
    body: Vec<u8>,
    /// Entries of one batch share it.
    batch: u64,
    /// Where an append or a read told.
    cursor: Option<Cursor>,
}

impl Entry {
    fn is(&self, seen: &Seen) -> bool {
        (self.offset, self.end, self.ingest, self.event) == (seen.offset, seen.end, seen.ingest, seen.event)
            && self.body == seen.body
            && self.cursor.is_none_or(|cursor| cursor == seen.cursor)
    }
}

/// A cursor somebody kept.
struct Kept {
    cursor: Cursor,
    /// How many entries lie before it.
    consumed: usize,
    /// A crash lost what it says was consumed, down to that many entries.
    lost: Option<usize>,
}

struct World {
    machine: Machine,
    open: Option<(Store, Stream)>,
    log: Vec<Entry>,
    /// How many of them are acknowledged as durable.
    durable: usize,
    /// What a failed append may or may not have left.
    in_flight: Vec<Entry>,
    kept: Vec<Kept>,
    /// The text of the last cursor that an append gave.
    newest: String,
    tail: u64,
    log_start: u64,
    epoch: u64,
    ttl: Duration,
    expired_before: i64,
    max_bytes: Option<u64>,
    /// There was a limit of size at some time.
    limited: bool,
    armed: Option<Crash>,
    batches: u64,
}

impl World {
    fn new() -> World {
        let machine = Machine::seeded(0);
        let open = machine.create_with(spec().ttl(TtlDays::new(2).unwrap()));
        let epoch = open.1.recovery().epoch;
        World {
            machine,
            open: Some(open),
            log: Vec::new(),
            durable: 0,
            in_flight: Vec::new(),
            kept: Vec::new(),
            newest: String::new(),
            tail: 0,
            log_start: 0,
            epoch,
            ttl: 2 * DAY,
            expired_before: i64::MIN,
            max_bytes: None,
            limited: false,
            armed: None,
            batches: 0,
        }
    }

    fn store(&self) -> Store {
        self.open.as_ref().unwrap().0.clone()
    }

    fn stream(&self) -> Stream {
        self.open.as_ref().unwrap().1.clone()
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Append { times, size, zeros, event, durability } => {
                for _ in 0..*times {
                    let event = event.map(|event| Timestamp::from_nanos(event.into()));
                    let entry = self.entry(self.tail, *size, *zeros, event);
                    let record = Record { event_time: event, ..Record::new(&entry.body) };
                    let stream = self.stream();
                    let result = match durability {
                        Some(durability) => stream.append_with(&record, *durability),
                        None => stream.append(&record),
                    };
                    self.appended(result, vec![entry], *durability);
                    if self.machine.disk.is_off() {
                        break;
                    }
                }
            }
            Op::Batch { sizes, durability } => {
                let mut offset = self.tail + if sizes.len() == 1 { 0 } else { HEADER };
                let mut entries = Vec::new();
                for size in sizes {
                    let entry = self.entry(offset, *size, false, None);
                    offset = entry.end;
                    entries.push(Entry { batch: self.batches, ..entry });
                }
                let records: Vec<_> = entries.iter().map(|entry| Record::new(&entry.body)).collect();
                let stream = self.stream();
                let result = match durability {
                    Some(durability) => stream.append_batch_with(&records, *durability),
                    None => stream.append_batch(&records),
                };
                self.appended(result, entries.clone(), *durability);
            }
            Op::AppendIf { size, right: true } => {
                let entry = self.entry(self.tail, *size, false, None);
                let result = self.stream().append_if(&Record::new(&entry.body), self.tail);
                self.appended(result, vec![entry], None);
            }
            Op::AppendIf { right: false, .. } => {
                let err = self.stream().append_if(&Record::new("late"), self.tail + 8).unwrap_err();
                assert_eq!(*err.kind(), ErrorKind::TailMoved { tail: self.tail });
            }
            Op::Sync => {
                if self.done(self.stream().sync()).is_some() {
                    self.durable = self.log.len();
                }
            }
            Op::Tick => {
                if self.done(self.store().tick()).is_some() && self.armed.is_none() {
                    self.check_space();
                }
            }
            Op::Advance { millis } => {
                let time = Duration::from_millis(*millis);
                if self.now() + time.as_nanos() as i64 <= BIRTH + LONGEST.as_nanos() as i64 {
                    self.machine.clock.advance(time);
                }
            }
            Op::Read { from, limit } => self.read(*from, *limit),
            Op::Resume { pick } => {
                if !self.kept.is_empty() {
                    self.resume((*pick % self.kept.len() as u64) as usize);
                }
            }
            Op::Reopen => {
                if self.done(self.store().close()).is_some() {
                    self.durable = self.log.len();
                    self.open = None;
                    if let Some(open) = self.done(self.machine.open()) {
                        self.open = Some(open);
                        assert!(self.stream().recovery().clean);
                        match self.armed {
                            Some(crash) => {
                                self.crash(crash, None);
                            }
                            None => self.opened(self.log.len()),
                        }
                    }
                }
            }
            Op::Ttl { days } if self.armed.is_none() => {
                let ttl = Some(Some(TtlDays::new(*days).unwrap()));
                self.store().update_stream(NAME, StreamUpdate { ttl, ..StreamUpdate::default() }).unwrap();
                self.expired_before = self.cutoff();
                self.ttl = DAY * u32::from(*days);
            }
            Op::MaxBytes { kib } if self.armed.is_none() => {
                self.max_bytes = kib.map(|kib| kib << 10);
                self.limited |= kib.is_some();
                let update = StreamUpdate { max_bytes: Some(self.max_bytes), ..StreamUpdate::default() };
                self.store().update_stream(NAME, update).unwrap();
            }
            Op::Ttl { .. } | Op::MaxBytes { .. } => {}
            Op::Writeback { seed } => self.machine.disk.writeback(*seed),
            Op::Crash { crash, nested } => {
                self.crash(*crash, *nested);
            }
            Op::CrashAt { nth, crash } => {
                if self.armed.is_none() {
                    self.machine.disk.crash_at(*nth);
                    self.armed = Some(*crash);
                }
            }
        }
        if self.machine.disk.is_off() {
            let crash = self.armed.expect("nobody else turns it off");
            self.crash(crash, None);
        }
        let stream = self.stream();
        self.tail = stream.published().unwrap();
        self.saw_durable(stream.durable());
    }

    /// The result, unless the machine went off.
    #[track_caller]
    fn done<T>(&self, result: Result<T>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(_) if self.machine.disk.is_off() => None,
            Err(err) => panic!("{err:?}"),
        }
    }

    fn now(&self) -> i64 {
        self.machine.clock.wall()
    }

    fn cutoff(&self) -> i64 {
        (self.now() - self.ttl.as_nanos() as i64).max(self.expired_before)
    }

    /// Index of the first entry that readers see.
    fn visible(&self) -> usize {
        let cutoff = Timestamp::from_nanos(self.cutoff());
        self.log.partition_point(|entry| entry.ingest < cutoff || entry.offset < self.log_start)
    }

    fn entry(&mut self, offset: u64, size: usize, zeros: bool, event: Option<Timestamp>) -> Entry {
        self.batches += 1;
        let mut body = vec![0; size];
        if !zeros {
            let mut rng = self.batches.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            for byte in &mut body {
                rng = rng.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *byte = (rng >> 56) as u8;
            }
        }
        // An event time is eight bytes of flags and lengths, and eight of its own.
        let meta = if event.is_some() { 16 } else { 0 };
        let end = offset + (HEADER + meta + size as u64).next_multiple_of(8);
        let ingest = Timestamp::from_nanos(self.now());
        Entry { offset, end, ingest, event, body, batch: self.batches, cursor: None }
    }

    #[track_caller]
    fn appended(
        &mut self,
        result: Result<Appended>,
        mut entries: Vec<Entry>,
        durability: Option<Durability>,
    ) {
        let Some(appended) = self.done(result) else {
            self.in_flight = entries;
            return;
        };
        let (first, last) = (&entries[0], &entries[entries.len() - 1]);
        assert_eq!((appended.offset(), appended.end()), (first.offset, last.end));
        assert_eq!((appended.ingest_time(), appended.records() as usize), (first.ingest, entries.len()));
        let text = appended.cursor().to_string();
        assert!(self.newest < text, "cursors rise as text");
        self.newest = text;
        entries.last_mut().unwrap().cursor = Some(appended.cursor());
        self.tail = appended.end();
        self.log.append(&mut entries);
        self.kept.push(Kept { cursor: appended.cursor(), consumed: self.log.len(), lost: None });
        if durability == Some(Durability::Sync) {
            self.durable = self.log.len();
        }
    }

    fn saw_durable(&mut self, durable: u64) {
        assert!(durable <= self.tail);
        self.durable = self.durable.max(self.log.partition_point(|entry| entry.end <= durable));
    }

    /// Crashes, perhaps once more while the stream is opened again, and checks what is left. Returns how many calls
    /// opening it takes, where it had to find out.
    fn crash(&mut self, crash: Crash, nested: Option<(u64, Crash)>) -> u64 {
        self.armed = None;
        if let Some((_, stream)) = &self.open {
            let durable = stream.durable();
            self.tail = self.tail.max(durable);
            self.saw_durable(durable);
        }
        self.machine.crash(crash);
        self.open = None;
        let mut calls = 0;
        let mut needed = if crash == Crash::KeepAll { self.log.len() } else { self.durable };
        if let Some((nth, second)) = nested {
            let fork = self.machine.disk.fork_crashed(Crash::KeepAll);
            drop(self.machine.open_on(&fork).unwrap());
            calls = fork.calls();
            self.machine.disk.crash_at(1 + nth % calls);
            let open = self.done(self.machine.open());
            self.machine.crash(second);
            drop(open);
            if second != Crash::KeepAll {
                needed = self.durable;
            }
        }
        self.open = Some(self.machine.open().unwrap());
        self.opened(needed);
        calls
    }

    /// Checks what opening the stream found: a prefix of what was appended, with at least `needed` entries.
    fn opened(&mut self, needed: usize) {
        let stream = self.stream();
        let recovery = stream.recovery();
        assert_eq!(recovery.corrupt, [], "nothing was damaged");
        assert!(if recovery.clean { self.epoch <= recovery.epoch } else { self.epoch < recovery.epoch });
        self.epoch = recovery.epoch;
        self.tail = stream.published().unwrap();
        let kept_end = self.tail - if recovery.clean { 0 } else { EPOCH };

        let mut candidates = std::mem::take(&mut self.log);
        candidates.append(&mut self.in_flight);
        let seen = records(&stream, Start::Beginning);
        let left = match seen.last() {
            Some(last) => {
                let left = candidates.partition_point(|entry| entry.offset <= last.offset);
                assert!(candidates[..left].last().is_some_and(|entry| entry.is(last)), "never appended");
                left
            }
            None => {
                // Nobody can see it, so the last few bytes may be marks of a recovery that died as well as records.
                self.kept.retain(|kept| kept.cursor.offset() + EPOCH <= kept_end);
                let cutoff = Timestamp::from_nanos(self.cutoff());
                let log_start = stream.stats().unwrap().log_start;
                let gone = |entry: &Entry| entry.ingest < cutoff || entry.offset < log_start;
                candidates.partition_point(|entry| entry.end <= kept_end && gone(entry))
            }
        };
        assert!(needed <= left, "{left} entries are left of {needed} that were promised");
        let torn = candidates.split_off(left);
        let is_whole = |last: &Entry| torn.first().is_none_or(|first| first.batch != last.batch);
        assert!(candidates.last().is_none_or(is_whole), "a batch is kept as a whole or not at all");
        self.log = candidates;
        // What a killed process had not made durable is served, and durable with the next sync.
        let durable = stream.durable();
        assert!(durable <= self.tail, "{durable} of {}", self.tail);
        self.durable = self.log.partition_point(|entry| entry.end <= durable);
        for kept in &mut self.kept {
            if left < kept.consumed {
                kept.lost = Some(kept.lost.map_or(left, |lost| lost.min(left)));
                kept.consumed = left;
            }
        }
        self.saw_log_start();
        self.saw(&seen, self.visible());
        assert_eq!(stream.verify().unwrap().damage, []);
    }

    /// Retention removed only what had to go.
    fn saw_log_start(&mut self) {
        let log_start = self.stream().stats().unwrap().log_start;
        assert!(self.log_start <= log_start, "what is gone stays gone");
        let cutoff = Timestamp::from_nanos(self.cutoff());
        for entry in self.log.iter().take_while(|entry| entry.offset < log_start) {
            assert!(entry.end <= log_start, "a record is removed as a whole");
            assert!(self.limited || entry.ingest < cutoff, "a record that lives is not removed");
        }
        self.log_start = log_start;
    }

    /// What retention promises after a tick.
    fn check_space(&mut self) {
        self.saw_log_start();
        let stats = self.stream().stats().unwrap();
        if let Some(max) = self.max_bytes {
            assert!(stats.disk_bytes <= max || stats.segments <= 1, "{stats:?} is over {max}");
        }
        // What went for its size has not expired, and the segment that is being written stays.
        let cutoff = Timestamp::from_nanos(self.cutoff());
        if let Some(last) = self.log.last().filter(|last| last.ingest < cutoff) {
            // The mark of an epoch is as young as its recovery, and tells which cursors diverged.
            let only_marks = last.end <= stats.log_start && stats.segments == 1;
            assert!(only_marks || stats.disk_bytes == 0, "everything expired: {stats:?}");
        }
    }

    /// What was seen is the log from entry `first` on.
    #[track_caller]
    fn saw(&mut self, seen: &[Seen], first: usize) {
        let expected = &mut self.log[first..];
        let places = |range: &mut dyn Iterator<Item = u64>| range.collect::<Vec<_>>();
        assert_eq!(
            places(&mut seen.iter().map(|seen| seen.offset)),
            places(&mut expected.iter().map(|entry| entry.offset)),
        );
        for (entry, seen) in expected.iter_mut().zip(seen) {
            assert!(entry.is(seen), "the record at {} is another", seen.offset);
            entry.cursor = Some(seen.cursor);
        }
        let texts: Vec<_> = seen.iter().map(|seen| seen.cursor.to_string()).collect();
        assert!(texts.is_sorted_by(|a, b| a < b), "cursors rise as text");
    }

    fn read(&mut self, from: From, limit: Limit) {
        let visible = self.visible();
        let (start, first) = match from {
            From::Now => (Start::Now, self.log.len()),
            From::Beginning => (Start::Beginning, visible),
            From::Time { pick, off } => {
                let pick = self.log.get((pick % (self.log.len() as u64 + 1)) as usize);
                let nanos = pick.map_or(self.now(), |entry| entry.ingest.as_nanos()) + i64::from(off);
                let time = Timestamp::from_nanos(nanos);
                (Start::Time(time), self.log.partition_point(|entry| entry.ingest < time).max(visible))
            }
            From::EventTime(event) => {
                let time = Timestamp::from_nanos(event.into());
                let is_since = |entry: &Entry| entry.event.is_some_and(|event| time <= event);
                let first = self.log[visible..].iter().position(is_since);
                (Start::EventTime(time), first.map_or(self.log.len(), |first| visible + first))
            }
            From::Last(records) => {
                let first = self.log.len().saturating_sub(records as usize).max(visible);
                (Start::Last(records), first)
            }
        };
        let Some(mut reader) = self.done(self.stream().read(start)) else { return };
        let begin = reader.cursor();
        if self.armed.is_some() {
            return;
        }
        let (seen, gaps) = drain(&mut reader, limit);
        assert_eq!(gaps, []);
        self.saw(&seen, first);
        self.kept.push(Kept { cursor: begin, consumed: first, lost: None });
        // The same position by another way is the same cursor.
        let again = self.stream().read(Start::Cursor(begin)).unwrap().cursor();
        assert_eq!(again.to_string(), begin.to_string());
    }

    fn resume(&mut self, index: usize) {
        if self.armed.is_some() {
            return;
        }
        let Kept { cursor, consumed, lost } = self.kept[index];
        let cursor: Cursor = cursor.to_string().parse().unwrap();
        let visible = self.visible();
        let missed = consumed < visible;
        let stream = self.stream();
        let after = |start| stream.read(start).map(|mut reader| drain(&mut reader, Limit::default()));
        match after(Start::Cursor(cursor)).map_err(|err| err.kind().clone()) {
            Ok((seen, gaps)) => {
                assert_eq!(lost, None, "a cursor whose records were lost must not resume");
                assert!(!missed, "a cursor whose next record expired must not resume");
                assert_eq!(gaps, []);
                self.saw(&seen, consumed);
            }
            Err(ErrorKind::CursorDiverged { safe }) => {
                let last = self.log[..consumed].last().map_or(0, |entry| entry.end);
                assert!(lost.is_some() || last < cursor.offset(), "nothing was lost before {cursor:?}");
                // Where all before the cursor was removed, the log's start is as good as its own place.
                assert!(safe.offset() < cursor.offset() || cursor.offset() == self.log_start);
                match after(Start::Cursor(safe)).map_err(|err| err.kind().clone()) {
                    Ok((seen, _)) => self.saw(&seen, consumed.max(visible)),
                    Err(ErrorKind::CursorExpired { .. }) => {
                        assert!(missed || safe.offset() < self.log_start);
                    }
                    Err(other) => panic!("{safe:?} is not safe: {other:?}"),
                }
            }
            Err(ErrorKind::CursorExpired { oldest, skipped_bytes }) => {
                // Where the log was removed nobody knows any more what a crash had left of it.
                let removed = cursor.offset() < self.log_start;
                assert!(removed || lost.is_none(), "lost, and not expired");
                assert!(removed || missed, "nothing behind {cursor:?} expired");
                assert_eq!(oldest.offset() - cursor.offset(), skipped_bytes);
                let (seen, _) = after(Start::Cursor(oldest)).unwrap();
                self.saw(&seen, visible);
            }
            Err(other) => panic!("{cursor:?} gets {other:?}"),
        }
    }

    /// The end of every history: nothing is wrong, and a clean restart shows the same.
    fn finish(mut self) {
        if self.armed.is_some() {
            self.crash(Crash::KeepAll, None);
        }
        for index in 0..self.kept.len() {
            self.resume(index);
        }
        self.apply(&Op::Reopen);
        assert!(self.store().verify().unwrap().is_sound());
    }
}

fn run(history: &[Op]) {
    let mut world = World::new();
    for op in history {
        world.apply(op);
    }
    world.finish();
}

fn runner(seed: u64, cases: u32) -> TestRunner {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 2000, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

/// Tries `cases` histories of so many steps, or as many as there is time for.
fn try_histories(steps: Range<usize>, cases: u32) {
    let first = seed();
    let mut histories = 0;
    for turn in turns(1) {
        let seed = first.wrapping_add(turn.into());
        let outcome = runner(seed, cases).run(&prop::collection::vec(ops(), steps.clone()), |history| {
            run(&history);
            Ok(())
        });
        if let Err(failure) = outcome {
            panic!("TAILWATER_SEED={seed}: {failure}");
        }
        histories += cases;
    }
    reached(
        format_args!("model: {histories} histories of {} to {} steps", steps.start, steps.end - 1),
        first,
    );
}

#[test]
fn what_is_read_is_what_was_appended_whatever_happened_between() {
    try_histories(1..40, 120);
}

#[test]
fn a_long_life_keeps_every_promise_to_its_end() {
    try_histories(300..301, 3);
}

#[test]
fn recovery_may_die_at_any_of_its_calls() {
    let seed = 7;
    let append = |times, durability| Op::Append { times, size: 1500, zeros: false, event: None, durability };
    let batch = Op::Batch { sizes: vec![10, 2000, 30], durability: None };
    // Torn in a second segment; nothing durable at all; a seal begun.
    let histories = [
        vec![append(20, None), Op::Sync, append(30, None), batch.clone()],
        vec![append(60, None), batch.clone()],
        vec![
            append(20, Some(Durability::Sync)),
            append(60, None),
            Op::CrashAt { nth: 12, crash: Crash::KeepAll },
            Op::Tick,
        ],
    ];
    let die = |history: &[Op], first, second| {
        let mut nth = 0;
        loop {
            let mut world = World::new();
            history.iter().for_each(|op| world.apply(op));
            let calls = world.crash(first, Some((nth, second)));
            world.finish();
            nth += 1;
            if calls <= nth {
                break;
            }
        }
    };
    // Side by side: nothing else here takes nearly as long.
    std::thread::scope(|scope| {
        for history in &histories {
            for first in [Crash::KeepAll, Crash::DropUnsynced, Crash::Pages { seed }] {
                scope.spawn(move || {
                    for second in [Crash::KeepAll, Crash::DropUnsynced, Crash::Sectors { seed }] {
                        die(history, first, second);
                    }
                });
            }
        }
    });
}

#[test]
fn a_flipped_bit_costs_at_most_the_record_it_lies_in() {
    let mut world = World::new();
    for size in [1, 40, 500, 1000, 3000] {
        let append = Op::Append { times: 25, size, zeros: false, event: Some(1), durability: None };
        let batch = Op::Batch { sizes: vec![size; 5], durability: Some(Durability::Sync) };
        [append, batch].iter().for_each(|op| world.apply(op));
    }
    let store = world.store();
    let closed = world.machine.disk.fork_crashed(Crash::KeepAll);
    store.close().unwrap();
    let clean = world.machine.disk.fork_crashed(Crash::DropUnsynced);
    let files = world.machine.segments();
    assert!(2 < files.len());
    let seed = seed();
    let mut state = seed;
    let mut draw = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut flips = 0;
    for _ in turns(400) {
        flips += 1;
        let disk = if draw(2) == 0 { &clean } else { &closed }.fork_crashed(Crash::KeepAll);
        let file = &files[draw(files.len() as u64) as usize];
        let bytes = disk.read_file(file);
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() as u64 + 1;
        // Half of them where the header and the slots are.
        let used = if draw(2) == 0 { used.min(4096) } else { used };
        let bit = draw(used * 8);
        disk.flip_bit(file, bit as usize);
        let (store, stream) = world.machine.open_on(&disk).unwrap();
        let (seen, gaps) = drain(&mut stream.read(Start::Beginning).unwrap(), Limit::default());
        let mut seen = seen.iter().peekable();
        let mut lost = 0;
        for entry in &world.log {
            if seen.next_if(|seen| entry.is(seen)).is_none() {
                lost += 1;
                let covers = |gap: &Gap| gap.start <= entry.offset && entry.end <= gap.end;
                let found = stream.recovery();
                assert!(
                    gaps.iter().any(covers),
                    "bit {bit} of {file:?} lost {} silently: {gaps:?} {found:?}",
                    entry.offset
                );
            }
        }
        assert!(seen.next().is_none(), "bit {bit} of {file:?} made a record up");
        assert!(lost <= 1, "bit {bit} of {file:?} cost {lost} records");
        assert_eq!(gaps.is_empty() && lost == 0, gaps.is_empty());
        assert!(gaps.is_empty() || !store.verify().unwrap().is_sound(), "bit {bit} of {file:?}");
    }
    reached(format_args!("model: {flips} stores with one flipped bit"), seed);
}
