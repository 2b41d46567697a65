//! Opening what another process wrote: closed, or killed right behind its last append. And what it left on the disk.

use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use tailwater::{Durability, Record};

use crate::cell::{Cell, Figure};
use crate::peer::{Mode, Peer, fill_one_by_one};
use crate::peers::Tailwater;
use crate::support::bodies::Bodies;

const BODY: usize = 256;

/// A log to be made by a process of its own.
#[derive(Debug)]
pub struct Fill<'a> {
    pub dir: &'a Path,
    pub bytes: usize,
    pub records: usize,
    /// Do not close it, but say so and wait to be killed.
    pub wait: bool,
}

impl Fill<'_> {
    /// What the process does.
    pub fn run<P: Peer>(&self) {
        let mut peer = P::create(self.dir, Mode::Fast);
        peer.fill(&Bodies::new(self.bytes), self.records);
        if self.wait {
            println!("filled");
            io::stdout().flush().expect("tell the parent");
            // Blocks until the kill; ends where the parent itself was killed.
            let _ = io::stdin().read_line(&mut String::new());
        }
        peer.close();
    }

    /// Starts it, and waits until the log is there.
    fn start(&self, peer: &str) {
        let end = if self.wait { "wait" } else { "clean" };
        let mut child = Command::new(env::current_exe().expect("the path of this program"))
            .args(["fill", peer])
            .arg(self.dir)
            .args([&self.bytes.to_string(), &self.records.to_string(), end])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start a writer");
        if self.wait {
            let out = BufReader::new(child.stdout.take().expect("piped"));
            let said = out.lines().map(|line| line.expect("read what the writer says"));
            assert!(said.into_iter().any(|line| line == "filled"));
            child.kill().expect("kill the writer");
            child.wait().expect("wait for the writer");
        } else {
            assert!(child.wait().expect("wait for the writer").success());
        }
    }
}

pub fn open<P: Peer>(cell: &Cell) -> Vec<Figure> {
    let records = (64 << 20) / BODY;
    let (mut peer, time) = reopened::<P>(cell, records);
    let mut count = 0;
    peer.scan(|_| count += 1);
    vec![Figure::new(cell.peer, "ms", time).with("survived", f64::from(count) / records as f64)]
}

/// The engine's opening of 1 GiB, and what a kill leaves for the first durable append to pay.
pub fn open_1_gib(cell: &Cell) -> Vec<Figure> {
    let (peer, time) = reopened::<Tailwater>(cell, (1 << 30) / BODY);
    let start = Instant::now();
    peer.stream.append_with(&Record::new("durable"), Durability::Sync).expect("append");
    vec![Figure::new(cell.peer, "ms", time).with("first durable append", milliseconds(start))]
}

/// A log that another process made, and how long it took to open.
fn reopened<P: Peer>(cell: &Cell, records: usize) -> (P, f64) {
    Fill { dir: cell.dir, bytes: BODY, records, wait: cell.case == "killed" }.start(cell.peer);
    let start = Instant::now();
    let peer = P::open(cell.dir);
    (peer, milliseconds(start))
}

fn milliseconds(start: Instant) -> f64 {
    start.elapsed().as_nanos() as f64 / 1e6
}

pub fn space<P: Peer>(cell: &Cell) -> Vec<Figure> {
    let records = (16 << 20) / BODY;
    let mut peer = P::create(cell.dir, Mode::Fast);
    fill_one_by_one(&mut peer, &Bodies::new(BODY), records);
    peer.close();
    let beyond = bytes_on_disk(cell.dir) as f64 / records as f64 - BODY as f64;
    vec![Figure::new(cell.peer, "B/record", beyond)]
}

/// Bytes of all blocks that the files below `dir` have.
pub fn bytes_on_disk(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).expect("list a directory").map(|entry| entry.expect("an entry"));
    entries
        .map(|entry| match entry.file_type().expect("a type") {
            kind if kind.is_dir() => bytes_on_disk(&entry.path()),
            _ => entry.metadata().expect("a size").blocks() * 512,
        })
        .sum()
}
