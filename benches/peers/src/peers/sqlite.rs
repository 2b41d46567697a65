//! SQLite: one table, keyed by the record's number.

use std::path::Path;
use std::sync::Mutex;

use rusqlite::Connection;

use crate::peer::{Facts, Mode, Peer, fill_by_batches, no, yes};
use crate::support::bodies::Bodies;

const INSERT: &str = "INSERT INTO log (body) VALUES (?1)";

pub struct Sqlite(Mutex<Connection>);

fn open(dir: &Path, synchronous: &str) -> Sqlite {
    let connection = Connection::open(dir.join("log.sqlite")).expect("open the database");
    connection.pragma_update(None, "journal_mode", "WAL").expect("a pragma");
    connection.pragma_update(None, "synchronous", synchronous).expect("a pragma");
    connection
        .execute("CREATE TABLE IF NOT EXISTS log (number INTEGER PRIMARY KEY, body BLOB NOT NULL)", ())
        .expect("create the table");
    Sqlite(Mutex::new(connection))
}

impl Sqlite {
    fn connection(&mut self) -> &mut Connection {
        self.0.get_mut().expect("no panic before")
    }
}

impl Peer for Sqlite {
    const FACTS: Facts = Facts {
        name: "sqlite",
        package: Some("rusqlite"),
        set: "`journal_mode=WAL`, `synchronous=NORMAL`, or `FULL` in `durable`; a prepared statement, a transaction \
              for each append; threads share one connection, as SQLite lets one write at a time",
        readable: yes("by any process"),
        kill: yes("it is in the page cache"),
        power: yes("`FULL` only"),
        verifies: no("only the write-ahead log has checksums"),
        lacks: &[],
    };
    type Place = i64;

    fn create(dir: &Path, mode: Mode) -> Sqlite {
        open(dir, if mode == Mode::Durable { "FULL" } else { "NORMAL" })
    }

    fn open(dir: &Path) -> Sqlite {
        open(dir, "NORMAL")
    }

    fn append(&mut self, body: &[u8]) {
        self.connection().prepare_cached(INSERT).expect("prepare").execute([body]).expect("append");
    }

    fn append_all(&mut self, bodies: &[&[u8]]) {
        let transaction = self.connection().transaction().expect("begin");
        {
            let mut insert = transaction.prepare_cached(INSERT).expect("prepare");
            for body in bodies {
                insert.execute([body]).expect("append");
            }
        }
        transaction.commit().expect("commit");
    }

    fn append_durable(&self, body: &[u8]) {
        let connection = self.0.lock().expect("no panic before");
        connection.prepare_cached(INSERT).expect("prepare").execute([body]).expect("append");
    }

    fn scan(&mut self, mut each: impl FnMut(&[u8])) {
        let mut all = self.connection().prepare("SELECT body FROM log ORDER BY number").expect("prepare");
        let mut rows = all.query(()).expect("read");
        while let Some(row) = rows.next().expect("read") {
            each(row.get_ref(0).expect("a column").as_blob().expect("a blob"));
        }
    }

    fn places(&mut self, numbers: &[u64]) -> Vec<i64> {
        // SQLite counts from one.
        numbers.iter().map(|number| *number as i64 + 1).collect()
    }

    fn read(&mut self, place: &i64, mut each: impl FnMut(&[u8])) {
        let mut one =
            self.connection().prepare_cached("SELECT body FROM log WHERE number = ?1").expect("prepare");
        let mut rows = one.query([place]).expect("read");
        let row = rows.next().expect("read").expect("a record");
        each(row.get_ref(0).expect("a column").as_blob().expect("a blob"));
    }

    fn close(self) {
        self.0.into_inner().expect("no panic before").close().expect("close");
    }

    fn fill(&mut self, bodies: &Bodies, records: usize) {
        fill_by_batches(self, bodies, records);
    }
}
