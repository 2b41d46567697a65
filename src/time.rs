//! A point in time, as records carry it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Nanoseconds since 1970-01-01T00:00:00 UTC.
///
/// ```
/// use tailwater::Timestamp;
///
/// let time = Timestamp::from_millis(1_700_000_000_123);
/// assert_eq!(time.to_string(), "2023-11-14T22:13:20.123Z");
/// assert!(time < Timestamp::from_nanos(i64::MAX));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The earliest there is: in 1677.
    pub const MIN: Timestamp = Timestamp(i64::MIN);
    /// The latest there is: in 2262.
    pub const MAX: Timestamp = Timestamp(i64::MAX);

    /// From nanoseconds since 1970.
    #[inline]
    pub const fn from_nanos(nanos: i64) -> Timestamp {
        Timestamp(nanos)
    }

    /// From milliseconds since 1970; what lies outside the range becomes its nearest end.
    pub const fn from_millis(millis: i64) -> Timestamp {
        Timestamp(millis.saturating_mul(1_000_000))
    }

    /// Nanoseconds since 1970.
    #[inline]
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// Whole milliseconds since 1970, rounded down.
    pub const fn as_millis(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// The time `earlier` before this one, or the earliest there is.
    pub fn saturating_sub(self, earlier: std::time::Duration) -> Timestamp {
        Timestamp(self.0.saturating_sub(i64::try_from(earlier.as_nanos()).unwrap_or(i64::MAX)))
    }

    /// The time `later` after this one, or the latest there is.
    pub fn saturating_add(self, later: std::time::Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(i64::try_from(later.as_nanos()).unwrap_or(i64::MAX)))
    }
}

/// RFC 3339 in UTC, with as many of milli-, micro- and nanoseconds as are not zero.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, nanos) = (self.0.div_euclid(1_000_000_000), self.0.rem_euclid(1_000_000_000));
        let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let (year, month, day) = civil(days);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        match nanos {
            0 => {}
            _ if nanos % 1_000_000 == 0 => write!(f, ".{:03}", nanos / 1_000_000)?,
            _ if nanos % 1_000 == 0 => write!(f, ".{:06}", nanos / 1_000)?,
            _ => write!(f, ".{nanos:09}")?,
        }
        f.write_str("Z")
    }
}

/// Reads RFC 3339: a date, `T` (in either case, or a space), a time with up to nine digits of a second's fraction, and `Z` or
/// an offset from UTC.
///
/// A second 60 is refused: this time has no leap seconds, so nothing ever happened there.
impl FromStr for Timestamp {
    type Err = Error;

    fn from_str(text: &str) -> Result<Timestamp> {
        parse(text.as_bytes()).ok_or_else(|| {
            let rule =
                format!("{text:?} is no time as 2026-01-15T08:00:00Z is one, or none from 1677 to 2262");
            Error::invalid("time", rule)
        })
    }
}

fn parse(text: &[u8]) -> Option<Timestamp> {
    let mut rest = text;
    let year = number(&mut rest, 4)?;
    sign(&mut rest, b"-")?;
    let month = number(&mut rest, 2).filter(|month| (1..=12).contains(month))?;
    sign(&mut rest, b"-")?;
    let day = number(&mut rest, 2)?;
    sign(&mut rest, b"Tt ")?;
    let hour = number(&mut rest, 2).filter(|hour| *hour < 24)?;
    sign(&mut rest, b":")?;
    let minute = number(&mut rest, 2).filter(|minute| *minute < 60)?;
    sign(&mut rest, b":")?;
    let second = number(&mut rest, 2).filter(|second| *second < 60)?;
    let nanos = match sign(&mut rest, b".") {
        Some(_) => fraction(&mut rest)?,
        None => 0,
    };
    let offset = match sign(&mut rest, b"Zz+-")? {
        b'Z' | b'z' => 0,
        direction => {
            let hours = number(&mut rest, 2).filter(|hours| *hours < 24)?;
            sign(&mut rest, b":")?;
            let minutes = number(&mut rest, 2).filter(|minutes| *minutes < 60)?;
            (hours * 60 + minutes) * if direction == b'-' { -60 } else { 60 }
        }
    };
    let days = days(year, month, day);
    // The calendar gives back another date for a day that its month does not have.
    if !rest.is_empty() || civil(days) != (year, month, day) {
        return None;
    }
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second - offset;
    let nanos = i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    i64::try_from(nanos).ok().map(Timestamp)
}

/// The number that the next `digits` digits say.
fn number(rest: &mut &[u8], digits: usize) -> Option<i64> {
    let digits = rest.split_off(..digits)?;
    let value = |sum: i64, digit: &u8| digit.is_ascii_digit().then(|| sum * 10 + i64::from(digit - b'0'));
    digits.iter().try_fold(0, value)
}

/// The next sign, where it is one of `signs`.
fn sign(rest: &mut &[u8], signs: &[u8]) -> Option<u8> {
    let first = rest.first().copied().filter(|first| signs.contains(first))?;
    *rest = &rest[1..];
    Some(first)
}

/// Nanoseconds, from the digits behind the point.
fn fraction(rest: &mut &[u8]) -> Option<i64> {
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let scale = 9_usize.checked_sub(digits).filter(|_| 0 < digits)?;
    Some(number(rest, digits)? * 10_i64.pow(scale as u32))
}

/// The day, counted from 1970-01-01, of a date: `days_from_civil`, beside [`civil`].
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * (month + if 2 < month { -3 } else { 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Year, month and day of a day counted from 1970-01-01, in the proleptic Gregorian calendar: `civil_from_days` of
/// <https://howardhinnant.github.io/date_algorithms.html>.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(nanos: i64, text: &str) {
        assert_eq!(Timestamp::from_nanos(nanos).to_string(), text);
    }

    #[test]
    fn times_print_as_rfc_3339_at_both_ends_and_between() {
        check(0, "1970-01-01T00:00:00Z");
        check(-1, "1969-12-31T23:59:59.999999999Z");
        check(1_000, "1970-01-01T00:00:00.000001Z");
        check(951_782_400_000_000_000, "2000-02-29T00:00:00Z");
        check(i64::MAX, "2262-04-11T23:47:16.854775807Z");
        check(i64::MIN, "1677-09-21T00:12:43.145224192Z");
    }

    #[track_caller]
    fn check_read(text: &str, expected: Option<i64>) {
        assert_eq!(text.parse::<Timestamp>().ok().map(Timestamp::as_nanos), expected, "{text}");
    }

    #[test]
    fn every_time_is_read_back_from_what_it_prints_as() {
        let mut nanos = i64::MIN;
        // Steps that share no factor with a day, a second or a millisecond, over all there is.
        while let Some(next) = nanos.checked_add(7_777_777_777_777_777) {
            check_read(&Timestamp::from_nanos(nanos).to_string(), Some(nanos));
            check_read(
                &Timestamp::from_millis(nanos / 1_000_000).to_string(),
                Some(nanos / 1_000_000 * 1_000_000),
            );
            nanos = next;
        }
        check_read(&Timestamp::MIN.to_string(), Some(i64::MIN));
        check_read(&Timestamp::MAX.to_string(), Some(i64::MAX));
    }

    #[test]
    fn times_are_read_as_rfc_3339_says() {
        check_read("1970-01-01T00:00:01Z", Some(1_000_000_000));
        check_read("1970-01-01t00:00:01.5z", Some(1_500_000_000));
        check_read("1970-01-01 00:00:01.000000001Z", Some(1_000_000_001));
        check_read("1970-01-01T01:30:00+01:30", Some(0));
        check_read("1969-12-31T22:30:00.25-01:30", Some(250_000_000));
        check_read("2024-02-29T00:00:00Z", Some(1_709_164_800_000_000_000));
        for text in [
            "",
            "1970-01-01",
            "1970-01-01T00:00:00",
            "1970-01-01T00:00Z",
            "1970-1-1T00:00:00Z",
            "1970-13-01T00:00:00Z",
            "1970-00-01T00:00:00Z",
            "1970-01-00T00:00:00Z",
            "2023-02-29T00:00:00Z",
            "1970-04-31T00:00:00Z",
            "1970-01-01T24:00:00Z",
            "1970-01-01T00:60:00Z",
            "1990-12-31T23:59:60Z",
            "1970-01-01T00:00:00.Z",
            "1970-01-01T00:00:00.1234567890Z",
            "1970-01-01T00:00:00+1:00",
            "1970-01-01T00:00:00+24:00",
            "1970-01-01T00:00:00Z ",
            "1677-09-21T00:12:43.145224191Z",
            "2262-04-11T23:47:16.854775808Z",
            "9999-12-31T23:59:59Z",
            "0000-01-01T00:00:00Z",
            "+970-01-01T00:00:00Z",
            "\u{662}970-01-01T00:00:00Z",
        ] {
            check_read(text, None);
        }
    }
}
