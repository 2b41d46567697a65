//! What can go wrong, said as: what we were doing, to what, where.

use std::path::Path;
use std::{fmt, io};

use crate::{Cursor, SessionCursor};

/// The result of every fallible call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failed call: its [kind](ErrorKind), and a sentence that says what was done to what, where.
///
/// ```
/// use tailwater::{ErrorKind, StreamName};
///
/// let err = StreamName::new(".hidden").unwrap_err();
/// assert!(matches!(err.kind(), ErrorKind::Invalid { field: "log_stream_name" }));
/// assert!(err.to_string().contains("log_stream_name"));
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    source: Option<io::Error>,
}

/// What kind of failure an [`Error`] is. Match on this, print the error.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Another process (or another `Store` in this one) has the store open for writing.
    Locked {
        /// The holder's process id as it wrote it into the lock file; advisory.
        pid: Option<u32>,
    },
    /// The store was closed.
    Closed,
    /// The store was opened read-only.
    ReadOnly,
    /// No such store, tenant, group, stream or session.
    NotFound,
    /// The name is taken.
    AlreadyExists,
    /// The stream was deleted while this handle was held.
    StreamDeleted,
    /// An argument breaks its rule. Nothing was done.
    Invalid {
        /// The argument, by the name the public API gives it.
        field: &'static str,
    },
    /// A record or batch is over a limit. Nothing was stored.
    TooLarge {
        /// The limit, in the unit the message names.
        limit: u64,
        /// What was asked for.
        actual: u64,
    },
    /// `append_if` found the tail elsewhere. Nothing was stored.
    TailMoved {
        /// Where the tail is.
        tail: u64,
    },
    /// A quota is used up.
    QuotaExceeded {
        /// The limit.
        limit: u64,
    },
    /// A sync failed, so the stream refuses writes until it is opened anew. Reads go on.
    Poisoned,
    /// The disk, or the user's share of it, is full. Nothing was published; try again once there is room.
    NoSpace,
    /// The operating system refused.
    Io,
    /// Bytes on disk are not what was written.
    Corrupt,
    /// The files need a newer version of this crate.
    Unsupported,
    /// The cursor does not decode, or points inside a frame.
    CursorInvalid,
    /// The cursor belongs to another stream or store.
    CursorStreamMismatch,
    /// The cursor lies beyond what its epoch kept after a crash.
    CursorDiverged {
        /// The last position of that epoch which still holds; resume there.
        safe: Cursor,
    },
    /// The cursor lies beyond the published end.
    CursorAhead {
        /// The published end.
        tail: Cursor,
    },
    /// The cursor lies before the oldest visible record.
    CursorExpired {
        /// The oldest position that can be read.
        oldest: Cursor,
        /// Bytes of log between the two.
        skipped_bytes: u64,
    },
    /// The filter expression does not parse; the message says what was found and what was expected.
    FilterInvalid {
        /// Where in the text, in bytes.
        position: usize,
    },
    /// The session's cursor lies beyond what its epoch kept after a crash.
    SessionDiverged {
        /// The position nearest to it that still holds; resume there.
        safe: SessionCursor,
    },
    /// The session's cursor lies ahead of everything there is.
    SessionAhead {
        /// The published end of all its streams.
        tail: SessionCursor,
    },
    /// Records behind the session's cursor have expired, and the session was to be refused then.
    SessionExpired {
        /// The oldest position behind which nothing has expired.
        oldest: SessionCursor,
        /// Bytes of log between the two.
        skipped_bytes: u64,
    },
    /// The session was closed.
    SessionClosed,
    /// Another read of the session is under way.
    Busy,
    /// A commit lies before what was committed.
    CommitBackwards {
        /// The position that was committed.
        committed: SessionCursor,
    },
}

impl Error {
    /// Makes an error of `kind`; `message` says what we were doing, to what, where.
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error(Box::new(Inner { kind, message: message.into(), source: None }))
    }

    /// Makes an error from one of the operating system's: `io("sync segment", path, err)`.
    pub(crate) fn io(doing: &str, path: &Path, source: io::Error) -> Error {
        let kind = match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::NoSpace,
            io::ErrorKind::FileTooLarge => ErrorKind::NoSpace,
            _ => ErrorKind::Io,
        };
        let message = format!("{doing} {}", path.display());
        Error(Box::new(Inner { kind, message, source: Some(source) }))
    }

    /// An argument named `field` breaks `rule`.
    pub(crate) fn invalid(field: &'static str, rule: impl fmt::Display) -> Error {
        Error::new(ErrorKind::Invalid { field }, format!("{field}: {rule}"))
    }

    /// What kind of failure this is.
    pub fn kind(&self) -> &ErrorKind {
        &self.0.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.source {
            Some(source) => write!(f, "{}: {source}", self.0.message),
            None => f.write_str(&self.0.message),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({self})", self.0.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|err| err as _)
    }
}
