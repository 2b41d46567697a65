//! The catalogue: which tenants, groups and streams there are; durable before the answer.
//!
//! It is kept in memory, and in `catalog/` as a snapshot and a log of changes (see [`files`]). One change is one
//! record appended to the log and synced. When the log outgrows the snapshot a new generation begins; the one
//! before it stays, so that a damaged snapshot loses nothing.
//!
//! | the files hold                                     | opening                                            |
//! |----------------------------------------------------|----------------------------------------------------|
//! | a log whose end is unreadable, nothing behind it   | an unfinished write: cut                           |
//! | anything else unreadable in a log, or a change missing | `Corrupt`; [`Catalog::load_lossy`] reads the rest |
//! | a damaged snapshot, the generation before it whole | falls back, and writes a new one                   |
//! | a damaged snapshot, a change missing before it     | `Corrupt`                                          |
//! | a newer version                                    | `Unsupported`                                      |
//!
//! Nothing here is synchronised: the store puts a lock around it.

#[cfg(test)]
mod faulty;
mod files;
#[cfg(any(test, feature = "sim"))]
pub(crate) mod fuzzing;
mod persist;
mod state;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

use crate::names::{GroupId, GroupName, StreamId, StreamName, Tags, TenantId, TtlDays};
use crate::vfs::{Access, File, Vfs, new_id};
use crate::{Error, ErrorKind, Quotas, Result, Timestamp};
use files::{Generations, Loaded, OnDamage};
use state::{State, raised};

pub(crate) use files::{Meta, Problem};
pub(crate) use state::{Change, GroupEntry, StreamEntry, TenantEntry};

/// The name of the tenant, and of its group, that every store has.
pub(crate) const DEFAULT: &str = "default";

/// Readings of the files before a reader believes in damage: the writer may be at work in between.
const ATTEMPTS: usize = 3;

/// What an open catalogue may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Read what another process may be writing; write nothing.
    ReadOnly,
    /// Read and change. The caller holds the store's lock.
    Writable,
}

/// A stream to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewStream {
    pub(crate) name: StreamName,
    pub(crate) ttl: Option<TtlDays>,
    pub(crate) tags: Tags,
    pub(crate) max_bytes: Option<u64>,
    pub(crate) durability: Option<u8>,
}

/// What to alter in a stream; `None` leaves it, `Some(None)` takes it away.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct StreamChange {
    pub(crate) ttl: Option<Option<TtlDays>>,
    pub(crate) tags: Option<Tags>,
    pub(crate) max_bytes: Option<Option<u64>>,
    pub(crate) durability: Option<Option<u8>>,
}

/// What to alter in a group; `None` leaves it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct GroupChange {
    pub(crate) ttl: Option<TtlDays>,
    pub(crate) tags: Option<Tags>,
}

/// The catalogue of one store. See the [module](self).
#[derive(Debug)]
pub(crate) struct Catalog {
    vfs: Arc<dyn Vfs>,
    dir: PathBuf,
    mode: Mode,
    store: Uuid,
    state: State,
    /// Of the last change made.
    sequence: u64,
    /// Whose log takes the next change.
    generation: u64,
    /// The newest generation whose snapshot was proved whole, by reading or by writing it.
    base: u64,
    /// Open for writing once this process appended to it, and its name durable.
    log: Option<Box<dyn File>>,
    /// Where the next change goes. The file may go on behind it: then that is an unfinished write.
    log_end: u64,
    /// The log length that begins a new generation.
    roll_at: u64,
    poisoned: bool,
    problems: Vec<Problem>,
}

impl Catalog {
    /// Whether there is a catalogue in `dir`, sound or not.
    ///
    /// A store whose streams are there while this is not has lost it, and must not get a fresh one by itself.
    pub(crate) fn exists(vfs: &dyn Vfs, dir: &Path) -> Result<bool> {
        Ok(Generations::list(vfs, dir)?.newest().is_some())
    }

    /// Opens the catalogue in `dir`; a writable open makes one where there is none.
    ///
    /// # Errors
    /// `NotFound` when there is none to read, `Corrupt` when a change is missing, `Unsupported` when a newer version of this
    /// crate wrote it.
    pub(crate) fn open(vfs: Arc<dyn Vfs>, dir: &Path, mode: Mode, now: Timestamp) -> Result<Catalog> {
        if mode == Mode::ReadOnly {
            return Catalog::open_read_only(vfs, dir);
        }
        let Some(loaded) = files::load(&*vfs, dir, OnDamage::Refuse)? else {
            let store = new_id(&*vfs);
            return Catalog::create(vfs, dir, store, now);
        };
        let (last_record, fell_back) = (loaded.last_record.clone(), !loaded.problems.is_empty());
        let mut catalog = Catalog::from_loaded(vfs, dir, mode, loaded);
        catalog.remove_temporary()?;
        catalog.settle(last_record)?;
        if fell_back {
            // The state is whole without it; on a full disk it has to wait for the next roll.
            let _ = catalog.roll();
        }
        catalog.ensure_defaults(now)?;
        Ok(catalog)
    }

    /// Makes a catalogue for the store called `store` that holds the default tenant and group and nothing else, in
    /// a generation behind every file that lies in `dir`.
    pub(crate) fn create(vfs: Arc<dyn Vfs>, dir: &Path, store: Uuid, now: Timestamp) -> Result<Catalog> {
        let io = |doing: &'static str| move |err| Error::io(doing, dir, err);
        vfs.create_dir_all(dir).map_err(io("create catalogue"))?;
        if let Some(parent) = dir.parent() {
            vfs.sync_dir(parent).map_err(|err| Error::io("sync directory", parent, err))?;
        }
        let newest = Generations::list(&*vfs, dir)?.newest().unwrap_or(0);
        let empty = Loaded {
            store,
            state: State::default(),
            sequence: 0,
            generation: newest,
            base: newest,
            snapshot_bytes: 0,
            log_end: 0,
            last_record: 0..0,
            problems: Vec::new(),
        };
        let mut catalog = Catalog::from_loaded(vfs, dir, Mode::Writable, empty);
        catalog.remove_temporary()?;
        for change in default_changes(&catalog.state, new_id(&*catalog.vfs), now) {
            catalog.state.apply(change).expect("the defaults fit an empty state");
        }
        catalog.roll()?;
        Ok(catalog)
    }

    fn open_read_only(vfs: Arc<dyn Vfs>, dir: &Path) -> Result<Catalog> {
        let mut attempt = 1;
        loop {
            match files::load(&*vfs, dir, OnDamage::Refuse) {
                Ok(Some(loaded)) => return Ok(Catalog::from_loaded(vfs, dir, Mode::ReadOnly, loaded)),
                Ok(None) => {
                    let message = format!("open catalogue {}: there is none", dir.display());
                    return Err(Error::new(ErrorKind::NotFound, message));
                }
                // The writer may have removed a generation under us, or overwritten an unfinished change.
                Err(_) if attempt < ATTEMPTS => attempt += 1,
                Err(err) => return Err(err),
            }
        }
    }

    /// Reads what can be read of a damaged catalogue, and lists what cannot. It refuses changes until
    /// [`rewrite`](Catalog::rewrite); then [`restore_stream`](Catalog::restore_stream) brings back the streams it lacks.
    ///
    /// # Errors
    /// `NotFound` when there is none, `Corrupt` when nothing at all is readable: then [`create`](Catalog::create) one.
    pub(crate) fn load_lossy(vfs: Arc<dyn Vfs>, dir: &Path) -> Result<(Catalog, Vec<Problem>)> {
        let Some(loaded) = files::load(&*vfs, dir, OnDamage::Skip)? else {
            let message = format!("read catalogue {}: there is none", dir.display());
            return Err(Error::new(ErrorKind::NotFound, message));
        };
        let problems = loaded.problems.clone();
        Ok((Catalog::from_loaded(vfs, dir, Mode::ReadOnly, loaded), problems))
    }

    /// Writes everything into a new generation, sound whatever the older ones are, and takes changes from then on. The
    /// caller holds the store's lock.
    pub(crate) fn rewrite(&mut self, now: Timestamp) -> Result<()> {
        self.roll()?;
        self.mode = Mode::Writable;
        self.ensure_defaults(now)
    }

    fn from_loaded(vfs: Arc<dyn Vfs>, dir: &Path, mode: Mode, loaded: Loaded) -> Catalog {
        let Loaded { store, state, sequence, generation, base, snapshot_bytes, log_end, problems, .. } =
            loaded;
        Catalog {
            vfs,
            dir: dir.into(),
            mode,
            store,
            state,
            sequence,
            generation,
            base,
            log: None,
            log_end,
            roll_at: persist::roll_at(snapshot_bytes),
            poisoned: false,
            problems,
        }
    }

    /// Names the store, in the catalogue and in every segment; drawn when the store was made.
    pub(crate) fn store_id(&self) -> Uuid {
        self.store
    }

    /// What was found damaged when opening, though nothing was lost by it.
    pub(crate) fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Reads what the writer changed since; returns whether that was anything. Costs a look at the directory and a
    /// file size when it was not. Nothing to do for the writer itself.
    pub(crate) fn refresh(&mut self) -> Result<bool> {
        if self.mode == Mode::Writable {
            return Ok(false);
        }
        if Generations::list(&*self.vfs, &self.dir)?.newest() == Some(self.generation) {
            let appended = self.read_appended()?;
            if appended.is_empty() {
                return Ok(false);
            }
            let before = self.sequence;
            if let Some(used) = files::follow(&appended, self.store, &mut self.state, &mut self.sequence) {
                self.log_end += used as u64;
                return Ok(before < self.sequence);
            }
        }
        *self = Catalog::open_read_only(self.vfs.clone(), &self.dir)?;
        Ok(true)
    }

    fn read_appended(&self) -> Result<Vec<u8>> {
        let path = files::log_path(&self.dir, self.generation);
        let read = || {
            let file = match self.vfs.open(&path, Access::Read) {
                Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
                file => file?,
            };
            let mut bytes = vec![0; file.size()?.saturating_sub(self.log_end) as usize];
            let read = file.read_at(&mut bytes, self.log_end)?;
            bytes.truncate(read);
            Ok(bytes)
        };
        read().map_err(|err| Error::io("read catalogue log", &path, err))
    }

    // Lookups. A tenant sees its own and nothing else: another's looks unknown.

    /// The default tenant's id.
    pub(crate) fn default_tenant() -> TenantId {
        TenantId::new(DEFAULT).expect("a legal name")
    }

    /// The default group of the default tenant. Every catalogue opened for writing has it.
    pub(crate) fn default_group(&self) -> Result<GroupId> {
        self.group_named(&Catalog::default_tenant(), DEFAULT).map(|group| group.id)
    }

    /// Every tenant, by id.
    pub(crate) fn tenants(&self) -> impl Iterator<Item = &TenantEntry> {
        self.state.tenants.values().map(|tenant| &tenant.entry)
    }

    /// The tenant's groups, by name.
    pub(crate) fn groups(&self, tenant: &TenantId) -> Result<impl ExactSizeIterator<Item = &GroupEntry>> {
        let tenant = self.tenant(tenant)?;
        Ok(tenant.groups.values().map(|id| &self.state.groups[id].entry))
    }

    pub(crate) fn group(&self, tenant: &TenantId, id: GroupId) -> Result<&GroupEntry> {
        self.group_of(tenant, id).map(|group| &group.entry)
    }

    pub(crate) fn group_named(&self, tenant: &TenantId, name: &str) -> Result<&GroupEntry> {
        let id = self.tenant(tenant)?.groups.get(name);
        id.map(|id| &self.state.groups[id].entry).ok_or_else(|| not_found("group", name))
    }

    /// The group's streams, by name.
    pub(crate) fn streams(
        &self,
        tenant: &TenantId,
        group: GroupId,
    ) -> Result<impl ExactSizeIterator<Item = &StreamEntry>> {
        let group = self.group_of(tenant, group)?;
        let mut streams: Vec<_> = group.streams.values().map(|id| &self.state.streams[id]).collect();
        streams.sort_unstable_by_key(|stream| &stream.name);
        Ok(streams.into_iter())
    }

    pub(crate) fn stream_named(&self, tenant: &TenantId, group: GroupId, name: &str) -> Result<&StreamEntry> {
        let id = self.group_of(tenant, group)?.streams.get(name);
        id.map(|id| &self.state.streams[id]).ok_or_else(|| not_found("stream", name))
    }

    pub(crate) fn stream_in(&self, tenant: &TenantId, group: GroupId, id: StreamId) -> Result<&StreamEntry> {
        let group = self.group_of(tenant, group)?.entry.id;
        let stream = self.state.streams.get(&id).filter(|stream| stream.group == group);
        stream.ok_or_else(|| not_found("stream", id))
    }

    /// Any tenant's stream: for the store itself, which has asked who may see it.
    pub(crate) fn stream(&self, id: StreamId) -> Result<&StreamEntry> {
        self.state.streams.get(&id).ok_or_else(|| not_found("stream", id))
    }

    /// Whose a stream is.
    pub(crate) fn tenant_of(&self, id: StreamId) -> Option<&TenantId> {
        let stream = self.state.streams.get(&id)?;
        self.state.groups.get(&stream.group).map(|group| &group.entry.tenant)
    }

    /// Every stream there is, in no order.
    pub(crate) fn all_streams(&self) -> impl ExactSizeIterator<Item = &StreamEntry> {
        self.state.streams.values()
    }

    /// The TTL that holds for `stream`: its own, else its group's (of one deleted meanwhile: the default). What came in
    /// before [`expired_before`](StreamEntry::expired_before) has expired besides.
    pub(crate) fn effective_ttl(&self, stream: &StreamEntry) -> TtlDays {
        let group = || self.state.groups.get(&stream.group).map_or(TtlDays::DEFAULT, |group| group.entry.ttl);
        stream.ttl.unwrap_or_else(group)
    }

    /// What the stream's `meta` file is to say.
    pub(crate) fn meta(&self, id: StreamId) -> Result<Meta> {
        let stream = self.stream(id)?.clone();
        let group = self.state.groups[&stream.group].entry.clone();
        Ok(Meta { store: self.store, group, stream })
    }

    fn tenant(&self, id: &TenantId) -> Result<&state::Tenant> {
        self.state.tenants.get(id).ok_or_else(|| not_found("tenant", id))
    }

    fn group_of(&self, tenant: &TenantId, id: GroupId) -> Result<&state::Group> {
        let group = self.state.groups.get(&id).filter(|group| group.entry.tenant == *tenant);
        group.ok_or_else(|| not_found("group", id))
    }

    // Changes. Each is durable before it returns; one that fails altered nothing.

    /// Adds the tenant where it is not there yet.
    pub(crate) fn ensure_tenant(&mut self, id: &TenantId, now: Timestamp) -> Result<()> {
        match self.tenant(id) {
            Ok(_) => Ok(()),
            Err(_) => self.change(Change::Tenant(TenantEntry { id: id.clone(), created: now })),
        }
    }

    /// # Errors
    /// `NotFound` for the tenant, `AlreadyExists` for the name, `QuotaExceeded`.
    pub(crate) fn create_group(
        &mut self,
        tenant: &TenantId,
        name: GroupName,
        ttl: Option<TtlDays>,
        tags: Tags,
        quotas: &Quotas,
        now: Timestamp,
    ) -> Result<&GroupEntry> {
        let siblings = &self.tenant(tenant)?.groups;
        if siblings.contains_key(&name) {
            return Err(already_exists("group", &name));
        }
        check_quota("groups of the tenant", siblings.len(), quotas.groups_per_tenant)?;
        let (id, ttl) = (new_id(&*self.vfs), ttl.unwrap_or(TtlDays::DEFAULT));
        let (tenant, expired_before) = (tenant.clone(), Timestamp::MIN);
        self.change(Change::Group(GroupEntry { id, tenant, name, created: now, ttl, tags, expired_before }))?;
        Ok(&self.state.groups[&id].entry)
    }

    /// Alters a group. What has expired by `now` in the streams that follow its TTL stays expired.
    pub(crate) fn update_group(
        &mut self,
        tenant: &TenantId,
        id: GroupId,
        change: GroupChange,
        now: Timestamp,
    ) -> Result<&GroupEntry> {
        let before = self.group(tenant, id)?;
        let mut entry = before.clone();
        entry.ttl = change.ttl.unwrap_or(entry.ttl);
        entry.tags = change.tags.unwrap_or(entry.tags);
        if entry.ttl != before.ttl {
            entry.expired_before = raised(before.expired_before, before.ttl, now);
        }
        if entry != *before {
            self.change(Change::Group(entry))?;
        }
        Ok(&self.state.groups[&id].entry)
    }

    /// Removes a group and its streams, whose ids it returns.
    ///
    /// # Errors
    /// As [`deletable_group`](Catalog::deletable_group).
    pub(crate) fn delete_group(&mut self, tenant: &TenantId, id: GroupId) -> Result<Vec<StreamId>> {
        let streams = self.deletable_group(tenant, id)?;
        self.change(Change::DeleteGroup(id))?;
        Ok(streams)
    }

    /// The streams that go with a group.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for the default group, which stays.
    pub(crate) fn deletable_group(&self, tenant: &TenantId, id: GroupId) -> Result<Vec<StreamId>> {
        let mut streams: Vec<_> = self.group_of(tenant, id)?.streams.values().copied().collect();
        // One order, so that what goes wrong on the way goes wrong again.
        streams.sort_unstable();
        if self.default_group().is_ok_and(|default| default == id) {
            return Err(Error::invalid("log_group_id", "the default group cannot be deleted"));
        }
        Ok(streams)
    }

    /// Removes a tenant, its groups and their streams, whose ids it returns.
    ///
    /// # Errors
    /// As [`deletable_tenant`](Catalog::deletable_tenant).
    pub(crate) fn delete_tenant(&mut self, id: &TenantId) -> Result<Vec<StreamId>> {
        let streams = self.deletable_tenant(id)?;
        self.change(Change::DeleteTenant(id.clone()))?;
        Ok(streams)
    }

    /// The streams that go with a tenant.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for the default tenant, which stays.
    pub(crate) fn deletable_tenant(&self, id: &TenantId) -> Result<Vec<StreamId>> {
        let groups = self.tenant(id)?.groups.values();
        let mut streams: Vec<_> =
            groups.flat_map(|id| self.state.groups[id].streams.values()).copied().collect();
        streams.sort_unstable();
        if *id == Catalog::default_tenant() {
            return Err(Error::invalid("project_id", "the default tenant cannot be deleted"));
        }
        Ok(streams)
    }

    /// # Errors
    /// `NotFound` for the group, `AlreadyExists` for the name, `QuotaExceeded`.
    pub(crate) fn create_stream(
        &mut self,
        tenant: &TenantId,
        group: GroupId,
        new: NewStream,
        quotas: &Quotas,
        now: Timestamp,
    ) -> Result<&StreamEntry> {
        let siblings = &self.group_of(tenant, group)?.streams;
        if siblings.contains_key(&new.name) {
            return Err(already_exists("stream", &new.name));
        }
        check_quota("streams of the group", siblings.len(), quotas.streams_per_group)?;
        let id = new_id(&*self.vfs);
        let NewStream { name, ttl, tags, max_bytes, durability } = new;
        let (created, expired_before) = (now, Timestamp::MIN);
        let entry =
            StreamEntry { id, group, name, created, ttl, tags, max_bytes, durability, expired_before };
        self.change(Change::Stream(entry))?;
        Ok(&self.state.streams[&id])
    }

    /// Alters a stream. What has expired by `now` stays expired.
    pub(crate) fn update_stream(
        &mut self,
        id: StreamId,
        change: StreamChange,
        now: Timestamp,
    ) -> Result<&StreamEntry> {
        let before = self.stream(id)?;
        let mut entry = before.clone();
        entry.ttl = change.ttl.unwrap_or(entry.ttl);
        entry.tags = change.tags.unwrap_or(entry.tags);
        entry.max_bytes = change.max_bytes.unwrap_or(entry.max_bytes);
        entry.durability = change.durability.unwrap_or(entry.durability);
        let ttl = self.effective_ttl(before);
        if self.effective_ttl(&entry) != ttl {
            entry.expired_before = raised(before.expired_before, ttl, now);
        }
        if entry != *before {
            self.change(Change::Stream(entry))?;
        }
        Ok(&self.state.streams[&id])
    }

    pub(crate) fn delete_stream(&mut self, id: StreamId) -> Result<()> {
        self.stream(id)?;
        self.change(Change::DeleteStream(id))
    }

    /// Puts back a stream that the catalogue lost, as its `meta` file has it, with tenant and group where those are lost
    /// too. A group that was made anew under the old name meanwhile takes the stream in.
    ///
    /// # Errors
    /// `AlreadyExists` when the stream is there, or its name is taken.
    pub(crate) fn restore_stream(&mut self, meta: Meta, now: Timestamp) -> Result<&StreamEntry> {
        let Meta { group, mut stream, .. } = meta;
        let id = stream.id;
        if self.stream(id).is_ok() {
            return Err(already_exists("stream", id));
        }
        self.ensure_tenant(&group.tenant, now)?;
        let known = self
            .group(&group.tenant, group.id)
            .or_else(|_| self.group_named(&group.tenant, group.name.as_str()));
        match known {
            Ok(known) => stream.group = known.id,
            Err(_) => self.change(Change::Group(group))?,
        }
        if self.state.groups[&stream.group].streams.contains_key(&stream.name) {
            return Err(already_exists("stream", &stream.name));
        }
        self.change(Change::Stream(stream))?;
        Ok(&self.state.streams[&id])
    }

    fn ensure_defaults(&mut self, now: Timestamp) -> Result<()> {
        default_changes(&self.state, new_id(&*self.vfs), now)
            .into_iter()
            .try_for_each(|change| self.change(change))
    }
}

/// What `state` lacks of the default tenant and group.
fn default_changes(state: &State, group: GroupId, now: Timestamp) -> Vec<Change> {
    let tenant = Catalog::default_tenant();
    let found = state.tenants.get(&tenant);
    let mut changes = Vec::new();
    if found.is_none() {
        changes.push(Change::Tenant(TenantEntry { id: tenant.clone(), created: now }));
    }
    if found.is_none_or(|found| !found.groups.contains_key(DEFAULT)) {
        changes.push(Change::Group(GroupEntry {
            id: group,
            tenant,
            name: GroupName::new(DEFAULT).expect("a legal name"),
            created: now,
            ttl: TtlDays::DEFAULT,
            tags: Tags::default(),
            expired_before: Timestamp::MIN,
        }));
    }
    changes
}

fn check_quota(what: &str, used: usize, limit: u32) -> Result<()> {
    if used < limit as usize {
        return Ok(());
    }
    let kind = ErrorKind::QuotaExceeded { limit: u64::from(limit) };
    Err(Error::new(kind, format!("the {what} are at their limit of {limit}")))
}

fn not_found(what: &str, name: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::NotFound, format!("no {what} {name}"))
}

fn already_exists(what: &str, name: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::AlreadyExists, format!("a {what} {name} already exists"))
}
