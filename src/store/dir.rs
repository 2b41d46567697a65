//! The store's own directory: its names, the lock, the clock's mark, and what crashes leave behind.

use std::path::Path;

use crate::catalog::Catalog;
use crate::format::envelope;
use crate::mutants::{self, Mutant};
use crate::vfs::guard::Mark;
use crate::vfs::{self, Access, EntryKind, Lock, Vfs};
use crate::{Error, ErrorKind, Result, StreamId};

/// Names in a store's directory, and in a stream's.
pub(crate) mod names {
    pub(crate) const LOCK: &str = "LOCK";
    pub(crate) const CLOCK: &str = "clock";
    pub(crate) const ERA: &str = "era";
    pub(crate) const CATALOG: &str = "catalog";
    pub(crate) const STREAMS: &str = "streams";
    pub(crate) const SESSIONS: &str = "sessions";
    pub(crate) const META: &str = "meta";
    pub(crate) const DELETED: &str = "deleted";
    pub(crate) const DELETING: &str = "deleting";
}

const CLOCK_MAGIC: envelope::Magic = *b"\x89TWCK\r\n\x1a";

/// Keeps the store's time on disk.
pub(crate) fn write_mark(vfs: &dyn Vfs, dir: &Path, mark: &Mark) -> Result<()> {
    let path = dir.join(names::CLOCK);
    vfs.replace(&path, &envelope::encode(CLOCK_MAGIC, 1, mark)).map_err(|err| Error::io("write", &path, err))
}

/// Takes the writer's lock of the store in `dir`, making the directory.
pub(crate) fn lock(vfs: &dyn Vfs, dir: &Path) -> Result<Lock> {
    vfs.create_dir_all(dir).map_err(|err| Error::io("create directory", dir, err))?;
    let path = dir.join(names::LOCK);
    let lock = vfs.try_lock(&path, &std::process::id().to_string());
    match lock.map_err(|err| Error::io("lock", &path, err))? {
        Lock::Taken(note) if !mutants::on(Mutant::SecondWriter) => {
            let pid = note.trim().parse().ok();
            let who = pid.map_or("another process".into(), |pid: u32| format!("process {pid}"));
            let text = format!("open store {} for writing: {who} has it open", dir.display());
            Err(Error::new(ErrorKind::Locked { pid }, text))
        }
        held => Ok(held),
    }
}

pub(crate) fn read_mark(vfs: &dyn Vfs, dir: &Path) -> Result<Option<Mark>> {
    let path = dir.join(names::CLOCK);
    match vfs::read_all(vfs, &path, 4096) {
        // A damaged mark protects less, and is no reason to refuse the store.
        Ok(bytes) => Ok(envelope::decode(CLOCK_MAGIC, 1, &bytes).ok().map(|(mark, _)| mark)),
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(err) => Err(Error::io("read", &path, err)),
    }
}

pub(super) fn has_streams(vfs: &dyn Vfs, dir: &Path) -> Result<bool> {
    let streams = dir.join(names::STREAMS);
    match vfs.list(&streams) {
        Ok(entries) => Ok(!entries.is_empty()),
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(err) => Err(Error::io("list directory", &streams, err)),
    }
}

/// Removes what an interrupted replacement of a file left in the store's directory.
pub(super) fn remove_unfinished(vfs: &dyn Vfs, dir: &Path) -> Result<()> {
    let entries = vfs.list(dir).map_err(|err| Error::io("list directory", dir, err))?;
    for entry in entries.iter().filter(|entry| entry.name.starts_with(vfs::TEMPORARY)) {
        let path = dir.join(&entry.name);
        vfs.remove_file(&path).map_err(|err| Error::io("remove unfinished file", &path, err))?;
    }
    Ok(())
}

/// Says, durably and before any stream is marked, that streams may be marked: without it no open looks for any.
pub(super) fn note_deleting(vfs: &dyn Vfs, dir: &Path) -> Result<()> {
    let path = dir.join(names::DELETING);
    vfs.replace(&path, &[]).map_err(|err| Error::io("write", &path, err))
}

/// Finishes deletions that a crash interrupted.
pub(super) fn remove_deleted(vfs: &dyn Vfs, dir: &Path, catalog: &Catalog) -> Result<()> {
    let note = dir.join(names::DELETING);
    match vfs.open(&note, Access::Read) {
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        _ => {}
    }
    let streams = dir.join(names::STREAMS);
    let entries = vfs.list(&streams).map_err(|err| Error::io("list directory", &streams, err))?;
    let mut all = true;
    for entry in entries {
        let stream = streams.join(&entry.name);
        if entry.name.parse::<StreamId>().is_ok_and(|id| catalog.stream(id).is_ok()) {
            // Marked perhaps, and then the catalogue's change was lost: the caller was never told that it is gone. With the
            // mark `repair` would not bring it back. Where it cannot be removed now, the next open tries again.
            let unmarked = match vfs.remove_file(&stream.join(names::DELETED)) {
                Err(err) if err.kind() == std::io::ErrorKind::NotFound => Ok(()),
                removed => removed.and_then(|()| vfs.sync_dir(&stream)),
            };
            all &= unmarked.is_ok();
            continue;
        }
        if entry.kind != EntryKind::Directory {
            continue;
        }
        let Ok(files) = vfs.list(&stream) else {
            all = false;
            continue;
        };
        // Without anything in it, its mark went last.
        if files.is_empty() || files.iter().any(|file| file.name == names::DELETED) {
            remove_tree(vfs, &stream)?;
        }
    }
    if all {
        // It tells of no stream any more once these are gone for good, and costs the next open a look where it stays.
        let _ = vfs.sync_dir(&streams).and_then(|()| vfs.remove_file(&note));
    }
    Ok(())
}

/// Removes a deleted stream's directory, the mark last. Whoever used the stream a moment ago may still take files away, or
/// leave one more.
pub(super) fn remove_tree(vfs: &dyn Vfs, dir: &Path) -> Result<()> {
    let gone = |done: std::io::Result<()>| match done {
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => Ok(()),
        done => done,
    };
    for left in (0..8).rev() {
        let entries = match vfs.list(dir) {
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(|err| Error::io("list directory", dir, err))?,
        };
        let is_mark = |name: &str| name == names::DELETED;
        for entry in entries.iter().filter(|entry| !is_mark(&entry.name)) {
            let path = dir.join(&entry.name);
            match entry.kind {
                EntryKind::Directory => remove_tree(vfs, &path)?,
                _ => gone(vfs.remove_file(&path)).map_err(|err| Error::io("remove", &path, err))?,
            }
        }
        // The mark goes once nothing else is there, so that whatever interrupts this leaves it.
        if entries.iter().any(|entry| !is_mark(&entry.name)) {
            continue;
        }
        let mark = dir.join(names::DELETED);
        gone(vfs.remove_file(&mark)).map_err(|err| Error::io("remove", &mark, err))?;
        match gone(vfs.remove_dir(dir)) {
            Err(err) if err.kind() == std::io::ErrorKind::DirectoryNotEmpty && 0 < left => {}
            done => return done.map_err(|err| Error::io("remove directory", dir, err)),
        }
    }
    Err(Error::new(ErrorKind::Io, format!("remove directory {}: files keep appearing in it", dir.display())))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::vfs::sim::SimDisk;
    use crate::{Options, Record, StreamName, StreamSpec};

    #[test]
    fn marks_are_looked_for_where_something_was_deleted_and_nowhere_else() {
        let disk = SimDisk::new();
        let open = || Options::new().background(false).vfs(Arc::new(disk.clone())).open("/store").unwrap();
        let create = |store: &crate::Store, name| {
            let stream = store.create_stream(StreamSpec::new(StreamName::new(name).unwrap())).unwrap();
            stream.append(&Record::new("1")).unwrap();
            stream.id()
        };
        let has = |name: &str| disk.list(Path::new("/store")).unwrap().iter().any(|entry| entry.name == name);
        let store = open();
        let id = create(&store, "a");
        store.close().unwrap();
        let dir = Path::new("/store").join(names::STREAMS).join(id.to_string());
        let is_marked = || disk.list(&dir).unwrap().iter().any(|entry| entry.name == names::DELETED);
        disk.write_file(dir.join(names::DELETED), &[]);
        open().close().unwrap();
        assert!(is_marked() && !has(names::DELETING));
        let store = open();
        create(&store, "b");
        store.delete_stream("b").unwrap();
        store.close().unwrap();
        assert!(has(names::DELETING));
        open().close().unwrap();
        assert!(!is_marked() && !has(names::DELETING));
    }
}
