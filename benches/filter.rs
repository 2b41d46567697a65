//! What filters cost and save: `cargo bench --bench filter`, with `TAILWATER_ROUNDS` for other than nine rounds.
//!
//! A store of two streams, each 1 GiB of bodies of 256 bytes: in one a record in a million is an error of another service, in the
//! other every hundredth is an error, so that every block holds some. A round reads each without a filter and with
//! some, one after the other; every figure is a ratio to the scan without one of the same round and stream.

#[allow(dead_code, reason = "the fixtures of the other benchmarks")]
mod support;

use std::env;
use std::time::{Duration, Instant};

use support::fixture::{self, Bodies};
use support::table::Table;
use support::table::Target::{AtLeast, AtMost};
use tailwater::{Filter, Level, Record, Start, Step, Store, Stream, StreamName, StreamSpec};

const BODY: usize = 256;
const RECORDS: usize = (1 << 30) / BODY;
/// One in this many is an error.
const RARE: usize = 1_000_000;
const COMMON: usize = 100;

fn main() {
    if !env::args().any(|arg| arg == "--bench") {
        println!("filter: writes gigabytes, so only `cargo bench` runs it");
        return;
    }
    let rounds =
        env::var("TAILWATER_ROUNDS").map_or(9, |text| text.parse().expect("TAILWATER_ROUNDS: a number"));
    let dir = fixture::directory();
    {
        let store = Store::open(dir.path()).expect("open a store");
        fill(&store, "rare", RARE);
        fill(&store, "common", COMMON);
        store.close().expect("close");
    }
    let store = Store::open(dir.path()).expect("open a store");
    let [rare, common] = ["rare", "common"].map(|name| store.stream(name).expect("open a stream"));
    // Once before it counts: what is mapped first is not warm.
    Round::run(&rare, &common);
    let figures: Vec<Round> = (0..rounds).map(|_| Round::run(&rare, &common)).collect();
    report(&figures);
}

fn fill(store: &Store, name: &str, one_in: usize) {
    let spec = StreamSpec::new(StreamName::new(name).expect("a name"));
    let stream = store.create_stream(spec).expect("create a stream");
    let bodies = Bodies::new(BODY);
    for index in 0..RECORDS {
        let is_error = index % one_in == one_in / 2;
        let (level, service) = if is_error { (Level::Error, "back") } else { (Level::Info, "front") };
        let record = Record::new(bodies.get(index)).level(level).service(service);
        stream.append(&record).expect("append");
    }
}

/// Nanoseconds a record.
struct Round {
    rare: f64,
    rare_level: f64,
    rare_service: f64,
    common: f64,
    common_level: f64,
    common_service: f64,
    common_text: f64,
}

impl Round {
    fn run(rare: &Stream, common: &Stream) -> Round {
        let errors = |one_in: usize| RECORDS / one_in + usize::from(one_in / 2 < RECORDS % one_in);
        Round {
            rare: read(rare, "", RECORDS),
            rare_level: read(rare, "level=error", errors(RARE)),
            rare_service: read(rare, "service=back", errors(RARE)),
            common: read(common, "", RECORDS),
            common_level: read(common, "level=error", errors(COMMON)),
            common_service: read(common, "service=back", errors(COMMON)),
            common_text: read(common, "level=error \"no body holds this\"", 0),
        }
    }
}

/// Reads all that passes, which is `expected` records.
fn read(stream: &Stream, filter: &str, expected: usize) -> f64 {
    let filter = Filter::parse(filter).expect("a filter");
    let start = Instant::now();
    let mut reader = stream.read(Start::Beginning).expect("read").filter(filter);
    let mut records = 0;
    loop {
        match reader.next().expect("read") {
            Step::Records(batch) => records += batch.len(),
            Step::Gap(gap) => panic!("{gap:?}"),
            Step::Passed => {}
            Step::End => break,
        }
    }
    let time = start.elapsed();
    assert_eq!(records, expected);
    each(time)
}

fn each(time: Duration) -> f64 {
    time.as_nanos() as f64 / RECORDS as f64
}

/// The figures with a target, then the rest, each as the median of the rounds and the span they lie in.
fn report(rounds: &[Round]) {
    let table = Table::new(rounds);
    table.line("scan / level=error, 1 in 1,000,000", Some(AtLeast(5.0)), |round| {
        round.rare / round.rare_level
    });
    table.line("scan / service=back, 1 in 1,000,000", Some(AtLeast(5.0)), |round| {
        round.rare / round.rare_service
    });
    table.line("level=error on every record / scan", Some(AtMost(1.5)), |round| {
        round.common_level / round.common
    });
    println!();
    table.line("service=back on every record / scan", None, |round| round.common_service / round.common);
    table.line("level=error and a text / scan", None, |round| round.common_text / round.common);
    table.line("scan of the rare ones, ns a record", None, |round| round.rare);
    table.line("level=error of the rare ones, ns a record", None, |round| round.rare_level);
    table.line("scan of the common ones, ns a record", None, |round| round.common);
    table.line("level=error of the common ones, ns a record", None, |round| round.common_level);
}
