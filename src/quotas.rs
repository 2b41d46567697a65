//! How much there may be of what tenants make.

use std::time::Duration;

/// How much there may be of what tenants make. Settable with [`Options::quotas`](crate::Options::quotas).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quotas {
    /// Groups of a tenant. Default: 100.
    pub groups_per_tenant: u32,
    /// Streams of a group. Default: 100.
    pub streams_per_group: u32,
    /// Open tail sessions of a tenant. Default: 10.
    pub sessions_per_tenant: u32,
    /// Open tail sessions of a user. Default: 5.
    pub sessions_per_user: u32,
    /// After how long without a read a session is suspended, and leaves the quota. Default: 5 minutes.
    pub session_idle: Duration,
    /// After how long a suspended session is deleted. Default: 24 hours.
    pub session_kept: Duration,
    /// Bytes of one record's body, at most [`MAX_BODY`](crate::MAX_BODY). Default: that.
    pub record_bytes: usize,
    /// Attributes of one record, at most [`MAX_ATTRIBUTES`](crate::MAX_ATTRIBUTES). Default: that.
    pub record_attributes: usize,
}

impl Quotas {
    /// As many groups and streams as fit: for the default group of an embedding host.
    pub(crate) fn unlimited() -> Quotas {
        Quotas { groups_per_tenant: u32::MAX, streams_per_group: u32::MAX, ..Quotas::default() }
    }
}

impl Default for Quotas {
    fn default() -> Quotas {
        Quotas {
            groups_per_tenant: 100,
            streams_per_group: 100,
            sessions_per_tenant: 10,
            sessions_per_user: 5,
            session_idle: Duration::from_secs(5 * 60),
            session_kept: Duration::from_secs(24 * 3600),
            record_bytes: crate::MAX_BODY,
            record_attributes: crate::MAX_ATTRIBUTES,
        }
    }
}
