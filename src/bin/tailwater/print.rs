//! Standard output: buffered, coloured where it may be, and quiet when whoever reads it goes away.

use std::fmt;
use std::io::{self, BufWriter, StdoutLock, Write};

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use serde::Serialize;
use tailwater::Level;

use crate::failure::{Failure, Result};

/// Headings of tables.
pub const HEADING: Style = Style::new().bold().underline();
/// What can be skipped when reading.
pub const DIM: Style = Style::new().dimmed();
/// All is well.
pub const GOOD: Style = AnsiColor::Green.on_default().bold();
/// All is not.
pub const BAD: Style = AnsiColor::Red.on_default().bold();

/// Standard output. Bytes go through as they are, so raw records are never touched; styles are the caller's choice, by
/// [`styled`](Out::styled).
pub struct Out {
    writer: BufWriter<StdoutLock<'static>>,
    colour: bool,
}

impl Out {
    /// Takes standard output for this thread.
    pub fn new() -> Out {
        let stdout = io::stdout().lock();
        let colour = AutoStream::choice(&stdout) != ColorChoice::Never;
        Out { writer: BufWriter::with_capacity(1 << 16, stdout), colour }
    }

    /// Writes bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.writer.write_all(bytes).map_err(write_failure)
    }

    /// Writes what `format_args!` made.
    pub fn print(&mut self, text: fmt::Arguments<'_>) -> Result<()> {
        self.writer.write_fmt(text).map_err(write_failure)
    }

    /// Writes what `format_args!` made, and a newline.
    pub fn line(&mut self, text: fmt::Arguments<'_>) -> Result<()> {
        self.print(text)?;
        self.bytes(b"\n")
    }

    /// Writes `value` as one line of JSON.
    pub fn json(&mut self, value: &impl Serialize) -> Result<()> {
        serde_json::to_writer(&mut self.writer, value).map_err(|err| write_failure(err.into()))?;
        self.bytes(b"\n")
    }

    /// `style` where colour is wanted, else no style at all.
    pub fn styled(&self, style: Style) -> Style {
        if self.colour { style } else { Style::new() }
    }

    /// Hands everything written to whoever reads it.
    pub fn flush(&mut self) -> Result<()> {
        self.writer.flush().map_err(write_failure)
    }
}

fn write_failure(err: io::Error) -> Failure {
    match err.kind() {
        io::ErrorKind::BrokenPipe => Failure::ClosedPipe,
        _ => Failure::Said(format!("write to standard output: {err}")),
    }
}

/// Says one sentence on standard error. If even that is closed there is nobody left to tell.
pub fn complain(word: &str, style: Style, sentence: impl fmt::Display) {
    let _ = writeln!(anstream::stderr(), "{style}{word}:{style:#} {sentence}");
}

/// The style of a level's name.
pub fn level_style(level: Level) -> Style {
    match level {
        Level::Trace => DIM,
        Level::Debug => AnsiColor::Blue.on_default(),
        Level::Info => AnsiColor::Green.on_default(),
        Level::Warn => AnsiColor::Yellow.on_default(),
        Level::Error => AnsiColor::Red.on_default(),
        Level::Fatal => AnsiColor::Red.on_default().bold(),
    }
}

/// Bytes for people: UTF-8 as it is, anything else as `\xNN`, and no control character but the tab, so that a log cannot
/// move the cursor, recolour the terminal or hide a part of itself.
pub struct Escaped<'a>(pub &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            let mut plain = chunk.valid();
            while let Some((at, found)) = plain.char_indices().find(|(_, found)| is_hostile(*found)) {
                f.write_str(&plain[..at])?;
                match found {
                    '\n' => f.write_str("\\n")?,
                    '\r' => f.write_str("\\r")?,
                    '\0'..='\x7f' => write!(f, "\\x{:02x}", u32::from(found))?,
                    _ => write!(f, "\\u{{{:x}}}", u32::from(found))?,
                }
                plain = &plain[at + found.len_utf8()..];
            }
            f.write_str(plain)?;
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// Control characters, and those that reorder or break lines without being seen.
fn is_hostile(found: char) -> bool {
    let reorders =
        matches!(found, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    (found.is_control() && found != '\t') || reorders
}

/// A number of bytes for people: `512 B`, `1.4 MiB`.
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        if self.0 < 1024 {
            return f.pad(&format!("{} B", self.0));
        }
        let mut value = self.0 as f64 / 1024.0;
        let mut unit = 0;
        while 1023.95 <= value {
            value /= 1024.0;
            unit += 1;
        }
        f.pad(&format!("{value:.1} {}", UNITS[unit]))
    }
}

/// A number with its thousands apart: `1,234,567`.
pub struct Count(pub u64);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        let mut text = String::new();
        for (index, digit) in digits.chars().enumerate() {
            if 0 < index && (digits.len() - index).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        f.pad(&text)
    }
}

/// Prints rows under headings, each column as wide as its widest cell. Columns named in `right` are numbers.
pub fn table(out: &mut Out, headings: &[&str], right: &[&str], rows: &[Vec<String>]) -> Result<()> {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or(0).max(headings[column].len())
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let heading = out.styled(HEADING);
    for (column, name) in headings.iter().enumerate() {
        let padding = " ".repeat(widths[column] - name.len());
        let gap = if column == 0 { "" } else { "  " };
        match right.contains(name) {
            true => out.print(format_args!("{gap}{padding}{heading}{name}{heading:#}"))?,
            false if column + 1 == headings.len() => {
                out.print(format_args!("{gap}{heading}{name}{heading:#}"))?
            }
            false => out.print(format_args!("{gap}{heading}{name}{heading:#}{padding}"))?,
        }
    }
    out.bytes(b"\n")?;
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let gap = if column == 0 { "" } else { "  " };
            let width = widths[column];
            line += &match right.contains(&headings[column]) {
                true => format!("{gap}{cell:>width$}"),
                false => format!("{gap}{cell:width$}"),
            };
        }
        out.line(format_args!("{}", line.trim_end()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_escaped_can_steer_a_terminal() {
        let text = Escaped(b"a\tb\x1b[31m\0\r\n\x7f \xff\xc3\xa9").to_string();
        assert_eq!(text, "a\tb\\x1b[31m\\x00\\r\\n\\x7f \\xff\u{e9}");
        assert_eq!(Escaped("\u{9b}1m\u{202e}x".as_bytes()).to_string(), "\\u{9b}1m\\u{202e}x");
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(
            [0, 999, 1000, 1_234_567].map(|n| Count(n).to_string()),
            ["0", "999", "1,000", "1,234,567"]
        );
        let sizes = [0, 1023, 1024, (1 << 20) - 1, 1 << 20, u64::MAX].map(|n| Bytes(n).to_string());
        assert_eq!(sizes, ["0 B", "1023 B", "1.0 KiB", "1.0 MiB", "1.0 MiB", "16.0 EiB"]);
    }
}
