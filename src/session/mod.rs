//! Tail sessions: named, owned, resumable tails over the streams of a tenant.

mod spec;

pub use spec::{OnExpired, Scope, SessionInfo, SessionSpec, SessionStart, SessionState};
