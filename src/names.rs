//! Names, ids, tags and TTLs that are valid because they exist: text is checked once, where it comes in.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Error, Result};

/// A stream's name: 1 to 64 ASCII letters, digits, `-`, `_` and `.`; it starts with neither `.` nor `_`, and does
/// not end with `.`. Case counts. Unique in its group.
///
/// ```
/// use tailwater::StreamName;
///
/// let name = StreamName::new("nginx-access.log")?;
/// assert_eq!(name.as_str(), "nginx-access.log");
/// assert!(StreamName::new("../etc").is_err());
/// # Ok::<(), tailwater::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StreamName(String);

impl StreamName {
    /// Checks `name` against the rule.
    ///
    /// # Errors
    /// `Invalid { field: "log_stream_name" }`, saying which part of the rule is broken.
    pub fn new(name: impl Into<String>) -> Result<StreamName> {
        checked_name("log_stream_name", name.into()).map(StreamName)
    }
}

/// A group's name, by the same rule as a [`StreamName`]. Unique in its tenant.
///
/// ```
/// use tailwater::{ErrorKind, GroupName};
///
/// assert_eq!(GroupName::new("web")?.as_str(), "web");
/// let err = GroupName::new("web.").unwrap_err();
/// assert_eq!(*err.kind(), ErrorKind::Invalid { field: "log_group_name" });
/// # Ok::<(), tailwater::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GroupName(String);

impl GroupName {
    /// Checks `name` against the rule.
    ///
    /// # Errors
    /// `Invalid { field: "log_group_name" }`, saying which part of the rule is broken.
    pub fn new(name: impl Into<String>) -> Result<GroupName> {
        checked_name("log_group_name", name.into()).map(GroupName)
    }
}

/// A tenant, by the id its owner chose (`project_id`): 1 to 64 ASCII letters, digits, `-` and `_`.
///
/// ```
/// use tailwater::TenantId;
///
/// assert_eq!(TenantId::new("2a473356cca5487f8373be891bffc1cf")?.as_str().len(), 32);
/// assert!(TenantId::new("a/b").is_err());
/// # Ok::<(), tailwater::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TenantId(String);

impl TenantId {
    /// Checks `id` against the rule.
    ///
    /// # Errors
    /// `Invalid { field: "project_id" }`, saying which part of the rule is broken.
    pub fn new(id: impl Into<String>) -> Result<TenantId> {
        let id = id.into();
        checked_text("project_id", &id, 1..=64, |c| matches!(c, '-' | '_') || c.is_ascii_alphanumeric())?;
        Ok(TenantId(id))
    }
}

/// A user, by the id the host gave them (`userUuid`): 1 to 64 ASCII letters, digits, `-`, `_`, `.`, `:` and `@`.
///
/// ```
/// use tailwater::UserId;
///
/// assert_eq!(UserId::new("user-001-abc")?.as_str(), "user-001-abc");
/// assert!(UserId::new("").is_err());
/// # Ok::<(), tailwater::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserId(String);

impl UserId {
    /// Checks `id` against the rule.
    ///
    /// # Errors
    /// `Invalid { field: "userUuid" }`, saying which part of the rule is broken.
    pub fn new(id: impl Into<String>) -> Result<UserId> {
        let id = id.into();
        let allowed = |c: char| matches!(c, '-' | '_' | '.' | ':' | '@') || c.is_ascii_alphanumeric();
        checked_text("userUuid", &id, 1..=64, allowed)?;
        Ok(UserId(id))
    }
}

fn checked_name(field: &'static str, name: String) -> Result<String> {
    checked_text(field, &name, 1..=64, |c| matches!(c, '-' | '_' | '.') || c.is_ascii_alphanumeric())?;
    if name.starts_with(['.', '_']) {
        return Err(Error::invalid(field, format!("{name:?} must not start with '.' or '_'")));
    }
    if name.ends_with('.') {
        return Err(Error::invalid(field, format!("{name:?} must not end with '.'")));
    }
    Ok(name)
}

/// Checks the number of characters, and each of them. What is far too long is not repeated in the error.
fn checked_text(
    field: &'static str,
    text: &str,
    length: std::ops::RangeInclusive<usize>,
    allowed: impl Fn(char) -> bool,
) -> Result<()> {
    let found = text.chars().count();
    if !length.contains(&found) {
        let (min, max) = (length.start(), length.end());
        return Err(Error::invalid(field, format!("must have {min} to {max} characters, not {found}")));
    }
    match text.chars().find(|&c| !allowed(c)) {
        Some(c) => Err(Error::invalid(field, format!("{text:?} must not contain {c:?}"))),
        None => Ok(()),
    }
}

/// What every checked text can do besides.
macro_rules! text {
    ($name:ident) => {
        impl $name {
            /// As text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        // Lets maps be asked with a `&str`; order and hash are the text's own.
        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<$name> {
                $name::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;

            fn try_from(text: String) -> Result<$name> {
                $name::new(text)
            }
        }

        impl From<$name> for String {
            fn from(text: $name) -> String {
                text.0
            }
        }
    };
}

text!(StreamName);
text!(GroupName);
text!(TenantId);
text!(UserId);

/// A stream's id: a random UUID, printed in its 36 characters. Never used again, not even for a new stream of the same name.
///
/// ```
/// use tailwater::StreamId;
///
/// let id: StreamId = "2e0a4a4b-24a4-4b5e-9f5d-3c2c7f0a8a11".parse()?;
/// assert_eq!(id.to_string().len(), 36);
/// # Ok::<(), tailwater::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
// As numbers are: what holds it is copied by whole words, and a processor waits where words are read that were written in pieces.
#[repr(align(8))]
pub struct StreamId(Uuid);

/// A group's id: a random UUID, printed in its 36 characters. Never used again.
///
/// ```
/// use tailwater::GroupId;
///
/// assert!("web".parse::<GroupId>().is_err());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GroupId(Uuid);

/// A tail session's id: a random UUID, printed in its 36 characters. Never used again.
///
/// ```
/// use tailwater::SessionId;
///
/// assert!("session-abc-001".parse::<SessionId>().is_err());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(Uuid);

/// What every id can do.
macro_rules! id {
    ($name:ident, $field:literal) => {
        impl $name {
            /// The UUID it is.
            pub const fn as_uuid(&self) -> Uuid {
                self.0
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> $name {
                $name(id)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.0.hyphenated().encode_lower(&mut Uuid::encode_buffer()))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<$name> {
                // `Uuid` also reads forms without hyphens, with braces and as a URN; one spelling is enough.
                match Uuid::parse_str(text) {
                    Ok(id) if text.len() == 36 => Ok($name(id)),
                    _ => Err(Error::invalid($field, "must be a UUID of 36 characters")),
                }
            }
        }
    };
}

id!(StreamId, "log_stream_id");
id!(GroupId, "log_group_id");
id!(SessionId, "id");

/// How long records stay visible after they came in: 1 to 365 days.
///
/// ```
/// use tailwater::TtlDays;
///
/// assert_eq!(TtlDays::new(7)?.get(), 7);
/// assert!(TtlDays::new(0).is_err());
/// # Ok::<(), tailwater::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct TtlDays(u16);

impl TtlDays {
    /// What a group has that was not told otherwise: 30 days.
    pub const DEFAULT: TtlDays = TtlDays(30);

    /// Checks that `days` is 1 to 365.
    ///
    /// # Errors
    /// `Invalid { field: "ttl_in_days" }`.
    pub fn new(days: u16) -> Result<TtlDays> {
        TtlDays::try_from(i64::from(days))
    }

    /// The number of days.
    pub const fn get(self) -> u16 {
        self.0
    }

    /// The same, as a time span: a day has 24 hours.
    pub const fn as_duration(self) -> Duration {
        Duration::from_secs(self.0 as u64 * 24 * 60 * 60)
    }
}

impl TryFrom<i64> for TtlDays {
    type Error = Error;

    fn try_from(days: i64) -> Result<TtlDays> {
        match days {
            1..=365 => Ok(TtlDays(days as u16)),
            _ => Err(Error::invalid("ttl_in_days", format!("must be 1 to 365, not {days}"))),
        }
    }
}

impl From<TtlDays> for i64 {
    fn from(days: TtlDays) -> i64 {
        i64::from(days.0)
    }
}

impl fmt::Display for TtlDays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Up to 20 pairs of text, in the order given. Keys are unique.
///
/// A key has 1 to 128 characters: letters of any script, digits, space and `_ . : = + - @`; it does not start
/// with `_`. A value has 0 to 255 of the same, and `/`.
///
/// ```
/// use tailwater::Tags;
///
/// let tags = Tags::new([("service", "checkout"), ("path", "eu/west")])?;
/// assert_eq!(tags.get("service"), Some("checkout"));
/// assert!(Tags::new([("_sys", "")]).is_err());
/// # Ok::<(), tailwater::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "Vec<Tag>", into = "Vec<Tag>")]
pub struct Tags(Vec<Tag>);

/// As it stands in JSON. What is missing reads as empty, so that one check, ours, says what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Tag {
    #[serde(default)]
    key: String,
    #[serde(default)]
    value: String,
}

impl Tags {
    /// Tags, at most.
    pub const MAX: usize = 20;

    /// Checks the pairs against the rule.
    ///
    /// # Errors
    /// `Invalid { field: "tags" }`, saying which part of the rule is broken.
    pub fn new<K: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (K, V)>) -> Result<Tags> {
        let tags = pairs.into_iter().map(|(key, value)| Tag { key: key.into(), value: value.into() });
        Tags::try_from(tags.collect::<Vec<_>>())
    }

    /// The pairs, as `(key, value)`.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|tag| (tag.key.as_str(), tag.value.as_str()))
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.iter().find(|(found, _)| *found == key).map(|(_, value)| value)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl TryFrom<Vec<Tag>> for Tags {
    type Error = Error;

    fn try_from(tags: Vec<Tag>) -> Result<Tags> {
        let of_key = |c: char| c.is_alphabetic() || c.is_ascii_digit() || " _.:=+-@".contains(c);
        if tags.len() > Tags::MAX {
            let rule = format!("must be at most {}, not {}", Tags::MAX, tags.len());
            return Err(Error::invalid("tags", rule));
        }
        for (i, tag) in tags.iter().enumerate() {
            checked_text("key", &tag.key, 1..=128, of_key)
                .and_then(|()| checked_text("value", &tag.value, 0..=255, |c| of_key(c) || c == '/'))
                .map_err(|err| Error::invalid("tags", format!("tag {i}: {err}")))?;
            if tag.key.starts_with('_') {
                return Err(Error::invalid("tags", format!("the key {:?} must not start with '_'", tag.key)));
            }
            if tags[..i].iter().any(|before| before.key == tag.key) {
                return Err(Error::invalid("tags", format!("the key {:?} must not occur twice", tag.key)));
            }
        }
        Ok(Tags(tags))
    }
}

impl From<Tags> for Vec<Tag> {
    fn from(tags: Tags) -> Vec<Tag> {
        tags.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    /// `broken` is what the message must say, or nothing when the value is good.
    #[track_caller]
    fn check<T: fmt::Debug>(made: Result<T>, field: &'static str, broken: Option<&str>) {
        match (made, broken) {
            (Ok(_), None) => {}
            (Err(err), Some(rule)) => {
                assert_eq!(*err.kind(), ErrorKind::Invalid { field });
                assert!(err.to_string().starts_with(field) && err.to_string().contains(rule), "{err}");
            }
            (made, _) => panic!("{made:?}"),
        }
    }

    #[test]
    fn stream_and_group_names_keep_the_rule() {
        let long = "x".repeat(65);
        let cases = [
            ("a", None),
            ("9-_.z", None),
            ("-a", None),
            ("a_", None),
            (&long[..64], None),
            (&long[..], Some("1 to 64 characters, not 65")),
            ("", Some("1 to 64 characters, not 0")),
            (".a", Some("start with")),
            ("_a", Some("start with")),
            ("a.", Some("end with")),
            ("a/b", Some("contain '/'")),
            ("a b", Some("contain ' '")),
            ("é", Some("contain 'é'")),
            ("a\0", Some("contain '\\0'")),
        ];
        for (name, broken) in cases {
            check(StreamName::new(name), "log_stream_name", broken);
            check(GroupName::new(name), "log_group_name", broken);
        }
    }

    #[test]
    fn tenant_ids_keep_the_rule() {
        check(TenantId::new("_-aZ9"), "project_id", None);
        check(TenantId::new("a.b"), "project_id", Some("contain '.'"));
        check(TenantId::new(""), "project_id", Some("1 to 64"));
        check(TenantId::new("x".repeat(65)), "project_id", Some("1 to 64"));
    }

    #[test]
    fn ttls_are_1_to_365_days() {
        for (days, broken) in [(0, Some("1 to 365")), (1, None), (365, None), (366, Some("not 366"))] {
            check(TtlDays::new(days), "ttl_in_days", broken);
        }
        assert_eq!(TtlDays::new(2).unwrap().as_duration(), Duration::from_secs(172_800));
    }

    #[test]
    fn tags_keep_the_rule() {
        let check = |pairs: &[(&str, &str)], broken| check(Tags::new(pairs.to_vec()), "tags", broken);
        let long = "ü".repeat(256);
        let many: Vec<String> = (0..21).map(|i| format!("k{i}")).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|key| (key.as_str(), "")).collect();
        check(&[], None);
        check(&[("ключ 1", "値/a_.:=+-@")], None);
        check(&[(&long[..256], &long[..510])], None);
        check(&[(&long[..258], "")], Some("1 to 128 characters, not 129"));
        check(&[("k", &long)], Some("0 to 255 characters, not 256"));
        check(&[("", "")], Some("tag 0: key: must have 1"));
        check(&[("a", ""), ("b/", "")], Some("tag 1: key: \"b/\" must not contain"));
        check(&[("a", "x#y")], Some("contain '#'"));
        check(&[("_a", "")], Some("start with '_'"));
        check(&[("a", "1"), ("A", "1"), ("a", "2")], Some("\"a\" must not occur twice"));
        check(&many[..20], None);
        check(&many, Some("at most 20, not 21"));
    }

    #[test]
    fn what_is_deserialised_is_checked_too() {
        let tags: Tags = serde_json::from_str(r#"[{"key":"a","value":"b","more":1},{"key":"c"}]"#).unwrap();
        assert_eq!(
            serde_json::to_string(&tags).unwrap(),
            r#"[{"key":"a","value":"b"},{"key":"c","value":""}]"#
        );
        assert!(serde_json::from_str::<Tags>(r#"[{"value":"b"}]"#).unwrap_err().to_string().contains("tags"));
        assert!(serde_json::from_str::<StreamName>(r#"".a""#).is_err());
        assert!(serde_json::from_str::<TenantId>(r#""a b""#).is_err());
        assert_eq!(serde_json::from_str::<TtlDays>("365").unwrap(), TtlDays::new(365).unwrap());
        let err = serde_json::from_str::<TtlDays>("-1").unwrap_err();
        assert!(err.to_string().contains("ttl_in_days"), "{err}");
    }

    #[test]
    fn ids_have_one_spelling() {
        let id = StreamId::from(Uuid::from_u128(7));
        assert_eq!(id.to_string().parse::<StreamId>().unwrap(), id);
        assert_eq!(serde_json::to_string(&id).unwrap(), format!("\"{id}\""));
        let check = |text: &str| check(text.parse::<StreamId>(), "log_stream_id", Some("UUID"));
        check(&id.as_uuid().simple().to_string());
        check(&format!("{{{id}}}"));
        check("");
    }
}
