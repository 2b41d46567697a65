//! The filter language: an expression, parsed once, evaluated over encoded records and over block summaries. Pure.

mod eval;
mod expr;
mod glob;
mod parse;
mod summary;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::format::frame::Word;
use crate::{Error, Result, Timestamp};

use eval::Encoded;
use expr::{Expr, Field, Test};

pub(crate) use summary::Summary;

/// Bytes of an expression, at most.
pub(crate) const MAX_BYTES: usize = 1024;
/// Terms of an expression, at most.
const MAX_TERMS: usize = 64;
/// Parentheses and negations around a term, at most: so deep does evaluation recurse.
const MAX_DEPTH: usize = 16;

/// A filter expression, parsed. Clones share it.
///
/// ```
/// use tailwater::{ErrorKind, Filter};
///
/// let filter: Filter = "level>=warn service=front NOT path:/health*".parse()?;
/// assert_eq!(filter.as_str(), "level>=warn service=front NOT path:/health*");
///
/// let err = Filter::parse("level=loud").unwrap_err();
/// assert!(matches!(err.kind(), ErrorKind::FilterInvalid { position: 6 }));
/// # Ok::<(), tailwater::Error>(())
/// ```
///
/// # The language
///
/// ```text
/// filter = or ;   or = and { "OR" and } ;   and = unary { ["AND" | ","] unary } ;
/// unary  = ("NOT" | "!" | "-") unary | "(" or ")" | term ;
/// term   = field op value | field "IN" "(" value {"," value} ")" | "HAS" field | text ;
/// op     = "=" | "==" | "!=" | "<" | "<=" | ">" | ">=" | "~" (contains) | "!~" | "^=" (prefix) | ":" (glob * ?) ;
/// field  = level | service | ts | event_ts | body | any attribute name
/// ```
///
/// An expression has at most 1,024 bytes and 64 terms, at most 16 parentheses and negations around each. Nothing at all, or
/// `*` alone, passes every record. Keywords are upper case. Whatever the expression, a record takes time linear in its size.
///
/// - **`level`** compares without case, by severity, and knows the aliases that [`Level`](crate::Level) reads. The
///   operators on text see its name in lower case.
/// - **`ts`**, the ingest time, and **`event_ts`** take RFC 3339 or milliseconds since 1970, to the nanosecond; `~`, `!~`, `^=`
///   and `:` are errors there.
/// - **All else** compares as bytes, `<` and its kin as numbers where both sides are: whole ones exactly, others as 64-bit
///   floating point. In a glob `*` stands for any bytes and `?` for one byte, always.
/// - **A field that is missing** makes every comparison false but `!=` and `!~`, which are `NOT` of `=` and of `~`. Where an attribute
///   occurs more than once a comparison holds if it does for one of them.
/// - **Text** without a field is looked for in the body.
/// - **Words**, which are names and text without quotes, end at white space, at `,` `(` `)` `"` `=` `<` `>` `~` `:`, and at
///   `!=` `!~` `^=`. **Values** without quotes end at white space and `,` `(` `)` `"` only. White space is ASCII's.
/// - **Quotes** take everything in, with `\"` `\\` `\n` `\t` and `\xNN` for any byte. A quoted name in front of an
///   operator, or behind `HAS`, is an attribute's, also where it reads `level`.
#[derive(Clone)]
pub struct Filter(Arc<Inner>);

struct Inner {
    text: Box<str>,
    /// `None`: every record passes.
    root: Option<Expr>,
}

impl Filter {
    /// The filter that every record passes: written as nothing at all, or `*`.
    pub fn all() -> Filter {
        Filter(Arc::new(Inner { text: "".into(), root: None }))
    }

    /// Parses an expression.
    ///
    /// # Errors
    /// `FilterInvalid` with the byte where it went wrong; the message says what was found there and what was expected.
    pub fn parse(text: &str) -> Result<Filter> {
        Ok(Filter(Arc::new(Inner { text: text.into(), root: parse::parse(text)? })))
    }

    /// The expression, as it was written.
    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    /// Whether every record passes, whatever it says.
    pub fn is_all(&self) -> bool {
        self.0.root.is_none()
    }

    /// This filter over the records of one service and, `or_none`, over those that have no service.
    pub(crate) fn for_service(&self, service: &str, or_none: bool) -> Filter {
        let name = Test::OneOf(vec![service.as_bytes().into()]);
        let mut of_service = Expr::Is(Field::Service, name);
        if or_none {
            of_service = Expr::Or(vec![of_service, Expr::Not(Box::new(Expr::Has(Field::Service)))]);
        }
        let inner = Arc::clone(&self.0);
        let root = Some(Expr::And(vec![of_service, Expr::Filter(Filter(inner))]));
        Filter(Arc::new(Inner { text: self.0.text.clone(), root }))
    }

    /// Whether a record passes: one whose frame, with this word and payload, was parsed.
    #[inline]
    pub(crate) fn matches_encoded(&self, word: Word, ingest: Timestamp, payload: &[u8]) -> bool {
        self.holds(Encoded { word, ingest, payload })
    }

    /// Whether a record of a block may pass. Where not, none does.
    pub(crate) fn may_match(&self, block: &Summary<'_>) -> bool {
        self.outlook(block).holds
    }

    #[inline]
    fn holds(&self, record: Encoded<'_>) -> bool {
        self.0.root.as_ref().is_none_or(|root| root.holds(record))
    }

    fn outlook(&self, block: &Summary<'_>) -> summary::Outlook {
        let always = summary::Outlook { holds: true, fails: false };
        self.0.root.as_ref().map_or(always, |root| root.outlook(block))
    }
}

impl FromStr for Filter {
    type Err = Error;

    fn from_str(text: &str) -> Result<Filter> {
        Filter::parse(text)
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.text)
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Filter({:?})", self.0.text)
    }
}
