//! The log-stream API's groups and streams: what comes in and goes out, and the calls between.
//!
//! Each call checks in the contract's order: the group exists, the stream exists, the body parses, its fields keep their
//! rules; then the engine says whether the name is taken and the quota used up, and writes. A body is asked for when its turn
//! comes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::api::fields::{Fields, Request, deserialize};
use crate::api::{Api, ApiError, Call};
use crate::{
    ErrorKind, GroupId, GroupInfo, GroupName, GroupSpec, GroupUpdate, StreamId, StreamInfo, StreamName,
    StreamSpec, StreamUpdate, Tags, Tenant, TtlDays,
};

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

deserialize!(CreateLogGroupRequest, UpdateLogGroupRequest, CreateLogStreamRequest, UpdateLogStreamRequest);

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

fn ttl(fields: &mut Fields) -> Result<Option<TtlDays>, ApiError> {
    let days = fields.integer("ttl_in_days")?;
    days.map(|days| fields.checked(TtlDays::try_from(days))).transpose()
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

pub(super) fn find_stream(tenant: &Tenant, group: &str, text: &str) -> Result<(GroupId, StreamId), ApiError> {
    let group = find_group(tenant, group)?;
    let unknown = || ApiError::with(400, "LTS.0208", format!("log_stream_id: there is no stream {text:?}"));
    let id = text.parse().map_err(|_| unknown())?;
    match tenant.stream_info(group, id) {
        Ok(stream) => Ok((group, stream.id)),
        Err(err) if *err.kind() == ErrorKind::NotFound => Err(unknown()),
        Err(err) => Err(ApiError::new(Call::FindStream, err)),
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
