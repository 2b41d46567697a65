//! A tail session of a server that is killed and started again: what its client put together is the log.

#![cfg(all(feature = "cli", feature = "sim"))]

mod machine;
mod served;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use machine::Chance;
use serde_json::{Value, json};
use served::{Events, Process, Reply, ask, try_ask};
use tailwater::{Start, Step, Store, TenantId};

const SESSIONS: &str = "/api/v1/logs/tail/sessions";
const GROUPS: usize = 2;
const STREAMS: usize = 100;
const WRITERS: usize = 4;
const RECONNECTIONS: usize = 100;
const KILLS: usize = 5;

#[track_caller]
fn ok(address: SocketAddr, path: &str, body: Value) -> Value {
    let reply = ask(address, "POST", path, &[], body.to_string().as_bytes());
    assert!((200..300).contains(&reply.status), "{path}: {reply:?}");
    reply.json()
}

/// Every record of the tenant, in the order in which sessions deliver.
fn log(data: &Path) -> Vec<String> {
    let store = Store::open(data).unwrap();
    let tenant = store.tenant(&TenantId::new("p").unwrap());
    let mut all = Vec::new();
    for group in tenant.groups().unwrap() {
        for info in tenant.streams(group.id).unwrap() {
            let mut reader = tenant.stream(group.id, info.id).unwrap().read(Start::Beginning).unwrap();
            loop {
                match reader.next().unwrap() {
                    Step::Records(batch) => all.extend(batch.iter().map(|record| {
                        let body = String::from_utf8(record.body().to_vec()).unwrap();
                        ((record.ingest_time(), info.id, record.offset()), body)
                    })),
                    Step::Gap(gap) => panic!("{gap:?}"),
                    Step::Passed => {}
                    Step::End => break,
                }
            }
        }
    }
    all.sort();
    all.into_iter().map(|(_, body)| body).collect()
}

/// What the client has.
#[derive(Default)]
struct Seen {
    bodies: Vec<String>,
    /// Of them, those before the committed position.
    committed: usize,
    /// Behind the last of them.
    cursor: Option<String>,
}

#[test]
fn a_session_over_200_streams_of_a_server_killed_five_times_gives_the_log() {
    let mut chance = Chance::new();
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut process = Process::start(&data, &[]);
    let mut streams = Vec::new();
    for group in 0..GROUPS {
        let made = ok(process.address, "/v2/p/groups", json!({ "log_group_name": format!("g{group}") }));
        let group = made["log_group_id"].as_str().unwrap().to_owned();
        for stream in 0..STREAMS {
            let path = format!("/v2/p/groups/{group}/streams");
            let made = ok(process.address, &path, json!({ "log_stream_name": format!("s{stream}") }));
            let stream = made["log_stream_id"].as_str().unwrap();
            streams.push(format!("/v2/p/lts/groups/{group}/streams/{stream}/tenant/contents"));
        }
    }
    let request = json!({ "tenantId": "p", "userUuid": "u", "filter": "", "service": "*" });
    let id = ok(process.address, SESSIONS, request)["id"].as_str().unwrap().to_owned();
    let path = |rest: &str| format!("{SESSIONS}/{id}/{rest}");

    let (address, enough) = (Mutex::new(process.address), AtomicBool::new(false));
    let (writing, written) = (AtomicUsize::new(WRITERS), AtomicUsize::new(0));
    let mut seen = Seen::default();
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let mut chance = Chance::from_seed(chance.draw());
            let (streams, address, enough) = (&streams, &address, &enough);
            let (writing, written) = (&writing, &written);
            scope.spawn(move || {
                for number in 0.. {
                    if enough.load(Ordering::Relaxed) {
                        break;
                    }
                    let stream = &streams[chance.below(streams.len() as u64) as usize];
                    let body = json!({ "contents": [format!("{writer}/{number}")] }).to_string();
                    // What was not answered may be there or not, so it is written again until it is.
                    loop {
                        let address = *address.lock().unwrap();
                        match try_ask(address, "POST", stream, &[], body.as_bytes()) {
                            Ok(Reply { status: 200, .. }) => break,
                            Ok(Reply { status: 500.., .. }) | Err(_) => std::thread::yield_now(),
                            Ok(reply) => panic!("{reply:?}"),
                        }
                    }
                    written.fetch_add(1, Ordering::Relaxed);
                }
                writing.fetch_sub(1, Ordering::Release);
            });
        }
        for reconnection in 1.. {
            let was_written = writing.load(Ordering::Acquire) == 0;
            if chance.below(3) == 0 {
                let rest = path(&format!("records?limit={}&waitMs=100", 1 + chance.below(300)));
                // By its id: what was not committed comes again.
                ok(process.address, &path("resume"), Value::Object(Default::default()));
                seen.bodies.truncate(seen.committed);
                let reply = ask(process.address, "GET", &rest, &[], b"");
                assert_eq!(reply.status, 200, "{reply:?}");
                let read = reply.json();
                assert_eq!(read["gaps"], json!([]));
                let records = read["records"].as_array().unwrap();
                seen.bodies.extend(records.iter().map(|record| record["body"].as_str().unwrap().to_owned()));
                seen.cursor = Some(read["nextCursor"].as_str().unwrap().to_owned());
                if RECONNECTIONS <= reconnection
                    && was_written
                    && records.is_empty()
                    && read["caughtUp"] == true
                {
                    break;
                }
            } else {
                // By the cursor behind what it had last; without one, as by its id.
                let last = seen.cursor.take();
                if last.is_none() {
                    seen.bodies.truncate(seen.committed);
                }
                let headers: Vec<_> = last.iter().map(|last| ("Last-Event-ID", last.as_str())).collect();
                let mut events = Events::open(process.address, &path("stream"), &headers);
                let wanted = if was_written { 0 } else { chance.below(60) };
                for _ in 0..wanted {
                    let event = events.next().unwrap();
                    assert_eq!(event.name, None, "{event:?}");
                    seen.bodies.push(event.data["body"].as_str().unwrap().to_owned());
                }
                seen.cursor = events.last_id.clone().or(last);
            }
            if chance.below(2) == 0
                && let Some(cursor) = &seen.cursor
            {
                ok(process.address, &path("commit"), json!({ "lastCursor": cursor }));
                seen.committed = seen.bodies.len();
            }
            enough.store(RECONNECTIONS <= reconnection, Ordering::Relaxed);
            if reconnection % (RECONNECTIONS / KILLS) == 0 && reconnection <= RECONNECTIONS {
                process.kill();
                process = Process::start(&data, &[]);
                *address.lock().unwrap() = process.address;
            }
        }
    });
    process.signal("TERM");
    assert!(process.child.wait().unwrap().success());
    let log = log(&data);
    println!("{} records", log.len());
    assert!(written.into_inner() <= log.len());
    let differ = seen.bodies.iter().zip(&log).position(|(seen, kept)| seen != kept);
    assert_eq!((differ, seen.bodies.len()), (None, log.len()));
}
