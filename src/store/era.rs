//! Which checkpoints are believed that say "clean": those of the era in force.
//!
//! An append to a clean stream does not take that word back. A process that dies leaves its frame behind, in the page cache; a
//! power failure may leave the word and no frame. So the store says, durably and before anything else, that it is open and in which
//! boot; a checkpoint that says "clean" names its era; and where an opening finds that a boot ended with the store open, another
//! era begins, and no stream of an earlier one is taken to be clean.
//!
//! | the file `era` says       | so the era is | closing says so | because                                              |
//! |---------------------------|---------------|-----------------|------------------------------------------------------|
//! | closed                    | the same      | yes             | every "clean" is true, and on the disk                |
//! | open, in this boot        | the same      | once every stream was opened | its writer was killed: the page cache has what it went on with, and the disk may not |
//! | open, in any other boot   | the next      | yes             | what went on may be lost                             |
//! | nothing that can be read  | drawn         | once every stream was opened | nobody knows what became of its writer    |
//!
//! The file is overwritten in place, which needs no space: torn, it is not sound, and the era is another.

use std::collections::HashSet;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::format::envelope;
use crate::mutants::{self, Mutant};
use crate::store::Shared;
use crate::store::dir::names;
use crate::stream::Era;
use crate::vfs::{self, Access, Vfs};
use crate::{Error, Result};

const MAGIC: envelope::Magic = *b"\x89TWER\r\n\x1a";

/// What the file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Said {
    number: u32,
    open: bool,
    /// Id of the boot it was opened in, 0 where unknown.
    boot: u128,
}

/// The file of an open store.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct EraFile {
    now: Said,
    /// It is durable that the store is open.
    told: bool,
    /// In this boot a process was killed that had it open, or may have been.
    killed: bool,
}

/// What an opening in `boot` makes of what the file says; `told` is left to who writes it.
fn judge(said: Option<Said>, boot: u128, drawn: u32, is_new: bool) -> EraFile {
    let of = |number, killed| EraFile { now: Said { number, open: true, boot }, told: false, killed };
    match said {
        None => of(drawn, !is_new),
        Some(said) if !said.open => of(said.number, false),
        Some(said) if boot != 0 && said.boot == boot => of(said.number, true),
        Some(said) => of(said.number.wrapping_add(1), false),
    }
}

impl EraFile {
    /// Reads which era it is and says that the store is open; one that `is_new` has no streams that anybody could have left.
    /// Where that cannot be said, a checkpoint says durably that its stream goes on, before it does.
    pub(super) fn open(vfs: &dyn Vfs, dir: &Path, boot: Option<u128>, is_new: bool) -> EraFile {
        let read = vfs::read_all(vfs, &dir.join(names::ERA), 4096);
        let said = read.ok().and_then(|bytes| envelope::decode(MAGIC, 1, &bytes).ok()).map(|(said, _)| said);
        let mut file = judge(said, boot.unwrap_or(0), draw(vfs), is_new);
        // Also where it says so already: whoever wrote that may have died before it was durable.
        file.told = mutants::on(Mutant::EraUntold) || write(vfs, dir, &file.now).is_ok();
        file
    }

    /// What the streams are to know of it.
    pub(super) fn era(&self) -> Era {
        Era::new(self.now.number, self.told, self.killed)
    }
}

impl Shared {
    /// Says that the store is closed, if every "clean" on the disk is true. Where it goes on to say that it is open, the next opening
    /// after a reboot looks at every stream.
    pub(super) fn say_closed(&self) {
        let era = &self.env.era;
        let seen = !era.killed || self.opened_all() || mutants::on(Mutant::ClosedUnseen);
        if seen && era.is_settled() {
            let _ = write_closed(&*self.env.vfs, &self.dir, era.number);
        }
    }

    /// Whether every stream was opened since the store was, so that none is as a process left it that was killed.
    fn opened_all(&self) -> bool {
        let sessions = self.sessions.lock().is_some() || matches!(self.has_sessions(), Ok(false));
        // Before the catalogue's lock, which whoever is opening a stream waits for.
        let loaded: HashSet<_> = self.loaded.all().iter().map(|core| core.id).collect();
        let catalog = self.catalog.lock();
        let quiet = self.quiet.lock();
        sessions
            && catalog.all_streams().all(|entry| loaded.contains(&entry.id) || quiet.was_opened(entry.id))
    }
}

/// Makes an era up, which none is likely to have been like.
pub(super) fn draw(vfs: &dyn Vfs) -> u32 {
    vfs.random() as u32
}

/// Says that the store in `dir` is closed, and all is clean that says so in era `number`.
pub(super) fn write_closed(vfs: &dyn Vfs, dir: &Path, number: u32) -> Result<()> {
    let written = write(vfs, dir, &Said { number, open: false, boot: 0 });
    written.map_err(|err| Error::io("write", &dir.join(names::ERA), err))
}

fn write(vfs: &dyn Vfs, dir: &Path, said: &Said) -> io::Result<()> {
    let path = dir.join(names::ERA);
    let bytes = envelope::encode(MAGIC, 1, said);
    match vfs.open(&path, Access::Write) {
        Ok(file) if file.size()? == bytes.len() as u64 => {
            file.write_at(&bytes, 0)?;
            file.sync()
        }
        _ => vfs.replace(&path, &bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_era_lasts_until_a_boot_ends_with_the_store_open() {
        let said = |open, boot| Some(Said { number: 7, open, boot });
        let check = |said, boot, number, killed| {
            let judged = judge(said, boot, 99, false);
            assert_eq!(judged, EraFile { now: Said { number, open: true, boot }, told: false, killed });
        };
        check(None, 1, 99, true);
        assert!(!judge(None, 1, 99, true).killed);
        check(said(false, 0), 1, 7, false);
        check(said(true, 1), 1, 7, true);
        check(said(true, 1), 2, 8, false);
        // Of boots without an id, none is another's.
        check(said(true, 0), 0, 8, false);
        check(said(true, 1), 0, 8, false);
        check(Some(Said { number: u32::MAX, open: true, boot: 1 }), 2, 0, false);
    }
}
