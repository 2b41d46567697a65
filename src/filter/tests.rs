//! What parses and what does not, what each operator says of a record, and what a block's summary lets skip.

use super::expr::Span;
use super::*;
use crate::format::frame::{Checked, HEADER, Place};
use crate::{Level, Record};

/// A record as it lies in the log.
struct Written {
    word: Word,
    ingest: Timestamp,
    payload: Vec<u8>,
}

fn write(record: &Record<'_>, ingest: i64) -> Written {
    let checked = Checked::new(record).unwrap();
    let mut bytes = vec![0; checked.word().length()];
    let ingest = Timestamp::from_millis(ingest);
    checked.write(Place { salt: 0, offset: 0 }, 0, ingest, |at, piece| {
        bytes[at..at + piece.len()].copy_from_slice(piece);
    });
    Written { word: checked.word(), ingest, payload: bytes.split_off(HEADER) }
}

impl Written {
    fn passes(&self, filter: &Filter) -> bool {
        filter.matches_encoded(self.word, self.ingest, &self.payload)
    }
}

/// Ingested at 1,700,000,000,123 ms.
fn full() -> Written {
    let attributes =
        [("status", "503"), ("path", "/api/v1/users"), ("tag", "a"), ("tag", "b"), ("odd key", "x")];
    let record = Record::new("GET /api/v1/users took 1503 ms, \"slow\"")
        .level(Level::Warn)
        .service("front")
        .event_time(Timestamp::from_millis(1_600_000_000_000))
        .attributes(&attributes);
    write(&record, 1_700_000_000_123)
}

fn bare() -> Written {
    write(&Record::new("bare"), 1_700_000_000_123)
}

/// Whether `text` passes the full record, and the bare one.
#[track_caller]
fn check(text: &str, passes_full: bool, passes_bare: bool) {
    let filter = Filter::parse(text).unwrap();
    assert_eq!((full().passes(&filter), bare().passes(&filter)), (passes_full, passes_bare), "{text}");
    assert_eq!((filter.as_str(), filter.to_string().as_str()), (text, text));
    let negated = Filter::parse(&format!("NOT ({text})")).map(|filter| full().passes(&filter));
    assert!(filter.is_all() || negated.unwrap() != passes_full, "{text} negated");
}

#[test]
fn nothing_and_a_star_pass_everything() {
    for text in ["", " \t\n", "*", " * "] {
        check(text, true, true);
        assert!(Filter::parse(text).unwrap().is_all());
    }
    assert!(Filter::all().is_all() && !Filter::parse("a").unwrap().is_all());
    check("* *", false, false);
}

#[test]
fn levels_compare_by_severity_and_without_case() {
    check("level=warn", true, false);
    check("level == WARNING", true, false);
    check("level=error", false, false);
    check("level!=error", true, true);
    check("level!=warn", false, true);
    check("level>=warn", true, false);
    check("level>warn", false, false);
    check("level<=warn", true, false);
    check("level<error", true, false);
    check("level<warn", false, false);
    check("level IN (err, Warn)", true, false);
    check("level IN (err)", false, false);
    check("HAS level", true, false);
    check("level~AR", true, false);
    check("level!~ar", false, true);
    check("level^=wa", true, false);
    check("level:w*N", true, false);
    check("level:warning", false, false);
}

#[test]
fn services_and_attributes_compare_as_bytes() {
    for (field, value, other) in [("service", "front", "Front"), ("path", "/api/v1/users", "/api/v1")] {
        check(&format!("{field}={value}"), true, false);
        check(&format!("{field}={other}"), false, false);
        check(&format!("{field}!={value}"), false, true);
        check(&format!("{field}!={other}"), true, true);
        check(&format!("{field} IN ({other},\"{value}\")"), true, false);
        check(&format!("{field} IN ({other})"), false, false);
        check(&format!("HAS {field}"), true, false);
        check(&format!("{field}~{}", &value[1..3]), true, false);
        check(&format!("{field}!~{}", &value[1..3]), false, true);
        check(&format!("{field}!~{value}s"), true, true);
        check(&format!("{field}^={}", &value[..3]), true, false);
        check(&format!("{field}^={}", &value[1..]), false, false);
        check(&format!("{field}:{}*{}", &value[..1], &value[3..]), true, false);
        check(&format!("{field}:?{}", &value[1..]), true, false);
        check(&format!("{field}:?{}", &value[2..]), false, false);
        check(&format!("{field}>={value}"), true, false);
        check(&format!("{field}>{value}"), false, false);
        check(&format!("{field}<{value}0"), true, false);
    }
    check("nothing=x", false, false);
    check("nothing!=x", true, true);
    check("nothing!~x", true, true);
    check("nothing<x", false, false);
    check("nothing=\"\"", false, false);
    check("HAS nothing", false, false);
}

#[test]
fn numbers_compare_as_numbers_and_all_else_as_bytes() {
    check("status>9", true, false);
    check("status>=503.0", true, false);
    check("status<5e2", false, false);
    check("status>-1", true, false);
    check("status=503.0", false, false);
    check("status<9x", true, false);
    check("path<5", true, false);
}

#[test]
fn an_attribute_that_repeats_compares_by_any_of_its_values() {
    check("tag=a", true, false);
    check("tag=b", true, false);
    check("tag!=a", false, true);
    check("tag!=c", true, true);
    check("tag<b tag>a", true, false);
}

#[test]
fn times_take_rfc_3339_and_milliseconds() {
    check("ts=1700000000123", true, true);
    check("ts=2023-11-14T22:13:20.123Z", true, true);
    check("ts=\"2023-11-14 23:13:20.123+01:00\"", true, true);
    check("ts!=1700000000123", false, false);
    check("ts>1700000000123", false, false);
    check("ts>=1700000000123", true, true);
    check("ts<2023-11-14T22:13:20.123000001Z", true, true);
    check("ts<=-1", false, false);
    check("ts IN (1, 1700000000123)", true, true);
    check("HAS ts", true, true);
}

#[test]
fn event_times_may_be_missing() {
    check("event_ts=1600000000000", true, false);
    check("event_ts!=1600000000000", false, true);
    check("event_ts>=2020-09-13T12:26:40Z", true, false);
    check("event_ts IN (1)", false, false);
    check("HAS event_ts", true, false);
}

#[test]
fn text_is_looked_for_in_the_body() {
    check("took", true, false);
    check("bare", false, true);
    check("GET took", true, false);
    check("\"GET took\"", false, false);
    check("\"took 1503\"", true, false);
    check("\"\\\"slow\\\"\"", true, false);
    check("\"\\x47E\\x54\"", true, false);
    check("level", false, false);
    check("body~took", true, false);
    check("body=bare", false, true);
    check("body!=bare", true, false);
    check("body:*1?03*", true, false);
    check("body^=GET", true, false);
    check("HAS body", true, true);
    check("\"\"", true, true);
}

#[test]
fn operators_bind_as_the_grammar_says() {
    check("bare OR took", true, true);
    check("bare took OR GET", true, false);
    check("(bare OR took) GET", true, false);
    check("bare,took", false, false);
    check("GET AND took", true, false);
    check("NOT bare", true, false);
    check("-bare", true, false);
    check("!bare", true, false);
    check("- - bare", false, true);
    check("NOT bare GET", true, false);
    check("NOT (bare OR GET)", false, false);
    check("took -level=warn", false, false);
    check("took !level=error", true, false);
    check("or", false, false);
    check("status=503,tag=a(took)", true, false);
    check("\"odd key\"=x", true, false);
    check("HAS \"odd key\"", true, false);
    check("\"odd key\" IN (x)", true, false);
    check("\"level\"=warn", false, false);
    check("status=AND OR bare", false, true);
}

/// The expression does not parse at `position`, and the message says `found` and `expected`.
#[track_caller]
fn check_bad(text: &str, position: usize, found: &str, expected: &str) {
    let err = Filter::parse(text).unwrap_err();
    assert_eq!(*err.kind(), ErrorKind::FilterInvalid { position }, "{text}: {err}");
    let message = format!("parse filter at byte {position}: found {found}, expected {expected}");
    assert_eq!(err.to_string(), message, "{text}");
}

use crate::ErrorKind;

#[test]
fn an_error_says_where_what_was_found_and_what_was_expected() {
    let level = "a level: trace, debug, info, warn, error, fatal";
    let time = "a time: milliseconds since 1970, or as 2026-01-15T08:00:00Z";
    let time_operator = "one of `=` `==` `!=` `<` `<=` `>` `>=` `IN` for a time";
    let escape = r#"`\"`, `\\`, `\n`, `\t` or `\xNN`"#;
    let more = "`AND`, `OR`, a term or the end";
    check_bad("=", 0, "`=`", "a term");
    check_bad("a OR", 4, "the end", "a term");
    check_bad("a OR OR b", 5, "\"OR\"", "a term");
    check_bad("a,", 2, "the end", "a term");
    check_bad("a,,b", 2, "`,`", "a term");
    check_bad("AND a", 0, "\"AND\"", "a term");
    check_bad("IN (a)", 0, "\"IN\"", "a term");
    check_bad("NOT", 3, "the end", "a term");
    check_bad("a)", 1, "`)`", more);
    check_bad("()", 1, "`)`", "a term");
    check_bad("(a", 2, "the end", "`AND`, `OR`, a term or `)`");
    check_bad("a=", 2, "the end", "a value");
    check_bad("a= ,b", 3, "`,`", "a value");
    check_bad("a = b = c", 6, "`=`", "a term");
    check_bad("a IN b", 5, "\"b\"", "`(`");
    check_bad("a IN ()", 6, "`)`", "a value");
    check_bad("a IN (b c)", 8, "\"c\"", "`,` or `)`");
    check_bad("a IN (b,", 8, "the end", "a value");
    check_bad("HAS", 3, "the end", "a field");
    check_bad("HAS OR", 4, "\"OR\"", "a field");
    check_bad("  level=loud", 8, "\"loud\"", level);
    check_bad("level=\"\"", 6, "\"\"", level);
    check_bad("level IN (warn, lout)", 16, "\"lout\"", level);
    check_bad("ts>yesterday", 3, "\"yesterday\"", time);
    check_bad("ts>99999999999999999999", 3, "\"99999999999999999999\"", time);
    check_bad("event_ts ~ 5", 9, "an operator for text", time_operator);
    check_bad("ts:5", 2, "an operator for text", time_operator);
    check_bad("ts!~5", 2, "an operator for text", time_operator);
    check_bad("ts^=5", 2, "an operator for text", time_operator);
    check_bad("a=\"b", 4, "the end", "`\"` for the one at byte 2");
    check_bad(r#""a\q""#, 2, "a backslash", escape);
    check_bad(r#""a\x4"#, 2, "a backslash", escape);
    check_bad(r#""a\xg0""#, 2, "a backslash", escape);
    check_bad("\u{e4}\u{f6}=", 5, "the end", "a value");
    check_bad("^=5", 0, "`^`", "a term");
    check_bad(&format!("x IN ( {}", "\u{e4}".repeat(50)), 107, "the end", "`,` or `)`");
}

#[test]
fn limits_are_errors_with_a_place_and_what_is_within_them_parses() {
    let just = "x".repeat(MAX_BYTES);
    assert!(Filter::parse(&just).is_ok());
    check_bad(&format!("{just}x"), 1024, "an expression of 1025 bytes", "at most 1024 bytes");
    let terms = |count| vec!["a=b"; count].join(" OR ");
    assert!(Filter::parse(&terms(64)).is_ok());
    check_bad(&terms(65), 64 * 7, "one more term", "at most 64");
    for (open, close) in [("(", ")"), ("!", ""), ("-", ""), ("NOT ", "")] {
        let nested = |depth| format!("{}a{}", open.repeat(depth), close.repeat(depth));
        assert!(Filter::parse(&nested(16)).is_ok(), "{open}");
        let found = "one more parenthesis or negation";
        check_bad(&nested(17), 16 * open.len(), found, "at most 16 within one another");
    }
    // Beside one another they may be as many as fit.
    assert!(Filter::parse(&"(a)".repeat(64)).is_ok());
}

#[test]
fn bombs_are_refused_or_evaluated_in_the_time_of_a_look_at_the_record() {
    for bomb in [
        "(".repeat(100_000),
        "!".repeat(1024),
        "NOT ".repeat(250),
        "x".repeat(1 << 20),
        "a ".repeat(512),
        "\u{1f4a3}".repeat(300),
    ] {
        assert!(matches!(Filter::parse(&bomb).unwrap_err().kind(), ErrorKind::FilterInvalid { .. }));
    }
    // One step a byte of body and word of pattern; going back would take the age of the universe.
    let body = "a".repeat(1 << 20);
    let record = write(&Record::new(&body), 0);
    for pattern in
        ["*a".repeat(500), "*?a".repeat(330), "?".repeat(1000), format!("*{}b?c*", "a".repeat(900))]
    {
        let filter = Filter::parse(&format!("body:{pattern}b")).unwrap();
        assert!(!record.passes(&filter));
    }
    let filter = Filter::parse(&vec!["body~aab"; 64].join(" OR ")).unwrap();
    assert!(!record.passes(&filter));
    let digits = "9".repeat(1 << 20);
    let record = write(&Record::new(&digits), 0);
    assert!(!record.passes(&Filter::parse("body<5").unwrap()));
}

#[test]
fn a_filter_for_a_service_asks_for_both() {
    let filter = Filter::parse("HAS body").unwrap();
    for (service, or_none, passes_full, passes_bare) in [
        ("front", false, true, false),
        ("front", true, true, true),
        ("back", false, false, false),
        ("back", true, false, true),
    ] {
        let narrowed = filter.for_service(service, or_none);
        assert_eq!((full().passes(&narrowed), bare().passes(&narrowed)), (passes_full, passes_bare));
        assert_eq!(narrowed.as_str(), "HAS body");
        assert!(!narrowed.is_all());
        let narrowed = Filter::parse("bare").unwrap().for_service(service, or_none);
        assert_eq!((full().passes(&narrowed), bare().passes(&narrowed)), (false, or_none));
    }
    assert!(full().passes(&Filter::all().for_service("front", false)));
}

/// A block of debug and error records and some without a level, of services a and b and none known else, ingested from 10
/// to 20, with event times from 5 to 6.
fn block(services: &[Box<str>]) -> Summary<'_> {
    let span =
        |first, last| Span { first: Timestamp::from_millis(first), last: Timestamp::from_millis(last) };
    Summary {
        levels: 0b10_0101,
        services,
        service_bits: 0b101,
        other_services: false,
        ingest: span(10, 20),
        event: span(5, 6),
    }
}

#[track_caller]
fn check_block(text: &str, may_match: bool) {
    let services = ["aa", "not here", "bb"].map(Box::from);
    assert_eq!(Filter::parse(text).unwrap().may_match(&block(&services)), may_match, "{text}");
}

#[test]
fn a_block_is_skipped_where_its_summary_proves_that_nothing_passes() {
    for (text, may_match) in [
        ("", true),
        ("level=error", true),
        ("level=info", false),
        ("level>error", false),
        ("NOT level=error", true),
        ("NOT (level=error OR level=debug)", true),
        ("service=aa", true),
        ("service=cc", false),
        ("service=\"not here\"", false),
        ("service!=aa", true),
        ("service^=b", true),
        ("service^=n", false),
        ("service IN (cc, bb)", true),
        ("HAS service", true),
        ("ts<10", false),
        ("ts<=10", true),
        ("ts>20", false),
        ("ts=15", true),
        ("ts!=15", true),
        ("NOT ts>=10", false),
        ("NOT (ts>=10 ts<=20)", false),
        ("ts IN (1, 30)", false),
        ("event_ts<5", false),
        ("event_ts>=6", true),
        ("NOT event_ts>=5", true),
        ("HAS event_ts", true),
        ("HAS body", true),
        ("NOT HAS body", false),
        ("anything", true),
        ("anything level=info", false),
        ("anything OR level=info", true),
        ("NOT anything", true),
        ("a=b OR level=info", true),
        ("level=info OR service=cc", false),
        ("NOT (level!=info OR x)", false),
    ] {
        check_block(text, may_match);
    }
    let services = ["aa", "not here", "bb"].map(Box::from);
    let block = block(&services);
    let filter = Filter::parse("service=cc").unwrap();
    assert!(filter.may_match(&Summary { other_services: true, ..block }));
    assert!(!Filter::all().for_service("cc", false).may_match(&block));
    assert!(Filter::all().for_service("cc", true).may_match(&block));
}

#[test]
fn a_block_without_records_is_skipped_for_what_its_summary_tells() {
    let nothing = Span { first: Timestamp::MAX, last: Timestamp::MIN };
    let empty = Summary {
        levels: 0,
        services: &[],
        service_bits: 0,
        other_services: false,
        ingest: nothing,
        event: nothing,
    };
    for text in
        ["level=info", "level!=info", "NOT HAS level", "service=a", "ts>0", "NOT ts>0", "HAS event_ts"]
    {
        assert!(!Filter::parse(text).unwrap().may_match(&empty), "{text}");
    }
}
