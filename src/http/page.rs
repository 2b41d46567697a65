//! What is there for people and their machines beside the two APIs: a page, whether the server lives, its figures.

use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use uuid::Uuid;

use super::ask::{Ask, answer};
use super::metrics::Text;
use super::{Shared, auth, blocking};
use crate::api::{Api, ApiError, Call};
use crate::{Error, StoreStats};

/// The page: all of it in one file, scripts and styles included.
const PAGE: &str = include_str!("page.html");
/// What stands in the page where its scripts and styles say their nonce.
const NONCE: &str = "__NONCE__";

/// The page for people. It runs what is in it and nothing else, talks to this server only, and stands in nobody's frame.
pub(super) async fn page() -> Response {
    // Random, and new for each answer.
    let nonce = Uuid::new_v4().simple().to_string();
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src data:; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (header::REFERRER_POLICY, "no-referrer".to_owned()),
        (header::X_FRAME_OPTIONS, "DENY".to_owned()),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin".to_owned()),
        // A nonce is for once.
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    (headers, PAGE.replace(NONCE, &nonce)).into_response()
}

/// Whether the store answers.
pub(super) async fn healthz(State(shared): State<Shared>) -> Result<Response, ApiError> {
    blocking(move || shared.store.tenants()).await.map_err(|err| ApiError::new(Call::Tail, err))?;
    Ok(answer(StatusCode::OK, &json!({ "status": "ok" })))
}

/// The figures, for whoever has a token of either kind.
pub(super) async fn metrics(ask: Ask) -> Result<Response, ApiError> {
    let headers = &ask.parts.headers;
    let token = auth::bearer_token(headers).or(auth::x_auth_token(headers));
    if ask.shared.auth.owner(token).is_none() {
        return Err(ApiError::unauthorized(Api::Tail));
    }
    let shared = ask.shared;
    let text = blocking(move || {
        let mut text = Text::default();
        shared.metrics.print(&mut text);
        figures(&shared, &mut text).map(|()| text.into_string())
    });
    let text = text.await.map_err(|err| ApiError::new(Call::Tail, err))?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

/// The store's figures. Names of tenants and streams are not among them: whoever reads these need not own any.
fn figures(shared: &Shared, text: &mut Text) -> Result<(), Error> {
    let stats: StoreStats = shared.store.stats()?;
    let streams: Vec<_> = stats.streams.iter().map(|(_, stats)| stats).collect();
    let mut gauge = |name: &str, help: &str, value: u64| text.number(name, "gauge", help, value);
    gauge("tailwater_streams", "Streams.", streams.len() as u64);
    gauge("tailwater_records", "Records held.", streams.iter().map(|stats| stats.records).sum());
    gauge("tailwater_bytes", "Bytes of log held.", streams.iter().map(|stats| stats.bytes).sum());
    gauge(
        "tailwater_disk_bytes",
        "Bytes of disk that segments take.",
        streams.iter().map(|stats| stats.disk_bytes).sum(),
    );
    gauge("tailwater_segments", "Segment files.", streams.iter().map(|stats| stats.segments as u64).sum());
    gauge("tailwater_readers", "Readers open.", streams.iter().map(|stats| stats.readers as u64).sum());
    gauge(
        "tailwater_durable_lag_bytes",
        "Bytes published and not durable yet, of all streams.",
        streams.iter().map(|stats| stats.durable_lag()).sum(),
    );
    gauge(
        "tailwater_poisoned_streams",
        "Streams that take no appends until the store is opened anew.",
        streams.iter().filter(|stats| stats.poisoned).count() as u64,
    );
    text.head("tailwater_sessions", "gauge", "Tail sessions.");
    for (state, count) in shared.store.session_counts()? {
        let state = serde_json::to_value(state).expect("a state is a word");
        text.sample("tailwater_sessions", &[("state", state.as_str().unwrap_or_default())], count);
    }
    Ok(())
}
