//! What the machine allows: the least work that an append, a verified read or a sync could do, measured in the same run.

use std::fs::{self, File};
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use memmap2::{Mmap, MmapRaw};

use super::bodies::{Bodies, Random};

/// Bytes of a frame's header, as in `format/frame.rs`.
const HEADER: usize = 24;
/// Bytes of a segment before its first frame.
const FLOOR: usize = 4096;

/// Bytes of log that a record with this body takes.
pub fn frame_bytes(body: usize) -> usize {
    (HEADER + body).next_multiple_of(8)
}

/// The limit of appending: checksum of the source, then a copy of header and body into memory that was written
/// to before.
pub struct Arena {
    memory: Vec<u8>,
    at: usize,
}

impl Arena {
    /// `bytes` of memory, every page of it touched.
    pub fn touched(bytes: usize) -> Arena {
        // Zeroes would come from the system untouched.
        Arena { memory: vec![1; bytes], at: 0 }
    }

    /// Writes `records` frames behind the last one, from the start again where the memory ends.
    pub fn write(&mut self, bodies: &Bodies, records: usize) -> Duration {
        let start = Instant::now();
        for index in 0..records {
            self.write_one(bodies.get(index));
        }
        let time = start.elapsed();
        black_box(&mut self.memory);
        time
    }

    /// Writes one frame behind the last one.
    #[inline]
    pub fn write_one(&mut self, body: &[u8]) {
        let frame = frame_bytes(body.len());
        if self.memory.len() - self.at < frame {
            self.at = 0;
        }
        let mut crc = crc32fast::Hasher::new_with_initial(self.at as u32);
        crc.update(body);
        let mut header = [0; HEADER];
        header[..4].copy_from_slice(&((HEADER + body.len()) as u32).to_le_bytes());
        header[8..16].copy_from_slice(&(self.at as u64).to_le_bytes());
        header[20..].copy_from_slice(&crc.finalize().to_le_bytes());
        self.memory[self.at..][..HEADER].copy_from_slice(&header);
        self.memory[self.at + HEADER..][..body.len()].copy_from_slice(body);
        self.at += frame;
    }
}

/// The limit of reading: every segment file of a store, mapped, for checksums over what records hold.
pub struct Segments {
    segments: Vec<(Mmap, u64)>,
}

impl Segments {
    /// Maps the segments of the one stream in `store`, which ends at `published` and is not written to.
    pub fn map(store: &Path, published: u64) -> Segments {
        let streams = fs::read_dir(store.join("streams")).expect("list streams");
        let stream = streams.map(|entry| entry.expect("an entry").path()).next().expect("a stream");
        let files = fs::read_dir(stream).expect("list segments").map(|entry| entry.expect("an entry").path());
        let mut named: Vec<_> = files
            .filter(|path| path.extension().is_some_and(|ending| ending == "seg"))
            .map(|path| (path.file_stem().unwrap().to_str().unwrap().parse::<u64>().unwrap(), path))
            .collect();
        named.sort();
        let map = |path| {
            // SAFETY: the store keeps the files it has, and nobody appends while they are mapped here.
            unsafe { Mmap::map(&File::open(path).expect("open a segment")).expect("map a segment") }
        };
        Segments { segments: named.iter().map(|(base, path)| (map(path), *base)).collect() }.ending(published)
    }

    /// Keeps, instead of each base, how many bytes of frames there are.
    fn ending(mut self, published: u64) -> Segments {
        let mut end = published;
        for (_, base) in self.segments.iter_mut().rev() {
            let bytes = end - *base;
            end = std::mem::replace(base, bytes);
        }
        self
    }

    /// The checksums of `times` payloads all over the segments, and how long they took. What they are is decided,
    /// and the frames before them are passed, before the clock runs.
    pub fn check_at_random(&self, times: u64) -> Duration {
        let mut payloads = Vec::new();
        for (map, bytes) in &self.segments {
            let mut rest = &map[FLOOR..FLOOR + *bytes as usize];
            while !rest.is_empty() {
                let length = length(rest);
                payloads.push(&rest[HEADER..length]);
                rest = &rest[length.next_multiple_of(8)..];
            }
        }
        let mut random = Random(9);
        let mut pick = || payloads[random.next() as usize % payloads.len()];
        let picked: Vec<_> = (0..times).map(|_| pick()).collect();
        let start = Instant::now();
        let sum = picked.iter().fold(0, |sum, payload| sum ^ crc32fast::hash(payload));
        let time = start.elapsed();
        black_box(sum);
        time
    }

    /// The checksum of every payload, from frame to frame; how many there were, and how long it took.
    pub fn check(&self) -> (usize, Duration) {
        let (mut records, mut sum) = (0, 0);
        let start = Instant::now();
        for (map, bytes) in &self.segments {
            let mut rest = &map[FLOOR..FLOOR + *bytes as usize];
            while !rest.is_empty() {
                let length = length(rest);
                sum ^= crc32fast::hash(&rest[HEADER..length]);
                rest = &rest[length.next_multiple_of(8)..];
                records += 1;
            }
        }
        let time = start.elapsed();
        black_box(sum);
        (records, time)
    }
}

/// The limit of durable appends: a mapped file with its blocks reserved, whose pages are dirtied and synced one by one.
pub struct Syncs {
    map: MmapRaw,
}

impl Syncs {
    const BYTES: usize = 1 << 20;

    pub fn new(dir: &Path) -> Syncs {
        let path = dir.join("syncs");
        let file = File::create_new(path).expect("create");
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, Syncs::BYTES as u64)
            .expect("reserve");
        file.sync_all().expect("sync");
        drop(file);
        let file = File::options().read(true).write(true).open(dir.join("syncs")).expect("open");
        Syncs { map: MmapRaw::map_raw(&file).expect("map") }
    }

    pub fn run(&self, times: u64) -> Duration {
        let start = Instant::now();
        for index in 0..times {
            let position = (index as usize * 288 % Syncs::BYTES) & !7;
            // SAFETY: within the map, which nobody else looks at.
            unsafe { self.map.as_mut_ptr().add(position).cast::<u64>().write_volatile(index) };
            self.map.flush_range(position, 8).expect("sync");
        }
        start.elapsed()
    }
}

/// Bytes of the frame that `bytes` begins with. Batches are not written here: they would need their kind looked at.
#[inline]
fn length(bytes: &[u8]) -> usize {
    (u32::from_le_bytes(bytes[..4].try_into().expect("4 bytes")) & 0xff_ffff) as usize
}
