//! What the catalogue makes of bytes from anywhere; called by [`crate::fuzzing`].

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::files::{Head, Meta, Record, Scan, VERSION};
use super::state::State;
use crate::format::envelope;

/// Reads `bytes` as each of the catalogue's values, and as a log; what is read must encode to the same bytes.
pub(crate) fn decode(bytes: &[u8]) {
    check::<Head>(bytes);
    check::<Record>(bytes);
    check::<Meta>(bytes);
    let Ok(scan) = Scan::new(bytes, 0) else { return };
    let mut passed: Vec<_> = scan.records.iter().map(|(range, _)| range.clone()).collect();
    passed.extend(scan.holes.iter().cloned());
    passed.sort_by_key(|range| range.start);
    let end = passed.iter().fold(0, |at, range| {
        assert!(at == range.start && range.start < range.end, "records and holes lie end to end");
        range.end
    });
    assert_eq!(end, scan.end);
    let mut state = State::default();
    for (_, record) in scan.records {
        // A change that does not fit is refused, and the state stays one that a snapshot can hold.
        let _ = state.apply(record.change);
    }
    let mut copy = State::default();
    for change in state.changes() {
        copy.apply(change).expect("what a state holds makes it again");
    }
}

fn check<T: Serialize + DeserializeOwned>(bytes: &[u8]) {
    let Some(magic) = bytes.first_chunk::<8>() else { return };
    if let Ok((value, used)) = envelope::decode::<T>(*magic, VERSION, bytes) {
        assert_eq!(envelope::encode(*magic, VERSION, &value), bytes[..used], "a value has one encoding");
    }
}
