//! A whole store on the simulated disk, its threads run in many orders: shuttle decides before every lock, atomic and copy who
//! goes on. Built with `--cfg tailwater_shuttle` only; `tests/schedules` does so.
//!
//! There is no time here: a thread that nobody wakes waits for ever, and that is reported as a deadlock. So every test
//! below also claims that no wake is missed.

#![cfg(all(tailwater_shuttle, feature = "sim"))]

mod common;

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::*;
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::thread;
use shuttle::{Config, Runner};
use tailwater::vfs::sim::{Crash, Fault, Op};
use tailwater::*;

/// So many schedules of each kind does a test try where `TAILWATER_SECONDS` does not say how long to go on.
const SLICE: usize = 1500;
/// Three of them fill a segment.
const LARGE: usize = 20 << 10;
/// For ever: only somebody else ends such a wait.
const LONG: Duration = Duration::from_secs(3600);

/// Tries `claim` in many orders: half of them drawn step by step, half with few preemptions at places that are drawn, which
/// finds what takes a certain few.
fn explore(what: &str, claim: impl Fn() + Send + Sync + 'static) {
    let seed = seed();
    let time = long();
    let count = if time.is_some() { usize::MAX } else { SLICE };
    let mut config = Config::new();
    config.stack_size = 256 << 10;
    config.silence_warnings = true;
    config.max_time = time.map(|time| time / 2);
    let claim = Arc::new(claim);
    let run = |scheduler: Box<dyn Scheduler + Send>| {
        let claim = Arc::clone(&claim);
        Runner::new(scheduler, config.clone()).run(move || claim())
    };
    let random = run(Box::new(RandomScheduler::new_from_seed(seed, count)));
    let few = run(Box::new(PctScheduler::new_from_seed(seed, 3, count)));
    assert!(0 < random && 0 < few);
    let all = random + few;
    // `tests/schedules` adds these up.
    println!("shuttle: {what}: {all} schedules, {few} of them by few preemptions");
}

/// What the `number`th record of a writer says, as long as asked for.
fn body(writer: usize, number: usize, bytes: usize) -> Vec<u8> {
    let mut body = format!("{writer} {number} ").into_bytes();
    let fill = b'a' + ((writer * 7 + number) % 26) as u8;
    body.resize(bytes.max(body.len()), fill);
    body
}

/// Whose record it is and the how manieth; panics where a byte of it is not what was written.
#[track_caller]
fn whose(found: &[u8]) -> (usize, usize) {
    let text = std::str::from_utf8(found).expect("text was written");
    let mut parts = text.splitn(3, ' ');
    let mut number = || parts.next().unwrap().parse().unwrap();
    let (writer, number) = (number(), number());
    assert!(found == body(writer, number, found.len()), "record {number} of {writer} is whole");
    (writer, number)
}

/// Takes note of a writer's records, which must come in its order, each once.
fn note(next: &mut [usize], found: &[u8]) {
    let (writer, number) = whose(found);
    assert_eq!(number, next[writer], "the next record of writer {writer}");
    next[writer] += 1;
}

fn write(stream: &Stream, writer: usize, count: usize, bytes: usize, durability: Durability) {
    for number in 0..count {
        stream.append_with(&Record::new(&body(writer, number, bytes)), durability).unwrap();
    }
}

/// Every record of the stream: how many of each of `writers` there are. There must be no gap.
fn counts(stream: &Stream, writers: usize) -> Vec<usize> {
    let mut next = vec![0; writers];
    for seen in records(stream, Start::Beginning) {
        note(&mut next, &seen.body);
    }
    next
}

#[test]
fn a_waiting_tail_gets_every_record_once_while_segments_roll() {
    explore("two writers that roll, a tail", || {
        let machine = Machine::new();
        let (store, stream) = machine.create();
        let mut tail = stream.tail(Start::Beginning).unwrap();
        let writers = [0, 1].map(|writer| {
            let stream = stream.clone();
            thread::spawn(move || write(&stream, writer, 3, LARGE, Durability::Interval))
        });
        let mut next = [0; 2];
        while next != [3, 3] {
            match tail.next(LONG).unwrap() {
                Step::Records(batch) => batch.iter().for_each(|record| note(&mut next, record.body())),
                other => panic!("{other:?}"),
            }
        }
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        assert!(1 < machine.segments().len(), "segments rolled");
        assert!(store.verify().unwrap().is_sound());
        store.close().unwrap();
    });
}

#[test]
fn what_is_durable_was_published_and_a_durable_tail_is_woken_by_the_sync() {
    explore("two writers that wait for syncs, a tail of what is durable", || {
        let machine = Machine::new();
        let (store, stream) = machine.create();
        let writers = [0, 1].map(|writer| {
            let stream = stream.clone();
            thread::spawn(move || {
                for number in 0..2 {
                    let record = body(writer, number, 100);
                    let appended = stream.append_with(&Record::new(&record), Durability::Sync).unwrap();
                    assert!(appended.end() <= stream.durable(), "an append that returned is durable");
                }
            })
        });
        let mut tail = stream.tail(Start::Beginning).unwrap().durable_only(true);
        let mut next = [0; 2];
        while next != [2, 2] {
            let step = tail.next(LONG).unwrap();
            let Step::Records(batch) = &step else { panic!("only records are there, not {step:?}") };
            let durable = stream.durable();
            assert!(durable <= stream.published().unwrap());
            for record in batch {
                assert!(record.end() <= durable);
                note(&mut next, record.body());
            }
        }
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        // What the disk holds now, whatever was not durable gone.
        machine.crash(Crash::DropUnsynced);
        drop((store, tail));
        assert_eq!(counts(&machine.open().unwrap().1, 2), [2, 2]);
    });
}

#[test]
fn retention_takes_no_byte_from_a_reader_that_holds_it() {
    explore("a reader in segments that expire, a writer, retention", || {
        let machine = Machine::new();
        let (store, stream) = machine.create_with(spec().ttl(TtlDays::new(1).unwrap()));
        write(&stream, 0, 5, LARGE, Durability::Interval);
        store.sync().unwrap();
        let (ticked, clock) = (store.clone(), machine.clock.clone());
        let retention = thread::spawn(move || {
            clock.advance(DAY + HOUR);
            ticked.tick().unwrap();
            ticked.tick().unwrap();
        });
        let writing = stream.clone();
        let writer = thread::spawn(move || write(&writing, 1, 2, LARGE, Durability::Interval));
        let mut reader = stream.read(Start::Beginning).unwrap();
        let (mut held, mut at) = (Vec::new(), 0);
        loop {
            match reader.next_within(Limit { records: 1, ..Limit::default() }).unwrap() {
                Step::Records(batch) => {
                    let first = batch.iter().next().unwrap();
                    assert!(at <= first.offset());
                    at = first.end();
                    held.push(batch);
                }
                Step::Gap(gap) => {
                    assert_eq!(gap.reason, GapReason::Expired);
                    assert!(at <= gap.start && gap.start < gap.end);
                    at = gap.end;
                }
                Step::Passed => panic!("there is no filter"),
                Step::End => break,
            }
        }
        retention.join().unwrap();
        writer.join().unwrap();
        // The files may be gone; the bytes are not.
        held.iter().flat_map(Batch::iter).for_each(|record| _ = whose(record.body()));
        machine.clock.advance(2 * DAY);
        store.tick().unwrap();
        store.tick().unwrap();
        assert!(stream.stats().unwrap().disk_bytes <= 2 * (64 << 10), "what expired is gone from the disk");
        assert!(store.verify().unwrap().is_sound());
    });
}

#[test]
fn a_stream_let_go_of_under_its_writers_loses_nothing() {
    explore("two writers, idling, a tail", || {
        let machine = Machine::new();
        let (store, stream) = machine.create();
        let (ticked, clock) = (store.clone(), machine.clock.clone());
        let idling = thread::spawn(move || {
            for _ in 0..2 {
                clock.advance(Duration::from_secs(5));
                ticked.tick().unwrap();
            }
        });
        let mut tail = stream.tail(Start::Beginning).unwrap();
        let writers = [0, 1].map(|writer| {
            let stream = stream.clone();
            thread::spawn(move || write(&stream, writer, 3, 100, Durability::Interval))
        });
        let mut next = [0; 2];
        while next != [3, 3] {
            let step = tail.next(LONG).unwrap();
            let Step::Records(batch) = &step else { panic!("only records are there, not {step:?}") };
            batch.iter().for_each(|record| note(&mut next, record.body()));
        }
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        idling.join().unwrap();
        store.close().unwrap();
        let (_store, stream) = machine.open().unwrap();
        assert!(stream.recovery().clean);
        assert_eq!(counts(&stream, 2), [3, 3]);
    });
}

#[test]
fn whatever_a_writer_is_doing_when_it_is_killed_each_record_is_whole_or_not_there() {
    explore("two writers killed anywhere", || {
        let machine = Machine::new();
        let (_store, stream) = machine.create();
        // What each writer was told: how many appends returned.
        let told = Arc::new(Mutex::new([0; 2]));
        let writers = [0, 1].map(|writer| {
            let (stream, told) = (stream.clone(), Arc::clone(&told));
            let durability = if writer == 0 { Durability::Interval } else { Durability::Sync };
            thread::spawn(move || {
                for number in 0..3 {
                    let record = body(writer, number, if number == 1 { LARGE * 2 } else { 100 });
                    stream.append_with(&Record::new(&record), durability).unwrap();
                    told.lock().unwrap()[writer] += 1;
                }
            })
        });
        thread::yield_now();
        let told_by_then = *told.lock().unwrap();
        let killed = machine.disk.fork_crashed(Crash::KeepAll);
        let told_before_the_power_went = *told.lock().unwrap();
        let unplugged = machine.disk.fork_crashed(Crash::DropUnsynced);
        writers.into_iter().for_each(|writer| writer.join().unwrap());

        let (_killed_store, stream) = machine.open_on(&killed).unwrap();
        let found = counts(&stream, 2);
        assert!((0..2).all(|writer| told_by_then[writer] <= found[writer]), "{told_by_then:?} {found:?}");
        stream.append(&Record::new("goes on")).unwrap();
        machine.clock.reboot();
        let (store, stream) = machine.open_on(&unplugged).unwrap();
        let found = counts(&stream, 2);
        assert!(told_before_the_power_went[1] <= found[1], "{told_before_the_power_went:?} {found:?}");
        assert!(store.verify().unwrap().is_sound());
    });
}

#[test]
fn a_failed_sync_is_told_to_everybody_who_waits_for_it() {
    explore("three writers that wait for a sync that fails", || {
        let machine = Machine::new();
        let (_store, stream) = machine.create();
        stream.append_with(&Record::new(&body(0, 0, 100)), Durability::Sync).unwrap();
        machine.disk.fail(Fault { op: Op::RegionSync, nth: 1, error: io::ErrorKind::Other, sticky: false });
        let writers = [0, 1, 2].map(|_| {
            let stream = stream.clone();
            thread::spawn(move || stream.append_with(&Record::new("never"), Durability::Sync))
        });
        for writer in writers {
            let err = writer.join().unwrap().expect_err("no sync succeeds any more");
            assert!(matches!(err.kind(), ErrorKind::Io | ErrorKind::Poisoned), "{err}");
        }
        assert_eq!(*stream.append(&Record::new("late")).unwrap_err().kind(), ErrorKind::Poisoned);
    });
}

#[test]
fn closing_ends_every_wait() {
    explore("a tail, a session and a writer while the store closes", || {
        let machine = Machine::new();
        let (store, stream) = machine.create();
        let user = UserId::new("user-001-abc").unwrap();
        let tenant = store.tenant(&TenantId::new("default").unwrap());
        let session = tenant.create_session(SessionSpec::new(user)).unwrap();
        let mut tail = stream.tail(Start::Now).unwrap();
        let ends = |err: Error| assert_eq!(*err.kind(), ErrorKind::Closed, "{err}");
        let tailing = thread::spawn(move || {
            loop {
                if let Err(err) = tail.next(LONG) {
                    return ends(err);
                }
            }
        });
        let polling = thread::spawn(move || session.poll(LONG, Limit::default()).map(drop));
        let writing = stream.clone();
        let writer = thread::spawn(move || {
            for number in 0..2 {
                if let Err(err) = writing.append(&Record::new(&body(0, number, 100))) {
                    return ends(err);
                }
            }
        });
        store.close().unwrap();
        tailing.join().unwrap();
        if let Err(err) = polling.join().unwrap() {
            ends(err);
        }
        writer.join().unwrap();
    });
}

#[test]
fn a_waiting_session_is_woken_by_any_of_its_streams() {
    explore("a session of two streams, two writers", || {
        let machine = Machine::new();
        let store = machine.options().open(DIR).unwrap();
        let tenant = store.tenant(&TenantId::new("default").unwrap());
        let session = tenant.create_session(SessionSpec::new(UserId::new("user-001-abc").unwrap())).unwrap();
        let writers = [0, 1].map(|writer| {
            let name = StreamName::new(format!("s{writer}")).unwrap();
            let stream = store.create_stream(StreamSpec::new(name)).unwrap();
            thread::spawn(move || write(&stream, writer, 2, 100, Durability::Interval))
        });
        let mut next = [0; 2];
        while next != [2, 2] {
            let polled = session.poll(LONG, Limit::default()).unwrap();
            for (item, _) in polled.iter() {
                let PolledItem::Record(record) = item else { panic!("nothing is missing") };
                note(&mut next, RecordRef::body(&record));
            }
        }
        writers.into_iter().for_each(|writer| writer.join().unwrap());
    });
}

#[test]
fn who_resumes_a_session_reads_it_whatever_the_read_before_is_about() {
    explore("a session resumed under a tail of it", || {
        let machine = Machine::new();
        let (store, stream) = machine.create();
        let tenant = store.tenant(&TenantId::new("default").unwrap());
        let session = tenant.create_session(SessionSpec::new(UserId::new("user-001-abc").unwrap())).unwrap();
        write(&stream, 0, 1, 100, Durability::Interval);
        let mut older = session.tail(Limit::default()).unwrap();
        let reading = thread::spawn(move || {
            for _ in 0..2 {
                if let Err(err) = older.try_next() {
                    assert_eq!(*err.kind(), ErrorKind::Busy, "{err}");
                }
            }
        });
        session.resume(None).unwrap();
        let mut newer = session.tail(Limit::default()).unwrap();
        assert_eq!(newer.try_next().unwrap().iter().count(), 1, "nothing was committed");
        reading.join().unwrap();
    });
}

#[test]
fn who_resumes_a_session_waits_for_no_read_that_begins_meanwhile() {
    explore("a session resumed as a poll of it begins", || {
        let machine = Machine::new();
        let (store, stream) = machine.create();
        let tenant = store.tenant(&TenantId::new("default").unwrap());
        let session = tenant.create_session(SessionSpec::new(UserId::new("user-001-abc").unwrap())).unwrap();
        write(&stream, 0, 1, 100, Durability::Interval);
        assert_eq!(session.poll(LONG, Limit::default()).unwrap().iter().count(), 1);
        let polling = session.clone();
        let polling = thread::spawn(move || polling.poll(LONG, Limit::default()));
        // Nothing more comes, so a poll from before waits until it is ended; one from behind begins anew.
        session.resume(Some(SessionStart::Beginning)).unwrap();
        match polling.join().unwrap() {
            Ok(polled) => assert_eq!(polled.iter().count(), 1),
            Err(err) => assert_eq!(*err.kind(), ErrorKind::Busy, "{err}"),
        }
    });
}
