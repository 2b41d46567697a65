//! What frames and the memory they lie in agree on: where spans begin, and what their commit words say.

/// Bytes before the first span: the segment's header and slots.
pub(crate) const FLOOR: usize = 4096;

/// Set in a commit word while its span is claimed but not committed.
pub(crate) const CLAIMED: u32 = 1 << 31;

/// The bits of a commit word that hold the length of its span.
pub(crate) const LENGTH: u32 = (1 << 24) - 1;

/// Bytes a span of `length` bytes takes: the next span begins at a multiple of 8.
pub(crate) const fn padded(length: usize) -> usize {
    (length + 7) & !7
}
