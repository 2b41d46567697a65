//! The checkpoint of a stream: what must be known before its segments are looked at.
//!
//! The file holds two slots, at 0 and 4096, written in turn; the newer sound one counts.
//!
//! | at  | bytes | field        | what it is                                                        |
//! |-----|-------|--------------|-------------------------------------------------------------------|
//! | 0   | 8     | magic        | `twaterC\n`                                                       |
//! | 8   | 2     | version      | 1                                                                 |
//! | 10  | 1     | clean        | 1: nobody was appending, and the log ended at `end`               |
//! | 11  | 1     | zero         |                                                                   |
//! | 12  | 4     | era          | in which it said clean last                                       |
//! | 16  | 16    | stream       | id of the stream                                                  |
//! | 32  | 8     | generation   | the higher one is newer                                           |
//! | 40  | 8     | log start    | offset; what lies before it was removed by retention              |
//! | 48  | 8     | end          | offset the log was durable up to when this was written            |
//! | 56  | 8     | epoch number | of the epoch in force at the end                                  |
//! | 64  | 8     | epoch id     | of the same                                                       |
//! | 72  | 8     | epoch start  | offset of its first byte                                          |
//! | 80  | 8     | last ingest  | ingest time of the last record                                    |
//! | 88  | 16    | boot         | id of the boot it was written in, 0 where unknown                 |
//! | 104 | 4     | crc          | CRC-32 of the bytes before it                                     |

use byteorder::{ByteOrder, LittleEndian as LE};
use uuid::Uuid;

use crate::format::{Epoch, OFFSETS};
use crate::{StreamId, Timestamp};

/// Where the slots lie.
pub(crate) const SLOT_AT: [usize; 2] = [0, 4096];
/// Bytes of one slot.
pub(crate) const SLOT: usize = 108;
/// Bytes of the file up to the end of its last slot.
pub(crate) const SLOTS: usize = SLOT_AT[1] + SLOT;
/// Bytes of the file.
pub(crate) const BYTES: usize = 8192;

const MAGIC: [u8; 8] = *b"twaterC\n";
const VERSION: u16 = 1;
const CRC_AT: usize = 104;

/// One slot's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    pub(crate) stream: StreamId,
    pub(crate) generation: u64,
    pub(crate) clean: bool,
    pub(crate) era: u32,
    pub(crate) log_start: u64,
    pub(crate) end: u64,
    pub(crate) epoch: Epoch,
    pub(crate) epoch_start: u64,
    pub(crate) last_ingest: Timestamp,
    pub(crate) boot: Option<u128>,
}

impl Checkpoint {
    /// Where this one goes.
    pub(crate) fn at(&self) -> usize {
        SLOT_AT[(self.generation % 2) as usize]
    }

    pub(crate) fn encode(&self) -> [u8; SLOT] {
        let mut bytes = [0; SLOT];
        bytes[..8].copy_from_slice(&MAGIC);
        LE::write_u16(&mut bytes[8..], VERSION);
        bytes[10] = self.clean.into();
        LE::write_u32(&mut bytes[12..], self.era);
        bytes[16..32].copy_from_slice(self.stream.as_uuid().as_bytes());
        LE::write_u64(&mut bytes[32..], self.generation);
        LE::write_u64(&mut bytes[40..], self.log_start);
        LE::write_u64(&mut bytes[48..], self.end);
        LE::write_u64(&mut bytes[56..], self.epoch.number);
        LE::write_u64(&mut bytes[64..], self.epoch.id);
        LE::write_u64(&mut bytes[72..], self.epoch_start);
        LE::write_i64(&mut bytes[80..], self.last_ingest.as_nanos());
        LE::write_u128(&mut bytes[88..], self.boot.unwrap_or(0));
        let crc = crc32fast::hash(&bytes[..CRC_AT]);
        LE::write_u32(&mut bytes[CRC_AT..], crc);
        bytes
    }

    /// Whether a slot of a newer version is there, which must not be taken for a damaged one.
    pub(crate) fn is_newer(file: &[u8]) -> bool {
        let mut slots = SLOT_AT.iter().filter_map(|at| file.get(*at..*at + SLOT));
        slots.any(|slot| slot[..8] == MAGIC && VERSION < LE::read_u16(&slot[8..]) && is_whole(slot))
    }

    /// The newer sound slot of a file's bytes.
    pub(crate) fn decode(file: &[u8], stream: StreamId) -> Option<Checkpoint> {
        let slots = SLOT_AT.iter().filter_map(|at| file.get(*at..*at + SLOT));
        let sound = slots.filter_map(Checkpoint::decode_slot).filter(|slot| slot.stream == stream);
        sound.max_by_key(|slot| slot.generation)
    }

    fn decode_slot(bytes: &[u8]) -> Option<Checkpoint> {
        let sound = bytes[..8] == MAGIC && LE::read_u16(&bytes[8..]) == VERSION && is_whole(bytes);
        let boot = LE::read_u128(&bytes[88..]);
        // As in a segment's header: a sound checksum over numbers that cannot be.
        let is_offset = |at: usize| LE::read_u64(&bytes[at..]) < OFFSETS && bytes[at].is_multiple_of(8);
        let possible = is_offset(40) && is_offset(48) && is_offset(72);
        (sound && possible).then(|| Checkpoint {
            stream: StreamId::from(Uuid::from_slice(&bytes[16..32]).expect("16 bytes")),
            generation: LE::read_u64(&bytes[32..]),
            clean: bytes[10] == 1,
            era: LE::read_u32(&bytes[12..]),
            log_start: LE::read_u64(&bytes[40..]),
            end: LE::read_u64(&bytes[48..]),
            epoch: Epoch { number: LE::read_u64(&bytes[56..]), id: LE::read_u64(&bytes[64..]) },
            epoch_start: LE::read_u64(&bytes[72..]),
            last_ingest: Timestamp::from_nanos(LE::read_i64(&bytes[80..])),
            boot: (boot != 0).then_some(boot),
        })
    }
}

/// Whether a slot's checksum holds. Its place never changes, so that damage is not taken for a newer version.
fn is_whole(slot: &[u8]) -> bool {
    LE::read_u32(&slot[CRC_AT..]) == crc32fast::hash(&slot[..CRC_AT])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_and_impossible_number_is_noticed_and_the_older_slot_used() {
        let stream = StreamId::from(Uuid::from_u128(9));
        let old = Checkpoint {
            stream,
            generation: 6,
            clean: true,
            era: 5,
            log_start: 8,
            end: 80,
            epoch: Epoch { number: 2, id: 3 },
            epoch_start: 16,
            last_ingest: Timestamp::from_nanos(-1),
            boot: Some(4),
        };
        let new = Checkpoint { generation: 7, clean: false, ..old };
        let mut sound = vec![0; BYTES];
        for slot in [old, new] {
            sound[slot.at()..slot.at() + SLOT].copy_from_slice(&slot.encode());
        }
        assert_eq!(Checkpoint::decode(&sound, stream), Some(new));
        for bit in 0..SLOT * 8 {
            let mut file = sound.clone();
            file[new.at() + bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Checkpoint::decode(&file, stream), Some(old), "bit {bit}");
        }
        assert_eq!(Checkpoint::decode(&sound, StreamId::from(Uuid::nil())), None);
        assert_eq!(Checkpoint::decode(&[], stream), None);
        let impossible = [
            Checkpoint { end: u64::MAX - 7, ..new },
            Checkpoint { end: 84, ..new },
            Checkpoint { log_start: 1 << 62, ..new },
            Checkpoint { epoch_start: 1, ..new },
        ];
        for slot in impossible {
            assert_eq!(Checkpoint::decode(&slot.encode(), stream), None, "{slot:?}");
        }
    }
}
