//! Tail sessions as the host holds them.

use std::fmt;
use std::time::Duration;

use crate::session::{SessionInfo, SessionSpec, SessionStart};
use crate::store::Tenant;
use crate::stream::{Batch, Gap, Limit, RecordRef};
use crate::{Result, SessionCursor, SessionId};

impl Tenant {
    /// Creates a tail session, open and with a concrete [`last_cursor`](SessionInfo::last_cursor); durable before it returns.
    ///
    /// # Errors
    /// `QuotaExceeded`, naming the limit and the use; `SessionExpired`, `SessionDiverged`, `SessionAhead`,
    /// `CursorStreamMismatch` (of another store, or of a stream outside the session) for the start; `Invalid` for the service;
    /// `ReadOnly`, `Closed`, `NoSpace`, `Io`.
    pub fn create_session(&self, spec: SessionSpec) -> Result<Session> {
        let _ = spec;
        unimplemented!()
    }

    /// The tenant's sessions, oldest first.
    pub fn sessions(&self) -> Result<Vec<SessionInfo>> {
        unimplemented!()
    }

    /// One session.
    ///
    /// # Errors
    /// `NotFound`, also for another tenant's.
    pub fn session(&self, id: SessionId) -> Result<Session> {
        let _ = id;
        unimplemented!()
    }
}

/// A handle to one tail session. Clones share it.
#[derive(Clone)]
pub struct Session {
    id: SessionId,
}

impl Session {
    /// Its id.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// What it is now.
    pub fn info(&self) -> Result<SessionInfo> {
        unimplemented!()
    }

    /// Reads on behind what the last read of this session gave, waiting up to `timeout` for something to come.
    ///
    /// # Errors
    /// `Busy` while another read is under way; `SessionClosed`; `QuotaExceeded` where it was suspended and cannot be opened now;
    /// `NotFound` once it was deleted; `Closed`, `Io`.
    pub fn poll(&self, timeout: Duration, limit: Limit) -> Result<Polled> {
        let _ = (timeout, limit);
        unimplemented!()
    }

    /// Begins anew: the next read starts at `start`, or where there is none at the committed position. Ends a read that is under
    /// way. Opens a suspended session when the quota allows.
    pub fn resume(&self, start: Option<SessionStart>) -> Result<SessionInfo> {
        let _ = start;
        unimplemented!()
    }

    /// Makes `cursor` the committed position: durable before it returns, and what a resumed session starts at.
    ///
    /// # Errors
    /// `CommitBackwards`, `SessionAhead`, `CursorStreamMismatch`, `SessionClosed`, `NotFound`, `Closed`, `NoSpace`, `Io`.
    pub fn commit(&self, cursor: SessionCursor) -> Result<SessionInfo> {
        let _ = cursor;
        unimplemented!()
    }

    /// Closes the session; it is forgotten after ten minutes. Closing twice is fine.
    pub fn close(&self) -> Result<SessionInfo> {
        unimplemented!()
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({})", self.id)
    }
}

/// What one read of a session gave: records and gaps, in the order of delivery.
#[derive(Debug, Clone)]
pub struct Polled {
    batches: Vec<Batch>,
    next: SessionCursor,
    caught_up: bool,
}

/// One of them.
#[derive(Debug, Clone, Copy)]
pub enum PolledItem<'a> {
    /// A record.
    Record(RecordRef<'a>),
    /// Bytes of a stream that hold no record any more, and why.
    Gap(Gap),
}

impl Polled {
    /// Records and gaps in the order of delivery, each with the session's cursor behind it.
    pub fn iter(&self) -> impl Iterator<Item = (PolledItem<'_>, SessionCursor)> {
        self.batches
            .iter()
            .flat_map(|batch| batch.iter())
            .map(|record| (PolledItem::Record(record), self.next))
    }

    /// The position behind everything this read gave or passed: what to commit once it is consumed.
    pub fn cursor(&self) -> SessionCursor {
        self.next
    }

    /// Whether nothing more was there.
    pub fn is_caught_up(&self) -> bool {
        self.caught_up
    }

    /// Whether the read gave neither a record nor a gap.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}
