//! Recovery that dies half way, and what the next one makes of it.

#![cfg(feature = "sim")]

mod common;

use std::io;
use std::sync::Arc;

use common::*;
use tailwater::vfs::Clock;
use tailwater::vfs::sim::{Crash, Fault, Op, SimClock};
use tailwater::*;

/// A log of which a power loss left the second segment and not the end of the first.
fn torn_before_its_second_segment() -> Machine {
    let machine = Machine::new();
    let (_store, stream) = machine.create();
    stream.append_with(&Record::new("durable"), Durability::Sync).unwrap();
    while stream.stats().unwrap().segments < 2 {
        stream.append(&Record::new(&[b'x'; 3000])).unwrap();
    }
    let second = machine.segments().pop().unwrap();
    let pages = machine.disk.dirty_pages();
    let kept = pages.iter().enumerate().filter(|(_, (path, _))| *path == second);
    let pages = kept.fold(0, |bits, (index, _)| bits | 1_u64 << index);
    machine.crash(Crash::Subset { pages, names: u64::MAX });
    assert_eq!(machine.segments().len(), 2);
    machine
}

#[test]
fn a_segment_set_aside_stays_aside_wherever_recovery_died() {
    let torn = torn_before_its_second_segment();
    for nth in 1..200 {
        let machine = Machine { disk: torn.disk.fork_crashed(Crash::KeepAll), clock: torn.clock.clone() };
        machine.disk.crash_at(nth);
        let died = machine.open();
        if let Ok((_, stream)) = &died {
            assert_eq!(stream.recovery().set_aside.len(), 1);
        }
        machine.crash(Crash::KeepAll);
        let (store, stream) = machine.open().unwrap();
        // Beyond where the segment began that was set aside.
        for _ in 0..40 {
            stream.append(&Record::new(&[b'y'; 2000])).unwrap();
        }
        store.close().unwrap();
        let segments = machine.segments();
        machine.crash(Crash::DropUnsynced);
        assert_eq!(machine.segments(), segments, "recovery died at call {nth}");
        let (_store, stream) = machine.open().unwrap();
        assert!(stream.recovery().clean, "recovery died at call {nth}, then: {:?}", stream.recovery());
        assert_eq!(bodies(&stream, Start::Beginning).len(), 41, "recovery died at call {nth}");
        if died.is_ok() {
            return;
        }
    }
    panic!("opening takes that many calls");
}

#[test]
fn a_claim_that_was_the_logs_first_frame_is_no_gap_once_it_is_void() {
    let machine = Machine::new();
    let (_store, stream) = machine.create();
    stream.append(&Record::new("never committed")).unwrap();
    let segment = machine.segments().pop().unwrap();
    machine.crash(Crash::KeepAll);
    // The flag of a claim, as a process leaves it that is killed before it commits.
    machine.disk.flip_bit(&segment, 4096 * 8 + 31);
    let (store, stream) = machine.open().unwrap();
    assert_eq!(stream.recovery().unfinished, 1);
    stream.append(&Record::new("committed")).unwrap();
    for _ in 0..2 {
        assert_eq!(bodies(&stream, Start::Beginning), ["committed"]);
        store.tick().unwrap();
    }
}

#[test]
fn what_retention_began_and_the_next_opening_finishes_is_whole_after_a_power_loss() {
    for nth in 1..100 {
        let machine = Machine::new();
        let (store, stream) = machine.create_with(spec().ttl(TtlDays::new(1).unwrap()));
        stream.append_with(&Record::new("expires"), Durability::Sync).unwrap();
        machine.clock.advance(HOUR * 7);
        store.tick().unwrap();
        stream.append_with(&Record::new("stays"), Durability::Sync).unwrap();
        machine.clock.advance(HOUR * 18);
        machine.disk.crash_at(nth);
        let ended = store.tick().is_ok();
        machine.crash(Crash::KeepAll);
        drop(machine.open().unwrap());
        // The names reach the disk before what was written.
        machine.crash(Crash::Subset { pages: 0, names: u64::MAX });
        let (_store, stream) = machine.open().unwrap();
        assert_eq!(bodies(&stream, Start::Beginning), ["stays"], "retention died at call {nth}");
        if ended {
            return;
        }
    }
    panic!("a tick takes that many calls");
}

#[test]
fn what_was_synced_behind_damage_that_recovery_did_not_see_survives_a_power_failure() {
    let machine = Machine::new();
    let (_store, stream) = machine.create();
    let hit = (0..20).map(|n| stream.append(&Record::new(&[n; 200])).unwrap()).nth(10).unwrap();
    let segment = machine.segments().pop().unwrap();
    machine.crash(Crash::KeepAll);
    // In a body: after a kill recovery goes by headers.
    machine.disk.flip_bit(&segment, (4096 + hit.offset() as usize + 100) * 8);
    let (_store, stream) = machine.open().unwrap();
    stream.append_with(&Record::new("synced"), Durability::Sync).unwrap();
    machine.crash(Crash::DropUnsynced);
    let (_store, stream) = machine.open().unwrap();
    let mut reader = stream.read(Start::Beginning).unwrap();
    let (seen, gaps) = drain(&mut reader, Limit::default());
    assert_eq!(seen.last().map(|last| last.body.as_slice()), Some(&b"synced"[..]), "{:?}", stream.recovery());
    assert_eq!((seen.len(), gaps.len()), (11, 1));
}

#[test]
fn a_cursor_of_an_epoch_that_a_power_failure_took_diverges_where_the_log_was_cut() {
    let machine = Machine::new();
    let (_store, stream) = machine.create();
    let kept = stream.append_with(&Record::new("kept"), Durability::Sync).unwrap();
    stream.append(&Record::new("lost")).unwrap();
    machine.crash(Crash::KeepAll);
    // Served in an epoch whose mark never comes to the disk.
    let (_store, stream) = machine.open().unwrap();
    let lost = stream.append(&Record::new("lost, too")).unwrap();
    machine.crash(Crash::DropUnsynced);
    let (_store, stream) = machine.open().unwrap();
    stream.append(&Record::new("new")).unwrap();
    let refused = stream.read(Start::Cursor(lost.cursor())).unwrap_err();
    let ErrorKind::CursorDiverged { safe } = *refused.kind() else { panic!("{refused}") };
    assert!(kept.cursor() < safe && safe < lost.cursor());
    assert_eq!(bodies(&stream, Start::Cursor(safe)), ["new"]);
}

#[test]
fn a_failed_sync_after_a_kill_poisons_and_the_next_opening_starts_over() {
    let machine = Machine::new();
    let (_store, stream) = machine.create();
    for n in 0..100 {
        stream.append(&Record::new(&[n; 200])).unwrap();
    }
    machine.crash(Crash::KeepAll);
    let (_store, stream) = machine.open().unwrap();
    machine.disk.fail(Fault { op: Op::RegionSync, nth: 2, error: io::ErrorKind::Other, sticky: false });
    assert_eq!(*stream.sync().unwrap_err().kind(), ErrorKind::Io);
    assert_eq!(*stream.sync().unwrap_err().kind(), ErrorKind::Poisoned);
    assert_eq!(bodies(&stream, Start::Beginning).len(), 100, "reads go on");
    machine.crash(Crash::KeepAll);
    let (_store, stream) = machine.open().unwrap();
    stream.sync().unwrap();
    machine.crash(Crash::DropUnsynced);
    assert_eq!(bodies(&machine.open().unwrap().1, Start::Beginning).len(), 100);
}

/// A clock of a system that does not name its boots.
#[derive(Debug)]
struct Nameless(SimClock);

impl Clock for Nameless {
    fn wall(&self) -> i64 {
        self.0.wall()
    }

    fn boot(&self) -> u64 {
        self.0.boot()
    }

    fn boot_id(&self) -> Option<u128> {
        None
    }
}

/// Bytes of a frame's header.
const HEADER: usize = 24;

#[test]
fn what_was_cut_does_not_come_back_after_a_power_failure_where_boots_have_no_names() {
    let machine = Machine::new();
    let options = || machine.options().clock(Arc::new(Nameless(machine.clock.clone())));
    let store = options().open(DIR).unwrap();
    let stream = store.create_stream(spec()).unwrap();
    let kept = stream.append_with(&Record::new("kept"), Durability::Sync).unwrap();
    // So long that what stands behind it begins a page.
    let bodies = [b't', b'n'].map(|byte| vec![byte; 8192 - kept.end() as usize - HEADER]);
    let at = stream.append_with(&Record::new(&bodies[0]), Durability::Buffered).unwrap();
    assert_eq!(at.end(), 8192);
    stream.append_with(&Record::new("cut"), Durability::Buffered).unwrap();
    let segment = machine.segments().pop().unwrap();
    machine.crash(Crash::KeepAll);
    // The power failed, and all of it had been written back but for a part of the record in between.
    machine.disk.flip_bit(&segment, (4096 + at.offset() as usize + 4000) * 8);
    machine.disk.write_file(&segment, &machine.disk.read_file(&segment));
    let store = options().open(DIR).unwrap();
    let stream = store.stream(NAME).unwrap();
    assert_eq!(texts(&drain(&mut stream.read(Start::Beginning).unwrap(), Limit::default()).0), ["kept"]);
    // With the frame of the epoch as long as what was torn.
    let new = &bodies[1][40..];
    let appended = stream.append_with(&Record::new(new), Durability::Sync).unwrap();
    assert_eq!(appended.end(), at.end());
    machine.crash(Crash::DropUnsynced);
    let store = options().open(DIR).unwrap();
    let stream = store.stream(NAME).unwrap();
    let (seen, gaps) = drain(&mut stream.read(Start::Beginning).unwrap(), Limit::default());
    assert_eq!((seen.len(), gaps.len()), (2, 0));
    assert!(seen[1].body == new);
}

/// A failed sync takes along what it was to write: the page cache goes on showing it, and no later sync writes it by itself.
#[test]
fn what_retention_failed_to_say_durably_is_said_anew_before_a_later_opening_removes_a_file() {
    for killed in [true, false] {
        for nth in 1.. {
            let machine = Machine::new();
            let (store, stream) = machine.create_with(spec().ttl(TtlDays::new(1).unwrap()));
            stream.append_with(&Record::new("expires"), Durability::Sync).unwrap();
            machine.clock.advance(HOUR * 7);
            store.tick().unwrap();
            machine.clock.advance(HOUR * 16);
            stream.append_with(&Record::new("stays"), Durability::Sync).unwrap();
            store.close().unwrap();
            let (store, _stream) = machine.open().unwrap();
            machine.clock.advance(HOUR * 2);
            machine.disk.fail(Fault { op: Op::Sync, nth: 1, error: io::ErrorKind::Other, sticky: false });
            store.tick().unwrap_err();
            assert_eq!(machine.segments().len(), 2);
            if killed {
                machine.crash(Crash::KeepAll);
            } else {
                // Nor can it be said that the log is clean and begins where it did.
                for nth in 1..=2 {
                    machine.disk.fail(Fault {
                        op: Op::Write,
                        nth,
                        error: io::ErrorKind::Other,
                        sticky: false,
                    });
                }
                store.close().unwrap();
            }
            machine.disk.crash_at(nth);
            let ended = machine.open().and_then(|(store, _stream)| store.tick()).is_ok();
            // The names reach the disk before what was written.
            machine.crash(Crash::Subset { pages: 0, names: u64::MAX });
            let (_store, stream) = machine.open().unwrap();
            assert_eq!(bodies(&stream, Start::Beginning), ["stays"], "killed: {killed}, died at call {nth}");
            if ended {
                break;
            }
        }
    }
}
