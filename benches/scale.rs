//! What many streams in one store cost: making them, opening the store, appending to any one of them, memory, files, maps, disk.
//!
//! ```text
//! cargo bench --bench scale                     1, 10, 1,000 and 10,000 streams, five rounds each
//! TAILWATER_STREAMS=100000 cargo bench --bench scale
//! ```
//!
//! The streams hold one record each. Every round is a process of its own, so that nothing of the last one counts: it opens the
//! store, appends to streams drawn at random, and waits until all of them were let go of. `TAILWATER_BENCH_DIR` names the
//! directory to write in; a store `streams-<number>` that is in it already is used as it is, and stays.

#[allow(dead_code, reason = "this one needs the fixture only in part")]
mod support;

use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use support::bodies::Random;
use support::table::{Table, Target};
use tailwater::{Durability, Record, Store, Stream, StreamName, StreamSpec};

/// Set for a child: what to do, the store's directory, the number of streams.
const CHILD: &str = "TAILWATER_SCALE_CHILD";

/// Streams that a round appends to, at most.
const DRAWN: usize = 2_000;

/// Long enough for a stream to be let go of, and for the store to have looked at every stream.
const IDLE: Duration = Duration::from_secs(6);

fn main() {
    if let Ok(task) = env::var(CHILD) {
        let [what, dir, count] = task.split('\n').collect::<Vec<_>>()[..] else { panic!("{task}") };
        let (dir, count) = (Path::new(dir), count.parse().expect("a number"));
        return match what {
            "make" => make(dir, count),
            _ => round(dir, count),
        };
    }
    if !env::args().any(|arg| arg == "--bench") {
        println!("scale: takes minutes, so only `cargo bench` runs it");
        return;
    }
    let rounds =
        env::var("TAILWATER_ROUNDS").map_or(5, |text| text.parse().expect("TAILWATER_ROUNDS: a number"));
    let counts = env::var("TAILWATER_STREAMS").unwrap_or_else(|_| "1,10,1000,10000".into());
    let counts = counts.split(',').map(|count| count.parse::<usize>().expect("TAILWATER_STREAMS: numbers"));
    let temporary = support::fixture::directory();
    for count in counts {
        let parent =
            env::var_os("TAILWATER_BENCH_DIR").map_or_else(|| temporary.path().into(), PathBuf::from);
        let dir = parent.join(format!("streams-{count}"));
        if !dir.exists() {
            println!("{count} streams made in {} ms", child("make", &dir, count)[0]);
        }
        let disk = disk_bytes(&dir) / 1024.0 / count as f64;
        let figures: Vec<_> = (0..rounds).map(|_| child("round", &dir, count)).collect();
        report(count, disk, &figures);
    }
}

/// What a child says.
fn child(what: &str, dir: &Path, count: usize) -> Vec<f64> {
    let task = format!("{what}\n{}\n{count}", dir.display());
    let output = Command::new(env::current_exe().expect("this program")).env(CHILD, task).output();
    let output = output.expect("run a child");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).expect("text");
    said.split_whitespace().map(|figure| figure.parse().expect("a figure")).collect()
}

fn name(number: usize) -> StreamName {
    StreamName::new(format!("stream-{number}")).expect("a name")
}

/// Makes the streams, from many threads, because each costs several syncs, which the filesystem then shares.
fn make(dir: &Path, count: usize) {
    let began = Instant::now();
    let store = Store::open(dir).expect("open a store");
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..32 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if count <= number {
                        return;
                    }
                    let stream = store.create_stream(StreamSpec::new(name(number))).expect("create a stream");
                    stream.append_with(&Record::new("one record"), Durability::Sync).expect("append");
                }
            });
        }
    });
    store.close().expect("close the store");
    println!("{}", began.elapsed().as_millis());
}

/// Opens the store, appends to streams drawn at random, lets go of them, and says what each cost.
fn round(dir: &Path, count: usize) {
    let before = status("VmRSS");
    let began = Instant::now();
    let store = Store::open(dir).expect("open the store");
    let open = began.elapsed().as_secs_f64() * 1e3;
    let opened = status("VmRSS");
    let mut random = Random(0x9e37_79b9 ^ u64::from(std::process::id()));
    let names: Vec<_> =
        (0..DRAWN.min(count)).map(|_| format!("stream-{}", random.next() as usize % count)).collect();
    let (mut found, mut cold, mut warm) = (Vec::new(), Vec::new(), Vec::new());
    let mut streams: Vec<Stream> = Vec::new();
    for name in &names {
        let began = Instant::now();
        streams.push(store.stream(name).expect("the stream"));
        found.push(began.elapsed());
    }
    for times in [&mut cold, &mut warm] {
        for stream in &streams {
            let began = Instant::now();
            stream.append(&Record::new("one record")).expect("append");
            times.push(began.elapsed());
        }
    }
    let maps = fs::read_to_string("/proc/self/maps").expect("maps").lines().count();
    let files = fs::read_dir("/proc/self/fd").expect("files").count();
    let busy = status("VmRSS");
    thread::sleep(IDLE);
    let mut again = Vec::new();
    let (idle, idle_maps) =
        (status("VmRSS"), fs::read_to_string("/proc/self/maps").expect("maps").lines().count());
    for stream in &streams {
        let began = Instant::now();
        stream.append(&Record::new("one record")).expect("append");
        again.push(began.elapsed());
    }
    drop(streams);
    thread::sleep(IDLE);
    let free = status("VmRSS");
    let began = Instant::now();
    store.close().expect("close the store");
    let close = began.elapsed().as_secs_f64() * 1e3;
    let micros = |times: &mut Vec<Duration>, share: f64| {
        times.sort();
        times[((times.len() - 1) as f64 * share) as usize].as_nanos() as f64 / 1e3
    };
    let drawn = names.len() as f64;
    let figures = [
        open,
        (opened - before) / count as f64,
        (idle - before) / count as f64,
        (free - before) / count as f64,
        (busy - opened) / drawn,
        (idle - opened) / drawn,
        files as f64,
        maps as f64,
        idle_maps as f64,
        micros(&mut found, 0.5),
        micros(&mut cold, 0.5),
        micros(&mut cold, 0.99),
        micros(&mut warm, 0.5),
        micros(&mut again, 0.5),
        micros(&mut again, 0.99),
        close,
    ];
    println!("{}", figures.map(|figure| figure.to_string()).join(" "));
}

fn report(count: usize, disk: f64, figures: &[Vec<f64>]) {
    println!("\n{count} streams of one record, {disk:.1} KiB of disk each");
    let most = |bound| (count == 100_000).then_some(Target::AtMost(bound));
    let table = Table::new(figures);
    let lines = [
        ("open the store (ms)", most(1000.0)),
        ("memory for each stream, store just opened (KiB)", None),
        ("memory for each stream, some used and idle (KiB)", most(2.0)),
        ("memory for each stream, those let go of as well (KiB)", None),
        ("memory for each stream in use (KiB)", None),
        ("memory for each stream held and idle (KiB)", most(2.0)),
        ("files open, streams in use", None),
        ("maps, streams in use", None),
        ("maps, streams idle", None),
        ("find a random stream (us)", None),
        ("first append to it, p50 (us)", most(30.0)),
        ("first append to it, p99 (us)", None),
        ("second append to it, p50 (us)", None),
        ("append to it once idle, p50 (us)", most(30.0)),
        ("append to it once idle, p99 (us)", None),
        ("close the store (ms)", None),
    ];
    for (at, (figure, target)) in lines.into_iter().enumerate() {
        table.line(figure, target, |round| round[at]);
    }
}

/// A figure of this process, in KiB.
fn status(field: &str) -> f64 {
    let status = fs::read_to_string("/proc/self/status").expect("status");
    let line = status.lines().find(|line| line.starts_with(field)).expect("the field");
    line.split_whitespace().nth(1).expect("a figure").parse().expect("a number")
}

/// Bytes of disk that a directory and all in it take.
fn disk_bytes(path: &Path) -> f64 {
    let data = fs::symlink_metadata(path).expect("look at a file");
    let below: f64 = match data.is_dir() {
        true => {
            fs::read_dir(path).expect("list").map(|entry| disk_bytes(&entry.expect("an entry").path())).sum()
        }
        false => 0.0,
    };
    data.blocks() as f64 * 512.0 + below
}
