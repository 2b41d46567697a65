//! Filters that are drawn rather than written, with the records to try them on, and what they mean by the letter: an
//! evaluator that knows nothing of the engine's, nor of speed.

use crate::{Level, Record, Timestamp};

/// Choices: the bytes of an input, and zeros behind them.
#[derive(Debug, Clone)]
pub struct Choices<'a>(pub &'a [u8]);

impl Choices<'_> {
    fn below(&mut self, limit: usize) -> usize {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        usize::from(*first) % limit
    }

    fn one_of<T: Copy>(&mut self, options: &[T]) -> T {
        options[self.below(options.len())]
    }

    fn flag(&mut self) -> bool {
        self.below(2) == 1
    }
}

const LEVELS: [&str; 6] = ["trace", "debug", "info", "warn", "error", "fatal"];
const ALIASES: [(&str, usize); 7] = [
    ("warning", 3),
    ("err", 4),
    ("critical", 5),
    ("crit", 5),
    ("panic", 5),
    ("information", 2),
    ("notice", 2),
];
const SERVICES: [&str; 5] = ["front", "back", "back end", "b\u{e4}ck", "nobody"];
const ATTRIBUTES: [&str; 6] = ["k", "n", "http.path", "odd \"key\"", "level", "\u{e4}"];
const VALUES: [&str; 16] = [
    "",
    "a",
    "ab",
    "abab",
    "1",
    "01",
    "10",
    "-3",
    "2.5",
    "1e1",
    "inf",
    "9007199254740993",
    "9007199254740992",
    "a b",
    "\u{e4}",
    "AND",
];
const TEXTS: [&[u8]; 8] = [b"a", b"ba", b"abab", b"took", b"x y", b"", b"\xff", b"\"\\\n"];
/// Milliseconds.
const TIMES: [i64; 6] = [-1, 0, 1_700_000_000_000, 1_700_000_000_001, 1_700_000_000_002, 1_700_000_100_000];

/// A record to try filters on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drawn {
    level: Option<usize>,
    service: Option<&'static str>,
    event_millis: Option<i64>,
    attributes: Vec<(&'static str, &'static str)>,
    body: Vec<u8>,
}

impl Drawn {
    /// Draws a record of `padding` bytes of body at least.
    pub fn draw(choices: &mut Choices<'_>, padding: usize) -> Drawn {
        let level = choices.below(LEVELS.len() + 1).checked_sub(1);
        // The last one is only ever asked for.
        let service = choices.below(SERVICES.len()).checked_sub(1).map(|at| SERVICES[at]);
        let event_millis = choices.flag().then(|| choices.one_of(&TIMES));
        let attributes =
            (0..choices.below(4)).map(|_| (choices.one_of(&ATTRIBUTES), choices.one_of(&VALUES))).collect();
        let mut body = Vec::new();
        for _ in 0..choices.below(4) {
            body.extend(choices.one_of(&TEXTS));
        }
        body.resize(body.len().max(padding), b'.');
        Drawn { level, service, event_millis, attributes, body }
    }

    /// As it is appended.
    pub fn record(&self) -> Record<'_> {
        Record {
            body: &self.body,
            event_time: self.event_millis.map(Timestamp::from_millis),
            level: self.level.map(|level| Level::ALL[level]),
            service: self.service,
            attributes: &self.attributes,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Level,
    Service,
    Ingest,
    Event,
    Body,
    Attribute(&'static str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Below,
    UpTo,
    Above,
    From,
    Contains,
    NotContains,
    Prefix,
    Glob,
}

const OPERATORS: [Operator; 10] = [
    Operator::Equal,
    Operator::NotEqual,
    Operator::Below,
    Operator::UpTo,
    Operator::Above,
    Operator::From,
    Operator::Contains,
    Operator::NotContains,
    Operator::Prefix,
    Operator::Glob,
];

/// A filter as a tree.
#[derive(Debug, Clone)]
pub struct Said(Node);

#[derive(Debug, Clone)]
enum Node {
    And(Vec<Node>),
    Or(Vec<Node>),
    Not(Box<Node>),
    Is(Field, Operator, Vec<u8>),
    In(Field, Vec<Vec<u8>>),
    Has(Field),
    Text(Vec<u8>),
}

impl Said {
    /// Draws a filter, and the text that says it.
    pub fn draw(choices: &mut Choices<'_>) -> (Said, String) {
        let node = Node::draw(choices, 3);
        let mut text = String::new();
        node.write(choices, &mut text);
        (Said(node), text)
    }

    /// Whether the record passes that was ingested then.
    pub fn holds(&self, record: &Drawn, ingest: Timestamp) -> bool {
        self.0.holds(record, ingest)
    }
}

impl Node {
    fn draw(choices: &mut Choices<'_>, depth: usize) -> Node {
        let kind = choices.below(if 0 < depth { 10 } else { 6 });
        match kind {
            0..=3 => {
                let field = draw_field(choices);
                let is_time = matches!(field, Field::Ingest | Field::Event);
                let operator = choices.one_of(if is_time { &OPERATORS[..6] } else { &OPERATORS });
                let is_pattern = operator == Operator::Glob;
                Node::Is(field, operator, draw_value(choices, field, is_pattern || takes_text(operator)))
            }
            4 => {
                let field = draw_field(choices);
                Node::In(field, (0..=choices.below(3)).map(|_| draw_value(choices, field, false)).collect())
            }
            5 if choices.flag() => Node::Has(draw_field(choices)),
            5 => Node::Text(choices.one_of(&TEXTS).to_vec()),
            6 => Node::Not(Box::new(Node::draw(choices, depth - 1))),
            7 => Node::Or((0..2 + choices.below(2)).map(|_| Node::draw(choices, depth - 1)).collect()),
            _ => Node::And((0..2 + choices.below(2)).map(|_| Node::draw(choices, depth - 1)).collect()),
        }
    }

    fn holds(&self, record: &Drawn, ingest: Timestamp) -> bool {
        match self {
            Node::And(all) => all.iter().all(|one| one.holds(record, ingest)),
            Node::Or(any) => any.iter().any(|one| one.holds(record, ingest)),
            Node::Not(inner) => !inner.holds(record, ingest),
            Node::Text(text) => contains(&record.body, text),
            Node::Has(field) => !values(*field, record, ingest).is_empty(),
            Node::In(field, wanted) => {
                wanted.iter().any(|one| compare(*field, Operator::Equal, one, record, ingest))
            }
            Node::Is(field, Operator::NotEqual, value) => {
                !compare(*field, Operator::Equal, value, record, ingest)
            }
            Node::Is(field, Operator::NotContains, value) => {
                !compare(*field, Operator::Contains, value, record, ingest)
            }
            Node::Is(field, operator, value) => compare(*field, *operator, value, record, ingest),
        }
    }

    fn write(&self, choices: &mut Choices<'_>, text: &mut String) {
        match self {
            Node::And(all) => {
                for (at, one) in all.iter().enumerate() {
                    if 0 < at {
                        text.push_str(choices.one_of(&[" ", " AND ", ",", " , ", "\n"]));
                    }
                    one.write_within(choices, text, matches!(one, Node::Or(_)));
                }
            }
            Node::Or(any) => {
                for (at, one) in any.iter().enumerate() {
                    text.push_str(if 0 < at { " OR " } else { "" });
                    one.write_within(choices, text, false);
                }
            }
            Node::Not(inner) => {
                text.push_str(choices.one_of(&["NOT ", "!", "-", "- "]));
                inner.write_within(choices, text, matches!(**inner, Node::And(_) | Node::Or(_)));
            }
            Node::Is(field, operator, value) => {
                write_field(*field, text);
                let (tight, wide) = match operator {
                    Operator::Equal => ("=", " == "),
                    Operator::NotEqual => ("!=", " != "),
                    Operator::Below => ("<", " < "),
                    Operator::UpTo => ("<=", " <= "),
                    Operator::Above => (">", " > "),
                    Operator::From => (">=", " >= "),
                    Operator::Contains => ("~", " ~ "),
                    Operator::NotContains => ("!~", " !~ "),
                    Operator::Prefix => ("^=", " ^= "),
                    Operator::Glob => (":", " : "),
                };
                text.push_str(if choices.flag() { wide } else { tight });
                write_value(value, true, choices.flag(), text);
            }
            Node::In(field, wanted) => {
                write_field(*field, text);
                text.push_str(choices.one_of(&[" IN (", " IN("]));
                for (at, value) in wanted.iter().enumerate() {
                    text.push_str(if 0 < at { ", " } else { "" });
                    write_value(value, true, choices.flag(), text);
                }
                text.push(')');
            }
            Node::Has(field) => {
                text.push_str("HAS ");
                write_field(*field, text);
            }
            Node::Text(value) => write_value(value, false, choices.flag(), text),
        }
    }

    fn write_within(&self, choices: &mut Choices<'_>, text: &mut String, needed: bool) {
        let around = needed || choices.below(8) == 1;
        text.push_str(if around { "(" } else { "" });
        self.write(choices, text);
        text.push_str(if around { ")" } else { "" });
    }
}

fn draw_field(choices: &mut Choices<'_>) -> Field {
    match choices.below(8) {
        0 | 1 => Field::Level,
        2 | 3 => Field::Service,
        4 => Field::Ingest,
        5 => Field::Event,
        6 => Field::Body,
        _ => Field::Attribute(choices.one_of(&ATTRIBUTES)),
    }
}

fn takes_text(operator: Operator) -> bool {
    matches!(operator, Operator::Contains | Operator::NotContains | Operator::Prefix)
}

fn draw_value(choices: &mut Choices<'_>, field: Field, is_part: bool) -> Vec<u8> {
    if is_part {
        return (0..choices.below(6)).map(|_| choices.one_of(b"abrk*?ERN")).collect();
    }
    match field {
        Field::Level => match choices.below(LEVELS.len() + ALIASES.len()) {
            at if at < LEVELS.len() => LEVELS[at].to_ascii_uppercase().into(),
            at => ALIASES[at - LEVELS.len()].0.into(),
        },
        Field::Ingest | Field::Event => {
            let millis = choices.one_of(&TIMES);
            if choices.flag() { millis.to_string() } else { Timestamp::from_millis(millis).to_string() }
                .into()
        }
        Field::Service => choices.one_of(&SERVICES).into(),
        Field::Body => choices.one_of(&TEXTS).to_vec(),
        Field::Attribute(_) => choices.one_of(&VALUES).into(),
    }
}

/// The values of a field that is no time; of a time, one where it is there.
fn values(field: Field, record: &Drawn, ingest: Timestamp) -> Vec<Vec<u8>> {
    match field {
        Field::Level => record.level.iter().map(|level| LEVELS[*level].into()).collect(),
        Field::Service => record.service.iter().map(|name| (*name).into()).collect(),
        Field::Ingest => vec![ingest.to_string().into()],
        Field::Event => record.event_millis.iter().map(|millis| millis.to_string().into()).collect(),
        Field::Body => vec![record.body.clone()],
        Field::Attribute(name) => {
            let named = record.attributes.iter().filter(|(key, _)| *key == name);
            named.map(|(_, value)| (*value).into()).collect()
        }
    }
}

fn compare(field: Field, operator: Operator, wanted: &[u8], record: &Drawn, ingest: Timestamp) -> bool {
    let text = || std::str::from_utf8(wanted).expect("drawn as text");
    match field {
        Field::Ingest | Field::Event => {
            let wanted = TIMES.iter().find(|millis| {
                text() == millis.to_string() || text() == Timestamp::from_millis(**millis).to_string()
            });
            let wanted = i128::from(*wanted.expect("drawn from them")) * 1_000_000;
            let event = || record.event_millis.map(|millis| i128::from(millis) * 1_000_000);
            let time = if field == Field::Event { event() } else { Some(ingest.as_nanos().into()) };
            time.is_some_and(|time| orders(operator, time.cmp(&wanted)))
        }
        Field::Level if !takes_text(operator) && operator != Operator::Glob => {
            let name = text().to_lowercase();
            let of_name = LEVELS.iter().position(|level| *level == name);
            let of_alias = || ALIASES.iter().find(|(alias, _)| *alias == name).map(|(_, level)| *level);
            let wanted = of_name.or_else(of_alias).expect("drawn from them");
            record.level.is_some_and(|level| orders(operator, level.cmp(&wanted)))
        }
        _ => {
            let wanted = if field == Field::Level { wanted.to_ascii_lowercase() } else { wanted.to_vec() };
            let passes = |value: &Vec<u8>| match operator {
                Operator::Equal => *value == wanted,
                Operator::Contains => contains(value, &wanted),
                Operator::Prefix => value.len() >= wanted.len() && value[..wanted.len()] == wanted,
                Operator::Glob => fits(&wanted, value),
                _ => match (number(value), number(&wanted)) {
                    (Some(value), Some(wanted)) => orders(operator, value.compare(wanted)),
                    _ => orders(operator, value.cmp(&wanted)),
                },
            };
            values(field, record, ingest).iter().any(passes)
        }
    }
}

fn orders(operator: Operator, ordering: std::cmp::Ordering) -> bool {
    match operator {
        Operator::Equal => ordering.is_eq(),
        Operator::Below => ordering.is_lt(),
        Operator::UpTo => ordering.is_le(),
        Operator::Above => ordering.is_gt(),
        Operator::From => ordering.is_ge(),
        _ => unreachable!("negations and operators on text are taken apart before"),
    }
}

#[derive(Clone, Copy)]
enum Number {
    Whole(i128),
    Real(f64),
}

impl Number {
    fn compare(self, other: Number) -> std::cmp::Ordering {
        let real = |number| match number {
            Number::Whole(whole) => whole as f64,
            Number::Real(real) => real,
        };
        match (self, other) {
            (Number::Whole(this), Number::Whole(other)) => this.cmp(&other),
            _ => real(self).total_cmp(&real(other)),
        }
    }
}

fn number(bytes: &[u8]) -> Option<Number> {
    let text = std::str::from_utf8(bytes).ok()?;
    match (text.parse(), text.parse::<f64>()) {
        (Ok(whole), _) => Some(Number::Whole(whole)),
        (_, Ok(real)) if real.is_finite() => Some(Number::Real(real)),
        _ => None,
    }
}

fn contains(value: &[u8], part: &[u8]) -> bool {
    (0..=value.len()).any(|at| value[at..].starts_with(part))
}

/// Which beginnings of the value the pattern fits, one place of the pattern after the other.
fn fits(pattern: &[u8], value: &[u8]) -> bool {
    let mut fits: Vec<bool> = (0..=value.len()).map(|length| length == 0).collect();
    for wanted in pattern {
        fits = (0..=value.len())
            .map(|length| match wanted {
                b'*' => fits[..=length].contains(&true),
                _ => 0 < length && fits[length - 1] && (*wanted == b'?' || *wanted == value[length - 1]),
            })
            .collect();
    }
    fits[value.len()]
}

fn write_field(field: Field, text: &mut String) {
    match field {
        Field::Level => text.push_str("level"),
        Field::Service => text.push_str("service"),
        Field::Ingest => text.push_str("ts"),
        Field::Event => text.push_str("event_ts"),
        Field::Body => text.push_str("body"),
        Field::Attribute("level") => text.push_str("\"level\""),
        Field::Attribute(name) => write_value(name.as_bytes(), false, false, text),
    }
}

/// Writes a value, or a word, without quotes where that may be.
fn write_value(value: &[u8], is_value: bool, quoted: bool, text: &mut String) {
    let is_plain = |byte: &u8| {
        byte.is_ascii_alphanumeric() || b"._/*?".contains(byte) || is_value && b"-+:=<>~!".contains(byte)
    };
    let is_keyword = [&b"AND"[..], b"OR", b"NOT", b"IN", b"HAS"].contains(&value);
    let plain = !value.is_empty() && value.iter().all(is_plain) && (is_value || !is_keyword && value != b"*");
    if plain && !quoted {
        text.extend(value.iter().map(|byte| char::from(*byte)));
        return;
    }
    text.push('"');
    for byte in value {
        match byte {
            b'"' => text.push_str("\\\""),
            b'\\' => text.push_str("\\\\"),
            b'\n' => text.push_str("\\n"),
            b'\t' => text.push_str("\\t"),
            b' '..=b'~' => text.push(char::from(*byte)),
            _ => text.push_str(&format!("\\x{byte:02X}")),
        }
    }
    text.push('"');
}
