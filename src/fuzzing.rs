//! What is fuzzed: one function a target, over bytes from anywhere. Not part of the public API.
//!
//! A target panics when a promise of the format is broken: nothing read from disk may panic, be sliced beyond
//! its end, loop, or be taken for what nobody wrote. Those with a flag to *mend* their input make its
//! checksums right after it was altered, so that what lies behind them is reached too. `fuzz/run` runs the targets under
//! libFuzzer, `tests/corpus.rs` replays their corpora.
//!
//! | family    | targets                                                     | file       |
//! |-----------|-------------------------------------------------------------|------------|
//! | parsers   | `frame_parse`                                               | `frames`   |
//! |           | `cursor_decode`, `metadata_decode`                          | `values`   |
//! |           | `name_codec`                                                | `names`    |
//! |           | `filter_parse`                                              | `filters`  |
//! | whole     | `frame_raw`, `frame_fix`: a log                             | `frames`   |
//! |           | `index_decode`: a footer                                    | `values`   |
//! |           | `segment_recover`, `recover_diff`: segments not closed      | `recovery` |
//! |           | `store_ops`: a store on a disk that loses power             | `stores`   |
//! |           | `diff_reader`: one log, read in three ways                  | `readers`  |
//! |           | `filter`: an expression against its meaning by the letter   | `filters`  |

pub mod filter;
mod filters;
mod frames;
mod log;
mod mend;
mod names;
mod readers;
mod recovery;
mod reference;
mod stores;
mod values;

pub use filters::{filter as filter_eval, filter_parse};
pub use frames::{frame_fix, frame_parse, frame_raw};
pub use names::name_codec;
pub use readers::diff_reader;
pub use recovery::{recover_diff, segment_recover};
pub use stores::store_ops;
pub use values::{cursor_decode, index_decode, metadata_decode};

/// Takes an input, and panics where a promise is broken.
pub type Target = fn(&[u8]);

/// Every target and its name, which is also that of its file in `fuzz/fuzz_targets` and its folder in `fuzz/corpus`.
pub const TARGETS: [(&str, Target); 13] = [
    ("frame_parse", frame_parse),
    ("frame_raw", frame_raw),
    ("frame_fix", frame_fix),
    ("segment_recover", segment_recover),
    ("recover_diff", recover_diff),
    ("store_ops", store_ops),
    ("diff_reader", diff_reader),
    ("cursor_decode", cursor_decode),
    ("metadata_decode", metadata_decode),
    ("index_decode", index_decode),
    ("name_codec", name_codec),
    ("filter_parse", filter_parse),
    ("filter", filter_eval),
];

/// Longer inputs find nothing that shorter ones do not.
const MAX_INPUT: usize = 64 << 10;

/// The first byte of an input whose checksums are made right before it is read.
pub const MEND: u8 = 1;
/// The first byte of an input about recovery whose writer died in the boot that recovers it; may be added to [`MEND`].
pub const SAME_BOOT: u8 = 2;

/// Bytes taken from the front; zero where they end.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> u8 {
        self.0.split_off_first().copied().unwrap_or(0)
    }

    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        self.0.split_off(..bytes)
    }

    /// Below 512.
    fn short(&mut self) -> usize {
        let high = self.byte();
        usize::from(self.byte()) | usize::from(high & 1) << 8
    }

    /// Printable text of up to 15 bytes, not empty.
    fn text(&mut self) -> String {
        (0..=self.byte() % 15).map(|_| char::from(b' ' + self.byte() % 94)).collect()
    }
}
