//! The sparse index of a segment: one entry a block of about 64 KiB, kept in memory while the segment is
//! written and stored behind its last frame, as the footer, when it is sealed.
//!
//! It serves seeks by time and count, the epoch in force at an offset, and skipping blocks that cannot match a filter.
//! It is derived: where a footer is damaged, the frames are walked again.
//!
//! | at | bytes | field       | what it is                                                       |
//! |----|-------|-------------|------------------------------------------------------------------|
//! | 0  | 4     | crc         | CRC-32 of the bytes after it, started from the salt               |
//! | 4  | 4     | magic       | `indx`                                                           |
//! | 8  | 8     | end         | offset behind the last frame                                     |
//! | 16 | 8     | records     | how many there are                                               |
//! | 24 | 8     | last ingest | ingest time of the last record                                   |
//! | 32 | 4     | blocks      | number of blocks                                                 |
//! | 36 | 2     | epochs      | number of epoch frames                                           |
//! | 38 | 2     | services    | number of service names                                          |
//! | 40 | ..    | blocks      | 56 bytes each                                                    |
//! | .. | ..    | epochs      | 24 bytes each: offset of the frame, number, id                   |
//! | .. | ..    | services    | each a length byte and the name                                  |
//!
//! A block:
//!
//! | at | bytes | field       | what it is                                                       |
//! |----|-------|-------------|------------------------------------------------------------------|
//! | 0  | 8     | offset      | of its first frame                                               |
//! | 8  | 8     | records     | how many lie before the block in this segment                    |
//! | 16 | 8     | ingest      | ingest time of its first record; the maximum where it has none   |
//! | 24 | 8     | min event   | earliest event time; the maximum where there is none             |
//! | 32 | 8     | max event   | latest event time; the minimum where there is none               |
//! | 40 | 8     | services    | bit i: the i-th service occurs                                   |
//! | 48 | 1     | levels      | bit l: level l occurs, 0 for none                                |
//! | 49 | 1     | any         | 1: services occur that the list has no room for                  |
//! | 50 | 1     | damaged     | 1: records may have been lost in it that the fields above do not tell of |
//! | 51 | 5     | zero        |                                                                  |

use byteorder::{ByteOrder, LittleEndian as LE};

use crate::Timestamp;
use crate::format::Epoch;
use crate::format::frame::{Frame, Kind};
use crate::mutants::{self, Mutant};

/// Bytes of log a block spans, before the frame that crosses it.
pub(crate) const BLOCK: u64 = 64 << 10;
/// Services told apart in one segment.
const SERVICES: usize = 64;
/// Bytes of their names, lengths included: what keeps the footer within [`reserve`].
const SERVICE_BYTES: usize = 2048;
/// Epochs one segment may begin; recovery rolls when it holds that many.
pub(crate) const MAX_EPOCHS: usize = 16;

const HEADER: usize = 40;
const BLOCK_BYTES: usize = 56;
const EPOCH_BYTES: usize = 24;

/// Bytes to keep free at the end of a segment of `capacity` bytes, so that its footer always fits, eight bytes behind
/// the last frame.
pub(crate) fn reserve(capacity: u64) -> u64 {
    let blocks = capacity / BLOCK + 2;
    let bytes = 8 + HEADER + BLOCK_BYTES * blocks as usize + EPOCH_BYTES * MAX_EPOCHS + SERVICE_BYTES;
    (bytes as u64).next_multiple_of(8)
}

/// What a block holds, enough to seek by and to skip it by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) offset: u64,
    /// Records of the segment before this block.
    pub(crate) records: u64,
    pub(crate) ingest: Timestamp,
    pub(crate) min_event: Timestamp,
    pub(crate) max_event: Timestamp,
    /// Bit i: the i-th service of the index occurs.
    pub(crate) services: u64,
    /// Bit l: level l occurs, 0 for none.
    pub(crate) levels: u8,
    /// Services occur that the index has no room for.
    pub(crate) any_service: bool,
    /// Records may have been lost between its beginning and that of the next block, and of those nothing is known.
    pub(crate) damaged: bool,
}

/// The index of one segment, up to `end`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Index {
    pub(crate) end: u64,
    pub(crate) records: u64,
    pub(crate) last_ingest: Timestamp,
    pub(crate) blocks: Vec<Block>,
    pub(crate) epochs: Vec<(u64, Epoch)>,
    pub(crate) services: Vec<Box<str>>,
}

impl Index {
    /// The index of a segment that holds nothing yet. `last_ingest` is that of the record before its base.
    pub(crate) fn new(base: u64, last_ingest: Timestamp) -> Index {
        Index {
            end: base,
            records: 0,
            last_ingest,
            blocks: Vec::new(),
            epochs: Vec::new(),
            services: Vec::new(),
        }
    }

    /// Takes the frame at `offset` in. Frames come in order; what lies between two is damage, and belongs to the block before.
    pub(crate) fn add(&mut self, offset: u64, frame: &Frame<'_>) {
        assert!(self.end <= offset, "frames are added in order");
        self.reach(offset);
        let block_is_full = self.blocks.last().is_none_or(|block| block.offset + BLOCK <= offset);
        if block_is_full {
            self.blocks.push(Block {
                offset,
                records: self.records,
                ingest: Timestamp::MAX,
                min_event: Timestamp::MAX,
                max_event: Timestamp::MIN,
                services: 0,
                levels: 0,
                any_service: false,
                damaged: false,
            });
        }
        match frame.kind() {
            Kind::Record => self.add_record(frame),
            Kind::Epoch => self.epochs.push((offset, frame.epoch())),
            Kind::Lost => self.doubt(),
            Kind::Batch | Kind::Void => {}
        }
        self.end = offset + frame.header.word.step() as u64;
    }

    /// Says that no frame lies between the end and `end`, where the end is from now on.
    ///
    /// Damage before the first frame belongs to no block, so nobody skips it either.
    pub(crate) fn reach(&mut self, end: u64) {
        if self.end < end {
            self.doubt();
        }
        self.end = end;
    }

    /// Says that of the last block not everything is known.
    pub(crate) fn doubt(&mut self) {
        if let Some(block) = self.blocks.last_mut() {
            block.damaged = true;
        }
    }

    fn add_record(&mut self, frame: &Frame<'_>) {
        let fields = frame.record();
        let service = fields.meta.and_then(|meta| meta.service).map(|name| self.service(name));
        let block = self.blocks.last_mut().expect("add opened a block");
        block.ingest = block.ingest.min(frame.header.ingest);
        block.levels |= 1 << fields.level.map_or(0, |level| level as u8);
        if let Some(time) = fields.meta.and_then(|meta| meta.event_time) {
            block.min_event = block.min_event.min(time);
            block.max_event =
                if mutants::on(Mutant::NarrowSummary) { time } else { block.max_event.max(time) };
        }
        match service {
            Some(Some(index)) => block.services |= 1 << index,
            Some(None) => block.any_service = true,
            None => {}
        }
        self.records += 1;
        self.last_ingest = frame.header.ingest;
    }

    /// The number of a service, `None` where the list is full.
    fn service(&mut self, name: &str) -> Option<usize> {
        if let Some(index) = self.services.iter().position(|known| **known == *name) {
            return Some(index);
        }
        let bytes: usize = self.services.iter().map(|known| 1 + known.len()).sum();
        let room = self.services.len() < SERVICES && bytes + 1 + name.len() <= SERVICE_BYTES;
        room.then(|| {
            self.services.push(name.into());
            self.services.len() - 1
        })
    }

    /// Where to begin a walk to the frame at `offset`: the start of its block.
    pub(crate) fn walk_from(&self, offset: u64) -> Option<u64> {
        let after = self.blocks.partition_point(|block| block.offset <= offset);
        after.checked_sub(1).map(|index| self.blocks[index].offset)
    }

    /// The start of the last block that must be walked to find the first record with an ingest time of `time` or later.
    pub(crate) fn walk_from_time(&self, time: Timestamp) -> Option<&Block> {
        // A block without records has the greatest time, which may stand before smaller ones: it is passed over
        // by looking at the last block that is known to begin before `time`.
        let before = self.blocks.iter().rposition(|block| block.ingest < time);
        before.or(if self.blocks.is_empty() { None } else { Some(0) }).map(|index| &self.blocks[index])
    }

    /// The last block with at most `records` of the segment's records before it.
    pub(crate) fn walk_from_record(&self, records: u64) -> Option<&Block> {
        let after = self.blocks.partition_point(|block| block.records <= records);
        after.checked_sub(1).map(|index| &self.blocks[index])
    }

    /// The epoch in force just before `offset`, and where it began; `None`: the one the segment's header names.
    pub(crate) fn epoch_before(&self, offset: u64) -> Option<(u64, Epoch)> {
        let after = self.epochs.partition_point(|(start, _)| *start < offset);
        after.checked_sub(1).map(|index| self.epochs[index])
    }

    pub(crate) fn encode(&self, salt: u64) -> Vec<u8> {
        let mut bytes = vec![0; HEADER];
        bytes[4..8].copy_from_slice(b"indx");
        LE::write_u64(&mut bytes[8..], self.end);
        LE::write_u64(&mut bytes[16..], self.records);
        LE::write_i64(&mut bytes[24..], self.last_ingest.as_nanos());
        LE::write_u32(&mut bytes[32..], self.blocks.len() as u32);
        LE::write_u16(&mut bytes[36..], self.epochs.len() as u16);
        LE::write_u16(&mut bytes[38..], self.services.len() as u16);
        for block in &self.blocks {
            let mut entry = [0; BLOCK_BYTES];
            LE::write_u64(&mut entry[0..], block.offset);
            LE::write_u64(&mut entry[8..], block.records);
            LE::write_i64(&mut entry[16..], block.ingest.as_nanos());
            LE::write_i64(&mut entry[24..], block.min_event.as_nanos());
            LE::write_i64(&mut entry[32..], block.max_event.as_nanos());
            LE::write_u64(&mut entry[40..], block.services);
            entry[48] = block.levels;
            entry[49] = block.any_service.into();
            entry[50] = block.damaged.into();
            bytes.extend(entry);
        }
        for (offset, epoch) in &self.epochs {
            bytes.extend(offset.to_le_bytes());
            bytes.extend(epoch.number.to_le_bytes());
            bytes.extend(epoch.id.to_le_bytes());
        }
        for name in &self.services {
            bytes.push(name.len() as u8);
            bytes.extend(name.as_bytes());
        }
        let crc = crc(&bytes, salt);
        LE::write_u32(&mut bytes, crc);
        bytes
    }

    /// Reads a footer. `None` where it is damaged; counts are compared with the bytes at hand before anything is allocated.
    pub(crate) fn decode(bytes: &[u8], salt: u64) -> Option<Index> {
        let head = bytes.first_chunk::<HEADER>()?;
        if head[4..8] != *b"indx" || LE::read_u32(head) != crc(bytes, salt) {
            return None;
        }
        let mut rest = &bytes[HEADER..];
        let blocks = rest.split_off(..BLOCK_BYTES.checked_mul(LE::read_u32(&head[32..]) as usize)?)?;
        let epochs = rest.split_off(..EPOCH_BYTES * usize::from(LE::read_u16(&head[36..])))?;
        let mut services = Vec::new();
        for _ in 0..LE::read_u16(&head[38..]) {
            let length = usize::from(*rest.split_off_first()?);
            services.push(std::str::from_utf8(rest.split_off(..length)?).ok()?.into());
        }
        let index = Index {
            end: LE::read_u64(&head[8..]),
            records: LE::read_u64(&head[16..]),
            last_ingest: Timestamp::from_nanos(LE::read_i64(&head[24..])),
            blocks: blocks.chunks_exact(BLOCK_BYTES).map(decode_block).collect(),
            epochs: epochs
                .chunks_exact(EPOCH_BYTES)
                .map(|entry| {
                    let epoch = Epoch { number: LE::read_u64(&entry[8..]), id: LE::read_u64(&entry[16..]) };
                    (LE::read_u64(entry), epoch)
                })
                .collect(),
            services,
        };
        let ordered = index.blocks.is_sorted_by(|a, b| a.offset < b.offset && a.records <= b.records)
            && index.epochs.is_sorted_by(|a, b| a.0 < b.0)
            && index.blocks.last().is_none_or(|block| block.offset < index.end)
            && index.blocks.iter().all(|block| block.offset.is_multiple_of(8));
        ordered.then_some(index)
    }
}

fn decode_block(entry: &[u8]) -> Block {
    Block {
        offset: LE::read_u64(&entry[0..]),
        records: LE::read_u64(&entry[8..]),
        ingest: Timestamp::from_nanos(LE::read_i64(&entry[16..])),
        min_event: Timestamp::from_nanos(LE::read_i64(&entry[24..])),
        max_event: Timestamp::from_nanos(LE::read_i64(&entry[32..])),
        services: LE::read_u64(&entry[40..]),
        levels: entry[48],
        any_service: entry[49] != 0,
        damaged: entry[50] != 0,
    }
}

fn crc(bytes: &[u8], salt: u64) -> u32 {
    let mut crc = crc32fast::Hasher::new_with_initial(salt as u32);
    crc.update(&salt.to_le_bytes());
    crc.update(&bytes[4..]);
    crc.finalize()
}
