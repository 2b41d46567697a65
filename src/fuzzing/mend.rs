//! Checksums made right again, so that an altered input gets past them.

use byteorder::{ByteOrder, LittleEndian as LE};

use crate::Timestamp;
use crate::format::envelope;
use crate::format::frame::{HEADER, Header as FrameHeader, Kind, Place, Word};
use crate::format::header::{self, Header};

/// Makes the checksums of the frame that begins at `bytes[0]` right, as far as its commit word says where it ends.
pub(super) fn mend_frame(bytes: &mut [u8], place: Place) -> Option<usize> {
    let word = Word(LE::read_u32(bytes.first_chunk::<HEADER>()?));
    let payload = match word.kind()? {
        Kind::Record | Kind::Epoch => HEADER..word.length(),
        Kind::Batch | Kind::Void | Kind::Lost => HEADER..HEADER,
    };
    if word.is_claimed() || word.length() < HEADER || bytes.len() < word.span() {
        return None;
    }
    let ingest = Timestamp::from_nanos(LE::read_i64(&bytes[8..]));
    let header = FrameHeader { word, witness: LE::read_u32(&bytes[4..]), ingest };
    let crc = crc32fast::hash(&bytes[payload]);
    bytes[..HEADER].copy_from_slice(&header.encode(place, crc));
    Some(word.step())
}

/// Makes the checksums of a log's frames right, each from where the one before it says that it ends.
pub(super) fn mend_log(log: &mut [u8], salt: u64, base: u64) {
    let mut at = 0;
    while at < log.len() {
        let place = Place { salt, offset: base + at as u64 };
        at += mend_frame(&mut log[at..], place).unwrap_or(8);
    }
}

/// Makes the CRC-32 right that stands `crc_at` bytes behind each of `starts`, over what lies between.
pub(super) fn mend_at(bytes: &mut [u8], starts: &[usize], crc_at: usize) {
    for &at in starts {
        if let Some(copy) = bytes.get_mut(at..at + crc_at + 4) {
            let crc = crc32fast::hash(&copy[..crc_at]);
            LE::write_u32(&mut copy[crc_at..], crc);
        }
    }
}

pub(super) fn mend_page(page: &mut [u8]) {
    mend_at(page, &header::HEADER_AT, header::HEADER - 4);
    let Ok(head) = Header::decode(page) else { return };
    let slots = header::WATERMARK_AT.map(|at| at..at + header::WATERMARK).into_iter();
    for slot in slots.chain(header::SEAL_AT.map(|at| at..at + header::SEAL)) {
        if let Some(slot) = page.get_mut(slot) {
            mend_slot(slot, head.salt);
        }
    }
}

/// Makes the checksum right of a slot or footer.
pub(super) fn mend_slot(bytes: &mut [u8], salt: u64) {
    let mut crc = crc32fast::Hasher::new_with_initial(salt as u32);
    crc.update(&salt.to_le_bytes());
    crc.update(&bytes[4..]);
    LE::write_u32(bytes, crc.finalize());
}

/// Makes the checksums of envelopes right that lie end to end.
pub(super) fn mend_envelopes(mut bytes: &mut [u8]) {
    while let Some(head) = bytes.first_chunk::<{ envelope::HEADER }>() {
        let end = envelope::HEADER + LE::read_u32(&head[10..]) as usize;
        let Some((this, rest)) = bytes.split_at_mut_checked(end) else { return };
        let mut crc = crc32fast::Hasher::new();
        crc.update(&this[..14]);
        crc.update(&this[envelope::HEADER..]);
        LE::write_u32(&mut this[14..], crc.finalize());
        bytes = rest;
    }
}
