//! From just before an append until a reader in another thread has the record, beside what the bare primitive takes.

use std::hint;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use tailwater::{Limit, Record, Start, Step};

use crate::cell::{Cell, Figure, LIMIT};
use crate::peer::{Mode, Peer};
use crate::peers::Tailwater;
use crate::stats::percentiles;

const TIMES: u64 = 5000;
/// How long who tells waits for a reader to fall asleep.
const ASLEEP: Duration = Duration::from_micros(150);

pub fn run(cell: &Cell) -> Vec<Figure> {
    let parked = cell.case == "parked";
    let pause = if parked { ASLEEP } else { Duration::ZERO };
    let peer = Tailwater::create(cell.dir, Mode::Fast);
    let engine = {
        let mut tail = peer.stream.tail(Start::Now).expect("tail");
        let read = move |_| loop {
            let limit = Limit::records(1);
            let step =
                if parked { tail.next_within(Duration::from_secs(60), limit) } else { tail.try_next(limit) };
            match step.expect("read") {
                Step::Records(batch) => return assert_eq!(batch.len(), 1),
                Step::End => hint::spin_loop(),
                step => panic!("{step:?}"),
            }
        };
        measure(pause, read, |_, _| _ = peer.stream.append(&Record::new("now")).expect("append"))
    };
    peer.close();
    let told = AtomicU64::new(0);
    let read = |number| {
        while told.load(Ordering::Acquire) < number {
            if parked { thread::park() } else { hint::spin_loop() }
        }
    };
    let primitive = measure(pause, read, |number, reader| {
        told.store(number, Ordering::Release);
        if parked {
            reader.unpark();
        }
    });
    let figure = |peer: &str, mut times: Vec<u32>| {
        let more = percentiles(&mut times);
        Figure { more: more.clone(), ..Figure::new(peer, "ns", more["p50"]) }
    };
    vec![figure(cell.peer, engine), figure(LIMIT, primitive)]
}

/// How long each took from before `tell` until `read` returned in the other thread, which then looks at the clock.
fn measure(
    pause: Duration,
    mut read: impl FnMut(u64) + Send,
    mut tell: impl FnMut(u64, &Thread),
) -> Vec<u32> {
    let (base, began) = (Instant::now(), AtomicBool::new(false));
    let (seen, at) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            began.store(true, Ordering::Release);
            for number in 1..=TIMES {
                read(number);
                at.store(base.elapsed().as_nanos() as u64, Ordering::Relaxed);
                seen.store(number, Ordering::Release);
            }
        });
        while !began.load(Ordering::Acquire) {
            hint::spin_loop();
        }
        let once = |number| {
            let rested = Instant::now();
            while rested.elapsed() < pause {
                hint::spin_loop();
            }
            let start = base.elapsed().as_nanos() as u64;
            tell(number, reader.thread());
            while seen.load(Ordering::Acquire) < number {
                hint::spin_loop();
            }
            (at.load(Ordering::Relaxed) - start) as u32
        };
        (1..=TIMES).map(once).collect()
    })
}
