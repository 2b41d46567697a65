//! A process that may not have what it wants: descriptors, address space, file size, memory, the right to write. It gets an
//! error, keeps what it has, and goes on once it may again.
//!
//! Needs prlimit, for some tests mount, setpriv or chattr, and root; what is lacking is skipped with a word.

#![cfg(target_os = "linux")]

mod machine;

use std::fs;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

use machine::{Mounted, Other, has, run, say, skipped, spec, task, told};
use tailwater::{Durability, ErrorKind, Options, Record, Start, Step, Store, Stream};

fn options() -> Options {
    Options::new().background(false).max_segment_bytes(1 << 20)
}

fn body(number: u64) -> Vec<u8> {
    let mut body = format!("{number} ").into_bytes();
    body.resize(2_000, b'.');
    body
}

/// The numbers of all records, each of which must be what was appended.
fn numbers(stream: &Stream) -> tailwater::Result<Vec<u64>> {
    let mut reader = stream.read(Start::Beginning)?;
    let mut numbers = Vec::new();
    loop {
        match reader.next()? {
            Step::Records(batch) => {
                for record in &batch {
                    let text = record.body().split(|byte| *byte == b' ').next().unwrap();
                    let number = std::str::from_utf8(text).unwrap().parse().unwrap();
                    assert!(record.body() == body(number), "record {number}");
                    numbers.push(number);
                }
            }
            Step::End => return Ok(numbers),
            other => panic!("{other:?}"),
        }
    }
}

/// At each line told, appends as often as it says, reads and ticks; says how many appends went in, whether reading worked,
/// and which kinds of errors there were.
#[test]
fn append_as_told() {
    let Some(arguments) = task() else { return };
    let store = options().open(&arguments[0]).unwrap();
    let stream = store.create_stream(spec("a")).unwrap();
    let mut next = 0;
    // So that nothing of it is new when it counts.
    stream.append(&Record::new(&body(next))).unwrap();
    say("ready");
    loop {
        let line = told();
        if line.is_empty() {
            return;
        }
        let mut kinds = Vec::new();
        let mut note = |err: tailwater::Error| {
            if !kinds.contains(err.kind()) {
                // Where that goes to a file, it may be one that may not grow.
                let _ = writeln!(std::io::stderr(), "{err:?}");
                kinds.push(err.kind().clone());
            }
        };
        let mut good = 0;
        for _ in 0..line.parse::<u64>().unwrap() {
            next += 1;
            let durability = if next % 50 == 0 { Durability::Sync } else { Durability::Buffered };
            match stream.append_with(&Record::new(&body(next)), durability) {
                Ok(_) => {
                    good += 1;
                    say(&format!("acknowledged {next}"));
                }
                Err(err) => note(err),
            }
        }
        let read = numbers(&stream).map_err(&mut note).is_ok();
        let _ = store.tick().map_err(&mut note);
        // The lowest free number is the one that looking takes; where there is none, nobody asks.
        let looks = |entry: &fs::DirEntry| fs::read_link(entry.path()).is_ok_and(|path| path.ends_with("fd"));
        let mut entries = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
        let free = entries.find(looks).map_or("0".into(), |entry| entry.file_name().into_string().unwrap());
        let status = fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let pages = status.split(' ').next().filter(|pages| !pages.is_empty()).unwrap_or("0");
        say(&format!("did {good} {read} {free} {pages} {kinds:?}"));
    }
}

/// What the other process said of a line.
#[derive(Debug, Default)]
struct Did {
    acknowledged: Vec<u64>,
    read: bool,
    /// The lowest descriptor that was free.
    free: u64,
    address_space: u64,
    kinds: String,
}

fn tell(other: &mut Other, appends: u64) -> Did {
    other.tell(&appends.to_string());
    let mut did = Did::default();
    loop {
        let line = other.heard().expect("neither a panic nor a signal ends it");
        if let Some(number) = line.strip_prefix("acknowledged ") {
            did.acknowledged.push(number.parse().unwrap());
        } else {
            let mut words = line.splitn(6, ' ').skip(2);
            let mut word = || words.next().unwrap();
            did.read = word() == "true";
            did.free = word().parse().unwrap();
            did.address_space = word().parse::<u64>().unwrap() * 4096;
            did.kinds = word().into();
            return did;
        }
    }
}

/// Whether the limit could be set.
fn limit(other: &Other, what: &str, limit: Option<u64>) -> bool {
    let limit = limit.map_or("unlimited".into(), |limit| limit.to_string());
    run(Command::new("prlimit").args(["--pid", &other.pid().to_string(), &format!("--{what}={limit}:")]))
}

/// Under the limit that `limited` draws from how things are, some kinds of errors; without it, none.
#[track_caller]
fn check(what: &str, allowed: &[ErrorKind], limit_to: impl Fn(&Did) -> u64) {
    if task().is_some() || !has("prlimit", &["--version"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    // A file that may not grow is a signal to who did not say otherwise.
    let ignoring = ["sh", "-c", "trap '' XFSZ; exec \"$@\"", "sh"];
    let mut other = Other::start_under(&ignoring, "append_as_told", &[path]);
    assert_eq!(other.heard().as_deref(), Some("ready"));
    let before = tell(&mut other, 1);
    assert_eq!(before.kinds, "[]");
    let mut acknowledged = before.acknowledged.clone();
    if !limit(&other, what, Some(limit_to(&before))) {
        return;
    }
    // Several segments' worth.
    let under = tell(&mut other, 3_000);
    let allowed: Vec<_> = allowed.iter().map(|kind| format!("{kind:?}")).collect();
    let mut kinds = under.kinds.trim_matches(['[', ']']).split(", ").filter(|kind| !kind.is_empty());
    assert!(kinds.all(|kind| allowed.iter().any(|allowed| allowed == kind)), "{}", under.kinds);
    assert_eq!(under.acknowledged.len() < 3_000, !allowed.is_empty(), "{}", under.kinds);
    // What there was of the open segment was used.
    assert!(!under.acknowledged.is_empty() || what == "fsize", "{under:?}");
    acknowledged.extend(under.acknowledged);
    assert!(limit(&other, what, if what == "nofile" { Some(1_024) } else { None }));
    let after = tell(&mut other, 3_000);
    assert_eq!((after.acknowledged.len(), after.kinds.as_str(), after.read), (3_000, "[]", true));
    acknowledged.extend(after.acknowledged);
    other.kill();
    let store = options().open(dir.path()).unwrap();
    let found = numbers(&store.stream("a").unwrap()).unwrap();
    assert!(found.is_sorted_by(|a, b| a < b));
    assert!(acknowledged.iter().all(|number| found.binary_search(number).is_ok()), "a record is lost");
    assert!(store.verify().unwrap().is_sound());
}

#[test]
fn without_a_descriptor_left_an_append_that_rolls_fails_and_later_ones_go_on() {
    check("nofile", &[ErrorKind::Io], |now| now.free);
}

#[test]
fn one_descriptor_left_is_enough() {
    check("nofile", &[], |now| now.free + 1);
}

#[test]
fn without_address_space_left_an_append_that_rolls_fails_and_later_ones_go_on() {
    check("as", &[ErrorKind::Io, ErrorKind::NoSpace], |now| now.address_space + (1 << 20));
}

#[test]
fn a_file_that_may_not_grow_is_an_error_and_later_appends_go_on() {
    check("fsize", &[ErrorKind::Io, ErrorKind::NoSpace], |_| 20_000);
}

/// Tries what one may want of a store, and says how each went.
#[test]
fn try_all() {
    let Some(arguments) = task() else { return };
    let say_kind = |what: &str, result: tailwater::Result<()>| match result {
        Ok(()) => say(&format!("{what}: done")),
        Err(err) => say(&format!("{what}: {:?}", err.kind())),
    };
    let dir = Path::new(&arguments[0]);
    let count = |store: Store| numbers(&store.stream("a")?).map(|numbers| assert_eq!(numbers.len(), 900));
    say_kind("read", Store::open_read_only(dir).and_then(count));
    let write = || {
        let store = options().open(dir)?;
        let stream = store.stream("a")?;
        stream.append_with(&Record::new(&body(900)), Durability::Sync)?;
        drop(store.create_stream(spec("b"))?);
        store.close()
    };
    say_kind("write", write());
}

/// A store of 900 records over two segments, closed.
fn make(dir: &Path) {
    let store = options().open(dir).unwrap();
    let stream = store.create_stream(spec("a")).unwrap();
    for number in 0..900 {
        stream.append(&Record::new(&body(number))).unwrap();
    }
    store.close().unwrap();
}

/// How reading and writing go for a process under `under`.
#[track_caller]
fn check_tried(dir: &Path, under: &[&str], read: &str, write: &str) {
    let output = machine::command(under, "try_all", &[dir.to_str().unwrap()]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let said = machine::said(&output.stdout);
    assert_eq!(said, [format!("read: {read}"), format!("write: {write}")]);
}

/// The store is as it was, and works.
#[track_caller]
fn check_whole(dir: &Path) {
    let store = options().open(dir).unwrap();
    let stream = store.stream("a").unwrap();
    let found = numbers(&stream).unwrap();
    assert_eq!(found[..900], (0..900).collect::<Vec<_>>());
    assert!(store.verify().unwrap().is_sound());
    stream.append_with(&Record::new(&body(900)), Durability::Sync).unwrap();
    store.close().unwrap();
}

#[test]
fn a_read_only_filesystem_is_read_and_not_written() {
    if task().is_some() {
        return;
    }
    let Some(disk) = Mounted::tmpfs(16 << 20) else { return };
    let dir = disk.dir.path().join("store");
    make(&dir);
    assert!(run(Command::new("mount").args(["-o", "remount,ro"]).arg(disk.dir.path())));
    check_tried(&dir, &[], "done", "Io");
    assert!(run(Command::new("mount").args(["-o", "remount,rw"]).arg(disk.dir.path())));
    check_tried(&dir, &[], "done", "done");
    check_whole(&dir);
}

#[test]
fn a_filesystem_that_turns_read_only_fails_syncs_and_keeps_what_was_acknowledged() {
    if task().is_some() {
        return;
    }
    let Some(disk) = Mounted::ext4(16 << 20) else { return };
    let dir = disk.dir.path().join("store");
    make(&dir);
    let store = options().open(&dir).unwrap();
    let stream = store.stream("a").unwrap();
    stream.append_with(&Record::new(&body(900)), Durability::Sync).unwrap();
    // What the kernel does of itself at an error in the filesystem's own data.
    if !run(Command::new("mount").args(["-o", "remount,abort"]).arg(disk.dir.path())) {
        return;
    }
    let mut failed = 0;
    for number in 901..2_000 {
        let durability = if number % 10 == 0 { Durability::Sync } else { Durability::Buffered };
        match stream.append_with(&Record::new(&body(number)), durability) {
            Ok(_) => assert!(durability == Durability::Buffered && failed == 0, "{number} after {failed}"),
            Err(err) => {
                let kinds = [ErrorKind::Io, ErrorKind::Poisoned, ErrorKind::NoSpace];
                assert!(kinds.contains(err.kind()), "{err:?}");
                failed += 1;
            }
        }
    }
    assert!(stream.stats().unwrap().poisoned);
    assert_eq!(numbers(&stream).unwrap()[..901], (0..901).collect::<Vec<_>>(), "reads go on");
    Store::open_read_only(&dir).unwrap().stream("a").unwrap();
    store.close().unwrap_err();
    drop((store, stream));
    let Some(disk) = disk.mounted_again() else { return };
    check_whole(&disk.dir.path().join("store"));
}

#[test]
fn who_may_not_write_gets_an_error_and_changes_nothing() {
    if task().is_some() {
        return;
    }
    // Another user, who may not even run this test where it lies in somebody's home.
    let this = std::env::current_exe().unwrap();
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    if !has("setpriv", &[&nobody[1..], &[this.to_str().unwrap(), "--list"]].concat()) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let open =
        |mode| fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    let store = dir.path().join("store");
    make(&store);
    open(0o755);
    // The files are their owner's and his group's.
    check_tried(&store, &nobody, "Io", "Io");
    let group = ["setpriv", "--reuid=65534", "--regid=0", "--clear-groups"];
    check_tried(&store, &group, "done", "Io");
    open(0o000);
    check_tried(&store, &nobody, "Io", "Io");
    check_whole(&store);
}

#[test]
fn files_that_may_not_be_changed_are_errors_until_they_may() {
    if task().is_some() {
        return;
    }
    let Some(disk) = Mounted::ext4(16 << 20) else { return };
    let dir = disk.dir.path().join("store");
    make(&dir);
    let change = |flags: &str, path: &Path| run(Command::new("chattr").args(["-R", flags]).arg(path));
    for flag in ["i", "a"] {
        if !change(&format!("+{flag}"), &dir) {
            return;
        }
        check_tried(&dir, &[], "done", "Io");
        assert!(change(&format!("-{flag}"), &dir));
        check_whole(&dir);
        fs::remove_dir_all(&dir).unwrap();
        make(&dir);
    }
    check_tried(&dir, &[], "done", "done");
}

#[test]
fn reading_many_segments_holds_few_maps_and_no_descriptors() {
    if task().is_some() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = Options::new().background(false).max_segment_bytes(64 << 10).open(dir.path()).unwrap();
    let stream = store.create_stream(spec("a")).unwrap();
    let body = vec![7; 60_000];
    for _ in 0..500 {
        stream.append(&Record::new(&body)).unwrap();
    }
    stream.sync().unwrap();
    store.tick().unwrap();
    let in_dir = |text: &str| text.contains(dir.path().to_str().unwrap());
    let mut reader = stream.read(Start::Beginning).unwrap();
    let mut most = 0;
    while let Step::Records(_) = reader.next().unwrap() {
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        most = most.max(maps.lines().filter(|line| in_dir(line)).count());
    }
    assert!((2..=140).contains(&most), "{most} maps");
    let descriptors =
        fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
    let open = descriptors.filter(|path| in_dir(&path.to_string_lossy())).count();
    assert!(open <= 4, "{open} descriptors");
}

/// Appends, and takes more and more memory.
#[test]
fn append_and_eat() {
    let Some(arguments) = task() else { return };
    let store = Store::open(&arguments[0]).unwrap();
    let stream = store.create_stream(spec("a")).unwrap();
    say("ready");
    told();
    let mut eaten = Vec::new();
    for number in 0.. {
        stream.append(&Record::new(&body(number))).unwrap();
        say(&number.to_string());
        eaten.push(vec![1_u8; 200_000]);
    }
}

#[test]
fn out_of_memory_is_as_kill_9() {
    if task().is_some() {
        return;
    }
    // The first version of control groups, or the second.
    let (groups, limit) = match Path::new("/sys/fs/cgroup/memory") {
        first if first.is_dir() => (first, "memory.limit_in_bytes"),
        _ => (Path::new("/sys/fs/cgroup"), "memory.max"),
    };
    let group = groups.join(format!("tailwater-{}", std::process::id()));
    if let Err(err) = fs::create_dir(&group) {
        return skipped(format_args!("no memory cgroup can be made here: {err}"));
    }
    let dir = tempfile::tempdir().unwrap();
    let mut other = Other::start("append_and_eat", &[dir.path().to_str().unwrap()]);
    assert_eq!(other.heard().as_deref(), Some("ready"));
    let set = |name: &str, value: String| fs::write(group.join(name), value);
    let limited =
        set(limit, (64 << 20).to_string()).and_then(|()| set("cgroup.procs", other.pid().to_string()));
    let mut last = None;
    if limited.is_ok() {
        other.tell("go");
        while let Some(line) = other.heard() {
            last = Some(line.parse::<u64>().unwrap());
        }
        assert_eq!(other.wait().signal(), Some(9), "the kernel ended it");
    }
    drop(other);
    fs::remove_dir(&group).unwrap();
    let Some(last) = last else {
        return skipped(format_args!("no memory limit can be set here: {limited:?}"));
    };
    let store = Store::open(dir.path()).unwrap();
    let stream = store.stream("a").unwrap();
    let found = numbers(&stream).unwrap();
    assert!(last < found.len() as u64 && found == (0..found.len() as u64).collect::<Vec<_>>(), "{last}");
    assert!(stream.recovery().corrupt.is_empty() && stream.recovery().torn_bytes == 0);
}
