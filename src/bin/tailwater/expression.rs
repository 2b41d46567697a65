//! A filter expression as an argument: where it does not parse, the error points at the place.

use tailwater::{ErrorKind, Filter};

/// Characters of an expression shown before the place where it goes wrong, and behind it.
const SHOWN: (usize, usize) = (60, 20);

/// Reads a filter expression.
pub fn parse(text: &str) -> Result<Filter, String> {
    Filter::parse(text).map_err(|err| match err.kind() {
        ErrorKind::FilterInvalid { position } => format!("{err}\n{}", pointed_at(text, *position)),
        _ => err.to_string(),
    })
}

/// The expression, and under it a caret below the byte at `position`.
fn pointed_at(text: &str, position: usize) -> String {
    let place = text.char_indices().take_while(|(at, _)| *at < position).count();
    let skipped = place.saturating_sub(SHOWN.0);
    // Nothing that moves the terminal's cursor may stand above the caret.
    let shown = text.chars().skip(skipped).take(place - skipped + SHOWN.1);
    let shown: String = shown.map(|char| if char.is_control() { ' ' } else { char }).collect();
    format!("  {shown}\n  {:>width$}", '^', width = place - skipped + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, position: usize, expected: &str) {
        assert_eq!(pointed_at(text, position), expected);
    }

    #[test]
    fn a_caret_stands_under_the_place() {
        check("level=loud", 6, "  level=loud\n        ^");
        check("=", 0, "  =\n  ^");
        check("a OR", 4, "  a OR\n      ^");
        check("\u{e4}\t=", 3, "  \u{e4} =\n    ^");
        let long = format!("{}=b{}", "a".repeat(100), "c".repeat(100));
        check(&long, 100, &format!("  {}=b{}\n  {}^", "a".repeat(60), "c".repeat(18), " ".repeat(60)));
    }
}
