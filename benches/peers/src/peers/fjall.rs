//! fjall: a log-structured merge tree, keyed by the record's number.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use crate::peer::{Facts, Mode, Peer, fill_by_batches, yes};
use crate::support::bodies::Bodies;

pub struct Fjall {
    database: Database,
    records: Keyspace,
    next: AtomicU64,
}

impl Fjall {
    fn key(&self) -> [u8; 8] {
        self.next.fetch_add(1, Ordering::Relaxed).to_be_bytes()
    }
}

impl Peer for Fjall {
    const FACTS: Facts = Facts {
        name: "fjall",
        package: Some("fjall"),
        set: "the defaults; keys are numbers, big endian; in `durable` each insert is followed by `persist(SyncData)`",
        readable: yes("by its own process"),
        kill: yes("the journal is written to the system at each insert"),
        power: yes("after `persist`"),
        verifies: yes(
            "XXH3 of a block as it is read from disk, not when it comes from its cache or a memtable",
        ),
        lacks: &[],
    };
    type Place = u64;

    fn create(dir: &Path, _mode: Mode) -> Fjall {
        Fjall::open(dir)
    }

    fn open(dir: &Path) -> Fjall {
        let database = Database::builder(dir.join("database")).open().expect("open the database");
        let records = database.keyspace("log", KeyspaceCreateOptions::default).expect("open the keyspace");
        let last = records.last_key_value().map(|entry| number(&entry.key().expect("a key")));
        Fjall { database, records, next: last.map_or(0, |last| last + 1).into() }
    }

    fn append(&mut self, body: &[u8]) {
        self.records.insert(self.key(), body).expect("append");
    }

    fn append_all(&mut self, bodies: &[&[u8]]) {
        let mut batch = self.database.batch();
        for body in bodies {
            batch.insert(&self.records, self.key(), *body);
        }
        batch.commit().expect("append");
    }

    fn append_durable(&self, body: &[u8]) {
        self.records.insert(self.key(), body).expect("append");
        self.database.persist(PersistMode::SyncData).expect("sync");
    }

    fn scan(&mut self, mut each: impl FnMut(&[u8])) {
        for entry in self.records.iter() {
            each(&entry.value().expect("read"));
        }
    }

    fn places(&mut self, numbers: &[u64]) -> Vec<u64> {
        numbers.to_vec()
    }

    fn read(&mut self, place: &u64, mut each: impl FnMut(&[u8])) {
        each(&self.records.get(place.to_be_bytes()).expect("read").expect("a record"));
    }

    fn close(self) {
        self.database.persist(PersistMode::SyncAll).expect("sync");
    }

    fn fill(&mut self, bodies: &Bodies, records: usize) {
        fill_by_batches(self, bodies, records);
    }
}

fn number(key: &[u8]) -> u64 {
    u64::from_be_bytes(key.try_into().expect("8 bytes"))
}
