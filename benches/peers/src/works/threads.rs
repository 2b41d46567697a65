//! Threads that share one stream of the engine.

use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use tailwater::Record;

use crate::cell::{Cell, Figure, each};
use crate::peer::{Mode, Peer};
use crate::peers::Tailwater;
use crate::stats::percentiles;
use crate::support::bodies::Bodies;
use crate::works::append::Times;

const BODY: usize = 256;
const RECORDS: usize = (1 << 30) / BODY / 2;

/// Half of it timed as a whole, half of it call by call.
pub fn run(cell: &Cell) -> Vec<Figure> {
    let threads: usize = cell.case.parse().expect("a number of threads");
    let peer = Tailwater::create(cell.dir, Mode::Fast);
    let (stream, bodies) = (&peer.stream, &Bodies::new(BODY));
    let share = RECORDS / threads;
    let append = |thread: usize, index: usize| {
        stream.append(&Record::new(bodies.get(thread * share + index))).expect("append");
    };
    let together = Barrier::new(threads);
    let (append, together) = (&append, &together);
    let spans: Vec<_> = thread::scope(|scope| {
        let work = |thread: usize| {
            scope.spawn(move || {
                together.wait();
                let start = Instant::now();
                (0..share).for_each(|index| append(thread, index));
                (start, Instant::now())
            })
        };
        let threads: Vec<_> = (0..threads).map(work).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    let start = spans.iter().map(|(start, _)| *start).min().expect("a thread");
    let end = spans.iter().map(|(_, end)| *end).max().expect("a thread");
    let mut times: Vec<_> = thread::scope(|scope| {
        let work = |thread: usize| {
            scope.spawn(move || {
                let mut times = Times::new(share);
                together.wait();
                (0..share).for_each(|index| times.of(|| append(thread, index)));
                times.into_vec()
            })
        };
        let threads: Vec<_> = (0..threads).map(work).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    });
    let mut figure = Figure::new(cell.peer, "ns/record", each(end - start, share * threads));
    figure.more = percentiles(&mut times);
    peer.close();
    vec![figure]
}
