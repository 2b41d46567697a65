//! The sessions of a store: who has which, in what phase, and the position each committed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::filter::Filter;
use crate::format::Epoch;
use crate::mutants::{self, Mutant};
use crate::names::{SessionId, TenantId};
use crate::session::entry::{Change, Entry, Epochs, Phase, Standing};
use crate::session::log::Log;
use crate::session::merge::Reading;
use crate::session::{SessionInfo, SessionState, lifecycle};
use crate::stream::Core;
use crate::stream::env::Env;
use crate::sync::{Mutex, MutexGuard};
use crate::{Error, ErrorKind, Quotas, Result, SessionCursor, Timestamp};

/// After how long without a read a session gives up most of what it remembers.
const RESTS: Duration = Duration::from_secs(10);

/// The sessions of a store.
#[derive(Debug)]
pub(crate) struct Registry {
    store: Uuid,
    quotas: Quotas,
    epochs: Arc<Epochs>,
    /// Guards who has which session, and the order of the log; held while the log begins another segment, or is written anew.
    table: Mutex<Table>,
    /// The log's stream, to be synced without the lock.
    core: Arc<Core>,
}

#[derive(Debug)]
struct Table {
    log: Log,
    sessions: HashMap<SessionId, Held>,
    /// The sessions of each tenant, oldest first.
    tenants: HashMap<TenantId, BTreeSet<(Timestamp, SessionId)>>,
}

/// A session in memory.
#[derive(Debug)]
struct Held {
    entry: Entry,
    last_read: Timestamp,
    /// Reads under way, one at the most but for a moment.
    readers: usize,
    live: Arc<Live>,
}

/// The part of a session that a read needs.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) filter: Filter,
    /// Held for a moment.
    turn: Mutex<Turn>,
    /// Held by the read that is under way.
    reading: Mutex<Option<Reading>>,
}

/// Whose turn it is to read.
#[derive(Debug, Default)]
struct Turn {
    /// Raised by who begins anew, so that a read under way ends.
    number: u64,
    /// Where the first read of this turn begins, if who began it said so and none has come yet.
    start: Option<SessionCursor>,
    /// The turn of the read that has the place, or is about to.
    taken: Option<u64>,
}

/// The reader's place, for as long as one read has it.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    live: &'a Live,
    turn: u64,
    pub(crate) reading: MutexGuard<'a, Option<Reading>>,
}

impl Live {
    fn new(filter: Filter) -> Live {
        Live { filter, turn: Mutex::default(), reading: Mutex::new(None) }
    }

    /// The place, for a read of this turn; `None` while another read of it, or of a later one, has it.
    ///
    /// A read of an earlier turn is waited for. It is about to notice that its turn is over, or comes late and takes the place for
    /// no longer than it needs to notice, and neither is a reason to turn away whose turn it is.
    pub(crate) fn place(&self, turn: u64) -> Option<Place<'_>> {
        {
            let mut now = self.turn.lock();
            if now.taken.is_some_and(|by| turn <= by) {
                return None;
            }
            now.taken = Some(turn);
        }
        Some(Place { live: self, turn, reading: self.reading.lock() })
    }

    /// The reader's place, if nobody reads: to give up what it remembers.
    fn unread(&self) -> Option<MutexGuard<'_, Option<Reading>>> {
        self.reading.try_lock()
    }

    /// Forgets where it was read, if nobody reads.
    fn forget(&self) {
        if let Some(mut reading) = self.unread() {
            *reading = None;
            self.turn.lock().start = None;
        }
    }

    /// Begins a turn, whose reads begin at `position`; a read of an earlier one ends as soon as it notices.
    ///
    /// Both at once, and without the place: a read is of the turn before, and is ended, or begins at the position.
    pub(crate) fn begin(&self, position: SessionCursor) {
        let mut turn = self.turn.lock();
        turn.number += 1;
        turn.start = Some(position);
    }

    /// The turn that a read belongs to.
    pub(crate) fn turn(&self) -> u64 {
        self.turn.lock().number
    }

    /// Whether it is still this turn, for the read that has the place; the first read of one is brought to where it begins.
    pub(crate) fn is_turn(&self, turn: u64, reading: &mut Option<Reading>) -> bool {
        let start = {
            let mut now = self.turn.lock();
            if now.number != turn {
                return false;
            }
            now.start.take()
        };
        if let Some(start) = start {
            *reading = Some(Reading::new(start));
        }
        true
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut now = self.live.turn.lock();
        if now.taken == Some(self.turn) {
            now.taken = None;
        }
    }
}

impl Registry {
    /// Opens the sessions kept in `dir`. Whatever was open when the store was last used is suspended now.
    ///
    /// # Errors
    /// `Io`, `NoSpace`, `Unsupported`, `Poisoned`.
    pub(crate) fn open(env: &Arc<Env>, dir: &Path) -> Result<Registry> {
        let (log, mut kept) = Log::open(env, dir)?;
        let epoch = kept.epochs.next(env.vfs.random() as u64, env.opened);
        // Durable before any position is given out that names it.
        let end = log.append(&Change::Epoch(epoch))?;
        kept.apply(Change::Epoch(epoch));
        let now = env.clock.now();
        for entry in kept.sessions.values_mut().filter(|entry| entry.phase == Phase::Open) {
            entry.phase = Phase::Suspended { since: now };
            log.append(&Change::Phase(entry.id, entry.phase))?;
        }
        let core = Arc::clone(log.core());
        core.sync_to(end)?;
        let mut table = Table { log, sessions: HashMap::new(), tenants: HashMap::new() };
        for entry in kept.sessions.into_values() {
            // It was parsed when it was created, so a newer version did that.
            let filter = Filter::parse(&entry.filter).map_err(|err| {
                let text = format!("read sessions {}: session {}: {err}", dir.display(), entry.id);
                Error::new(ErrorKind::Unsupported, text)
            })?;
            table.insert(entry, filter, now);
        }
        let epochs = Arc::new(kept.epochs);
        Ok(Registry { store: env.store, quotas: env.settings.quotas, epochs, table: Mutex::new(table), core })
    }

    pub(super) fn epochs(&self) -> (Uuid, Arc<Epochs>) {
        (self.store, Arc::clone(&self.epochs))
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// The position behind every record that came in up to `time`.
    pub(crate) fn behind_all(&self, time: Timestamp) -> SessionCursor {
        SessionCursor::behind_all(self.store, self.epochs.at(time), time)
    }

    /// The position behind the record that `cursor` stands behind.
    pub(crate) fn behind(&self, cursor: crate::Cursor) -> SessionCursor {
        SessionCursor::behind(self.store, self.epochs.at(cursor.ingest), cursor)
    }

    /// Checks a position against the store and its epochs; it is now `now`.
    ///
    /// # Errors
    /// `CursorStreamMismatch` where it is of another store, `SessionAhead`, `SessionDiverged`.
    pub(crate) fn check(&self, cursor: &SessionCursor, now: Timestamp) -> Result<()> {
        if cursor.store != self.store {
            let text =
                format!("resume a session of store {}: the cursor is of store {}", self.store, cursor.store);
            return Err(Error::new(ErrorKind::CursorStreamMismatch, text));
        }
        // The position behind everything there ever was before a store had sessions has no epoch.
        let judged = match cursor.store_epoch == Epoch::default() {
            true => Standing::Holds,
            false => self.epochs.judge(cursor.store_epoch, cursor.ingest),
        };
        let safe = match judged {
            Standing::Holds if cursor.ingest <= now => return Ok(()),
            Standing::Holds => {
                let text = format!("resume a session behind {}: it is {now} only", cursor.ingest);
                return Err(Error::new(ErrorKind::SessionAhead { tail: self.behind_all(now) }, text));
            }
            Standing::KeptBefore(start) => self.behind_all(start.saturating_sub(Duration::from_nanos(1))),
            Standing::Unknown => self.behind_all(Timestamp::MIN),
        };
        let text = format!(
            "resume a session behind {} of epoch {}: the store's time went back since, or the cursor is of a copy of it",
            cursor.ingest, cursor.store_epoch.number
        );
        Err(Error::new(ErrorKind::SessionDiverged { safe }, text))
    }

    /// Adds a session, open; durable before it returns.
    pub(crate) fn create(&self, entry: Entry, filter: Filter, now: Timestamp) -> Result<SessionInfo> {
        let (info, end) = {
            let mut table = self.table.lock();
            table.admit(&entry, now, &self.quotas)?;
            let end = table.log.append(&Change::Put(entry.clone()))?;
            let info = info(&entry);
            table.insert(entry, filter, now);
            (info, end)
        };
        self.core.sync_to(end).inspect_err(|_| drop(self.table.lock().remove(info.id)))?;
        Ok(info)
    }

    /// The tenant's sessions, oldest first.
    pub(crate) fn list(&self, tenant: &TenantId, now: Timestamp) -> Result<Vec<SessionInfo>> {
        let mut table = self.table.lock();
        let mut found = Vec::new();
        for id in table.of(tenant) {
            if table.settle(id, now, &self.quotas) {
                found.push(info(&table.sessions[&id].entry));
            }
        }
        Ok(found)
    }

    /// How many sessions are in each state.
    pub(crate) fn count(&self, now: Timestamp) -> Result<BTreeMap<SessionState, usize>> {
        let mut table = self.table.lock();
        table.settle_all(now, &self.quotas);
        let mut counts = BTreeMap::new();
        for held in table.sessions.values() {
            *counts.entry(state(held.entry.phase)).or_default() += 1;
        }
        Ok(counts)
    }

    /// What a session is.
    ///
    /// # Errors
    /// `NotFound`, also for another tenant's.
    pub(crate) fn info(&self, tenant: &TenantId, id: SessionId, now: Timestamp) -> Result<SessionInfo> {
        let mut table = self.table.lock();
        Ok(info(&table.get(tenant, id, now, &self.quotas)?.entry))
    }

    /// Opens the session for a read, if it is not open; what there is to read with, the committed position, and the entry.
    ///
    /// # Errors
    /// `NotFound`, `SessionClosed`, `QuotaExceeded`.
    pub(crate) fn begin_read(
        &self,
        tenant: &TenantId,
        id: SessionId,
        now: Timestamp,
    ) -> Result<(Arc<Live>, Entry)> {
        let mut table = self.table.lock();
        let held = table.open(tenant, id, now, &self.quotas)?;
        held.readers += 1;
        Ok((Arc::clone(&held.live), held.entry.clone()))
    }

    /// Takes note that a read is over.
    pub(crate) fn end_read(&self, id: SessionId, now: Timestamp) {
        if let Some(held) = self.table.lock().sessions.get_mut(&id) {
            held.readers = held.readers.saturating_sub(1);
            held.last_read = now;
        }
    }

    /// Opens the session, if it is not open, to be begun anew.
    ///
    /// # Errors
    /// As [`begin_read`](Registry::begin_read).
    pub(crate) fn open_anew(
        &self,
        tenant: &TenantId,
        id: SessionId,
        now: Timestamp,
    ) -> Result<(Arc<Live>, Entry)> {
        let mut table = self.table.lock();
        let held = table.open(tenant, id, now, &self.quotas)?;
        Ok((Arc::clone(&held.live), held.entry.clone()))
    }

    /// Makes `cursor`, which was checked, the committed position; durable before it returns.
    ///
    /// # Errors
    /// `CommitBackwards`; `NotFound`, `SessionClosed`, `Poisoned`, `NoSpace`, `Io`.
    pub(crate) fn commit(
        &self,
        tenant: &TenantId,
        id: SessionId,
        cursor: SessionCursor,
        now: Timestamp,
    ) -> Result<SessionInfo> {
        let (info, end) = {
            let mut table = self.table.lock();
            let held = table.get(tenant, id, now, &self.quotas)?;
            if let Phase::Closed { .. } = held.entry.phase {
                return Err(closed(id));
            }
            let committed = held.entry.committed;
            if cursor < committed {
                let text = format!(
                    "commit to session {id}: {cursor:?} lies before {committed:?}, which was committed"
                );
                return Err(Error::new(ErrorKind::CommitBackwards { committed }, text));
            }
            let end = match cursor == committed {
                // It may be the repetition of one whose sync is still under way.
                true => self.core.published()?,
                false => table.log.append(&Change::Commit(id, cursor))?,
            };
            let held = table.sessions.get_mut(&id).expect("found above");
            held.entry.committed = cursor;
            (info(&held.entry), end)
        };
        if !mutants::on(Mutant::CommitAnsweredEarly) {
            self.core.sync_to(end)?;
        }
        Ok(info)
    }

    /// Closes a session; closing twice is fine.
    pub(crate) fn close(&self, tenant: &TenantId, id: SessionId, now: Timestamp) -> Result<SessionInfo> {
        let (info, end) = {
            let mut table = self.table.lock();
            table.get(tenant, id, now, &self.quotas)?;
            let end = table.close(id, now)?;
            (info(&table.sessions[&id].entry), end)
        };
        self.core.sync_to(end)?;
        Ok(info)
    }

    /// Closes every session of a tenant, which is being deleted.
    pub(crate) fn close_all_of(&self, tenant: &TenantId, now: Timestamp) -> Result<()> {
        let end = {
            let mut table = self.table.lock();
            let mut end = 0;
            for id in table.of(tenant) {
                end = table.close(id, now)?;
            }
            end
        };
        self.core.sync_to(end)
    }

    /// Suspends and forgets what is due, and writes the log anew where it has grown.
    pub(crate) fn tick(&self, now: Timestamp) -> Result<()> {
        let mut table = self.table.lock();
        table.settle_all(now, &self.quotas);
        let Table { log, sessions, .. } = &mut *table;
        // Of one that is being read, however seldom something comes, nobody else takes the place.
        let rests = |held: &&Held| held.readers == 0 && held.last_read.saturating_add(RESTS) <= now;
        for held in sessions.values().filter(rests) {
            if let Some(reading) = held.live.unread().as_mut().and_then(|reading| reading.as_mut()) {
                reading.rest();
            }
        }
        let epochs = self.epochs.changes();
        log.compact(epochs.chain(sessions.values().map(|held| Change::Put(held.entry.clone()))))?;
        drop(table);
        self.core.idle()
    }
}

impl Table {
    fn insert(&mut self, entry: Entry, filter: Filter, now: Timestamp) {
        let (id, created) = (entry.id, entry.created);
        self.tenants.entry(entry.tenant.clone()).or_default().insert((created, id));
        let live = Arc::new(Live::new(filter));
        self.sessions.insert(id, Held { entry, last_read: now, readers: 0, live });
    }

    fn remove(&mut self, id: SessionId) -> Option<Held> {
        let held = self.sessions.remove(&id)?;
        if let Some(ids) = self.tenants.get_mut(&held.entry.tenant) {
            ids.remove(&(held.entry.created, id));
            if ids.is_empty() {
                self.tenants.remove(&held.entry.tenant);
            }
        }
        Some(held)
    }

    /// The tenant's sessions, oldest first.
    fn of(&self, tenant: &TenantId) -> Vec<SessionId> {
        self.tenants.get(tenant).into_iter().flatten().map(|(_, id)| *id).collect()
    }

    /// Brings a session's phase up to `now`. False where it is gone.
    fn settle(&mut self, id: SessionId, now: Timestamp, quotas: &Quotas) -> bool {
        let Some(held) = self.sessions.get_mut(&id) else { return false };
        let last_read = if 0 < held.readers { now } else { held.last_read };
        match lifecycle::at(held.entry.phase, last_read, now, quotas) {
            Some(phase) if phase == held.entry.phase => true,
            Some(phase) => {
                held.entry.phase = phase;
                // A suspended session keeps nothing in memory but what it is.
                held.live.forget();
                self.note(&Change::Phase(id, phase));
                true
            }
            None => {
                self.remove(id);
                self.note(&Change::Forget(id));
                false
            }
        }
    }

    /// Writes down what time brought about. Where that cannot be, on a full disk above all, reading goes on all the same: after a
    /// restart time brings it about again.
    fn note(&self, change: &Change) {
        let _ = self.log.append(change);
    }

    fn settle_all(&mut self, now: Timestamp, quotas: &Quotas) {
        let ids: Vec<SessionId> = self.sessions.keys().copied().collect();
        for id in ids {
            self.settle(id, now, quotas);
        }
    }

    fn get(&mut self, tenant: &TenantId, id: SessionId, now: Timestamp, quotas: &Quotas) -> Result<&Held> {
        let is_theirs = self.sessions.get(&id).is_some_and(|held| held.entry.tenant == *tenant);
        if !is_theirs || !self.settle(id, now, quotas) {
            return Err(Error::new(ErrorKind::NotFound, format!("no tail session {id}")));
        }
        Ok(&self.sessions[&id])
    }

    /// Opens a session, if it is not open.
    fn open(
        &mut self,
        tenant: &TenantId,
        id: SessionId,
        now: Timestamp,
        quotas: &Quotas,
    ) -> Result<&mut Held> {
        let entry = self.get(tenant, id, now, quotas)?.entry.clone();
        match entry.phase {
            Phase::Open => {}
            Phase::Closed { .. } => return Err(closed(id)),
            Phase::Suspended { .. } => {
                self.admit(&entry, now, quotas)?;
                // Not synced: after a crash every session is suspended.
                self.note(&Change::Phase(id, Phase::Open));
            }
        }
        let held = self.sessions.get_mut(&id).expect("found above");
        held.entry.phase = Phase::Open;
        held.last_read = now;
        Ok(held)
    }

    /// Whether one more session of this tenant and user may be open.
    fn admit(&mut self, entry: &Entry, now: Timestamp, quotas: &Quotas) -> Result<()> {
        let (mut of_tenant, mut of_user) = (0, 0);
        for id in self.of(&entry.tenant) {
            if self.settle(id, now, quotas) && self.sessions[&id].entry.phase == Phase::Open {
                of_tenant += 1;
                of_user += usize::from(self.sessions[&id].entry.user == entry.user);
            }
        }
        lifecycle::admit(of_tenant, of_user, quotas)
    }

    fn close(&mut self, id: SessionId, now: Timestamp) -> Result<u64> {
        let held = self.sessions.get_mut(&id).expect("the caller found it");
        if !matches!(held.entry.phase, Phase::Closed { .. }) {
            let phase = Phase::Closed { since: now };
            self.log.append(&Change::Phase(id, phase))?;
            held.entry.phase = phase;
            held.live.turn.lock().number += 1;
        }
        self.log.core().published()
    }
}

fn info(entry: &Entry) -> SessionInfo {
    SessionInfo {
        id: entry.id,
        tenant: entry.tenant.clone(),
        user: entry.user.clone(),
        filter: entry.filter.clone(),
        service: entry.service.clone(),
        scope: entry.scope.clone(),
        last_cursor: entry.committed,
        created: entry.created,
        state: state(entry.phase),
    }
}

fn state(phase: Phase) -> SessionState {
    match phase {
        Phase::Open => SessionState::Open,
        Phase::Suspended { .. } => SessionState::Suspended,
        Phase::Closed { .. } => SessionState::Closed,
    }
}

pub(crate) fn closed(id: SessionId) -> Error {
    Error::new(ErrorKind::SessionClosed, format!("use tail session {id}: it was closed"))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_place_is_had_once_in_a_turn_and_not_beside_a_later_one() {
        let live = Live::new(Filter::all());
        let first = live.place(1).unwrap();
        assert!(live.place(1).is_none() && live.place(0).is_none());
        drop(first);
        assert!(live.place(1).is_some());
        assert!(live.place(0).is_some(), "to notice that its turn is over");
    }

    #[test]
    fn a_later_turn_waits_for_the_place_instead_of_being_turned_away() {
        let live = Arc::new(Live::new(Filter::all()));
        let older = live.place(1).unwrap();
        let (said, heard) = mpsc::channel();
        let newer = std::thread::spawn({
            let live = Arc::clone(&live);
            move || {
                let place = live.place(2);
                said.send(place.is_some()).unwrap();
                // Gone by the end of the other, and its own still counts.
                place.is_some_and(|_place| live.place(2).is_none())
            }
        });
        assert!(heard.try_recv().is_err(), "the older one has it");
        drop(older);
        assert!(heard.recv().unwrap() && newer.join().unwrap());
        assert!(live.place(2).is_some(), "it was given back");
    }
}
