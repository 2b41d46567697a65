//! Which streams an opening takes to be closed properly. An append does not take that word back, and whatever a crash leaves of the two,
//! nothing is lost that was durable, nothing comes back that was lost, and a cursor to it diverges.

#![cfg(feature = "sim")]

mod common;

use std::io;
use std::path::Path;
use std::time::Duration;

use common::*;
use tailwater::vfs::sim::{Crash, Fault, Op};
use tailwater::*;

fn era() -> std::path::PathBuf {
    Path::new(DIR).join("era")
}

/// Appends to beyond where the lost record ended, and asks for what comes after it.
#[track_caller]
fn assert_diverged(stream: &Stream, lost: Cursor) {
    append_over(stream, lost);
    assert_diverges(stream, lost);
}

/// A closed store whose stream holds one record.
fn closed() -> Machine {
    let machine = Machine::new();
    let (store, stream) = machine.create();
    append(&stream, "kept");
    store.close().unwrap();
    machine
}

fn fork(machine: &Machine) -> Machine {
    Machine { disk: machine.disk.fork_crashed(Crash::KeepAll), clock: machine.clock.fork() }
}

#[test]
fn the_first_append_after_an_opening_writes_and_syncs_nothing_but_its_frame_also_after_a_kill() {
    let machine = closed();
    let calls = [Op::Write, Op::Sync, Op::SyncDir, Op::RegionSync, Op::ReplaceCreate];
    for _ in 0..2 {
        let store = machine.options().open(DIR).unwrap();
        machine.crash(Crash::KeepAll);
        drop(store);
        let (store, stream) = machine.open().unwrap();
        assert!(stream.recovery().clean);
        let counts = || calls.map(|op| machine.disk.count(op));
        let before = counts();
        append(&stream, "first");
        assert_eq!(counts(), before);
        store.close().unwrap();
    }
}

#[test]
fn a_stream_that_went_on_after_it_was_clean_is_clean_again_where_it_ends_once_it_idled() {
    let machine = closed();
    let (store, stream) = machine.open().unwrap();
    append(&stream, "first");
    // Let go of first, and marked clean after a while.
    for seconds in [4, 61] {
        machine.clock.advance(Duration::from_secs(seconds));
        store.tick().unwrap();
    }
    machine.crash(Crash::KeepAll);
    let (_store, stream) = machine.open().unwrap();
    assert!(stream.recovery().clean);
    assert_eq!(bodies(&stream, Start::Beginning), ["kept", "first"]);
}

#[test]
fn what_was_closed_is_clean_after_a_reboot_and_what_was_open_is_not_though_nothing_was_appended() {
    let machine = closed();
    machine.clock.reboot();
    let (_store, stream) = machine.open().unwrap();
    assert!(stream.recovery().clean);
    machine.crash(Crash::DropUnsynced);
    let (_store, stream) = machine.open().unwrap();
    assert!(!stream.recovery().clean);
    assert_eq!(bodies(&stream, Start::Beginning), ["kept"]);
}

#[test]
fn what_a_killed_process_went_on_with_is_not_clean_after_a_later_power_failure() {
    let machine = closed();
    let store = machine.options().open(DIR).unwrap();
    let other = store.create_stream(StreamSpec::new(StreamName::new("other").unwrap())).unwrap();
    other.append_with(&Record::new("1"), Durability::Sync).unwrap();
    let lost = append(&store.stream(NAME).unwrap(), "lost").cursor();
    machine.crash(Crash::KeepAll);
    // Closed properly, by a process that never looked at the stream.
    let store = machine.options().open(DIR).unwrap();
    store.stream("other").unwrap().append_with(&Record::new("2"), Durability::Sync).unwrap();
    store.close().unwrap();
    machine.crash(Crash::DropUnsynced);
    let (_store, stream) = machine.open().unwrap();
    assert!(!stream.recovery().clean);
    assert_diverged(&stream, lost);
}

#[test]
fn a_store_that_was_killed_and_closed_after_every_stream_was_opened_is_clean_after_a_reboot() {
    let machine = closed();
    let (_store, stream) = machine.open().unwrap();
    append(&stream, "1");
    machine.crash(Crash::KeepAll);
    let (store, stream) = machine.open().unwrap();
    assert!(!stream.recovery().clean);
    store.close().unwrap();
    machine.crash(Crash::DropUnsynced);
    let (_store, stream) = machine.open().unwrap();
    assert!(stream.recovery().clean);
    assert_eq!(bodies(&stream, Start::Beginning), ["kept", "1"]);
}

#[test]
fn a_store_with_a_stream_that_could_not_be_made_durable_does_not_say_that_it_is_closed() {
    let machine = closed();
    let (store, stream) = machine.open().unwrap();
    let lost = append(&stream, "lost").cursor();
    machine.disk.fail(Fault { op: Op::RegionSync, nth: 1, error: io::ErrorKind::Other, sticky: true });
    store.close().unwrap_err();
    machine.disk.clear_faults();
    machine.crash(Crash::DropUnsynced);
    assert_diverged(&machine.open().unwrap().1, lost);
}

#[test]
fn once_a_store_says_that_it_is_closed_no_checkpoint_is_as_a_killed_process_left_it() {
    let before = closed();
    let capacity = before.disk.used();
    let mut left = 0;
    for nth in 1.. {
        let machine = fork(&before);
        machine.disk.set_capacity(capacity);
        let (store, stream) = machine.open().unwrap();
        machine.disk.crash_at(nth);
        // It finds no room, and so there will be no frame that would show itself.
        let _ = stream.append_with(&Record::new(&[0; 100_000]), Durability::Buffered);
        let _ = store.close();
        let done = !machine.disk.is_off();
        machine.crash(Crash::KeepAll);
        let unsynced = |machine: &Machine| {
            machine.disk.dirty_pages().iter().filter(|(path, _)| path.ends_with("checkpoint")).count()
        };
        left += unsynced(&machine);
        machine.disk.set_capacity(1 << 30);
        let (store, _stream) = machine.open().unwrap();
        store.close().unwrap();
        assert_eq!(unsynced(&machine), 0, "killed at {nth}");
        if done {
            break;
        }
    }
    assert!(0 < left, "a kill leaves some");
}

#[test]
fn opening_a_clean_stream_syncs_nothing_but_what_a_process_left_that_was_killed_in_this_boot() {
    let syncs = |machine: &Machine, act: &dyn Fn()| {
        let before = machine.disk.count(Op::Sync);
        act();
        machine.disk.count(Op::Sync) - before
    };
    // Neither in a new store, where it left memory and comes back,
    let machine = Machine::new();
    let (store, stream) = machine.create();
    append(&stream, "1");
    drop(stream);
    for seconds in [4, 61] {
        machine.clock.advance(Duration::from_secs(seconds));
        store.tick().unwrap();
    }
    assert_eq!(syncs(&machine, &|| assert!(store.stream(NAME).unwrap().recovery().clean)), 0);
    store.close().unwrap();
    // nor where it was closed in an earlier boot than that of the kill.
    for (reboots, expected) in [(true, 0), (false, 1)] {
        let machine = fork(&machine);
        if reboots {
            machine.clock.reboot();
        }
        let store = machine.options().open(DIR).unwrap();
        machine.crash(Crash::KeepAll);
        drop(store);
        let store = machine.options().open(DIR).unwrap();
        assert_eq!(syncs(&machine, &|| assert!(store.stream(NAME).unwrap().recovery().clean)), expected);
    }
}

#[test]
fn without_a_sound_era_no_stream_is_clean_and_every_record_is_there() {
    for bytes in
        [None, Some(&b""[..]), Some(&[0; 39][..]), Some(&b"something else, and longer than an era is"[..])]
    {
        let machine = closed();
        match bytes {
            Some(bytes) => machine.disk.write_file(era(), bytes),
            None => machine.disk.remove(era()),
        }
        let (store, stream) = machine.open().unwrap();
        assert!(!stream.recovery().clean, "{bytes:?}");
        assert_eq!(bodies(&stream, Start::Beginning), ["kept"]);
        store.close().unwrap();
        machine.crash(Crash::DropUnsynced);
        let (_store, stream) = machine.open().unwrap();
        assert!(stream.recovery().clean, "{bytes:?}");
    }
}

#[test]
fn an_era_that_the_power_took_while_it_was_written_is_not_believed() {
    let before = closed();
    for seed in 0..16 {
        for nth in 1..100 {
            let machine = fork(&before);
            machine.disk.crash_at(nth);
            let done = machine.options().open(DIR).is_ok();
            machine.crash(Crash::Noise { seed });
            let (_store, stream) = machine.open().unwrap();
            let lost = append(&stream, "lost").cursor();
            machine.crash(Crash::DropUnsynced);
            assert_diverged(&machine.open().unwrap().1, lost);
            if done {
                break;
            }
        }
    }
}

#[test]
fn where_it_cannot_be_said_that_the_store_is_open_the_first_append_waits_for_a_sync() {
    let machine = closed();
    let syncs = |machine: &Machine| machine.disk.count(Op::Sync);
    let opening = {
        let other = fork(&machine);
        let before = syncs(&other);
        let _store = other.options().open(DIR).unwrap();
        syncs(&other) - before
    };
    // The last one of the opening.
    machine.disk.fail(Fault { op: Op::Sync, nth: opening, error: io::ErrorKind::StorageFull, sticky: false });
    let (_store, stream) = machine.open().unwrap();
    assert!(stream.recovery().clean);
    let before = syncs(&machine);
    let lost = append(&stream, "lost").cursor();
    assert_eq!(syncs(&machine), before + 1);
    machine.crash(Crash::DropUnsynced);
    assert_diverged(&machine.open().unwrap().1, lost);
}

#[test]
fn a_process_that_is_killed_tears_nothing_also_in_a_stream_that_was_closed_in_an_earlier_boot() {
    let machine = closed();
    machine.clock.reboot();
    let (_store, stream) = machine.open().unwrap();
    let damaged = append(&stream, "damaged");
    append(&stream, "behind it");
    let segment = machine.segments().pop().unwrap();
    machine.crash(Crash::KeepAll);
    machine.disk.flip_bit(&segment, (4096 + damaged.offset() as usize + 8) * 8);
    let (_store, stream) = machine.open().unwrap();
    assert_eq!(stream.recovery().torn_bytes, 0);
    let (seen, gaps) = drain(&mut stream.read(Start::Beginning).unwrap(), Limit::default());
    assert_eq!((texts(&seen), gaps.len()), (vec!["kept".to_owned(), "behind it".to_owned()], 1));
}

#[test]
fn a_slot_of_the_checkpoint_is_written_over_once_the_other_one_is_durable_wherever_recovery_is_cut_off() {
    // Retention took the first segment, and the slot before the one that says so knows nothing of that.
    let machine = Machine::new();
    let (store, stream) = machine.create_with(spec().ttl(TtlDays::new(1).unwrap()));
    for _ in 0..30 {
        stream.append(&Record::new(&[0; 5000])).unwrap();
    }
    store.tick().unwrap();
    machine.clock.advance(HOUR * 20);
    append(&stream, "kept");
    machine.clock.advance(HOUR * 10);
    assert!(0 < store.tick().unwrap().removed_segments);
    let start = stream.stats().unwrap().log_start;
    store.close().unwrap();
    let (_store, stream) = machine.open().unwrap();
    append(&stream, "lost");
    machine.crash(Crash::KeepAll);
    for seed in 0..16 {
        for nth in 1..200 {
            let machine =
                Machine { disk: machine.disk.fork_crashed(Crash::KeepAll), clock: machine.clock.fork() };
            machine.disk.crash_at(nth);
            let done = machine.open().is_ok();
            machine.crash(Crash::Noise { seed });
            let (_store, stream) = machine.open().unwrap();
            let (seen, gaps) = drain(&mut stream.read(Start::Beginning).unwrap(), Limit::default());
            assert!(gaps.is_empty() && seen[0].body == b"kept", "call {nth}, seed {seed}: {gaps:?}");
            assert_eq!(stream.stats().unwrap().log_start, start, "call {nth}, seed {seed}");
            if done {
                break;
            }
        }
    }
}
