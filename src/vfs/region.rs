//! Memory that is read while it is appended to. The only `unsafe` in this crate.
//!
//! A region is one segment file, mapped, or a heap buffer that stands for one. It is a page of slots
//! followed by *spans* laid end to end from [`FLOOR`], each at a multiple of 8. A span begins with its
//! commit word, a little-endian `u32` whose low 24 bits are its length in bytes and whose top bit says
//! that it is claimed but not yet committed. What else the bits mean is the frame format's affair.
//!
//! ```text
//!  0        FLOOR                                 frozen             Tail::next           capacity
//!  | slots  | committed spans: never written again | claims, commits  | zero, unclaimed      |
//! ```
//!
//! The rules. Each `unsafe` block names those that make it sound.
//!
//! - **R1, bounds.** `memory.base()` points at `memory.capacity()` bytes, aligned to 8, valid for as long as the
//!   `Region` lives; every access asserts that it lies within them. For a mapped file this leans on
//!   the file keeping its size: the engine never truncates one that is mapped, and says so to the host.
//! - **R2, one claimant.** Spans are handed out by [`Tail::claim`], which takes `&mut`, from `next`
//!   upwards; there is one `Tail` a region (`taken`). So no two claims overlap, and none reaches below
//!   the `next` of an earlier time.
//! - **R3, words are atomic.** A commit word that somebody else may be storing is only touched as an `AtomicU32`. It
//!   is stored last, with `Release`; whoever loads it with `Acquire` and finds it committed sees the whole span.
//! - **R4, frozen.** `frozen` is raised only across committed spans. No safe call writes between FLOOR and
//!   `frozen`. Slices are lent only there, so what a slice covers never changes.
//! - **R5, slots** are read and written as atomic words, by copy. No slice of them is ever lent.
//! - **R6, lifetime.** A `Claim` points at its region without counting. A `Tail` owns a count, and when it is
//!   dropped while a claim is open it leaks that count: the memory outlives every claim.
//! - **R7, other processes.** A writer in another process keeps the same rules for the same file; bytes
//!   that break them (a foreign writer, a failing device) are outside what any map can promise.
//! - **R8, at rest.** Whoever holds the only count of a region has all its bytes to itself: a `Tail` and a `Lent` own
//!   a count, and a `Claim` is open only while its `Tail` lives or has leaked its count (R6).

use std::ops::{Deref, Range};
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering::Relaxed};
use std::{fmt, io, ptr, slice};

use crate::mutants::{self, Mutant};
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::sync::{Watch, Word};
use crate::vfs::uninterrupted;

pub(crate) use crate::format::span::{CLAIMED, FLOOR, LENGTH, padded};

/// From this many bytes on a sync drops the page-table entries of what it writes.
#[cfg(target_os = "linux")]
const UNMAP_FROM: usize = 256 << 10;

/// Bytes ahead of a span that its writer brings into the cache: what is appended while memory answers once.
const FETCH_AHEAD: usize = 2 << 10;
/// Bytes of a record that a reader asks for before it looks at any of them.
const FETCH: usize = 384;
/// Bytes that come into the cache together.
const LINE: usize = 64;

/// Where a region's bytes are.
pub enum Memory {
    /// A mapped file.
    Mapped(memmap2::MmapRaw),
    /// A simulated file.
    Heap(Arc<Heap>, Arc<dyn HeapSync>),
}

/// Makes a range of a simulated file durable, as msync does for a mapped one.
pub trait HeapSync: Send + Sync {
    /// Makes `range` durable.
    fn sync(&self, range: Range<usize>) -> io::Result<()>;
}

/// The bytes of a simulated file.
pub struct Heap {
    words: Box<[AtomicU64]>,
    bytes: usize,
}

impl Heap {
    /// `bytes` zero bytes.
    pub fn new(bytes: usize) -> Heap {
        Heap { words: (0..bytes.div_ceil(8)).map(|_| AtomicU64::new(0)).collect(), bytes }
    }

    /// How many bytes there are.
    pub fn size(&self) -> usize {
        self.bytes
    }

    /// Copies the bytes at `position` out. Words that are being stored at the same time come out old or new.
    pub fn read(&self, buf: &mut [u8], position: usize) {
        assert!(position <= self.bytes && buf.len() <= self.bytes - position, "read past the end");
        let mut words =
            self.words[position / 8..].iter().map(|word| word.load(Ordering::Relaxed).to_ne_bytes());
        let skip = position % 8;
        let edge = if skip == 0 { 0 } else { buf.len().min(8 - skip) };
        let (first, rest) = buf.split_at_mut(edge);
        if !first.is_empty() {
            first.copy_from_slice(&words.next().expect("within")[skip..skip + edge]);
        }
        for (chunk, word) in rest.chunks_mut(8).zip(words) {
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }

    /// Copies bytes in at `position`. As with a real file under a map, nobody may hold a slice of what is
    /// overwritten; the engine overwrites only above the published end, and tests only files that are closed.
    pub fn write(&self, bytes: &[u8], position: usize) {
        assert!(position <= self.bytes && bytes.len() <= self.bytes - position, "write past the end");
        let patch = |word: &AtomicU64, skip: usize, part: &[u8]| {
            let mut new = word.load(Ordering::Relaxed).to_ne_bytes();
            new[skip..skip + part.len()].copy_from_slice(part);
            word.store(u64::from_ne_bytes(new), Ordering::Relaxed);
        };
        let mut words = self.words[position / 8..].iter();
        let skip = position % 8;
        let edge = if skip == 0 { 0 } else { bytes.len().min(8 - skip) };
        let (first, rest) = bytes.split_at(edge);
        if !first.is_empty() {
            patch(words.next().expect("within"), skip, first);
        }
        for (chunk, word) in rest.chunks(8).zip(words) {
            match chunk.try_into() {
                Ok(whole) => word.store(u64::from_ne_bytes(whole), Ordering::Relaxed),
                Err(_) => patch(word, 0, chunk),
            }
        }
    }
}

impl Memory {
    fn base(&self) -> *mut u8 {
        match self {
            Memory::Mapped(map) => map.as_mut_ptr(),
            // The words are interior-mutable, so writing through a pointer made from `&` is allowed.
            Memory::Heap(heap, _) => heap.words.as_ptr() as *mut u8,
        }
    }

    fn capacity(&self) -> usize {
        match self {
            Memory::Mapped(map) => map.len(),
            Memory::Heap(heap, _) => heap.bytes,
        }
    }
}

/// One segment's memory: see the module's rules.
pub(crate) struct Region {
    memory: Memory,
    /// Kept beside `memory` so that the append path reads one cache line.
    base: *mut u8,
    capacity: usize,
    frozen: AtomicUsize,
    taken: AtomicBool,
    /// Position up to which pages were asked for ahead of use.
    populated: AtomicUsize,
    read_only: bool,
    /// Whether somebody reads it through.
    scanned: AtomicBool,
    /// Shows a checker of interleavings what is done to the spans; of no size in other builds.
    watch: Watch,
}

// SAFETY: `base` points into `memory`, which is Send and Sync; what is shared is atomic (R3, R5) or frozen (R4).
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    /// A region whose spans are committed up to `frozen`. The caller keeps no other region of the
    /// same bytes in this process.
    pub(crate) fn new(memory: Memory, frozen: usize, read_only: bool) -> Arc<Region> {
        let (base, capacity) = (memory.base(), memory.capacity());
        assert!(base.addr().is_multiple_of(8), "a region is aligned to 8");
        assert!(
            FLOOR <= frozen && frozen <= capacity && frozen.is_multiple_of(8),
            "frozen lies in the region"
        );
        Arc::new(Region {
            memory,
            base,
            capacity,
            frozen: AtomicUsize::new(frozen),
            taken: AtomicBool::new(false),
            populated: AtomicUsize::new(0),
            read_only,
            scanned: AtomicBool::new(false),
            watch: Watch::new(FLOOR..capacity),
        })
    }

    /// Bytes of memory, slots included.
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    #[cfg(not(tailwater_loom))]
    #[inline]
    fn word(&self, position: usize) -> &Word {
        assert!(position.is_multiple_of(4) && position + 4 <= self.capacity, "a word lies in the region"); // R1
        self.watch.touches_word();
        // SAFETY: R1 for bounds and alignment; R3: words others may store are only touched atomically.
        unsafe { Word::from_ptr(self.base.add(position).cast()) }
    }

    #[cfg(tailwater_loom)]
    fn word(&self, position: usize) -> &Word {
        self.watch.word(position)
    }

    fn slot_word(&self, position: usize) -> &AtomicU64 {
        assert!(position.is_multiple_of(8) && position + 8 <= FLOOR, "a slot lies below the floor");
        // SAFETY: R1 (capacity is at least FLOOR), R5.
        unsafe { AtomicU64::from_ptr(self.base.add(position).cast()) }
    }

    /// Raises `frozen` across every span that is committed by now, and returns it: the published end. Costs one load
    /// when nothing new is there. A word that cannot be right (zero, or a length past the capacity) ends the walk.
    pub(crate) fn published(&self) -> usize {
        self.publish_while(|_, _| true)
    }

    /// As [`published`](Region::published), but a span counts only when `valid(its bytes, its position)`: for a
    /// reader in another process, which has no writer of its own to trust.
    pub(crate) fn publish_while(&self, mut valid: impl FnMut(&[u8], usize) -> bool) -> usize {
        let start = self.frozen.load(Ordering::Acquire);
        let mut end = start;
        while let Some(length) = self.committed(end) {
            self.watch.reads(end..end + length);
            // SAFETY: R1 by `committed`; R3: its word was loaded with Acquire and is committed, so the span is
            // complete and, by R4, never written again.
            if !valid(unsafe { slice::from_raw_parts(self.base.add(end), length) }, end) {
                break;
            }
            end += padded(length);
        }
        if start < end {
            self.frozen.fetch_max(end, Ordering::AcqRel);
        }
        end
    }

    /// The length of the committed span at `position`, if there is one.
    fn committed(&self, position: usize) -> Option<usize> {
        if self.capacity - position < 8 {
            return None;
        }
        let word = u32::from_le(self.word(position).load(Ordering::Acquire));
        let length = (word & LENGTH) as usize;
        let fits = 8 <= length && padded(length) <= self.capacity - position;
        (word & CLAIMED == 0 && fits).then_some(length)
    }

    /// Raises `frozen` to `end`, which somebody proved published by other means (a durable watermark).
    /// Only for regions that nobody in this process appends to.
    pub(crate) fn trust(&self, end: usize) {
        assert!(self.read_only && end <= self.capacity && end.is_multiple_of(8));
        self.frozen.fetch_max(end, Ordering::AcqRel);
    }

    /// Lends `range`, which must lie in what is published.
    ///
    /// # Panics
    /// When it does not: a slice of bytes that may still change would be unsound.
    pub(crate) fn lend(self: &Arc<Region>, range: Range<usize>) -> Lent {
        assert!(FLOOR <= range.start && range.start <= range.end, "a lent range lies above the slots");
        // R4. `published` never falls, though the hint behind it may.
        assert!(range.end <= self.frozen.load(Ordering::Acquire) || range.end <= self.published());
        Lent { region: Arc::clone(self), range }
    }

    /// The bytes behind the slots up to `end`, while nobody holds the region but the caller: no tail and no claim is there
    /// that could write, and nobody a slice could be lent to.
    ///
    /// # Errors
    /// Where a page cannot be read, which would be a signal at its first use.
    pub(crate) fn at_rest(self: &mut Arc<Region>, end: usize) -> io::Result<&[u8]> {
        let region = Arc::get_mut(self).expect("a region at rest is held by nobody else");
        assert!(FLOOR <= end && end <= region.capacity, "what is looked at lies in the region");
        #[cfg(target_os = "linux")]
        if let Memory::Mapped(map) = &region.memory {
            map.advise_range(memmap2::Advice::PopulateRead, 0, end)?;
        }
        region.watch.reads(FLOOR..end);
        // SAFETY: R1 and R8: the caller's `&mut` is the only way to the region, and outlives the slice.
        Ok(unsafe { slice::from_raw_parts(region.base.add(FLOOR), end - FLOOR) })
    }

    /// As [`lend`](Region::lend), for no longer than the region is held, and not counted.
    pub(crate) fn show(&self, range: Range<usize>) -> &[u8] {
        assert!(FLOOR <= range.start && range.start <= range.end, "a shown range lies above the slots");
        // R4. `published` never falls, though the hint behind it may.
        assert!(range.end <= self.frozen.load(Ordering::Acquire) || range.end <= self.published());
        self.watch.reads(range.clone());
        // SAFETY: R1 and R4, checked just now; the slice does not outlive the region.
        unsafe { slice::from_raw_parts(self.base.add(range.start), range.end - range.start) }
    }

    /// Copies a slot out.
    pub(crate) fn read_slot(&self, position: usize, buf: &mut [u8]) {
        assert!(buf.len().is_multiple_of(8));
        for (index, chunk) in buf.chunks_exact_mut(8).enumerate() {
            let word = self.slot_word(position + index * 8).load(Ordering::Relaxed);
            chunk.copy_from_slice(&word.to_ne_bytes());
        }
    }

    /// Copies a slot in. A reader of the same slot may see part of it: slots carry checksums.
    pub(crate) fn write_slot(&self, position: usize, bytes: &[u8]) {
        assert!(bytes.len().is_multiple_of(8) && !self.read_only);
        for (index, chunk) in bytes.chunks_exact(8).enumerate() {
            let word = u64::from_ne_bytes(chunk.try_into().expect("8 bytes"));
            self.slot_word(position + index * 8).store(word, Ordering::Relaxed);
        }
    }

    /// Makes `range` durable; on error nothing is known of it, and asking again proves nothing.
    pub(crate) fn sync(&self, range: Range<usize>) -> io::Result<()> {
        assert!(range.start <= range.end && range.end <= self.capacity);
        if range.is_empty() {
            return Ok(());
        }
        match &self.memory {
            Memory::Mapped(map) => {
                self.unmap_pages(&range);
                uninterrupted(|| map.flush_range(range.start, range.end - range.start))
            }
            Memory::Heap(_, hook) => hook.sync(range),
        }
    }

    /// Drops the page-table entries of the whole pages in `range`, which are written to no more.
    ///
    /// Writing a mapped page back makes the kernel take the right to write from its entry, and tell every other
    /// processor so, page by page. Entries dropped together are told of once; whoever reads there next has
    /// them made again, sixteen at a time.
    #[cfg(target_os = "linux")]
    fn unmap_pages(&self, range: &Range<usize>) {
        let pages =
            range.start.next_multiple_of(4096)..range.end.min(self.frozen.load(Ordering::Acquire)) & !4095;
        if let Memory::Mapped(map) = &self.memory
            && UNMAP_FROM <= pages.end.saturating_sub(pages.start)
        {
            // SAFETY: the map is shared and of a file, so its bytes stay in the file and show again at the next access.
            // Advice only: a refusal changes nothing but speed.
            let _ = unsafe {
                map.unchecked_advise_range(
                    memmap2::UncheckedAdvice::DontNeed,
                    pages.start,
                    pages.end - pages.start,
                )
            };
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn unmap_pages(&self, _: &Range<usize>) {}

    /// Asks for the pages of `range` ahead of use; an error says why they cannot be had (a full disk).
    pub(crate) fn populate(&self, range: Range<usize>) -> io::Result<()> {
        let range = range.start..range.end.min(self.capacity);
        self.populated.fetch_max(range.end, Ordering::Relaxed);
        match &self.memory {
            #[cfg(target_os = "linux")]
            Memory::Mapped(map) if !range.is_empty() => {
                map.advise_range(memmap2::Advice::PopulateWrite, range.start, range.end - range.start)
            }
            _ => Ok(()),
        }
    }

    /// Position up to which pages were asked for.
    pub(crate) fn populated(&self) -> usize {
        self.populated.load(Ordering::Relaxed)
    }

    /// Asks for pages as large as there are, from the next touch on.
    pub(crate) fn advise_large(&self) {
        #[cfg(target_os = "linux")]
        if let Memory::Mapped(map) = &self.memory {
            // Advice only: a refusal changes nothing but speed.
            let _ = map.advise(memmap2::Advice::HugePage);
        }
    }

    /// Says that the bytes will be read one after the other from here on, so that the kernel reads ahead. Once is enough.
    #[inline]
    pub(crate) fn advise_scan(&self) {
        if self.read_only && !self.scanned.load(Ordering::Relaxed) {
            self.read_ahead();
        }
    }

    #[cold]
    fn read_ahead(&self) {
        self.scanned.store(true, Ordering::Relaxed);
        if let Memory::Mapped(map) = &self.memory {
            // Advice only: a refusal changes nothing but speed.
            let _ = map.advise(memmap2::Advice::Normal);
        }
    }

    /// Says that access will be scattered, so that a fault brings one page in and not its neighbours.
    pub(crate) fn advise_random(&self) {
        if let Memory::Mapped(map) = &self.memory {
            // Advice only: a refusal changes nothing but speed.
            let _ = map.advise(memmap2::Advice::Random);
        }
    }
}

/// Where a region's memory is, or was: to ask for what lies there, and for nothing else. Who holds the region is not asked.
#[derive(Debug, Default)]
pub(crate) struct Hint(AtomicPtr<u8>);

impl Hint {
    pub(crate) fn set(&self, region: &Region) {
        self.0.store(region.base, Relaxed);
    }

    /// Asks for the lines of a record that begins at `position`, as long as most are, before it is looked at: so memory
    /// is waited for once, and not first for its header and then for the rest.
    #[inline]
    pub(crate) fn fetch(&self, position: usize) {
        let base = self.0.load(Relaxed);
        for line in 0..FETCH / LINE {
            prefetch_to_read(base.wrapping_add(position + line * LINE));
        }
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let frozen = self.frozen.load(Ordering::Relaxed);
        write!(f, "Region({FLOOR}..{frozen} of {})", self.capacity)
    }
}

/// A published range, with the memory it lies in kept alive.
#[derive(Clone, Debug)]
pub(crate) struct Lent {
    region: Arc<Region>,
    range: Range<usize>,
}

impl Lent {
    /// A part of it, counted from its own start.
    ///
    /// # Panics
    /// When it is not.
    pub(crate) fn narrow(self, part: Range<usize>) -> Lent {
        assert!(part.start <= part.end && part.end <= self.range.len());
        let start = self.range.start;
        Lent { region: self.region, range: start + part.start..start + part.end }
    }
}

impl Deref for Lent {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let length = self.range.end - self.range.start;
        self.region.watch.reads(self.range.clone());
        // SAFETY: R1 and R4, checked when it was lent; the count in `region` keeps the memory.
        unsafe { slice::from_raw_parts(self.region.base.add(self.range.start), length) }
    }
}

/// The appending end of a region: hands out what has not been claimed yet.
#[derive(Debug)]
pub(crate) struct Tail {
    region: Arc<Region>,
    next: usize,
    limit: usize,
}

impl Tail {
    /// The one tail of `region`, which claims from its published end up to `limit`.
    ///
    /// # Panics
    /// When the region has had a tail already (R2), or is read-only.
    pub(crate) fn new(region: Arc<Region>, limit: usize) -> Tail {
        assert!(!region.read_only && limit <= region.capacity);
        assert!(!region.taken.swap(true, Ordering::AcqRel), "a region has one tail"); // R2
        let next = region.published();
        Tail { region, next, limit }
    }

    /// The region appended to.
    pub(crate) fn region(&self) -> &Arc<Region> {
        &self.region
    }

    /// Where the next claim will begin.
    #[inline]
    pub(crate) fn next(&self) -> usize {
        self.next
    }

    /// Whether a span of `length` bytes still fits.
    #[inline]
    pub(crate) fn fits(&self, length: usize) -> bool {
        self.next + padded(length) <= self.limit
    }

    /// Takes the next span; `word` holds its length and becomes its commit word. The span counts as claimed for
    /// everyone, a later process included, from here on.
    ///
    /// # Panics
    /// When it does not fit.
    #[inline]
    pub(crate) fn claim(&mut self, word: u32) -> Claim {
        let length = (word & LENGTH) as usize;
        assert!(8 <= length && word & CLAIMED == 0 && self.fits(length)); // R2
        let start = self.next;
        self.next += padded(length);
        // R3. Relaxed: a reader that finds it learns only that it must wait.
        let claimed = if mutants::on(Mutant::CommitWordFirst) { word } else { word | CLAIMED };
        self.region.word(start).store(claimed.to_le(), Ordering::Relaxed);
        Claim { region: Arc::as_ptr(&self.region), start, length, word }
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        if self.region.published() < self.next {
            std::mem::forget(Arc::clone(&self.region)); // R6
        }
    }
}

/// One span, ours to fill. Dropped uncommitted it stays claimed, and readers stop before it: callers hold
/// it in a guard that voids it.
#[derive(Debug)]
pub(crate) struct Claim {
    region: *const Region,
    start: usize,
    length: usize,
    word: u32,
}

// SAFETY: a claim is exclusive (R2) and its region outlives it (R6), on whichever thread.
unsafe impl Send for Claim {}

impl Claim {
    /// Where the span begins in its region.
    #[inline]
    pub(crate) fn start(&self) -> usize {
        self.start
    }

    /// Where the next span begins.
    #[inline]
    pub(crate) fn end(&self) -> usize {
        self.start + padded(self.length)
    }

    /// Bytes of the span.
    pub(crate) fn length(&self) -> usize {
        self.length
    }

    /// Brings into the cache what will be written soon after `length` bytes at `at` of the span: each line once, as span
    /// follows span.
    ///
    /// A lock waits until the stores before it have reached the cache. So where each of them has to wait for memory, appends wait
    /// one after the other, and the processor fetches nothing ahead beyond the end of a page.
    #[inline]
    pub(crate) fn fetch_ahead(&self, at: usize, length: usize) {
        // SAFETY: R6.
        let region = unsafe { &*self.region };
        let end = self.start + at + length;
        let mut position = (self.start + at + FETCH_AHEAD).max(end).next_multiple_of(LINE);
        let until = (end + FETCH_AHEAD).min(region.capacity);
        while position < until {
            prefetch_to_write(region.base.wrapping_add(position));
            position += LINE;
        }
    }

    /// Copies `bytes` to `at` bytes into the span, behind its commit word.
    #[inline]
    pub(crate) fn put(&mut self, at: usize, bytes: &[u8]) {
        assert!(4 <= at && at <= self.length && bytes.len() <= self.length - at, "a claim is written within");
        // SAFETY: R6 for the region, R1 for bounds; R2: nobody else writes here, and R4: nobody reads before commit.
        unsafe {
            (*self.region).watch.writes(self.start + at..self.start + at + bytes.len());
            let target = (*self.region).base.add(self.start + at);
            ptr::copy_nonoverlapping(bytes.as_ptr(), target, bytes.len());
        }
    }

    /// Copies `head` and, right behind it, `rest` to `at` bytes into the span, behind its commit word.
    #[inline]
    pub(crate) fn put_both(&mut self, at: usize, head: &[u8], rest: &[u8]) {
        let bytes = head.len() + rest.len();
        assert!(4 <= at && at <= self.length && bytes <= self.length - at, "a claim is written within");
        // SAFETY: R6 for the region, R1 for bounds; R2: nobody else writes here, and R4: nobody reads before commit.
        unsafe {
            (*self.region).watch.writes(self.start + at..self.start + at + bytes);
            let target = (*self.region).base.add(self.start + at);
            ptr::copy_nonoverlapping(rest.as_ptr(), target.add(head.len()), rest.len());
            ptr::copy_nonoverlapping(head.as_ptr(), target, head.len());
        }
    }

    /// Publishes the span under the word it was claimed with.
    #[inline]
    pub(crate) fn commit(self) {
        let word = self.word;
        self.commit_as(word);
    }

    /// Publishes the span under another word of the same length.
    #[inline]
    pub(crate) fn commit_as(self, word: u32) {
        assert!(word & LENGTH == self.word & LENGTH && word & CLAIMED == 0);
        // SAFETY: R6.
        let region = unsafe { &*self.region };
        region.word(self.start).store(word.to_le(), Ordering::Release); // R3
        // When nobody before us is still writing, the published end moves over us at once; otherwise the next
        // look moves it. Lost updates only leave it lower than it could be, and `published` walks on from there.
        if region.frozen.load(Ordering::Acquire) == self.start || mutants::on(Mutant::PublishPastClaim) {
            region.frozen.store(self.end(), Ordering::Release); // R4
        }
    }
}

/// Tells the processor that the line at `address` will be written soon. An address without memory is no fault.
#[inline(always)]
fn prefetch_to_write(address: *mut u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    #[allow(unused_unsafe, reason = "safe in newer Rust")]
    // SAFETY: a hint, to which every address will do.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_ET0>(address.cast());
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = address;
}

/// The same of a line that will be read.
#[inline(always)]
fn prefetch_to_read(address: *mut u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    #[allow(unused_unsafe, reason = "safe in newer Rust")]
    // SAFETY: a hint, to which every address will do.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = address;
}

#[cfg(test)]
pub(crate) mod proofs;

#[cfg(test)]
mod tests {
    use super::*;

    struct NoSync;

    impl HeapSync for NoSync {
        fn sync(&self, _: Range<usize>) -> io::Result<()> {
            Ok(())
        }
    }

    fn region() -> Arc<Region> {
        Region::new(Memory::Heap(Arc::new(Heap::new(FLOOR + 4096)), Arc::new(NoSync)), FLOOR, false)
    }

    #[test]
    fn readers_stop_at_the_first_open_claim_and_go_on_once_it_is_committed() {
        let region = region();
        let mut tail = Tail::new(Arc::clone(&region), region.capacity());
        let (first, second, third) = (tail.claim(24), tail.claim(25), tail.claim(32));
        assert_eq!(region.published(), FLOOR);
        second.commit();
        assert_eq!(region.published(), FLOOR);
        first.commit();
        assert_eq!(region.published(), FLOOR + 24 + 32);
        third.commit();
        assert_eq!(region.published(), FLOOR + 24 + 32 + 32);
        assert_eq!(tail.next(), region.published());
    }

    #[test]
    fn what_a_claim_was_given_is_what_readers_get() {
        let region = region();
        let mut tail = Tail::new(Arc::clone(&region), region.capacity());
        let mut claim = tail.claim(16);
        claim.put(4, b"0123456789ab");
        claim.commit();
        let lent = region.lend(FLOOR..FLOOR + 16);
        assert_eq!(&lent[4..], b"0123456789ab");
        assert_eq!(u32::from_le_bytes(lent[..4].try_into().unwrap()), 16);
    }

    #[test]
    fn a_claim_outlives_the_tail_and_every_handle_of_its_region() {
        let region = region();
        let mut tail = Tail::new(Arc::clone(&region), region.capacity());
        let mut claim = tail.claim(16);
        let weak = Arc::downgrade(&region);
        drop(tail);
        drop(region);
        assert!(weak.upgrade().is_some(), "kept while the claim is open");
        claim.put(4, b"still there.");
        claim.commit();
    }

    #[test]
    #[should_panic(expected = "range.end")]
    fn what_is_not_published_is_not_lent() {
        let region = region();
        let mut tail = Tail::new(Arc::clone(&region), region.capacity());
        let _claim = tail.claim(16);
        region.lend(FLOOR..FLOOR + 16);
    }

    #[test]
    #[should_panic(expected = "a region has one tail")]
    fn a_region_has_one_tail_for_ever() {
        let region = region();
        drop(Tail::new(Arc::clone(&region), region.capacity()));
        Tail::new(Arc::clone(&region), region.capacity());
    }

    #[test]
    #[should_panic(expected = "a claim is written within")]
    fn a_claim_is_not_written_past_its_end() {
        let region = region();
        let mut tail = Tail::new(Arc::clone(&region), region.capacity());
        tail.claim(16).put(8, b"123456789");
    }

    #[test]
    #[should_panic(expected = "a claim is written within")]
    fn two_pieces_are_not_written_past_a_claims_end() {
        let region = region();
        let mut tail = Tail::new(Arc::clone(&region), region.capacity());
        tail.claim(16).put_both(4, b"0123", b"456789abc");
    }

    #[test]
    fn two_pieces_lie_one_behind_the_other() {
        let region = region();
        let mut tail = Tail::new(Arc::clone(&region), region.capacity());
        let mut claim = tail.claim(16);
        claim.put_both(4, b"0123", b"456789ab");
        claim.commit();
        assert_eq!(&region.lend(FLOOR..FLOOR + 16)[4..], b"0123456789ab");
    }

    #[test]
    fn a_word_that_cannot_be_right_ends_the_walk() {
        let region = region();
        let mut tail = Tail::new(Arc::clone(&region), region.capacity());
        tail.claim(24).commit();
        let Memory::Heap(heap, _) = &region.memory else { unreachable!() };
        heap.write(&(LENGTH).to_le_bytes(), FLOOR + 24);
        assert_eq!(region.published(), FLOOR + 24);
    }
}
