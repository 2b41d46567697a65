//! Points in time, as people and log lines write them.

use jiff::{SignedDuration, Span, SpanRelativeTo};
use tailwater::Timestamp;

/// Reads a time argument: RFC 3339, how long ago (`90s`, `5m`, `1h30m`, `2d`), or `@` and the time since 1970.
pub fn parse(text: &str) -> Result<Timestamp, String> {
    parse_at(text, jiff::Timestamp::now())
}

fn parse_at(text: &str, now: jiff::Timestamp) -> Result<Timestamp, String> {
    let parsed = match text.strip_prefix('@') {
        Some(since_1970) => epoch(since_1970),
        None => rfc_3339(text).or_else(|| {
            let ago = duration(text)?;
            now.checked_sub(ago).ok().and_then(to_timestamp)
        }),
    };
    parsed.ok_or_else(|| {
        "not a time: give RFC 3339 (2026-01-15T08:00:00Z), `5m` (ago) or `@1768464000`".to_owned()
    })
}

/// Reads `2026-01-15T08:00:00.5Z` or the same with an offset from UTC.
pub fn rfc_3339(text: &str) -> Option<Timestamp> {
    text.parse::<jiff::Timestamp>().ok().and_then(to_timestamp)
}

/// Reads a decimal number of seconds, milliseconds, microseconds or nanoseconds since 1970. Its size tells which:
/// as seconds up to the year 5138, then as milliseconds up to there, and so on.
pub fn epoch(text: &str) -> Option<Timestamp> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let whole = whole.parse::<i64>().ok()?;
    // Digits between the decimal point and the nanosecond.
    let scale = match whole {
        ..=99_999_999_999 => 9,
        100_000_000_000..=99_999_999_999_999 => 6,
        100_000_000_000_000..=99_999_999_999_999_999 => 3,
        _ => 0,
    };
    let kept: String = fraction.chars().chain(std::iter::repeat('0')).take(scale).collect();
    let part = if kept.is_empty() { 0 } else { kept.parse::<i64>().ok()? };
    let nanos = whole.checked_mul(10_i64.pow(scale as u32))?.checked_add(part)?;
    Some(Timestamp::from_nanos(if negative { -nanos } else { nanos }))
}

fn duration(text: &str) -> Option<SignedDuration> {
    // A bare number says no unit, and a sign would turn "ago" around.
    if !text.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    text.parse::<Span>().ok()?.to_duration(SpanRelativeTo::days_are_24_hours()).ok()
}

fn to_timestamp(time: jiff::Timestamp) -> Option<Timestamp> {
    i64::try_from(time.as_nanosecond()).ok().map(Timestamp::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<&str>) {
        let now = "2026-01-15T08:00:00Z".parse().unwrap();
        let parsed = parse_at(text, now).ok().map(|time| time.to_string());
        assert_eq!(parsed.as_deref(), expected, "{text}");
    }

    #[test]
    fn times_are_rfc_3339_or_ago_or_since_1970() {
        check("2026-01-15T07:00:00Z", Some("2026-01-15T07:00:00Z"));
        check("2026-01-15T07:00:00.25+01:00", Some("2026-01-15T06:00:00.250Z"));
        check("5m", Some("2026-01-15T07:55:00Z"));
        check("1h30m", Some("2026-01-15T06:30:00Z"));
        check("2d", Some("2026-01-13T08:00:00Z"));
        check("1w", Some("2026-01-08T08:00:00Z"));
        check("@1768464000", Some("2026-01-15T08:00:00Z"));
        for wrong in [
            "",
            "5",
            "-5m",
            "@",
            "@x",
            "@1.2.3",
            "yesterday",
            "2026-13-01T00:00:00Z",
            "m5",
            "@99999999999999999999",
        ] {
            check(wrong, None);
        }
    }

    #[test]
    fn the_size_of_a_number_tells_its_unit() {
        for text in ["1768464000", "1768464000000", "1768464000000000", "1768464000000000000"] {
            assert_eq!(epoch(text).unwrap().to_string(), "2026-01-15T08:00:00Z", "{text}");
        }
        assert_eq!(epoch("1646861401.5241024").unwrap().to_string(), "2022-03-09T21:30:01.524102400Z");
        assert_eq!(epoch("1768464000000.25").unwrap().to_string(), "2026-01-15T08:00:00.000250Z");
        assert_eq!(epoch("-1.5").unwrap().to_string(), "1969-12-31T23:59:58.500Z");
        assert_eq!(epoch("1e5"), None);
    }
}
