//! A request's body taken apart field by field, so that what is wrong with one is said by its name and its rule.
//!
//! Deriving would leave that to the format: its own sentence, its own idea of what comes first, and no telling a body that
//! does not parse from one whose field has the wrong type. So a body is read into values first; only what does
//! not parse fails then. The fields are checked afterwards, in the order of the documentation.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::Tags;
use crate::api::{Api, ApiError};

/// A request of one of the APIs, as its JSON has it. Unknown fields are ignored; an optional one may be absent or null.
pub trait Request: Sized {
    /// The API it is of.
    const API: Api;
    /// Its fields.
    #[doc(hidden)]
    const FIELDS: &'static [&'static str];

    /// Checks the fields.
    #[doc(hidden)]
    fn check(fields: Fields) -> Result<Self, ApiError>;
}

/// What a body came to that parses: a request, or what is wrong with its fields.
///
/// A request can be deserialised by itself just as well; its error is then the format's, and tells no longer whether the
/// body does not parse or a field breaks its rule.
pub struct Body<T>(Result<T, ApiError>);

impl<T> Body<T> {
    /// The request.
    ///
    /// # Errors
    /// For a field that breaks its rule.
    pub fn into_request(self) -> Result<T, ApiError> {
        self.0
    }
}

impl<T: fmt::Debug> fmt::Debug for Body<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Body").field(&self.0).finish()
    }
}

/// The request in a body, given what parsing it as a [`Body`] came to: `api::body(serde_json::from_slice(bytes))`.
///
/// # Errors
/// For a body that does not parse, and for a field that breaks its rule.
pub fn body<T: Request, E: fmt::Display>(parsed: Result<Body<T>, E>) -> Result<T, ApiError> {
    match parsed {
        Ok(Body(checked)) => checked,
        Err(err) => Err(ApiError::not_json(T::API, err)),
    }
}

impl<'de, T: Request> Deserialize<'de> for Body<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Body<T>, D::Error> {
        let found = deserializer.deserialize_any(Top(PhantomData::<T>))?;
        let wrong = |found: Value| {
            ApiError::invalid_field(T::API, "body", format!("must be an object, not {}", found.kind()))
        };
        Ok(Body(found.map_err(wrong).and_then(T::check)))
    }
}

/// Makes a request deserialise by itself, its checks included.
macro_rules! deserialize {
    ($($request:ty),+ $(,)?) => {$(
        impl<'de> ::serde::Deserialize<'de> for $request {
            fn deserialize<D: ::serde::Deserializer<'de>>(deserializer: D) -> Result<$request, D::Error> {
                let body = $crate::api::Body::<$request>::deserialize(deserializer)?;
                body.into_request().map_err(|err| ::serde::de::Error::custom(err.message()))
            }
        }
    )+};
}
pub(crate) use deserialize;

/// The fields of a body that its request knows, taken out one by one.
#[derive(Debug)]
pub struct Fields {
    api: Api,
    found: Vec<(&'static str, Value)>,
}

impl Fields {
    /// The field's value, where it is neither absent nor null.
    fn take(&mut self, field: &str) -> Option<Value> {
        // Of a field that stands there twice the last counts, as with most readers of JSON.
        let at = self.found.iter().rposition(|(name, _)| *name == field)?;
        Some(self.found.swap_remove(at).1).filter(|value| !matches!(value, Value::Null))
    }

    pub(crate) fn invalid(&self, field: &str, rule: impl fmt::Display) -> ApiError {
        ApiError::invalid_field(self.api, field, rule)
    }

    fn wrong(&self, field: &str, rule: &str, found: &Value) -> ApiError {
        self.invalid(field, format!("must be {rule}, not {}", found.kind()))
    }

    /// What a checked type said of a field's value. Its message names the field already.
    pub(crate) fn checked<T>(&self, made: crate::Result<T>) -> Result<T, ApiError> {
        made.map_err(|err| ApiError::with(400, super::invalid(self.api), err.to_string()))
    }

    pub(crate) fn text(&mut self, field: &str) -> Result<Option<String>, ApiError> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(field, "a string", &other)),
        }
    }

    pub(crate) fn required_text(&mut self, field: &str) -> Result<String, ApiError> {
        self.text(field)?.ok_or_else(|| self.invalid(field, "is required"))
    }

    pub(crate) fn integer(&mut self, field: &str) -> Result<Option<i64>, ApiError> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::Integer(number)) => Ok(Some(number)),
            Some(other) => Err(self.wrong(field, "an integer", &other)),
        }
    }

    /// An integer, or one written as a string.
    pub(crate) fn lax_integer(&mut self, field: &str) -> Result<Option<i64>, ApiError> {
        match self.take(field) {
            Some(Value::Text(text)) => match text.parse() {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(self.invalid(field, format!("must be an integer, not {text:?}"))),
            },
            Some(Value::Integer(number)) => Ok(Some(number)),
            Some(other) => Err(self.wrong(field, "an integer", &other)),
            None => Ok(None),
        }
    }

    pub(crate) fn boolean(&mut self, field: &str) -> Result<Option<bool>, ApiError> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(value)),
            Some(other) => Err(self.wrong(field, "true or false", &other)),
        }
    }

    pub(crate) fn list(&mut self, field: &str) -> Result<Option<Vec<Value>>, ApiError> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::List(values)) => Ok(Some(values)),
            Some(other) => Err(self.wrong(field, "an array", &other)),
        }
    }

    pub(crate) fn texts(&mut self, field: &str) -> Result<Option<Vec<String>>, ApiError> {
        let Some(values) = self.list(field)? else { return Ok(None) };
        let text = |(index, value): (usize, Value)| match value {
            Value::Text(text) => Ok(text),
            other => Err(self.wrong(&format!("{field}[{index}]"), "a string", &other)),
        };
        values.into_iter().enumerate().map(text).collect::<Result<_, _>>().map(Some)
    }

    /// The objects of an array, each with those of its fields that are `known`.
    pub(crate) fn objects(
        &mut self,
        field: &str,
        known: &'static [&'static str],
    ) -> Result<Option<Vec<Fields>>, ApiError> {
        let Some(values) = self.list(field)? else { return Ok(None) };
        let object = |(index, value): (usize, Value)| match value {
            Value::Map(entries) => {
                let known = |name: &str| known.iter().find(|known| **known == name).copied();
                let found = entries.into_iter().filter_map(|(name, value)| Some((known(&name)?, value)));
                Ok(Fields { api: self.api, found: found.collect() })
            }
            other => Err(self.wrong(&format!("{field}[{index}]"), "an object", &other)),
        };
        values.into_iter().enumerate().map(object).collect::<Result<_, _>>().map(Some)
    }

    /// A map from text to text; numbers and booleans count as text.
    pub(crate) fn labels(&mut self, field: &str) -> Result<Vec<(String, String)>, ApiError> {
        let entries = match self.take(field) {
            None => return Ok(Vec::new()),
            Some(Value::Map(entries)) => entries,
            Some(other) => return Err(self.wrong(field, "an object", &other)),
        };
        let label = |(name, value): (String, Value)| match value {
            Value::Text(text) | Value::Number(text) => Ok((name, text)),
            Value::Integer(number) => Ok((name, number.to_string())),
            Value::Bool(value) => Ok((name, value.to_string())),
            other => Err(self.wrong(&format!("{field}.{name}"), "a string", &other)),
        };
        entries.into_iter().map(label).collect()
    }

    /// An array of `{key, value}`. A missing value is an empty one; what a missing key is, the tags' own rule says.
    pub(crate) fn tags(&mut self) -> Result<Option<Tags>, ApiError> {
        let Some(objects) = self.objects("tags", &["key", "value"])? else { return Ok(None) };
        let mut pairs = Vec::new();
        for (index, mut object) in objects.into_iter().enumerate() {
            let mut part = |name: &str| {
                let text = object.text(name);
                text.map(Option::unwrap_or_default).map_err(|err| {
                    let rule = err.message().trim_start_matches(name).trim_start_matches(": ");
                    self.invalid("tags", format!("tag {index}: {name}: {rule}"))
                })
            };
            pairs.push((part("key")?, part("value")?));
        }
        self.checked(Tags::new(pairs)).map(Some)
    }
}

/// A value of a self-describing format.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number that an `i64` holds.
    Integer(i64),
    /// Any other number, as it is written.
    Number(String),
    /// Text.
    Text(String),
    /// What JSON has no word for.
    Bytes,
    /// An array.
    List(Vec<Value>),
    /// An object.
    Map(Vec<(String, Value)>),
}

impl Value {
    /// As errors call it.
    fn kind(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Integer(_) => "an integer",
            Value::Number(text) if text.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit()) => {
                "an integer beyond 64 bits"
            }
            Value::Number(_) => "a fraction",
            Value::Text(_) => "a string",
            Value::Bytes => "bytes",
            Value::List(_) => "an array",
            Value::Map(_) => "an object",
        }
    }
}

/// `serde_json` hands a number over as a map of this one key where its feature `arbitrary_precision` is on, which any
/// crate of the host's can bring about.
const NUMBER: &str = "$serde_json::private::Number";

struct AnyValue;

/// What both visitors take that is no object.
macro_rules! scalars {
    ($value:ty, $wrap:expr) => {
        type Value = $value;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a value")
        }

        fn visit_unit<E: de::Error>(self) -> Result<$value, E> {
            Ok($wrap(Value::Null))
        }

        fn visit_none<E: de::Error>(self) -> Result<$value, E> {
            Ok($wrap(Value::Null))
        }

        fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<$value, D::Error> {
            inner.deserialize_any(self)
        }

        fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<$value, D::Error> {
            inner.deserialize_any(self)
        }

        fn visit_bool<E: de::Error>(self, value: bool) -> Result<$value, E> {
            Ok($wrap(Value::Bool(value)))
        }

        fn visit_i64<E: de::Error>(self, number: i64) -> Result<$value, E> {
            Ok($wrap(Value::Integer(number)))
        }

        fn visit_u64<E: de::Error>(self, number: u64) -> Result<$value, E> {
            Ok($wrap(
                i64::try_from(number).map_or_else(|_| Value::Number(number.to_string()), Value::Integer),
            ))
        }

        fn visit_f64<E: de::Error>(self, number: f64) -> Result<$value, E> {
            Ok($wrap(Value::Number(format!("{number:?}"))))
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<$value, E> {
            Ok($wrap(Value::Text(text.into())))
        }

        fn visit_string<E: de::Error>(self, text: String) -> Result<$value, E> {
            Ok($wrap(Value::Text(text)))
        }

        fn visit_bytes<E: de::Error>(self, _: &[u8]) -> Result<$value, E> {
            Ok($wrap(Value::Bytes))
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<$value, A::Error> {
            let mut values = Vec::new();
            while let Some(value) = seq.next_element()? {
                values.push(value);
            }
            Ok($wrap(Value::List(values)))
        }
    };
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

impl<'de> Visitor<'de> for AnyValue {
    scalars!(Value, |value| value);

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some((name, value)) = map.next_entry::<String, Value>()? {
            if name == NUMBER
                && let Value::Text(text) = value
            {
                return Ok(text.parse().map_or(Value::Number(text), Value::Integer));
            }
            entries.push((name, value));
        }
        Ok(Value::Map(entries))
    }
}

/// Takes the object that a body is: the fields that `T` has, the others unread. What is no object comes back as it is.
struct Top<T>(PhantomData<T>);

impl<'de, T: Request> Visitor<'de> for Top<T> {
    scalars!(Result<Fields, Value>, Err);

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Result<Fields, Value>, A::Error> {
        let mut found = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            if name == NUMBER {
                map.next_value::<IgnoredAny>()?;
                return Ok(Err(Value::Number(String::new())));
            }
            match T::FIELDS.iter().find(|field| **field == name) {
                Some(field) => found.push((*field, map.next_value()?)),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Ok(Fields { api: T::API, found }))
    }
}
