//! Tail sessions as the host holds them: which streams one covers, and reading them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::catalog::Catalog;
use crate::filter::Filter;
use crate::format::frame::MAX_SERVICE;
use crate::session::entry::{Entry, Phase};
use crate::session::merge::{Reading, as_sessions, reader_at};
use crate::session::registry::{Live, Place, Registry, closed};
use crate::session::{OnExpired, Polled, Scope, SessionInfo, SessionSpec, SessionStart, SessionState};
use crate::store::dir::names;
use crate::store::{Kept, Shared, Store, Tenant, if_there, is_gone};
use crate::stream::changes::Changes;
use crate::stream::{Core, Limit, Member, Waiter, Waiting};
use crate::vfs::new_id;
use crate::{Error, ErrorKind, Result, SessionCursor, SessionId, StreamId, TenantId, Timestamp, UserId};

/// Streams that a session may name, at most; of a group or a tenant it covers any number.
const MAX_STREAMS: usize = 1000;
/// How soon to look again at what is claimed and not published yet.
const MOMENT: Duration = Duration::from_millis(1);

impl Tenant {
    /// Creates a tail session, open and with a concrete [`last_cursor`](SessionInfo::last_cursor); durable before it returns.
    ///
    /// # Errors
    /// `QuotaExceeded`, naming the limit and the use; for the start `SessionExpired`, `SessionDiverged`, `SessionAhead`,
    /// `CursorInvalid`, `CursorStreamMismatch` (of another store, or of a stream outside the session); `Invalid` for the service,
    /// the group or the streams; `ReadOnly`, `Closed`, `Poisoned`, `NoSpace`, `Io`.
    ///
    /// ```
    /// # fn main() -> tailwater::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use std::time::Duration;
    /// use tailwater::{Filter, GroupName, GroupSpec, Level, Limit, PolledItem, Record, SessionSpec, Store};
    /// use tailwater::{StreamName, StreamSpec, TenantId, UserId};
    ///
    /// let store = Store::open(dir.path())?;
    /// let tenant = store.tenant(&TenantId::new("tenant-xyz")?);
    /// let spec = SessionSpec::new(UserId::new("user-001-abc")?).filter(Filter::parse("level=error")?);
    /// let session = tenant.create_session(spec)?;
    ///
    /// // A stream created later joins by itself.
    /// let group = tenant.create_group(GroupSpec::new(GroupName::new("web")?))?;
    /// let web = tenant.create_stream(group.id, StreamSpec::new(StreamName::new("front")?))?;
    /// web.append(&Record::new("upstream timed out").level(Level::Error))?;
    ///
    /// let polled = session.poll(Duration::from_secs(10), Limit::default())?;
    /// let (PolledItem::Record(record), _) = polled.iter().next().unwrap() else { panic!() };
    /// assert_eq!(record.body(), b"upstream timed out");
    /// session.commit(polled.cursor())?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn create_session(&self, spec: SessionSpec) -> Result<Session> {
        let shared = self.store.writable("create a tail session")?;
        let registry = shared.sessions()?;
        let SessionSpec { user, filter, service, scope, start, on_expired } = spec;
        if let Some(service) = &service
            && !(1..=MAX_SERVICE).contains(&service.len())
        {
            let rule = format!("must have 1 to {MAX_SERVICE} bytes, not {}", service.len());
            return Err(Error::invalid("service", rule));
        }
        let created = shared.env.clock.now();
        shared.check_scope(&self.id, &scope, created)?;
        let mut entry = Entry {
            id: new_id(&*shared.env.vfs),
            tenant: self.id.clone(),
            user,
            filter: filter.as_str().to_owned(),
            service,
            scope,
            on_expired,
            created,
            committed: registry.behind_all(created),
            phase: Phase::Open,
        };
        entry.committed = shared.position(&registry, &entry, start)?;
        let info = registry.create(entry, filter, created)?;
        Ok(self.session_handle(info.id))
    }

    /// The tenant's sessions, oldest first.
    ///
    /// # Errors
    /// `ReadOnly`, `Closed`, `Io`.
    pub fn sessions(&self) -> Result<Vec<SessionInfo>> {
        let shared = self.store.writable("list tail sessions")?;
        shared.sessions()?.list(&self.id, shared.env.clock.now())
    }

    /// Those of one user, oldest first.
    ///
    /// # Errors
    /// As [`sessions`](Tenant::sessions).
    pub fn sessions_of(&self, user: &UserId) -> Result<Vec<SessionInfo>> {
        let mut found = self.sessions()?;
        found.retain(|info| info.user == *user);
        Ok(found)
    }

    /// One session.
    ///
    /// # Errors
    /// `NotFound`, also for another tenant's; `ReadOnly`, `Closed`, `Io`.
    pub fn session(&self, id: SessionId) -> Result<Session> {
        let session = self.session_handle(id);
        session.info()?;
        Ok(session)
    }

    fn session_handle(&self, id: SessionId) -> Session {
        Session { tenant: self.clone(), id }
    }
}

impl Store {
    /// How many tail sessions there are, of every tenant, by [state](SessionState): open, suspended, closed.
    ///
    /// # Errors
    /// `ReadOnly`, `Closed`, `Io`.
    pub fn session_counts(&self) -> Result<BTreeMap<SessionState, usize>> {
        let shared = self.writable("count tail sessions")?;
        match shared.sessions_if_any()? {
            Some(registry) => registry.count(shared.env.clock.now()),
            None => Ok(BTreeMap::new()),
        }
    }
}

/// A handle to one tail session. Clones share it.
#[derive(Clone)]
pub struct Session {
    tenant: Tenant,
    id: SessionId,
}

impl Session {
    /// Its id.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// What it is now.
    ///
    /// # Errors
    /// `NotFound` once it was forgotten; `Closed`, `Io`.
    pub fn info(&self) -> Result<SessionInfo> {
        let shared = self.shared("look at a tail session")?;
        shared.sessions()?.info(&self.tenant.id, self.id, shared.env.clock.now())
    }

    /// Reads on behind what the last read of this session gave, waiting up to `timeout` for something to come. A session that
    /// was created, resumed or suspended begins at its committed position, or where it was resumed.
    ///
    /// Records come in the order of ingest time, stream and offset, with gaps in line, at most `limit` of them; one read looks at
    /// a bounded stretch of log, so it may give nothing and move the cursor on all the same.
    ///
    /// # Errors
    /// `Busy` while another read is under way, or once the session was resumed elsewhere; `SessionClosed`; `QuotaExceeded`
    /// where it was suspended and cannot be opened now; `NotFound` once it was forgotten; `SessionDiverged`, `SessionExpired`
    /// where it begins and its position does not hold: [`resume`](Session::resume) it elsewhere; `Closed`, `Io`.
    pub fn poll(&self, timeout: Duration, limit: Limit) -> Result<Polled> {
        let read = self.begin("read a tail session")?;
        let mut place = read.place()?;
        let waiting = Waiting::new(timeout);
        loop {
            let count = read.changes.signal.count();
            let polled = read.once(&mut place.reading, limit)?;
            let Some(left) = waiting.left().filter(|_| polled.is_empty()) else { return Ok(polled) };
            let moment = if polled.is_caught_up() { left } else { left.min(MOMENT) };
            read.changes.signal.wait(count, moment);
        }
    }

    /// A tail for tasks: reads as [`poll`](Session::poll) does, and has the task woken instead of waiting. The session stays open while
    /// it lives.
    ///
    /// # Errors
    /// As [`poll`](Session::poll).
    pub fn tail(&self, limit: Limit) -> Result<SessionTail> {
        Ok(SessionTail { read: self.begin("tail a session")?, waiter: Waiter::new(), limit })
    }

    /// Begins anew: the next read starts at `start`, or where there is none at the committed position. Opens a suspended session
    /// when the quota allows. A read under way ends with `Busy`.
    ///
    /// # Errors
    /// `SessionClosed`, `QuotaExceeded`, `NotFound`; for the start as [`create_session`](Tenant::create_session); `Closed`, `Io`.
    pub fn resume(&self, start: Option<SessionStart>) -> Result<SessionInfo> {
        let shared = self.shared("resume a tail session")?;
        let registry = shared.sessions()?;
        let (live, entry) = registry.open_anew(&self.tenant.id, self.id, shared.env.clock.now())?;
        let start = start.unwrap_or(SessionStart::Cursor(entry.committed));
        // Before the turn: where a resume fails, the read under way goes on.
        live.begin(shared.position(&registry, &entry, start)?);
        shared.changes(&self.tenant.id).signal.raise();
        self.info()
    }

    /// Makes `cursor` the committed position: durable before it returns, and where a session that is resumed begins.
    ///
    /// # Errors
    /// `CommitBackwards`, `SessionAhead`, `SessionDiverged`, `CursorStreamMismatch`, `SessionClosed`, `NotFound`, `Closed`,
    /// `Poisoned`, `NoSpace`, `Io`.
    pub fn commit(&self, cursor: SessionCursor) -> Result<SessionInfo> {
        let shared = self.shared("commit to a tail session")?;
        let registry = shared.sessions()?;
        let now = shared.env.clock.now();
        let info = registry.info(&self.tenant.id, self.id, now)?;
        registry.check(&cursor, now)?;
        if let Some(core) = shared.core_of(&self.tenant.id, &info.scope, cursor.stream_id())?
            && core.published()? < cursor.offset
        {
            let text = format!("commit to session {}: {cursor:?} lies ahead of its stream", self.id);
            return Err(Error::new(ErrorKind::SessionAhead { tail: registry.behind_all(now) }, text));
        }
        registry.commit(&self.tenant.id, self.id, cursor, now)
    }

    /// Closes the session; it is forgotten after ten minutes. Closing twice is fine.
    ///
    /// # Errors
    /// `NotFound`, `Closed`, `Poisoned`, `NoSpace`, `Io`.
    pub fn close(&self) -> Result<SessionInfo> {
        let shared = self.shared("close a tail session")?;
        let info = shared.sessions()?.close(&self.tenant.id, self.id, shared.env.clock.now())?;
        // A read under way finds out.
        shared.changes(&self.tenant.id).signal.raise();
        Ok(info)
    }

    fn shared(&self, doing: &str) -> Result<&Arc<Kept>> {
        self.tenant.store.writable(doing)
    }

    fn begin(&self, doing: &str) -> Result<Read> {
        let shared = Arc::clone(self.shared(doing)?);
        let registry = shared.sessions()?;
        let (live, entry) = registry.begin_read(&self.tenant.id, self.id, shared.env.clock.now())?;
        let (changes, turn) = (shared.changes(&self.tenant.id), live.turn());
        Ok(Read { session: self.clone(), shared, registry, live, entry, changes, turn })
    }

    fn busy(&self, why: &str) -> Error {
        Error::new(ErrorKind::Busy, format!("read tail session {}: {why}", self.id))
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({} of {})", self.id, self.tenant.id)
    }
}

/// A [tail](Session::tail) of a session for tasks. It needs no runtime: whoever polls it is woken.
#[derive(Debug)]
pub struct SessionTail {
    read: Read,
    waiter: Waiter,
    limit: Limit,
}

impl SessionTail {
    /// Reads what is there, without waiting. It may give nothing and move the cursor on all the same, as [`Session::poll`] does.
    ///
    /// # Errors
    /// As [`Session::poll`].
    pub fn try_next(&mut self) -> Result<Polled> {
        self.read.once(&mut self.read.place()?.reading, self.limit)
    }

    /// Reads on; what it gives is never empty. Not ready: the task is woken once there may be something.
    ///
    /// It looks at mapped memory and takes short locks; a page that is not in memory is waited for.
    ///
    /// # Errors
    /// As [`Session::poll`].
    pub fn poll_next(&mut self, task: &mut Context<'_>) -> Poll<Result<Polled>> {
        let read = &self.read;
        let mut place = read.place()?;
        loop {
            let count = read.changes.signal.count();
            let polled = read.once(&mut place.reading, self.limit)?;
            if !polled.is_empty() {
                return Poll::Ready(Ok(polled));
            }
            if !polled.is_caught_up() {
                // There is more to look at, or a claim is a moment from being published: let others run and look again.
                task.waker().wake_by_ref();
                return Poll::Pending;
            }
            if read.changes.signal.register(count, &self.waiter, task.waker()) {
                return Poll::Pending;
            }
        }
    }
}

impl Drop for SessionTail {
    fn drop(&mut self) {
        self.read.changes.signal.forget(&self.waiter);
    }
}

/// What the session gives, until an error ends it.
#[cfg(feature = "async")]
impl futures_core::Stream for SessionTail {
    type Item = Result<Polled>;

    fn poll_next(self: std::pin::Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<Result<Polled>>> {
        SessionTail::poll_next(self.get_mut(), task).map(Some)
    }
}

/// A read that is under way, and keeps its session open.
#[derive(Debug)]
struct Read {
    session: Session,
    shared: Arc<Kept>,
    registry: Arc<Registry>,
    live: Arc<Live>,
    entry: Entry,
    changes: Arc<Changes>,
    /// The turn it began in; another one has taken over once it is not the session's any more.
    turn: u64,
}

impl Drop for Read {
    fn drop(&mut self) {
        self.registry.end_read(self.session.id, self.shared.env.clock.now());
    }
}

impl Read {
    /// The session's place, for this read.
    ///
    /// # Errors
    /// `Busy` while another read has it.
    fn place(&self) -> Result<Place<'_>> {
        self.live.place(self.turn).ok_or_else(|| self.session.busy("another read of it is under way"))
    }

    /// Reads what is there.
    fn once(&self, reading: &mut Option<Reading>, limit: Limit) -> Result<Polled> {
        let shared = &self.shared;
        shared.env.check_open()?;
        if !self.live.is_turn(self.turn, reading) {
            // Closed, or resumed by somebody else.
            let info = self.registry.info(&self.entry.tenant, self.entry.id, shared.env.clock.now())?;
            return Err(match info.state {
                SessionState::Closed => closed(self.entry.id),
                _ => self.session.busy("it was resumed elsewhere"),
            });
        }
        let reading = match reading {
            Some(reading) => reading,
            None => {
                // Committed to since this read began, perhaps.
                let now = shared.env.clock.now();
                let committed = self.registry.info(&self.entry.tenant, self.entry.id, now)?.last_cursor;
                let start = SessionStart::Cursor(committed);
                reading.insert(Reading::new(shared.position(&self.registry, &self.entry, start)?))
            }
        };
        if reading.seen == Some(self.changes.count()) && !reading.has_pending() {
            return Ok(Polled::nothing(&self.registry, reading.position));
        }
        // The cut before the list: see `changes`.
        let cut = shared.env.clock.cut();
        let (changed, count) = self.changes.since(reading.seen.unwrap_or(0));
        let streams = match reading.seen {
            // Whatever came in since the store was opened is in the list.
            None if reading.position.ingest < shared.env.opened => {
                shared.streams_of(&self.entry.tenant, &self.entry.scope)?
            }
            _ => changed,
        };
        reading.seen = Some(count);
        for stream in streams {
            if let Err(err) = shared.take_in(reading, stream, &self.entry, &self.live) {
                // What was not looked at is looked at next time.
                reading.seen = None;
                return Err(as_sessions(err, reading.position, self.registry.behind_all(cut)));
            }
        }
        reading.read(cut, limit, &self.registry)
    }
}

impl Shared {
    /// The store's sessions, opened at their first use.
    pub(crate) fn sessions(&self) -> Result<Arc<Registry>> {
        let mut sessions = self.sessions.lock();
        match &*sessions {
            Some(registry) => Ok(Arc::clone(registry)),
            None => {
                let registry = Arc::new(Registry::open(&self.env, &self.dir.join(names::SESSIONS))?);
                Ok(Arc::clone(sessions.insert(registry)))
            }
        }
    }

    /// The store's sessions, if it has had any.
    pub(super) fn sessions_if_any(&self) -> Result<Option<Arc<Registry>>> {
        if let Some(registry) = &*self.sessions.lock() {
            return Ok(Some(Arc::clone(registry)));
        }
        if self.has_sessions()? { self.sessions().map(Some) } else { Ok(None) }
    }

    /// Closes the sessions of a tenant that is being deleted.
    pub(super) fn close_sessions_of(&self, tenant: &TenantId) -> Result<()> {
        if let Some(registry) = self.sessions_if_any()? {
            registry.close_all_of(tenant, self.env.clock.now())?;
            // Reads under way find out.
            self.changes(tenant).signal.raise();
        }
        Ok(())
    }

    pub(super) fn has_sessions(&self) -> Result<bool> {
        let dir = self.dir.join(names::SESSIONS);
        match self.env.vfs.list(&dir) {
            Ok(_) => Ok(true),
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(err) => Err(Error::io("list directory", &dir, err)),
        }
    }

    /// The log that sessions are kept in, if there is one, for those who look after files.
    pub(super) fn session_log(&self) -> Result<Option<Arc<Core>>> {
        if let Some(registry) = &*self.sessions.lock() {
            return Ok(Some(Arc::clone(registry.core())));
        }
        if !self.has_sessions()? {
            return Ok(None);
        }
        if self.env.read_only {
            return crate::session::log::open(&self.env, &self.dir.join(names::SESSIONS)).map(Some);
        }
        Ok(Some(Arc::clone(self.sessions()?.core())))
    }

    /// Refuses a scope that names what the tenant has not; makes the tenant where there is none.
    fn check_scope(&self, tenant: &TenantId, scope: &Scope, now: Timestamp) -> Result<()> {
        let mut catalog = self.catalog.lock();
        catalog.ensure_tenant(tenant, now)?;
        let unknown =
            |field, what: &dyn fmt::Display| Err(Error::invalid(field, format!("the tenant has no {what}")));
        match scope {
            Scope::Tenant => Ok(()),
            Scope::Group(group) if catalog.group(tenant, *group).is_ok() => Ok(()),
            Scope::Group(group) => unknown("group", &format_args!("group {group}")),
            Scope::Streams(ids) if MAX_STREAMS < ids.len() => {
                let rule = format!("must be at most {MAX_STREAMS}, not {}", ids.len());
                Err(Error::invalid("streams", rule))
            }
            Scope::Streams(ids) => {
                let missing = ids.iter().find(|id| tenant_of(&catalog, **id) != Some(tenant));
                missing.map_or(Ok(()), |id| unknown("streams", &format_args!("stream {id}")))
            }
        }
    }

    /// The streams that a scope covers now.
    fn streams_of(&self, tenant: &TenantId, scope: &Scope) -> Result<Vec<StreamId>> {
        let catalog = self.catalog.lock();
        let all = catalog.all_streams().filter(|entry| tenant_of(&catalog, entry.id) == Some(tenant));
        Ok(all.filter(|entry| covers(scope, entry.id, entry.group)).map(|entry| entry.id).collect())
    }

    /// The stream of a position, opened, where the catalogue still knows it.
    ///
    /// # Errors
    /// `CursorStreamMismatch` where the session does not cover it.
    fn core_of(
        &self,
        tenant: &TenantId,
        scope: &Scope,
        stream: Option<StreamId>,
    ) -> Result<Option<Arc<Core>>> {
        let Some(id) = stream else { return Ok(None) };
        {
            let catalog = self.catalog.lock();
            let Ok(entry) = catalog.stream(id) else { return Ok(None) };
            if tenant_of(&catalog, id) != Some(tenant) || !covers(scope, id, entry.group) {
                let text =
                    format!("resume a session behind a record of stream {id}: the session does not cover it");
                return Err(Error::new(ErrorKind::CursorStreamMismatch, text));
            }
        }
        if_there(self.core(id))
    }

    /// The position that `start` means for a session, checked against all that may be wrong with it.
    fn position(&self, registry: &Registry, entry: &Entry, start: SessionStart) -> Result<SessionCursor> {
        let just_before = |time: Timestamp| time.saturating_sub(Duration::from_nanos(1));
        let (position, may_be_gone) = match start {
            SessionStart::Now => return Ok(registry.behind_all(self.env.clock.cut())),
            SessionStart::Beginning => return Ok(registry.behind_all(Timestamp::MIN)),
            SessionStart::Time(time) => {
                (registry.behind_all(just_before(time).min(self.env.clock.cut())), true)
            }
            SessionStart::Cursor(cursor) => (cursor, true),
            SessionStart::StreamCursor(cursor) => (registry.behind(cursor), false),
        };
        let now = self.env.clock.now();
        registry.check(&position, now)?;
        let tail = registry.behind_all(now);
        match self.core_of(&entry.tenant, &entry.scope, position.stream_id())? {
            Some(core) => match reader_at(&unkept(core), &position) {
                Err(err) if may_be_gone && is_gone(&err) => {}
                opened => drop(opened.map_err(|err| as_sessions(err, position, tail))?),
            },
            None if may_be_gone => {}
            None => {
                let text = format!("begin a session behind {position:?}: the tenant has no such stream");
                return Err(Error::new(ErrorKind::CursorStreamMismatch, text));
            }
        }
        if entry.on_expired == OnExpired::Refuse {
            self.refuse_expired(registry, entry, position)?;
        }
        Ok(position)
    }

    /// Refuses a position behind which records have expired.
    fn refuse_expired(&self, registry: &Registry, entry: &Entry, position: SessionCursor) -> Result<()> {
        let (mut oldest, mut skipped_bytes) = (position, 0);
        for id in self.streams_of(&entry.tenant, &entry.scope)? {
            let Some(core) = if_there(self.core(id))? else { continue };
            let stream = unkept(core);
            let Some(reader) = if_there(reader_at(&stream, &position))? else { continue };
            let expired = stream.core.expired_behind(reader.cursor().offset)?;
            if 0 < expired {
                skipped_bytes += expired;
                oldest = oldest.max(registry.behind(stream.core.visible()?));
            }
        }
        if skipped_bytes == 0 {
            return Ok(());
        }
        let text = format!("resume a session: {skipped_bytes} bytes behind its position have expired");
        Err(Error::new(ErrorKind::SessionExpired { oldest, skipped_bytes }, text))
    }

    /// Takes a stream into a read, where the session covers it and it may have something behind the position.
    fn take_in(&self, reading: &mut Reading, id: StreamId, entry: &Entry, live: &Live) -> Result<()> {
        if reading.is_pending(id) {
            return Ok(());
        }
        let in_memory = self.loaded.get(id);
        let is_ours = in_memory.is_none();
        if is_ours && self.quiet.lock().get(id).is_some_and(|known| !reading.may_hold(id, known.last_ingest))
        {
            return Ok(());
        }
        let Some(core) = if_there(in_memory.map_or_else(|| self.core(id), Ok))? else { return Ok(()) };
        let member = core.member();
        if !covers(&entry.scope, id, member.group) {
            return Ok(());
        }
        let look = core.look();
        if reading.may_hold(id, look.last_ingest) {
            return if_there(reading.add(unkept(core), filter(live, entry, &member))).map(drop);
        }
        if is_ours {
            // Opened for this only.
            self.let_go(core);
        }
        Ok(())
    }
}

/// A stream for a session's own use. It keeps the store open no longer than the session's host does: the store holds the session.
fn unkept(core: Arc<Core>) -> crate::Stream {
    crate::Stream::new(core, Arc::new(()))
}

/// Which of a stream's records a session wants: those of its service, and those that name none where the stream's tag does.
fn filter(live: &Live, entry: &Entry, member: &Member) -> Filter {
    match &entry.service {
        None => live.filter.clone(),
        Some(service) => live.filter.for_service(service, member.service.as_ref() == Some(service)),
    }
}

fn covers(scope: &Scope, id: StreamId, group: crate::GroupId) -> bool {
    match scope {
        Scope::Tenant => true,
        Scope::Group(only) => *only == group,
        Scope::Streams(ids) => ids.contains(&id),
    }
}

fn tenant_of(catalog: &Catalog, id: StreamId) -> Option<&TenantId> {
    catalog.tenant_of(id)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::vfs::sim::{SimClock, SimDisk};
    use crate::{Options, Record, StreamName, StreamSpec};

    #[test]
    fn a_stream_deleted_just_before_it_is_taken_in_is_passed_over() {
        for on_expired in [OnExpired::Gap, OnExpired::Refuse] {
            let clock = SimClock::new(1_700_000_000_000_000_000);
            let options = Options::new().background(false).vfs(Arc::new(SimDisk::new()));
            let store = options.clock(Arc::new(clock.clone())).open("/store").unwrap();
            let create = |name| store.create_stream(StreamSpec::new(StreamName::new(name).unwrap())).unwrap();
            let (gone, left) = (create("gone"), create("left"));
            let cursor = gone.append(&Record::new("1")).unwrap().cursor();
            gone.append(&Record::new("2")).unwrap();
            clock.advance(Duration::from_secs(1));
            left.append(&Record::new("3")).unwrap();
            clock.advance(Duration::from_secs(1));
            let tenant = store.tenant(&TenantId::new("default").unwrap());
            let spec = SessionSpec::new(UserId::new("user-001-abc").unwrap()).on_expired(on_expired);
            let session = tenant.create_session(spec.start(SessionStart::StreamCursor(cursor))).unwrap();
            // Whoever deletes it has come so far, and has not looked for who holds it yet.
            gone.core.mark_deleted();
            session.resume(None).unwrap();
            assert_eq!(session.poll(Duration::ZERO, Limit::default()).unwrap().len(), 1);
        }
    }
}
