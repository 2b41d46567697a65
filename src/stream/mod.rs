//! A stream: what is in memory of it, and the handle the host holds.
//!
//! Which file decides what: `append` claims and publishes, `roll` changes the active segment, `sync` makes
//! durable and seals, `retain` removes, `open` recovers, `epoch` tells what a crash took, `seek` finds positions, `reader`, `tail` and
//! `query` read.

mod append;
mod batch;
pub(crate) mod changes;
mod checkpoint;
pub(crate) mod env;
mod epoch;
mod follow;
mod group;
pub(crate) mod open;
pub(crate) mod quarantine;
mod query;
mod reader;
mod ready;
pub(crate) mod retain;
pub(crate) mod retention;
mod roll;
mod seek;
mod sift;
mod signal;
mod stats;
mod strangers;
mod sync;
mod tail;
pub(crate) mod verify;

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::format::Epoch;
use crate::mutants::{self, Mutant};
use crate::segment::Segment;
use crate::segment::active::{Active, Fresh};
use crate::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use crate::sync::{Mutex, RwLock};
use crate::{Cursor, Error, ErrorKind, GroupId, Result, StreamId, Timestamp};

pub(crate) use checkpoint::{Era, NAME as CHECKPOINT};
pub(crate) use signal::Waiter;
pub(crate) use tail::Waiting;

pub use append::Appended;
pub use batch::{Batch, Limit, RecordRef, Records};
pub use open::Recovery;
pub use query::{Page, Query};
pub use reader::{Gap, GapReason, Reader, Step};
pub use seek::Start;
pub use stats::StreamStats;
pub use tail::{Steps, Tail};
pub use verify::{Damage, VerifyReport};

use changes::Changes;
use checkpoint::CheckpointFile;
use env::Env;
use group::Group;
use ready::Pace;
use signal::Signal;

/// How often a read checks the payloads of segments that are written to no more. A frame's header is checked at every read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Verify {
    /// At every read: no byte is served that is not what was written.
    #[default]
    Always,
    /// Until one read after the other found the segment sound, from its start as far as they went. From there on a payload that changes
    /// on the disk is served as it is, and no gap tells of it. What was found is forgotten when the
    /// store is closed, or the stream let go of because it is idle. [`verify`](crate::Store::verify) always checks all.
    Once,
}

/// When an append returns, and so what survives what.
///
/// | event       | `Buffered`                               | `Interval`                                 | `Sync`                |
/// |-------------|------------------------------------------|--------------------------------------------|-----------------------|
/// | returns     | published                                | published                                  | durable               |
/// | `kill -9`   | every returned append survives           | the same                                   | the same              |
/// | power loss  | a gapless prefix, at least to the last sync | a prefix; at most the interval and one sync are lost | every returned append |
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// Published; made durable when the host asks, a segment ends, the stream idles or the store closes.
    Buffered,
    /// Published; made durable within the store's sync interval.
    #[default]
    Interval,
    /// Durable. Appends from many threads share one sync.
    Sync,
}

impl Durability {
    /// Every durability, weakest first.
    pub const ALL: [Durability; 3] = [Durability::Buffered, Durability::Interval, Durability::Sync];

    /// Its name, in lower case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Durability::Buffered => "buffered",
            Durability::Interval => "interval",
            Durability::Sync => "sync",
        }
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Durability {
    type Err = Error;

    fn from_str(text: &str) -> Result<Durability> {
        let found = Durability::ALL.into_iter().find(|durability| durability.as_str() == text);
        found.ok_or_else(|| {
            Error::invalid("durability", format!("{text:?} is none of buffered, interval, sync"))
        })
    }
}

/// What the catalogue says a stream keeps, as the stream applies it. Changes act at the next read or tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Policy {
    pub(crate) ttl: Duration,
    /// What was ingested before this has expired once and stays so.
    pub(crate) expired_before: Timestamp,
    pub(crate) max_bytes: Option<u64>,
    pub(crate) durability: Durability,
}

/// What of the catalogue decides which sessions cover a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) group: GroupId,
    /// The value of its tag `service`: the service of its records that name none.
    pub(crate) service: Option<String>,
}

/// A stream in memory.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) env: Arc<Env>,
    pub(crate) id: StreamId,
    pub(crate) dir: PathBuf,
    policy: PolicyCell,
    /// Replaced as a whole when the catalogue's entry is.
    member: RwLock<Arc<Member>>,
    /// Told of the first append since somebody who follows the tenant's streams looked.
    pub(crate) changes: Arc<Changes>,
    pub(crate) recovery: Recovery,
    /// Guards the end of the log: who may claim what.
    writer: Mutex<Writer>,
    /// The epoch in force at the end, and the offset it began at, once somebody asked and none is owed.
    epoch: OnceLock<(Epoch, u64)>,
    /// Held while the active segment changes.
    rolling: Mutex<()>,
    /// Held while a file of a segment to come is being made ready.
    making: Mutex<()>,
    /// Guards the files of the segments to come that were made ready, the next one first.
    next: Mutex<VecDeque<Fresh>>,
    /// The segments, oldest first: a snapshot, replaced whole.
    segments: RwLock<Arc<Vec<Arc<Segment>>>>,
    /// Files under a segment's name that are no part of the log, as far as anybody came by them.
    pub(crate) strangers: Mutex<BTreeSet<PathBuf>>,
    /// Whether it was opened without listing its directory, and nobody did so since.
    unlisted: AtomicBool,
    /// Guards the segments that are not sealed, oldest first, the active one included.
    unsealed: Mutex<VecDeque<Unsealed>>,
    /// Who waits for a sync.
    group: Group,
    /// Held while segments are sealed.
    sealing: Mutex<()>,
    checkpoint: Mutex<CheckpointFile>,
    /// What the file `meta` will say, until it is made.
    meta: Mutex<Vec<u8>>,
    /// Offset up to which the log is durable.
    durable: AtomicU64,
    /// Bytes that a sync brings, about.
    brought: AtomicU64,
    /// Offset before which retention removed everything.
    log_start: AtomicU64,
    /// Files of segments that retention took out of the log and could not remove yet.
    doomed: Mutex<Vec<PathBuf>>,
    deleted: AtomicBool,
    /// Told when something was published, made durable or closed, by whom it concerns.
    signal: Signal,
    readers: AtomicUsize,
    /// Store time, in nanoseconds, at which retention has to look at the stream again.
    pub(crate) due: AtomicI64,
}

/// The end of the log.
#[derive(Debug)]
struct Writer {
    state: State,
    /// What frames go to; `None` while nothing is being written.
    active: Option<Active>,
    /// The end while `active` is `None`.
    end: u64,
    last_ingest: Timestamp,
    /// The epoch in force at the end, and the offset it began at.
    epoch: Epoch,
    epoch_start: u64,
    /// Epochs whose frames the next append writes first, as it puts a segment in front: while there are any none is active.
    owed: Vec<Epoch>,
    /// Somebody waits for the next record.
    wanted: bool,
    /// Somebody who follows the tenant's streams knows of all there is, and of nothing more.
    watched: bool,
    /// The stream stands in the queue of what is to be synced.
    dirty: bool,
    /// How the writer goes through the active segment.
    pace: Pace,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Poisoned,
    ReadOnly,
}

impl Writer {
    /// Offset of the next frame.
    fn next(&self) -> u64 {
        self.active.as_ref().map_or(self.end, Active::next)
    }
}

/// A segment whose frames are not all durable, or that has no seal.
#[derive(Debug)]
struct Unsealed {
    segment: Arc<Segment>,
    /// Held until the seal, so that what fails to be written back is heard of.
    region: Arc<crate::vfs::region::Region>,
    /// The tail that wrote it, once another segment took over: its claims may still be open.
    rolled: Option<Active>,
    /// Its name and header are durable.
    named: bool,
    /// Offset up to which a process wrote it that was killed: to be written anew before a sync proves anything.
    owed: u64,
}

#[derive(Debug)]
struct PolicyCell {
    ttl_nanos: AtomicI64,
    expired_before: AtomicI64,
    max_bytes: AtomicU64,
    durability: AtomicU8,
}

impl PolicyCell {
    #[inline]
    fn durability(&self) -> Durability {
        Durability::ALL[usize::from(self.durability.load(Ordering::Relaxed))]
    }

    fn new(policy: Policy) -> PolicyCell {
        let cell = PolicyCell {
            ttl_nanos: AtomicI64::new(0),
            expired_before: AtomicI64::new(0),
            max_bytes: AtomicU64::new(0),
            durability: AtomicU8::new(0),
        };
        cell.set(policy);
        cell
    }

    fn set(&self, policy: Policy) {
        // The mark first: whoever sees the new TTL sees at least what had expired under the old one.
        self.expired_before.fetch_max(policy.expired_before.as_nanos(), Ordering::AcqRel);
        self.ttl_nanos.store(i64::try_from(policy.ttl.as_nanos()).unwrap_or(i64::MAX), Ordering::Release);
        self.max_bytes.store(policy.max_bytes.unwrap_or(u64::MAX), Ordering::Release);
        self.durability.store(policy.durability as u8, Ordering::Release);
    }
}

impl Core {
    /// Applies a changed policy.
    pub(crate) fn set_policy(&self, policy: Policy) {
        self.policy.set(policy);
        self.due.store(i64::MIN, Ordering::Relaxed);
        self.signal.raise();
    }

    pub(crate) fn set_member(&self, member: Member) {
        *self.member.write() = Arc::new(member);
    }

    pub(crate) fn member(&self) -> Arc<Member> {
        Arc::clone(&self.member.read())
    }

    pub(crate) fn ttl(&self) -> Duration {
        Duration::from_nanos(self.policy.ttl_nanos.load(Ordering::Acquire) as u64)
    }

    pub(crate) fn max_bytes(&self) -> Option<u64> {
        Some(self.policy.max_bytes.load(Ordering::Acquire)).filter(|bytes| *bytes < u64::MAX)
    }

    /// Records ingested before this are expired.
    pub(crate) fn cutoff(&self) -> Timestamp {
        let ttl =
            self.policy.ttl_nanos.load(Ordering::Acquire) - i64::from(mutants::on(Mutant::TtlInclusive));
        let marked = self.policy.expired_before.load(Ordering::Acquire);
        Timestamp::from_nanos(self.env.clock.now().as_nanos().saturating_sub(ttl).max(marked))
    }

    pub(crate) fn segments(&self) -> Arc<Vec<Arc<Segment>>> {
        Arc::clone(&self.segments.read())
    }

    /// Whether `segment` is part of the log still.
    fn lists(&self, segment: &Arc<Segment>) -> bool {
        self.segments.read().iter().any(|other| Arc::ptr_eq(other, segment))
    }

    /// Offset before which retention removed everything.
    pub(crate) fn log_start(&self) -> u64 {
        self.log_start.load(Ordering::Acquire)
    }

    pub(crate) fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    /// Refuses when the store is closed or the stream deleted.
    pub(crate) fn check(&self) -> Result<()> {
        self.env.check_open()?;
        self.check_not_deleted()
    }

    fn check_not_deleted(&self) -> Result<()> {
        if self.deleted.load(Ordering::Acquire) {
            return Err(Error::new(
                ErrorKind::StreamDeleted,
                format!("use stream {}: it was deleted", self.id),
            ));
        }
        Ok(())
    }

    /// What was `done` to the stream's files, which go as it is deleted: then that is what went wrong.
    pub(crate) fn unless_deleted<T>(&self, done: Result<T>) -> Result<T> {
        done.map_err(|err| self.check_not_deleted().err().unwrap_or(err))
    }

    /// Refuses everything from now on; readers get `StreamDeleted`.
    pub(crate) fn mark_deleted(&self) {
        self.deleted.store(true, Ordering::Release);
        self.writer.lock().state = State::ReadOnly;
        // Whoever makes a file in the stream's directory now has it, or will make none.
        let _rolling = self.rolling.lock();
        self.forget_next();
        self.forget_mark();
        self.signal.raise();
    }

    pub(crate) fn wake_all(&self) {
        self.signal.raise();
    }

    /// The published end.
    pub(crate) fn published(&self) -> Result<u64> {
        if self.env.read_only {
            return self.follow_end();
        }
        let segment = {
            let writer = self.writer.lock();
            match &writer.active {
                Some(active) => Arc::clone(&active.segment),
                None => return Ok(writer.end),
            }
        };
        let region = segment.region()?;
        segment.published(&region, false)
    }

    fn cursor_at(&self, epoch: Epoch, offset: u64, ingest: Timestamp) -> Cursor {
        Cursor { stream: self.id, epoch, offset, ingest }
    }

    /// Ingest time of the last record.
    pub(crate) fn last_ingest(&self) -> Timestamp {
        self.writer.lock().last_ingest
    }

    pub(crate) fn is_poisoned(&self) -> bool {
        self.writer.lock().state == State::Poisoned
    }
}

/// What somebody who follows many streams learns of one under its lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Look {
    /// Ingest time of the last record that was claimed.
    pub(crate) last_ingest: Timestamp,
    /// Whether every claim is committed. Otherwise a record of that time or an earlier one may still come.
    pub(crate) settled: bool,
}

impl Core {
    /// Looks at the end of the log and asks to be told, through `changes`, of the next append.
    pub(crate) fn look(&self) -> Look {
        let mut writer = self.writer.lock();
        writer.watched = true;
        let settled = writer.active.as_ref().is_none_or(Active::is_settled);
        Look { last_ingest: writer.last_ingest, settled }
    }
}

/// A handle to one stream of a store. Clones share it; while one lives, the store stays open unless somebody closes it.
#[derive(Clone)]
pub struct Stream {
    pub(crate) core: Arc<Core>,
    handle: Arc<Handle>,
}

/// A stream, and its store, whose last handle closes it. Together, so that a reader counts one thing and not two.
struct Handle {
    core: Arc<Core>,
    _store: Arc<dyn Send + Sync>,
}

impl Stream {
    /// A handle that keeps `store` open.
    pub(crate) fn new(core: Arc<Core>, store: Arc<dyn Send + Sync>) -> Stream {
        Stream { handle: Arc::new(Handle { core: Arc::clone(&core), _store: store }), core }
    }

    /// The stream's id.
    pub fn id(&self) -> StreamId {
        self.core.id
    }

    /// The published end: the offset the next record will have or pass.
    ///
    /// # Errors
    /// `Closed`, `StreamDeleted`; `Io` in a read-only store.
    pub fn published(&self) -> Result<u64> {
        self.core.check()?;
        self.core.published()
    }

    /// The offset up to which everything is on stable storage. In a read-only store it is what the writer last
    /// left word of.
    pub fn durable(&self) -> u64 {
        self.core.durable()
    }

    /// What opening the stream found and did.
    pub fn recovery(&self) -> &Recovery {
        &self.core.recovery
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stream({})", self.core.id)
    }
}
