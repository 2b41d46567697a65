//! Every route there is, as a list: the router is made of it, and the OpenAPI document is compared with it.

use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{self, MethodRouter};

use super::{Shared, logs, openapi, page, tail};

/// One method of one path.
pub(super) struct Route {
    #[cfg_attr(not(test), expect(dead_code, reason = "what the OpenAPI document is compared with"))]
    pub(super) method: Method,
    /// As axum and OpenAPI both write it.
    pub(super) path: &'static str,
    pub(super) handler: MethodRouter<Shared>,
}

fn get<H: Handler<T, Shared>, T: 'static>(path: &'static str, handler: H) -> Route {
    Route { method: Method::GET, path, handler: routing::get(handler) }
}

fn post<H: Handler<T, Shared>, T: 'static>(path: &'static str, handler: H) -> Route {
    Route { method: Method::POST, path, handler: routing::post(handler) }
}

fn put<H: Handler<T, Shared>, T: 'static>(path: &'static str, handler: H) -> Route {
    Route { method: Method::PUT, path, handler: routing::put(handler) }
}

fn delete<H: Handler<T, Shared>, T: 'static>(path: &'static str, handler: H) -> Route {
    Route { method: Method::DELETE, path, handler: routing::delete(handler) }
}

/// All of them.
pub(super) fn all() -> Vec<Route> {
    const GROUPS: &str = "/v2/{project_id}/groups";
    const GROUP: &str = "/v2/{project_id}/groups/{log_group_id}";
    const STREAMS: &str = "/v2/{project_id}/groups/{log_group_id}/streams";
    const STREAM: &str = "/v2/{project_id}/groups/{log_group_id}/streams/{log_stream_id}";
    const TTL: &str = "/v2/{project_id}/groups/{log_group_id}/streams-ttl/{log_stream_id}";
    const QUERY: &str = "/v2/{project_id}/groups/{log_group_id}/streams/{log_stream_id}/content/query";
    const WRITE: &str = "/v2/{project_id}/lts/groups/{log_group_id}/streams/{log_stream_id}/tenant/contents";
    const PRECISE: &str =
        "/v2/{project_id}/lts/groups/{log_group_id}/streams/{log_stream_id}/tenant/contents/high-accuracy";
    const SESSIONS: &str = "/api/v1/logs/tail/sessions";
    const SESSION: &str = "/api/v1/logs/tail/sessions/{id}";
    const RECORDS: &str = "/api/v1/logs/tail/sessions/{id}/records";
    const COMMIT: &str = "/api/v1/logs/tail/sessions/{id}/commit";
    const RESUME: &str = "/api/v1/logs/tail/sessions/{id}/resume";
    const EVENTS: &str = "/api/v1/logs/tail/sessions/{id}/stream";
    vec![
        post(GROUPS, logs::create_group),
        get(GROUPS, logs::list_groups),
        post(GROUP, logs::update_group),
        delete(GROUP, logs::delete_group),
        post(STREAMS, logs::create_stream),
        get(STREAMS, logs::list_streams),
        put(TTL, logs::update_stream),
        delete(STREAM, logs::delete_stream),
        post(WRITE, logs::write),
        post(PRECISE, logs::write_high_accuracy),
        post(QUERY, logs::query),
        post(SESSIONS, tail::create),
        get(SESSIONS, tail::list),
        get(SESSION, tail::show),
        delete(SESSION, tail::close),
        get(RECORDS, tail::records),
        post(COMMIT, tail::commit),
        post(RESUME, tail::resume),
        get(EVENTS, tail::events),
        get("/", page::page),
        get("/openapi.json", openapi::document),
        get("/healthz", page::healthz),
        get("/metrics", page::metrics),
    ]
}
