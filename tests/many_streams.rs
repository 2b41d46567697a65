//! What ten thousand streams cost. In a process of its own, so that nothing else counts.

mod machine;

use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use machine::{Other, say, spec, task};
use tailwater::{Durability, Record, Store};

const STREAMS: usize = 10_000;

/// A figure of this process, from `/proc/self/status`.
fn status(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Another process: makes the streams, and says what they cost.
#[test]
fn make_ten_thousand_streams() {
    let Some(arguments) = task() else { return };
    let count: usize = arguments[1].parse().unwrap();
    let began = Instant::now();
    let store = Store::open(&arguments[0]).unwrap();
    let streams = Mutex::new(Vec::new());
    let next = AtomicUsize::new(0);
    // Many threads, because each stream costs several syncs, which the filesystem then shares.
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if count <= number {
                        return;
                    }
                    let stream = store.create_stream(spec(&format!("stream-{number}"))).unwrap();
                    stream.append_with(&Record::new("one record"), Durability::Sync).unwrap();
                    streams.lock().unwrap().push(stream);
                }
            });
        }
    });
    let streams = streams.into_inner().unwrap();
    let made = began.elapsed();
    // The store's threads go on; nobody sends.
    let (_sender, five_seconds) = channel::<()>();
    let _ = five_seconds.recv_timeout(Duration::from_secs(5));
    let entries = |path: &str| fs::read_dir(path).unwrap().count();
    let (rss, files) = (status("VmRSS"), entries("/proc/self/fd"));
    let maps = fs::read_to_string("/proc/self/maps").unwrap().lines().count();
    say(&format!("{rss} {files} {maps} {} {}", entries("/proc/self/task"), made.as_millis()));
    assert!(streams.iter().all(|stream| stream.durable() == stream.published().unwrap()));
    store.close().unwrap();
}

#[test]
fn ten_thousand_streams_take_less_than_200_mib_and_1000_files() {
    if task().is_some() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut other =
        Other::start("make_ten_thousand_streams", &[dir.path().to_str().unwrap(), &STREAMS.to_string()]);
    let said = other.heard().expect("it says what it took");
    let figures: Vec<u64> = said.split(' ').map(|figure| figure.parse().unwrap()).collect();
    let [rss_kib, files, maps, threads, millis] = figures[..] else { panic!("{said}") };
    println!(
        "{STREAMS} streams in {millis} ms: {rss_kib} KiB resident, {files} files, {maps} maps, {threads} threads"
    );
    assert!(rss_kib < 200 << 10, "{rss_kib} KiB resident");
    assert!(files < 1_000, "{files} files open");
    other.release();
    assert_eq!(Store::open_read_only(dir.path()).unwrap().streams().unwrap().len(), STREAMS);
    // Where the filesystem discards what is removed, one thread takes minutes.
    let entries = fs::read_dir(dir.path().join("streams")).unwrap();
    let dirs: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    std::thread::scope(|scope| {
        for dirs in dirs.chunks(STREAMS / 16) {
            scope.spawn(|| dirs.iter().for_each(|dir| fs::remove_dir_all(dir).unwrap()));
        }
    });
}
