//! Several processes and several handles on one store: one writes, others read, copy, wait for their turn, or are told
//! that it is over.

mod machine;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::time::{Duration, SystemTime};

use machine::{Other, say, spec, task, wait_for_release};
use tailwater::{
    Clock, Durability, ErrorKind, GapReason, Options, Record, Start, Step, Store, Stream, StreamUpdate, Tail,
};

/// How long anything may take that does come at last.
const PATIENCE: Duration = Duration::from_secs(60);

/// Records of the stream that is followed.
const RECORDS: u64 = 20_000;

fn small() -> Options {
    Options::new().max_segment_bytes(64 << 10)
}

fn number(body: &[u8]) -> u64 {
    std::str::from_utf8(body).unwrap().trim_start().parse().unwrap()
}

/// Follows numbered records up to `end`; returns how many came, and how many gaps hide.
fn follow(tail: &mut Tail, end: u64) -> (u64, u64) {
    let (mut next, mut seen, mut hidden, mut gap) = (0, 0, 0, false);
    while next < end {
        match tail.next(PATIENCE).unwrap() {
            Step::Records(batch) => {
                for record in &batch {
                    let number = number(record.body());
                    assert!(number == next || (gap && next < number), "{number} comes where {next} should");
                    hidden += number - next;
                    (next, gap) = (number + 1, false);
                    seen += 1;
                }
            }
            Step::Gap(found) => {
                assert_eq!(found.reason, GapReason::Expired, "{found:?}");
                gap = true;
            }
            Step::Passed => panic!("there is no filter"),
            Step::End => panic!("{next} did not come"),
        }
    }
    (seen, hidden)
}

/// Another process: follows the store named by its argument.
#[test]
fn follow_from_another_process() {
    let Some(arguments) = task() else { return };
    let store = Store::open_read_only(&arguments[0]).unwrap();
    let mut tail = store.stream("a").unwrap().tail(Start::Beginning).unwrap();
    say("following");
    let (seen, hidden) = follow(&mut tail, RECORDS);
    say(&format!("{seen} {hidden}"));
}

#[test]
fn followers_see_every_record_once_in_order_or_a_gap_and_hold_nobody_up() {
    if task().is_some() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut store = small().open(dir.path()).unwrap();
    let mut stream = store.create_stream(spec("a")).unwrap();
    stream.append(&Record::new("0")).unwrap();
    let here = Store::open_read_only(dir.path()).unwrap();
    let mut tail = here.stream("a").unwrap().tail(Start::Beginning).unwrap();
    let here = std::thread::spawn(move || follow(&mut tail, RECORDS));
    let mut others: Vec<_> = (0..2)
        .map(|_| Other::start("follow_from_another_process", &[dir.path().to_str().unwrap()]))
        .collect();
    for other in &mut others {
        assert_eq!(other.heard().as_deref(), Some("following"));
    }
    // One stands still while the writer goes on, and comes back to what is left.
    others[1].signal("STOP");
    let limited = StreamUpdate { max_bytes: Some(Some(512 << 10)), ..StreamUpdate::default() };
    store.update_stream("a", limited).unwrap();
    let mut removed = 0;
    for next in 1..RECORDS {
        stream.append(&Record::new(&format!("{next:>100}"))).unwrap();
        if next % 1_000 == 0 {
            stream.sync().unwrap();
            removed += store.tick().unwrap().removed_segments;
        }
        if next % 6_000 == 0 {
            store.close().unwrap();
            store = small().open(dir.path()).unwrap();
            stream = store.stream("a").unwrap();
        }
    }
    assert!(20 < removed, "retention removed {removed} segments");
    others[1].signal("CONT");
    let (seen, hidden) = here.join().unwrap();
    assert_eq!(seen + hidden, RECORDS);
    for (index, mut other) in others.into_iter().enumerate() {
        let line = other.heard().expect("a follower ends by saying what it saw");
        let (seen, hidden) = line.split_once(' ').unwrap();
        let (seen, hidden): (u64, u64) = (seen.parse().unwrap(), hidden.parse().unwrap());
        assert_eq!(seen + hidden, RECORDS);
        assert!(index == 0 || 0 < hidden, "who stood still missed what retention took");
        other.release();
    }
    assert!(store.verify().unwrap().is_sound());
}

/// Every file below `dir`, with its size and when it was last written.
fn listing(dir: &Path) -> BTreeMap<PathBuf, (u64, SystemTime)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let meta = entry.metadata().unwrap();
        if meta.is_dir() {
            found.extend(listing(&entry.path()));
        }
        found.insert(entry.path(), (meta.len(), meta.modified().unwrap()));
    }
    found
}

#[test]
fn reading_creates_no_file_changes_none_and_takes_no_lock() {
    let dir = tempfile::tempdir().unwrap();
    let store = small().background(false).open(dir.path()).unwrap();
    let stream = store.create_stream(spec("a")).unwrap();
    store.create_stream(spec("empty")).unwrap();
    for number in 0..3_000 {
        stream.append(&Record::new(&format!("{number:>100}"))).unwrap();
    }
    stream.sync().unwrap();
    let read = || {
        let before = listing(dir.path());
        let reading = Store::open_read_only(dir.path()).unwrap();
        assert_eq!(
            follow(&mut reading.stream("a").unwrap().tail(Start::Beginning).unwrap(), 3_000),
            (3_000, 0)
        );
        assert_eq!(reading.stream("empty").unwrap().published().unwrap(), 0);
        assert!(reading.verify().unwrap().is_sound());
        assert_eq!(reading.stats().unwrap().records, 3_000);
        let refused = reading.stream("a").unwrap().append(&Record::new("no")).unwrap_err();
        assert_eq!(*refused.kind(), ErrorKind::ReadOnly);
        let refused = reading.create_stream(spec("no")).unwrap_err();
        assert_eq!(*refused.kind(), ErrorKind::ReadOnly);
        reading.close().unwrap();
        assert_eq!(listing(dir.path()), before);
    };
    // While it is written, closed, and copied as it stands unclean.
    read();
    let reading = Store::open_read_only(dir.path()).unwrap();
    store.close().unwrap();
    read();
    let store = small().open(dir.path()).unwrap();
    drop((reading, store));
}

/// Another process: tries to open the store for writing, and says how that went.
#[test]
fn open_from_another_process() {
    let Some(arguments) = task() else { return };
    let opened = Store::open(&arguments[0]);
    match &opened {
        Ok(_) => say("won"),
        Err(err) => match err.kind() {
            ErrorKind::Locked { pid: Some(pid) } => say(&format!("locked by {pid}")),
            // The winner may not have written who it is yet.
            ErrorKind::Locked { pid: None } => say("locked"),
            _ => panic!("{err:?}"),
        },
    }
    wait_for_release();
}

#[test]
fn a_second_writer_gets_locked_naming_the_pid_of_the_first() {
    if task().is_some() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let mut other = Other::start("open_from_another_process", &[path]);
    assert_eq!(other.heard(), Some(format!("locked by {}", std::process::id())));
    other.release();
    let same = Store::open(dir.path()).unwrap_err();
    assert_eq!(*same.kind(), ErrorKind::Locked { pid: Some(std::process::id()) });
    store.close().unwrap();
    let mut other = Other::start("open_from_another_process", &[path]);
    assert_eq!(other.heard().as_deref(), Some("won"));
    let err = Store::open(dir.path()).unwrap_err();
    assert_eq!(*err.kind(), ErrorKind::Locked { pid: Some(other.pid()) });
    assert!(err.to_string().contains(&other.pid().to_string()), "{err}");
    // A killed holder holds nothing.
    other.kill();
    Store::open(dir.path()).unwrap();
}

#[test]
fn of_racing_openers_one_wins_and_after_it_the_next() {
    if task().is_some() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    // The first round races to create the store, too.
    for round in 0..4 {
        let (barrier, threads) = (Barrier::new(64), 64);
        let opened: Vec<_> = std::thread::scope(|scope| {
            let open = || {
                barrier.wait();
                Store::open(dir.path())
            };
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(open)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let (won, lost): (Vec<_>, Vec<_>) = opened.into_iter().partition(|opened| opened.is_ok());
        for err in lost.into_iter().map(|lost| lost.unwrap_err()) {
            assert!(matches!(err.kind(), ErrorKind::Locked { .. }), "{err:?}");
        }
        assert_eq!(won.len(), 1, "round {round}");
    }
    // Processes race, and the winner is killed.
    let path = dir.path().to_str().unwrap();
    let mut others: Vec<_> = (0..64).map(|_| Other::start("open_from_another_process", &[path])).collect();
    let said: Vec<_> = others.iter_mut().map(|other| other.heard().unwrap()).collect();
    let won: Vec<_> = (0..64).filter(|index| said[*index] == "won").collect();
    assert_eq!(won.len(), 1, "{said:?}");
    others.remove(won[0]).kill();
    let mut next = Other::start("open_from_another_process", &[path]);
    assert_eq!(next.heard().as_deref(), Some("won"));
}

#[test]
fn a_writer_that_is_stopped_keeps_its_lock_and_goes_on() {
    if task().is_some() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut other = Other::start("open_from_another_process", &[dir.path().to_str().unwrap()]);
    assert_eq!(other.heard().as_deref(), Some("won"));
    other.signal("STOP");
    // Nothing of the lock goes by the time, so a moment is as good as minutes.
    for _ in 0..20 {
        let err = Store::open(dir.path()).unwrap_err();
        assert_eq!(*err.kind(), ErrorKind::Locked { pid: Some(other.pid()) });
    }
    other.signal("CONT");
    let err = Store::open(dir.path()).unwrap_err();
    assert_eq!(*err.kind(), ErrorKind::Locked { pid: Some(other.pid()) });
    other.release();
    Store::open(dir.path()).unwrap();
}

#[test]
fn a_program_started_while_the_store_is_open_holds_nothing_of_it() {
    if task().is_some() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let stream = store.create_stream(spec("a")).unwrap();
    stream.append(&Record::new("1")).unwrap();
    // It lives on after the store is closed.
    let elsewhere = tempfile::tempdir().unwrap();
    let mut other = Other::start("open_from_another_process", &[elsewhere.path().to_str().unwrap()]);
    assert_eq!(other.heard().as_deref(), Some("won"));
    #[cfg(target_os = "linux")]
    for entry in fs::read_dir(format!("/proc/{}/fd", other.pid())).unwrap() {
        let Ok(path) = fs::read_link(entry.unwrap().path()) else { continue };
        assert!(!path.starts_with(dir.path()), "{} was handed on", path.display());
    }
    store.close().unwrap();
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(count(&store.stream("a").unwrap()), 1);
    other.release();
}

#[test]
fn a_store_copied_file_by_file_while_it_is_written_opens_and_holds_what_was_there_before() {
    let dir = tempfile::tempdir().unwrap();
    let store = small().open(dir.path().join("live")).unwrap();
    let stream = store.create_stream(spec("a")).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..20_000 {
                stream.append(&Record::new(&format!("{number:>90}"))).unwrap();
                if stop.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        let _stop = StopWhenDropped(&stop);
        for round in 0..4 {
            let before = stream.durable();
            let path = dir.path().join(format!("copy-{round}"));
            copy(&dir.path().join("live"), &path);
            let copy = small().open(&path).unwrap();
            let copied = copy.stream("a").unwrap();
            assert!(before <= copied.published().unwrap());
            // In order, each as it was appended, and no hole in what was durable when the copy was begun.
            let mut next = 0;
            let mut reader = copied.read(Start::Beginning).unwrap();
            loop {
                match reader.next().unwrap() {
                    Step::Records(batch) => {
                        for record in &batch {
                            let number = number(record.body());
                            assert!(next == number || (next < number && before <= record.offset()));
                            next = number + 1;
                        }
                    }
                    Step::Gap(gap) => {
                        assert!(before <= gap.start, "{gap:?} in what was durable, to {before}")
                    }
                    Step::Passed => panic!("there is no filter"),
                    Step::End => break,
                }
            }
            copied.append(&Record::new("9")).unwrap();
        }
    });
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &to);
        } else if let Err(err) = fs::copy(&path, &to) {
            // Renamed or removed since it was listed.
            assert_eq!(err.kind(), std::io::ErrorKind::NotFound, "{err:?}");
        }
    }
}

#[test]
fn another_name_for_a_segment_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = small().open(dir.path().join("store")).unwrap();
    let stream = store.create_stream(spec("a")).unwrap();
    for number in 0..2_000 {
        stream.append(&Record::new(&format!("{number:>90}"))).unwrap();
    }
    store.close().unwrap();
    let streams = dir.path().join("store/streams").join(stream.id().to_string());
    for entry in fs::read_dir(&streams).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "seg") {
            fs::hard_link(&path, dir.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    let store = small().open(dir.path().join("store")).unwrap();
    let stream = store.stream("a").unwrap();
    assert!(stream.recovery().clean);
    assert_eq!(count(&stream), 2_000);
    stream.append(&Record::new("2000")).unwrap();
    assert!(store.verify().unwrap().is_sound());
}

/// What is called like a segment and is none: it is reported, and no more; a FIFO holds nobody up.
#[cfg(target_os = "linux")]
#[test]
fn what_is_called_like_a_segment_and_is_none_is_reported_and_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let store = small().open(dir.path()).unwrap();
    let stream = store.create_stream(spec("a")).unwrap();
    for number in 0..2_000 {
        stream.append(&Record::new(&format!("{number:>90}"))).unwrap();
    }
    store.close().unwrap();
    let streams = dir.path().join("streams").join(stream.id().to_string());
    let name = |number: u64| streams.join(format!("{number:020}.seg"));
    let run = |program: &str, arguments: &[&str]| {
        assert!(std::process::Command::new(program).args(arguments).status().unwrap().success());
    };
    fs::write(name(1_000_000_000), "").unwrap();
    fs::write(name(1_000_000_008), "x").unwrap();
    fs::create_dir(name(1_000_000_016)).unwrap();
    run("mkfifo", &[name(1_000_000_024).to_str().unwrap()]);
    std::os::unix::fs::symlink("/dev/zero", name(1_000_000_032)).unwrap();
    std::os::unix::fs::symlink("nowhere", name(1_000_000_040)).unwrap();
    std::os::unix::fs::symlink(name(1_000_000_048), name(1_000_000_048)).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(name(1_000_000_056)).unwrap();
    let store = small().open(dir.path()).unwrap();
    let stream = store.stream("a").unwrap();
    assert_eq!(count(&stream), 2_000);
    stream.append(&Record::new("2000")).unwrap();
    assert_eq!(count(&stream), 2_001);
    let followed = Store::open_read_only(dir.path()).unwrap();
    assert_eq!(count(&followed.stream("a").unwrap()), 2_001);
    // The files without a header were set aside by the opening; the others are reported.
    let damage = store.verify().unwrap().damage;
    let set_aside = stream.recovery().set_aside.len();
    assert_eq!(damage.len() + set_aside, 8, "{damage:?} {set_aside}");
    store.close().unwrap();
    tailwater::repair(dir.path()).unwrap();
    let store = small().open(dir.path()).unwrap();
    assert!(store.verify().unwrap().is_sound());
    assert_eq!(count(&store.stream("a").unwrap()), 2_001);
}

#[test]
fn closing_ends_every_clone_and_every_wait() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let stream = store.create_stream(spec("a")).unwrap();
    stream.append(&Record::new("1")).unwrap();
    let (clone, other, mut reader) = (store.clone(), stream.clone(), stream.read(Start::Now).unwrap());
    let mut tail = stream.tail(Start::Now).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| tail.next(PATIENCE).unwrap_err());
        store.close().unwrap();
        assert_eq!(*waiting.join().unwrap().kind(), ErrorKind::Closed);
    });
    assert_eq!(*other.append(&Record::new("2")).unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(*other.sync().unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(*reader.next().unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(*clone.stream("a").unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(*clone.create_stream(spec("b")).unwrap_err().kind(), ErrorKind::Closed);
    clone.close().unwrap();
    // The lock is free though handles live.
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(count(&store.stream("a").unwrap()), 1);
}

/// Every record a reader gets from the beginning.
fn count(stream: &Stream) -> u64 {
    let mut reader = stream.read(Start::Beginning).unwrap();
    let mut count = 0;
    loop {
        match reader.next().unwrap() {
            Step::Records(batch) => count += batch.len() as u64,
            Step::Gap(gap) => panic!("{gap:?}"),
            Step::Passed => panic!("there is no filter"),
            Step::End => return count,
        }
    }
}

#[test]
fn dropping_without_closing_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    for round in 1..=5 {
        let store = small().open(dir.path()).unwrap();
        let stream = match round {
            1 => store.create_stream(spec("a").durability(Durability::Buffered)).unwrap(),
            _ => store.stream("a").unwrap(),
        };
        assert!(stream.recovery().clean);
        drop(store);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    (0..1_000).for_each(|_| {
                        stream.append(&Record::new(&[7; 100])).unwrap();
                    })
                });
            }
        });
        drop(stream);
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(count(&store.stream("a").unwrap()), round * 2_000);
    }
}

/// Another process: opens the store `store` in the directory named first, by a relative path, and goes on in the second, as daemons do.
#[test]
fn go_elsewhere_with_a_store_open() {
    let Some(arguments) = task() else { return };
    std::env::set_current_dir(&arguments[0]).unwrap();
    let store = small().open("store").unwrap();
    let here = store.create_stream(spec("here")).unwrap();
    here.append(&Record::new("1")).unwrap();
    std::env::set_current_dir(&arguments[1]).unwrap();
    for _ in 0..10 {
        here.append(&Record::new(&[7; 20_000])).unwrap();
    }
    store.create_stream(spec("there")).unwrap().append(&Record::new("1")).unwrap();
    store.close().unwrap();
    say("closed");
}

#[test]
fn a_store_stays_where_it_was_opened_wherever_its_process_goes() {
    if task().is_some() {
        return;
    }
    let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let arguments = [dir.path().to_str().unwrap(), elsewhere.path().to_str().unwrap()];
    assert_eq!(Other::start("go_elsewhere_with_a_store_open", &arguments).heard().as_deref(), Some("closed"));
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    let store = Store::open(dir.path().join("store")).unwrap();
    assert_eq!(["here", "there"].map(|name| count(&store.stream(name).unwrap())), [11, 1]);
}

/// A clock that holds the compactor up, the first time it looks, until nobody listens any more or a while is over.
#[derive(Debug)]
struct HoldingUp {
    at_work: Mutex<Option<mpsc::Sender<()>>>,
    go_on: Mutex<mpsc::Receiver<()>>,
}

impl Clock for HoldingUp {
    fn wall(&self) -> i64 {
        if std::thread::current().name() == Some("tailwater-compact")
            && let Some(at_work) = self.at_work.lock().unwrap().take()
        {
            at_work.send(()).unwrap();
            let _ = self.go_on.lock().unwrap().recv_timeout(Duration::from_millis(200));
        }
        1_700_000_000_000_000_000
    }

    fn boot(&self) -> u64 {
        0
    }

    fn boot_id(&self) -> Option<u128> {
        Some(1)
    }
}

#[test]
fn the_last_handle_closes_the_store_also_while_its_compactor_is_at_work() {
    let dir = tempfile::tempdir().unwrap();
    let (at_work, is_at_work) = mpsc::channel();
    let (goes_on, go_on) = mpsc::channel();
    let clock = HoldingUp { at_work: Mutex::new(Some(at_work)), go_on: Mutex::new(go_on) };
    let store = Options::new().clock(Arc::new(clock)).open(dir.path()).unwrap();
    is_at_work.recv_timeout(PATIENCE).unwrap();
    drop(store);
    Store::open(dir.path()).unwrap().close().unwrap();
    drop(goes_on);
}

#[test]
fn who_reads_a_stream_that_is_deleted_gets_stream_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let stream = store.create_stream(spec("a")).unwrap();
    stream.append(&Record::new("1")).unwrap();
    let elsewhere = Store::open_read_only(dir.path()).unwrap();
    let mut follower = elsewhere.stream("a").unwrap().tail(Start::Now).unwrap();
    let mut reader = stream.read(Start::Beginning).unwrap();
    let Step::Records(held) = reader.next().unwrap() else { panic!("there is a record") };
    let mut tail = stream.tail(Start::Now).unwrap();
    std::thread::scope(|scope| {
        let here = scope.spawn(|| tail.next(PATIENCE).unwrap_err());
        let there = scope.spawn(|| follower.next(PATIENCE).map(|step| format!("{step:?}")).unwrap_err());
        store.delete_stream("a").unwrap();
        assert_eq!(*here.join().unwrap().kind(), ErrorKind::StreamDeleted);
        assert_eq!(*there.join().unwrap().kind(), ErrorKind::StreamDeleted);
    });
    assert_eq!(*reader.next().unwrap_err().kind(), ErrorKind::StreamDeleted);
    assert_eq!(*stream.append(&Record::new("2")).unwrap_err().kind(), ErrorKind::StreamDeleted);
    assert_eq!(*stream.read(Start::Beginning).unwrap_err().kind(), ErrorKind::StreamDeleted);
    assert_eq!(*elsewhere.stream("a").unwrap_err().kind(), ErrorKind::NotFound);
    // What was read stays readable: it owns its memory.
    assert_eq!(held.iter().next().unwrap().body(), b"1");
    // The name is free, and what takes it is another stream.
    let again = store.create_stream(spec("a")).unwrap();
    assert_ne!(again.id(), stream.id());
    assert_eq!(count(&again), 0);
}

/// Ends threads also where the test fails.
struct StopWhenDropped<'a>(&'a AtomicBool);

impl Drop for StopWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_snapshot_of_a_live_store_opens_and_is_a_prefix_of_each_thread() {
    let dir = tempfile::tempdir().unwrap();
    let store = small().open(dir.path().join("live")).unwrap();
    let stream = store.create_stream(spec("a")).unwrap();
    store.create_stream(spec("empty")).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let mut sizes = Vec::new();
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let (stream, stop) = (stream.clone(), Arc::clone(&stop));
            scope.spawn(move || {
                for number in 0.. {
                    stream.append(&Record::new(&format!("{thread} {number:>90}"))).unwrap();
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                }
            });
        }
        let _stop = StopWhenDropped(&stop);
        let mut tail = stream.tail(Start::Beginning).unwrap();
        for round in 0..5 {
            // Something came since the last one.
            assert!(matches!(tail.next(PATIENCE).unwrap(), Step::Records(_)));
            let before = stream.published().unwrap();
            let copy = dir.path().join(format!("copy-{round}"));
            store.snapshot(&copy).unwrap();
            let copy = Store::open(&copy).unwrap();
            let copied = copy.stream("a").unwrap();
            assert!(copied.recovery().clean, "{:?}", copied.recovery());
            assert!(before <= copied.published().unwrap());
            let report = copy.verify().unwrap();
            assert!(report.is_sound(), "{report:?}");
            let mut next = [0, 0];
            let mut reader = copied.read(Start::Beginning).unwrap();
            loop {
                let batch = match reader.next().unwrap() {
                    Step::Records(batch) => batch,
                    Step::Gap(gap) => panic!("{gap:?}"),
                    Step::Passed => panic!("there is no filter"),
                    Step::End => break,
                };
                for record in &batch {
                    let thread = usize::from(record.body()[0] - b'0');
                    assert_eq!(number(&record.body()[2..]), next[thread]);
                    next[thread] += 1;
                }
            }
            sizes.push(next);
            // It is a store of its own.
            copied.append(&Record::new("9 0")).unwrap();
            assert_eq!(count(&copied), next[0] + next[1] + 1);
            assert_eq!(count(&copy.stream("empty").unwrap()), 0);
        }
    });
    assert!(sizes.is_sorted_by(|a, b| a[0] <= b[0] && a[1] <= b[1]), "{sizes:?}");
    assert!(store.verify().unwrap().is_sound());
}
