//! The machine dies at any call of what the engine does by itself: sealing, retention, letting go. Nothing that lives is
//! missed afterwards, and nothing is reported that is not so.

#![cfg(feature = "sim")]

mod common;

use common::*;
use tailwater::vfs::sim::Crash;
use tailwater::*;

/// Records that fill four segments.
const RECORDS: usize = 45;

/// A log whose first half has expired, durable, its last segment still being written.
fn prepare() -> (Machine, Store, Stream) {
    let machine = Machine::new();
    let (store, stream) = machine.create_with(spec().ttl(TtlDays::new(1).unwrap()));
    for number in 0..RECORDS {
        if number == RECORDS / 2 {
            machine.clock.advance(DAY - HOUR);
            store.tick().unwrap();
        }
        stream.append(&Record::new(&format!("{number:05000}"))).unwrap();
    }
    machine.clock.advance(2 * HOUR);
    stream.sync().unwrap();
    (machine, store, stream)
}

/// Dies at every call of `work`, in every manner, and looks at what is left.
#[track_caller]
fn check(work: impl Fn(&Store) -> Result<()>) {
    let (machine, store, _stream) = prepare();
    let before = machine.disk.calls();
    work(&store).unwrap();
    let calls = machine.disk.calls() - before;
    assert!(10 < calls, "{calls} calls are no work");
    let torn = (0..4).map(|seed| Crash::Pages { seed });
    let crashes: Vec<Crash> = [Crash::KeepAll, Crash::DropUnsynced].into_iter().chain(torn).collect();
    for nth in 1..=calls {
        let (machine, store, stream) = prepare();
        machine.disk.crash_at(nth);
        let _ = work(&store);
        drop((store, stream));
        for crash in &crashes {
            let machine = Machine { disk: machine.disk.fork_crashed(*crash), clock: machine.clock.clone() };
            if *crash != Crash::KeepAll {
                machine.clock.reboot();
            }
            let (store, stream) = machine.open().unwrap();
            let verified = store.verify().unwrap();
            assert!(verified.is_sound(), "call {nth}, {crash:?}: {verified:?}");
            let left = bodies(&stream, Start::Beginning);
            let first = RECORDS - left.len();
            assert!(0 < first && first <= RECORDS / 2, "call {nth}, {crash:?}: from {first} on");
            for (index, body) in left.iter().enumerate() {
                assert_eq!(body.parse(), Ok(first + index), "call {nth}, {crash:?}");
            }
        }
    }
}

#[test]
fn dying_amid_a_tick_leaves_a_sound_log_from_the_first_living_record_on() {
    check(|store| store.tick().map(drop));
}

#[test]
fn dying_amid_closing_leaves_a_sound_log_from_the_first_living_record_on() {
    check(Store::close);
}

#[test]
fn a_batch_that_the_power_took_a_part_of_is_gone_whole() {
    let (mut whole, mut gone) = (0, 0);
    for seed in 0..60 {
        let machine = Machine::new();
        let (_store, stream) = machine.create();
        stream.append_with(&Record::new("before"), Durability::Sync).unwrap();
        // A dozen pages, of which the power leaves some.
        let body = [b'x'; 4000];
        stream.append_batch(&[Record::new(&body); 12]).unwrap();
        machine.crash(if seed % 2 == 0 { Crash::Pages { seed } } else { Crash::Sectors { seed } });
        let left = bodies(&machine.open().unwrap().1, Start::Beginning).len();
        match left {
            1 => gone += 1,
            13 => whole += 1,
            _ => panic!("{left} records are left with seed {seed}"),
        }
        // Most of it, its end above all: the page that is missing is another one each time.
        let machine = Machine::new();
        let (_store, stream) = machine.create();
        stream.append_with(&Record::new("before"), Durability::Sync).unwrap();
        stream.append_batch(&[Record::new(&body); 12]).unwrap();
        let pages = !(1 << (seed % 16));
        machine.crash(Crash::Subset { pages, names: u64::MAX });
        let left = bodies(&machine.open().unwrap().1, Start::Beginning).len();
        assert!(left == 1 || left == 13, "{left} records are left without page {}", seed % 16);
        gone += usize::from(left == 1);
        whole += usize::from(left == 13);
    }
    assert!(0 < whole && 0 < gone, "{whole} whole, {gone} gone");
}
