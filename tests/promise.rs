//! The promise table of the design, row by row and durability by durability.

#![cfg(feature = "sim")]

mod common;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use common::*;
use tailwater::vfs::sim::{Crash, Fault, Op};
use tailwater::*;

const BUFFERED: Durability = Durability::Buffered;
const INTERVAL: Durability = Durability::Interval;
const SYNC: Durability = Durability::Sync;

/// Enough to fill several segments.
const MANY: usize = 300;

fn text(number: usize) -> String {
    format!("{number} {}", "x".repeat(number * 7 % 1000))
}

fn append(stream: &Stream, numbers: std::ops::Range<usize>, durability: Durability) {
    for number in numbers {
        stream.append_with(&Record::new(&text(number)), durability).unwrap();
    }
}

fn expected(count: usize) -> Vec<String> {
    (0..count).map(text).collect()
}

/// Every way to lose power that leaves sectors whole.
fn power_losses() -> impl Iterator<Item = Crash> {
    let seeds = 0..20;
    let torn = seeds.flat_map(|seed| [Crash::Pages { seed }, Crash::Sectors { seed }]);
    std::iter::once(Crash::DropUnsynced).chain(torn)
}

// An append returns when its record is published, or with Sync durable.

#[track_caller]
fn check_returned(durability: Durability, is_durable: bool) {
    let machine = Machine::new();
    let (_store, stream) = machine.create();
    for count in 1..=MANY {
        append(&stream, count - 1..count, durability);
        let published = stream.published().unwrap();
        assert_eq!(stream.durable() == published, is_durable, "after {count}");
        assert_eq!(bodies(&stream, Start::Last(1)), [text(count - 1)]);
    }
    let mut durable = stream.read(Start::Beginning).unwrap().durable_only(true);
    let (seen, _) = drain(&mut durable, Limit::default());
    assert_eq!(seen.len(), if is_durable { MANY } else { 0 });
}

#[test]
fn append_returns_published_with_buffered() {
    check_returned(BUFFERED, false);
}

#[test]
fn append_returns_published_with_interval() {
    check_returned(INTERVAL, false);
}

#[test]
fn append_returns_durable_with_sync() {
    check_returned(SYNC, true);
}

#[test]
fn one_sync_covers_everyone_who_waits_with_sync() {
    let machine = Machine::new();
    let (_store, stream) = machine.create();
    append(&stream, 0..1, SYNC);
    let before = machine.disk.count(Op::RegionSync);
    append(&stream, 1..100, BUFFERED);
    append(&stream, 100..101, SYNC);
    assert!(machine.disk.count(Op::RegionSync) - before <= 4, "syncs go by the segment, not by the record");
    assert_eq!(stream.durable(), stream.published().unwrap());
}

// kill -9: every returned append.

#[track_caller]
fn check_killed(durability: Durability) {
    let machine = Machine::new();
    let (_store, mut stream) = machine.create();
    for (from, to) in [(0, 10), (10, 11), (11, MANY)] {
        append(&stream, from..to, durability);
        machine.disk.writeback(to as u64);
        machine.crash(Crash::KeepAll);
        stream = machine.open().unwrap().1;
        assert_eq!(bodies(&stream, Start::Beginning), expected(to));
        assert_eq!((stream.recovery().torn_bytes, stream.recovery().unfinished), (0, 0));
        assert!(stream.verify().unwrap().is_sound());
    }
    // What recovery serves is as durable as any other append: once synced, a power failure no longer takes it.
    if durability != SYNC {
        assert!(stream.durable() < stream.published().unwrap(), "nothing but a sync makes durable");
    }
    stream.sync().unwrap();
    machine.crash(Crash::DropUnsynced);
    assert_eq!(bodies(&machine.open().unwrap().1, Start::Beginning), expected(MANY));
}

#[test]
fn kill_keeps_every_returned_append_with_buffered() {
    check_killed(BUFFERED);
}

#[test]
fn kill_keeps_every_returned_append_with_interval() {
    check_killed(INTERVAL);
}

#[test]
fn kill_keeps_every_returned_append_with_sync() {
    check_killed(SYNC);
}

// Power loss: a gapless prefix, at least to the last sync; with Sync every returned append.

/// `synced` records, then something that makes them durable, then more up to `MANY`.
#[track_caller]
fn check_power_loss(durability: Durability, synced: usize, sync: impl Fn(&Store, &Stream)) {
    let machine = Machine::new();
    let (store, stream) = machine.create();
    append(&stream, 0..synced, durability);
    sync(&store, &stream);
    append(&stream, synced..MANY, durability);
    let promised = if durability == SYNC { MANY } else { synced };
    for crash in power_losses() {
        let machine = Machine { disk: machine.disk.fork_crashed(crash), clock: machine.clock.clone() };
        machine.clock.reboot();
        let (store, stream) = machine.open().unwrap();
        let left = bodies(&stream, Start::Beginning);
        assert!(promised <= left.len(), "{crash:?} leaves {} of {promised}", left.len());
        assert_eq!(left, expected(left.len()), "{crash:?}");
        assert_eq!(stream.recovery().corrupt, [], "{crash:?}");
        assert!(store.verify().unwrap().is_sound(), "{crash:?}");
        append(&stream, left.len()..left.len() + 1, durability);
        assert_eq!(bodies(&stream, Start::Beginning), expected(left.len() + 1), "{crash:?}");
    }
}

#[test]
fn power_loss_leaves_a_gapless_prefix_to_the_last_sync_with_buffered() {
    for synced in [0, 1, 57, 150, MANY] {
        check_power_loss(BUFFERED, synced, |_, stream| stream.sync().unwrap());
    }
}

#[test]
fn power_loss_leaves_a_gapless_prefix_to_the_last_interval_with_interval() {
    for synced in [0, 1, 57, 150, MANY] {
        // Without threads the host's tick is the interval.
        check_power_loss(INTERVAL, synced, |store, stream| {
            assert_eq!(stream.stats().unwrap().durable_lag(), stream.published().unwrap() - stream.durable());
            store.tick().unwrap();
            assert_eq!(stream.stats().unwrap().durable_lag(), 0);
        });
    }
}

#[test]
fn power_loss_leaves_every_returned_append_with_sync() {
    check_power_loss(SYNC, MANY, |_, _| {});
}

// sync() returned Ok: everything before it survives. Closing is a sync, too.

#[track_caller]
fn check_synced(durability: Durability) {
    check_power_loss(durability, 120, |_, stream| stream.sync().unwrap());
    check_power_loss(durability, 120, |store, _| store.sync().unwrap());
    let machine = Machine::new();
    let (store, stream) = machine.create();
    append(&stream, 0..MANY, durability);
    store.close().unwrap();
    machine.crash(Crash::DropUnsynced);
    let (_store, stream) = machine.open().unwrap();
    assert!(stream.recovery().clean);
    assert_eq!(bodies(&stream, Start::Beginning), expected(MANY));
}

#[test]
fn what_came_before_a_sync_survives_with_buffered() {
    check_synced(BUFFERED);
}

#[test]
fn what_came_before_a_sync_survives_with_interval() {
    check_synced(INTERVAL);
}

#[test]
fn what_came_before_a_sync_survives_with_sync() {
    check_synced(SYNC);
}

// A sync fails: poisoned.

#[track_caller]
fn check_poisoned(durability: Durability) {
    const LATE: usize = 100;
    for op in [Op::RegionSync, Op::SyncDir] {
        let machine = Machine::new();
        let (store, stream) = machine.create();
        append(&stream, 0..10, BUFFERED);
        if op == Op::RegionSync {
            stream.sync().unwrap();
        }
        let durable = stream.durable();
        // More than a page: what follows touches the last one again, and the others only if recovery does.
        append(&stream, 10..LATE, BUFFERED);
        // Once only: the kernel forgets, the stream must not.
        machine.disk.fail(Fault { op, nth: 1, error: io::ErrorKind::Other, sticky: false });
        let late = stream.append_with(&Record::new(&text(LATE)), durability);
        match durability {
            Durability::Sync => assert_eq!(*late.unwrap_err().kind(), ErrorKind::Io, "who waits is told"),
            Durability::Buffered => {
                late.unwrap();
                assert_eq!(*stream.sync().unwrap_err().kind(), ErrorKind::Io);
            }
            Durability::Interval => {
                late.unwrap();
                let _ = store.tick();
            }
        }
        machine.disk.clear_faults();
        for _ in 0..2 {
            let refused = stream.append_with(&Record::new("refused"), durability).unwrap_err();
            assert_eq!(*refused.kind(), ErrorKind::Poisoned, "{op:?}");
            assert_eq!(
                *stream.sync().unwrap_err().kind(),
                ErrorKind::Poisoned,
                "asking again proves nothing"
            );
        }
        assert!(stream.stats().unwrap().poisoned);
        assert_eq!(stream.durable(), durable, "nothing became durable");
        assert_eq!(bodies(&stream, Start::Beginning), expected(LATE + 1), "reads go on");
        let _ = store.close();
        drop((store, stream));

        let (store, stream) = machine.open().unwrap();
        assert!(!stream.recovery().clean);
        assert_eq!(bodies(&stream, Start::Beginning), expected(LATE + 1));
        append(&stream, LATE + 1..LATE + 2, durability);
        store.sync().unwrap();
        // Recovery dirtied again what the failed sync had marked clean.
        machine.crash(Crash::DropUnsynced);
        assert_eq!(bodies(&machine.open().unwrap().1, Start::Beginning), expected(LATE + 2), "{op:?}");
    }
}

#[test]
fn a_failed_sync_poisons_the_stream_until_it_is_opened_anew_with_buffered() {
    check_poisoned(BUFFERED);
}

#[test]
fn a_failed_sync_poisons_the_stream_until_it_is_opened_anew_with_interval() {
    check_poisoned(INTERVAL);
}

#[test]
fn a_failed_sync_poisons_the_stream_until_it_is_opened_anew_with_sync() {
    check_poisoned(SYNC);
}

#[test]
fn a_poisoned_stream_leaves_the_others_alone() {
    let machine = Machine::new();
    let (store, stream) = machine.create();
    let other = store.create_stream(StreamSpec::new(StreamName::new("other").unwrap())).unwrap();
    append(&other, 0..1, SYNC);
    append(&stream, 0..1, SYNC);
    machine.disk.fail(Fault { op: Op::RegionSync, nth: 1, error: io::ErrorKind::Other, sticky: false });
    stream.append_with(&Record::new("a"), SYNC).unwrap_err();
    append(&other, 1..2, SYNC);
    assert_eq!(bodies(&other, Start::Beginning), expected(2));
}

// Disk full: a typed error, nothing published, works again by itself.

#[track_caller]
fn check_full(durability: Durability) {
    let machine = Machine::new();
    let (store, stream) = machine.create();
    append(&stream, 0..1, durability);
    machine.disk.set_capacity(machine.disk.used());
    let mut count = 1;
    let full = loop {
        match stream.append_with(&Record::new(&text(count)), durability) {
            Ok(_) => count += 1,
            Err(err) => break err,
        }
    };
    assert!(20 < count, "what was reserved can be used");
    assert_eq!(*full.kind(), ErrorKind::NoSpace);
    let end = stream.published().unwrap();
    let batch = [Record::new(&[1; 3000]), Record::new(&[2; 3000])];
    assert_eq!(*stream.append_batch_with(&batch, durability).unwrap_err().kind(), ErrorKind::NoSpace);
    assert_eq!(stream.published().unwrap(), end, "nothing is published");
    assert_eq!(bodies(&stream, Start::Beginning), expected(count));
    assert!(store.verify().unwrap().is_sound());
    assert!(machine.disk.list_all().iter().all(|path| !path.to_string_lossy().contains(".new-")));
    store.sync().unwrap();

    machine.disk.set_capacity(1 << 30);
    append(&stream, count..count + 1, durability);
    assert_eq!(bodies(&stream, Start::Beginning), expected(count + 1));
    store.sync().unwrap();
    machine.crash(Crash::DropUnsynced);
    assert_eq!(bodies(&machine.open().unwrap().1, Start::Beginning), expected(count + 1));
}

#[test]
fn a_full_disk_publishes_nothing_and_appends_go_on_once_there_is_room_with_buffered() {
    check_full(BUFFERED);
}

#[test]
fn a_full_disk_publishes_nothing_and_appends_go_on_once_there_is_room_with_interval() {
    check_full(INTERVAL);
}

#[test]
fn a_full_disk_publishes_nothing_and_appends_go_on_once_there_is_room_with_sync() {
    check_full(SYNC);
}

#[test]
fn a_log_in_which_an_append_found_no_room_closes_clean() {
    let machine = Machine::new();
    let (store, stream) = machine.create();
    append(&stream, 0..1, SYNC);
    // Ended and let go of: the next append needs another file.
    machine.clock.advance(12 * DAY);
    store.tick().unwrap();
    machine.disk.set_capacity(machine.disk.used());
    assert_eq!(*stream.append(&Record::new("full")).unwrap_err().kind(), ErrorKind::NoSpace);
    machine.disk.set_capacity(1 << 30);
    store.close().unwrap();
    let (_store, stream) = machine.open().unwrap();
    assert!(stream.recovery().clean);
    assert_eq!(bodies(&stream, Start::Beginning), expected(1));
}

#[test]
fn retention_makes_room_on_a_full_disk() {
    let machine = Machine::new();
    let (store, stream) = machine.create_with(spec().ttl(TtlDays::new(1).unwrap()));
    append(&stream, 0..MANY, BUFFERED);
    store.tick().unwrap();
    machine.disk.set_capacity(machine.disk.used());
    while stream.append(&Record::new(&[1; 3000])).is_ok() {}
    machine.clock.advance(2 * DAY);
    assert!(1 < store.tick().unwrap().removed_segments);
    stream.append(&Record::new(&[1; 3000])).unwrap();
}

// Damage in synced data: detected on every read, reported as a gap, neighbours served.

#[track_caller]
fn check_damaged(durability: Durability) {
    let machine = Machine::new();
    let (store, stream) = machine.create();
    append(&stream, 0..MANY, durability);
    let all = records(&stream, Start::Beginning);
    store.close().unwrap();
    let files = machine.segments();
    assert!(3 <= files.len());
    // One in the first segment, one in the middle, one in the last; the middle of the body, then the header.
    for (number, part) in [(3, 40), (3, 1), (MANY / 2, 20), (MANY - 2, 30), (MANY - 1, 26)] {
        let victim = &all[number];
        let base =
            |path: &std::path::PathBuf| path.file_stem().unwrap().to_str().unwrap().parse::<u64>().unwrap();
        let file = files.iter().rfind(|file| base(file) <= victim.offset).unwrap();
        let position = (victim.offset - base(file)) as usize + 4096 + part.min(victim.body.len() + 23);
        for crash in [None, Some(Crash::KeepAll), Some(Crash::DropUnsynced)] {
            let disk = machine.disk.fork_crashed(Crash::DropUnsynced);
            let machine = Machine { disk, clock: machine.clock.clone() };
            if let Some(crash) = crash {
                // As much is synced as before, and the end was not clean.
                let (_store, stream) = machine.open().unwrap();
                stream.append_with(&Record::new(&text(MANY)), SYNC).unwrap();
                machine.crash(crash);
            }
            machine.disk.flip_bit(file, position * 8 + 3);
            let (store, stream) = machine.open().unwrap();
            for _ in 0..2 {
                let mut reader = stream.read(Start::Beginning).unwrap();
                let (seen, gaps) = drain(&mut reader, Limit::default());
                let mut left = expected(MANY + usize::from(crash.is_some()));
                left.remove(number);
                assert_eq!(texts(&seen), left, "record {number}, {crash:?}");
                assert_eq!(gaps.len(), 1, "{gaps:?}");
                let gap = gaps[0];
                assert_eq!((gap.start, gap.end, gap.reason), (victim.offset, victim.end, GapReason::Corrupt));
            }
            let report = store.verify().unwrap();
            assert_eq!(report.damage.len(), 1, "{:?}", report.damage);
            let damage = &report.damage[0];
            assert_eq!((damage.start, damage.end), (Some(victim.offset), Some(victim.end)));
            assert_eq!(damage.path, *file);
            // The stream goes on behind it.
            stream.append_with(&Record::new("on"), durability).unwrap();
            assert_eq!(bodies(&stream, Start::Last(1)), ["on"]);
        }
    }
}

#[test]
fn damage_in_synced_data_is_a_gap_and_its_neighbours_are_served_with_buffered() {
    check_damaged(BUFFERED);
}

#[test]
fn damage_in_synced_data_is_a_gap_and_its_neighbours_are_served_with_interval() {
    check_damaged(INTERVAL);
}

#[test]
fn damage_in_synced_data_is_a_gap_and_its_neighbours_are_served_with_sync() {
    check_damaged(SYNC);
}

#[test]
fn a_page_of_zeros_amid_the_log_does_not_end_it() {
    let machine = Machine::new();
    let (store, stream) = machine.create();
    append(&stream, 0..MANY, BUFFERED);
    store.close().unwrap();
    let path = machine.segments().remove(0);
    let mut bytes = machine.disk.read_file(&path);
    bytes[8192..12288].fill(0);
    machine.disk.write_file(&path, &bytes);
    let (_store, stream) = machine.open().unwrap();
    let (seen, gaps) = drain(&mut stream.read(Start::Beginning).unwrap(), Limit::default());
    assert_eq!((gaps.len(), gaps[0].reason), (1, GapReason::Corrupt));
    assert!(gaps[0].end - gaps[0].start < 3 * 4096, "no more is given up than the page's records: {gaps:?}");
    let left = texts(&seen);
    let before = left.iter().zip(expected(MANY)).take_while(|(left, whole)| **left == *whole).count();
    let lost = MANY - left.len();
    assert!(0 < before && before + lost < MANY, "{before} records, {lost} lost");
    assert_eq!(left[before..], expected(MANY)[before + lost..]);
}

#[test]
fn a_lost_segment_is_a_gap_and_its_neighbours_are_served() {
    let machine = Machine::new();
    let (store, stream) = machine.create();
    append(&stream, 0..MANY, SYNC);
    let all = records(&stream, Start::Beginning);
    store.close().unwrap();
    let files = machine.segments();
    let base = |index: usize| -> u64 { files[index].file_stem().unwrap().to_str().unwrap().parse().unwrap() };
    let (start, end) = (base(1), base(2));
    machine.disk.remove(&files[1]);
    let (store, stream) = machine.open().unwrap();
    let (seen, gaps) = drain(&mut stream.read(Start::Beginning).unwrap(), Limit::default());
    let left = all.iter().filter(|seen| seen.end <= start || end <= seen.offset);
    assert!(left.eq(&seen));
    assert_eq!(
        gaps.iter().map(|gap| (gap.start, gap.end, gap.reason)).collect::<Vec<_>>(),
        [(start, end, GapReason::Missing)]
    );
    assert!(!store.verify().unwrap().is_sound());
}

#[test]
fn one_damaged_stream_never_blocks_the_others() {
    let machine = Machine::new();
    let (store, stream) = machine.create();
    let other = store.create_stream(StreamSpec::new(StreamName::new("other").unwrap())).unwrap();
    append(&stream, 0..20, SYNC);
    append(&other, 0..20, SYNC);
    let dir = format!("streams/{}", stream.id());
    machine.crash(Crash::DropUnsynced);
    for path in machine.disk.list_all() {
        if path.to_string_lossy().contains(&dir) {
            let bytes = machine.disk.read_file(&path);
            machine.disk.write_file(&path, &vec![0xa5; bytes.len()]);
        }
    }
    let store = machine.options().open(DIR).unwrap();
    assert_eq!(bodies(&store.stream("other").unwrap(), Start::Beginning), expected(20));
    append(&store.stream("other").unwrap(), 20..21, SYNC);
    let stream = store.stream(NAME).unwrap();
    let (seen, _) = drain(&mut stream.read(Start::Beginning).unwrap(), Limit::default());
    assert!(seen.is_empty());
    stream.append_with(&Record::new("on"), SYNC).unwrap();
    assert_eq!(bodies(&stream, Start::Last(1)), ["on"]);
}

#[test]
fn repair_makes_the_store_sound_keeps_the_gaps_and_sets_the_damaged_file_aside() {
    let dir = tempfile::tempdir().unwrap();
    let options = || Options::new().background(false).max_segment_bytes(64 << 10);
    let store = options().open(dir.path()).unwrap();
    let stream = store.create_stream(spec()).unwrap();
    append(&stream, 0..MANY, SYNC);
    let all = records(&stream, Start::Beginning);
    let id = stream.id();
    store.close().unwrap();
    drop((store, stream));

    let streams = dir.path().join("streams").join(id.to_string());
    let file = streams.join(format!("{:020}.seg", 0));
    let mut bytes = std::fs::read(&file).unwrap();
    for victim in [&all[3], &all[4], &all[40]] {
        bytes[4096 + victim.offset as usize + 24] ^= 0x40;
    }
    std::fs::write(&file, &bytes).unwrap();
    let read = || {
        let store = options().open(dir.path()).unwrap();
        let stream = store.stream(NAME).unwrap();
        let (seen, gaps) = drain(&mut stream.read(Start::Beginning).unwrap(), Limit::default());
        let ranges: Vec<_> = gaps.iter().map(|gap| (gap.start, gap.end)).collect();
        (store.verify().unwrap().is_sound(), seen, ranges)
    };
    let (sound, seen, gaps) = read();
    assert!(!sound);
    assert_eq!(gaps, [(all[3].offset, all[4].end), (all[40].offset, all[40].end)]);

    let report = repair(dir.path()).unwrap();
    let damaged: u64 = [&all[3], &all[4], &all[40]].iter().map(|seen| seen.end - seen.offset).sum();
    assert_eq!(report.lost_bytes, damaged);
    assert_eq!(report.rewritten_segments, [file]);
    assert_eq!(report.set_aside.len(), 1);
    assert!(report.set_aside[0].starts_with(streams.join("quarantine")));
    assert_eq!(std::fs::read(&report.set_aside[0]).unwrap(), bytes, "the original is kept");
    let (sound, after, still) = read();
    assert!(sound);
    assert!(after == seen, "what could be read can be read");
    assert_eq!(still, gaps);
    let again = repair(dir.path()).unwrap();
    assert_eq!((again.set_aside, again.lost_bytes), (vec![], 0), "there is nothing left to repair");
}

#[test]
fn a_store_that_is_let_go_of_leaves_nothing_in_memory() {
    for crash in [false, true] {
        let machine = Machine::new();
        let vfs: Arc<dyn vfs::Vfs> = Arc::new(machine.disk.clone());
        let store = machine.options().vfs(Arc::clone(&vfs)).open(DIR).unwrap();
        let stream = store.create_stream(spec()).unwrap();
        append(&stream, 0..MANY, INTERVAL);
        if crash {
            machine.disk.crash_at(1);
        } else {
            store.close().unwrap();
        }
        drop((store, stream));
        assert_eq!(Arc::strong_count(&vfs), 1, "nobody holds its files any more");
    }
}

#[test]
fn a_tail_that_waits_learns_that_the_store_was_closed() {
    let (store, stream) = Machine::new().create();
    let mut tail = stream.tail(Start::Now).unwrap();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(move || tail.next(Duration::from_secs(60)).unwrap_err().kind().clone());
        store.close().unwrap();
        assert_eq!(waiter.join().unwrap(), ErrorKind::Closed);
    });
}
