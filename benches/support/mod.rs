//! What the benchmarks share: where they write, what they write, and the limits they are held against.

pub mod fixture;
pub mod limit;
