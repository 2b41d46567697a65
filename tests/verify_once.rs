//! What `Verify::Once` gives up, and what it does not.

#![cfg(feature = "sim")]

mod common;

use common::*;
use tailwater::*;

const BODY: &[u8] = b"sixteen bytes ok";

/// A stream of three segments and more, and the options it was made with.
fn filled(machine: &Machine, verify: Verify) -> (Store, Stream) {
    let store = machine.options().verify(verify).open(DIR).unwrap();
    let stream = store.create_stream(spec()).unwrap();
    while machine.segments().len() < 4 {
        stream.append(&Record::new(BODY)).unwrap();
    }
    store.sync().unwrap();
    store.tick().unwrap();
    (store, stream)
}

/// Flips a bit of the third record of a segment, in its body.
fn flip(machine: &Machine, segment: usize) {
    machine.disk.flip_bit(&machine.segments()[segment], (4096 + 2 * 40 + 24 + 5) * 8);
}

/// How many bodies are not what was written, and how many gaps there are.
fn wrong(stream: &Stream, start: Start) -> (usize, usize) {
    let (seen, gaps) = drain(&mut stream.read(start).unwrap(), Limit::default());
    (seen.iter().filter(|seen| seen.body != BODY).count(), gaps.len())
}

#[test]
fn a_sealed_segment_read_whole_is_believed_from_then_on_and_only_under_once() {
    for (verify, after) in [(Verify::Once, (1, 0)), (Verify::Always, (0, 1))] {
        let machine = Machine::new();
        let (store, stream) = filled(&machine, verify);
        assert_eq!(wrong(&stream, Start::Beginning), (0, 0));
        flip(&machine, 1);
        assert_eq!(wrong(&stream, Start::Beginning), after, "{verify:?}");
        let filter = Filter::parse("sixteen").unwrap();
        let mut reader = stream.read(Start::Beginning).unwrap().filter(filter);
        assert_eq!(drain(&mut reader, Limit::default()).1.len(), after.1, "{verify:?}, through a filter");
        assert!(!store.verify().unwrap().is_sound(), "verify checks all, under {verify:?} too");
        drop((reader, store, stream));
        let store = machine.options().verify(verify).open(DIR).unwrap();
        let stream = store.stream(NAME).unwrap();
        assert_eq!(wrong(&stream, Start::Beginning), (0, 1), "{verify:?}, opened anew");
    }
}

#[test]
fn what_was_not_read_yet_is_verified_under_once() {
    let machine = Machine::new();
    let (_store, stream) = filled(&machine, Verify::Once);
    // The last record of the log and the first of all are read, and nothing before the one or behind the other.
    assert_eq!(records(&stream, Start::Last(1)).len(), 1);
    let mut reader = stream.read(Start::Beginning).unwrap();
    let Step::Records(batch) = reader.next_within(Limit::records(1)).unwrap() else { panic!() };
    let behind = batch.cursor();
    flip(&machine, 0);
    flip(&machine, 1);
    assert_eq!(wrong(&stream, Start::Beginning), (0, 2));
    assert_eq!(wrong(&stream, Start::Cursor(behind)), (0, 2));
}

#[test]
fn a_header_is_checked_at_every_read_under_once() {
    let machine = Machine::new();
    let (_store, stream) = filled(&machine, Verify::Once);
    assert_eq!(wrong(&stream, Start::Beginning), (0, 0));
    machine.disk.flip_bit(&machine.segments()[1], (4096 + 2 * 40 + 9) * 8);
    assert_eq!(wrong(&stream, Start::Beginning), (0, 1));
}
