//! Reading a session for a connection that waits: records are read on a thread for blocking, and no thread waits for them.

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::blocking;
use super::turns::Turn;
use crate::{Error, ErrorKind, Limit, Polled, Result, Session, SessionTail};

/// A session that is being read, for whoever has the turn.
pub(super) struct Reading {
    tail: SessionTail,
    bell: Arc<Bell>,
    stopped: watch::Receiver<bool>,
    _turn: Turn,
}

/// Rung by the engine when there may be something.
struct Bell(Notify);

impl Wake for Bell {
    fn wake(self: Arc<Bell>) {
        self.0.notify_one();
    }
}

impl Reading {
    /// Begins to read. Blocks.
    ///
    /// # Errors
    /// `Busy` where somebody took the turn over meanwhile; as [`Session::tail`].
    pub(super) fn begin(
        session: &Session,
        turn: Turn,
        stopped: watch::Receiver<bool>,
        limit: Limit,
    ) -> Result<Reading> {
        let tail = session.tail(limit)?;
        // Who takes over does so before it resumes the session. A tail made behind that would not end but read along.
        if !turn.is_mine() {
            return Err(Error::new(ErrorKind::Busy, "read a tail session: another connection took it over"));
        }
        Ok(Reading { tail, bell: Arc::new(Bell(Notify::new())), stopped, _turn: turn })
    }

    /// Reads on, and waits up to `wait` for something to come; what it gives then may be nothing.
    ///
    /// # Errors
    /// `Closed` once the server is ending; as [`Session::poll`].
    pub(super) async fn next(mut self, wait: Duration) -> Result<(Reading, Polled)> {
        let deadline = Instant::now() + wait;
        loop {
            if *self.stopped.borrow() {
                return Err(ending());
            }
            let is_late = deadline <= Instant::now();
            let (reading, looked) = blocking(move || {
                let waker = Waker::from(Arc::clone(&self.bell));
                let looked = match self.tail.poll_next(&mut Context::from_waker(&waker)) {
                    Poll::Pending if is_late => Poll::Ready(self.tail.try_next()),
                    looked => looked,
                };
                (self, looked)
            })
            .await;
            self = reading;
            if let Poll::Ready(polled) = looked {
                return polled.map(|polled| (self, polled));
            }
            tokio::select! {
                () = self.bell.0.notified() => {}
                () = tokio::time::sleep_until(deadline) => {}
                // A router in a host's own server has nobody at the other end, and is never told.
                Ok(_) = self.stopped.wait_for(|stopped| *stopped) => return Err(ending()),
            }
        }
    }
}

fn ending() -> Error {
    Error::new(ErrorKind::Closed, "read a tail session: the server is ending")
}
