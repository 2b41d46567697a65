//! How a session lives and ends: pure decisions over its phase and the time.
//!
//! | phase     | it is so since                                   | and becomes                                               |
//! |-----------|--------------------------------------------------|-----------------------------------------------------------|
//! | open      | it was created, resumed or read                  | suspended after `session_idle` without a read; closed     |
//! | suspended | nobody read for that long, or the host restarted | open at a read, within the quota; gone after `session_kept`; closed |
//! | closed    | somebody closed it, or its tenant was deleted    | gone after ten minutes                                    |

use std::time::Duration;

use crate::session::entry::Phase;
use crate::{Error, ErrorKind, Quotas, Result, Timestamp};

/// How long a closed session is remembered, so that who still reads it is told.
const CLOSED_KEPT: Duration = Duration::from_secs(600);

/// The phase at `now` of a session that was in `phase` and read last at `last_read`; `None`: it is gone.
pub(super) fn at(phase: Phase, last_read: Timestamp, now: Timestamp, quotas: &Quotas) -> Option<Phase> {
    let over = |since: Timestamp, time: Duration| since.saturating_add(time) <= now;
    match phase {
        Phase::Open if over(last_read, quotas.session_idle) => {
            let since = last_read.saturating_add(quotas.session_idle);
            at(Phase::Suspended { since }, last_read, now, quotas)
        }
        Phase::Suspended { since } if over(since, quotas.session_kept) => None,
        Phase::Closed { since } if over(since, CLOSED_KEPT) => None,
        phase => Some(phase),
    }
}

/// Whether one more session may be open, when the tenant has `of_tenant` and the user `of_user` open ones.
///
/// # Errors
/// `QuotaExceeded`, naming the limit and the use.
pub(super) fn admit(of_tenant: usize, of_user: usize, quotas: &Quotas) -> Result<()> {
    let check = |whose: &str, used: usize, limit: u32| {
        if used < limit as usize {
            return Ok(());
        }
        let text = format!("open a tail session: the {whose} has {used} open ones, and {limit} is the limit");
        Err(Error::new(ErrorKind::QuotaExceeded { limit: u64::from(limit) }, text))
    };
    check("tenant", of_tenant, quotas.sessions_per_tenant)?;
    check("user", of_user, quotas.sessions_per_user)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000_000_000;

    fn minutes(count: i64) -> Timestamp {
        Timestamp::from_nanos(count * MINUTE)
    }

    #[track_caller]
    fn check(phase: Phase, last_read: i64, now: i64, expected: Option<Phase>) {
        assert_eq!(at(phase, minutes(last_read), minutes(now), &Quotas::default()), expected);
    }

    #[test]
    fn an_open_session_is_suspended_after_five_minutes_without_a_read_and_gone_a_day_later() {
        check(Phase::Open, 0, 4, Some(Phase::Open));
        check(Phase::Open, 0, 5, Some(Phase::Suspended { since: minutes(5) }));
        check(Phase::Open, 0, 5 + 24 * 60 - 1, Some(Phase::Suspended { since: minutes(5) }));
        check(Phase::Open, 0, 5 + 24 * 60, None);
    }

    #[test]
    fn a_suspended_session_is_gone_after_a_day_and_a_closed_one_after_ten_minutes() {
        let suspended = Phase::Suspended { since: minutes(7) };
        check(suspended, 0, 7 + 24 * 60 - 1, Some(suspended));
        check(suspended, 0, 7 + 24 * 60, None);
        let closed = Phase::Closed { since: minutes(7) };
        check(closed, 0, 16, Some(closed));
        check(closed, 0, 17, None);
    }

    #[test]
    fn a_session_is_admitted_below_both_limits_and_told_the_limit_and_the_use() {
        let quotas = Quotas::default();
        assert!(admit(9, 4, &quotas).is_ok());
        let limit = |err: Error| match err.kind() {
            ErrorKind::QuotaExceeded { limit } => (*limit, err.to_string()),
            other => panic!("{other:?}"),
        };
        let (tenants, text) = limit(admit(10, 0, &quotas).unwrap_err());
        assert!(tenants == 10 && text.contains("tenant") && text.contains("10"), "{text}");
        let (users, text) = limit(admit(9, 5, &quotas).unwrap_err());
        assert!(users == 5 && text.contains("user"), "{text}");
    }
}
