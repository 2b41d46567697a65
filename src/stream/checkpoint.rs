//! Keeping a stream's checkpoint file: two slots, written in turn, each durable before what relies on it.
//!
//! A stream that is clean goes on without a word: the first frame behind the end shows itself in the page cache, which a process that dies
//! leaves behind, and after a power failure nobody believes what was clean before, for the store said durably that it was
//! open (`store/era`). That it is not clean any more is written, without a sync for the same reason, before anything but the
//! frames of its last segment changes.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::format::Epoch;
use crate::format::checkpoint::{self, Checkpoint};
use crate::mutants::{self, Mutant};
use crate::stream::Core;
use crate::stream::env::Env;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::vfs::{Access, File};
use crate::{Error, Result};

/// The file's name.
pub(crate) const NAME: &str = "checkpoint";

/// Which checkpoints are believed that say "clean", and whether that may be taken back without a sync.
#[derive(Debug)]
pub(crate) struct Era {
    pub(crate) number: u32,
    /// It is durable that the store is open: whoever finds it so after a power failure begins another era.
    pub(crate) told: bool,
    /// In this boot a process was killed that had the store open.
    pub(crate) killed: bool,
    /// Streams whose checkpoint on the disk may not be true.
    untrue: AtomicUsize,
}

impl Era {
    pub(crate) fn new(number: u32, told: bool, killed: bool) -> Era {
        Era { number, told, killed, untrue: AtomicUsize::new(0) }
    }

    /// Whether every checkpoint on the disk is true, so that each may be believed whatever comes.
    pub(crate) fn is_settled(&self) -> bool {
        self.untrue.load(Ordering::Acquire) == 0
    }
}

/// The checkpoint, and what it says now.
#[derive(Debug)]
pub(crate) struct CheckpointFile {
    env: Arc<Env>,
    path: PathBuf,
    pub(crate) now: Checkpoint,
    /// Whether the file exists.
    exists: bool,
    /// The last write failed, and may have come to be there all the same.
    failed: bool,
    /// The last write was not synced. Nothing relies on it, and the other slot may be all there is on the disk.
    unsynced: bool,
    /// On the disk it may say that the stream is clean, which is not so any more; or writing it failed, and who reads it may see
    /// what is not on the disk.
    untrue: bool,
    /// A process that is no more wrote the last one, and perhaps did not sync it.
    left: bool,
}

impl CheckpointFile {
    pub(crate) fn new(env: &Arc<Env>, mut path: PathBuf, now: Checkpoint, exists: bool) -> CheckpointFile {
        // Of streams there may be very many.
        path.shrink_to_fit();
        let boot = env.clock.boot_id();
        // What was written in an earlier boot and is there was durable.
        let is_of_boot = boot.is_none() || now.boot.is_none() || now.boot == boot;
        let left = exists && is_of_boot && (env.era.killed || !now.clean || now.era != env.era.number);
        CheckpointFile {
            env: Arc::clone(env),
            path,
            now,
            exists,
            failed: false,
            unsynced: false,
            untrue: false,
            left,
        }
    }

    /// Whether the file may say that frames follow what it knows of.
    pub(crate) fn may_be_unclean(&self) -> bool {
        self.failed || self.untrue || self.says_unclean()
    }

    fn says_unclean(&self) -> bool {
        self.exists && !self.now.clean
    }

    /// Writes the next checkpoint, durably. On error the old one stands.
    ///
    /// # Errors
    /// `Io`, `NoSpace`; where the file exists no space is needed.
    pub(crate) fn write(&mut self, change: impl FnOnce(&mut Checkpoint)) -> Result<()> {
        self.put(true, change)
    }

    fn put(&mut self, durably: bool, change: impl FnOnce(&mut Checkpoint)) -> Result<()> {
        let mut next = self.now;
        change(&mut next);
        next.generation = self.now.generation + u64::from(!self.unsynced);
        let written = (|| {
            if !self.exists {
                let mut bytes = vec![0; checkpoint::BYTES];
                bytes[next.at()..next.at() + checkpoint::SLOT].copy_from_slice(&next.encode());
                return self.env.vfs.replace(&self.path, &bytes);
            }
            let file = self.env.vfs.open(&self.path, Access::Write)?;
            if self.left && !mutants::on(Mutant::OverwriteSlot) {
                // The slot that is written over may be the only one on the disk.
                self.rewrite(&*file)?;
            }
            file.write_at(&next.encode(), next.at() as u64)?;
            if durably { file.sync() } else { Ok(()) }
        })();
        self.failed = written.is_err();
        if self.failed && self.exists {
            // Whoever opens the stream next would believe what the page cache shows.
            self.set_untrue(true);
        }
        written.map_err(|err| Error::io("write checkpoint", &self.path, err))?;
        self.exists = true;
        self.now = next;
        self.unsynced = !durably;
        if !durably || !next.clean {
            self.set_untrue(!durably);
        }
        Ok(())
    }

    /// Makes durable what a process left that is no more.
    fn rewrite(&mut self, file: &dyn File) -> io::Result<()> {
        say_again(file, &self.now)?;
        self.left = false;
        Ok(())
    }

    fn set_untrue(&mut self, untrue: bool) {
        match (self.untrue, untrue) {
            (false, true) => drop(self.env.era.untrue.fetch_add(1, Ordering::AcqRel)),
            (true, false) => drop(self.env.era.untrue.fetch_sub(1, Ordering::AcqRel)),
            _ => {}
        }
        self.untrue = untrue;
    }
}

/// Makes durable what a checkpoint's file shows. With its own bytes, in case its writer could have been told of an error.
pub(crate) fn say_again(file: &dyn File, now: &Checkpoint) -> io::Result<()> {
    file.write_at(&now.encode(), now.at() as u64)?;
    file.sync()
}

impl Core {
    /// Makes a checkpoint durable that says "clean" and that a killed process may have left unsynced: once the store was closed
    /// nobody knows any more that it is one. Where that fails, the store will not say that it is closed.
    pub(crate) fn settle_checkpoint(&self) {
        let mut checkpoint = self.checkpoint.lock();
        if !checkpoint.exists || !checkpoint.left {
            return;
        }
        let file = self.env.vfs.open(&checkpoint.path, Access::Write);
        let settled = file.and_then(|file| checkpoint.rewrite(&*file));
        checkpoint.set_untrue(settled.is_err());
    }

    /// Takes note that frames may follow in the last segment, before the first one does. It is written only where neither that frame
    /// nor the era would tell.
    pub(crate) fn go_on(&self) -> Result<()> {
        let mut checkpoint = self.checkpoint.lock();
        if self.env.era.told && checkpoint.exists && checkpoint.now.clean {
            checkpoint.set_untrue(true);
            return Ok(());
        }
        drop(checkpoint);
        self.mark_unclean()
    }

    /// Says that the stream is not clean any more, before anything changes but the frames of its last segment; makes its
    /// directory if there is none.
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
        let durably = !self.env.era.told || !checkpoint.exists;
        checkpoint.put(durably, |now| {
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

    /// Says, durably, that `epoch` begins at `start`.
    pub(crate) fn mark_epoch(&self, epoch: Epoch, start: u64) -> Result<()> {
        let (boot, durable) = (self.env.clock.boot_id(), self.durable());
        let mut checkpoint = self.checkpoint.lock();
        if checkpoint.now.epoch == epoch {
            return Ok(());
        }
        checkpoint.write(|now| {
            now.clean = false;
            now.boot = boot;
            now.end = durable;
            now.epoch = epoch;
            now.epoch_start = start;
        })
    }

    /// Forgets that the checkpoint may not be true: the stream is deleted.
    pub(crate) fn forget_mark(&self) {
        self.checkpoint.lock().set_untrue(false);
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

    /// Says that the log ends at `end`, all of it durable, and nobody writes. Not where an epoch is owed, so that the next open
    /// owes it as well: then it is durable that the stream is not clean, so that the store may say that it is closed.
    pub(crate) fn mark_clean(&self, end: u64) -> Result<()> {
        let Some((epoch, epoch_start)) = self.settled_epoch() else {
            let mut checkpoint = self.checkpoint.lock();
            return if checkpoint.untrue { checkpoint.write(|now| now.clean = false) } else { Ok(()) };
        };
        let last_ingest = self.writer.lock().last_ingest;
        let boot = self.env.clock.boot_id();
        let mut checkpoint = self.checkpoint.lock();
        checkpoint.write(|now| {
            now.clean = true;
            now.epoch = epoch;
            now.epoch_start = epoch_start;
            now.boot = boot;
            now.era = self.env.era.number;
            now.end = end;
            now.last_ingest = last_ingest;
        })?;
        checkpoint.set_untrue(false);
        Ok(())
    }

    /// Says that the log begins at `start` from now on; durable before anything is removed.
    pub(crate) fn mark_log_start(&self, start: u64) -> Result<()> {
        let boot = self.env.clock.boot_id();
        self.checkpoint.lock().write(|now| {
            now.boot = boot;
            now.log_start = now.log_start.max(start);
        })?;
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
