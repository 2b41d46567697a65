//! Values that stand alone: cursors, the slots and envelopes of metadata, a segment's footer.

use byteorder::{BigEndian as BE, ByteOrder, LittleEndian as LE};
use uuid::Uuid;

use crate::format::checkpoint::{self, Checkpoint};
use crate::format::cursor;
use crate::format::envelope;
use crate::format::header::{Header, Seal, Watermark};
use crate::format::index::Index;
use crate::format::session_cursor;
use crate::fuzzing::mend::{mend_at, mend_envelopes, mend_page, mend_slot};
use crate::fuzzing::{MAX_INPUT, MEND};
use crate::session::entry::{Change, Kept};
use crate::vfs::guard::Mark;
use crate::{Cursor, SessionCursor, StreamId, Timestamp};

/// The first byte of an input to `cursor_decode` that is a session's cursor; may be added to [`MEND`].
const OF_SESSION: u8 = 2;

/// Flags (1 byte), then a cursor's bytes, or its text; a stream's or a session's.
pub fn cursor_decode(data: &[u8]) {
    let Some((flags, bytes)) = data.split_first() else { return };
    if let Ok(text) = std::str::from_utf8(bytes) {
        let of_stream = text.parse::<Cursor>().map(|cursor| cursor.to_string());
        let of_session = text.parse::<SessionCursor>().map(|cursor| cursor.to_string());
        assert!(of_stream.is_err() || of_session.is_err(), "nothing is both");
        if let Ok(again) = of_stream.or(of_session) {
            assert_eq!(again, text.to_ascii_lowercase(), "a position has one text, in either case");
        }
    }
    if flags & OF_SESSION == 0 {
        let mut copy = [0; cursor::BYTES];
        let Some(cursor) = Cursor::decode(mended(*flags, bytes, &mut copy)) else { return };
        assert_eq!(cursor.encode()[..], copy, "a position has one encoding");
        assert_eq!(cursor.to_string().parse::<Cursor>().ok(), Some(cursor));
    } else {
        let mut copy = [0; session_cursor::BYTES];
        let Some(cursor) = SessionCursor::decode(mended(*flags, bytes, &mut copy)) else { return };
        assert_eq!(cursor.encode()[..], copy, "a position has one encoding");
        assert_eq!(cursor.to_string().parse::<SessionCursor>().ok(), Some(cursor));
        if let Some(in_stream) = cursor.in_stream() {
            assert_eq!(SessionCursor::behind(cursor.store, cursor.store_epoch, in_stream), cursor);
        }
    }
}

/// The bytes of a cursor as they are, or made as long as one is, with a checksum that holds.
fn mended<'a>(flags: u8, bytes: &[u8], copy: &'a mut [u8]) -> &'a [u8] {
    let length = bytes.len().min(copy.len());
    copy[..length].copy_from_slice(&bytes[..length]);
    if flags & MEND == 0 {
        return &copy[..length];
    }
    let crc_at = copy.len() - 4;
    let crc = crc32fast::hash(&copy[..crc_at]);
    BE::write_u32(&mut copy[crc_at..], crc);
    copy
}

/// Flags (1 byte), then a checkpoint, a segment's first page, or any file in envelopes.
pub fn metadata_decode(data: &[u8]) {
    let Some((flags, bytes)) = data.split_first() else { return };
    let mut bytes = bytes[..bytes.len().min(MAX_INPUT)].to_vec();
    let (mut is_checkpoint, mut is_page) = (true, true);
    if flags & MEND != 0 {
        // As what they say they are.
        is_checkpoint = bytes.starts_with(b"twaterC");
        is_page = bytes.starts_with(b"twaterS");
        match (is_checkpoint, is_page) {
            (true, _) => mend_at(&mut bytes, &checkpoint::SLOT_AT, checkpoint::SLOT - 4),
            (_, true) => mend_page(&mut bytes),
            _ => mend_envelopes(&mut bytes),
        }
    }
    if is_checkpoint && let Some(id) = bytes.get(16..32) {
        let stream = StreamId::from(Uuid::from_slice(id).expect("16 bytes"));
        if let Some(found) = Checkpoint::decode(&bytes, stream) {
            assert_eq!(Checkpoint::decode(&found.encode(), stream), Some(found));
        }
    }
    if is_page && let Ok(head) = Header::decode(&bytes) {
        assert_eq!(Header::decode(&head.encode()), Ok(head));
        Watermark::decode(&bytes, &head);
        Seal::decode(&bytes, &head);
    }
    if let Some(magic) = bytes.first_chunk::<8>() {
        if let Ok((mark, used)) = envelope::decode::<Mark>(*magic, 1, &bytes) {
            assert_eq!(envelope::encode(*magic, 1, &mark), bytes[..used]);
        }
        if let Ok(change) = Change::decode(&bytes) {
            assert_eq!(change.encode(), bytes);
            let mut kept = Kept::default();
            kept.apply(change.clone());
            kept.apply(change);
        }
        crate::catalog::fuzzing::decode(&bytes);
    }
}

/// Flags (1 byte), salt (8), then a footer.
pub fn index_decode(data: &[u8]) {
    let Some((head, bytes)) = data.split_first_chunk::<9>() else { return };
    let salt = LE::read_u64(&head[1..]);
    let mut bytes = bytes[..bytes.len().min(MAX_INPUT)].to_vec();
    if head[0] & MEND != 0 && 4 <= bytes.len() {
        mend_slot(&mut bytes, salt);
    }
    let Some(index) = Index::decode(&bytes, salt) else { return };
    assert_eq!(Index::decode(&index.encode(salt), salt).as_ref(), Some(&index));
    for offset in [0, 8, index.end / 2, index.end, u64::MAX] {
        let from = index.walk_from(offset);
        assert!(from.is_none_or(|from| from <= offset && from < index.end));
        index.epoch_before(offset);
        index.walk_from_record(offset);
        index.walk_from_time(Timestamp::from_nanos(offset as i64));
    }
}
