//! Appending: one record, a hundred together, and waiting until they are durable.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use tailwater::{Durability, Record, Store, Stream, StreamUpdate};

use crate::ratio;
use crate::support::fixture::{self, Bodies, STREAM};
use crate::support::limit::{Arena, Syncs, frame_bytes};

const SIZES: [(usize, &str); 4] = [(64, "64 B"), (256, "256 B"), (1 << 10, "1 KiB"), (16 << 10, "16 KiB")];
/// Bytes appended at a stretch, and touched for the limit.
const STRETCH: usize = 64 << 20;
const BATCH: usize = 100;

/// A stream that keeps little, so that a benchmark of any length fits on the disk.
fn short_stream(dir: &Path) -> (Store, Stream) {
    let (store, stream) = fixture::create(dir);
    let update = StreamUpdate { max_bytes: Some(Some(4 * STRETCH as u64)), ..StreamUpdate::default() };
    store.update_stream(STREAM, update).expect("limit the stream");
    (store, stream)
}

/// Does `records` appends, stretch by stretch; what is left to sync or to remove after each is not counted.
fn stretches(store: &Store, bytes: usize, records: usize, mut append: impl FnMut(usize)) -> Duration {
    let (mut time, mut left) = (Duration::ZERO, records);
    while 0 < left {
        let count = left.min(STRETCH.div_ceil(frame_bytes(bytes)));
        let start = Instant::now();
        append(count);
        time += start.elapsed();
        store.tick().expect("tick");
        left -= count;
    }
    time
}

pub fn single(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append one");
    for (bytes, name) in SIZES {
        let (dir, bodies) = (fixture::directory(), Bodies::new(bytes));
        let (store, stream) = short_stream(dir.path());
        let mut arena = Arena::touched(STRETCH);
        group.throughput(Throughput::Bytes(bytes as u64));
        ratio::bench(
            &mut group,
            name,
            |times| arena.write(&bodies, times as usize),
            |times| {
                stretches(&store, bytes, times as usize, |count| fixture::append(&stream, &bodies, count))
            },
        );
    }
}

pub fn batch(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append a batch of 100");
    for (bytes, name) in SIZES {
        let (dir, bodies) = (fixture::directory(), Bodies::new(bytes));
        let (store, stream) = short_stream(dir.path());
        let records: Vec<_> = (0..BATCH).map(|index| Record::new(bodies.get(index))).collect();
        let mut arena = Arena::touched(STRETCH);
        group.throughput(Throughput::Bytes((BATCH * bytes) as u64));
        ratio::bench(
            &mut group,
            name,
            |times| arena.write(&bodies, times as usize * BATCH),
            |times| {
                stretches(&store, BATCH * bytes, times as usize, |count| {
                    for _ in 0..count {
                        stream.append_batch(&records).expect("append");
                    }
                })
            },
        );
    }
}

pub fn durable(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("durable append");
    let bodies = Bodies::new(256);
    for (threads, name) in [(1, "1 thread"), (8, "8 threads")] {
        let dir = fixture::directory();
        let (_store, stream) = short_stream(dir.path());
        let syncs = Syncs::new(dir.path());
        ratio::bench(
            &mut group,
            name,
            |times| syncs.run(times),
            |times| {
                let start = Instant::now();
                thread::scope(|scope| {
                    for thread in 0..threads {
                        let (stream, bodies) = (&stream, &bodies);
                        let share = times / threads + u64::from(thread < times % threads);
                        scope.spawn(move || {
                            for index in 0..share as usize {
                                let record = Record::new(bodies.get(index));
                                stream.append_with(&record, Durability::Sync).expect("append");
                            }
                        });
                    }
                });
                start.elapsed()
            },
        );
    }
}
