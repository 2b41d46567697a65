//! A stream that is deleted while somebody else is at work on its files: nobody takes that for a failure, or for damage.

#![cfg(feature = "sim")]

mod common;

use common::*;
use tailwater::vfs::sim::Op;
use tailwater::*;

/// A store with two streams of several segments, of which the one that comes first by its name is to be deleted.
fn two() -> (Machine, Store, Stream) {
    let machine = Machine::new();
    let (store, stream) = machine.create();
    let other = store.create_stream(StreamSpec::new(StreamName::new("zoo").unwrap())).unwrap();
    for _ in 0..10 {
        stream.append(&Record::new(&[7; 20_000])).unwrap();
        other.append(&Record::new(&[7; 20_000])).unwrap();
    }
    store.tick().unwrap();
    (machine, store, stream)
}

/// Has `work` done, and the stream deleted once that comes to its first call of this kind.
fn deleted_under<T: Send>(
    machine: &Machine,
    store: &Store,
    op: Op,
    work: impl FnOnce() -> Result<T> + Send,
) -> Result<T> {
    machine.disk.stall(op);
    std::thread::scope(|scope| {
        let working = scope.spawn(work);
        machine.disk.wait_for_stall();
        store.delete_stream(NAME).unwrap();
        machine.disk.go_on();
        working.join().unwrap()
    })
}

#[test]
fn a_snapshot_has_it_empty() {
    for read_only in [false, true] {
        let (machine, store, _) = two();
        let copying = if read_only { machine.options().open_read_only(DIR).unwrap() } else { store.clone() };
        deleted_under(&machine, &store, Op::Link, || copying.snapshot("/copy")).unwrap();
        let copy = machine.options().open("/copy").unwrap();
        assert!(copy.verify().unwrap().is_sound());
        assert_eq!(records(&copy.stream("zoo").unwrap(), Start::Beginning).len(), 10);
        assert!(records(&copy.stream(NAME).unwrap(), Start::Beginning).is_empty());
    }
}

#[test]
fn a_tick_and_a_sync_pass_it_over_and_who_waits_for_its_sync_hears_that_it_is_deleted() {
    let syncs: [fn(&Store, &Stream) -> Result<()>; 3] =
        [|store, _| store.tick().map(drop), |store, _| store.sync(), |_, stream| stream.sync()];
    for (index, sync) in syncs.into_iter().enumerate() {
        let (machine, store, stream) = two();
        // Into a segment whose name is not durable.
        for _ in 0..3 {
            stream.append(&Record::new(&[7; 20_000])).unwrap();
        }
        let done = deleted_under(&machine, &store, Op::RegionSync, || sync(&store, &stream));
        match index {
            2 => assert_eq!(*done.unwrap_err().kind(), ErrorKind::StreamDeleted),
            _ => done.unwrap(),
        }
        store.close().unwrap();
    }
}

#[test]
fn who_verifies_the_store_finds_no_damage() {
    let (machine, store, _) = two();
    let report = deleted_under(&machine, &store, Op::Open, || store.verify()).unwrap();
    assert!(report.is_sound(), "{report:?}");
    assert_eq!(report.streams, 1);
}
