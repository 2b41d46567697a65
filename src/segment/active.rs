//! The segment being written: its file made, its frames claimed, filled and published.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::format::frame::{self, Checked, HEADER, Header as FrameHeader, Kind, Place, Word};
use crate::format::header::{self, Header, PAGE};
use crate::format::index;
use crate::segment::Segment;
use crate::segment::maps::Maps;
use crate::vfs::region::{Claim, FLOOR, Region, Tail, padded};
use crate::vfs::{Access, TEMPORARY, Vfs};
use crate::{Error, ErrorKind, Result, Timestamp};

/// The smallest segment: what a stream of few records costs.
pub(crate) const MIN_BYTES: u64 = 32 << 10;

/// From this size on a segment's pages are touched ahead of the writer, and the next one is made ready.
pub(crate) const BUSY_BYTES: u64 = 1 << 20;

/// Bytes that a file has to lack for that to show in how many it holds: more than the blocks of a filesystem's own that count with them.
const SHOWS: u64 = 16 << 10;

/// The size of the segment after one of `capacity` bytes that held `used`: doubled when it filled up, sixteen times as
/// large for a hot writer; else what would have held it. At least as much as a frame of `length` bytes needs, at most
/// `max` unless it needs more.
pub(crate) fn next_capacity(capacity: u64, used: u64, length: usize, max: u64, hot: bool) -> u64 {
    let full = capacity / 2 < used;
    let wanted = if full { capacity * if hot { 16 } else { 2 } } else { used.next_power_of_two() };
    let wanted = wanted.clamp(MIN_BYTES, max.max(MIN_BYTES));
    let mut needed = MIN_BYTES;
    while needed - index::reserve(needed) < (FLOOR + padded(length)) as u64 {
        needed *= 2;
    }
    wanted.max(needed)
}

/// A segment file with its space reserved, under a temporary name, not part of the log yet.
#[derive(Debug)]
pub(crate) struct Fresh {
    file: Unnamed,
    pub(crate) capacity: u64,
    pub(crate) region: Arc<Region>,
}

impl Fresh {
    /// Makes the file. Nothing of it is durable before the first sync of its region.
    ///
    /// With `large` its pages will be as large as the filesystem has them: at half the cost a page, but then syncs
    /// write units as large. For a writer that will have filled it in a moment.
    ///
    /// # Errors
    /// `NoSpace`, `Io`. Nothing is left behind.
    pub(crate) fn new(vfs: &Arc<dyn Vfs>, dir: &Path, capacity: u64, large: bool) -> Result<Fresh> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("{TEMPORARY}{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let unnamed = Unnamed { vfs: Arc::clone(vfs), path: dir.join(name), named: false };
        let io = |doing: &'static str| |err| Error::io(doing, &unnamed.path, err);
        let file = vfs.open(&unnamed.path, Access::CreateNew).map_err(io("create segment"))?;
        file.allocate(capacity).map_err(io("reserve space for segment"))?;
        let memory = file.map(capacity as usize, Access::Write).map_err(io("map segment"))?;
        let region = Region::new(memory, FLOOR, false);
        if large {
            region.advise_large();
        } else if capacity < BUSY_BYTES {
            region.advise_random();
        }
        // Where a reservation is none, a full disk shows here as an error, and not at a store as a signal.
        region.populate(0..FLOOR + 1).map_err(io("reserve space for segment"))?;
        Ok(Fresh { file: unnamed, capacity, region })
    }

    /// Makes the file the segment that `head` says, under its final name. The name and the header are durable only
    /// once the directory and the first page are synced.
    ///
    /// # Errors
    /// `Io`; the file is removed.
    pub(crate) fn activate(mut self, maps: &Arc<Maps>, dir: &Path, head: Header) -> Result<Active> {
        assert!(head.capacity == self.capacity);
        for at in header::HEADER_AT {
            self.region.write_slot(at, &head.encode());
        }
        let Unnamed { vfs, path, named } = &mut self.file;
        let segment = Arc::new(Segment::new(vfs, maps, dir, head.store, head.stream, head.base));
        if vfs.open(&segment.path, Access::Read).is_ok() {
            let text = format!("name segment {}: a segment of that name is there", segment.path.display());
            return Err(Error::new(ErrorKind::Corrupt, text));
        }
        vfs.rename(path, &segment.path).map_err(|err| Error::io("name segment", &segment.path, err))?;
        *named = true;
        segment.adopt(head, &self.region);
        Ok(Active::new(segment, self.region, head))
    }
}

/// A file under a temporary name, removed if it gets no other.
#[derive(Debug)]
struct Unnamed {
    vfs: Arc<dyn Vfs>,
    path: PathBuf,
    named: bool,
}

impl Drop for Unnamed {
    fn drop(&mut self) {
        if !self.named {
            // What cannot be removed now is removed when the stream is opened next.
            let _ = self.vfs.remove_file(&self.path);
        }
    }
}

/// The segment frames are appended to.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) segment: Arc<Segment>,
    tail: Tail,
    base: u64,
    salt: u64,
    pub(crate) capacity: u64,
}

impl Active {
    fn new(segment: Arc<Segment>, region: Arc<Region>, head: Header) -> Active {
        let limit = (head.capacity - index::reserve(head.capacity)).max(FLOOR as u64) as usize;
        let tail = Tail::new(region, limit);
        Active { segment, tail, base: head.base, salt: head.salt, capacity: head.capacity }
    }

    /// Goes on with a segment that ends at `end` and is not sealed.
    ///
    /// # Errors
    /// `Io`, `Corrupt`, `NoSpace` where the space above its end cannot be had.
    pub(crate) fn resume(segment: Arc<Segment>, end: u64) -> Result<Active> {
        let head = *segment.head()?;
        let io = |doing: &'static str| |err| Error::io(doing, &segment.path, err);
        let file = segment.open(Access::Write)?;
        let position = head.position(end);
        // Of a small one nothing is given back. A copy may hold nothing behind its end, and where that is so much, it shows, whatever
        // else a filesystem counts.
        let holds_all = || file.allocated().is_ok_and(|bytes| head.capacity <= bytes);
        if (BUSY_BYTES <= head.capacity || head.capacity < position + SHOWS || !holds_all())
            && let Err(err) = file.allocate(head.capacity)
        {
            // ext4 leaves what it could reserve, which is all the space there was, and others may need less.
            let _ = file.punch(position.next_multiple_of(PAGE as u64).min(head.capacity)..head.capacity);
            return Err(io("reserve space for segment")(err));
        }
        let memory = file.map(head.capacity as usize, Access::Write);
        let position = position as usize;
        let region = Region::new(memory.map_err(io("map segment"))?, position, false);
        if head.capacity < BUSY_BYTES {
            region.advise_random();
            // In one go, where a look and then a store would each be a fault.
            region.populate(position..position + 1).map_err(io("reserve space for segment"))?;
        }
        segment.adopt(head, &region);
        Ok(Active::new(segment, region, head))
    }

    pub(crate) fn region(&self) -> &Arc<Region> {
        self.tail.region()
    }

    /// Offset of the next frame.
    #[inline]
    pub(crate) fn next(&self) -> u64 {
        self.base + (self.tail.next() - FLOOR) as u64
    }

    /// Position of the next frame.
    #[inline]
    pub(crate) fn position(&self) -> usize {
        self.tail.next()
    }

    /// Whether a frame of `length` bytes still fits.
    #[inline]
    pub(crate) fn fits(&self, length: usize) -> bool {
        self.tail.fits(length)
    }

    /// Whether every claim was committed.
    pub(crate) fn is_settled(&self) -> bool {
        self.tail.next() <= self.tail.region().published()
    }

    /// Takes the place of the next frame. It fits.
    #[inline]
    pub(crate) fn claim(&mut self, word: Word, ingest: Timestamp, durable: u64) -> Open {
        let offset = self.next();
        Open {
            claim: Some(self.tail.claim(word.0)),
            place: Place { salt: self.salt, offset },
            witness: frame::witness(offset, durable),
            ingest,
        }
    }
}

/// A claimed frame. Dropped unfinished, as when its writer panics, it becomes void.
#[derive(Debug)]
pub(crate) struct Open {
    claim: Option<Claim>,
    place: Place,
    witness: u32,
    pub(crate) ingest: Timestamp,
}

impl Open {
    #[inline]
    pub(crate) fn offset(&self) -> u64 {
        self.place.offset
    }

    #[inline]
    pub(crate) fn end(&self) -> u64 {
        let claim = self.claim.as_ref().expect("open");
        self.place.offset + (claim.end() - claim.start()) as u64
    }

    /// Writes and publishes a record.
    #[inline(always)]
    pub(crate) fn write_record(mut self, record: &Checked<'_>) {
        let claim = self.claim.as_mut().expect("open");
        claim.fetch_ahead(0, claim.length());
        match record.bare(self.place, self.witness, self.ingest) {
            Some((header, body)) => claim.put_both(4, &header[4..], body),
            None => return self.write_meta(record),
        }
        self.claim.take().expect("open").commit();
    }

    /// Writes and publishes a record with metadata. Apart, so that one without is written out of registers.
    #[inline(never)]
    fn write_meta(mut self, record: &Checked<'_>) {
        let claim = self.claim.as_mut().expect("open");
        record.write(self.place, self.witness, self.ingest, |at, bytes| put(claim, at, bytes));
        self.claim.take().expect("open").commit();
    }

    /// Writes and publishes the records of a batch; all of them or, if this process dies first, none.
    pub(crate) fn write_batch<'a>(mut self, records: impl Iterator<Item = Checked<'a>>, length: usize) {
        let claim = self.claim.as_mut().expect("open");
        let mut start = HEADER;
        for record in records {
            let place = Place { offset: self.place.offset + start as u64, ..self.place };
            let word = record.word();
            let witness = self.witness.saturating_add((start / frame::ALIGN) as u32);
            claim.fetch_ahead(start, word.span());
            match record.bare(place, witness, self.ingest) {
                Some((header, body)) => claim.put_both(start, &header, body),
                None => record.write(place, witness, self.ingest, |at, bytes| claim.put(start + at, bytes)),
            }
            start += word.span();
        }
        assert!(start == length, "a batch fills its claim");
        let header =
            FrameHeader { word: Word::new(Kind::Batch, length), witness: self.witness, ingest: self.ingest };
        let bytes = header.encode(self.place, 0);
        put(claim, 0, &bytes);
        self.claim.take().expect("open").commit();
    }

    /// Writes and publishes an epoch frame.
    pub(crate) fn write_epoch(mut self, epoch: crate::format::Epoch) {
        let mut payload = [0; 16];
        payload[..8].copy_from_slice(&epoch.number.to_le_bytes());
        payload[8..].copy_from_slice(&epoch.id.to_le_bytes());
        let header = FrameHeader {
            word: Word::new(Kind::Epoch, frame::EPOCH_BYTES),
            witness: self.witness,
            ingest: self.ingest,
        };
        let mut claim = self.claim.take().expect("open");
        put(&mut claim, 0, &header.encode(self.place, crc32fast::hash(&payload)));
        claim.put(HEADER, &payload);
        claim.commit();
    }
}

/// Copies a piece of a frame in, but for the commit word, which `commit` stores.
#[inline]
fn put(claim: &mut Claim, at: usize, bytes: &[u8]) {
    if at == 0 { claim.put(4, &bytes[4..]) } else { claim.put(at, bytes) }
}

/// Publishes a claim that was not finished, as one that holds nothing. It is given values and no reference, so that an append
/// that finishes keeps them in registers.
#[cold]
#[inline(never)]
fn void(mut claim: Claim, place: Place, witness: u32, ingest: Timestamp) {
    let word = Word::new(Kind::Void, claim.length());
    let header = FrameHeader { word, witness, ingest };
    put(&mut claim, 0, &header.encode(place, 0));
    claim.commit_as(word.0);
}

impl Drop for Open {
    #[inline]
    fn drop(&mut self) {
        if let Some(claim) = self.claim.take() {
            void(claim, self.place, self.witness, self.ingest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::frame::Bad;
    use crate::segment::recover::scan;
    use crate::segment::walk::{Found, Frames};
    use crate::vfs::os::OsVfs;

    fn active(dir: &Path) -> Active {
        let vfs: Arc<dyn Vfs> = Arc::new(OsVfs);
        let head = Header { base: 0, previous_durable: 0, ..header::tests::example() };
        Fresh::new(&vfs, dir, head.capacity, false).unwrap().activate(&Arc::default(), dir, head).unwrap()
    }

    #[test]
    fn an_append_whose_writer_panics_leaves_a_void_that_readers_pass() {
        let dir = tempfile::tempdir().unwrap();
        let mut active = active(dir.path());
        let record = crate::Record::new("whole");
        let checked = Checked::new(&record).unwrap();
        active.claim(checked.word(), Timestamp::MIN, 0).write_record(&checked);
        let open = active.claim(checked.word(), Timestamp::MIN, 0);
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _open = open;
            panic!("in the middle of an append");
        }));
        assert!(panic.is_err());
        active.claim(checked.word(), Timestamp::MIN, 0).write_record(&checked);
        assert!(active.is_settled());
        let end = active.next();
        let lent = active.segment.lend(active.region(), end).unwrap();
        let kinds = active.segment.frames(&lent).unwrap().walk(0).map(|found| match found {
            Found::Frame(_, frame) => frame.kind(),
            Found::Damage(range, bad) => panic!("{range:?} {bad:?}"),
        });
        assert_eq!(kinds.collect::<Vec<_>>(), [Kind::Record, Kind::Void, Kind::Record]);
    }

    #[test]
    fn of_a_batch_whose_writer_was_killed_no_record_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let mut active = active(dir.path());
        let record = crate::Record::new("of a batch");
        let checked = || Checked::new(&record).unwrap();
        let length = HEADER + 3 * checked().word().span();
        let open = active.claim(Word::new(Kind::Batch, length), Timestamp::MIN, 0);
        // What the file holds when two records of three are written: what a kill leaves.
        let mut left = Vec::new();
        let records = (0..3).map(|number| {
            if number == 2 {
                left = crate::vfs::read_all(&OsVfs, &active.segment.path, 1 << 20).unwrap();
            }
            checked()
        });
        open.write_batch(records, length);
        let scan = scan(Frames { bytes: &left[FLOOR..], base: active.base, salt: active.salt });
        assert_eq!(scan.records, 0);
        let spots: Vec<_> = scan.spots.into_iter().map(|spot| (spot.range, spot.bad)).collect();
        assert_eq!(spots, [(0..padded(length) as u64, Bad::Claimed(padded(length)))]);
    }

    #[test]
    fn what_a_copy_left_out_behind_its_end_is_reserved_when_it_is_gone_on_with() {
        let dir = tempfile::tempdir().unwrap();
        let vfs: Arc<dyn Vfs> = Arc::new(OsVfs);
        let head = Header { base: 0, previous_durable: 0, capacity: MIN_BYTES, ..header::tests::example() };
        let fresh = Fresh::new(&vfs, dir.path(), head.capacity, false).unwrap();
        let segment = fresh.activate(&Arc::default(), dir.path(), head).unwrap().segment;
        let allocated = || segment.open(Access::Read).unwrap().allocated().unwrap();
        for kept in [8 << 10, 16 << 10, MIN_BYTES - 4096] {
            segment.open(Access::Write).unwrap().punch(kept..MIN_BYTES).unwrap();
            assert!(allocated() < MIN_BYTES);
            Active::resume(Arc::clone(&segment), kept - FLOOR as u64).unwrap();
            assert!(MIN_BYTES <= allocated());
        }
    }

    #[test]
    fn the_next_segment_doubles_while_they_fill_and_shrinks_to_what_they_held() {
        let max = 64 << 20;
        assert_eq!(next_capacity(0, 0, 100, max, false), MIN_BYTES);
        assert_eq!(next_capacity(MIN_BYTES, MIN_BYTES, 100, max, false), 2 * MIN_BYTES);
        assert_eq!(next_capacity(MIN_BYTES, MIN_BYTES, 100, max, true), 16 * MIN_BYTES);
        assert_eq!(next_capacity(max, max, 100, max, true), max);
        assert_eq!(next_capacity(max, 100_000, 100, max, true), 128 << 10);
        assert!(
            (8 << 20) < next_capacity(0, 0, 8 << 20, MIN_BYTES, false),
            "a large batch gets a segment that holds it"
        );
    }
}
