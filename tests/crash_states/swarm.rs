//! Long histories by chance, each with a style of its own, all of it drawn from one seed.
//!
//! First comes what may go wrong: pages written back at any moment, calls that fail, full disks, killed processes, power
//! losses one after the other, recoveries that die ten times. Every moment of it is crashed in several ways beside the
//! history itself. Then nothing goes wrong any more, and everything must work.

use std::io;
use std::time::{Duration, Instant};

use tailwater::vfs::sim::{Crash, Fault, Op as Call};
use tailwater::{Durability, ErrorKind};

use crate::common::Chance;
use crate::world::{Moment, Op, ROOM, Setup, Tally, World, try_state};

/// The store believes a clock that ran on by less than a month while the machine was off.
const LONGEST: Duration = Duration::from_secs(25 * 86_400);

/// Calls that change something, or that recovery makes.
const CALLS: [Call; 16] = [
    Call::Open,
    Call::Create,
    Call::Rename,
    Call::Remove,
    Call::SyncDir,
    Call::ReplaceWrite,
    Call::ReplaceSync,
    Call::ReplaceRename,
    Call::Size,
    Call::Read,
    Call::Write,
    Call::Allocate,
    Call::Punch,
    Call::Sync,
    Call::Map,
    Call::RegionSync,
];

/// How a history is.
#[derive(Debug, Clone)]
struct Style {
    setup: Setup,
    steps: u64,
    /// Chances out of a hundred, before or after a step.
    writeback: u64,
    fault: u64,
    crash: u64,
    full: u64,
    /// Bodies have up to so many bytes.
    size: u64,
    /// How many ways every moment is crashed.
    ways: u64,
}

impl Style {
    fn draw(chance: &mut Chance) -> Style {
        let mut pick = |of: &[u64]| of[chance.below(of.len() as u64) as usize];
        let setup = Setup {
            segment_bytes: pick(&[64 << 10, 64 << 10, 128 << 10]),
            durability: durability(pick(&[0, 1, 2])),
            ttl_days: pick(&[1, 2, 5]) as u16,
            max_bytes: Some(pick(&[0, 0, 0, 100 << 10, 400 << 10])).filter(|bytes| 0 < *bytes),
            unordered: pick(&[0, 1]) == 1,
        };
        Style {
            setup,
            steps: pick(&[15, 30, 60]),
            writeback: pick(&[0, 10, 50]),
            fault: pick(&[0, 0, 10, 30]),
            crash: pick(&[3, 8, 20]),
            full: pick(&[0, 0, 0, 10]),
            size: pick(&[60, 600, 3000, 12_000]),
            ways: pick(&[2, 3, 4]),
        }
    }
}

fn durability(number: u64) -> Durability {
    [Durability::Buffered, Durability::Interval, Durability::Sync][number as usize % 3]
}

/// How far it came.
#[derive(Debug, Default)]
pub struct Reached {
    pub tally: Tally,
    pub histories: u64,
    /// Crashes in the course of histories, recoveries that died among them, and calls that failed.
    pub crashes: u64,
    pub nested: u64,
    pub faults: u64,
}

impl std::fmt::Display for Reached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Reached { histories, crashes, nested, faults, .. } = self;
        write!(
            f,
            "{histories} histories, {crashes} crashes in their course, {nested} recoveries that died, "
        )?;
        write!(f, "{faults} failed calls")
    }
}

/// Tries histories until `end`, at least one: the first is that of `seed`.
pub fn by_chance(seed: u64, end: Instant) -> Reached {
    let mut reached = Reached::default();
    let mut seeds = Chance::from_seed(seed);
    let mut next = seed;
    while reached.histories == 0 || Instant::now() < end {
        history(next, &mut reached);
        reached.histories += 1;
        next = seeds.draw();
    }
    reached
}

/// Says how to have a failure again.
struct Telling {
    seed: u64,
    style: Style,
    ops: Vec<String>,
}

impl Drop for Telling {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("TAILWATER_SEED={} fails: {:?}", self.seed, self.style);
            self.ops.iter().for_each(|op| println!("    {op}"));
        }
    }
}

fn history(seed: u64, reached: &mut Reached) {
    let mut chance = Chance::from_seed(seed);
    let style = Style::draw(&mut chance);
    let mut telling = Telling { seed, style: style.clone(), ops: Vec::new() };
    let mut world = World::new(style.setup);
    let mut moments = Vec::new();
    for _ in 0..style.steps {
        if chance.below(100) < style.writeback {
            world.disk.writeback(chance.draw());
        }
        if chance.below(100) < style.full {
            world.disk.set_capacity(world.disk.used() + (chance.below(3) << 15));
        }
        if chance.below(100) < style.fault {
            let op = CALLS[chance.below(CALLS.len() as u64) as usize];
            let error = [io::ErrorKind::Other, io::ErrorKind::StorageFull][chance.below(2) as usize];
            let fault = Fault { op, nth: 1 + chance.below(4), error, sticky: chance.below(2) == 0 };
            telling.ops.push(format!("{fault:?}"));
            world.disk.fail(fault);
        }
        let op = draw_op(&world, &style, &mut chance);
        telling.ops.push(format!("{op:?}"));
        let done = world.apply(&op, Some(&mut moments));
        world.disk.clear_faults();
        try_moments(&mut moments, &style, &mut chance, reached, &mut telling);
        let broken = match done {
            Ok(()) => false,
            Err(err) => {
                telling.ops.push(format!("{err}"));
                reached.faults += 1;
                assert!(
                    matches!(err.kind(), ErrorKind::Io | ErrorKind::NoSpace | ErrorKind::Poisoned),
                    "a call that fails gives {err:?}"
                );
                let is_append = matches!(op, Op::Append { .. } | Op::Batch { .. });
                let whole = is_append && *err.kind() == ErrorKind::NoSpace && world.is_unmoved();
                if whole {
                    world.log.in_flight.clear();
                }
                !whole
            }
        };
        if broken || chance.below(100) < style.crash {
            let times = if chance.below(4) == 0 { 3 } else { 1 };
            for time in 0..times {
                if 0 < time {
                    let op = Op::Append { size: 50, sparse: false, durability: Durability::Buffered };
                    world.apply(&op, None).expect("it takes appends after a crash");
                }
                crash(&mut world, &style, &mut chance, reached, &mut telling);
            }
        }
    }
    world.disk.set_capacity(ROOM);
    telling.ops.push("finish".into());
    world.finish();
}

fn draw_op(world: &World, style: &Style, chance: &mut Chance) -> Op {
    let durability = match chance.below(4) {
        0 => durability(chance.below(3)),
        _ => style.setup.durability,
    };
    let size = |chance: &mut Chance| chance.below(style.size + 1) as usize;
    match chance.below(20) {
        0..10 => Op::Append { size: size(chance), sparse: false, durability },
        10 => Op::Append { size: 10_000 + 10 * size(chance), sparse: true, durability },
        11..13 => {
            let records = 1 + chance.below(8);
            Op::Batch { sizes: (0..records).map(|_| size(chance) / 2).collect(), durability }
        }
        13..15 => Op::Sync,
        15 => Op::Tick,
        16..18 => {
            let seconds = [1, 5, 3000, 30 * 3600][chance.below(4) as usize];
            let time = Duration::from_secs(1 + chance.below(seconds));
            if world.age() + time < LONGEST { Op::Later(time) } else { Op::Tick }
        }
        _ => Op::Reopen,
    }
}

fn draw_crash(chance: &mut Chance) -> Crash {
    let seed = chance.draw();
    match chance.below(10) {
        0..2 => Crash::KeepAll,
        2 => Crash::DropUnsynced,
        3..6 => Crash::Pages { seed },
        6..8 => Crash::Sectors { seed },
        _ => Crash::Noise { seed },
    }
}

/// Crashes each of the moments in several ways.
fn try_moments(
    moments: &mut Vec<Moment>,
    style: &Style,
    chance: &mut Chance,
    reached: &mut Reached,
    telling: &mut Telling,
) {
    for moment in moments.drain(..) {
        for _ in 0..style.ways {
            let crash = draw_crash(chance);
            telling.ops.push(format!("  crash before {:?}: {crash:?}", moment.image.before()));
            try_state(&moment, &style.setup, crash, &mut reached.tally);
            telling.ops.pop();
        }
    }
}

/// Crashes the history itself, and its recovery up to ten times.
fn crash(
    world: &mut World,
    style: &Style,
    chance: &mut Chance,
    reached: &mut Reached,
    telling: &mut Telling,
) {
    let mut deaths = if chance.below(3) == 0 { chance.below(11) } else { 0 };
    loop {
        let crash = draw_crash(chance);
        telling.ops.push(format!("{crash:?}, then {deaths}"));
        world.crash(crash);
        world.disk.set_capacity(ROOM);
        reached.crashes += 1;
        if 0 < deaths {
            world.disk.crash_at(1 + chance.below(80));
        }
        world.disk.record();
        let log = world.log_now();
        let opened = world.open_again(crash);
        let mut moments = world.moments_since(log);
        try_moments(&mut moments, style, chance, reached, telling);
        if opened {
            return;
        }
        reached.nested += 1;
        deaths -= 1;
    }
}
