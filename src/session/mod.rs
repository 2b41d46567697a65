//! Tail sessions: named, owned, resumable tails over the streams of a tenant.
//!
//! `registry` knows who has which session, `lifecycle` decides how long it lives, `log` and `entry` keep it on disk,
//! `merge` reads many streams as one, `polled` is what a read gives. Which streams a session covers and how they are
//! opened is the store's to say, which drives all this.

pub(crate) mod entry;
mod lifecycle;
pub(crate) mod log;
pub(crate) mod merge;
mod polled;
pub(crate) mod registry;
mod spec;

pub use polled::{Polled, PolledItem};
pub use spec::{OnExpired, Scope, SessionInfo, SessionSpec, SessionStart, SessionState};
