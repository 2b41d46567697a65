//! The two public APIs as plain calls: typed requests and responses, and one table from what failed to status and code.
//!
//! The types' JSON is what the service documents, field for field, so a host with a web framework of its own maps a route
//! to a call and is done. It finds out who asks (`401`, `403`); everything after that is checked here, in one order, so
//! that a request with several things wrong gets the same answer everywhere:
//!
//! ```
//! use tailwater::api::{self, ApiError};
//! use tailwater::{Store, TenantId};
//!
//! /// `POST /v2/{project_id}/groups/{log_group_id}/streams`
//! fn create_log_stream(store: &Store, project: &TenantId, group: &str, body: &[u8]) -> (u16, String) {
//!     let body = || api::body(serde_json::from_slice(body));
//!     match api::create_log_stream(&store.tenant(project), group, body) {
//!         Ok(created) => (201, serde_json::to_string(&created).unwrap()),
//!         Err(err) => (err.status(), serde_json::to_string(&err).unwrap()),
//!     }
//! }
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let store = Store::open(dir.path())?;
//! # let project = TenantId::new("p")?;
//! # let group = api::create_log_group(&store.tenant(&project), || api::body(serde_json::from_str(r#"{"log_group_name":"g"}"#)))?;
//! # let group = group.log_group_id.to_string();
//! # let (status, answer) = create_log_stream(&store, &project, &group, br#"{"log_stream_name":"web","ttl_in_days":7}"#);
//! # assert_eq!((status, answer.len()), (201, r#"{"log_stream_id":""}"#.len() + 36));
//! # let (status, answer) = create_log_stream(&store, &project, &group, br#"{"log_stream_name":"db","ttl_in_days":"7"}"#);
//! # assert_eq!(status, 400);
//! # assert_eq!(answer, r#"{"error_code":"LTS.0009","error_msg":"ttl_in_days: must be an integer, not a string"}"#);
//! # Ok(())
//! # }
//! ```
//!
//! Which format the bytes are in is the host's affair, as long as it describes itself: JSON, YAML, CBOR, not bincode.

mod contents;
mod fields;
mod logs;
mod tail;

use std::fmt;

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::{Error, ErrorKind};

pub use contents::*;
pub use fields::{Body, Request, body};
pub use logs::*;
pub use tail::*;

/// One of the two public APIs: they say the same things with other codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Api {
    /// Groups and streams, `LTS.nnnn`.
    Logs,
    /// Tail sessions, `TAIL.nnnn`.
    Tail,
}

/// What was being done when an engine call failed. One kind of error has another code in each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Call {
    /// Looking up the group that a path names.
    FindGroup,
    /// Creating a group.
    CreateGroup,
    /// Listing a tenant's groups.
    ListGroups,
    /// Altering a group.
    UpdateGroup,
    /// Deleting a group.
    DeleteGroup,
    /// Looking up the stream that a path names.
    FindStream,
    /// Creating a stream.
    CreateStream,
    /// Listing a group's streams.
    ListStreams,
    /// Altering a stream.
    UpdateStream,
    /// Deleting a stream.
    DeleteStream,
    /// Appending records.
    WriteLogs,
    /// Reading records.
    QueryLogs,
    /// Anything done to tail sessions.
    Tail,
}

impl Call {
    /// Every call.
    pub const ALL: [Call; 13] = [
        Call::FindGroup,
        Call::CreateGroup,
        Call::ListGroups,
        Call::UpdateGroup,
        Call::DeleteGroup,
        Call::FindStream,
        Call::CreateStream,
        Call::ListStreams,
        Call::UpdateStream,
        Call::DeleteStream,
        Call::WriteLogs,
        Call::QueryLogs,
        Call::Tail,
    ];

    /// The API it is of.
    pub fn api(self) -> Api {
        if self == Call::Tail { Api::Tail } else { Api::Logs }
    }

    /// What it does, as its errors say it.
    fn doing(self) -> &'static str {
        match self {
            Call::FindGroup => "look up the log group",
            Call::CreateGroup => "create the log group",
            Call::ListGroups => "list the log groups",
            Call::UpdateGroup => "update the log group",
            Call::DeleteGroup => "delete the log group",
            Call::FindStream => "look up the log stream",
            Call::CreateStream => "create the log stream",
            Call::ListStreams => "list the log streams",
            Call::UpdateStream => "update the log stream",
            Call::DeleteStream => "delete the log stream",
            Call::WriteLogs => "write logs",
            Call::QueryLogs => "query logs",
            Call::Tail => "serve the tail session",
        }
    }
}

/// The answer to a request that failed: an HTTP status, and a body with a code and a sentence.
///
/// It serialises as `{"error_code": .., "error_msg": ..}`, for some errors of tail sessions with `safeCursor`, or `oldestCursor`
/// and `skippedBytes`. A message of a status from 500 on names no file and no path; the engine's own error, which does, is
/// the [`source`](std::error::Error::source), for the host's log.
#[derive(Debug)]
pub struct ApiError {
    status: u16,
    code: &'static str,
    message: String,
    safe_cursor: Option<String>,
    oldest_cursor: Option<String>,
    skipped_bytes: Option<u64>,
    source: Option<Error>,
}

impl ApiError {
    /// What `err`, which came of `call`, is to whoever asked.
    pub fn new(call: Call, err: Error) -> ApiError {
        let (status, code) = row(call, err.kind());
        let message = match field(code) {
            _ if 500 <= status => hushed(call, err.kind()),
            Some(field) => format!("{field}: {err}"),
            None => err.to_string(),
        };
        let mut answer = ApiError::with(status, code, message);
        match err.kind() {
            _ if call != Call::Tail => {}
            ErrorKind::SessionDiverged { safe } => answer.safe_cursor = Some(safe.to_string()),
            ErrorKind::CursorDiverged { safe } => answer.safe_cursor = Some(safe.to_string()),
            ErrorKind::SessionExpired { oldest, skipped_bytes } => {
                answer.oldest_cursor = Some(oldest.to_string());
                answer.skipped_bytes = Some(*skipped_bytes);
            }
            ErrorKind::CursorExpired { oldest, skipped_bytes } => {
                answer.oldest_cursor = Some(oldest.to_string());
                answer.skipped_bytes = Some(*skipped_bytes);
            }
            _ => {}
        }
        answer.source = Some(err);
        answer
    }

    /// An answer that no engine error stands behind.
    pub(crate) fn with(status: u16, code: &'static str, message: impl Into<String>) -> ApiError {
        let message = message.into();
        let (safe_cursor, oldest_cursor, skipped_bytes, source) = (None, None, None, None);
        ApiError { status, code, message, safe_cursor, oldest_cursor, skipped_bytes, source }
    }

    /// The body does not parse, as `why` says.
    pub fn not_json(api: Api, why: impl fmt::Display) -> ApiError {
        let code = match api {
            Api::Logs => "LTS.0007",
            Api::Tail => "TAIL.0400",
        };
        ApiError::with(400, code, format!("the body is not JSON: {why}"))
    }

    /// A field breaks its rule.
    pub fn invalid_field(api: Api, field: &str, rule: impl fmt::Display) -> ApiError {
        ApiError::with(400, invalid(api), format!("{field}: {rule}"))
    }

    /// The token is missing, or nobody's.
    pub fn unauthorized(api: Api) -> ApiError {
        match api {
            Api::Logs => ApiError::with(401, "LTS.0003", "X-Auth-Token: must be a valid token"),
            Api::Tail => {
                ApiError::with(401, "TAIL.0003", "Authorization: must be `Bearer` and a valid token")
            }
        }
    }

    /// The token is somebody's, who does not own what the request is about.
    pub fn forbidden(api: Api) -> ApiError {
        match api {
            Api::Logs => ApiError::with(403, "LTS.0001", "project_id: the token does not own this project"),
            Api::Tail => ApiError::with(403, "TAIL.0001", "tenantId: the token does not own this tenant"),
        }
    }

    /// The engine's own error, where one stands behind it.
    pub fn into_source(self) -> Option<Error> {
        self.source
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The code, `LTS.nnnn` or `TAIL.nnnn`.
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// The sentence.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The nearest position that still holds, for a cursor that does not.
    pub fn safe_cursor(&self) -> Option<&str> {
        self.safe_cursor.as_deref()
    }

    /// The oldest position that can be read, for a cursor before it.
    pub fn oldest_cursor(&self) -> Option<&str> {
        self.oldest_cursor.as_deref()
    }

    /// The bytes of log between the cursor and the oldest position.
    pub fn skipped_bytes(&self) -> Option<u64> {
        self.skipped_bytes
    }
}

/// The table: status and code of every kind of error, for every call.
fn row(call: Call, kind: &ErrorKind) -> (u16, &'static str) {
    if call == Call::Tail { tail_row(kind) } else { logs_row(call, kind) }
}

fn logs_row(call: Call, kind: &ErrorKind) -> (u16, &'static str) {
    use Call::*;
    match (kind, call) {
        (ErrorKind::Invalid { .. } | ErrorKind::TooLarge { .. } | ErrorKind::FilterInvalid { .. }, _) => {
            (400, invalid(Api::Logs))
        }
        (ErrorKind::AlreadyExists, CreateGroup) => (400, "LTS.0101"),
        (ErrorKind::AlreadyExists, CreateStream) => (400, "LTS.0205"),
        (ErrorKind::QuotaExceeded { .. }, CreateGroup) => (400, "LTS.0104"),
        (ErrorKind::QuotaExceeded { .. }, CreateStream) => (400, "LTS.0206"),
        (ErrorKind::NotFound, FindGroup | UpdateGroup | DeleteGroup | CreateStream | ListStreams) => {
            (400, "LTS.0201")
        }
        (
            ErrorKind::NotFound | ErrorKind::StreamDeleted,
            FindStream | UpdateStream | DeleteStream | WriteLogs | QueryLogs,
        ) => (400, "LTS.0208"),
        (_, CreateGroup) => (500, "LTS.0102"),
        (_, DeleteGroup) => (500, "LTS.0103"),
        (_, UpdateGroup) => (500, "LTS.0107"),
        (_, CreateStream) => (500, "LTS.0202"),
        (_, DeleteStream) => (500, "LTS.0203"),
        (_, UpdateStream) => (500, "LTS.0204"),
        _ => (500, "LTS.0010"),
    }
}

fn tail_row(kind: &ErrorKind) -> (u16, &'static str) {
    match kind {
        ErrorKind::Invalid { .. } | ErrorKind::TooLarge { .. } => (400, invalid(Api::Tail)),
        ErrorKind::FilterInvalid { .. } => (400, "TAIL.0401"),
        ErrorKind::CursorInvalid => (400, "TAIL.0402"),
        ErrorKind::CursorStreamMismatch => (400, "TAIL.0403"),
        ErrorKind::NotFound => (404, "TAIL.0404"),
        ErrorKind::Busy | ErrorKind::SessionClosed | ErrorKind::CommitBackwards { .. } => (409, "TAIL.0409"),
        ErrorKind::SessionDiverged { .. } | ErrorKind::CursorDiverged { .. } => (409, "TAIL.0411"),
        ErrorKind::SessionExpired { .. } | ErrorKind::CursorExpired { .. } => (410, "TAIL.0410"),
        ErrorKind::SessionAhead { .. } | ErrorKind::CursorAhead { .. } => (416, "TAIL.0416"),
        ErrorKind::QuotaExceeded { .. } => (429, "TAIL.0429"),
        ErrorKind::Closed => (503, "TAIL.0503"),
        _ => (500, "TAIL.0500"),
    }
}

fn invalid(api: Api) -> &'static str {
    match api {
        Api::Logs => "LTS.0009",
        Api::Tail => "TAIL.0400",
    }
}

/// The field that a code is about, where the engine knows it by another name.
fn field(code: &str) -> Option<&'static str> {
    match code {
        "LTS.0101" => Some("log_group_name"),
        "LTS.0201" => Some("log_group_id"),
        "LTS.0205" => Some("log_stream_name"),
        "LTS.0208" => Some("log_stream_id"),
        _ => None,
    }
}

/// What may be told of a failure that is the host's: what was being done and why it failed, and of no file.
fn hushed(call: Call, kind: &ErrorKind) -> String {
    let why = match kind {
        ErrorKind::Closed => "the store is closing",
        ErrorKind::ReadOnly => "the store is open for reading only",
        ErrorKind::NoSpace => "there is no space left",
        ErrorKind::Io => "an I/O error",
        ErrorKind::Poisoned => "an earlier sync failed; nothing is written until the store is opened anew",
        ErrorKind::Corrupt => "its files are damaged",
        ErrorKind::Unsupported => "its files are of a newer version",
        _ => "an internal error",
    };
    format!("{}: {why}", call.doing())
}

/// The body of the answer, exactly.
impl Serialize for ApiError {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("error_code", self.code)?;
        map.serialize_entry("error_msg", &self.message)?;
        if let Some(cursor) = &self.safe_cursor {
            map.serialize_entry("safeCursor", cursor)?;
        }
        if let Some(cursor) = &self.oldest_cursor {
            map.serialize_entry("oldestCursor", cursor)?;
        }
        if let Some(bytes) = self.skipped_bytes {
            map.serialize_entry("skippedBytes", &bytes)?;
        }
        map.end()
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.status, self.code, self.message)
    }
}

impl std::error::Error for ApiError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|err| err as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Epoch;
    use crate::{Cursor, SessionCursor, StreamId, Timestamp};

    const SECRET: &str = "sync segment /var/lib/host/streams/1/0.seg";

    fn cursor() -> Cursor {
        let (epoch, ingest) = (Epoch { number: 1, id: 2 }, Timestamp::from_millis(3));
        Cursor { stream: StreamId::from(uuid::Uuid::from_u128(1)), epoch, offset: 8, ingest }
    }

    fn session_cursor() -> SessionCursor {
        SessionCursor::behind(uuid::Uuid::new_v4(), Epoch { number: 1, id: 2 }, cursor())
    }

    /// One error of each kind. The match makes sure that none is left out.
    fn kinds() -> Vec<ErrorKind> {
        use ErrorKind::*;
        let (cursor, session) = (cursor(), session_cursor());
        match Closed {
            Locked { .. } | Closed | ReadOnly | NotFound | AlreadyExists | StreamDeleted => {}
            Invalid { .. } | TooLarge { .. } | TailMoved { .. } | QuotaExceeded { .. } | Poisoned => {}
            NoSpace | Io | Corrupt | Unsupported | CursorInvalid | CursorStreamMismatch => {}
            CursorDiverged { .. } | CursorAhead { .. } | CursorExpired { .. } | FilterInvalid { .. } => {}
            SessionDiverged { .. } | SessionAhead { .. } | SessionExpired { .. } | SessionClosed => {}
            Busy | CommitBackwards { .. } => {}
        }
        vec![
            Locked { pid: None },
            Closed,
            ReadOnly,
            NotFound,
            AlreadyExists,
            StreamDeleted,
            Invalid { field: "x" },
            TooLarge { limit: 1, actual: 2 },
            TailMoved { tail: 8 },
            QuotaExceeded { limit: 1 },
            Poisoned,
            NoSpace,
            Io,
            Corrupt,
            Unsupported,
            CursorInvalid,
            CursorStreamMismatch,
            CursorDiverged { safe: cursor },
            CursorAhead { tail: cursor },
            CursorExpired { oldest: cursor, skipped_bytes: 8 },
            FilterInvalid { position: 0 },
            SessionDiverged { safe: session },
            SessionAhead { tail: session },
            SessionExpired { oldest: session, skipped_bytes: 8 },
            SessionClosed,
            Busy,
            CommitBackwards { committed: session },
        ]
    }

    #[track_caller]
    fn check(answer: ApiError, status: u16, code: &str) {
        assert_eq!((answer.status(), answer.code()), (status, code), "{answer}");
    }

    #[track_caller]
    fn check_row(call: Call, kind: ErrorKind, status: u16, code: &str) {
        check(ApiError::new(call, Error::new(kind, "what")), status, code);
    }

    #[test]
    fn every_row_of_the_log_streams_table() {
        use Call::*;
        use ErrorKind::*;
        check(ApiError::not_json(Api::Logs, "line 1"), 400, "LTS.0007");
        check(ApiError::invalid_field(Api::Logs, "f", "rule"), 400, "LTS.0009");
        check(ApiError::unauthorized(Api::Logs), 401, "LTS.0003");
        check(ApiError::forbidden(Api::Logs), 403, "LTS.0001");
        for call in Call::ALL.into_iter().filter(|call| *call != Tail) {
            check_row(call, Invalid { field: "f" }, 400, "LTS.0009");
            check_row(call, TooLarge { limit: 1, actual: 2 }, 400, "LTS.0009");
        }
        check_row(CreateGroup, AlreadyExists, 400, "LTS.0101");
        check_row(CreateGroup, QuotaExceeded { limit: 100 }, 400, "LTS.0104");
        for call in [FindGroup, UpdateGroup, DeleteGroup, CreateStream, ListStreams] {
            check_row(call, NotFound, 400, "LTS.0201");
        }
        check_row(CreateGroup, Io, 500, "LTS.0102");
        check_row(DeleteGroup, Io, 500, "LTS.0103");
        check_row(UpdateGroup, NoSpace, 500, "LTS.0107");
        check_row(CreateStream, NoSpace, 500, "LTS.0202");
        check_row(DeleteStream, Io, 500, "LTS.0203");
        check_row(UpdateStream, Poisoned, 500, "LTS.0204");
        check_row(CreateStream, AlreadyExists, 400, "LTS.0205");
        check_row(CreateStream, QuotaExceeded { limit: 100 }, 400, "LTS.0206");
        for call in [FindStream, UpdateStream, DeleteStream, WriteLogs, QueryLogs] {
            check_row(call, NotFound, 400, "LTS.0208");
            check_row(call, StreamDeleted, 400, "LTS.0208");
        }
        for call in [FindGroup, ListGroups, FindStream, ListStreams, WriteLogs, QueryLogs] {
            check_row(call, Io, 500, "LTS.0010");
            check_row(call, Closed, 500, "LTS.0010");
        }
    }

    #[test]
    fn every_row_of_the_tail_sessions_table() {
        use ErrorKind::*;
        check(ApiError::not_json(Api::Tail, "line 1"), 400, "TAIL.0400");
        check(ApiError::invalid_field(Api::Tail, "f", "rule"), 400, "TAIL.0400");
        check(ApiError::unauthorized(Api::Tail), 401, "TAIL.0003");
        check(ApiError::forbidden(Api::Tail), 403, "TAIL.0001");
        let (cursor, session) = (cursor(), session_cursor());
        for (kind, status, code) in [
            (Invalid { field: "f" }, 400, "TAIL.0400"),
            (FilterInvalid { position: 3 }, 400, "TAIL.0401"),
            (CursorInvalid, 400, "TAIL.0402"),
            (CursorStreamMismatch, 400, "TAIL.0403"),
            (NotFound, 404, "TAIL.0404"),
            (SessionClosed, 409, "TAIL.0409"),
            (Busy, 409, "TAIL.0409"),
            (CommitBackwards { committed: session }, 409, "TAIL.0409"),
            (SessionDiverged { safe: session }, 409, "TAIL.0411"),
            (CursorDiverged { safe: cursor }, 409, "TAIL.0411"),
            (SessionExpired { oldest: session, skipped_bytes: 8 }, 410, "TAIL.0410"),
            (CursorExpired { oldest: cursor, skipped_bytes: 8 }, 410, "TAIL.0410"),
            (SessionAhead { tail: session }, 416, "TAIL.0416"),
            (CursorAhead { tail: cursor }, 416, "TAIL.0416"),
            (QuotaExceeded { limit: 10 }, 429, "TAIL.0429"),
            (Io, 500, "TAIL.0500"),
            (NoSpace, 500, "TAIL.0500"),
            (Poisoned, 500, "TAIL.0500"),
            (Closed, 503, "TAIL.0503"),
        ] {
            check_row(Call::Tail, kind, status, code);
        }
    }

    #[test]
    fn every_error_of_every_call_has_its_apis_code_and_tells_of_no_file_where_it_is_the_hosts() {
        for call in Call::ALL {
            for kind in kinds() {
                let answer = ApiError::new(call, Error::new(kind.clone(), SECRET));
                let prefix = if call.api() == Api::Tail { "TAIL." } else { "LTS." };
                assert!(answer.code().starts_with(prefix), "{call:?} {kind:?}: {answer}");
                assert!((400..600).contains(&answer.status()), "{call:?} {kind:?}: {answer}");
                let body = serde_json::to_string(&answer).unwrap();
                assert_eq!(answer.status() < 500, body.contains(SECRET), "{call:?} {kind:?}: {body}");
                let source = std::error::Error::source(&answer).unwrap().to_string();
                assert_eq!(source, SECRET, "the host's log has it");
            }
        }
    }

    #[test]
    fn a_body_has_the_documented_members_and_a_cursor_only_where_one_helps() {
        #[track_caller]
        fn check(call: Call, kind: ErrorKind, more: &str) {
            let answer = ApiError::new(call, Error::new(kind, "what"));
            let body = serde_json::to_string(&answer).unwrap();
            assert_eq!(body, format!(r#"{{"error_code":"{}","error_msg":"what"{more}}}"#, answer.code()));
        }
        let (cursor, session) = (cursor(), session_cursor());
        let expired = |oldest: &dyn fmt::Display| format!(r#","oldestCursor":"{oldest}","skippedBytes":24"#);
        check(
            Call::Tail,
            ErrorKind::SessionDiverged { safe: session },
            &format!(r#","safeCursor":"{session}""#),
        );
        check(
            Call::Tail,
            ErrorKind::CursorDiverged { safe: cursor },
            &format!(r#","safeCursor":"{cursor}""#),
        );
        let kind = ErrorKind::SessionExpired { oldest: session, skipped_bytes: 24 };
        check(Call::Tail, kind, &expired(&session));
        let kind = ErrorKind::CursorExpired { oldest: cursor, skipped_bytes: 24 };
        check(Call::Tail, kind, &expired(&cursor));
        check(Call::Tail, ErrorKind::SessionAhead { tail: session }, "");
        check(Call::CreateStream, ErrorKind::Invalid { field: "f" }, "");
    }
}
