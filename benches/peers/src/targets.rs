//! What the engine is held to, as data: the table of the project's aims, one line each.

/// One aim.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    pub text: &'static str,
    pub quantity: Quantity,
    pub bound: Bound,
    pub unit: &'static str,
}

/// What is compared, round by round.
#[derive(Debug, Clone, Copy)]
pub enum Quantity {
    /// How many times the limit of the same round.
    OfLimit(Key),
    /// A figure, and by what it is divided for its unit.
    Value(Key, f64),
    /// How many times better than the best of some peers in the same round.
    AheadOf(Key, Among),
}

/// Which figure of a work.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    pub work: &'static str,
    pub case: &'static str,
    /// Where a work has several.
    pub unit: Option<&'static str>,
    /// A percentile; else the figure itself.
    pub of: Option<&'static str>,
}

/// Which peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Among {
    All,
    /// Those whose record is readable by others when the call returns.
    Readable,
    /// Those that hold what they read against a checksum.
    Verifying,
}

#[derive(Debug, Clone, Copy)]
pub enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

use Among::{All, Readable, Verifying};
use Bound::{AtLeast, AtMost};
use Quantity::{AheadOf, OfLimit, Value};

const fn key(work: &'static str, case: &'static str) -> Key {
    Key { work, case, unit: None, of: None }
}

const fn percentile(work: &'static str, case: &'static str, of: &'static str) -> Key {
    Key { work, case, unit: None, of: Some(of) }
}

const fn unit(work: &'static str, case: &'static str, unit: &'static str) -> Key {
    Key { work, case, unit: Some(unit), of: None }
}

const fn target(text: &'static str, quantity: Quantity, bound: Bound, unit: &'static str) -> Target {
    Target { text, quantity, bound, unit }
}

const LIMIT: &str = "x limit";
const BEST: &str = "x best peer";
const US: f64 = 1e3;

pub const ALL: &[Target] = &[
    target("append 256 B, 1 GiB sustained", OfLimit(key("append", "256")), AtMost(1.5), LIMIT),
    target("append 256 B, p99.9", Value(percentile("latency", "256", "p99.9"), US), AtMost(0.5), "us"),
    target("append 256 B, p99.99", Value(percentile("latency", "256", "p99.99"), US), AtMost(5.0), "us"),
    target(
        "append 256 B, beside what others can read at once",
        AheadOf(key("append", "256"), Readable),
        AtLeast(1.5),
        BEST,
    ),
    target("append 64 B", OfLimit(key("append", "64")), AtMost(2.0), LIMIT),
    target("append 1 KiB", OfLimit(key("append", "1024")), AtMost(1.4), LIMIT),
    target("append 16 KiB", OfLimit(key("append", "16384")), AtMost(1.3), LIMIT),
    target("append batches of 100 x 256 B", OfLimit(key("batch", "256")), AtMost(1.2), LIMIT),
    target("2 threads on one stream", OfLimit(key("threads", "2")), AtMost(2.2), LIMIT),
    target(
        "2 threads on one stream, p99.9",
        Value(percentile("threads", "2", "p99.9"), US),
        AtMost(2.0),
        "us",
    ),
    target("8 threads on one stream", OfLimit(key("threads", "8")), AtMost(2.2), LIMIT),
    target(
        "8 threads on one stream, p99.9",
        Value(percentile("threads", "8", "p99.9"), US),
        AtMost(2.0),
        "us",
    ),
    target("durable, 1 thread", OfLimit(key("durable", "1")), AtMost(1.1), LIMIT),
    target("durable, 1 thread", AheadOf(key("durable", "1"), All), AtLeast(1.1), BEST),
    target("durable, 8 threads", AheadOf(key("durable", "8"), All), AtLeast(1.1), BEST),
    target("durable, 64 threads", AheadOf(key("durable", "64"), All), AtLeast(1.1), BEST),
    target("verified scan, warm", OfLimit(key("scan", "256")), AtMost(1.15), LIMIT),
    target("verified scan, beside what verifies", AheadOf(key("scan", "256"), Verifying), AtLeast(2.0), BEST),
    target("random read, warm", Value(key("random", "256"), US), AtMost(0.4), "us"),
    target("open 1 GiB, clean", Value(key("open-1GiB", "clean"), 1.0), AtMost(2.0), "ms"),
    target("open 1 GiB, after kill -9", Value(key("open-1GiB", "killed"), 1.0), AtMost(60.0), "ms"),
    target("append to seen, reader spinning", Value(key("seen", "spinning"), US), AtMost(1.0), "us"),
    target("append to seen, reader parked", OfLimit(key("seen", "parked")), AtMost(1.2), "x primitive"),
    target("100,000 streams, open", Value(unit("streams", "100000", "open, ms"), 1e3), AtMost(1.0), "s"),
    target(
        "100,000 streams, RSS of an idle one",
        Value(unit("streams", "100000", "idle: RSS, KiB/stream"), 1.0),
        AtMost(2.0),
        "KiB",
    ),
    target(
        "100,000 streams, append to a random one, store just opened, p50",
        Value(unit("streams", "100000", "append to an idle one, us"), 1.0),
        AtMost(30.0),
        "us",
    ),
    target(
        "100,000 streams, append to one that idled for seconds, p50",
        Value(unit("streams", "100000", "append once idle, us"), 1.0),
        AtMost(30.0),
        "us",
    ),
    target(
        "100,000 streams, disk of one",
        Value(unit("streams", "100000", "disk, KiB/stream"), 1.0),
        AtMost(64.0),
        "KiB",
    ),
];

impl Bound {
    pub fn holds(self, value: f64) -> bool {
        match self {
            AtMost(most) => value <= most,
            AtLeast(least) => least <= value,
        }
    }
}
