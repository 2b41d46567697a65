//! The lines the demo works on: from the files given, from /var/log, or made up.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use tailwater::MAX_BODY;

use crate::failure::{Failure, Result};
use crate::print::{Bytes, Count};

/// No more than this much is read: the demo is to take seconds.
const MAX_BYTES: usize = 64 << 20;
/// Fewer records than this say little about a p99.9: what there is is taken again and again.
const MIN_LINES: usize = 200_000;
/// How deep /var/log is searched.
const MAX_DEPTH: usize = 3;

/// Lines, and a sentence that says where they are from.
pub struct Corpus {
    pub source: String,
    pub lines: Vec<Vec<u8>>,
}

impl Corpus {
    /// Reads `files`; without any, what can be read under /var/log; without that, makes lines up.
    pub fn gather(files: &[PathBuf]) -> Result<Corpus> {
        let mut lines = Vec::new();
        let mut left = MAX_BYTES;
        let mut used = 0;
        let mut place = format!("{} given", plural(files.len(), "file"));
        for path in files {
            let bytes = read(path, left).map_err(|err| Failure::io("read", path, err))?;
            left -= bytes.len();
            lines.extend(split(&bytes));
        }
        if files.is_empty() {
            // Whatever cannot be read or is no text is not for us; that is no failure here.
            for path in text_files(Path::new("/var/log"), MAX_DEPTH) {
                if let Ok(bytes) = read(&path, left)
                    && !bytes[..bytes.len().min(8192)].contains(&0)
                    && !bytes.is_empty()
                {
                    left -= bytes.len();
                    lines.extend(split(&bytes));
                    used += 1;
                }
            }
            place = format!("{} under /var/log", plural(used, "file"));
        }
        if lines.is_empty() {
            place = "made up, since there is nothing to read".to_owned();
            lines = (0..MIN_LINES).map(made_up).collect();
        }
        let bytes: usize = lines.iter().map(Vec::len).sum();
        let mut source = format!("{} lines, {}: {place}", Count(lines.len() as u64), Bytes(bytes as u64));
        let rounds = MIN_LINES.div_ceil(lines.len()).min(MAX_BYTES / bytes.max(1)).max(1);
        if 1 < rounds {
            source += &format!(", {} times over", Count(rounds as u64));
            let once = lines.len();
            lines = lines.into_iter().cycle().take(once * rounds).collect();
        }
        source.push('.');
        Ok(Corpus { source, lines })
    }
}

fn plural(count: usize, what: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {what}{s}")
}

/// The first `limit` bytes of a file.
fn read(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The lines of a file, without those no record could hold.
fn split(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let lines = bytes.strip_suffix(b"\n").unwrap_or(bytes).split(|byte| *byte == b'\n');
    lines.filter(|line| line.len() <= MAX_BODY).map(<[u8]>::to_vec)
}

/// Regular files below `dir` whose names do not say that they hold something else than lines, by name.
fn text_files(dir: &Path, depth: usize) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut entries: Vec<_> = entries.flatten().collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.path();
        let packed = path
            .extension()
            .is_some_and(|end| ["gz", "xz", "zst", "bz2", "journal"].iter().any(|no| end == *no));
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && 1 < depth => files.append(&mut text_files(&path, depth - 1)),
            Ok(kind) if kind.is_file() && !packed => files.push(path),
            _ => {}
        }
    }
    files
}

/// A line as a web service might write it; the same for the same `index`.
fn made_up(index: usize) -> Vec<u8> {
    // A multiplicative hash is random enough to look at.
    let draw = |salt: usize, below: usize| ((index * 31 + salt).wrapping_mul(0x9e37_79b9) >> 7) % below;
    let method = ["GET", "GET", "GET", "POST", "DELETE"][draw(1, 5)];
    let path = ["/", "/cart", "/search?q=tide", "/api/v1/orders", "/healthz"][draw(2, 5)];
    let status = [200, 200, 200, 200, 304, 404, 500][draw(3, 7)];
    let line = format!(
        "10.0.{}.{} \"{method} {path} HTTP/1.1\" {status} {} {}us request={index}",
        draw(4, 256),
        draw(5, 256),
        draw(6, 100_000),
        draw(7, 900_000)
    );
    line.into_bytes()
}
