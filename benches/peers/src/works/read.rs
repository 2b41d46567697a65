//! Reading what was just written, from end to end and here and there: its pages are warm.

use std::time::Instant;

use crate::cell::{Cell, Figure, LIMIT, each};
use crate::peer::{ENGINE, Mode, Peer, fill_one_by_one};
use crate::stats::percentiles;
use crate::support::bodies::{Bodies, Random};
use crate::support::limit::Segments;
use crate::works::append::Times;

const BODY: usize = 256;
/// Records read here and there, after a tenth as many that do not count.
const READS: usize = 50_000;

/// The engine is scanned at 1 GiB, the rest at an eighth of that: figures are per record.
fn records<P: Peer>() -> usize {
    (if P::FACTS.name == ENGINE { 1 << 30 } else { 128 << 20 }) / BODY
}

pub fn scan<P: Peer>(cell: &Cell) -> Vec<Figure> {
    let mut peer = filled::<P>(cell);
    let records = records::<P>();
    let mut scan = || {
        let (mut count, mut bytes) = (0, 0);
        let start = Instant::now();
        peer.scan(|body| {
            count += 1;
            bytes += body.len();
        });
        let time = start.elapsed();
        assert_eq!((count, bytes), (records, records * BODY));
        time
    };
    // Once before it counts, where a second time does the same: what is mapped first is not warm.
    if !P::SCANS_ONCE {
        scan();
    }
    let mut figures = vec![Figure::new(cell.peer, "ns/record", each(scan(), records))];
    if let Some(segments) = limit::<P>(cell) {
        segments.check();
        let (count, time) = segments.check();
        assert_eq!(count, records);
        figures.push(Figure::new(LIMIT, "ns/record", each(time, count)));
    }
    figures
}

pub fn random<P: Peer>(cell: &Cell) -> Vec<Figure> {
    let mut peer = filled::<P>(cell);
    let mut random = Random(7);
    let mut numbers: Vec<_> = (0..READS).map(|_| random.next() % records::<P>() as u64).collect();
    numbers.sort_unstable();
    let mut places = peer.places(&numbers);
    for last in (1..places.len()).rev() {
        places.swap(last, (random.next() % (last as u64 + 1)) as usize);
    }
    let mut read = |place: &P::Place| peer.read(place, |body| assert_eq!(body.len(), BODY));
    places[..READS / 10].iter().for_each(&mut read);
    let mut times = Times::new(READS);
    places.iter().for_each(|place| times.of(|| read(place)));
    let mut times = times.into_vec();
    let mean = times.iter().map(|time| f64::from(*time)).sum::<f64>() / times.len() as f64;
    let mut figure = Figure::new(cell.peer, "ns", mean);
    figure.more = percentiles(&mut times);
    let mut figures = vec![figure];
    if let Some(segments) = limit::<P>(cell) {
        segments.check();
        figures.push(Figure::new(LIMIT, "ns", each(segments.check_at_random(READS as u64), READS)));
    }
    figures
}

/// A log filled, closed, and opened again.
fn filled<P: Peer>(cell: &Cell) -> P {
    let mut peer = P::create(cell.dir, Mode::Fast);
    let bodies = Bodies::new(BODY);
    if P::READS_BATCHES && cell.work == "random" {
        fill_one_by_one(&mut peer, &bodies, records::<P>());
    } else {
        peer.fill(&bodies, records::<P>());
    }
    peer.close();
    P::open(cell.dir)
}

/// Checksums over the map of the engine's own files; only its cell has them.
fn limit<P: Peer>(cell: &Cell) -> Option<Segments> {
    if P::FACTS.name != ENGINE {
        return None;
    }
    let store = tailwater::Store::open_read_only(cell.dir).expect("open as a follower");
    let end = store.stream("log").expect("the stream").published().expect("the end");
    Some(Segments::map(cell.dir, end))
}
