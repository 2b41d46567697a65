//! Pages of a stream against a plain model: every order, limit, stretch of time and place to go on from.

#![cfg(feature = "sim")]

mod common;

use common::*;
use tailwater::vfs::sim::Op;
use tailwater::*;

/// xorshift64*.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % end
    }
}

fn all() -> std::ops::Range<Timestamp> {
    Timestamp::MIN..Timestamp::MAX
}

fn found(page: &Page) -> Vec<String> {
    page.iter().map(|record| String::from_utf8_lossy(record.body()).into_owned()).collect()
}

/// Fills several segments, some records in batches, the clock standing still now and then.
fn fill(machine: &Machine, stream: &Stream, random: &mut Random, records: u64) {
    let mut number = 0;
    while number < records {
        let count = if random.below(4) == 0 { 1 + random.below(5) } else { 1 };
        let bodies: Vec<String> = (number..number + count)
            .map(|number| format!("{number} {}", "x".repeat(random.below(700) as usize)))
            .collect();
        let batch: Vec<Record<'_>> = bodies.iter().map(|body| Record::new(body.as_bytes())).collect();
        stream.append_batch(&batch).unwrap();
        number += count;
        if random.below(3) != 0 {
            machine.clock.advance(std::time::Duration::from_millis(random.below(20)));
        }
    }
}

/// Flips bits in the middle of some records.
fn damage(machine: &Machine, random: &mut Random) {
    for path in machine.segments() {
        let bytes = machine.disk.read_file(&path);
        let frames = bytes.windows(4).enumerate().filter(|(_, window)| *window == b"xxxx");
        let places: Vec<usize> = frames.map(|(at, _)| at).collect();
        for _ in 0..if places.is_empty() { 0 } else { random.below(4) } {
            machine.disk.flip_bit(&path, places[random.below(places.len() as u64) as usize] * 8);
        }
    }
}

#[test]
fn every_page_is_what_a_plain_list_gives() {
    let seed = seed();
    let mut random = Random(seed | 1);
    let machine = Machine::new();
    let (store, stream) = machine.create();
    fill(&machine, &stream, &mut random, 1500);
    assert!(5 < machine.segments().len());
    for round in 0..600 {
        if round == 200 {
            store.close().unwrap();
        }
        if round == 400 {
            damage(&machine, &mut random);
        }
        let (_store, stream) =
            if round < 200 { (store.clone(), stream.clone()) } else { machine.open().unwrap() };
        let mut reader = stream.read(Start::Beginning).unwrap();
        let (log, gaps) = drain(&mut reader, Limit::default());
        assert_eq!(gaps.is_empty(), round < 400);
        let any = |random: &mut Random| &log[random.below(log.len() as u64) as usize];
        let (a, b) = (any(&mut random).ingest, any(&mut random).ingest);
        let times = match random.below(3) {
            0 => all(),
            1 => a.min(b)..a.max(b),
            _ => a..Timestamp::from_nanos(a.as_nanos() + 1),
        };
        // A record's offset, any offset, or none.
        let place = |random: &mut Random| match random.below(3) {
            0 => Some(any(random).offset),
            1 => Some(random.below(log.last().unwrap().end + 100)),
            _ => None,
        };
        let (after, before) = (place(&mut random), place(&mut random));
        let (descending, limit) = (random.below(2) == 0, 1 + random.below(400) as usize);
        let rest = 1 + random.below(5);
        let passes = |body: &[u8]| (body.len() as u64).is_multiple_of(rest);
        let mut expected: Vec<&Seen> = log
            .iter()
            .filter(|seen| times.contains(&seen.ingest) && passes(&seen.body))
            .filter(|seen| after.is_none_or(|after| after < seen.offset))
            .filter(|seen| before.is_none_or(|before| seen.offset < before))
            .collect();
        if descending {
            expected.reverse();
        }
        let more = limit < expected.len();
        expected.truncate(limit);
        let mut query = Query::new(times.clone()).descending(descending).limit(limit);
        if let Some(after) = after {
            query = query.after(after);
        }
        if let Some(before) = before {
            query = query.before(before);
        }
        let page = stream.query(&query, |record| passes(record.body())).unwrap();
        let offsets: Vec<u64> = page.iter().map(|record| record.offset()).collect();
        let wanted: Vec<u64> = expected.iter().map(|seen| seen.offset).collect();
        assert_eq!(offsets, wanted, "round {round}: {query:?}");
        let cursors: Vec<Cursor> = page.iter().map(|record| record.cursor()).collect();
        let wanted: Vec<Cursor> = expected.iter().map(|seen| seen.cursor).collect();
        assert_eq!(cursors, wanted, "round {round}: {query:?}");
        assert_eq!((page.len(), page.is_empty()), (expected.len(), expected.is_empty()));
        assert!(page.gaps().iter().all(|gap| gaps.contains(gap)), "round {round}: {query:?}");
        let in_order = |pair: &[Gap]| (pair[0].start < pair[1].start) != descending;
        assert!(page.gaps().windows(2).all(in_order), "round {round}: {query:?}");
        assert!(!(more && page.is_complete()), "round {round}: more comes behind {query:?}");
        assert!(page.is_complete() || page.len() == limit, "round {round}: {query:?}");
    }
}

#[test]
fn pages_one_behind_another_are_the_log_in_either_direction() {
    let seed = seed();
    let mut random = Random(seed | 1);
    let machine = Machine::new();
    let (_store, stream) = machine.create();
    fill(&machine, &stream, &mut random, 700);
    let mut log = bodies(&stream, Start::Beginning);
    for descending in [false, true] {
        let (mut read, mut at) = (Vec::new(), None);
        loop {
            let query = Query::new(all()).descending(descending).limit(1 + random.below(60) as usize);
            let query = match at {
                Some(at) if descending => query.before(at),
                Some(at) => query.after(at),
                None => query,
            };
            let page = stream.query(&query, |_| true).unwrap();
            at = page.iter().last().map(|record| record.offset()).or(at);
            read.extend(found(&page));
            if page.is_complete() || log.len() < read.len() {
                break;
            }
        }
        assert!(read == log, "descending: {descending}");
        log.reverse();
    }
}

#[test]
fn the_newest_records_cost_their_blocks_and_not_the_log() {
    let machine = Machine::new();
    let store = machine.options().max_segment_bytes(4 << 20).open(DIR).unwrap();
    let stream = store.create_stream(spec()).unwrap();
    let mut few = None;
    for records in 1..=20_000 {
        stream.append(&Record::new(&format!("{records} {}", "x".repeat(200)))).unwrap();
        if records != 1_000 && records != 20_000 {
            continue;
        }
        let mut looked = 0;
        let maps = machine.disk.count(Op::Map);
        let query = Query::new(all()).descending(true).limit(10);
        let page = stream.query(&query, |_| {
            looked += 1;
            true
        });
        assert_eq!(page.unwrap().len(), 10);
        let maps = machine.disk.count(Op::Map) - maps;
        println!(
            "{records} records in {} segments: looked at {looked}, {maps} maps",
            machine.segments().len()
        );
        match few {
            None => few = Some((looked, maps)),
            Some((looked_of_few, maps_of_few)) => {
                assert!(looked <= 3 * looked_of_few.max(300), "{looked} of {looked_of_few}");
                assert!(maps <= maps_of_few + 3, "{maps} maps of {maps_of_few}");
            }
        }
    }
}

#[test]
fn what_expired_is_in_no_page_and_damage_is_a_gap_in_its_place() {
    let machine = Machine::new();
    let (store, stream) = machine.create_with(spec().ttl(TtlDays::new(7).unwrap()));
    for number in 0..300 {
        if number == 100 {
            machine.clock.advance(6 * DAY);
        }
        stream.append(&Record::new(&format!("{number:03} {}", "x".repeat(1000)))).unwrap();
    }
    machine.clock.advance(2 * DAY);
    let number = |text: String| text[..3].parse::<usize>().unwrap();
    for descending in [false, true] {
        let query = Query::new(all()).descending(descending).limit(1000);
        let page = stream.query(&query, |_| true).unwrap();
        let mut numbers: Vec<usize> = found(&page).into_iter().map(number).collect();
        numbers.sort();
        assert!(numbers.iter().copied().eq(100..300) && page.is_complete());
    }
    store.close().unwrap();
    // A record of the middle is damaged, in a segment in the middle.
    for path in machine.segments() {
        let bytes = machine.disk.read_file(&path);
        if let Some(at) = bytes.windows(5).position(|window| window == b"200 x") {
            machine.disk.flip_bit(&path, at * 8);
        }
    }
    let (_store, stream) = machine.open().unwrap();
    let pages = [false, true].map(|descending| {
        let query = Query::new(all()).descending(descending).limit(1000);
        let page = stream.query(&query, |_| true).unwrap();
        let [gap] = page.gaps() else { panic!("{:?}", page.gaps()) };
        assert_eq!(gap.reason, GapReason::Corrupt);
        let numbers: Vec<usize> = found(&page).into_iter().map(number).collect();
        (numbers, gap.start, gap.end)
    });
    let [(forwards, start, end), (mut backwards, ..)] = pages.clone();
    backwards.reverse();
    assert!(forwards.iter().copied().eq((100..200).chain(201..300)));
    assert_eq!(forwards, backwards);
    assert_eq!((start, end), (pages[1].1, pages[1].2));
}

#[test]
fn an_empty_log_has_empty_pages_that_are_complete() {
    let machine = Machine::new();
    let (_store, stream) = machine.create();
    for descending in [false, true] {
        for place in [None, Some(0), Some(8), Some(u64::MAX)] {
            let mut query = Query::new(all()).descending(descending);
            if let Some(place) = place {
                query = query.after(place).before(place);
            }
            let page = stream.query(&query, |_| true).unwrap();
            assert!(page.is_empty() && page.is_complete());
        }
    }
}

#[test]
fn event_times_that_fall_within_a_block_hide_no_record() {
    let machine = Machine::new();
    let store = machine.options().max_segment_bytes(1 << 20).open(DIR).unwrap();
    let stream = store.create_stream(spec()).unwrap();
    let body = [b'x'; 1000];
    // Six blocks; in each the latest event comes first.
    let event = |number: i64| Timestamp::from_nanos(BIRTH - number * 1_000_000_000);
    let records = 400;
    for number in 0..records {
        stream.append(&Record::new(&body).event_time(event(number))).unwrap();
    }
    store.close().unwrap();
    let (_store, stream) = machine.open().unwrap();
    for last in (0..records).step_by(7) {
        let filter = Filter::parse(&format!("event_ts>={}", event(last).as_nanos() / 1_000_000)).unwrap();
        let mut reader = stream.read(Start::Beginning).unwrap().filter(filter);
        let mut found = 0;
        loop {
            match reader.next().unwrap() {
                Step::Records(batch) => found += batch.len() as i64,
                Step::Gap(gap) => panic!("{gap:?}"),
                Step::Passed => {}
                Step::End => break,
            }
        }
        assert_eq!(found, last + 1);
        let seen = common::records(&stream, Start::EventTime(event(last)));
        assert_eq!(seen.len() as i64, records, "the first record is the latest");
    }
}
