//! The names on a simulated disk, what of them is durable, and who may still call.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::sync::{Condvar, Mutex, MutexGuard};

use super::choice::Rng;
use super::image::Image;
use super::node::{Node, touched};
use super::{Fault, Op};

/// Larger files are refused, so that a wild length is an error and not all of the memory.
const MAX_FILE: u64 = 1 << 36;

/// Everything behind the clones of a disk.
pub(super) struct State {
    pub(super) live: BTreeMap<PathBuf, Target>,
    pub(super) durable: BTreeMap<PathBuf, Target>,
    /// What makes `live` of `durable`, oldest first.
    pub(super) pending: Vec<Change>,
    pub(super) unordered: bool,
    /// Files that are locked.
    pub(super) locks: Vec<u64>,
    pub(super) life: u64,
    /// Numbers files, and the temporary names of `replace`.
    pub(super) serial: u64,
    /// Pages held by files that have a name.
    pub(super) used: usize,
    pub(super) capacity: usize,
    pub(super) faults: Vec<Fault>,
    pub(super) counts: [u64; Op::ALL.len()],
    pub(super) calls: u64,
    pub(super) off_at: Option<u64>,
    pub(super) off: bool,
    /// What random bits are drawn from.
    pub(super) random: Rng,
    /// Calls of these kinds wait.
    pub(super) stalled: Vec<Op>,
    /// How many calls wait.
    pub(super) waiting: usize,
    /// Told when the two above change.
    pub(super) moved: Arc<Condvar>,
    /// Images from before each call, where they are recorded.
    pub(super) images: Option<Vec<Image>>,
}

pub(super) struct Inode {
    pub(super) id: u64,
    pub(super) node: Mutex<Node>,
}

#[derive(Clone)]
pub(super) enum Target {
    Directory,
    File(Arc<Inode>),
}

/// A change of one directory, which reaches the disk whole or not at all.
#[derive(Clone)]
pub(super) enum Change {
    Link(PathBuf, Target),
    Unlink(PathBuf),
    RemoveDir(PathBuf),
    /// Belongs to the directory it leads to.
    Rename(PathBuf, PathBuf, Arc<Inode>),
}

impl Change {
    pub(super) fn path(&self) -> &Path {
        match self {
            Change::Link(path, _) | Change::Rename(_, path, _) => path,
            Change::Unlink(path) | Change::RemoveDir(path) => path,
        }
    }

    pub(super) fn concerns_two(&self) -> bool {
        match self {
            Change::Link(..) | Change::Unlink(_) => false,
            Change::RemoveDir(_) => true,
            Change::Rename(from, to, _) => from.parent() != to.parent(),
        }
    }

    pub(super) fn dir(&self) -> &Path {
        self.path().parent().expect("no name is the root's")
    }
}

impl Default for State {
    fn default() -> State {
        State {
            live: BTreeMap::new(),
            durable: BTreeMap::new(),
            pending: Vec::new(),
            unordered: false,
            locks: Vec::new(),
            life: 0,
            serial: 0,
            used: 0,
            capacity: usize::MAX,
            faults: Vec::new(),
            counts: [0; Op::ALL.len()],
            calls: 0,
            off_at: None,
            off: false,
            random: Rng(0),
            stalled: Vec::new(),
            waiting: 0,
            moved: Arc::default(),
            images: None,
        }
    }
}

impl State {
    /// Counts a call; says how it fails, if it is to.
    pub(super) fn fault(&mut self, op: Op) -> Option<io::Error> {
        let count = self.counts[op as usize];
        let fault = self.faults.iter().find(|fault| {
            fault.op == op && if fault.sticky { fault.nth <= count } else { fault.nth == count }
        })?;
        Some(io::Error::new(fault.error, format!("simulated fault: {op:?} number {count}")))
    }

    pub(super) fn directory(&self, dir: &Path) -> io::Result<()> {
        match self.live.get(dir) {
            _ if is_root(dir) => Ok(()),
            Some(Target::Directory) => Ok(()),
            Some(Target::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn file(&self, path: &Path) -> io::Result<Arc<Inode>> {
        match self.live.get(path) {
            Some(Target::File(inode)) => Ok(Arc::clone(inode)),
            Some(Target::Directory) => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Whether a new name can be made at `path`.
    pub(super) fn vacant(&self, path: &Path) -> io::Result<()> {
        self.directory(path.parent().ok_or(io::ErrorKind::AlreadyExists)?)?;
        if self.live.contains_key(path) { Err(io::ErrorKind::AlreadyExists.into()) } else { Ok(()) }
    }

    /// What `path` names, and everything below it.
    pub(super) fn below<'a>(&'a self, path: &'a Path) -> impl Iterator<Item = (&'a PathBuf, &'a Target)> {
        self.live.range(path.to_path_buf()..).take_while(move |(name, _)| name.starts_with(path))
    }

    pub(super) fn inode(&mut self, node: Node) -> Arc<Inode> {
        self.serial += 1;
        Arc::new(Inode { id: self.serial, node: Mutex::new(node) })
    }

    pub(super) fn create(&mut self, path: &Path) -> io::Result<Arc<Inode>> {
        self.vacant(path)?;
        let inode = self.inode(Node::default());
        self.change(Change::Link(path.to_path_buf(), Target::File(Arc::clone(&inode))));
        Ok(inode)
    }

    pub(super) fn rename(&mut self, from: PathBuf, to: PathBuf) -> io::Result<()> {
        let inode = self.file(&from)?;
        self.directory(to.parent().ok_or(io::ErrorKind::IsADirectory)?)?;
        match self.live.get(&to) {
            Some(Target::Directory) => Err(io::ErrorKind::IsADirectory.into()),
            // Two names of one file: POSIX leaves both.
            Some(Target::File(there)) if there.id == inode.id => Ok(()),
            _ => {
                self.change(Change::Rename(from, to, inode));
                Ok(())
            }
        }
    }

    /// Makes a change for processes, and remembers it for the disk.
    pub(super) fn change(&mut self, change: Change) {
        match &change {
            Change::Link(path, target) => self.link(path.clone(), target.clone()),
            Change::Unlink(path) | Change::RemoveDir(path) => self.unlink(path),
            Change::Rename(from, to, inode) => {
                self.link(to.clone(), Target::File(Arc::clone(inode)));
                self.unlink(from);
            }
        }
        self.pending.push(change);
    }

    pub(super) fn link(&mut self, path: PathBuf, target: Target) {
        if let Target::File(inode) = &target {
            let mut node = inode.node.lock();
            node.links += 1;
            if node.links == 1 {
                self.used += node.held();
            }
        }
        let before = self.live.insert(path, target);
        self.unlinked(before);
    }

    pub(super) fn unlink(&mut self, path: &Path) {
        let before = self.live.remove(path);
        self.unlinked(before);
    }

    pub(super) fn unlinked(&mut self, target: Option<Target>) {
        if let Some(Target::File(inode)) = target {
            let mut node = inode.node.lock();
            node.links -= 1;
            if node.links == 0 {
                self.used -= node.held();
            }
        }
    }

    pub(super) fn sync_dir(&mut self, dir: &Path) -> io::Result<()> {
        self.directory(dir)?;
        self.settle(|change| change.dir() == dir);
        Ok(())
    }

    /// Makes the chosen changes durable.
    pub(super) fn settle(&mut self, mut chosen: impl FnMut(&Change) -> bool) {
        let mut left: Vec<Change> = Vec::new();
        for change in std::mem::take(&mut self.pending) {
            if !chosen(&change) {
                left.push(change);
                continue;
            }
            // What concerns two directories cannot overtake what happened in the other one: a file would
            // have two names, or none. A journal commits in order anyway.
            if change.concerns_two() {
                left.drain(..).for_each(|older| apply(&mut self.durable, older));
            }
            apply(&mut self.durable, change);
        }
        self.pending = left;
    }

    pub(super) fn write(&mut self, inode: &Inode, bytes: &[u8], position: u64) -> io::Result<()> {
        self.reserve(inode, position..position.saturating_add(bytes.len() as u64))?;
        inode.node.lock().write(bytes, position as usize);
        Ok(())
    }

    pub(super) fn reserve(&mut self, inode: &Inode, range: Range<u64>) -> io::Result<()> {
        if MAX_FILE <= range.end {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let range = touched(range.start as usize..range.end as usize);
        let mut node = inode.node.lock();
        if 0 < node.links {
            let missing = node.missing(range.clone());
            if 0 < missing && self.capacity.saturating_sub(self.used) < missing {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.used += missing;
        }
        if !range.is_empty() {
            node.reserve(range);
        }
        Ok(())
    }

    /// Every file a process sees or a crash may leave, in the order of creation, under one of its names.
    pub(super) fn files(&self) -> Vec<(PathBuf, Arc<Inode>)> {
        let mut files = BTreeMap::new();
        let pending = self.pending.iter().filter_map(|change| match change {
            Change::Link(path, Target::File(inode)) | Change::Rename(_, path, inode) => Some((path, inode)),
            _ => None,
        });
        let named = self.durable.iter().chain(&self.live).filter_map(|(path, target)| match target {
            Target::File(inode) => Some((path, inode)),
            Target::Directory => None,
        });
        for (path, inode) in pending.chain(named) {
            files.insert(inode.id, (path.clone(), Arc::clone(inode)));
        }
        files.into_values().collect()
    }

    /// The disk as it is now.
    pub(super) fn image(&self) -> Image {
        let files = self.files().into_iter().map(|(_, file)| (file.id, file.node.lock().freeze()));
        Image {
            files: files.collect(),
            live: self.live.clone(),
            durable: self.durable.clone(),
            pending: self.pending.clone(),
            serial: self.serial,
            random: Rng(self.random.0),
            capacity: self.capacity,
            unordered: self.unordered,
            before: None,
        }
    }

    /// Keeps an image of the disk before a call, where one is to be kept and it is not the last one again.
    fn record(&mut self, op: Op) {
        let Some(mut images) = self.images.take() else { return };
        let image = Image { before: Some(op), ..self.image() };
        if images.last().is_none_or(|last| !last.is_same(&image)) {
            images.push(image);
        }
        self.images = Some(images);
    }
}

/// Makes a change on disk.
pub(super) fn apply(durable: &mut BTreeMap<PathBuf, Target>, change: Change) {
    match change {
        Change::Link(path, target) => {
            durable.insert(path, target);
        }
        Change::Unlink(path) => {
            durable.remove(&path);
        }
        Change::RemoveDir(path) => durable.retain(|name, _| !name.starts_with(&path)),
        Change::Rename(from, to, inode) => {
            if matches!(durable.get(&from), Some(Target::File(there)) if there.id == inode.id) {
                durable.remove(&from);
            }
            durable.insert(to, Target::File(inode));
        }
    }
}

/// The state, for a caller who is still alive on a machine that is on. Counts the call.
pub(super) fn alive(machine: &Mutex<State>, life: u64, op: Op) -> io::Result<MutexGuard<'_, State>> {
    let mut state = machine.lock();
    while state.stalled.contains(&op) {
        let moved = Arc::clone(&state.moved);
        state.waiting += 1;
        moved.notify_all();
        moved.wait(&mut state);
        state.waiting -= 1;
    }
    if state.life != life {
        return Err(io::Error::other("simulated crash: this handle is from before it"));
    }
    if !state.off {
        state.record(op);
    }
    state.calls += 1;
    state.counts[op as usize] += 1;
    state.off |= state.off_at.is_some_and(|off_at| off_at <= state.calls);
    if state.off { Err(io::Error::other("simulated crash: the machine is off")) } else { Ok(state) }
}

pub(super) fn enter(machine: &Mutex<State>, life: u64, op: Op) -> io::Result<MutexGuard<'_, State>> {
    let mut state = alive(machine, life, op)?;
    match state.fault(op) {
        Some(err) => Err(err),
        None => Ok(state),
    }
}

/// One way to write each path.
pub(super) fn key(path: &Path) -> PathBuf {
    path.components().collect()
}

pub(super) fn is_root(dir: &Path) -> bool {
    dir.parent().is_none()
}
