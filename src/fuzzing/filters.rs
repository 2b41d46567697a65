//! Filters: what is written and what it means.

use std::sync::LazyLock;

use crate::filter::{Filter, MAX_BYTES, Summary};
use crate::format::frame::{self, Checked, HEADER, Header as FrameHeader, Place};
use crate::format::index::Index;
use crate::fuzzing::filter::{Choices, Drawn, Said};
use crate::{ErrorKind, Level, Record, Timestamp};

/// A record that says something in every field, as it lies in a log.
static RECORD: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let record = Record {
        body: b"GET /a took 12 ms",
        event_time: Some(Timestamp::from_millis(1_700_000_000_000)),
        level: Some(Level::Warn),
        service: Some("front"),
        attributes: &[("k", "a"), ("n", "10"), ("k", "2.5")],
    };
    let checked = Checked::new(&record).expect("within the limits");
    let mut bytes = vec![0; checked.word().span()];
    let place = Place { salt: 0, offset: 0 };
    checked.write(place, 0, INGEST, |at, piece| bytes[at..][..piece.len()].copy_from_slice(piece));
    bytes
});
const INGEST: Timestamp = Timestamp::from_millis(1_700_000_000_001);

/// A text, which may be a filter.
pub fn filter_parse(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Filter::parse(text) {
        Ok(filter) => {
            assert_eq!(filter.as_str(), text);
            let passes = |filter: &Filter| {
                let header = FrameHeader::of_checked(&RECORD);
                filter.matches_encoded(header.word, header.ingest, &RECORD[HEADER..header.word.length()])
            };
            let passed = passes(&filter);
            assert!(!filter.is_all() || passed);
            // Its negation is a filter too, unless it is too long or too deep, and says the contrary.
            if let Ok(negated) = Filter::parse(&format!("NOT({text})"))
                && !filter.is_all()
            {
                assert_ne!(passes(&negated), passed, "a filter and its negation agree");
            }
        }
        Err(err) => {
            let ErrorKind::FilterInvalid { position } = *err.kind() else { panic!("{err:?}") };
            assert!(position <= text.len() && text.is_char_boundary(position), "{err}");
        }
    }
}

/// Length of a text (1 byte) and the text, which may be a filter; then choices that a filter is drawn by, which is one, and
/// records.
pub fn filter(data: &[u8]) {
    let Some((length, rest)) = data.split_first() else { return };
    let (text, choices) = rest.split_at(rest.len().min(usize::from(*length)));
    let mut choices = Choices(choices);
    let (said, drawn) = Said::draw(&mut choices);
    let records: Vec<Drawn> = (0..3).map(|_| Drawn::draw(&mut choices, 0)).collect();
    let ingest = INGEST;

    // As a log has them, and as its index sums them up.
    let mut frames = Vec::new();
    let mut index = Index::new(0, Timestamp::MIN);
    for record in &records {
        let record = record.record();
        let checked = Checked::new(&record).expect("within the limits");
        let mut bytes = vec![0; checked.word().span()];
        let place = Place { salt: 0, offset: index.end };
        checked.write(place, 0, ingest, |at, piece| bytes[at..][..piece.len()].copy_from_slice(piece));
        let frame = frame::parse(&bytes, place).expect("just written");
        index.add(place.offset, &frame);
        frames.push(bytes);
    }
    let passes = |filter: &Filter| -> Vec<bool> {
        let passes = frames.iter().map(|bytes| {
            let header = FrameHeader::of_checked(bytes);
            filter.matches_encoded(header.word, header.ingest, &bytes[HEADER..header.word.length()])
        });
        let passes: Vec<bool> = passes.collect();
        let summary = Summary::of(&index, 0).expect("nothing is damaged");
        assert!(
            !passes.contains(&true) || filter.may_match(&summary),
            "a block is skipped that holds what passes"
        );
        passes
    };
    if drawn.len() <= MAX_BYTES {
        let filter = Filter::parse(&drawn).unwrap_or_else(|err| panic!("{drawn}: {err}"));
        let expected: Vec<bool> = records.iter().map(|record| said.holds(record, ingest)).collect();
        assert_eq!(passes(&filter), expected, "{drawn} on {records:?}");
    }
    let Ok(text) = std::str::from_utf8(text) else { return };
    match Filter::parse(text) {
        Ok(filter) => {
            assert_eq!(filter.as_str(), text);
            let negated = Filter::parse(&format!("NOT({text})")).ok().filter(|_| !filter.is_all());
            let negated = negated.map(|negated| passes(&negated).iter().map(|passes| !passes).collect());
            assert!(negated.is_none_or(|negated: Vec<bool>| negated == passes(&filter)));
        }
        Err(err) => {
            let ErrorKind::FilterInvalid { position } = *err.kind() else { panic!("{err:?}") };
            assert!(position <= text.len() && text.is_char_boundary(position), "{err}");
        }
    }
}
