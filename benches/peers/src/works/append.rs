//! Appending: one by one, in batches, and how long the slow ones of many took.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::cell::{BOX, Cell, Figure, LIMIT, each, within};
use crate::peer::{BATCH, ENGINE, Mode, Peer};
use crate::stats::percentiles;
use crate::support::bodies::Bodies;
use crate::support::limit::{Arena, frame_bytes};

const UNIT: &str = "ns/record";

/// Bytes of bodies: 1 GiB where records have the size that the others are compared at, and a quarter of it elsewhere.
pub fn records(body: usize) -> usize {
    (if body == 256 { 1 << 30 } else { 256 << 20 }) / body
}

/// How long a peer may take for all of it; the engine is asked what it sustains.
pub fn time<P: Peer>() -> Duration {
    if P::FACTS.name == ENGINE { Duration::MAX } else { BOX }
}

pub fn one_by_one<P: Peer>(cell: &Cell) -> Vec<Figure> {
    let (body, bodies) = bodies(cell);
    let mut peer = P::create(cell.dir, Mode::Fast);
    let (count, time) = within(records(body), time::<P>(), |index| peer.append(bodies.get(index)));
    peer.close();
    vec![Figure::new(cell.peer, UNIT, each(time, count)).with("records", count as f64)]
}

pub fn by_batches<P: Peer>(cell: &Cell) -> Vec<Figure> {
    let (body, bodies) = bodies(cell);
    let mut peer = P::create(cell.dir, Mode::Fast);
    let (count, time) = within(records(body) / BATCH, time::<P>(), |index| {
        let batch: [&[u8]; BATCH] = std::array::from_fn(|place| bodies.get(index * BATCH + place));
        peer.append_all(&batch);
    });
    peer.close();
    vec![Figure::new(cell.peer, UNIT, each(time, count * BATCH)).with("records", (count * BATCH) as f64)]
}

pub fn latency<P: Peer>(cell: &Cell) -> Vec<Figure> {
    let (body, bodies) = bodies(cell);
    let mut peer = P::create(cell.dir, Mode::Fast);
    let mut times = Times::new(records(body));
    within(times.left(), time::<P>(), |index| times.of(|| peer.append(bodies.get(index))));
    peer.close();
    vec![times.figure(cell.peer)]
}

/// The limit of all of them: checksum and copy into memory touched before.
pub fn limit(cell: &Cell) -> Vec<Figure> {
    let (body, bodies) = bodies(cell);
    let count = records(body);
    let mut arena = Arena::touched(count * frame_bytes(body));
    let time = arena.write(&bodies, count);
    vec![Figure::new(LIMIT, UNIT, each(time, count)).with("records", count as f64)]
}

/// The same, each of them timed, and what it costs to read the clock.
pub fn limit_of_latency(cell: &Cell) -> Vec<Figure> {
    let (body, bodies) = bodies(cell);
    let count = records(body);
    let mut arena = Arena::touched(count * frame_bytes(body));
    let mut times = Times::new(count);
    for index in 0..count {
        times.of(|| arena.write_one(bodies.get(index)));
    }
    vec![times.figure(LIMIT).with("clock", clock())]
}

/// Bytes of a body, and bodies of so many.
fn bodies(cell: &Cell) -> (usize, Bodies) {
    // Cases of `threads` are numbers of threads.
    let body = if cell.work == "threads" { 256 } else { cell.case.parse().expect("bytes of a body") };
    (body, Bodies::new(body))
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

/// The time of each of many calls, by one look at the clock after each.
pub struct Times {
    times: Vec<u32>,
    count: usize,
    last: Instant,
}

impl Times {
    /// Room for `calls` times, touched before.
    pub fn new(calls: usize) -> Times {
        Times { times: vec![u32::MAX; calls], count: 0, last: Instant::now() }
    }

    pub fn left(&self) -> usize {
        self.times.len() - self.count
    }

    /// Times a call that follows the last one at once.
    #[inline]
    pub fn of(&mut self, call: impl FnOnce()) {
        if self.count == 0 {
            self.last = Instant::now();
        }
        call();
        let now = Instant::now();
        self.times[self.count] = (now - self.last).as_nanos() as u32;
        self.last = now;
        self.count += 1;
    }

    /// What was timed, in order.
    pub fn into_vec(mut self) -> Vec<u32> {
        self.times.truncate(self.count);
        self.times
    }

    fn figure(self, peer: &str) -> Figure {
        let mut times = self.into_vec();
        let more = percentiles(&mut times);
        let mut figure = Figure::new(peer, "ns", more["p50"]).with("records", times.len() as f64);
        figure.more.extend(more);
        figure
    }
}
