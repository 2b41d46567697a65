//! The tail API: each route, and the call it makes.

use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::ask::{Ask, SMALL, answer};
use super::auth::Owner;
use super::read::Reading;
use super::{blocking, sse};
use crate::api::{
    self, Api, ApiError, Call, CommitRequest, CreateTailSessionRequest, LastCursor, RecordsResponse, Request,
    ResumeRequest,
};
use crate::{Error, ErrorKind, Limit, Session};

type Answer = Result<Response, ApiError>;

/// Records of one answer, at most.
const MAX_LIMIT: u64 = 5000;
/// Records of one answer where the request does not say.
const DEFAULT_LIMIT: u64 = 100;
/// Bytes of log that one answer may hold.
const ANSWER_BYTES: usize = 1 << 20;
/// The longest wait of one request.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// The header in which a browser says which event it had last.
const LAST_EVENT_ID: &str = "last-event-id";

pub(super) async fn create(mut ask: Ask) -> Answer {
    ask.bearer()?;
    let request: CreateTailSessionRequest = parse(&ask.body(Api::Tail, SMALL).await?)?;
    let tenant = ask.owned(&request.tenant_id)?;
    blocking(move || api::create_tail_session(&tenant, request))
        .await
        .map(|session| answer(StatusCode::OK, &session))
}

pub(super) async fn list(ask: Ask) -> Answer {
    let tenant = match (ask.query("tenantId"), ask.bearer()?) {
        (Some(named), _) => api::tenant_id(named)?,
        (None, Owner::Of([only])) => only.clone(),
        (None, _) => {
            return Err(ApiError::invalid_field(Api::Tail, "tenantId", "is required: there may be several"));
        }
    };
    let tenant = ask.owned(&tenant)?;
    blocking(move || api::list_tail_sessions(&tenant)).await.map(|found| answer(StatusCode::OK, &found))
}

pub(super) async fn show(ask: Ask) -> Answer {
    let call =
        |session: &Session| api::show_tail_session(session).map(|session| answer(StatusCode::OK, &session));
    with_session(&ask, call).await
}

pub(super) async fn close(ask: Ask) -> Answer {
    let call =
        |session: &Session| api::close_tail_session(session).map(|()| StatusCode::NO_CONTENT.into_response());
    with_session(&ask, call).await
}

pub(super) async fn commit(mut ask: Ask) -> Answer {
    let session = with_session(&ask, |session| Ok(session.clone())).await?;
    let request: CommitRequest = parse(&ask.body(Api::Tail, SMALL).await?)?;
    let done = blocking(move || api::commit_tail_session(&session, request)).await;
    done.map(|session| answer(StatusCode::OK, &session))
}

pub(super) async fn resume(mut ask: Ask) -> Answer {
    let session = with_session(&ask, |session| Ok(session.clone())).await?;
    let body = ask.body(Api::Tail, SMALL).await?;
    // To begin at the committed position there is nothing to say.
    let request = if body.is_empty() { ResumeRequest::default() } else { parse(&body)? };
    let turn = ask.shared.turns.take_over(session.id());
    let done = blocking(move || {
        let done = api::resume_tail_session(&session, request);
        drop(turn);
        done
    });
    done.await.map(|session| answer(StatusCode::OK, &session))
}

pub(super) async fn records(ask: Ask) -> Answer {
    let candidates = ask.candidates()?;
    let id = ask.path("id");
    let limit = ask.number("limit", 1..=MAX_LIMIT, DEFAULT_LIMIT)? as usize;
    let wait = ask.number("waitMs", 0..=MAX_WAIT.as_millis() as u64, 0)?;
    let shared = ask.shared;
    let reading = blocking(move || {
        let tenants = candidates.tenants(&shared.store).map_err(failed)?;
        let session = api::find_tail_session(tenants, &id)?;
        let turn = shared.turns.begin(session.id()).ok_or_else(|| {
            failed(Error::new(ErrorKind::Busy, "read a tail session: another read of it is under way"))
        })?;
        let limit = Limit { records: limit, bytes: ANSWER_BYTES };
        Reading::begin(&session, turn, shared.stopped.clone(), limit).map_err(failed)
    });
    let (_turn, polled) = reading.await?.next(Duration::from_millis(wait)).await.map_err(failed)?;
    Ok(answer(StatusCode::OK, &RecordsResponse::from(&polled)))
}

pub(super) async fn events(ask: Ask) -> Answer {
    let candidates = ask.candidates()?;
    let id = ask.path("id");
    let of_header =
        ask.parts.headers.get(LAST_EVENT_ID).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let last = of_header.as_deref().filter(|text| !text.is_empty()).or(ask.query("lastEventId"));
    let last = last.map(|text| text.parse::<LastCursor>()).transpose().map_err(failed)?;
    let shared = ask.shared;
    let reading = blocking(move || {
        let tenants = candidates.tenants(&shared.store).map_err(failed)?;
        let session = api::find_tail_session(tenants, &id)?;
        let turn = shared.turns.take_over(session.id());
        session.resume(last.map(Into::into)).map_err(failed)?;
        Reading::begin(&session, turn, shared.stopped.clone(), sse::CHUNK).map_err(failed)
    });
    Ok(sse::events(reading.await?))
}

/// Does `call` with the session that the path names. The future keeps no hold of the request, whose body other threads may not see.
fn with_session<T: Send + 'static, F>(
    ask: &Ask,
    call: F,
) -> impl Future<Output = Result<T, ApiError>> + use<T, F>
where
    F: FnOnce(&Session) -> Result<T, ApiError> + Send + 'static,
{
    let (candidates, shared, id) = (ask.candidates(), ask.shared.clone(), ask.path("id"));
    async move {
        let candidates = candidates?;
        blocking(move || {
            let tenants = candidates.tenants(&shared.store).map_err(failed)?;
            call(&api::find_tail_session(tenants, &id)?)
        })
        .await
    }
}

fn parse<T: Request>(body: &[u8]) -> Result<T, ApiError> {
    api::body(serde_json::from_slice(body))
}

fn failed(err: Error) -> ApiError {
    ApiError::new(Call::Tail, err)
}
