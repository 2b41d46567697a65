//! Bugs put into the engine on purpose, to see that the tests see them. None of it is in an ordinary build.
//!
//! Built with `--cfg tailwater_mutants`, the engine has the one bug that the environment names in `TAILWATER_MUTANT`. Without the
//! cfg, [`on`] is `false` for the compiler. `tests/mutants` tries every bug against the tests; `docs/mutants.md` says which
//! test kills which.

macro_rules! mutants {
    ($($name:literal $mutant:ident $doc:literal)*) => {
        /// A bug, and what is wrong with it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Mutant {
            $(#[doc = $doc] $mutant,)*
        }

        #[cfg(tailwater_mutants)]
        const NAMES: &[(&str, Mutant)] = &[$(($name, Mutant::$mutant),)*];
    };
}

mutants! {
    "skip-directory-sync" SkipDirectorySync "The name of a new segment is never made durable."
    "skip-header-sync" SkipHeaderSync "The header of a new segment is never made durable."
    "sync-whole-pages" SyncWholePages "A sync leaves out the page that is not full yet."
    "ack-before-sync" AckBeforeSync "`Sync` appends return as `Interval` ones do."
    "durable-before-sync" DurableBeforeSync "The durable mark rises before the sync that makes it true."
    "retry-failed-sync" RetryFailedSync "After a failed sync the next one, which has nothing to write, says Ok."
    "seal-before-footer" SealBeforeFooter "A seal becomes durable before the footer it tells of."
    "unlink-before-log-start" UnlinkBeforeLogStart "Retention removes files before it is durable that the log begins behind them."
    "retire-living-segment" RetireLivingSegment "Retention dates a segment by its first record, and the last one still lives."
    "clean-while-writing" CleanWhileWriting "The checkpoint goes on saying clean while the log goes on in another segment."
    "believe-any-era" BelieveAnyEra "What was clean before a power failure is believed to be, whatever was appended since."
    "era-untold" EraUntold "An opening does not say, durably, that the store is open."
    "closed-unseen" ClosedUnseen "A store says that it is closed though a process was killed and nobody looked at what it left."
    "overwrite-slot" OverwriteSlot "A slot of the checkpoint is written over before the other one is durable."
    "no-new-epoch" NoNewEpoch "Offsets lost in a crash are given again, in the old epoch."
    "skip-redirty" SkipRedirty "After a kill what the page cache shows is trusted, whatever the disk holds."
    "skip-zeroing" SkipZeroing "Recovery leaves the bytes of what it cuts."
    "cut-corrupt" CutCorrupt "Damage in what was durable is cut off as an unfinished write."
    "durable-bound" DurableBound "What lies right at the durable mark counts as below it."
    "half-a-batch" HalfABatch "Of a batch that a crash tore the records before the tear stay."
    "batch-by-records" BatchByRecords "Of a batch that a kill cut short the records already written are seen."
    "no-salt" NoSalt "A frame's checksum does not know its segment."
    "no-offset" NoOffset "A frame's checksum does not know its offset."
    "zero-ends-log" ZeroEndsLog "A word of zero amid the log ends it."
    "commit-word-first" CommitWordFirst "A frame's commit word is stored before its body."
    "publish-past-claim" PublishPastClaim "What is committed behind an open claim is published with the claim."
    "no-space-takes-place" NoSpaceTakesPlace "An append that found no space leaves a hole in the log."
    "ttl-inclusive" TtlInclusive "A record expires a nanosecond early."
    "expired-under-way" ExpiredUnderWay "A reader that stands before a record gets it, expired or not."
    "silent-gap" SilentGap "A reader passes a damaged frame without a word."
    "cursor-of-any-stream" CursorOfAnyStream "A cursor is taken by whichever stream it is given to."
    "diverged-resumes" DivergedResumes "A cursor to what a crash took resumes in what came after."
    "lost-wake" LostWake "A tail that is about to wait does not hear of what came since it looked."
    "commit-answered-early" CommitAnsweredEarly "A session's commit is answered before it is durable."
    "change-answered-early" ChangeAnsweredEarly "A change to names and policies is answered before it is durable."
    "clock-goes-back" ClockGoesBack "The store's time follows the wall clock back."
    "second-writer" SecondWriter "The lock of another writer is taken note of, and no more."
    "narrow-summary" NarrowSummary "A block's latest event time is its last one, so a filter may leave out what passes."
}

/// Whether the engine has this bug.
#[cfg(not(tailwater_mutants))]
#[inline(always)]
pub(crate) const fn on(_: Mutant) -> bool {
    false
}

/// Whether the engine has this bug.
#[cfg(tailwater_mutants)]
#[inline]
pub(crate) fn on(mutant: Mutant) -> bool {
    static NAMED: std::sync::OnceLock<Option<Mutant>> = std::sync::OnceLock::new();
    let named = NAMED.get_or_init(|| {
        let name = std::env::var("TAILWATER_MUTANT").ok()?;
        let found = NAMES.iter().find(|(known, _)| *known == name);
        Some(found.unwrap_or_else(|| panic!("TAILWATER_MUTANT={name} is no mutant")).1)
    });
    *named == Some(mutant)
}
