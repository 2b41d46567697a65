//! Durable appends by some threads at once: how many a second are acknowledged.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::cell::{Cell, Figure, LIMIT};
use crate::peer::{Mode, Peer};
use crate::support::bodies::Bodies;
use crate::support::limit::Syncs;

const UNIT: &str = "acks/s";
const TIME: Duration = Duration::from_millis(700);

pub fn run<P: Peer>(cell: &Cell) -> Vec<Figure> {
    let threads: usize = cell.case.parse().expect("a number of threads");
    let (bodies, ended) = (Bodies::new(256), AtomicBool::new(false));
    let peer = P::create(cell.dir, Mode::Durable);
    // Files are made at the first append, which is not what is asked.
    peer.append_durable(bodies.get(0));
    let start = Instant::now();
    let work = |thread: usize| {
        let mut count = 0;
        while !ended.load(Ordering::Relaxed) {
            peer.append_durable(bodies.get(thread * 7919 + count));
            count += 1;
        }
        count
    };
    let (count, time) = thread::scope(|scope| {
        let others: Vec<_> = (0..threads).map(|thread| scope.spawn(move || work(thread))).collect();
        thread::sleep(TIME);
        ended.store(true, Ordering::Relaxed);
        let count: usize = others.into_iter().map(|thread| thread.join().expect("no panic")).sum();
        (count, start.elapsed())
    });
    peer.close();
    vec![Figure::new(cell.peer, UNIT, count as f64 / time.as_secs_f64())]
}

/// One store and one sync after the other, in a mapped file with its blocks reserved. More threads have no limit so plain:
/// what they may share depends on when they come.
pub fn limit(cell: &Cell) -> Vec<Figure> {
    if cell.case != "1" {
        return Vec::new();
    }
    let syncs = Syncs::new(cell.dir);
    let (mut count, mut time) = (0, Duration::ZERO);
    while time < TIME {
        time += syncs.run(100);
        count += 100;
    }
    vec![Figure::new(LIMIT, UNIT, f64::from(count) / time.as_secs_f64())]
}
