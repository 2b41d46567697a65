//! Repair: an explicit act that makes a damaged store sound again. It sets files aside and deletes nothing.
//!
//! What cannot be read stays unreadable; repair only says so in the files themselves, so that the log verifies, and readers
//! get the same gaps as before. A damaged segment is written anew: its valid frames at their old places, marks
//! over what is lost; the damaged file goes to `quarantine/`. A stream the catalogue lost comes back from its `meta`.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use crate::catalog::{Catalog, Meta, Mode};
use crate::format::frame::{self, Kind, Place};
use crate::format::header::{HEADER_AT, Header, PAGE};
use crate::format::index::reserve;
use crate::segment::walk::{Found, Frames};
use crate::segment::{Segment, parse_file_name, seal};
use crate::store::Options;
use crate::store::dir::{lock, names, note_deleting, read_mark};
use crate::store::snapshot::link_or_copy;
use crate::stream::quarantine::{put_aside, set_aside};
use crate::stream::{Core, Recovery};
use crate::vfs::guard::GuardedClock;
use crate::vfs::{self, Access, EntryKind, TEMPORARY, Vfs, new_id};
use crate::{Error, ErrorKind, Result, StreamId};

/// What [`repair`] did.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct RepairReport {
    /// What was wrong with the catalogue.
    pub catalog_problems: Vec<String>,
    /// Streams that the catalogue had lost and has again.
    pub restored_streams: Vec<StreamId>,
    /// Segments written anew.
    pub rewritten_segments: Vec<PathBuf>,
    /// Files moved to a `quarantine` directory, or under another name beside it where a full disk has no room for one; nothing was
    /// deleted.
    pub set_aside: Vec<PathBuf>,
    /// Bytes of log that are lost: readers get a gap there.
    pub lost_bytes: u64,
}

/// The longest stretch one mark covers.
const MARK: u64 = 8 << 20;

/// Makes the store in `dir` sound again. Nobody may have it open for writing.
///
/// # Errors
/// `Locked`; `NotFound` where there is no store; `Unsupported`; `NoSpace`, `Io`.
pub fn repair(dir: impl AsRef<Path>) -> Result<RepairReport> {
    repair_with(Options::new(), dir.as_ref())
}

fn repair_with(options: Options, dir: &Path) -> Result<RepairReport> {
    let mut report = RepairReport::default();
    let vfs = Arc::clone(&options.vfs);
    let streams = dir.join(names::STREAMS);
    let catalog_dir = dir.join(names::CATALOG);
    if !Catalog::exists(&*vfs, &catalog_dir)? && vfs.list(&streams).is_err() {
        return Err(Error::new(
            ErrorKind::NotFound,
            format!("repair store {}: there is none", dir.display()),
        ));
    }
    let held = lock(&*vfs, dir)?;
    // What a lost catalogue knew of deletions is lost with it.
    note_deleting(&*vfs, dir)?;
    repair_catalog(&options, dir, &mut report)?;
    drop(held);
    let store = options.background(false).create(false).open(dir)?;
    for info in store.all_streams()? {
        // Before the stream is opened, which may write its `meta`.
        if let Some(damage) = store.shared.meta_damage(info.id)? {
            report.catalog_problems.push(format!("{}: {}; written anew", damage.path.display(), damage.what));
            let dir = store.shared.stream_dir(info.id);
            let entries = vfs.list(&dir).map_err(|err| Error::io("list directory of stream", &dir, err))?;
            // A directory is not replaced by a file.
            if entries.iter().any(|entry| entry.name == names::META) {
                report.set_aside.push(set_aside(&store.shared.env, &dir, &damage.path)?);
            }
            store.shared.write_meta(info.id)?;
        }
        let core = store.stream_by_id(info.id)?.core;
        repair_stream(&core, &mut report)?;
    }
    if let Some(sessions) = store.shared.session_log()? {
        repair_stream(&sessions, &mut report)?;
    }
    store.close()?;
    Ok(report)
}

fn repair_catalog(options: &Options, dir: &Path, report: &mut RepairReport) -> Result<()> {
    let vfs = &options.vfs;
    let catalog_dir = dir.join(names::CATALOG);
    let now = GuardedClock::new(options.clock.clone(), read_mark(&**vfs, dir)?).now();
    let metas = read_metas(&**vfs, &dir.join(names::STREAMS))?;
    let mut catalog = match Catalog::open(Arc::clone(vfs), &catalog_dir, Mode::ReadOnly, now) {
        Ok(found) => {
            // Opening for writing makes a new generation where one is damaged.
            report.catalog_problems.extend(found.problems().iter().map(ToString::to_string));
            Catalog::open(Arc::clone(vfs), &catalog_dir, Mode::Writable, now)?
        }
        Err(err) if matches!(err.kind(), ErrorKind::Corrupt | ErrorKind::NotFound) => {
            report.catalog_problems.push(err.to_string());
            match Catalog::load_lossy(Arc::clone(vfs), &catalog_dir) {
                Ok((mut catalog, problems)) => {
                    report.catalog_problems.extend(problems.iter().map(ToString::to_string));
                    catalog.rewrite(now)?;
                    catalog
                }
                Err(_) => {
                    let store = metas.first().map_or_else(|| new_id(&**vfs), |meta| meta.store);
                    Catalog::create(Arc::clone(vfs), &catalog_dir, store, now)?
                }
            }
        }
        Err(err) => return Err(err),
    };
    for meta in metas {
        let id = meta.stream.id;
        if catalog.stream(id).is_ok() {
            continue;
        }
        match catalog.restore_stream(meta, now) {
            Ok(_) => report.restored_streams.push(id),
            Err(err) => report.catalog_problems.push(format!("bring back stream {id}: {err}")),
        }
    }
    Ok(())
}

/// What the streams' own files say of them. A stream that was being deleted stays so.
fn read_metas(vfs: &dyn Vfs, streams: &Path) -> Result<Vec<Meta>> {
    let Ok(entries) = vfs.list(streams) else { return Ok(Vec::new()) };
    let mut metas = Vec::new();
    for entry in entries.iter().filter(|entry| entry.kind == EntryKind::Directory) {
        let dir = streams.join(&entry.name);
        let files = vfs.list(&dir).map_err(|err| Error::io("list directory", &dir, err))?;
        if files.iter().any(|file| file.name == names::DELETED) {
            continue;
        }
        let path = dir.join(names::META);
        if let Ok(bytes) = vfs::read_all(vfs, &path, 1 << 20)
            && let Ok(meta) = Meta::decode(&bytes, &path)
            && meta.stream.id.to_string() == entry.name
        {
            metas.push(meta);
        }
    }
    metas.sort_by_key(|meta| meta.stream.created);
    Ok(metas)
}

fn repair_stream(core: &Arc<Core>, report: &mut RepairReport) -> Result<()> {
    let Recovery { set_aside: aside, .. } = &core.recovery;
    report.set_aside.extend(aside.iter().cloned());
    core.forget_strangers()?;
    set_strangers_aside(core, report)?;
    let damage = core.verify()?.damage;
    if damage.is_empty() {
        return Ok(());
    }
    // Only what is sealed is written anew.
    core.end_segment()?;
    core.sync_to(core.published()?)?;
    core.seal_rolled()?;
    let segments = core.segments();
    let mut expected = core.log_start();
    for (index, segment) in segments.iter().enumerate() {
        if expected < segment.base {
            fill(core, expected..segment.base, report)?;
        }
        let next = segments.get(index + 1).map_or(core.published()?, |next| next.base);
        let end = segment.seal().map_or(next, |seal| seal.end.max(segment.base));
        if damage
            .iter()
            .any(|damage| damage.path == segment.path && damage.end.is_none_or(|end| segment.base < end))
        {
            rewrite(core, segment, end, report)?;
        }
        expected = end;
    }
    let published = core.published()?;
    if expected < published {
        fill(core, expected..published, report)?;
    }
    Ok(())
}

/// Moves what is called like a segment and is none out of the way.
fn set_strangers_aside(core: &Core, report: &mut RepairReport) -> Result<()> {
    let Ok(entries) = core.env.vfs.list(&core.dir) else { return Ok(()) };
    for entry in entries.iter().filter(|entry| entry.name.ends_with(".seg")) {
        let path = core.dir.join(&entry.name);
        let known = parse_file_name(&entry.name).is_some() && entry.kind == EntryKind::File;
        if !known || core.strangers.lock().contains(&path) {
            report.set_aside.push(set_aside(&core.env, &core.dir, &path)?);
        }
    }
    Ok(())
}

/// Writes a damaged segment anew: valid frames where they were, marks over the rest. The damaged one keeps its name until the
/// new one takes it, or an interruption would leave a hole, and the next repair would fill it with marks.
fn rewrite(core: &Core, segment: &Segment, end: u64, report: &mut RepairReport) -> Result<()> {
    let read = segment.open(Access::Read).and_then(|file| {
        let page = segment.read_page(&*file)?;
        let head = segment.check_page(&page)?;
        let mut bytes = vec![0; (end - segment.base) as usize];
        let read = file
            .read_at(&mut bytes, PAGE as u64)
            .map_err(|err| Error::io("read segment", &segment.path, err))?;
        bytes[read..].fill(0);
        Ok((head, bytes))
    });
    let (head, bytes) = match read {
        Ok(read) => read,
        Err(err) if *err.kind() == ErrorKind::Corrupt => {
            report.set_aside.push(set_aside(&core.env, &core.dir, &segment.path)?);
            return fill(core, segment.base..end, report);
        }
        Err(err) => return Err(err),
    };
    let frames = Frames { bytes: &bytes, base: segment.base, salt: head.salt };
    let lost: Vec<Range<u64>> = frames
        .walk(segment.base)
        .filter_map(|found| match found {
            Found::Damage(range, _) => Some(range),
            Found::Frame(..) => None,
        })
        .collect();
    let path = &segment.path;
    let kept = put_aside(&core.env, &core.dir, path, |target| link_or_copy(&*core.env.vfs, path, target))?;
    report.set_aside.push(kept);
    write_segment(core, head, bytes, &lost, end, report)
}

/// Writes segments that say that `range` is lost.
fn fill(core: &Core, range: Range<u64>, report: &mut RepairReport) -> Result<()> {
    let mut start = range.start;
    while start < range.end {
        let end = range.end.min(start + (64 << 20));
        let (epoch, ingest) = core.before(start)?.unwrap_or((core.current_epoch().0, crate::Timestamp::MIN));
        let head = Header {
            store: core.env.store,
            stream: core.id,
            base: start,
            epoch,
            salt: core.env.vfs.random() as u64,
            created: core.env.clock.now(),
            capacity: (PAGE as u64 + end - start + reserve(end - start)).next_multiple_of(4096),
            previous_durable: start,
            previous_ingest: ingest,
        };
        let lost = start..end;
        write_segment(core, head, vec![0; (end - start) as usize], &[lost], end, report)?;
        start = end;
    }
    Ok(())
}

fn write_segment(
    core: &Core,
    head: Header,
    mut bytes: Vec<u8>,
    lost: &[Range<u64>],
    end: u64,
    report: &mut RepairReport,
) -> Result<()> {
    for range in lost {
        report.lost_bytes += range.end - range.start;
        mark_lost(&mut bytes, &head, range);
    }
    let vfs = &core.env.vfs;
    let temporary = core.dir.join(format!("{TEMPORARY}repair"));
    let mut segment = core.env.segment(&core.dir, core.id, head.base);
    let path = std::mem::replace(&mut segment.path, temporary);
    let written = (|| {
        let file = vfs.open(&segment.path, Access::CreateNew)?;
        file.allocate(head.capacity)?;
        for at in HEADER_AT {
            file.write_at(&head.encode(), at as u64)?;
        }
        file.write_at(&bytes, PAGE as u64)?;
        file.sync()
    })();
    written.map_err(|err| Error::io("write segment", &path, err))?;
    segment.set_end(end);
    seal::seal(&segment, end)?;
    let named = vfs.rename(&segment.path, &path).and_then(|()| vfs.sync_dir(&core.dir));
    named.map_err(|err| Error::io("rename segment to", &path, err))?;
    report.rewritten_segments.push(path);
    Ok(())
}

/// Puts marks over a stretch of a segment's frames. The stretch begins and ends where frames do, so a mark fits it.
fn mark_lost(bytes: &mut [u8], head: &Header, range: &Range<u64>) {
    let mut start = range.start;
    while start < range.end {
        let left = range.end - start;
        let take = if left <= MARK { left } else { MARK.min(left - frame::HEADER as u64) & !7 };
        let at = (start - head.base) as usize;
        let place = Place { salt: head.salt, offset: start };
        bytes[at..at + take as usize].fill(0);
        let mark = frame::mark(Kind::Lost, take as usize, &[], head.previous_ingest, place);
        bytes[at..at + mark.len()].copy_from_slice(&mark);
        start += take;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfs::sim::{Crash, SimClock, SimDisk};
    use crate::{Limit, Record, Start, Step, Store, StreamName, StreamSpec};

    const DIR: &str = "/store";
    const COUNT: usize = 20;
    const DAMAGED: usize = 1;

    fn options(disk: &SimDisk) -> Options {
        let clock = Arc::new(SimClock::new(1_700_000_000_000_000_000));
        Options::new().background(false).max_segment_bytes(64 << 10).vfs(Arc::new(disk.clone())).clock(clock)
    }

    fn body(number: usize) -> Vec<u8> {
        vec![number as u8; 8_000]
    }

    /// A store with one damaged record in the first of several segments.
    fn damaged() -> SimDisk {
        let disk = SimDisk::new();
        let store = options(&disk).open(DIR).unwrap();
        let stream = store.create_stream(StreamSpec::new(StreamName::new("a").unwrap())).unwrap();
        for number in 0..COUNT {
            stream.append(&Record::new(&body(number))).unwrap();
        }
        let first = stream.core.segments()[0].path.clone();
        store.close().unwrap();
        let bytes = disk.read_file(&first);
        let at = bytes.windows(100).position(|window| window == [DAMAGED as u8; 100]).unwrap();
        disk.flip_bit(&first, at * 8);
        disk
    }

    #[track_caller]
    fn check_repaired(disk: &SimDisk) {
        repair_with(options(disk), Path::new(DIR)).unwrap();
        let store: Store = options(disk).open(DIR).unwrap();
        assert!(store.verify().unwrap().is_sound());
        let mut reader = store.stream("a").unwrap().read(Start::Beginning).unwrap();
        let mut found = Vec::new();
        loop {
            match reader.next_within(Limit::default()).unwrap() {
                Step::Records(batch) => found.extend(batch.iter().map(|record| record.body()[0] as usize)),
                Step::End => break,
                _ => {}
            }
        }
        let expected: Vec<_> = (0..COUNT).filter(|number| *number != DAMAGED).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_repair_interrupted_anywhere_and_done_again_loses_no_sound_record() {
        let disk = damaged();
        let damaged = || disk.fork_crashed(Crash::KeepAll);
        check_repaired(&damaged());
        for nth in 1.. {
            for crash in [Crash::KeepAll, Crash::DropUnsynced, Crash::Sectors { seed: nth }] {
                let disk = damaged();
                disk.crash_at(nth);
                let _ = repair_with(options(&disk), Path::new(DIR));
                if !disk.is_off() {
                    return;
                }
                disk.crash(crash);
                check_repaired(&disk);
            }
        }
    }
}
