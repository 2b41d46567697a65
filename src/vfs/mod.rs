//! Files, the directory lock and the clock, as traits: the operating system's, and a simulated disk's.
//!
//! The engine reaches the outside only through [`Vfs`] and [`Clock`]. The append path does not: it
//! stores through a `Region`, which is a pointer and a length either way.

use std::fmt::Debug;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use uuid::Uuid;

pub(crate) mod guard;
pub(crate) mod os;
pub(crate) mod region;
#[cfg(any(test, feature = "sim"))]
pub mod sim;

use region::Memory;

/// Bytes that are read and written back at a time.
const REDIRTY_BYTES: u64 = 256 << 10;

/// How the names of unfinished files start. Whoever opens a directory for writing removes them.
pub const TEMPORARY: &str = ".new-";

/// A place to keep files. Every call names what it does on a real filesystem.
pub trait Vfs: Send + Sync + Debug {
    /// Creates `dir` and its parents; one that exists is fine.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// Everything in `dir`, in no order.
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>>;
    /// Opens a regular file. Never follows a symbolic link, never blocks on a FIFO: anything that is
    /// not a regular file is `InvalidInput`.
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn File>>;
    /// Renames a file, replacing what stood there. Durable once the directory is synced.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Gives a file a second name. `CrossesDevices` or `Unsupported` where that cannot be.
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file's name. Durable once the directory is synced.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty directory.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;
    /// Makes the names in `dir` durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Replaces the file at `path` as a whole, durably: after a crash it holds the old bytes or the new ones.
    /// What a crash leaves of the new copy has a name that starts with `.new-`.
    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// What `path` names from now on, wherever the process goes.
    fn absolute(&self, path: &Path) -> io::Result<PathBuf> {
        Ok(path.into())
    }
    /// 128 bits that nobody else was given: for ids, and for salts that tell one file's bytes from another's.
    fn random(&self) -> u128 {
        // A random UUID has six bits that are not; the other one's lie elsewhere.
        Uuid::new_v4().as_u128() ^ Uuid::new_v4().as_u128().rotate_left(64)
    }
    /// Takes the exclusive lock at `path`, creating the file where there is none and writing `note`
    /// into it, if it can be. Never waits.
    fn try_lock(&self, path: &Path, note: &str) -> io::Result<Lock>;
}

/// A regular file.
pub trait File: Send + Sync + Debug {
    /// Its size in bytes; of a file opened for reading, perhaps the one it had then. Not called `len`: no file is a collection.
    fn size(&self) -> io::Result<u64>;
    /// Reads at `position` until `buf` is full or the file ends; returns how much was read.
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize>;
    /// Writes all of `bytes` at `position`, growing the file where needed.
    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()>;
    /// Reserves blocks for `0..bytes` and makes the file at least that large. A failed call leaves a file that was smaller holding
    /// nothing it did not hold before; of one that had holes it may have filled some.
    fn allocate(&self, bytes: u64) -> io::Result<()>;
    /// Makes `range` read as zero and gives its blocks back, where the filesystem has holes; the size stays.
    fn punch(&self, range: Range<u64>) -> io::Result<()>;
    /// Makes the file's bytes and size durable.
    fn sync(&self) -> io::Result<()>;
    /// Has the next sync write `range` anew with the bytes it holds: a sync that failed may have left pages that count as
    /// written and are not.
    fn redirty(&self, range: Range<u64>) -> io::Result<()> {
        let mut buf = vec![0; (range.end - range.start).min(REDIRTY_BYTES) as usize];
        let mut position = range.start;
        while position < range.end {
            let step = buf.len().min((range.end - position) as usize);
            let read = self.read_at(&mut buf[..step], position)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.write_at(&buf[..read], position)?;
            position += read as u64;
        }
        Ok(())
    }
    /// Maps the first `bytes` of the file. The file must be at least that large, and stay so. Syncing a part of the map
    /// makes the file's size and the place of its blocks durable as well, as `fdatasync` does.
    fn map(&self, bytes: usize, access: Access) -> io::Result<Memory>;
    /// Bytes of disk the file holds, or held when it was opened: a punched or sparse file has less of them than its size.
    fn allocated(&self) -> io::Result<u64>;
}

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// For reading.
    Read,
    /// For reading and writing; the file must exist.
    Write,
    /// For reading and writing; the file must not exist.
    CreateNew,
}

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name. Names that are not UTF-8 are left out by `list`: the engine writes none.
    pub name: String,
    /// Whether it is a regular file, a directory, or neither.
    pub kind: EntryKind,
}

/// What a directory entry is, by its own type (links are not followed).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A link, FIFO, socket or device.
    Other,
}

/// The outcome of [`Vfs::try_lock`].
#[derive(Debug)]
pub enum Lock {
    /// Ours until dropped.
    Held(Box<dyn Debug + Send + Sync>),
    /// Another's; the note it left.
    Taken(String),
}

/// The time, in nanoseconds. All three may be read from any thread at any rate.
pub trait Clock: Send + Sync + Debug {
    /// Since 1970 in UTC, as the host believes it: it may jump either way.
    fn wall(&self) -> i64;
    /// Since the machine booted, suspension included; never goes back while it runs.
    fn boot(&self) -> u64;
    /// Names this boot: two readings of `boot` compare only under the same id. `None` where unknown.
    fn boot_id(&self) -> Option<u128>;
    /// Since any fixed point; cheap, at most 4 ms behind, never jumps. It may stand still while the machine is
    /// suspended.
    fn steady(&self) -> u64 {
        self.boot()
    }
}

/// A new id, unlike any other.
pub(crate) fn new_id<Id: From<Uuid>>(vfs: &dyn Vfs) -> Id {
    uuid::Builder::from_random_bytes(vfs.random().to_be_bytes()).into_uuid().into()
}

/// Makes a call again that a signal interrupted, where the library below does not. That it gave up tells of no failure.
fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// Reads a whole small file of at most `limit` bytes.
pub(crate) fn read_all(vfs: &dyn Vfs, path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    let file = vfs.open(path, Access::Read)?;
    let size = file.size()?;
    if size > limit as u64 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{size} bytes, over the limit of {limit}"),
        ));
    }
    let mut bytes = vec![0; size as usize];
    let read = file.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    Ok(bytes)
}
