//! One segment file: found by name, read when first needed, mapped while somebody uses it.

pub(crate) mod active;
pub(crate) mod maps;
pub(crate) mod recover;
pub(crate) mod seal;
pub(crate) mod walk;

use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, Weak};

use uuid::Uuid;

use crate::format::frame::Kind;
use crate::format::header::{self, BadHeader, Header, Seal, Watermark};
use crate::format::index::Index;
use crate::segment::maps::Maps;
use crate::segment::walk::Frames;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::vfs::region::{FLOOR, Hint, Lent, Region};
use crate::vfs::{Access, File, Vfs};
use crate::{Error, ErrorKind, Result, StreamId};

/// The name of the segment whose first frame has offset `base`.
pub(crate) fn file_name(base: u64) -> String {
    format!("{base:020}.seg")
}

/// The base offset that a segment's name says, if it is one.
pub(crate) fn parse_file_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".seg")?;
    let canonical = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    canonical.then(|| digits.parse().ok()).flatten()
}

/// A segment of a stream. Only its name is known until something else is asked for.
#[derive(Debug)]
pub(crate) struct Segment {
    vfs: Arc<dyn Vfs>,
    maps: Arc<Maps>,
    pub(crate) path: PathBuf,
    pub(crate) store: Uuid,
    pub(crate) stream: StreamId,
    pub(crate) base: u64,
    /// Offset where the frames end for good, `u64::MAX` while more may come.
    end: AtomicU64,
    /// Offset up to which frames were published when the segment was last closed or let go of.
    left_at: AtomicU64,
    /// Offset up to which readers found every frame sound, one after the other.
    verified: AtomicU64,
    /// The generation of its last watermark, as its header said when it was read, and its writer did since.
    marked: AtomicU64,
    head: OnceLock<Header>,
    seal: OnceLock<Seal>,
    /// Bytes of disk it holds, which change no more once it is sealed.
    disk_bytes: OnceLock<u64>,
    /// The memory, while a reader or the writer holds it.
    region: Mutex<Weak<Region>>,
    /// Where that memory was last.
    hint: Hint,
    /// The index, once somebody needed it.
    index: Mutex<Cached>,
}

/// The first page of a segment's file, as far as the file has it. On the stack: a store may be opening very many streams.
pub(crate) struct Page {
    bytes: [u8; header::PAGE],
    length: usize,
}

impl Deref for Page {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// The index of a segment in memory: for good while there is no footer to read it from again.
#[derive(Debug, Default)]
struct Cached {
    shared: Weak<Index>,
    kept: Option<Arc<Index>>,
}

impl Segment {
    /// The segment called `file_name(base)` in `dir`. Nothing is opened.
    pub(crate) fn new(
        vfs: &Arc<dyn Vfs>,
        maps: &Arc<Maps>,
        dir: &Path,
        store: Uuid,
        stream: StreamId,
        base: u64,
    ) -> Segment {
        let mut path = dir.join(file_name(base));
        // Of segments there may be very many.
        path.shrink_to_fit();
        Segment {
            vfs: Arc::clone(vfs),
            maps: Arc::clone(maps),
            path,
            store,
            stream,
            base,
            end: AtomicU64::new(u64::MAX),
            left_at: AtomicU64::new(base),
            verified: AtomicU64::new(base),
            marked: AtomicU64::new(0),
            head: OnceLock::new(),
            seal: OnceLock::new(),
            disk_bytes: OnceLock::new(),
            region: Mutex::new(Weak::new()),
            hint: Hint::default(),
            index: Mutex::new(Cached::default()),
        }
    }

    /// Offset where the frames end, once that is known for good.
    pub(crate) fn end(&self) -> Option<u64> {
        match self.end.load(Ordering::Acquire) {
            u64::MAX => None,
            end => Some(end),
        }
    }

    /// Whether frames of this segment cover `offset`, or may come to.
    #[inline]
    pub(crate) fn holds(&self, offset: u64) -> bool {
        self.base <= offset && offset < self.end.load(Ordering::Acquire)
    }

    /// Says that no frame will come behind `end`; `u64::MAX` that more may, as recovery finds out.
    pub(crate) fn set_end(&self, end: u64) {
        self.end.store(end, Ordering::Release);
    }

    /// Says that all of it up to `offset` is published, and that nobody writes for now. What is mapped after this is not
    /// asked again, so that damage there is a gap, and not the end.
    pub(crate) fn set_left_at(&self, offset: u64) {
        self.left_at.fetch_max(offset, Ordering::AcqRel);
    }

    /// Offset up to which every frame was found sound since the segment was sealed.
    pub(crate) fn verified(&self) -> u64 {
        self.verified.load(Ordering::Relaxed)
    }

    /// Takes note that the frames of `range` were found sound. It counts where the segment is sealed, and nothing before it is open.
    pub(crate) fn set_verified(&self, range: Range<u64>) {
        if self.seal.get().is_some() && range.start <= self.verified() {
            self.verified.fetch_max(range.end, Ordering::Relaxed);
        }
    }

    /// Opens the file, which must be a regular one.
    pub(crate) fn open(&self, access: Access) -> Result<Box<dyn File>> {
        self.vfs.open(&self.path, access).map_err(|err| Error::io("open segment", &self.path, err))
    }

    /// Bytes of disk the file holds; none where it cannot be opened.
    pub(crate) fn disk_bytes(&self) -> u64 {
        if let Some(bytes) = self.disk_bytes.get() {
            return *bytes;
        }
        let bytes = self.open(Access::Read).map_or(0, |file| file.allocated().unwrap_or(0));
        if self.seal.get().is_some() { *self.disk_bytes.get_or_init(|| bytes) } else { bytes }
    }

    /// Whether the file is there.
    pub(crate) fn exists(&self) -> bool {
        !matches!(self.vfs.open(&self.path, Access::Read), Err(err) if err.kind() == std::io::ErrorKind::NotFound)
    }

    /// Reads the first page.
    pub(crate) fn read_page(&self, file: &dyn File) -> Result<Page> {
        let mut page = Page { bytes: [0; header::PAGE], length: 0 };
        page.length = file
            .read_at(&mut page.bytes, 0)
            .map_err(|err| Error::io("read header of segment", &self.path, err))?;
        Ok(page)
    }

    /// What the segment is, and its seal if it has one by now.
    ///
    /// # Errors
    /// `Io`; `Corrupt` where neither copy of the header is sound or it is another's; `Unsupported` where it is
    /// of a newer version.
    #[inline]
    pub(crate) fn head(&self) -> Result<&Header> {
        match self.head.get() {
            Some(head) => Ok(head),
            None => self.read_head(),
        }
    }

    #[cold]
    fn read_head(&self) -> Result<&Header> {
        self.head_in(&*self.open(Access::Read)?)
    }

    /// The same, read from the segment's file where it is not known yet.
    pub(crate) fn head_in(&self, file: &dyn File) -> Result<&Header> {
        if let Some(head) = self.head.get() {
            return Ok(head);
        }
        self.head_of(&self.read_page(file)?)
    }

    /// The same, of the segment's first page.
    pub(crate) fn head_of(&self, page: &[u8]) -> Result<&Header> {
        let head = self.check_page(page)?;
        if let Some(seal) = Seal::decode(page, &head) {
            self.sealed(seal);
        }
        if let Some(mark) = Watermark::decode(page, &head) {
            self.marked.fetch_max(mark.generation, Ordering::AcqRel);
        }
        Ok(self.head.get_or_init(|| head))
    }

    /// The header of a first page, when it is this segment's.
    pub(crate) fn check_page(&self, page: &[u8]) -> Result<Header> {
        let path = self.path.display();
        let head = Header::decode(page).map_err(|bad| match bad {
            BadHeader::Damaged => {
                Error::new(ErrorKind::Corrupt, format!("read header of segment {path}: both copies are damaged"))
            }
            BadHeader::Newer { version, incompat } => Error::new(
                ErrorKind::Unsupported,
                format!("read header of segment {path}: version {version}, features {incompat:#x} are newer than this engine"),
            ),
        })?;
        if (head.store, head.stream, head.base) != (self.store, self.stream, self.base) {
            let text = format!(
                "read header of segment {path}: it is of stream {} of store {} at offset {}, not of {} of {} at {}",
                head.stream, head.store, head.base, self.stream, self.store, self.base
            );
            return Err(Error::new(ErrorKind::Corrupt, text));
        }
        Ok(head)
    }

    /// The seal, if the segment has one.
    pub(crate) fn seal(&self) -> Option<&Seal> {
        // Reading the header reads the seal along; a damaged header is its reader's to report.
        if self.seal.get().is_none() && self.head.get().is_none() {
            let _ = self.head();
        }
        self.seal.get()
    }

    /// Takes note of the seal.
    pub(crate) fn sealed(&self, seal: Seal) {
        self.seal.get_or_init(|| seal);
        self.set_end(seal.end);
        self.index.lock().kept = None;
    }

    /// Takes note of the header of a segment just made, and of the memory it is written through.
    pub(crate) fn adopt(&self, head: Header, region: &Arc<Region>) {
        self.head.get_or_init(|| head);
        self.hint.set(region);
        *self.region.lock() = Arc::downgrade(region);
    }

    /// The segment's memory, mapped now if nobody holds it.
    ///
    /// # Errors
    /// As [`head`](Segment::head); a file that is shorter than it should be is mapped as far as it goes.
    pub(crate) fn region(&self) -> Result<Arc<Region>> {
        let head = self.head()?;
        let mut slot = self.region.lock();
        if let Some(region) = slot.upgrade() {
            return Ok(region);
        }
        let file = self.open(Access::Read)?;
        // Mapping beyond the end of the file would turn a read into SIGBUS.
        let size = file.size().map_err(|err| Error::io("read size of segment", &self.path, err))?;
        let bytes = (size.min(head.capacity) & !7) as usize;
        if bytes < FLOOR {
            let text = format!("map segment {}: {size} bytes are no segment", self.path.display());
            return Err(Error::new(ErrorKind::Corrupt, text));
        }
        let memory =
            file.map(bytes, Access::Read).map_err(|err| Error::io("map segment", &self.path, err))?;
        let known = self.end().unwrap_or_else(|| self.left_at.load(Ordering::Acquire));
        let frozen = (head.position(known) as usize).min(bytes);
        let region = Region::new(memory, frozen, true);
        // Until somebody reads on from one record to the next: a single one is not to bring megabytes in.
        region.advise_random();
        self.hint.set(&region);
        *slot = Arc::downgrade(&region);
        self.maps.keep(&region);
        Ok(region)
    }

    /// Asks for what stands at `offset`, before the memory it lies in is looked for.
    #[inline]
    pub(crate) fn fetch(&self, offset: u64) {
        self.hint.fetch((offset - self.base) as usize + FLOOR);
    }

    /// Offset behind what `region`, the segment's memory, shows of it by now. `follow`: the writer is another
    /// process, so only frames that validate count, and what its watermark proves.
    pub(crate) fn published(&self, region: &Region, follow: bool) -> Result<u64> {
        let head = self.head()?;
        if let Some(end) = self.end() {
            if follow {
                region.trust((head.position(end) as usize).min(region.capacity() & !7));
            }
            return Ok(end);
        }
        if !follow {
            return Ok(head.offset(region.published() as u64));
        }
        if let Some(mark) = self.watermark(region)? {
            region.trust((head.position(mark.durable) as usize).min(region.capacity() & !7));
        }
        let position = region.publish_while(|bytes, position| {
            let base = head.offset(position as u64);
            let frames = Frames { bytes, base, salt: head.salt };
            // Of a batch every frame: a power loss leaves its header without its records, and recovery cuts it as a whole.
            let mut at = base;
            while at < frames.end() {
                let Ok(frame) = frames.parse(at) else { return false };
                at += frame.header.word.step() as u64;
            }
            true
        });
        Ok(head.offset(position as u64))
    }

    /// The watermark that its writer leaves next. One caller at a time.
    pub(crate) fn next_mark(&self, durable: u64) -> Watermark {
        Watermark { generation: self.marked.fetch_add(1, Ordering::AcqRel) + 1, durable }
    }

    /// The word that the writer last left of how far the segment is durable.
    pub(crate) fn watermark(&self, region: &Region) -> Result<Option<Watermark>> {
        let mut page = vec![0; header::PAGE];
        region.read_slot(0, &mut page);
        Ok(Watermark::decode(&page, self.head()?))
    }

    /// Looks for a seal that another process wrote since.
    pub(crate) fn look_for_seal(&self, region: &Region) -> Result<()> {
        let mut page = vec![0; header::PAGE];
        region.read_slot(0, &mut page);
        if let Some(seal) = Seal::decode(&page, self.head()?) {
            self.sealed(seal);
        }
        Ok(())
    }

    /// The frames from the base up to `end`, as far as the file holds them, lent.
    pub(crate) fn lend(&self, region: &Arc<Region>, end: u64) -> Result<Lent> {
        let head = self.head()?;
        let position = (head.position(end) as usize).min(region.capacity());
        Ok(region.lend(FLOOR..position))
    }

    /// Lent bytes as frames.
    pub(crate) fn frames<'a>(&self, lent: &'a Lent) -> Result<Frames<'a>> {
        Ok(Frames { bytes: lent, base: self.base, salt: self.head()?.salt })
    }

    /// The index up to `end` at least: the footer's where there is a sound one, else made by walking the frames that
    /// are not in it yet.
    pub(crate) fn index(&self, region: &Arc<Region>, end: u64) -> Result<Arc<Index>> {
        // Before the lock, which `sealed` takes.
        let head = *self.head()?;
        let mut cached = self.index.lock();
        if let Some(index) = cached.shared.upgrade()
            && end <= index.end
        {
            return Ok(index);
        }
        let stored = if cached.kept.is_none() { self.read_footer(&head) } else { None };
        let index = match stored {
            Some(index) => Arc::new(index),
            None => {
                let mut index = cached
                    .kept
                    .take()
                    .unwrap_or_else(|| Arc::new(Index::new(self.base, head.previous_ingest)));
                let lent = self.lend(region, end)?;
                // Copied only where somebody still holds the shorter one.
                let grown = Arc::make_mut(&mut index);
                extend(grown, self.frames(&lent)?);
                grown.reach(end);
                index
            }
        };
        cached.shared = Arc::downgrade(&index);
        cached.kept = self.seal.get().is_none().then(|| Arc::clone(&index));
        Ok(index)
    }

    /// What a seal's footer says. `None` where there is none, or where it cannot be read, as when retention removed the file
    /// since it was mapped: the frames say the same.
    fn read_footer(&self, head: &Header) -> Option<Index> {
        let seal = self.seal().filter(|seal| 0 < seal.footer_bytes && seal.footer_bytes <= head.capacity)?;
        let file = self.open(Access::Read).ok()?;
        let mut bytes = vec![0; seal.footer_bytes.min(file.size().ok()?) as usize];
        let read = file.read_at(&mut bytes, seal.footer).ok()?;
        let covers = |index: &Index| {
            index.end == seal.end && index.blocks.first().is_none_or(|block| head.base <= block.offset)
        };
        Index::decode(&bytes[..read], head.salt).filter(covers)
    }
}

/// Takes the frames behind what `index` covers in.
///
/// Their headers are checked and their bodies are not: an index leads to records, and who reads one verifies it. Metadata is
/// checked, for blocks are skipped by what it says, and so are epochs, for cursors hold or not by what they say.
pub(crate) fn extend(index: &mut Index, frames: Frames<'_>) {
    for (offset, frame) in frames.glances(index.end) {
        if frame.kind() == Kind::Epoch && frames.parse(offset).is_err() {
            continue;
        }
        index.add(offset, &frame);
        if frame.header.word.has_meta() && frames.parse(offset).is_err() {
            index.doubt();
        }
    }
}
