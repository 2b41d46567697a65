//! One peer's share of one round: what it is asked, and what it answers.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// A peer that waits this long for nothing is slow, and gets less work instead of more time.
pub const BOX: Duration = Duration::from_millis(500);
/// Records appended between two looks at the clock, which costs as much as an append does.
const STRIDE: usize = 100;

/// What is to be done, in an empty directory of its own.
#[derive(Debug, Clone, Copy)]
pub struct Cell<'a> {
    pub work: &'a str,
    pub case: &'a str,
    pub peer: &'a str,
    pub dir: &'a Path,
}

/// One figure of a cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// Whose it is: a cell may measure the limit beside its peer, on the same files.
    pub peer: String,
    pub unit: String,
    pub value: f64,
    /// Other figures of the same measurement: percentiles, shares.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub more: BTreeMap<String, f64>,
}

impl Figure {
    pub fn new(peer: &str, unit: &str, value: f64) -> Figure {
        Figure { peer: peer.to_owned(), unit: unit.to_owned(), value, more: BTreeMap::new() }
    }

    pub fn with(mut self, name: &str, value: f64) -> Figure {
        self.more.insert(name.to_owned(), value);
        self
    }
}

/// What the limit of a work is called where a peer's name would stand.
pub const LIMIT: &str = "limit";

/// Calls `once` up to `times` times, and until `time` has passed; how often it was called, and how long that took.
#[inline]
pub fn within(times: usize, time: Duration, mut once: impl FnMut(usize)) -> (usize, Duration) {
    let start = Instant::now();
    let mut count = 0;
    loop {
        for _ in 0..STRIDE.min(times - count) {
            once(count);
            count += 1;
        }
        let passed = start.elapsed();
        if count == times || time <= passed {
            return (count, passed);
        }
    }
}

/// Nanoseconds of each.
pub fn each(time: Duration, count: usize) -> f64 {
    time.as_nanos() as f64 / count as f64
}
