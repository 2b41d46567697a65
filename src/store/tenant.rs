//! One tenant's view of a store: its groups and streams, and nobody else's.

use std::fmt;

use crate::catalog::{Catalog, GroupChange, GroupEntry};
use crate::store::{GroupInfo, GroupSpec, GroupUpdate, Store, StreamInfo, StreamSpec, StreamUpdate, info};
use crate::stream::Stream;
use crate::{ErrorKind, GroupId, Quotas, Result, StreamId, TenantId};

/// One tenant's view of a store: its groups, streams and tail sessions. What is another tenant's looks unknown.
///
/// A tenant begins to exist with its first group, durably.
///
/// ```
/// # fn main() -> tailwater::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// use tailwater::{ErrorKind, GroupName, GroupSpec, Record, Store, StreamName, StreamSpec, TenantId, TtlDays};
///
/// let store = Store::open(dir.path())?;
/// let ours = store.tenant(&TenantId::new("ours")?);
/// let group = ours.create_group(GroupSpec::new(GroupName::new("shop")?).ttl(TtlDays::new(7)?))?;
/// let stream = ours.create_stream(group.id, StreamSpec::new(StreamName::new("web")?))?;
/// stream.append(&Record::new("GET / 200"))?;
/// assert_eq!(ours.stream_info(group.id, stream.id())?.effective_ttl.get(), 7);
///
/// let theirs = store.tenant(&TenantId::new("theirs")?);
/// assert_eq!(*theirs.group(group.id).unwrap_err().kind(), ErrorKind::NotFound);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Tenant {
    pub(crate) store: Store,
    pub(crate) id: TenantId,
}

impl Tenant {
    /// Who it is.
    pub fn id(&self) -> &TenantId {
        &self.id
    }

    /// How much it may have, as [`Options::quotas`](crate::Options::quotas) said.
    pub fn quotas(&self) -> Quotas {
        self.store.shared.env.settings.quotas
    }

    /// Creates a group; durable before it returns.
    ///
    /// # Errors
    /// `AlreadyExists` where the tenant has a group of that name; `QuotaExceeded`; `ReadOnly`, `Closed`, `NoSpace`, `Io`;
    /// `Poisoned` after a failed sync of the catalogue.
    pub fn create_group(&self, spec: GroupSpec) -> Result<GroupInfo> {
        let shared = self.store.writable("create a group")?;
        let now = shared.env.clock.now();
        let mut catalog = shared.catalog.lock();
        catalog.ensure_tenant(&self.id, now)?;
        let GroupSpec { name, ttl, tags } = spec;
        catalog.create_group(&self.id, name, ttl, tags, &self.quotas(), now).map(group_info)
    }

    /// The tenant's groups, by name; none where there is no such tenant.
    ///
    /// # Errors
    /// `Closed`, `Io`.
    pub fn groups(&self) -> Result<Vec<GroupInfo>> {
        self.look(|catalog| match catalog.groups(&self.id) {
            Ok(groups) => Ok(groups.map(group_info).collect()),
            Err(err) if *err.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(err) => Err(err),
        })
    }

    /// One group.
    ///
    /// # Errors
    /// `NotFound`, also for another tenant's; `Closed`, `Io`.
    pub fn group(&self, id: GroupId) -> Result<GroupInfo> {
        self.look(|catalog| catalog.group(&self.id, id).map(group_info))
    }

    /// The group called `name`.
    ///
    /// # Errors
    /// `NotFound`, `Closed`, `Io`.
    pub fn group_named(&self, name: &str) -> Result<GroupInfo> {
        self.look(|catalog| catalog.group_named(&self.id, name).map(group_info))
    }

    /// Alters a group; durable before it returns, and in force at once for the streams that follow it. What has expired in
    /// them stays expired, however long the new TTL is.
    ///
    /// # Errors
    /// `NotFound`; `ReadOnly`, `Closed`, `NoSpace`, `Io`, `Poisoned`. `Io` may also say that a stream's own copy of the change could
    /// not be written, while the change is in force.
    ///
    /// ```
    /// # fn main() -> tailwater::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use tailwater::{GroupName, GroupSpec, GroupUpdate, Store, StreamName, StreamSpec, TenantId, TtlDays};
    /// # let store = Store::open(dir.path())?;
    /// # let tenant = store.tenant(&TenantId::new("ours")?);
    /// let group = tenant.create_group(GroupSpec::new(GroupName::new("shop")?))?;
    /// let web = tenant.create_stream(group.id, StreamSpec::new(StreamName::new("web")?))?;
    /// tenant.update_group(group.id, GroupUpdate { ttl: Some(TtlDays::new(3)?), ..GroupUpdate::default() })?;
    /// assert_eq!(tenant.stream_info(group.id, web.id())?.effective_ttl.get(), 3);
    /// # Ok(())
    /// # }
    /// ```
    pub fn update_group(&self, id: GroupId, update: GroupUpdate) -> Result<GroupInfo> {
        let shared = self.store.writable("update a group")?;
        let (updated, streams) = {
            let mut catalog = shared.catalog.lock();
            let before = catalog.group(&self.id, id)?.clone();
            let change = GroupChange { ttl: update.ttl, tags: update.tags };
            let after = catalog.update_group(&self.id, id, change, shared.env.clock.now())?.clone();
            if after == before {
                return Ok(group_info(&after));
            }
            let streams: Vec<StreamId> = catalog.streams(&self.id, id)?.map(|entry| entry.id).collect();
            (group_info(&after), streams)
        };
        // First what counts, then what costs a file each.
        for &id in &streams {
            shared.apply(id);
        }
        let mut outcome = Ok(());
        for id in streams {
            match shared.write_meta(id) {
                // Deleted meanwhile.
                Err(err) if *err.kind() == ErrorKind::NotFound => {}
                done => outcome = outcome.and(done),
            }
        }
        outcome.map(|()| updated)
    }

    /// Deletes a group with all its streams and their records. Durable before it returns; readers and writers get
    /// `StreamDeleted`. A crash on the way deletes all of it or nothing.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for the group `default` of the tenant `default`, which every store has; `ReadOnly`, `Closed`, `Io`,
    /// `Poisoned`. `Io` may also say that files could not be removed of streams that are deleted; the next open removes them.
    pub fn delete_group(&self, id: GroupId) -> Result<()> {
        self.store.writable("delete a group")?.delete_group(&self.id, id)
    }

    /// Creates a stream in a group; durable before it returns. Its files are made at its first append.
    ///
    /// # Errors
    /// `NotFound` for the group, `AlreadyExists`, `QuotaExceeded`, `ReadOnly`, `Closed`, `NoSpace`, `Io`; `Poisoned` after a failed
    /// sync of the catalogue.
    pub fn create_stream(&self, group: GroupId, spec: StreamSpec) -> Result<Stream> {
        let shared = self.store.writable("create a stream")?;
        let id = {
            let (quotas, now) = (self.quotas(), shared.env.clock.now());
            shared.catalog.lock().create_stream(&self.id, group, spec.0, &quotas, now)?.id
        };
        self.store.stream_by_id(id)
    }

    /// The streams of a group, by name. None of them is opened for it.
    ///
    /// # Errors
    /// `NotFound` for the group, `Closed`, `Io`.
    pub fn streams(&self, group: GroupId) -> Result<Vec<StreamInfo>> {
        self.look(|catalog| Ok(catalog.streams(&self.id, group)?.map(|entry| info(catalog, entry)).collect()))
    }

    /// What one stream of a group is.
    ///
    /// # Errors
    /// `NotFound` for the group or the stream, `Closed`, `Io`.
    pub fn stream_info(&self, group: GroupId, id: StreamId) -> Result<StreamInfo> {
        self.look(|catalog| catalog.stream_in(&self.id, group, id).map(|entry| info(catalog, entry)))
    }

    /// What the stream of a group called `name` is.
    ///
    /// # Errors
    /// As [`stream_info`](Tenant::stream_info).
    pub fn stream_named(&self, group: GroupId, name: &str) -> Result<StreamInfo> {
        self.look(|catalog| catalog.stream_named(&self.id, group, name).map(|entry| info(catalog, entry)))
    }

    /// One stream of a group, opened now if nobody has: recovery, where the stream needs it, happens here.
    ///
    /// # Errors
    /// `NotFound` for the group or the stream, `Closed`, `Unsupported`, `Io`.
    pub fn stream(&self, group: GroupId, id: StreamId) -> Result<Stream> {
        self.stream_info(group, id)?;
        self.store.stream_by_id(id)
    }

    /// Alters a stream of a group; durable before it returns, and in force at once.
    ///
    /// # Errors
    /// `NotFound` for the group or the stream, `ReadOnly`, `Closed`, `NoSpace`, `Io`, `Poisoned`.
    pub fn update_stream(&self, group: GroupId, id: StreamId, update: StreamUpdate) -> Result<StreamInfo> {
        let shared = self.store.writable("update a stream")?;
        let info = {
            let mut catalog = shared.catalog.lock();
            catalog.stream_in(&self.id, group, id)?;
            let entry = catalog.update_stream(id, update.into_change(), shared.env.clock.now())?.clone();
            info(&catalog, &entry)
        };
        shared.bring_along(id)?;
        Ok(info)
    }

    /// Deletes a stream of a group with all its records. Durable before it returns; readers and writers get `StreamDeleted`.
    ///
    /// # Errors
    /// `NotFound` for the group or the stream, `ReadOnly`, `Closed`, `Io`, `Poisoned`.
    pub fn delete_stream(&self, group: GroupId, id: StreamId) -> Result<()> {
        let shared = self.store.writable("delete a stream")?;
        shared.catalog.lock().stream_in(&self.id, group, id)?;
        shared.delete_stream(id)
    }

    /// Looks something up in the catalogue as it is now.
    fn look<T>(&self, look: impl FnOnce(&Catalog) -> Result<T>) -> Result<T> {
        let shared = &self.store.shared;
        shared.env.check_open()?;
        let mut catalog = shared.catalog.lock();
        catalog.refresh()?;
        look(&catalog)
    }
}

fn group_info(entry: &GroupEntry) -> GroupInfo {
    GroupInfo {
        id: entry.id,
        name: entry.name.clone(),
        created: entry.created,
        ttl: entry.ttl,
        tags: entry.tags.clone(),
    }
}

impl fmt::Debug for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tenant({} of {:?})", self.id, self.store)
    }
}
