//! What the tests over HTTP share: a server in this process or the binary's, and a client that says what it means byte for byte.

// Every test file is a crate of its own and uses its part of this.
#![allow(dead_code)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;
use tailwater::Store;
use tailwater::http::{self, Auth};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// How long anything may take that does come at last.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A server in this process; it ends, and closes its store, when dropped.
pub struct Served {
    pub address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Served {
    pub fn new(store: &Store, auth: Auth) -> Served {
        let (store, (stop, stopped)) = (store.clone(), oneshot::channel());
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                tell.send(listener.local_addr().unwrap()).unwrap();
                let stopped = async { drop(stopped.await) };
                // A store whose disk was made to fail cannot close well.
                let _ = http::serve(listener, store, auth, |_| {}, stopped).await;
            });
        });
        Served { address: told.recv().unwrap(), stop: Some(stop), thread: Some(thread) }
    }

    /// Asks it to end.
    pub fn stop(&mut self) {
        self.stop = None;
    }

    /// Waits until it has ended.
    pub fn join(&mut self) {
        self.stop();
        self.thread.take().unwrap().join().unwrap();
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.join();
        }
    }
}

/// `tailwater serve` as another process; it is killed when dropped.
pub struct Process {
    pub child: Child,
    pub address: SocketAddr,
}

impl Process {
    /// Starts it on the store in `data`, on a port that is free.
    pub fn start(data: &std::path::Path, arguments: &[&str]) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tailwater"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(data).args(arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let Some(address) = line.trim().strip_prefix("listening on http://") else {
            let mut said = String::new();
            child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
            panic!("it says {line:?} and {said:?}");
        };
        Process { address: address.parse().unwrap(), child }
    }

    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Reply {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|err| panic!("{err}: {self:?}"))
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    /// Status and code of an error, whose body has nothing else that it must not have.
    #[track_caller]
    pub fn error(&self) -> (u16, String) {
        let body = self.json();
        let body = body.as_object().unwrap();
        assert!(body["error_msg"].as_str().is_some_and(|text| !text.is_empty()), "{self:?}");
        let code = body["error_code"].as_str().unwrap().to_owned();
        let extras = ["safeCursor", "oldestCursor", "skippedBytes"];
        let known = |key: &String| ["error_code", "error_msg"].contains(&&**key) || extras.contains(&&**key);
        assert!(body.keys().all(known), "{self:?}");
        (self.status, code)
    }
}

/// Sends one request, and reads the answer to the end of the connection.
#[track_caller]
pub fn ask(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
    let mut stream = send(address, method, path, headers, body);
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("an answer has a head") + 4;
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let reply = Reply { status, body: bytes[end..].to_vec(), head };
    assert_ne!(reply.header("transfer-encoding"), Some("chunked"), "answers say their length");
    reply
}

/// Sends one request.
pub fn send(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += &format!("Content-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).unwrap();
    // It may have been refused by its head already.
    let _ = stream.write_all(body);
    stream
}

/// A stream of Server-Sent Events.
pub struct Events {
    reader: BufReader<TcpStream>,
    /// Bytes of the chunk being read that are still to come.
    chunk: usize,
    pub last_id: Option<String>,
}

/// One event.
#[derive(Debug, PartialEq)]
pub struct Event {
    pub name: Option<String>,
    pub id: Option<String>,
    pub data: Value,
}

impl Events {
    #[track_caller]
    pub fn open(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Events {
        let mut reader = BufReader::new(send(address, "GET", path, headers, b""));
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        assert!(line.starts_with("HTTP/1.1 200"), "{line}");
        while line.trim() != "" {
            line.clear();
            reader.read_line(&mut line).unwrap();
            if let Some(kind) = line.to_ascii_lowercase().strip_prefix("content-type:") {
                assert_eq!(kind.trim(), "text/event-stream");
            }
        }
        Events { reader, chunk: 0, last_id: None }
    }

    /// The next event that has data; `None` where the stream ended.
    pub fn next(&mut self) -> Option<Event> {
        let mut event = Event { name: None, id: None, data: Value::Null };
        loop {
            let line = self.line()?;
            match line.split_once(':') {
                None if line.is_empty() && event.data.is_null() => {
                    event = Event { name: None, id: None, ..event }
                }
                None if line.is_empty() => return Some(event),
                Some(("event", value)) => event.name = Some(value.trim().to_owned()),
                Some(("id", value)) => {
                    self.last_id = Some(value.trim().to_owned());
                    event.id.clone_from(&self.last_id);
                }
                Some(("data", value)) => event.data = serde_json::from_str(value).unwrap(),
                Some(("retry" | "", _)) => {}
                _ => panic!("{line:?}"),
            }
        }
    }

    fn line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        loop {
            if self.chunk == 0 {
                let mut size = String::new();
                self.reader.read_line(&mut size).unwrap();
                self.chunk = usize::from_str_radix(size.trim(), 16).ok()?;
                if self.chunk == 0 {
                    return None;
                }
            }
            let mut byte = [0];
            self.reader.read_exact(&mut byte).unwrap();
            self.chunk -= 1;
            if self.chunk == 0 {
                let mut end = [0; 2];
                self.reader.read_exact(&mut end).unwrap();
            }
            if byte == *b"\n" {
                return Some(String::from_utf8(line).unwrap());
            }
            line.push(byte[0]);
        }
    }
}
