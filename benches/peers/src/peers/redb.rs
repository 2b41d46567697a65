//! redb: a copy-on-write B-tree, keyed by the record's number.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use redb::{Database, Durability, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition};

use crate::peer::{Facts, Mode, Peer, fill_by_batches, no, yes};
use crate::support::bodies::Bodies;

const RECORDS: TableDefinition<u64, &[u8]> = TableDefinition::new("log");

pub struct Redb {
    database: Database,
    /// Kept while records are read one by one.
    reading: Option<ReadTransaction>,
    next: AtomicU64,
}

impl Redb {
    fn insert(&self, bodies: &[&[u8]], durability: Durability) {
        let mut transaction = self.database.begin_write().expect("begin");
        transaction.set_durability(durability).expect("a durability");
        {
            let mut table = transaction.open_table(RECORDS).expect("open the table");
            for body in bodies {
                table.insert(self.next.fetch_add(1, Ordering::Relaxed), *body).expect("append");
            }
        }
        transaction.commit().expect("commit");
    }
}

impl Peer for Redb {
    const FACTS: Facts = Facts {
        name: "redb",
        package: Some("redb"),
        set: "the defaults; a transaction for each append, with `Durability::None`, or `Immediate` in `durable`",
        readable: yes("by its own process"),
        kill: no("only what a later commit with `Immediate` covers"),
        power: yes("`Immediate` only"),
        verifies: no("pages have checksums that are looked at when it repairs, not at a read"),
        lacks: &[],
    };
    type Place = u64;

    fn create(dir: &Path, _mode: Mode) -> Redb {
        let database = Database::create(dir.join("redb")).expect("create the database");
        let redb = Redb { database, reading: None, next: 0.into() };
        redb.insert(&[], Durability::Immediate);
        redb
    }

    fn open(dir: &Path) -> Redb {
        let database = Database::open(dir.join("redb")).expect("open the database");
        let next = {
            let transaction = database.begin_read().expect("begin");
            let table = transaction.open_table(RECORDS).expect("open the table");
            table.last().expect("read").map_or(0, |(last, _)| last.value() + 1)
        };
        Redb { database, reading: None, next: next.into() }
    }

    fn append(&mut self, body: &[u8]) {
        self.insert(&[body], Durability::None);
    }

    fn append_all(&mut self, bodies: &[&[u8]]) {
        self.insert(bodies, Durability::None);
    }

    fn append_durable(&self, body: &[u8]) {
        self.insert(&[body], Durability::Immediate);
    }

    fn scan(&mut self, mut each: impl FnMut(&[u8])) {
        let transaction = self.database.begin_read().expect("begin");
        let table = transaction.open_table(RECORDS).expect("open the table");
        for entry in table.iter().expect("read") {
            each(entry.expect("read").1.value());
        }
    }

    fn places(&mut self, numbers: &[u64]) -> Vec<u64> {
        self.reading = Some(self.database.begin_read().expect("begin"));
        numbers.to_vec()
    }

    fn read(&mut self, place: &u64, mut each: impl FnMut(&[u8])) {
        let table = self.reading.as_ref().expect("places first").open_table(RECORDS).expect("open the table");
        each(table.get(place).expect("read").expect("a record").value());
    }

    fn close(self) {
        self.insert(&[], Durability::Immediate);
    }

    fn fill(&mut self, bodies: &Bodies, records: usize) {
        fill_by_batches(self, bodies, records);
    }
}
