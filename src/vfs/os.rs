//! The operating system's files, lock and clock: the only place that touches `std::fs` and the system time.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::region::Memory;
use super::{Access, Clock, Entry, EntryKind, File, Lock, TEMPORARY, Vfs, uninterrupted};

/// Who may do what with the files: the owner all, the group read, so that another user's process may follow a store.
const MODE: u32 = 0o640;

/// The filesystem of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsVfs;

/// What opening something else than a regular file may fail with.
const NOT_REGULAR: [rustix::io::Errno; 3] =
    [rustix::io::Errno::LOOP, rustix::io::Errno::NXIO, rustix::io::Errno::ISDIR];

impl Vfs for OsVfs {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in uninterrupted(|| fs::read_dir(dir))? {
            let entry = entry?;
            let kind = entry.file_type()?;
            let kind = if kind.is_file() {
                EntryKind::File
            } else if kind.is_dir() {
                EntryKind::Directory
            } else {
                EntryKind::Other
            };
            if let Ok(name) = entry.file_name().into_string() {
                entries.push(Entry { name, kind });
            }
        }
        Ok(entries)
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn File>> {
        // Without O_NONBLOCK, opening a FIFO waits for its other end.
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        let open = |flags: rustix::fs::OFlags| {
            OpenOptions::new()
                .read(true)
                .write(access != Access::Read)
                .create_new(access == Access::CreateNew)
                .mode(MODE)
                .custom_flags(flags.bits() as i32)
                .open(path)
        };
        // Nobody asks when a file was read last, and to write that down is work for the disk. Only a file's owner may leave it out.
        let opened = match open(flags | sys::UNTIMED) {
            Err(err) if err.kind() == io::ErrorKind::PermissionDenied => open(flags),
            opened => opened,
        };
        let file = match opened {
            // A symbolic link; a socket; a directory, where it is to be written.
            Err(err) if NOT_REGULAR.iter().any(|errno| err.raw_os_error() == Some(errno.raw_os_error())) => {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
            }
            opened => opened?,
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let (opened_bytes, opened_allocated) = (metadata.len(), metadata.blocks() * 512);
        Ok(Box::new(OsFile { file, access, opened_bytes, opened_allocated }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        fs::remove_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        fs::File::open(dir)?.sync_all()
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let dir = path.parent().expect("a file in a directory");
        let mut options = tempfile::Builder::new();
        options.prefix(TEMPORARY).permissions(fs::Permissions::from_mode(MODE));
        let mut temporary = uninterrupted(|| options.tempfile_in(dir))?;
        temporary.write_all(bytes)?;
        // `persist` renames and nothing more; without this the new name could hold no bytes after a crash.
        temporary.as_file().sync_all()?;
        temporary.persist(path).map_err(|err| err.error)?;
        self.sync_dir(dir)
    }

    fn absolute(&self, path: &Path) -> io::Result<PathBuf> {
        std::path::absolute(path)
    }

    fn try_lock(&self, path: &Path, note: &str) -> io::Result<Lock> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => {
                // Overwritten in place, which needs no space. It is only advice: where it cannot be written, the lock holds.
                // Of one length, so that nobody reads a part of the last one behind it.
                let note = format!("{note:<20}");
                let written = file.write_all(note.as_bytes()).and_then(|()| file.set_len(note.len() as u64));
                if written.is_err() {
                    let _ = file.set_len(0);
                }
                Ok(Lock::Held(Box::new(Held { file, pid: std::process::id() })))
            }
            Err(fs::TryLockError::WouldBlock) => {
                let mut note = String::new();
                file.rewind()?;
                // Advisory, and possibly being written this moment: whatever reads is good enough.
                let _ = file.take(64).read_to_string(&mut note);
                Ok(Lock::Taken(note.trim_end().to_owned()))
            }
            Err(fs::TryLockError::Error(err)) => Err(err),
        }
    }
}

/// Reads until `buf` is full or nothing more comes, however little each `read` of what is left brings.
fn read_on(buf: &mut [u8], mut read: impl FnMut(&mut [u8], usize) -> io::Result<usize>) -> io::Result<usize> {
    let mut done = 0;
    while done < buf.len() {
        match uninterrupted(|| read(&mut buf[done..], done))? {
            0 => break,
            bytes => done += bytes,
        }
    }
    Ok(done)
}

/// A lock that ends when this is dropped, and not only once nobody has its file any more: a child that is just being
/// started has it, until it is the program it is to be.
#[derive(Debug)]
struct Held {
    file: fs::File,
    pid: u32,
}

impl Drop for Held {
    fn drop(&mut self) {
        // A forked child that drops its copy leaves its parent's lock alone.
        if self.pid == std::process::id() {
            let _ = self.file.unlock();
        }
    }
}

#[derive(Debug)]
struct OsFile {
    file: fs::File,
    access: Access,
    /// Its size when it was opened. No file gets shorter.
    opened_bytes: u64,
    opened_allocated: u64,
}

impl OsFile {
    fn write_zeros(&self, range: Range<u64>) -> io::Result<()> {
        let zeros = vec![0; 1 << 16];
        let mut position = range.start;
        while position < range.end {
            let step = zeros.len().min((range.end - position) as usize);
            self.file.write_all_at(&zeros[..step], position)?;
            position += step as u64;
        }
        Ok(())
    }
}

impl File for OsFile {
    fn size(&self) -> io::Result<u64> {
        // Whoever reads looks at a file as it found it.
        if self.access == Access::Read { Ok(self.opened_bytes) } else { Ok(self.file.metadata()?.len()) }
    }

    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        read_on(buf, |rest, done| self.file.read_at(rest, position + done as u64))
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, position)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        let before = if bytes <= self.opened_bytes { bytes } else { self.size()? };
        let allocated = sys::allocate(&self.file, bytes);
        if allocated.is_err() && before < bytes {
            // ext4 leaves a failed reservation holding all the space there was.
            self.file.set_len(before)?;
        }
        allocated
    }

    fn punch(&self, range: Range<u64>) -> io::Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        match sys::punch(&self.file, &range) {
            Err(err) if err.kind() == io::ErrorKind::Unsupported => self.write_zeros(range),
            done => done,
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn map(&self, bytes: usize, access: Access) -> io::Result<Memory> {
        let mut options = memmap2::MmapOptions::new();
        options.len(bytes);
        match access {
            Access::Read => options.map_raw_read_only(&self.file).map(Memory::Mapped),
            Access::Write | Access::CreateNew => options.map_raw(&self.file).map(Memory::Mapped),
        }
    }

    fn allocated(&self) -> io::Result<u64> {
        Ok(self.opened_allocated)
    }
}

#[cfg(target_os = "linux")]
mod sys {
    use super::*;
    use rustix::fs::{FallocateFlags, OFlags, fallocate};
    use rustix::time::{ClockId, clock_gettime};

    /// Leaves the time of the last read as it is.
    pub(super) const UNTIMED: OFlags = OFlags::NOATIME;

    pub(super) fn allocate(file: &fs::File, bytes: u64) -> io::Result<()> {
        uninterrupted(|| Ok(fallocate(file, FallocateFlags::empty(), 0, bytes)?))
    }

    pub(super) fn punch(file: &fs::File, range: &Range<u64>) -> io::Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        uninterrupted(|| Ok(fallocate(file, flags, range.start, range.end - range.start)?))
    }

    #[inline]
    pub(super) fn clock(id: Which) -> i64 {
        let id = match id {
            Which::Wall => ClockId::Realtime,
            Which::Steady => ClockId::MonotonicCoarse,
            Which::Boot => ClockId::Boottime,
        };
        let time = clock_gettime(id);
        time.tv_sec.wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec)
    }
}

/// The calls that only Linux has, with the nearest thing elsewhere. No reservation holds there: a full
/// disk may then be a fault at a store, and the README says so.
#[cfg(not(target_os = "linux"))]
mod sys {
    use super::*;
    use rustix::fs::OFlags;
    use rustix::time::{ClockId, clock_gettime};

    pub(super) const UNTIMED: OFlags = OFlags::empty();

    pub(super) fn allocate(file: &fs::File, bytes: u64) -> io::Result<()> {
        if file.metadata()?.len() < bytes { file.set_len(bytes) } else { Ok(()) }
    }

    pub(super) fn punch(_: &fs::File, _: &Range<u64>) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    #[inline]
    pub(super) fn clock(id: Which) -> i64 {
        let id = match id {
            Which::Wall => ClockId::Realtime,
            Which::Boot | Which::Steady => ClockId::Monotonic,
        };
        let time = clock_gettime(id);
        time.tv_sec.wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as i64)
    }
}

enum Which {
    Wall,
    Boot,
    Steady,
}

/// The clocks of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsClock;

impl Clock for OsClock {
    fn wall(&self) -> i64 {
        sys::clock(Which::Wall)
    }

    fn boot(&self) -> u64 {
        sys::clock(Which::Boot) as u64
    }

    fn boot_id(&self) -> Option<u128> {
        static BOOT: OnceLock<Option<u128>> = OnceLock::new();
        *BOOT.get_or_init(|| {
            let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
            uuid::Uuid::parse_str(text.trim()).ok().map(|id| id.as_u128())
        })
    }

    #[inline]
    fn steady(&self) -> u64 {
        sys::clock(Which::Steady) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_that_bring_little_or_are_interrupted_are_gone_on_with() {
        let source: Vec<u8> = (0..100).collect();
        for most in [1, 7, 100] {
            let (mut calls, mut buf) = (0, [0; 120]);
            let read = read_on(&mut buf, |rest, done| {
                calls += 1;
                if calls % 2 == 1 {
                    return Err(io::ErrorKind::Interrupted.into());
                }
                let bytes = most.min(rest.len()).min(source.len() - done);
                rest[..bytes].copy_from_slice(&source[done..done + bytes]);
                Ok(bytes)
            });
            assert_eq!((read.unwrap(), &buf[..100]), (100, &source[..]));
        }
        assert!(read_on(&mut [0; 8], |_, _| Err(io::ErrorKind::PermissionDenied.into())).is_err());
    }

    #[test]
    fn where_a_filesystem_has_no_holes_zeros_are_written() {
        let temporary = tempfile::NamedTempFile::new().unwrap();
        fs::write(temporary.path(), vec![1; 200_000]).unwrap();
        let file = temporary.reopen().unwrap();
        OsFile { file, access: Access::Write, opened_bytes: 200_000, opened_allocated: 0 }
            .write_zeros(10..150_000)
            .unwrap();
        let expected: Vec<u8> = (0..200_000).map(|at| u8::from(!(10..150_000).contains(&at))).collect();
        assert!(fs::read(temporary.path()).unwrap() == expected);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn reading_a_file_changes_nothing_of_it_and_somebody_elses_is_read_too() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "text").unwrap();
        // A time that is not that of the last read of a file just written to: most filesystems would change it.
        let long_ago = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
        file.as_file().set_times(fs::FileTimes::new().set_accessed(long_ago)).unwrap();
        let mut text = [0; 4];
        let read = OsVfs.open(file.path(), Access::Read).unwrap().read_at(&mut text, 0).unwrap();
        assert_eq!(&text[..read], b"text");
        assert_eq!(fs::metadata(file.path()).unwrap().accessed().unwrap(), long_ago);
        // Another user's, unless it is root who runs this.
        OsVfs.open(Path::new("/etc/passwd"), Access::Read).unwrap();
    }

    #[test]
    fn a_lock_let_go_of_is_free_though_a_child_still_has_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("LOCK");
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).clone();
        let file = options.open(&path).unwrap();
        file.try_lock().unwrap();
        let childs = file.try_clone().unwrap();
        assert!(matches!(OsVfs.try_lock(&path, "").unwrap(), Lock::Taken(_)));
        drop(Held { file, pid: std::process::id() + 1 });
        assert!(
            matches!(OsVfs.try_lock(&path, "").unwrap(), Lock::Taken(_)),
            "a child let go of its parent's lock"
        );
        drop(Held { file: childs.try_clone().unwrap(), pid: std::process::id() });
        assert!(matches!(OsVfs.try_lock(&path, "").unwrap(), Lock::Held(_)));
        drop(childs);
    }
}
