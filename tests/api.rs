//! The log-stream API without a server: JSON in, JSON out, as the service documents it.

#![cfg(feature = "sim")]

mod common;

use common::*;
use serde_json::{Value, json};
use tailwater::api::{self, ApiError};
use tailwater::vfs::sim::{Fault, Op};
use tailwater::*;

/// A store with one tenant.
struct Service {
    machine: Machine,
    tenant: Tenant,
}

impl Service {
    fn new() -> Service {
        Service::with(Quotas::default())
    }

    fn with(quotas: Quotas) -> Service {
        let machine = Machine::new();
        let store = machine.options().quotas(quotas).open(DIR).unwrap();
        Service { tenant: store.tenant(&TenantId::new("project").unwrap()), machine }
    }

    fn create_group(&self, body: &str) -> Result<Value, ApiError> {
        value(api::create_log_group(&self.tenant, || api::body(serde_json::from_str(body))))
    }

    fn update_group(&self, group: &str, body: &str) -> Result<Value, ApiError> {
        value(api::update_log_group(&self.tenant, group, || api::body(serde_json::from_str(body))))
    }

    fn create_stream(&self, group: &str, body: &str) -> Result<Value, ApiError> {
        value(api::create_log_stream(&self.tenant, group, || api::body(serde_json::from_str(body))))
    }

    fn update_stream(&self, group: &str, stream: &str, body: &str) -> Result<Value, ApiError> {
        value(api::update_log_stream(&self.tenant, group, stream, || api::body(serde_json::from_str(body))))
    }

    fn write(&self, (group, stream): (&str, &str), body: &str) -> Result<Value, ApiError> {
        value(api::write_logs(&self.tenant, group, stream, || api::body(serde_json::from_str(body))))
    }

    fn write_timed(&self, (group, stream): (&str, &str), body: &str) -> Result<Value, ApiError> {
        value(api::write_timed_logs(&self.tenant, group, stream, || api::body(serde_json::from_str(body))))
    }

    fn query(&self, (group, stream): (&str, &str), body: &str) -> Result<Value, ApiError> {
        value(api::query_logs(&self.tenant, group, stream, || api::body(serde_json::from_str(body))))
    }

    /// A group and a stream in it.
    fn stream(&self) -> (String, String) {
        let group = text(&self.create_group(r#"{"log_group_name": "group"}"#).unwrap()["log_group_id"]);
        let stream = self.create_stream(&group, r#"{"log_stream_name": "stream"}"#).unwrap();
        (group, text(&stream["log_stream_id"]))
    }

    /// The contents that a query gives.
    #[track_caller]
    fn contents(&self, ids: (&str, &str), query: Value) -> Vec<String> {
        let found = self.query(ids, &query.to_string()).unwrap();
        found["logs"].as_array().unwrap().iter().map(|log| text(&log["content"])).collect()
    }
}

fn value(answer: Result<impl serde::Serialize, ApiError>) -> Result<Value, ApiError> {
    answer.map(|answer| serde_json::to_value(answer).unwrap())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// An answer's error: its code and the beginning of its message.
#[track_caller]
fn check(answer: Result<impl std::fmt::Debug, ApiError>, status: u16, code: &str, message: &str) {
    let err = answer.unwrap_err();
    assert_eq!((err.status(), err.code()), (status, code), "{err}");
    assert!(err.message().starts_with(message), "{err}");
}

const NO_ID: &str = "2e0a4a4b-24a4-4b5e-9f5d-3c2c7f0a8a11";
const NOW: i64 = BIRTH / 1_000_000;

// The shapes of answers.

#[test]
fn groups_and_streams_are_answered_as_documented() {
    let service = Service::new();
    let body = r#"{"log_group_name": "lts-group", "ttl_in_days": 7, "tags": [{"key": "a", "value": "b"}], "more": {}}"#;
    let created = service.create_group(body).unwrap();
    let group = text(&created["log_group_id"]);
    assert_eq!((created.as_object().unwrap().len(), group.len()), (1, 36));
    let listed = json!({"log_groups": [{"creation_time": NOW, "log_group_name": "lts-group", "log_group_id": group,
        "ttl_in_days": 7, "tag": {"a": "b"}}]});
    assert_eq!(value(api::list_log_groups(&service.tenant)).unwrap(), listed);
    let updated =
        json!({"creation_time": NOW, "log_group_name": "lts-group", "log_group_id": group, "ttl_in_days": 9});
    assert_eq!(service.update_group(&group, r#"{"ttl_in_days": 9, "tags": []}"#).unwrap(), updated);

    let body = r#"{"log_stream_name": "lts-stream-02kh", "tags": [{"key": "k"}]}"#;
    let created = service.create_stream(&group, body).unwrap();
    let stream = text(&created["log_stream_id"]);
    assert_eq!((created.as_object().unwrap().len(), stream.len()), (1, 36));
    let listed = |ttl: u16, tag: Value| {
        json!({"log_streams": [{"creation_time": NOW, "log_stream_id": stream, "log_stream_name": "lts-stream-02kh",
            "ttl_in_days": ttl, "tag": tag}]})
    };
    let list = || value(api::list_log_streams(&service.tenant, &group)).unwrap();
    assert_eq!(list(), listed(9, json!({"k": ""})));
    let updated = json!({"creation_time": NOW, "log_topic_name": "lts-stream-02kh", "log_topic_id": stream, "ttl_in_days": 3});
    assert_eq!(service.update_stream(&group, &stream, r#"{"ttl_in_days": 3}"#).unwrap(), updated);
    assert_eq!(list(), listed(3, json!({"k": ""})));
    // Nothing said, nothing altered.
    assert_eq!(service.update_stream(&group, &stream, r#"{"ttl_in_days": null}"#).unwrap(), updated);
    service.update_stream(&group, &stream, r#"{"tags": []}"#).unwrap();
    assert_eq!(list(), listed(3, json!({})));
    api::delete_log_stream(&service.tenant, &group, &stream).unwrap();
    assert_eq!(list(), json!({"log_streams": []}));
    api::delete_log_group(&service.tenant, &group).unwrap();
    assert_eq!(value(api::list_log_groups(&service.tenant)).unwrap(), json!({"log_groups": []}));
}

#[test]
fn an_update_with_null_or_nothing_leaves_what_is_there() {
    let service = Service::new();
    let (group, _) = service.stream();
    service.update_group(&group, r#"{"ttl_in_days": 5, "tags": [{"key": "a"}]}"#).unwrap();
    service.update_group(&group, r#"{"ttl_in_days": null, "tags": null}"#).unwrap();
    service.update_group(&group, "{}").unwrap();
    let listed = value(api::list_log_groups(&service.tenant)).unwrap();
    assert_eq!(
        (&listed["log_groups"][0]["ttl_in_days"], &listed["log_groups"][0]["tag"]),
        (&json!(5), &json!({"a": ""}))
    );
}

// What is wrong with a body.

#[test]
fn what_does_not_parse_is_no_json_and_what_does_says_field_and_rule() {
    let service = Service::new();
    let (group, _) = service.stream();
    let create = |body: &str| service.create_stream(&group, body);
    for body in [
        "",
        "{",
        r#"{"log_stream_name": "a""#,
        r#"{"log_stream_name": "\ud800"}"#,
        "{} {}",
        "nonsense",
        r#"{"a": 1,}"#,
    ] {
        check(create(body), 400, "LTS.0007", "the body is not JSON: ");
    }
    for (body, message) in [
        ("[]", "body: must be an object, not an array"),
        ("null", "body: must be an object, not null"),
        ("7", "body: must be an object, not "),
        (r#""{}""#, "body: must be an object, not a string"),
        ("{}", "log_stream_name: is required"),
        (r#"{"log_stream_name": null}"#, "log_stream_name: is required"),
        (r#"{"log_stream_name": 7}"#, "log_stream_name: must be a string, not an integer"),
        (r#"{"log_stream_name": ["a"]}"#, "log_stream_name: must be a string, not an array"),
        (r#"{"log_stream_name": ""}"#, "log_stream_name: must have 1 to 64 characters, not 0"),
        (r#"{"log_stream_name": ".a"}"#, r#"log_stream_name: ".a" must not start with"#),
        (r#"{"log_stream_name": "_a"}"#, r#"log_stream_name: "_a" must not start with"#),
        (r#"{"log_stream_name": "a."}"#, r#"log_stream_name: "a." must not end with"#),
        (r#"{"log_stream_name": "a b"}"#, r#"log_stream_name: "a b" must not contain ' '"#),
        (r#"{"log_stream_name": "a", "ttl_in_days": 0}"#, "ttl_in_days: must be 1 to 365, not 0"),
        (r#"{"log_stream_name": "a", "ttl_in_days": 366}"#, "ttl_in_days: must be 1 to 365, not 366"),
        (r#"{"log_stream_name": "a", "ttl_in_days": -1}"#, "ttl_in_days: must be 1 to 365, not -1"),
        (r#"{"log_stream_name": "a", "ttl_in_days": "7"}"#, "ttl_in_days: must be an integer, not a string"),
        (
            r#"{"log_stream_name": "a", "ttl_in_days": 7.5}"#,
            "ttl_in_days: must be an integer, not a fraction",
        ),
        (
            r#"{"log_stream_name": "a", "ttl_in_days": true}"#,
            "ttl_in_days: must be an integer, not a boolean",
        ),
        (
            r#"{"log_stream_name": "a", "ttl_in_days": 99999999999999999999}"#,
            "ttl_in_days: must be an integer, not ",
        ),
        (r#"{"log_stream_name": "a", "tags": {}}"#, "tags: must be an array, not an object"),
        (r#"{"log_stream_name": "a", "tags": ["a"]}"#, "tags[0]: must be an object, not a string"),
        (r#"{"log_stream_name": "a", "tags": [{"value": "b"}]}"#, "tags: tag 0: key: must have 1 to 128"),
        (
            r#"{"log_stream_name": "a", "tags": [{"key": 1}]}"#,
            "tags: tag 0: key: must be a string, not an integer",
        ),
        (
            r#"{"log_stream_name": "a", "tags": [{"key": "a"}, {"key": "b", "value": []}]}"#,
            "tags: tag 1: value: must be a string, not an array",
        ),
        (
            r#"{"log_stream_name": "a", "tags": [{"key": "_a"}]}"#,
            r#"tags: the key "_a" must not start with '_'"#,
        ),
        (
            r#"{"log_stream_name": "a", "tags": [{"key": "a"}, {"key": "a"}]}"#,
            r#"tags: the key "a" must not occur twice"#,
        ),
        (r#"{"log_stream_name": "a", "tags": [{"key": "a", "value": "?"}]}"#, "tags: tag 0: value: "),
        // The first in the order of the documentation is told.
        (r#"{"tags": 1, "ttl_in_days": 0, "log_stream_name": "."}"#, "log_stream_name: "),
        (r#"{"tags": 1, "ttl_in_days": 0, "log_stream_name": "a"}"#, "ttl_in_days: "),
    ] {
        check(create(body), 400, "LTS.0009", message);
    }
    let many: Vec<_> = (0..21).map(|number| json!({"key": format!("k{number}")})).collect();
    check(
        create(&json!({"log_stream_name": "a", "tags": many}).to_string()),
        400,
        "LTS.0009",
        "tags: must be at most 20",
    );
    assert_eq!(service.tenant.streams(group.parse().unwrap()).unwrap().len(), 1, "none was created");
    check(service.create_group("{}"), 400, "LTS.0009", "log_group_name: is required");
    check(service.create_group(r#"{"log_group_name": "."}"#), 400, "LTS.0009", "log_group_name: ");
}

#[test]
fn of_a_field_that_stands_there_twice_the_last_counts_and_unknown_ones_do_not() {
    let service = Service::new();
    let (group, _) = service.stream();
    let body = r#"{"log_stream_name": 7, "deep": [[[{"log_stream_name": ""}]]], "log_stream_name": "twice", "n": 1e400}"#;
    service.create_stream(&group, body).unwrap();
    let name = |info: StreamInfo| info.name.to_string();
    let names: Vec<_> =
        service.tenant.streams(group.parse().unwrap()).unwrap().into_iter().map(name).collect();
    assert_eq!(names, ["stream", "twice"]);
}

#[test]
fn a_request_deserialises_by_itself_and_from_other_formats() {
    let request: api::CreateLogStreamRequest =
        serde_json::from_value(json!({"log_stream_name": "a", "ttl_in_days": 7, "tags": null})).unwrap();
    assert_eq!(
        (request.log_stream_name.as_str(), request.ttl_in_days),
        ("a", Some(TtlDays::new(7).unwrap()))
    );
    let err =
        serde_json::from_str::<api::CreateLogStreamRequest>(r#"{"log_stream_name": "a", "ttl_in_days": []}"#);
    assert!(err.unwrap_err().to_string().starts_with("ttl_in_days: must be an integer, not an array"));
    // As a form or a query string gives it: borrowed text.
    let pairs = [("log_group_name", "g"), ("other", "x")];
    let map = serde::de::value::MapDeserializer::<_, serde::de::value::Error>::new(pairs.into_iter());
    let request = <api::CreateLogGroupRequest as serde::Deserialize>::deserialize(map).unwrap();
    assert_eq!(request.log_group_name.as_str(), "g");
    // What goes out comes in again.
    let again: api::CreateLogGroupRequest =
        serde_json::from_str(&serde_json::to_string(&request).unwrap()).unwrap();
    assert_eq!(again, request);
}

// The order of the checks.

#[test]
fn of_several_things_that_are_wrong_the_first_in_the_contracts_order_is_told() {
    let service = Service::with(Quotas { streams_per_group: 1, groups_per_tenant: 1, ..Quotas::default() });
    let (group, stream) = service.stream();
    let good = r#"{"log_stream_name": "other"}"#;
    let (no_json, bad_field, taken) =
        ("{", r#"{"log_stream_name": "."}"#, r#"{"log_stream_name": "stream"}"#);
    for unknown in [NO_ID, "no-id", "", "2E0A4A4B24A44B5E9F5D3C2C7F0A8A11"] {
        for body in [no_json, bad_field, taken, good] {
            check(service.create_stream(unknown, body), 400, "LTS.0201", "log_group_id: ");
        }
        check(service.update_group(unknown, no_json), 400, "LTS.0201", "log_group_id: ");
        check(api::delete_log_group(&service.tenant, unknown), 400, "LTS.0201", "log_group_id: ");
        check(api::list_log_streams(&service.tenant, unknown), 400, "LTS.0201", "log_group_id: ");
        check(service.query((unknown, &stream), no_json), 400, "LTS.0201", "log_group_id: ");
        check(service.update_stream(&group, unknown, no_json), 400, "LTS.0208", "log_stream_id: ");
        check(api::delete_log_stream(&service.tenant, &group, unknown), 400, "LTS.0208", "log_stream_id: ");
        check(service.write((&group, unknown), no_json), 400, "LTS.0208", "log_stream_id: ");
        check(service.write_timed((&group, unknown), no_json), 400, "LTS.0208", "log_stream_id: ");
        check(service.query((&group, unknown), no_json), 400, "LTS.0208", "log_stream_id: ");
    }
    check(service.create_stream(&group, no_json), 400, "LTS.0007", "");
    check(service.create_stream(&group, bad_field), 400, "LTS.0009", "");
    check(service.create_stream(&group, taken), 400, "LTS.0205", "log_stream_name: ");
    check(service.create_stream(&group, good), 400, "LTS.0206", "");
    check(service.create_group(r#"{"log_group_name": "group"}"#), 400, "LTS.0101", "log_group_name: ");
    check(service.create_group(r#"{"log_group_name": "other"}"#), 400, "LTS.0104", "");
    // And what the disk says comes last.
    api::delete_log_stream(&service.tenant, &group, &stream).unwrap();
    let full = std::io::ErrorKind::StorageFull;
    service.machine.disk.fail(Fault { op: Op::Write, nth: 1, error: full, sticky: true });
    let err = service.create_stream(&group, good).unwrap_err();
    assert_eq!((err.status(), err.code()), (500, "LTS.0202"), "{err}");
    assert!(
        !err.message().contains('/') && std::error::Error::source(&err).unwrap().to_string().contains(DIR)
    );
}

// Writing.

#[test]
fn labels_become_level_service_and_attributes_and_the_time_the_event_time() {
    let service = Service::new();
    let (group, stream) = service.stream();
    let ids = (group.as_str(), stream.as_str());
    let body = json!({"log_time_ns": 1_600_000_000_000_000_001_i64, "contents": ["first", "second", ""],
        "labels": {"level": "WARNING", "service": "front", "host": "a1", "port": 80, "tls": true, "load": 0.5}});
    let answer = service.write(ids, &body.to_string()).unwrap();
    assert_eq!(
        answer,
        json!({"errorCode": "SVCSTG.ALS.200.200", "errorMessage": "Report success.", "result": null})
    );
    let body = r#"{"contents": [{"log_time_ns": "7", "log": "third"}, {"log": "fourth"}], "labels": {}}"#;
    service.write_timed(ids, body).unwrap();
    let handle = service.tenant.stream(group.parse().unwrap(), stream.parse().unwrap()).unwrap();
    let page = handle.query(&Query::new(Timestamp::MIN..Timestamp::MAX), |_| true).unwrap();
    let seen: Vec<_> = page
        .iter()
        .map(|record| {
            let attributes: Vec<(String, String)> =
                record.attributes().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
            let event = record.event_time().map(Timestamp::as_nanos);
            let service = record.service().map(str::to_owned);
            (record.body().to_vec(), event, record.level(), service, attributes)
        })
        .collect();
    let pairs = [("host", "a1"), ("load", "0.5"), ("port", "80"), ("tls", "true")];
    let pairs = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
    let first = |body: &[u8]| {
        (
            body.to_vec(),
            Some(1_600_000_000_000_000_001),
            Some(Level::Warn),
            Some("front".into()),
            pairs.clone(),
        )
    };
    let bare = |body: &[u8], event| (body.to_vec(), event, None, None, Vec::new());
    assert_eq!(
        seen,
        [first(b"first"), first(b"second"), first(b""), bare(b"third", Some(7)), bare(b"fourth", None)]
    );
}

#[test]
fn a_write_that_breaks_a_rule_says_which_and_writes_nothing() {
    let service = Service::with(Quotas { record_bytes: 10, record_attributes: 2, ..Quotas::default() });
    let (group, stream) = service.stream();
    let ids = (group.as_str(), stream.as_str());
    let long = "x".repeat(5000);
    for (body, message) in [
        (json!({}), "contents: must hold at least one log"),
        (json!({"contents": []}), "contents: must hold at least one log"),
        (json!({"contents": "a"}), "contents: must be an array, not a string"),
        (json!({"contents": ["a", 7]}), "contents[1]: must be a string, not an integer"),
        (json!({"contents": ["a", "x".repeat(11)]}), "contents[1]: must have at most 10 bytes, not 11"),
        (json!({"contents": ["a"], "log_time_ns": "soon"}), r#"log_time_ns: must be an integer, not "soon""#),
        (json!({"contents": ["a"], "labels": []}), "labels: must be an object, not an array"),
        (json!({"contents": ["a"], "labels": {"a": {}}}), "labels.a: must be a string, not an object"),
        (json!({"contents": ["a"], "labels": {"": "x"}}), "labels.: must not have an empty name"),
        (json!({"contents": ["a"], "labels": {"level": "loud"}}), r#"labels.level: "loud" is no level"#),
        (json!({"contents": ["a"], "labels": {"service": ""}}), "labels.service: must have 1 to 128 bytes"),
        (
            json!({"contents": ["a"], "labels": {"a": long}}),
            "labels.a: must have at most 4096 bytes, not 5000",
        ),
        (json!({"contents": ["a"], "labels": {long.clone(): ""}}), "labels.xxx"),
        (
            json!({"contents": ["a"], "labels": {"a": "", "b": "", "c": ""}}),
            "labels: must be at most 2 beside",
        ),
    ] {
        check(service.write(ids, &body.to_string()), 400, "LTS.0009", message);
    }
    for (body, message) in [
        (json!({"contents": ["a"]}), "contents[0]: must be an object, not a string"),
        (json!({"contents": [{"log": "a"}, {}]}), "contents[1]: log: is required"),
        (json!({"contents": [{"log": 7}]}), "contents[0]: log: must be a string, not an integer"),
        (
            json!({"contents": [{"log": "a", "log_time_ns": []}]}),
            "contents[0]: log_time_ns: must be an integer",
        ),
    ] {
        check(service.write_timed(ids, &body.to_string()), 400, "LTS.0009", message);
    }
    let labels = json!({"a": "1", "b": "2", "level": "info", "service": "s"});
    service.write(ids, &json!({"contents": ["0123456789"], "labels": labels}).to_string()).unwrap();
    let query = json!({"start_time": 0, "end_time": i64::MAX});
    assert_eq!(service.contents(ids, query), ["0123456789"]);
}

#[test]
fn more_logs_than_a_batch_holds_are_written_all_the_same() {
    let service = Service::new();
    let (group, stream) = service.stream();
    let ids = (group.as_str(), stream.as_str());
    let many: Vec<String> = (0..2500).map(|number| number.to_string()).collect();
    service.write(ids, &json!({"contents": many}).to_string()).unwrap();
    // Each nearly as large as a record may be, with labels besides.
    let large: Vec<String> =
        (0..12).map(|number| format!("{number:2}{}", "y".repeat((1 << 20) - 2))).collect();
    let labels: Value =
        (0..100).map(|number| (format!("k{number}"), Value::from("v".repeat(4096)))).collect();
    service.write(ids, &json!({"contents": large, "labels": labels}).to_string()).unwrap();
    let handle = service.tenant.stream(group.parse().unwrap(), stream.parse().unwrap()).unwrap();
    assert!(bodies(&handle, Start::Beginning).into_iter().eq(many.into_iter().chain(large)));
}

// Reading.

/// Ten logs, one each second, and the ids of their stream.
fn ten() -> (Service, String, String) {
    let service = Service::new();
    let (group, stream) = service.stream();
    for number in 0..10 {
        let level = if number % 3 == 0 { "error" } else { "info" };
        let labels =
            json!({"level": level, "service": if number < 5 { "front" } else { "back" }, "n": number});
        let body = json!({"contents": [format!("log {number}")], "labels": labels});
        service.write((&group, &stream), &body.to_string()).unwrap();
        service.machine.clock.advance(std::time::Duration::from_secs(1));
    }
    (service, group, stream)
}

fn logs(numbers: &[i64]) -> Vec<String> {
    numbers.iter().map(|number| format!("log {number}")).collect()
}

#[test]
fn a_page_of_logs_has_the_documented_members() {
    let (service, group, stream) = ten();
    let body = json!({"start_time": NOW.to_string(), "end_time": (NOW + 60_000).to_string(), "limit": 1, "is_desc": true});
    let found = service.query((&group, &stream), &body.to_string()).unwrap();
    let line = text(&found["logs"][0]["line_num"]);
    assert_eq!((line.len(), line.bytes().all(|byte| byte.is_ascii_digit())), (19, true), "{line}");
    let labels = json!({"level": "error", "service": "back", "n": "9"});
    let log = json!({"content": "log 9", "line_num": line, "labels": labels});
    assert_eq!(found, json!({"count": 1, "logs": [log], "isQueryComplete": false}));
}

#[test]
fn times_are_ingest_times_in_milliseconds_and_both_ends_count() {
    let (service, group, stream) = ten();
    let ids = (group.as_str(), stream.as_str());
    let between = |start: i64, end: i64| service.contents(ids, json!({"start_time": start, "end_time": end}));
    assert_eq!(between(NOW + 2000, NOW + 4000), logs(&[2, 3, 4]));
    assert_eq!(between(NOW + 2000, NOW + 2000), logs(&[2]));
    assert_eq!(between(NOW + 2001, NOW + 3999), logs(&[3]));
    assert_eq!(between(NOW + 2001, NOW + 2999), logs(&[]));
    assert_eq!(between(i64::MIN, i64::MAX).len(), 10);
    // Nanoseconds within the last millisecond count as well.
    service.machine.clock.advance(std::time::Duration::from_nanos(999_999));
    service.write(ids, r#"{"contents": ["late"]}"#).unwrap();
    assert_eq!(between(NOW + 9001, NOW + 10_000), ["late"]);
}

#[test]
fn labels_and_keywords_choose_logs() {
    let (service, group, stream) = ten();
    let choose = |labels: Value, keywords: Value| {
        let body = json!({"start_time": 0, "end_time": i64::MAX, "labels": labels, "keywords": keywords});
        service.contents((&group, &stream), body)
    };
    assert_eq!(choose(json!({"level": "ERR"}), Value::Null), logs(&[0, 3, 6, 9]));
    assert_eq!(choose(json!({"level": "error", "service": "front"}), Value::Null), logs(&[0, 3]));
    assert_eq!(choose(json!({"service": "fron"}), Value::Null), logs(&[]));
    assert_eq!(choose(json!({"n": 7}), Value::Null), logs(&[7]));
    assert_eq!(choose(json!({"m": "7"}), Value::Null), logs(&[]));
    assert_eq!(choose(json!({}), json!("g 4")), logs(&[4]));
    assert_eq!(choose(json!({}), json!("G 4")), logs(&[]));
    assert_eq!(choose(Value::Null, json!("")).len(), 10);
    assert_eq!(choose(json!({"level": "error"}), json!("6")), logs(&[6]));
}

#[test]
fn pages_go_on_forwards_and_backwards_from_a_line_in_either_order() {
    let (service, group, stream) = ten();
    let ids = (group.as_str(), stream.as_str());
    let page = |is_desc: bool, search_type: &str, line_num: Option<&str>| {
        let body = json!({"start_time": 0, "end_time": i64::MAX, "limit": 3, "is_desc": is_desc,
            "search_type": search_type, "line_num": line_num});
        let found = service.query(ids, &body.to_string()).unwrap();
        let line = |at: usize| found["logs"].get(at).map(|log| text(&log["line_num"])).unwrap_or_default();
        let contents: Vec<_> =
            found["logs"].as_array().unwrap().iter().map(|log| text(&log["content"])).collect();
        assert_eq!(found["count"], contents.len());
        (contents, line(0), line(2), found["isQueryComplete"].as_bool().unwrap())
    };
    for (is_desc, pages) in
        [(false, [[0, 1, 2], [3, 4, 5], [6, 7, 8]]), (true, [[9, 8, 7], [6, 5, 4], [3, 2, 1]])]
    {
        let (first, _, last, complete) = page(is_desc, "init", None);
        assert_eq!((first, complete), (logs(&pages[0]), false));
        let (second, begin, last, complete) = page(is_desc, "forwards", Some(&last));
        assert_eq!((second, complete), (logs(&pages[1]), false));
        let (third, _, third_last, complete) = page(is_desc, "forwards", Some(&last));
        assert_eq!((third, complete), (logs(&pages[2]), false));
        let (rest, _, _, complete) = page(is_desc, "forwards", Some(&third_last));
        assert_eq!((rest, complete), (logs(if is_desc { &[0] } else { &[9] }), true));
        // The page before the second is the first, in the same order.
        let (back, _, _, complete) = page(is_desc, "backwards", Some(&begin));
        assert_eq!((back, complete), (logs(&pages[0]), true));
        let (back, _, _, complete) = page(is_desc, "backwards", Some(&third_last));
        let expected = if is_desc { [4, 3, 2] } else { [5, 6, 7] };
        assert_eq!((back, complete), (logs(&expected), false));
        // `init` begins at the beginning whatever the line.
        assert_eq!(page(is_desc, "init", Some(&last)).0, logs(&pages[0]));
    }
    // A line without a way to go is the last one of the page before.
    let (.., last, _) = page(false, "init", None);
    let body = json!({"start_time": 0, "end_time": i64::MAX, "limit": 2, "line_num": last});
    assert_eq!(service.contents(ids, body), logs(&[3, 4]));
}

#[test]
fn a_query_that_breaks_a_rule_says_which() {
    let (service, group, stream) = ten();
    let ids = (group.as_str(), stream.as_str());
    let good = json!({"start_time": 0, "end_time": 1});
    service.query(ids, &good.to_string()).unwrap();
    for (field, value, message) in [
        ("start_time", Value::Null, "start_time: is required"),
        ("end_time", Value::Null, "end_time: is required"),
        ("start_time", json!("yesterday"), r#"start_time: must be an integer, not "yesterday""#),
        ("start_time", json!(true), "start_time: must be an integer, not a boolean"),
        ("end_time", json!(-1), "end_time: must not be before start_time"),
        ("labels", json!("a"), "labels: must be an object, not a string"),
        ("labels", json!({"level": "loud"}), r#"labels.level: "loud" is no level"#),
        ("keywords", json!(["a"]), "keywords: must be a string, not an array"),
        ("line_num", json!("abc"), r#"line_num: must be an integer, not "abc""#),
        ("line_num", json!("-8"), "line_num: must be a line_num of an earlier answer"),
        ("is_desc", json!("yes"), "is_desc: must be true or false, not a string"),
        ("search_type", json!("sideways"), "search_type: must be init, forwards or backwards"),
        ("search_type", json!("forwards"), "line_num: is required to search forwards"),
        ("search_type", json!("backwards"), "line_num: is required to search forwards"),
        ("limit", json!(0), "limit: must be 1 to 5000, not 0"),
        ("limit", json!(5001), "limit: must be 1 to 5000, not 5001"),
        ("limit", json!("5"), "limit: must be an integer, not a string"),
    ] {
        let mut body = good.clone();
        body[field] = value;
        check(service.query(ids, &body.to_string()), 400, "LTS.0009", message);
    }
    for line in ["0000000000000000000", "9223372036854775807", "1", "3"] {
        let body =
            json!({"start_time": 0, "end_time": i64::MAX, "line_num": line, "search_type": "forwards"});
        service.query(ids, &body.to_string()).unwrap();
    }
}

#[test]
fn fifty_logs_come_where_the_request_names_no_limit() {
    let service = Service::new();
    let (group, stream) = service.stream();
    let contents: Vec<String> = (0..60).map(|number| format!("log {number}")).collect();
    service.write((&group, &stream), &json!({"contents": contents}).to_string()).unwrap();
    let found = service.contents((&group, &stream), json!({"start_time": 0, "end_time": i64::MAX}));
    assert_eq!(found, contents[..50]);
}
