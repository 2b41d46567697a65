//! What a host says of a tail session, and is told of it.

use serde::{Deserialize, Serialize};

use crate::filter::Filter;
use crate::names::{GroupId, SessionId, StreamId, TenantId, UserId};
use crate::{Cursor, SessionCursor, Timestamp};

/// A tail session to create.
///
/// ```
/// use tailwater::{Filter, SessionSpec, UserId};
///
/// let spec = SessionSpec::new(UserId::new("user-001-abc")?)
///     .service("auth-service")
///     .filter(Filter::parse("level>=warn")?);
/// # Ok::<(), tailwater::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct SessionSpec {
    pub(crate) user: UserId,
    pub(crate) filter: Filter,
    pub(crate) service: Option<String>,
    pub(crate) scope: Scope,
    pub(crate) start: SessionStart,
    pub(crate) on_expired: OnExpired,
}

impl SessionSpec {
    /// A session of `user` that reads every record of the tenant from now on.
    pub fn new(user: UserId) -> SessionSpec {
        SessionSpec {
            user,
            filter: Filter::all(),
            service: None,
            scope: Scope::Tenant,
            start: SessionStart::Now,
            on_expired: OnExpired::Gap,
        }
    }

    /// Only records that the filter lets pass. Default: all.
    pub fn filter(self, filter: Filter) -> SessionSpec {
        SessionSpec { filter, ..self }
    }

    /// Only records of this service, and those without one in streams whose tag `service` names it. Default: any.
    pub fn service(self, service: impl Into<String>) -> SessionSpec {
        SessionSpec { service: Some(service.into()), ..self }
    }

    /// Only these of the tenant's streams. Default: all of them.
    pub fn scope(self, scope: Scope) -> SessionSpec {
        SessionSpec { scope, ..self }
    }

    /// Where to begin. Default: now.
    pub fn start(self, start: SessionStart) -> SessionSpec {
        SessionSpec { start, ..self }
    }

    /// What becomes of a start behind which records have expired. Default: a gap.
    pub fn on_expired(self, on_expired: OnExpired) -> SessionSpec {
        SessionSpec { on_expired, ..self }
    }
}

/// Which of a tenant's streams a session covers. Streams created later join by themselves.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Scope {
    /// All of them.
    #[default]
    Tenant,
    /// Those of one group.
    Group(GroupId),
    /// These.
    Streams(Vec<StreamId>),
}

/// Where a session begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum SessionStart {
    /// With what is appended from here on.
    #[default]
    Now,
    /// With the oldest record there is.
    Beginning,
    /// With the first records of this ingest time or a later one.
    Time(Timestamp),
    /// Behind the last record that a session's cursor stands for.
    Cursor(SessionCursor),
    /// Behind the record that a cursor of one stream stands behind; in the other streams, behind what came in before it.
    StreamCursor(Cursor),
}

/// What becomes of a start behind which records have expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnExpired {
    /// The session begins with a gap that says so, and goes on with the oldest record.
    #[default]
    Gap,
    /// It is refused: `SessionExpired`.
    Refuse,
}

/// Whether a session is read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SessionState {
    /// It is, or was a moment ago.
    Open,
    /// Nobody read for a while, or the host was restarted. The next read opens it, when the quota allows.
    Suspended,
    /// It was closed and is soon forgotten.
    Closed,
}

impl SessionState {
    /// Its name, in lower case.
    pub const fn as_str(self) -> &'static str {
        match self {
            SessionState::Open => "open",
            SessionState::Suspended => "suspended",
            SessionState::Closed => "closed",
        }
    }
}

impl std::fmt::Display for SessionState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a tail session is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionInfo {
    /// Its id.
    pub id: SessionId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Who created it.
    pub user: UserId,
    /// Its filter, as it was written.
    pub filter: String,
    /// The service it is restricted to; `None`: any.
    pub service: Option<String>,
    /// The streams it covers.
    pub scope: Scope,
    /// The committed position: behind the last record whose consumption was said to be done.
    pub last_cursor: SessionCursor,
    /// When it was created.
    pub created: Timestamp,
    /// Whether it is read from.
    pub state: SessionState,
}
