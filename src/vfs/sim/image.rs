//! A disk as it was at one moment, to be crashed in many ways.
//!
//! What is dirty is found out once, when the image is made. A crash of it copies the pages that it changes and shares
//! the rest, so that one run of an engine gives thousands of disks at little more than their differences.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::choice::{Choice, Rng};
use super::node::{Bytes, Disk, Node, PAGE, pages, put};
use super::state::{Change, Inode, State, Target, apply, is_root};
use super::{Crash, Op, SimDisk};
use crate::sync::Mutex;

/// A disk as it was at one moment.
pub struct Image {
    /// Every file a process saw or a crash may leave, by its number.
    pub(super) files: BTreeMap<u64, Frozen>,
    pub(super) live: BTreeMap<PathBuf, Target>,
    pub(super) durable: BTreeMap<PathBuf, Target>,
    pub(super) pending: Vec<Change>,
    pub(super) serial: u64,
    pub(super) random: Rng,
    pub(super) capacity: usize,
    pub(super) unordered: bool,
    /// The call that was about to be made.
    pub(super) before: Option<Op>,
}

/// A file as it was at one moment.
#[derive(Clone)]
pub(super) struct Frozen {
    pub(super) size: usize,
    pub(super) disk_size: usize,
    pub(super) disk: Disk,
    /// Pages the disk held other bytes of, with those that processes saw.
    pub(super) dirty: Vec<(usize, Box<Bytes>)>,
    pub(super) lost: BTreeMap<usize, Box<Bytes>>,
    pub(super) blocks: Vec<bool>,
}

impl Image {
    /// Another disk, as this one is after `crash`. It has no faults and has counted nothing.
    pub fn crashed(&self, crash: Crash) -> SimDisk {
        let mut state = self.crashed_state(crash);
        // What becomes of the two is not the same, and has not the same names.
        state.random = Rng(!state.random.0);
        SimDisk::over(state)
    }

    /// How many pages were dirty.
    pub fn dirty_pages(&self) -> usize {
        self.files.values().map(|file| file.dirty.len()).sum()
    }

    /// How many names were pending.
    pub fn pending_names(&self) -> usize {
        self.pending.len()
    }

    /// The call that was about to be made, of an image that was recorded.
    pub fn before(&self) -> Option<Op> {
        self.before
    }

    /// Whether a crash of both leaves the same.
    pub(super) fn is_same(&self, other: &Image) -> bool {
        // Every change of a name while the engine runs is appended here, and taken from here when it becomes durable.
        self.pending.len() == other.pending.len()
            && self.serial == other.serial
            && self.durable.len() == other.durable.len()
            && self.files.keys().eq(other.files.keys())
            && self.files.values().zip(other.files.values()).all(|(this, other)| this.is_same(other))
    }

    pub(super) fn crashed_state(&self, crash: Crash) -> State {
        let mut choice = Choice::new(crash);
        let mut survivors = BTreeMap::new();
        for (id, file) in &self.files {
            let node = if crash == Crash::KeepAll { file.killed() } else { file.crashed(&mut choice) };
            survivors.insert(*id, Arc::new(Inode { id: *id, node: Mutex::new(node) }));
        }
        let survivor = |target: &Target| match target {
            Target::Directory => Target::Directory,
            Target::File(inode) => Target::File(Arc::clone(&survivors[&inode.id])),
        };
        let survive = |names: &BTreeMap<PathBuf, Target>| -> BTreeMap<PathBuf, Target> {
            names.iter().map(|(path, target)| (path.clone(), survivor(target))).collect()
        };
        let pending = self.pending.iter().map(|change| match change {
            Change::Link(path, target) => Change::Link(path.clone(), survivor(target)),
            Change::Unlink(path) => Change::Unlink(path.clone()),
            Change::RemoveDir(path) => Change::RemoveDir(path.clone()),
            Change::Rename(from, to, inode) => {
                Change::Rename(from.clone(), to.clone(), Arc::clone(&survivors[&inode.id]))
            }
        });
        let mut next = State {
            durable: survive(&self.durable),
            serial: self.serial,
            random: Rng(self.random.0),
            capacity: self.capacity,
            unordered: self.unordered,
            ..State::default()
        };
        let live = if crash == Crash::KeepAll {
            next.pending = pending.collect();
            survive(&self.live)
        } else {
            let kept = choice.names(self.pending.len(), self.unordered);
            for (change, _) in pending.zip(kept).filter(|(_, kept)| *kept) {
                apply(&mut next.durable, change);
            }
            // What lies in a directory that was lost is lost as well. Parents sort before their children.
            let mut found: BTreeMap<PathBuf, Target> = BTreeMap::new();
            for (path, target) in std::mem::take(&mut next.durable) {
                let dir = path.parent().expect("no name is the root's");
                if is_root(dir) || matches!(found.get(dir), Some(Target::Directory)) {
                    found.insert(path, target);
                }
            }
            next.durable = found.clone();
            found
        };
        for (path, target) in live {
            next.link(path, target);
        }
        next
    }
}

impl Frozen {
    fn is_same(&self, other: &Frozen) -> bool {
        (self.size, self.disk_size) == (other.size, other.disk_size)
            && Arc::ptr_eq(&self.disk, &other.disk)
            && self.lost.len() == other.lost.len()
            && self.dirty == other.dirty
    }

    /// The file after a power loss, for which `choice` says what got through.
    fn crashed(&self, choice: &mut Choice) -> Node {
        let mut disk = self.disk.clone();
        let mut grew = false;
        for (index, live) in &self.dirty {
            let mut page = disk.get(*index).cloned().flatten().map_or([0; PAGE], |page| *page);
            if choice.page(live, &mut page) {
                put(&mut disk, *index, &page);
                grew |= pages(self.disk_size) <= *index;
            }
        }
        let size = choice.size(self.disk_size, self.size, grew);
        if pages(size) < disk.len() {
            Arc::make_mut(&mut disk).truncate(pages(size));
        }
        if !size.is_multiple_of(PAGE)
            && pages(size) == disk.len()
            && let Some(Some(last)) = Arc::make_mut(&mut disk).last_mut()
        {
            Arc::make_mut(last)[size % PAGE..].fill(0);
        }
        let mut blocks = self.blocks.clone();
        blocks.resize(pages(size), false);
        for (index, page) in disk.iter().enumerate() {
            blocks[index] |= page.is_some();
        }
        let left = Frozen { size, disk_size: size, disk, dirty: Vec::new(), lost: BTreeMap::new(), blocks };
        Node::thaw(left, None)
    }

    /// The file after every process has ended: as it was, mapped by none.
    fn killed(&self) -> Node {
        let is_clean = self.dirty.is_empty() && self.lost.is_empty();
        let live = (!is_clean).then(|| {
            let mut bytes = vec![0; pages(self.size) * PAGE];
            for (index, page) in self.disk.iter().enumerate().take(pages(self.size)) {
                if let Some(page) = page {
                    bytes[index * PAGE..][..PAGE].copy_from_slice(&**page);
                }
            }
            for (index, page) in &self.dirty {
                bytes[index * PAGE..][..PAGE].copy_from_slice(&**page);
            }
            bytes.truncate(self.size);
            bytes
        });
        Node::thaw(self.clone(), live)
    }
}
