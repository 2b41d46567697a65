//! The figures this engine is held to, each beside the limit of the same round:
//! `cargo bench --bench targets`, with `TAILWATER_ROUNDS` for other than five rounds.
//!
//! A round, on 1 GiB of bodies of 256 bytes: the limits of appending, an append of all into a fresh store,
//! that store opened again, scanned and read at random beside the limit of reading, an append of all with every
//! call timed, and a store opened whose writer was killed. Everything a round wrote is removed at its end.

mod support;

use std::env;
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use support::fixture::{self, Bodies, Random, STREAM};
use support::limit::{Arena, Segments, frame_bytes};
use support::table::Table;
use support::table::Target::AtMost;
use tailwater::{Cursor, Limit, Record, Start, Step, Store, Stream};

const BODY: usize = 256;
const RECORDS: usize = (1 << 30) / BODY;
/// One in this many records is read again at random: about 100,000.
const SAMPLED: usize = 41;
/// What fits in no cache of the processor, and is reused.
const RING: usize = 64 << 20;

fn main() {
    fixture::run_as_child();
    if !env::args().any(|arg| arg == "--bench") {
        println!("targets: writes gigabytes, so only `cargo bench` runs it");
        return;
    }
    let rounds =
        env::var("TAILWATER_ROUNDS").map_or(5, |text| text.parse().expect("TAILWATER_ROUNDS: a number"));
    let mut ring = Arena::touched(RING);
    let mut touched = Arena::touched(RECORDS * frame_bytes(BODY));
    let figures: Vec<_> = (1..=rounds)
        .map(|round| {
            let start = Instant::now();
            let measured = Round::run(&mut ring, &mut touched);
            eprintln!("round {round} of {rounds}: {:.0} s", start.elapsed().as_secs_f64());
            measured
        })
        .collect();
    report(&figures);
}

/// What one round measured: nanoseconds, of a record where nothing else is said.
#[derive(Debug, Default)]
struct Round {
    clock: f64,
    ring: f64,
    touched: f64,
    append: f64,
    close: f64,
    timed: Percentiles,
    check: f64,
    scan: f64,
    batches: f64,
    check_at_random: f64,
    random: Percentiles,
    random_mean: f64,
    open: f64,
    open_killed: f64,
}

#[derive(Debug, Default)]
struct Percentiles {
    p50: f64,
    p99: f64,
    p99_9: f64,
    p99_99: f64,
    max: f64,
}

impl Round {
    fn run(ring: &mut Arena, touched: &mut Arena) -> Round {
        let bodies = Bodies::new(BODY);
        let mut round = Round { clock: clock(), ..Round::default() };
        round.ring = each(ring.write(&bodies, RECORDS), RECORDS);
        round.touched = each(touched.write(&bodies, RECORDS), RECORDS);
        {
            let dir = fixture::directory();
            round.append(dir.path(), &bodies);
            round.read(dir.path());
        }
        {
            let dir = fixture::directory();
            let (_store, stream) = fixture::create(dir.path());
            warm(dir.path());
            round.timed = time_each(&bodies, &stream);
        }
        let dir = fixture::directory();
        fixture::killed(dir.path(), BODY, RECORDS);
        round.open_killed = open(dir.path()).2.as_nanos() as f64;
        round
    }

    /// Appends everything to a fresh store and closes it.
    fn append(&mut self, dir: &Path, bodies: &Bodies) {
        let (store, stream) = fixture::create(dir);
        warm(dir);
        let start = Instant::now();
        fixture::append(&stream, bodies, RECORDS);
        self.append = each(start.elapsed(), RECORDS);
        let start = Instant::now();
        store.close().expect("close");
        self.close = start.elapsed().as_nanos() as f64;
    }

    /// Opens the closed store and reads it, all of it and at random. Its pages are warm: they were just written.
    fn read(&mut self, dir: &Path) {
        let (_store, stream, time) = open(dir);
        self.open = time.as_nanos() as f64;
        let segments = Segments::map(dir, stream.published().expect("the end"));
        // Once before it counts: what is mapped first is not warm.
        segments.check();
        let cursors = sample(&stream);
        let (records, time) = segments.check();
        assert_eq!(records, RECORDS);
        self.check = each(time, RECORDS);
        self.scan = each(scan(&stream, true), RECORDS);
        self.batches = each(scan(&stream, false), RECORDS);
        self.check_at_random = each(segments.check_at_random(cursors.len() as u64), cursors.len());
        drop(segments);
        read_at_random(&stream, &cursors[..cursors.len() / 10]);
        let mut times = read_at_random(&stream, &cursors);
        self.random_mean = times.iter().map(|time| f64::from(*time)).sum::<f64>() / times.len() as f64;
        self.random = percentiles(&mut times);
    }
}

/// Fills as much of the page cache as a round writes and gives it back, so that the kernel has those pages at hand. A
/// virtual machine gets memory from its host at the first touch, which costs ten times what all else does, and may
/// have given back what it had.
fn warm(dir: &Path) {
    let path = dir.join("warm");
    let mut file = std::fs::File::create(&path).expect("make a file");
    let zeros = vec![0; 2 << 20];
    for _ in 0..(RECORDS * frame_bytes(BODY) + (256 << 20)) / zeros.len() {
        std::io::Write::write_all(&mut file, &zeros).expect("fill a file");
    }
    std::fs::remove_file(&path).expect("remove the file");
}

fn each(time: Duration, records: usize) -> f64 {
    time.as_nanos() as f64 / records as f64
}

/// What reading the clock once costs, which is part of everything timed one by one.
fn clock() -> f64 {
    const READS: usize = 1 << 20;
    let start = Instant::now();
    for _ in 0..READS {
        black_box(Instant::now());
    }
    each(start.elapsed(), READS)
}

fn open(dir: &Path) -> (Store, Stream, Duration) {
    let start = Instant::now();
    let store = Store::open(dir).expect("open");
    let stream = store.stream(STREAM).expect("open the stream");
    (store, stream, start.elapsed())
}

/// Appends everything, and reads the clock once after each.
fn time_each(bodies: &Bodies, stream: &Stream) -> Percentiles {
    let mut times = vec![u32::MAX; RECORDS];
    let mut last = Instant::now();
    for (index, time) in times.iter_mut().enumerate() {
        stream.append(&Record::new(bodies.get(index))).expect("append");
        let now = Instant::now();
        *time = (now - last).as_nanos() as u32;
        last = now;
    }
    percentiles(&mut times)
}

/// Reads the whole stream; `visit`: looks at every record, too, and not only at batches of them.
fn scan(stream: &Stream, visit: bool) -> Duration {
    let (mut records, mut bytes) = (0, 0);
    let start = Instant::now();
    let mut reader = stream.read(Start::Beginning).expect("read");
    while let Step::Records(batch) = reader.next().expect("read") {
        records += batch.len();
        if visit {
            bytes += batch.iter().map(|record| record.body().len()).sum::<usize>();
        }
    }
    let time = start.elapsed();
    assert!(records == RECORDS && (!visit || bytes == RECORDS * BODY));
    time
}

/// Cursors all over the stream, shuffled.
fn sample(stream: &Stream) -> Vec<Cursor> {
    let mut cursors = Vec::with_capacity(RECORDS / SAMPLED + 1);
    let mut reader = stream.read(Start::Beginning).expect("read");
    let mut index = 0;
    while let Step::Records(batch) = reader.next().expect("read") {
        for record in &batch {
            if index % SAMPLED == 0 && index + 1 < RECORDS {
                cursors.push(record.cursor());
            }
            index += 1;
        }
    }
    let mut random = Random(7);
    for last in (1..cursors.len()).rev() {
        cursors.swap(last, (random.next() % (last as u64 + 1)) as usize);
    }
    cursors
}

/// One record behind each cursor; the time of each.
fn read_at_random(stream: &Stream, cursors: &[Cursor]) -> Vec<u32> {
    let read = |cursor: &Cursor| {
        let start = Instant::now();
        let mut reader = stream.read(Start::Cursor(*cursor)).expect("resume");
        let step = reader.next_within(Limit::records(1)).expect("read");
        let Step::Records(batch) = step else { panic!("no record behind {cursor}") };
        let body = batch.iter().next().expect("a record").body().len();
        assert_eq!(body, BODY);
        drop((batch, reader));
        start.elapsed().as_nanos() as u32
    };
    cursors.iter().map(read).collect()
}

fn percentiles(times: &mut [u32]) -> Percentiles {
    times.sort_unstable();
    let at = |share: f64| f64::from(times[((times.len() - 1) as f64 * share) as usize]);
    Percentiles { p50: at(0.5), p99: at(0.99), p99_9: at(0.999), p99_99: at(0.9999), max: at(1.0) }
}

/// The figures with a target, then the rest, each as the median of the rounds and the span they lie in.
fn report(rounds: &[Round]) {
    let table = Table::new(rounds);
    table.line("append / limit into 1 GiB touched before", Some(AtMost(2.0)), |round| {
        round.append / round.touched
    });
    table.line("append, p99.9, us, clock included", Some(AtMost(1.0)), |round| round.timed.p99_9 / 1e3);
    table.line("scan, every record visited / limit", Some(AtMost(1.4)), |round| round.scan / round.check);
    table.line("random read by cursor, mean, us, clock included", Some(AtMost(0.6)), |round| {
        round.random_mean / 1e3
    });
    table.line("open, cleanly closed, ms", Some(AtMost(5.0)), |round| round.open / 1e6);
    println!();
    table.line("append / limit into 64 MiB reused", None, |round| round.append / round.ring);
    table.line("limit: crc + copy into 1 GiB touched before, ns", None, |round| round.touched);
    table.line("limit: crc + copy into 64 MiB reused, ns", None, |round| round.ring);
    table.line("append, ns", None, |round| round.append);
    table.line("reading the clock, ns", None, |round| round.clock);
    table.line("append, p50, ns, clock included", None, |round| round.timed.p50);
    table.line("append, p99, ns, clock included", None, |round| round.timed.p99);
    table.line("append, p99.99, us, clock included", None, |round| round.timed.p99_99 / 1e3);
    table.line("append, slowest, us", None, |round| round.timed.max / 1e3);
    table.line("close: sync what is left, ms", None, |round| round.close / 1e6);
    table.line("limit: crc record by record over the map, ns", None, |round| round.check);
    table.line("scan, every record visited, ns a record", None, |round| round.scan);
    table.line("scan, batches only, ns a record", None, |round| round.batches);
    table.line("scan, batches only / limit", None, |round| round.batches / round.check);
    table.line("limit: crc of one record at random, us", None, |round| round.check_at_random / 1e3);
    table.line("random read by cursor, p50, us, clock included", None, |round| round.random.p50 / 1e3);
    table.line("random read by cursor, p99.9, us, clock included", None, |round| round.random.p99_9 / 1e3);
    table.line("open, writer killed, ms", None, |round| round.open_killed / 1e6);
}
