//! Many streams, long streams, many tails: what grows with them, and what must not.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tailwater::{Limit, Options, Record, Start, Step, Store, StreamName, StreamSpec};

use crate::cell::{Cell, Figure};
use crate::peer::{Mode, Peer};
use crate::peers::Tailwater;
use crate::stats::percentiles;
use crate::support::bodies::{Bodies, Random};
use crate::works::open::bytes_on_disk;

/// Openings of a store that took long to make.
const OPENINGS: usize = 5;
/// Appends to a stream taken by chance.
const APPENDS: usize = 500;
/// The engine unmaps a stream that nobody appended to for three seconds, and looks each second: what has not changed for
/// this long will not.
const IDLE: Duration = Duration::from_secs(6);
/// After a minute it marks such a stream clean and forgets it, which takes a sync each. Waited for only where it tells.
const FORGOTTEN: Duration = Duration::from_secs(90);
const MANY: usize = 10_000;
const PATIENCE: Duration = Duration::from_secs(60);

/// Makes a store of so many streams with one record each, in a process of its own; then opens it in others.
pub fn streams(cell: &Cell) -> Vec<Figure> {
    let mut figures = child(cell, "make");
    let count: f64 = cell.case.parse().expect("a number of streams");
    let disk = bytes_on_disk(cell.dir) as f64 / 1024.0 / count;
    figures.push(Figure::new(cell.peer, "disk, KiB/stream", disk));
    for _ in 0..OPENINGS {
        figures.extend(child(cell, "open"));
    }
    figures
}

/// The figures that a process of this program prints.
fn child(cell: &Cell, what: &str) -> Vec<Figure> {
    let output = Command::new(env::current_exe().expect("the path of this program"))
        .args(["streams", what, cell.case])
        .arg(cell.dir)
        .output()
        .expect("start a child");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("JSON");
    text.lines().map(|line| serde_json::from_str(line).expect("a figure")).collect()
}

/// What such a process does.
pub fn run_as_child(what: &str, count: &str, dir: &Path) {
    let count = count.parse().expect("a number of streams");
    let figures = if what == "make" { make(dir, count) } else { open(dir, count) };
    for (unit, value) in figures {
        println!("{}", serde_json::to_string(&Figure::new("tailwater", unit, value)).expect("plain"));
    }
}

fn name(number: usize) -> String {
    format!("stream-{number}")
}

/// Makes the streams, appends a record to each, and waits until the engine let go of all of them.
fn make(dir: &Path, count: usize) -> Vec<(&'static str, f64)> {
    let store = Store::open(dir).expect("open a store");
    let (memory, before) = (resident(), held());
    let start = Instant::now();
    for number in 0..count {
        let spec = StreamSpec::new(StreamName::new(name(number)).expect("a name"));
        store.create_stream(spec).expect("create a stream").append(&Record::new("one")).expect("append");
    }
    let made = start.elapsed();
    let most = held();
    wait_until_idle();
    if MANY <= count {
        thread::sleep(FORGOTTEN);
    }
    let idle = held();
    let figures = vec![
        ("make, us/stream", made.as_nanos() as f64 / 1e3 / count as f64),
        ("idle: RSS, KiB/stream", (resident() - memory) / count as f64),
        ("idle: descriptors", idle.0 - before.0),
        ("idle: maps", idle.1 - before.1),
        ("once all were made: descriptors", most.0 - before.0),
        ("once all were made: maps", most.1 - before.1),
    ];
    store.close().expect("close");
    figures
}

/// Returns once the engine has let go of whatever it lets go of: what it holds does not change any more.
fn wait_until_idle() {
    let (start, mut last, mut since) = (Instant::now(), held(), Instant::now());
    while since.elapsed() < IDLE && start.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(250));
        if held() != last {
            (last, since) = (held(), Instant::now());
        }
    }
}

/// Opens the store, then appends to streams by chance, each found by its name.
fn open(dir: &Path, count: usize) -> Vec<(&'static str, f64)> {
    let memory = resident();
    let start = Instant::now();
    let store = Store::open(dir).expect("open the store");
    let opened = start.elapsed();
    let mut figures = vec![
        ("open, ms", opened.as_nanos() as f64 / 1e6),
        ("RSS opened, KiB/stream", (resident() - memory) / count as f64),
    ];
    let mut random = Random(11);
    let sample: Vec<_> = (0..APPENDS.min(count)).map(|_| name(random.next() as usize % count)).collect();
    for (unit, text) in [
        ("append to an idle one, us", "two"),
        ("append to it again, us", "three"),
        ("append once idle, us", "four"),
    ] {
        if text == "four" {
            wait_until_idle();
        }
        let append = |name: &String| {
            let start = Instant::now();
            store.stream(name).expect("the stream").append(&Record::new(text)).expect("append");
            start.elapsed().as_nanos() as u32
        };
        let mut times: Vec<_> = sample.iter().map(append).collect();
        figures.push((unit, percentiles(&mut times)["p50"] / 1e3));
    }
    store.close().expect("close");
    figures
}

/// KiB of memory that this process has in use.
fn resident() -> f64 {
    let status = fs::read_to_string("/proc/self/status").expect("the state of this process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Descriptors and maps that this process has.
fn held() -> (f64, f64) {
    let descriptors = fs::read_dir("/proc/self/fd").expect("descriptors").count();
    let maps = fs::read_to_string("/proc/self/maps").expect("maps").lines().count();
    (descriptors as f64, maps as f64)
}

/// Bytes of a segment of a long stream, and what they are shrunk to where the disk would not hold it.
const SEGMENT: usize = 64 << 20;
const SHRUNK: usize = 1 << 20;
/// GiB of a stream that are written whole.
const WHOLE: usize = 16;

/// Makes one stream of so many GiB, then opens the store, seeks and appends. What might grow with a stream is what is
/// done for each of its segments, so a longer one has as many, and they are smaller.
pub fn length(cell: &Cell) -> Vec<Figure> {
    const BODY: usize = 16 << 10;
    let gibibytes: usize = cell.case.parse().expect("a number of GiB");
    let segment = if gibibytes <= WHOLE { SEGMENT } else { SHRUNK };
    let (bodies, records) = (Bodies::new(BODY), (gibibytes << 30) / (SEGMENT / segment) / BODY);
    let peer = Tailwater::create_with(Options::new().max_segment_bytes(segment as u64), cell.dir);
    let mut times = Vec::new();
    for index in 0..records {
        let taken = peer.stream.append(&Record::new(bodies.get(index))).expect("append");
        if index % (records / 64) == 0 {
            times.push(taken.ingest_time());
        }
    }
    peer.close();
    let mut figures = Vec::new();
    for _ in 0..OPENINGS {
        let start = Instant::now();
        let peer = Tailwater::open(cell.dir);
        figures.push(("open, ms", start.elapsed().as_nanos() as f64 / 1e6));
        let mut seek = |unit, starts: &[Start]| {
            let seek = |start: &Start| {
                let began = Instant::now();
                let step =
                    peer.stream.read(*start).expect("seek").next_within(Limit::records(1)).expect("read");
                assert!(matches!(step, Step::Records(_)));
                began.elapsed().as_nanos() as u32
            };
            // Once before it counts, as indexes are made when first asked for.
            starts.iter().for_each(|start| _ = seek(start));
            let mut times: Vec<_> = starts.iter().map(seek).collect();
            figures.push((unit, percentiles(&mut times)["p50"] / 1e3));
        };
        seek("seek to a time, us", &times.iter().map(|time| Start::Time(*time)).collect::<Vec<_>>());
        seek("last 1000, us", &[Start::Last(1000); 20]);
        let mut times: Vec<_> = (0..10_000)
            .map(|index| {
                let start = Instant::now();
                peer.stream.append(&Record::new(&bodies.get(index)[..256])).expect("append");
                start.elapsed().as_nanos() as u32
            })
            .collect();
        figures.push(("append 256 B, ns", percentiles(&mut times)["p50"]));
        peer.close();
    }
    figures.push(("segments", segments(cell.dir) as f64));
    figures.into_iter().map(|(unit, value)| Figure::new(cell.peer, unit, value)).collect()
}

/// Files of segments below `dir`.
fn segments(dir: &Path) -> usize {
    let entries = fs::read_dir(dir).expect("list a directory").map(|entry| entry.expect("an entry").path());
    entries
        .map(|path| {
            if path.is_dir() {
                segments(&path)
            } else {
                path.extension().is_some_and(|end| end == "seg").into()
            }
        })
        .sum()
}

/// Many tails asleep on one stream, each in a thread of its own: what the append pays, and when the last has the record.
pub fn tails(cell: &Cell) -> Vec<Figure> {
    const TIMES: usize = 30;
    const ASLEEP: Duration = Duration::from_millis(5);
    let tails: usize = cell.case.parse().expect("a number of tails");
    let peer = Tailwater::create(cell.dir, Mode::Fast);
    let (seen, before) = (AtomicUsize::new(0), resident());
    let mut memory = 0.0;
    let (mut appends, mut all): (Vec<_>, Vec<_>) = thread::scope(|scope| {
        for _ in 0..tails {
            let mut tail = peer.stream.tail(Start::Now).expect("tail");
            let seen = &seen;
            let read = move || {
                for _ in 0..TIMES {
                    let step = tail.next_within(Duration::from_secs(60), Limit::records(1)).expect("read");
                    assert!(matches!(step, Step::Records(batch) if batch.len() == 1));
                    seen.fetch_add(1, Ordering::AcqRel);
                }
            };
            thread::Builder::new().stack_size(64 << 10).spawn_scoped(scope, read).expect("start a tail");
        }
        (1..=TIMES)
            .map(|time| {
                thread::sleep(ASLEEP);
                memory = resident() - before;
                let start = Instant::now();
                peer.stream.append(&Record::new("news")).expect("append");
                let append = start.elapsed();
                while seen.load(Ordering::Acquire) < time * tails {
                    thread::yield_now();
                }
                (append.as_nanos() as u32, start.elapsed().as_nanos() as u32)
            })
            .unzip()
    });
    peer.close();
    vec![
        Figure::new(cell.peer, "append, us", percentiles(&mut appends)["p50"] / 1e3),
        Figure::new(cell.peer, "until all have it, us", percentiles(&mut all)["p50"] / 1e3),
        Figure::new(cell.peer, "RSS with its thread, KiB/tail", memory / tails as f64),
    ]
}
