//! How a change becomes durable: one record at the log's end, and now and then a new generation.

use std::io;
use std::ops::Range;
use std::path::Path;

use super::files::{self, Generations};
use super::state::Change;
use super::{Catalog, Mode};
use crate::mutants::{self, Mutant};
use crate::vfs::{Access, File, TEMPORARY, Vfs};
use crate::{Error, ErrorKind, Result};

/// A log may grow to this, or to twice the snapshot, before a new generation begins.
const MIN_LOG_BYTES: u64 = 1 << 20;

impl Catalog {
    /// Makes `change` durable, then real.
    pub(super) fn change(&mut self, change: Change) -> Result<()> {
        self.check_writable()?;
        if self.roll_at < self.log_end {
            // The change does not need it: without it the logs only grow, and the next attempt comes.
            let _ = self.roll();
        }
        let record = files::encode_record(self.store, self.sequence + 1, change.clone());
        self.append(&record)?;
        self.log_end += record.len() as u64;
        self.sequence += 1;
        self.state.apply(change).expect("a change that was checked fits");
        Ok(())
    }

    pub(super) fn check_writable(&self) -> Result<()> {
        let refuse =
            |kind, why| Err(Error::new(kind, format!("change catalogue {}: {why}", self.dir.display())));
        match self.mode {
            Mode::ReadOnly => refuse(ErrorKind::ReadOnly, "the store is open read-only"),
            Mode::Writable if self.poisoned => {
                refuse(ErrorKind::Poisoned, "a sync failed before; open the store anew")
            }
            Mode::Writable => Ok(()),
        }
    }

    /// Writes and syncs `record` at the log's end, making the log if it is the first.
    fn append(&mut self, record: &[u8]) -> Result<()> {
        let path = files::log_path(&self.dir, self.generation);
        let write = |err| Error::io("write catalogue log", &path, err);
        let (file, named) = match self.log.take() {
            Some(file) => (file, true),
            None => (open_log(&*self.vfs, &path).map_err(write)?, false),
        };
        if let Err(err) = file.write_at(record, self.log_end) {
            // It failed, so nobody may find it later; if this fails too, the next record overwrites it.
            let _ = file.size().and_then(|size| file.punch(self.log_end..size.max(self.log_end)));
            self.log = named.then_some(file);
            return Err(write(err));
        }
        let first = if mutants::on(Mutant::ChangeAnsweredEarly) { Ok(()) } else { file.sync() };
        let synced = first.and_then(|()| if named { Ok(()) } else { self.vfs.sync_dir(&self.dir) });
        self.log = Some(file);
        synced.map_err(|err| self.poison(&path, err))
    }

    /// After a failed sync nobody knows what is on the disk, and asking again proves nothing.
    fn poison(&mut self, path: &Path, err: io::Error) -> Error {
        self.poisoned = true;
        Error::new(ErrorKind::Poisoned, format!("sync catalogue log {}: {err}", path.display()))
    }

    /// Makes durable what a reader of the files already sees: the last change may have been written and never
    /// synced, or its sync failed, which marks pages clean that the disk does not hold. So it is written once more.
    pub(super) fn settle(&mut self, last: Range<u64>) -> Result<()> {
        let path = files::log_path(&self.dir, self.generation);
        if !last.is_empty() {
            let again = || {
                let file = self.vfs.open(&path, Access::Write)?;
                let mut record = vec![0; (last.end - last.start) as usize];
                let read = file.read_at(&mut record, last.start)?;
                file.write_at(&record[..read], last.start)?;
                // An unfinished change behind it must not meet the next one's bytes.
                file.punch(last.end..file.size()?.max(last.end))?;
                file.sync()?;
                Ok(file)
            };
            self.log = Some(again().map_err(|err| Error::io("sync catalogue log", &path, err))?);
        }
        self.vfs.sync_dir(&self.dir).map_err(|err| Error::io("sync catalogue", &self.dir, err))
    }

    /// Begins a new generation. Its log takes the changes from here on whether its snapshot can be written or not: a
    /// reader goes on from the log before.
    pub(super) fn roll(&mut self) -> Result<()> {
        self.generation += 1;
        (self.log, self.log_end) = (None, 0);
        let path = files::snapshot_path(&self.dir, self.generation);
        let bytes = files::encode_snapshot(self.store, self.generation, self.sequence, &self.state);
        self.roll_at = roll_at(bytes.len() as u64);
        self.vfs.replace(&path, &bytes).map_err(|err| Error::io("write catalogue snapshot", &path, err))?;
        let keep = std::mem::replace(&mut self.base, self.generation);
        // A file that cannot be removed is only space; the next roll tries again.
        let Ok(files) = Generations::list(&*self.vfs, &self.dir) else { return Ok(()) };
        for &old in files.snapshots.range(..keep) {
            let _ = self.vfs.remove_file(&files::snapshot_path(&self.dir, old));
        }
        for &old in files.logs.range(..keep) {
            let _ = self.vfs.remove_file(&files::log_path(&self.dir, old));
        }
        Ok(())
    }

    /// Writes a catalogue that says the same into the empty directory `dir`.
    pub(crate) fn copy_to(&self, dir: &Path) -> Result<()> {
        let io = |doing: &'static str| move |err| Error::io(doing, dir, err);
        self.vfs.create_dir_all(dir).map_err(io("create catalogue"))?;
        let bytes = files::encode_snapshot(self.store, self.generation, self.sequence, &self.state);
        let path = files::snapshot_path(dir, self.generation);
        self.vfs.replace(&path, &bytes).map_err(|err| Error::io("write catalogue snapshot", &path, err))
    }

    pub(super) fn remove_temporary(&self) -> Result<()> {
        let entries = self.vfs.list(&self.dir).map_err(|err| Error::io("list catalogue", &self.dir, err))?;
        for entry in entries.iter().filter(|entry| entry.name.starts_with(TEMPORARY)) {
            let path = self.dir.join(&entry.name);
            self.vfs.remove_file(&path).map_err(|err| Error::io("remove", &path, err))?;
        }
        Ok(())
    }
}

/// The log length that begins a new generation.
pub(super) fn roll_at(snapshot_bytes: u64) -> u64 {
    MIN_LOG_BYTES.max(2 * snapshot_bytes)
}

fn open_log(vfs: &dyn Vfs, path: &Path) -> io::Result<Box<dyn File>> {
    match vfs.open(path, Access::Write) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => vfs.open(path, Access::CreateNew),
        opened => opened,
    }
}
