//! What tests that draw by chance share: a seed that is printed and can be given, numbers from it, how long to go on, and what it
//! came to.

#![allow(dead_code)]

use std::time::{Duration, Instant};

/// How long `TAILWATER_SECONDS` says that a test is to go on, if it does.
pub fn long() -> Option<Duration> {
    let seconds = std::env::var("TAILWATER_SECONDS").ok()?;
    Some(Duration::from_secs(seconds.parse().expect("TAILWATER_SECONDS is a number")))
}

/// How often a test does what it does: `few` times, or for as long as it is told.
pub fn turns(few: u32) -> impl Iterator<Item = u32> {
    let until = long().map(|time| Instant::now() + time);
    (0..).take_while(move |turn| until.map_or(*turn < few, |until| Instant::now() < until))
}

/// Says what a long run came to, for who collects that.
pub fn reached(what: std::fmt::Arguments<'_>, seed: u64) {
    println!("reached: {what}, TAILWATER_SEED={seed}");
}

/// Numbers drawn from a seed (SplitMix64).
pub struct Chance(u64);

impl Chance {
    /// From a [`seed`] that is printed.
    pub fn new() -> Chance {
        Chance(seed())
    }

    pub fn from_seed(seed: u64) -> Chance {
        Chance(seed)
    }

    /// What it is now: before the first draw, the seed.
    pub fn seed(&self) -> u64 {
        self.0
    }

    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.draw() % end
    }
}

/// The seed that `TAILWATER_SEED` says, or a new one; printed, so that a failure can be had again.
pub fn seed() -> u64 {
    let seed = match std::env::var("TAILWATER_SEED") {
        Ok(text) => text.parse().expect("TAILWATER_SEED is a number"),
        Err(_) => {
            use std::hash::{BuildHasher, RandomState};
            RandomState::new().hash_one(0)
        }
    };
    println!("TAILWATER_SEED={seed}");
    seed
}
