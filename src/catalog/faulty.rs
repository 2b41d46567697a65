//! The real filesystem, failing as told.

use std::io;
use std::ops::{Deref, Range};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use crate::vfs::os::OsVfs;
use crate::vfs::region::Memory;
use crate::vfs::{Access, Entry, File, Lock, Vfs};

#[derive(Debug, Clone, Default)]
pub(super) struct Faulty(Arc<Faults>);

#[derive(Debug, Default)]
pub(super) struct Faults {
    /// Writes fail once they have written `room` bytes.
    pub(super) full: AtomicBool,
    pub(super) room: AtomicUsize,
    /// Whole files cannot be replaced.
    pub(super) no_replace: AtomicBool,
    /// Syncs of files fail.
    pub(super) no_sync: AtomicBool,
    /// Syncs of files do nothing, fast.
    pub(super) skip_sync: AtomicBool,
}

impl Deref for Faulty {
    type Target = Faults;

    fn deref(&self) -> &Faults {
        &self.0
    }
}

impl Vfs for Faulty {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        OsVfs.create_dir_all(dir)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        OsVfs.list(dir)
    }
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn File>> {
        Ok(Box::new(FaultyFile { file: OsVfs.open(path, access)?, faults: self.clone() }))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        OsVfs.rename(from, to)
    }
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        OsVfs.hard_link(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        OsVfs.remove_file(path)
    }
    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        OsVfs.remove_dir(dir)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        OsVfs.sync_dir(dir)
    }
    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        if self.no_replace.load(Relaxed) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        OsVfs.replace(path, bytes)
    }
    fn try_lock(&self, path: &Path, note: &str) -> io::Result<Lock> {
        OsVfs.try_lock(path, note)
    }
}

#[derive(Debug)]
struct FaultyFile {
    file: Box<dyn File>,
    faults: Faulty,
}

impl File for FaultyFile {
    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        self.file.read_at(buf, position)
    }
    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        if self.faults.full.load(Relaxed) {
            let room = self.faults.room.load(Relaxed).min(bytes.len());
            self.file.write_at(&bytes[..room], position)?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.write_at(bytes, position)
    }
    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.file.allocate(bytes)
    }
    fn punch(&self, range: Range<u64>) -> io::Result<()> {
        self.file.punch(range)
    }
    fn sync(&self) -> io::Result<()> {
        if self.faults.no_sync.load(Relaxed) {
            return Err(io::Error::other("no such luck"));
        }
        if self.faults.skip_sync.load(Relaxed) { Ok(()) } else { self.file.sync() }
    }
    fn map(&self, bytes: usize, access: Access) -> io::Result<Memory> {
        self.file.map(bytes, access)
    }
    fn allocated(&self) -> io::Result<u64> {
        self.file.allocated()
    }
}
