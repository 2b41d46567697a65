//! A call to the disk that fails, whichever it is, and a disk that hangs.

#![cfg(feature = "sim")]

mod common;

use std::io;

use common::*;
use tailwater::vfs::sim::{Crash, Fault, Op};
use tailwater::*;

/// Every sync, every roll, retention, closing and opening again; stops at the first error. Returns the bodies that were
/// acknowledged as durable, and the error.
fn work(machine: &Machine) -> (Vec<String>, Option<Error>) {
    let mut acknowledged = Vec::new();
    let mut work = || -> Result<()> {
        for life in 0..2 {
            let store = machine.options().open(DIR)?;
            let stream = match store.stream(NAME) {
                Err(err) if *err.kind() == ErrorKind::NotFound => store.create_stream(spec())?,
                opened => opened?,
            };
            for number in 0..6 {
                let text = format!("{life} {number} {}", "x".repeat(20_000));
                stream.append_with(&Record::new(&text), Durability::Sync)?;
                acknowledged.push(text);
                if number == 3 {
                    store.tick()?;
                }
            }
            stream.append_with(&Record::new("interval"), Durability::Interval)?;
            machine.clock.advance(HOUR);
            store.tick()?;
            acknowledged.push("interval".into());
            store.close()?;
        }
        Ok(())
    };
    let failed = work().err();
    (acknowledged, failed)
}

/// Lets the n-th call of a kind fail, for every n, until there are no more.
#[track_caller]
fn check(op: Op) -> u64 {
    let mut struck = 0;
    for nth in 1.. {
        let mut any = false;
        for (error, sticky) in [(io::ErrorKind::Other, false), (io::ErrorKind::StorageFull, true)] {
            let machine = Machine::new();
            machine.disk.fail(Fault { op, nth, error, sticky });
            let (acknowledged, failed) = work(&machine);
            any |= nth <= machine.disk.count(op);
            if let Some(err) = failed {
                let kinds = [ErrorKind::Io, ErrorKind::NoSpace, ErrorKind::Poisoned];
                assert!(kinds.contains(err.kind()), "{op:?} {nth} gives {err:?}");
                struck += 1;
            }
            machine.disk.clear_faults();
            for crash in [Crash::KeepAll, Crash::DropUnsynced] {
                let after = Machine { disk: machine.disk.fork_crashed(crash), clock: machine.clock.fork() };
                if crash == Crash::DropUnsynced {
                    after.clock.reboot();
                }
                let store = after.options().open(DIR).unwrap();
                let stream = match store.stream(NAME) {
                    Ok(stream) => stream,
                    Err(err) => {
                        assert!(acknowledged.is_empty(), "{op:?} {nth}, {crash:?}: {err:?}");
                        store.create_stream(spec()).unwrap()
                    }
                };
                let left = bodies(&stream, Start::Beginning);
                assert!(acknowledged.len() <= left.len(), "{op:?} {nth}, {crash:?}: {} left", left.len());
                assert!(left[..acknowledged.len()] == acknowledged, "{op:?} {nth}, {crash:?}");
                assert!(left.len() <= acknowledged.len() + 1, "{op:?} {nth}, {crash:?}");
                assert_eq!(stream.recovery().corrupt, [], "{op:?} {nth}, {crash:?}");
                stream.append_with(&Record::new("on"), Durability::Sync).unwrap();
                assert_eq!(bodies(&stream, Start::Last(1)), ["on"]);
                store.close().unwrap();
            }
        }
        if !any {
            break;
        }
    }
    struck
}

#[test]
fn a_sync_that_fails_whichever_it_is_loses_nothing_acknowledged_and_acknowledges_nothing_more() {
    for op in [Op::Sync, Op::RegionSync, Op::ReplaceSync] {
        assert!(3 < check(op), "{op:?} fails somebody");
    }
}

#[test]
fn any_other_call_that_fails_is_a_typed_error_and_loses_nothing_acknowledged() {
    for op in Op::ALL {
        if !matches!(op, Op::Sync | Op::RegionSync | Op::ReplaceSync) {
            check(op);
        }
    }
}

#[test]
fn a_read_that_fails_is_an_error_of_that_stream_and_the_others_are_served() {
    let machine = Machine::new();
    let (store, stream) = machine.create();
    let other = store.create_stream(StreamSpec::new(StreamName::new("other").unwrap())).unwrap();
    for stream in [&stream, &other] {
        stream.append_with(&Record::new("a"), Durability::Sync).unwrap();
    }
    machine.crash(Crash::DropUnsynced);
    let store = machine.options().open(DIR).unwrap();
    assert_eq!(bodies(&store.stream("other").unwrap(), Start::Beginning), ["a"]);
    for op in [Op::Read, Op::Map] {
        machine.disk.fail(Fault { op, nth: 1, error: io::ErrorKind::Other, sticky: true });
        assert_eq!(*store.stream(NAME).unwrap_err().kind(), ErrorKind::Io, "{op:?}");
        store.stream("other").unwrap().append(&Record::new("b")).unwrap();
        machine.disk.clear_faults();
    }
    assert_eq!(bodies(&store.stream(NAME).unwrap(), Start::Beginning), ["a"], "asked again it opens");
}

#[test]
fn while_a_sync_hangs_appends_and_reads_go_on_and_durable_lags() {
    for durability in [Durability::Buffered, Durability::Interval] {
        let machine = Machine::new();
        let (_store, stream) = machine.create();
        stream.append_with(&Record::new("0"), Durability::Sync).unwrap();
        let durable = stream.durable();
        let waiting = stream.append(&Record::new("1")).unwrap();
        machine.disk.stall(Op::RegionSync);
        std::thread::scope(|scope| {
            let sync = scope.spawn(|| stream.sync());
            machine.disk.wait_for_stall();
            for number in 2..200 {
                stream.append_with(&Record::new(&number.to_string()), durability).unwrap();
            }
            assert_eq!(bodies(&stream, Start::Beginning).len(), 200);
            assert_eq!(stream.durable(), durable, "nothing is durable before its sync returned");
            assert_eq!(stream.stats().unwrap().durable_lag(), stream.published().unwrap() - durable);
            assert!(!sync.is_finished());
            machine.disk.go_on();
            sync.join().unwrap().unwrap();
        });
        assert!(waiting.end() <= stream.durable());
        stream.sync().unwrap();
        assert_eq!(stream.durable(), stream.published().unwrap());
    }
}
