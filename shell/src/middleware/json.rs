//! JSON as a row of events, and what is wrong with a text that is none.
//!
//! Strict: UTF-8, one value (RFC 8259), no name twice in an object and no half of a surrogate pair
//! (RFC 7493 §2), a bounded depth. Numbers stay the text that they are, whatever their range.

use std::borrow::Cow;

/// Deepest nesting.
pub const DEPTH_MAX: usize = 128;

/// Why a text is refused, and at which byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadJson {
    /// Offset of the byte.
    pub at: usize,
    /// What is wrong there.
    pub why: &'static str,
}

/// A string as it is written, without its quotes. Every escape in it is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text<'a> {
    raw: &'a str,
    has_escapes: bool,
}

impl<'a> Text<'a> {
    /// As it is written.
    pub fn raw(self) -> &'a str {
        self.raw
    }

    /// What it means.
    pub fn decode(self) -> Cow<'a, str> {
        if !self.has_escapes {
            return Cow::Borrowed(self.raw);
        }
        let mut decoded = String::with_capacity(self.raw.len());
        let mut rest = self.raw;
        while let Some(at) = rest.find('\\') {
            decoded.push_str(&rest[..at]);
            let escape = rest.as_bytes()[at + 1];
            let (meaning, length) = match escape {
                b'b' => ('\u{8}', 2),
                b'f' => ('\u{c}', 2),
                b'n' => ('\n', 2),
                b'r' => ('\r', 2),
                b't' => ('\t', 2),
                b'u' => unicode(rest.as_bytes(), at).unwrap_or(('\u{fffd}', 6)),
                other => (char::from(other), 2),
            };
            decoded.push(meaning);
            rest = &rest[at + length..];
        }
        decoded.push_str(rest);
        Cow::Owned(decoded)
    }
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
    let text = std::str::from_utf8(body)
        .map_err(|error| BadJson { at: error.valid_up_to(), why: "this is not UTF-8" })?;
    Reader { text, bytes: body, at: 0, open: Vec::new(), names: Vec::new() }.document(events)
}

/// An object or array that is being read: its kind, and where its names begin.
#[derive(Clone, Copy)]
struct Open {
    kind: Kind,
    names: usize,
}

struct Reader<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    open: Vec<Open>,
    /// Names of all objects that are open, those of the innermost last.
    names: Vec<Cow<'a, str>>,
}

impl<'a> Reader<'a> {
    fn document<E: Events<'a>>(mut self, events: &mut E) -> Result<(), E::Refusal> {
        loop {
            // Here a value begins.
            self.skip_space();
            let begun = self.value(events)?;
            if let Some(kind) = begun {
                if self.open.len() >= DEPTH_MAX {
                    return Err(self.bad("the value is nested too deeply").into());
                }
                events.open(kind)?;
                self.open.push(Open { kind, names: self.names.len() });
                self.skip_space();
                if !self.eat(closing(kind)) {
                    self.name(events)?;
                    continue;
                }
                self.end(events)?;
            }
            // Here one has ended, and with it perhaps what holds it.
            loop {
                self.skip_space();
                let Some(&Open { kind, .. }) = self.open.last() else {
                    return if self.at == self.bytes.len() {
                        Ok(())
                    } else {
                        Err(self.bad("something follows the value").into())
                    };
                };
                if self.eat(b',') {
                    self.skip_space();
                    self.name(events)?;
                    break;
                }
                if !self.eat(closing(kind)) {
                    return Err(self.bad("there is neither a comma nor an end").into());
                }
                self.end(events)?;
            }
        }
    }

    /// A value that holds no others, or the kind of one that does and begins here.
    fn value<E: Events<'a>>(&mut self, events: &mut E) -> Result<Option<Kind>, E::Refusal> {
        match self.peek() {
            Some(b'{') => {
                self.at += 1;
                return Ok(Some(Kind::Object));
            }
            Some(b'[') => {
                self.at += 1;
                return Ok(Some(Kind::Array));
            }
            Some(b'"') => {
                let text = self.string()?;
                events.string(text)?;
            }
            Some(b'-' | b'0'..=b'9') => {
                let text = self.number()?;
                events.number(text)?;
            }
            _ => {
                let rest = &self.bytes[self.at..];
                let word = ["true", "false", "null"]
                    .into_iter()
                    .find(|word| rest.starts_with(word.as_bytes()));
                self.at += word.map_or(0, str::len);
                match word {
                    Some("true") => events.boolean(true)?,
                    Some("false") => events.boolean(false)?,
                    Some(_) => events.null()?,
                    None => return Err(self.bad("this is not a JSON value").into()),
                }
            }
        }
        Ok(None)
    }

    /// In an object: the name before a value.
    fn name<E: Events<'a>>(&mut self, events: &mut E) -> Result<(), E::Refusal> {
        if self.open.last().is_none_or(|open| open.kind == Kind::Array) {
            return Ok(());
        }
        if self.peek() != Some(b'"') {
            return Err(self.bad("there is no name of a member").into());
        }
        let text = self.string()?;
        events.key(text)?;
        self.names.push(text.decode());
        self.skip_space();
        if self.eat(b':') { Ok(()) } else { Err(self.bad("there is no colon after a name").into()) }
    }

    /// Ends what was begun last: its names must differ.
    fn end<E: Events<'a>>(&mut self, events: &mut E) -> Result<(), E::Refusal> {
        let Some(Open { kind, names }) = self.open.pop() else { return Ok(()) };
        let own = &mut self.names[names..];
        own.sort_unstable();
        if own.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(self.bad("the object that ends here has a name twice").into());
        }
        self.names.truncate(names);
        events.close(kind)
    }

    /// A string at its opening quote.
    fn string(&mut self) -> Result<Text<'a>, BadJson> {
        let start = self.at + 1;
        let (mut at, mut has_escapes) = (start, false);
        loop {
            match self.bytes.get(at) {
                Some(b'"') => break,
                Some(b'\\') => {
                    has_escapes = true;
                    at += match self.bytes.get(at + 1) {
                        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
                        Some(b'u') => {
                            let why = "an escape is no character";
                            unicode(self.bytes, at).ok_or(BadJson { at, why })?.1
                        }
                        _ => return Err(BadJson { at, why: "there is no such escape" }),
                    };
                }
                Some(0..0x20) => {
                    return Err(BadJson { at, why: "a string has a control character" });
                }
                Some(_) => at += 1,
                None => return Err(BadJson { at, why: "a string does not end" }),
            }
        }
        self.at = at + 1;
        Ok(Text { raw: &self.text[start..at], has_escapes })
    }

    fn number(&mut self) -> Result<&'a str, BadJson> {
        let start = self.at;
        self.eat(b'-');
        // RFC 8259 §6: no zeros in front.
        if !self.eat(b'0') && self.digits() == 0 {
            return Err(self.bad("this is not a number"));
        }
        if self.eat(b'.') && self.digits() == 0 {
            return Err(self.bad("there is no digit after a decimal point"));
        }
        if self.eat(b'e') || self.eat(b'E') {
            let _ = self.eat(b'+') || self.eat(b'-');
            if self.digits() == 0 {
                return Err(self.bad("there is no digit in an exponent"));
            }
        }
        Ok(&self.text[start..self.at])
    }

    fn digits(&mut self) -> usize {
        let rest = &self.bytes[self.at..];
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += digits;
        digits
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let is_there = self.peek() == Some(byte);
        self.at += usize::from(is_there);
        is_there
    }

    fn bad(&self, why: &'static str) -> BadJson {
        BadJson { at: self.at, why }
    }
}

const fn closing(kind: Kind) -> u8 {
    match kind {
        Kind::Array => b']',
        Kind::Object => b'}',
    }
}

/// The character of `\uXXXX`, or of two of them that are a surrogate pair, at a place; and how many
/// bytes it takes.
fn unicode(bytes: &[u8], at: usize) -> Option<(char, usize)> {
    let unit = |at: usize| -> Option<u32> {
        let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
        digits.iter().try_fold(0, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)?))
    };
    let first = unit(at)?;
    if let Some(single) = char::from_u32(first) {
        return Some((single, 6));
    }
    let second = unit(at + 6).filter(|second| (0xdc00..0xe000).contains(second))?;
    if first >= 0xdc00 {
        return None;
    }
    let pair = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
    Some((char::from_u32(pair)?, 12))
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
        self.part(&["\"", text.raw(), "\""]);
        Ok(())
    }

    fn open(&mut self, of: Kind) -> Result<(), BadJson> {
        self.part(&[if of == Kind::Array { "[" } else { "{" }]);
        self.follows = false;
        Ok(())
    }

    fn key(&mut self, text: Text<'a>) -> Result<(), BadJson> {
        self.part(&["\"", text.raw(), "\":"]);
        self.follows = false;
        Ok(())
    }

    fn close(&mut self, of: Kind) -> Result<(), BadJson> {
        self.out.push(closing(of));
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
            ("", "value"),
            ("{\"a\":1,\"a\":2}", "twice"),
            ("{\"a\":1,\"\\u0061\":2}", "twice"),
            ("[1,{\"x\":{\"b\":1,\"c\":2,\"b\":3}}]", "twice"),
            ("\"\\ud800\"", "character"),
            ("\"\\udc00\\ud800\"", "character"),
            ("\"\\ud800\\u0041\"", "character"),
            ("[1,]", "value"),
            ("[1 2]", "comma"),
            ("{\"a\":1,}", "name"),
            ("{a:1}", "name"),
            ("{\"a\" 1}", "colon"),
            ("[1}", "comma"),
            ("01", "follows"),
            ("+1", "value"),
            ("1.", "point"),
            ("1e", "exponent"),
            ("-", "number"),
            ("NaN", "value"),
            ("\"\u{1}\"", "control"),
            ("\"\\x\"", "escape"),
            ("\"", "end"),
            ("1 1", "follows"),
            ("\u{feff}1", "value"),
        ] {
            let bad = minified(text).expect_err(text);
            assert!(bad.why.contains(why), "{text}: {bad:?}");
        }
        assert_eq!(minify(b"\"\xff\"").unwrap_err().at, 1);
        // The same name in different objects is none twice.
        assert!(minified("[{\"a\":{\"a\":1}},{\"a\":1}]").is_ok());
    }

    #[test]
    fn depth_is_bounded_without_recursion() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(minified(&nested(DEPTH_MAX)).is_ok());
        assert_eq!(minified(&nested(DEPTH_MAX + 1)).unwrap_err().at, DEPTH_MAX + 1);
        assert!(minified(&"[".repeat(1 << 20)).is_err());
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
                self.0 = text.decode().into_owned();
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
                Err(BadJson { why, .. }) => {
                    prop_assert!(theirs.is_none() || why.contains("twice"), "{}: {}", body, why);
                }
            }
        }
    }
}
