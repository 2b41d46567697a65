//! The log-stream API's contents: writing logs to a stream, and reading them back page by page.
//!
//! The checks are in the order of [`logs`](super::logs).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::api::fields::{Fields, Request, deserialize};
use crate::api::logs::find_stream;
use crate::api::{Api, ApiError, Call};
use crate::stream::{Page, Query};
use crate::{
    GroupId, Level, MAX_BATCH, MAX_BATCH_RECORDS, MAX_KEY, MAX_SERVICE, MAX_VALUE, Record, RecordRef,
    StreamId, Tenant, Timestamp,
};

/// Logs of one answer, at most.
const MAX_LIMIT: i64 = 5000;
/// Logs of one answer where the request does not say.
const DEFAULT_LIMIT: i64 = 50;

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

deserialize!(WriteLogsRequest, WriteTimedLogsRequest, QueryLogsRequest);

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
