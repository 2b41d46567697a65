//! The log-stream API: what comes in and goes out, and the calls between.
//!
//! Each call checks in the contract's order: the group exists, the stream exists, the body parses, its fields keep their
//! rules; then the engine says whether the name is taken and the quota used up, and writes. A body is asked for when its turn
//! comes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::api::fields::{Fields, Request, deserialize};
use crate::api::{Api, ApiError, Call};
use crate::stream::{Page, Query};
use crate::{
    ErrorKind, GroupId, GroupInfo, GroupName, GroupSpec, GroupUpdate, Level, MAX_BATCH, MAX_BATCH_RECORDS,
    MAX_KEY, MAX_SERVICE, MAX_VALUE, Record, RecordRef, StreamId, StreamInfo, StreamName, StreamSpec,
    StreamUpdate, Tags, Tenant, Timestamp, TtlDays,
};

/// Logs of one answer, at most.
const MAX_LIMIT: i64 = 5000;
/// Logs of one answer where the request does not say.
const DEFAULT_LIMIT: i64 = 50;

/// A group to create.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CreateLogGroupRequest {
    /// Its name, unique in the project.
    pub log_group_name: GroupName,
    /// How long its streams keep logs that say nothing else; 30 days where this says nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_in_days: Option<TtlDays>,
    /// Its tags.
    pub tags: Tags,
}

/// The id of a group just created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateLogGroupResponse {
    /// Its id, 36 characters.
    pub log_group_id: GroupId,
}

/// What to alter in a group; what is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct UpdateLogGroupRequest {
    /// How long its streams keep logs that say nothing else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_in_days: Option<TtlDays>,
    /// Its tags, all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Tags>,
}

/// A group as it is after an update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateLogGroupResponse {
    /// When it was created, in milliseconds since 1970.
    pub creation_time: i64,
    /// Its name.
    pub log_group_name: GroupName,
    /// Its id.
    pub log_group_id: GroupId,
    /// How long its streams keep logs that say nothing else.
    pub ttl_in_days: TtlDays,
}

/// A project's groups.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListLogGroupsResponse {
    /// By name.
    pub log_groups: Vec<LogGroup>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogGroup {
    /// When it was created, in milliseconds since 1970.
    pub creation_time: i64,
    /// Its name.
    pub log_group_name: GroupName,
    /// Its id.
    pub log_group_id: GroupId,
    /// How long its streams keep logs that say nothing else.
    pub ttl_in_days: TtlDays,
    /// Its tags.
    pub tag: BTreeMap<String, String>,
}

/// A stream to create.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CreateLogStreamRequest {
    /// Its name, unique in its group.
    pub log_stream_name: StreamName,
    /// How long it keeps logs; as its group does where this says nothing, also when the group's changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_in_days: Option<TtlDays>,
    /// Its tags.
    pub tags: Tags,
}

/// The id of a stream just created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateLogStreamResponse {
    /// Its id, 36 characters.
    pub log_stream_id: StreamId,
}

/// What to alter in a stream; what is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct UpdateLogStreamRequest {
    /// How long it keeps logs. Acts at once, on logs already held too; what has expired stays expired.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_in_days: Option<TtlDays>,
    /// Its tags, all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Tags>,
}

/// A stream as it is after an update; the service calls it a topic here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateLogStreamResponse {
    /// When it was created, in milliseconds since 1970.
    pub creation_time: i64,
    /// Its name.
    pub log_topic_name: StreamName,
    /// Its id.
    pub log_topic_id: StreamId,
    /// How long it keeps logs: its own, or its group's.
    pub ttl_in_days: TtlDays,
}

/// A group's streams.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListLogStreamsResponse {
    /// By name.
    pub log_streams: Vec<LogStream>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogStream {
    /// When it was created, in milliseconds since 1970.
    pub creation_time: i64,
    /// Its id.
    pub log_stream_id: StreamId,
    /// Its name.
    pub log_stream_name: StreamName,
    /// How long it keeps logs: its own, or its group's.
    pub ttl_in_days: TtlDays,
    /// Its tags.
    pub tag: BTreeMap<String, String>,
}

/// Logs to append, all of one time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WriteLogsRequest {
    /// When they happened, in nanoseconds since 1970: their event time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_time_ns: Option<i64>,
    /// One record each.
    pub contents: Vec<String>,
    /// Of every one of them: `level` and `service` become the record's own, the rest its attributes.
    pub labels: BTreeMap<String, String>,
}

/// Logs to append, each with a time of its own: the form called high-accuracy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WriteTimedLogsRequest {
    /// One record each.
    pub contents: Vec<TimedLog>,
    /// Of every one of them, as in [`WriteLogsRequest`].
    pub labels: BTreeMap<String, String>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TimedLog {
    /// When it happened, in nanoseconds since 1970: its event time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_time_ns: Option<i64>,
    /// The record's body.
    pub log: String,
}

/// Says that logs were appended, in the words of the service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WriteLogsResponse {
    /// A number for success.
    #[serde(rename = "errorCode")]
    pub error_code: &'static str,
    /// The same in words.
    #[serde(rename = "errorMessage")]
    pub error_message: &'static str,
    /// Nothing.
    pub result: (),
}

/// Which logs to read. Times are ingest times.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct QueryLogsRequest {
    /// The first millisecond, since 1970.
    pub start_time: i64,
    /// The last millisecond; it counts as well.
    pub end_time: i64,
    /// What the logs' labels must be: `level`, `service`, and attributes.
    pub labels: BTreeMap<String, String>,
    /// What their text must contain, byte for byte.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keywords: Option<String>,
    /// The `line_num` of the log to go on from, which does not come again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line_num: Option<LineNum>,
    /// Newest first.
    pub is_desc: bool,
    /// Which way to go on from `line_num`.
    pub search_type: SearchType,
    /// Logs to return, 1 to 5,000.
    pub limit: u32,
}

/// The place of a log in its stream: the record's offset, written as 19 decimal digits, so that they compare as text as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LineNum(u64);

/// Where a page of logs lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SearchType {
    /// At the beginning of the order asked for; `line_num` does not count.
    #[default]
    Init,
    /// Behind `line_num`, in the order asked for: the next page.
    Forwards,
    /// Before `line_num`, in the order asked for: the page before.
    Backwards,
}

/// A page of logs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueryLogsResponse {
    /// How many this page has.
    pub count: usize,
    /// They, in the order asked for.
    pub logs: Vec<LogContents>,
    /// Whether nothing is left in the direction that was asked for.
    #[serde(rename = "isQueryComplete")]
    pub is_query_complete: bool,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogContents {
    /// Its text. Bytes that are no UTF-8 are replaced.
    pub content: String,
    /// Its place in the stream.
    pub line_num: LineNum,
    /// Level, service and attributes; of an attribute that a record has twice, the last.
    pub labels: BTreeMap<String, String>,
}

deserialize!(
    CreateLogGroupRequest,
    UpdateLogGroupRequest,
    CreateLogStreamRequest,
    UpdateLogStreamRequest,
    WriteLogsRequest,
    WriteTimedLogsRequest,
    QueryLogsRequest,
);

impl Request for CreateLogGroupRequest {
    const API: Api = Api::Logs;
    const FIELDS: &'static [&'static str] = &["log_group_name", "ttl_in_days", "tags"];

    fn check(mut fields: Fields) -> Result<CreateLogGroupRequest, ApiError> {
        let name = GroupName::new(fields.required_text("log_group_name")?);
        Ok(CreateLogGroupRequest {
            log_group_name: fields.checked(name)?,
            ttl_in_days: ttl(&mut fields)?,
            tags: fields.tags()?.unwrap_or_default(),
        })
    }
}

impl Request for UpdateLogGroupRequest {
    const API: Api = Api::Logs;
    const FIELDS: &'static [&'static str] = &["ttl_in_days", "tags"];

    fn check(mut fields: Fields) -> Result<UpdateLogGroupRequest, ApiError> {
        Ok(UpdateLogGroupRequest { ttl_in_days: ttl(&mut fields)?, tags: fields.tags()? })
    }
}

impl Request for CreateLogStreamRequest {
    const API: Api = Api::Logs;
    const FIELDS: &'static [&'static str] = &["log_stream_name", "ttl_in_days", "tags"];

    fn check(mut fields: Fields) -> Result<CreateLogStreamRequest, ApiError> {
        let name = StreamName::new(fields.required_text("log_stream_name")?);
        Ok(CreateLogStreamRequest {
            log_stream_name: fields.checked(name)?,
            ttl_in_days: ttl(&mut fields)?,
            tags: fields.tags()?.unwrap_or_default(),
        })
    }
}

impl Request for UpdateLogStreamRequest {
    const API: Api = Api::Logs;
    const FIELDS: &'static [&'static str] = &["ttl_in_days", "tags"];

    fn check(mut fields: Fields) -> Result<UpdateLogStreamRequest, ApiError> {
        Ok(UpdateLogStreamRequest { ttl_in_days: ttl(&mut fields)?, tags: fields.tags()? })
    }
}

impl Request for WriteLogsRequest {
    const API: Api = Api::Logs;
    const FIELDS: &'static [&'static str] = &["log_time_ns", "contents", "labels"];

    fn check(mut fields: Fields) -> Result<WriteLogsRequest, ApiError> {
        let log_time_ns = fields.lax_integer("log_time_ns")?;
        let contents = fields.texts("contents")?.unwrap_or_default();
        if contents.is_empty() {
            return Err(fields.invalid("contents", "must hold at least one log"));
        }
        Ok(WriteLogsRequest { log_time_ns, contents, labels: labels(&mut fields)? })
    }
}

impl Request for WriteTimedLogsRequest {
    const API: Api = Api::Logs;
    const FIELDS: &'static [&'static str] = &["contents", "labels"];

    fn check(mut fields: Fields) -> Result<WriteTimedLogsRequest, ApiError> {
        let logs = fields.objects("contents", &["log_time_ns", "log"])?.unwrap_or_default();
        if logs.is_empty() {
            return Err(fields.invalid("contents", "must hold at least one log"));
        }
        let log = |(index, mut log): (usize, Fields)| {
            let at = |err: ApiError| fields.invalid(&format!("contents[{index}]"), err.message());
            let log_time_ns = log.lax_integer("log_time_ns").map_err(at)?;
            Ok(TimedLog { log_time_ns, log: log.required_text("log").map_err(at)? })
        };
        let contents = logs.into_iter().enumerate().map(log).collect::<Result<_, _>>()?;
        Ok(WriteTimedLogsRequest { contents, labels: labels(&mut fields)? })
    }
}

impl Request for QueryLogsRequest {
    const API: Api = Api::Logs;
    const FIELDS: &'static [&'static str] =
        &["start_time", "end_time", "labels", "keywords", "line_num", "is_desc", "search_type", "limit"];

    fn check(mut fields: Fields) -> Result<QueryLogsRequest, ApiError> {
        let mut time = |field: &str| {
            let time = fields.lax_integer(field)?;
            time.ok_or_else(|| fields.invalid(field, "is required: milliseconds since 1970"))
        };
        let (start_time, end_time) = (time("start_time")?, time("end_time")?);
        if end_time < start_time {
            return Err(fields.invalid("end_time", "must not be before start_time"));
        }
        let labels = labels(&mut fields)?;
        let keywords = fields.text("keywords")?.filter(|text| !text.is_empty());
        let line_num = line_num(&mut fields)?;
        let is_desc = fields.boolean("is_desc")?.unwrap_or(false);
        let search_type = match fields.text("search_type")?.as_deref() {
            Some("init") => SearchType::Init,
            Some("forwards") => SearchType::Forwards,
            Some("backwards") => SearchType::Backwards,
            Some(other) => {
                let rule = format!("must be init, forwards or backwards, not {other:?}");
                return Err(fields.invalid("search_type", rule));
            }
            // Whoever says where to go on and not which way wants the next page.
            None if line_num.is_some() => SearchType::Forwards,
            None => SearchType::Init,
        };
        if search_type != SearchType::Init && line_num.is_none() {
            return Err(fields.invalid("line_num", "is required to search forwards or backwards"));
        }
        let limit = fields.integer("limit")?.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(fields.invalid("limit", format!("must be 1 to {MAX_LIMIT}, not {limit}")));
        }
        let limit = limit as u32;
        Ok(QueryLogsRequest { start_time, end_time, labels, keywords, line_num, is_desc, search_type, limit })
    }
}

fn ttl(fields: &mut Fields) -> Result<Option<TtlDays>, ApiError> {
    let days = fields.integer("ttl_in_days")?;
    days.map(|days| fields.checked(TtlDays::try_from(days))).transpose()
}

/// Labels that a record can carry.
fn labels(fields: &mut Fields) -> Result<BTreeMap<String, String>, ApiError> {
    let labels = fields.labels("labels")?;
    for (key, value) in &labels {
        let broken = match key.as_str() {
            "" => Some("must not have an empty name".to_owned()),
            "level" => value.parse::<Level>().is_err().then(|| format!("{value:?} is no level")),
            "service" => (value.is_empty() || MAX_SERVICE < value.len())
                .then(|| format!("must have 1 to {MAX_SERVICE} bytes, not {}", value.len())),
            _ if MAX_KEY < key.len() => {
                Some(format!("must have a name of 1 to {MAX_KEY} bytes, not {}", key.len()))
            }
            _ => (MAX_VALUE < value.len())
                .then(|| format!("must have at most {MAX_VALUE} bytes, not {}", value.len())),
        };
        if let Some(rule) = broken {
            let name: String = key.chars().take(MAX_KEY).collect();
            return Err(fields.invalid(&format!("labels.{name}"), rule));
        }
    }
    Ok(labels.into_iter().collect())
}

fn line_num(fields: &mut Fields) -> Result<Option<LineNum>, ApiError> {
    let number = fields.lax_integer("line_num")?;
    let number = number.map(|number| {
        let rule =
            || fields.invalid("line_num", format!("must be a line_num of an earlier answer, not {number}"));
        u64::try_from(number).map(LineNum).map_err(|_| rule())
    });
    number.transpose()
}

impl LineNum {
    /// The offset of the record.
    pub fn offset(self) -> u64 {
        self.0
    }
}

impl std::fmt::Display for LineNum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:019}", self.0)
    }
}

impl Serialize for LineNum {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LineNum {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<LineNum, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(LineNum).map_err(|_| serde::de::Error::custom("line_num: must be decimal digits"))
    }
}

/// `POST /v2/{project_id}/groups`: 201.
///
/// # Errors
/// `LTS.0007`, `LTS.0009`, `LTS.0101` (the name exists), `LTS.0104` (quota), `LTS.0102`.
pub fn create_log_group(
    tenant: &Tenant,
    body: impl FnOnce() -> Result<CreateLogGroupRequest, ApiError>,
) -> Result<CreateLogGroupResponse, ApiError> {
    let CreateLogGroupRequest { log_group_name, ttl_in_days, tags } = body()?;
    let mut spec = GroupSpec::new(log_group_name).tags(tags);
    if let Some(ttl) = ttl_in_days {
        spec = spec.ttl(ttl);
    }
    let group = tenant.create_group(spec).map_err(|err| ApiError::new(Call::CreateGroup, err))?;
    Ok(CreateLogGroupResponse { log_group_id: group.id })
}

/// `GET /v2/{project_id}/groups`: 200.
///
/// # Errors
/// `LTS.0010`.
pub fn list_log_groups(tenant: &Tenant) -> Result<ListLogGroupsResponse, ApiError> {
    let groups = tenant.groups().map_err(|err| ApiError::new(Call::ListGroups, err))?;
    Ok(ListLogGroupsResponse { log_groups: groups.into_iter().map(LogGroup::from).collect() })
}

/// `POST /v2/{project_id}/groups/{log_group_id}`: 200.
///
/// # Errors
/// `LTS.0201` (no such group), `LTS.0007`, `LTS.0009`, `LTS.0107`.
pub fn update_log_group(
    tenant: &Tenant,
    log_group_id: &str,
    body: impl FnOnce() -> Result<UpdateLogGroupRequest, ApiError>,
) -> Result<UpdateLogGroupResponse, ApiError> {
    let group = find_group(tenant, log_group_id)?;
    let UpdateLogGroupRequest { ttl_in_days: ttl, tags } = body()?;
    let updated = tenant.update_group(group, GroupUpdate { ttl, tags });
    let group = updated.map_err(|err| ApiError::new(Call::UpdateGroup, err))?;
    Ok(UpdateLogGroupResponse {
        creation_time: group.created.as_millis(),
        log_group_name: group.name,
        log_group_id: group.id,
        ttl_in_days: group.ttl,
    })
}

/// `DELETE /v2/{project_id}/groups/{log_group_id}`: 204. Its streams and their logs go with it.
///
/// # Errors
/// `LTS.0201` (no such group), `LTS.0009` (the default group stays), `LTS.0103`.
pub fn delete_log_group(tenant: &Tenant, log_group_id: &str) -> Result<(), ApiError> {
    let group = find_group(tenant, log_group_id)?;
    tenant.delete_group(group).map_err(|err| ApiError::new(Call::DeleteGroup, err))
}

/// `POST /v2/{project_id}/groups/{log_group_id}/streams`: 201.
///
/// # Errors
/// `LTS.0201` (no such group), `LTS.0007`, `LTS.0009`, `LTS.0205` (the name exists), `LTS.0206` (quota), `LTS.0202`.
pub fn create_log_stream(
    tenant: &Tenant,
    log_group_id: &str,
    body: impl FnOnce() -> Result<CreateLogStreamRequest, ApiError>,
) -> Result<CreateLogStreamResponse, ApiError> {
    let group = find_group(tenant, log_group_id)?;
    let CreateLogStreamRequest { log_stream_name, ttl_in_days, tags } = body()?;
    let mut spec = StreamSpec::new(log_stream_name).tags(tags);
    if let Some(ttl) = ttl_in_days {
        spec = spec.ttl(ttl);
    }
    let stream = tenant.create_stream(group, spec).map_err(|err| ApiError::new(Call::CreateStream, err))?;
    Ok(CreateLogStreamResponse { log_stream_id: stream.id() })
}

/// `GET /v2/{project_id}/groups/{log_group_id}/streams`: 200.
///
/// # Errors
/// `LTS.0201` (no such group), `LTS.0010`.
pub fn list_log_streams(tenant: &Tenant, log_group_id: &str) -> Result<ListLogStreamsResponse, ApiError> {
    let group = find_group(tenant, log_group_id)?;
    let streams = tenant.streams(group).map_err(|err| ApiError::new(Call::ListStreams, err))?;
    Ok(ListLogStreamsResponse { log_streams: streams.into_iter().map(LogStream::from).collect() })
}

/// `PUT /v2/{project_id}/groups/{log_group_id}/streams-ttl/{log_stream_id}`: 200.
///
/// # Errors
/// `LTS.0201`, `LTS.0208` (no such group, stream), `LTS.0007`, `LTS.0009`, `LTS.0204`.
pub fn update_log_stream(
    tenant: &Tenant,
    log_group_id: &str,
    log_stream_id: &str,
    body: impl FnOnce() -> Result<UpdateLogStreamRequest, ApiError>,
) -> Result<UpdateLogStreamResponse, ApiError> {
    let (group, stream) = find_stream(tenant, log_group_id, log_stream_id)?;
    let UpdateLogStreamRequest { ttl_in_days, tags } = body()?;
    let update = StreamUpdate { ttl: ttl_in_days.map(Some), tags, ..StreamUpdate::default() };
    let updated = tenant.update_stream(group, stream, update);
    let stream = updated.map_err(|err| ApiError::new(Call::UpdateStream, err))?;
    Ok(UpdateLogStreamResponse {
        creation_time: stream.created.as_millis(),
        log_topic_name: stream.name,
        log_topic_id: stream.id,
        ttl_in_days: stream.effective_ttl,
    })
}

/// `DELETE /v2/{project_id}/groups/{log_group_id}/streams/{log_stream_id}`: 204.
///
/// # Errors
/// `LTS.0201`, `LTS.0208` (no such group, stream), `LTS.0203`.
pub fn delete_log_stream(tenant: &Tenant, log_group_id: &str, log_stream_id: &str) -> Result<(), ApiError> {
    let (group, stream) = find_stream(tenant, log_group_id, log_stream_id)?;
    tenant.delete_stream(group, stream).map_err(|err| ApiError::new(Call::DeleteStream, err))
}

/// `POST /v2/{project_id}/lts/groups/{log_group_id}/streams/{log_stream_id}/tenant/contents`: 200, once readers see them.
///
/// Everything is checked before anything is appended. Up to 1,000 logs are appended all or nothing; of more, an error of the
/// disk's can leave the first thousands.
///
/// # Errors
/// `LTS.0201`, `LTS.0208` (no such group, stream), `LTS.0007`, `LTS.0009`, `LTS.0010`.
pub fn write_logs(
    tenant: &Tenant,
    log_group_id: &str,
    log_stream_id: &str,
    body: impl FnOnce() -> Result<WriteLogsRequest, ApiError>,
) -> Result<WriteLogsResponse, ApiError> {
    let ids = find_stream(tenant, log_group_id, log_stream_id)?;
    let WriteLogsRequest { log_time_ns, contents, labels } = body()?;
    let logs: Vec<_> = contents.iter().map(|log| (log.as_str(), log_time_ns)).collect();
    write(tenant, ids, &logs, &labels)
}

/// `POST /v2/{project_id}/lts/groups/{log_group_id}/streams/{log_stream_id}/tenant/contents/high-accuracy`: 200. As
/// [`write_logs`].
///
/// # Errors
/// As [`write_logs`].
pub fn write_timed_logs(
    tenant: &Tenant,
    log_group_id: &str,
    log_stream_id: &str,
    body: impl FnOnce() -> Result<WriteTimedLogsRequest, ApiError>,
) -> Result<WriteLogsResponse, ApiError> {
    let ids = find_stream(tenant, log_group_id, log_stream_id)?;
    let WriteTimedLogsRequest { contents, labels } = body()?;
    let logs: Vec<_> = contents.iter().map(|log| (log.log.as_str(), log.log_time_ns)).collect();
    write(tenant, ids, &logs, &labels)
}

/// `POST /v2/{project_id}/groups/{log_group_id}/streams/{log_stream_id}/content/query`: 200.
///
/// # Errors
/// `LTS.0201`, `LTS.0208` (no such group, stream), `LTS.0007`, `LTS.0009`, `LTS.0010`.
pub fn query_logs(
    tenant: &Tenant,
    log_group_id: &str,
    log_stream_id: &str,
    body: impl FnOnce() -> Result<QueryLogsRequest, ApiError>,
) -> Result<QueryLogsResponse, ApiError> {
    let (group, stream) = find_stream(tenant, log_group_id, log_stream_id)?;
    let request = body()?;
    let (query, reversed) = plan(&request);
    let failed = |err| ApiError::new(Call::QueryLogs, err);
    let stream = tenant.stream(group, stream).map_err(failed)?;
    let wanted = Wanted::new(&request);
    let page: Page = stream.query(&query, |record| wanted.passes(record)).map_err(failed)?;
    let mut logs: Vec<_> = page.iter().map(|record| LogContents::from(&record)).collect();
    if reversed {
        logs.reverse();
    }
    Ok(QueryLogsResponse { count: logs.len(), logs, is_query_complete: page.is_complete() })
}

fn find_group(tenant: &Tenant, text: &str) -> Result<GroupId, ApiError> {
    // What is no id is the id of nothing.
    let unknown = || ApiError::with(400, "LTS.0201", format!("log_group_id: there is no group {text:?}"));
    let id = text.parse().map_err(|_| unknown())?;
    match tenant.group(id) {
        Ok(group) => Ok(group.id),
        Err(err) if *err.kind() == ErrorKind::NotFound => Err(unknown()),
        Err(err) => Err(ApiError::new(Call::FindGroup, err)),
    }
}

fn find_stream(tenant: &Tenant, group: &str, text: &str) -> Result<(GroupId, StreamId), ApiError> {
    let group = find_group(tenant, group)?;
    let unknown = || ApiError::with(400, "LTS.0208", format!("log_stream_id: there is no stream {text:?}"));
    let id = text.parse().map_err(|_| unknown())?;
    match tenant.stream_info(group, id) {
        Ok(stream) => Ok((group, stream.id)),
        Err(err) if *err.kind() == ErrorKind::NotFound => Err(unknown()),
        Err(err) => Err(ApiError::new(Call::FindStream, err)),
    }
}

/// Appends logs with their times; the labels' own rules are kept already.
fn write(
    tenant: &Tenant,
    (group, stream): (GroupId, StreamId),
    logs: &[(&str, Option<i64>)],
    labels: &BTreeMap<String, String>,
) -> Result<WriteLogsResponse, ApiError> {
    let invalid = |field: &str, rule: String| Err(ApiError::invalid_field(Api::Logs, field, rule));
    let quotas = tenant.quotas();
    let others = labels.iter().filter(|(key, _)| !matches!(key.as_str(), "level" | "service"));
    let attributes: Vec<_> = others.map(|(key, value)| (key.as_str(), value.as_str())).collect();
    if quotas.record_attributes < attributes.len() {
        let (most, found) = (quotas.record_attributes, attributes.len());
        return invalid("labels", format!("must be at most {most} beside level and service, not {found}"));
    }
    if let Some(index) = logs.iter().position(|(log, _)| quotas.record_bytes < log.len()) {
        let (most, found) = (quotas.record_bytes, logs[index].0.len());
        return invalid(
            &format!("contents[{index}]"),
            format!("must have at most {most} bytes, not {found}"),
        );
    }
    let level = labels.get("level").and_then(|level| level.parse().ok());
    let service = labels.get("service").map(String::as_str);
    let failed = |err| ApiError::new(Call::WriteLogs, err);
    let stream = tenant.stream(group, stream).map_err(failed)?;
    // Lengths and the like take some bytes each; half of what a batch may have is room enough for them.
    let each: usize = labels.iter().map(|(key, value)| key.len() + value.len()).sum();
    let mut rest = logs;
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = |(log, _): &&(&str, Option<i64>)| {
            bytes += log.len() + each;
            bytes <= MAX_BATCH / 2
        };
        let count = rest.iter().take(MAX_BATCH_RECORDS).take_while(fits).count().max(1);
        let records: Vec<Record<'_>> = rest[..count]
            .iter()
            .map(|(log, time)| {
                let event_time = time.map(Timestamp::from_nanos);
                Record { body: log.as_bytes(), event_time, level, service, attributes: &attributes }
            })
            .collect();
        stream.append_batch(&records).map_err(failed)?;
        rest = &rest[count..];
    }
    Ok(WriteLogsResponse { error_code: "SVCSTG.ALS.200.200", error_message: "Report success.", result: () })
}

/// The engine's query for a page of logs, and whether its records are to be turned round: the page before one is found
/// from there backwards.
fn plan(request: &QueryLogsRequest) -> (Query, bool) {
    let from = Timestamp::from_millis(request.start_time);
    let until = Timestamp::from_millis(request.end_time.saturating_add(1));
    let query = Query::new(from..until).limit(request.limit as usize);
    let backwards = request.search_type == SearchType::Backwards;
    let descending = request.is_desc != backwards;
    let query = query.descending(descending);
    let query = match request.line_num.filter(|_| request.search_type != SearchType::Init) {
        Some(line) if descending => query.before(line.offset()),
        Some(line) => query.after(line.offset()),
        None => query,
    };
    (query, backwards)
}

/// What a log must be like.
struct Wanted<'a> {
    level: Option<Level>,
    service: Option<&'a str>,
    attributes: Vec<(&'a str, &'a str)>,
    keywords: &'a [u8],
}

impl Wanted<'_> {
    fn new(request: &QueryLogsRequest) -> Wanted<'_> {
        let others = request.labels.iter().filter(|(key, _)| !matches!(key.as_str(), "level" | "service"));
        Wanted {
            level: request.labels.get("level").and_then(|level| level.parse().ok()),
            service: request.labels.get("service").map(String::as_str),
            attributes: others.map(|(key, value)| (key.as_str(), value.as_str())).collect(),
            keywords: request.keywords.as_deref().unwrap_or_default().as_bytes(),
        }
    }

    fn passes(&self, record: &RecordRef<'_>) -> bool {
        (self.level.is_none() || self.level == record.level())
            && (self.service.is_none() || self.service == record.service())
            && self.attributes.iter().all(|wanted| record.attributes().any(|found| found == *wanted))
            && memchr::memmem::find(record.body(), self.keywords).is_some()
    }
}

impl From<&RecordRef<'_>> for LogContents {
    fn from(record: &RecordRef<'_>) -> LogContents {
        let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        let mut labels: BTreeMap<_, _> = record.attributes().map(owned).collect();
        labels.extend(record.level().map(|level| owned(("level", level.as_str()))));
        labels.extend(record.service().map(|service| owned(("service", service))));
        LogContents {
            content: String::from_utf8_lossy(record.body()).into_owned(),
            line_num: LineNum(record.offset()),
            labels,
        }
    }
}

impl From<GroupInfo> for LogGroup {
    fn from(group: GroupInfo) -> LogGroup {
        LogGroup {
            creation_time: group.created.as_millis(),
            log_group_name: group.name,
            log_group_id: group.id,
            ttl_in_days: group.ttl,
            tag: tag(&group.tags),
        }
    }
}

impl From<StreamInfo> for LogStream {
    fn from(stream: StreamInfo) -> LogStream {
        LogStream {
            creation_time: stream.created.as_millis(),
            log_stream_id: stream.id,
            log_stream_name: stream.name,
            ttl_in_days: stream.effective_ttl,
            tag: tag(&stream.tags),
        }
    }
}

fn tag(tags: &Tags) -> BTreeMap<String, String> {
    tags.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}
