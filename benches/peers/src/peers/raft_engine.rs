//! raft-engine: a log of many Raft groups, of which one is used, with an index in memory.

use std::path::Path;

use protobuf::descriptor::UninterpretedOption;
use raft_engine::{Config, Engine, LogBatch, MessageExt, ReadableSize};

use crate::peer::{Facts, Mode, Peer, fill_by_batches, yes};
use crate::support::bodies::Bodies;

const GROUP: u64 = 1;
/// Entries fetched at a time by a scan.
const READ_AT_ONCE: u64 = 1000;

pub struct RaftEngine {
    engine: Engine,
    next: std::sync::atomic::AtomicU64,
}

/// Entries are Protocol Buffers with a number and bytes; of the types that come with the library this one has both.
struct Message;

impl MessageExt for Message {
    type Entry = UninterpretedOption;

    fn index(entry: &UninterpretedOption) -> u64 {
        entry.get_positive_int_value()
    }
}

fn entry(index: u64, body: &[u8]) -> UninterpretedOption {
    let mut entry = UninterpretedOption::new();
    entry.set_positive_int_value(index);
    entry.set_string_value(body.to_vec());
    entry
}

impl RaftEngine {
    fn write(&mut self, bodies: &[&[u8]]) {
        let next = self.next.get_mut();
        let entries: Vec<_> = (*next..).zip(bodies).map(|(index, body)| entry(index, body)).collect();
        *next += entries.len() as u64;
        let mut batch = LogBatch::with_capacity(1);
        batch.add_entries::<Message>(GROUP, &entries).expect("a batch");
        self.engine.write(&mut batch, false).expect("append");
    }
}

impl Peer for RaftEngine {
    const FACTS: Facts = Facts {
        name: "raft-engine",
        package: Some("raft-engine"),
        set: "one group; compression off, as bodies are random; no purging; filled by batches of a hundred for `scan`, one by one for `random`; else the defaults (files of 128 MB)",
        readable: yes("by its own process: one `pwrite(2)` and an index in memory"),
        kill: yes("it is in the page cache"),
        power: yes("written with `sync`"),
        verifies: yes("CRC-32 of the block an entry was written in"),
        lacks: &[],
    };
    const READS_BATCHES: bool = true;
    type Place = u64;

    fn create(dir: &Path, _mode: Mode) -> RaftEngine {
        RaftEngine::open(dir)
    }

    fn open(dir: &Path) -> RaftEngine {
        let config = Config {
            dir: dir.join("engine").to_str().expect("a path in UTF-8").to_owned(),
            batch_compression_threshold: ReadableSize(0),
            ..Config::default()
        };
        let engine = Engine::open(config).expect("open the engine");
        let next = engine.last_index(GROUP).map_or(0, |last| last + 1);
        RaftEngine { engine, next: next.into() }
    }

    fn append(&mut self, body: &[u8]) {
        self.write(&[body]);
    }

    fn append_all(&mut self, bodies: &[&[u8]]) {
        self.write(bodies);
    }

    /// A group's entries are in order, so that threads that share one would have to wait for each other: each has its own.
    fn append_durable(&self, body: &[u8]) {
        thread_local! {
            static INDEX: std::cell::Cell<(u64, u64)> = const { std::cell::Cell::new((0, 0)) };
        }
        let (mut group, index) = INDEX.get();
        if group == 0 {
            group = GROUP + 1 + self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
        INDEX.set((group, index + 1));
        let mut batch = LogBatch::with_capacity(1);
        batch.add_entries::<Message>(group, &[entry(index, body)]).expect("a batch");
        self.engine.write(&mut batch, true).expect("append");
    }

    fn scan(&mut self, mut each: impl FnMut(&[u8])) {
        let mut next = self.engine.first_index(GROUP).expect("entries");
        let end = self.engine.last_index(GROUP).expect("entries") + 1;
        let mut entries = Vec::new();
        while next < end {
            let upto = end.min(next + READ_AT_ONCE);
            entries.clear();
            self.engine.fetch_entries_to::<Message>(GROUP, next, upto, None, &mut entries).expect("read");
            entries.iter().for_each(|entry| each(entry.get_string_value()));
            next = upto;
        }
    }

    fn places(&mut self, numbers: &[u64]) -> Vec<u64> {
        numbers.to_vec()
    }

    fn read(&mut self, place: &u64, mut each: impl FnMut(&[u8])) {
        let entry = self.engine.get_entry::<Message>(GROUP, *place).expect("read").expect("an entry");
        each(entry.get_string_value());
    }

    fn close(self) {
        self.engine.sync().expect("sync");
    }

    fn fill(&mut self, bodies: &Bodies, records: usize) {
        fill_by_batches(self, bodies, records);
    }
}
