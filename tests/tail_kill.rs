//! A session over two hundred streams, read over HTTP while four clients append, the server is killed and started again, and the
//! reader comes back by id or by cursor: what it read, put together, is the log.
//!
//! `TAILWATER_SEED` repeats the reader's choices.

#![cfg(feature = "cli")]

mod machine;

use std::collections::{BTreeMap, HashSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, RwLock};
use std::time::Duration;

use machine::Chance;
use serde_json::{Value, json};

const STREAMS: usize = 200;
const WRITERS: usize = 4;
const RECONNECTS: usize = 100;
const KILLS: usize = 5;
const TENANT: &str = "tenant-xyz";

/// `tailwater serve`, killed when dropped.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(data: &Path) -> Server {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tailwater"))
            .args(["--json", "--data", data.to_str().unwrap(), "serve", "--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap();
        let address = said["listening"].as_str().unwrap().strip_prefix("http://").unwrap().to_owned();
        Server { child, address }
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One request on a connection of its own: status and body. `None` where the server is not there, or did not finish its answer.
fn ask(address: &str, method: &str, path: &str, body: Option<&Value>) -> Option<(u16, Value)> {
    let body = body.map(Value::to_string).unwrap_or_default();
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(body.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let text = String::from_utf8(answer).unwrap();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length").then(|| value.parse::<usize>().unwrap())
    });
    if length.is_some_and(|length| body.len() < length) {
        return None;
    }
    let value = if body.is_empty() { Value::Null } else { serde_json::from_str(body).ok()? };
    Some((status, value))
}

/// What the writers know of their records.
#[derive(Default)]
struct Written {
    acknowledged: HashSet<String>,
    /// Sent, and the server was killed before it answered: there or not.
    uncertain: HashSet<String>,
}

#[test]
fn what_a_session_reads_across_kills_and_reconnects_is_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let server = RwLock::new(Server::start(dir.path()));
    let address = || server.read().unwrap().address.clone();
    let post = |path: &str, body: Value| {
        let (status, answer) = ask(&address(), "POST", path, Some(&body)).expect("the server answers");
        assert!(status < 300, "{path}: {status} {answer}");
        answer
    };
    let mut streams = Vec::new();
    for group in 0..STREAMS.div_ceil(100) {
        let made = post(&format!("/v2/{TENANT}/groups"), json!({ "log_group_name": format!("g{group}") }));
        let group = made["log_group_id"].as_str().unwrap().to_owned();
        for number in 0..100 {
            let path = format!("/v2/{TENANT}/groups/{group}/streams");
            let made = post(&path, json!({ "log_stream_name": format!("s{number}") }));
            streams.push((group.clone(), made["log_stream_id"].as_str().unwrap().to_owned()));
        }
    }
    let session = |cursor: Option<&str>| json!({ "tenantId": TENANT, "userUuid": "user-001-abc", "filter": "", "service": "*", "lastCursor": cursor });
    let made = post("/api/v1/logs/tail/sessions", session(None));
    let (first, start) =
        (made["id"].as_str().unwrap().to_owned(), made["lastCursor"].as_str().unwrap().to_owned());

    let written = Mutex::new(Written::default());
    let (stop, restarting) = (AtomicBool::new(false), RwLock::new(()));
    let sent = AtomicUsize::new(0);
    let mut reader = Follow {
        chance: Chance::new(),
        id: first,
        committed: start.clone(),
        last: start,
        seen: Vec::new(),
        at: BTreeMap::new(),
        next: 0,
    };
    reader.at.insert(reader.committed.clone(), 0);
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (streams, written, stop, restarting, sent, address) =
                (&streams, &written, &stop, &restarting, &sent, &address);
            scope.spawn(move || {
                for number in 0.. {
                    if stop.load(Ordering::Acquire) {
                        return;
                    }
                    // Never while the next server is not there yet, so that what is uncertain is what a kill made so.
                    let _running = restarting.read().unwrap();
                    let (group, stream) = &streams[(number * 31 + writer * 7) % STREAMS];
                    let texts: Vec<String> =
                        (0..1 + number % 3).map(|part| format!("{writer} {number} {part}")).collect();
                    let path = format!("/v2/{TENANT}/lts/groups/{group}/streams/{stream}/tenant/contents");
                    let body = json!({ "log_time_ns": 1, "contents": texts, "labels": {} });
                    match ask(&address(), "POST", &path, Some(&body)) {
                        Some((200, _)) => written.lock().unwrap().acknowledged.extend(texts),
                        Some((status, answer)) => panic!("{path}: {status} {answer}"),
                        None => written.lock().unwrap().uncertain.extend(texts),
                    }
                    sent.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for reconnect in 0..RECONNECTS {
            if reconnect % (RECONNECTS / KILLS) == RECONNECTS / KILLS / 2 {
                // In the middle of whatever is under way.
                server.write().unwrap().kill();
                let _none = restarting.write().unwrap();
                *server.write().unwrap() = Server::start(dir.path());
                reader.come_back(&address(), &session);
            } else {
                for _ in 0..reader.chance.below(4) {
                    reader.poll(&address());
                }
                reader.come_back(&address(), &session);
            }
        }
        stop.store(true, Ordering::Release);
    });
    while !reader.poll(&address()) {}
    let Written { acknowledged, uncertain } = written.into_inner().unwrap();
    println!(
        "{} requests, {} records acknowledged, {} uncertain, {} read",
        sent.into_inner(),
        acknowledged.len(),
        uncertain.len(),
        reader.seen.len()
    );
    assert!(1000 < acknowledged.len(), "the writers hardly wrote");
    let mut once = HashSet::new();
    for (_, text) in &reader.seen {
        assert!(acknowledged.contains(text) || uncertain.contains(text), "{text:?} was never written");
        assert!(once.insert(text.clone()), "{text:?} came twice");
    }
    let lost: Vec<_> = acknowledged.iter().filter(|text| !once.contains(*text)).collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
}

/// The reader: everything that it read, in order, and where in that it is.
struct Follow {
    chance: Chance,
    id: String,
    committed: String,
    /// Behind the last thing it read.
    last: String,
    /// Cursor and text of each record, once.
    seen: Vec<(String, String)>,
    /// How many of them lie before a cursor.
    at: BTreeMap<String, usize>,
    /// Which of them comes next: all, or fewer where it came back to a place before.
    next: usize,
}

impl Follow {
    /// One read, and perhaps a commit; whether nothing more was there.
    fn poll(&mut self, address: &str) -> bool {
        let limit = 1 + self.chance.below(300);
        let path = format!(
            "/api/v1/logs/tail/sessions/{}/records?tenantId={TENANT}&limit={limit}&waitMs=20",
            self.id
        );
        let (status, answer) = ask(address, "GET", &path, None).expect("the server answers");
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["gaps"], json!([]));
        for record in answer["records"].as_array().unwrap() {
            let cursor = record["cursor"].as_str().unwrap().to_owned();
            let read = (cursor, record["body"].as_str().unwrap().to_owned());
            match self.seen.get(self.next) {
                // Read before, and not committed since.
                Some(before) => assert_eq!(*before, read),
                None => {
                    assert!(self.seen.last().is_none_or(|last| last.0 < read.0), "out of order");
                    self.seen.push(read);
                }
            }
            self.next += 1;
        }
        self.last = answer["nextCursor"].as_str().unwrap().to_owned();
        self.at.insert(self.last.clone(), self.next);
        if self.chance.below(3) == 0 && self.committed <= self.last {
            let path = format!("/api/v1/logs/tail/sessions/{}/commit?tenantId={TENANT}", self.id);
            let (status, answer) = ask(address, "POST", &path, Some(&json!({ "lastCursor": self.last })))
                .expect("the server answers");
            assert_eq!(status, 200, "{answer}");
            self.committed = self.last.clone();
        }
        answer["caughtUp"] == json!(true)
    }

    /// Goes on by the session's id, at what it committed, or with a session made from the last cursor.
    fn come_back(&mut self, address: &str, session: &impl Fn(Option<&str>) -> Value) {
        if self.chance.below(2) == 0 {
            let path = format!("/api/v1/logs/tail/sessions/{}/resume?tenantId={TENANT}", self.id);
            let (status, answer) = ask(address, "POST", &path, Some(&json!({}))).expect("the server answers");
            assert_eq!(status, 200, "{answer}");
            assert_eq!(answer["lastCursor"].as_str(), Some(&*self.committed));
            self.next = self.at[&self.committed];
            return;
        }
        let path = format!("/api/v1/logs/tail/sessions/{}?tenantId={TENANT}", self.id);
        let (status, _) = ask(address, "DELETE", &path, None).expect("the server answers");
        assert_eq!(status, 204);
        let made = ask(address, "POST", "/api/v1/logs/tail/sessions", Some(&session(Some(&self.last))));
        let (status, made) = made.expect("the server answers");
        assert_eq!(status, 200, "{made}");
        assert_eq!(made["lastCursor"].as_str(), Some(&*self.last));
        self.id = made["id"].as_str().unwrap().to_owned();
        self.committed = self.last.clone();
        self.next = self.at[&self.last];
    }
}
