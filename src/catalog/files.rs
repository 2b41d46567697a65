//! The catalogue's files as bytes, and what reading all of them amounts to.
//!
//! `catalog/` holds generations, the newest and at least the one before it:
//!
//! | file           | what it is                                                                   |
//! |----------------|------------------------------------------------------------------------------|
//! | `snapshot-<n>` | a head, then one record for each entry; replaced as a whole, never appended to |
//! | `log-<n>`      | one record for each change since `snapshot-<n>`, in order; made at the first |
//!
//! Head and records are each in an [envelope](crate::format::envelope) of their own, so that damage
//! takes no more than what it hits:
//!
//! | value  | magic              | fields                                                                   |
//! |--------|--------------------|--------------------------------------------------------------------------|
//! | head   | `89 TWCS 0D 0A 1A` | store, generation, sequence of the last change included, records behind  |
//! | record | `89 TWCR 0D 0A 1A` | store, sequence, change                                                  |
//! | meta   | `89 TWSM 0D 0A 1A` | store, group entry, stream entry: `meta` in a stream's directory         |
//!
//! Changes are numbered from 1 through the whole life of a store, so that logs follow each other without a
//! snapshot between them, and a missing change shows. In a snapshot `sequence` counts its records. No text in
//! a record can hold a magic: its control characters are in none of the allowed sets.

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::state::{Change, GroupEntry, State, StreamEntry};
use crate::format::envelope::{self, EnvelopeError, Magic};
use crate::vfs::{EntryKind, Vfs, read_all};
use crate::{Error, ErrorKind, Result};

pub(super) const HEAD: Magic = *b"\x89TWCS\r\n\x1a";
pub(super) const RECORD: Magic = *b"\x89TWCR\r\n\x1a";
pub(super) const META: Magic = *b"\x89TWSM\r\n\x1a";
/// The version of all three.
pub(super) const VERSION: u16 = 1;

/// No file of the catalogue is larger: what claims to be is not ours.
const MAX_FILE: usize = 1 << 30;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) store: Uuid,
    pub(super) generation: u64,
    pub(super) sequence: u64,
    pub(super) records: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) store: Uuid,
    pub(super) sequence: u64,
    pub(super) change: Change,
}

/// What a stream's `meta` file says, so that a lost catalogue can be rebuilt from those.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Meta {
    pub(crate) store: Uuid,
    pub(crate) group: GroupEntry,
    pub(crate) stream: StreamEntry,
}

impl Meta {
    pub(crate) fn encode(&self) -> Vec<u8> {
        envelope::encode(META, VERSION, self)
    }

    /// Reads the bytes of the `meta` file at `path`.
    ///
    /// # Errors
    /// `Corrupt`, or `Unsupported` when a newer version of this crate wrote it.
    pub(crate) fn decode(bytes: &[u8], path: &Path) -> Result<Meta> {
        match envelope::decode(META, VERSION, bytes) {
            Ok((meta, used)) if used == bytes.len() => Ok(meta),
            Ok(_) => Err(unreadable("stream metadata", path, 0, EnvelopeError::Invalid)),
            Err(err) => Err(unreadable("stream metadata", path, 0, err)),
        }
    }
}

fn unreadable(what: &str, path: &Path, position: usize, err: EnvelopeError) -> Error {
    let kind = match err {
        EnvelopeError::NewerVersion(_) => ErrorKind::Unsupported,
        EnvelopeError::Truncated | EnvelopeError::Invalid => ErrorKind::Corrupt,
    };
    Error::new(kind, format!("read {what} {} at position {position}: {err}", path.display()))
}

pub(super) fn snapshot_path(dir: &Path, generation: u64) -> PathBuf {
    dir.join(format!("snapshot-{generation}"))
}

pub(super) fn log_path(dir: &Path, generation: u64) -> PathBuf {
    dir.join(format!("log-{generation}"))
}

/// The generations there are files of.
#[derive(Debug, Default)]
pub(super) struct Generations {
    pub(super) snapshots: BTreeSet<u64>,
    pub(super) logs: BTreeSet<u64>,
}

impl Generations {
    /// A directory that does not exist has none.
    pub(super) fn list(vfs: &dyn Vfs, dir: &Path) -> Result<Generations> {
        let mut found = Generations::default();
        let entries = match vfs.list(dir) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(found),
            entries => entries.map_err(|err| Error::io("list catalogue", dir, err))?,
        };
        for entry in entries.iter().filter(|entry| entry.kind == EntryKind::File) {
            let Some((kind, number)) = entry.name.split_once('-') else { continue };
            let Ok(number) = number.parse::<u64>() else { continue };
            match kind {
                // Only the spelling that we write: `snapshot-01` is somebody else's.
                _ if entry.name != format!("{kind}-{number}") => {}
                "snapshot" => drop(found.snapshots.insert(number)),
                "log" => drop(found.logs.insert(number)),
                _ => {}
            }
        }
        Ok(found)
    }

    pub(super) fn newest(&self) -> Option<u64> {
        self.snapshots.last().max(self.logs.last()).copied()
    }
}

pub(super) fn encode_record(store: Uuid, sequence: u64, change: Change) -> Vec<u8> {
    envelope::encode(RECORD, VERSION, &Record { store, sequence, change })
}

pub(super) fn encode_snapshot(store: Uuid, generation: u64, sequence: u64, state: &State) -> Vec<u8> {
    let records = (state.tenants.len() + state.groups.len() + state.streams.len()) as u64;
    let mut bytes = envelope::encode(HEAD, VERSION, &Head { store, generation, sequence, records });
    for (i, change) in state.changes().enumerate() {
        bytes.extend_from_slice(&encode_record(store, i as u64 + 1, change));
    }
    bytes
}

/// Everything readable in a run of records, and where it was not.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub(super) records: Vec<(Range<usize>, Record)>,
    /// Unreadable, with more records behind it: damage.
    pub(super) holes: Vec<Range<usize>>,
    /// Where the last record ends. What follows is an unfinished write, or was never written.
    pub(super) end: usize,
}

impl Scan {
    /// Reads the records in `bytes` from `start` on; positions count from the start of `bytes`.
    pub(super) fn new(bytes: &[u8], start: usize) -> Result<Scan, (usize, EnvelopeError)> {
        let mut scan = Scan { end: start, ..Scan::default() };
        let mut position = start;
        while position < bytes.len() {
            match envelope::decode(RECORD, VERSION, &bytes[position..]) {
                Ok((record, used)) => {
                    if scan.end < position {
                        scan.holes.push(scan.end..position);
                    }
                    scan.records.push((position..position + used, record));
                    position += used;
                    scan.end = position;
                }
                Err(err @ EnvelopeError::NewerVersion(_)) => return Err((position, err)),
                Err(_) => {
                    let rest = &bytes[position + 1..];
                    let next = rest.windows(RECORD.len()).position(|window| window == RECORD);
                    position = next.map_or(bytes.len(), |next| position + 1 + next);
                }
            }
        }
        Ok(scan)
    }
}

/// One thing wrong with the catalogue's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) path: PathBuf,
    /// Where in the file.
    pub(crate) position: u64,
    /// What is wrong there.
    pub(crate) what: String,
}

impl Problem {
    fn new(path: &Path, position: usize, what: impl Into<String>) -> Problem {
        Problem { path: path.into(), position: position as u64, what: what.into() }
    }

    fn into_error(self) -> Error {
        let Problem { path, position, what } = self;
        let message = format!("read catalogue {} at position {position}: {what}", path.display());
        Error::new(ErrorKind::Corrupt, message)
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at position {}: {}", self.path.display(), self.position, self.what)
    }
}

/// What to do about damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnDamage {
    /// Fail, unless nothing is lost by it.
    Refuse,
    /// Note it and read on.
    Skip,
}

/// The state that the files amount to.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) store: Uuid,
    pub(super) state: State,
    /// Of the last change applied.
    pub(super) sequence: u64,
    /// The newest generation that has a file.
    pub(super) generation: u64,
    /// The generation whose snapshot was read; no older one is needed.
    pub(super) base: u64,
    pub(super) snapshot_bytes: u64,
    /// Where the newest log ends, an unfinished write left out.
    pub(super) log_end: u64,
    /// The last record of the newest log.
    pub(super) last_record: Range<u64>,
    pub(super) problems: Vec<Problem>,
}

/// Reads the newest sound snapshot and every log from there on. `None` when there is nothing at all.
///
/// A snapshot that is damaged while the generation before it is whole loses nothing: it is only noted.
///
/// # Errors
/// `Corrupt` with the file and the position, when a change is missing and `on_damage` is `Refuse`; or when nothing at
/// all can be read.
pub(super) fn load(vfs: &dyn Vfs, dir: &Path, on_damage: OnDamage) -> Result<Option<Loaded>> {
    let files = Generations::list(vfs, dir)?;
    let Some(generation) = files.newest() else { return Ok(None) };
    let mut problems = Vec::new();
    let mut damaged = Vec::new();
    let mut base = None;
    for &number in files.snapshots.iter().rev() {
        let path = snapshot_path(dir, number);
        let snapshot = Snapshot::read(vfs, &path, number)?;
        if snapshot.problem.is_none() {
            base = Some((number, snapshot));
            break;
        }
        problems.extend(snapshot.problem.clone());
        damaged.push((number, snapshot));
    }
    let (base, first) = match base {
        Some(base) => base,
        None if on_damage == OnDamage::Refuse => {
            let none = || Problem::new(&log_path(dir, generation), 0, "no snapshot comes before it");
            return Err(problems.into_iter().next().unwrap_or_else(none).into_error());
        }
        None => (0, Snapshot::default()),
    };
    let mut replay = Replay {
        store: first.head.as_ref().map(|head| head.store),
        sequence: first.head.as_ref().map_or(0, |head| head.sequence),
        state: first.state,
        on_damage,
        problems,
        unfinished: None,
    };
    let (mut log_end, mut last_record) = (0, 0..0);
    let numbers: BTreeSet<u64> = files.snapshots.union(&files.logs).copied().collect();
    for &number in numbers.range(base..) {
        if let Some((_, snapshot)) = damaged.iter_mut().find(|(damaged, _)| *damaged == number) {
            replay.damaged_snapshot(std::mem::take(snapshot), &snapshot_path(dir, number))?;
        }
        (log_end, last_record) = (0, 0..0);
        if files.logs.contains(&number) {
            let path = log_path(dir, number);
            let bytes =
                read_all(vfs, &path, MAX_FILE).map_err(|err| Error::io("read catalogue log", &path, err))?;
            (log_end, last_record) = replay.log(&bytes, &path)?;
        }
    }
    let Replay { store, state, sequence, problems, .. } = replay;
    let Some(store) = store else {
        return Err(Error::new(
            ErrorKind::Corrupt,
            format!("read catalogue {}: nothing is readable", dir.display()),
        ));
    };
    let snapshot_bytes = first.bytes;
    let loaded =
        Loaded { store, state, sequence, generation, base, snapshot_bytes, log_end, last_record, problems };
    Ok(Some(loaded))
}

/// One snapshot file, as far as it is readable.
#[derive(Debug, Default)]
struct Snapshot {
    head: Option<Head>,
    state: State,
    /// What is readable, when there is a problem: to be applied to what the files before it amount to.
    changes: Vec<Record>,
    bytes: u64,
    problem: Option<Problem>,
}

impl Snapshot {
    fn read(vfs: &dyn Vfs, path: &Path, generation: u64) -> Result<Snapshot> {
        let bytes =
            read_all(vfs, path, MAX_FILE).map_err(|err| Error::io("read catalogue snapshot", path, err))?;
        let mut snapshot = Snapshot { bytes: bytes.len() as u64, ..Snapshot::default() };
        let mut start = 0;
        match envelope::decode::<Head>(HEAD, VERSION, &bytes) {
            Ok((head, used)) => {
                if head.generation != generation {
                    let what = format!("it is generation {} by its head", head.generation);
                    snapshot.problem = Some(Problem::new(path, 0, what));
                }
                (snapshot.head, start) = (Some(head), used);
            }
            Err(err @ EnvelopeError::NewerVersion(_)) => return Err(unreadable("catalogue", path, 0, err)),
            Err(err) => snapshot.problem = Some(Problem::new(path, 0, err.to_string())),
        }
        let scan = Scan::new(&bytes, start).map_err(|(at, err)| unreadable("catalogue", path, at, err))?;
        let hole = scan.holes.first().map(|hole| hole.start);
        let hole = hole.or((scan.end < bytes.len()).then_some(scan.end));
        if let (None, Some(at)) = (&snapshot.problem, hole) {
            snapshot.problem = Some(Problem::new(path, at, EnvelopeError::Invalid.to_string()));
        }
        if let (None, Some(head)) = (&snapshot.problem, &snapshot.head) {
            let numbers = scan.records.iter().map(|(_, record)| (record.store, record.sequence));
            if !numbers.eq((1..=head.records).map(|sequence| (head.store, sequence))) {
                let what = format!("it has not the {} entries of its head", head.records);
                snapshot.problem = Some(Problem::new(path, bytes.len(), what));
            }
        }
        if snapshot.problem.is_some() {
            snapshot.changes = scan.records.into_iter().map(|(_, record)| record).collect();
            return Ok(snapshot);
        }
        for (range, record) in scan.records {
            if let Err(what) = snapshot.state.apply(record.change) {
                snapshot.problem.get_or_insert(Problem::new(path, range.start, what));
            }
        }
        if let (Some(_), Some(head)) = (&snapshot.problem, &snapshot.head) {
            let changes = snapshot.state.changes();
            snapshot.changes =
                changes.map(|change| Record { store: head.store, sequence: 0, change }).collect();
        }
        Ok(snapshot)
    }
}

/// Changes being applied to a state, file after file.
struct Replay {
    /// Unknown only while nothing was readable.
    store: Option<Uuid>,
    state: State,
    sequence: u64,
    on_damage: OnDamage,
    problems: Vec<Problem>,
    /// An unreadable end of a log. It was an unfinished write, unless a later file proves that more changes were made.
    unfinished: Option<Problem>,
}

impl Replay {
    fn damage(&mut self, problem: Problem) -> Result<()> {
        match self.on_damage {
            OnDamage::Refuse => Err(problem.into_error()),
            OnDamage::Skip => {
                self.problems.push(problem);
                Ok(())
            }
        }
    }

    fn apply(&mut self, record: Record, path: &Path, position: usize) -> Result<()> {
        if *self.store.get_or_insert(record.store) != record.store {
            return self.damage(Problem::new(path, position, "it belongs to another store"));
        }
        match self.state.apply(record.change) {
            Ok(()) => Ok(()),
            Err(what) => self.damage(Problem::new(path, position, what)),
        }
    }

    /// Holds what the logs amount to against a snapshot that cannot be used; already noted as a problem.
    fn damaged_snapshot(&mut self, snapshot: Snapshot, path: &Path) -> Result<()> {
        let missing = match &snapshot.head {
            Some(head) => self.sequence < head.sequence,
            // It may hold what the unreadable end of the log held.
            None => self.unfinished.is_some(),
        };
        if missing {
            let lost = || Problem::new(path, 0, "the logs before it do not hold all that it held");
            let problem = self.unfinished.take().unwrap_or_else(lost);
            self.damage(problem)?;
        }
        if self.on_damage == OnDamage::Skip {
            for record in snapshot.changes {
                self.apply(record, path, 0)?;
            }
            self.sequence = self.sequence.max(snapshot.head.map_or(0, |head| head.sequence));
        }
        Ok(())
    }

    /// Applies a log; returns where its last record ends, and that record's range.
    fn log(&mut self, bytes: &[u8], path: &Path) -> Result<(u64, Range<u64>)> {
        let scan = Scan::new(bytes, 0).map_err(|(at, err)| unreadable("catalogue", path, at, err))?;
        for hole in &scan.holes {
            self.damage(Problem::new(path, hole.start, EnvelopeError::Invalid.to_string()))?;
        }
        let mut last = 0..0;
        for (range, record) in scan.records {
            let (expected, found) = (self.sequence + 1, record.sequence);
            if found != expected {
                let what = format!("change {expected} should be here, not {found}");
                let problem = self.unfinished.take().unwrap_or(Problem::new(path, range.start, what));
                self.damage(problem)?;
            }
            self.unfinished = None;
            self.sequence = self.sequence.max(found);
            self.apply(record, path, range.start)?;
            last = range.start as u64..range.end as u64;
        }
        if scan.end < bytes.len() {
            self.unfinished = Some(Problem::new(path, scan.end, EnvelopeError::Invalid.to_string()));
        }
        Ok((scan.end as u64, last))
    }
}

/// Applies what was appended to a log since it was last read up to `end`. `None` when that is not enough: whatever
/// it is then, reading everything anew finds out.
pub(super) fn follow(bytes: &[u8], store: Uuid, state: &mut State, sequence: &mut u64) -> Option<usize> {
    let scan = Scan::new(bytes, 0).ok()?;
    let numbers = scan.records.iter().map(|(_, record)| (record.store, record.sequence));
    let expected = (*sequence + 1..).map(|sequence| (store, sequence));
    if !scan.holes.is_empty() || !numbers.eq(expected.take(scan.records.len())) {
        return None;
    }
    for (_, record) in scan.records {
        state.apply(record.change).ok()?;
        *sequence = record.sequence;
    }
    Some(scan.end)
}
