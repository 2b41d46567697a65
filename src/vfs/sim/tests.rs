//! What the simulated disk promises to the tests that stand on it.

use std::time::Duration;

use super::*;
use crate::vfs::Clock;
use crate::vfs::region::{FLOOR, Heap, Region, Tail};

fn dir() -> &'static Path {
    Path::new("/store")
}

fn path() -> &'static Path {
    Path::new("/store/a")
}

/// A disk whose `/store` is durable.
fn disk() -> SimDisk {
    let disk = SimDisk::new();
    disk.create_dir_all(dir()).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    disk
}

/// A durable file of `bytes` zeros, open for writing.
fn file(disk: &SimDisk, bytes: u64) -> Box<dyn File> {
    let file = disk.open(path(), Access::CreateNew).unwrap();
    file.allocate(bytes).unwrap();
    file.sync().unwrap();
    disk.sync_dir(dir()).unwrap();
    file
}

fn region(file: &dyn File, frozen: usize) -> Arc<Region> {
    let bytes = file.size().unwrap() as usize;
    Region::new(file.map(bytes, Access::Write).unwrap(), frozen, false)
}

/// Appends a span of `length` bytes, all `fill` behind the commit word.
fn append(tail: &mut Tail, length: usize, fill: u8) -> Range<usize> {
    let mut claim = tail.claim(length as u32);
    claim.put(4, &vec![fill; length - 4]);
    let range = claim.start()..claim.end();
    claim.commit();
    range
}

fn crashes(seed: u64) -> [Crash; 5] {
    let subset = Crash::Subset { pages: seed, names: seed };
    [Crash::DropUnsynced, Crash::Pages { seed }, Crash::Sectors { seed }, Crash::Garbage { seed }, subset]
}

fn fault(op: Op, nth: u64, sticky: bool) -> Fault {
    Fault { op, nth, error: io::ErrorKind::Other, sticky }
}

#[test]
fn what_was_not_synced_may_be_lost() {
    let disk = disk();
    let file = file(&disk, 16384);
    file.write_at(&[1; 4096], 4096).unwrap();
    let mut tail = Tail::new(region(&*file, FLOOR + 4096), 16384);
    append(&mut tail, 4096, 2);
    let both = [(path().to_path_buf(), 1), (path().to_path_buf(), 2)];
    assert_eq!(disk.dirty_pages(), both);
    let left = |crash| {
        let bytes = disk.fork_crashed(crash).read_file(path());
        assert_eq!(bytes.len(), 16384);
        (bytes[4096], bytes[8192 + 4])
    };
    assert_eq!(left(Crash::DropUnsynced), (0, 0));
    assert_eq!(left(Crash::KeepAll), (1, 2));
    for (pages, expected) in [(0, (0, 0)), (1, (1, 0)), (2, (0, 2)), (3, (1, 2))] {
        assert_eq!(left(Crash::Subset { pages, names: 0 }), expected);
    }
    // Sectors tear pages: both faces are seen within one.
    let torn = (0..64).any(|seed| {
        let bytes = disk.fork_crashed(Crash::Sectors { seed }).read_file(path());
        let page = &bytes[4096..8192];
        page.contains(&0) && page.contains(&1)
    });
    assert!(torn);
    // Garbage hits nothing but what was dirty.
    let garbled = (0..64).any(|seed| {
        let bytes = disk.fork_crashed(Crash::Garbage { seed }).read_file(path());
        assert!(bytes[..4096].iter().chain(&bytes[12288..]).all(|byte| *byte == 0));
        bytes[4096..8192].iter().any(|byte| 1 < *byte)
    });
    assert!(garbled);
}

#[test]
fn a_synced_range_survives_every_crash() {
    for seed in 0..200 {
        let disk = disk();
        let file = file(&disk, 16384);
        let region = region(&*file, FLOOR);
        let mut tail = Tail::new(Arc::clone(&region), 16384);
        let synced = append(&mut tail, 1000, 7);
        region.sync(synced.clone()).unwrap();
        append(&mut tail, 6000, 8);
        disk.writeback(seed);
        for crash in crashes(seed).into_iter().chain([Crash::KeepAll]) {
            let after = disk.fork_crashed(crash).read_file(path());
            let kept = &after[synced.start + 4..synced.start + 1000];
            // Garbage in the sector both spans share reaches back into the synced one.
            let sure = if matches!(crash, Crash::Garbage { .. }) { 512 - 4 } else { kept.len() };
            assert!(kept[..sure].iter().all(|byte| *byte == 7), "{crash:?}");
        }
    }
}

#[test]
fn a_new_size_is_durable_after_a_sync_of_the_file_or_of_a_part_of_its_map() {
    let disk = disk();
    let file = file(&disk, 4096);
    file.allocate(16384).unwrap();
    let region = region(&*file, FLOOR);
    let mut tail = Tail::new(Arc::clone(&region), 16384);
    let range = append(&mut tail, 100, 7);
    assert_eq!(disk.fork_crashed(Crash::DropUnsynced).read_file(path()).len(), 4096);
    let sizes = |size| {
        (0..20)
            .filter(|seed| {
                let after = disk.fork_crashed(Crash::Pages { seed: *seed }).read_file(path());
                after.len() == size
            })
            .count()
    };
    assert!(0 < sizes(4096) && 0 < sizes(16384));
    region.sync(range).unwrap();
    assert_eq!(disk.fork_crashed(Crash::DropUnsynced).read_file(path()).len(), 16384);
}

#[test]
fn a_name_is_durable_only_after_sync_dir() {
    let disk = SimDisk::new();
    disk.create_dir_all(&dir().join("deep")).unwrap();
    let inner = dir().join("deep/file");
    disk.open(&inner, Access::CreateNew).unwrap().sync().unwrap();
    let names = |crash| disk.fork_crashed(crash).list_all().len();
    assert_eq!(names(Crash::DropUnsynced), 0);
    disk.sync_dir(&dir().join("deep")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    // The file's own directory was synced, but not the name of that directory.
    assert_eq!(names(Crash::DropUnsynced), 0);
    disk.sync_dir(dir()).unwrap();
    assert_eq!(names(Crash::DropUnsynced), 1);

    disk.remove_file(&inner).unwrap();
    assert_eq!(names(Crash::DropUnsynced), 1, "a removed name comes back");
    assert_eq!(names(Crash::Subset { pages: 0, names: 1 }), 0);
    disk.sync_dir(&dir().join("deep")).unwrap();
    assert_eq!(names(Crash::DropUnsynced), 0);
}

#[test]
fn a_journal_keeps_the_oldest_names_and_an_unordered_disk_any() {
    let disk = disk();
    for name in ["a", "b", "c"] {
        disk.open(&dir().join(name), Access::CreateNew).unwrap();
    }
    let outcomes = || -> std::collections::BTreeSet<_> {
        (0..200).map(|seed| disk.fork_crashed(Crash::Pages { seed }).list_all()).collect()
    };
    assert_eq!(outcomes().len(), 4);
    disk.set_unordered(true);
    assert_eq!(outcomes().len(), 8);
}

#[test]
fn a_file_is_replaced_whole_or_not_at_all() {
    let old = disk();
    old.replace(path(), b"old").unwrap();
    let calls = old.calls();
    old.fork_crashed(Crash::KeepAll).replace(path(), b"new!").unwrap();
    for nth in 1..=6 {
        for seed in 0..40 {
            let disk = old.fork_crashed(Crash::KeepAll);
            disk.set_unordered(seed % 2 == 0);
            disk.crash_at(nth);
            let done = disk.replace(path(), b"new!");
            assert_eq!((done.is_ok(), disk.is_off()), (nth == 6, nth != 6));
            disk.crash(crashes(seed)[seed as usize % 5]);
            let bytes = disk.read_file(path());
            assert!(bytes == b"new!" || done.is_err() && bytes == b"old", "{nth} {seed}: {bytes:?}");
            for name in disk.list(dir()).unwrap() {
                assert!(name.name == "a" || name.name.starts_with(TEMPORARY));
            }
        }
    }
    assert_eq!(old.calls(), calls, "a fork leaves the disk alone");
}

#[test]
fn a_failed_sync_does_not_succeed_later_with_old_bytes_on_disk_unless_redirtied() {
    let disk = disk();
    let file = file(&disk, 16384);
    let region = region(&*file, FLOOR);
    let mut tail = Tail::new(Arc::clone(&region), 16384);
    let first = append(&mut tail, 4096, 1);
    disk.fail(fault(Op::RegionSync, 1, false));
    region.sync(first.clone()).unwrap_err();
    let on_disk = |at: usize| disk.fork_crashed(Crash::DropUnsynced).read_file(path())[at];

    // Linux says yes, and the disk has the old bytes.
    region.sync(first.clone()).unwrap();
    file.sync().unwrap();
    disk.writeback(1);
    assert_eq!(on_disk(first.start + 4), 0);
    // The same holds after the process has died.
    let killed = disk.fork_crashed(Crash::KeepAll);
    let again = killed.open(path(), Access::Write).unwrap();
    again.sync().unwrap();
    assert_eq!(killed.fork_crashed(Crash::DropUnsynced).read_file(path())[first.start + 4], 0);

    file.redirty(first.start as u64..first.end as u64).unwrap();
    region.sync(first.clone()).unwrap();
    assert_eq!(on_disk(first.start + 4), 1);

    // A store that changes the page dirties it as well, and so does a write of the same bytes.
    let second = append(&mut tail, 2048, 2);
    disk.fail(fault(Op::Sync, 1, false));
    file.sync().unwrap_err();
    append(&mut tail, 2048, 3);
    region.sync(second.clone()).unwrap();
    assert_eq!(on_disk(second.start + 4), 2);
    file.write_at(&[9], 0).unwrap();
    disk.fail(fault(Op::Sync, 1, false));
    file.sync().unwrap_err();
    file.write_at(&[9], 0).unwrap();
    file.sync().unwrap();
    assert_eq!(on_disk(0), 9);
}

#[test]
fn a_crash_replays_exactly_from_its_seed() {
    let run = |seed| {
        let disk = disk();
        let file = file(&disk, 32768);
        let mut tail = Tail::new(region(&*file, FLOOR), 32768);
        for fill in 1..10 {
            append(&mut tail, 1000, fill);
            disk.open(&dir().join(format!("n{fill}")), Access::CreateNew)
                .unwrap()
                .write_at(&[fill], 5000)
                .unwrap();
            disk.writeback(seed + u64::from(fill));
        }
        disk.crash(Crash::Garbage { seed });
        disk.list_all().into_iter().map(|path| (disk.read_file(&path), path)).collect::<Vec<_>>()
    };
    for seed in 0..20 {
        assert!(run(seed) == run(seed), "seed {seed}");
    }
    assert!(run(0) != run(1));
}

#[test]
fn a_full_disk_frees_by_removal() {
    let disk = disk();
    disk.set_capacity(8 * 4096);
    let file = file(&disk, 6 * 4096);
    let other = disk.open(&dir().join("b"), Access::CreateNew).unwrap();
    assert_eq!(other.allocate(3 * 4096).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!((other.size().unwrap(), other.allocated().unwrap()), (0, 0));
    assert_eq!(other.write_at(&[1; 3 * 4096], 0).unwrap_err().kind(), io::ErrorKind::StorageFull);
    other.write_at(&[1; 8192], 0).unwrap();
    assert_eq!(disk.used(), 8 * 4096);

    file.punch(0..4097).unwrap();
    assert_eq!((disk.used(), file.allocated().unwrap()), (7 * 4096, 5 * 4096));
    disk.hard_link(path(), &dir().join("c")).unwrap();
    assert_eq!(disk.used(), 7 * 4096);
    disk.remove_file(path()).unwrap();
    assert_eq!(disk.used(), 7 * 4096);
    disk.remove_file(&dir().join("c")).unwrap();
    assert_eq!(disk.used(), 2 * 4096);
    other.allocate(8 * 4096).unwrap();
    other.sync().unwrap();
    disk.sync_dir(dir()).unwrap();
    disk.crash(Crash::DropUnsynced);
    assert_eq!(disk.used(), 8 * 4096);
}

#[test]
fn locks_die_with_the_process() {
    let disk = disk();
    let lock = dir().join("LOCK");
    let before = disk.clone();
    let Ok(Lock::Held(first)) = disk.try_lock(&lock, "41") else { panic!("the first gets it") };
    assert!(matches!(disk.clone().try_lock(&lock, "42").unwrap(), Lock::Taken(note) if note == "41"));
    disk.crash(Crash::KeepAll);
    assert!(before.try_lock(&lock, "43").is_err(), "the dead take no locks");
    let Ok(Lock::Held(second)) = disk.try_lock(&lock, "44") else { panic!("the second gets it") };
    drop(first);
    assert!(matches!(disk.try_lock(&lock, "45").unwrap(), Lock::Taken(note) if note == "44"));
    drop(second);
    assert!(matches!(disk.try_lock(&lock, "46").unwrap(), Lock::Held(_)));
}

#[test]
fn what_a_dead_process_stores_reaches_nobody() {
    for crash in [Crash::KeepAll, Crash::DropUnsynced] {
        let disk = disk();
        let file = file(&disk, 8192);
        let region = region(&*file, FLOOR);
        let mut tail = Tail::new(Arc::clone(&region), 8192);
        disk.crash(crash);
        let range = append(&mut tail, 100, 1);
        region.sync(range).unwrap_err();
        file.write_at(&[1], 0).unwrap_err();
        file.sync().unwrap_err();
        assert_eq!(disk.read_file(path()), vec![0; 8192]);
    }
}

#[test]
fn a_killed_process_leaves_what_was_not_synced_for_the_power_to_fail() {
    let disk = disk();
    let file = file(&disk, 8192);
    Tail::new(region(&*file, FLOOR), 8192).claim(100);
    let synced = disk.read_file(path());
    disk.crash(Crash::KeepAll);
    assert_eq!(disk.read_file(path()), synced);
    assert_eq!(disk.dirty_pages().len(), 1);
    disk.crash(Crash::DropUnsynced);
    assert_eq!(disk.read_file(path()), vec![0; 8192]);
}

#[test]
fn faults_strike_the_call_they_name() {
    let disk = disk();
    let file = file(&disk, 4096);
    let sizes = disk.count(Op::Size);
    disk.fail(Fault { op: Op::Size, nth: 2, error: io::ErrorKind::TimedOut, sticky: false });
    let kinds: Vec<_> = (0..3).map(|_| file.size().map_err(|err| err.kind())).collect();
    assert_eq!(kinds, [Ok(4096), Err(io::ErrorKind::TimedOut), Ok(4096)]);
    assert_eq!(disk.count(Op::Size), sizes + 3);
    disk.fail(fault(Op::Read, 2, true));
    let read: Vec<_> = (0..4).map(|_| file.read_at(&mut [0], 0).is_ok()).collect();
    assert_eq!(read, [true, false, false, false]);
    disk.clear_faults();
    file.read_at(&mut [0], 0).unwrap();
    let all: u64 = Op::ALL.iter().map(|op| disk.count(*op)).sum();
    assert_eq!(all, disk.calls());
}

#[test]
fn tampering_is_seen_by_everyone_and_stays() {
    let disk = disk();
    let file = file(&disk, 8192);
    let region = region(&*file, FLOOR);
    disk.flip_bit(path(), 9);
    let mut slot = [0; 8];
    region.read_slot(0, &mut slot);
    assert_eq!(slot, [0, 2, 0, 0, 0, 0, 0, 0]);
    disk.write_file("/elsewhere/b", b"bytes");
    disk.crash(Crash::DropUnsynced);
    assert_eq!(disk.read_file(path())[1], 2);
    assert_eq!(disk.read_file("/elsewhere/b"), b"bytes");
    disk.remove("/elsewhere");
    disk.crash(Crash::DropUnsynced);
    assert_eq!(disk.list_all(), [path()]);
}

#[test]
fn a_file_may_be_mapped_in_part_and_grow_behind_the_map() {
    let disk = disk();
    let file = file(&disk, 10000);
    file.write_at(&[5; 10000], 0).unwrap();
    let held = file.map(8192, Access::Write).unwrap();
    file.write_at(&[6; 3000], 8000).unwrap();
    let Memory::Heap(heap, _) = &held else { panic!("a heap") };
    let mut bytes = [0; 3];
    heap.read(&mut bytes, 7998);
    assert_eq!(bytes, [5, 5, 6]);
    assert!(file.map(4096, Access::Read).is_err(), "two lengths at once");
    drop(held);
    file.map(11000, Access::Read).unwrap();
    file.sync().unwrap();
    let expected: Vec<u8> = (0..11000).map(|at| if at < 8000 { 5 } else { 6 }).collect();
    assert!(disk.fork_crashed(Crash::DropUnsynced).read_file(path()) == expected);
}

/// Any calls at all, and then: whatever is synced is what processes see, a kill changes nothing, and space is
/// counted right.
#[test]
fn once_everything_is_synced_no_crash_changes_anything() {
    for seed in 0..300 {
        let mut rng = Rng(seed);
        let disk = SimDisk::new();
        let dirs = ["/x", "/x/y", "/z"].map(Path::new);
        for dir in dirs {
            disk.create_dir_all(dir).unwrap();
        }
        let name = |rng: &mut Rng| dirs[rng.below(3) as usize].join(["1", "2", "3"][rng.below(3) as usize]);
        for _ in 0..60 {
            let (from, to) = (name(&mut rng), name(&mut rng));
            let position = rng.below(20000);
            // Refusals are part of it: names may be missing or taken.
            let _ = match rng.below(12) {
                0..3 => disk.open(&from, Access::CreateNew).map(|_| ()),
                3..6 => disk
                    .open(&from, Access::Write)
                    .and_then(|file| file.write_at(&[seed as u8; 700], position)),
                6 => disk.rename(&from, &to),
                7 => disk.hard_link(&from, &to),
                8 => disk.remove_file(&from),
                9 => disk.replace(&from, &[1; 5000]),
                10 => disk.open(&from, Access::Write).and_then(|file| file.punch(position..position + 9000)),
                _ => disk.sync_dir(dirs[rng.below(3) as usize]),
            };
            if rng.below(8) == 0 {
                disk.writeback(position);
            }
            if rng.below(30) == 0 {
                disk.crash(Crash::KeepAll);
            }
        }
        let everything = |disk: &SimDisk| -> Vec<_> {
            disk.list_all().into_iter().map(|path| (disk.read_file(&path), path)).collect()
        };
        let seen = everything(&disk);
        assert!(seen == everything(&disk.fork_crashed(Crash::KeepAll)), "seed {seed}");
        for path in disk.list_all() {
            disk.open(&path, Access::Write).unwrap().sync().unwrap();
        }
        for dir in [Path::new("/")].iter().chain(&dirs) {
            disk.sync_dir(dir).unwrap();
        }
        assert_eq!(disk.pending_names(), Vec::<PathBuf>::new());
        assert_eq!(disk.dirty_pages().len(), 0, "seed {seed}");
        for crash in crashes(seed) {
            let after = disk.fork_crashed(crash);
            assert!(seen == everything(&after), "seed {seed}, {crash:?}");
            let mut files: Vec<_> = after.machine.lock().files();
            files.dedup_by_key(|(_, file)| file.id);
            let held: usize = files.iter().map(|(_, file)| file.node.lock().held()).sum();
            assert_eq!(after.used(), (held * PAGE) as u64, "seed {seed}");
        }
    }
}

#[test]
fn a_heap_reads_back_what_was_written_at_any_place() {
    for position in 0..17 {
        for length in 0..=24 - position {
            let (heap, new) = (Heap::new(24), Vec::from_iter(1..=length as u8));
            heap.write(&[0xff; 24], 0);
            heap.write(&new, position);
            let mut expected = [0xff; 24];
            expected[position..position + length].copy_from_slice(&new);
            let (mut all, mut part) = ([0; 24], vec![0; length]);
            heap.read(&mut all, 0);
            heap.read(&mut part, position);
            assert_eq!((all, part), (expected, new), "{length} at {position}");
        }
    }
}

#[test]
fn the_clock_moves_only_by_hand() {
    let clock = SimClock::new(1_000);
    clock.advance(Duration::from_nanos(5));
    clock.set_wall(-7);
    assert_eq!((clock.wall(), clock.boot()), (-7, 5));
    let boot = clock.boot_id();
    clock.clone().reboot();
    assert_eq!((clock.wall(), clock.boot()), (-7, 0));
    assert_ne!(clock.boot_id(), boot);
    clock.advance(Duration::MAX);
    clock.advance(Duration::MAX);
    assert_eq!((clock.wall(), clock.boot()), (i64::MAX, u64::MAX));
}
