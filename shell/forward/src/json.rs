//! Values out of payloads by JSON pointer (RFC 6901). Pure over bytes.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// Reads a payload as one JSON value.
///
/// # Errors
/// It is none: where and why.
pub fn parse(payload: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(payload).map_err(|error| format!("the payload is not JSON: {error}"))
}

/// What some pointers name, out of payloads that are read once and of which nothing else is kept.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    root: Node,
    count: usize,
}

/// A place in payloads where something is wanted, there or below.
#[derive(Clone, Debug, Default)]
struct Node {
    /// The value that is here, if it is wanted whole.
    whole: Option<Whole>,
    /// Without one: what is wanted below, by the name or number that leads there.
    below: Vec<(String, Node)>,
    /// Numbers of all values that are wanted here and below.
    all: Vec<usize>,
}

/// A value that is wanted whole.
#[derive(Clone, Debug)]
struct Whole {
    /// Numbers under which it is wanted.
    numbers: Vec<usize>,
    /// What is wanted of it, too: pointers into it, and their numbers.
    parts: Vec<(String, usize)>,
}

impl Wanted {
    /// Takes pointers; their values are numbered in this order, from 0.
    pub fn new<'p>(pointers: impl IntoIterator<Item = &'p str>) -> Self {
        let mut pointers: Vec<_> = pointers.into_iter().enumerate().collect();
        let count = pointers.len();
        // What is wanted whole is known before what is inside.
        pointers.sort_by_key(|(_, pointer)| pointer.len());
        let mut root = Node::default();
        for (number, pointer) in pointers {
            root.want(pointer, number);
        }
        Self { root, count }
    }

    /// Reads a payload as one JSON value, and puts what is wanted of it into `found`, in order;
    /// null where there is nothing. Of names that come twice the last one counts.
    ///
    /// # Errors
    /// It is no JSON: where and why.
    pub fn of<'p>(&self, payload: &'p [u8], found: &mut Vec<Found<'p>>) -> Result<(), String> {
        found.clear();
        found.resize_with(self.count, || Found::Null);
        let told = |why: &dyn fmt::Display| format!("the payload is not JSON: {why}");
        // Of what is skipped, serde_json would not look at this.
        let text = std::str::from_utf8(payload).map_err(|error| told(&error))?;
        let mut json = serde_json::Deserializer::from_str(text);
        let read = Walk { node: &self.root, found }.deserialize(&mut json);
        read.and_then(|()| json.end()).map_err(|error| told(&error))
    }
}

/// A value in a payload: what has no parts is not copied out of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Found<'p> {
    /// Null, or nothing.
    Null,
    /// True or false.
    Boolean(bool),
    /// A number.
    Number(serde_json::Number),
    /// A string.
    Text(Cow<'p, str>),
    /// An array or an object.
    Parts(Value),
}

impl<'p> Found<'p> {
    /// Returns it as text: strings without quotes, other values as JSON. `None` for null.
    pub fn into_text(self) -> Option<Cow<'p, str>> {
        match self {
            Self::Null => None,
            Self::Text(text) => Some(text),
            other => Some(Cow::Owned(other.into_value().to_string())),
        }
    }

    /// Returns it as a value of its own.
    pub fn into_value(self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Boolean(is) => Value::Bool(is),
            Self::Number(number) => Value::Number(number),
            Self::Text(text) => Value::String(text.into_owned()),
            Self::Parts(value) => value,
        }
    }
}

impl From<Value> for Found<'_> {
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(is) => Self::Boolean(is),
            Value::Number(number) => Self::Number(number),
            Value::String(text) => Self::Text(Cow::Owned(text)),
            parts => Self::Parts(parts),
        }
    }
}

impl Node {
    fn want(&mut self, pointer: &str, number: usize) {
        self.all.push(number);
        if let Some(whole) = &mut self.whole {
            match pointer {
                "" => whole.numbers.push(number),
                part => whole.parts.push((part.to_owned(), number)),
            }
            return;
        }
        let Some(rest) = pointer.strip_prefix('/') else {
            self.whole = Some(Whole { numbers: vec![number], parts: Vec::new() });
            return;
        };
        let end = rest.find('/').unwrap_or(rest.len());
        let name = rest[..end].replace("~1", "/").replace("~0", "~");
        let at = self.below.iter().position(|(other, _)| *other == name).unwrap_or_else(|| {
            self.below.push((name, Self::default()));
            self.below.len() - 1
        });
        self.below[at].1.want(&rest[end..], number);
    }

    fn child(&self, name: &str) -> Option<&Self> {
        self.below.iter().find(|(other, _)| other == name).map(|(_, node)| node)
    }
}

/// The way through a payload: as many steps as the pointers have.
struct Walk<'w, 'p> {
    node: &'w Node,
    found: &'w mut [Found<'p>],
}

impl<'p> Walk<'_, 'p> {
    /// Takes a value that is wanted whole, if it is.
    fn take(self, value: Found<'p>) {
        let Some(whole) = &self.node.whole else { return };
        if let Found::Parts(value) = &value {
            for (part, number) in &whole.parts {
                self.found[*number] = value.pointer(part).cloned().unwrap_or_default().into();
            }
        }
        if let Some((last, others)) = whole.numbers.split_last() {
            for &number in others {
                self.found[number] = value.clone();
            }
            self.found[*last] = value;
        }
    }
}

impl<'p> DeserializeSeed<'p> for Walk<'_, 'p> {
    type Value = ();

    fn deserialize<D: Deserializer<'p>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'p> Visitor<'p> for Walk<'_, 'p> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'p>>(self, mut map: A) -> Result<(), A::Error> {
        if self.node.whole.is_some() {
            let value = Value::deserialize(MapAccessDeserializer::new(map))?;
            self.take(Found::Parts(value));
            return Ok(());
        }
        while let Some(node) = map.next_key_seed(Name(self.node))? {
            let Some(node) = node else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            // What had this name before does not count.
            for &number in &node.all {
                self.found[number] = Found::Null;
            }
            map.next_value_seed(Walk { node, found: &mut *self.found })?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'p>>(self, mut seq: A) -> Result<(), A::Error> {
        if self.node.whole.is_some() {
            let value = Value::deserialize(SeqAccessDeserializer::new(seq))?;
            self.take(Found::Parts(value));
            return Ok(());
        }
        for at in 0_usize.. {
            let is_there = match self.node.child(&at.to_string()) {
                Some(node) => seq.next_element_seed(Walk { node, found: &mut *self.found })?,
                None => seq.next_element::<IgnoredAny>()?.map(|_| ()),
            };
            if is_there.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_bool<E: Error>(self, is: bool) -> Result<(), E> {
        self.take(Found::Boolean(is));
        Ok(())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        self.take(Found::Number(number.into()));
        Ok(())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        self.take(Found::Number(number.into()));
        Ok(())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<(), E> {
        // JSON has finite ones only.
        self.take(serde_json::Number::from_f64(number).map_or(Found::Null, Found::Number));
        Ok(())
    }

    fn visit_borrowed_str<E: Error>(self, text: &'p str) -> Result<(), E> {
        self.take(Found::Text(Cow::Borrowed(text)));
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        if self.node.whole.is_some() {
            self.take(Found::Text(Cow::Owned(text.to_owned())));
        }
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.take(Found::Null);
        Ok(())
    }
}

/// Where a name leads from here, if something there is wanted.
struct Name<'n>(&'n Node);

impl<'n, 'de> DeserializeSeed<'de> for Name<'n> {
    type Value = Option<&'n Node>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_str(self)
    }
}

impl<'n> Visitor<'_> for Name<'n> {
    type Value = Option<&'n Node>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.child(name))
    }
}

/// Returns what a pointer names, as text: strings without quotes, other values as JSON. `None` if
/// there is nothing, or null.
pub fn text(value: &Value, pointer: &str) -> Option<String> {
    match value.pointer(pointer)? {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// Says whether this is a pointer: empty, or it begins with a slash.
pub fn is_pointer(text: &str) -> bool {
    text.is_empty() || text.starts_with('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_gives_text_of_every_kind() {
        let value = parse(br#"{"id": "a7", "at": {"n": [1, 2.5]}, "no": null, "on": true}"#);
        let value = value.expect("JSON");
        assert_eq!(text(&value, "/id").as_deref(), Some("a7"));
        assert_eq!(text(&value, "/at/n/1").as_deref(), Some("2.5"));
        assert_eq!(text(&value, "/on").as_deref(), Some("true"));
        assert_eq!(text(&value, "/at").as_deref(), Some(r#"{"n":[1,2.5]}"#));
        assert_eq!((text(&value, "/no"), text(&value, "/none")), (None, None));
        assert!(parse(b"{").is_err_and(|error| error.contains("column")));
    }

    #[test]
    fn what_is_wanted_is_what_a_pointer_finds_in_the_whole_value() {
        let pointers = [
            "/a",
            "/a/b",
            "/a/b",
            "",
            "/l/1",
            "/l/1/x",
            "/l/01",
            "/l/-",
            "/s~1l~0sh",
            "//",
            "/n/n",
            "/a/b/0/c",
            "/é",
        ];
        let some = |skip: usize, step: usize| pointers.into_iter().skip(skip).step_by(step);
        let mut found = Vec::new();
        for payload in [
            r#"{"a": {"b": [{"c": 1.5}, null]}, "l": [true, {"x": "y", "z": 2}, 3]}"#,
            r#"{"a": {"b": 1}, "a": {}, "l": {"1": "one", "01": "two"}, "é": "\u00e9"}"#,
            r#"{"s/l~sh": -7, "": {"": 18446744073709551615}, "n": {"n": "\n"}, "\u0061": 0}"#,
            r#"{"a": [[1]], "l": [[], [[]]], "n": [{"n": 1}], "x": {"deep": [{"k": "v"}]}}"#,
            "[1, 2, 3]",
            "\"text\"",
            "12.5",
            "-1",
            "true",
            "null",
            " {} ",
        ] {
            let value = parse(payload.as_bytes()).expect("JSON");
            for (skip, step) in [(0, 1), (0, 2), (1, 2), (1, 3), (4, 4), (5, 1), (12, 1)] {
                let wanted = Wanted::new(some(skip, step));
                wanted.of(payload.as_bytes(), &mut found).expect("JSON");
                let found: Vec<_> = found.iter().cloned().map(Found::into_value).collect();
                let expected: Vec<_> = some(skip, step)
                    .map(|pointer| value.pointer(pointer).cloned().unwrap_or_default())
                    .collect();
                assert_eq!(found, expected, "{payload} from {skip} by {step}");
            }
        }
        let wanted = Wanted::new(["/a"]);
        for bad in [&b"{"[..], b"", b"{} {}", b"{\"b\": nul}", b"{\"b\": \"\xff\"}", b"[1,]"] {
            let why = wanted.of(bad, &mut found).expect_err("no JSON");
            assert!(why.starts_with("the payload is not JSON: "), "{why}");
        }
        // Only what is written in another way there has to be copied.
        Wanted::new(["/a", "/b"]).of(br#"{"a": "x y", "b": "\n"}"#, &mut found).expect("JSON");
        assert!(matches!(
            &found[..],
            [Found::Text(Cow::Borrowed("x y")), Found::Text(Cow::Owned(_))]
        ));
        let texts: Vec<_> = found.into_iter().map(Found::into_text).collect();
        assert_eq!(texts, [Some("x y".into()), Some("\n".into())]);
    }
}
