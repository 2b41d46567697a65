//! A session as Server-Sent Events: each record with the cursor behind it as its id, so that a reader who comes back says where it was.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Serialize;

use super::read::Reading;
use crate::api::{ApiError, Call, TailGap, TailRecord};
use crate::{Error, ErrorKind, Limit, Polled, PolledItem, SessionCursor};

/// How long nothing is sent, at most: proxies and clients take silence for a broken connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long a browser waits before it comes back.
const RETRY: Duration = Duration::from_secs(1);
/// What is read at once. Nothing more is read until the connection took it.
pub(super) const CHUNK: Limit = Limit { records: 256, bytes: 256 << 10 };

/// Where a stream of events stands.
enum Stage {
    /// Nothing was sent yet.
    Begin(Reading),
    /// The position that was sent last, if any was.
    Follow(Reading, Option<SessionCursor>),
    /// The last words were said.
    End,
}

/// The answer that goes on until the client leaves, the session ends, or the server does.
pub(super) fn events(reading: Reading) -> Response {
    let chunks = stream::unfold(Stage::Begin(reading), |stage| async move {
        match stage {
            Stage::Begin(reading) => {
                // At once, so that a client knows that it is heard.
                Some((chunk(format!("retry: {}\n\n", RETRY.as_millis())), Stage::Follow(reading, None)))
            }
            Stage::Follow(reading, sent) => follow(reading, sent).await,
            Stage::End => None,
        }
    });
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    (headers, Body::from_stream(chunks)).into_response()
}

async fn follow(reading: Reading, sent: Option<SessionCursor>) -> Option<(Result<Bytes, Infallible>, Stage)> {
    match reading.next(KEEP_ALIVE).await {
        Ok((reading, polled)) => {
            let reached = Some(polled.cursor());
            Some((chunk(print(&polled, sent)), Stage::Follow(reading, reached)))
        }
        // The server or the store: whoever comes back finds them again, or not.
        Err(err) if *err.kind() == ErrorKind::Closed => None,
        Err(err) => Some((chunk(failure(err)), Stage::End)),
    }
}

fn chunk(text: String) -> Result<Bytes, Infallible> {
    Ok(Bytes::from(text))
}

/// What one read gave, as events; without any, a comment, and the position where that moved: records that the filter kept back need not
/// be looked at again.
fn print(polled: &Polled, sent: Option<SessionCursor>) -> String {
    let mut text = String::new();
    let mut last = sent;
    for (item, cursor) in polled.iter() {
        match item {
            PolledItem::Record(record) => {
                event(&mut text, None, Some(cursor), &TailRecord::new(&record, cursor))
            }
            PolledItem::Gap(gap) => event(&mut text, Some("gap"), Some(cursor), &TailGap::new(&gap, cursor)),
        }
        last = Some(cursor);
    }
    if text.is_empty() {
        text += ":\n";
    }
    if last != Some(polled.cursor()) {
        text += &format!("id: {}\n", polled.cursor());
    }
    if !text.ends_with("\n\n") {
        text += "\n";
    }
    text
}

/// The last event of a stream that cannot go on. Its name is none that browsers use themselves.
fn failure(err: Error) -> String {
    let mut text = String::new();
    event(&mut text, Some("failed"), None, &ApiError::new(Call::Tail, err));
    text
}

/// Adds one event. JSON has no line breaks of its own, so one line of data holds it.
fn event(text: &mut String, name: Option<&str>, id: Option<SessionCursor>, data: &impl Serialize) {
    if let Some(name) = name {
        *text += &format!("event: {name}\n");
    }
    if let Some(id) = id {
        *text += &format!("id: {id}\n");
    }
    let data = serde_json::to_string(data).expect("our own types serialise");
    *text += &format!("data: {data}\n\n");
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::body::BodyDataStream;
    use futures_util::StreamExt;
    use tokio::sync::watch;
    use tokio::time::Instant;

    use super::super::turns::Turns;
    use super::*;
    use crate::{Filter, Record, SessionSpec, Store, StreamName, StreamSpec, TenantId, UserId};

    async fn next(chunks: &mut BodyDataStream) -> Option<String> {
        let chunk = chunks.next().await?.unwrap();
        Some(String::from_utf8(chunk.to_vec()).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_broken_by_a_comment_that_moves_the_position_on_where_it_moved() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let stream = store.create_stream(StreamSpec::new(StreamName::new("a").unwrap())).unwrap();
        let spec = SessionSpec::new(UserId::new("u").unwrap()).filter(Filter::parse("wanted").unwrap());
        let session = store.tenant(&TenantId::new("default").unwrap()).create_session(spec).unwrap();
        let turn = Arc::new(Turns::default()).begin(session.id()).unwrap();
        let reading = Reading::begin(&session, turn, watch::channel(false).1, CHUNK).unwrap();
        let mut chunks = events(reading).into_body().into_data_stream();
        assert_eq!(next(&mut chunks).await.unwrap(), "retry: 1000\n\n");
        let begun = Instant::now();
        stream.append(&Record::new("other")).unwrap();
        let text = next(&mut chunks).await.unwrap();
        assert!(KEEP_ALIVE <= begun.elapsed());
        let moved = text.strip_prefix(":\nid: ").and_then(|rest| rest.strip_suffix("\n\n"));
        assert!(moved.is_some_and(|id| id.parse::<SessionCursor>().is_ok()), "{text:?}");
        stream.append(&Record::new("wanted")).unwrap();
        let text = next(&mut chunks).await.unwrap();
        assert!(
            text.starts_with("id: ") && text.contains("\ndata: {") && text.ends_with("}\n\n"),
            "{text:?}"
        );
        store.close().unwrap();
        assert_eq!(next(&mut chunks).await, None);
    }
}
