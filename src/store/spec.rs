//! What a host says of a stream, and is told of it.

use serde::Serialize;

use crate::catalog::{NewStream, StreamChange};
use crate::stream::Durability;
use crate::{GroupId, GroupName, StreamId, StreamName, Tags, Timestamp, TtlDays};

/// A stream to create.
///
/// ```
/// use tailwater::{StreamName, StreamSpec, Tags, TtlDays};
///
/// let spec = StreamSpec::new(StreamName::new("lts-stream-02kh")?)
///     .ttl(TtlDays::new(7)?)
///     .tags(Tags::new([("team", "core")])?);
/// # Ok::<(), tailwater::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSpec(pub(crate) NewStream);

impl StreamSpec {
    /// A stream called `name` that follows its group's TTL and the store's durability, of any size.
    pub fn new(name: StreamName) -> StreamSpec {
        StreamSpec(NewStream { name, ttl: None, tags: Tags::default(), max_bytes: None, durability: None })
    }

    /// How long records are kept, from their ingest. Default: as the group says, which is 30 days where it says nothing.
    pub fn ttl(self, ttl: TtlDays) -> StreamSpec {
        StreamSpec(NewStream { ttl: Some(ttl), ..self.0 })
    }

    /// Its tags. Default: none.
    pub fn tags(self, tags: Tags) -> StreamSpec {
        StreamSpec(NewStream { tags, ..self.0 })
    }

    /// Bytes of disk from which on the oldest segments go, whatever their age. Default: no limit.
    pub fn max_bytes(self, max_bytes: u64) -> StreamSpec {
        StreamSpec(NewStream { max_bytes: Some(max_bytes), ..self.0 })
    }

    /// The durability of appends that do not say their own. Default: the store's.
    pub fn durability(self, durability: Durability) -> StreamSpec {
        StreamSpec(NewStream { durability: Some(durability as u8), ..self.0 })
    }
}

/// What to alter in a stream. The default alters nothing; `Some(None)` takes the stream's own value away.
///
/// ```
/// use tailwater::{StreamUpdate, TtlDays};
///
/// let update = StreamUpdate { ttl: Some(Some(TtlDays::new(3)?)), ..StreamUpdate::default() };
/// # Ok::<(), tailwater::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamUpdate {
    /// How long records are kept; acts at once, on records already held too. What has expired stays expired.
    pub ttl: Option<Option<TtlDays>>,
    /// Its tags.
    pub tags: Option<Tags>,
    /// Bytes of disk from which on the oldest segments go.
    pub max_bytes: Option<Option<u64>>,
    /// The durability of appends that do not say their own.
    pub durability: Option<Option<Durability>>,
}

impl StreamUpdate {
    pub(crate) fn into_change(self) -> StreamChange {
        StreamChange {
            ttl: self.ttl,
            tags: self.tags,
            max_bytes: self.max_bytes,
            durability: self.durability.map(|own| own.map(|durability| durability as u8)),
        }
    }
}

/// What a stream is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StreamInfo {
    /// Its id, for ever.
    pub id: StreamId,
    /// The group it is in.
    pub group: GroupId,
    /// Its name, unique in its group.
    pub name: StreamName,
    /// When it was created.
    pub created: Timestamp,
    /// Its own TTL, where it has one.
    pub ttl: Option<TtlDays>,
    /// The TTL in force: its own, or its group's.
    pub effective_ttl: TtlDays,
    /// Bytes of disk from which on the oldest segments go.
    pub max_bytes: Option<u64>,
    /// Its tags.
    pub tags: Tags,
    /// Its own durability, where it has one.
    pub durability: Option<Durability>,
}

/// A group to create.
///
/// ```
/// use tailwater::{GroupName, GroupSpec, TtlDays};
///
/// let spec = GroupSpec::new(GroupName::new("web")?).ttl(TtlDays::new(7)?);
/// # Ok::<(), tailwater::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupSpec {
    pub(crate) name: GroupName,
    pub(crate) ttl: Option<TtlDays>,
    pub(crate) tags: Tags,
}

impl GroupSpec {
    /// A group called `name` that keeps records for 30 days.
    pub fn new(name: GroupName) -> GroupSpec {
        GroupSpec { name, ttl: None, tags: Tags::default() }
    }

    /// How long the records of its streams are kept that say nothing else. Default: 30 days.
    pub fn ttl(self, ttl: TtlDays) -> GroupSpec {
        GroupSpec { ttl: Some(ttl), ..self }
    }

    /// Its tags. Default: none.
    pub fn tags(self, tags: Tags) -> GroupSpec {
        GroupSpec { tags, ..self }
    }
}

/// What to alter in a group. The default alters nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupUpdate {
    /// How long the records of its streams are kept that say nothing else; acts at once, on records already held too.
    pub ttl: Option<TtlDays>,
    /// Its tags.
    pub tags: Option<Tags>,
}

/// What a group is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct GroupInfo {
    /// Its id, for ever.
    pub id: GroupId,
    /// Its name, unique in its tenant.
    pub name: GroupName,
    /// When it was created.
    pub created: Timestamp,
    /// How long the records of its streams are kept that say nothing else.
    pub ttl: TtlDays,
    /// Its tags.
    pub tags: Tags,
}
