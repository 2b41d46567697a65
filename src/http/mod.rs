//! Both public APIs over HTTP: a router to mount in a host's own server, and a server.
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use tailwater::Store;
//! use tailwater::http::{self, Auth};
//!
//! let store = Store::open("logs")?;
//! let auth = Auth::tokens(&std::fs::read_to_string("tokens")?)?;
//! // In a host's own server, beside its own routes:
//! let app: axum::Router = axum::Router::new().nest("/logs", http::router(store.clone(), auth.clone()));
//! // Or as a server:
//! let listener = tokio::net::TcpListener::bind("0.0.0.0:8080").await?;
//! http::serve(listener, store, auth, |err| eprintln!("{err}"), std::future::pending()).await?;
//! # Ok(())
//! # }
//! ```
//!
//! | request | does |
//! |---|---|
//! | `POST`, `GET /v2/{project_id}/groups` | creates, lists groups |
//! | `POST`, `DELETE /v2/{project_id}/groups/{log_group_id}` | alters, deletes a group |
//! | `POST`, `GET /v2/{project_id}/groups/{log_group_id}/streams` | creates, lists streams |
//! | `PUT /v2/{project_id}/groups/{log_group_id}/streams-ttl/{log_stream_id}` | alters a stream |
//! | `DELETE /v2/{project_id}/groups/{log_group_id}/streams/{log_stream_id}` | deletes a stream |
//! | `POST /v2/{project_id}/lts/groups/{log_group_id}/streams/{log_stream_id}/tenant/contents` | writes; `/high-accuracy` behind it: a time for each log |
//! | `POST /v2/{project_id}/groups/{log_group_id}/streams/{log_stream_id}/content/query` | reads logs |
//! | `POST`, `GET /api/v1/logs/tail/sessions` | creates, lists tail sessions |
//! | `GET`, `DELETE /api/v1/logs/tail/sessions/{id}` | shows, closes one |
//! | `GET /api/v1/logs/tail/sessions/{id}/records` | reads on: `?limit=&waitMs=` |
//! | `POST /api/v1/logs/tail/sessions/{id}/commit` | makes `lastCursor` the committed position |
//! | `POST /api/v1/logs/tail/sessions/{id}/resume` | begins anew at `lastCursor`, or at the committed position |
//! | `GET /api/v1/logs/tail/sessions/{id}/stream` | reads on, as Server-Sent Events |
//! | `GET /`, `/openapi.json`, `/healthz`, `/metrics` | a page for people; all this for machines; whether it lives; its figures |
//!
//! A request to the log-stream API says who asks with `X-Auth-Token`, one to the tail API with `Authorization: Bearer`. A session's
//! tenant is found by the token; `?tenantId=` narrows that to one. Errors are `{"error_code", "error_msg"}` everywhere. `/metrics`
//! wants a token of either kind where there are any, and the rest of the last row none.

mod ask;
mod auth;
mod fault;
mod logs;
mod metrics;
mod openapi;
mod page;
mod read;
mod routes;
mod serve;
mod sse;
mod tail;
mod turns;

use std::sync::Arc;

use axum::{Router, middleware};
use tokio::sync::watch;

use crate::{Error, Store};

pub use auth::Auth;
pub use fault::Failure;
pub use serve::serve;

/// What every request sees.
type Shared = Arc<Inner>;

struct Inner {
    store: Store,
    auth: Auth,
    turns: Arc<turns::Turns>,
    metrics: metrics::Metrics,
    /// Turns true when the server ends.
    stopped: watch::Receiver<bool>,
    /// Told of every failure that is not the client's.
    report: Box<dyn Fn(&Error) + Send + Sync>,
}

/// Both APIs and their neighbours, to mount in a host's own server.
///
/// It needs a tokio runtime: calls that wait for the disk run on its threads for blocking. Streams of events end when the store is
/// closed. Limits on connections and on the heads of requests are the server's; [`serve`](serve()) has some. What an answer of status
/// 500 or more does not tell is a [`Failure`] among the response's extensions.
pub fn router(store: Store, auth: Auth) -> Router {
    routed(store, auth, watch::channel(false).1, Box::new(|_| {}))
}

fn routed(
    store: Store,
    auth: Auth,
    stopped: watch::Receiver<bool>,
    report: Box<dyn Fn(&Error) + Send + Sync>,
) -> Router {
    let (turns, metrics) = (Arc::default(), metrics::Metrics::default());
    let shared = Arc::new(Inner { store, auth, turns, metrics, stopped, report });
    routes::all()
        .into_iter()
        .fold(Router::new(), |router, route| router.route(route.path, route.handler))
        .fallback(fault::no_such_route)
        .method_not_allowed_fallback(fault::no_such_method)
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), metrics::count))
        .with_state(shared)
}

/// Does what may block where that holds nobody else up.
async fn blocking<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> T {
    let done = tokio::task::spawn_blocking(call).await;
    done.unwrap_or_else(|ended| std::panic::resume_unwind(ended.into_panic()))
}
