//! This engine.

use std::path::Path;

use tailwater::{
    Cursor, Durability, Limit, Options, Reader, Record, Start, Step, Store, Stream, StreamName, StreamSpec,
};

use crate::peer::{ENGINE, Facts, Mode, Peer, yes};

const STREAM: &str = "log";

pub struct Tailwater {
    store: Store,
    pub stream: Stream,
    /// Goes from record to record, where they are read here and there.
    reader: Option<Reader>,
}

impl Tailwater {
    pub fn create_with(options: Options, dir: &Path) -> Tailwater {
        let store = options.open(dir).expect("open a store");
        let spec = StreamSpec::new(StreamName::new(STREAM).expect("a name"));
        let stream = store.create_stream(spec).expect("create a stream");
        Tailwater { store, stream, reader: None }
    }
}

impl Peer for Tailwater {
    const FACTS: Facts = Facts {
        name: ENGINE,
        package: None,
        set: "nothing: the default, `Interval`, a sync every 50 ms; `Sync` in `durable`",
        readable: yes("at once, without a system call"),
        kill: yes("it is in the page cache"),
        power: yes("`Sync`: it waits for the disk. `Interval`: up to the last 50 ms are lost, never a hole"),
        verifies: yes("header and body, at every read"),
        lacks: &[],
    };
    type Place = Cursor;

    fn create(dir: &Path, mode: Mode) -> Tailwater {
        let durability = match mode {
            Mode::Fast => Durability::Interval,
            Mode::Durable => Durability::Sync,
        };
        Tailwater::create_with(Options::new().durability(durability), dir)
    }

    fn open(dir: &Path) -> Tailwater {
        let store = Store::open(dir).expect("open a store");
        let stream = store.stream(STREAM).expect("open the stream");
        Tailwater { store, stream, reader: None }
    }

    #[inline]
    fn append(&mut self, body: &[u8]) {
        self.stream.append(&Record::new(body)).expect("append");
    }

    #[inline]
    fn append_all(&mut self, bodies: &[&[u8]]) {
        let records: Vec<_> = bodies.iter().map(|body| Record::new(*body)).collect();
        self.stream.append_batch(&records).expect("append");
    }

    fn append_durable(&self, body: &[u8]) {
        self.stream.append(&Record::new(body)).expect("append");
    }

    fn scan(&mut self, mut each: impl FnMut(&[u8])) {
        let mut reader = self.stream.read(Start::Beginning).expect("read");
        while let Step::Records(batch) = reader.next().expect("read") {
            for record in &batch {
                each(record.body());
            }
        }
    }

    fn places(&mut self, numbers: &[u64]) -> Vec<Cursor> {
        // A cursor stands behind a record, so the one wanted is the next.
        let mut wanted = numbers.iter().map(|number| number.checked_sub(1)).peekable();
        let mut places = Vec::with_capacity(numbers.len());
        let mut reader = self.stream.read(Start::Beginning).expect("read");
        while wanted.next_if_eq(&None).is_some() {
            places.push(reader.cursor());
        }
        let mut number = 0;
        while let Step::Records(batch) = reader.next().expect("read") {
            for record in &batch {
                while wanted.next_if_eq(&Some(number)).is_some() {
                    places.push(record.cursor());
                }
                number += 1;
            }
        }
        places
    }

    #[inline]
    fn read(&mut self, place: &Cursor, mut each: impl FnMut(&[u8])) {
        let reader = self.reader.get_or_insert_with(|| self.stream.read(Start::Now).expect("read"));
        reader.seek(Start::Cursor(*place)).expect("seek");
        let Step::Records(batch) = reader.next_within(Limit::records(1)).expect("read") else {
            panic!("no record behind {place}")
        };
        for record in &batch {
            each(record.body());
        }
    }

    fn close(self) {
        self.store.close().expect("close");
    }
}
