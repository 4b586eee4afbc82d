//! What CBOR and `MessagePack` have in common: the way to them from JSON, and back.
//!
//! Both hold what JSON holds, and say before an array or object how many members it has. So a text
//! is read twice: [`Counts`] checks and counts, then [`Encode`] writes. Back, a [`Deserializer`] of
//! the format hands out the values ([`to_json`]).
//!
//! | JSON | CBOR, `MessagePack` |
//! |---|---|
//! | a number without point and exponent | an integer of 64 bits; refused beyond. `-0` is a float |
//! | another number | a float of 64 bits, the nearest; refused if there is none |
//! | a string | text |
//! | base64url without padding, as RFC 8949 §6.1 has it | bytes (only to JSON) |
//!
//! Refused on the way to JSON: names that are no text or come twice, floats that are not finite,
//! tags, extensions, `undefined` and further simple values.

use std::borrow::Cow;
#[cfg(feature = "cbor")]
use std::fmt;
use std::io::{self, Write};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
#[cfg(feature = "cbor")]
use serde::Deserializer;
#[cfg(feature = "cbor")]
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};

use super::Problem;
use super::json::{self, DEPTH_MAX, Events, Kind, Text};

/// A number as both formats have it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// An integer that is not negative.
    Unsigned(u64),
    /// A negative integer.
    Negative(i64),
    /// Any other number.
    Float(f64),
}

impl Number {
    fn new(text: &str) -> Result<Self, Problem> {
        let is_integer = !text.contains(['.', 'e', 'E']) && text != "-0";
        let number = if !is_integer {
            text.parse().ok().filter(|float: &f64| float.is_finite()).map(Self::Float)
        } else if text.starts_with('-') {
            text.parse().ok().map(Self::Negative)
        } else {
            text.parse().ok().map(Self::Unsigned)
        };
        number.ok_or_else(|| {
            let more = if text.len() > 40 { "…" } else { "" };
            Problem::malformed(format!("there is no room for the number {text:.40}{more}"))
        })
    }
}

/// Writes one format.
pub trait Encode: Default {
    /// Its name.
    const NAME: &'static str;

    /// Writes `null`.
    fn null(&mut self);
    /// Writes `true` or `false`.
    fn boolean(&mut self, value: bool);
    /// Writes a number.
    fn number(&mut self, number: Number);
    /// Writes a text.
    fn text(&mut self, text: &str);
    /// Begins an array of so many values, or an object of so many members.
    fn open(&mut self, of: Kind, count: u32);
    /// What is written.
    fn bytes(&self) -> &Vec<u8>;
    /// Takes what is written.
    fn into_bytes(self) -> Vec<u8>;
}

/// Writes one JSON value in another format, in at most `limit` bytes.
///
/// # Errors
/// The body is no JSON, has what the format cannot hold, or becomes too large.
pub fn from_json<E: Encode>(body: &[u8], limit: usize) -> Result<Vec<u8>, Problem> {
    let mut counts = Counts::default();
    json::read(body, &mut counts)?;
    let counts = counts.of.into_iter();
    let mut encoding = Encoding { counts, encode: E::default(), limit };
    json::read(body, &mut encoding)?;
    Ok(encoding.encode.into_bytes())
}

/// Most bytes that [`from_json`] makes of so many: nine of `1e1`.
pub fn most_bytes_of_json(json_bytes: usize) -> usize {
    json_bytes.saturating_mul(3).saturating_add(16)
}

/// Most bytes of memory that [`from_json`] takes beside the text and what it makes: for the names
/// of objects, or for what [`Counts`] keeps.
pub fn memory_of_json(json_bytes: usize) -> usize {
    json::reading_bytes(json_bytes).saturating_mul(2)
}

/// The same from either format to JSON: a member has three bytes at least, but for one of two, and
/// eight are kept of its name, in a vector that grows twofold; one text.
pub fn memory_of_binary(bytes: usize) -> usize {
    bytes.saturating_mul(12).saturating_add(1 << 10)
}

/// Counts the members of arrays and objects.
#[derive(Default)]
struct Counts {
    /// Members of each, in the order in which they begin.
    of: Vec<u32>,
    /// Places in `of` of those that have not ended.
    open: Vec<usize>,
}

impl Counts {
    #[expect(clippy::unnecessary_wraps, reason = "what the trait wants")]
    fn value(&mut self) -> Result<(), Problem> {
        if let Some(last) = self.open.last() {
            self.of[*last] += 1;
        }
        Ok(())
    }
}

impl<'a> Events<'a> for Counts {
    type Refusal = Problem;

    fn null(&mut self) -> Result<(), Problem> {
        self.value()
    }

    fn boolean(&mut self, _: bool) -> Result<(), Problem> {
        self.value()
    }

    fn number(&mut self, _: &'a str) -> Result<(), Problem> {
        self.value()
    }

    fn string(&mut self, _: Text<'a>) -> Result<(), Problem> {
        self.value()
    }

    fn open(&mut self, _: Kind) -> Result<(), Problem> {
        self.value()?;
        self.open.push(self.of.len());
        self.of.push(0);
        Ok(())
    }

    fn key(&mut self, _: Text<'a>) -> Result<(), Problem> {
        Ok(())
    }

    fn close(&mut self, _: Kind) -> Result<(), Problem> {
        self.open.pop();
        Ok(())
    }
}

struct Encoding<E> {
    /// What [`Counts`] has counted.
    counts: std::vec::IntoIter<u32>,
    encode: E,
    limit: usize,
}

impl<E: Encode> Encoding<E> {
    fn within_limit(&self) -> Result<(), Problem> {
        if self.encode.bytes().len() > self.limit {
            let detail = format!("as {}, it has more than {} bytes", E::NAME, self.limit);
            return Err(Problem::too_large(detail));
        }
        Ok(())
    }
}

impl<'a, E: Encode> Events<'a> for Encoding<E> {
    type Refusal = Problem;

    fn null(&mut self) -> Result<(), Problem> {
        self.encode.null();
        self.within_limit()
    }

    fn boolean(&mut self, value: bool) -> Result<(), Problem> {
        self.encode.boolean(value);
        self.within_limit()
    }

    fn number(&mut self, text: &'a str) -> Result<(), Problem> {
        self.encode.number(Number::new(text)?);
        self.within_limit()
    }

    fn string(&mut self, text: Text<'a>) -> Result<(), Problem> {
        self.encode.text(&text.decoded);
        self.within_limit()
    }

    fn open(&mut self, of: Kind) -> Result<(), Problem> {
        self.encode.open(of, self.counts.next().unwrap_or(0));
        self.within_limit()
    }

    fn key(&mut self, text: Text<'a>) -> Result<(), Problem> {
        self.encode.text(&text.decoded);
        self.within_limit()
    }

    fn close(&mut self, _: Kind) -> Result<(), Problem> {
        Ok(())
    }
}

/// Most bytes that [`Values`] makes of so many: a half float that is small takes three bytes, and
/// up to 24 as text.
pub fn most_bytes_of_binary(bytes: usize) -> usize {
    bytes.saturating_mul(10).saturating_add(16)
}

/// Why a value is no JSON.
pub type Bad = Cow<'static, str>;

/// The JSON that values are written as.
pub struct Values {
    out: Vec<u8>,
    /// A value follows another one.
    follows: bool,
    depth: usize,
    /// Names of all objects that are open, those of the innermost last: where each begins in `out`,
    /// and its bytes. `serde_json` writes a text in one way only.
    names: Vec<(u32, u32)>,
    limit: usize,
    too_large: bool,
}

impl Values {
    /// Writes at most so many bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            out: Vec::new(),
            follows: false,
            depth: 0,
            names: Vec::new(),
            limit,
            too_large: false,
        }
    }

    /// What is written; the problem if it was too much. `read` is what came of the reading, whose
    /// errors `bad` turns into problems.
    pub fn finish<X>(
        self,
        read: Result<(), X>,
        bad: impl FnOnce(X) -> Problem,
    ) -> Result<Vec<u8>, Problem> {
        if self.too_large {
            let detail = format!("as JSON, it has more than {} bytes", self.limit);
            return Err(Problem::too_large(detail));
        }
        read.map(|()| self.out).map_err(bad)
    }

    fn push(&mut self, text: &[u8]) -> Result<(), Bad> {
        if self.out.len() + text.len() > self.limit {
            self.too_large = true;
            return Err("it becomes too large".into());
        }
        self.out.extend_from_slice(text);
        Ok(())
    }

    /// Begins a value.
    fn begin(&mut self) -> Result<(), Bad> {
        if std::mem::replace(&mut self.follows, true) { self.push(b",") } else { Ok(()) }
    }

    /// Writes a text, a truth or a number as `serde_json` does.
    pub fn scalar(&mut self, value: impl serde::Serialize) -> Result<(), Bad> {
        self.begin()?;
        serde_json::to_writer(self, &value).map_err(|error| error.to_string().into())
    }

    /// Writes `null`.
    pub fn null(&mut self) -> Result<(), Bad> {
        self.scalar(())
    }

    /// Writes a float.
    pub fn float(&mut self, value: f64) -> Result<(), Bad> {
        if value.is_finite() { self.scalar(value) } else { Err("a number is not finite".into()) }
    }

    /// Writes bytes.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), Bad> {
        self.scalar(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Begins an array or object; for [`close`](Self::close).
    pub fn open(&mut self, of: Kind) -> Result<usize, Bad> {
        self.begin()?;
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err("the value is nested too deeply".into());
        }
        self.follows = false;
        self.push(if of == Kind::Array { b"[" } else { b"{" })?;
        Ok(self.names.len())
    }

    /// Writes the name of the next value.
    pub fn name(&mut self, name: &str) -> Result<(), Bad> {
        self.begin()?;
        let begin = self.out.len();
        self.follows = false;
        self.scalar(name)?;
        let word = |at: usize| u32::try_from(at).map_err(|_| Bad::from("it has over 4 GiB"));
        self.names.push((word(begin)?, word(self.out.len() - begin)?));
        self.follows = false;
        self.push(b":")
    }

    /// Ends what was begun last: its names must differ.
    pub fn close(&mut self, of: Kind, first: usize) -> Result<(), Bad> {
        let Self { out, names, .. } = self;
        let name = |&(begin, bytes): &(u32, u32)| &out[begin as usize..][..bytes as usize];
        let own = &mut names[first..];
        own.sort_unstable_by(|one, other| name(one).cmp(name(other)));
        if own.windows(2).any(|pair| name(&pair[0]) == name(&pair[1])) {
            return Err("an object has a name twice".into());
        }
        self.names.truncate(first);
        self.depth -= 1;
        self.follows = true;
        self.push(if of == Kind::Array { b"]" } else { b"}" })
    }
}

impl Write for Values {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.push(text).map_err(|_| io::ErrorKind::FileTooLarge)?;
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes the next value of a deserializer.
#[cfg(feature = "cbor")]
pub struct Next<'r>(
    /// Where to.
    pub &'r mut Values,
);

#[cfg(feature = "cbor")]
impl<'de> DeserializeSeed<'de> for Next<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

#[cfg(feature = "cbor")]
impl<'de> Visitor<'de> for Next<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what JSON can hold")
    }

    fn visit_bool<X: Error>(self, value: bool) -> Result<(), X> {
        self.0.scalar(value).map_err(X::custom)
    }

    fn visit_i64<X: Error>(self, value: i64) -> Result<(), X> {
        self.0.scalar(value).map_err(X::custom)
    }

    fn visit_u64<X: Error>(self, value: u64) -> Result<(), X> {
        self.0.scalar(value).map_err(X::custom)
    }

    fn visit_f64<X: Error>(self, value: f64) -> Result<(), X> {
        self.0.float(value).map_err(X::custom)
    }

    fn visit_str<X: Error>(self, text: &str) -> Result<(), X> {
        self.0.scalar(text).map_err(X::custom)
    }

    fn visit_bytes<X: Error>(self, bytes: &[u8]) -> Result<(), X> {
        self.0.bytes(bytes).map_err(X::custom)
    }

    fn visit_none<X: Error>(self) -> Result<(), X> {
        self.0.null().map_err(X::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<(), A::Error> {
        let first = self.0.open(Kind::Array).map_err(A::Error::custom)?;
        while values.next_element_seed(Next(&mut *self.0))?.is_some() {}
        self.0.close(Kind::Array, first).map_err(A::Error::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let first = self.0.open(Kind::Object).map_err(A::Error::custom)?;
        while let Some(name) = members.next_key_seed(Name)? {
            self.0.name(&name).map_err(A::Error::custom)?;
            members.next_value_seed(Next(&mut *self.0))?;
        }
        self.0.close(Kind::Object, first).map_err(A::Error::custom)
    }
}

/// Reads the name before a value.
#[cfg(feature = "cbor")]
struct Name;

#[cfg(feature = "cbor")]
impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cow<'de, str>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

#[cfg(feature = "cbor")]
impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text as the name of a member")
    }

    fn visit_borrowed_str<X: Error>(self, text: &'de str) -> Result<Cow<'de, str>, X> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<X: Error>(self, text: &str) -> Result<Cow<'de, str>, X> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// JSON that both formats hold, as text.
    pub(in crate::middleware) fn any_json() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(serde_json::Value::from),
            any::<i64>().prop_map(serde_json::Value::from),
            any::<u64>().prop_map(serde_json::Value::from),
            any::<f64>().prop_map(serde_json::Value::from),
            ".{0,40}".prop_map(serde_json::Value::from),
        ];
        let value = leaf.prop_recursive(4, 48, 20, |inner| {
            let members = prop::collection::btree_map(".{0,4}", inner.clone(), 0..20);
            prop_oneof![
                prop::collection::vec(inner, 0..20).prop_map(serde_json::Value::from),
                members.prop_map(|members| members
                    .into_iter()
                    .collect::<serde_json::Map<_, _>>()
                    .into()),
            ]
        });
        value.prop_map(|value| value.to_string())
    }

    #[test]
    fn numbers_are_held_or_refused() {
        for (text, number) in [
            ("0", Number::Unsigned(0)),
            ("18446744073709551615", Number::Unsigned(u64::MAX)),
            ("-9223372036854775808", Number::Negative(i64::MIN)),
            ("1.0", Number::Float(1.0)),
            ("1e2", Number::Float(100.0)),
            ("1E-400", Number::Float(0.0)),
        ] {
            assert_eq!(Number::new(text), Ok(number), "{text}");
        }
        assert!(matches!(Number::new("-0"), Ok(Number::Float(zero)) if zero.is_sign_negative()));
        let long = "1".repeat(900);
        for text in ["18446744073709551616", "-9223372036854775809", "1e309", "-1e999999999", &long]
        {
            let problem = Number::new(text).unwrap_err();
            assert_eq!(problem.status, 400, "{text}");
            assert!(problem.detail.len() < 100, "{}", problem.detail);
        }
    }

    #[cfg(all(feature = "cbor", feature = "messagepack"))]
    #[test]
    fn a_limit_is_of_what_is_made_to_the_byte_and_siblings_are_not_nested() {
        use crate::middleware::{cbor, messagepack};

        type Convert = fn(&[u8], usize) -> Result<Vec<u8>, Problem>;
        let formats: [(Convert, Convert); 2] =
            [(cbor::from_json, cbor::to_json), (messagepack::from_json, messagepack::to_json)];
        let siblings = format!("[{}[]]", "[],".repeat(2 * DEPTH_MAX));
        for text in ["[1,2,3]", "\"abc\"", "{\"a\":[true]}", "[[[]]]", &siblings] {
            for (from, to) in formats {
                let made = from(text.as_bytes(), usize::MAX).unwrap();
                let status = |result: Result<_, Problem>| result.map_err(|problem| problem.status);
                assert_eq!(status(from(text.as_bytes(), made.len())).as_ref(), Ok(&made));
                assert_eq!(status(from(text.as_bytes(), made.len() - 1)), Err(413), "{text}");
                let again = Ok(text.as_bytes().to_vec());
                assert_eq!(status(to(&made, text.len())), again, "{text}");
                assert_eq!(status(to(&made, text.len() - 1)), Err(413), "{text}");
            }
        }
        // Where a value ends too early, and why.
        let problem = messagepack::to_json(b"\x01\x02\x03", 99).unwrap_err();
        assert!(problem.detail.contains("before byte 1, the value has ended"), "{problem:?}");
        let problem = messagepack::to_json(b"\x92\x01", 99).unwrap_err();
        assert!(problem.detail.contains("before byte 2, "), "{problem:?}");
        let problem = messagepack::to_json(b"\xcc", 99).unwrap_err();
        assert!(!problem.detail.ends_with(", "), "it says why: {problem:?}");
        let problem = cbor::to_json(b"\xd8\x20\x61a", 99).unwrap_err();
        assert_eq!(problem.status, 400);
    }
}
