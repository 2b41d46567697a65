//! What the benchmarks share: where they write, what they write, the limits they are held against, and how figures are shown.

pub mod bodies;
pub mod fixture;
pub mod limit;
#[allow(dead_code, reason = "the engine benchmark shows its figures through criterion")]
pub mod table;
