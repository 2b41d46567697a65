//! commitlog: segments written by `write(2)`, an index that is mapped.

use std::path::Path;

use commitlog::message::{MessageBuf, MessageSet};
use commitlog::{LogOptions, ReadLimit};

use crate::peer::{Facts, Mode, Peer, no, yes};

/// Bytes asked for at a time by a scan; a few hundred records, as its own benchmarks do.
const READ_AT_ONCE: usize = 256 << 10;

pub struct CommitLog(commitlog::CommitLog);

fn options(dir: &Path) -> LogOptions {
    let mut options = LogOptions::new(dir);
    // A batch of a hundred records is one message set, which may be larger than the default of 1 MB.
    options.message_max_bytes(4 << 20);
    options
}

impl Peer for CommitLog {
    const FACTS: Facts = Facts {
        name: "commitlog",
        package: Some("commitlog"),
        set: "`message_max_bytes` 4 MiB for batches; else the defaults (segments of 1 GB); scanned by 256 KiB",
        readable: yes("one `write(2)`, and a store into the mapped index"),
        kill: yes("it is in the page cache"),
        power: no("`flush` syncs the index and not the records"),
        verifies: yes("CRC-32C"),
        lacks: &[("durable", "no call of it syncs the file of the records")],
    };
    type Place = u64;

    fn create(dir: &Path, _mode: Mode) -> CommitLog {
        CommitLog::open(dir)
    }

    fn open(dir: &Path) -> CommitLog {
        CommitLog(commitlog::CommitLog::new(options(dir)).expect("open the log"))
    }

    fn append(&mut self, body: &[u8]) {
        self.0.append_msg(body).expect("append");
    }

    fn append_all(&mut self, bodies: &[&[u8]]) {
        let mut batch = MessageBuf::default();
        for body in bodies {
            batch.push(body).expect("a message");
        }
        self.0.append(&mut batch).expect("append");
    }

    fn append_durable(&self, _body: &[u8]) {
        unreachable!("it lacks this");
    }

    fn scan(&mut self, mut each: impl FnMut(&[u8])) {
        let mut next = 0;
        loop {
            let messages = self.0.read(next, ReadLimit::max_bytes(READ_AT_ONCE)).expect("read");
            let Some(last) = messages.iter().last().map(|message| message.offset()) else { return };
            for message in messages.iter() {
                each(message.payload());
            }
            next = last + 1;
        }
    }

    fn places(&mut self, numbers: &[u64]) -> Vec<u64> {
        numbers.to_vec()
    }

    fn read(&mut self, place: &u64, mut each: impl FnMut(&[u8])) {
        // What fits one record and not two.
        let messages = self.0.read(*place, ReadLimit::max_bytes(400)).expect("read");
        each(messages.iter().next().expect("a record").payload());
    }

    fn close(mut self) {
        self.0.flush().expect("flush");
    }
}
