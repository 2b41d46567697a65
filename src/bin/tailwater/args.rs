//! What can be typed: every command, its arguments and their help.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tailwater::api::LastCursor;
use tailwater::{
    Cursor, Durability, GroupName, Level, SessionCursor, SessionId, StreamName, TenantId, Timestamp, TtlDays,
    UserId,
};

use crate::{expression, when};

/// Keeps log streams on disk: append records, read them back, resume from a cursor
#[derive(Debug, Parser)]
#[command(
    name = "tailwater",
    version,
    max_term_width = 100,
    after_help = "\
Exit status: 0 when all went well, 1 when something failed, or when `verify`, `inspect`
or `read` came by damage, 2 for wrong usage."
)]
pub struct Arguments {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// The heading above what every command takes.
const GLOBAL: &str = "Options of every command";

#[derive(Debug, Args)]
pub struct Global {
    /// Directory of the store
    #[arg(long, value_name = "DIR", env = "TAILWATER_DATA", default_value = "./tailwater-data")]
    #[arg(global = true, help_heading = GLOBAL)]
    pub data: PathBuf,
    /// When to use colour; `auto` honours NO_COLOR and leaves pipes plain
    #[arg(long, value_name = "WHEN", default_value = "auto", global = true, help_heading = GLOBAL)]
    pub color: clap::ColorChoice,
    /// Print JSON instead of text
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create, list, show, change and delete groups of streams
    #[command(subcommand)]
    Group(GroupCommand),
    /// Create, list, show, change and delete streams
    #[command(subcommand)]
    Stream(StreamCommand),
    /// Append lines of files or of standard input, one record a line
    Append(AppendArguments),
    /// Print a stream from its beginning
    Read(ReadArguments),
    /// Print the last records of a stream, and with -f those that come
    Tail(TailArguments),
    /// Create, list, show, read, commit and close tail sessions
    #[command(subcommand)]
    Session(SessionCommand),
    /// Serve the log-stream API and tail sessions over HTTP, until Ctrl-C
    Serve(ServeArguments),
    /// Check every byte of the store, or of one stream, while others may be using it
    Verify {
        /// Only this stream
        stream: Option<String>,
    },
    /// Set damaged files aside so that the rest can be used; deletes nothing
    Repair,
    /// Make a consistent copy of the store in DIR, which must not exist
    Snapshot {
        /// Where to put the copy; hard links make it cheap on the same filesystem
        dir: PathBuf,
    },
    /// Count what the store holds, stream by stream
    Stats,
    /// Describe one segment file; needs no store
    Inspect {
        /// A file whose name ends in .seg
        segment_file: PathBuf,
    },
    /// Apply retention now: drop what has expired and free its space
    Compact,
    /// Live through the whole life of a log in under a minute, in a temporary directory
    Demo {
        /// Log files to use; without any, those readable under /var/log, else lines made up
        files: Vec<PathBuf>,
    },
}

/// Which group.
#[derive(Debug, Clone, Args)]
pub struct Home {
    /// Whose streams
    #[arg(long, value_name = "ID", default_value = "default")]
    pub tenant: TenantId,
    /// Name of the group they are in; `default` without it
    #[arg(long, value_name = "NAME")]
    pub group: Option<String>,
}

#[derive(Debug, Args)]
pub struct GroupArguments {
    /// Whose groups
    #[arg(long, value_name = "ID", default_value = "default")]
    pub tenant: TenantId,
}

#[derive(Debug, Subcommand)]
pub enum GroupCommand {
    /// Create a group, and the store if need be; prints the group's id
    Create {
        #[command(flatten)]
        of: GroupArguments,
        /// 1-64 letters, digits, `-`, `_` and `.`
        #[arg(value_parser = clap::value_parser!(GroupName))]
        name: GroupName,
        /// Days a record stays visible in streams that say nothing else, 1-365; 30 without it
        #[arg(long, value_name = "N", value_parser = ttl)]
        ttl_in_days: Option<TtlDays>,
        /// A tag; may be repeated
        #[arg(long = "tag", value_name = "K=V", value_parser = pair)]
        tags: Vec<(String, String)>,
    },
    /// List a tenant's groups
    List {
        #[command(flatten)]
        of: GroupArguments,
    },
    /// Show one group
    Show {
        #[command(flatten)]
        of: GroupArguments,
        /// The group's name
        name: String,
    },
    /// Change a group's TTL or tags; acts at once on the streams that follow it
    Update {
        #[command(flatten)]
        of: GroupArguments,
        /// The group's name
        name: String,
        /// Days a record stays visible in streams that say nothing else, 1-365
        #[arg(long, value_name = "N", value_parser = ttl)]
        ttl_in_days: Option<TtlDays>,
        /// A tag; may be repeated. Those given replace all the group had
        #[arg(long = "tag", value_name = "K=V", value_parser = pair)]
        tags: Vec<(String, String)>,
        /// Remove all tags
        #[arg(long, conflicts_with = "tags")]
        no_tags: bool,
    },
    /// Delete a group with all its streams and their records
    Delete {
        #[command(flatten)]
        of: GroupArguments,
        /// The group's name
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum StreamCommand {
    /// Create a stream, and the store if need be; prints the stream's id
    Create {
        #[command(flatten)]
        home: Home,
        /// 1-64 letters, digits, `-`, `_` and `.`
        #[arg(value_parser = clap::value_parser!(StreamName))]
        name: StreamName,
        /// Days a record stays visible, 1-365; without it the group's holds, also when that changes
        #[arg(long, value_name = "N", value_parser = ttl)]
        ttl_in_days: Option<TtlDays>,
        /// A tag; may be repeated
        #[arg(long = "tag", value_name = "K=V", value_parser = pair)]
        tags: Vec<(String, String)>,
        /// Bytes of disk from which on the oldest segments go
        #[arg(long, value_name = "N")]
        max_bytes: Option<u64>,
        /// When appends that do not say it return: buffered, interval or sync
        #[arg(long, value_name = "HOW")]
        durability: Option<Durability>,
    },
    /// List a group's streams
    List {
        #[command(flatten)]
        home: Home,
    },
    /// Show one stream
    Show {
        #[command(flatten)]
        home: Home,
        /// The stream's name
        name: String,
    },
    /// Change a stream's TTL or tags; acts at once on the records it holds
    Update {
        #[command(flatten)]
        home: Home,
        /// The stream's name
        name: String,
        /// Days a record stays visible, 1-365
        #[arg(long, value_name = "N", value_parser = ttl)]
        ttl_in_days: Option<TtlDays>,
        /// Follow the group's TTL again
        #[arg(long, conflicts_with = "ttl_in_days")]
        no_ttl: bool,
        /// A tag; may be repeated. Those given replace all the stream had
        #[arg(long = "tag", value_name = "K=V", value_parser = pair)]
        tags: Vec<(String, String)>,
        /// Remove all tags
        #[arg(long, conflicts_with = "tags")]
        no_tags: bool,
        /// Bytes of disk from which on the oldest segments go
        #[arg(long, value_name = "N")]
        max_bytes: Option<u64>,
        /// When appends that do not say it return: buffered, interval or sync
        #[arg(long, value_name = "HOW")]
        durability: Option<Durability>,
    },
    /// Delete a stream with all its records
    Delete {
        #[command(flatten)]
        home: Home,
        /// The stream's name
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum SessionCommand {
    /// Create a tail session, and the store if need be; prints the session's id
    Create(CreateSessionArguments),
    /// List a tenant's sessions, oldest first
    List {
        /// Whose
        #[arg(long, value_name = "ID", default_value = "default")]
        tenant: TenantId,
    },
    /// Show one session
    Show(OneSession),
    /// Print what comes behind the committed position; nothing is committed unless asked for
    Poll {
        #[command(flatten)]
        session: OneSession,
        /// Print at most this many records
        #[arg(short = 'n', long = "lines", value_name = "N", default_value_t = 100)]
        #[arg(value_parser = clap::value_parser!(u32).range(1..))]
        lines: u32,
        /// Milliseconds to wait for something to come
        #[arg(long, value_name = "N", default_value_t = 0)]
        wait_ms: u64,
        /// Commit the position behind what was printed
        #[arg(long)]
        commit: bool,
        #[command(flatten)]
        output: OutputArguments,
    },
    /// Make a position the committed one: where reading begins from then on
    Commit {
        #[command(flatten)]
        session: OneSession,
        /// A cursor that this session gave
        cursor: SessionCursor,
    },
    /// Close a session; it is forgotten after ten minutes
    Close(OneSession),
}

/// Which session.
#[derive(Debug, Args)]
pub struct OneSession {
    /// The session's id
    pub id: SessionId,
    /// Whose it is
    #[arg(long, value_name = "ID", default_value = "default")]
    pub tenant: TenantId,
}

/// What `session create` takes.
#[derive(Debug, Args)]
pub struct CreateSessionArguments {
    /// Whose session it is
    #[arg(long, value_name = "ID", default_value = "default")]
    pub tenant: TenantId,
    /// Who creates it
    #[arg(long, value_name = "ID")]
    pub user: UserId,
    /// Only records of this service, and those without one in streams whose tag `service` names it
    #[arg(long)]
    pub service: Option<String>,
    /// Only records that this expression lets pass, as `level>=warn`
    #[arg(long, value_name = "EXPR", value_parser = expression::parse)]
    pub filter: Option<tailwater::Filter>,
    /// Begin behind the record this cursor stands behind, of a session or of a stream; without it, now
    #[arg(long, value_name = "C")]
    pub after_cursor: Option<LastCursor>,
    /// Only streams of this group
    #[arg(long, value_name = "NAME")]
    pub group: Option<String>,
    /// Only this stream of the group, or of the group `default`; may be repeated
    #[arg(long = "stream", value_name = "NAME")]
    pub streams: Vec<String>,
}

/// What `serve` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
Prints the address it listens on. Ctrl-C and SIGTERM end it once what was begun is finished; once more of the same ends \
it at once.")]
pub struct ServeArguments {
    /// Where to listen; port 0: any that is free
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Who may do what: `token tenant[,tenant..]` a line. Without it everybody may do anything, and only this machine can connect
    #[arg(long, value_name = "FILE")]
    pub tokens: Option<PathBuf>,
}

/// What `append` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
One line is one record, empty ones included, and so is a last line that no newline ends. The bytes of a line are \
kept exactly, except that one carriage return at its end is stripped. A line over 1 MiB is an error: what came \
before it stays appended, and the summary counts it.

jsonl and logfmt lift into the record what they find: level (level, severity, lvl), service (service, \
service.name), event time (time, timestamp, ts, @timestamp: RFC 3339, or seconds to nanoseconds since 1970 by \
their size) and body (message, msg, body; the whole line where there is none). The rest become attributes, nested \
values as JSON. A line of another shape becomes the body as it stands, and so does one with more or longer \
attributes than a record holds; both are counted.")]
pub struct AppendArguments {
    #[command(flatten)]
    pub home: Home,
    /// Name of the stream
    pub stream: String,
    /// Files to read in turn; `-` or none: standard input
    pub files: Vec<PathBuf>,
    /// How to take a line apart
    #[arg(long, default_value = "text")]
    pub format: Format,
    /// Level of the records whose line gives none
    #[arg(long)]
    pub level: Option<Level>,
    /// Service of the records whose line gives none
    #[arg(long)]
    pub service: Option<String>,
    /// An attribute for every record; may be repeated
    #[arg(long = "attribute", value_name = "K=V", value_parser = pair)]
    pub attributes: Vec<(String, String)>,
    /// What an append waits for: buffered, interval or sync; without it, what the stream was made with.
    /// Unless buffered, everything is on disk when the command ends
    #[arg(long)]
    pub durability: Option<Durability>,
    /// Create the store, the group and the stream where they do not exist
    #[arg(long)]
    pub create: bool,
    /// Count the records the stream holds, skip as many lines of input, and append the rest: finishes what was
    /// interrupted. The stream must still hold its first record
    #[arg(long)]
    pub resume: bool,
}

/// How input lines are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// The line is the body
    Text,
    /// A JSON object a line
    Jsonl,
    /// `key=value key="quoted value"`
    Logfmt,
}

/// What `read` takes.
#[derive(Debug, Args)]
pub struct ReadArguments {
    #[command(flatten)]
    pub home: Home,
    /// Name of the stream
    pub stream: String,
    /// Print at most this many records, or `all`
    #[arg(short = 'n', long = "lines", value_name = "N|all", default_value = "all", value_parser = lines)]
    pub lines: Lines,
    #[command(flatten)]
    pub from: From,
    #[command(flatten)]
    pub filter: Filter,
    #[command(flatten)]
    pub output: OutputArguments,
}

/// What `tail` takes.
#[derive(Debug, Args)]
pub struct TailArguments {
    #[command(flatten)]
    pub home: Home,
    /// Name of the stream; with --service none
    #[arg(required_unless_present = "service")]
    pub stream: Option<String>,
    /// Instead of one stream, all of the tenant's (or of the group's) records of this service, and of streams whose tag `service`
    /// is this those that name none, in the order in which they came in as far as this process can tell; `*`: any service
    #[arg(long, value_name = "NAME", conflicts_with_all = ["stream", "after_cursor", "cursor_file", "show_cursor"])]
    pub service: Option<String>,
    /// Keep printing records as they come, until Ctrl-C
    #[arg(short, long)]
    pub follow: bool,
    /// Begin this many matching records before the end, or `all` (default 10). Not used when a cursor or --since says
    /// where to begin
    #[arg(short = 'n', long = "lines", value_name = "N|all", value_parser = lines)]
    pub lines: Option<Lines>,
    #[command(flatten)]
    pub from: From,
    #[command(flatten)]
    pub filter: Filter,
    #[command(flatten)]
    pub output: OutputArguments,
}

/// Where to begin.
#[derive(Debug, Args)]
pub struct From {
    /// Begin after the record this cursor stands behind
    #[arg(long, value_name = "C", conflicts_with_all = ["cursor_file", "since"])]
    pub after_cursor: Option<Cursor>,
    /// Begin after the cursor in this file, if it exists; on exit and on Ctrl-C the position reached is saved there
    #[arg(long, value_name = "F")]
    pub cursor_file: Option<PathBuf>,
    /// Begin with the first record ingested then or later: RFC 3339, `5m` (ago), or `@epoch`
    #[arg(short = 'S', long, value_name = "TIME", value_parser = when::parse)]
    pub since: Option<Timestamp>,
}

/// What to leave out.
#[derive(Debug, Args)]
pub struct Filter {
    /// End before the first record ingested then or later
    #[arg(short = 'U', long, value_name = "TIME", value_parser = when::parse)]
    pub until: Option<Timestamp>,
    /// Only records of this level or worse: trace, debug, info, warn, error, fatal
    #[arg(short, long)]
    pub level: Option<Level>,
    /// Only records whose body holds these bytes
    #[arg(short, long, value_name = "TEXT")]
    pub grep: Option<String>,
    /// Only records that this expression lets pass, as `level>=warn service=api NOT path:/health*`
    #[arg(long = "filter", value_name = "EXPR", value_parser = expression::parse)]
    pub expression: Option<tailwater::Filter>,
}

/// How to print.
#[derive(Debug, Args)]
pub struct OutputArguments {
    /// text: a line for people, with event time (else ingest time) and control characters escaped; json: an object a
    /// line; raw: the body's bytes and a newline. Gaps go to stderr, in json to stdout as objects
    #[arg(short, long, default_value = "text")]
    pub output: Output,
    /// After the last record, print the cursor behind it: `-- cursor: C`, in json `{"cursor":"C"}`; with raw on stderr
    #[arg(long)]
    pub show_cursor: bool,
}

/// How records are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// A line for people
    Text,
    /// One object a line
    Json,
    /// Body and newline
    Raw,
}

/// A number of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lines {
    /// Every one.
    All,
    /// This many.
    Count(u64),
}

fn lines(text: &str) -> Result<Lines, String> {
    match text {
        "all" => Ok(Lines::All),
        _ => text.parse().map(Lines::Count).map_err(|_| "neither a number nor `all`".to_owned()),
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("no `=` between key and value")?;
    Ok((key.to_owned(), value.to_owned()))
}

fn ttl(text: &str) -> Result<TtlDays, String> {
    let days = text.parse().map_err(|_| "ttl_in_days: 1 to 365".to_owned())?;
    TtlDays::new(days).map_err(|err| err.to_string())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_arguments_do_not_contradict_each_other() {
        super::Arguments::command().debug_assert();
    }
}
