//! JSON as a row of events, and what is wrong with a text that is none. `serde_json` reads it.
//!
//! Strict: UTF-8, one value (RFC 8259), no name twice in an object and no half of a surrogate pair
//! (RFC 7493 §2), a bounded depth. Numbers stay the text that they are, whatever their range, and
//! strings keep their escapes: `serde_json` hands out both as it found them ([`RawValue`]).

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// Deepest nesting.
pub const DEPTH_MAX: usize = 128;

/// Why a text is refused, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadJson {
    /// What is wrong, with line and column where they are known.
    pub why: String,
}

/// A string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text<'a> {
    /// As it is written, with its quotes.
    pub raw: &'a str,
    /// What it means.
    pub decoded: Cow<'a, str>,
}

impl<'a> Text<'a> {
    fn new(raw: &'a str) -> Result<Self, String> {
        let decoded = if raw.contains('\\') {
            serde_json::from_str(raw).map_err(|error| without_place(&error))?
        } else {
            Cow::Borrowed(raw.trim_matches('"'))
        };
        Ok(Self { raw, decoded })
    }
}

/// What `serde_json` says of a part of the text: its place in the part would mislead.
fn without_place(error: &serde_json::Error) -> String {
    let said = error.to_string();
    said.find(" at line ").map_or_else(|| said.clone(), |end| said[..end].to_owned())
}

/// Takes the parts of a value in their order. Whatever it refuses ends the reading.
pub trait Events<'a> {
    /// Why a part is refused.
    type Refusal: From<BadJson>;

    /// `null`.
    fn null(&mut self) -> Result<(), Self::Refusal>;
    /// `true` or `false`.
    fn boolean(&mut self, value: bool) -> Result<(), Self::Refusal>;
    /// A number, as it is written.
    fn number(&mut self, text: &'a str) -> Result<(), Self::Refusal>;
    /// A string.
    fn string(&mut self, text: Text<'a>) -> Result<(), Self::Refusal>;
    /// Begins an array or an object.
    fn open(&mut self, of: Kind) -> Result<(), Self::Refusal>;
    /// The name of the next value in an object.
    fn key(&mut self, text: Text<'a>) -> Result<(), Self::Refusal>;
    /// Ends what was begun last.
    fn close(&mut self, of: Kind) -> Result<(), Self::Refusal>;
}

/// What holds other values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `[…]`
    Array,
    /// `{…}`
    Object,
}

/// Reads one value.
///
/// # Errors
/// The text is no such value, or `events` refuses a part of it.
pub fn read<'a, E: Events<'a>>(body: &'a [u8], events: &mut E) -> Result<(), E::Refusal> {
    let text = std::str::from_utf8(body).map_err(|error| BadJson {
        why: format!("from byte {} on it is not UTF-8", error.valid_up_to()),
    })?;
    let names = Names::of(text)?;
    let mut reading = Reading { text, at: 0, depth: 0, names, events, refusal: None };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    // The depth is counted here, by a bound that does not depend on the crate.
    deserializer.disable_recursion_limit();
    let read = Next(&mut reading).deserialize(&mut deserializer);
    match (reading.refusal, read.and_then(|()| deserializer.end())) {
        (Some(refusal), _) => Err(refusal),
        (None, Err(error)) => Err(BadJson { why: error.to_string() }.into()),
        (None, Ok(())) => Ok(()),
    }
}

/// Most bytes of memory that [`read`] takes for a text of so many, without what `events` takes: a
/// member has seven bytes at least, but for some of six, and eight are kept of each, in a vector
/// that grows twofold; what escapes in names mean; and one decoded string.
pub fn reading_bytes(bytes: usize) -> usize {
    bytes.saturating_mul(8).saturating_add(1 << 10)
}

/// Names of all objects that are open, those of the innermost last, in few bytes each.
struct Names<'a> {
    text: &'a str,
    /// What names mean that have escapes.
    decoded: String,
    /// Begin and length of each: in the text, or past its end in `decoded`.
    spans: Vec<(u32, u32)>,
}

impl<'a> Names<'a> {
    fn of(text: &'a str) -> Result<Self, BadJson> {
        // Together they are less than twice the text.
        if text.len() > (u32::MAX / 2) as usize {
            return Err(BadJson { why: "it has more than 2 GiB".to_owned() });
        }
        Ok(Self { text, decoded: String::new(), spans: Vec::new() })
    }

    /// Adds the one whose raw text, with its quotes, begins at `at`.
    fn push(&mut self, at: usize, name: &Text<'_>) {
        let begin = if let Cow::Borrowed(_) = name.decoded {
            at + 1
        } else {
            self.decoded.push_str(&name.decoded);
            self.text.len() + self.decoded.len() - name.decoded.len()
        };
        let word = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        self.spans.push((word(begin), word(name.decoded.len())));
    }

    /// Forgets those from `first` on; whether two of them are the same.
    fn end(&mut self, first: (usize, usize)) -> bool {
        let Self { text, decoded, spans } = self;
        let name = |&(begin, bytes): &(u32, u32)| {
            let (begin, bytes) = (begin as usize, bytes as usize);
            match begin.checked_sub(text.len()) {
                None => &text.as_bytes()[begin..begin + bytes],
                Some(begin) => &decoded.as_bytes()[begin..begin + bytes],
            }
        };
        let own = &mut spans[first.0..];
        own.sort_unstable_by(|one, other| name(one).cmp(name(other)));
        let is_twice = own.windows(2).any(|pair| name(&pair[0]) == name(&pair[1]));
        self.spans.truncate(first.0);
        self.decoded.truncate(first.1);
        is_twice
    }

    /// Where the names of the next object begin.
    fn first(&self) -> (usize, usize) {
        (self.spans.len(), self.decoded.len())
    }
}

struct Reading<'a, 'e, E: Events<'a>> {
    text: &'a str,
    /// Where what `serde_json` reads next begins, but for space, commas and colons: it says what a
    /// value is only together with the value, and a number of its own could not hold every number.
    at: usize,
    depth: usize,
    names: Names<'a>,
    events: &'e mut E,
    /// Why `events` ended the reading.
    refusal: Option<E::Refusal>,
}

impl<'a, E: Events<'a>> Reading<'a, '_, E> {
    /// The first byte of what comes next.
    fn peek(&mut self) -> Option<u8> {
        let rest = &self.text.as_bytes()[self.at..];
        let between = |byte: &&u8| b" \t\n\r,:".contains(byte);
        self.at += rest.iter().take_while(between).count();
        self.text.as_bytes().get(self.at).copied()
    }

    /// Takes a scalar or a name as it is written.
    fn raw<D: Deserializer<'a>>(&mut self, deserializer: D) -> Result<&'a str, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        debug_assert!(self.text[self.at..].starts_with(raw), "{raw} is not at {}", self.at);
        self.at += raw.len();
        Ok(raw)
    }

    /// Ends the reading if `events` refused.
    fn or_end<X: Error>(&mut self, taken: Result<(), E::Refusal>) -> Result<(), X> {
        taken.map_err(|refusal| {
            self.refusal = Some(refusal);
            X::custom("refused")
        })
    }

    fn scalar<X: Error>(&mut self, raw: &'a str) -> Result<(), X> {
        let taken = match raw.as_bytes() {
            [b'"', ..] => {
                let text = Text::new(raw).map_err(X::custom)?;
                self.events.string(text)
            }
            b"null" => self.events.null(),
            b"true" => self.events.boolean(true),
            b"false" => self.events.boolean(false),
            _ => self.events.number(raw),
        };
        self.or_end(taken)
    }

    fn open<X: Error>(&mut self, of: Kind) -> Result<(), X> {
        self.peek();
        self.at += 1;
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(X::custom("the value is nested too deeply"));
        }
        let taken = self.events.open(of);
        self.or_end(taken)
    }

    /// Ends what was begun last; its names, those from `first` on, must differ.
    fn close<X: Error>(&mut self, of: Kind, first: (usize, usize)) -> Result<(), X> {
        self.peek();
        self.at += 1;
        self.depth -= 1;
        if self.names.end(first) {
            return Err(X::custom("the object that ends here has a name twice"));
        }
        let taken = self.events.close(of);
        self.or_end(taken)
    }
}

/// Reads the next value.
struct Next<'r, 'a, 'e, E: Events<'a>>(&'r mut Reading<'a, 'e, E>);

impl<'a, E: Events<'a>> DeserializeSeed<'a> for Next<'_, 'a, '_, E> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.0.peek() {
            Some(b'[') => deserializer.deserialize_seq(self),
            Some(b'{') => deserializer.deserialize_map(self),
            _ => {
                let raw = self.0.raw(deserializer)?;
                self.0.scalar(raw)
            }
        }
    }
}

impl<'a, E: Events<'a>> Visitor<'a> for Next<'_, 'a, '_, E> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut values: A) -> Result<(), A::Error> {
        self.0.open(Kind::Array)?;
        while values.next_element_seed(Next(&mut *self.0))?.is_some() {}
        self.0.close(Kind::Array, self.0.names.first())
    }

    fn visit_map<A: MapAccess<'a>>(self, mut members: A) -> Result<(), A::Error> {
        self.0.open(Kind::Object)?;
        let first = self.0.names.first();
        while members.next_key_seed(Name(&mut *self.0))?.is_some() {
            members.next_value_seed(Next(&mut *self.0))?;
        }
        self.0.close(Kind::Object, first)
    }
}

/// Reads the name before a value.
struct Name<'r, 'a, 'e, E: Events<'a>>(&'r mut Reading<'a, 'e, E>);

impl<'a, E: Events<'a>> DeserializeSeed<'a> for Name<'_, 'a, '_, E> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        self.0.peek();
        let at = self.0.at;
        let raw = self.0.raw(deserializer)?;
        let text = Text::new(raw).map_err(Error::custom)?;
        self.0.names.push(at, &text);
        let taken = self.0.events.key(text);
        self.0.or_end(taken)
    }
}

/// Looks whether a text is one value, by the rules of [`read`].
///
/// # Errors
/// It is no JSON.
pub fn check(body: &[u8]) -> Result<(), BadJson> {
    struct Nothing;
    impl<'a> Events<'a> for Nothing {
        type Refusal = BadJson;
        fn null(&mut self) -> Result<(), BadJson> {
            Ok(())
        }
        fn boolean(&mut self, _: bool) -> Result<(), BadJson> {
            Ok(())
        }
        fn number(&mut self, _: &'a str) -> Result<(), BadJson> {
            Ok(())
        }
        fn string(&mut self, _: Text<'a>) -> Result<(), BadJson> {
            Ok(())
        }
        fn open(&mut self, _: Kind) -> Result<(), BadJson> {
            Ok(())
        }
        fn key(&mut self, _: Text<'a>) -> Result<(), BadJson> {
            Ok(())
        }
        fn close(&mut self, _: Kind) -> Result<(), BadJson> {
            Ok(())
        }
    }
    read(body, &mut Nothing)
}

/// Writes a value again, without what is not needed: the text of each part stays.
#[derive(Debug, Default)]
pub struct Minified {
    /// The text.
    pub out: Vec<u8>,
    /// The next value needs a comma before it.
    follows: bool,
}

impl Minified {
    fn part(&mut self, parts: &[&str]) {
        if std::mem::replace(&mut self.follows, true) {
            self.out.push(b',');
        }
        for part in parts {
            self.out.extend_from_slice(part.as_bytes());
        }
    }
}

impl<'a> Events<'a> for Minified {
    type Refusal = BadJson;

    fn null(&mut self) -> Result<(), BadJson> {
        self.part(&["null"]);
        Ok(())
    }

    fn boolean(&mut self, value: bool) -> Result<(), BadJson> {
        self.part(&[if value { "true" } else { "false" }]);
        Ok(())
    }

    fn number(&mut self, text: &'a str) -> Result<(), BadJson> {
        self.part(&[text]);
        Ok(())
    }

    fn string(&mut self, text: Text<'a>) -> Result<(), BadJson> {
        self.part(&[text.raw]);
        Ok(())
    }

    fn open(&mut self, of: Kind) -> Result<(), BadJson> {
        self.part(&[if of == Kind::Array { "[" } else { "{" }]);
        self.follows = false;
        Ok(())
    }

    fn key(&mut self, text: Text<'a>) -> Result<(), BadJson> {
        self.part(&[text.raw, ":"]);
        self.follows = false;
        Ok(())
    }

    fn close(&mut self, of: Kind) -> Result<(), BadJson> {
        self.out.push(if of == Kind::Array { b']' } else { b'}' });
        self.follows = true;
        Ok(())
    }
}

/// Writes a value again in as few bytes as its parts allow.
///
/// # Errors
/// It is no JSON.
pub fn minify(body: &[u8]) -> Result<Vec<u8>, BadJson> {
    let mut minified = Minified { out: Vec::with_capacity(body.len()), follows: false };
    read(body, &mut minified)?;
    Ok(minified.out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn minified(text: &str) -> Result<String, BadJson> {
        minify(text.as_bytes()).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn only_space_goes_away() {
        for (text, expected) in [
            (
                " { \"a\" : [ 1 , 2.50e+3 , -0 , \"\\u0041 \" ] , \"b\" : { } , \"c\" : null } ",
                r#"{"a":[1,2.50e+3,-0,"\u0041 "],"b":{},"c":null}"#,
            ),
            ("[ ]", "[]"),
            ("\t\"x\"\r\n", "\"x\""),
            ("123456789012345678901234567890", "123456789012345678901234567890"),
            ("[[],[[]],{\"\":[true,false]}]", "[[],[[]],{\"\":[true,false]}]"),
        ] {
            assert_eq!(minified(text).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn what_two_readers_could_take_differently_is_refused() {
        for (text, why) in [
            ("", "EOF"),
            ("{\"a\":1,\"a\":2}", "twice"),
            ("{\"a\":1,\"\\u0061\":2}", "twice"),
            ("[1,{\"x\":{\"b\":1,\"c\":2,\"b\":3}}]", "twice"),
            ("\"\\ud800\"", "hex escape"),
            ("\"\\udc00\\ud800\"", "surrogate"),
            ("\"\\ud800\\u0041\"", "surrogate"),
            ("{\"\\ud800\\u0041\":1}", "surrogate"),
            ("[1,]", "trailing comma"),
            ("[1 2]", "expected `,` or `]`"),
            ("{\"a\":1,}", "trailing comma"),
            ("{a:1}", "key must be a string"),
            ("{\"a\" 1}", "expected `:`"),
            ("[1}", "expected `,` or `]`"),
            ("01", "invalid number"),
            ("+1", "expected value"),
            ("1.", "invalid number"),
            ("[1.]", "invalid number"),
            ("1e", "invalid number"),
            ("-", "invalid number"),
            ("NaN", "expected value"),
            ("\"\u{1}\"", "control character"),
            ("\"\\x\"", "invalid escape"),
            ("\"", "EOF"),
            ("1 1", "trailing characters"),
            ("\u{feff}1", "expected value"),
        ] {
            let bad = minified(text).expect_err(text);
            assert!(bad.why.contains(why), "{text}: {bad:?}");
        }
        let bad = minify(b"\"\xff\"").unwrap_err();
        assert_eq!(bad.why, "from byte 1 on it is not UTF-8");
        let bad = minified("[1,\n  2 3]").unwrap_err();
        assert!(bad.why.ends_with("at line 2 column 5"), "{bad:?}");
        // The same name in different objects is none twice.
        assert!(minified("[{\"a\":{\"a\":1}},{\"a\":1}]").is_ok());
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(minified(&nested(DEPTH_MAX)).is_ok());
        let places = [nested(DEPTH_MAX + 1), "[".repeat(1 << 20), "{\"a\":".repeat(1 << 20)];
        for text in places {
            assert!(minified(&text).unwrap_err().why.contains("too deeply"));
        }
    }

    #[test]
    fn escapes_mean_what_rfc_8259_says() {
        struct One(String);
        impl<'a> Events<'a> for One {
            type Refusal = BadJson;
            fn null(&mut self) -> Result<(), BadJson> {
                Ok(())
            }
            fn boolean(&mut self, _: bool) -> Result<(), BadJson> {
                Ok(())
            }
            fn number(&mut self, _: &'a str) -> Result<(), BadJson> {
                Ok(())
            }
            fn string(&mut self, text: Text<'a>) -> Result<(), BadJson> {
                self.0 = text.decoded.into_owned();
                Ok(())
            }
            fn open(&mut self, _: Kind) -> Result<(), BadJson> {
                Ok(())
            }
            fn key(&mut self, _: Text<'a>) -> Result<(), BadJson> {
                Ok(())
            }
            fn close(&mut self, _: Kind) -> Result<(), BadJson> {
                Ok(())
            }
        }
        let mut one = One(String::new());
        read(br#""\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00\u0000x""#, &mut one).unwrap();
        assert_eq!(one.0, "\"\\/\u{8}\u{c}\n\r\t\u{e9}\u{1f600}\0x");
    }

    proptest! {
        /// What is taken is JSON to serde, too, and means the same; what serde does not take is
        /// refused.
        #[test]
        fn any_text_is_taken_as_serde_takes_it_or_refused_for_more(
            body in r#"([\[\]{},:" \\a1t0.eE+-]|true|null|"a":|"b":|\\u00e9|\\ud83d\\ude00|1\.5|\[\]|\{\}|"x"|,){0,14}"#,
        ) {
            let theirs: Option<serde_json::Value> = serde_json::from_str(&body).ok();
            match minify(body.as_bytes()) {
                Ok(minified) => {
                    let again = serde_json::from_slice(&minified).ok();
                    prop_assert!(theirs.is_some() || body.contains(['e', 'E']), "{}", body);
                    prop_assert_eq!(again, theirs);
                    prop_assert_eq!(minify(&minified), Ok(minified.clone()));
                }
                Err(BadJson { why }) => {
                    prop_assert!(theirs.is_none() || why.contains("twice"), "{}: {}", body, why);
                }
            }
        }
    }

    #[test]
    fn values_beside_each_other_are_not_nested() {
        for (inner, name) in [("[]", ""), ("{}", ""), ("[{}]", ""), ("{}", "\"a\":")] {
            let (open, close) = if name.is_empty() { ('[', ']') } else { ('{', '}') };
            let each = |n: usize| format!("{}{inner}", name.replace('a', &n.to_string()));
            let all: Vec<String> = (0..=2 * DEPTH_MAX).map(each).collect();
            let text = format!("{open}{}{close}", all.join(","));
            assert!(check(text.as_bytes()).is_ok(), "{text}");
        }
    }
}
