//! What a command can fail with, and the one sentence and exit code it ends with.

use std::path::Path;
use std::{fmt, io};

use tailwater::{Error, ErrorKind};

/// The result of a command, or of a part of one.
pub type Result<T> = std::result::Result<T, Failure>;

/// Why a command ended early.
#[derive(Debug)]
pub enum Failure {
    /// The engine refused.
    Engine(Error),
    /// Something outside the engine went wrong; the sentence to print.
    Said(String),
    /// Whoever read our output went away. Nothing is wrong: the command ends quietly.
    ClosedPipe,
}

impl Failure {
    /// A call to the operating system failed: `io("read", path, err)`.
    pub fn io(doing: &str, path: &Path, err: io::Error) -> Failure {
        Failure::Said(format!("{doing} {}: {err}", path.display()))
    }
}

impl From<Error> for Failure {
    fn from(err: Error) -> Failure {
        Failure::Engine(err)
    }
}

/// The sentence behind `error: `. Where the engine knows a position to go on from, it ends with how to ask for it.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let err = match self {
            Failure::Engine(err) => err,
            Failure::Said(sentence) => return f.write_str(sentence),
            Failure::ClosedPipe => return f.write_str("write to standard output: it was closed"),
        };
        write!(f, "{err}")?;
        match err.kind() {
            ErrorKind::CursorExpired { oldest: cursor, .. }
            | ErrorKind::CursorDiverged { safe: cursor }
            | ErrorKind::CursorAhead { tail: cursor } => write!(f, "; go on with --after-cursor {cursor}"),
            _ => Ok(()),
        }
    }
}
