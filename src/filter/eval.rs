//! Evaluation of a filter over a record as it lies in the log. Nothing is allocated, and a record is looked at in time
//! linear in its bytes for each term.

use crate::Timestamp;
use crate::filter::expr::{Expr, Field, Number, Test, TimeField};
use crate::format::frame::{self, Word};

/// A record whose frame was parsed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Encoded<'a> {
    pub(super) word: Word,
    pub(super) ingest: Timestamp,
    pub(super) payload: &'a [u8],
}

impl Expr {
    /// Whether it holds of the record. Recursion is as deep as the parser let the text be.
    pub(super) fn holds(&self, record: Encoded<'_>) -> bool {
        match self {
            Expr::And(all) => all.iter().all(|one| one.holds(record)),
            Expr::Or(any) => any.iter().any(|one| one.holds(record)),
            Expr::Not(inner) => !inner.holds(record),
            Expr::Level(levels) => levels >> record.word.level().map_or(0, |level| level as u8) & 1 != 0,
            Expr::Time(field, spans) => {
                let time = match field {
                    TimeField::Ingest => Some(record.ingest),
                    TimeField::Event => frame::event_time(record.word, record.payload),
                };
                time.is_some_and(|time| spans.iter().any(|span| span.contains(time)))
            }
            Expr::Has(field) => record.any(field, |_| true),
            Expr::Is(field, test) => record.any(field, |value| test.passes(value)),
            Expr::Filter(filter) => filter.holds(record),
        }
    }
}

impl<'a> Encoded<'a> {
    /// Whether one of the field's values passes.
    #[inline]
    fn any(self, field: &Field, passes: impl Fn(&'a [u8]) -> bool) -> bool {
        let Encoded { word, payload, .. } = self;
        match field {
            Field::Service => frame::service(word, payload).is_some_and(passes),
            Field::Body => passes(frame::body(word, payload)),
            Field::Attribute(name) => {
                frame::attributes(word, payload).any(|(key, value)| *key == **name && passes(value))
            }
        }
    }
}

impl Test {
    pub(super) fn passes(&self, value: &[u8]) -> bool {
        match self {
            Test::OneOf(wanted) => wanted.iter().any(|wanted| **wanted == *value),
            Test::Contains(finder) => finder.find(value).is_some(),
            Test::StartsWith(prefix) => value.starts_with(prefix),
            Test::Glob(glob) => glob.matches(value),
            Test::Compares(order, operand) => {
                let number = operand.number.and_then(|number| Some((Number::parse(value)?, number)));
                order.holds(match number {
                    Some((value, operand)) => value.compare(operand),
                    None => value.cmp(&operand.bytes),
                })
            }
        }
    }
}
