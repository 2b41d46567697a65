//! Tailwater: an embedded, append-only log storage engine.
//!
//! A host process links this crate, appends records to log streams, and reads them back through cursors that anyone can
//! resume at any time, for as long as the data lives.
//!
//! ```
//! # fn main() -> tailwater::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! use tailwater::{Level, Record, Start, Step, Store, StreamName, StreamSpec, TtlDays};
//!
//! let store = Store::open(dir.path())?;
//! let spec = StreamSpec::new(StreamName::new("web")?).ttl(TtlDays::new(7)?);
//! let web = store.create_stream(spec)?;
//! web.append(&Record::new("GET /health 200").level(Level::Info).service("front"))?;
//!
//! let mut reader = web.read(Start::Beginning)?;
//! while let Step::Records(batch) = reader.next()? {
//!     for record in &batch {
//!         println!("{} {}", record.ingest_time(), String::from_utf8_lossy(record.body()));
//!     }
//! }
//! let resume_here = reader.cursor().to_string();
//! store.close()?;
//! # assert!(!resume_here.is_empty());
//! # Ok(())
//! # }
//! ```
//!
//! What it promises, and under which assumptions, stands in the README and in `docs/design.md`; what it writes, byte
//! by byte, in `docs/format.md`.

#![deny(missing_docs)]

pub mod api;
mod catalog;
mod error;
mod filter;
mod format;
#[cfg(any(test, feature = "sim"))]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(feature = "http")]
pub mod http;
mod mutants;
mod names;
mod quotas;
mod record;
mod segment;
mod session;
mod store;
mod stream;
mod sync;
mod time;
#[cfg(not(any(test, feature = "sim")))]
mod vfs;
#[cfg(any(test, feature = "sim"))]
pub mod vfs;

pub use error::{Error, ErrorKind, Result};
pub use filter::Filter;
pub use format::cursor::Cursor;
pub use format::frame::{
    Attributes, MAX_ATTRIBUTES, MAX_BATCH, MAX_BATCH_RECORDS, MAX_BODY, MAX_KEY, MAX_RECORD, MAX_SERVICE,
    MAX_VALUE,
};
pub use format::session_cursor::SessionCursor;
pub use names::{GroupId, GroupName, SessionId, StreamId, StreamName, Tags, TenantId, TtlDays, UserId};
pub use quotas::Quotas;
pub use record::{Level, Record};
pub use session::{
    OnExpired, Polled, PolledItem, Scope, SessionInfo, SessionSpec, SessionStart, SessionState,
};
pub use store::{
    GroupInfo, GroupSpec, GroupUpdate, Options, RepairReport, SegmentReport, Session, SessionTail, Store,
    StoreStats, StreamInfo, StreamSpec, StreamUpdate, Tenant, TickReport, inspect, repair,
};
pub use stream::{
    Appended, Batch, Damage, Durability, Gap, GapReason, Limit, Page, Query, Reader, RecordRef, Records,
    Recovery, Start, Step, Steps, Stream, StreamStats, Tail, Verify, VerifyReport,
};
pub use time::Timestamp;
pub use vfs::{Clock, Vfs};

/// The README's code, compiled and run with the documentation's.
#[doc = include_str!("../README.md")]
#[cfg(doctest)]
struct ReadmeDoctests;
