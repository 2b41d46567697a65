//! Power losses one by one: each kind of thing that a disk may keep or lose, at the place where it would hurt.

#![cfg(feature = "sim")]

mod common;

use std::io;
use std::path::Path;
use std::sync::Arc;

use common::*;
use tailwater::vfs::sim::{Crash, Image, Op, SimDisk};
use tailwater::vfs::{Access, Entry, File, Lock, Vfs};
use tailwater::*;

fn text(number: usize) -> String {
    format!("{number} {}", "x".repeat(number * 37 % 300))
}

fn append(stream: &Stream, numbers: std::ops::Range<usize>, durability: Durability) {
    for number in numbers {
        stream.append_with(&Record::new(&text(number)), durability).unwrap();
    }
}

fn expected(count: usize) -> Vec<String> {
    (0..count).map(text).collect()
}

/// The machine as it boots after that crash of an image.
fn after(machine: &Machine, image: &Image, crash: Crash) -> Machine {
    let after = Machine { disk: image.crashed(crash), clock: machine.clock.fork() };
    if crash != Crash::KeepAll {
        after.clock.reboot();
    }
    after
}

/// Ten durable records, and `unsynced` more that are not.
fn half_synced(unsynced: usize) -> (Machine, Image) {
    let machine = Machine::new();
    let (_store, stream) = machine.create();
    append(&stream, 0..10, Durability::Sync);
    append(&stream, 10..10 + unsynced, Durability::Buffered);
    let image = machine.disk.image();
    (machine, image)
}

/// What a follower reads before anybody recovered the store, to whom no record is damaged.
#[track_caller]
fn followed(after: &Machine, what: &dyn std::fmt::Debug) -> Vec<String> {
    let store = after.options().open_read_only(DIR).unwrap();
    let stream = store.stream(NAME).unwrap();
    let seen = bodies(&stream, Start::Beginning);
    let tail = stream.tail(Start::Beginning).unwrap().next(std::time::Duration::ZERO).unwrap();
    assert_eq!(matches!(tail, Step::Records(_)), !seen.is_empty(), "{what:?}");
    assert_eq!(stream.stats().unwrap().records, seen.len() as u64, "{what:?}");
    // One copy of a header may be torn: who opens it for writing heals that.
    let damage = store.verify().unwrap().damage;
    assert!(damage.iter().all(|damage| damage.start.is_none()), "{what:?}: {damage:?}");
    store.snapshot("/snapshot").unwrap();
    let copy = after.options().open("/snapshot").unwrap();
    assert_eq!(bodies(&copy.stream(NAME).unwrap(), Start::Beginning), seen, "{what:?}");
    seen
}

/// Checks that at least ten of the records are left, that there is a gapless prefix, and no word of damage; and that a follower
/// sees a prefix of it.
#[track_caller]
fn check(machine: &Machine, image: &Image, crash: Crash) -> usize {
    let after = after(machine, image, crash);
    let followed = followed(&after, &crash);
    let (store, stream) = after.open().unwrap();
    let left = bodies(&stream, Start::Beginning);
    assert!(left.starts_with(&followed), "{crash:?}: a follower saw {}", followed.len());
    assert!(10 <= left.len(), "{crash:?} leaves {} of 10", left.len());
    assert_eq!(left, expected(left.len()), "{crash:?}");
    assert_eq!(stream.recovery().corrupt, [], "{crash:?}");
    assert!(store.verify().unwrap().is_sound());
    left.len()
}

#[test]
fn every_subset_of_unsynced_pages_leaves_a_prefix_and_what_is_cut_is_counted() {
    let (machine, image) = half_synced(100);
    let pages = image.dirty_pages();
    assert!((5..=10).contains(&pages), "{pages} pages");
    let mut counts = std::collections::BTreeSet::new();
    for pages in 0..1 << pages {
        counts.insert(check(&machine, &image, Crash::Subset { pages, names: 0 }));
    }
    assert!(5 < counts.len(), "of some subsets more is left than of others: {counts:?}");
}

#[test]
fn a_page_of_durable_and_other_frames_torn_at_any_sector_keeps_the_durable_ones() {
    let (machine, image) = half_synced(15);
    let left = |crash| check(&machine, &image, crash);
    let counts: std::collections::BTreeSet<_> = (0..500).map(|seed| left(Crash::Sectors { seed })).collect();
    assert!(counts.contains(&10) && counts.contains(&25) && 4 < counts.len(), "{counts:?}");
}

#[test]
fn a_sector_of_noise_in_place_of_what_was_being_written_is_torn() {
    for unsynced in [1, 15, 150] {
        let (machine, image) = half_synced(unsynced);
        for seed in 0..300 {
            check(&machine, &image, Crash::Noise { seed });
        }
    }
}

/// No engine can keep what a disk destroys; it can say so. The frame before the first unsynced one shares its sector.
#[test]
fn a_sector_that_turns_to_garbage_with_durable_frames_in_it_is_never_passed_over_in_silence() {
    let (machine, image) = half_synced(15);
    let mut hurt = 0;
    for seed in 0..500 {
        let after = after(&machine, &image, Crash::Garbage { seed });
        let (_store, stream) = after.open().unwrap();
        let (seen, gaps) = drain(&mut stream.read(Start::Beginning).unwrap(), Limit::default());
        let all = expected(25);
        let mut all = all.iter();
        for seen in texts(&seen) {
            assert!(all.any(|text| *text == seen), "{seed}: a record was made up");
        }
        let durable =
            seen.iter().filter(|seen| expected(10).contains(&texts(std::slice::from_ref(seen))[0])).count();
        if durable < 10 {
            hurt += 1;
            let told = 0 < stream.recovery().torn_bytes || !gaps.is_empty();
            assert!(told, "{seed}: {durable} of 10, and not a word");
        }
    }
    assert!(0 < hurt, "garbage hurts now and then");
}

/// A record whose commit word and body lie in different pages, and one behind it.
#[test]
fn a_commit_word_without_its_body_and_a_body_without_its_commit_word_are_torn() {
    let machine = Machine::new();
    let (_store, stream) = machine.create();
    let first = stream.append_with(&Record::new(&[b'a'; 3900]), Durability::Sync).unwrap();
    let long = stream.append_with(&Record::new(&[b'b'; 6000]), Durability::Buffered).unwrap();
    stream.append_with(&Record::new("next"), Durability::Buffered).unwrap();
    assert!(long.offset() % 4096 < 4096 - 24, "the commit word lies in the page before the body's most");
    let tail = stream.published().unwrap();
    let image = machine.disk.image();
    let dirty = machine.disk.dirty_pages();
    let is_data = |(path, page): &(std::path::PathBuf, usize)| {
        path.extension().is_some_and(|extension| extension == "seg") && 0 < *page
    };
    let data: Vec<_> = (0..dirty.len()).filter(|index| is_data(&dirty[*index])).collect();
    assert_eq!(data.len(), 3, "{dirty:?}");
    for kept in 0..8u64 {
        let pages = data.iter().enumerate().filter(|(bit, _)| kept >> bit & 1 == 1);
        let pages = pages.map(|(_, index)| 1 << index).sum();
        let after = after(&machine, &image, Crash::Subset { pages, names: 0 });
        let (_store, stream) = after.open().unwrap();
        let left = records(&stream, Start::Beginning).len();
        // The record behind it starts in the third page, and is never shown without the one before it.
        assert_eq!(left, if kept == 7 { 3 } else { 1 }, "pages {kept:b}");
        assert_eq!(stream.recovery().corrupt, [], "pages {kept:b}");
        let torn = stream.recovery().torn_bytes;
        assert_eq!(0 < torn, (1..7).contains(&kept), "pages {kept:b}: {torn} torn bytes");
        assert!(torn <= tail - first.end());
    }
}

#[test]
fn a_follower_after_a_power_loss_at_any_call_reads_a_prefix_of_what_its_writer_will() {
    let (mut states, mut shorter) = (0, 0);
    for durability in [Durability::Sync, Durability::Buffered] {
        let machine = Machine::new();
        let (store, stream) = machine.create();
        machine.disk.record();
        for number in 0..30 {
            let body = format!("{number} {}", "x".repeat(5000));
            stream.append_with(&Record::new(&body), durability).unwrap();
        }
        store.sync().unwrap();
        for (seed, image) in machine.disk.take_images().into_iter().enumerate() {
            let seed = seed as u64;
            let crashes =
                [Crash::KeepAll, Crash::DropUnsynced, Crash::Pages { seed }, Crash::Sectors { seed }];
            for crash in crashes {
                let after = after(&machine, &image, crash);
                let what = format!("{durability} at {seed}, {crash:?}");
                let followed = followed(&after, &what);
                let left = bodies(&after.open().unwrap().1, Start::Beginning);
                assert!(left.starts_with(&followed), "{what}: {} of {}", followed.len(), left.len());
                states += 1;
                shorter += usize::from(followed.len() < left.len());
            }
        }
    }
    println!("{states} states, a follower sees less in {shorter}");
}

/// A disk whose directories are never synced, as an engine's that forgot to.
#[derive(Debug)]
struct Forgetful(SimDisk);

impl Vfs for Forgetful {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.0.create_dir_all(dir)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.0.list(dir)
    }
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn File>> {
        self.0.open(path, access)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.hard_link(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.0.remove_file(path)
    }
    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.remove_dir(dir)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        // The stream's own only, so that there is a store to look at.
        if dir.parent().is_some_and(|dir| dir.ends_with("streams")) { Ok(()) } else { self.0.sync_dir(dir) }
    }
    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.0.replace(path, bytes)
    }
    fn try_lock(&self, path: &Path, note: &str) -> io::Result<Lock> {
        self.0.try_lock(path, note)
    }
}

#[test]
fn a_directory_sync_left_out_is_found_by_a_power_loss() {
    let kept = |forgetful: bool| {
        let machine = Machine::new();
        let vfs: Arc<dyn Vfs> = match forgetful {
            true => Arc::new(Forgetful(machine.disk.clone())),
            false => Arc::new(machine.disk.clone()),
        };
        let store = machine.options().vfs(vfs).open(DIR).unwrap();
        let stream = store.create_stream(spec()).unwrap();
        append(&stream, 0..10, Durability::Sync);
        machine.crash(Crash::DropUnsynced);
        let (_store, stream) = machine.open().unwrap();
        drain(&mut stream.read(Start::Beginning).unwrap(), Limit::default()).0.len()
    };
    assert_eq!((kept(false), kept(true)), (10, 0));
}

#[test]
fn a_removed_segment_that_comes_back_is_removed_again() {
    let machine = Machine::new();
    let (store, stream) = machine.create_with(spec().ttl(TtlDays::new(1).unwrap()));
    for number in 0..40 {
        stream.append_with(&Record::new(&[number; 5000]), Durability::Sync).unwrap();
    }
    machine.clock.advance(HOUR * 20);
    append(&stream, 0..5, Durability::Sync);
    store.tick().unwrap();
    append(&stream, 5..10, Durability::Sync);
    machine.clock.advance(HOUR * 10);
    let files = machine.segments().len();
    machine.disk.record();
    assert!(1 < store.tick().unwrap().removed_segments);
    let gone = files - machine.segments().len();
    let mut came_back = 0;
    for image in machine.disk.take_images() {
        for names in 0..=image.pending_names() {
            let after = after(&machine, &image, Crash::Subset { pages: !0, names: (1 << names) - 1 });
            let before = after.segments().len();
            let (_store, stream) = after.open().unwrap();
            assert_eq!(bodies(&stream, Start::Beginning), expected(10));
            assert!(stream.verify().unwrap().is_sound());
            let removed = image.before() == Some(Op::SyncDir) && names == 0 && before == files;
            came_back += usize::from(removed && after.segments().len() + gone <= files + 1);
        }
    }
    assert!(0 < came_back, "an unlink was lost, and done again");
}

#[test]
fn a_segment_just_made_is_empty_and_usable_after_a_power_loss() {
    let machine = Machine::new();
    let (_store, stream) = machine.create();
    machine.disk.record();
    stream.append(&Record::new("a")).unwrap();
    let images = machine.disk.take_images();
    assert!(8 < images.len(), "{} moments", images.len());
    for image in images {
        for names in 0..=image.pending_names() {
            for pages in [0, !0] {
                let after = after(&machine, &image, Crash::Subset { pages, names: (1 << names) - 1 });
                let (_store, stream) = after.open().unwrap();
                assert_eq!(bodies(&stream, Start::Beginning), [""; 0]);
                assert_eq!(stream.recovery().corrupt, []);
                append(&stream, 0..3, Durability::Sync);
                assert_eq!(bodies(&stream, Start::Beginning), expected(3));
            }
        }
    }
}

#[test]
fn three_power_losses_in_a_row_raise_the_epoch_each_and_old_cursors_say_so() {
    for seed in 0..50 {
        let machine = Machine::new();
        let (_store, mut stream) = machine.create();
        append(&stream, 0..5, Durability::Sync);
        let (mut epoch, mut kept) = (stream.recovery().epoch, Vec::new());
        for time in 0..3 {
            // Of the same size each time, so that places are used again.
            let lost =
                stream.append_with(&Record::new(&format!("lost {time}")), Durability::Buffered).unwrap();
            kept.push(lost.cursor());
            let crash = [Crash::DropUnsynced, Crash::Pages { seed }, Crash::Sectors { seed }][time];
            machine.crash(crash);
            stream = machine.open().unwrap().1;
            assert!(epoch < stream.recovery().epoch);
            epoch = stream.recovery().epoch;
            let left = bodies(&stream, Start::Beginning);
            assert_eq!(left[..5], expected(5));
            for (which, cursor) in kept.iter().enumerate() {
                let is_left = left.contains(&format!("lost {which}"));
                match stream.read(Start::Cursor(*cursor)) {
                    Ok(_) => assert!(is_left, "seed {seed}: what it consumed is gone"),
                    Err(err) => {
                        assert!(matches!(err.kind(), ErrorKind::CursorDiverged { .. }), "{err:?}");
                        assert!(!is_left, "seed {seed}: nothing was lost");
                    }
                }
            }
        }
    }
}
