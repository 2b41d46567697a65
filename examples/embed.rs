//! A host that keeps the logs of its jobs in a store of its own: appends them, follows one live, and resumes it later.
//!
//! `cargo run --example embed [DIRECTORY]`

use std::path::Path;
use std::time::Duration;

use tailwater::{
    Cursor, Durability, ErrorKind, Level, Record, Start, Step, Store, StreamName, StreamSpec, TtlDays,
};

/// The host's idea of a log backend.
struct Logs {
    store: Store,
}

impl Logs {
    fn open(dir: &Path) -> tailwater::Result<Logs> {
        Ok(Logs { store: Store::open(dir)? })
    }

    /// The stream of a job, made when it first logs. Kept for a week.
    fn job(&self, name: &str) -> tailwater::Result<tailwater::Stream> {
        match self.store.stream(name) {
            Err(err) if *err.kind() == ErrorKind::NotFound => {
                self.store.create_stream(StreamSpec::new(StreamName::new(name)?).ttl(TtlDays::new(7)?))
            }
            found => found,
        }
    }

    /// Everything a job logged behind `cursor` until nothing comes for a while; returns where to resume.
    fn follow(&self, name: &str, cursor: Option<Cursor>) -> tailwater::Result<Cursor> {
        let mut tail = self.job(name)?.tail(cursor.map_or(Start::Beginning, Start::Cursor))?;
        loop {
            match tail.next(Duration::from_millis(100))? {
                Step::Records(batch) => {
                    for record in &batch {
                        let level = record.level().unwrap_or(Level::Info);
                        println!(
                            "{} {level} {}",
                            record.ingest_time(),
                            String::from_utf8_lossy(record.body())
                        );
                    }
                }
                Step::Gap(gap) => eprintln!("{} bytes are gone: {}", gap.bytes(), gap.reason),
                Step::Passed => {}
                Step::End => return Ok(tail.cursor()),
            }
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let scratch = tempfile::tempdir()?;
    let dir = std::env::args().nth(1).map_or(scratch.path().into(), std::path::PathBuf::from);

    let logs = Logs::open(&dir)?;
    let build = logs.job("build-17")?;
    build.append(&Record::new("compiling").service("runner"))?;
    build.append(&Record::new("1 warning").level(Level::Warn).attributes(&[("crate", "parser")]))?;
    // What must survive a power failure says so.
    build.append_with(&Record::new("tests passed"), Durability::Sync)?;
    let cursor = logs.follow("build-17", None)?.to_string();
    logs.store.close()?;

    // Any time later, in any process: the text is enough.
    let logs = Logs::open(&dir)?;
    logs.job("build-17")?.append(&Record::new("published").level(Level::Info))?;
    logs.follow("build-17", Some(cursor.parse()?))?;
    Ok(())
}
