//! What a crash lets through, drawn from its seed.

use super::Crash;
use super::node::Bytes;

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

/// What a power loss lets through, decided piece by piece.
pub(super) struct Choice {
    crash: Crash,
    rng: Rng,
    /// How many pages were decided.
    pages: u32,
}

impl Choice {
    pub(super) fn new(crash: Crash) -> Choice {
        let seed = match crash {
            Crash::Pages { seed }
            | Crash::Sectors { seed }
            | Crash::Garbage { seed }
            | Crash::Noise { seed } => seed,
            Crash::KeepAll | Crash::DropUnsynced | Crash::Subset { .. } => 0,
        };
        Choice { crash, rng: Rng(seed), pages: 0 }
    }

    /// Turns `disk`, the old bytes of a page, into what is left; `live` are the new ones. Says whether it changed.
    pub(super) fn page(&mut self, live: &Bytes, disk: &mut Bytes) -> bool {
        let index = self.pages;
        self.pages += 1;
        let whole = match self.crash {
            Crash::KeepAll | Crash::DropUnsynced => false,
            Crash::Subset { pages, .. } => bit(pages, index),
            Crash::Pages { .. } => self.rng.coin(),
            Crash::Sectors { .. } | Crash::Garbage { .. } | Crash::Noise { .. } => {
                let outcomes = if matches!(self.crash, Crash::Sectors { .. }) { 2 } else { 3 };
                let mut changed = false;
                for (old, new) in disk.chunks_mut(SECTOR).zip(live.chunks(SECTOR)) {
                    if old == new {
                        continue;
                    }
                    match self.rng.below(outcomes) {
                        0 => continue,
                        1 => old.copy_from_slice(new),
                        _ => {
                            let keeps = matches!(self.crash, Crash::Noise { .. });
                            for (old, new) in old.chunks_mut(8).zip(new.chunks(8)) {
                                if !keeps || old != new {
                                    old.copy_from_slice(&self.rng.next().to_le_bytes());
                                }
                            }
                        }
                    }
                    changed = true;
                }
                return changed;
            }
        };
        if whole {
            *disk = *live;
        }
        whole
    }

    /// The size that is left of a file; `grew` says whether a page beyond the old one is.
    pub(super) fn size(&mut self, old: usize, new: usize, grew: bool) -> usize {
        let take = match self.crash {
            Crash::KeepAll | Crash::DropUnsynced => false,
            Crash::Subset { .. } => grew,
            Crash::Pages { .. } | Crash::Sectors { .. } | Crash::Garbage { .. } | Crash::Noise { .. } => {
                old != new && self.rng.coin()
            }
        };
        if take { new } else { old }
    }

    /// Which of `count` pending names are left.
    pub(super) fn names(&mut self, count: usize, unordered: bool) -> Vec<bool> {
        match self.crash {
            Crash::KeepAll | Crash::DropUnsynced => vec![false; count],
            Crash::Subset { names, .. } => (0..count).map(|index| bit(names, index as u32)).collect(),
            Crash::Pages { .. } | Crash::Sectors { .. } | Crash::Garbage { .. } | Crash::Noise { .. } => {
                self.rng.names(count, unordered)
            }
        }
    }
}

pub(super) fn bit(bits: u64, index: u32) -> bool {
    bits.checked_shr(index).unwrap_or(0) & 1 == 1
}

/// Splitmix64.
pub(super) struct Rng(pub(super) u64);

impl Rng {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(super) fn coin(&mut self) -> bool {
        self.next() >> 63 == 1
    }

    /// The first few of `count`, or any.
    pub(super) fn names(&mut self, count: usize, unordered: bool) -> Vec<bool> {
        let first = self.below(count as u64 + 1) as usize;
        (0..count).map(|index| if unordered { self.coin() } else { index < first }).collect()
    }
}
