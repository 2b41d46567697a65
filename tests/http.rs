//! Both public APIs over a real socket: every field, every row of both tables of errors, and what a connection that breaks leaves.

#![cfg(all(feature = "cli", feature = "sim"))]

mod common;
mod served;

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::Command;
use std::thread::JoinHandle;
use std::time::Duration;

use common::*;
use serde_json::{Value, json};
use served::{Events, Process, Reply, Served, ask, send};
use tailwater::http::Auth;
use tailwater::vfs::sim::{Crash, Fault, Op};
use tailwater::*;

const TOKENS: &str = "of-p p\nof-both p,q\nof-q q\n";
const SESSIONS: &str = "/api/v1/logs/tail/sessions";

/// A client with a token of either kind.
#[derive(Clone, Copy)]
struct Client {
    address: SocketAddr,
    token: &'static str,
}

impl Client {
    fn of(served: &Served) -> Client {
        Client { address: served.address, token: "of-p" }
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> Reply {
        let bearer = format!("Bearer {}", self.token);
        let headers = [("X-Auth-Token", self.token), ("Authorization", &bearer)];
        ask(self.address, method, path, &headers, body.as_bytes())
    }

    /// What must be answered with `status`; its body.
    #[track_caller]
    fn ok(&self, method: &str, path: &str, body: Value, status: u16) -> Value {
        let reply = self.ask(method, path, &body.to_string());
        assert_eq!(reply.status, status, "{method} {path} {body}: {}", String::from_utf8_lossy(&reply.body));
        if reply.body.is_empty() { Value::Null } else { reply.json() }
    }

    #[track_caller]
    fn fails(&self, method: &str, path: &str, body: &str, status: u16, code: &str) -> Value {
        let reply = self.ask(method, path, body);
        assert_eq!(reply.error(), (status, code.to_owned()), "{method} {path} {body}: {reply:?}");
        reply.json()
    }

    #[track_caller]
    fn group(&self, name: &str) -> String {
        let made = self.ok("POST", "/v2/p/groups", json!({ "log_group_name": name }), 201);
        made["log_group_id"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    fn stream(&self, group: &str, name: &str) -> String {
        let path = format!("/v2/p/groups/{group}/streams");
        let made = self.ok("POST", &path, json!({ "log_stream_name": name }), 201);
        made["log_stream_id"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    fn write(&self, group: &str, stream: &str, contents: &[&str]) {
        let path = format!("/v2/p/lts/groups/{group}/streams/{stream}/tenant/contents");
        self.ok("POST", &path, json!({ "contents": contents }), 200);
    }

    /// A session over everything of tenant `p`; its id.
    #[track_caller]
    fn session(&self, more: Value) -> String {
        let session = self.ok("POST", SESSIONS, session_request(more), 200);
        session["id"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    fn records(&self, id: &str, query: &str) -> Value {
        self.ok("GET", &format!("{SESSIONS}/{id}/records{query}"), Value::Null, 200)
    }

    /// Has another thread read a session, waiting for as long as it may; once this returns the read is under way.
    fn wait_for_records(&self, id: &str) -> JoinHandle<Reply> {
        let (client, path) = (*self, format!("{SESSIONS}/{id}/records"));
        let waiting = std::thread::spawn({
            let path = format!("{path}?waitMs=60000");
            move || loop {
                let reply = client.ask("GET", &path, "");
                // The look below was quicker.
                if !String::from_utf8_lossy(&reply.body).contains("another read of it is under way") {
                    return reply;
                }
            }
        });
        loop {
            let reply = self.ask("GET", &path, "");
            if reply.status == 409 {
                assert_eq!(reply.error(), (409, "TAIL.0409".into()));
                return waiting;
            }
        }
    }

    fn events(&self, id: &str, last: Option<&str>) -> Events {
        let bearer = format!("Bearer {}", self.token);
        let mut headers = vec![("Authorization", &*bearer)];
        headers.extend(last.map(|last| ("Last-Event-ID", last)));
        Events::open(self.address, &format!("{SESSIONS}/{id}/stream"), &headers)
    }
}

fn session_request(more: Value) -> Value {
    let mut request = json!({ "tenantId": "p", "userUuid": "user-001-abc", "filter": "", "service": "*" });
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    request
}

/// The bodies of what a read gave.
fn bodies(read: &Value) -> Vec<&str> {
    read["records"].as_array().unwrap().iter().map(|record| record["body"].as_str().unwrap()).collect()
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

fn tokens() -> Auth {
    Auth::tokens(TOKENS).unwrap()
}

/// A server on a simulated machine.
fn on(machine: &Machine) -> (Served, Store, Client) {
    on_with(machine, Quotas::default())
}

fn on_with(machine: &Machine, quotas: Quotas) -> (Served, Store, Client) {
    let store = machine.options().quotas(quotas).open(DIR).unwrap();
    let served = Served::new(&store, tokens());
    let client = Client::of(&served);
    (served, store, client)
}

/// Lets every call of the disk fail.
fn break_disk(machine: &Machine) {
    for op in Op::ALL {
        machine.disk.fail(Fault { op, nth: 1, error: std::io::ErrorKind::Other, sticky: true });
    }
}

/// The requests of the two source texts, with host, token, ids and cursor filled in, as curl sends them.
#[test]
fn the_requests_of_the_source_texts_get_the_documented_answers() {
    let dir = tempfile::tempdir().unwrap();
    let tokens = dir.path().join("tokens");
    std::fs::write(&tokens, "t0ken tenant-xyz\n").unwrap();
    let process = Process::start(&dir.path().join("data"), &["--tokens", tokens.to_str().unwrap()]);
    let host = format!("http://{}", process.address);
    let curl = |arguments: &[&str]| -> Option<(u16, Value)> {
        let output = match Command::new("curl").args(["-sS", "-w", "\n%{http_code}"]).args(arguments).output()
        {
            Ok(output) => output,
            Err(err) => {
                let _ = writeln!(std::io::stderr(), "skipped: no curl here ({err})");
                return None;
            }
        };
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, status) = text.rsplit_once('\n').unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        Some((
            status.parse().unwrap(),
            serde_json::from_str(body).unwrap_or_else(|_| panic!("{body} {said}")),
        ))
    };
    let groups = format!("{host}/v2/tenant-xyz/groups");
    let group = r#"{"log_group_name":"lts-group-01nh"}"#;
    let Some((_, made)) = curl(&["-X", "POST", &groups, "-H", "X-Auth-Token: t0ken", "-d", group]) else {
        return;
    };
    let streams = format!("{groups}/{}/streams", made["log_group_id"].as_str().unwrap());
    let (status, made) = curl(&[
        "-X",
        "POST",
        &streams,
        "-H",
        "X-Auth-Token: t0ken",
        "-H",
        "Content-Type: application/json;charset=UTF-8",
        "-d",
        "{\n  \"log_stream_name\": \"lts-stream-02kh\"\n}",
    ])
    .unwrap();
    assert_eq!((status, keys(&made)), (201, vec!["log_stream_id"]));
    assert_eq!(made["log_stream_id"].as_str().unwrap().len(), 36);

    let tail = |cursor: &str| {
        let body = json!({
            "tenantId": "tenant-xyz",
            "userUuid": "user-001-abc",
            "filter": "level=error",
            "service": "auth-service",
            "lastCursor": cursor,
        });
        curl(&[
            "-X",
            "POST",
            &format!("{host}{SESSIONS}"),
            "-H",
            "Authorization: Bearer t0ken",
            "-H",
            "Content-Type: application/json",
            "-d",
            &body.to_string(),
        ])
        .unwrap()
    };
    let (status, session) = tail("");
    assert_eq!(status, 200);
    let real = session["lastCursor"].as_str().unwrap();
    let (status, session) = tail(real);
    assert_eq!(status, 200);
    let fields = ["id", "tenantId", "userUuid", "filter", "service", "lastCursor", "createdAt", "active"];
    assert_eq!(keys(&session), fields);
    assert_eq!(session["tenantId"], "tenant-xyz");
    assert_eq!(session["userUuid"], "user-001-abc");
    assert_eq!(session["filter"], "level=error");
    assert_eq!(session["service"], "auth-service");
    assert_eq!(session["lastCursor"], real);
    assert_eq!(session["active"], true);
    let created = session["createdAt"].as_str().unwrap();
    assert!(created.len() == "2026-01-15T08:00:00Z".len() && created.ends_with('Z'), "{created}");
    // The text's own cursor is none.
    let (status, error) = tail("cursor-0000001");
    assert_eq!((status, &error["error_code"]), (400, &json!("TAIL.0402")));
    assert!(error["error_msg"].as_str().unwrap().contains("lastCursor"), "{error}");
}

#[test]
fn every_row_of_the_log_streams_table_is_produced() {
    let machine = Machine::new();
    let quotas = Quotas { groups_per_tenant: 2, streams_per_group: 1, ..Quotas::default() };
    let (_served, _store, client) = on_with(&machine, quotas);
    let group = client.group("g");
    let streams = format!("/v2/p/groups/{group}/streams");
    let unknown = "11111111-2222-4333-8444-555555555555";
    client.fails("POST", &streams, "{", 400, "LTS.0007");
    client.fails("POST", &streams, "{}", 400, "LTS.0009");
    client.fails("POST", "/v2/p/groups", r#"{"log_group_name":"g"}"#, 400, "LTS.0101");
    client.group("h");
    client.fails("POST", "/v2/p/groups", r#"{"log_group_name":"i"}"#, 400, "LTS.0104");
    let named = r#"{"log_stream_name":"s"}"#;
    client.fails("POST", &format!("/v2/p/groups/{unknown}/streams"), named, 400, "LTS.0201");
    client.fails("GET", "/v2/p/groups/not-an-id/streams", "", 400, "LTS.0201");
    client.stream(&group, "s");
    client.fails("POST", &streams, named, 400, "LTS.0205");
    client.fails("POST", &streams, r#"{"log_stream_name":"t"}"#, 400, "LTS.0206");
    client.fails("DELETE", &format!("{streams}/{unknown}"), "", 400, "LTS.0208");
    // The group that the path names counts, not just any of the tenant's.
    let stranger = Client { token: "none", ..client };
    stranger.fails("POST", &streams, named, 401, "LTS.0003");
    Client { token: "of-q", ..client }.fails("POST", &streams, named, 403, "LTS.0001");
    let other = Client { token: "of-both", ..client };
    other.fails("GET", &format!("/v2/q/groups/{group}/streams"), "", 400, "LTS.0201");

    // What the disk refuses, each on a machine of its own.
    let refused = |method: &str, path: &str, body: &str, code: &str| {
        let machine = Machine::new();
        let (_served, _store, client) = on(&machine);
        let group = client.group("g");
        let stream = client.stream(&group, "s");
        break_disk(&machine);
        let path = path.replace("GROUP", &group).replace("STREAM", &stream);
        let said = client.fails(method, &path, body, 500, code);
        assert!(!said["error_msg"].as_str().unwrap().contains(DIR), "{said}");
        machine.disk.clear_faults();
    };
    refused("POST", "/v2/p/groups", r#"{"log_group_name":"h"}"#, "LTS.0102");
    refused("DELETE", "/v2/p/groups/GROUP", "", "LTS.0103");
    refused("POST", "/v2/p/groups/GROUP", r#"{"ttl_in_days":3}"#, "LTS.0107");
    refused("POST", "/v2/p/groups/GROUP/streams", r#"{"log_stream_name":"t"}"#, "LTS.0202");
    refused("DELETE", "/v2/p/groups/GROUP/streams/STREAM", "", "LTS.0203");
    refused("PUT", "/v2/p/groups/GROUP/streams-ttl/STREAM", r#"{"ttl_in_days":3}"#, "LTS.0204");
    let write = "/v2/p/lts/groups/GROUP/streams/STREAM/tenant/contents";
    refused("POST", write, r#"{"contents":["x"]}"#, "LTS.0010");
}

#[test]
fn a_full_disk_refuses_a_stream_and_takes_it_once_there_is_room() {
    let machine = Machine::new();
    let (_served, _store, client) = on(&machine);
    let group = client.group("g");
    let streams = format!("/v2/p/groups/{group}/streams");
    machine.disk.set_capacity(machine.disk.used());
    // Names are short, and the last page of a file has room for some.
    let refused = (0..1000).find_map(|number| {
        let reply =
            client.ask("POST", &streams, &json!({ "log_stream_name": format!("s{number}") }).to_string());
        (reply.status != 201).then_some((number, reply))
    });
    let (number, reply) = refused.expect("a full disk refuses at some time");
    if reply.error() == (400, "LTS.0206".into()) {
        // The quota came first.
        return;
    }
    assert_eq!(reply.error(), (500, "LTS.0202".into()));
    machine.disk.set_capacity(u64::MAX);
    client.stream(&group, &format!("s{number}"));
}

#[test]
fn what_is_checked_first_is_answered_first() {
    let machine = Machine::new();
    let quotas = Quotas { streams_per_group: 1, ..Quotas::default() };
    let (_served, _store, client) = on_with(&machine, quotas);
    let group = client.group("g");
    client.stream(&group, "s");
    let unknown = "11111111-2222-4333-8444-555555555555";
    let check = |token, project: &str, group: &str, body: &str, status, code| {
        let path = format!("/v2/{project}/groups/{group}/streams");
        Client { token, ..client }.fails("POST", &path, body, status, code);
    };
    // Each request has everything wrong that the ones after it have.
    check("none", "a%20b", unknown, "{", 401, "LTS.0003");
    check("of-p", "a%20b", unknown, "{", 403, "LTS.0001");
    check("of-p", "%ff", unknown, "{", 403, "LTS.0001");
    check("of-p", "q", unknown, "{", 403, "LTS.0001");
    check("of-p", "p", unknown, "{", 400, "LTS.0201");
    check("of-p", "p", &group, "{", 400, "LTS.0007");
    check("of-p", "p", &group, r#"{"log_stream_name":"s","ttl_in_days":0}"#, 400, "LTS.0009");
    check("of-p", "p", &group, r#"{"log_stream_name":"s"}"#, 400, "LTS.0205");
    check("of-p", "p", &group, r#"{"log_stream_name":"t"}"#, 400, "LTS.0206");

    let tail = |token, body: &str, status, code| {
        Client { token, ..client }.fails("POST", SESSIONS, body, status, code);
    };
    tail("none", "{", 401, "TAIL.0003");
    tail("of-p", "{", 400, "TAIL.0400");
    tail("of-p", &session_request(json!({ "tenantId": "q", "service": 7 })).to_string(), 400, "TAIL.0400");
    tail("of-p", &session_request(json!({ "tenantId": "q" })).to_string(), 403, "TAIL.0001");
    let elsewhere = json!({ "streams": [unknown] });
    tail("of-p", &session_request(elsewhere).to_string(), 400, "TAIL.0400");
}

#[test]
fn every_row_of_the_tail_sessions_table_but_those_of_lost_records_is_produced() {
    let machine = Machine::new();
    let quotas = Quotas { sessions_per_tenant: 5, sessions_per_user: 2, ..Quotas::default() };
    let (_served, store, client) = on_with(&machine, quotas);
    let group = client.group("g");
    let (first, second) = (client.stream(&group, "a"), client.stream(&group, "b"));
    let tail = |more: Value, status, code| {
        client.fails("POST", SESSIONS, &session_request(more).to_string(), status, code)
    };
    tail(json!({ "service": null }), 400, "TAIL.0400");
    let said = tail(json!({ "filter": "level=" }), 400, "TAIL.0401");
    println!("{said}");
    tail(json!({ "lastCursor": "cursor-0000001" }), 400, "TAIL.0402");
    // The cursor of a stream outside the session.
    let of_second = {
        let tenant = store.tenant(&TenantId::new("p").unwrap());
        let stream = tenant.stream(group.parse().unwrap(), second.parse().unwrap()).unwrap();
        stream.append(&Record::new("1")).unwrap().cursor().to_string()
    };
    tail(json!({ "lastCursor": of_second, "streams": [first] }), 400, "TAIL.0403");
    Client { token: "none", ..client }.fails("GET", SESSIONS, "", 401, "TAIL.0003");
    Client { token: "of-q", ..client }.fails("GET", &format!("{SESSIONS}?tenantId=p"), "", 403, "TAIL.0001");

    let id = client.session(json!({ "lastCursor": of_second }));
    let path = |rest: &str| format!("{SESSIONS}/{id}{rest}");
    client.fails("GET", &format!("{SESSIONS}/11111111-2222-4333-8444-555555555555"), "", 404, "TAIL.0404");
    client.fails("GET", &format!("{SESSIONS}/session-abc-001"), "", 404, "TAIL.0404");
    // Another tenant's looks the same, to each of the calls.
    let stranger = Client { token: "of-q", ..client };
    let commit =
        json!({ "lastCursor": client.ok("GET", &path(""), Value::Null, 200)["lastCursor"] }).to_string();
    for (method, rest) in [
        ("GET", ""),
        ("DELETE", ""),
        ("GET", "/records"),
        ("POST", "/commit"),
        ("POST", "/resume"),
        ("GET", "/stream"),
    ] {
        stranger.fails(method, &path(rest), &commit, 404, "TAIL.0404");
    }
    // The quota of the user, then that of the tenant.
    client.session(json!({}));
    let said = tail(json!({}), 429, "TAIL.0429");
    assert!(said["error_msg"].as_str().unwrap().contains("user"), "{said}");
    let others = json!({ "userUuid": "user-002" });
    client.session(others.clone());
    client.session(others);
    client.session(json!({ "userUuid": "user-003" }));
    let said = tail(json!({ "userUuid": "user-003" }), 429, "TAIL.0429");
    assert!(said["error_msg"].as_str().unwrap().contains("tenant"), "{said}");
    // Commits go forwards only.
    let cursor_before = commit;
    client.write(&group, &first, &["2"]);
    let read = client.records(&id, "");
    assert_eq!(bodies(&read), ["2"]);
    let behind = json!({ "lastCursor": read["nextCursor"] });
    let committed = client.ok("POST", &path("/commit"), behind.clone(), 200);
    assert_eq!(committed["lastCursor"], read["nextCursor"]);
    client.ok("POST", &path("/commit"), behind, 200);
    client.fails("POST", &path("/commit"), &cursor_before, 409, "TAIL.0409");
    client.fails("POST", &path("/commit"), "{}", 400, "TAIL.0400");
    client.fails("POST", &path("/commit"), &json!({ "lastCursor": of_second }).to_string(), 400, "TAIL.0402");
    for query in ["?limit=0", "?limit=5001", "?limit=x", "?waitMs=60001", "?waitMs=-1"] {
        client.fails("GET", &path(&format!("/records{query}")), "", 400, "TAIL.0400");
    }
    // Closed is closed, and said so.
    client.ok("DELETE", &path(""), Value::Null, 204);
    client.ok("DELETE", &path(""), Value::Null, 204);
    assert_eq!(client.ok("GET", &path(""), Value::Null, 200)["active"], false);
    client.fails("GET", &path("/records"), "", 409, "TAIL.0409");
    client.fails("GET", &path("/stream"), "", 409, "TAIL.0409");
    client.fails("POST", &path("/resume"), "", 409, "TAIL.0409");
    // The disk, and then the store.
    break_disk(&machine);
    let more = json!({ "userUuid": "user-004" });
    let said = tail(more.clone(), 500, "TAIL.0500");
    assert!(!said["error_msg"].as_str().unwrap().contains(DIR), "{said}");
    machine.disk.clear_faults();
    let _ = store.close();
    tail(more, 503, "TAIL.0503");
    client.fails("GET", "/healthz", "", 503, "TAIL.0503");
}

#[test]
fn an_expired_cursor_is_a_gap_or_refused_with_the_oldest_that_holds() {
    let machine = Machine::new();
    let (_served, store, client) = on(&machine);
    let group = client.group("g");
    let path = format!("/v2/p/groups/{group}/streams");
    let made = client.ok("POST", &path, json!({ "log_stream_name": "a", "ttl_in_days": 1 }), 201);
    let stream = made["log_stream_id"].as_str().unwrap();
    let id = client.session(json!({}));
    client.write(&group, stream, &["0"]);
    let from = client.records(&id, "")["nextCursor"].clone();
    client.write(&group, stream, &["1", "2"]);
    machine.clock.advance(2 * DAY);
    store.tick().unwrap();
    client.write(&group, stream, &["3"]);
    let refuse = session_request(json!({ "lastCursor": from, "onExpired": "refuse" }));
    let said = client.fails("POST", SESSIONS, &refuse.to_string(), 410, "TAIL.0410");
    assert!(0 < said["skippedBytes"].as_u64().unwrap(), "{said}");
    let again = client.session(json!({ "lastCursor": said["oldestCursor"], "onExpired": "refuse" }));
    assert_eq!(bodies(&client.records(&again, "")), ["3"]);
    let id = client.session(json!({ "lastCursor": from }));
    let read = client.records(&id, "");
    assert_eq!(bodies(&read), ["3"]);
    let gap = &read["gaps"][0];
    assert_eq!(keys(gap), ["cursor", "stream", "start", "end", "bytes", "reason", "before"]);
    assert_eq!(
        (&gap["reason"], &gap["before"], &gap["stream"]),
        (&json!("expired"), &json!(0), &json!(stream))
    );
    // As events: the gap in its place.
    let mut events = client.events(&id, from.as_str());
    let gap = events.next().unwrap();
    assert_eq!((gap.name.as_deref(), &gap.data["reason"]), (Some("gap"), &json!("expired")));
    assert_eq!(gap.data["cursor"], gap.id.unwrap());
    assert_eq!(events.next().unwrap().data["body"], "3");
}

#[test]
fn a_cursor_beyond_what_a_power_loss_kept_diverges_with_a_safe_one() {
    let machine = Machine::new();
    let (served, store, client) = on(&machine);
    let group = client.group("g");
    let stream = client.stream(&group, "a");
    let tenant = TenantId::new("p").unwrap();
    let engine = store.tenant(&tenant).stream(group.parse().unwrap(), stream.parse().unwrap()).unwrap();
    let id = client.session(json!({}));
    engine.append_with(&Record::new("kept"), Durability::Sync).unwrap();
    machine.clock.advance(Duration::from_secs(60));
    engine.append_with(&Record::new("lost"), Durability::Buffered).unwrap();
    let read = client.records(&id, "");
    assert_eq!(bodies(&read), ["kept", "lost"]);
    machine.crash(Crash::DropUnsynced);
    drop((served, engine, store));
    machine.clock.advance(Duration::from_secs(60));
    let (_served, _store, client) = on(&machine);
    client.write(&group, &stream, &["new"]);
    let lost = session_request(json!({ "lastCursor": read["nextCursor"] })).to_string();
    let said = client.fails("POST", SESSIONS, &lost, 409, "TAIL.0411");
    let id = client.session(json!({ "lastCursor": said["safeCursor"] }));
    assert_eq!(bodies(&client.records(&id, "")), ["new"]);
}

#[test]
fn a_cursor_of_a_copy_that_went_further_is_ahead() {
    let machine = Machine::new();
    let (mut served, _store, client) = on(&machine);
    let group = client.group("g");
    let stream = client.stream(&group, "a");
    client.write(&group, &stream, &["1"]);
    served.join();
    let copy = machine.disk.fork_crashed(Crash::KeepAll);
    let further = {
        let store = machine.options().open(DIR).unwrap();
        let tenant = store.tenant(&TenantId::new("p").unwrap());
        let stream = tenant.stream(group.parse().unwrap(), stream.parse().unwrap()).unwrap();
        stream.append(&Record::new("2")).unwrap().cursor()
    };
    let store = machine.options_on(&copy).open(DIR).unwrap();
    let served = Served::new(&store, tokens());
    let request = session_request(json!({ "lastCursor": further })).to_string();
    Client::of(&served).fails("POST", SESSIONS, &request, 416, "TAIL.0416");
}

#[test]
fn logs_written_come_back_by_query_and_by_session_as_they_were() {
    let machine = Machine::new();
    let (_served, store, client) = on(&machine);
    let group = client.group("g");
    let stream = client.stream(&group, "a");
    let id = client.session(json!({ "service": "front", "filter": "" }));
    let write = format!("/v2/p/lts/groups/{group}/streams/{stream}/tenant/contents");
    let labels = json!({ "level": "error", "service": "front", "host": "h1" });
    let body =
        json!({ "log_time_ns": "1700000000000000001", "contents": ["one", "t\u{fc}"], "labels": labels });
    client.ok("POST", &write, body, 200);
    let precise = json!([{ "log_time_ns": 5, "log": "three" }, { "log_time_ns": 6, "log": "four" }]);
    let body = json!({ "contents": precise, "labels": { "service": "back" } });
    client.ok("POST", &format!("{write}/high-accuracy"), body, 200);
    let query = format!("/v2/p/groups/{group}/streams/{stream}/content/query");
    let end = BIRTH / 1_000_000 + 60_000;
    let page = client.ok("POST", &query, json!({ "start_time": "0", "end_time": end, "limit": 3 }), 200);
    assert_eq!(keys(&page), ["count", "logs", "isQueryComplete"]);
    assert_eq!((&page["count"], &page["isQueryComplete"]), (&json!(3), &json!(false)));
    assert_eq!(keys(&page["logs"][0]), ["content", "line_num", "labels"]);
    assert_eq!(page["logs"][0]["labels"], labels);
    let last = &page["logs"][2]["line_num"];
    let more = json!({ "start_time": 0, "end_time": end, "line_num": last, "search_type": "forwards" });
    let page = client.ok("POST", &query, more, 200);
    assert_eq!((&page["count"], &page["logs"][0]["content"]), (&json!(1), &json!("four")));

    // Bytes that are no text come through the other way.
    let tenant = store.tenant(&TenantId::new("p").unwrap());
    let engine = tenant.stream(group.parse().unwrap(), stream.parse().unwrap()).unwrap();
    let record = Record::new(b"\xff\x00").service("front").attributes(&[("k", "1"), ("j", "2"), ("k", "3")]);
    engine.append(&record).unwrap();
    let reply = client.ask("GET", &format!("{SESSIONS}/{id}/records"), "");
    let read = reply.json();
    assert_eq!(keys(&read), ["records", "gaps", "nextCursor", "caughtUp"]);
    let records = read["records"].as_array().unwrap();
    assert_eq!(records.len(), 3, "{read}");
    let fields = ["cursor", "stream", "ingestTime", "eventTime", "level", "service", "attributes"];
    assert_eq!(keys(&records[1]), [&fields[..], &["body"]].concat());
    assert_eq!(keys(&records[2]), [&fields[..], &["bodyBase64"]].concat());
    assert_eq!(records[0]["eventTime"], "2023-11-14T22:13:20.000000001Z");
    assert_eq!((&records[1]["body"], &records[1]["level"]), (&json!("t\u{fc}"), &json!("error")));
    assert_eq!((&records[2]["bodyBase64"], &records[2]["eventTime"]), (&json!("/wA="), &Value::Null));
    let text = String::from_utf8(reply.body).unwrap();
    assert!(text.contains(r#""attributes":{"k":"1","j":"2","k":"3"}"#), "{text}");
    assert_eq!((&read["caughtUp"], &read["nextCursor"]), (&json!(true), &records[2]["cursor"]));
}

#[test]
fn a_read_that_waits_is_answered_by_a_write_and_by_nothing_when_its_time_is_over() {
    let machine = Machine::new();
    let (_served, _store, client) = on(&machine);
    let group = client.group("g");
    let stream = client.stream(&group, "a");
    let id = client.session(json!({ "filter": "" }));
    let none = client.records(&id, "?waitMs=20");
    assert_eq!((bodies(&none).len(), &none["caughtUp"]), (0, &json!(true)));
    let waiting = client.wait_for_records(&id);
    client.write(&group, &stream, &["1"]);
    assert_eq!(bodies(&waiting.join().unwrap().json()), ["1"]);
    // A resume gives back what was read and not committed, and ends who still waits.
    let waiting = client.wait_for_records(&id);
    client.ok("POST", &format!("{SESSIONS}/{id}/resume"), json!({}), 200);
    assert_eq!(waiting.join().unwrap().error(), (409, "TAIL.0409".into()));
    let read = client.records(&id, "");
    assert_eq!(bodies(&read), ["1"]);
    let resume = json!({ "lastCursor": read["nextCursor"] });
    let session = client.ok("POST", &format!("{SESSIONS}/{id}/resume"), resume, 200);
    assert_ne!(session["lastCursor"], read["nextCursor"], "a resume commits nothing");
    assert!(bodies(&client.records(&id, "")).is_empty());
}

#[test]
fn events_that_are_cut_anywhere_go_on_without_loss_or_repetition() {
    const RECORDS: usize = 1500;
    let machine = Machine::new();
    let (_served, store, client) = on(&machine);
    let group = client.group("g");
    let tenant = store.tenant(&TenantId::new("p").unwrap());
    let streams = ["a", "b", "c"].map(|name| {
        let id = client.stream(&group, name);
        tenant.stream(group.parse().unwrap(), id.parse().unwrap()).unwrap()
    });
    let id = client.session(json!({ "filter": "body!~skipped" }));
    let clock = machine.clock.clone();
    let writer = std::thread::spawn(move || {
        for number in 0..RECORDS {
            clock.advance(Duration::from_millis(3));
            streams[number % 3].append(&Record::new(&number.to_string())).unwrap();
            streams[number % 3].append(&Record::new("skipped")).unwrap();
        }
    });
    let (mut seen, mut last, mut cut) = (Vec::new(), None::<String>, 1);
    while seen.len() < RECORDS {
        let mut events = client.events(&id, last.as_deref());
        for _ in 0..cut.min(RECORDS - seen.len()) {
            let event = events.next().unwrap();
            assert_eq!(event.name, None);
            assert_eq!(event.data["cursor"], event.id.clone().unwrap());
            last = event.id;
            let body = event.data["body"].as_str().unwrap().to_owned();
            if body != "skipped" {
                seen.push(body.parse::<usize>().unwrap());
            }
        }
        // Lengths of every kind, without a pattern that fits the chunks.
        cut = cut * 7 % 211;
    }
    writer.join().unwrap();
    assert_eq!(seen, (0..RECORDS).collect::<Vec<_>>());
    // Nothing was committed that the client did not commit; and without an id it begins there.
    let first = client.events(&id, None).next().unwrap();
    assert_eq!(first.data["body"], "0");
    // The parameter does what the header does.
    let path = format!("{SESSIONS}/{id}/stream?lastEventId={}", first.id.unwrap());
    let mut events = Events::open(client.address, &path, &[("Authorization", "Bearer of-p")]);
    let next = std::iter::from_fn(|| events.next()).find(|event| event.data["body"] != "skipped").unwrap();
    assert_eq!(next.data["body"], "1");
}

#[test]
fn a_newer_stream_of_events_takes_over_and_closing_the_session_ends_it() {
    let machine = Machine::new();
    let (_served, _store, client) = on(&machine);
    let group = client.group("g");
    let stream = client.stream(&group, "a");
    let id = client.session(json!({}));
    let mut older = client.events(&id, None);
    let mut newer = client.events(&id, None);
    let last = older.next().unwrap();
    assert_eq!((last.name.as_deref(), &last.data["error_code"]), (Some("failed"), &json!("TAIL.0409")));
    assert_eq!(older.next(), None);
    client.fails("GET", &format!("{SESSIONS}/{id}/records"), "", 409, "TAIL.0409");
    client.write(&group, &stream, &["1"]);
    assert_eq!(newer.next().unwrap().data["body"], "1");
    client.ok("DELETE", &format!("{SESSIONS}/{id}"), Value::Null, 204);
    assert_eq!(newer.next().unwrap().name.as_deref(), Some("failed"));
    assert_eq!(newer.next(), None);
}

#[test]
fn a_token_opens_what_it_owns_in_the_header_of_its_api_and_nothing_else() {
    let machine = Machine::new();
    let (_served, _store, client) = on(&machine);
    client.group("g");
    let check = |headers: &[(&str, &str)], path: &str, expected: u16| {
        let reply = ask(client.address, "GET", path, headers, b"");
        assert_eq!(reply.status, expected, "{headers:?} {path}");
        if expected != 200 {
            reply.error();
        }
        reply
    };
    for (token, of_p, of_q) in [
        ("of-p", 200, 403),
        ("of-q", 403, 200),
        ("of-both", 200, 200),
        ("OF-P", 401, 401),
        ("of-", 401, 401),
        ("", 401, 401),
    ] {
        let bearer = format!("Bearer {token}");
        for (tenant, expected) in [("p", of_p), ("q", of_q)] {
            check(&[("X-Auth-Token", token)], &format!("/v2/{tenant}/groups"), expected);
            check(&[("Authorization", &bearer)], &format!("{SESSIONS}?tenantId={tenant}"), expected);
            // The other API's header opens nothing.
            check(&[("Authorization", &bearer)], &format!("/v2/{tenant}/groups"), 401);
            check(&[("X-Auth-Token", token)], &format!("{SESSIONS}?tenantId={tenant}"), 401);
        }
    }
    // Without a tenant: the token's only one, and none where there are several.
    check(&[("Authorization", "Bearer of-p")], SESSIONS, 200);
    check(&[("Authorization", "Bearer of-both")], SESSIONS, 400);
    let id = client.session(json!({}));
    check(&[("Authorization", "Bearer of-both")], &format!("{SESSIONS}/{id}"), 200);
    check(&[("Authorization", "Bearer of-both")], &format!("{SESSIONS}/{id}?tenantId=q"), 404);
    check(&[("Authorization", "Bearer of-p")], &format!("{SESSIONS}/{id}?tenantId=q"), 403);
    let refused = check(&[("Authorization", "Basic b2YtcA==")], SESSIONS, 401);
    assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
    // Figures are for whoever has a token; whether it lives, and how to talk to it, is for everybody.
    check(&[], "/metrics", 401);
    check(&[("Authorization", "Bearer of-q")], "/metrics", 200);
    check(&[("X-Auth-Token", "of-q")], "/metrics", 200);
    for path in ["/healthz", "/openapi.json", "/"] {
        check(&[], path, 200);
    }
}

#[test]
fn with_open_access_everybody_owns_every_tenant_and_only_this_machine_is_answered() {
    let machine = Machine::new();
    let store = machine.options().open(DIR).unwrap();
    let served = Served::new(&store, Auth::open());
    let ask = |method: &str, path: &str, headers: &[(&str, &str)], body: Value| {
        ask(served.address, method, path, headers, body.to_string().as_bytes())
    };
    let made = ask("POST", "/v2/anybody/groups", &[], json!({ "log_group_name": "g" }));
    assert_eq!(made.status, 201);
    let made = ask("POST", SESSIONS, &[], session_request(json!({ "tenantId": "new" })));
    assert_eq!(made.status, 200);
    let id = made.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(ask("GET", &format!("{SESSIONS}/{id}"), &[], Value::Null).status, 200);
    assert_eq!(
        ask("GET", &format!("{SESSIONS}?tenantId=new"), &[], Value::Null).json()["sessions"][0]["id"],
        id
    );
    let origin = format!("http://{}", served.address);
    assert_eq!(ask("GET", "/healthz", &[("Origin", &origin)], Value::Null).status, 200);
    let foreign =
        ask("POST", "/v2/p/groups", &[("Origin", "https://pages.example")], json!({ "log_group_name": "h" }));
    assert_eq!(foreign.error(), (403, "LTS.0001".into()));
}

#[test]
fn without_tokens_other_machines_addresses_are_refused_and_loopback_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    for address in ["0.0.0.0:0", "[::]:0"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tailwater"));
        let output = command.args(["serve", "--listen", address, "--data"]).arg(&data).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.starts_with("error: listen: ") && said.contains("tokens"), "{said}");
    }
    assert!(!data.exists(), "what is refused makes no store");
    let mut process = Process::start(&data, &[]);
    assert_eq!(ask(process.address, "GET", "/healthz", &[], b"").status, 200);
    process.signal("TERM");
    let mut said = String::new();
    process.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(process.child.wait().unwrap().success());
    assert!(said.starts_with("note: ") && said.contains("--tokens"), "{said}");
}

#[test]
fn a_signal_ends_what_waits_and_keeps_what_was_committed_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut process = Process::start(&data, &[]);
    let client = Client { address: process.address, token: "any" };
    let group = client.group("g");
    let stream = client.stream(&group, "a");
    let (followed, polled) = (client.session(json!({})), client.session(json!({})));
    client.write(&group, &stream, &["1", "2", "3"]);
    let mut events = client.events(&followed, None);
    let first = events.next().unwrap();
    let commit = json!({ "lastCursor": first.id });
    client.ok("POST", &format!("{SESSIONS}/{followed}/commit"), commit, 200);
    assert_eq!(events.next().unwrap().data["body"], "2");
    assert_eq!(bodies(&client.records(&polled, "")).len(), 3);
    let waiting = client.wait_for_records(&polled);
    process.signal("INT");
    assert_eq!(waiting.join().unwrap().error(), (503, "TAIL.0503".into()));
    while events.next().is_some() {}
    assert!(process.child.wait().unwrap().success());

    let process = Process::start(&data, &[]);
    let client = Client { address: process.address, token: "any" };
    // It was let go of with the process, and is open again once it is read.
    let path = format!("{SESSIONS}/{followed}");
    assert_eq!(client.ok("GET", &path, Value::Null, 200)["active"], false);
    assert_eq!(bodies(&client.records(&followed, "")), ["2", "3"]);
    assert_eq!(client.ok("GET", &path, Value::Null, 200)["active"], true);
    assert_eq!(bodies(&client.records(&polled, "")), ["1", "2", "3"]);
}

#[test]
fn what_is_not_there_is_said_in_the_shape_of_every_error() {
    let machine = Machine::new();
    let (_served, _store, client) = on(&machine);
    client.fails("GET", "/v2/p", "", 404, "LTS.0010");
    client.fails("GET", "/v1/p/groups", "", 404, "LTS.0010");
    client.fails("GET", "/api/v1/logs/tail", "", 404, "TAIL.0404");
    let reply = client.ask("PATCH", SESSIONS, "");
    assert_eq!(reply.error(), (405, "TAIL.0400".into()));
    assert!(reply.header("allow").is_some_and(|allow| allow.contains("POST")), "{reply:?}");
    client.fails("PUT", "/v2/p/groups", "", 405, "LTS.0010");
}

#[test]
fn every_route_of_the_document_is_served() {
    let machine = Machine::new();
    let (_served, _store, client) = on(&machine);
    let document = client.ok("GET", "/openapi.json", Value::Null, 200);
    let mut routes = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let path = path
                .replace("{project_id}", "p")
                .replace("{log_group_id}", "g")
                .replace("{log_stream_id}", "s")
                .replace("{id}", "i");
            let reply = client.ask(&method.to_uppercase(), &path, "");
            let said = String::from_utf8_lossy(&reply.body);
            assert!(
                reply.status != 405 && !said.contains("there is nothing here"),
                "{method} {path}: {said}"
            );
            routes += 1;
        }
    }
    assert!(20 < routes);
}

#[test]
fn what_is_too_large_is_refused_and_the_largest_write_is_not() {
    let machine = Machine::new();
    let (_served, _store, client) = on(&machine);
    let group = client.group("g");
    let stream = client.stream(&group, "a");
    let large = format!("{{\"log_stream_name\":\"{}\"}}", "x".repeat(2 << 20));
    client.fails("POST", &format!("/v2/p/groups/{group}/streams"), &large, 413, "LTS.0009");
    client.fails("POST", SESSIONS, &large, 413, "TAIL.0400");
    // One record of the largest size, in the widest way to write it.
    let write = format!("/v2/p/lts/groups/{group}/streams/{stream}/tenant/contents");
    let content = "\\u0000".repeat(MAX_BODY);
    let reply = client.ask("POST", &write, &format!("{{\"contents\":[\"{content}\"]}}"));
    assert_eq!(reply.status, 200, "{:?}", String::from_utf8_lossy(&reply.body));
    let content = "x".repeat(MAX_BODY + 1);
    client.fails("POST", &write, &format!("{{\"contents\":[\"{content}\"]}}"), 400, "LTS.0009");
    let mut refused = send(client.address, "GET", "/healthz", &[("X-Long", &"x".repeat(200 << 10))], b"");
    let mut answer = String::new();
    // The connection ends while there is more to come, and the answer may be lost with it.
    let _ = refused.read_to_string(&mut answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[test]
fn a_connection_that_says_nothing_holds_nobody_else_up_nor_the_end() {
    let machine = Machine::new();
    let (mut served, _store, client) = on(&machine);
    let silent: Vec<_> = (0..20).map(|_| std::net::TcpStream::connect(client.address).unwrap()).collect();
    let begun = send(client.address, "GET", "/healthz", &[("Expect", "nothing")], b"");
    assert_eq!(client.ask("GET", "/healthz", "").status, 200);
    served.join();
    drop((silent, begun));
}

#[test]
fn the_page_runs_what_is_in_it_and_nothing_else() {
    let machine = Machine::new();
    let (_served, _store, client) = on(&machine);
    let nonce = || {
        let reply = client.ask("GET", "/", "");
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(reply.header("referrer-policy"), Some("no-referrer"));
        let policy = reply.header("content-security-policy").unwrap().to_owned();
        for part in ["default-src 'none'", "connect-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"]
        {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        let nonce = policy.split_once("style-src 'nonce-").unwrap().1.split_once('\'').unwrap().0.to_owned();
        let page = String::from_utf8(reply.body).unwrap();
        assert!(page.contains(&format!("nonce=\"{nonce}\"")) && !page.contains("__NONCE__"));
        nonce
    };
    assert_ne!(nonce(), nonce());
}

#[test]
fn figures_are_counted() {
    let machine = Machine::new();
    let (_served, _store, client) = on(&machine);
    let group = client.group("g");
    let stream = client.stream(&group, "a");
    client.write(&group, &stream, &["1", "2"]);
    client.session(json!({}));
    client.fails("GET", "/v2/q/groups", "", 403, "LTS.0001");
    let reply = client.ask("GET", "/metrics", "");
    assert!(reply.header("content-type").unwrap().starts_with("text/plain"));
    let text = String::from_utf8(reply.body).unwrap();
    for line in [
        "tailwater_streams 1",
        "tailwater_records 2",
        "tailwater_segments 1",
        "tailwater_poisoned_streams 0",
        "tailwater_sessions{state=\"open\"} 1",
        "tailwater_http_requests_total{method=\"GET\",route=\"/v2/{project_id}/groups\",status=\"403\"} 1",
        "tailwater_http_requests_total{method=\"POST\",route=\"/v2/{project_id}/groups\",status=\"201\"} 1",
    ] {
        assert!(text.lines().any(|other| other == line), "{line} is not in\n{text}");
    }
    // Nobody learns a tenant's names here.
    assert!(!text.contains(&group) && !text.contains(&stream));
}
