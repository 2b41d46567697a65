//! Bytes on disk and in cursors: pure functions over slices, no files, no clock. `docs/format.md` has the tables.

pub(crate) mod checkpoint;
pub(crate) mod cursor;
#[cfg(test)]
mod damage;
pub(crate) mod envelope;
pub(crate) mod frame;
pub(crate) mod header;
pub(crate) mod index;
pub(crate) mod session_cursor;
pub(crate) mod span;
#[cfg(test)]
mod tests;

/// Offsets lie below this, so that adding to one that was read, also from a cursor that somebody forged, never overflows.
pub(crate) const OFFSETS: u64 = 1 << 62;

/// A stretch of a stream's life between unclean opens.
///
/// The number only rises; the id, drawn at random, tells two epochs of one number apart, as when a copy
/// of the store was recovered elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct Epoch {
    pub(crate) number: u64,
    pub(crate) id: u64,
}
