//! A server of its own for the router: connections with limits, and an end that finishes what was begun.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::{Auth, fault};
use crate::{Error, Result, Store};

/// Connections at a time; more wait in the kernel's queue.
const CONNECTIONS: usize = 1024;
/// How long the head of a request may take to arrive, and a connection to ask for more.
const HEAD_WITHIN: Duration = Duration::from_secs(30);
/// Bytes of a request's head from which on no more of it is read.
const HEAD_BYTES: usize = 32 << 10;
/// Header lines of a request, at most.
const HEADERS: usize = 100;
/// How long requests that were begun may take to end once the server is to.
const GRACE: Duration = Duration::from_secs(10);
/// How long to leave a listener alone that has no file descriptor left for a connection.
const BREATH: Duration = Duration::from_millis(100);

/// Serves both APIs on `listener` until `stop` comes, then ends gracefully: takes no more connections, ends streams of events and
/// waiting reads, finishes what was begun (ten seconds at the most), and closes the store. A position is committed only by the client
/// that says so, and that is durable before it is answered: there is nothing more to keep.
///
/// `report` is told of every failure that is not the client's: what its answer leaves out.
///
/// With [open access](Auth::open) it answers loopback addresses only, and of browsers only pages that it served itself: a page from
/// elsewhere could otherwise send its reader's own machine here.
///
/// # Errors
/// `Invalid { field: "listen" }` as [`Auth::may_listen_on`]; `Io` where the listener has no address; as [`Store::close`].
pub async fn serve(
    listener: TcpListener,
    store: Store,
    auth: Auth,
    report: impl Fn(&Error) + Send + Sync + 'static,
    stop: impl Future<Output = ()>,
) -> Result<()> {
    let address =
        listener.local_addr().map_err(|err| Error::io("ask for the address of", "listener".as_ref(), err))?;
    auth.may_listen_on(address)?;
    let (stopping, stopped) = watch::channel(false);
    let is_open = auth.is_open();
    let mut router = super::routed(store.clone(), auth, stopped, Box::new(report));
    if is_open {
        router = router.layer(middleware::from_fn(only_own_pages));
    }
    accept(&listener, router, stop, stopping).await;
    drop(listener);
    let closed = tokio::task::spawn_blocking(move || store.close()).await;
    closed.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

async fn accept(
    listener: &TcpListener,
    router: Router,
    stop: impl Future<Output = ()>,
    stopping: watch::Sender<bool>,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS);
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let next = async {
            let permit = Arc::clone(&permits).acquire_owned().await.expect("the semaphore is never closed");
            (permit, listener.accept().await)
        };
        let (permit, stream) = tokio::select! {
            _ = &mut stop => break,
            Some(_) = connections.join_next() => continue,
            (permit, accepted) = next => match accepted {
                Ok((stream, _)) => (permit, stream),
                Err(err) => {
                    if !is_of_one_connection(&err) {
                        tokio::time::sleep(BREATH).await;
                    }
                    continue;
                }
            },
        };
        // Answers are written whole, and events as they come: there is nothing to gather.
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(router.clone());
        let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), service));
        connections.spawn(async move {
            // A connection that breaks is the client's to notice.
            let _ = connection.await;
            drop(permit);
        });
    }
    // Nobody may be listening; then there is nothing to end.
    let _ = stopping.send(true);
    let _ = tokio::time::timeout(GRACE, graceful.shutdown()).await;
    connections.shutdown().await;
}

fn is_of_one_connection(err: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(err.kind(), ConnectionRefused | ConnectionAborted | ConnectionReset)
}

async fn only_own_pages(request: Request, next: Next) -> Response {
    if is_own(request.headers()) {
        return next.run(request).await;
    }
    fault::not_own(request.uri().path()).into_response()
}

/// Whether a request to a server on loopback, open to anybody, was sent on purpose: to a name of this machine, and by no page from
/// elsewhere. A browser says where a page is from, and under which name it found this machine.
fn is_own(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let Some(host) = text(header::HOST) else { return !headers.contains_key(header::ORIGIN) };
    let Ok(authority) = host.parse::<axum::http::uri::Authority>() else { return false };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    let is_here = name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback());
    let is_same = text(header::ORIGIN).is_none_or(|origin| {
        origin.parse::<Uri>().is_ok_and(|origin| origin.authority() == Some(&authority))
    });
    is_here && is_same
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(host: Option<&str>, origin: Option<&str>, expected: bool) {
        let mut headers = HeaderMap::new();
        for (name, value) in [(header::HOST, host), (header::ORIGIN, origin)] {
            if let Some(value) = value {
                headers.insert(name, value.parse().unwrap());
            }
        }
        assert_eq!(is_own(&headers), expected, "{host:?} {origin:?}");
    }

    #[test]
    fn an_open_server_answers_this_machine_and_its_own_pages_only() {
        check(Some("127.0.0.1:8080"), None, true);
        check(Some("localhost:8080"), Some("http://localhost:8080"), true);
        check(Some("[::1]:8080"), Some("http://[::1]:8080"), true);
        check(None, None, true);
        // A page from elsewhere, another program's page here, a page in a frame without an origin.
        check(Some("127.0.0.1:8080"), Some("https://logs.example"), false);
        check(Some("127.0.0.1:8080"), Some("http://127.0.0.1:9090"), false);
        check(Some("127.0.0.1:8080"), Some("null"), false);
        check(None, Some("https://logs.example"), false);
        // A name from elsewhere that leads here.
        check(Some("logs.example"), None, false);
        check(Some("logs.example"), Some("http://logs.example"), false);
        check(Some("127.0.0.1.logs.example:8080"), None, false);
        check(Some("\u{fc}"), None, false);
    }
}
