//! A consistent copy of a live store: hard links for what never changes, one copy of what still grows.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::format::checkpoint::{self, Checkpoint};
use crate::format::header::{SEAL, SEAL_AT};
use crate::store::Shared;
use crate::store::dir::{names, remove_tree};
use crate::store::era;
use crate::stream::Core;
use crate::vfs::{Access, File, Vfs};
use crate::{Error, ErrorKind, Result};

/// Bytes copied at a time.
const CHUNK: usize = 1 << 20;

impl Shared {
    pub(super) fn snapshot(&self, target: &Path) -> Result<()> {
        let vfs = &*self.env.vfs;
        let io = |doing: &'static str, path: &Path| {
            let path = path.to_path_buf();
            move |err| Error::io(doing, &path, err)
        };
        vfs.create_dir_all(target).map_err(io("create directory", target))?;
        if !vfs.list(target).map_err(io("list directory", target))?.is_empty() {
            let text = format!("snapshot into {}: it holds something", target.display());
            return Err(Error::new(ErrorKind::AlreadyExists, text));
        }
        // The catalogue first: a stream deleted meanwhile is then one that is empty, and none is there that it does
        // not know.
        let ids: Vec<_> = {
            let mut catalog = self.catalog.lock();
            catalog.refresh()?;
            catalog.copy_to(&target.join(names::CATALOG))?;
            catalog.all_streams().map(|entry| entry.id).collect()
        };
        let era = era::draw(vfs);
        let streams = target.join(names::STREAMS);
        vfs.create_dir_all(&streams).map_err(io("create directory", &streams))?;
        for id in ids {
            let copied = streams.join(id.to_string());
            let copy = |core: Arc<Core>| {
                let meta = self.catalog.lock().meta(id)?.encode();
                core.snapshot(&copied, &meta, era)
            };
            match self.core(id).and_then(copy) {
                Err(err) if self.knows(id)? => return Err(err),
                // Deleted meanwhile, it has lost its files: the copy's is empty.
                Err(_) => remove_tree(vfs, &copied)?,
                Ok(()) => {}
            }
        }
        vfs.sync_dir(&streams).map_err(io("sync directory", &streams))?;
        if let Some(sessions) = self.session_log()? {
            sessions.snapshot(&target.join(names::SESSIONS), &[], era)?;
        }
        era::write_closed(vfs, target, era)?;
        vfs.sync_dir(target).map_err(io("sync directory", target))
    }
}

impl Core {
    /// Copies the stream as it is now, up to its published end, marked clean.
    fn snapshot(self: &Arc<Core>, target: &Path, meta: &[u8], era: u32) -> Result<()> {
        self.check()?;
        // Before the end: what is settled by then is in force there.
        let settled = self.settled_epoch().is_some();
        let end = self.published()?;
        let segments = self.segments();
        if segments.is_empty() && end == 0 {
            return Ok(());
        }
        let vfs = &*self.env.vfs;
        let io = |doing: &'static str| move |err| Error::io(doing, target, err);
        vfs.create_dir_all(target).map_err(io("create directory"))?;
        // What began behind the end is left out: its predecessor may be copied only up to there.
        for segment in segments.iter().filter(|segment| segment.base < end) {
            let name = segment.path.file_name().expect("a segment has a name");
            let io = |err| Error::io("copy segment", &segment.path, err);
            let copy = || match segment.seal() {
                Some(_) => link_or_copy(vfs, &segment.path, &target.join(name)).map_err(io),
                None => {
                    let head = *segment.head()?;
                    let used = head.position(end.max(segment.base).min(segment.end().unwrap_or(end)));
                    let copied = copy(vfs, &segment.path, &target.join(name), used, head.capacity);
                    let unsealed = copied.and_then(|copied| {
                        // It may have been sealed meanwhile; without its footer it is not.
                        for at in SEAL_AT {
                            copied.write_at(&[0; SEAL], at as u64)?;
                        }
                        copied.sync()
                    });
                    unsealed.map_err(io)
                }
            };
            match copy() {
                // Retention was quicker.
                Err(_) if !segment.exists() && segment.base < self.log_start_now()? => {}
                copied => copied?,
            }
        }
        let before = self.before(end)?;
        let (epoch, epoch_start) = self.current_epoch();
        let mut bytes = vec![0; checkpoint::BYTES];
        let slot = Checkpoint {
            stream: self.id,
            generation: 2,
            // Else the copy begins an epoch of its own when it is opened.
            clean: settled,
            era,
            log_start: self.log_start().min(end),
            end,
            epoch: before.map_or(epoch, |(epoch, _)| epoch),
            epoch_start: epoch_start.min(end),
            last_ingest: before.map_or(crate::Timestamp::MIN, |(_, ingest)| ingest),
            boot: None,
        };
        bytes[slot.at()..slot.at() + checkpoint::SLOT].copy_from_slice(&slot.encode());
        let path = target.join(crate::stream::CHECKPOINT);
        vfs.replace(&path, &bytes).map_err(|err| Error::io("write checkpoint", &path, err))?;
        let path = target.join(names::META);
        vfs.replace(&path, meta).map_err(|err| Error::io("write", &path, err))
    }
}

/// Gives a file that is written no more a second name, or where the filesystem has no such thing, a copy.
pub(super) fn link_or_copy(vfs: &dyn Vfs, from: &Path, to: &Path) -> io::Result<()> {
    match vfs.hard_link(from, to) {
        Err(err)
            if matches!(
                err.kind(),
                io::ErrorKind::CrossesDevices | io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied
            ) =>
        {
            let size = vfs.open(from, Access::Read)?.size()?;
            copy(vfs, from, to, size, size)?.sync()
        }
        linked => linked,
    }
}

/// Copies the first `used` bytes into a file of `size`, which the caller syncs.
fn copy(vfs: &dyn Vfs, from: &Path, to: &Path, used: u64, size: u64) -> io::Result<Box<dyn File>> {
    let source = vfs.open(from, Access::Read)?;
    let target = vfs.open(to, Access::CreateNew)?;
    target.allocate(size)?;
    let mut buf = vec![0; CHUNK.min(used as usize)];
    let mut position = 0;
    while position < used {
        let step = buf.len().min((used - position) as usize);
        let read = source.read_at(&mut buf[..step], position)?;
        if read == 0 {
            break;
        }
        target.write_at(&buf[..read], position)?;
        position += read as u64;
    }
    Ok(target)
}
