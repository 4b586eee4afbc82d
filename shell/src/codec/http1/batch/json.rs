//! The elements of a JSON array (RFC 8259), each as the bytes that stand there.
//!
//! Everything is validated, for where an element ends is only certain in valid JSON.

/// Deepest nesting within an element.
const DEPTH_MAX: u32 = 128;

const NO_ARRAY: &str = "the body is not one JSON array";
const NO_VALUE: &str = "this is not a JSON value";
const TOO_DEEP: &str = "the value is nested too deeply";
const NOT_UTF8: &str = "the body is not UTF-8";

/// The elements of a body.
pub(super) struct Elements<'a> {
    scanner: Scanner<'a>,
    state: State,
}

enum State {
    Start,
    Within,
    End,
}

impl<'a> Elements<'a> {
    pub(super) const fn new(body: &'a [u8]) -> Self {
        Self { scanner: Scanner { text: body, at: 0 }, state: State::Start }
    }

    /// The next element, or none after the last.
    fn step(&mut self) -> Result<Option<&'a [u8]>, &'static str> {
        let scanner = &mut self.scanner;
        scanner.skip_space();
        match self.state {
            State::End => return Ok(None),
            State::Start => {
                if std::str::from_utf8(scanner.text).is_err() {
                    return Err(NOT_UTF8);
                }
                scanner.expect(b'[', NO_ARRAY)?;
                self.state = State::Within;
                scanner.skip_space();
                if scanner.eat(b']') {
                    return self.end();
                }
            }
            State::Within => {
                if scanner.eat(b']') {
                    return self.end();
                }
                scanner.expect(b',', NO_ARRAY)?;
                scanner.skip_space();
            }
        }
        let start = scanner.at;
        scanner.value(0)?;
        Ok(Some(&scanner.text[start..scanner.at]))
    }

    /// After the closing bracket: nothing but space.
    fn end(&mut self) -> Result<Option<&'a [u8]>, &'static str> {
        self.state = State::End;
        self.scanner.skip_space();
        if self.scanner.at == self.scanner.text.len() { Ok(None) } else { Err(NO_ARRAY) }
    }
}

impl<'a> Iterator for Elements<'a> {
    /// An element, or what is wrong; nothing follows an error.
    type Item = Result<&'a [u8], &'static str>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if step.is_err() {
            self.state = State::End;
        }
        step.transpose()
    }
}

/// A place in a text.
struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let is_there = self.peek() == Some(byte);
        self.at += usize::from(is_there);
        is_there
    }

    fn expect(&mut self, byte: u8, otherwise: &'static str) -> Result<(), &'static str> {
        if self.eat(byte) { Ok(()) } else { Err(otherwise) }
    }

    fn skip_space(&mut self) {
        self.skip_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
    }

    /// Skips bytes; says how many.
    fn skip_while(&mut self, is_skipped: impl Fn(u8) -> bool) -> usize {
        let rest = &self.text[self.at..];
        let skipped = rest.iter().position(|byte| !is_skipped(*byte)).unwrap_or(rest.len());
        self.at += skipped;
        skipped
    }

    fn value(&mut self, depth: u32) -> Result<(), &'static str> {
        match self.peek() {
            Some(b'{') => self.members(depth, b'}', |scanner| {
                scanner.expect(b'"', NO_VALUE)?;
                scanner.string()?;
                scanner.skip_space();
                scanner.expect(b':', NO_VALUE)?;
                scanner.skip_space();
                scanner.value(depth + 1)
            }),
            Some(b'[') => self.members(depth, b']', |scanner| scanner.value(depth + 1)),
            Some(b'"') => {
                self.at += 1;
                self.string()
            }
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => {
                let rest = &self.text[self.at..];
                let word = [&b"true"[..], b"false", b"null"]
                    .into_iter()
                    .find(|word| rest.starts_with(word))
                    .ok_or(NO_VALUE)?;
                self.at += word.len();
                Ok(())
            }
        }
    }

    /// An object or array: members between commas up to `close`.
    fn members(
        &mut self,
        depth: u32,
        close: u8,
        member: impl Fn(&mut Self) -> Result<(), &'static str>,
    ) -> Result<(), &'static str> {
        if depth >= DEPTH_MAX {
            return Err(TOO_DEEP);
        }
        self.at += 1;
        self.skip_space();
        if self.eat(close) {
            return Ok(());
        }
        loop {
            member(self)?;
            self.skip_space();
            if self.eat(close) {
                return Ok(());
            }
            self.expect(b',', NO_VALUE)?;
            self.skip_space();
        }
    }

    /// The rest of a string after its opening quote.
    fn string(&mut self) -> Result<(), &'static str> {
        loop {
            self.skip_while(|byte| byte >= b' ' && byte != b'"' && byte != b'\\');
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.escape()?,
                _ => return Err(NO_VALUE),
            }
        }
    }

    fn escape(&mut self) -> Result<(), &'static str> {
        let length = match self.text[self.at..] {
            [_, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => 2,
            [_, b'u', a, b, c, d, ..] if [a, b, c, d].iter().all(u8::is_ascii_hexdigit) => 6,
            _ => return Err(NO_VALUE),
        };
        self.at += length;
        Ok(())
    }

    fn number(&mut self) -> Result<(), &'static str> {
        self.eat(b'-');
        if !self.eat(b'0') {
            self.digits()?;
        }
        if self.eat(b'.') {
            self.digits()?;
        }
        if self.eat(b'e') || self.eat(b'E') {
            if !self.eat(b'+') {
                self.eat(b'-');
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), &'static str> {
        if self.skip_while(|byte| byte.is_ascii_digit()) > 0 { Ok(()) } else { Err(NO_VALUE) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    use super::*;

    fn elements(body: &[u8]) -> Result<Vec<&[u8]>, &'static str> {
        Elements::new(body).collect()
    }

    /// The same by another implementation.
    fn by_serde(body: &[u8]) -> Option<Vec<&[u8]>> {
        let elements: Vec<&RawValue> = serde_json::from_slice(body).ok()?;
        Some(elements.into_iter().map(|element| element.get().as_bytes()).collect())
    }

    #[test]
    fn elements_stay_as_they_are_written() {
        let body = br#" [ {"a" : [1, 2]} ,"x\"]", -0.5e+7,[ ], null ] "#;
        let expected = [&br#"{"a" : [1, 2]}"#[..], br#""x\"]""#, b"-0.5e+7", b"[ ]", b"null"];
        assert_eq!(elements(body), Ok(expected.to_vec()));
        assert_eq!(by_serde(body), Some(expected.to_vec()));
        assert_eq!(elements(b"[]"), Ok(vec![]));
        let body = br#"[1e-5,1E+5,2e9,"\u00e4\u12Ab"]"#;
        let expected = [&b"1e-5"[..], b"1E+5", b"2e9", br#""\u00e4\u12Ab""#];
        assert_eq!(elements(body), Ok(expected.to_vec()));
        for body in [r#"["\u12g4"]"#, r#"["\u123"]"#, "[1e]", "[1e+-5]", "[1e--5]"] {
            assert!(elements(body.as_bytes()).is_err(), "{body}");
        }
        let nested =
            |open: &str, close: &str| format!("[{}1{}]", open.repeat(10_000), close.repeat(10_000));
        assert!(elements(nested("[", "]").as_bytes()).is_err());
        assert!(elements(nested("{\"a\":", "}").as_bytes()).is_err());
    }

    #[test]
    fn what_is_not_one_array_of_values_is_refused() {
        for body in [
            "",
            "1",
            "{}",
            "[",
            "[1",
            "[1,",
            "[1,]",
            "[,1]",
            "[1 2]",
            "[1] 2",
            "[1]]",
            "[01]",
            "[1.]",
            "[.5]",
            "[+1]",
            "[1e]",
            "[\"a]",
            "[\"\\x\"]",
            "[\"\\u12\"]",
            "[\"\t\"]",
            "[tru]",
            "[truex]",
            "[{\"a\"}]",
            "[{a:1}]",
            "[{\"a\":1,}]",
            "[{1:1}]",
            "[\u{c}1]",
            "[-]",
        ] {
            assert!(elements(body.as_bytes()).is_err(), "{body}");
            assert!(by_serde(body.as_bytes()).is_none(), "{body}");
        }
        assert_eq!(elements(b"[\"\xff\"]"), Err(NOT_UTF8));
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| [b"[".repeat(depth + 1), b"]".repeat(depth + 1)].concat();
        assert!(elements(&nested(128)).is_ok());
        assert_eq!(elements(&nested(129)), Err(TOO_DEEP));
    }

    proptest! {
        #[test]
        fn any_text_means_the_same_to_serde(
            body in r#"\[([\[\]{},:" \\a1tn-]|true|null|"a":|\\u00e9|1\.5|\[\]|\{\}|"x"|,){0,12}\]"#,
        ) {
            prop_assert_eq!(elements(body.as_bytes()).ok(), by_serde(body.as_bytes()), "{}", body);
        }
    }
}
