//! walrus: topics in blocks of 10 MiB, read once by a consumer whose position is kept.

use std::path::Path;

use walrus_rust::{FsyncSchedule, ReadConsistency};

use crate::peer::{Facts, Mode, Peer, yes};

const TOPIC: &str = "log";
const READ_AT_ONCE: usize = 1 << 20;

pub struct Walrus(walrus_rust::Walrus);

/// It takes its directory from `WALRUS_DATA_DIR`, which is set for every cell.
fn open(schedule: FsyncSchedule) -> Walrus {
    walrus_rust::disable_fd_backend();
    // Nobody reads while it is appended to, so that the position need not be kept often.
    let consistency = ReadConsistency::AtLeastOnce { persist_every: 1 << 30 };
    Walrus(walrus_rust::Walrus::with_consistency_and_schedule(consistency, schedule).expect("open the log"))
}

impl Peer for Walrus {
    const FACTS: Facts = Facts {
        name: "walrus",
        package: Some("walrus-rust"),
        set: "`AtLeastOnce` with the position hardly ever kept, `NoFsync`; the mapped backend, which is \
              quicker here at most things than the default one with io_uring; `SyncEach` in `durable`; scanned by batches of 1 MiB",
        readable: yes("by the topic's one consumer in this process"),
        kill: yes("it is in a shared map"),
        power: yes("`SyncEach` only"),
        verifies: yes("FNV-1a of 64 bits"),
        lacks: &[("random", "a topic is read from where its consumer is, and no place can be named")],
    };
    const SCANS_ONCE: bool = true;
    type Place = ();

    fn create(_dir: &Path, mode: Mode) -> Walrus {
        open(match mode {
            Mode::Fast => FsyncSchedule::NoFsync,
            Mode::Durable => FsyncSchedule::SyncEach,
        })
    }

    fn open(_dir: &Path) -> Walrus {
        open(FsyncSchedule::NoFsync)
    }

    fn append(&mut self, body: &[u8]) {
        self.append_durable(body);
    }

    fn append_all(&mut self, bodies: &[&[u8]]) {
        self.0.batch_append_for_topic(TOPIC, bodies).expect("append");
    }

    fn append_durable(&self, body: &[u8]) {
        self.0.append_for_topic(TOPIC, body).expect("append");
    }

    fn scan(&mut self, mut each: impl FnMut(&[u8])) {
        loop {
            let entries = self.0.batch_read_for_topic(TOPIC, READ_AT_ONCE, true).expect("read");
            if entries.is_empty() {
                return;
            }
            entries.iter().for_each(|entry| each(&entry.data));
        }
    }

    fn places(&mut self, _numbers: &[u64]) -> Vec<()> {
        unreachable!("it lacks this");
    }

    fn read(&mut self, _place: &(), _each: impl FnMut(&[u8])) {
        unreachable!("it lacks this");
    }

    fn close(self) {}
}
