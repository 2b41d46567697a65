//! A file that holds a cursor, so that the next run goes on where this one ended.

use std::io::{self, Write};
use std::path::Path;

use tailwater::Cursor;

use crate::failure::{Failure, Result};

/// The cursor in the file at `path`; `None` where there is no file.
pub fn load(path: &Path) -> Result<Option<Cursor>> {
    match std::fs::read_to_string(path) {
        Ok(text) => match text.trim().parse() {
            Ok(cursor) => Ok(Some(cursor)),
            Err(err) => Err(Failure::Said(format!("read cursor file {}: {err}", path.display()))),
        },
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(err) => Err(Failure::io("read cursor file", path, err)),
    }
}

/// Replaces the file as a whole: a crash leaves the old cursor or the new one, and either is safe to go on from.
pub fn save(path: &Path, cursor: Cursor) -> Result<()> {
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let replace = || {
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        writeln!(file, "{cursor}")?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|err| err.error)
    };
    replace().map(drop).map_err(|err| Failure::io("write cursor file", path, err))
}
