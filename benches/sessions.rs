//! What tail sessions cost: `cargo bench --bench sessions`, with `TAILWATER_ROUNDS` for other than nine rounds.
//!
//! A round appends the same records to one stream of a store without sessions and to one of a store with a thousand, half of
//! them of another tenant and half scoped to another stream, a slice to the one and a slice to the other in turn; then
//! the same beside one session that covers the stream and is read all the while. Last it reads all of two hundred streams through
//! one session, beside reading each of them by itself.

#[expect(dead_code, reason = "the fixtures of the other benchmarks")]
mod support;

use std::env;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use support::fixture::{self, Bodies};
use support::table::Table;
use support::table::Target::AtMost;
use tailwater::{
    Limit, Options, Quotas, Scope, Session, SessionSpec, SessionStart, Start, Step, Store, Stream,
    StreamName, StreamSpec, TenantId, UserId,
};

const BODY: usize = 256;
const SESSIONS: usize = 1_000;
/// Records of a slice, and slices of a round.
const SLICE: usize = 2_000;
const SLICES: usize = 400;
const STREAMS: usize = 200;
const OF_EACH: usize = 2_000;

fn main() {
    if !env::args().any(|arg| arg == "--bench") {
        println!("sessions: takes a minute, so only `cargo bench` runs it");
        return;
    }
    let rounds =
        env::var("TAILWATER_ROUNDS").map_or(9, |text| text.parse().expect("TAILWATER_ROUNDS: a number"));
    let figures: Vec<Round> = (0..rounds).map(|_| Round::run()).collect();
    report(&figures);
}

/// Nanoseconds a record.
struct Round {
    alone: f64,
    beside: f64,
    unread: f64,
    read: f64,
    merged: f64,
    each: f64,
}

fn open(dir: &Path) -> Store {
    let quotas = Quotas { sessions_per_tenant: u32::MAX, sessions_per_user: u32::MAX, ..Quotas::default() };
    Options::new().quotas(quotas).open(dir).expect("open a store")
}

fn stream(store: &Store, name: &str) -> Stream {
    store.create_stream(StreamSpec::new(StreamName::new(name).expect("a name"))).expect("create a stream")
}

fn session(store: &Store, tenant: &str, scope: Scope, start: SessionStart) -> Session {
    let tenant = store.tenant(&TenantId::new(tenant).expect("a tenant"));
    let spec = SessionSpec::new(UserId::new("u").expect("a user")).scope(scope).start(start);
    tenant.create_session(spec).expect("create a session")
}

/// Appends to both in turn; nanoseconds a record of each, of the slice in the middle: what the kernel does now and then for
/// either, and other programs, fall on some slices only.
fn in_turn(bodies: &Bodies, first: &Stream, second: &Stream) -> (f64, f64) {
    let mut times = [Vec::new(), Vec::new()];
    for slice in 0..SLICES {
        for turn in 0..2 {
            let which = (slice + turn) % 2;
            let start = Instant::now();
            fixture::append([first, second][which], bodies, SLICE);
            times[which].push(start.elapsed().as_nanos() as f64 / SLICE as f64);
        }
    }
    let [first, second] = times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    });
    (first, second)
}

impl Round {
    fn run() -> Round {
        let bodies = Bodies::new(BODY);
        let dirs = [fixture::directory(), fixture::directory()];
        let stores = [open(dirs[0].path()), open(dirs[1].path())];
        let streams = [stream(&stores[0], "a"), stream(&stores[1], "a")];
        let other = stream(&stores[1], "other");
        let sessions: Vec<Session> = (0..SESSIONS)
            .map(|number| match number % 2 {
                0 => session(&stores[1], "somebody", Scope::Tenant, SessionStart::Now),
                _ => session(&stores[1], "default", Scope::Streams(vec![other.id()]), SessionStart::Now),
            })
            .collect();
        for session in &sessions {
            session.poll(Duration::ZERO, Limit::default()).expect("read a session");
        }
        let (alone, beside) = in_turn(&bodies, &streams[0], &streams[1]);
        let covering = session(&stores[1], "default", Scope::Tenant, SessionStart::Now);
        let done = AtomicBool::new(false);
        let (unread, read) = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    covering.poll(Duration::from_millis(100), Limit::default()).expect("read a session");
                }
            });
            let times = in_turn(&bodies, &streams[0], &streams[1]);
            done.store(true, Ordering::Relaxed);
            times
        });
        drop((stores, streams));
        let (merged, each) = read_many(&bodies);
        Round { alone, beside, unread, read, merged, each }
    }
}

/// Reads two hundred streams through one session and one by one; nanoseconds a record of each.
fn read_many(bodies: &Bodies) -> (f64, f64) {
    let dir = fixture::directory();
    let store = open(dir.path());
    let streams: Vec<Stream> = (0..STREAMS).map(|number| stream(&store, &format!("s{number}"))).collect();
    for _ in 0..OF_EACH / 10 {
        for stream in &streams {
            fixture::append(stream, bodies, 10);
        }
    }
    let records = STREAMS * OF_EACH;
    let each = || {
        let start = Instant::now();
        let mut seen = 0;
        for stream in &streams {
            let mut reader = stream.read(Start::Beginning).expect("read");
            while let Step::Records(batch) = reader.next().expect("read") {
                seen += batch.iter().filter(|record| record.body().len() == BODY).count();
            }
        }
        assert_eq!(seen, records);
        start.elapsed().as_nanos() as f64 / records as f64
    };
    each();
    let alone = each();
    let session = session(&store, "default", Scope::Tenant, SessionStart::Beginning);
    let start = Instant::now();
    let mut seen = 0;
    loop {
        let polled = session.poll(Duration::ZERO, Limit::default()).expect("read a session");
        seen += polled.len();
        if polled.is_caught_up() {
            break;
        }
    }
    assert_eq!(seen, records);
    (start.elapsed().as_nanos() as f64 / records as f64, alone)
}

fn report(rounds: &[Round]) {
    let table = Table::new(rounds);
    table.line("append beside 1,000 sessions on others / beside none", Some(AtMost(1.1)), |round| {
        round.beside / round.alone
    });
    table.line("append under a session that is read / beside none", None, |round| round.read / round.unread);
    table.line("200 streams through one session / each read by itself", None, |round| {
        round.merged / round.each
    });
    println!();
    table.line("append beside no session, ns", None, |round| round.alone);
    table.line("append beside 1,000 sessions on others, ns", None, |round| round.beside);
    table.line("append under a session that is read, ns", None, |round| round.read);
    table.line("200 streams through one session, ns a record", None, |round| round.merged);
    table.line("200 streams each read by itself, ns a record", None, |round| round.each);
}
