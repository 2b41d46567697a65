//! Every short history, every moment of it, every way to lose power there.

use std::time::{Duration, Instant};

use tailwater::Durability;
use tailwater::vfs::sim::Crash;

use crate::world::{Moment, Op, Setup, Tally, World, try_state};

/// Up to so many dirty pages every subset of them is tried, and of more as many samples as that gives.
const PAGES: u32 = 10;

/// What histories are made of, each by its letter.
pub const OPS: [(char, fn() -> Op); 9] = [
    ('a', || Op::Append { size: 100, sparse: false, durability: Durability::Interval }),
    ('p', || Op::Append { size: 5000, sparse: false, durability: Durability::Buffered }),
    ('b', || Op::Batch { sizes: vec![50, 3000, 1500], durability: Durability::Interval }),
    ('s', || Op::Sync),
    ('d', || Op::Append { size: 200, sparse: false, durability: Durability::Sync }),
    ('t', || Op::Later(Duration::from_secs(1))),
    ('l', || Op::Append { size: 40_000, sparse: true, durability: Durability::Buffered }),
    ('r', || Op::Later(Duration::from_secs(25 * 3600))),
    ('o', || Op::Reopen),
];

const SETUP: Setup = Setup {
    segment_bytes: 64 << 10,
    durability: Durability::Interval,
    ttl_days: 1,
    max_bytes: None,
    unordered: false,
};

/// How far it came.
#[derive(Debug, Default)]
pub struct Reached {
    pub tally: Tally,
    /// Histories of up to so many calls are tried, all of them.
    pub length: u32,
    /// And so many per cent of those with one more.
    pub percent: u64,
    pub moments: u64,
}

impl std::fmt::Display for Reached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Reached { length, percent, moments, .. } = self;
        write!(f, "every history of up to {length} calls")?;
        if 0 < *percent {
            write!(f, ", {percent} % of those of {}", length + 1)?;
        }
        write!(f, ", {moments} moments")
    }
}

/// Tries histories of up to `length` calls until `end`. The seed says where the last, partial round begins.
pub fn every_history(length: u32, seed: u64, end: Instant) -> Reached {
    let mut reached = Reached::default();
    for length in 1..=length {
        let count = (OPS.len() as u64).pow(length);
        // In an order in which a part is a sample of the whole: the stride and the count have no divisor in common.
        let stride = 3_571;
        for number in 0..count {
            if end <= Instant::now() {
                reached.percent = number * 100 / count;
                return reached;
            }
            history(&letters((seed % count + number * stride) % count, length), &mut reached);
        }
        reached.length = length;
    }
    reached
}

fn letters(mut number: u64, length: u32) -> String {
    let mut letter = || {
        let digit = number % OPS.len() as u64;
        number /= OPS.len() as u64;
        OPS[digit as usize].0
    };
    (0..length).map(|_| letter()).collect()
}

/// Tries every moment of the last call of a history; those before it are other histories' last ones.
pub fn history(letters: &str, reached: &mut Reached) {
    let mut world = World::new(SETUP);
    let op = |letter| OPS.iter().find(|op| op.0 == letter).expect("a letter of the list").1();
    let ops: Vec<Op> = letters.chars().map(op).collect();
    let telling = Telling(letters);
    let (last, first) = ops.split_last().expect("at least one");
    first.iter().for_each(|op| world.apply(op, None).unwrap());
    let mut moments = Vec::new();
    world.apply(last, Some(&mut moments)).unwrap();
    for moment in &moments {
        reached.moments += 1;
        every_crash(moment, &mut reached.tally);
    }
    std::mem::forget(telling);
}

fn every_crash(moment: &Moment, tally: &mut Tally) {
    let mut check = |crash| {
        let telling = Telling(crash);
        try_state(moment, &SETUP, crash, tally);
        std::mem::forget(telling);
    };
    check(Crash::KeepAll);
    let (pages, names) = (moment.image.dirty_pages() as u32, moment.image.pending_names());
    for names in 0..=names {
        let names = (1 << names) - 1;
        if pages <= PAGES {
            (0..1 << pages).for_each(|pages| check(Crash::Subset { pages, names }));
        }
    }
    if PAGES < pages {
        (0..1 << PAGES).for_each(|seed| check(Crash::Pages { seed }));
    }
    if 0 < pages {
        for seed in 0..8 {
            check(Crash::Sectors { seed });
            check(Crash::Noise { seed });
        }
    }
}

/// Says what was being tried when a check fails; forgotten where none did.
struct Telling<T: std::fmt::Debug>(T);

impl<T: std::fmt::Debug> Drop for Telling<T> {
    fn drop(&mut self) {
        println!("this fails: {:?}", self.0);
    }
}
