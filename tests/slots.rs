//! What the engine notes of a log beside its frames, torn, lost, from the past or from the future: checkpoint and
//! watermarks. And a disk whose syncs lie: where anything proves it, it is told.

#![cfg(feature = "sim")]

mod common;

use std::path::PathBuf;

use common::*;
use tailwater::vfs::sim::Crash;
use tailwater::*;

fn text(number: usize) -> String {
    format!("{number} {}", "x".repeat(900))
}

fn append(stream: &Stream, numbers: std::ops::Range<usize>) {
    for number in numbers {
        stream.append_with(&Record::new(&text(number)), Durability::Buffered).unwrap();
    }
}

fn expected(count: usize) -> Vec<String> {
    (0..count).map(text).collect()
}

fn checkpoint(machine: &Machine) -> PathBuf {
    let is_checkpoint = |path: &PathBuf| {
        path.ends_with("checkpoint") && path.components().any(|part| part.as_os_str() == "streams")
    };
    machine.disk.list_all().into_iter().find(is_checkpoint).unwrap()
}

/// Bytes of a checkpoint's slot, and where the two lie.
const SLOT: usize = 108;
const SLOT_AT: [usize; 2] = [0, 4096];

/// A log of several segments of which retention took the first, closed or not, and the checkpoint as it was in between.
fn log(closed: bool) -> (Machine, Vec<u8>) {
    let machine = Machine::new();
    let (store, stream) = machine.create_with(spec().ttl(TtlDays::new(1).unwrap()));
    for _ in 0..30 {
        stream.append(&Record::new(&[0; 5000])).unwrap();
    }
    machine.clock.advance(HOUR * 20);
    append(&stream, 0..1);
    store.tick().unwrap();
    let old = machine.disk.read_file(checkpoint(&machine));
    append(&stream, 1..40);
    stream.sync().unwrap();
    machine.clock.advance(HOUR * 10);
    assert!(0 < store.tick().unwrap().removed_segments);
    append(&stream, 40..60);
    if closed {
        store.close().unwrap();
    } else {
        stream.sync().unwrap();
    }
    machine.crash(Crash::DropUnsynced);
    (machine, old)
}

#[test]
fn a_checkpoint_torn_invalid_lost_or_from_the_past_costs_a_look_at_the_log_and_no_record() {
    for closed in [false, true] {
        let (machine, old) = log(closed);
        let path = checkpoint(&machine);
        let now = machine.disk.read_file(&path);
        assert_ne!(now, old);
        let with = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = now.clone();
            change(&mut bytes);
            Some(bytes)
        };
        let mut kinds = vec![
            ("from the past", Some(old.clone())),
            ("lost", None),
            ("empty", Some(Vec::new())),
            ("both invalid", with(&|bytes| SLOT_AT.iter().for_each(|at| bytes[at + 40] ^= 1))),
            ("zeros", Some(vec![0; now.len()])),
        ];
        for at in SLOT_AT {
            for half in [8, 40, 56, 104] {
                kinds.push(("torn", with(&|bytes| bytes[at + half..at + SLOT].fill(0))));
            }
        }
        for (kind, bytes) in kinds {
            let machine =
                Machine { disk: machine.disk.fork_crashed(Crash::KeepAll), clock: machine.clock.fork() };
            match bytes {
                Some(bytes) => machine.disk.write_file(&path, &bytes),
                None => machine.disk.remove(&path),
            }
            let (store, stream) = machine.open().unwrap();
            let (seen, gaps) = drain(&mut stream.read(Start::Beginning).unwrap(), Limit::default());
            let found = stream.recovery();
            // An older slot may know of an earlier start of the log: then nobody can tell what retention took from what is
            // missing, and it is said.
            let is_before = |gap: &Gap| gap.reason != GapReason::Corrupt && gap.end <= seen[0].offset;
            assert!(gaps.iter().all(is_before), "{kind}, closed {closed}: {gaps:?}, {found:?}");
            assert!(texts(&seen) == expected(60), "{kind}, closed {closed}: {} of 60, {found:?}", seen.len());
            assert_eq!(stream.recovery().corrupt, [], "{kind}, closed {closed}");
            if !matches!(kind, "from the past" | "torn") {
                assert_eq!(gaps, [], "{kind}: the log begins with its first segment");
                assert!(stream.verify().unwrap().is_sound(), "{kind}, closed {closed}");
                assert!(0 < stream.stats().unwrap().log_start, "{kind}");
            }
            append(&stream, 60..61);
            store.close().unwrap();
            let (_store, stream) = machine.open().unwrap();
            let (seen, _) = drain(&mut stream.read(Start::Beginning).unwrap(), Limit::default());
            assert!(texts(&seen) == expected(61), "{kind}");
        }
    }
}

#[test]
fn a_checkpoint_that_knows_of_more_than_the_log_holds_is_told() {
    let machine = Machine::new();
    let (store, stream) = machine.create();
    append(&stream, 0..10);
    stream.sync().unwrap();
    let before = machine.disk.image();
    append(&stream, 10..20);
    let tail = stream.published().unwrap();
    store.close().unwrap();
    let newer = machine.disk.read_file(checkpoint(&machine));
    for crash in [Crash::KeepAll, Crash::DropUnsynced] {
        let after = Machine { disk: before.crashed(crash), clock: machine.clock.fork() };
        after.clock.reboot();
        after.disk.write_file(checkpoint(&after), &newer);
        let (_store, stream) = after.open().unwrap();
        let (seen, gaps) = drain(&mut stream.read(Start::Beginning).unwrap(), Limit::default());
        let left = seen.len();
        assert_eq!(texts(&seen), expected(left));
        if left < 20 {
            // Marked clean at an end that does not hold, or not: either way somebody hears of it.
            assert_eq!(gaps.last().map(|gap| gap.end), Some(tail), "{crash:?}: {:?}", stream.recovery());
        }
        assert!(tail <= stream.published().unwrap(), "no place is used twice");
    }
}

/// Positions of the watermarks in a segment's first page.
fn watermarks(bytes: &[u8]) -> Vec<usize> {
    (0..4096 - 24).step_by(8).filter(|at| bytes[at + 4..at + 8] == *b"wmrk").collect()
}

#[test]
fn an_old_or_torn_watermark_does_no_harm_and_one_newer_than_the_data_reports_what_is_missing() {
    let machine = Machine::new();
    let (_store, stream) = machine.create();
    let file = || machine.segments()[0].clone();
    for count in 0..3 {
        append(&stream, count..count + 1);
        stream.sync().unwrap();
    }
    let first = machine.disk.read_file(file());
    append(&stream, 3..8);
    stream.sync().unwrap();
    append(&stream, 8..9);
    stream.sync().unwrap();
    let tail = stream.published().unwrap();
    let second = machine.disk.read_file(file());
    let at = watermarks(&first);
    assert_eq!(at, watermarks(&second));
    assert_eq!(at.len(), 2);
    // The segment's bytes, with the slots of `marks`, as they boot.
    let boot = |data: &[u8], marks: Option<&[u8]>| {
        let after =
            Machine { disk: machine.disk.fork_crashed(Crash::DropUnsynced), clock: machine.clock.fork() };
        after.clock.reboot();
        let mut bytes = data.to_vec();
        for at in &at {
            match marks {
                Some(marks) => bytes[*at..at + 24].copy_from_slice(&marks[*at..at + 24]),
                None => bytes[at + 12..at + 24].fill(0xa5),
            }
        }
        after.disk.write_file(file(), &bytes);
        let (_store, stream) = after.open().unwrap();
        let (seen, gaps) = drain(&mut stream.read(Start::Beginning).unwrap(), Limit::default());
        (texts(&seen), gaps, stream.recovery().clone())
    };
    for marks in [Some(&first[..]), None] {
        let (seen, gaps, recovery) = boot(&second, marks);
        assert_eq!((seen, gaps.len(), recovery.corrupt.len()), (expected(9), 0, 0), "{marks:?}");
    }
    let (seen, gaps, recovery) = boot(&first, Some(&second));
    assert_eq!(seen, expected(3));
    assert_eq!((gaps.len(), gaps[0].end, gaps[0].reason), (1, tail, GapReason::Corrupt));
    assert_eq!(recovery.corrupt, vec![gaps[0].start..tail]);
    assert_eq!(recovery.torn_bytes, 0);
}

/// A sync that returned, and a page that never came to the disk. Of the records of the very last sync nobody can tell
/// after a power loss whether they had been acknowledged; of all others it is told.
#[test]
fn what_a_lying_sync_dropped_is_told_wherever_anything_proves_it() {
    let (mut told, mut silent) = (0, 0);
    for end in ["power", "kill", "close"] {
        let machine = Machine::new();
        let (store, stream) = machine.create();
        let mut last = 0;
        for round in 0..6 {
            last = stream.published().unwrap();
            append(&stream, round * 4..round * 4 + 4);
            stream.sync().unwrap();
        }
        let all = records(&stream, Start::Beginning);
        match end {
            "close" => store.close().unwrap(),
            "kill" => machine.crash(Crash::KeepAll),
            _ => machine.crash(Crash::DropUnsynced),
        }
        let file = machine.segments()[0].clone();
        let bytes = machine.disk.read_file(&file);
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() / 4096;
        for page in 1..=used {
            let after =
                Machine { disk: machine.disk.fork_crashed(Crash::KeepAll), clock: machine.clock.fork() };
            let mut bytes = bytes.clone();
            bytes[page * 4096..(page + 1) * 4096].fill(0);
            after.disk.write_file(&file, &bytes);
            let (_store, stream) = after.open().unwrap();
            let (seen, gaps) = drain(&mut stream.read(Start::Beginning).unwrap(), Limit::default());
            for record in &all {
                if seen.iter().any(|seen| seen == record) {
                    continue;
                }
                let covers = |gap: &Gap| gap.start <= record.offset && record.end <= gap.end;
                if gaps.iter().any(covers) {
                    told += 1;
                } else {
                    silent += 1;
                    assert_eq!(end, "power", "page {page}: {} is missing in silence", record.offset);
                    assert!(last <= record.offset, "page {page}: {} was proven durable", record.offset);
                }
            }
            assert!(seen.iter().all(|seen| all.contains(seen)), "page {page}: a record was made up");
        }
    }
    println!("{told} records missing and told, {silent} of the last sync before a power loss not");
    assert!(30 < told && silent <= 8, "{told} and {silent}");
}

/// Documented and measured: the last sync's frames have nothing behind them that proves them.
#[test]
fn a_flipped_bit_in_the_last_synced_frame_is_corrupt_or_after_a_power_loss_torn_and_never_served() {
    let mut outcomes = [0; 3];
    for count in [1, 5] {
        for crash in [Crash::KeepAll, Crash::DropUnsynced] {
            let machine = Machine::new();
            let (_store, stream) = machine.create();
            append(&stream, 0..4);
            stream.sync().unwrap();
            append(&stream, 4..4 + count);
            stream.sync().unwrap();
            let all = records(&stream, Start::Beginning);
            let victim = all.last().unwrap();
            machine.crash(crash);
            let file = machine.segments()[0].clone();
            for bit in (0..(victim.end - victim.offset) as usize * 8).step_by(7) {
                let fork =
                    Machine { disk: machine.disk.fork_crashed(Crash::KeepAll), clock: machine.clock.fork() };
                fork.disk.flip_bit(&file, (4096 + victim.offset as usize) * 8 + bit);
                let (_store, stream) = fork.open().unwrap();
                let (seen, gaps) = drain(&mut stream.read(Start::Beginning).unwrap(), Limit::default());
                assert!(
                    seen.len() == all.len() || seen == all[..all.len() - 1],
                    "bit {bit}: neighbours are served"
                );
                assert!(seen.len() < all.len() || seen == all, "bit {bit}: a changed record was served");
                if seen.len() == all.len() {
                    outcomes[2] += 1;
                } else if gaps.is_empty() {
                    assert_eq!(crash, Crash::DropUnsynced, "bit {bit} was not told");
                    assert!(0 < stream.recovery().torn_bytes, "bit {bit}");
                    outcomes[1] += 1;
                } else {
                    outcomes[0] += 1;
                }
            }
        }
    }
    let [corrupt, torn, harmless] = outcomes;
    println!("{corrupt} told as corrupt, {torn} as torn, {harmless} harmless");
    assert!(0 < corrupt && 0 < torn);
}
