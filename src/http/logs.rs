//! The log-stream API: each route, the call it makes, and the status that call ends with.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::ask::{Ask, LARGE, SMALL, answer};
use super::blocking;
use crate::Tenant;
use crate::api::{self, Api, ApiError, Request};

type Answer = Result<Response, ApiError>;

/// What a path names.
struct Named {
    group: String,
    stream: String,
}

pub(super) async fn create_group(ask: Ask) -> Answer {
    let call = |tenant: &Tenant, _: &Named, body: &[u8]| api::create_log_group(tenant, || parse(body));
    with_body(ask, SMALL, StatusCode::CREATED, call).await
}

pub(super) async fn list_groups(ask: Ask) -> Answer {
    without_body(ask, |tenant, _| api::list_log_groups(tenant).map(|found| answer(StatusCode::OK, &found)))
        .await
}

pub(super) async fn update_group(ask: Ask) -> Answer {
    let call = |tenant: &Tenant, named: &Named, body: &[u8]| {
        api::update_log_group(tenant, &named.group, || parse(body))
    };
    with_body(ask, SMALL, StatusCode::OK, call).await
}

pub(super) async fn delete_group(ask: Ask) -> Answer {
    without_body(ask, |tenant, named| api::delete_log_group(tenant, &named.group).map(nothing)).await
}

pub(super) async fn create_stream(ask: Ask) -> Answer {
    let call = |tenant: &Tenant, named: &Named, body: &[u8]| {
        api::create_log_stream(tenant, &named.group, || parse(body))
    };
    with_body(ask, SMALL, StatusCode::CREATED, call).await
}

pub(super) async fn list_streams(ask: Ask) -> Answer {
    without_body(ask, |tenant, named| {
        api::list_log_streams(tenant, &named.group).map(|found| answer(StatusCode::OK, &found))
    })
    .await
}

pub(super) async fn update_stream(ask: Ask) -> Answer {
    let call = |tenant: &Tenant, named: &Named, body: &[u8]| {
        api::update_log_stream(tenant, &named.group, &named.stream, || parse(body))
    };
    with_body(ask, SMALL, StatusCode::OK, call).await
}

pub(super) async fn delete_stream(ask: Ask) -> Answer {
    without_body(ask, |tenant, named| {
        api::delete_log_stream(tenant, &named.group, &named.stream).map(nothing)
    })
    .await
}

pub(super) async fn write(ask: Ask) -> Answer {
    let call = |tenant: &Tenant, named: &Named, body: &[u8]| {
        api::write_logs(tenant, &named.group, &named.stream, || parse(body))
    };
    with_body(ask, LARGE, StatusCode::OK, call).await
}

pub(super) async fn write_high_accuracy(ask: Ask) -> Answer {
    let call = |tenant: &Tenant, named: &Named, body: &[u8]| {
        api::write_timed_logs(tenant, &named.group, &named.stream, || parse(body))
    };
    with_body(ask, LARGE, StatusCode::OK, call).await
}

pub(super) async fn query(ask: Ask) -> Answer {
    let call = |tenant: &Tenant, named: &Named, body: &[u8]| {
        api::query_logs(tenant, &named.group, &named.stream, || parse(body))
    };
    with_body(ask, SMALL, StatusCode::OK, call).await
}

/// Token and project are checked here, and everything else by `call`, in its order.
async fn with_body<T: Serialize + Send + 'static>(
    mut ask: Ask,
    limit: usize,
    status: StatusCode,
    call: impl FnOnce(&Tenant, &Named, &[u8]) -> Result<T, ApiError> + Send + 'static,
) -> Answer {
    let (tenant, named) = (ask.project()?, named(&ask));
    let body = ask.body(Api::Logs, limit).await?;
    blocking(move || call(&tenant, &named, &body).map(|done| answer(status, &done))).await
}

async fn without_body(
    ask: Ask,
    call: impl FnOnce(&Tenant, &Named) -> Result<Response, ApiError> + Send + 'static,
) -> Answer {
    let (tenant, named) = (ask.project()?, named(&ask));
    blocking(move || call(&tenant, &named)).await
}

fn named(ask: &Ask) -> Named {
    Named { group: ask.path("log_group_id"), stream: ask.path("log_stream_id") }
}

fn parse<T: Request>(body: &[u8]) -> Result<T, ApiError> {
    api::body(serde_json::from_slice(body))
}

fn nothing((): ()) -> Response {
    StatusCode::NO_CONTENT.into_response()
}
