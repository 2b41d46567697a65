//! How the source is laid out, enforced: layers, the one home of `unsafe`, of files, of the time and of `bincode`.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The layers, lowest first. A file may use its own and those below it.
const LAYERS: [&[&str]; 11] = [
    &["error", "format", "mutants", "names", "quotas", "record", "sync", "time"],
    &["filter"],
    &["vfs"],
    &["segment"],
    &["stream"],
    &["catalog"],
    &["session"],
    &["store"],
    &["api"],
    &["http"],
    &["bin", "fuzzing"],
];

/// A source file: its path under `src`, its words, and what paths it names, groups spelled out.
struct Source {
    path: String,
    words: Vec<String>,
    paths: Vec<Vec<String>>,
}

impl Source {
    /// The module of the crate it belongs to.
    fn module(&self) -> &str {
        self.path.split(['/', '.']).next().expect("a path has a part")
    }

    fn says(&self, word: &str) -> bool {
        self.words.iter().any(|other| other == word)
    }

    /// Whether it names something at or under `path`.
    fn names(&self, path: &[&str]) -> bool {
        self.paths.iter().any(|other| other.windows(path.len()).any(|window| window == path))
    }
}

fn sources() -> Vec<Source> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = files(&src);
    let of_tests: Vec<PathBuf> = files.iter().flat_map(|path| modules_of_tests(path)).collect();
    let mut sources: Vec<Source> = files
        .into_iter()
        .filter(|path| !of_tests.contains(path))
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let words = words(&text);
            let path = path.strip_prefix(&src).unwrap().to_str().unwrap().to_string();
            Source { path, paths: paths(&words), words }
        })
        .collect();
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(30 < sources.len(), "the source was not found");
    sources
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let (dirs, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let files = files.into_iter().filter(|path| path.extension().is_some_and(|end| end == "rs"));
    dirs.iter().flat_map(|dir| self::files(dir)).chain(files).collect()
}

/// The files that a file declares as modules for tests only.
fn modules_of_tests(path: &Path) -> Vec<PathBuf> {
    let dir = match path.file_stem().unwrap().to_str().unwrap() {
        "mod" | "lib" | "main" => path.parent().unwrap().to_path_buf(),
        name => path.with_file_name(name),
    };
    let text = fs::read_to_string(path).unwrap();
    let text = text.replace("#[cfg(test)]\npub(crate) mod ", "#[cfg(test)]\nmod ");
    let declared = text.split("#[cfg(test)]\nmod ").skip(1).filter_map(|rest| rest.split_once(';'));
    let names = declared.map(|(name, _)| name).filter(|name| name.chars().all(|char| char.is_alphanumeric()));
    names.map(|name| dir.join(name).with_extension("rs")).collect()
}

/// Identifiers and signs, without comments, literals and the module of tests that ends a file.
fn words(text: &str) -> Vec<String> {
    let text = text.split("#[cfg(test)]\nmod tests {").next().expect("at least one part");
    let chars: Vec<char> = text.chars().collect();
    let is_word = |char: char| char.is_alphanumeric() || char == '_';
    let mut words = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let rest = &chars[at..];
        at += match rest {
            ['/', '/', ..] => rest.iter().take_while(|char| **char != '\n').count(),
            ['b', '"', ..] => 1,
            ['r', '"' | '#', ..] => raw_string(rest),
            ['"', ..] => quoted(rest),
            ['\'', '\\', ..] => 3 + rest[3..].iter().take_while(|char| **char != '\'').count() + 1,
            ['\'', _, '\'', ..] => 3,
            [first, ..] if is_word(*first) => {
                let word: String = rest.iter().take_while(|char| is_word(**char)).collect();
                let length = word.chars().count();
                words.push(word);
                length
            }
            [':', ':', ..] => {
                words.push("::".into());
                2
            }
            [first, ..] => {
                if !first.is_whitespace() {
                    words.push(first.to_string());
                }
                1
            }
            [] => unreachable!(),
        };
    }
    words
}

/// The length of the string that begins here.
fn quoted(rest: &[char]) -> usize {
    let mut at = 1;
    while rest[at] != '"' {
        at += if rest[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

/// The length of the raw string that begins here, or of the `r` where none does.
fn raw_string(rest: &[char]) -> usize {
    let fence = rest[1..].iter().take_while(|char| **char == '#').count();
    if rest.get(1 + fence) != Some(&'"') {
        return 1;
    }
    let end: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', fence)).collect();
    let inner = &rest[2 + fence..];
    let length = inner.windows(end.len()).position(|window| window == end).expect("a string ends");
    2 + fence + length + end.len()
}

/// Every path of two parts or more; `a::{b, c::d}` names `a::b` and `a::c::d`.
fn paths(words: &[String]) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    let mut at = 0;
    while at < words.len() {
        let is_start = words.get(at + 1).is_some_and(|next| next == "::");
        at = if is_start { tree(words, at, &[], &mut paths) } else { at + 1 };
    }
    paths
}

/// Reads one path, or one tree of a `use`, that begins at `at`; returns where it ends.
fn tree(words: &[String], mut at: usize, prefix: &[String], paths: &mut Vec<Vec<String>>) -> usize {
    let mut path = prefix.to_vec();
    loop {
        if words[at] == "{" {
            at += 1;
            while words[at] != "}" {
                at = if words[at] == "," { at + 1 } else { tree(words, at, &path, paths) };
            }
            return at + 1;
        }
        path.push(words[at].clone());
        at += 1;
        if words.get(at).is_none_or(|word| word != "::") {
            break;
        }
        at += 1;
    }
    if !prefix.is_empty() && words.get(at).is_some_and(|word| word == "as") {
        at += 2;
    }
    paths.push(path);
    at
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// What breaks the order of the layers.
fn breaches(sources: &[Source]) -> Vec<String> {
    let root = sources.iter().find(|source| source.path == "lib.rs").expect("there is a root");
    // What the root re-exports belongs to the module it comes from.
    let exported: HashMap<&str, &str> = root
        .paths
        .iter()
        .filter(|path| layer(&path[0]).is_some())
        .map(|path| (path[path.len() - 1].as_str(), path[0].as_str()))
        .collect();
    let mut breaches = Vec::new();
    for source in sources.iter().filter(|source| !matches!(source.module(), "lib" | "bin")) {
        let Some(own) = layer(source.module()) else {
            breaches.push(format!("{} belongs to no layer", source.path));
            continue;
        };
        for path in source.paths.iter().filter(|path| path[0] == "crate") {
            let used = path[1].as_str();
            let module =
                if layer(used).is_some() { used } else { exported.get(used).copied().unwrap_or(used) };
            if layer(module).is_none_or(|layer| own < layer) {
                breaches.push(format!("{} uses {}", source.path, path.join("::")));
            }
        }
        if source.names(&["super", "super"]) {
            breaches.push(format!("{} reaches out of its module by super::super", source.path));
        }
    }
    breaches
}

/// The files outside tests and the binary that break a rule.
#[track_caller]
fn check_only_in(homes: &[&str], breaks: impl Fn(&Source) -> bool) {
    let sources = sources();
    let library = sources.iter().filter(|source| {
        source.module() != "bin" && !source.path.ends_with("/tests.rs") && source.path != "catalog/faulty.rs"
    });
    let found: Vec<&str> = library.filter(|source| breaks(source)).map(|source| &*source.path).collect();
    assert_eq!(found, homes);
}

#[test]
fn no_file_uses_a_layer_above_its_own() {
    let breaches = breaches(&sources());
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

#[test]
fn unsafe_stands_in_one_file() {
    let sources = sources();
    let found: Vec<&str> =
        sources.iter().filter(|source| source.says("unsafe")).map(|source| &*source.path).collect();
    assert_eq!(found, ["vfs/region.rs"]);
}

#[test]
fn files_are_touched_in_one_file() {
    check_only_in(&["vfs/os.rs"], |source| {
        source.names(&["std", "fs"]) || source.names(&["rustix", "fs"]) || source.says("tempfile")
    });
}

#[test]
fn the_time_of_the_system_is_read_in_one_file() {
    check_only_in(&["vfs/os.rs"], |source| source.says("SystemTime") || source.names(&["rustix", "time"]));
}

#[test]
fn only_waits_with_a_timeout_look_at_the_steady_time() {
    // Over HTTP also what measures how long an answer took.
    let homes = ["http/metrics.rs", "http/read.rs", "stream/env.rs", "stream/tail.rs", "sync.rs"];
    check_only_in(&homes, |source| source.names(&["Instant", "now"]));
}

#[test]
fn bincode_is_named_in_one_file() {
    check_only_in(&["format/envelope.rs"], |source| source.says("bincode"));
}

#[test]
fn locks_come_from_one_file() {
    check_only_in(&["sync.rs"], |source| source.says("parking_lot"));
}

#[test]
fn nothing_sleeps() {
    let tests = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests"));
    let tests = tests.iter().map(|path| paths(&words(&fs::read_to_string(path).unwrap())));
    let paths: Vec<_> = sources().into_iter().map(|source| source.paths).chain(tests).flatten().collect();
    assert!(!paths.iter().any(|path| path.ends_with(&["thread".to_string(), "sleep".to_string()])));
}

#[test]
fn a_use_is_seen_however_it_is_written() {
    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let found: Vec<String> = paths(&words(text)).iter().map(|path| path.join("::")).collect();
        assert_eq!(found, expected);
    }
    check("use crate::stream::Core;", &["crate::stream::Core"]);
    check(
        "use crate::{Error, vfs::{self, Vfs as V}};",
        &["crate::Error", "crate::vfs::self", "crate::vfs::Vfs"],
    );
    check("fn f() -> crate::Result<'a, '\\n', ()> { a::b() }", &["crate::Result", "a::b"]);
    check("// crate::a\nlet b = \"crate::c \\\" crate::d\"; r#\"crate::e \"crate\"#", &[]);
    check("use a::b;\n#[cfg(test)]\nmod tests {\n use c::d;", &["a::b"]);
    let upward = |path: &str, text: &str| {
        let words = words(text);
        Source { path: path.into(), paths: paths(&words), words }
    };
    let lib = || upward("lib.rs", "pub use store::{Options, Store};");
    assert_eq!(
        breaches(&[lib(), upward("stream/mod.rs", "use crate::{Store, vfs};")]),
        ["stream/mod.rs uses crate::Store"]
    );
    assert_eq!(
        breaches(&[lib(), upward("format/a.rs", "fn f(a: crate::vfs::Vfs)")]),
        ["format/a.rs uses crate::vfs::Vfs"]
    );
    assert_eq!(
        breaches(&[lib(), upward("store/a.rs", "use crate::{Store, stream::Core};")]),
        Vec::<String>::new()
    );
}
