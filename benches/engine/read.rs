//! Reading: all of it, at random, from a time, and as it comes.

use std::hint::black_box;
use std::sync::mpsc;
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use tailwater::{Cursor, Limit, Record, Start, Step, Stream, Timestamp};

use crate::ratio;
use crate::support::bodies::{Bodies, Random};
use crate::support::fixture;
use crate::support::limit::Segments;

const BODY: usize = 256;
/// 256 MiB of bodies.
const RECORDS: usize = 1 << 20;

pub fn log(criterion: &mut Criterion) {
    let dir = fixture::directory();
    let (store, stream) = fixture::create(dir.path());
    fixture::append(&stream, &Bodies::new(BODY), RECORDS);
    store.sync().expect("sync");
    let segments = Segments::map(dir.path(), stream.published().expect("the end"));
    let (cursors, times) = places(&stream);

    let mut group = criterion.benchmark_group("read 256 B");
    group.throughput(Throughput::Elements(RECORDS as u64));
    ratio::bench(
        &mut group,
        "verified scan of 1,048,576",
        |times| (0..times).map(|_| segments.check().1).sum(),
        |times| timed(times, |_| assert_eq!(scan(&stream), RECORDS * BODY)),
    );
    group.throughput(Throughput::Elements(1));
    let mut random = Random(3);
    let mut pick = move || random.next() as usize;
    ratio::bench(
        &mut group,
        "one, by random cursor",
        |times| segments.check_at_random(times),
        |times| timed(times, |_| one(&stream, Start::Cursor(cursors[pick() % cursors.len()]))),
    );
    let mut random = Random(5);
    let mut pick = move || random.next() as usize;
    ratio::bench(
        &mut group,
        "one, by random time",
        |times| segments.check_at_random(times),
        |count| timed(count, |_| one(&stream, Start::Time(times[pick() % times.len()]))),
    );
}

fn timed(times: u64, mut once: impl FnMut(u64)) -> Duration {
    let start = Instant::now();
    (0..times).for_each(&mut once);
    start.elapsed()
}

/// Bytes of all bodies.
fn scan(stream: &Stream) -> usize {
    let mut bytes = 0;
    let mut reader = stream.read(Start::Beginning).expect("read");
    while let Step::Records(batch) = reader.next().expect("read") {
        bytes += batch.iter().map(|record| record.body().len()).sum::<usize>();
    }
    bytes
}

fn one(stream: &Stream, start: Start) {
    let mut reader = stream.read(start).expect("resume");
    let step = reader.next_within(Limit::records(1)).expect("read");
    assert!(matches!(black_box(step), Step::Records(batch) if batch.len() == 1));
}

/// Cursors and ingest times all over the stream.
fn places(stream: &Stream) -> (Vec<Cursor>, Vec<Timestamp>) {
    let mut reader = stream.read(Start::Beginning).expect("read");
    let mut places = Vec::new();
    while let Step::Records(batch) = reader.next_within(Limit::records(101)).expect("read") {
        let first = batch.iter().next().expect("a record");
        places.push((first.cursor(), first.ingest_time()));
    }
    places.into_iter().unzip()
}

/// From before the append to when the tail has the record; it sleeps in between, as it would.
pub fn wake_up(criterion: &mut Criterion) {
    let dir = fixture::directory();
    let (_store, stream) = fixture::create(dir.path());
    let mut tail = stream.tail(Start::Now).expect("tail");
    let mut group = criterion.benchmark_group("tail");
    ratio::bench(&mut group, "wake-up", ping, |times| {
        let (seen, sees) = mpsc::channel();
        thread::scope(|scope| {
            let tail = &mut tail;
            scope.spawn(move || {
                for _ in 0..times {
                    let step = tail.next(Duration::from_secs(60)).expect("tail");
                    let now = Instant::now();
                    assert!(matches!(step, Step::Records(batch) if batch.len() == 1));
                    seen.send(now).expect("tell");
                }
            });
            let mut time = Duration::ZERO;
            for _ in 0..times {
                let start = Instant::now();
                stream.append(&Record::new("wake up")).expect("append");
                time += sees.recv().expect("hear") - start;
            }
            time
        })
    });
}

/// The same with a condition variable and nothing else.
fn ping(times: u64) -> Duration {
    let (count, changed) = (Mutex::new(0), Condvar::new());
    let (seen, sees) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(|| {
            for wanted in 1..=times {
                let reached = changed.wait_while(count.lock().unwrap(), |count| *count < wanted).unwrap();
                let now = Instant::now();
                drop(reached);
                seen.send(now).expect("tell");
            }
        });
        let mut time = Duration::ZERO;
        for _ in 0..times {
            let start = Instant::now();
            *count.lock().unwrap() += 1;
            changed.notify_all();
            time += sees.recv().expect("hear") - start;
        }
        time
    })
}
