//! Every fuzz target's corpus, replayed without a fuzzer, and as it is after random edits.
//!
//! `TAILWATER_SEED` repeats a run; `TAILWATER_MUTATIONS` says how many edits each file gets. What a fuzzer finds is
//! added to the corpus as a file, under a name that says what it found.

#![cfg(feature = "sim")]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use tailwater::fuzzing::{MEND, SAME_BOOT, TARGETS};

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ x >> 31
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
}

fn files(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(corpus(target)).unwrap_or_else(|err| panic!("corpus of {target}: {err}"));
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

#[test]
fn every_corpus_file_keeps_every_promise_of_its_target() {
    for (name, target) in TARGETS {
        let files = files(name);
        assert!(!files.is_empty(), "{name} has no corpus");
        for (path, bytes) in files {
            eprintln!("{}", path.display());
            target(&bytes);
        }
    }
}

#[test]
fn every_corpus_file_keeps_every_promise_after_random_edits() {
    let number = |name, default| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let seed = number("TAILWATER_SEED", std::process::id().into());
    let mutations = number("TAILWATER_MUTATIONS", 3000);
    println!("TAILWATER_SEED={seed}");
    let mut random = Random(seed);
    for (name, target) in TARGETS {
        let files = files(name);
        // A store costs as much as a hundred parses.
        let mutations = if ["store_ops", "diff_reader"].contains(&name) { mutations / 50 } else { mutations };
        for _ in 0..mutations {
            let (path, bytes) = &files[random.below(files.len())];
            let other = &files[random.below(files.len())].1;
            let bytes = edit(bytes, other, &mut random);
            if catch_unwind(AssertUnwindSafe(|| target(&bytes))).is_err() {
                let found = std::env::temp_dir().join(format!("{name}-{seed}"));
                fs::write(&found, &bytes).unwrap();
                panic!("{name} fails on an edit of {}, kept in {}", path.display(), found.display());
            }
        }
    }
}

/// One to eight edits, mostly of single bytes, where the interesting ones are.
fn edit(bytes: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    const WORDS: [u64; 8] = [0, 1, 24, u64::MAX, 1 << 31, 0x80ff_ffff, 0x00ff_ffff, i64::MAX as u64];
    let mut bytes = bytes.to_vec();
    for _ in 0..=random.below(8) {
        if bytes.is_empty() {
            break;
        }
        let at = random.below(bytes.len());
        let length = (1 << random.below(12)).min(bytes.len() - at);
        match random.below(10) {
            0..4 => bytes[at] ^= 1 << random.below(8),
            4 => bytes[at] = random.next() as u8,
            5 => {
                let at = at & !3;
                let word = WORDS[random.below(WORDS.len())].to_le_bytes();
                let length = if random.below(2) == 0 { 4 } else { 8 }.min(bytes.len() - at);
                bytes[at..at + length].copy_from_slice(&word[..length]);
            }
            6 => bytes[at..at + length].fill([0, 0xFF][random.below(2)]),
            7 => {
                let to = random.below(bytes.len() - length + 1);
                bytes.copy_within(at..at + length, to);
            }
            8 => bytes.truncate(at),
            _ => {
                let from = random.below(other.len());
                let length = length.min(other.len() - from);
                bytes[at..at + length].copy_from_slice(&other[from..from + length]);
            }
        }
    }
    bytes
}

/// Makes the seeds from the golden store. What fuzzers added stays.
#[test]
#[ignore = "writes into the source tree"]
fn regenerate_corpus() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let put = |target: &str, name: &str, parts: &[&[u8]]| {
        let dir = corpus(target);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(name), parts.concat()).unwrap();
    };
    let number = |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let mut segments = 0;
    let mut paths = vec![golden.join("store")];
    while let Some(path) = paths.pop() {
        if path.is_dir() {
            let mut entries: Vec<_> =
                fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
            entries.sort();
            paths.extend(entries);
            continue;
        }
        let bytes = fs::read(&path).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        if !name.ends_with(".seg") {
            let name = format!("{name}-{}", number(&bytes, bytes.len() - 8) % 1000);
            put("metadata_decode", &name, &[&[MEND], &bytes]);
            continue;
        }
        segments += 1;
        let name = format!("segment-{segments}");
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        let (salt, base) = (&bytes[80..88], number(&bytes, 56));
        let log = &bytes[4096..used.next_multiple_of(8)];
        let mut at = 0;
        for frame in 0..4 {
            // Where a frame begins, by its length; of a batch, its records follow the header.
            let word = log.get(at..at + 4).map_or(0, |word| u32::from_le_bytes(word.try_into().unwrap()));
            let place = ((base + at as u64) << 3).to_le_bytes();
            if word != 0 {
                let bytes = &log[at..][..(word as usize & 0xff_ffff).min(140)];
                put("frame_parse", &format!("{name}-{frame}"), &[&[0], salt, &place, bytes]);
            }
            at += if word >> 24 & 7 == 1 { 24 } else { (word as usize & 0xff_ffff).next_multiple_of(8) };
        }
        put("frame_raw", &name, &[salt, &(base << 3).to_le_bytes(), &log[..log.len().min(1024) & !7]]);
        for flags in [0, MEND, SAME_BOOT, MEND | SAME_BOOT] {
            put("segment_recover", &format!("{name}-{flags}"), &[&[flags], &bytes[..used]]);
        }
        put("metadata_decode", &name, &[&[MEND], &bytes[..4096]]);
        let (footer, footer_bytes) = (number(&bytes, 1536 + 32) as usize, number(&bytes, 1536 + 40) as usize);
        for flags in [0, MEND] {
            if 0 < footer_bytes {
                let footer = &bytes[footer..footer + footer_bytes];
                put("index_decode", &format!("{name}-{flags}"), &[&[flags], salt, footer]);
            }
        }
    }
    let text = fs::read_to_string(golden.join("store.txt")).unwrap();
    let cursors = text.lines().map(|line| line.split(' ').next().unwrap());
    for (index, cursor) in
        cursors.filter(|text| text.parse::<tailwater::Cursor>().is_ok()).step_by(9).enumerate()
    {
        put("cursor_decode", &format!("text-{index}"), &[&[0], cursor.as_bytes()]);
        let bytes = data_encoding::BASE32_DNSSEC.decode(cursor.as_bytes()).unwrap();
        put("cursor_decode", &format!("bytes-{index}"), &[&[MEND], &bytes]);
    }
    let uuid = "2e0a4a4b-24a4-4b5e-9f5d-3c2c7f0a8a11";
    let tags = "service\ncheckout\npath\neu/west\n\u{e4} 1\n";
    let segment = "00000000000000004096.seg";
    let names = ["web-1.log", "web", "2a473356cca5487f8373be891bffc1cf", "a@b:c", uuid, "365", tags, segment];
    for (kind, text) in names.into_iter().enumerate() {
        put("name_codec", &format!("kind-{kind}"), &[&[kind as u8], text.as_bytes()]);
    }
    let filters = [
        "level>=warn service=front NOT path:/health*",
        "(HAS http.path OR body~\"took\\x41\"), n<=2.5 event_ts>2026-01-15T08:00:00Z",
        "level IN (warn,ERROR) AND !service!=back -k^=a k!~b",
        "ts<1700000000000 \"odd \\\"key\\\"\"==1e1",
    ];
    for (index, text) in filters.into_iter().enumerate() {
        put("filter_parse", &format!("text-{index}"), &[text.as_bytes()]);
    }
    let mut random = Random(1);
    for index in 0..24 {
        let length = 64 + random.below(1000);
        let program: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
        put("frame_fix", &format!("program-{index}"), &[&program]);
        for target in ["recover_diff", "diff_reader", "store_ops"] {
            put(target, &format!("program-{index}"), &[&program[..64]]);
        }
    }
}
