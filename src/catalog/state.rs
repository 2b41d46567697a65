//! What the catalogue knows, and how one change alters it: values in memory, no files.
//!
//! A [`Change`] carries the whole entry as it is to be, so that applying the same changes in the same order always ends
//! in the same state. Before a TTL changes, what has expired under the old one is marked: see
//! [`StreamEntry::expired_before`].

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::names::{GroupId, GroupName, StreamId, StreamName, Tags, TenantId, TtlDays};

/// An owner of groups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TenantEntry {
    pub(crate) id: TenantId,
    pub(crate) created: Timestamp,
}

/// A named set of streams.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GroupEntry {
    pub(crate) id: GroupId,
    pub(crate) tenant: TenantId,
    pub(crate) name: GroupName,
    pub(crate) created: Timestamp,
    pub(crate) ttl: TtlDays,
    pub(crate) tags: Tags,
    /// Raised when `ttl` changes, and with it the mark of every stream that follows the group at that moment. It
    /// says nothing about streams that follow later: they may hold older records that never expired.
    pub(crate) expired_before: Timestamp,
}

/// A stream, as far as it is not records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StreamEntry {
    pub(crate) id: StreamId,
    pub(crate) group: GroupId,
    pub(crate) name: StreamName,
    pub(crate) created: Timestamp,
    /// Its own; `None` follows the group's.
    pub(crate) ttl: Option<TtlDays>,
    pub(crate) tags: Tags,
    pub(crate) max_bytes: Option<u64>,
    /// The number of the `Durability` asked for; `None` follows the store's.
    pub(crate) durability: Option<u8>,
    /// What came in before this once was expired, and stays so whatever the TTL is now.
    pub(crate) expired_before: Timestamp,
}

/// One step from a state to the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Change {
    /// Adds a tenant, or replaces its entry.
    Tenant(TenantEntry),
    /// Adds a group, or replaces its entry. A raised mark raises those of the streams that follow.
    Group(GroupEntry),
    /// Adds a stream, or replaces its entry.
    Stream(StreamEntry),
    /// Removes a group with all its streams.
    DeleteGroup(GroupId),
    /// Removes a stream.
    DeleteStream(StreamId),
    /// Removes a tenant with all its groups and their streams.
    DeleteTenant(TenantId),
}

#[derive(Debug)]
pub(super) struct Tenant {
    pub(super) entry: TenantEntry,
    pub(super) groups: BTreeMap<GroupName, GroupId>,
}

#[derive(Debug)]
pub(super) struct Group {
    pub(super) entry: GroupEntry,
    /// Not in their order: they are looked for far more often than listed, and among very many each step of a search is a miss.
    pub(super) streams: HashMap<StreamName, StreamId>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) tenants: BTreeMap<TenantId, Tenant>,
    pub(super) groups: HashMap<GroupId, Group>,
    pub(super) streams: HashMap<StreamId, StreamEntry>,
}

impl State {
    /// Applies `change`, or says why it does not fit, and then nothing was altered.
    pub(super) fn apply(&mut self, change: Change) -> Result<(), &'static str> {
        match change {
            Change::Tenant(entry) => match self.tenants.get_mut(&entry.id) {
                Some(tenant) => tenant.entry = entry,
                None => {
                    let id = entry.id.clone();
                    self.tenants.insert(id, Tenant { entry, groups: BTreeMap::new() });
                }
            },
            Change::Group(entry) => return self.put_group(entry),
            Change::Stream(entry) => return self.put_stream(entry),
            Change::DeleteGroup(id) => {
                let group = self.groups.remove(&id).ok_or("it removes a group that does not exist")?;
                let tenant = self.tenants.get_mut(&group.entry.tenant).expect("a group's tenant exists");
                tenant.groups.remove(&group.entry.name);
                for id in group.streams.values() {
                    self.streams.remove(id);
                }
            }
            Change::DeleteStream(id) => {
                let stream = self.streams.remove(&id).ok_or("it removes a stream that does not exist")?;
                let group = self.groups.get_mut(&stream.group).expect("a stream's group exists");
                group.streams.remove(&stream.name);
            }
            Change::DeleteTenant(id) => {
                let tenant = self.tenants.remove(&id).ok_or("it removes a tenant that does not exist")?;
                for id in tenant.groups.values() {
                    let group = self.groups.remove(id).expect("a tenant's groups exist");
                    for id in group.streams.values() {
                        self.streams.remove(id);
                    }
                }
            }
        }
        Ok(())
    }

    fn put_group(&mut self, entry: GroupEntry) -> Result<(), &'static str> {
        let tenant = self.tenants.get_mut(&entry.tenant).ok_or("its group belongs to no known tenant")?;
        if *tenant.groups.get(&entry.name).unwrap_or(&entry.id) != entry.id {
            return Err("its group has the name of another");
        }
        let Some(group) = self.groups.get_mut(&entry.id) else {
            tenant.groups.insert(entry.name.clone(), entry.id);
            self.groups.insert(entry.id, Group { entry, streams: HashMap::new() });
            return Ok(());
        };
        if group.entry.name != entry.name || group.entry.tenant != entry.tenant {
            return Err("its group was called otherwise");
        }
        if group.entry.expired_before < entry.expired_before {
            for id in group.streams.values() {
                let stream = self.streams.get_mut(id).expect("a group's streams exist");
                if stream.ttl.is_none() {
                    stream.expired_before = stream.expired_before.max(entry.expired_before);
                }
            }
        }
        group.entry = entry;
        Ok(())
    }

    fn put_stream(&mut self, entry: StreamEntry) -> Result<(), &'static str> {
        let group = self.groups.get_mut(&entry.group).ok_or("its stream belongs to no known group")?;
        if *group.streams.get(&entry.name).unwrap_or(&entry.id) != entry.id {
            return Err("its stream has the name of another");
        }
        if let Some(before) = self.streams.get(&entry.id)
            && (before.name != entry.name || before.group != entry.group)
        {
            return Err("its stream was called otherwise");
        }
        group.streams.insert(entry.name.clone(), entry.id);
        self.streams.insert(entry.id, entry);
        Ok(())
    }

    /// The changes that make this state out of nothing.
    pub(super) fn changes(&self) -> impl Iterator<Item = Change> {
        let tenants = self.tenants.values().map(|tenant| Change::Tenant(tenant.entry.clone()));
        let groups = self.groups.values().map(|group| Change::Group(group.entry.clone()));
        let streams = self.streams.values().map(|stream| Change::Stream(stream.clone()));
        tenants.chain(groups).chain(streams)
    }
}

/// The mark that keeps expired what has expired by `now` under `ttl`, given the mark there is.
pub(super) fn raised(mark: Timestamp, ttl: TtlDays, now: Timestamp) -> Timestamp {
    mark.max(now.saturating_sub(ttl.as_duration()))
}
