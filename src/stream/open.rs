//! Opening a stream: what its files say, and recovery where they were not closed.

use std::collections::VecDeque;
use std::num::NonZero;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::{fmt, io, thread};

use crate::format::Epoch;
use crate::format::checkpoint::{self, Checkpoint};
use crate::format::frame::{self, Kind, Place};
use crate::format::header::{HEADER, HEADER_AT, Header, PAGE, Watermark};
use crate::format::index::MAX_EPOCHS;
use crate::mutants::{self, Mutant};
use crate::segment::active::BUSY_BYTES;
use crate::segment::recover::{Decision, Scan, decide, scan, scan_committed};
use crate::segment::walk::Frames;
use crate::segment::{Segment, parse_file_name};
use crate::stream::changes::Changes;
use crate::stream::checkpoint::{CheckpointFile, NAME, say_again};
use crate::stream::env::Env;
use crate::stream::follow::shown;
use crate::stream::group::Group;
use crate::stream::quarantine::{QUARANTINE, set_aside};
use crate::stream::ready::{LARGE_PAGE, Pace};
use crate::stream::signal::Signal;
use crate::stream::{Core, Member, Policy, PolicyCell, State, Unsealed, Writer};
use crate::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize};
use crate::sync::{Mutex, RwLock};
use crate::vfs::region::{FLOOR, Region};
use crate::vfs::{Access, EntryKind, File, TEMPORARY};
use crate::{Error, ErrorKind, Result, StreamId, Timestamp};

/// Bytes of log to look at from which on another thread pays.
const BYTES_A_THREAD: usize = 16 << 20;

/// What opening a stream found and did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Recovery {
    /// The stream was closed properly, or has never been written to: there was nothing to do.
    pub clean: bool,
    /// Bytes of an unfinished write at the end that were cut off. Nothing acknowledged as durable is among them.
    pub torn_bytes: u64,
    /// Appends that a killed process did not finish; they were never acknowledged.
    pub unfinished: usize,
    /// Ranges of offsets that were durable once and cannot be read. Readers get a gap there. After a kill bodies are not
    /// looked at, so damage in one is told to who reads it and not here.
    pub corrupt: Vec<Range<u64>>,
    /// Files moved to the stream's `quarantine` directory, or under another name beside it where a full disk has no room for one.
    pub set_aside: Vec<PathBuf>,
    /// The epoch's number from here on.
    pub epoch: u64,
}

impl Recovery {
    /// Whether nothing was lost or damaged, as far as it looked.
    pub(crate) fn found_nothing(&self) -> bool {
        self.torn_bytes == 0 && self.unfinished == 0 && self.corrupt.is_empty() && self.set_aside.is_empty()
    }
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.clean {
            return f.write_str("closed properly");
        }
        let corrupt: u64 = self.corrupt.iter().map(|range| range.end - range.start).sum();
        write!(
            f,
            "not closed properly: {} torn bytes cut, {} unfinished appends dropped, {corrupt} bytes corrupt, {} files set aside",
            self.torn_bytes,
            self.unfinished,
            self.set_aside.len()
        )
    }
}

/// What is needed to open a stream.
pub(crate) struct Opening {
    pub(crate) id: StreamId,
    pub(crate) dir: PathBuf,
    pub(crate) policy: Policy,
    pub(crate) member: Member,
    /// What the file `meta` will say, asked for where there is none.
    pub(crate) meta: Box<dyn FnOnce() -> Vec<u8>>,
    pub(crate) changes: Arc<Changes>,
}

/// What a stream's directory says, before anything is decided.
struct Found {
    segments: Vec<Arc<Segment>>,
    checkpoint: Option<Checkpoint>,
    has_checkpoint: bool,
    has_quarantine: bool,
    log_start: u64,
    /// The directory was not listed: what is known of it is that the log ends in this one segment, as the checkpoint says.
    alone: bool,
}

/// The log's end, once it is known.
struct End {
    offset: u64,
    durable: u64,
    last_ingest: Timestamp,
    epoch: Epoch,
    epoch_start: u64,
}

impl Core {
    /// Opens a stream and recovers it where it was not closed.
    ///
    /// # Errors
    /// `Io`, `Unsupported`. A damaged stream opens; what is damaged is reported, and read as a gap.
    pub(crate) fn open(env: &Arc<Env>, opening: Opening) -> Result<Arc<Core>> {
        let found = find(env, &opening)?;
        if env.read_only {
            return build_follower(env, opening, found);
        }
        match clean_end(&found, opening.id.as_uuid().as_u64_pair().1, env.era.number)? {
            Some(end) => {
                let recovery = Recovery { clean: true, epoch: end.epoch.number, ..Recovery::default() };
                if let Some(last) = found.segments.last() {
                    last.set_left_at(end.offset);
                }
                let core = build(env, opening, found, end, recovery, VecDeque::new());
                core.settle_checkpoint();
                Ok(core)
            }
            None => recover(env, opening, found),
        }
    }
}

fn find(env: &Env, opening: &Opening) -> Result<Found> {
    let dir = &opening.dir;
    // Whoever was killed may have left anything.
    let early = !env.read_only && !env.era.killed;
    let early = if early { read_checkpoint(env, dir, opening.id)? } else { None };
    if let Some(checkpoint) = early
        && let Some(segment) = alone(env, opening, &checkpoint)
    {
        return Ok(Found {
            segments: vec![Arc::new(segment)],
            checkpoint: early,
            has_checkpoint: true,
            has_quarantine: false,
            log_start: checkpoint.log_start,
            alone: true,
        });
    }
    let entries = match env.vfs.list(dir) {
        Ok(entries) => entries,
        Err(err) if err.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(err) => return Err(Error::io("list directory of stream", dir, err)),
    };
    let mut bases = Vec::new();
    let (mut has_checkpoint, mut has_quarantine) = (false, false);
    for entry in &entries {
        if entry.name.starts_with(TEMPORARY) && !env.read_only {
            let path = dir.join(&entry.name);
            env.vfs.remove_file(&path).map_err(|err| Error::io("remove unfinished file", &path, err))?;
        }
        has_checkpoint |= entry.name == NAME;
        has_quarantine |= entry.name == QUARANTINE && entry.kind == EntryKind::Directory;
        // What is called like a segment and is no regular file is left where it is; `verify` reports it.
        if let (Some(base), EntryKind::File) = (parse_file_name(&entry.name), entry.kind) {
            bases.push(base);
        }
    }
    bases.sort_unstable();
    let checkpoint = match early {
        None if has_checkpoint => read_checkpoint(env, dir, opening.id)?,
        early => early,
    };
    let mut segments: Vec<Arc<Segment>> =
        bases.iter().map(|base| Arc::new(env.segment(dir, opening.id, *base))).collect();
    // A follower has yet to see how far they go on from each other.
    if !env.read_only {
        for pair in segments.windows(2) {
            pair[0].set_end(pair[1].base);
        }
    }
    let first = segments.first().map_or(0, |segment| segment.base);
    let log_start = checkpoint.map_or(first, |checkpoint| checkpoint.log_start);
    // Retention that was interrupted is finished: what lies before the log's start is gone by its own word.
    let mut gone = segments.windows(2).take_while(|pair| pair[1].base <= log_start).count();
    let last = segments.get(gone).filter(|_| gone + 1 == segments.len());
    let last = last.filter(|segment| segment.base < log_start);
    if last.and_then(|segment| segment.seal()).is_some_and(|seal| seal.end <= log_start) {
        gone += 1;
    }
    let kept = segments.split_off(gone);
    let gone = segments;
    if let Some(checkpoint) = checkpoint.filter(|_| !gone.is_empty() && !env.read_only) {
        // Its word may be that of a process which died or failed before it was durable, and it has to be when the files go: I10.
        let path = dir.join(NAME);
        let said = env.vfs.open(&path, Access::Write).and_then(|file| say_again(&*file, &checkpoint));
        said.map_err(|err| Error::io("write checkpoint", &path, err))?;
        for segment in &gone {
            let removed = env.vfs.remove_file(&segment.path);
            removed.map_err(|err| Error::io("remove segment", &segment.path, err))?;
        }
        env.vfs.sync_dir(dir).map_err(|err| Error::io("sync directory", dir, err))?;
    }
    Ok(Found { segments: kept, checkpoint, has_checkpoint, has_quarantine, log_start, alone: false })
}

/// The segment that holds all of a log that was closed properly, if one does: then its directory need not be listed. Of most
/// streams it is so where there are very many.
///
/// It is called after the log's start, and it proves itself that the log ends in it: it has no seal, and its watermark ends where the
/// checkpoint does. A log that goes on in another has a seal here, and where that is damaged, a watermark that ends sooner. A large
/// segment is not taken, for beside it files may lie that were made ready.
fn alone(env: &Env, opening: &Opening, checkpoint: &Checkpoint) -> Option<Segment> {
    if !checkpoint.clean || checkpoint.era != env.era.number {
        return None;
    }
    let segment = env.segment(&opening.dir, opening.id, checkpoint.log_start);
    let file = segment.open(Access::Read).ok()?;
    let page = segment.read_page(&*file).ok()?;
    let head = *segment.head_of(&page).ok()?;
    let is_whole = Watermark::decode(&page, &head).is_some_and(|mark| mark.durable == checkpoint.end)
        && head.capacity < BUSY_BYTES
        && segment.seal().is_none();
    // Of a footer, too, there is to be nothing: it begins 8 bytes behind the last frame.
    (is_whole && ends_at(&segment, &*file, checkpoint.end, 16).ok()?).then_some(segment)
}

pub(crate) fn read_checkpoint(env: &Env, dir: &Path, id: StreamId) -> Result<Option<Checkpoint>> {
    let path = dir.join(NAME);
    let mut bytes = [0; checkpoint::SLOTS];
    match env.vfs.open(&path, Access::Read).and_then(|file| file.read_at(&mut bytes, 0)) {
        Ok(read) => match Checkpoint::decode(&bytes[..read], id) {
            None if Checkpoint::is_newer(&bytes[..read]) => {
                let text =
                    format!("read checkpoint {}: it is of a newer version than this engine", path.display());
                Err(Error::new(ErrorKind::Unsupported, text))
            }
            found => Ok(found),
        },
        // None, or something else under its name.
        Err(err) if matches!(err.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput) => Ok(None),
        Err(err) => Err(Error::io("read checkpoint", &path, err)),
    }
}

/// The end of a log that was closed properly and not touched since; `None` sends it to recovery.
fn clean_end(found: &Found, id: u64, era: u32) -> Result<Option<End>> {
    let Some(checkpoint) = found.checkpoint else {
        // A stream that has had no record yet has no files either.
        let fresh = found.segments.is_empty() && !found.has_checkpoint;
        return Ok(fresh.then_some(End {
            offset: 0,
            durable: 0,
            last_ingest: Timestamp::MIN,
            // Not drawn, so that a cursor made before the first record holds after a restart.
            epoch: Epoch { number: 1, id },
            epoch_start: 0,
        }));
    };
    // Of an earlier era the stream may have gone on since, and a power failure took what would show it.
    let believed = checkpoint.era == era || mutants::on(Mutant::BelieveAnyEra);
    if !checkpoint.clean || !believed {
        return Ok(None);
    }
    let end = checkpoint.end;
    if let Some(last) = found.segments.last() {
        let is_end = || {
            let Ok(file) = last.open(Access::Read) else { return Ok(false) };
            let Ok(_) = last.head_in(&*file) else { return Ok(false) };
            ends_at(last, &*file, end, 8)
        };
        if !found.alone && !is_end()? {
            return Ok(None);
        }
    } else if end != found.log_start {
        return Ok(None);
    }
    Ok(Some(End {
        offset: end,
        durable: end,
        last_ingest: checkpoint.last_ingest,
        epoch: checkpoint.epoch,
        epoch_start: checkpoint.epoch_start,
    }))
}

/// Whether a segment whose header was read is sealed at `end`, or holds `zeros` zero bytes there and is of its full size.
fn ends_at(segment: &Segment, file: &dyn File, end: u64, zeros: usize) -> Result<bool> {
    let head = segment.head()?;
    if let Some(seal) = segment.seal() {
        return Ok(seal.end == end);
    }
    let inside = (head.base..=head.base + (head.capacity - PAGE as u64)).contains(&end);
    let size = file.size().map_err(|err| Error::io("read size of segment", &segment.path, err))?;
    if !inside || size < head.capacity {
        return Ok(false);
    }
    let mut bytes = [0; 16];
    let read = file.read_at(&mut bytes[..zeros], head.position(end));
    read.map_err(|err| Error::io("read segment", &segment.path, err))?;
    Ok(bytes == [0; 16])
}

/// An unsealed segment, looked at.
struct Looked {
    segment: Arc<Segment>,
    file: Box<dyn File>,
    scan: Scan,
    watermark: u64,
}

fn recover(env: &Arc<Env>, opening: Opening, mut found: Found) -> Result<Arc<Core>> {
    let mut recovery = Recovery::default();
    if found.has_quarantine {
        // What a recovery moved there before it died must not come back: by then its place may be taken.
        let quarantine = opening.dir.join(QUARANTINE);
        let synced = env.vfs.sync_dir(&quarantine);
        synced.map_err(|err| Error::io("sync directory", &quarantine, err))?;
    }
    let boot = env.clock.boot_id();
    // Of this era and clean, and yet not as it was left: whoever went on with it was killed.
    let went_on =
        |checkpoint: &Checkpoint| checkpoint.clean && checkpoint.era == env.era.number && env.era.killed;
    let last_boot =
        found.checkpoint.and_then(|checkpoint| if went_on(&checkpoint) { boot } else { checkpoint.boot });
    let same_boot = boot.is_some() && boot == last_boot;
    // The process that died may have been told of a failed write-back, and we would not be.
    let owes = last_boot.is_none() || same_boot;
    let mut unreadable = take_other_log(&mut found, env.era.number, same_boot)?;
    let first_unsealed =
        found.segments.iter().rposition(|segment| segment.seal().is_some()).map_or(0, |last| last + 1);
    let mut looked = look_at_all(&found.segments[first_unsealed..], same_boot, &mut unreadable)?;
    let proven = looked.iter().map(|this| this.scan.proven.max(this.watermark));
    let proven = proven.chain(found.checkpoint.map(|checkpoint| checkpoint.end)).max().unwrap_or(0);
    let sealed_end = found.segments[..first_unsealed]
        .last()
        .map_or(found.log_start, |segment| segment.seal().expect("sealed").end.max(found.log_start));
    let scans: Vec<Scan> = looked.iter().map(|this| this.scan.clone()).collect();
    // A power loss may leave a later segment's file and not the one before it.
    let torn_off =
        !same_boot && proven <= sealed_end && scans.first().is_some_and(|scan| sealed_end < scan.base);
    let decision = if scans.is_empty() || torn_off {
        let written = scans.iter().map(|scan| scan.written).max().unwrap_or(0);
        let end = sealed_end.max(proven);
        Decision { end, torn_bytes: written.saturating_sub(end), roll: true, ..Decision::default() }
    } else {
        decide(&scans, proven, same_boot)
    };
    let aside = looked.split_off(decision.keep.min(looked.len()));
    for segment in aside.iter().map(|this| &this.segment).chain(&unreadable) {
        recovery.set_aside.push(set_aside(env, &opening.dir, &segment.path)?);
        found.segments.retain(|other| other.base != segment.base);
    }
    // Whose successor was set aside ends elsewhere than its name said, and the last one may be gone on with.
    for (index, this) in looked.iter().enumerate() {
        this.segment.set_end(looked.get(index + 1).map_or(u64::MAX, |next| next.segment.base));
    }
    let unsealed = carry_out(&looked, &decision, owes)?;
    // Of the checkpoint as well, which is overwritten in place, and whose name its maker may not have come to sync.
    env.vfs.sync_dir(&opening.dir).map_err(|err| Error::io("sync directory", &opening.dir, err))?;

    recovery.torn_bytes = decision.torn_bytes;
    recovery.unfinished = decision.void.len();
    recovery.corrupt = decision.corrupt.clone();
    let epochs = looked.iter().filter_map(|this| this.scan.epoch);
    let in_log = epochs.map(|(start, epoch)| (epoch, start)).next_back();
    // In force before the base, so it began before it.
    let last_head = found.segments.last().and_then(|last| last.head().ok());
    let in_header = last_head.map(|head| (head.epoch, head.base.saturating_sub(8)));
    let in_checkpoint = found.checkpoint.map(|checkpoint| (checkpoint.epoch, checkpoint.epoch_start));
    // A recovery that died may have left an epoch in the checkpoint that nothing was written in.
    let is_begun = |(_, start): &(Epoch, u64)| *start < decision.end;
    let in_sealed = match in_log.into_iter().chain(in_checkpoint).find(is_begun) {
        Some(_) => None,
        None => found.segments.iter().rev().find(|segment| segment.seal().is_some()).and_then(last_epoch),
    };
    let known: Vec<_> = in_log.into_iter().chain(in_header).chain(in_checkpoint).chain(in_sealed).collect();
    let in_force = known.iter().filter(|epoch| is_begun(epoch)).max().or(known.iter().min());
    let unknown = (env.epoch(0), found.log_start);
    let (epoch, epoch_start) = in_force.copied().unwrap_or(unknown);
    let last_ingest = looked.iter().filter_map(|this| this.scan.last_ingest).max();
    let sealed_ingest =
        found.segments.iter().rev().find_map(|segment| segment.seal()).map(|seal| seal.last_ingest);
    let end = End {
        offset: decision.end,
        durable: if owes { proven.max(sealed_end).min(decision.end) } else { decision.end },
        last_ingest: last_ingest
            .or(sealed_ingest)
            .max(found.checkpoint.map(|checkpoint| checkpoint.last_ingest))
            .unwrap_or(Timestamp::MIN),
        epoch,
        epoch_start,
    };
    // An epoch that a crash left nothing of but the checkpoint's word gets a frame as well, so that cursors of it have a place where
    // they diverged.
    let lost = in_checkpoint.map(|(lost, _)| lost).filter(|lost| epoch < *lost);
    recovery.epoch = known.iter().map(|(epoch, _)| epoch.number).max().unwrap_or(0).saturating_add(1);
    let crowded = looked.last().is_some_and(|this| MAX_EPOCHS <= this.scan.epochs + 2);
    if (decision.roll || crowded)
        && let Some(last) = looked.last()
    {
        last.segment.set_end(decision.end.min(capacity_end(&last.segment)?));
    }
    let core = build(env, opening, found, end, recovery, unsealed);
    if !mutants::on(Mutant::NoNewEpoch) {
        core.writer.lock().owed = lost.into_iter().chain([env.epoch(core.recovery.epoch)]).collect();
    }
    match core.roll(0) {
        // What is there can be read, and retention makes room. The epoch stays owed.
        Err(err) if *err.kind() == ErrorKind::NoSpace => {}
        rolled => rolled?,
    }
    if !owes {
        let end = core.writer.lock().next();
        core.sync_to(end)?;
    }
    core.env.dirty.push(&core);
    Ok(core)
}

/// Looks at unsealed segments. Those that cannot be read, or are no part of the log, are left out and go to `unreadable`.
fn look_at_all(
    segments: &[Arc<Segment>],
    same_boot: bool,
    unreadable: &mut Vec<Arc<Segment>>,
) -> Result<Vec<Looked>> {
    let mut left = Vec::new();
    for segment in segments {
        match Left::new(segment, same_boot) {
            Ok(this) => left.push(this),
            // Its header never became durable, or is damaged twice, or it is cut off before its frames: none can be told from
            // noise.
            Err(err) if *err.kind() == ErrorKind::Corrupt => unreadable.push(Arc::clone(segment)),
            Err(err) => return Err(err),
        }
    }
    for index in 1..left.len() {
        let next = left[index].segment.base;
        left[index - 1].end_before(next);
    }
    look_at(&mut left);
    let looked = left.into_iter().map(Left::looked).collect::<Result<Vec<_>>>()?;
    for pair in looked.windows(2) {
        if goes_on(&pair[0], pair[1].segment.base)? {
            // Called after a place inside the one before it, so the log never went on in it.
            unreadable.push(Arc::clone(&pair[1].segment));
            let is_other = |this: &&Looked| this.segment.base != pair[1].segment.base;
            let others: Vec<_> =
                looked.iter().filter(is_other).map(|this| Arc::clone(&this.segment)).collect();
            return look_at_all(&others, same_boot, unreadable);
        }
    }
    Ok(looked)
}

/// Whether a segment's frames, which were looked at up to `next`, go on over that place.
fn goes_on(this: &Looked, next: u64) -> Result<bool> {
    let (segment, at) = (&this.segment, this.scan.end);
    let mut bytes = [0; frame::HEADER];
    let head = segment.head()?;
    let read = this.file.read_at(&mut bytes, head.position(at));
    let read = read.map_err(|err| Error::io("read segment", &segment.path, err))?;
    let header = Frames { bytes: &bytes[..read], base: at, salt: head.salt }.header(at);
    Ok(header.is_some_and(|header| next < at + header.word.span() as u64))
}

/// Takes out the segments of a log that went on otherwise than this one, as where a backup was copied over a store.
///
/// A log whose checkpoint says "clean", and is believed, has begun no segment since. It ends in the last one called after its end, or
/// after a place before that, which is sealed there or not at all. Behind that one these are of another log: what is called
/// after a place within it; what is sealed, for that is done in order, unless it begins right where the frames end and only the seal before
/// it is damaged; and what goes on from either.
fn take_other_log(found: &mut Found, era: u32, same_boot: bool) -> Result<Vec<Arc<Segment>>> {
    let Some(checkpoint) = found.checkpoint.filter(|checkpoint| checkpoint.clean && checkpoint.era == era)
    else {
        return Ok(Vec::new());
    };
    let segments = &mut found.segments;
    let begun = segments.partition_point(|segment| segment.base <= checkpoint.end);
    let may_end = |segment: &Arc<Segment>| segment.seal().is_none_or(|seal| seal.end == checkpoint.end);
    let last = segments[..begun].iter().rposition(may_end);
    let Some(last) = last.filter(|last| last + 1 < segments.len()) else { return Ok(Vec::new()) };
    let seal = segments[last].seal();
    let end = match seal {
        Some(seal) => seal.end,
        None => match &look_at_all(&segments[last..=last], same_boot, &mut Vec::new())?[..] {
            [this] => this.scan.end,
            _ => return Ok(Vec::new()),
        },
    };
    let mut other_end = None;
    let is_other = |segment: &&Arc<Segment>| {
        let is_late = seal.is_none() && segment.seal().is_some() && segment.base != end;
        let is_other = segment.base < end || is_late || other_end == Some(segment.base);
        other_end = segment.seal().map(|seal| seal.end);
        is_other
    };
    let others = segments[last + 1..].iter().take_while(is_other).count();
    Ok(segments.drain(last + 1..=last + others).collect())
}

/// The last epoch that began in a sealed segment, if one did and can be read.
fn last_epoch(segment: &Arc<Segment>) -> Option<(Epoch, u64)> {
    let region = segment.region().ok()?;
    let index = segment.index(&region, segment.seal()?.end).ok()?;
    index.epochs.last().map(|(start, epoch)| (*epoch, *start))
}

/// Offset behind the last byte a segment's file has room for.
fn capacity_end(segment: &Segment) -> Result<u64> {
    let head = segment.head()?;
    Ok(head.base + (head.capacity - PAGE as u64))
}

/// An unsealed segment, found to be one and not looked at yet.
struct Left {
    segment: Arc<Segment>,
    file: Box<dyn File>,
    head: Header,
    watermark: u64,
    /// Bytes that may hold frames.
    bytes: usize,
    /// The file's memory, where its frames are to be looked at there.
    region: Option<Arc<Region>>,
    scan: Option<Scan>,
}

impl Left {
    fn new(segment: &Arc<Segment>, same_boot: bool) -> Result<Left> {
        let head = *segment.head()?;
        let file = segment.open(Access::Read)?;
        let page = segment.read_page(&*file)?;
        let size = file.size().map_err(|err| Error::io("read size of segment", &segment.path, err))?;
        if size < PAGE as u64 {
            let text = format!("read segment {}: {size} bytes are no segment", segment.path.display());
            return Err(Error::new(ErrorKind::Corrupt, text));
        }
        let bytes = ((size.min(head.capacity) - PAGE as u64) & !7) as usize;
        // In the same boot the bytes are in memory as a rule.
        let mapped = || {
            let memory = file.map((size.min(head.capacity) & !7) as usize, Access::Read);
            memory.map_err(|err| Error::io("map segment", &segment.path, err))
        };
        let region = if same_boot { Some(Region::new(mapped()?, FLOOR, true)) } else { None };
        let watermark = Watermark::decode(&page, &head).map_or(0, |mark| mark.durable);
        let watermark = watermark.max(head.previous_durable);
        Ok(Left { segment: Arc::clone(segment), file, head, watermark, bytes, region, scan: None })
    }

    /// Leaves out what lies behind the next segment's base: there may be a footer, and no frame.
    fn end_before(&mut self, next: u64) {
        self.bytes = self.bytes.min((next - self.segment.base) as usize);
    }

    fn frames<'a>(&self, bytes: &'a [u8]) -> Frames<'a> {
        Frames { bytes, base: self.segment.base, salt: self.head.salt }
    }

    /// Looks at what is mapped. What a killed process committed is whole, so records are told by their headers.
    fn look(&mut self) {
        let Some(mut region) = self.region.take() else { return };
        self.scan = region.at_rest(FLOOR + self.bytes).ok().map(|bytes| scan_committed(self.frames(bytes)));
    }

    /// What was found, looked at with pread where it was not mapped, so that what cannot be read is an error and not a signal.
    fn looked(mut self) -> Result<Looked> {
        let scan = match self.scan.take() {
            Some(scan) => scan,
            None => {
                let mut bytes = vec![0; self.bytes];
                let read = self.file.read_at(&mut bytes, PAGE as u64);
                read.map_err(|err| Error::io("read segment", &self.segment.path, err))?;
                scan(self.frames(&bytes))
            }
        };
        Ok(Looked { segment: self.segment, file: self.file, scan, watermark: self.watermark })
    }
}

/// Looks at segments that are mapped, on as many threads as pay.
fn look_at(left: &mut [Left]) {
    let bytes: usize = left.iter().filter(|left| left.region.is_some()).map(|left| left.bytes).sum();
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let helpers = (bytes / BYTES_A_THREAD).min(cores - 1).min(left.len());
    let waiting = Mutex::new(left.iter_mut());
    let work = || {
        loop {
            let Some(next) = waiting.lock().next() else { return };
            next.look();
        }
    };
    thread::scope(|scope| {
        for _ in 0..helpers {
            // Where there is no thread to be had, one is enough.
            let _ = thread::Builder::new().spawn_scoped(scope, work);
        }
        work();
    });
}

/// Makes the files what was decided; returns the segments that wait for their seal, and those that are to be made durable anew
/// before they are trusted to be: of what a process left that was killed, no more is known durable than what says so.
fn carry_out(looked: &[Looked], decision: &Decision, owes: bool) -> Result<VecDeque<Unsealed>> {
    let mut unsealed = VecDeque::new();
    for (index, this) in looked.iter().enumerate() {
        let segment = &this.segment;
        let head = *segment.head()?;
        let last = index + 1 == looked.len();
        let end = match looked.get(index + 1) {
            Some(next) => next.segment.base,
            None => decision.end,
        };
        let end = end.min(capacity_end(segment)?);
        let file = segment.open(Access::Write)?;
        let io = |doing: &'static str| move |err| Error::io(doing, &segment.path, err);
        heal_header(segment, &*file)?;
        for range in decision.void.iter().filter(|range| (segment.base..end).contains(&range.start)) {
            let place = Place { salt: head.salt, offset: range.start };
            let length = (range.end - range.start) as usize;
            let mark = frame::mark(Kind::Void, length, &[], head.previous_ingest, place);
            file.write_at(&mark, head.position(range.start)).map_err(io("void claims in segment"))?;
        }
        let mut size = file.size().map_err(io("read size of segment"))?;
        let cut_off = size < head.capacity;
        if cut_off {
            // By a crash or from outside. What is written here and synced reaches to the end that was decided.
            file.allocate(head.capacity).map_err(io("reserve space for segment"))?;
            size = head.capacity;
        }
        let cut = last && end < this.scan.written.max(this.scan.end) && !mutants::on(Mutant::SkipZeroing);
        if cut {
            // A later frame must not find itself behind bytes of the frames that were cut. Nothing is stored there before whoever
            // goes on in it has the space again, which on a full disk others may have taken meanwhile.
            file.punch(head.position(end)..size).map_err(io("cut segment"))?;
        }
        let mapped = (size.min(head.capacity) & !7) as usize;
        let memory = file.map(mapped, Access::Write).map_err(io("map segment"))?;
        let position = (head.position(end) as usize).min(mapped);
        let region = Region::new(memory, position, false);
        if !owes {
            region.sync(0..position).map_err(io("sync segment"))?;
        }
        if !owes || cut_off || cut {
            file.sync().map_err(io("sync segment"))?;
        }
        if !last || decision.roll {
            segment.set_end(end);
        }
        if owes || !last || decision.roll {
            unsealed.push_back(Unsealed {
                segment: Arc::clone(segment),
                region,
                rolled: None,
                named: !owes,
                owed: if owes { end } else { 0 },
            });
        }
    }
    Ok(unsealed)
}

/// Writes the copy of the header anew that a power loss tore, or kept from the disk, from the one that is sound.
fn heal_header(segment: &Segment, file: &dyn File) -> Result<()> {
    let page = segment.read_page(file)?;
    let is_sound = |at: &usize| Header::decode_copy_at(&page, *at).is_some();
    let Some(sound) = HEADER_AT.into_iter().find(is_sound) else { return Ok(()) };
    for at in HEADER_AT.into_iter().filter(|at| !is_sound(at)) {
        let written = file.write_at(&page[sound..sound + HEADER], at as u64);
        written.map_err(|err| Error::io("heal header of segment", &segment.path, err))?;
    }
    Ok(())
}

fn build(
    env: &Arc<Env>,
    opening: Opening,
    found: Found,
    end: End,
    recovery: Recovery,
    unsealed: VecDeque<Unsealed>,
) -> Arc<Core> {
    let checkpoint = found.checkpoint.unwrap_or(Checkpoint {
        stream: opening.id,
        generation: 0,
        clean: false,
        era: 0,
        log_start: found.log_start,
        end: end.durable,
        epoch: end.epoch,
        epoch_start: end.epoch_start,
        last_ingest: end.last_ingest,
        boot: None,
    });
    // No record is later than the store's time, whatever became of the clock: what follows many streams relies on it.
    env.clock.raise(end.last_ingest);
    let path = opening.dir.join(NAME);
    let has_checkpoint = found.has_checkpoint && found.checkpoint.is_some();
    Arc::new(Core {
        env: Arc::clone(env),
        id: opening.id,
        dir: opening.dir,
        policy: PolicyCell::new(opening.policy),
        member: RwLock::new(Arc::new(opening.member)),
        changes: opening.changes,
        recovery,
        writer: Mutex::new(Writer {
            state: if env.read_only { State::ReadOnly } else { State::Open },
            active: None,
            end: end.offset,
            last_ingest: end.last_ingest,
            epoch: end.epoch,
            epoch_start: end.epoch_start,
            owed: Vec::new(),
            wanted: false,
            watched: true,
            dirty: false,
            pace: Pace::NONE,
        }),
        epoch: OnceLock::new(),
        rolling: Mutex::new(()),
        making: Mutex::new(()),
        next: Mutex::default(),
        segments: RwLock::new(Arc::new(found.segments)),
        strangers: Mutex::default(),
        unlisted: AtomicBool::new(found.alone),
        unsealed: Mutex::new(unsealed),
        group: Group::default(),
        sealing: Mutex::new(()),
        checkpoint: Mutex::new(CheckpointFile::new(env, path, checkpoint, has_checkpoint)),
        meta: Mutex::new(if has_checkpoint { Vec::new() } else { (opening.meta)() }),
        durable: AtomicU64::new(end.durable),
        brought: AtomicU64::new(LARGE_PAGE),
        log_start: AtomicU64::new(found.log_start),
        doomed: Mutex::new(Vec::new()),
        deleted: AtomicBool::new(false),
        signal: Signal::default(),
        readers: AtomicUsize::new(0),
        due: AtomicI64::new(i64::MIN),
    })
}

fn build_follower(env: &Arc<Env>, opening: Opening, mut found: Found) -> Result<Arc<Core>> {
    let checkpoint = found.checkpoint;
    let durable = checkpoint.map_or(0, |checkpoint| checkpoint.end);
    let (segments, durable) = shown(found.segments, found.log_start, durable)?;
    found.segments = segments;
    let end = End {
        offset: checkpoint.map_or(found.log_start, |checkpoint| checkpoint.end),
        durable,
        last_ingest: checkpoint.map_or(Timestamp::MIN, |checkpoint| checkpoint.last_ingest),
        epoch: checkpoint.map_or(Epoch::default(), |checkpoint| checkpoint.epoch),
        epoch_start: checkpoint.map_or(0, |checkpoint| checkpoint.epoch_start),
    };
    Ok(build(env, opening, found, end, Recovery { clean: true, ..Recovery::default() }, VecDeque::new()))
}
