//! `kill -9` at any instant, over and over, on one store: what was acknowledged is there, whole, in order and once.

mod machine;
#[path = "../examples/writer.rs"]
mod writer;

use std::collections::HashMap;
use std::path::Path;
use std::time::Instant;

use machine::{Chance, Other, say, task};
use tailwater::{Cursor, Start, Step, Stream};
use writer::{Id, STREAM};

const CYCLES: u64 = 240;

/// What the process that is killed does.
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

/// What must be in the log, as far as anybody outside can know.
#[derive(Default)]
struct Expected {
    /// The number after the last acknowledged record of each run and thread.
    acknowledged: HashMap<(u64, u64), u64>,
    /// Every record found so far, with the offset of its end.
    log: Vec<(u64, Id)>,
    /// The number after the last record found of each run and thread.
    found: HashMap<(u64, u64), u64>,
    /// Some of the cursors that were handed out, of all ages.
    cursors: Vec<Cursor>,
}

impl Expected {
    fn hear(&mut self, run: u64, line: &str, chance: &mut Chance) -> bool {
        let mut parts = line.split(' ');
        let (Some(thread), Some(end), Some(cursor)) = (parts.next(), parts.next(), parts.next()) else {
            return false;
        };
        self.acknowledged.insert((run, thread.parse().unwrap()), end.parse().unwrap());
        if chance.below(50) == 0 {
            self.cursors.push(cursor.parse().unwrap());
        }
        true
    }

    /// Takes in what is in the log behind what was found so far, and checks it against what was acknowledged.
    fn check(&mut self, stream: &Stream, from: Start) {
        let mut batch_left = 0..0;
        let mut reader = stream.read(from).unwrap();
        loop {
            let batch = match reader.next().unwrap() {
                Step::Records(batch) => batch,
                Step::Gap(gap) => panic!("{gap:?}"),
                Step::Passed => panic!("there is no filter"),
                Step::End => break,
            };
            for record in &batch {
                let (id, numbers) = Id::parse(record.body()).expect("a body is what was appended");
                if batch_left.is_empty() {
                    assert_eq!(
                        numbers.start, id.number,
                        "{id:?} comes without the records before it in its batch"
                    );
                    batch_left = numbers;
                }
                assert_eq!(batch_left.next(), Some(id.number), "{id:?} comes within another batch");
                let next = self.found.entry((id.run, id.thread)).or_default();
                assert_eq!(*next, id.number, "{id:?} is out of order");
                *next += 1;
                self.log.push((record.end(), id));
            }
        }
        assert!(batch_left.is_empty(), "the end of a batch is missing: {batch_left:?}");
        for (thread, end) in &self.acknowledged {
            let found = self.found.get(thread).copied().unwrap_or(0);
            assert!(*end <= found, "{thread:?}: acknowledged up to {end}, found up to {found}");
        }
    }

    /// Each of `cursors` leads to the very next record.
    fn check_cursors(&self, stream: &Stream, cursors: &[Cursor]) {
        for cursor in cursors {
            let mut reader = stream.read(Start::Cursor(*cursor)).unwrap();
            let at = self.log.binary_search_by_key(&cursor.offset(), |(end, _)| *end);
            let expected = self.log.get(at.expect("a record ends at its cursor") + 1).map(|(_, id)| *id);
            let found = match reader.next_within(tailwater::Limit::records(1)).unwrap() {
                Step::Records(batch) => batch.iter().next().and_then(|record| Id::parse(record.body())),
                Step::Gap(gap) => panic!("{gap:?}"),
                Step::Passed => panic!("there is no filter"),
                Step::End => None,
            };
            assert_eq!(found.map(|(id, _)| id), expected);
        }
    }
}

#[test]
fn what_was_acknowledged_survives_kill_9_whole_in_order_and_once() {
    if task().is_some() {
        return;
    }
    let began = Instant::now();
    let mut chance = Chance::new();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let mut expected = Expected::default();
    let (mut voids, mut checks, mut in_open) = (0, 0, 0);
    let mut last = None;
    for run in 0..CYCLES {
        let mut other = Other::start("write_until_killed", &[path, &run.to_string()]);
        // Somewhere in opening and recovery, just behind it, or amid the appends.
        let appends = match chance.below(10) {
            0 | 1 => None,
            2 => Some(0),
            3 => Some(chance.below(2_000)),
            _ => Some(chance.below(200)),
        };
        assert_eq!(other.heard().as_deref(), Some("opening"));
        for _ in 0..appends.map_or(0, |appends| appends + 1) {
            let line = other.heard().expect("it writes until it is killed");
            expected.hear(run, &line, &mut chance);
        }
        in_open += u64::from(appends.is_none());
        other.kill();
        while let Some(line) = other.heard() {
            expected.hear(run, &line, &mut chance);
        }
        if run != CYCLES - 1 && chance.below(2) == 0 {
            // The next process finds what this one left.
            continue;
        }
        let store = writer::options().open(dir.path()).unwrap();
        let Ok(stream) = store.stream(STREAM) else { continue };
        let recovery = stream.recovery();
        assert!(recovery.corrupt.is_empty() && recovery.set_aside.is_empty(), "{recovery:?}");
        assert_eq!(recovery.torn_bytes, 0, "nothing is torn while the machine runs");
        voids += recovery.unfinished;
        checks += 1;
        // Now and then from the beginning, else from where the last check ended.
        if chance.below(16) == 0 || run == CYCLES - 1 {
            (expected.log, expected.found) = Default::default();
            last = None;
        }
        expected.check(&stream, last.map_or(Start::Beginning, Start::Cursor));
        let recent = expected.cursors.len().saturating_sub(40);
        let some: Vec<_> = match run {
            run if run == CYCLES - 1 => expected.cursors.clone(),
            _ => expected.cursors[recent..].to_vec(),
        };
        expected.check_cursors(&stream, &some);
        last = Some(stream.read(Start::Now).unwrap().cursor());
        if chance.below(16) == 0 || run == CYCLES - 1 {
            let report = stream.verify().unwrap();
            assert!(report.is_sound(), "{report:?}");
        }
        if chance.below(2) == 0 {
            store.close().unwrap();
        }
    }
    let records = expected.log.len();
    println!(
        "{CYCLES} kills, {in_open} of them while opening; {checks} checks, {records} records, {voids} claims void, \
         {} cursors; {:?}",
        expected.cursors.len(),
        began.elapsed()
    );
}
