//! Lines of a file or a pipe, in bounded memory, and with a word to the caller before it may have to wait for more.

use std::io::{self, Read};

/// Splits what `source` gives into lines of at most `limit` bytes.
pub struct Lines<R> {
    source: R,
    limit: usize,
    buffer: Vec<u8>,
    /// What of the buffer has been read and not given out: `start..end`.
    start: usize,
    end: usize,
    /// What of that holds no newline: nothing is searched twice.
    searched: usize,
    ended: bool,
}

/// A line is longer than the limit.
#[derive(Debug, PartialEq, Eq)]
pub struct TooLong;

impl<R: Read> Lines<R> {
    /// Lines of `source`. A line's end, LF or CR LF, does not count towards `limit`.
    pub fn new(source: R, limit: usize) -> Lines<R> {
        let buffer = vec![0; limit + 2];
        Lines { source, limit, buffer, start: 0, end: 0, searched: 0, ended: false }
    }

    /// The next line that has been read already, without its end; `None` if it takes [`fill`](Lines::fill) to know.
    pub fn next(&mut self) -> Result<Option<&[u8]>, TooLong> {
        let newline = self.buffer[self.searched..self.end].iter().position(|byte| *byte == b'\n');
        let (line, next) = match newline {
            Some(distance) => (self.start..self.searched + distance, self.searched + distance + 1),
            // The last line needs no newline.
            None if self.ended && self.start < self.end => (self.start..self.end, self.end),
            None => {
                self.searched = self.end;
                let full = self.end - self.start == self.buffer.len();
                return if full { Err(TooLong) } else { Ok(None) };
            }
        };
        (self.start, self.searched) = (next, next);
        let line = &self.buffer[line];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if self.limit < line.len() { Err(TooLong) } else { Ok(Some(line)) }
    }

    /// Reads more, which may wait; the number of bytes read, 0 at the end. Asked for when `next` gave `None`.
    pub fn fill(&mut self) -> io::Result<usize> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.searched -= self.start;
        self.start = 0;
        loop {
            match self.source.read(&mut self.buffer[self.end..]) {
                Ok(read) => {
                    self.end += read;
                    self.ended = read == 0;
                    return Ok(read);
                }
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => return Err(err),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives at most `step` bytes a read, as a pipe may.
    struct Slow<'a>(&'a [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let step = self.1.min(self.0.len());
            let mut part = &self.0[..step];
            let read = part.read(buf)?;
            self.0 = &self.0[read..];
            Ok(read)
        }
    }

    /// The lines of `text`, `!` for one too long, whatever the steps it comes in.
    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        for step in 1..=text.len().max(1) {
            let mut lines = Lines::new(Slow(text.as_bytes(), step), 4);
            let mut found = Vec::new();
            'input: loop {
                let read = lines.fill().unwrap();
                loop {
                    match lines.next() {
                        Ok(Some(line)) => found.push(String::from_utf8(line.to_vec()).unwrap()),
                        Ok(None) if read == 0 => break 'input,
                        Ok(None) => break,
                        Err(TooLong) => {
                            found.push("!".to_owned());
                            break 'input;
                        }
                    }
                }
            }
            assert_eq!(found, expected, "{text:?} in steps of {step}");
        }
    }

    #[test]
    fn lines_come_out_whole_however_they_come_in() {
        check("", &[]);
        check("a", &["a"]);
        check("a\n", &["a"]);
        check("\n\n", &["", ""]);
        check("a\r\n\r\nb\rc\r", &["a", "", "b\rc"]);
        check("abcd\nabcd\r\nabcd", &["abcd", "abcd", "abcd"]);
        check("a\r\r\n", &["a\r"]);
    }

    #[test]
    fn a_line_over_the_limit_is_said_to_be_and_ends_it() {
        check("ab\nabcde\nc\n", &["ab", "!"]);
        check("abcdef", &["!"]);
        check("abcdefghijk\n", &["!"]);
        check("abcde", &["!"]);
    }
}
