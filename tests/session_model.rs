//! Sessions against a model: a list of records in the order of delivery. Random streams, clocks, reads, commits, resumes and
//! crashes; whatever a read gives must be what comes next in the list.
//!
//! `TAILWATER_SEED` repeats a run; `TAILWATER_SECONDS` makes a long one.

#![cfg(feature = "sim")]

mod common;

use std::time::Duration;

use common::*;
use tailwater::vfs::sim::Crash;
use tailwater::*;

fn below(chance: &mut Chance, end: usize) -> usize {
    chance.below(end.max(1) as u64) as usize
}

/// A record's place in the order of delivery, and what it says.
type Place = (Timestamp, StreamId, u64, String);

struct World {
    machine: Machine,
    store: Store,
    streams: Vec<String>,
    /// In the order of delivery.
    log: Vec<Place>,
    sessions: Vec<Follower>,
    random: Chance,
    said: usize,
}

/// A session, and how much of the list it has read and committed.
struct Follower {
    id: SessionId,
    /// Which records it wants.
    level: Option<Level>,
    read: usize,
    committed: usize,
    /// Cursors that it got, each with how much of the list lies before it.
    cursors: Vec<(SessionCursor, usize)>,
}

fn tenant(store: &Store) -> Tenant {
    store.tenant(&TenantId::new("default").unwrap())
}

/// Room for every session of a run.
fn quotas() -> Quotas {
    Quotas {
        sessions_per_tenant: 1000,
        sessions_per_user: 1000,
        session_kept: 400 * DAY,
        ..Quotas::default()
    }
}

impl World {
    fn new(seed: u64) -> World {
        let machine = Machine::seeded(seed);
        let store = machine.options().quotas(quotas()).open(DIR).unwrap();
        let (streams, log, sessions) = (Vec::new(), Vec::new(), Vec::new());
        World { machine, store, streams, log, sessions, random: Chance::from_seed(seed), said: 0 }
    }

    fn step(&mut self) {
        match below(&mut self.random, 100) {
            0..45 => self.append(),
            45..50 => self.append_batch(),
            50..60 => {
                let times = [0, 1, 1_000, 5_000_000, 1_000_000_000, 400_000_000_000];
                self.machine.clock.advance(Duration::from_nanos(times[below(&mut self.random, times.len())]));
            }
            60..63 => self.create_stream(),
            63..66 => self.create_session(),
            66..85 => self.poll(),
            85..90 => self.commit(),
            90..94 => self.resume(),
            94..96 => drop(self.store.tick().unwrap()),
            96 => self.store.sync().unwrap(),
            _ => self.restart(),
        }
    }

    fn create_stream(&mut self) {
        let name = format!("s{}", self.streams.len());
        self.store.create_stream(StreamSpec::new(StreamName::new(name.clone()).unwrap())).unwrap();
        self.streams.push(name);
    }

    fn text(&mut self) -> String {
        self.said += 1;
        // Long ones, so that segments roll.
        let length = [0, 10, 300, 3000][below(&mut self.random, 4)];
        format!("{} {}", self.said, "x".repeat(length))
    }

    fn level(&mut self) -> Level {
        [Level::Info, Level::Error][below(&mut self.random, 2)]
    }

    fn append(&mut self) {
        if self.streams.is_empty() {
            return self.create_stream();
        }
        let name = below(&mut self.random, self.streams.len());
        let stream = self.store.stream(&self.streams[name]).unwrap();
        let (text, level) = (self.text(), self.level());
        let appended = stream.append_with(&Record::new(&text).level(level), Durability::Sync).unwrap();
        self.enter((appended.ingest_time(), stream.id(), appended.offset(), format!("{level} {text}")));
    }

    fn append_batch(&mut self) {
        if self.streams.is_empty() {
            return;
        }
        let name = below(&mut self.random, self.streams.len());
        let stream = self.store.stream(&self.streams[name]).unwrap();
        let texts: Vec<(String, Level)> =
            (0..2 + below(&mut self.random, 20)).map(|_| (self.text(), self.level())).collect();
        let records: Vec<Record> =
            texts.iter().map(|(text, level)| Record::new(text).level(*level)).collect();
        let appended = stream.append_batch_with(&records, Durability::Sync).unwrap();
        let mut reader = stream.read(Start::Beginning).unwrap();
        let (seen, _) = drain(&mut reader, Limit::default());
        let of_batch = seen.iter().filter(|seen| appended.offset() <= seen.offset);
        let offsets: Vec<u64> = of_batch.map(|seen| seen.offset).collect();
        assert_eq!(offsets.len(), records.len());
        for (offset, (text, level)) in offsets.into_iter().zip(&texts) {
            self.enter((appended.ingest_time(), stream.id(), offset, format!("{level} {text}")));
        }
    }

    /// Enters a record into the list; every reader must find it behind what it has read.
    fn enter(&mut self, place: Place) {
        let at = self.log.partition_point(|other| *other < place);
        for follower in &self.sessions {
            assert!(follower.read <= at, "a record came in before what a session has read");
        }
        self.log.insert(at, place);
        for follower in &mut self.sessions {
            let behind = |count: &mut usize| *count += usize::from(at < *count);
            behind(&mut follower.committed);
            follower.cursors.iter_mut().for_each(|(_, count)| behind(count));
        }
    }

    fn create_session(&mut self) {
        if 20 < self.sessions.len() {
            return;
        }
        let level = [None, Some(Level::Error)][below(&mut self.random, 2)];
        let filter = level.map_or(Filter::all(), |level| Filter::parse(&format!("level={level}")).unwrap());
        let (start, read) = match below(&mut self.random, 3) {
            0 => (SessionStart::Now, self.log.len()),
            1 => (SessionStart::Beginning, 0),
            _ => match self.sessions.iter().flat_map(|follower| &follower.cursors).next() {
                Some((cursor, read)) => (SessionStart::Cursor(*cursor), *read),
                None => return,
            },
        };
        let spec = SessionSpec::new(UserId::new("u").unwrap()).filter(filter).start(start);
        let session = tenant(&self.store).create_session(spec).unwrap();
        let cursors = vec![(session.info().unwrap().last_cursor, read)];
        self.sessions.push(Follower { id: session.id(), level, read, committed: read, cursors });
    }

    fn poll(&mut self) {
        if self.sessions.is_empty() {
            return;
        }
        let number = below(&mut self.random, self.sessions.len());
        let limit =
            Limit { records: 1 + below(&mut self.random, 40), bytes: 1 + below(&mut self.random, 100_000) };
        let follower = &mut self.sessions[number];
        let session = tenant(&self.store).session(follower.id).unwrap();
        if session.info().unwrap().state == SessionState::Suspended {
            // It goes on at what it committed.
            follower.read = follower.committed;
        }
        let polled = session.poll(Duration::ZERO, limit).unwrap();
        assert!(polled.len() <= limit.records);
        let wants = |place: &Place| follower.level.is_none_or(|level| place.3.starts_with(level.as_str()));
        for (item, cursor) in polled.iter() {
            let PolledItem::Record(record) = item else { panic!("{item:?}") };
            while !wants(&self.log[follower.read]) {
                follower.read += 1;
            }
            let (ingest, stream, offset, text) = &self.log[follower.read];
            let said = format!("{} {}", record.level().unwrap(), String::from_utf8_lossy(record.body()));
            assert_eq!(
                (record.ingest_time(), record.cursor().stream_id(), record.offset()),
                (*ingest, *stream, *offset)
            );
            assert_eq!(said, *text);
            follower.read += 1;
            follower.cursors.push((cursor, follower.read));
        }
        if polled.is_caught_up() {
            assert!(!self.log[follower.read..].iter().any(wants), "caught up with records left");
            follower.read = self.log.len();
        }
        follower.cursors.push((polled.cursor(), follower.read));
    }

    fn commit(&mut self) {
        if self.sessions.is_empty() {
            return;
        }
        let number = below(&mut self.random, self.sessions.len());
        let follower = &mut self.sessions[number];
        let (cursor, count) = follower.cursors[below(&mut self.random, follower.cursors.len())];
        let session = tenant(&self.store).session(follower.id).unwrap();
        let committed = session.info().unwrap().last_cursor;
        match session.commit(cursor) {
            Ok(_) => {
                assert!(committed <= cursor);
                follower.committed = count;
            }
            Err(err) => {
                assert!(
                    cursor < committed && *err.kind() == ErrorKind::CommitBackwards { committed },
                    "{err}"
                );
            }
        }
    }

    fn resume(&mut self) {
        if self.sessions.is_empty() {
            return;
        }
        let number = below(&mut self.random, self.sessions.len());
        let follower = &mut self.sessions[number];
        let session = tenant(&self.store).session(follower.id).unwrap();
        if below(&mut self.random, 2) == 0 {
            session.resume(None).unwrap();
            follower.read = follower.committed;
        } else {
            let (cursor, count) = follower.cursors[below(&mut self.random, follower.cursors.len())];
            session.resume(Some(SessionStart::Cursor(cursor))).unwrap();
            follower.read = count;
        }
    }

    fn restart(&mut self) {
        let seed = self.random.draw();
        let ways = [Crash::KeepAll, Crash::DropUnsynced, Crash::Pages { seed }, Crash::Sectors { seed }];
        match below(&mut self.random, 5) {
            way @ 0..4 => self.machine.crash(ways[way]),
            _ => self.store.close().unwrap(),
        }
        // Starting again takes a while.
        self.machine.clock.advance(Duration::from_millis(1));
        self.store = self.machine.options().quotas(quotas()).open(DIR).unwrap();
        for follower in &mut self.sessions {
            follower.read = follower.committed;
        }
    }
}

#[test]
fn whatever_happens_a_session_reads_what_comes_next() {
    let first = seed();
    let mut random = Chance::from_seed(first);
    let mut histories = 0;
    for turn in turns(40) {
        // One in eight is long.
        let steps = if turn % 8 == 7 { 1200 } else { 200 };
        histories += 1;
        let seed = random.draw();
        println!("run {seed}");
        let mut world = World::new(seed);
        for _ in 0..steps {
            world.step();
        }
        // In the end everybody gets everything.
        for number in 0..world.sessions.len() {
            let session = tenant(&world.store).session(world.sessions[number].id).unwrap();
            session.resume(None).unwrap();
            world.sessions[number].read = world.sessions[number].committed;
        }
        for _ in 0..2000 {
            world.poll();
        }
    }
    reached(format_args!("sessions' model: {histories} histories of 200 or 1,200 steps"), first);
}
