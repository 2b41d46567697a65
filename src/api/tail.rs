//! The tail API: what comes in and goes out, and the calls between.
//!
//! A request is checked in this order: the body parses, its fields keep their rules in the order of the documentation, the caller's
//! token owns the tenant; then the engine says whether the cursor is one of this session and the quota allows it.

use std::fmt;

use data_encoding::BASE64;
use serde::{Deserialize, Serialize, Serializer};

use crate::api::fields::{Fields, Request, deserialize};
use crate::api::{Api, ApiError, Call};
use crate::{
    Cursor, ErrorKind, Filter, Gap, GapReason, GroupId, Level, MAX_SERVICE, OnExpired, Polled, PolledItem,
    RecordRef, Scope, Session, SessionCursor, SessionId, SessionInfo, SessionSpec, SessionStart,
    SessionState, StreamId, Tenant, TenantId, Timestamp, UserId,
};

/// The service that means any.
const ANY: &str = "*";
/// Streams that a request may name.
const MAX_STREAMS: usize = 1000;

/// A tail session to create.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CreateTailSessionRequest {
    /// Whose session it is.
    pub tenant_id: TenantId,
    /// Who creates it.
    pub user_uuid: UserId,
    /// Which records it gives; absent or empty: all.
    #[serde(serialize_with = "text")]
    pub filter: Filter,
    /// The service it is restricted to; `*`: any.
    pub service: String,
    /// Behind which record it begins; absent or empty: now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_cursor: Option<LastCursor>,
    /// An extension: the only streams it covers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub streams: Option<Vec<StreamId>>,
    /// An extension: the only group it covers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupId>,
    /// An extension: what becomes of a `lastCursor` behind which records have expired.
    pub on_expired: OnExpired,
}

/// A position that a session can begin at: one of a session, or of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastCursor {
    /// What sessions give.
    Session(SessionCursor),
    /// What appends and readers of one stream give.
    Stream(Cursor),
}

/// The position that a session committed to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CommitRequest {
    /// Behind the last record whose consumption is done.
    pub last_cursor: SessionCursor,
}

/// Where a session begins anew.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ResumeRequest {
    /// Behind which record; absent or empty: behind the committed position.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_cursor: Option<LastCursor>,
}

/// A tail session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TailSession {
    /// Its id.
    pub id: SessionId,
    /// Whose it is.
    pub tenant_id: TenantId,
    /// Who created it.
    pub user_uuid: UserId,
    /// Its filter, as it was written.
    pub filter: String,
    /// The service it is restricted to; `*`: any.
    pub service: String,
    /// The committed position, always a concrete one.
    pub last_cursor: SessionCursor,
    /// When it was created: RFC 3339 in UTC, to the second.
    pub created_at: String,
    /// Whether it is open.
    pub active: bool,
}

/// A tenant's sessions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListTailSessionsResponse {
    /// Oldest first.
    pub sessions: Vec<TailSession>,
}

/// What one read of a session gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordsResponse {
    /// Records in the order of delivery.
    pub records: Vec<TailRecord>,
    /// Gaps in the order of delivery; each says before which of the records it came.
    pub gaps: Vec<TailGap>,
    /// The position behind all of it: what to commit once it is consumed.
    pub next_cursor: SessionCursor,
    /// Whether nothing more was there.
    pub caught_up: bool,
}

/// A record that a session gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TailRecord {
    /// The session's position behind it.
    pub cursor: SessionCursor,
    /// Its stream.
    pub stream: StreamId,
    /// When the engine took it in: RFC 3339 in UTC.
    pub ingest_time: String,
    /// When its source says it happened.
    pub event_time: Option<String>,
    /// How severe it is.
    pub level: Option<Level>,
    /// Which service it came from.
    pub service: Option<String>,
    /// As an object, in the order they were given; of a key that repeats, the members repeat as well.
    #[serde(serialize_with = "members", deserialize_with = "from_members")]
    pub attributes: Vec<(String, String)>,
    /// Its bytes, where they are UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Its bytes in base64, where they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_base64: Option<String>,
}

/// Bytes of a stream that a session passed without getting records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TailGap {
    /// The session's position behind it.
    pub cursor: SessionCursor,
    /// Its stream.
    pub stream: StreamId,
    /// Offset of its first byte.
    pub start: u64,
    /// Offset behind its last byte.
    pub end: u64,
    /// How many there are.
    pub bytes: u64,
    /// Why.
    pub reason: GapReason,
    /// The index in `records` of the record it came before; their number where it came last. Absent where it comes by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<usize>,
}

deserialize!(CreateTailSessionRequest, CommitRequest, ResumeRequest);

impl Request for CreateTailSessionRequest {
    const API: Api = Api::Tail;
    const FIELDS: &'static [&'static str] =
        &["tenantId", "userUuid", "filter", "service", "lastCursor", "streams", "group", "onExpired"];

    fn check(mut fields: Fields) -> Result<CreateTailSessionRequest, ApiError> {
        let tenant = fields.required_text("tenantId")?;
        let tenant_id = tenant_id(&tenant)?;
        let user = UserId::new(fields.required_text("userUuid")?);
        let user_uuid = fields.checked(user)?;
        let filter = Filter::parse(&fields.text("filter")?.unwrap_or_default()).map_err(failed)?;
        let service = fields.required_text("service")?;
        if !(1..=MAX_SERVICE).contains(&service.len()) {
            let rule = format!("must be `{ANY}` or have 1 to {MAX_SERVICE} bytes, not {}", service.len());
            return Err(fields.invalid("service", rule));
        }
        let last_cursor = last_cursor(&mut fields)?;
        let streams = match fields.texts("streams")? {
            None => None,
            Some(ids) if !(1..=MAX_STREAMS).contains(&ids.len()) => {
                return Err(
                    fields.invalid("streams", format!("must be 1 to {MAX_STREAMS}, not {}", ids.len()))
                );
            }
            Some(ids) => {
                let id = |(index, text): (usize, &String)| {
                    let field = format!("streams[{index}]");
                    text.parse().map_err(|_| fields.invalid(&field, "must be a UUID of 36 characters"))
                };
                Some(ids.iter().enumerate().map(id).collect::<Result<Vec<StreamId>, _>>()?)
            }
        };
        let group = match fields.text("group")? {
            Some(_) if streams.is_some() => {
                return Err(fields.invalid("group", "must not be given together with streams"));
            }
            Some(text) => {
                Some(text.parse().map_err(|_| fields.invalid("group", "must be a UUID of 36 characters"))?)
            }
            None => None,
        };
        let on_expired = match fields.text("onExpired")?.as_deref() {
            None | Some("gap") => OnExpired::Gap,
            Some("refuse") => OnExpired::Refuse,
            Some(other) => {
                return Err(fields.invalid("onExpired", format!("must be gap or refuse, not {other:?}")));
            }
        };
        Ok(CreateTailSessionRequest {
            tenant_id,
            user_uuid,
            filter,
            service,
            last_cursor,
            streams,
            group,
            on_expired,
        })
    }
}

impl Request for CommitRequest {
    const API: Api = Api::Tail;
    const FIELDS: &'static [&'static str] = &["lastCursor"];

    fn check(mut fields: Fields) -> Result<CommitRequest, ApiError> {
        let text = fields.text("lastCursor")?.filter(|text| !text.is_empty());
        let text = text.ok_or_else(|| fields.invalid("lastCursor", "is required"))?;
        Ok(CommitRequest { last_cursor: text.parse().map_err(no_cursor)? })
    }
}

impl Request for ResumeRequest {
    const API: Api = Api::Tail;
    const FIELDS: &'static [&'static str] = &["lastCursor"];

    fn check(mut fields: Fields) -> Result<ResumeRequest, ApiError> {
        Ok(ResumeRequest { last_cursor: last_cursor(&mut fields)? })
    }
}

fn last_cursor(fields: &mut Fields) -> Result<Option<LastCursor>, ApiError> {
    let text = fields.text("lastCursor")?.filter(|text| !text.is_empty());
    text.map(|text| text.parse().map_err(no_cursor)).transpose()
}

fn no_cursor(err: crate::Error) -> ApiError {
    ApiError::with(400, "TAIL.0402", format!("lastCursor: {err}"))
}

fn failed(err: crate::Error) -> ApiError {
    ApiError::new(Call::Tail, err)
}

/// A tenant, as the tail API names it.
///
/// # Errors
/// `TAIL.0400`.
pub fn tenant_id(text: &str) -> Result<TenantId, ApiError> {
    TenantId::new(text).map_err(|err| {
        // The engine's own name of it is that of the other API.
        let said = err.to_string();
        let rule = said.split_once(": ").map_or(&*said, |(_, rule)| rule);
        ApiError::invalid_field(Api::Tail, "tenantId", rule)
    })
}

/// Reads the cursor of a session or of a stream.
impl std::str::FromStr for LastCursor {
    type Err = crate::Error;

    fn from_str(text: &str) -> crate::Result<LastCursor> {
        let of_session = text.parse().map(LastCursor::Session);
        of_session.or_else(|err| text.parse().map(LastCursor::Stream).map_err(|_| err))
    }
}

impl fmt::Display for LastCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LastCursor::Session(cursor) => cursor.fmt(f),
            LastCursor::Stream(cursor) => cursor.fmt(f),
        }
    }
}

impl Serialize for LastCursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl From<LastCursor> for SessionStart {
    fn from(cursor: LastCursor) -> SessionStart {
        match cursor {
            LastCursor::Session(cursor) => SessionStart::Cursor(cursor),
            LastCursor::Stream(cursor) => SessionStart::StreamCursor(cursor),
        }
    }
}

/// `POST /api/v1/logs/tail/sessions`: 200. `tenant` is the request's own, which the caller found the token to own.
///
/// # Errors
/// `TAIL.0400` (a stream or group that the tenant has not), `TAIL.0402`, `TAIL.0403`, `TAIL.0411`, `TAIL.0410`, `TAIL.0416` for
/// the cursor, `TAIL.0429` (quota), `TAIL.0500`, `TAIL.0503`.
pub fn create_tail_session(
    tenant: &Tenant,
    request: CreateTailSessionRequest,
) -> Result<TailSession, ApiError> {
    let CreateTailSessionRequest {
        user_uuid, filter, service, last_cursor, streams, group, on_expired, ..
    } = request;
    let scope = match (streams, group) {
        (Some(streams), _) => Scope::Streams(streams),
        (None, Some(group)) => Scope::Group(group),
        (None, None) => Scope::Tenant,
    };
    let start = last_cursor.map_or(SessionStart::Now, SessionStart::from);
    let mut spec =
        SessionSpec::new(user_uuid).filter(filter).scope(scope).start(start).on_expired(on_expired);
    if service != ANY {
        spec = spec.service(service);
    }
    let session = tenant.create_session(spec).map_err(failed)?;
    session.info().map(TailSession::from).map_err(failed)
}

/// `GET /api/v1/logs/tail/sessions?tenantId=`: 200.
///
/// # Errors
/// `TAIL.0500`, `TAIL.0503`.
pub fn list_tail_sessions(tenant: &Tenant) -> Result<ListTailSessionsResponse, ApiError> {
    let sessions = tenant.sessions().map_err(failed)?;
    Ok(ListTailSessionsResponse { sessions: sessions.into_iter().map(TailSession::from).collect() })
}

/// The session that a path names, of whichever of `tenants` has it. What is no id is the id of nothing.
///
/// # Errors
/// `TAIL.0404`, `TAIL.0500`, `TAIL.0503`.
pub fn find_tail_session(tenants: impl IntoIterator<Item = Tenant>, id: &str) -> Result<Session, ApiError> {
    if let Ok(id) = id.parse::<SessionId>() {
        for tenant in tenants {
            match tenant.session(id) {
                Err(err) if *err.kind() == ErrorKind::NotFound => {}
                found => return found.map_err(failed),
            }
        }
    }
    Err(ApiError::with(404, "TAIL.0404", format!("id: there is no tail session {id:?}")))
}

/// `GET /api/v1/logs/tail/sessions/{id}`: 200.
///
/// # Errors
/// `TAIL.0404`, `TAIL.0500`, `TAIL.0503`.
pub fn show_tail_session(session: &Session) -> Result<TailSession, ApiError> {
    session.info().map(TailSession::from).map_err(failed)
}

/// `POST /api/v1/logs/tail/sessions/{id}/commit`: 200.
///
/// # Errors
/// `TAIL.0402`, `TAIL.0403`, `TAIL.0409` (backwards, or closed), `TAIL.0411`, `TAIL.0416`, `TAIL.0404`, `TAIL.0500`, `TAIL.0503`.
pub fn commit_tail_session(session: &Session, request: CommitRequest) -> Result<TailSession, ApiError> {
    session.commit(request.last_cursor).map(TailSession::from).map_err(failed)
}

/// `POST /api/v1/logs/tail/sessions/{id}/resume`: 200.
///
/// # Errors
/// As [`create_tail_session`]; `TAIL.0409` (closed), `TAIL.0404`.
pub fn resume_tail_session(session: &Session, request: ResumeRequest) -> Result<TailSession, ApiError> {
    session.resume(request.last_cursor.map(SessionStart::from)).map(TailSession::from).map_err(failed)
}

/// `DELETE /api/v1/logs/tail/sessions/{id}`: 204.
///
/// # Errors
/// `TAIL.0404`, `TAIL.0500`, `TAIL.0503`.
pub fn close_tail_session(session: &Session) -> Result<(), ApiError> {
    session.close().map(drop).map_err(failed)
}

impl From<SessionInfo> for TailSession {
    fn from(info: SessionInfo) -> TailSession {
        let seconds = info.created.as_nanos().div_euclid(1_000_000_000);
        TailSession {
            id: info.id,
            tenant_id: info.tenant,
            user_uuid: info.user,
            filter: info.filter,
            service: info.service.unwrap_or_else(|| ANY.into()),
            last_cursor: info.last_cursor,
            created_at: Timestamp::from_millis(seconds.saturating_mul(1000)).to_string(),
            active: info.state == SessionState::Open,
        }
    }
}

impl From<&Polled> for RecordsResponse {
    fn from(polled: &Polled) -> RecordsResponse {
        let (mut records, mut gaps) = (Vec::new(), Vec::new());
        for (item, cursor) in polled.iter() {
            match item {
                PolledItem::Record(record) => records.push(TailRecord::new(&record, cursor)),
                PolledItem::Gap(gap) => {
                    gaps.push(TailGap { before: Some(records.len()), ..TailGap::new(&gap, cursor) });
                }
            }
        }
        RecordsResponse { records, gaps, next_cursor: polled.cursor(), caught_up: polled.is_caught_up() }
    }
}

impl TailRecord {
    /// A record, and the session's position behind it.
    pub fn new(record: &RecordRef<'_>, cursor: SessionCursor) -> TailRecord {
        let (body, body_base64) = match std::str::from_utf8(record.body()) {
            Ok(text) => (Some(text.to_owned()), None),
            Err(_) => (None, Some(BASE64.encode(record.body()))),
        };
        TailRecord {
            cursor,
            stream: record.cursor().stream_id(),
            ingest_time: record.ingest_time().to_string(),
            event_time: record.event_time().map(|time| time.to_string()),
            level: record.level(),
            service: record.service().map(str::to_owned),
            attributes: record.attributes().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
            body,
            body_base64,
        }
    }
}

impl TailGap {
    /// A gap by itself, and the session's position behind it.
    pub fn new(gap: &Gap, cursor: SessionCursor) -> TailGap {
        let Gap { stream, start, end, reason, .. } = *gap;
        TailGap { cursor, stream, start, end, bytes: gap.bytes(), reason, before: None }
    }
}

fn text<S: Serializer>(value: &impl fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn members<S: Serializer>(pairs: &[(String, String)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().map(|(key, value)| (key, value)))
}

fn from_members<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<(String, String)>, D::Error> {
    struct Members;
    impl<'de> serde::de::Visitor<'de> for Members {
        type Value = Vec<(String, String)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object of strings")
        }

        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut pairs = Vec::new();
            while let Some(pair) = map.next_entry()? {
                pairs.push(pair);
            }
            Ok(pairs)
        }
    }
    deserializer.deserialize_map(Members)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(body: &str, code: &str, named: &str) {
        let parsed: Result<CreateTailSessionRequest, _> = crate::api::body(serde_json::from_str(body));
        let err = parsed.expect_err(body);
        assert!(err.code() == code && err.message().contains(named), "{body}: {err}");
    }

    #[test]
    fn a_field_that_breaks_its_rule_is_named() {
        refused("[]", "TAIL.0400", "body: must be an object");
        refused("{", "TAIL.0400", "not JSON");
        refused("{}", "TAIL.0400", "tenantId: is required");
        refused(r#"{"tenantId":7}"#, "TAIL.0400", "tenantId: must be a string");
        refused(r#"{"tenantId":"a/b"}"#, "TAIL.0400", "tenantId: ");
        refused(r#"{"tenantId":"t"}"#, "TAIL.0400", "userUuid: is required");
        let with = |rest: &str| format!(r#"{{"tenantId":"t","userUuid":"u",{rest}}}"#);
        refused(&with(r#""filter":["level"]"#), "TAIL.0400", "filter: must be a string");
        refused(&with(r#""filter":"*""#), "TAIL.0400", "service: is required");
        refused(&with(r#""service":"""#), "TAIL.0400", "service: ");
        let with = |rest: &str| format!(r#"{{"tenantId":"t","userUuid":"u","service":"s",{rest}}}"#);
        refused(&with(r#""lastCursor":"cursor-0000001""#), "TAIL.0402", "cursor");
        refused(&with(r#""streams":[]"#), "TAIL.0400", "streams: ");
        refused(&with(r#""streams":["x"]"#), "TAIL.0400", "streams[0]: ");
        refused(&with(r#""group":"x""#), "TAIL.0400", "group: ");
        refused(&with(r#""onExpired":"skip""#), "TAIL.0400", "onExpired: ");
    }

    #[test]
    fn absent_null_and_empty_cursors_mean_now_and_unknown_fields_nothing() {
        for rest in ["", r#","lastCursor":null"#, r#","lastCursor":"""#, r#","colour":{"a":[1]}"#] {
            let body = format!(r#"{{"tenantId":"t","userUuid":"u","service":"*"{rest}}}"#);
            let request: CreateTailSessionRequest = serde_json::from_str(&body).expect(&body);
            assert!(request.last_cursor.is_none() && request.filter.as_str().is_empty());
        }
    }
}
