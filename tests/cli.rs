//! The command line, as a shell runs it: the real binary on real files.

#![cfg(feature = "cli")]

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take that does come at last.
const PATIENCE: Duration = Duration::from_secs(30);

/// A directory with a store in it, gone when dropped.
struct Place(TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tailwater"));
        command.args(arguments).current_dir(self.0.path()).env("TAILWATER_DATA", "data");
        for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"] {
            command.env_remove(name);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, arguments: &[&str], stdin: &[u8]) -> Output {
        let mut child = self.command(arguments).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        let bytes = stdin.to_vec();
        // The other end may close early, and that is its right.
        let writer = std::thread::spawn(move || drop(input.write_all(&bytes)));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        output
    }

    /// Runs what must go well and say nothing on standard error; its standard output.
    #[track_caller]
    fn ok(&self, arguments: &[&str], stdin: &[u8]) -> Vec<u8> {
        let output = self.run(arguments, stdin);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{arguments:?}: {} {said}", output.status);
        output.stdout
    }

    #[track_caller]
    fn text(&self, arguments: &[&str]) -> String {
        String::from_utf8(self.ok(arguments, b"")).unwrap()
    }

    /// Each line of what must go well, as JSON.
    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Vec<Value> {
        self.text(arguments).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Runs what must fail with `code` and one sentence on standard error; the sentence.
    #[track_caller]
    fn fails(&self, arguments: &[&str], stdin: &[u8], code: i32) -> String {
        let output = self.run(arguments, stdin);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.starts_with("error: "), "{arguments:?}: {said}");
        if code == 1 {
            assert_eq!(said.lines().count(), 1, "{arguments:?}: {said}");
        }
        said
    }

    #[track_caller]
    fn append(&self, stream: &str, stdin: &[u8]) {
        self.ok(&["append", "--create", stream], stdin);
    }

    #[track_caller]
    fn raw(&self, stream: &str) -> Vec<u8> {
        self.ok(&["read", stream, "-o", "raw"], b"")
    }
}

/// Ends a child that a failing test leaves behind.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.0.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }
}

/// Numbers drawn from a seed (xorshift64*).
struct Draw(u64);

impl Draw {
    /// A seed of its own for each run, said so that a failure can be had again with `TAILWATER_SEED`.
    fn new() -> Draw {
        let given = std::env::var("TAILWATER_SEED").ok().and_then(|text| text.parse().ok());
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
        let seed = given.unwrap_or(now) | 1;
        println!("TAILWATER_SEED={seed}");
        Draw(seed)
    }

    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % end
    }
}

/// What comes out where `input` went in: each line without its final CR, and a newline.
fn normal(input: &[u8]) -> Vec<u8> {
    lines(input).flat_map(|line| [line, b"\n"].concat()).collect()
}

fn lines(input: &[u8]) -> impl Iterator<Item = &[u8]> {
    let whole = input.split_inclusive(|byte| *byte == b'\n');
    whole.map(|line| {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        line.strip_suffix(b"\r").unwrap_or(line)
    })
}

fn numbered(count: usize) -> Vec<u8> {
    (0..count).flat_map(|index| format!("line {index} of the input\n").into_bytes()).collect()
}

#[test]
fn every_line_comes_out_as_it_went_in() {
    let mut draw = Draw::new();
    let drawn: Vec<u8> = (0..100_000).map(|_| b"\n\r\0a\xff\xc3\x1b "[draw.below(8)]).collect();
    let long = [vec![b'x'; 1 << 20], b"\r\n".to_vec(), vec![b'y'; 1 << 20]].concat();
    let inputs: [&[u8]; 12] = [
        b"",
        b"\n",
        b"a",
        b"a\n",
        b"a\nb",
        b"\n\na\n\n",
        b"a\r\nb\r\n\r\n",
        b"a\r\r\nb\rc\r",
        b"\0\0\n\0",
        b"\xff\xfe\n\xc3\x28\xed\xa0\x80",
        &drawn,
        &long,
    ];
    let place = Place::new();
    for (index, input) in inputs.iter().enumerate() {
        let stream = format!("from-stdin-{index}");
        place.append(&stream, input);
        assert!(place.raw(&stream) == normal(input), "input {index} by standard input");
        let (stream, file) = (format!("from-file-{index}"), place.path("input"));
        fs::write(&file, input).unwrap();
        place.ok(&["append", "--create", &stream, "input"], b"");
        assert!(place.raw(&stream) == normal(input), "input {index} by file");
    }
    place.ok(&["append", "--create", "two", "input", "-", "input"], b"between\n");
    assert!(place.raw("two") == [normal(&long), b"between\n".to_vec(), normal(&long)].concat());
}

#[test]
fn resume_finishes_what_was_killed_half_way() {
    let mut draw = Draw::new();
    let place = Place::new();
    let input = numbered(50_000);
    fs::write(place.path("input"), &input).unwrap();
    for round in 0..5 {
        let stream = format!("round-{round}");
        place.ok(&["stream", "create", &stream], b"");
        let mut child = Running(place.command(&["append", &stream]).spawn().unwrap());
        let half = draw.below(input.len());
        child.0.stdin.as_mut().unwrap().write_all(&input[..half]).unwrap();
        child.0.kill().unwrap();
        child.0.wait().unwrap();

        let held = place.raw(&stream);
        assert!(input.starts_with(&held), "round {round}: the records present are the first of the input");
        assert!(held.len() <= half && (held.is_empty() || held.ends_with(b"\n")));
        let report = place.json(&["append", &stream, "--resume", "input", "--json"]);
        let skipped = lines(&held).count() as u64;
        assert_eq!(report[0]["skipped"], skipped, "round {round}");
        assert_eq!(report[0]["records"], 50_000 - skipped, "round {round}");
        assert!(place.raw(&stream) == input, "round {round}");
        let report = place.json(&["append", &stream, "--resume", "input", "--json"]);
        assert_eq!(report[0]["records"], 0, "once finished there is nothing left to append");
    }
}

#[test]
fn resume_refuses_an_input_it_cannot_have_begun_with() {
    let place = Place::new();
    place.append("log", b"a\nb\nc\n");
    let said = place.fails(&["append", "log", "--resume"], b"a\nb\nX\nd\n", 1);
    assert!(said.contains("line 3"), "{said}");
    let said = place.fails(&["append", "log", "--resume"], b"a\nb\n", 1);
    assert!(said.contains("3 records") && said.contains("2 lines"), "{said}");
    assert_eq!(place.raw("log"), b"a\nb\nc\n");
}

#[test]
fn what_is_on_a_pipe_is_appended_before_the_pipe_ends_and_read_meanwhile() {
    let place = Place::new();
    place.ok(&["stream", "create", "log"], b"");
    let mut writer = Running(place.command(&["append", "log"]).spawn().unwrap());
    writer.0.stdin.as_mut().unwrap().write_all(b"first\nsecond\nunfini").unwrap();
    let begun = Instant::now();
    while place.raw("log") != b"first\nsecond\n" {
        assert!(begun.elapsed() < PATIENCE, "the lines never came");
    }

    for reading in [
        &["tail", "log"][..],
        &["stats"],
        &["verify"],
        &["verify", "log"],
        &["stream", "list"],
        &["stream", "show", "log"],
    ] {
        place.ok(reading, b"");
    }
    for writing in [
        &["append", "log"][..],
        &["stream", "create", "other"],
        &["stream", "delete", "log"],
        &["compact"],
        &["repair"],
    ] {
        let said = place.fails(writing, b"x\n", 1);
        assert!(said.contains(&writer.0.id().to_string()), "names the holder: {said}");
    }

    let mut stdin = writer.0.stdin.take().unwrap();
    stdin.write_all(b"shed").unwrap();
    drop(stdin);
    assert!(writer.0.wait().unwrap().success());
    assert_eq!(place.raw("log"), b"first\nsecond\nunfinished\n");
}

#[test]
fn a_cursor_file_resumes_exactly() {
    let mut draw = Draw::new();
    let place = Place::new();
    let input = numbered(3000);
    place.append("log", &input);
    let mut read = Vec::new();
    while read.len() < input.len() {
        let count = (1 + draw.below(700)).to_string();
        let part = place.ok(&["read", "log", "-o", "raw", "-n", &count, "--cursor-file", "cursor"], b"");
        assert!(!part.is_empty());
        read.extend(part);
    }
    assert!(read == input);
    assert!(place.ok(&["read", "log", "--cursor-file", "cursor"], b"").is_empty());
    place.append("log", b"more\n");
    assert_eq!(place.ok(&["tail", "log", "-o", "raw", "--cursor-file", "cursor"], b""), b"more\n");

    fs::write(place.path("cursor"), "no cursor").unwrap();
    let said = place.fails(&["read", "log", "--cursor-file", "cursor"], b"", 1);
    assert!(said.contains("cursor file"), "{said}");
}

#[test]
fn a_tail_follows_and_a_signal_ends_it_behind_what_it_printed() {
    for signal in ["INT", "TERM", "HUP"] {
        let place = Place::new();
        place.append("log", b"zero\none\ntwo\n");
        let follow = ["tail", "log", "-f", "-n", "2", "-o", "raw", "--cursor-file", "cursor"];
        let mut tail = Running(place.command(&follow).spawn().unwrap());
        let mut printed = BufReader::new(tail.0.stdout.take().unwrap());
        let mut text = String::new();
        for (expected, append) in [("one\n", ""), ("two\n", "three\n"), ("three\n", "four\n"), ("four\n", "")]
        {
            text.clear();
            printed.read_line(&mut text).unwrap();
            assert_eq!(text, expected);
            place.append("log", append.as_bytes());
        }
        tail.signal(signal);
        assert_eq!(tail.0.wait().unwrap().code(), Some(0), "SIG{signal}");
        text.clear();
        printed.read_to_string(&mut text).unwrap();
        assert_eq!(text, "");
        place.append("log", b"five\n");
        assert_eq!(place.ok(&["read", "log", "-o", "raw", "--cursor-file", "cursor"], b""), b"five\n");
    }
}

#[test]
fn a_closed_pipe_is_quiet() {
    let place = Place::new();
    place.append("log", &numbered(100_000));
    for format in ["text", "json", "raw"] {
        let read = ["read", "log", "-o", format, "--cursor-file", format];
        let mut child = Running(place.command(&read).spawn().unwrap());
        let mut some = [0; 10];
        child.0.stdout.take().unwrap().read_exact(&mut some).unwrap();
        let mut said = String::new();
        child.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!((child.0.wait().unwrap().code(), said.as_str()), (Some(0), ""));
    }
}

#[test]
fn wrong_usage_is_2_and_failure_is_1() {
    let place = Place::new();
    for failing in [&["read", "log"][..], &["append", "log"], &["stream", "list"], &["verify"], &["stats"]] {
        place.fails(failing, b"", 1);
        assert!(!place.path("data").exists(), "{failing:?} makes no store");
    }
    place.append("log", b"x\n");
    for failing in [
        &["read", "other"][..],
        &["append", "other"],
        &["append", "log", "missing"],
        &["append", "log", "."],
        &["stream", "create", "log"],
        &["stream", "delete", "other"],
        &["inspect", "missing.seg"],
        &["snapshot", "data"],
    ] {
        place.fails(failing, b"", 1);
    }
    let said = place.fails(&["append", "other"], b"", 1);
    assert!(said.contains("--create"), "{said}");
    for wrong in [
        &["stream", "create", ".hidden"][..],
        &["stream", "create", "a", "--ttl-in-days", "0"],
        &["stream", "create", "a", "--ttl-in-days", "366"],
        &["stream", "create", "a", "--tag", "k"],
        &["append", "log", "--durability", "most"],
        &["append", "log", "--level", "loud"],
        &["read", "log", "-n", "x"],
        &["read", "log", "-S", "yesterday"],
        &["read", "log", "--after-cursor", "nonsense"],
        &["read", "log", "-o", "xml"],
        &["frobnicate"],
    ] {
        place.fails(wrong, b"", 2);
    }
    assert_eq!(place.run(&["--help"], b"").status.code(), Some(0));
}

#[test]
fn a_line_over_the_limit_is_named_and_what_came_before_it_stays() {
    let place = Place::new();
    let long = [b"a\nb\n".to_vec(), vec![b'x'; (1 << 20) + 1], b"\nc\n".to_vec()].concat();
    fs::write(place.path("input"), long).unwrap();
    let output = place.run(&["append", "--create", "log", "input", "--json"], b"");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("input, line 3"), "{said}");
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["records"], 2);
    assert_eq!(place.raw("log"), b"a\nb\n");
}

#[test]
fn streams_are_made_listed_shown_changed_and_deleted() {
    let place = Place::new();
    let id =
        place.text(&["stream", "create", "b", "--ttl-in-days", "7", "--tag", "team=core", "--tag", "k=v=w"]);
    assert_eq!(id.trim_end().len(), 36);
    place.ok(&["stream", "create", "a"], b"");
    let list = place.json(&["stream", "list", "--json"]);
    let names: Vec<_> =
        list[0].as_array().unwrap().iter().map(|stream| stream["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a", "b"]);
    let shown = &place.json(&["stream", "show", "b", "--json"])[0];
    assert_eq!(shown["id"], id.trim_end());
    assert_eq!(shown["ttl_in_days"], 7);
    assert_eq!(shown["tags"], serde_json::json!({"team": "core", "k": "v=w"}));

    place.ok(&["stream", "update", "b", "--no-ttl", "--tag", "only=this"], b"");
    let shown = &place.json(&["stream", "show", "b", "--json"])[0];
    assert_eq!(shown["ttl_in_days"], Value::Null);
    assert_eq!(shown["tags"], serde_json::json!({"only": "this"}));
    place.ok(&["stream", "update", "b", "--ttl-in-days", "9"], b"");
    let shown = &place.json(&["stream", "show", "b", "--json"])[0];
    assert_eq!((&shown["ttl_in_days"], &shown["tags"]["only"]), (&Value::from(9), &Value::from("this")));

    place.ok(&["stream", "delete", "b"], b"");
    place.fails(&["read", "b"], b"", 1);
    assert!(place.text(&["stream", "list"]).lines().any(|line| line.starts_with("a ")));
}

#[test]
fn groups_are_made_listed_shown_changed_and_deleted() {
    let place = Place::new();
    let create = ["group", "create", "shop", "--tenant", "ours", "--ttl-in-days", "7", "--tag", "team=core"];
    let id = place.text(&create);
    assert_eq!(id.trim().len(), 36);
    place.ok(&["group", "create", "bank", "--tenant", "ours"], b"");
    let list = place.json(&["group", "list", "--tenant", "ours", "--json"]);
    let member = |group: &Value, name: &str| group[name].clone();
    assert_eq!([member(&list[0][0], "name"), member(&list[0][1], "name")], ["bank", "shop"]);
    assert_eq!([member(&list[0][0], "ttl_in_days"), member(&list[0][1], "ttl_in_days")], [30, 7]);
    assert_eq!(list[0][1]["id"], id.trim());
    // Another tenant has groups of its own, and the default tenant the one that every store has.
    assert_eq!(place.json(&["group", "list", "--tenant", "theirs", "--json"]), [serde_json::json!([])]);
    assert!(place.text(&["group", "list"]).lines().any(|line| line.starts_with("default ")));
    let update = ["group", "update", "shop", "--tenant", "ours", "--ttl-in-days", "3", "--no-tags"];
    assert!(place.text(&update).contains("3 days"));
    let shown = &place.json(&["group", "show", "shop", "--tenant", "ours", "--json"])[0];
    assert_eq!((&shown["ttl_in_days"], &shown["tags"]), (&serde_json::json!(3), &serde_json::json!({})));
    assert!(place.fails(&create, b"", 1).contains("already exists"));
    assert!(place.fails(&["group", "delete", "default"], b"", 1).contains("cannot be deleted"));
    assert!(place.fails(&["group", "show", "shop"], b"", 1).contains("no group shop"));
    place.ok(&["group", "delete", "shop", "--tenant", "ours"], b"");
    place.fails(&["group", "show", "shop", "--tenant", "ours"], b"", 1);
    place.fails(&["group", "create", "a b"], b"", 2);
    place.fails(&["group", "list", "--tenant", "a/b"], b"", 2);
}

#[test]
fn streams_of_one_name_are_told_apart_by_tenant_and_group() {
    let place = Place::new();
    let homes: [&[&str]; 3] =
        [&[], &["--tenant", "ours", "--group", "shop"], &["--tenant", "ours", "--group", "bank"]];
    place.ok(&["group", "create", "shop", "--tenant", "ours", "--ttl-in-days", "9"], b"");
    let with = |arguments: &[&'static str], home: &[&'static str]| [arguments, home].concat();
    let missing = with(&["stream", "create", "log"], homes[2]);
    assert!(place.fails(&missing, b"", 1).contains("`tailwater group create` makes it"));
    place.ok(&with(&["stream", "create", "log"], homes[1]), b"");
    assert!(place.fails(&with(&["append", "log"], homes[2]), b"x\n", 1).contains("no group bank"));
    assert!(place.fails(&with(&["append", "other"], homes[1]), b"x\n", 1).contains("--create makes it"));
    for (home, line) in homes.into_iter().zip(["of nobody\n", "of the shop\n", "of the bank\n"]) {
        // Makes the group as well.
        place.ok(&with(&["append", "log", "--create"], home), line.as_bytes());
    }
    for (home, line) in homes.into_iter().zip(["of nobody\n", "of the shop\n", "of the bank\n"]) {
        assert_eq!(place.text(&with(&["read", "log", "-o", "raw"], home)), line);
        assert_eq!(place.text(&with(&["tail", "log", "-o", "raw"], home)), line);
    }
    let show = place.text(&with(&["stream", "show", "log"], homes[1]));
    assert!(show.contains("9 days (the group's)"), "{show}");
    place.ok(&with(&["stream", "update", "log", "--ttl-in-days", "2"], homes[1]), b"");
    let ttl =
        |home| place.json(&with(&["stream", "list", "--json"], home))[0][0]["effective_ttl_in_days"].clone();
    assert_eq!(homes.map(ttl), [30, 2, 30]);
    let stats = place.text(&["stats"]);
    for name in ["log ", "ours/shop/log ", "ours/bank/log "] {
        assert!(stats.lines().any(|line| line.starts_with(name)), "{stats}");
    }
    place.ok(&with(&["stream", "delete", "log"], homes[1]), b"");
    place.fails(&with(&["read", "log"], homes[1]), b"", 1);
    assert_eq!(place.text(&with(&["read", "log", "-o", "raw"], homes[2])), "of the bank\n");
    place.ok(&["group", "delete", "bank", "--tenant", "ours"], b"");
    place.fails(&with(&["read", "log"], homes[2]), b"", 1);
    assert_eq!(place.text(&["read", "log", "-o", "raw"]), "of nobody\n");
}

#[test]
fn a_tail_of_a_service_reads_many_streams_and_those_made_later() {
    let place = Place::new();
    place.ok(&["stream", "create", "a"], b"");
    place.ok(&["stream", "create", "b"], b"");
    place.ok(&["stream", "create", "tagged", "--tag", "service=auth"], b"");
    for (stream, service, text) in
        [("a", "auth", "1"), ("b", "pay", "2"), ("b", "auth", "3"), ("a", "auth", "4")]
    {
        place.ok(&["append", stream, "--service", service], text.as_bytes());
    }
    place.ok(&["append", "tagged"], b"5");
    place.ok(&["append", "a"], b"6");
    let seen = |arguments: &[&str]| place.text(&[&["tail", "-o", "raw"], arguments].concat());
    assert_eq!(seen(&["--service", "auth", "-n", "all"]), "1\n3\n4\n5\n");
    assert_eq!(seen(&["--service", "auth", "-n", "2"]), "4\n5\n");
    assert_eq!(seen(&["--service", "*", "-n", "all"]), "1\n2\n3\n4\n5\n6\n");
    assert_eq!(seen(&["--service", "pay", "--filter", "2"]), "2\n");
    assert_eq!(seen(&["--service", "auth", "--group", "default", "-n", "1"]), "5\n");
    place.fails(&["tail"], b"", 2);
    place.fails(&["tail", "a", "--service", "auth"], b"", 2);

    let mut running =
        place.command(&["tail", "-f", "-o", "raw", "--service", "auth", "-n", "1"]).spawn().unwrap();
    let mut out = BufReader::new(running.stdout.take().unwrap());
    let _running = Running(running);
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "5\n");
    line.clear();
    // A stream made while it follows is read from its beginning.
    place.ok(&["stream", "create", "late"], b"");
    place.ok(&["append", "late", "--service", "auth"], b"7");
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "7\n");
    line.clear();
    place.ok(&["append", "a", "--service", "auth"], b"8");
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "8\n");
}

#[test]
fn json_has_what_the_record_has() {
    let place = Place::new();
    let input = concat!(
        r#"{"ts":1768464000,"level":"WARN","service":"api","msg":"slow","n":3}"#,
        "\nplain\n",
        r#"{"severity":"odd","message":""}"#,
        "\n"
    );
    let appended = place.ok(
        &[
            "append",
            "--create",
            "log",
            "--format",
            "jsonl",
            "--level",
            "info",
            "--attribute",
            "k=v",
            "--json",
        ],
        input.as_bytes(),
    );
    let summary: Value = serde_json::from_slice(&appended).unwrap();
    assert_eq!((&summary["records"], &summary["other_shape"]), (&Value::from(3), &Value::from(1)));
    assert!(summary["seconds"].is_number() && summary["bytes"].is_number());

    let read = place.json(&["read", "log", "-o", "json", "--show-cursor"]);
    let kept = |record: &Value| {
        Value::from(["level", "service", "attributes", "body"].map(|name| record[name].clone()).to_vec())
    };
    assert_eq!(kept(&read[0]), serde_json::json!(["warn", "api", {"n": "3", "k": "v"}, "slow"]));
    assert_eq!(kept(&read[1]), serde_json::json!(["info", null, {"k": "v"}, "plain"]));
    assert_eq!(kept(&read[2]), serde_json::json!(["info", null, {"severity": "odd", "k": "v"}, ""]));
    assert_eq!(read[0]["event_time"], "2026-01-15T08:00:00Z");
    assert!(read[0]["timestamp"].as_str().unwrap().ends_with('Z'));
    assert_eq!(read.len(), 4);
    assert_eq!(read[3], serde_json::json!({"cursor": summary["last_cursor"]}));
    assert_eq!(read[2]["cursor"], summary["last_cursor"]);

    let after = read[0]["cursor"].as_str().unwrap();
    assert_eq!(place.ok(&["read", "log", "-o", "raw", "--after-cursor", after], b""), b"plain\n\n");

    place.append("bytes", b"caf\xe9");
    let bytes = &place.json(&["read", "bytes", "--json"])[0];
    assert_eq!(bytes["body"], "caf\u{fffd}");
    assert_eq!(bytes["body_base64"], "Y2Fm6Q==");

    let stats = &place.json(&["stats", "--json"])[0];
    assert_eq!((&stats["records"], stats["streams"].as_array().unwrap().len()), (&Value::from(4), 2));
}

#[test]
fn filters_choose_and_limits_end() {
    let place = Place::new();
    let input: String = (0..5000)
        .map(|index| {
            let level =
                ["debug", "info", "error"][usize::from(index % 10 == 0) + usize::from(index % 1000 == 7) * 2];
            format!("level={level} msg=\"number {index}\"\n")
        })
        .collect();
    place.ok(&["append", "--create", "log", "--format", "logfmt"], input.as_bytes());
    let raw = |arguments: &[&str]| {
        let all = [arguments, &["-o", "raw"]].concat();
        String::from_utf8(place.ok(&all, b"")).unwrap()
    };
    assert_eq!(raw(&["read", "log", "-l", "error"]).lines().count(), 5);
    assert_eq!(raw(&["read", "log", "-l", "info"]).lines().count(), 505);
    assert_eq!(raw(&["read", "log", "-l", "ERR", "-n", "2"]), "number 7\nnumber 1007\n");
    assert_eq!(raw(&["read", "log", "-g", "er 4999"]), "number 4999\n");
    assert_eq!(raw(&["read", "log", "-n", "0"]), "");
    assert_eq!(raw(&["tail", "log"]).lines().next(), Some("number 4990"));
    assert_eq!(raw(&["tail", "log"]).lines().count(), 10);
    assert_eq!(raw(&["tail", "log", "-n", "2", "-l", "error"]), "number 3007\nnumber 4007\n");
    assert_eq!(raw(&["tail", "log", "-n", "9", "-l", "error"]).lines().count(), 5);
    assert_eq!(raw(&["tail", "log", "-n", "0"]), "");
    assert_eq!(raw(&["tail", "log", "-n", "all"]).lines().count(), 5000);
    assert_eq!(raw(&["read", "log", "-S", "5m"]).lines().count(), 5000);
    assert_eq!(raw(&["read", "log", "-U", "5m"]), "");
    assert_eq!(raw(&["read", "log", "-S", "2200-01-01T00:00:00Z"]), "");
    assert_eq!(raw(&["read", "log", "-S", "@0", "-U", "2200-01-01T00:00:00Z"]).lines().count(), 5000);

    // Between two appends, time separates exactly.
    let stamp =
        place.json(&["read", "log", "-n", "1", "--json"])[0]["timestamp"].as_str().unwrap().to_owned();
    let since = raw(&["read", "log", "-S", &stamp]).lines().count();
    let until = raw(&["read", "log", "-U", &stamp]).lines().count();
    assert_eq!((since, until), (5000, 0));
}

#[test]
fn text_never_lets_a_log_steer_the_terminal() {
    let place = Place::new();
    place.ok(
        &["append", "--create", "log", "--level", "error", "--attribute", "k=\x1b[2J"],
        b"\x1b]0;x\x07\xff\n",
    );
    let plain = place.text(&["read", "log"]);
    assert!(plain.ends_with(" ERROR \\x1b]0;x\\x07\\xff k=\\x1b[2J\n"), "{plain}");
    assert!(!plain.contains('\x1b'));
    let coloured = place.text(&["read", "log", "--color", "always"]);
    assert!(coloured.contains("\x1b[31mERROR") && !coloured.contains('\x07'), "{coloured:?}");
    assert!(!coloured.contains("\x1b[2J"));
    assert!(!place.text(&["stats", "--color", "never"]).contains('\x1b'));
}

#[test]
fn an_expression_chooses_and_one_that_does_not_parse_is_pointed_at() {
    let place = Place::new();
    let input: String = (0..1000)
        .map(|index| {
            let level = if index % 100 == 0 { "error" } else { "info" };
            format!(
                "level={level} service=s{} status={} msg=\"number {index}\"\n",
                index % 2,
                200 + index % 7
            )
        })
        .collect();
    place.ok(&["append", "--create", "log", "--format", "logfmt"], input.as_bytes());
    let numbers = |arguments: &[&str]| -> Vec<u32> {
        let command = [&arguments[..1], &["log", "-o", "raw"], &arguments[1..]].concat();
        place
            .text(&command)
            .lines()
            .map(|line| line.strip_prefix("number ").unwrap().parse().unwrap())
            .collect()
    };
    assert_eq!(numbers(&["read", "--filter", "level=error status>=205"]), [300, 600]);
    assert_eq!(numbers(&["read", "--filter", "level=error -status<205", "-n", "1"]), [300]);
    assert_eq!(numbers(&["read", "--filter", "service=s1 \"number 99\""]), [99, 991, 993, 995, 997, 999]);
    assert_eq!(numbers(&["tail", "--filter", "service=s0", "-n", "2"]), [996, 998]);
    // All of them have to let a record pass.
    assert_eq!(numbers(&["read", "--filter", "service=s0", "--level", "warn", "--grep", "00"]).len(), 9);
    assert_eq!(numbers(&["read", "--filter", "service=s1", "--level", "warn"]), [0_u32; 0]);
    assert_eq!(numbers(&["read", "--filter", "*", "--until", "1h"]), [0_u32; 0]);
    // What was passed over need not be looked at again.
    let cursor = |expression| {
        let printed = place.json(&["read", "log", "--filter", expression, "--json", "--show-cursor"]);
        printed.last().unwrap()["cursor"].clone()
    };
    assert_eq!(cursor("absent"), cursor(""));

    for command in ["read", "tail"] {
        let said = place.fails(&[command, "log", "--filter", "level=error OR level=loud"], b"", 2);
        let lines: Vec<&str> = said.lines().collect();
        assert!(lines[0].contains("byte 21") && lines[0].contains("expected a level"), "{said}");
        assert_eq!(lines[1..3], ["  level=error OR level=loud", "                       ^"], "{said}");
    }
}

#[test]
fn damage_is_told_by_verify_and_its_neighbours_are_read() {
    let place = Place::new();
    place.append("log", &numbered(1000));
    place.ok(&["verify"], b"");
    let segment = segments(&place.path("data")).pop().expect("a segment file");
    let mut bytes = fs::read(&segment).unwrap();
    let marker = b"line 500 of";
    let at = bytes.windows(marker.len()).position(|window| window == marker).expect("the record");
    bytes[at] ^= 1;
    let mut file = File::options().write(true).open(&segment).unwrap();
    file.write_all(&bytes).unwrap();
    drop(file);

    for verify in [&["verify"][..], &["verify", "log"], &["verify", "--json"]] {
        assert_eq!(place.run(verify, b"").status.code(), Some(1), "{verify:?}");
    }
    let read = place.run(&["read", "log", "-o", "raw"], b"");
    let said = String::from_utf8(read.stderr).unwrap();
    assert!(said.starts_with("gap: ") && said.lines().count() == 1, "{said}");
    let expected: Vec<u8> = numbered(1000)
        .split_inclusive(|byte| *byte == b'\n')
        .filter(|line| !line.starts_with(marker))
        .flatten()
        .copied()
        .collect();
    assert!(read.stdout == expected, "all but the damaged record");
    assert_eq!(read.status.code(), Some(1), "not all of it is there");
    let read = place.run(&["read", "log", "-o", "json"], b"");
    assert_eq!(read.status.code(), Some(1));
    let gaps: Vec<_> = String::from_utf8(read.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter_map(|line| line.get("gap").cloned())
        .collect();
    assert_eq!(gaps.len(), 1);
    assert_eq!(gaps[0]["reason"], "corrupt");
    assert_eq!(
        gaps[0]["end"].as_u64().unwrap() - gaps[0]["start"].as_u64().unwrap(),
        gaps[0]["bytes"].as_u64().unwrap()
    );
    assert!(gaps[0]["cursor"].is_string());
}

/// Every segment file below `dir`.
fn segments(dir: &Path) -> Vec<PathBuf> {
    files(dir).into_iter().filter(|path| path.extension().is_some_and(|end| end == "seg")).collect()
}

/// Every regular file below `dir`, by name.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => found.append(&mut files(&entry.path())),
            kind if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
    found.sort();
    found
}

#[test]
fn segments_are_inspected_and_a_snapshot_is_a_store() {
    let place = Place::new();
    let input = numbered(2000);
    place.append("log", &input);
    place.ok(&["snapshot", "copy"], b"");
    place.append("log", b"later\n");
    assert!(place.ok(&["--data", "copy", "read", "log", "-o", "raw"], b"") == input);
    place.ok(&["--data", "copy", "verify"], b"");
    for segment in segments(&place.path("copy")) {
        place.ok(&["inspect", segment.to_str().unwrap()], b"");
        assert!(place.json(&["inspect", "--json", segment.to_str().unwrap()])[0].is_object());
    }
    place.ok(&["compact"], b"");
    place.ok(&["repair"], b"");
    assert!(place.raw("log") == [&input[..], b"later\n"].concat());
}

#[test]
fn the_demo_holds_what_it_claims() {
    let place = Place::new();
    fs::write(place.path("input"), numbered(5000)).unwrap();
    let text = place.text(&["demo", "input"]);
    assert!(text.contains("Nothing lost, nothing doubled") && !text.contains("NO "), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
}

#[test]
fn every_real_file_comes_out_as_it_went_in_also_from_the_cursor_of_any_line() {
    let data = std::env::var_os("TAILWATER_TEST_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"), PathBuf::from);
    if !data.is_dir() {
        let place = data.display();
        let _ = writeln!(
            io::stderr(),
            "skipped: no log files at {place}; TAILWATER_TEST_DATA says where they are"
        );
        return;
    }
    let mut draw = Draw::new();
    let place = Place::new();
    for (index, path) in files(&data).iter().enumerate() {
        let input = fs::read(path).unwrap();
        let expected = normal(&input);
        let count = lines(&input).count();
        for format in ["text", "jsonl", "logfmt"] {
            let stream = format!("{format}-{index}");
            let file = path.to_str().unwrap();
            place.ok(&["append", "--create", &stream, "--format", format, file], b"");
            if format != "text" {
                let read = place.ok(&["read", &stream, "-o", "json"], b"");
                assert_eq!(lines(&read).count(), count, "{file} as {format}: a record a line");
                continue;
            }
            assert!(place.raw(&stream) == expected, "{file}");
            let line = 1 + draw.below(count.max(1));
            let before = place.json(&["read", &stream, "-o", "json", "-n", &line.to_string()]);
            let cursor = before.last().unwrap()["cursor"].as_str().unwrap();
            let rest = place.ok(&["read", &stream, "-o", "raw", "--after-cursor", cursor], b"");
            let behind = lines(&input).skip(line).flat_map(|line| [line, b"\n"].concat());
            assert!(rest == behind.collect::<Vec<u8>>(), "{file} behind line {line}");
        }
    }
}

#[test]
fn a_session_reads_behind_what_it_committed_and_from_there_again() {
    let place = Place::new();
    place.append("web", b"0\n");
    let create = ["session", "create", "--user", "u1", "--filter", "body!~skip", "--stream", "web"];
    let id = place.text(&create);
    let id = id.trim();
    place.append("web", b"1\nskip\n2\n");
    place.append("app", b"elsewhere\n");
    let poll = ["session", "poll", id, "-o", "raw"];
    assert_eq!(place.text(&poll), "1\n2\n");
    assert_eq!(place.text(&[&poll[..], &["-n", "1", "--commit"]].concat()), "1\n");
    assert_eq!(place.text(&poll), "2\n");
    // By a cursor that was printed with it.
    let printed = place.json(&["session", "poll", id, "-o", "json", "--show-cursor"]);
    assert_eq!(printed[0]["body"], "2");
    let cursor = printed.last().unwrap()["cursor"].as_str().unwrap();
    let shown = place.json(&["session", "commit", id, cursor, "--json"]);
    assert_eq!((&shown[0]["lastCursor"], &shown[0]["userUuid"]), (&cursor.into(), &"u1".into()));
    assert_eq!(place.text(&poll), "");
    assert!(place.fails(&["session", "commit", id, "cursor-0000001"], b"", 2).contains("cursor"));
    // One of a stream's does to begin with.
    let read = place.json(&["read", "web", "-o", "json", "-n", "1"]);
    let begin = ["--after-cursor", read[0]["cursor"].as_str().unwrap()];
    assert!(place.fails(&[&create[..4], &["--group", "none"]].concat(), b"", 1).contains("none"));
    let other = place.text(&[&create[..4], &["--group", "default"], &begin].concat());
    assert_eq!(place.text(&["session", "poll", other.trim(), "-o", "raw"]), "1\nskip\n2\nelsewhere\n");
    let listed = place.text(&["session", "list"]);
    assert!(listed.contains(id) && listed.contains(other.trim()) && listed.contains("suspended"), "{listed}");
    assert!(place.text(&["session", "list", "--tenant", "nobody"]).lines().count() == 1);
    place.fails(&["session", "show", id, "--tenant", "nobody"], b"", 1);
    place.ok(&["session", "close", id], b"");
    assert!(place.text(&["session", "show", id]).contains("closed"));
    assert!(place.fails(&poll, b"", 1).contains("closed"));
}
