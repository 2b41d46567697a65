//! A full disk that has no room for the frame of a new epoch: it is owed, and meanwhile nothing is lost, nothing that was lost comes
//! back, retention works, and a cursor to what was lost diverges.

#![cfg(feature = "sim")]

mod common;

use std::time::Duration;

use common::*;
use tailwater::vfs::sim::{Crash, Op};
use tailwater::*;

/// A closed store whose stream holds an expired segment, sealed, and a younger record.
fn half_expired(sealed: bool) -> (Machine, u64) {
    let machine = Machine::new();
    let (store, stream) = machine.create_with(spec().ttl(TtlDays::new(1).unwrap()));
    for _ in 0..30 {
        append(&stream, &"old ".repeat(1250));
    }
    store.tick().unwrap();
    machine.clock.advance(HOUR * 20);
    let kept = append(&stream, "kept").end();
    machine.clock.advance(HOUR * if sealed { 3 } else { 1 });
    store.tick().unwrap();
    store.close().unwrap();
    (machine, kept)
}

#[test]
fn after_a_power_failure_on_a_full_disk_a_stream_that_lay_still_is_read_and_retention_makes_room() {
    for sealed in [false, true] {
        let (machine, kept) = half_expired(sealed);
        let store = machine.options().open(DIR).unwrap();
        machine.disk.set_capacity(machine.disk.used());
        machine.crash(Crash::DropUnsynced);
        drop(store);
        let (store, stream) = machine.open().unwrap();
        assert!(!stream.recovery().clean);
        assert_eq!(bodies(&stream, Start::Beginning).len(), 31);
        machine.clock.advance(HOUR * 10);
        assert!(0 < store.tick().unwrap().removed_segments, "sealed: {sealed}");
        assert_eq!(bodies(&stream, Start::Beginning), ["kept"]);
        assert!(kept < append(&stream, "new").offset());
        assert_eq!(bodies(&stream, Start::Beginning), ["kept", "new"]);
        assert!(store.verify().unwrap().is_sound());
    }
}

#[test]
fn what_the_power_took_diverges_though_a_full_disk_has_no_room_to_say_so_in_the_log() {
    for closes in [false, true] {
        let (machine, _) = half_expired(true);
        let (store, stream) = machine.open().unwrap();
        let lost = append(&stream, "lost").cursor();
        machine.crash(Crash::DropUnsynced);
        drop((store, stream));
        machine.disk.set_capacity(machine.disk.used());
        for _ in 0..2 {
            let (store, stream) = machine.open().unwrap();
            let tail = stream.published().unwrap();
            let refused = stream.append_with(&Record::new("no room"), Durability::Buffered).unwrap_err();
            assert_eq!(*refused.kind(), ErrorKind::NoSpace);
            assert!(tail < lost.offset());
            assert_diverges(&stream, lost);
            assert!(stream.read(Start::Cursor(stream.read(Start::Now).unwrap().cursor())).is_ok());
            // Neither idling nor closing says that all is well.
            machine.clock.advance(Duration::from_secs(61));
            store.tick().unwrap();
            if closes {
                // The store's time finds no room.
                assert_eq!(*store.close().unwrap_err().kind(), ErrorKind::NoSpace);
            } else {
                machine.crash(Crash::KeepAll);
            }
        }
        machine.disk.set_capacity(1 << 30);
        let (_store, stream) = machine.open().unwrap();
        append_over(&stream, lost);
        assert_diverges(&stream, lost);
    }
}

/// A stream that lost records to a power failure, on a disk that is full since.
fn owing() -> (Machine, Store, Stream, Cursor) {
    let (machine, _) = half_expired(true);
    let (store, stream) = machine.open().unwrap();
    let lost = append(&stream, &"lost ".repeat(60)).cursor();
    machine.crash(Crash::DropUnsynced);
    drop((store, stream));
    machine.disk.set_capacity(machine.disk.used());
    let (store, stream) = machine.open().unwrap();
    stream.append_with(&Record::new("no room"), Durability::Buffered).unwrap_err();
    (machine, store, stream, lost)
}

#[test]
fn append_if_that_begins_an_owed_epoch_says_where_the_tail_is_and_nothing_lies_between() {
    let (machine, _store, stream, lost) = owing();
    let (tail, now) = (stream.published().unwrap(), stream.read(Start::Now).unwrap().cursor());
    let append_if = |tail| stream.append_if(&Record::new("new"), tail);
    assert_eq!(*append_if(tail).unwrap_err().kind(), ErrorKind::NoSpace);
    assert_eq!(stream.published().unwrap(), tail);
    machine.disk.set_capacity(1 << 30);
    let ErrorKind::TailMoved { tail: moved } = *append_if(tail).unwrap_err().kind() else {
        panic!("it is owed")
    };
    assert!(tail < moved && bodies(&stream, Start::Cursor(now)).is_empty());
    append_if(moved).unwrap();
    assert_eq!(bodies(&stream, Start::Cursor(now)), ["new"]);
    assert_diverges(&stream, lost);
}

#[test]
fn a_follower_to_whom_a_lost_cursor_is_ahead_goes_on_from_where_to_the_writer_it_diverged() {
    let (machine, _store, stream, lost) = owing();
    let follower = machine.options().open_read_only(DIR).unwrap().stream(NAME).unwrap();
    let err = |stream: &Stream| stream.read(Start::Cursor(lost)).unwrap_err();
    let ErrorKind::CursorAhead { tail } = *err(&follower).kind() else {
        panic!("no file tells of the epoch yet")
    };
    assert!(matches!(*err(&stream).kind(), ErrorKind::CursorDiverged { safe } if safe == tail));
    machine.disk.set_capacity(1 << 30);
    append(&stream, "new");
    assert!(matches!(*err(&follower).kind(), ErrorKind::CursorDiverged { safe } if safe == tail));
    assert_eq!(bodies(&follower, Start::Cursor(tail)), ["new"]);
}

#[test]
fn a_snapshot_under_way_as_the_epoch_begins_knows_that_its_stream_owes_it() {
    let (machine, store, stream, lost) = owing();
    machine.disk.set_capacity(1 << 30);
    machine.disk.stall(Op::Link);
    std::thread::scope(|scope| {
        let snapshot = scope.spawn(|| store.snapshot("/copy").unwrap());
        machine.disk.wait_for_stall();
        append(&stream, "new");
        machine.disk.go_on();
        snapshot.join().unwrap();
    });
    let copy = machine.options().open("/copy").unwrap();
    let stream = copy.stream(NAME).unwrap();
    append_over(&stream, lost);
    assert_diverges(&stream, lost);
}

#[test]
fn a_cursor_at_the_end_of_a_log_that_expired_as_a_whole_resumes_however_often_the_store_was_opened_meanwhile()
{
    for reopens in 0..3 {
        let (machine, mut store, mut stream, lost) = owing();
        machine.clock.advance(HOUR * 40);
        assert!(0 < store.tick().unwrap().removed_segments);
        let consumed = stream.read(Start::Now).unwrap().cursor();
        for _ in 0..reopens {
            let _ = store.close();
            (store, stream) = machine.open().unwrap();
        }
        machine.disk.set_capacity(1 << 30);
        assert_diverges(&stream, lost);
        append(&stream, "new");
        assert_diverges(&stream, lost);
        let seen = drain(&mut stream.read(Start::Cursor(consumed)).unwrap(), Limit::default()).0;
        assert_eq!(texts(&seen), ["new"], "opened {reopens} times");
    }
}

#[test]
fn a_segment_with_nothing_but_an_epoch_stays_for_a_ttl_of_its_own() {
    let machine = Machine::new();
    let (store, stream) = machine.create();
    // Room for the stream's directory, and none for a segment.
    machine.disk.set_capacity(machine.disk.used() + 3 * 4096);
    stream.append(&Record::new("no room")).unwrap_err();
    machine.crash(Crash::DropUnsynced);
    drop((store, stream));
    machine.disk.set_capacity(1 << 30);
    let (store, stream) = machine.open().unwrap();
    assert!(!stream.recovery().clean);
    append(&stream, &"x".repeat(40_000));
    stream.sync().unwrap();
    assert_eq!(machine.segments().len(), 2);
    machine.clock.advance(HOUR);
    assert_eq!(store.tick().unwrap().removed_segments, 0);
    store.close().unwrap();
}

#[test]
fn retention_makes_room_on_a_full_disk_also_where_the_last_segment_gave_its_space_back_and_finds_none() {
    for crashes in [false, true] {
        let machine = Machine::new();
        let open = || machine.options().max_segment_bytes(8 << 20).open(DIR).unwrap();
        let mut store = open();
        let mut stream = store.create_stream(spec().ttl(TtlDays::new(1).unwrap())).unwrap();
        for _ in 0..45 {
            append(&stream, &"x".repeat(100_000));
        }
        for seconds in [1, 4, 61] {
            machine.clock.advance(Duration::from_secs(seconds));
            store.tick().unwrap();
        }
        if crashes {
            store.close().unwrap();
            let dies = open();
            machine.disk.set_capacity(machine.disk.used());
            machine.crash(Crash::DropUnsynced);
            drop(dies);
            store = open();
            stream = store.stream(NAME).unwrap();
        }
        machine.disk.set_capacity(machine.disk.used());
        machine.clock.advance(HOUR * 30);
        assert!(0 < store.tick().unwrap().removed_segments, "after a power failure: {crashes}");
        assert_eq!(bodies(&stream, Start::Beginning).len(), 0);
    }
}

#[test]
fn a_segment_of_which_a_power_failure_left_nothing_but_the_name_keeps_no_stream_shut_on_a_full_disk() {
    for bytes in [0, 32 << 10] {
        let (machine, _) = half_expired(true);
        let (store, stream) = machine.open().unwrap();
        let lost = append(&stream, "lost").cursor();
        let segment = machine.segments().pop().unwrap();
        machine.crash(Crash::DropUnsynced);
        drop((store, stream));
        machine.disk.write_file(&segment, &vec![0; bytes]);
        machine.disk.set_capacity(machine.disk.used());
        // What was set aside stays aside.
        for set_aside in [1, 0] {
            let (store, stream) = machine.open().unwrap();
            assert_eq!(stream.recovery().set_aside.len(), set_aside);
            assert_eq!(bodies(&stream, Start::Beginning).len(), 31);
            let refused = stream.append_with(&Record::new("no room"), Durability::Buffered).unwrap_err();
            assert_eq!(*refused.kind(), ErrorKind::NoSpace);
            assert_diverges(&stream, lost);
            drop((store, stream));
            machine.crash(Crash::DropUnsynced);
        }
        let (store, stream) = machine.open().unwrap();
        machine.clock.advance(HOUR * 10);
        assert!(0 < store.tick().unwrap().removed_segments);
        append(&stream, "new");
        assert_diverges(&stream, lost);
        assert_eq!(bodies(&stream, Start::Beginning), ["kept", "new"]);
        assert!(store.verify().unwrap().is_sound());
        store.close().unwrap();
        let (_store, stream) = machine.open().unwrap();
        assert!(stream.recovery().clean);
        assert_eq!(bodies(&stream, Start::Beginning), ["kept", "new"]);
    }
}

#[test]
fn what_was_torn_is_cut_on_a_full_disk_though_others_take_the_space_that_this_gives_back() {
    for damaged in [false, true] {
        let (machine, _) = half_expired(true);
        let (store, stream) = machine.open().unwrap();
        // The second one tells of the first, and fills the page, so that all that follows is given back.
        for body in ["durable", &"x".repeat(4040)] {
            stream.append_with(&Record::new(body), Durability::Sync).unwrap();
        }
        let segment = machine.segments().pop().unwrap();
        let synced = machine.disk.dirty_pages().len();
        for _ in 0..4 {
            append(&stream, &"torn ".repeat(800));
        }
        let lost = stream.read(Start::Now).unwrap().cursor();
        let dirty = machine.disk.dirty_pages();
        assert!(dirty[synced..].iter().all(|(path, _)| *path == segment));
        // The last page and none before it.
        machine.crash(Crash::Subset { pages: 1 << (dirty.len() - 1), names: 0 });
        drop((store, stream));
        if damaged {
            // In the first one's body.
            machine.disk.flip_bit(&segment, (4096 + 24) * 8);
        }
        machine.disk.set_capacity(0);
        let (store, stream) = machine.open().unwrap();
        assert!(0 < stream.recovery().torn_bytes);
        assert_eq!(stream.recovery().corrupt.len(), usize::from(damaged));
        let (seen, gaps) = drain(&mut stream.read(Start::Beginning).unwrap(), Limit::default());
        assert_eq!((seen.len(), gaps.len()), if damaged { (32, 1) } else { (33, 0) });
        let refused = stream.append_with(&Record::new("no room"), Durability::Buffered).unwrap_err();
        assert_eq!(*refused.kind(), ErrorKind::NoSpace);
        assert_diverges(&stream, lost);
        machine.disk.set_capacity(machine.disk.used());
        machine.clock.advance(HOUR * 10);
        let segments = machine.segments().len();
        // The footer of the segment that was cut may find no room.
        let _ = store.tick();
        assert!(machine.segments().len() < segments, "damaged: {damaged}");
        append(&stream, "new");
        assert_diverges(&stream, lost);
        stream.sync().unwrap();
        store.tick().unwrap();
        store.close().unwrap();
    }
}

#[test]
fn of_a_store_that_was_closed_while_a_stream_owed_its_epoch_every_other_stream_is_clean_after_a_reboot() {
    let (machine, _) = half_expired(true);
    let store = machine.options().open(DIR).unwrap();
    let other = store.create_stream(StreamSpec::new(StreamName::new("other").unwrap())).unwrap();
    append(&other, "1");
    store.sync().unwrap();
    machine.crash(Crash::DropUnsynced);
    drop((store, other));
    for turn in 0..3 {
        machine.disk.set_capacity(machine.disk.used());
        let (store, stream) = machine.open().unwrap();
        assert!(!stream.recovery().clean);
        assert_eq!(store.stream("other").unwrap().recovery().clean, 0 < turn, "turn {turn}");
        // The store's time finds room, and nothing else asks for any.
        machine.disk.set_capacity(1 << 30);
        store.close().unwrap();
        machine.crash(Crash::DropUnsynced);
    }
}
