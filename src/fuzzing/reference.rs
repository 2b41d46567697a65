//! Recovery by the letter: what `docs/format.md` calls a sound frame and what `docs/design.md` decides about a log that was
//! not closed. Shares nothing with the engine's but the checksum, and knows nothing of speed.

use std::ops::Range;

use byteorder::{ByteOrder, LittleEndian as LE};

use crate::fuzzing::log::Segment;
use crate::segment::recover::Decision;

/// What lies at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lies {
    Frame {
        step: usize,
        span: usize,
        batch: bool,
        witness: u32,
    },
    /// A claim, and how much it covers.
    Claim(usize),
    Zero,
    Noise,
}

fn lies(segment: &Segment, at: usize) -> Lies {
    let bytes = &segment.log[at..];
    if bytes.len() < 24 {
        return if bytes.iter().all(|byte| *byte == 0) { Lies::Zero } else { Lies::Noise };
    }
    let (word, witness) = (LE::read_u32(bytes), LE::read_u32(&bytes[4..]));
    let (length, kind) = (word as usize & 0xff_ffff, word >> 24 & 7);
    let span = length.next_multiple_of(8);
    if word == 0 {
        return Lies::Zero;
    }
    if word >> 31 == 1 {
        let fits = (24..=8_420_640).contains(&length) && span <= bytes.len();
        return if fits { Lies::Claim(span) } else { Lies::Noise };
    }
    if !(24..=bytes.len()).contains(&length) || 4 < kind {
        return Lies::Noise;
    }
    let place = segment.salt.wrapping_add(segment.base + at as u64);
    let left = (place ^ (u64::from(word) | u64::from(witness) << 32)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let right = LE::read_u64(&bytes[8..]).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    let hash = (left.rotate_left(16) ^ right.rotate_left(48)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let payload = if kind == 0 || kind == 3 { &bytes[24..length] } else { &[] };
    let sound = LE::read_u32(&bytes[16..]) == (hash >> 32) as u32
        && LE::read_u32(&bytes[20..]) == crc32fast::hash(payload) ^ hash as u32
        && (kind != 0 || word >> 30 & 1 == 0 || has_metadata(payload).is_some())
        && (kind != 3 || length == 40);
    let batch = kind == 1;
    let step = if batch { 24 } else { span };
    if sound { Lies::Frame { step, span, batch, witness } } else { Lies::Noise }
}

fn has_metadata(payload: &[u8]) -> Option<()> {
    let head = payload.get(..8)?;
    let mut rest = payload.get(8..LE::read_u32(head) as usize)?;
    let mut take = |bytes: usize| rest.split_off(..bytes);
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(drop);
    (head[4] < 2 && head[7] == 0).then_some(())?;
    take(8 * usize::from(head[4]))?;
    text(take(head[5].into())?)?;
    for _ in 0..head[6] {
        let sizes = take(3)?;
        text(take(sizes[0].into())?)?;
        text(take(LE::read_u16(&sizes[1..]).into())?)?;
    }
    rest.is_empty().then_some(())
}

/// The highest offset that a frame's witness proves durable.
pub(super) fn witnessed(segments: &[Segment]) -> u64 {
    let mut highest = 0;
    for segment in segments {
        let mut at = 0;
        while let Some((_, end)) = next(segment, at) {
            if let Lies::Frame { witness, .. } = lies(segment, at)
                && witness != u32::MAX
            {
                let offset = segment.base + at as u64;
                highest = highest.max(offset.saturating_sub(8 * u64::from(witness)));
            }
            at = end;
        }
    }
    highest
}

/// What lies at `at`, and where the next thing does: behind a frame the next, behind a claim whatever follows it unless that
/// is noise, and else the next sound frame.
fn next(segment: &Segment, at: usize) -> Option<(Lies, usize)> {
    let bytes = segment.log.len();
    let this = (at < bytes).then(|| lies(segment, at))?;
    let is_frame = |at: &usize| matches!(lies(segment, *at), Lies::Frame { .. });
    let end = match this {
        Lies::Frame { step, .. } => at + step,
        Lies::Claim(covers) if at + covers == bytes || lies(segment, at + covers) != Lies::Noise => {
            at + covers
        }
        _ => (at + 8..bytes).step_by(8).find(is_frame).unwrap_or(bytes),
    };
    Some((this, end))
}

/// A stretch without frames, and what the table calls X: where it begins, or the batch that it leaves unfinished.
struct Stretch {
    range: Range<u64>,
    x: u64,
    what: Lies,
}

/// The stretches without frames up to the last byte that is not zero, and where the last frame ends.
fn stretches(segment: &Segment) -> (Vec<Stretch>, u64) {
    let (mut found, mut end, mut batch) = (Vec::<Stretch>::new(), segment.base, 0..0);
    let mut at = 0;
    while let Some((what, behind)) = next(segment, at) {
        let range = segment.base + at as u64..segment.base + behind as u64;
        at = behind;
        if let Lies::Frame { span, batch: batched, .. } = what {
            if batched && !batch.contains(&range.start) {
                batch = range.start..range.start + span as u64;
            }
            end = range.end;
            continue;
        }
        let x = if batch.contains(&range.start) { batch.start } else { range.start };
        let told = found.last().map_or(x, |stretch| stretch.range.end.max(x));
        // Not what the word claims, so it is no claim.
        let what = match what {
            Lies::Claim(covers) if range.start + covers as u64 != range.end => Lies::Noise,
            _ => what,
        };
        let claimed = matches!(what, Lies::Claim(_));
        let last = if claimed { range.end } else { range.end.min(written(segment)) };
        // Zeros to the end are no damage, but they do not finish a batch.
        let range = if range.start < last { range.start..last } else { told..range.start };
        if range.start < range.end {
            found.push(Stretch { range, x, what });
        }
    }
    (found, end)
}

/// Offset behind the last byte that is not zero, at a multiple of 8.
fn written(segment: &Segment) -> u64 {
    let bytes = segment.log.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    segment.base + bytes.next_multiple_of(8) as u64
}

/// The table of `docs/design.md`, section 7.
pub(super) fn decide(segments: &[Segment], w: u64, same_boot: bool) -> Decision {
    let mut decision = Decision { keep: segments.len(), ..Decision::default() };
    for (index, segment) in segments.iter().enumerate() {
        let (mut found, end) = stretches(segment);
        decision.roll = false;
        // Same boot, zero, no frame behind it: the end, where a footer was begun or not.
        let is_end = |last: &mut Stretch| {
            same_boot
                && last.what == Lies::Zero
                && last.x == last.range.start
                && written(segment) <= last.range.end
        };
        found.pop_if(is_end);
        // Frames should reach the next segment, or as far as durability is proven.
        let due = segments.get(index + 1).map_or(w, |next| next.base);
        let seen = found.last().map_or(end, |last| last.range.end.max(end));
        if seen < due {
            found.push(Stretch { range: seen..due, x: seen, what: Lies::Zero });
        }
        decision.end = seen.max(due);
        for Stretch { range, x, what } in found {
            match (same_boot, x < w, what) {
                (true, false, Lies::Claim(_)) => decision.void.push(range),
                (false, false, _) => {
                    let last = segments.iter().map(written).max().unwrap_or(0);
                    let torn_bytes = last.saturating_sub(x);
                    return Decision { end: x, keep: index + 1, torn_bytes, ..decision };
                }
                _ => {
                    decision.corrupt.push(range);
                    decision.roll = true;
                }
            }
        }
    }
    decision
}
