//! A host's own clock that panics, wherever the engine calls it: nothing stays locked, half written or asleep.

#![cfg(feature = "sim")]

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use common::*;
use tailwater::vfs::sim::SimClock;
use tailwater::*;

/// A clock that panics, once, when it is next read on a thread of this name.
#[derive(Debug)]
struct Panicking {
    clock: SimClock,
    thread: String,
    armed: AtomicBool,
    read: Mutex<mpsc::Sender<bool>>,
}

impl Panicking {
    fn look(&self) {
        if std::thread::current().name() != Some(&self.thread) {
            return;
        }
        let panics = self.armed.swap(false, Ordering::SeqCst);
        // Nobody may listen any more.
        let _ = self.read.lock().unwrap().send(panics);
        assert!(!panics, "the host's clock panics");
    }
}

impl Clock for Panicking {
    fn wall(&self) -> i64 {
        self.look();
        self.clock.wall()
    }

    fn boot(&self) -> u64 {
        self.look();
        self.clock.boot()
    }

    fn boot_id(&self) -> Option<u128> {
        self.clock.boot_id()
    }
}

fn panicking(thread: &str, armed: bool) -> (Arc<Panicking>, mpsc::Receiver<bool>) {
    let (read, reads) = mpsc::channel();
    let (clock, armed, read) = (SimClock::new(BIRTH), AtomicBool::new(armed), Mutex::new(read));
    (Arc::new(Panicking { clock, thread: thread.into(), armed, read }), reads)
}

#[test]
fn an_append_that_panics_under_the_lock_leaves_the_stream_as_it_was() {
    let machine = Machine::new();
    let (clock, _reads) = panicking(std::thread::current().name().unwrap(), false);
    let store = machine.options().clock(Arc::clone(&clock) as Arc<dyn Clock>).open(DIR).unwrap();
    let stream = store.create_stream(spec()).unwrap();
    stream.append(&Record::new("before")).unwrap();
    let batch = [Record::new("one of a batch"), Record::new("another")];
    let appends: [&dyn Fn() -> Result<Appended>; 3] = [
        &|| stream.append(&Record::new("never")),
        &|| stream.append_with(&Record::new("never"), Durability::Sync),
        &|| stream.append_batch(&batch),
    ];
    for append in appends {
        let end = stream.published().unwrap();
        clock.armed.store(true, Ordering::SeqCst);
        catch_unwind(AssertUnwindSafe(append)).expect_err("the clock panics");
        assert_eq!(stream.published().unwrap(), end);
    }
    stream.append_with(&Record::new("behind"), Durability::Sync).unwrap();
    assert_eq!(bodies(&stream, Start::Beginning), ["before", "behind"]);
    assert!(store.verify().unwrap().is_sound());
    store.close().unwrap();
}

#[test]
fn an_append_that_panics_does_not_keep_a_session_asleep() {
    let machine = Machine::new();
    let (clock, _reads) = panicking("a writer", false);
    let store = machine.options().clock(Arc::clone(&clock) as Arc<dyn Clock>).open(DIR).unwrap();
    let stream = store.create_stream(spec()).unwrap();
    let tenant = store.tenant(&TenantId::new("default").unwrap());
    let session = tenant.create_session(SessionSpec::new(UserId::new("user-001-abc").unwrap())).unwrap();
    let polled = session.poll(Duration::ZERO, Limit::default()).unwrap();
    assert!(polled.is_empty() && polled.is_caught_up());
    clock.armed.store(true, Ordering::SeqCst);
    std::thread::scope(|scope| {
        let writer = std::thread::Builder::new().name("a writer".into());
        let writer = writer.spawn_scoped(scope, || {
            catch_unwind(AssertUnwindSafe(|| stream.append(&Record::new("never"))))
                .expect_err("the clock panics");
            stream.append(&Record::new("said")).unwrap();
        });
        let polled = session.poll(Duration::from_secs(30), Limit::default()).unwrap();
        assert_eq!(polled.len(), 1);
        writer.unwrap().join().unwrap();
    });
}

#[test]
fn a_compactor_that_panics_has_its_next_turn() {
    let machine = Machine::new();
    let (clock, reads) = panicking("tailwater-compact", true);
    let options = machine.options().background(true).clock(Arc::clone(&clock) as Arc<dyn Clock>);
    let store = options.open(DIR).unwrap();
    let stream = store.create_stream(spec()).unwrap();
    assert!(reads.recv_timeout(Duration::from_secs(60)).unwrap(), "its first turn panics");
    stream.append_with(&Record::new("appends go on"), Durability::Sync).unwrap();
    assert!(!reads.recv_timeout(Duration::from_secs(60)).expect("there is a next turn"));
    store.close().unwrap();
}
