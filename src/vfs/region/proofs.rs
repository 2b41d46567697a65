//! Claim, commit and publish, tried in every order that two or three threads can run in, and with every value that
//! the memory orderings let a load see. Built with `--cfg tailwater_loom` only; `tests/schedules` does so.
//!
//! What runs is the code itself: `Region`, `Tail` and `Claim`, with loom's atomics and locks out of `sync`.
//!
//! Each ordering is held by a claim below, which fails where it is `Relaxed`:
//!
//! | ordering                                         | who finds it, beside others                                           |
//! |--------------------------------------------------|-----------------------------------------------------------------------|
//! | commit word: Release, and the Acquire that reads it | `a_reader_never_sees_half_a_frame`                                 |
//! | `commit`: Release of the published end           | `what_is_durable_was_published_before`                                |
//! | `commit`: Acquire of the published end           | `a_reader_never_sees_half_a_frame`                                    |
//! | `published`: Acquire, where it begins            | `a_reader_never_sees_half_a_frame`                                    |
//! | `published`: Release, where it raises the end    | `what_was_published_to_one_reader_is_whole_for_another_that_trusts_it` |
//! | `lend`: Acquire of the published end             | `what_is_lent_is_whole_however_its_end_was_learnt`                    |
//!
//! The Acquire of `published` where it raises the end is needed by nobody: the end that was there before is not looked at,
//! and a read-modify-write keeps the release sequence of what it overwrites.
//!
//! Loom misses orders where a thread's own load hides another's from its store, as in `commit`. So who reads is the
//! last thread to be spawned where it matters: run last, it still sees every value that the orderings let it see.
#![cfg(tailwater_loom)]

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize as Count;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use loom::thread;

use super::{Claim, FLOOR, Heap, HeapSync, Lent, Memory, Region, Tail};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};

/// A frame, and what of it is not its commit word.
pub(crate) const SPAN: usize = 16;
const BODY: usize = 12;

struct NoSync;

impl HeapSync for NoSync {
    fn sync(&self, _: Range<usize>) -> io::Result<()> {
        Ok(())
    }
}

/// Room for four frames of one body each.
pub(crate) fn region() -> Arc<Region> {
    Region::new(Memory::Heap(Arc::new(Heap::new(FLOOR + 4 * SPAN)), Arc::new(NoSync)), FLOOR, false)
}

/// The body of the `number`th frame.
fn body(number: usize) -> [u8; BODY] {
    [number as u8 + 1; BODY]
}

/// Writes and publishes the frame that was claimed.
pub(crate) fn append(mut claim: Claim) {
    let number = (claim.start() - FLOOR) / SPAN;
    claim.put(4, &body(number));
    claim.commit();
}

/// Reads every frame up to `end` and finds it whole. Without `lend`, which would look once more at what is published: who
/// was told `end` has been told enough.
pub(crate) fn check_whole(region: &Arc<Region>, end: usize) {
    check_frames(Lent { region: Arc::clone(region), range: FLOOR..end });
}

fn check_frames(lent: Lent) {
    for (number, frame) in lent.chunks(SPAN).enumerate() {
        let word = lent.region.word(FLOOR + number * SPAN).load(Ordering::Relaxed);
        assert_eq!(u32::from_le(word), SPAN as u32, "frame {number} is committed");
        assert_eq!(frame[4..], body(number), "frame {number}");
    }
}

/// Tries `claim` in every order in which threads are interrupted at most `interruptions` times in all; with
/// `TAILWATER_SECONDS` then once more often, and so on, until so many are over or there is no other order.
///
/// A search that is cut short has seen one corner of what there is; so a round that came to its end is what counts.
pub(crate) fn every_order(what: &str, interruptions: usize, claim: impl Fn() + Send + Sync + 'static) {
    let seconds = std::env::var("TAILWATER_SECONDS").ok();
    let limit = seconds.map(|text| Duration::from_secs(text.parse().expect("TAILWATER_SECONDS is a number")));
    let claim = Arc::new(claim);
    let begun = Instant::now();
    let round = |interruptions, limit: Option<Duration>| {
        let (claim, orders) = (Arc::clone(&claim), Arc::new(Count::new(0)));
        let count = Arc::clone(&orders);
        let mut loom = loom::model::Builder::new();
        loom.max_branches = 10_000;
        loom.max_duration = limit;
        loom.preemption_bound = Some(interruptions);
        let begun = Instant::now();
        loom.check(move || {
            count.fetch_add(1, Relaxed);
            claim();
        });
        let ended = limit.is_none_or(|limit| begun.elapsed() < limit);
        ended.then(|| orders.load(Relaxed))
    };
    let mut orders = round(interruptions, None).expect("it comes to its end");
    assert!(1 < orders, "there is something to order");
    let mut reached = format!("all of them with at most {interruptions} interruptions");
    if let Some(limit) = limit {
        for interruptions in interruptions + 1.. {
            let left = limit.saturating_sub(begun.elapsed());
            match round(interruptions, Some(left)) {
                None => break,
                Some(more) if more == orders => {
                    reached = "all there are".into();
                    break;
                }
                Some(more) => orders = more,
            }
            reached = format!("all of them with at most {interruptions} interruptions");
        }
    }
    // `tests/schedules` adds these up.
    println!("loom: {what}: {orders} orders, {reached}");
}

#[test]
fn a_reader_never_sees_half_a_frame() {
    every_order("a reader beside two writers", 3, || {
        let region = region();
        let mut tail = Tail::new(Arc::clone(&region), region.capacity());
        let claims = [tail.claim(SPAN as u32), tail.claim(SPAN as u32)];
        let writers = claims.map(|claim| thread::spawn(move || append(claim)));
        for _ in 0..2 {
            check_whole(&region, region.published());
        }
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        assert_eq!(region.published(), FLOOR + 2 * SPAN);
        check_whole(&region, FLOOR + 2 * SPAN);
    });
}

#[test]
fn what_was_published_to_one_reader_is_whole_for_another_that_trusts_it() {
    every_order("a reader that trusts what another found published", 3, || {
        let region = region();
        let mut tail = Tail::new(Arc::clone(&region), region.capacity());
        let [first, second] = std::array::from_fn(|_| tail.claim(SPAN as u32));
        let writer = thread::spawn(move || append(second));
        let trusting = Arc::clone(&region);
        let reader = thread::spawn(move || {
            // What `lend` takes for granted: `frozen` alone, without a look at the words.
            check_whole(&trusting, trusting.frozen.load(Ordering::Acquire));
        });
        // Where the second was committed before the first, it is published by who finds it, here.
        append(first);
        check_whole(&region, region.published());
        writer.join().unwrap();
        reader.join().unwrap();
    });
}

#[test]
fn what_is_lent_is_whole_however_its_end_was_learnt() {
    every_order("a reader that is lent what it only heard of", 3, || {
        let region = region();
        let mut tail = Tail::new(Arc::clone(&region), region.capacity());
        let claim = tail.claim(SPAN as u32);
        let lender = Arc::clone(&region);
        let reader = thread::spawn(move || {
            // Orders nothing, but what was seen once is there from then on.
            let heard = lender.frozen.load(Ordering::Relaxed);
            check_frames(lender.lend(FLOOR..heard));
        });
        append(claim);
        reader.join().unwrap();
    });
}

#[test]
fn what_is_published_ends_before_the_first_open_claim_and_never_falls() {
    every_order("three claims committed by three threads", 3, || {
        let region = region();
        let mut tail = Tail::new(Arc::clone(&region), region.capacity());
        let [first, second, third] = std::array::from_fn(|_| tail.claim(SPAN as u32));
        let writers = [second, third].map(|claim| thread::spawn(move || append(claim)));
        assert_eq!(region.published(), FLOOR, "the first claim is open");
        append(first);
        let before = region.published();
        assert!(FLOOR + SPAN <= before, "what this thread committed it sees");
        check_whole(&region, before);
        assert!(before <= region.published());
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        assert_eq!(region.published(), FLOOR + 3 * SPAN);
        check_whole(&region, FLOOR + 3 * SPAN);
    });
}

#[test]
fn claims_of_two_writers_never_overlap() {
    every_order("two writers with one lock", 3, || {
        let region = region();
        let tail = Arc::new(Mutex::new(Tail::new(Arc::clone(&region), region.capacity())));
        let writers = [0, 1].map(|_| {
            let tail = Arc::clone(&tail);
            thread::spawn(move || {
                let claim = tail.lock().claim(SPAN as u32);
                let range = claim.start()..claim.end();
                append(claim);
                range
            })
        });
        let [first, second] = writers.map(|writer| writer.join().unwrap());
        assert!(first.end <= second.start || second.end <= first.start, "{first:?} {second:?}");
        assert_eq!(region.published(), FLOOR + 2 * SPAN);
        check_whole(&region, FLOOR + 2 * SPAN);
    });
}

#[test]
fn what_is_durable_was_published_before() {
    every_order("a sync, a writer, and who trusts what is durable", 3, || {
        let region = region();
        let durable = Arc::new(AtomicU64::new(FLOOR as u64));
        let mut tail = Tail::new(Arc::clone(&region), region.capacity());
        let claim = tail.claim(SPAN as u32);
        let writer = thread::spawn(move || append(claim));
        let (synced, told) = (Arc::clone(&region), Arc::clone(&durable));
        let sync = thread::spawn(move || {
            let published = synced.published();
            synced.sync(FLOOR..published).unwrap();
            told.fetch_max(published as u64, Ordering::AcqRel);
        });
        let end = durable.load(Ordering::Acquire) as usize;
        assert!(end <= region.published());
        check_whole(&region, end);
        writer.join().unwrap();
        sync.join().unwrap();
    });
}
