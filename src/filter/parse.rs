//! From text to a tree: recursive descent, byte by byte, with the place and the expectation in every error.

use std::borrow::Cow;

use memchr::memmem::Finder;

use crate::filter::expr::{Expr, Field, Number, Operand, Order, Span, Test, TimeField};
use crate::filter::glob::Glob;
use crate::filter::{MAX_BYTES, MAX_DEPTH, MAX_TERMS};
use crate::{Error, ErrorKind, Level, Result, Timestamp};

/// Every level's bit, and that of no level.
const EVERY_LEVEL: u8 = 0x7f;

/// The tree of an expression; `None` where every record passes.
pub(super) fn parse(text: &str) -> Result<Option<Expr>> {
    if MAX_BYTES < text.len() {
        let found = format!("an expression of {} bytes", text.len());
        return Err(invalid(MAX_BYTES, found, "at most 1024 bytes"));
    }
    if matches!(text.trim_ascii(), "" | "*") {
        return Ok(None);
    }
    let mut parser = Parser { text, at: 0, terms: 0, depth: 0 };
    let root = parser.or()?;
    if parser.skip_space() < text.len() {
        return Err(parser.unexpected("`AND`, `OR`, a term or the end"));
    }
    Ok(Some(root))
}

fn invalid(position: usize, found: impl std::fmt::Display, expected: &str) -> Error {
    let message = format!("parse filter at byte {position}: found {found}, expected {expected}");
    Error::new(ErrorKind::FilterInvalid { position }, message)
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    terms: usize,
    depth: usize,
}

/// The left side of a comparison.
enum Subject {
    Level,
    Time(TimeField),
    Bytes(Field),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Compare(Order),
    Contains,
    NotContains,
    Prefix,
    Glob,
}

/// Longer ones first.
const OPERATORS: [(&str, Operator); 11] = [
    ("==", Operator::Equal),
    ("!=", Operator::NotEqual),
    ("!~", Operator::NotContains),
    ("<=", Operator::Compare(Order::UpTo)),
    (">=", Operator::Compare(Order::From)),
    ("^=", Operator::Prefix),
    ("=", Operator::Equal),
    ("<", Operator::Compare(Order::Below)),
    (">", Operator::Compare(Order::Above)),
    ("~", Operator::Contains),
    (":", Operator::Glob),
];

/// A value, and where it stands.
struct Value<'a> {
    at: usize,
    bytes: Cow<'a, [u8]>,
}

impl<'a> Parser<'a> {
    fn or(&mut self) -> Result<Expr> {
        let mut any = vec![self.and()?];
        while self.take_word("OR") {
            any.push(self.and()?);
        }
        Ok(single(any).unwrap_or_else(Expr::Or))
    }

    fn and(&mut self) -> Result<Expr> {
        let mut all = vec![self.unary()?];
        loop {
            let joined = self.take_word("AND") || self.take(",");
            if !joined && (matches!(self.next(), None | Some(b')')) || self.word() == "OR") {
                return Ok(single(all).unwrap_or_else(Expr::And));
            }
            all.push(self.unary()?);
        }
    }

    fn unary(&mut self) -> Result<Expr> {
        let at = self.skip_space();
        let negated = self.take_word("NOT") || self.take("!") || self.take("-");
        if !negated && !self.take("(") {
            return self.term();
        }
        self.depth += 1;
        if MAX_DEPTH < self.depth {
            return Err(invalid(at, "one more parenthesis or negation", "at most 16 within one another"));
        }
        let inner = if negated {
            Expr::Not(Box::new(self.unary()?))
        } else {
            let inner = self.or()?;
            self.expect(")", "`AND`, `OR`, a term or `)`")?;
            inner
        };
        self.depth -= 1;
        Ok(inner)
    }

    fn term(&mut self) -> Result<Expr> {
        let at = self.skip_space();
        self.terms += 1;
        if MAX_TERMS < self.terms {
            return Err(invalid(at, "one more term", "at most 64"));
        }
        if self.take_word("HAS") {
            return Ok(match self.subject("a field")? {
                Subject::Level => Expr::Level(EVERY_LEVEL & !1),
                Subject::Time(field) => Expr::Time(field, vec![Span::of(Order::From, Timestamp::MIN)]),
                Subject::Bytes(field) => Expr::Has(field),
            });
        }
        let subject = self.subject("a term")?;
        let behind = self.at;
        if self.take_word("IN") {
            return self.one_of(subject);
        }
        self.skip_space();
        let operator_at = self.at;
        if let Some((_, operator)) = OPERATORS.into_iter().find(|(sign, _)| self.take(sign)) {
            let value = self.value()?;
            return compare(subject, operator_at, operator, value);
        }
        // Neither side of a comparison: text.
        self.at = at;
        let bytes = match self.next() {
            Some(b'"') => self.quoted()?,
            _ => Cow::Borrowed(&self.text.as_bytes()[at..behind]),
        };
        self.at = behind;
        Ok(Expr::Is(Field::Body, test(Operator::Contains, bytes)))
    }

    /// Reads the name of a field, or what may turn out to be text.
    fn subject(&mut self, expected: &str) -> Result<Subject> {
        self.skip_space();
        if self.next() == Some(b'"') {
            return Ok(Subject::Bytes(Field::Attribute(self.quoted()?.into())));
        }
        let word = self.word();
        if matches!(word, "" | "AND" | "OR" | "NOT" | "IN" | "HAS") {
            return Err(self.unexpected(expected));
        }
        self.at += word.len();
        Ok(match word {
            "level" => Subject::Level,
            "ts" => Subject::Time(TimeField::Ingest),
            "event_ts" => Subject::Time(TimeField::Event),
            "service" => Subject::Bytes(Field::Service),
            "body" => Subject::Bytes(Field::Body),
            name => Subject::Bytes(Field::Attribute(name.as_bytes().into())),
        })
    }

    /// Reads what follows `IN`.
    fn one_of(&mut self, subject: Subject) -> Result<Expr> {
        self.expect("(", "`(`")?;
        let mut values = vec![self.value()?];
        while self.take(",") {
            values.push(self.value()?);
        }
        self.expect(")", "`,` or `)`")?;
        Ok(match subject {
            Subject::Level => {
                let mut levels = 0;
                for value in &values {
                    levels |= 1 << level(value)? as u8;
                }
                Expr::Level(levels)
            }
            Subject::Time(field) => {
                let spans =
                    values.iter().map(|value| time(value).map(|time| Span { first: time, last: time }));
                Expr::Time(field, spans.collect::<Result<_>>()?)
            }
            Subject::Bytes(field) => {
                let values = values.into_iter().map(|value| value.bytes.into());
                Expr::Is(field, Test::OneOf(values.collect()))
            }
        })
    }

    fn value(&mut self) -> Result<Value<'a>> {
        let at = self.skip_space();
        if self.next() == Some(b'"') {
            return Ok(Value { at, bytes: self.quoted()? });
        }
        let rest = &self.text.as_bytes()[at..];
        let ends = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b',' | b'(' | b')' | b'"');
        let bytes = &rest[..rest.iter().position(ends).unwrap_or(rest.len())];
        if bytes.is_empty() {
            return Err(self.unexpected("a value"));
        }
        self.at += bytes.len();
        Ok(Value { at, bytes: bytes.into() })
    }

    /// Reads a text in quotes, the first of which comes next.
    fn quoted(&mut self) -> Result<Cow<'a, [u8]>> {
        let opened = self.at;
        let text = self.text;
        let mut rest = text.as_bytes()[opened + 1..].iter();
        let mut bytes = Vec::new();
        loop {
            let at = text.len() - rest.len();
            match rest.next() {
                Some(b'"') => break,
                Some(b'\\') => {
                    let byte = match rest.next() {
                        Some(b'n') => Some(b'\n'),
                        Some(b't') => Some(b'\t'),
                        Some(byte @ (b'"' | b'\\')) => Some(*byte),
                        Some(b'x') => hex(&mut rest),
                        _ => None,
                    };
                    let expected = r#"`\"`, `\\`, `\n`, `\t` or `\xNN`"#;
                    bytes.push(byte.ok_or_else(|| invalid(at, "a backslash", expected))?);
                }
                Some(byte) => bytes.push(*byte),
                None => {
                    let expected = format!("`\"` for the one at byte {opened}");
                    return Err(invalid(at, "the end", &expected));
                }
            }
        }
        self.at = text.len() - rest.len();
        let written = &text.as_bytes()[opened + 1..self.at - 1];
        Ok(if bytes == written { written.into() } else { bytes.into() })
    }

    fn skip_space(&mut self) -> usize {
        self.at = self.text.len() - self.text[self.at..].trim_ascii_start().len();
        self.at
    }

    fn next(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// The word that comes next, or nothing.
    fn word(&self) -> &'a str {
        let rest = &self.text[self.at..];
        let bytes = rest.as_bytes();
        let ends = |at: &usize| match bytes[*at] {
            b',' | b'(' | b')' | b'"' | b'=' | b'<' | b'>' | b'~' | b':' => true,
            b'!' => matches!(bytes.get(at + 1), Some(b'=' | b'~')),
            b'^' => bytes.get(at + 1) == Some(&b'='),
            byte => byte.is_ascii_whitespace(),
        };
        &rest[..(0..bytes.len()).find(ends).unwrap_or(bytes.len())]
    }

    /// Passes the keyword if it comes next.
    fn take_word(&mut self, keyword: &str) -> bool {
        self.skip_space();
        let is_next = self.word() == keyword;
        self.at += if is_next { keyword.len() } else { 0 };
        is_next
    }

    /// Passes the sign if it comes next.
    fn take(&mut self, sign: &str) -> bool {
        self.skip_space();
        let is_next = self.text[self.at..].starts_with(sign);
        self.at += if is_next { sign.len() } else { 0 };
        is_next
    }

    fn expect(&mut self, sign: &str, expected: &str) -> Result<()> {
        if self.take(sign) { Ok(()) } else { Err(self.unexpected(expected)) }
    }

    /// The error that what comes next is not what was expected.
    fn unexpected(&self, expected: &str) -> Error {
        let found = match (self.word(), self.text[self.at..].chars().next()) {
            (_, None) => "the end".into(),
            ("", Some(sign)) => format!("`{sign}`"),
            (word, _) => format!("{:?}", shortened(word)),
        };
        invalid(self.at, found, expected)
    }
}

/// The one there is; or all of them back.
fn single(mut exprs: Vec<Expr>) -> Result<Expr, Vec<Expr>> {
    if exprs.len() == 1 { Ok(exprs.pop().expect("there is one")) } else { Err(exprs) }
}

/// The byte that the next two digits say.
fn hex(rest: &mut std::slice::Iter<'_, u8>) -> Option<u8> {
    let mut digit = || char::from(*rest.next()?).to_digit(16);
    Some((digit()? * 16 + digit()?) as u8)
}

/// The first characters of a text, for an error.
fn shortened(text: &str) -> String {
    if text.chars().nth(40).is_none() { text.into() } else { text.chars().take(39).chain(['…']).collect() }
}

fn compare(subject: Subject, operator_at: usize, operator: Operator, value: Value<'_>) -> Result<Expr> {
    let positive = match operator {
        Operator::NotEqual => Operator::Equal,
        Operator::NotContains => Operator::Contains,
        other => other,
    };
    let expr = match subject {
        Subject::Level => Expr::Level(levels(positive, value)?),
        Subject::Time(field) => {
            let span = match positive {
                Operator::Equal => time(&value).map(|time| Span { first: time, last: time })?,
                Operator::Compare(order) => Span::of(order, time(&value)?),
                _ => {
                    let expected = "one of `=` `==` `!=` `<` `<=` `>` `>=` `IN` for a time";
                    return Err(invalid(operator_at, "an operator for text", expected));
                }
            };
            Expr::Time(field, vec![span])
        }
        Subject::Bytes(field) => Expr::Is(field, test(positive, value.bytes)),
    };
    let negated = positive != operator;
    Ok(if negated { Expr::Not(Box::new(expr)) } else { expr })
}

fn test(operator: Operator, value: Cow<'_, [u8]>) -> Test {
    match operator {
        Operator::Equal | Operator::NotEqual => Test::OneOf(vec![value.into()]),
        Operator::Contains | Operator::NotContains => {
            Test::Contains(Box::new(Finder::new(&*value).into_owned()))
        }
        Operator::Prefix => Test::StartsWith(value.into()),
        Operator::Glob => Test::Glob(Glob::new(&value)),
        Operator::Compare(order) => {
            let number = Number::parse(&value);
            Test::Compares(order, Operand { bytes: value.into(), number })
        }
    }
}

/// The bits of the levels that a comparison holds for.
fn levels(operator: Operator, value: Value<'_>) -> Result<u8> {
    let holds: Box<dyn Fn(Level) -> bool> = match operator {
        Operator::Equal | Operator::NotEqual => {
            let wanted = level(&value)?;
            Box::new(move |level| level == wanted)
        }
        Operator::Compare(order) => {
            let wanted = level(&value)?;
            Box::new(move |level| order.holds(level.cmp(&wanted)))
        }
        Operator::Contains | Operator::NotContains | Operator::Prefix | Operator::Glob => {
            let test = test(operator, value.bytes.to_ascii_lowercase().into());
            Box::new(move |level| test.passes(level.as_str().as_bytes()))
        }
    };
    Ok(Level::ALL.into_iter().filter(|level| holds(*level)).map(|level| 1 << level as u8).sum())
}

fn level(value: &Value<'_>) -> Result<Level> {
    let level = std::str::from_utf8(&value.bytes).ok().and_then(|name| name.parse().ok());
    level.ok_or_else(|| {
        let expected = "a level: trace, debug, info, warn, error, fatal";
        invalid(value.at, format!("{:?}", shown(value)), expected)
    })
}

fn time(value: &Value<'_>) -> Result<Timestamp> {
    let text = std::str::from_utf8(&value.bytes).ok();
    let millis = text.and_then(|text| text.parse().ok()).map(Timestamp::from_millis);
    let time = millis.or_else(|| text?.parse().ok());
    time.ok_or_else(|| {
        let expected = "a time: milliseconds since 1970, or as 2026-01-15T08:00:00Z";
        invalid(value.at, format!("{:?}", shown(value)), expected)
    })
}

fn shown(value: &Value<'_>) -> String {
    shortened(&String::from_utf8_lossy(&value.bytes))
}
