//! Simulated crashes by the million: images of one run, taken at every call to the disk, are crashed in every way there
//! is; what is left is opened and held against a vector of what was appended.

#![cfg(feature = "sim")]

#[path = "../common/mod.rs"]
mod common;
mod exhaustive;
mod log;
mod swarm;
mod world;

use std::time::{Duration, Instant};

/// The time for a slice of it, among the ordinary tests.
const SLICE: Duration = Duration::from_secs(6);

/// Has the allocator keep what is freed: a machine a state, a hundred times a megabyte, comes and goes, and giving the
/// memory back each time costs as much as the work. Freeing something large once raises glibc's limit for that.
fn keep_memory() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(16 << 20)));
}

/// Longest histories that are tried one and all, and where time is short.
const LENGTHS: [u32; 2] = [2, 4];

/// Without `TAILWATER_SECONDS` a slice; with it the long form, which divides them between both kinds of history.
#[test]
fn no_crash_loses_what_was_acknowledged_or_finds_damage_where_there_is_none() {
    keep_memory();
    let seed = common::seed();
    let [few, many] = LENGTHS;
    let begin = Instant::now();
    let (length, time) = common::long().map_or((few, SLICE), |time| (many, time));
    let every = exhaustive::every_history(length, seed, begin + time / 2);
    let some = swarm::by_chance(seed, begin + time);
    let both = every.tally + some.tally;
    println!(
        "reached: crash states: {} exhaustive ({every}), {} swarm ({some}), {} after power loss, {} recovered \
         twice, {} appended to again, 0 acknowledged records lost, 0 false corruption, {:.0} a second, \
         TAILWATER_SEED={seed}",
        every.tally.states,
        some.tally.states,
        both.lost_power,
        both.twice,
        both.lived_on,
        both.states as f64 / begin.elapsed().as_secs_f64(),
    );
}
