//! The first page of a segment file: its header, twice, and the slots that change while it lives.
//!
//! | at   | bytes | what                                                            |
//! |------|-------|-----------------------------------------------------------------|
//! | 0    | 136   | header                                                          |
//! | 512  | 24    | watermark, slot A                                               |
//! | 1024 | 24    | watermark, slot B                                               |
//! | 1536 | 48    | seal                                                            |
//! | 2048 | 136   | header, second copy                                             |
//! | 2560 | 48    | seal, second copy                                               |
//! | 4096 | ..    | frames                                                          |
//!
//! Each lies in a 512-byte sector of its own, so that writing one cannot tear another. What exists
//! once and never changes, exists twice, so that one bad sector does not take a segment along.

use byteorder::{ByteOrder, LittleEndian as LE};
use uuid::Uuid;

use crate::format::span::FLOOR;
use crate::format::{Epoch, OFFSETS};
use crate::{StreamId, Timestamp};

pub(crate) const HEADER_AT: [usize; 2] = [0, 2048];
pub(crate) const WATERMARK_AT: [usize; 2] = [512, 1024];
pub(crate) const SEAL_AT: [usize; 2] = [1536, 2560];
/// Bytes of the page.
pub(crate) const PAGE: usize = FLOOR;

const MAGIC: [u8; 8] = *b"twaterS\n";
/// The version of the segment format that is written.
pub(crate) const VERSION: u16 = 1;
/// Feature bits without which a segment cannot be read; a reader that does not know one refuses.
const INCOMPAT_KNOWN: u32 = 0;

/// What a segment is, said once at its creation.
///
/// | at  | bytes | field            | what it is                                                    |
/// |-----|-------|------------------|---------------------------------------------------------------|
/// | 0   | 8     | magic            | `twaterS\n`                                                   |
/// | 8   | 2     | version          | 1                                                             |
/// | 10  | 2     | zero             |                                                               |
/// | 12  | 4     | compat           | features a reader may not know and still read                 |
/// | 16  | 4     | incompat         | features a reader must know                                   |
/// | 20  | 4     | zero             |                                                               |
/// | 24  | 16    | store            | id of the store                                               |
/// | 40  | 16    | stream           | id of the stream                                              |
/// | 56  | 8     | base             | offset of the first frame                                     |
/// | 64  | 8     | epoch number     | of the epoch in force just before the base                    |
/// | 72  | 8     | epoch id         | of the same                                                   |
/// | 80  | 8     | salt             | random; part of every frame's hash                            |
/// | 88  | 8     | created          | nanoseconds since 1970                                        |
/// | 96  | 8     | capacity         | size of the file                                              |
/// | 104 | 8     | previous durable | how far the log was known durable at creation                 |
/// | 112 | 8     | previous ingest  | ingest time of the last record before the base                |
/// | 120 | 12    | zero             |                                                               |
/// | 132 | 4     | crc              | CRC-32 of the bytes before it                                 |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) store: Uuid,
    pub(crate) stream: StreamId,
    pub(crate) base: u64,
    pub(crate) epoch: Epoch,
    pub(crate) salt: u64,
    pub(crate) created: Timestamp,
    pub(crate) capacity: u64,
    pub(crate) previous_durable: u64,
    pub(crate) previous_ingest: Timestamp,
}

pub(crate) const HEADER: usize = 136;

/// The largest file that a segment may be. Recovery gives a file the size that its header says, so no header may ask for a disk.
pub(crate) const MAX_CAPACITY: u64 = 1 << 30;

const HEADER_CRC: usize = 132;

/// Why a page holds no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadHeader {
    /// Both copies are damaged, or this is no segment at all.
    Damaged,
    /// Written by a newer version, in a way this one cannot read.
    Newer { version: u16, incompat: u32 },
}

impl Header {
    pub(crate) fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..8].copy_from_slice(&MAGIC);
        LE::write_u16(&mut bytes[8..], VERSION);
        LE::write_u32(&mut bytes[16..], INCOMPAT_KNOWN);
        bytes[24..40].copy_from_slice(self.store.as_bytes());
        bytes[40..56].copy_from_slice(self.stream.as_uuid().as_bytes());
        LE::write_u64(&mut bytes[56..], self.base);
        LE::write_u64(&mut bytes[64..], self.epoch.number);
        LE::write_u64(&mut bytes[72..], self.epoch.id);
        LE::write_u64(&mut bytes[80..], self.salt);
        LE::write_i64(&mut bytes[88..], self.created.as_nanos());
        LE::write_u64(&mut bytes[96..], self.capacity);
        LE::write_u64(&mut bytes[104..], self.previous_durable);
        LE::write_i64(&mut bytes[112..], self.previous_ingest.as_nanos());
        let crc = crc32fast::hash(&bytes[..HEADER_CRC]);
        LE::write_u32(&mut bytes[HEADER_CRC..], crc);
        bytes
    }

    /// Reads the header from a segment's first page, from whichever copy is sound.
    pub(crate) fn decode(page: &[u8]) -> Result<Header, BadHeader> {
        let mut newer = None;
        for at in HEADER_AT {
            match page.get(at..at + HEADER).map(Header::decode_copy) {
                Some(Ok(header)) => return Ok(header),
                Some(Err(bad @ BadHeader::Newer { .. })) => newer = Some(bad),
                _ => {}
            }
        }
        Err(newer.unwrap_or(BadHeader::Damaged))
    }

    /// The copy at `at` of a first page, if it is sound.
    pub(crate) fn decode_copy_at(page: &[u8], at: usize) -> Option<Header> {
        page.get(at..at + HEADER).and_then(|bytes| Header::decode_copy(bytes).ok())
    }

    fn decode_copy(bytes: &[u8]) -> Result<Header, BadHeader> {
        let sound = bytes[..8] == MAGIC
            && LE::read_u32(&bytes[HEADER_CRC..]) == crc32fast::hash(&bytes[..HEADER_CRC]);
        if !sound {
            return Err(BadHeader::Damaged);
        }
        let (version, incompat) = (LE::read_u16(&bytes[8..]), LE::read_u32(&bytes[16..]));
        if version != VERSION || incompat & !INCOMPAT_KNOWN != 0 {
            return Err(BadHeader::Newer { version, incompat });
        }
        let header = Header {
            store: Uuid::from_slice(&bytes[24..40]).expect("16 bytes"),
            stream: StreamId::from(Uuid::from_slice(&bytes[40..56]).expect("16 bytes")),
            base: LE::read_u64(&bytes[56..]),
            epoch: Epoch { number: LE::read_u64(&bytes[64..]), id: LE::read_u64(&bytes[72..]) },
            salt: LE::read_u64(&bytes[80..]),
            created: Timestamp::from_nanos(LE::read_i64(&bytes[88..])),
            capacity: LE::read_u64(&bytes[96..]),
            previous_durable: LE::read_u64(&bytes[104..]),
            previous_ingest: Timestamp::from_nanos(LE::read_i64(&bytes[112..])),
        };
        // A sound checksum over numbers that cannot be: hostile, not damaged, and just as unreadable.
        let possible = header.base.is_multiple_of(8)
            && (PAGE as u64..=MAX_CAPACITY).contains(&header.capacity)
            && header.base.checked_add(header.capacity).is_some_and(|end| end < OFFSETS)
            && header.capacity.is_multiple_of(8)
            && header.previous_durable <= header.base
            && header.previous_durable.is_multiple_of(8);
        if possible { Ok(header) } else { Err(BadHeader::Damaged) }
    }

    /// The position in the file of `offset`, which must not lie below the base.
    pub(crate) fn position(&self, offset: u64) -> u64 {
        assert!(self.base <= offset);
        offset - self.base + PAGE as u64
    }

    /// The offset of `position`, which must not lie in the first page.
    pub(crate) fn offset(&self, position: u64) -> u64 {
        assert!(PAGE as u64 <= position);
        position - PAGE as u64 + self.base
    }
}

/// How far the segment is known durable. Two slots are written in turn, each only after the sync it tells of.
///
/// | at | bytes | field      | what it is                                     |
/// |----|-------|------------|------------------------------------------------|
/// | 0  | 4     | crc        | CRC-32 of the bytes after it, started from salt |
/// | 4  | 4     | magic      | `wmrk`                                         |
/// | 8  | 8     | generation | the higher one is newer                        |
/// | 16 | 8     | durable    | offset                                         |
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Watermark {
    pub(crate) generation: u64,
    pub(crate) durable: u64,
}

pub(crate) const WATERMARK: usize = 24;

impl Watermark {
    /// Where this one goes.
    pub(crate) fn at(&self) -> usize {
        WATERMARK_AT[(self.generation % 2) as usize]
    }

    pub(crate) fn encode(&self, salt: u64) -> [u8; WATERMARK] {
        let mut bytes = [0; WATERMARK];
        bytes[4..8].copy_from_slice(b"wmrk");
        LE::write_u64(&mut bytes[8..], self.generation);
        LE::write_u64(&mut bytes[16..], self.durable);
        seal_slot(&mut bytes, salt);
        bytes
    }

    /// The newer of the two slots of `page` that are sound and say something possible.
    pub(crate) fn decode(page: &[u8], header: &Header) -> Option<Watermark> {
        let slots = WATERMARK_AT.iter().filter_map(|at| page.get(*at..*at + WATERMARK));
        let sound = slots.filter(|slot| is_slot(slot, b"wmrk", header.salt));
        let marks = sound.map(|slot| Watermark {
            generation: LE::read_u64(&slot[8..]),
            durable: LE::read_u64(&slot[16..]),
        });
        let possible = header.base..=header.base + (header.capacity - PAGE as u64);
        marks.filter(|mark| possible.contains(&mark.durable) && mark.durable.is_multiple_of(8)).max()
    }
}

/// Says that nothing will be written any more, and where the end is.
///
/// | at | bytes | field        | what it is                                      |
/// |----|-------|--------------|-------------------------------------------------|
/// | 0  | 4     | crc          | CRC-32 of the bytes after it, started from salt  |
/// | 4  | 4     | magic        | `seal`                                          |
/// | 8  | 8     | end          | offset behind the last frame                    |
/// | 16 | 8     | records      | how many there are                              |
/// | 24 | 8     | last ingest  | ingest time of the last record                  |
/// | 32 | 8     | footer       | position of the footer                          |
/// | 40 | 8     | footer bytes | its length, 0 for none                          |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seal {
    pub(crate) end: u64,
    pub(crate) records: u64,
    pub(crate) last_ingest: Timestamp,
    pub(crate) footer: u64,
    pub(crate) footer_bytes: u64,
}

pub(crate) const SEAL: usize = 48;

impl Seal {
    pub(crate) fn encode(&self, salt: u64) -> [u8; SEAL] {
        let mut bytes = [0; SEAL];
        bytes[4..8].copy_from_slice(b"seal");
        LE::write_u64(&mut bytes[8..], self.end);
        LE::write_u64(&mut bytes[16..], self.records);
        LE::write_i64(&mut bytes[24..], self.last_ingest.as_nanos());
        LE::write_u64(&mut bytes[32..], self.footer);
        LE::write_u64(&mut bytes[40..], self.footer_bytes);
        seal_slot(&mut bytes, salt);
        bytes
    }

    /// The seal of `page`, from whichever copy is sound and says something possible.
    pub(crate) fn decode(page: &[u8], header: &Header) -> Option<Seal> {
        let slots = SEAL_AT.iter().filter_map(|at| page.get(*at..*at + SEAL));
        let sound = slots.filter(|slot| is_slot(slot, b"seal", header.salt));
        let mut seals = sound.map(|slot| Seal {
            end: LE::read_u64(&slot[8..]),
            records: LE::read_u64(&slot[16..]),
            last_ingest: Timestamp::from_nanos(LE::read_i64(&slot[24..])),
            footer: LE::read_u64(&slot[32..]),
            footer_bytes: LE::read_u64(&slot[40..]),
        });
        let last = header.base + (header.capacity - PAGE as u64);
        let possible = |seal: &Seal| {
            (header.base..=last).contains(&seal.end)
                && seal.end.is_multiple_of(8)
                && seal.footer.checked_add(seal.footer_bytes).is_some_and(|end| end <= header.capacity)
        };
        seals.find(possible)
    }
}

fn slot_crc(slot: &[u8], salt: u64) -> u32 {
    let mut crc = crc32fast::Hasher::new_with_initial(salt as u32);
    crc.update(&salt.to_le_bytes());
    crc.update(&slot[4..]);
    crc.finalize()
}

fn seal_slot(slot: &mut [u8], salt: u64) {
    let crc = slot_crc(slot, salt);
    LE::write_u32(slot, crc);
}

fn is_slot(slot: &[u8], magic: &[u8; 4], salt: u64) -> bool {
    slot[4..8] == *magic && LE::read_u32(slot) == slot_crc(slot, salt)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn example() -> Header {
        Header {
            store: Uuid::from_u128(1),
            stream: StreamId::from(Uuid::from_u128(2)),
            base: 4096,
            epoch: Epoch { number: 3, id: 4 },
            salt: 0x0123_4567_89ab_cdef,
            created: Timestamp::from_nanos(5),
            capacity: 65536,
            previous_durable: 4096,
            previous_ingest: Timestamp::from_nanos(6),
        }
    }

    pub(crate) fn page(header: &Header) -> Vec<u8> {
        let mut page = vec![0; PAGE];
        for at in HEADER_AT {
            page[at..at + HEADER].copy_from_slice(&header.encode());
        }
        page
    }

    #[test]
    fn any_one_damaged_bit_of_a_header_is_healed_by_the_other_copy() {
        let header = example();
        for at in HEADER_AT {
            for bit in 0..HEADER * 8 {
                let mut page = page(&header);
                page[at + bit / 8] ^= 1 << (bit % 8);
                assert_eq!(Header::decode(&page), Ok(header));
                page[HEADER_AT[0] + HEADER_AT[1] - at] ^= 1;
                assert_eq!(Header::decode(&page), Err(BadHeader::Damaged), "bit {bit} of both copies");
            }
        }
    }

    #[test]
    fn a_slot_or_header_whose_checksum_holds_over_impossible_numbers_is_not_used() {
        let header = example();
        let mut page = page(&header);
        for durable in [header.base + 4, header.base - 8, header.base + header.capacity, u64::MAX] {
            let mark = Watermark { generation: 1, durable };
            page[mark.at()..mark.at() + WATERMARK].copy_from_slice(&mark.encode(header.salt));
            assert_eq!(Watermark::decode(&page, &header), None, "durable {durable}");
        }
        let impossible = [
            Header { base: 4100, ..header },
            Header { capacity: 4088, ..header },
            Header { capacity: 65_540, ..header },
            Header { capacity: u64::MAX, ..header },
            Header { capacity: MAX_CAPACITY + 8, ..header },
            Header { base: 1 << 62, ..header },
            Header { previous_durable: 4104, ..header },
            Header { previous_durable: 4092, ..header },
        ];
        for header in impossible {
            assert_eq!(Header::decode(&header.encode()), Err(BadHeader::Damaged), "{header:?}");
        }
        let largest = Header { capacity: MAX_CAPACITY, ..header };
        assert_eq!(Header::decode(&largest.encode()), Ok(largest));
    }

    #[test]
    fn a_newer_version_is_told_apart_from_damage() {
        let mut copy = example().encode();
        LE::write_u32(&mut copy[16..], 8);
        let crc = crc32fast::hash(&copy[..HEADER_CRC]);
        LE::write_u32(&mut copy[HEADER_CRC..], crc);
        let mut page = vec![0; PAGE];
        page[..HEADER].copy_from_slice(&copy);
        assert_eq!(Header::decode(&page), Err(BadHeader::Newer { version: 1, incompat: 8 }));
    }

    #[test]
    fn every_flipped_bit_of_a_slot_is_noticed_and_the_older_or_other_one_used() {
        let header = example();
        let mut sound = page(&header);
        let (old, new) =
            (Watermark { generation: 4, durable: 4096 }, Watermark { generation: 5, durable: 5000 * 8 });
        let seal =
            Seal { end: 4104, records: 1, last_ingest: Timestamp::MIN, footer: 8192, footer_bytes: 80 };
        for mark in [old, new] {
            sound[mark.at()..mark.at() + WATERMARK].copy_from_slice(&mark.encode(header.salt));
        }
        for at in SEAL_AT {
            sound[at..at + SEAL].copy_from_slice(&seal.encode(header.salt));
        }
        assert_eq!(Watermark::decode(&sound, &header), Some(new));
        for bit in 0..WATERMARK * 8 {
            let mut page = sound.clone();
            page[new.at() + bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Watermark::decode(&page, &header), Some(old), "bit {bit}");
        }
        for bit in 0..SEAL * 8 {
            let mut page = sound.clone();
            page[SEAL_AT[0] + bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Seal::decode(&page, &header), Some(seal), "bit {bit}");
            page[SEAL_AT[1] + bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Seal::decode(&page, &header), None, "bit {bit} of both copies");
        }
    }
}
