//! Stores to measure: where they lie, what is in them, and how they come to an unclean end.

use std::env;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};

use tailwater::{Record, Store, Stream, StreamName, StreamSpec};
use tempfile::TempDir;

pub use super::bodies::Bodies;

/// The stream that is measured.
pub const STREAM: &str = "bench";

/// Set for a child that fills a store and waits to be killed: the store's directory, body's bytes, records.
const CHILD: &str = "TAILWATER_BENCH_CHILD";

/// A new directory, removed when dropped: in `TAILWATER_BENCH_DIR`, or else below the target folder. A temporary
/// folder in memory would measure neither faults nor syncs.
///
/// What an earlier one left for the disk to do, removed files to discard above all, is done first.
pub fn directory() -> TempDir {
    rustix::fs::sync();
    let parent = env::var_os("TAILWATER_BENCH_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    tempfile::Builder::new().prefix("bench-").tempdir_in(parent).expect("make a directory")
}

/// A new store in `dir`, with the stream to measure.
pub fn create(dir: &Path) -> (Store, Stream) {
    let store = Store::open(dir).expect("open a store");
    let spec = StreamSpec::new(StreamName::new(STREAM).expect("a name"));
    let stream = store.create_stream(spec).expect("create a stream");
    (store, stream)
}

/// Appends `records` bodies, one at a time.
#[inline]
pub fn append(stream: &Stream, bodies: &Bodies, records: usize) {
    for index in 0..records {
        stream.append(&Record::new(bodies.get(index))).expect("append");
    }
}

/// Makes a store in `dir` whose writer was killed right behind its last append.
pub fn killed(dir: &Path, bytes: usize, records: usize) {
    let mut child = Command::new(env::current_exe().expect("the path of this program"))
        .env(CHILD, format!("{bytes} {records} {}", dir.to_str().expect("a path in UTF-8")))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("start a writer");
    let mut line = String::new();
    let out = child.stdout.take().expect("piped");
    BufReader::new(out).read_line(&mut line).expect("read what the writer says");
    assert_eq!(line, "appended\n");
    child.kill().expect("kill the writer");
    child.wait().expect("wait for the writer");
}

/// What the process started by [`killed`] does; returns at once in any other. To be called first in `main`.
pub fn run_as_child() {
    let Ok(task) = env::var(CHILD) else { return };
    let mut parts = task.splitn(3, ' ');
    let mut part = || parts.next().expect("three parts");
    let (bytes, records) = (part().parse().expect("a number"), part().parse().expect("a number"));
    let (_store, stream) = create(Path::new(part()));
    append(&stream, &Bodies::new(bytes), records);
    println!("appended");
    io::stdout().flush().expect("tell the parent");
    // Blocks until the kill; ends where the parent itself was killed.
    let _ = io::stdin().read_line(&mut String::new());
    process::exit(1);
}
