//! A simulated disk that loses power, fills up and fails on demand, and a clock turned by hand.
//!
//! The disk keeps two faces of everything. *Live* is what processes see. *Durable* is what a power loss
//! leaves: bytes get there by a sync of their file or range, names by a sync of their directory, and either
//! by [`SimDisk::writeback`], as a kernel may at any moment. [`SimDisk::crash`] makes a new live face of what
//! is durable and of as much of the rest as its [`Crash`] lets through. Everything is drawn from seeds: the
//! same calls and the same seed give the same disk.
//!
//! ```text
//!             write, store          sync            crash
//!  process --------------> live ----------> durable ------> live
//!                                writeback
//! ```
//!
//! Not simulated: space that a removed file still takes while it is open, and full disks under stores to a
//! mapped hole.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, io};

use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard};

use super::region::{HeapSync, Memory};
use super::{Access, Entry, EntryKind, File, Lock, TEMPORARY, Vfs};
use choice::Rng;
pub use clock::SimClock;
pub use image::Image;
use node::{Node, PAGE, pages, touched};
use state::{Change, Inode, State, Target, alive, enter, is_root, key};

mod choice;
mod clock;
mod image;
mod node;
mod state;
#[cfg(test)]
mod tests;

/// What a crash leaves of what was not durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// The processes die and the machine runs on: they see everything again, and what was not durable
    /// still is not.
    KeepAll,
    /// Power loss: nothing that was not durable is left.
    DropUnsynced,
    /// Power loss: every dirty page is there or not.
    Pages {
        /// Decides which.
        seed: u64,
    },
    /// Power loss: every sector of 512 bytes that differs is old or new.
    Sectors {
        /// Decides which.
        seed: u64,
    },
    /// Power loss: every sector that differs is old, new, or neither.
    Garbage {
        /// Decides which, and the garbage.
        seed: u64,
    },
    /// Power loss: every sector that differs is old, new, or holds noise in place of what was being written, word by
    /// word. What was durable in the same sector stays.
    Noise {
        /// Decides which, and the noise.
        seed: u64,
    },
    /// Power loss that keeps what is asked for, to try every case there is. A file has its new size if
    /// a page beyond the old one is kept.
    Subset {
        /// Bit `i` keeps the page `dirty_pages()[i]`; those from 64 on are dropped.
        pages: u64,
        /// Bit `i` keeps the `i`th of the [pending names](SimDisk::pending_names), in the order
        /// they were made.
        names: u64,
    },
}

/// A kind of call to the disk, to count and to let fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // Each is the trait's method of that name.
pub enum Op {
    CreateDir,
    List,
    /// An open of what exists.
    Open,
    /// An open with [`Access::CreateNew`].
    Create,
    Rename,
    Link,
    Remove,
    RemoveDir,
    SyncDir,
    /// The five steps of [`Vfs::replace`], in order.
    ReplaceCreate,
    ReplaceWrite,
    ReplaceSync,
    ReplaceRename,
    ReplaceSyncDir,
    Lock,
    Size,
    Read,
    Write,
    Allocate,
    Punch,
    Sync,
    Map,
    Allocated,
    /// A sync of a range of a mapped file.
    RegionSync,
}

impl Op {
    /// All of them.
    pub const ALL: [Op; 24] = [
        Op::CreateDir,
        Op::List,
        Op::Open,
        Op::Create,
        Op::Rename,
        Op::Link,
        Op::Remove,
        Op::RemoveDir,
        Op::SyncDir,
        Op::ReplaceCreate,
        Op::ReplaceWrite,
        Op::ReplaceSync,
        Op::ReplaceRename,
        Op::ReplaceSyncDir,
        Op::Lock,
        Op::Size,
        Op::Read,
        Op::Write,
        Op::Allocate,
        Op::Punch,
        Op::Sync,
        Op::Map,
        Op::Allocated,
        Op::RegionSync,
    ];
}

/// A call that is to fail without doing anything. A failed sync does as Linux does: it marks the dirty pages
/// clean, so that a later sync succeeds while the disk holds the old bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Which kind of call.
    pub op: Op,
    /// Which one of them, counted from now: 1 is the next.
    pub nth: u64,
    /// What it says.
    pub error: io::ErrorKind,
    /// Whether all later ones fail as well.
    pub sticky: bool,
}

/// A simulated disk, shared by its clones.
///
/// [`crash`](SimDisk::crash) kills whoever used the disk: files, regions, locks and clones from before it
/// fail
/// every call of [`Vfs`] from then on, but for the clone that was called. Clone that one for the next
/// life. What is not of
/// `Vfs` (faults, counters, tampering) works through any clone.
pub struct SimDisk {
    machine: Arc<Mutex<State>>,
    /// Which life of the machine this handle belongs to.
    life: AtomicU64,
}

/// An empty disk without limit.
impl Default for SimDisk {
    fn default() -> SimDisk {
        SimDisk::seeded(uuid::Uuid::new_v4().as_u64_pair().0)
    }
}

impl Clone for SimDisk {
    fn clone(&self) -> SimDisk {
        SimDisk { machine: Arc::clone(&self.machine), life: AtomicU64::new(self.life()) }
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.machine.lock();
        f.debug_struct("SimDisk")
            .field("names", &state.live.len())
            .field("pending", &state.pending.len())
            .field("calls", &state.calls)
            .field("life", &state.life)
            .finish()
    }
}

/// Crashes.
impl SimDisk {
    /// An empty disk without limit.
    pub fn new() -> SimDisk {
        SimDisk::default()
    }

    /// An empty disk without limit whose [random bits](Vfs::random) follow from `seed`, so that a store on it is the same
    /// to the byte each time the same is done.
    pub fn seeded(seed: u64) -> SimDisk {
        SimDisk::over(State { random: Rng(seed), ..State::default() })
    }

    /// Ends every process that uses the disk; see [`Crash`] for what is left. Counters, faults and
    /// capacity stay; the machine is on again.
    pub fn crash(&self, crash: Crash) {
        let mut state = self.machine.lock();
        let next = state.image().crashed_state(crash);
        let old = std::mem::replace(&mut *state, next);
        state.life = old.life + 1;
        state.faults = old.faults;
        state.counts = old.counts;
        state.calls = old.calls;
        self.life.store(state.life, Ordering::Relaxed);
    }

    /// Another disk, as this one would be after `crash`. This one goes on. The new one has no faults and
    /// has counted nothing.
    pub fn fork_crashed(&self, crash: Crash) -> SimDisk {
        self.image().crashed(crash)
    }

    /// The disk as it is now, to be crashed in many ways. This one goes on.
    pub fn image(&self) -> Image {
        self.machine.lock().image()
    }

    /// Keeps an image of the disk as it is before each call from now on, until [`crash`](SimDisk::crash); calls between
    /// which nothing changed share one.
    pub fn record(&self) {
        self.machine.lock().images = Some(Vec::new());
    }

    /// The images that were recorded since this was asked last. None are recorded any more.
    pub fn take_images(&self) -> Vec<Image> {
        self.machine.lock().images.take().unwrap_or_default()
    }

    /// Lets every call fail from the `nth` on, counted from now (1 is the next), until
    /// [`crash`](SimDisk::crash).
    pub fn crash_at(&self, nth: u64) {
        let mut state = self.machine.lock();
        state.off_at = Some(state.calls + nth.max(1));
    }

    /// Whether a call has failed because of [`crash_at`](SimDisk::crash_at).
    pub fn is_off(&self) -> bool {
        self.machine.lock().off
    }

    /// Makes some of what is not durable so, as a kernel does when it likes: any pages and sizes, and the
    /// oldest of the pending names.
    pub fn writeback(&self, seed: u64) {
        let mut rng = Rng(seed);
        let mut state = self.machine.lock();
        for (_, file) in state.files() {
            file.node.lock().write_back_some(|| rng.coin());
        }
        let kept = rng.names(state.pending.len(), false);
        let mut kept = kept.into_iter();
        state.settle(|_| kept.next().expect("one each"));
    }

    /// Every page that the disk holds other bytes of than processes see, file by file in the order of their
    /// creation.
    pub fn dirty_pages(&self) -> Vec<(PathBuf, usize)> {
        let files = self.machine.lock().files();
        files
            .into_iter()
            .flat_map(|(path, file)| {
                let dirty = file.node.lock().dirty();
                dirty.into_iter().map(move |(index, _)| (path.clone(), index))
            })
            .collect()
    }

    /// The directory of every name that was made, moved or removed and is not durable, oldest first.
    pub fn pending_names(&self) -> Vec<PathBuf> {
        self.machine.lock().pending.iter().map(|change| change.dir().to_path_buf()).collect()
    }

    /// Whether a crash may keep any of the pending names, and not only the oldest as a journal does.
    pub fn set_unordered(&self, unordered: bool) {
        self.machine.lock().unordered = unordered;
    }
}

/// Faults.
impl SimDisk {
    /// Adds a fault.
    pub fn fail(&self, fault: Fault) {
        let mut state = self.machine.lock();
        let nth = state.counts[fault.op as usize] + fault.nth.max(1);
        state.faults.push(Fault { nth, ..fault });
    }

    /// Lets calls of this kind wait, as a disk does that hangs, until [`go_on`](SimDisk::go_on).
    pub fn stall(&self, op: Op) {
        self.machine.lock().stalled.push(op);
    }

    /// Returns once a call waits because of [`stall`](SimDisk::stall).
    pub fn wait_for_stall(&self) {
        let mut state = self.machine.lock();
        let moved = Arc::clone(&state.moved);
        while state.waiting == 0 {
            moved.wait(&mut state);
        }
    }

    /// Lets the calls go on that wait.
    pub fn go_on(&self) {
        let mut state = self.machine.lock();
        state.stalled.clear();
        state.moved.notify_all();
    }

    /// Drops all faults.
    pub fn clear_faults(&self) {
        self.machine.lock().faults.clear();
    }

    /// How many calls of this kind there were, failed ones included.
    pub fn count(&self, op: Op) -> u64 {
        self.machine.lock().counts[op as usize]
    }

    /// How many calls there were.
    pub fn calls(&self) -> u64 {
        self.machine.lock().calls
    }

    /// How much the disk holds, in whole pages. What is there stays even if it is more.
    pub fn set_capacity(&self, bytes: u64) {
        self.machine.lock().capacity = bytes as usize / PAGE;
    }

    /// How many bytes are taken. A file with two names counts once.
    pub fn used(&self) -> u64 {
        (self.machine.lock().used * PAGE) as u64
    }
}

/// Tampering: all of it counts for processes and for the disk at once.
impl SimDisk {
    /// The bytes of a file.
    ///
    /// # Panics
    /// When there is none of that name.
    pub fn read_file(&self, path: impl AsRef<Path>) -> Vec<u8> {
        let file = self.expect(path.as_ref());
        let node = file.node.lock();
        let mut bytes = vec![0; node.size()];
        node.read(&mut bytes, 0);
        bytes
    }

    /// Makes or replaces a file, and the directories it lies in. Who has the old one open keeps it.
    pub fn write_file(&self, path: impl AsRef<Path>, bytes: &[u8]) {
        let path = key(path.as_ref());
        let mut state = self.machine.lock();
        let dirs: Vec<_> =
            path.ancestors().skip(1).filter(|dir| !is_root(dir)).map(Path::to_path_buf).collect();
        for dir in dirs {
            state.live.entry(dir.clone()).or_insert(Target::Directory);
            state.durable.entry(dir).or_insert(Target::Directory);
        }
        let target = Target::File(state.inode(Node::durable(bytes)));
        state.pending.retain(|change| change.path() != path);
        state.link(path.clone(), target.clone());
        state.durable.insert(path, target);
    }

    /// Flips a bit of a file in place, under a region as well.
    ///
    /// # Panics
    /// When there is no such file or bit.
    pub fn flip_bit(&self, path: impl AsRef<Path>, bit: usize) {
        self.expect(path.as_ref()).node.lock().flip(bit);
    }

    /// Removes a file, or a directory with all that is in it, if it is there.
    pub fn remove(&self, path: impl AsRef<Path>) {
        let path = key(path.as_ref());
        let mut state = self.machine.lock();
        let below: Vec<_> = state.below(&path).map(|(path, _)| path.clone()).collect();
        for path in below {
            state.unlink(&path);
        }
        state.durable.retain(|name, _| !name.starts_with(&path));
        state.pending.retain(|change| !change.path().starts_with(&path));
    }

    /// Every file processes see, sorted.
    pub fn list_all(&self) -> Vec<PathBuf> {
        let state = self.machine.lock();
        let files = state.live.iter().filter(|(_, target)| matches!(target, Target::File(_)));
        files.map(|(path, _)| path.clone()).collect()
    }

    fn over(state: State) -> SimDisk {
        let life = AtomicU64::new(state.life);
        SimDisk { machine: Arc::new(Mutex::new(state)), life }
    }

    fn expect(&self, path: &Path) -> Arc<Inode> {
        let state = self.machine.lock();
        state.file(&key(path)).unwrap_or_else(|err| panic!("{}: {err}", path.display()))
    }

    fn life(&self) -> u64 {
        self.life.load(Ordering::Relaxed)
    }

    fn enter(&self, op: Op) -> io::Result<MutexGuard<'_, State>> {
        enter(&self.machine, self.life(), op)
    }
}

impl Vfs for SimDisk {
    fn random(&self) -> u128 {
        let random = &mut self.machine.lock().random;
        u128::from(random.next()) << 64 | u128::from(random.next())
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.enter(Op::CreateDir)?;
        let dir = key(dir);
        let mut levels: Vec<_> = dir.ancestors().filter(|dir| !is_root(dir)).collect();
        levels.reverse();
        for level in levels {
            match state.live.get(level) {
                Some(Target::Directory) => {}
                Some(Target::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                // It takes nothing, and yet there has to be room for its first block.
                None if state.capacity <= state.used => return Err(io::ErrorKind::StorageFull.into()),
                None => state.change(Change::Link(level.to_path_buf(), Target::Directory)),
            }
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let state = self.enter(Op::List)?;
        let dir = key(dir);
        state.directory(&dir)?;
        let children = state.below(&dir).filter(|(path, _)| path.parent() == Some(&dir));
        Ok(children
            .filter_map(|(path, target)| {
                let name = path.file_name()?.to_str()?.to_owned();
                let kind = match target {
                    Target::Directory => EntryKind::Directory,
                    Target::File(_) => EntryKind::File,
                };
                Some(Entry { name, kind })
            })
            .collect())
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn File>> {
        let create = access == Access::CreateNew;
        let mut state = self.enter(if create { Op::Create } else { Op::Open })?;
        let path = key(path);
        let inode = if create { state.create(&path)? } else { state.file(&path)? };
        let machine = Arc::clone(&self.machine);
        Ok(Box::new(SimFile { machine, life: self.life(), inode, write: access != Access::Read }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.enter(Op::Rename)?.rename(key(from), key(to))
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.enter(Op::Link)?;
        let (inode, to) = (state.file(&key(from))?, key(to));
        state.vacant(&to)?;
        state.change(Change::Link(to, Target::File(inode)));
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.enter(Op::Remove)?;
        match state.live.get(&key(path)) {
            None => Err(io::ErrorKind::NotFound.into()),
            Some(Target::Directory) => Err(io::ErrorKind::IsADirectory.into()),
            Some(Target::File(_)) => {
                state.change(Change::Unlink(key(path)));
                Ok(())
            }
        }
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.enter(Op::RemoveDir)?;
        let dir = key(dir);
        state.directory(&dir)?;
        if is_root(&dir) || state.below(&dir).any(|(path, _)| *path != dir) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        state.change(Change::RemoveDir(dir));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.enter(Op::SyncDir)?.sync_dir(&key(dir))
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let path = key(path);
        let dir = path.parent().expect("a file in a directory").to_path_buf();
        let (temporary, inode) = {
            let mut state = self.enter(Op::ReplaceCreate)?;
            state.serial += 1;
            let temporary = dir.join(format!("{TEMPORARY}{}", state.serial));
            let inode = state.create(&temporary)?;
            (temporary, inode)
        };
        let filled = (|| {
            self.enter(Op::ReplaceWrite)?.write(&inode, bytes, 0)?;
            {
                let _state = self.enter(Op::ReplaceSync)?;
                let mut node = inode.node.lock();
                node.sync(0..usize::MAX);
                node.sync_size();
            }
            self.enter(Op::ReplaceRename)?.rename(temporary.clone(), path)
        })();
        if filled.is_err() {
            let mut state = self.machine.lock();
            // A machine that is off cleans nothing up.
            if !state.off && state.life == self.life() {
                state.change(Change::Unlink(temporary));
            }
            return filled;
        }
        self.enter(Op::ReplaceSyncDir)?.sync_dir(&dir)
    }

    fn try_lock(&self, path: &Path, note: &str) -> io::Result<Lock> {
        let mut state = self.enter(Op::Lock)?;
        let path = key(path);
        let inode = match state.file(&path) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => state.create(&path)?,
            found => found?,
        };
        if state.locks.contains(&inode.id) {
            let node = inode.node.lock();
            let mut bytes = vec![0; node.size().min(64)];
            node.read(&mut bytes, 0);
            return Ok(Lock::Taken(String::from_utf8_lossy(&bytes).into_owned()));
        }
        // In place, and only advice: on a full disk the lock holds without.
        if state.write(&inode, note.as_bytes(), 0).is_ok() {
            inode.node.lock().resize(note.len());
        }
        state.locks.push(inode.id);
        Ok(Lock::Held(Box::new(Held {
            machine: Arc::clone(&self.machine),
            life: self.life(),
            inode: inode.id,
        })))
    }
}

/// A lock, until dropped or dead.
struct Held {
    machine: Arc<Mutex<State>>,
    life: u64,
    inode: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.machine.lock();
        // A crash has let go of it, and another may hold it by now.
        if state.life == self.life {
            state.locks.retain(|inode| *inode != self.inode);
        }
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Held(file {} in life {})", self.inode, self.life)
    }
}

#[derive(Clone)]
struct SimFile {
    machine: Arc<Mutex<State>>,
    life: u64,
    inode: Arc<Inode>,
    write: bool,
}

impl fmt::Debug for SimFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimFile({} in life {})", self.inode.id, self.life)
    }
}

impl SimFile {
    fn enter(&self, op: Op) -> io::Result<MutexGuard<'_, State>> {
        enter(&self.machine, self.life, op)
    }

    fn enter_to_write(&self, op: Op) -> io::Result<MutexGuard<'_, State>> {
        let state = self.enter(op)?;
        if self.write {
            Ok(state)
        } else {
            Err(io::Error::new(io::ErrorKind::PermissionDenied, "opened for reading"))
        }
    }

    fn sync_pages(&self, op: Op, range: Range<usize>) -> io::Result<()> {
        let mut state = alive(&self.machine, self.life, op)?;
        let mut node = self.inode.node.lock();
        match state.fault(op) {
            Some(err) => {
                node.lose(range);
                Err(err)
            }
            None => {
                node.sync(range);
                node.sync_size();
                Ok(())
            }
        }
    }
}

impl File for SimFile {
    fn size(&self) -> io::Result<u64> {
        let _state = self.enter(Op::Size)?;
        Ok(self.inode.node.lock().size() as u64)
    }

    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        let _state = self.enter(Op::Read)?;
        Ok(self.inode.node.lock().read(buf, position as usize))
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.enter_to_write(Op::Write)?.write(&self.inode, bytes, position)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        let mut state = self.enter_to_write(Op::Allocate)?;
        state.reserve(&self.inode, 0..bytes)?;
        let mut node = self.inode.node.lock();
        let size = node.size().max(bytes as usize);
        node.resize(size);
        Ok(())
    }

    fn punch(&self, range: Range<u64>) -> io::Result<()> {
        let mut state = self.enter_to_write(Op::Punch)?;
        let mut node = self.inode.node.lock();
        let range = range.start as usize..range.end as usize;
        let before = node.held();
        node.zero(range.clone());
        node.release(pages(range.start)..range.end / PAGE);
        if 0 < node.links {
            state.used -= before - node.held();
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_pages(Op::Sync, 0..usize::MAX)
    }

    // Without storing what readers may hold a slice of.
    fn redirty(&self, range: Range<u64>) -> io::Result<()> {
        let _state = self.enter_to_write(Op::Write)?;
        self.inode.node.lock().redirty(touched(range.start as usize..range.end as usize));
        Ok(())
    }

    fn map(&self, bytes: usize, access: Access) -> io::Result<Memory> {
        let write = access != Access::Read;
        let _state = if write { self.enter_to_write(Op::Map)? } else { self.enter(Op::Map)? };
        let heap = self.inode.node.lock().map(bytes, write)?;
        Ok(Memory::Heap(heap, Arc::new(self.clone())))
    }

    fn allocated(&self) -> io::Result<u64> {
        let _state = self.enter(Op::Allocated)?;
        Ok((self.inode.node.lock().held() * PAGE) as u64)
    }
}

impl HeapSync for SimFile {
    fn sync(&self, range: Range<usize>) -> io::Result<()> {
        self.sync_pages(Op::RegionSync, touched(range))
    }
}
