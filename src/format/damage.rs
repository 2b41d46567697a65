//! What a frame's checksums notice, tried in full.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use crate::format::frame::{self, Checked, Place};
use crate::vfs::region::padded;
use crate::{Level, Record, Timestamp};

/// A frame at offset 4096 under a salt, with its place.
fn example(record: &Record<'_>) -> (Vec<u8>, Place) {
    let place = Place { salt: 0x0123_4567_89ab_cdef, offset: 4096 };
    let checked = Checked::new(record).unwrap();
    let mut bytes = vec![0; checked.word().span()];
    checked.write(place, 3, Timestamp::from_nanos(1_790_000_000_000_000_000), |at, piece| {
        bytes[at..at + piece.len()].copy_from_slice(piece);
    });
    (bytes, place)
}

#[test]
fn every_flipped_bit_of_a_frame_is_noticed_but_in_its_padding_which_nobody_reads() {
    let pairs = [("key", "value")];
    let meta = Record::new("0123456").level(Level::Error).service("s").attributes(&pairs);
    for record in [Record::new("01234"), meta, Record::new("")] {
        let (sound, place) = example(&record);
        let frame = frame::parse(&sound, place).unwrap();
        for bit in 0..sound.len() * 8 {
            let mut flipped = sound.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            match frame::parse(&flipped, place) {
                Err(_) => assert!(bit / 8 < frame.header.word.length(), "bit {bit} of padding"),
                Ok(same) => {
                    assert!(frame.header.word.length() <= bit / 8, "bit {bit}");
                    assert_eq!(same, frame);
                }
            }
        }
    }
}

#[test]
fn every_two_flipped_bits_of_a_frame_of_72_bytes_are_noticed() {
    let (mut bytes, place) = example(&Record::new(&[0x5A; 48]));
    assert_eq!(bytes.len(), 72);
    for first in 0..72 * 8 {
        bytes[first / 8] ^= 1 << (first % 8);
        for second in 0..first {
            bytes[second / 8] ^= 1 << (second % 8);
            assert!(frame::parse(&bytes, place).is_err(), "bits {first} and {second}");
            bytes[second / 8] ^= 1 << (second % 8);
        }
        bytes[first / 8] ^= 1 << (first % 8);
    }
    assert!(frame::parse(&bytes, place).is_ok());
}

#[test]
fn three_flipped_bits_of_a_header_are_noticed_before_its_length_is_believed() {
    let (bytes, place) = example(&Record::new("01234"));
    // Word, witness, ingest and `check`; what comes behind them is looked at later.
    let bits = 20 * 8;
    let holds = |header: u128, check: u32| {
        let mut flipped = bytes.clone();
        flipped[..16].copy_from_slice(&header.to_le_bytes());
        flipped[16..20].copy_from_slice(&check.to_le_bytes());
        frame::Header::decode(&flipped, place).is_some()
    };
    let sound = u128::from_le_bytes(bytes[..16].try_into().unwrap());
    let check = u32::from_le_bytes(bytes[16..20].try_into().unwrap());
    let flip = |(header, check): (u128, u32), bit: usize| {
        if bit < 128 { (header ^ 1 << bit, check) } else { (header, check ^ 1 << (bit - 128)) }
    };
    for first in 0..bits {
        let one = flip((sound, check), first);
        assert!(!holds(one.0, one.1), "bit {first}");
        for second in 0..first {
            let two = flip(one, second);
            assert!(!holds(two.0, two.1), "bits {first} and {second}");
            for third in 0..second {
                let three = flip(two, third);
                assert!(!holds(three.0, three.1), "bits {first}, {second} and {third}");
            }
        }
    }
}

#[test]
fn bursts_of_3_to_32_flipped_bits_are_noticed() {
    let seconds = std::env::var("TAILWATER_SECONDS").ok().map(|text| text.parse().expect("a number"));
    let end = Instant::now() + seconds.map_or(Duration::from_millis(300), Duration::from_secs);
    let seed = std::env::var("TAILWATER_SEED")
        .map_or_else(|_| RandomState::new().hash_one(0), |text| text.parse().unwrap());
    println!("TAILWATER_SEED={seed}");
    let mut state = seed;
    // SplitMix64.
    let mut draw = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    };
    let pairs = [("key", "value")];
    let meta = Record::new("0123456789").level(Level::Error).service("s").attributes(&pairs);
    let frames = [Record::new(&[0x5A; 48]), meta, Record::new(&[0; 500])].map(|record| example(&record));
    let mut bursts = 0_u64;
    while Instant::now() < end {
        for (sound, place) in &frames {
            let bits = frame::parse(sound, *place).unwrap().header.word.length() * 8;
            for length in 3..=32 {
                // The first and the last bit of a burst are flipped, those between by chance.
                let pattern = draw() & ((1 << length) - 1) | 1 | 1 << (length - 1);
                let start = draw() as usize % (bits - length + 1);
                let mut bytes = sound.clone();
                for bit in (0..length).filter(|bit| pattern >> bit & 1 == 1) {
                    bytes[(start + bit) / 8] ^= 1 << ((start + bit) % 8);
                }
                assert!(frame::parse(&bytes, *place).is_err(), "{pattern:#b} from bit {start} on");
                bursts += 1;
            }
        }
    }
    println!("reached: bursts: {bursts} of 3 to 32 bits in frames, each noticed, TAILWATER_SEED={seed}");
}

#[test]
fn a_frame_is_refused_at_any_other_place() {
    let (bytes, place) = example(&Record::new("here and nowhere else"));
    for bit in 0..64 {
        assert!(frame::parse(&bytes, Place { offset: place.offset ^ 1 << bit, ..place }).is_err());
        assert!(frame::parse(&bytes, Place { salt: place.salt ^ 1 << bit, ..place }).is_err());
    }
    for offset in (0..1 << 20).step_by(8).filter(|offset| *offset != place.offset) {
        assert!(frame::parse(&bytes, Place { offset, ..place }).is_err(), "offset {offset}");
    }
    // Two frames of one segment, swapped: stale or misplaced writes.
    let second = Place { offset: place.offset + bytes.len() as u64, ..place };
    assert!(frame::parse(&bytes, second).is_err());
}

/// CRC-32 continued from `crc`, bit by bit, as `docs/format.md` names it.
fn crc32(crc: u32, bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!crc, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[test]
fn a_stranger_who_follows_the_document_gets_the_same_checksums() {
    let (bytes, place) = example(&Record::new("follow me").level(Level::Info));
    let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let left = (place.salt.wrapping_add(place.offset) ^ number(0)).wrapping_mul(0xff51afd7ed558ccd);
    let right = number(8).wrapping_mul(0xc4ceb9fe1a85ec53);
    let hash = (left.rotate_left(16) ^ right.rotate_left(48)).wrapping_mul(0x9e3779b97f4a7c15);
    let length = number(0) as usize & 0xff_ffff;
    assert_eq!(padded(length), bytes.len());
    let crc = crc32(0, &bytes[24..length]) ^ hash as u32;
    assert_eq!(number(16), hash >> 32 | u64::from(crc) << 32);
}
