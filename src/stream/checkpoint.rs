//! Keeping a stream's checkpoint file: two slots, written in turn, each durable before what relies on it.

use std::path::PathBuf;
use std::sync::Arc;

use crate::format::checkpoint::{self, Checkpoint};
use crate::mutants::{self, Mutant};
use crate::stream::Core;
use crate::sync::atomic::Ordering;
use crate::vfs::{Access, Vfs};
use crate::{Error, Result};

/// The file's name.
pub(crate) const NAME: &str = "checkpoint";

/// The checkpoint, and what it says now.
#[derive(Debug)]
pub(crate) struct CheckpointFile {
    vfs: Arc<dyn Vfs>,
    path: PathBuf,
    pub(crate) now: Checkpoint,
    /// Whether the file exists.
    exists: bool,
    /// The last write failed, and may have come to be there all the same.
    failed: bool,
}

impl CheckpointFile {
    pub(crate) fn new(
        vfs: &Arc<dyn Vfs>,
        mut path: PathBuf,
        now: Checkpoint,
        exists: bool,
    ) -> CheckpointFile {
        // Of streams there may be very many.
        path.shrink_to_fit();
        CheckpointFile { vfs: Arc::clone(vfs), path, now, exists, failed: false }
    }

    /// Whether the file may say that frames follow what it knows of.
    pub(crate) fn may_be_unclean(&self) -> bool {
        self.failed || self.says_unclean()
    }

    fn says_unclean(&self) -> bool {
        self.exists && !self.now.clean
    }

    /// Writes the next checkpoint, durably. On error the old one stands.
    ///
    /// # Errors
    /// `Io`, `NoSpace`; where the file exists no space is needed.
    pub(crate) fn write(&mut self, change: impl FnOnce(&mut Checkpoint)) -> Result<()> {
        let mut next = self.now;
        change(&mut next);
        next.generation = self.now.generation + 1;
        let written = (|| {
            if !self.exists {
                let mut bytes = vec![0; checkpoint::BYTES];
                bytes[next.at()..next.at() + checkpoint::SLOT].copy_from_slice(&next.encode());
                return self.vfs.replace(&self.path, &bytes);
            }
            let file = self.vfs.open(&self.path, Access::Write)?;
            file.write_at(&next.encode(), next.at() as u64)?;
            file.sync()
        })();
        self.failed = written.is_err();
        written.map_err(|err| Error::io("write checkpoint", &self.path, err))?;
        self.exists = true;
        self.now = next;
        Ok(())
    }
}

impl Core {
    /// Says that frames may follow, before the first one does; makes the stream's directory if there is none.
    pub(crate) fn mark_unclean(&self) -> Result<()> {
        let mut checkpoint = self.checkpoint.lock();
        if !checkpoint.exists {
            self.create_dir()?;
        }
        if checkpoint.says_unclean() || checkpoint.exists && mutants::on(Mutant::CleanWhileWriting) {
            return Ok(());
        }
        let boot = self.env.clock.boot_id();
        let durable = self.durable();
        let (epoch, epoch_start) = {
            let writer = self.writer.lock();
            (writer.epoch, writer.epoch_start)
        };
        checkpoint.write(|now| {
            now.clean = false;
            now.boot = boot;
            now.end = durable;
            now.epoch = epoch;
            now.epoch_start = epoch_start;
        })?;
        // The file says it now.
        *self.meta.lock() = Vec::new();
        Ok(())
    }

    /// How often the checkpoint was written.
    #[cfg(test)]
    pub(crate) fn checkpoint_generation(&self) -> u64 {
        self.checkpoint.lock().now.generation
    }

    /// Whether the checkpoint may say that frames follow what it knows of.
    pub(crate) fn may_be_unclean(&self) -> bool {
        self.checkpoint.lock().may_be_unclean()
    }

    /// Says that the log ends at `end`, all of it durable, and nobody writes.
    pub(crate) fn mark_clean(&self, end: u64) -> Result<()> {
        let last_ingest = self.writer.lock().last_ingest;
        self.checkpoint.lock().write(|now| {
            now.clean = true;
            now.end = end;
            now.last_ingest = last_ingest;
        })
    }

    /// Says that the log begins at `start` from now on; durable before anything is removed.
    pub(crate) fn mark_log_start(&self, start: u64) -> Result<()> {
        self.checkpoint.lock().write(|now| now.log_start = now.log_start.max(start))?;
        self.log_start.fetch_max(start, Ordering::AcqRel);
        Ok(())
    }

    /// Makes the directory of a stream that has had no record yet, with its `meta`.
    fn create_dir(&self) -> Result<()> {
        let vfs = &self.env.vfs;
        let io = |doing: &'static str| move |err| Error::io(doing, &self.dir, err);
        vfs.create_dir_all(&self.dir).map_err(io("create directory"))?;
        let meta = self.meta.lock();
        vfs.replace(&self.dir.join("meta"), &meta).map_err(io("write meta in"))?;
        let parent = self.dir.parent().expect("streams/ holds it");
        vfs.sync_dir(parent).map_err(|err| Error::io("sync directory", parent, err))
    }

    /// Takes note of what `meta` is to say of the stream; returns where it stands.
    pub(crate) fn set_meta(&self, meta: Vec<u8>) -> PathBuf {
        *self.meta.lock() = meta;
        self.dir.join("meta")
    }
}
