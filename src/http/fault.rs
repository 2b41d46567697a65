//! Answers to requests that fail: one shape, whatever it was that failed.

use std::sync::Arc;

use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

use super::ask::answer;
use crate::Error;
use crate::api::{Api, ApiError};

/// The engine's own error behind an answer of status 500 or more: what its body does not tell. A host's own layers find it
/// among the extensions of the [router](super::router())'s responses.
#[derive(Debug, Clone)]
pub struct Failure(pub Arc<Error>);

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status()).expect("the table holds statuses");
        let mut response = answer(status, &self);
        if self.code() == "TAIL.0003" {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if status.is_server_error()
            && let Some(source) = self.into_source()
        {
            response.extensions_mut().insert(Failure(Arc::new(source)));
        }
        response
    }
}

/// The API whose errors a path gets.
fn api_of(path: &str) -> Api {
    if path.starts_with("/api/") { Api::Tail } else { Api::Logs }
}

/// An answer that neither of the two tables has a row for.
fn other(api: Api, status: u16, message: impl Into<String>) -> ApiError {
    let code = match (api, status) {
        (Api::Logs, 403) => "LTS.0001",
        (Api::Logs, 404 | 405) => "LTS.0010",
        (Api::Logs, _) => "LTS.0009",
        (Api::Tail, 403) => "TAIL.0001",
        (Api::Tail, 404) => "TAIL.0404",
        (Api::Tail, _) => "TAIL.0400",
    };
    ApiError::with(status, code, message)
}

/// There is no such path.
pub(super) async fn no_such_route(uri: Uri) -> Response {
    other(api_of(uri.path()), 404, "path: there is nothing here").into_response()
}

/// There is, for another method.
pub(super) async fn no_such_method(uri: Uri) -> Response {
    other(api_of(uri.path()), 405, "method: must be one of those in the header Allow").into_response()
}

/// The body is over its limit.
pub(super) fn too_large(api: Api, limit: usize) -> ApiError {
    other(api, 413, format!("body: must have at most {limit} bytes"))
}

/// The body stood still for too long.
pub(super) fn too_slow(api: Api) -> ApiError {
    other(api, 408, "body: must come without long pauses")
}

/// A page from elsewhere asks an open server.
pub(super) fn not_own(path: &str) -> ApiError {
    other(api_of(path), 403, "Host, Origin: an open server answers this machine, and of pages only its own")
}
