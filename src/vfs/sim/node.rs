//! One simulated file: what processes see of it, and what the disk holds of it.
//!
//! A page is *dirty* when the two differ. Stores through a region cannot be watched, so once a file is
//! mapped for writing its pages are compared; those of a file that is only written to are kept in a set.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::image::Frozen;
use crate::vfs::region::Heap;

/// What the page cache and msync work in.
pub(super) const PAGE: usize = 4096;

/// A page's bytes.
pub(super) type Bytes = [u8; PAGE];

pub(super) type Disk = Arc<Vec<Option<Arc<Bytes>>>>;

/// Which page holds the byte before `end`, plus one.
pub(super) fn pages(end: usize) -> usize {
    end.div_ceil(PAGE)
}

/// The pages that `range` touches.
pub(super) fn touched(range: Range<usize>) -> Range<usize> {
    if range.is_empty() { 0..0 } else { range.start / PAGE..pages(range.end) }
}

/// A regular file without its names.
#[derive(Default)]
pub(super) struct Node {
    size: usize,
    /// `None` while every byte is as the disk has it.
    live: Option<Live>,
    disk_size: usize,
    /// Shared between forks, as is each page; `None` is a page of zeros. Some may lie above `disk_size`: their bytes
    /// are on disk, but a crash that keeps the size loses them.
    disk: Disk,
    /// Whether stores may come through a region, so that every page of the head may be dirty.
    mapped: bool,
    /// Other pages that may be dirty.
    written: BTreeSet<usize>,
    /// Pages whose sync failed, with the bytes they then had: no later sync writes them unless they change.
    lost: BTreeMap<usize, Box<Bytes>>,
    /// Which pages hold blocks.
    blocks: Vec<bool>,
    /// Names processes see it under. A file without one takes no space.
    pub(super) links: usize,
}

/// The bytes processes see: a mapped head and a tail that is not.
struct Live {
    head: Arc<Heap>,
    tail: Vec<u8>,
}

impl Live {
    fn read(&self, buf: &mut [u8], position: usize) {
        let (head, tail) = buf.split_at_mut(buf.len().min(self.head.size().saturating_sub(position)));
        if !head.is_empty() {
            self.head.read(head, position);
        }
        if !tail.is_empty() {
            let start = position.max(self.head.size()) - self.head.size();
            tail.copy_from_slice(&self.tail[start..start + tail.len()]);
        }
    }

    fn write(&mut self, bytes: &[u8], position: usize) {
        let (head, tail) = bytes.split_at(bytes.len().min(self.head.size().saturating_sub(position)));
        if !head.is_empty() {
            self.head.write(head, position);
        }
        if !tail.is_empty() {
            let start = position.max(self.head.size()) - self.head.size();
            self.tail[start..start + tail.len()].copy_from_slice(tail);
        }
    }
}

impl Node {
    /// A file that holds `bytes` on disk and for everyone.
    pub(super) fn durable(bytes: &[u8]) -> Node {
        let mut node = Node { size: bytes.len(), disk_size: bytes.len(), ..Node::default() };
        for (index, chunk) in bytes.chunks(PAGE).enumerate() {
            let mut page = [0; PAGE];
            page[..chunk.len()].copy_from_slice(chunk);
            put(&mut node.disk, index, &page);
        }
        node.blocks = vec![true; pages(bytes.len())];
        node
    }

    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Reads until `buf` is full or the file ends; returns how much was read.
    pub(super) fn read(&self, buf: &mut [u8], position: usize) -> usize {
        let read = buf.len().min(self.size.saturating_sub(position));
        let buf = &mut buf[..read];
        match &self.live {
            Some(live) => live.read(buf, position),
            None => {
                let mut done = 0;
                while done < read {
                    let (index, skip) = ((position + done) / PAGE, (position + done) % PAGE);
                    let step = (PAGE - skip).min(read - done);
                    match self.disk.get(index) {
                        Some(Some(page)) => buf[done..done + step].copy_from_slice(&page[skip..skip + step]),
                        _ => buf[done..done + step].fill(0),
                    }
                    done += step;
                }
            }
        }
        read
    }

    /// Writes, growing the file where needed.
    pub(super) fn write(&mut self, bytes: &[u8], position: usize) {
        if bytes.is_empty() {
            return;
        }
        let end = position + bytes.len();
        self.resize(self.size.max(end));
        self.own().write(bytes, position);
        self.touch(position..end);
    }

    /// Makes `range` read as zero as far as the file goes.
    pub(super) fn zero(&mut self, range: Range<usize>) {
        let end = range.end.min(self.size);
        if range.start < end {
            self.write(&vec![0; end - range.start], range.start);
        }
    }

    /// Changes the size; what is new reads as zero.
    pub(super) fn resize(&mut self, size: usize) {
        if size < self.size {
            self.own();
            self.unmap();
            self.touch(size..self.size);
        }
        if let Some(live) = &mut self.live {
            live.tail.resize(size - live.head.size(), 0);
        }
        self.size = size;
    }

    /// Flips a bit for everyone and on disk. What was dirty stays so.
    pub(super) fn flip(&mut self, bit: usize) {
        let (position, mask) = (bit / 8, 1 << (bit % 8));
        assert!(position < self.size, "bit {bit} lies in the file");
        if let Some(live) = &mut self.live {
            let mut byte = [0];
            live.read(&mut byte, position);
            live.write(&[byte[0] ^ mask], position);
        }
        let mut page = self.disk.get(position / PAGE).cloned().flatten().map_or([0; PAGE], |page| *page);
        page[position % PAGE] ^= mask;
        put(&mut self.disk, position / PAGE, &page);
    }

    /// The first `bytes` as memory shared with everyone who mapped as many.
    pub(super) fn map(&mut self, bytes: usize, write: bool) -> io::Result<Arc<Heap>> {
        if self.size < bytes {
            let message = format!("mapping {bytes} bytes of a file of {}", self.size);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let head = self.live.as_ref().map(|live| &live.head);
        let head = match head {
            Some(head) if head.size() == bytes => Arc::clone(head),
            Some(head) if Arc::strong_count(head) > 1 => {
                let message = format!("mapping {bytes} bytes of a file that is mapped for {}", head.size());
                return Err(io::Error::new(io::ErrorKind::Unsupported, message));
            }
            _ => {
                self.unmap();
                let heap = Heap::new(bytes);
                let mut tail = vec![0; self.size - bytes];
                self.read(&mut tail, bytes);
                let mut page = [0; PAGE];
                for position in (0..bytes).step_by(PAGE) {
                    let known_zero =
                        self.live.is_none() && !matches!(self.disk.get(position / PAGE), Some(Some(_)));
                    if !known_zero {
                        let step = PAGE.min(bytes - position);
                        self.read(&mut page[..step], position);
                        heap.write(&page[..step], position);
                    }
                }
                let head = Arc::new(heap);
                self.live = Some(Live { head: Arc::clone(&head), tail });
                head
            }
        };
        self.mapped |= write;
        Ok(head)
    }

    /// Writes the dirty pages among `range` to disk, but for those that were lost.
    pub(super) fn sync(&mut self, range: Range<usize>) {
        for (index, page) in self.dirty_in(range.clone()) {
            if !self.is_lost(index, &page) {
                self.write_back(index, &page);
            }
        }
        // What is left in the set are pages that cannot be written any more.
        let lost = &self.lost;
        self.written.retain(|index| !range.contains(index) || lost.contains_key(index));
    }

    /// Makes the size durable.
    pub(super) fn sync_size(&mut self) {
        self.disk_size = self.size;
    }

    /// What a failed sync does: the dirty pages among `range` count as clean, and the disk has the old bytes.
    pub(super) fn lose(&mut self, range: Range<usize>) {
        for (index, page) in self.dirty_in(range) {
            self.lost.insert(index, page);
        }
    }

    /// The pages of `range` were stored to, so that the next sync writes them whatever they hold.
    pub(super) fn redirty(&mut self, range: Range<usize>) {
        self.lost.retain(|index, _| !range.contains(index));
    }

    /// Writes to disk those dirty pages for which `choose` says so, and the size likewise.
    pub(super) fn write_back_some(&mut self, mut choose: impl FnMut() -> bool) {
        for (index, page) in self.dirty() {
            if !self.is_lost(index, &page) && choose() {
                self.write_back(index, &page);
            }
        }
        if self.disk_size != self.size && choose() {
            self.sync_size();
        }
    }

    /// Every page the disk holds other bytes of, with the bytes processes see.
    pub(super) fn dirty(&self) -> Vec<(usize, Box<Bytes>)> {
        self.dirty_in(0..usize::MAX)
    }

    /// The file as it is now.
    pub(super) fn freeze(&self) -> Frozen {
        Frozen {
            size: self.size,
            disk_size: self.disk_size,
            disk: self.disk.clone(),
            dirty: self.dirty(),
            lost: self.lost.clone(),
            blocks: self.blocks.clone(),
        }
    }

    /// A file that no process has open yet.
    pub(super) fn thaw(frozen: Frozen, live: Option<Vec<u8>>) -> Node {
        Node {
            size: frozen.size,
            live: live.map(|tail| Live { head: Arc::new(Heap::new(0)), tail }),
            disk_size: frozen.disk_size,
            disk: frozen.disk,
            written: frozen.dirty.into_iter().map(|(index, _)| index).collect(),
            lost: frozen.lost,
            blocks: frozen.blocks,
            mapped: false,
            links: 0,
        }
    }

    /// How many pages hold blocks.
    pub(super) fn held(&self) -> usize {
        self.blocks.iter().filter(|held| **held).count()
    }

    /// How many of the pages `range` hold none.
    pub(super) fn missing(&self, range: Range<usize>) -> usize {
        range.filter(|index| !self.blocks.get(*index).copied().unwrap_or(false)).count()
    }

    /// Gives blocks to the pages `range`.
    pub(super) fn reserve(&mut self, range: Range<usize>) {
        if self.blocks.len() < range.end {
            self.blocks.resize(range.end, false);
        }
        self.blocks[range].fill(true);
    }

    /// Takes the blocks of the pages `range` away.
    pub(super) fn release(&mut self, range: Range<usize>) {
        let end = range.end.min(self.blocks.len());
        if range.start < end {
            self.blocks[range.start..end].fill(false);
        }
    }

    fn own(&mut self) -> &mut Live {
        if self.live.is_none() {
            let mut tail = vec![0; self.size];
            self.read(&mut tail, 0);
            self.live = Some(Live { head: Arc::new(Heap::new(0)), tail });
        }
        self.live.as_mut().expect("just made")
    }

    /// Folds the head into the tail.
    fn unmap(&mut self) {
        let Some(live) = &mut self.live else { return };
        let head = live.head.size();
        if head == 0 {
            return;
        }
        assert!(Arc::strong_count(&live.head) == 1, "a mapped file is never truncated");
        let mut tail = vec![0; head];
        live.head.read(&mut tail, 0);
        tail.append(&mut live.tail);
        *live = Live { head: Arc::new(Heap::new(0)), tail };
        if std::mem::take(&mut self.mapped) {
            self.written.extend(0..pages(head));
        }
    }

    fn touch(&mut self, range: Range<usize>) {
        for index in touched(range) {
            self.written.insert(index);
            self.lost.remove(&index);
        }
    }

    fn is_lost(&self, index: usize, page: &Bytes) -> bool {
        self.lost.get(&index).is_some_and(|lost| **lost == *page)
    }

    fn write_back(&mut self, index: usize, page: &Bytes) {
        put(&mut self.disk, index, page);
        self.lost.remove(&index);
        self.written.remove(&index);
    }

    fn dirty_in(&self, range: Range<usize>) -> Vec<(usize, Box<Bytes>)> {
        let Some(live) = &self.live else { return Vec::new() };
        let mapped = if self.mapped { pages(live.head.size()) } else { 0 };
        let head = range.start..range.end.min(mapped);
        let rest = range.start.max(mapped)..range.end.max(mapped);
        let rest = if rest.is_empty() { 0..0 } else { rest };
        let mut page = [0; PAGE];
        let mut dirty = Vec::new();
        for index in head.chain(self.written.range(rest).copied()) {
            let end = (index * PAGE + PAGE).min(self.size);
            let filled = end.saturating_sub(index * PAGE);
            if 0 < filled {
                live.read(&mut page[..filled], index * PAGE);
            }
            page[filled..].fill(0);
            let clean = match self.disk.get(index) {
                Some(Some(disk)) => **disk == page,
                _ => page == [0; PAGE],
            };
            if !clean {
                dirty.push((index, Box::new(page)));
            }
        }
        dirty
    }
}

/// Stores a page; one of zeros costs nothing.
pub(super) fn put(disk: &mut Disk, index: usize, page: &Bytes) {
    let disk = Arc::make_mut(disk);
    if disk.len() <= index {
        disk.resize(index + 1, None);
    }
    disk[index] = (*page != [0; PAGE]).then(|| Arc::new(*page));
}
