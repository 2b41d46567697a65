//! The engine from outside: append, read, resume, reopen, retain.

use std::sync::Arc;
use std::time::Duration;

use tailwater::*;

fn spec(name: &str) -> StreamSpec {
    StreamSpec::new(StreamName::new(name).unwrap())
}

/// Every record from `start` on, as text; panics on a gap.
fn bodies(stream: &Stream, start: Start) -> Vec<String> {
    let mut reader = stream.read(start).unwrap();
    let mut found = Vec::new();
    loop {
        match reader.next().unwrap() {
            Step::Records(batch) => {
                found.extend(batch.iter().map(|record| String::from_utf8_lossy(record.body()).into_owned()))
            }
            Step::Gap(gap) => panic!("{gap:?}"),
            Step::Passed => panic!("there is no filter"),
            Step::End => return found,
        }
    }
}

#[test]
fn what_is_appended_is_read_in_order_also_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let stream = store.create_stream(spec("a")).unwrap();
    let mut expected = Vec::new();
    for number in 0..10_000 {
        let body = format!("record {number} {}", "x".repeat(number % 300));
        stream.append(&Record::new(&body)).unwrap();
        expected.push(body);
    }
    assert_eq!(bodies(&stream, Start::Beginning), expected);
    store.close().unwrap();
    assert_eq!(*stream.append(&Record::new("late")).unwrap_err().kind(), ErrorKind::Closed);
    let store = Store::open(dir.path()).unwrap();
    let stream = store.stream("a").unwrap();
    assert!(stream.recovery().clean);
    assert_eq!(bodies(&stream, Start::Beginning), expected);
    stream.append(&Record::new("more")).unwrap();
    expected.push("more".into());
    assert_eq!(bodies(&stream, Start::Beginning), expected);
    assert_eq!(bodies(&stream, Start::Last(3)), expected[expected.len() - 3..]);
    assert!(store.verify().unwrap().is_sound());
}

#[test]
fn a_batch_keeps_its_records_while_its_reader_reads_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let stream = store.create_stream(spec("a")).unwrap();
    let expected: Vec<_> =
        (0..3_000).map(|number| format!("{number} {}", "x".repeat(number % 200))).collect();
    for body in &expected {
        stream.append(&Record::new(body)).unwrap();
    }
    let mut reader = stream.read(Start::Beginning).unwrap();
    let (mut held, mut copies) = (Vec::new(), Vec::new());
    for turn in 0.. {
        // More than are looked for again, so that each batch says where its records begin; every third is let go of.
        let Step::Records(batch) = reader.next_within(Limit::records(100 + turn)).unwrap() else { break };
        match turn % 3 {
            0 => held.push(batch),
            1 => {
                copies.push(batch.clone());
                held.push(batch);
            }
            _ => held.push(batch.clone()),
        }
    }
    let text = |batch: &Batch| {
        let bodies = batch.iter().map(|record| String::from_utf8_lossy(record.body()).into_owned());
        bodies.collect::<Vec<_>>()
    };
    assert_eq!(held.iter().flat_map(text).collect::<Vec<_>>(), expected);
    let again = held.iter().skip(1).step_by(3).map(text);
    assert!(copies.iter().map(text).eq(again));
}

#[test]
fn a_tail_gets_what_other_threads_append_exactly_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let stream = store.create_stream(spec("a")).unwrap();
    let mut tail = stream.tail(Start::Now).unwrap();
    let (threads, each) = (4, 20_000);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let stream = stream.clone();
            scope.spawn(move || {
                for number in 0..each {
                    stream.append(&Record::new(&format!("{thread} {number}"))).unwrap();
                }
            });
        }
        let mut next = vec![0; threads];
        let mut count = 0;
        while count < threads * each {
            match tail.next(Duration::from_secs(30)).unwrap() {
                Step::Records(batch) => {
                    for record in &batch {
                        let text = std::str::from_utf8(record.body()).unwrap();
                        let (thread, number) = text.split_once(' ').unwrap();
                        let thread: usize = thread.parse().unwrap();
                        assert_eq!(number.parse::<usize>().unwrap(), next[thread]);
                        next[thread] += 1;
                        count += 1;
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    });
    store.sync().unwrap();
    assert_eq!(stream.durable(), stream.published().unwrap());
    assert!(store.verify().unwrap().is_sound());
}

#[test]
fn metadata_and_batches_come_back_whole() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let stream = store.create_stream(spec("a")).unwrap();
    let attributes = [("host", "a"), ("path", "/x y"), ("empty", "")];
    let record = Record::new("body")
        .level(Level::Warn)
        .service("front")
        .event_time(Timestamp::from_nanos(-7))
        .attributes(&attributes);
    let batch = [record, Record::new(""), Record::new("last").level(Level::Fatal)];
    let appended = stream.append_batch_with(&batch, Durability::Sync).unwrap();
    assert_eq!(appended.records(), 3);
    let mut reader = stream.read(Start::Beginning).unwrap();
    let Step::Records(read) = reader.next().unwrap() else { panic!() };
    let records: Vec<_> = read.iter().collect();
    assert_eq!(records.len(), 3);
    assert_eq!(records[0].attributes().collect::<Vec<_>>(), attributes);
    assert_eq!(records[0].service(), Some("front"));
    assert_eq!(records[0].level(), Some(Level::Warn));
    assert_eq!(records[0].event_time(), Some(Timestamp::from_nanos(-7)));
    assert_eq!(records[1].body(), b"");
    assert_eq!(records[2].level(), Some(Level::Fatal));
    assert_eq!(records[2].cursor(), appended.cursor());
    assert_eq!(reader.cursor(), appended.cursor());
    let _ = Arc::new(());
}

#[test]
fn a_limit_of_everything_is_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let stream = store.create_stream(spec("a")).unwrap();
    let first = stream.append(&Record::new("first")).unwrap();
    for _ in 0..10 {
        stream.append(&Record::new("another")).unwrap();
    }
    let mut reader = stream.read(Start::Cursor(first.cursor())).unwrap();
    let Step::Records(batch) = reader.next_within(Limit { records: usize::MAX, bytes: usize::MAX }).unwrap()
    else {
        panic!("no records")
    };
    assert_eq!(batch.len(), 10);
}

#[test]
fn a_snapshot_of_a_busy_store_holds_a_gapless_prefix() {
    let dir = tempfile::tempdir().unwrap();
    let store = Options::new().max_segment_bytes(64 << 10).open(dir.path().join("store")).unwrap();
    let stream = store.create_stream(spec("a")).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..50_000 {
                if stop.load(std::sync::atomic::Ordering::Relaxed) {
                    return;
                }
                stream.append(&Record::new(&format!("{number:0200}"))).unwrap();
            }
        });
        for number in 0..8 {
            let copy = dir.path().join(format!("copy-{number}"));
            store.snapshot(&copy).unwrap();
            let copied = Store::open(&copy).unwrap();
            let found = bodies(&copied.stream("a").unwrap(), Start::Beginning);
            let wrong = found.iter().enumerate().find(|(number, body)| **body != format!("{number:0200}"));
            assert_eq!(wrong, None);
            let report = copied.verify().unwrap();
            assert!(report.is_sound(), "{report:?}");
            copied.close().unwrap();
            std::fs::remove_dir_all(&copy).unwrap();
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn frames_of_very_different_sizes_from_many_threads_all_stay() {
    for round in 0..30 {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let stream = store.create_stream(spec("a")).unwrap();
        let begin = std::sync::Barrier::new(8);
        let large = vec![b'x'; 200 << 10];
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (stream, large, begin) = (&stream, &large, &begin);
                scope.spawn(move || {
                    begin.wait();
                    for _ in 0..3 {
                        // A large one never fits into the segment that a small one just started.
                        let body: &[u8] = if thread % 2 == 0 { large } else { b"small" };
                        stream.append(&Record::new(body)).unwrap();
                    }
                });
            }
        });
        assert_eq!(bodies(&stream, Start::Beginning).len(), 24, "round {round}");
        assert!(store.verify().unwrap().is_sound());
        store.close().unwrap();
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(
            bodies(&store.stream("a").unwrap(), Start::Beginning).len(),
            24,
            "round {round}, opened again"
        );
    }
}

#[test]
fn a_stream_deleted_under_its_writers_leaves_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let store = Options::new().max_segment_bytes(64 << 10).open(dir.path()).unwrap();
    for _ in 0..20 {
        let stream = store.create_stream(spec("a")).unwrap();
        let body = vec![b'x'; 30 << 10];
        std::thread::scope(|scope| {
            for _ in 0..3 {
                let (stream, body) = (&stream, &body);
                scope.spawn(move || {
                    loop {
                        match stream.append(&Record::new(body)) {
                            Ok(_) => {}
                            Err(err) => {
                                assert_eq!(*err.kind(), ErrorKind::StreamDeleted, "{err}");
                                return;
                            }
                        }
                    }
                });
            }
            let mut tail = stream.tail(Start::Beginning).unwrap();
            tail.next(Duration::from_secs(30)).unwrap();
            store.delete_stream("a").unwrap();
        });
        assert_eq!(std::fs::read_dir(dir.path().join("streams")).unwrap().count(), 0);
    }
}

#[test]
fn a_closed_stream_holds_little_more_disk_than_it_has_log() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let stream = store.create_stream(spec("a")).unwrap();
    let body = [b'x'; 1000];
    for _ in 0..3000 {
        stream.append(&Record::new(&body)).unwrap();
    }
    store.close().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let stream = store.stream("a").unwrap();
    let stats = stream.stats().unwrap();
    assert!(stats.disk_bytes < stats.bytes + (2 << 20), "{stats:?}");
    for _ in 0..3000 {
        stream.append(&Record::new(&body)).unwrap();
    }
    assert_eq!(bodies(&stream, Start::Beginning).len(), 6000);
}

#[test]
#[cfg(feature = "sim")]
fn a_closed_store_leaves_nothing_in_memory() {
    use tailwater::vfs::sim::SimDisk;

    for background in [false, true] {
        let disk: Arc<dyn Vfs> = Arc::new(SimDisk::new());
        let held = Arc::downgrade(&disk);
        let options = Options::new().background(background).sync_interval(Duration::from_secs(3600));
        let store = options.vfs(disk).open("/store").unwrap();
        let stream = store.create_stream(spec("a")).unwrap();
        // It waits for a sync from here on.
        stream.append(&Record::new("one")).unwrap();
        store.close().unwrap();
        drop((store, stream));
        // The threads see in their own time that it was closed.
        let until = std::time::Instant::now() + Duration::from_secs(20);
        while background && held.strong_count() != 0 && std::time::Instant::now() < until {
            std::thread::yield_now();
        }
        assert_eq!(held.strong_count(), 0, "with background {background} something is held");
    }
}

/// Whether the maps of segments in `dir` that this process has say that access is scattered, so that nothing is read ahead.
#[cfg(target_os = "linux")]
fn are_scattered(dir: &std::path::Path) -> Vec<bool> {
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let mut lines = maps.lines();
    let mut scattered = Vec::new();
    while let Some(line) = lines.next() {
        if line.contains(dir.to_str().unwrap()) && line.ends_with(".seg") {
            let flags = lines.find(|line| line.starts_with("VmFlags:")).expect("a map has flags");
            scattered.push(flags.split(' ').any(|flag| flag == "rr"));
        }
    }
    scattered
}

#[cfg(target_os = "linux")]
#[test]
fn a_single_read_has_nothing_read_ahead_and_one_that_goes_on_has() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Options::new().background(false).open(dir.path()).unwrap();
    let store = open();
    let stream = store.create_stream(spec("a")).unwrap();
    let first = stream.append(&Record::new("0")).unwrap().cursor();
    for _ in 0..9 {
        stream.append(&Record::new("more")).unwrap();
    }
    store.close().unwrap();
    let one = Limit::records(1);
    let filter = Filter::parse("more").unwrap();
    type Read<'a> = &'a dyn Fn(&Stream);
    let single: Read<'_> = &|stream| {
        stream.read(Start::Cursor(first)).unwrap().next_within(one).unwrap();
        stream.read(Start::Cursor(first)).unwrap().next_within(one).unwrap();
    };
    let one_by_one: Read<'_> = &|stream| {
        let mut reader = stream.read(Start::Cursor(first)).unwrap();
        reader.next_within(one).unwrap();
        reader.next_within(one).unwrap();
    };
    let many: Read<'_> = &|stream| {
        stream.read(Start::Cursor(first)).unwrap().next().unwrap();
    };
    let filtered: Read<'_> = &|stream| {
        stream.read(Start::Cursor(first)).unwrap().filter(filter.clone()).next_within(one).unwrap();
    };
    for (read, scattered) in [(single, true), (one_by_one, false), (many, false), (filtered, false)] {
        let store = open();
        read(&store.stream("a").unwrap());
        assert_eq!(are_scattered(dir.path()), [scattered]);
        store.close().unwrap();
    }
}
