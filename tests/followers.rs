//! Another process reads the store while its writer is killed and recovers, over and over: it sees each record once, in order,
//! and none that is something else later.
//!
//! `TAILWATER_SEED` repeats the choices; `TAILWATER_SECONDS` makes a long run.

mod machine;
#[path = "../examples/writer.rs"]
mod writer;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use machine::{Chance, Other, pause, reached, say, task, told, turns};
use tailwater::{ErrorKind, GapReason, Start, Step, Store};
use writer::{Id, STREAM};

/// How long to wait for what comes before looking whether to stop.
const MOMENT: Duration = Duration::from_millis(20);

/// Appends until it is killed.
#[test]
fn write_until_killed() {
    let Some(arguments) = task() else { return };
    let run = arguments[1].parse().unwrap();
    writer::run(Path::new(&arguments[0]), run, |line| {
        say(line);
        true
    })
    .unwrap();
}

/// Follows until told to stop; then reads all again, and says how much it saw, and how often it was told to step back.
#[test]
fn follow() {
    let Some(arguments) = task() else { return };
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            told();
            stop.store(true, Ordering::Relaxed);
        });
        let store = Store::open_read_only(&arguments[0]).unwrap();
        let stream = store.stream(STREAM).unwrap();
        let mut tail = stream.tail(Start::Beginning).unwrap();
        say("following");
        // By the offset where each ends.
        let mut seen = BTreeMap::<u64, Id>::new();
        let (mut diverged, mut gaps, mut said) = (0, Vec::new(), false);
        loop {
            let stopping = stop.load(Ordering::Relaxed);
            match tail.next(MOMENT) {
                Ok(Step::Records(batch)) => {
                    for record in &batch {
                        let (id, _) = Id::parse(record.body()).expect("a record is what was appended");
                        let last = seen.last_key_value().map_or(0, |(end, _)| *end);
                        assert!(last < record.end(), "{id:?} comes again, or out of order");
                        seen.insert(record.end(), id);
                    }
                    if !std::mem::replace(&mut said, true) {
                        say("seeing");
                    }
                }
                Ok(Step::Gap(gap)) => {
                    assert_eq!(gap.reason, GapReason::Expired, "{gap:?}");
                    gaps.push(gap.start..gap.end);
                }
                Ok(Step::Passed) => panic!("there is no filter"),
                Ok(Step::End) if stopping => break,
                Ok(Step::End) => {}
                Err(err) => {
                    let ErrorKind::CursorDiverged { safe } = *err.kind() else { panic!("{err:?}") };
                    seen.split_off(&(safe.offset() + 1));
                    tail = stream.tail(Start::Cursor(safe)).unwrap();
                    diverged += 1;
                }
            }
        }
        // Whoever comes now sees the same.
        let store = Store::open_read_only(&arguments[0]).unwrap();
        let mut reader = store.stream(STREAM).unwrap().read(Start::Beginning).unwrap();
        let mut again = 0;
        loop {
            match reader.next().unwrap() {
                Step::Records(batch) => {
                    for record in &batch {
                        let (id, _) = Id::parse(record.body()).expect("a record is what was appended");
                        let hidden = gaps.iter().any(|gap| gap.contains(&record.offset()));
                        let before = seen.get(&record.end());
                        assert!(before == Some(&id) || hidden, "{id:?} was {before:?} to the follower");
                        again += 1;
                    }
                }
                Step::End => break,
                other => panic!("{other:?}"),
            }
        }
        say(&format!("{} {again} {diverged}", seen.len()));
    });
}

#[test]
fn followers_see_each_record_once_while_the_writer_is_killed_and_recovers() {
    if task().is_some() {
        return;
    }
    let mut chance = Chance::new();
    let seed = chance.seed();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let mut others = Vec::new();
    let (mut kills, mut opening) = (0, 0);
    for run in turns(30) {
        let mut writer = Other::start("write_until_killed", &[path, &run.to_string()]);
        assert_eq!(writer.heard().as_deref(), Some("opening"));
        let lines = match chance.below(4) {
            0 if 0 < run => 0,
            1 => 1 + chance.below(500),
            _ => 2 + chance.below(100),
        };
        for _ in 0..lines {
            writer.heard().expect("it writes until it is killed");
        }
        if run == 0 {
            for _ in 0..2 {
                let mut other = Other::start("follow", &[path]);
                assert_eq!(other.heard().as_deref(), Some("following"));
                others.push(other);
            }
        }
        pause(Duration::from_micros(chance.below(3_000)));
        writer.kill();
        kills += 1;
        opening += u64::from(lines == 0);
        // A store like the killed process left it, or as one that was closed.
        if chance.below(8) == 0 {
            writer::options().open(dir.path()).unwrap().close().unwrap();
        }
    }
    let (mut seen, mut diverged) = (0, 0);
    for mut other in others {
        other.tell("stop");
        let line = loop {
            let line = other.heard().expect("a follower ends by saying what it saw");
            if line != "seeing" {
                break line;
            }
        };
        let counts: Vec<u64> = line.split(' ').map(|count| count.parse().unwrap()).collect();
        assert_ne!(counts[0], 0, "a follower saw nothing");
        seen += counts[0];
        diverged += counts[2];
        other.release();
    }
    reached(
        format_args!(
            "followers: the writer killed {kills} times, {opening} of them while opening, under 2 followers that saw \
             {seen} records, 0 of them otherwise later, stepped back {diverged} times, 0 signals"
        ),
        seed,
    );
}
