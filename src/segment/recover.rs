//! What to do about a log that was not closed: a decision table. Pure; `stream/open.rs` acts on it.
//!
//! Recovery looks at the segments that are not sealed. Let X be the first place that holds no valid frame
//! and W the highest offset that anything surviving proves durable: watermarks, the checkpoint, the
//! witnesses of valid frames, what a later segment knew of its predecessor.
//!
//! | same boot | at X             | X < W | it is   | so                                                       |
//! |-----------|------------------|-------|---------|----------------------------------------------------------|
//! | yes       | a claim          | no    | void    | its writer died: mark it void, go on behind it           |
//! | yes       | zero, no frame behind it | no | the end | go on here; behind it may be a footer half written  |
//! | yes       | anything else    | any   | corrupt | a killed process tears nothing: keep all, report the gap |
//! | no        | zero to the end  | no    | the end | go on here                                               |
//! | no        | anything else    | no    | torn    | an unfinished write: cut at X, count what goes           |
//! | any       | any              | yes   | corrupt | it was durable once: keep all, report the gap            |
//!
//! A claim is one only if what it covers is all that has no frame. Less, and a frame stands where the claim's writer would
//! have written; more, and what follows it is damaged: "anything else".
//!
//! In the same boot records are told by their headers: what a killed process committed is whole.
//!
//! A batch is torn as a whole: X is then where it began. After damage nothing is written into the
//! same segment any more; the stream rolls.

use std::ops::Range;

use crate::Timestamp;
use crate::format::Epoch;
use crate::format::frame::{Bad, Kind};
use crate::mutants::{self, Mutant};
use crate::segment::walk::{Found, Frames, Walk};

/// A stretch without a valid frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spot {
    pub(crate) range: Range<u64>,
    pub(crate) bad: Bad,
    /// Where the batch began that the stretch lies in, or the start of the stretch.
    pub(crate) cut: u64,
}

/// What one segment's frames say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scan {
    /// Offset of the first frame.
    pub(crate) base: u64,
    /// Offset behind the last valid frame.
    pub(crate) end: u64,
    /// Offset behind the last byte that is not zero.
    pub(crate) written: u64,
    /// Stretches without a valid frame below `written`.
    pub(crate) spots: Vec<Spot>,
    /// The highest offset that a frame's witness proves durable.
    pub(crate) proven: u64,
    pub(crate) records: u64,
    /// Of the last record or mark.
    pub(crate) last_ingest: Option<Timestamp>,
    /// The last epoch frame.
    pub(crate) epoch: Option<(u64, Epoch)>,
    pub(crate) epochs: usize,
}

/// Walks every frame of a segment.
pub(crate) fn scan(frames: Frames<'_>) -> Scan {
    collect(frames, frames.walk_unsettled(frames.base))
}

/// The same where a process died and the machine did not: bodies of records are left to who reads them.
pub(crate) fn scan_committed(frames: Frames<'_>) -> Scan {
    collect(frames, frames.walk_committed(frames.base))
}

fn collect(frames: Frames<'_>, walk: Walk<'_>) -> Scan {
    let written = written(frames.bytes);
    let mut scan = Scan {
        base: frames.base,
        end: frames.base,
        written: frames.base + written as u64,
        spots: Vec::new(),
        proven: 0,
        records: 0,
        last_ingest: None,
        epoch: None,
        epochs: 0,
    };
    let mut batch = frames.base..frames.base;
    for found in walk {
        match found {
            Found::Frame(offset, frame) => {
                let word = frame.header.word;
                scan.end = offset + word.step() as u64;
                // A frame with a witness nobody could have had proves nothing.
                let proven = frame.header.durable(offset).filter(|durable| *durable <= offset);
                scan.proven = scan.proven.max(proven.unwrap_or(0));
                scan.last_ingest = Some(frame.header.ingest);
                match frame.kind() {
                    Kind::Record => scan.records += 1,
                    // No writer puts a batch into a batch: what looks like one shares the fate of the outer.
                    Kind::Batch if batch.contains(&offset) => {}
                    Kind::Batch => batch = offset..offset + word.span() as u64,
                    Kind::Epoch => {
                        scan.epoch = Some((offset, frame.epoch()));
                        scan.epochs += 1;
                    }
                    Kind::Void | Kind::Lost => {}
                }
            }
            Found::Damage(range, bad) => {
                // What has no frame is less or more than the word claims: the word is damaged, or what lies behind the claim.
                let passed = range.end - range.start;
                let bad = if matches!(bad, Bad::Claimed(bytes) if bytes as u64 != passed) {
                    Bad::Invalid
                } else {
                    bad
                };
                let in_batch = batch.contains(&range.start) && !mutants::on(Mutant::HalfABatch);
                let cut = if in_batch { batch.start } else { range.start };
                // A claim may reach beyond what its writer came to write.
                let end =
                    if matches!(bad, Bad::Claimed(_)) { range.end } else { range.end.min(scan.written) };
                let seen = scan.spots.last().map_or(cut, |spot| spot.range.end.max(cut));
                let range = range.start..end;
                if !range.is_empty() {
                    scan.spots.push(Spot { range, bad, cut });
                } else if seen < range.start {
                    // The batch's header is there and its last records are not.
                    scan.spots.push(Spot { range: seen..range.start, bad, cut });
                }
            }
        }
    }
    scan
}

/// Bytes up to the last word that is not zero.
fn written(bytes: &[u8]) -> usize {
    let is_blank = |chunk: &&[u8]| chunk.iter().fold(0, |all, byte| all | byte) == 0;
    let blank = bytes.rchunks(256).take_while(is_blank).map(<[u8]>::len).sum::<usize>();
    let bytes = &bytes[..bytes.len() - blank];
    let blank = bytes.rchunks(8).take_while(is_blank).map(<[u8]>::len).sum::<usize>();
    (bytes.len() - blank).next_multiple_of(8).min(bytes.len())
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Decision {
    /// Where the log ends from now on.
    pub(crate) end: u64,
    /// Claims to mark void.
    pub(crate) void: Vec<Range<u64>>,
    /// Stretches that were durable once and cannot be read.
    pub(crate) corrupt: Vec<Range<u64>>,
    /// Bytes of an unfinished write that are cut off, frames behind it included.
    pub(crate) torn_bytes: u64,
    /// Segments, counted from the first of the scans, that stay part of the log; the rest is set aside.
    pub(crate) keep: usize,
    /// The last segment takes no more frames.
    pub(crate) roll: bool,
}

/// Decides. `scans` are the unsealed segments in order, at least one; `proven` is W.
pub(crate) fn decide(scans: &[Scan], proven: u64, same_boot: bool) -> Decision {
    let mut decision = Decision { keep: scans.len(), ..Decision::default() };
    let written = scans.iter().map(|scan| scan.written).max().unwrap_or(0);
    for (index, scan) in scans.iter().enumerate() {
        // How far this segment's frames should reach: to the next one, or as far as durability is proven.
        let due = scans.get(index + 1).map_or(proven, |next| next.base);
        // Places are claimed in order, so a process that died left nothing behind one that is still zero, unless it was
        // writing the footer.
        let is_end = |spot: &&Spot| {
            spot.bad == Bad::Empty && spot.cut == spot.range.start && scan.written <= spot.range.end
        };
        let past_end = same_boot && scan.spots.last().as_ref().is_some_and(is_end);
        let spots = &scan.spots[..scan.spots.len() - usize::from(past_end)];
        let seen = spots.last().map_or(0, |spot| spot.range.end).max(scan.end);
        let missing = (seen < due).then_some(Spot { range: seen..due, bad: Bad::Empty, cut: seen });
        let mut damaged = false;
        for spot in spots.iter().chain(&missing) {
            let bound = proven + u64::from(mutants::on(Mutant::DurableBound));
            let proven = if mutants::on(Mutant::CutCorrupt) { 0 } else { bound };
            match spot.bad {
                Bad::Claimed(_) if same_boot && proven <= spot.cut => decision.void.push(spot.range.clone()),
                _ if !same_boot && proven <= spot.cut => {
                    decision.end = spot.cut;
                    decision.keep = index + 1;
                    decision.torn_bytes = written.max(spot.cut) - spot.cut;
                    decision.roll = damaged;
                    return decision;
                }
                _ => {
                    decision.corrupt.push(spot.range.clone());
                    damaged = true;
                }
            }
        }
        decision.end = seen.max(due).next_multiple_of(8);
        decision.roll = damaged;
    }
    decision
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::frame::{self, Place};

    const BASE: u64 = 0;

    /// One segment: valid frames to 1000, then what the row says.
    fn segment(base: u64, end: u64, written: u64, spots: &[(Range<u64>, Bad)]) -> Scan {
        Scan {
            base,
            end,
            written,
            spots: spots
                .iter()
                .map(|(range, bad)| Spot { range: range.clone(), bad: *bad, cut: range.start })
                .collect(),
            proven: 0,
            records: 10,
            last_ingest: None,
            epoch: None,
            epochs: 0,
        }
    }

    struct Outcome {
        end: u64,
        void: usize,
        /// Stretches, as start and end.
        corrupt: &'static [(u64, u64)],
        torn_bytes: u64,
        keep: usize,
        roll: bool,
    }

    #[track_caller]
    fn check(scans: &[Scan], proven: u64, same_boot: bool, outcome: Outcome) {
        let decision = decide(scans, proven, same_boot);
        let Outcome { end, void, corrupt, torn_bytes, keep, roll } = outcome;
        assert_eq!(decision.end, end, "end");
        assert_eq!(decision.void.len(), void, "voids");
        let found: Vec<_> = decision.corrupt.iter().map(|range| (range.start, range.end)).collect();
        assert_eq!(found, corrupt, "corrupt");
        assert_eq!((decision.torn_bytes, decision.keep, decision.roll), (torn_bytes, keep, roll));
    }

    const END: Outcome = Outcome { end: 1000, void: 0, corrupt: &[], torn_bytes: 0, keep: 1, roll: false };

    #[test]
    fn zero_to_the_end_is_the_end() {
        for same_boot in [true, false] {
            check(&[segment(BASE, 1000, 1000, &[])], 800, same_boot, END);
            check(&[segment(BASE, 1000, 1000, &[])], 1000, same_boot, END);
        }
    }

    #[test]
    fn a_claim_of_a_killed_process_is_void_and_what_follows_it_stays() {
        let claim = [(800..880, Bad::Claimed(80))];
        check(&[segment(BASE, 1000, 1000, &claim)], 800, true, Outcome { void: 1, ..END });
        let last = [(1000..1080, Bad::Claimed(80))];
        check(&[segment(BASE, 1000, 1004, &last)], 800, true, Outcome { void: 1, end: 1080, ..END });
    }

    /// A word that claims 80 bytes, a void mark that covers as many `distance` behind it, and noise between them.
    #[track_caller]
    fn check_claim(distance: usize, same_boot: bool) -> Decision {
        let place = Place { salt: 0x5a17, offset: BASE + distance as u64 };
        let mut bytes = vec![0xEE; distance];
        bytes[..4].copy_from_slice(&(80 | crate::vfs::region::CLAIMED).to_le_bytes());
        bytes.extend(frame::mark(Kind::Void, 80, &[], Timestamp::MIN, place));
        bytes.resize(distance + 80, 0xEE);
        let scan = scan(Frames { bytes: &bytes, base: BASE, salt: place.salt });
        assert_eq!((scan.spots[0].range.clone(), scan.end), (BASE..place.offset, place.offset + 80));
        decide(&[scan], 0, same_boot)
    }

    #[test]
    fn what_is_less_or_more_than_its_word_claims_is_no_claim_but_damage() {
        let decision = check_claim(80, true);
        let covers = |range: Range<u64>, found: &[Range<u64>]| found.len() == 1 && found[0] == range;
        assert!(covers(BASE..80, &decision.void) && decision.corrupt.is_empty(), "{decision:?}");
        // A void mark over less than a header would hit the header of the frame behind it.
        for distance in [8, 16, 24, 48, 88, 160] {
            let decision = check_claim(distance, true);
            let all = BASE..distance as u64;
            assert!(covers(all, &decision.corrupt) && decision.void.is_empty(), "{decision:?}");
            assert!(decision.end == distance as u64 + 80 && decision.roll);
            assert_eq!(check_claim(distance, false).torn_bytes, distance as u64 + 80);
        }
    }

    #[test]
    fn a_claim_with_nothing_but_damage_behind_it_reaches_as_far_as_that() {
        let mut bytes = vec![0xEE; 120];
        bytes[..4].copy_from_slice(&(80 | crate::vfs::region::CLAIMED).to_le_bytes());
        bytes.resize(32 << 20, 0);
        let scan = scan(Frames { bytes: &bytes, base: BASE, salt: 0x5a17 });
        let outcome = Outcome { end: 120, corrupt: &[(0, 120)], roll: true, ..END };
        check(&[scan], 0, true, outcome);
    }

    #[test]
    fn a_claim_below_what_is_proven_durable_is_corrupt() {
        let claim = [(800..880, Bad::Claimed(80))];
        let outcome = Outcome { corrupt: &[(800, 880)], roll: true, ..END };
        check(&[segment(BASE, 1000, 1000, &claim)], 880, true, outcome);
    }

    #[test]
    fn a_killed_process_tears_nothing_so_damage_is_corrupt() {
        let bad = [(800..880, Bad::Invalid)];
        let outcome = Outcome { corrupt: &[(800, 880)], roll: true, ..END };
        check(&[segment(BASE, 1000, 1000, &bad)], 0, true, outcome);
    }

    #[test]
    fn a_footer_that_a_killed_process_began_lies_behind_the_end() {
        let footer = [(1000..1200, Bad::Empty)];
        check(&[segment(BASE, 1000, 1200, &footer)], 1000, true, END);
        let outcome = Outcome { end: 1104, corrupt: &[(1000, 1104)], roll: true, ..END };
        check(&[segment(BASE, 1000, 1200, &footer)], 1104, true, outcome);
        let hole = [(1000..1200, Bad::Empty)];
        let outcome = Outcome { end: 1400, corrupt: &[(1000, 1200)], roll: true, ..END };
        check(&[segment(BASE, 1400, 1400, &hole)], 1000, true, outcome);
    }

    #[test]
    fn after_power_loss_the_first_hole_above_what_is_durable_ends_the_log() {
        for bad in [Bad::Invalid, Bad::Empty, Bad::Claimed(80)] {
            let spots = [(800..880, bad)];
            let outcome = Outcome { end: 800, torn_bytes: 200, ..END };
            check(&[segment(BASE, 1000, 1000, &spots)], 800, false, outcome);
        }
    }

    #[test]
    fn what_was_durable_and_cannot_be_read_is_corrupt_and_the_rest_stays() {
        for bad in [Bad::Invalid, Bad::Empty, Bad::Claimed(80)] {
            let outcome = Outcome { corrupt: &[(800, 880)], roll: true, ..END };
            check(&[segment(BASE, 1000, 1000, &[(800..880, bad)])], 808, false, outcome);
        }
    }

    #[test]
    fn a_log_that_ends_below_what_was_durable_reports_the_rest_missing() {
        for same_boot in [true, false] {
            let outcome = Outcome { end: 1200, corrupt: &[(1000, 1200)], roll: true, ..END };
            check(&[segment(BASE, 1000, 1000, &[])], 1200, same_boot, outcome);
        }
    }

    #[test]
    fn segments_behind_a_torn_one_are_set_aside() {
        let scans = [segment(BASE, 900, 900, &[]), segment(1000, 1400, 1400, &[])];
        check(&scans, 900, false, Outcome { end: 900, torn_bytes: 500, ..END });
        let outcome = Outcome { end: 1400, corrupt: &[(900, 1000)], keep: 2, ..END };
        check(&scans, 1000, false, outcome);
    }

    #[test]
    fn a_damaged_segment_that_is_not_the_last_does_not_make_the_last_one_roll() {
        let scans = [segment(BASE, 1000, 1000, &[(80..160, Bad::Invalid)]), segment(1000, 1400, 1400, &[])];
        let outcome = Outcome { end: 1400, corrupt: &[(80, 160)], keep: 2, ..END };
        check(&scans, 1000, true, outcome);
    }
}
