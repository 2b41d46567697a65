//! A record, as it is given to `append`, and its level.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, Result, Timestamp};

/// One record to append. It borrows everything; `append` copies once, to where readers see it.
///
/// The ingest time is not here: the engine sets it.
///
/// ```
/// use tailwater::{Level, Record};
///
/// let record = Record::new("disk almost full")
///     .level(Level::Warn)
///     .service("agent")
///     .attributes(&[("disk", "sda1"), ("used", "0.97")]);
/// assert_eq!(record.body, b"disk almost full");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Record<'a> {
    /// Any bytes, none included, up to [`MAX_BODY`](crate::MAX_BODY).
    pub body: &'a [u8],
    /// When the source says it happened.
    pub event_time: Option<Timestamp>,
    /// How severe it is.
    pub level: Option<Level>,
    /// Which service it came from: 1 to [`MAX_SERVICE`](crate::MAX_SERVICE) bytes.
    pub service: Option<&'a str>,
    /// Keys of 1 to [`MAX_KEY`](crate::MAX_KEY) bytes with values of up to [`MAX_VALUE`](crate::MAX_VALUE),
    /// [`MAX_ATTRIBUTES`](crate::MAX_ATTRIBUTES) at most. Order and repeats are kept.
    pub attributes: &'a [(&'a str, &'a str)],
}

impl<'a> Record<'a> {
    /// A record of `body` and nothing else.
    pub fn new<B: AsRef<[u8]> + ?Sized>(body: &'a B) -> Record<'a> {
        Record { body: body.as_ref(), ..Record::default() }
    }

    /// Sets the level.
    pub fn level(self, level: Level) -> Record<'a> {
        Record { level: Some(level), ..self }
    }

    /// Sets the service.
    pub fn service(self, service: &'a str) -> Record<'a> {
        Record { service: Some(service), ..self }
    }

    /// Sets the event time.
    pub fn event_time(self, time: Timestamp) -> Record<'a> {
        Record { event_time: Some(time), ..self }
    }

    /// Sets the attributes.
    pub fn attributes(self, attributes: &'a [(&'a str, &'a str)]) -> Record<'a> {
        Record { attributes, ..self }
    }
}

/// How severe a record is; later ones are worse.
///
/// ```
/// use tailwater::Level;
///
/// assert!(Level::Warn < Level::Error);
/// assert_eq!("WARNING".parse::<Level>()?, Level::Warn);
/// # Ok::<(), tailwater::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Level {
    /// `trace`
    Trace = 1,
    /// `debug`
    Debug = 2,
    /// `info`
    Info = 3,
    /// `warn`
    Warn = 4,
    /// `error`
    Error = 5,
    /// `fatal`
    Fatal = 6,
}

impl Level {
    /// Every level, mildest first.
    pub const ALL: [Level; 6] =
        [Level::Trace, Level::Debug, Level::Info, Level::Warn, Level::Error, Level::Fatal];

    /// Its name, in lower case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Level::Trace => "trace",
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
            Level::Fatal => "fatal",
        }
    }

    pub(crate) fn from_repr(repr: u8) -> Option<Level> {
        Level::ALL.get(usize::from(repr).checked_sub(1)?).copied()
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Reads a level's name or alias (`warning`, `err`, `critical`, `crit`, `panic`, `information`, `notice`) in any case.
impl FromStr for Level {
    type Err = Error;

    fn from_str(text: &str) -> Result<Level> {
        const ALIASES: [(&str, Level); 7] = [
            ("warning", Level::Warn),
            ("err", Level::Error),
            ("critical", Level::Fatal),
            ("crit", Level::Fatal),
            ("panic", Level::Fatal),
            ("information", Level::Info),
            ("notice", Level::Info),
        ];
        let names = Level::ALL.iter().map(|level| (level.as_str(), *level));
        let found = names.chain(ALIASES).find(|(name, _)| name.eq_ignore_ascii_case(text));
        found.map(|(_, level)| level).ok_or_else(|| Error::invalid("level", format!("{text:?} is no level")))
    }
}
