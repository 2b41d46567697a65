//! A store: one directory of streams, opened for writing by one process at a time.

mod background;
mod delete;
mod dir;
mod era;
mod inspect;
mod loaded;
mod options;
mod papers;
mod quiet;
mod repair;
mod session;
mod snapshot;
mod spec;
mod tenant;

use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use serde::Serialize;

use crate::catalog::{Catalog, Mode, StreamEntry};
use crate::session::registry::Registry;
use crate::stream::changes::Changes;
use crate::stream::env::Env;
use crate::stream::open::Opening;
use crate::stream::{Core, Durability, Era, Member, Policy, Stream, StreamStats, VerifyReport};
use crate::sync::Mutex;
use crate::vfs::guard::GuardedClock;
use crate::vfs::{Lock, Vfs};
use crate::{Error, ErrorKind, Quotas, Result, StreamId, TenantId, Timestamp};

use dir::names;
use era::EraFile;
use loaded::Loaded;
use quiet::Quiet;

pub use inspect::{SegmentReport, inspect};
pub use options::Options;
pub use repair::{RepairReport, repair};
pub use session::{Session, SessionTail};
pub use spec::{GroupInfo, GroupSpec, GroupUpdate, StreamInfo, StreamSpec, StreamUpdate};
pub use tenant::Tenant;

/// A directory of log streams. Clones share it; the last one closes it.
///
/// It is its process's. A child that was forked and goes on as the host must not use its copy: it shares the maps with its
/// parent and not the locks. A program that is started is no such child, and holds nothing of a store.
///
/// ```
/// # fn main() -> tailwater::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// use tailwater::{Record, Store, StreamName, StreamSpec};
///
/// let store = Store::open(dir.path())?;
/// let stream = store.create_stream(StreamSpec::new(StreamName::new("web")?))?;
/// stream.append(&Record::new("GET / 200"))?;
/// store.close()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Store {
    shared: Arc<Kept>,
}

/// What handles hold: with the last of them the store is closed, whatever its threads are at.
#[derive(Debug)]
pub(crate) struct Kept(Arc<Shared>);

/// How often the store's time is kept on disk.
const MARK: Duration = Duration::from_secs(600);

/// What the clones of a store share, and its threads.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) dir: PathBuf,
    pub(crate) env: Arc<Env>,
    /// Guards names and policies; held while a change to them becomes durable.
    pub(crate) catalog: Mutex<Catalog>,
    pub(crate) loaded: Loaded,
    /// What tells the sessions of each tenant which streams were appended to.
    changes: Mutex<HashMap<TenantId, Arc<Changes>>>,
    /// Guards the tail sessions, opened at their first use; held while they are.
    sessions: Mutex<Option<Arc<Registry>>>,
    /// What is known of streams that are not in memory.
    quiet: Mutex<Quiet>,
    /// The store's time when it was last kept on disk.
    marked: AtomicI64,
    /// Whether the next open was told to look for streams that are being deleted; held while it is.
    deleting: Mutex<bool>,
    /// Held while the store is closed.
    closing: Mutex<()>,
    /// Held during a tick, so that closing waits for it.
    ticking: Mutex<()>,
    /// Released when the store is closed.
    lock: Mutex<Option<Lock>>,
}

impl Store {
    /// Opens the store in `dir` for reading and writing, with the default [`Options`]; makes it where there is none.
    ///
    /// # Errors
    /// As [`Options::open`].
    pub fn open(dir: impl AsRef<Path>) -> Result<Store> {
        Options::new().open(dir)
    }

    /// Opens the store in `dir` for reading only, with the default [`Options`].
    ///
    /// # Errors
    /// As [`Options::open_read_only`].
    pub fn open_read_only(dir: impl AsRef<Path>) -> Result<Store> {
        Options::new().open_read_only(dir)
    }

    pub(crate) fn open_with(options: Options, dir: &Path) -> Result<Store> {
        let settings = options.settings()?;
        let vfs = Arc::clone(&options.vfs);
        let dir = &absolute(&*vfs, dir)?;
        let catalog_dir = dir.join(names::CATALOG);
        if !Catalog::exists(&*vfs, &catalog_dir)? {
            if !options.create {
                return Err(Error::new(
                    ErrorKind::NotFound,
                    format!("open store {}: there is none", dir.display()),
                ));
            }
            make_dir(&*vfs, dir)?;
        }
        let lock = dir::lock(&*vfs, dir)?;
        if !Catalog::exists(&*vfs, &catalog_dir)? && dir::has_streams(&*vfs, dir)? {
            let text = format!(
                "open store {}: there are streams and no catalogue; `repair` rebuilds it",
                dir.display()
            );
            return Err(Error::new(ErrorKind::Corrupt, text));
        }
        let mark = dir::read_mark(&*vfs, dir)?;
        let clock = GuardedClock::new(options.clock.clone(), mark);
        let catalog = Catalog::open(Arc::clone(&vfs), &catalog_dir, Mode::Writable, clock.now())?;
        let streams = dir.join(names::STREAMS);
        let made = vfs.create_dir_all(&streams).and_then(|()| vfs.sync_dir(dir));
        made.map_err(|err| Error::io("create directory", &streams, err))?;
        dir::remove_unfinished(&*vfs, dir)?;
        dir::remove_deleted(&*vfs, dir, &catalog)?;
        let is_new = catalog.all_streams().next().is_none();
        let era = EraFile::open(&*vfs, dir, clock.boot_id(), is_new);
        let env = Env::new(vfs, clock, era.era(), catalog.store_id(), settings, false);
        let store = Store::assemble(dir, env, catalog, Some(lock))?;
        if mark.is_none() {
            // Else a store that is killed before it is closed would believe any clock at its next opening. Where there is no
            // room, a tick or closing tries again.
            let _ = store.shared.keep_mark();
        }
        Ok(store)
    }

    pub(crate) fn open_read_only_with(options: Options, dir: &Path) -> Result<Store> {
        let settings = options.settings()?;
        let vfs = Arc::clone(&options.vfs);
        let dir = &absolute(&*vfs, dir)?;
        let clock = GuardedClock::new(options.clock.clone(), dir::read_mark(&*vfs, dir)?);
        let catalog =
            Catalog::open(Arc::clone(&vfs), &dir.join(names::CATALOG), Mode::ReadOnly, clock.now())?;
        let env = Env::new(vfs, clock, Era::new(0, false, false), catalog.store_id(), settings, true);
        Store::assemble(dir, env, catalog, None)
    }

    fn assemble(dir: &Path, env: Arc<Env>, catalog: Catalog, lock: Option<Lock>) -> Result<Store> {
        let background = env.settings.background && !env.read_only;
        let opened = env.opened.as_nanos();
        let shared = Arc::new(Shared {
            dir: dir.into(),
            env,
            catalog: Mutex::new(catalog),
            loaded: Loaded::default(),
            changes: Mutex::default(),
            sessions: Mutex::new(None),
            quiet: Mutex::default(),
            marked: AtomicI64::new(opened),
            deleting: Mutex::new(false),
            closing: Mutex::new(()),
            ticking: Mutex::new(()),
            lock: Mutex::new(lock),
        });
        let store = Store { shared: Arc::new(Kept(shared)) };
        if background {
            background::start(&store.shared.0)?;
        }
        Ok(store)
    }

    /// What belongs to one tenant: its groups, streams and tail sessions, and nobody else's. The tenant need not exist; it
    /// begins to with its first group or session.
    pub fn tenant(&self, id: &TenantId) -> Tenant {
        Tenant { store: self.clone(), id: id.clone() }
    }

    /// Every tenant there is, by id. Each store has one called `default`, whose group `default` holds the streams that the
    /// store's own methods name.
    ///
    /// # Errors
    /// `Closed`, `Io`.
    pub fn tenants(&self) -> Result<Vec<TenantId>> {
        self.shared.env.check_open()?;
        let mut catalog = self.shared.catalog.lock();
        catalog.refresh()?;
        Ok(catalog.tenants().map(|tenant| tenant.id.clone()).collect())
    }

    /// Deletes a tenant with all its groups, streams and records, and ends its tail sessions. Durable before it returns; readers
    /// and writers get `StreamDeleted`. A crash or an error on the way deletes all groups and streams or none; its sessions may be
    /// closed then all the same.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for the tenant `default`, which every store has; `ReadOnly`, `Closed`, `Io`, `Poisoned`. `Io` may also
    /// say that files could not be removed of streams that are deleted; the next open removes them.
    ///
    /// ```
    /// # fn main() -> tailwater::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use tailwater::{GroupName, GroupSpec, Store, TenantId};
    /// # let store = Store::open(dir.path())?;
    /// let id = TenantId::new("ours")?;
    /// store.tenant(&id).create_group(GroupSpec::new(GroupName::new("shop")?))?;
    /// assert_eq!(store.tenants()?.len(), 2);
    /// store.delete_tenant(&id)?;
    /// assert_eq!(store.tenants()?, [TenantId::new("default")?]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn delete_tenant(&self, id: &TenantId) -> Result<()> {
        self.writable("delete a tenant")?.delete_tenant(id)
    }

    /// The store's directory, as an absolute path: the process may go to another one.
    pub fn dir(&self) -> &Path {
        &self.shared.dir
    }

    /// Whether it was opened for reading only.
    pub fn is_read_only(&self) -> bool {
        self.shared.env.read_only
    }

    /// Creates a stream in the default group of the default tenant; durable before it returns. Its files are made at its
    /// first append. A host without tenants needs no other group; there is no limit to its streams.
    ///
    /// # Errors
    /// `AlreadyExists`, `ReadOnly`, `Closed`, `NoSpace`, `Io`; `Poisoned` after a failed sync of the catalogue.
    pub fn create_stream(&self, spec: StreamSpec) -> Result<Stream> {
        let shared = self.writable("create a stream")?;
        let id = {
            let mut catalog = shared.catalog.lock();
            let (tenant, group) = (Catalog::default_tenant(), catalog.default_group()?);
            catalog.create_stream(&tenant, group, spec.0, &Quotas::unlimited(), shared.env.clock.now())?.id
        };
        self.stream_by_id(id)
    }

    /// The stream of the default group called `name`. Opened now if nobody has: recovery, where the stream needs it, happens
    /// here.
    ///
    /// # Errors
    /// `NotFound`, `Closed`, `Unsupported`, `Io`.
    pub fn stream(&self, name: &str) -> Result<Stream> {
        self.shared.env.check_open()?;
        let id = self.shared.look_up(name)?.id;
        self.stream_by_id(id)
    }

    /// The stream with this id, whichever tenant's it is.
    ///
    /// # Errors
    /// As [`stream`](Store::stream).
    pub fn stream_by_id(&self, id: StreamId) -> Result<Stream> {
        self.shared.env.check_open()?;
        Ok(self.shared.stream(self.shared.core(id)?))
    }

    /// The streams of the default group, by name.
    ///
    /// # Errors
    /// `Closed`, `Io`.
    pub fn streams(&self) -> Result<Vec<StreamInfo>> {
        self.shared.env.check_open()?;
        let mut catalog = self.shared.catalog.lock();
        catalog.refresh()?;
        let (tenant, group) = (Catalog::default_tenant(), catalog.default_group()?);
        Ok(catalog.streams(&tenant, group)?.map(|entry| info(&catalog, entry)).collect())
    }

    /// What the stream of the default group called `name` is.
    ///
    /// # Errors
    /// `NotFound`, `Closed`, `Io`.
    pub fn stream_info(&self, name: &str) -> Result<StreamInfo> {
        self.shared.env.check_open()?;
        let entry = self.shared.look_up(name)?;
        Ok(info(&self.shared.catalog.lock(), &entry))
    }

    /// Alters a stream of the default group; durable before it returns, and in force at once.
    ///
    /// # Errors
    /// `NotFound`, `ReadOnly`, `Closed`, `NoSpace`, `Io`, `Poisoned`.
    pub fn update_stream(&self, name: &str, update: StreamUpdate) -> Result<StreamInfo> {
        let shared = self.writable("update a stream")?;
        let id = shared.look_up(name)?.id;
        let info = {
            let mut catalog = shared.catalog.lock();
            let entry = catalog.update_stream(id, update.into_change(), shared.env.clock.now())?.clone();
            info(&catalog, &entry)
        };
        shared.bring_along(id)?;
        Ok(info)
    }

    /// Deletes a stream of the default group with all its records. Durable before it returns; readers and writers get `StreamDeleted`.
    ///
    /// # Errors
    /// `NotFound`, `ReadOnly`, `Closed`, `Io`, `Poisoned`.
    pub fn delete_stream(&self, name: &str) -> Result<()> {
        let shared = self.writable("delete a stream")?;
        let id = shared.look_up(name)?.id;
        shared.delete_stream(id)
    }

    /// Reads everything again and compares it with its checksums. Appends may go on meanwhile.
    ///
    /// # Errors
    /// `Closed`, `Io`, `Unsupported`. Damage is not an error but in the report.
    pub fn verify(&self) -> Result<VerifyReport> {
        let mut report = VerifyReport::default();
        for info in self.all_streams()? {
            match self.verify_stream(info.id) {
                Err(err) if is_gone(&err) => {}
                Ok(found) if found.is_sound() => report.add(found),
                // One that is deleted meanwhile loses its files.
                found if self.shared.knows(info.id)? => report.add(found?),
                _ => {}
            }
        }
        if let Some(sessions) = self.shared.session_log()? {
            report.damage.extend(sessions.verify()?.damage);
        }
        report.damage.extend(self.shared.orphans()?);
        report.damage.extend(self.shared.catalog_damage());
        Ok(report)
    }

    /// Figures about the store and each of its streams.
    ///
    /// # Errors
    /// `Closed`, `Io`.
    pub fn stats(&self) -> Result<StoreStats> {
        let mut stats = StoreStats::default();
        for info in self.all_streams()? {
            match self.stream_by_id(info.id).and_then(|stream| stream.stats()) {
                Ok(this) => stats.add(info, this),
                Err(err) if is_gone(&err) => {}
                // One that is deleted meanwhile loses its files.
                Err(err) if self.shared.knows(info.id)? => return Err(err),
                Err(_) => {}
            }
        }
        Ok(stats)
    }

    /// Makes everything published in every stream that is in use durable.
    ///
    /// What a process that was killed left in a stream that nobody opened since becomes durable once it is opened, or
    /// the compactor comes by: 1,000 such streams a second.
    ///
    /// # Errors
    /// The first stream's that fails; the others are synced all the same.
    pub fn sync(&self) -> Result<()> {
        self.shared.env.check_open()?;
        let cores = self.shared.loaded.all();
        let mut outcome = Ok(());
        for core in cores {
            outcome = outcome.and(if_there(self.shared.stream(core).sync()).map(drop));
        }
        outcome
    }

    /// Does now what the store's threads do from time to time: follows the clock, syncs and seals what waits, applies
    /// retention, lets go of idle streams, marks them clean and forgets them.
    ///
    /// # Errors
    /// The first stream's that fails; the others are done all the same.
    pub fn tick(&self) -> Result<TickReport> {
        self.writable("tick")?.tick()
    }

    /// Copies the store as it is into `dir`, which must not exist or be empty: whole segments by hard links where the
    /// filesystem can, the rest by copying. Appends go on meanwhile. The copy opens like any store.
    ///
    /// # Errors
    /// `AlreadyExists` where `dir` holds something; `NoSpace`, `Io`, `Closed`.
    pub fn snapshot(&self, dir: impl AsRef<Path>) -> Result<()> {
        self.shared.env.check_open()?;
        self.shared.snapshot(dir.as_ref())
    }

    /// Closes the store: everything durable, every stream marked clean, the lock released. Clones and streams get
    /// `Closed` from then on. Closing twice is fine.
    ///
    /// # Errors
    /// The first stream's whose sync fails; the others are closed all the same.
    pub fn close(&self) -> Result<()> {
        self.shared.close()
    }

    /// Every tenant's streams, by tenant, group and name.
    pub(crate) fn all_streams(&self) -> Result<Vec<StreamInfo>> {
        self.shared.env.check_open()?;
        let mut catalog = self.shared.catalog.lock();
        catalog.refresh()?;
        let mut streams = Vec::with_capacity(catalog.all_streams().len());
        for tenant in catalog.tenants() {
            for group in catalog.groups(&tenant.id)? {
                streams.extend(catalog.streams(&tenant.id, group.id)?.map(|entry| info(&catalog, entry)));
            }
        }
        Ok(streams)
    }

    fn verify_stream(&self, id: StreamId) -> Result<VerifyReport> {
        match self.stream_by_id(id).and_then(|stream| stream.verify()) {
            Ok(mut report) => {
                report.damage.extend(self.shared.meta_damage(id)?);
                Ok(report)
            }
            // One stream's damage, and the others have reports of their own.
            Err(err) if *err.kind() == ErrorKind::Corrupt => {
                let damage = papers::damage(Some(id), self.shared.stream_dir(id), err.to_string());
                Ok(VerifyReport { streams: 1, damage: vec![damage], ..VerifyReport::default() })
            }
            Err(err) => Err(err),
        }
    }

    fn writable(&self, doing: &str) -> Result<&Arc<Kept>> {
        self.shared.env.check_open()?;
        if self.is_read_only() {
            return Err(Error::new(ErrorKind::ReadOnly, format!("{doing}: the store is open read-only")));
        }
        Ok(&self.shared)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({})", self.shared.dir.display())
    }
}

impl Shared {
    fn look_up(&self, name: &str) -> Result<StreamEntry> {
        let mut catalog = self.catalog.lock();
        catalog.refresh()?;
        let (tenant, group) = (Catalog::default_tenant(), catalog.default_group()?);
        Ok(catalog.stream_named(&tenant, group, name)?.clone())
    }

    /// Whether the catalogue knows the stream, as it is now.
    fn knows(&self, id: StreamId) -> Result<bool> {
        let mut catalog = self.catalog.lock();
        catalog.refresh()?;
        Ok(catalog.stream(id).is_ok())
    }

    /// The stream in memory, opened now if it is not there.
    pub(crate) fn core(&self, id: StreamId) -> Result<Arc<Core>> {
        let core = self.loaded.get_or_open(id, || {
            let mut catalog = self.catalog.lock();
            catalog.refresh()?;
            let entry = catalog.stream(id)?;
            let policy = policy(&self.env, &catalog, entry);
            let (member, meta) = (member(entry), catalog.meta(id)?);
            drop(catalog);
            let changes = self.changes(&meta.group.tenant);
            let meta = Box::new(move || meta.encode());
            Core::open(&self.env, Opening { id, dir: self.stream_dir(id), policy, member, meta, changes })
        })?;
        if self.env.read_only {
            // The writer, another process, tells nobody of a change.
            let mut catalog = self.catalog.lock();
            catalog.refresh()?;
            core.set_policy(policy(&self.env, &catalog, catalog.stream(id)?));
        }
        Ok(core)
    }

    /// What tells of appends to the tenant's streams.
    fn changes(&self, tenant: &TenantId) -> Arc<Changes> {
        Arc::clone(self.changes.lock().entry(tenant.clone()).or_default())
    }

    /// Brings a stream along with what the catalogue says of it now.
    fn bring_along(&self, id: StreamId) -> Result<()> {
        self.apply(id);
        self.write_meta(id)
    }

    /// Has a stream that is in memory keep to what the catalogue says of it now.
    fn apply(&self, id: StreamId) {
        self.quiet.lock().forget(id);
        // Before the catalogue's lock, which whoever is opening the stream waits for.
        let Some(core) = self.loaded.get(id) else { return };
        let catalog = self.catalog.lock();
        // It may have been deleted meanwhile.
        if let Ok(entry) = catalog.stream(id) {
            core.set_policy(policy(&self.env, &catalog, entry));
            core.set_member(member(entry));
        }
    }

    /// Writes what the catalogue says of a stream now into its own file.
    fn write_meta(&self, id: StreamId) -> Result<()> {
        let core = self.loaded.get(id);
        let catalog = self.catalog.lock();
        let meta = catalog.meta(id)?.encode();
        let path = match &core {
            Some(core) => core.set_meta(meta.clone()),
            None => self.stream_dir(id).join(names::META),
        };
        // A stream without records has no files yet. Where there is no room the file says what it said, for the
        // catalogue is what counts, and the next change brings it along.
        match self.env.vfs.replace(&path, &meta) {
            Err(err)
                if matches!(err.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::StorageFull) =>
            {
                Ok(())
            }
            done => done.map_err(|err| Error::io("write", &path, err)),
        }
    }

    pub(crate) fn stream_dir(&self, id: StreamId) -> PathBuf {
        self.dir.join(names::STREAMS).join(id.to_string())
    }

    /// Directories of streams that the catalogue does not know.
    fn orphans(&self) -> Result<Vec<crate::stream::Damage>> {
        let dir = self.dir.join(names::STREAMS);
        let entries = self.env.vfs.list(&dir).map_err(|err| Error::io("list directory", &dir, err))?;
        // Behind the list: the writer, another process, may have created streams since this was last looked at.
        let mut catalog = self.catalog.lock();
        catalog.refresh()?;
        let known = |name: &str| name.parse::<StreamId>().is_ok_and(|id| catalog.stream(id).is_ok());
        let orphans = entries.into_iter().filter(|entry| !known(&entry.name));
        // A stream may have been deleted a moment ago, its files or its directory not yet.
        let orphans = orphans.filter(|entry| {
            self.env
                .vfs
                .list(&dir.join(&entry.name))
                .is_ok_and(|files| !files.is_empty() && files.iter().all(|file| file.name != names::DELETED))
        });
        let damage = orphans.map(|entry| crate::stream::Damage {
            stream: entry.name.parse().ok(),
            path: dir.join(&entry.name),
            start: None,
            end: None,
            what: "the catalogue does not know this stream; `repair` brings it back".into(),
        });
        Ok(damage.collect())
    }

    /// Everything durable, every stream clean, the lock released.
    pub(crate) fn close(&self) -> Result<()> {
        // Whoever closes second learns that it is closed once it is.
        let _closing = self.closing.lock();
        if self.env.is_closed() || self.env.read_only {
            self.env.close();
            return Ok(());
        }
        // Detach first: it refuses nothing yet, and what is appended in between is detached below.
        let detach_all = || {
            let sessions = self.sessions.lock().as_ref().map(|registry| Arc::clone(registry.core()));
            let cores = self.loaded.all().into_iter().chain(sessions);
            // Every one, whatever becomes of those before it.
            let mut outcome = Ok(());
            for core in cores {
                outcome = outcome.and(if_there(core.unless_deleted(core.detach())).map(drop));
            }
            outcome
        };
        let outcome = detach_all();
        if !self.env.close() {
            return outcome;
        }
        let _ticking = self.ticking.lock();
        let outcome = outcome.and(detach_all());
        for core in self.loaded.all() {
            core.wake_all();
        }
        for changes in self.changes.lock().values() {
            changes.signal.raise();
        }
        self.env.let_go();
        self.say_closed();
        let outcome = outcome.and(self.keep_mark());
        *self.lock.lock() = None;
        outcome
    }

    /// Keeps the store's time on disk.
    pub(crate) fn keep_mark(&self) -> Result<()> {
        let mark = self.env.clock.look();
        dir::write_mark(&*self.env.vfs, &self.dir, &mark)?;
        self.marked.store(mark.store, Ordering::Relaxed);
        Ok(())
    }

    /// Keeps the store's time on disk if it was not for long.
    pub(crate) fn keep_mark_if_old(&self) -> Result<()> {
        let marked = Timestamp::from_nanos(self.marked.load(Ordering::Relaxed));
        if marked.saturating_add(MARK) <= self.env.clock.now() { self.keep_mark() } else { Ok(()) }
    }
}

impl Kept {
    fn stream(self: &Arc<Kept>, core: Arc<Core>) -> Stream {
        Stream::new(core, Arc::clone(self) as Arc<dyn Send + Sync>)
    }
}

impl Deref for Kept {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // Whoever wants to hear of a failure calls `close`.
        let _ = self.close();
    }
}

/// Figures about a store.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct StoreStats {
    /// Records held.
    pub records: u64,
    /// Bytes of log held.
    pub bytes: u64,
    /// Bytes of disk the segments take.
    pub disk_bytes: u64,
    /// Segment files.
    pub segments: usize,
    /// Bytes published and not durable yet.
    pub durable_lag: u64,
    /// Each stream's figures, by tenant, group and name.
    pub streams: Vec<(StreamInfo, StreamStats)>,
}

impl StoreStats {
    fn add(&mut self, info: StreamInfo, stats: StreamStats) {
        self.records += stats.records;
        self.bytes += stats.bytes;
        self.disk_bytes += stats.disk_bytes;
        self.segments += stats.segments;
        self.durable_lag += stats.durable_lag();
        self.streams.push((info, stats));
    }
}

/// What a tick did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct TickReport {
    /// Streams looked at.
    pub streams: usize,
    /// Segments that retention removed.
    pub removed_segments: usize,
    /// Bytes of disk that gave back.
    pub removed_bytes: u64,
}

fn info(catalog: &Catalog, entry: &StreamEntry) -> StreamInfo {
    StreamInfo {
        id: entry.id,
        group: entry.group,
        name: entry.name.clone(),
        created: entry.created,
        ttl: entry.ttl,
        effective_ttl: catalog.effective_ttl(entry),
        max_bytes: entry.max_bytes,
        tags: entry.tags.clone(),
        durability: own_durability(entry),
    }
}

fn own_durability(entry: &StreamEntry) -> Option<Durability> {
    entry.durability.and_then(|own| Durability::ALL.get(usize::from(own)).copied())
}

pub(crate) fn policy(env: &Env, catalog: &Catalog, entry: &StreamEntry) -> Policy {
    Policy {
        ttl: catalog.effective_ttl(entry).as_duration(),
        expired_before: entry.expired_before,
        max_bytes: entry.max_bytes,
        durability: own_durability(entry).unwrap_or(env.settings.durability),
    }
}

fn member(entry: &StreamEntry) -> Member {
    Member { group: entry.group, service: entry.tags.get("service").map(str::to_owned) }
}

/// Whether the stream is there no more.
fn is_gone(err: &Error) -> bool {
    matches!(err.kind(), ErrorKind::NotFound | ErrorKind::StreamDeleted)
}

/// What was done with a stream; `None` where that is there no more.
fn if_there<T>(done: Result<T>) -> Result<Option<T>> {
    match done {
        Err(err) if is_gone(&err) => Ok(None),
        done => done.map(Some),
    }
}

/// Where a store's directory is, also once the process has gone to another one.
fn absolute(vfs: &dyn Vfs, dir: &Path) -> Result<PathBuf> {
    vfs.absolute(dir).map_err(|err| Error::io("find directory of store", dir, err))
}

/// Makes the directory of a new store, and those it lies in, durably: a store that keeps everything but its own
/// name keeps nothing.
fn make_dir(vfs: &dyn Vfs, dir: &Path) -> Result<()> {
    let is_missing =
        |dir: &&Path| matches!(vfs.list(dir), Err(err) if err.kind() == std::io::ErrorKind::NotFound);
    let missing = dir.ancestors().take_while(is_missing).count();
    vfs.create_dir_all(dir).map_err(|err| Error::io("create directory", dir, err))?;
    // One that is there may have been made a moment ago, by an open that died.
    for parent in dir.ancestors().take(missing.max(1)).filter_map(Path::parent) {
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        match vfs.sync_dir(parent) {
            // Not ours to look into, so not ours to have made anything in.
            Err(err) if err.kind() == std::io::ErrorKind::PermissionDenied => {}
            synced => synced.map_err(|err| Error::io("sync directory", parent, err))?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfs::sim::SimDisk;
    use crate::{Record, StreamName};

    #[test]
    fn a_stream_that_the_writer_created_a_moment_ago_is_no_orphan_beside_it() {
        let disk = SimDisk::new();
        let options = || Options::new().background(false).vfs(Arc::new(disk.clone()));
        let store = options().open("/store").unwrap();
        let beside = options().open_read_only("/store").unwrap();
        let stream = store.create_stream(StreamSpec::new(StreamName::new("a").unwrap())).unwrap();
        stream.append(&Record::new("1")).unwrap();
        assert_eq!(beside.shared.orphans().unwrap(), []);
    }
}
