//! One tenant's view of a store: its groups and streams, and nobody else's.

use std::fmt;

use crate::store::{GroupInfo, GroupSpec, GroupUpdate, Store, StreamInfo, StreamSpec, StreamUpdate};
use crate::stream::Stream;
use crate::{GroupId, Result, StreamId, TenantId};

/// One tenant's view of a store: its groups, streams and tail sessions. What is another tenant's looks unknown.
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

    /// Creates a group; durable before it returns.
    pub fn create_group(&self, spec: GroupSpec) -> Result<GroupInfo> {
        let _ = spec;
        unimplemented!()
    }

    /// The tenant's groups, by name; none where there is no such tenant.
    pub fn groups(&self) -> Result<Vec<GroupInfo>> {
        unimplemented!()
    }

    /// One group.
    pub fn group(&self, id: GroupId) -> Result<GroupInfo> {
        let _ = id;
        unimplemented!()
    }

    /// The group called `name`.
    pub fn group_named(&self, name: &str) -> Result<GroupInfo> {
        let _ = name;
        unimplemented!()
    }

    /// Alters a group; durable before it returns, and in force at once for the streams that follow it.
    pub fn update_group(&self, id: GroupId, update: GroupUpdate) -> Result<GroupInfo> {
        let _ = (id, update);
        unimplemented!()
    }

    /// Deletes a group with all its streams and their records.
    pub fn delete_group(&self, id: GroupId) -> Result<()> {
        let _ = id;
        unimplemented!()
    }

    /// Creates a stream in a group; durable before it returns.
    pub fn create_stream(&self, group: GroupId, spec: StreamSpec) -> Result<Stream> {
        let _ = (group, spec);
        unimplemented!()
    }

    /// The streams of a group, by name.
    pub fn streams(&self, group: GroupId) -> Result<Vec<StreamInfo>> {
        let _ = group;
        unimplemented!()
    }

    /// What one stream of a group is.
    pub fn stream_info(&self, group: GroupId, id: StreamId) -> Result<StreamInfo> {
        let _ = (group, id);
        unimplemented!()
    }

    /// What the stream of a group called `name` is.
    pub fn stream_named(&self, group: GroupId, name: &str) -> Result<StreamInfo> {
        let _ = (group, name);
        unimplemented!()
    }

    /// One stream of a group, opened now if nobody has.
    pub fn stream(&self, group: GroupId, id: StreamId) -> Result<Stream> {
        let _ = (group, id);
        unimplemented!()
    }

    /// Alters a stream of a group; durable before it returns, and in force at once.
    pub fn update_stream(&self, group: GroupId, id: StreamId, update: StreamUpdate) -> Result<StreamInfo> {
        let _ = (group, id, update);
        unimplemented!()
    }

    /// Deletes a stream of a group with all its records.
    pub fn delete_stream(&self, group: GroupId, id: StreamId) -> Result<()> {
        let _ = (group, id);
        unimplemented!()
    }
}

impl fmt::Debug for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tenant({} of {:?})", self.id, self.store)
    }
}
