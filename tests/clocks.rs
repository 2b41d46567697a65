//! Wall clocks that are wrong: nothing is lost, nothing hidden, and the order of the log is that of its appends.

#![cfg(feature = "sim")]

mod common;

use std::time::Duration;

use common::*;
use tailwater::vfs::Clock;
use tailwater::vfs::sim::Crash;
use tailwater::*;

/// Everything that was appended is there in that order; times and cursors rise along with it.
#[track_caller]
fn check(stream: &Stream, count: usize) {
    let seen = records(stream, Start::Beginning);
    assert_eq!(texts(&seen), (0..count).map(|number| number.to_string()).collect::<Vec<_>>());
    assert!(seen.is_sorted_by_key(|seen| seen.ingest), "times never fall");
    assert!(seen.is_sorted_by(|a, b| a.cursor.to_string() < b.cursor.to_string()));
    for pair in seen.windows(2) {
        assert_eq!(bodies(stream, Start::Cursor(pair[0].cursor))[0].as_bytes(), pair[1].body);
    }
}

const NANOS: i64 = 1_000_000_000;
const DAY_NANOS: i64 = 86_400 * NANOS;

#[test]
fn a_clock_set_back_by_a_day_or_fifty_years_or_to_either_end_of_time_loses_nothing() {
    let walls = [
        BIRTH - DAY_NANOS,
        BIRTH - 50 * 365 * DAY_NANOS,
        0,
        -1,
        -DAY_NANOS,
        i64::MIN,
        i64::MIN + 1,
        i64::MAX,
        i64::MAX - 1,
        BIRTH + 100 * 365 * DAY_NANOS,
    ];
    for wall in walls {
        for crash in [None, Some(Crash::KeepAll), Some(Crash::DropUnsynced)] {
            let machine = Machine::new();
            let (store, stream) = machine.create_with(spec().ttl(TtlDays::new(1).unwrap()));
            stream.append_with(&Record::new("0"), Durability::Sync).unwrap();
            machine.clock.set_wall(wall);
            for number in 1..3 {
                store.tick().unwrap();
                stream.append_with(&Record::new(&number.to_string()), Durability::Sync).unwrap();
                check(&stream, number + 1);
            }
            match crash {
                Some(crash) => machine.crash(crash),
                None => store.close().unwrap(),
            }
            let (store, stream) = machine.open().unwrap();
            check(&stream, 3);
            stream.append_with(&Record::new("3"), Durability::Sync).unwrap();
            store.tick().unwrap();
            check(&stream, 4);
            assert!(stream.verify().unwrap().is_sound());
        }
    }
}

#[test]
fn a_clock_that_is_right_again_makes_records_expire_in_time() {
    let machine = Machine::new();
    let (store, stream) = machine.create_with(spec().ttl(TtlDays::new(1).unwrap()));
    stream.append(&Record::new("0")).unwrap();
    machine.clock.set_wall(BIRTH - 50 * 365 * DAY_NANOS);
    store.tick().unwrap();
    machine.clock.set_wall(BIRTH);
    machine.clock.advance(DAY + HOUR);
    store.tick().unwrap();
    assert_eq!(bodies(&stream, Start::Beginning), [""; 0]);
}

#[test]
fn a_clock_that_swings_by_half_a_second_keeps_the_order_and_the_ttl() {
    let machine = Machine::new();
    let (store, stream) = machine.create_with(spec().ttl(TtlDays::new(1).unwrap()));
    let swing = 500_000_000;
    for number in 0..200 {
        let sign = [1, -1, 0][number % 3];
        machine.clock.set_wall(machine.clock.wall() + sign * swing);
        if number % 7 == 0 {
            store.tick().unwrap();
        }
        stream.append(&Record::new(&number.to_string())).unwrap();
        machine.clock.advance(Duration::from_millis(3));
    }
    check(&stream, 200);
    machine.clock.advance(DAY - HOUR);
    store.tick().unwrap();
    check(&stream, 200);
    machine.clock.advance(2 * HOUR);
    store.tick().unwrap();
    assert_eq!(bodies(&stream, Start::Beginning), [""; 0]);
}

/// The boot clock counts the time that a machine sleeps, so it is believed however long that was.
#[test]
fn a_machine_that_slept_for_days_goes_on_in_order_and_what_expired_meanwhile_is_gone() {
    let machine = Machine::new();
    let (store, stream) = machine.create_with(spec().ttl(TtlDays::new(7).unwrap()));
    stream.append(&Record::new("0")).unwrap();
    machine.clock.advance(5 * DAY);
    stream.append(&Record::new("1")).unwrap();
    store.tick().unwrap();
    check(&stream, 2);
    machine.clock.advance(3 * DAY);
    store.tick().unwrap();
    assert_eq!(bodies(&stream, Start::Beginning), ["1"]);
}
