//! Readers with a filter, held against readers without one and an evaluator that goes by the letter: over logs of several
//! segments, batches and epochs, from anywhere, also where there is damage.

#![cfg(feature = "sim")]

mod common;

use std::collections::HashMap;
use std::time::Duration;

use common::*;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use tailwater::fuzzing::filter::{Choices, Drawn, Said};
use tailwater::vfs::sim::Crash;
use tailwater::*;

/// Records that are alike, as those of one program in one hour are.
#[derive(Debug, Clone)]
struct Run {
    like: Vec<u8>,
    count: usize,
    padding: usize,
    /// Records of a batch; 1 for no batch.
    batch: usize,
    /// The process dies after it.
    dies: bool,
}

fn runs() -> impl Strategy<Value = Run> {
    let like = prop::collection::vec(any::<u8>(), 12);
    let batch = prop_oneof![4 => Just(1_usize), 1 => 2_usize..20];
    (like, 1_usize..120, 0_usize..6000, batch, prop::bool::weighted(0.1))
        .prop_map(|(like, count, padding, batch, dies)| Run { like, count, padding, batch, dies })
}

/// A record as it was appended.
struct Entry {
    drawn: Drawn,
    offset: u64,
    end: u64,
    ingest: Timestamp,
}

/// A log on a disk, and what it holds.
struct World {
    machine: Machine,
    log: Vec<Entry>,
}

impl World {
    fn new(runs: &[Run], closes: bool) -> World {
        let machine = Machine::new();
        let options = |machine: &Machine| machine.options().max_segment_bytes(1 << 20);
        let mut store = options(&machine).open(DIR).unwrap();
        let mut stream = store.create_stream(spec()).unwrap();
        let mut log = Vec::new();
        for run in runs {
            machine.clock.advance(Duration::from_secs(100));
            let drawn = Drawn::draw(&mut Choices(&run.like), run.padding);
            for _ in (0..run.count).step_by(run.batch) {
                let records = vec![drawn.record(); run.batch];
                let first = log.len();
                if run.batch == 1 {
                    let appended = stream.append(&records[0]).unwrap();
                    let (offset, end, ingest) = (appended.offset(), appended.end(), appended.ingest_time());
                    log.push(Entry { drawn: drawn.clone(), offset, end, ingest });
                } else {
                    let appended = stream.append_batch(&records).unwrap();
                    let span = (appended.end() - appended.offset()) / run.batch as u64;
                    for number in 0..run.batch as u64 {
                        let offset = appended.offset() + number * span;
                        let ingest = appended.ingest_time();
                        log.push(Entry { drawn: drawn.clone(), offset, end: offset + span, ingest });
                    }
                }
                assert!(first < log.len());
                if log.len() % 64 == 0 {
                    store.tick().unwrap();
                }
            }
            if run.dies {
                machine.crash(Crash::KeepAll);
                drop((stream, store));
                store = options(&machine).open(DIR).unwrap();
                stream = store.stream(NAME).unwrap();
            }
        }
        match closes {
            true => store.close().unwrap(),
            false => machine.crash(Crash::KeepAll),
        }
        World { machine, log }
    }

    fn open(&self) -> (Store, Stream) {
        let store = self.machine.options().max_segment_bytes(1 << 20).open(DIR).unwrap();
        let stream = store.stream(NAME).unwrap();
        (store, stream)
    }

    /// The entry at an offset.
    fn at(&self, offset: u64) -> &Entry {
        let found = self.log.binary_search_by_key(&offset, |entry| entry.offset);
        &self.log[found.unwrap_or_else(|_| panic!("nothing was appended at {offset}"))]
    }
}

/// What a reader with a filter returns up to the end, and where it then stands. At every position that `known` has its cursor
/// is the one there.
#[track_caller]
fn sift(mut reader: Reader, limit: Limit, known: &HashMap<u64, Cursor>) -> (Vec<Seen>, Vec<Gap>, Cursor) {
    let (mut seen, mut gaps) = (Vec::new(), Vec::new());
    let mut behind = reader.cursor().offset();
    loop {
        let step = reader.next_within(limit).unwrap();
        let cursor = reader.cursor();
        assert!(behind <= cursor.offset(), "a cursor never goes back");
        if let Some(known) = known.get(&cursor.offset()) {
            assert_eq!(
                (cursor, cursor.ingest_time()),
                (*known, known.ingest_time()),
                "a position has one cursor"
            );
        }
        match step {
            Step::Records(batch) => {
                assert_eq!(batch.len(), batch.iter().count());
                assert!(!batch.is_empty() && batch.len() <= limit.records);
                for record in &batch {
                    assert!(behind <= record.offset());
                    behind = record.end();
                    assert_eq!(record.cursor(), known[&record.end()]);
                    seen.push(Seen {
                        offset: record.offset(),
                        end: record.end(),
                        ingest: record.ingest_time(),
                        event: record.event_time(),
                        body: record.body().to_vec(),
                        cursor: record.cursor(),
                    });
                }
                assert_eq!((batch.cursor(), cursor.offset()), (cursor, behind));
            }
            Step::Gap(gap) => {
                assert_eq!((gap.cursor, gap.end), (cursor, cursor.offset()));
                gaps.push(gap);
            }
            Step::Passed => {}
            Step::End => return (seen, gaps, cursor),
        }
        behind = cursor.offset();
    }
}

/// Holds a reader with the filter that `program` draws against one without, both from the `from`-th record on; how many bytes of
/// gaps it left out.
#[track_caller]
fn check(
    world: &World,
    stream: &Stream,
    all: &[Seen],
    (program, from, limit): (Vec<u8>, usize, usize),
) -> u64 {
    let (said, text) = Said::draw(&mut Choices(&program));
    let Ok(filter) = Filter::parse(&text) else {
        assert!(1024 < text.len(), "{text}");
        return 0;
    };
    let mut start = Start::Beginning;
    let mut first = 0;
    if 0 < from && !all.is_empty() {
        let cursor = all[from % all.len()].cursor;
        (start, first) = (Start::Cursor(cursor), cursor.offset());
    }
    let mut full = stream.read(start).unwrap();
    let (all, lost) = drain(&mut full, Limit::default());
    let known: HashMap<u64, Cursor> = all.iter().map(|seen| (seen.end, seen.cursor)).collect();
    let passes = |entry: &Entry| said.holds(&entry.drawn, entry.ingest);
    let expected: Vec<&Seen> = all.iter().filter(|seen| passes(world.at(seen.offset))).collect();

    let reader = stream.read(start).unwrap().filter(filter.clone());
    let (seen, gaps, end) = sift(reader, Limit::records(limit), &known);
    let offsets = |seen: &[&Seen]| seen.iter().map(|seen| seen.offset).collect::<Vec<_>>();
    assert_eq!(offsets(&seen.iter().collect::<Vec<_>>()), offsets(&expected), "{text}");
    assert!(seen.iter().zip(&expected).all(|(seen, expected)| seen == *expected), "{text}");

    // It comes as far as one without a filter does, and to a place that holds.
    assert!(full.cursor().offset() <= end.offset(), "{text}");
    assert!(matches!(stream.read(Start::Cursor(end)).unwrap().next().unwrap(), Step::End), "{text}");
    if end.offset() == full.cursor().offset() {
        assert_eq!(end, full.cursor(), "{text}");
    }

    if lost.is_empty() {
        assert_eq!(Some(end.ingest_time()), world.log.last().map(|entry| entry.ingest), "{text}");
    }

    // Every gap is one, and whatever passes and cannot be read lies in one.
    let within =
        |gaps: &[Gap], start: u64, end: u64| gaps.iter().any(|gap| gap.start <= start && end <= gap.end);
    for gap in &gaps {
        assert!(within(&lost, gap.start, gap.end), "{text}: {gap:?} is none of {lost:?}");
    }
    for entry in world.log.iter().filter(|entry| first <= entry.offset && passes(entry)) {
        let is_read = known.contains_key(&entry.end);
        assert!(
            is_read || within(&gaps, entry.offset, entry.end),
            "{text}: lost at {} without a gap: {gaps:?} of {lost:?}",
            entry.offset
        );
    }
    lost.iter().map(Gap::bytes).sum::<u64>() - gaps.iter().map(Gap::bytes).sum::<u64>()
}

#[track_caller]
fn try_all<S: Strategy>(cases: u32, strategy: &S, test: impl Fn(S::Value)) {
    let first = seed();
    let mut tried = 0;
    for turn in turns(1) {
        let seed = first.wrapping_add(turn.into());
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let config = Config { cases, failure_persistence: None, max_shrink_iters: 300, ..Config::default() };
        let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
        if let Err(failure) = runner.run(strategy, |value| {
            test(value);
            Ok(())
        }) {
            panic!("TAILWATER_SEED={seed}: {failure}");
        }
        tried += cases;
    }
    reached(format_args!("filtered reading: {tried} logs"), first);
}

fn programs() -> impl Strategy<Value = Vec<(Vec<u8>, usize, usize)>> {
    let program = prop::collection::vec(any::<u8>(), 1..60);
    let from = prop_oneof![1 => Just(0), 1 => 1_usize..3000];
    prop::collection::vec((program, from, prop_oneof![Just(1_usize), Just(7), Just(4096)]), 6)
}

#[test]
fn a_reader_with_a_filter_returns_what_passes_of_what_one_without_returns() {
    let strategy = (prop::collection::vec(runs(), 1..25), any::<bool>(), programs());
    try_all(12, &strategy, |(runs, closes, programs)| {
        let world = World::new(&runs, closes);
        let (_store, stream) = world.open();
        let all = records(&stream, Start::Beginning);
        for program in programs {
            assert_eq!(check(&world, &stream, &all, program), 0, "there is no gap");
        }
    });
}

#[test]
fn whatever_passes_and_is_damaged_lies_in_a_gap() {
    let flips = prop::collection::vec((any::<prop::sample::Index>(), any::<u64>(), any::<u8>()), 1..6);
    let strategy = (prop::collection::vec(runs(), 4..25), any::<bool>(), flips, programs());
    let left_out = std::cell::Cell::new(0);
    try_all(24, &strategy, |(runs, closes, flips, programs)| {
        let world = World::new(&runs, closes);
        let files = world.machine.segments();
        for (file, at, kind) in flips {
            let file = file.get(&files);
            let bytes = world.machine.disk.read_file(file);
            let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() as u64 + 1;
            // Anywhere; among the frames; in the footer or near it; a stretch of frames.
            let (from, to) = match kind % 4 {
                0 => (0, used),
                1 | 3 => (4096.min(used - 1), used),
                _ => (used.saturating_sub(400), used),
            };
            let at = from + at % (to - from);
            let stretch = if kind % 4 == 3 { 1 + u64::from(kind) * 700 } else { 1 };
            for at in (at..used.min(at + stretch)).step_by(97) {
                world.machine.disk.flip_bit(file, at as usize * 8 + usize::from(kind) / 4 % 8);
            }
        }
        let (_store, stream) = world.open();
        let (all, _) = drain(&mut stream.read(Start::Beginning).unwrap(), Limit::default());
        for program in programs {
            left_out.set(left_out.get() + check(&world, &stream, &all, program));
        }
    });
    assert!(0 < left_out.get(), "damage in blocks where nothing passes is not looked at");
}

/// A log of info records of 1 KiB in which every thousandth is an error, sealed where `closes`.
fn mostly_info(records: usize, closes: bool) -> (Machine, Vec<Appended>) {
    let machine = Machine::new();
    let store = machine.options().max_segment_bytes(4 << 20).open(DIR).unwrap();
    let stream = store.create_stream(spec()).unwrap();
    let body = vec![b'x'; 1000];
    let mut errors = Vec::new();
    for number in 0..records {
        let is_error = number % 1000 == 999;
        let record = Record::new(&body).service(if is_error { "back" } else { "front" });
        let appended =
            stream.append(&record.level(if is_error { Level::Error } else { Level::Info })).unwrap();
        if is_error {
            errors.push(appended);
        }
        if number % 500 == 0 {
            store.tick().unwrap();
        }
    }
    match closes {
        true => store.close().unwrap(),
        false => machine.crash(Crash::KeepAll),
    }
    (machine, errors)
}

#[test]
fn blocks_where_nothing_passes_are_not_read() {
    for closes in [true, false] {
        let (machine, errors) = mostly_info(5000, closes);
        let (_store, stream) = machine.open().unwrap();
        // Until it is sealed a segment is summarised when that is first of use: before the damage.
        for text in ["level=error", "service=back", "level>=warn xxx", "service IN (back, nobody)"] {
            let mut reader = stream.read(Start::Beginning).unwrap().filter(Filter::parse(text).unwrap());
            let mut found = Vec::new();
            while let Step::Records(batch) = reader.next().unwrap() {
                found.extend(batch.iter().map(|record| record.offset()));
            }
            assert_eq!(found, errors.iter().map(|error| error.offset()).collect::<Vec<_>>(), "{text}");
        }
        // Whoever reads a page of frames comes by damage, but around the errors.
        let files = machine.segments();
        let base = |file: &std::path::PathBuf| file.file_stem().unwrap().to_str().unwrap().parse().unwrap();
        let mut bases: Vec<u64> = files.iter().map(base).collect();
        bases.push(stream.published().unwrap());
        for (file, offsets) in files.iter().zip(bases.windows(2)) {
            for offset in (offsets[0] + 500..offsets[1]).step_by(4096) {
                if errors.iter().all(|error| 140_000 < error.offset().abs_diff(offset)) {
                    machine.disk.flip_bit(file, (4096 + offset - offsets[0]) as usize * 8);
                }
            }
        }
        let (_, gaps) = drain(&mut stream.read(Start::Beginning).unwrap(), Limit::default());
        assert!(100 < gaps.len(), "a full scan comes by the damage");
        let mut reader = stream.read(Start::Beginning).unwrap().filter(Filter::parse("level=error").unwrap());
        let known: HashMap<u64, Cursor> = errors.iter().map(|error| (error.end(), error.cursor())).collect();
        let mut offsets = Vec::new();
        while offsets.len() < errors.len() {
            match reader.next_within(Limit::records(1)).unwrap() {
                Step::Records(batch) => offsets.extend(batch.iter().map(|record| record.offset())),
                // Small segments are sooner read than known about.
                Step::Gap(gap) => assert!(gap.start < 1 << 20, "{gap:?}"),
                step => panic!("{step:?}"),
            }
            assert!(known.get(&reader.cursor().offset()).is_none_or(|known| *known == reader.cursor()));
        }
        assert_eq!(offsets, errors.iter().map(|error| error.offset()).collect::<Vec<_>>());
    }
}

/// Damages records of a log of one service, then looks for another: whoever knows only what is left cannot tell that none of
/// them was of that one.
#[track_caller]
fn check_unknown(what: &str, damage: impl Fn(&Machine, &[Appended], Stream, Store) -> Vec<Appended>) {
    let machine = Machine::new();
    let store = machine.options().max_segment_bytes(4 << 20).open(DIR).unwrap();
    let stream = store.create_stream(spec()).unwrap();
    let body = vec![b'x'; 1000];
    let record = Record::new(&body).service("front").level(Level::Info);
    let appended: Vec<Appended> = (0..4000).map(|_| stream.append(&record).unwrap()).collect();
    let lost = damage(&machine, &appended, stream, store);
    let (_store, stream) = machine.open().unwrap();
    let filter = Filter::parse("service=rare").unwrap();
    let (seen, gaps, _) =
        sift(stream.read(Start::Beginning).unwrap().filter(filter), Limit::default(), &HashMap::new());
    assert_eq!(seen.len(), 0);
    let gaps: Vec<_> = gaps.iter().map(|gap| (gap.start, gap.end)).collect();
    let lost: Vec<_> = lost.iter().map(|lost| (lost.offset(), lost.end())).collect();
    assert_eq!(gaps, lost, "{what}");
}

/// Flips a bit of a record: `at` bytes behind where its frame begins.
fn flip(machine: &Machine, record: &Appended, at: u64) {
    let base =
        |file: &std::path::PathBuf| -> u64 { file.file_stem().unwrap().to_str().unwrap().parse().unwrap() };
    let file = machine.segments().into_iter().rfind(|file| base(file) <= record.offset()).unwrap();
    machine.disk.flip_bit(&file, (4096 + record.offset() - base(&file) + at) as usize * 8);
}

#[test]
fn a_block_of_which_not_everything_is_known_is_read() {
    // Damaged before they were summarised: a header, and a service's name under a sound header.
    for at in [16, 32] {
        check_unknown("before it is summarised", |machine, appended, stream, store| {
            machine.crash(Crash::KeepAll);
            drop((stream, store));
            let lost = [appended[2000], appended[3999]];
            lost.iter().for_each(|record| flip(machine, record, at));
            lost.to_vec()
        });
    }
    // What they were summarised as before still counts.
    check_unknown("after it was sealed", |machine, appended, stream, store| {
        stream.append(&Record::new(&vec![b'x'; 1 << 20])).unwrap();
        drop(stream);
        store.close().unwrap();
        flip(machine, &appended[500], 16);
        vec![]
    });
}

#[test]
fn what_repair_marked_lost_is_a_gap_for_every_filter() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Options::new().background(false).open(dir.path()).unwrap();
    let store = open();
    let stream = store.create_stream(spec()).unwrap();
    let body = vec![b'x'; 1000];
    let record = Record::new(&body).service("front").level(Level::Info);
    let appended: Vec<Appended> = (0..1500).map(|_| stream.append(&record).unwrap()).collect();
    let id = stream.id();
    drop(stream);
    store.close().unwrap();
    let lost = appended[1000];
    let dir_of_stream = dir.path().join("streams").join(id.to_string());
    let bases = std::fs::read_dir(&dir_of_stream).unwrap().filter_map(|entry| {
        let path = entry.unwrap().path();
        let is_segment = path.extension().is_some_and(|extension| extension == "seg");
        is_segment.then(|| path.file_stem().unwrap().to_str().unwrap().parse::<u64>().unwrap())
    });
    let base = bases.filter(|base| *base <= lost.offset()).max().unwrap();
    let file = dir_of_stream.join(format!("{base:020}.seg"));
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[(4096 + lost.offset() - base) as usize + 32] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    assert!(!repair(dir.path()).unwrap().rewritten_segments.is_empty());

    let store = open();
    let stream = store.stream(NAME).unwrap();
    for text in ["service=rare", "level=error", "absent", "NOT HAS body"] {
        let reader = stream.read(Start::Beginning).unwrap().filter(Filter::parse(text).unwrap());
        let (seen, gaps, _) = sift(reader, Limit::default(), &HashMap::new());
        assert_eq!((seen.len(), gaps.len()), (0, 1), "{text}");
        assert_eq!((gaps[0].start, gaps[0].end), (lost.offset(), lost.end()), "{text}");
    }
}

#[test]
fn a_position_behind_a_mark_that_begins_a_block_has_the_time_of_the_record_before() {
    let machine = Machine::new();
    let (store, stream) = machine.create();
    stream.append(&Record::new(&[0; 300_000])).unwrap();
    machine.clock.advance(HOUR);
    // They fill a block to its last byte.
    let appended: Vec<_> = (0..64).map(|_| stream.append(&Record::new(&[0; 1000])).unwrap()).collect();
    let last = appended[63];
    machine.crash(Crash::KeepAll);
    drop((stream, store));
    let (_store, stream) = machine.open().unwrap();
    assert!(last.end() < stream.published().unwrap(), "an epoch began");
    let cursor = stream.read(Start::Time(Timestamp::MAX)).unwrap().cursor();
    assert_eq!((cursor.offset(), cursor.ingest_time()), (stream.published().unwrap(), last.ingest_time()));
    let mut reader = stream.read(Start::Beginning).unwrap().filter(Filter::parse("absent").unwrap());
    assert!(matches!(reader.next().unwrap(), Step::End));
    assert_eq!(reader.cursor(), cursor);
}

#[test]
fn a_read_that_finds_nothing_says_where_it_stands_and_the_next_goes_on() {
    let machine = Machine::new();
    let store = machine.options().max_segment_bytes(64 << 20).open(DIR).unwrap();
    let stream = store.create_stream(spec()).unwrap();
    let body = vec![b'x'; 1 << 20];
    let appended: Vec<Appended> = (0..70).map(|_| stream.append(&Record::new(&body)).unwrap()).collect();
    let known: HashMap<u64, Cursor> = appended.iter().map(|one| (one.end(), one.cursor())).collect();
    let filter = Filter::parse("absent").unwrap();
    let mut reader = stream.read(Start::Beginning).unwrap().filter(filter.clone());
    let mut passed = Vec::new();
    while let Step::Passed = reader.next().unwrap() {
        passed.push(reader.cursor());
        assert_eq!(known[&reader.cursor().offset()], reader.cursor(), "as after the last record passed");
    }
    assert!(matches!(reader.next().unwrap(), Step::End));
    assert_eq!((passed.len(), reader.cursor()), (2, appended[69].cursor()));
    for cursor in passed {
        let mut resumed = stream.read(Start::Cursor(cursor)).unwrap().filter(filter.clone());
        while !matches!(resumed.next().unwrap(), Step::End) {}
        assert_eq!(resumed.cursor(), reader.cursor());
    }
    // One without the filter is not bounded by it.
    let mut reader = stream.read(Start::Beginning).unwrap().filter(Filter::all());
    assert!(matches!(reader.next().unwrap(), Step::Records(_)));
}

#[test]
fn a_tail_with_a_filter_moves_on_and_returns_what_passes() {
    let machine = Machine::new();
    let (_store, stream) = machine.create();
    let mut tail = stream.tail(Start::Beginning).unwrap().filter(Filter::parse("level=error").unwrap());
    for _ in 0..10 {
        let passed = stream.append(&Record::new("well").level(Level::Info)).unwrap();
        assert!(matches!(tail.next(Duration::ZERO).unwrap(), Step::End));
        assert_eq!(tail.cursor(), passed.cursor());
        let error = stream.append(&Record::new("ill").level(Level::Error)).unwrap();
        let Step::Records(batch) = tail.next(Duration::ZERO).unwrap() else { panic!() };
        assert_eq!((batch.len(), tail.cursor()), (1, error.cursor()));
    }
}

#[test]
fn a_follower_with_a_filter_skips_and_sees_what_comes() {
    let (machine, errors) = mostly_info(3000, true);
    let (_store, stream) = machine.open().unwrap();
    let follower = machine.options().open_read_only(DIR).unwrap().stream(NAME).unwrap();
    let mut reader = follower.read(Start::Beginning).unwrap().filter(Filter::parse("level=error").unwrap());
    let mut found = |expected: &[Appended]| {
        let mut offsets = Vec::new();
        loop {
            match reader.next_within(Limit::records(1)).unwrap() {
                Step::Records(batch) => offsets.extend(batch.iter().map(|record| record.offset())),
                Step::End => break,
                step => panic!("{step:?}"),
            }
        }
        assert_eq!(offsets, expected.iter().map(|error| error.offset()).collect::<Vec<_>>());
        reader.cursor()
    };
    found(&errors);
    for _ in 0..3 {
        let passed = stream.append(&Record::new("well")).unwrap();
        assert_eq!(found(&[]), passed.cursor());
        let error = stream.append(&Record::new("ill").level(Level::Error)).unwrap();
        assert_eq!(found(&[error]), error.cursor());
    }
}

#[test]
fn what_expired_is_not_returned_and_what_may_have_passed_is_a_gap() {
    let machine = Machine::new();
    let (store, stream) = machine.create_with(spec().ttl(TtlDays::new(1).unwrap()));
    stream.append(&Record::new("old").level(Level::Error)).unwrap();
    machine.clock.advance(DAY + HOUR);
    let young = stream.append(&Record::new("young").level(Level::Error)).unwrap();
    let filter = Filter::parse("level=error").unwrap();
    // Before and after its space was taken back.
    for _ in 0..2 {
        let mut reader = stream.read(Start::Beginning).unwrap().filter(filter.clone());
        let Step::Records(batch) = reader.next().unwrap() else { panic!() };
        assert_eq!((batch.len(), batch.cursor()), (1, young.cursor()));
        store.tick().unwrap();
    }
    let mut reader = stream.read(Start::Beginning).unwrap().filter(filter);
    machine.clock.advance(DAY + HOUR);
    let Step::Gap(gap) = reader.next().unwrap() else { panic!() };
    assert_eq!((gap.reason, gap.end), (GapReason::Expired, young.end()));
    assert!(matches!(reader.next().unwrap(), Step::End));
}

#[test]
fn only_what_is_durable_is_passed_where_only_that_is_shown() {
    let machine = Machine::new();
    let (_store, stream) = machine.create();
    let filter = || Filter::parse("absent").unwrap();
    let mut shown = stream.read(Start::Beginning).unwrap().durable_only(true).filter(filter());
    let mut all = stream.read(Start::Beginning).unwrap().filter(filter());
    let first = stream.append_with(&Record::new("a"), Durability::Sync).unwrap();
    let second = stream.append_with(&Record::new("b"), Durability::Buffered).unwrap();
    assert!(matches!(shown.next().unwrap(), Step::End));
    assert!(matches!(all.next().unwrap(), Step::End));
    assert_eq!((shown.cursor(), all.cursor()), (first.cursor(), second.cursor()));
}
