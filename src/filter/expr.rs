//! What a filter says, as a tree: fields, and what is to hold of them.

use memchr::memmem::Finder;

use crate::Timestamp;
use crate::filter::Filter;
use crate::filter::glob::Glob;

/// A condition on one record.
#[derive(Debug)]
pub(super) enum Expr {
    /// Every one holds; of none, always.
    And(Vec<Expr>),
    /// One holds at least.
    Or(Vec<Expr>),
    Not(Box<Expr>),
    /// The level's bit is set, bit 0 for no level.
    Level(u8),
    /// The time lies in one of these spans.
    Time(TimeField, Vec<Span>),
    /// The field is there.
    Has(Field),
    /// One value of the field passes the test.
    Is(Field, Test),
    /// Another filter passes it.
    Filter(Filter),
}

/// A field that holds bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Field {
    Service,
    Body,
    Attribute(Box<[u8]>),
}

/// A field that holds a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TimeField {
    Ingest,
    Event,
}

/// Times from one up to another, both included. Where the first is later there is none between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) first: Timestamp,
    pub(crate) last: Timestamp,
}

impl Span {
    /// The times that compare to `time` as `order` says.
    pub(super) fn of(order: Order, time: Timestamp) -> Span {
        let nothing = Span { first: Timestamp::MAX, last: Timestamp::MIN };
        let nanos = time.as_nanos();
        match order {
            Order::Below => nanos
                .checked_sub(1)
                .map_or(nothing, |last| Span { first: Timestamp::MIN, last: Timestamp::from_nanos(last) }),
            Order::UpTo => Span { first: Timestamp::MIN, last: time },
            Order::Above => nanos
                .checked_add(1)
                .map_or(nothing, |first| Span { first: Timestamp::from_nanos(first), last: Timestamp::MAX }),
            Order::From => Span { first: time, last: Timestamp::MAX },
        }
    }

    #[inline]
    pub(super) fn contains(self, time: Timestamp) -> bool {
        self.first <= time && time <= self.last
    }
}

/// How a value is to compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Below,
    UpTo,
    Above,
    From,
}

impl Order {
    #[inline]
    pub(super) fn holds(self, ordering: std::cmp::Ordering) -> bool {
        match self {
            Order::Below => ordering.is_lt(),
            Order::UpTo => ordering.is_le(),
            Order::Above => ordering.is_gt(),
            Order::From => ordering.is_ge(),
        }
    }
}

/// What is to hold of a value.
#[derive(Debug)]
pub(super) enum Test {
    /// It is one of these.
    OneOf(Vec<Box<[u8]>>),
    Contains(Box<Finder<'static>>),
    StartsWith(Box<[u8]>),
    Glob(Glob),
    Compares(Order, Operand),
}

/// What a value is compared with.
#[derive(Debug)]
pub(super) struct Operand {
    pub(super) bytes: Box<[u8]>,
    pub(super) number: Option<Number>,
}

/// A value that reads as a number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Number {
    Whole(i128),
    /// Finite.
    Real(f64),
}

impl Number {
    /// Reads a number: an optional sign, digits with an optional point, an optional exponent, and nothing else.
    pub(super) fn parse(bytes: &[u8]) -> Option<Number> {
        let is_sign = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E');
        if !bytes.iter().all(is_sign) {
            return None;
        }
        let text = std::str::from_utf8(bytes).ok()?;
        if let Ok(whole) = text.parse() {
            return Some(Number::Whole(whole));
        }
        text.parse().ok().filter(|real: &f64| real.is_finite()).map(Number::Real)
    }

    /// Whole numbers compare exactly, others as the nearest floating point numbers.
    pub(super) fn compare(self, other: Number) -> std::cmp::Ordering {
        if let (Number::Whole(this), Number::Whole(other)) = (self, other) {
            return this.cmp(&other);
        }
        self.real().partial_cmp(&other.real()).expect("numbers are finite")
    }

    fn real(self) -> f64 {
        match self {
            Number::Whole(whole) => whole as f64,
            Number::Real(real) => real,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cmp::Ordering;

    #[track_caller]
    fn check(text: &str, expected: Option<Number>) {
        assert_eq!(Number::parse(text.as_bytes()), expected, "{text}");
    }

    #[test]
    fn numbers_are_read_and_nothing_else_is_one() {
        check("0", Some(Number::Whole(0)));
        check("-17", Some(Number::Whole(-17)));
        check("+17", Some(Number::Whole(17)));
        check("007", Some(Number::Whole(7)));
        check("170141183460469231731687303715884105727", Some(Number::Whole(i128::MAX)));
        check("170141183460469231731687303715884105728", Some(Number::Real(2_f64.powi(127))));
        check("1.5", Some(Number::Real(1.5)));
        check("-.5e-1", Some(Number::Real(-0.05)));
        check("2e3", Some(Number::Real(2000.0)));
        for text in [
            "", "-", ".", "e5", "1e999", "nan", "inf", "Infinity", "1_000", " 1", "1 ", "0x1f", "1.2.3",
            "5ms",
        ] {
            check(text, None);
        }
        check("\u{661}", None);
    }

    #[test]
    fn whole_numbers_compare_exactly() {
        let compare = |a: &str, b: &str| {
            let number = |text: &str| Number::parse(text.as_bytes()).unwrap();
            number(a).compare(number(b))
        };
        assert_eq!(compare("9007199254740993", "9007199254740992"), Ordering::Greater);
        assert_eq!(compare("9", "10"), Ordering::Less);
        assert_eq!(compare("1.0", "1"), Ordering::Equal);
        assert_eq!(compare("-1.5", "-1"), Ordering::Less);
    }
}
