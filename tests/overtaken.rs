//! A follower whose writer's retention comes between two of its calls: what is gone then has expired, and is neither missing nor damaged.

#![cfg(feature = "sim")]

mod common;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use common::*;
use tailwater::vfs::sim::SimDisk;
use tailwater::vfs::{Access, Entry, File, Lock, Vfs};
use tailwater::*;

/// What somebody else does just before a segment is opened, or given a second name.
type Meanwhile = Arc<Mutex<Option<Box<dyn FnOnce() + Send>>>>;

/// A disk on which that is done.
struct Overtaken {
    disk: SimDisk,
    meanwhile: Meanwhile,
}

impl Overtaken {
    fn comes_to(&self, path: &Path) {
        if path.extension().is_some_and(|extension| extension == "seg")
            && let Some(meanwhile) = self.meanwhile.lock().unwrap().take()
        {
            meanwhile();
        }
    }
}

impl fmt::Debug for Overtaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Overtaken")
    }
}

impl Vfs for Overtaken {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir_all(dir)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.disk.list(dir)
    }
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn File>> {
        self.comes_to(path);
        self.disk.open(path, access)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.comes_to(from);
        self.disk.hard_link(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_file(path)
    }
    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.remove_dir(dir)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }
    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.disk.replace(path, bytes)
    }
    fn try_lock(&self, path: &Path, note: &str) -> io::Result<Lock> {
        self.disk.try_lock(path, note)
    }
}

/// A follower of a stream of several segments, and what has all but the last of those taken away as it comes to one.
fn scene() -> (Machine, Store, Stream, impl FnOnce()) {
    let machine = Machine::new();
    let (store, stream) = machine.create();
    for _ in 0..12 {
        stream.append(&Record::new(&[7; 20_000])).unwrap();
    }
    store.tick().unwrap();
    let meanwhile = Meanwhile::default();
    let disk = Overtaken { disk: machine.disk.clone(), meanwhile: Arc::clone(&meanwhile) };
    let beside = machine.options().vfs(Arc::new(disk)).open_read_only(DIR).unwrap();
    let follower = beside.stream(NAME).unwrap();
    let overtake = move || {
        *meanwhile.lock().unwrap() = Some(Box::new(move || {
            let update = StreamUpdate { max_bytes: Some(Some(1)), ..StreamUpdate::default() };
            store.update_stream(NAME, update).unwrap();
            assert!(2 < store.tick().unwrap().removed_segments);
            store.close().unwrap();
        }));
    };
    (machine, beside, follower, overtake)
}

/// How many records there are to who opens the store for writing.
fn left(machine: &Machine) -> usize {
    records(&machine.open().unwrap().1, Start::Beginning).len()
}

#[test]
fn who_reads_gets_a_gap_of_what_expired() {
    let (machine, _beside, follower, overtake) = scene();
    let mut reader = follower.read(Start::Beginning).unwrap();
    assert!(matches!(reader.next().unwrap(), Step::Records(_)));
    overtake();
    let (seen, gaps) = drain(&mut reader, Limit::default());
    let reasons: Vec<_> = gaps.iter().map(|gap| gap.reason).collect();
    assert_eq!((seen.len(), reasons), (left(&machine), vec![GapReason::Expired]));
}

#[test]
fn who_verifies_finds_no_damage() {
    let (_machine, beside, _follower, overtake) = scene();
    overtake();
    let report = beside.verify().unwrap();
    assert!(report.is_sound(), "{report:?}");
}

#[test]
fn a_snapshot_begins_where_the_log_does() {
    let (machine, beside, _follower, overtake) = scene();
    overtake();
    beside.snapshot("/copy").unwrap();
    let copy = machine.options().open("/copy").unwrap();
    assert!(copy.verify().unwrap().is_sound());
    assert_eq!(records(&copy.stream(NAME).unwrap(), Start::Beginning).len(), left(&machine));
}
