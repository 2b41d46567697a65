//! Patterns with `*`, any bytes, and `?`, one byte; matched in linear time whatever they are.
//!
//! The stretches between stars are found one after the other, each at the first place it fits: a later place for one
//! never helps those behind it. A stretch without `?` is found as any substring is; one with `?` by letting every place
//! it may have begun at step on at once, one bit each (the shift-and automaton of Baeza-Yates and Gonnet, 1992).

use memchr::memmem::Finder;

/// Bits that step on together, at most: patterns are no longer than the filter's text.
const WORDS: usize = crate::filter::MAX_BYTES.div_ceil(64);

/// A pattern.
#[derive(Debug)]
pub(super) struct Glob {
    /// What the value begins with.
    start: Box<[u8]>,
    /// Without a star the start is all of it.
    stars: Option<Stars>,
}

#[derive(Debug)]
struct Stars {
    middle: Vec<Piece>,
    /// What the value ends with.
    end: Box<[u8]>,
}

/// A stretch between two stars, not empty.
#[derive(Debug)]
enum Piece {
    Plain(Box<Finder<'static>>),
    Gaps(Gaps),
}

/// A stretch that has a `?`.
#[derive(Debug)]
struct Gaps {
    length: usize,
    /// For each byte and then each word: bit i is set where the byte fits the i-th place.
    fits: Vec<u64>,
}

impl Glob {
    /// Reads a pattern of at most [`MAX_BYTES`](crate::filter::MAX_BYTES).
    pub(super) fn new(pattern: &[u8]) -> Glob {
        let mut parts = pattern.split(|byte| *byte == b'*');
        let start = parts.next().expect("there is a first part").into();
        let mut parts: Vec<&[u8]> = parts.collect();
        let stars = parts.pop().map(|end| Stars {
            middle: parts.iter().filter(|part| !part.is_empty()).map(|part| Piece::new(part)).collect(),
            end: end.into(),
        });
        Glob { start, stars }
    }

    /// Whether the pattern fits all of `value`.
    pub(super) fn matches(&self, value: &[u8]) -> bool {
        let Some(stars) = &self.stars else { return fits(&self.start, value) };
        let Some((start, rest)) = value.split_at_checked(self.start.len()) else { return false };
        let Some(middle) = rest.len().checked_sub(stars.end.len()) else { return false };
        let (mut rest, end) = rest.split_at(middle);
        fits(&self.start, start)
            && fits(&stars.end, end)
            && stars.middle.iter().all(|piece| {
                let behind = piece.find(rest);
                rest = behind.map_or(&[], |behind| &rest[behind..]);
                behind.is_some()
            })
    }
}

/// Whether `pattern`, which has no star, fits all of `value`.
fn fits(pattern: &[u8], value: &[u8]) -> bool {
    pattern.len() == value.len()
        && pattern.iter().zip(value).all(|(wanted, found)| *wanted == b'?' || wanted == found)
}

impl Piece {
    fn new(part: &[u8]) -> Piece {
        if !part.contains(&b'?') {
            return Piece::Plain(Box::new(Finder::new(part).into_owned()));
        }
        let words = part.len().div_ceil(64);
        let mut fits = vec![0; 256 * words];
        for (at, wanted) in part.iter().enumerate() {
            for byte in 0..=u8::MAX {
                if *wanted == b'?' || *wanted == byte {
                    fits[usize::from(byte) * words + at / 64] |= 1 << (at % 64);
                }
            }
        }
        Piece::Gaps(Gaps { length: part.len(), fits })
    }

    /// Behind the first place it fits at.
    fn find(&self, value: &[u8]) -> Option<usize> {
        match self {
            Piece::Plain(finder) => finder.find(value).map(|at| at + finder.needle().len()),
            Piece::Gaps(gaps) => gaps.find(value),
        }
    }
}

impl Gaps {
    fn find(&self, value: &[u8]) -> Option<usize> {
        let words = self.length.div_ceil(64);
        let (last, done) = (words - 1, 1 << ((self.length - 1) % 64));
        // Bit i: the first i + 1 places fit the bytes up to here.
        let mut state = [0_u64; WORDS];
        for (at, byte) in value.iter().enumerate() {
            let fits = &self.fits[usize::from(*byte) * words..][..words];
            let mut carry = 1;
            for (state, fits) in state.iter_mut().zip(fits) {
                let next = (*state << 1 | carry) & fits;
                carry = *state >> 63;
                *state = next;
            }
            if state[last] & done != 0 {
                return Some(at + 1);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By definition, in time that grows as it likes.
    fn naive(pattern: &[u8], value: &[u8]) -> bool {
        match (pattern, value) {
            ([], []) => true,
            ([b'*', pattern @ ..], _) => (0..=value.len()).any(|at| naive(pattern, &value[at..])),
            ([wanted, pattern @ ..], [found, value @ ..]) => {
                (*wanted == b'?' || wanted == found) && naive(pattern, value)
            }
            _ => false,
        }
    }

    /// Every word of up to `length` letters.
    fn words(letters: &[u8], length: usize) -> Vec<Vec<u8>> {
        let mut words = vec![vec![]];
        let mut longest = words.clone();
        for _ in 0..length {
            let longer = |word: &Vec<u8>| {
                letters.iter().map(|letter| [word, &[*letter][..]].concat()).collect::<Vec<_>>()
            };
            longest = longest.iter().flat_map(longer).collect();
            words.extend(longest.iter().cloned());
        }
        words
    }

    #[test]
    fn every_short_pattern_fits_what_it_fits_by_definition() {
        let values = words(b"ab", 5);
        for pattern in words(b"ab*?", 5) {
            let glob = Glob::new(&pattern);
            for value in &values {
                let (found, expected) = (glob.matches(value), naive(&pattern, value));
                assert_eq!(found, expected, "{} on {}", pattern.escape_ascii(), value.escape_ascii());
            }
        }
    }

    #[test]
    fn a_stretch_longer_than_a_word_of_bits_is_found() {
        for length in [63, 64, 65, 127, 128, 129, 1000] {
            let mut piece = vec![b'a'; length];
            piece[length / 2] = b'?';
            let pattern = [b"*", &piece[..], b"*"].concat();
            let glob = Glob::new(&pattern);
            piece[length / 2] = b'x';
            let value = [&vec![b'a'; length / 2][..], b"y", &piece, b"b"].concat();
            assert!(glob.matches(&value), "{length}");
            let value = [&vec![b'a'; length / 2 - 1][..], b"y", &piece[1..], b"b"].concat();
            assert!(!glob.matches(&value), "{length}");
        }
    }
}
