//! JSON as XML, and back: the mapping of the W3C's `XPath` and `XQuery` Functions 3.1, §17.5
//! (`fn:json-to-xml` with `escape` true, and `fn:xml-to-json`), which every XSLT 3 processor knows.
//!
//! ```text
//! {"id":7,"tags":["a",null]}
//! <map xmlns="http://www.w3.org/2005/xpath-functions"><number key="id">7</number><array
//!  key="tags"><string>a</string><null/></array></map>
//! ```
//!
//! Each value is an element named by its kind; the name of a member is its attribute `key`. Numbers
//! keep their text. What XML has no character for (most controls, noncharacters) is written as
//! `\uXXXX`; a text with such an escape has `escaped="true"`, a name `escaped-key="true"`, and a
//! backslash in it is doubled.

use std::fmt::Write;

use super::Problem;
use super::json::{self, BadJson, Events, Kind, Text};

/// The namespace of the elements.
pub const NAMESPACE: &str = "http://www.w3.org/2005/xpath-functions";

/// Writes one JSON value as one XML element, in at most `limit` bytes.
///
/// # Errors
/// The body is no JSON, or becomes too large.
pub fn from_json(body: &[u8], limit: usize) -> Result<Vec<u8>, Problem> {
    let mut writer = Writer { out: String::new(), key: None, is_root: true, limit };
    json::read(body, &mut writer)?;
    Ok(writer.out.into_bytes())
}

/// Most bytes that [`from_json`] makes of so many: each of `0,0,0` becomes `<number>0</number>`,
/// and each of `"\u0000"` no more than it was.
pub fn most_bytes(json_bytes: usize) -> usize {
    json_bytes.saturating_mul(12).saturating_add(128)
}

struct Writer<'a> {
    out: String,
    /// The name of the value that comes next.
    key: Option<Text<'a>>,
    is_root: bool,
    limit: usize,
}

impl Writer<'_> {
    /// Begins an element, without the end of its tag.
    fn begin(&mut self, name: &str) -> Result<(), Problem> {
        if self.out.len() > self.limit {
            return Err(Problem::too_large(format!(
                "as XML, it has more than {} bytes",
                self.limit
            )));
        }
        self.out.push('<');
        self.out.push_str(name);
        if std::mem::take(&mut self.is_root) {
            let _ = write!(self.out, " xmlns=\"{NAMESPACE}\"");
        }
        if let Some(key) = self.key.take() {
            let key = key.decode();
            let is_escaped = needs_escapes(&key);
            self.out.push_str(" key=\"");
            push_text(&mut self.out, &key, is_escaped);
            self.out.push_str(if is_escaped { "\" escaped-key=\"true\"" } else { "\"" });
        }
        Ok(())
    }

    fn element(&mut self, name: &str, text: &str) -> Result<(), Problem> {
        self.begin(name)?;
        self.out.push('>');
        self.out.push_str(text);
        self.end(name);
        Ok(())
    }

    fn end(&mut self, name: &str) {
        // Writing to a string cannot fail.
        let _ = write!(self.out, "</{name}>");
    }
}

impl<'a> Events<'a> for Writer<'a> {
    type Refusal = Problem;

    fn null(&mut self) -> Result<(), Problem> {
        self.begin("null")?;
        self.out.push_str("/>");
        Ok(())
    }

    fn boolean(&mut self, value: bool) -> Result<(), Problem> {
        self.element("boolean", if value { "true" } else { "false" })
    }

    fn number(&mut self, text: &'a str) -> Result<(), Problem> {
        self.element("number", text)
    }

    fn string(&mut self, text: Text<'a>) -> Result<(), Problem> {
        let text = text.decode();
        let is_escaped = needs_escapes(&text);
        self.begin("string")?;
        self.out.push_str(if is_escaped { " escaped=\"true\">" } else { ">" });
        push_text(&mut self.out, &text, is_escaped);
        self.end("string");
        Ok(())
    }

    fn open(&mut self, of: Kind) -> Result<(), Problem> {
        self.begin(name(of))?;
        self.out.push('>');
        Ok(())
    }

    fn key(&mut self, text: Text<'a>) -> Result<(), Problem> {
        self.key = Some(text);
        Ok(())
    }

    fn close(&mut self, of: Kind) -> Result<(), Problem> {
        self.end(name(of));
        Ok(())
    }
}

const fn name(of: Kind) -> &'static str {
    match of {
        Kind::Array => "array",
        Kind::Object => "map",
    }
}

/// Whether XML 1.0 has no character for part of it (production `Char`).
fn needs_escapes(text: &str) -> bool {
    text.chars().any(|one| !is_char(one))
}

fn is_char(one: char) -> bool {
    matches!(one, '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}'
        | '\u{10000}'..='\u{10ffff}')
}

/// Writes text that reads the same in an element and in an attribute, whatever a parser makes of
/// line ends and tabs.
fn push_text(out: &mut String, text: &str, is_escaped: bool) {
    for one in text.chars() {
        match one {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\t' => out.push_str("&#x9;"),
            '\n' => out.push_str("&#xA;"),
            '\r' => out.push_str("&#xD;"),
            '\\' if is_escaped => out.push_str("\\\\"),
            one if is_char(one) => out.push(one),
            one => {
                // None of them is beyond the first plane.
                let _ = write!(out, "\\u{:04X}", u32::from(one));
            }
        }
    }
}

/// Reads what [`from_json`] has written, and what means the same: elements of the mapping, in any
/// form that needs no document type. Comments, processing instructions, document types and
/// references to entities that are not XML's own five are refused.
///
/// # Errors
/// The body is something else, or becomes too large.
pub fn to_json(body: &[u8], limit: usize) -> Result<Vec<u8>, Problem> {
    let text =
        std::str::from_utf8(body).map_err(|error| bad(error.valid_up_to(), "this is not UTF-8"))?;
    let mut reader = Reader { text, at: 0, out: Vec::new(), limit };
    reader.document()?;
    Ok(reader.out)
}

fn bad(at: usize, why: &str) -> Problem {
    Problem::malformed(format!("the body is not XML that can be taken: at byte {at}, {why}"))
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    out: Vec<u8>,
    limit: usize,
}

/// A start tag, or one that ends at once.
struct Tag {
    kind: TagKind,
    /// As JSON, with its quotes.
    key: Option<String>,
    is_escaped: bool,
    is_empty: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TagKind {
    Null,
    Boolean,
    Number,
    String,
    Array,
    Map,
}

impl TagKind {
    const ALL: [(&'static str, Self); 6] = [
        ("null", Self::Null),
        ("boolean", Self::Boolean),
        ("number", Self::Number),
        ("string", Self::String),
        ("array", Self::Array),
        ("map", Self::Map),
    ];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }
}

/// An element that holds others.
struct OpenElement {
    kind: TagKind,
    /// Nothing is in it yet.
    is_new: bool,
    /// Names of its members.
    names: Vec<String>,
}

impl Reader<'_> {
    fn bad(&self, why: &str) -> Problem {
        bad(self.at, why)
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn skip_space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches(['\t', '\n', '\r', ' ']).len();
    }

    fn eat(&mut self, text: &str) -> bool {
        let is_there = self.rest().starts_with(text);
        self.at += if is_there { text.len() } else { 0 };
        is_there
    }

    fn document(&mut self) -> Result<(), Problem> {
        self.skip_space();
        if self.eat("<?xml ") {
            let end =
                self.rest().find("?>").ok_or_else(|| self.bad("the declaration has no end"))?;
            if end > 100 || self.rest()[..end].contains('<') {
                return Err(self.bad("this is no declaration of XML"));
            }
            self.at += end + 2;
            self.skip_space();
        }
        let mut open: Vec<OpenElement> = Vec::new();
        loop {
            self.skip_space();
            if let Some(kind) = open.last().map(|last| last.kind)
                && self.eat("</")
            {
                self.close(kind)?;
                self.out.push(if kind == TagKind::Array { b']' } else { b'}' });
                open.pop();
                if open.is_empty() {
                    break;
                }
                continue;
            }
            let is_root = open.is_empty();
            let tag = self.tag(is_root)?;
            match (open.last_mut(), &tag.key) {
                (Some(OpenElement { kind: TagKind::Map, is_new, names }), Some(key)) => {
                    if !std::mem::take(is_new) {
                        self.out.push(b',');
                    }
                    self.out.extend_from_slice(key.as_bytes());
                    self.out.push(b':');
                    names.push(key.clone());
                }
                (Some(OpenElement { kind: TagKind::Map, .. }), None) => {
                    return Err(self.bad("a member of a map has no key"));
                }
                (Some(_) | None, Some(_)) => {
                    return Err(self.bad("only members of a map have keys"));
                }
                (Some(OpenElement { is_new, .. }), None) => {
                    if !std::mem::take(is_new) {
                        self.out.push(b',');
                    }
                }
                (None, None) => {}
            }
            let holds = self.value(&tag)?;
            if self.out.len() > self.limit {
                let detail = format!("as JSON, it has more than {} bytes", self.limit);
                return Err(Problem::too_large(detail));
            }
            if holds {
                if open.len() >= json::DEPTH_MAX {
                    return Err(self.bad("the value is nested too deeply"));
                }
                open.push(OpenElement { kind: tag.kind, is_new: true, names: Vec::new() });
            } else if is_root {
                break;
            }
        }
        self.skip_space();
        if self.at != self.text.len() {
            return Err(self.bad("something follows the element"));
        }
        // Names that are twice in a map, and numbers that are none, are found as in any JSON.
        json::minify(&self.out).map(|_| ()).map_err(|BadJson { why, .. }| {
            Problem::malformed(format!("the body stands for no JSON that can be taken: {why}"))
        })
    }

    /// Writes the value of a tag; whether it is one that holds others, and is open now.
    fn value(&mut self, tag: &Tag) -> Result<bool, Problem> {
        let Tag { kind, is_escaped, is_empty, .. } = *tag;
        if is_escaped && kind != TagKind::String {
            return Err(self.bad("only strings are escaped"));
        }
        match kind {
            TagKind::Array | TagKind::Map => {
                let (open, close) =
                    if kind == TagKind::Array { (b'[', b']') } else { (b'{', b'}') };
                self.out.push(open);
                if is_empty {
                    self.out.push(close);
                }
                return Ok(!is_empty);
            }
            TagKind::Null => {
                let text = self.content(kind, is_empty)?;
                if !text.trim().is_empty() {
                    return Err(self.bad("a null has no content"));
                }
                self.out.extend_from_slice(b"null");
            }
            TagKind::Boolean => {
                let text = self.content(kind, is_empty)?;
                let value = match text.trim() {
                    "true" | "1" => "true",
                    "false" | "0" => "false",
                    _ => return Err(self.bad("a boolean is true or false")),
                };
                self.out.extend_from_slice(value.as_bytes());
            }
            TagKind::Number => {
                let text = self.content(kind, is_empty)?;
                // Whether it is a number of JSON is looked at in the end; it cannot be more.
                let is_of_number = |byte: u8| byte.is_ascii_digit() || b"+-.eE".contains(&byte);
                let text = text.trim();
                if text.is_empty() || !text.bytes().all(is_of_number) {
                    return Err(self.bad("this is not a number"));
                }
                self.out.extend_from_slice(text.as_bytes());
            }
            TagKind::String => {
                let text = self.content(kind, is_empty)?;
                let text = quoted(&text, is_escaped).ok_or_else(|| self.bad("an escape is bad"))?;
                self.out.extend_from_slice(text.as_bytes());
            }
        }
        Ok(false)
    }

    /// The text of an element that holds no others, and its end tag.
    fn content(&mut self, kind: TagKind, is_empty: bool) -> Result<String, Problem> {
        if is_empty {
            return Ok(String::new());
        }
        let end = self.rest().find('<').ok_or_else(|| self.bad("an element has no end"))?;
        let raw = self.rest()[..end].to_owned();
        let text = self.unescape(&raw)?;
        self.at += end;
        if !self.eat("</") {
            return Err(self.bad("there is something else than text in a text"));
        }
        self.close(kind)?;
        Ok(text)
    }

    /// The rest of an end tag.
    fn close(&mut self, kind: TagKind) -> Result<(), Problem> {
        if !self.eat(kind.name()) {
            return Err(self.bad("an end tag has another name"));
        }
        self.skip_space();
        if self.eat(">") { Ok(()) } else { Err(self.bad("an end tag has no end")) }
    }

    fn tag(&mut self, is_root: bool) -> Result<Tag, Problem> {
        if !self.eat("<") {
            return Err(self.bad("there is no element"));
        }
        let rest = self.rest();
        let end = rest.find(|one: char| !one.is_ascii_lowercase()).unwrap_or(rest.len());
        let found = TagKind::ALL.iter().find(|(name, _)| *name == &rest[..end]);
        let Some(&(_, kind)) = found else {
            return Err(self.bad("this is no element of JSON: map, array, string, number, …"));
        };
        self.at += end;
        let mut tag = Tag { kind, key: None, is_escaped: false, is_empty: false };
        let (mut raw_key, mut key_is_escaped, mut has_namespace) = (None, None, false);
        let mut escaped = None;
        loop {
            let before = self.at;
            self.skip_space();
            if self.eat(">") {
                break;
            }
            if self.eat("/>") {
                tag.is_empty = true;
                break;
            }
            if self.at == before {
                return Err(self.bad("there is no space before an attribute"));
            }
            let (name, value) = self.attribute()?;
            let is_twice = match &*name {
                "xmlns" if value == NAMESPACE => std::mem::replace(&mut has_namespace, true),
                "key" => raw_key.replace(value).is_some(),
                "escaped" => escaped.replace(value).is_some(),
                "escaped-key" => key_is_escaped.replace(value).is_some(),
                _ => return Err(self.bad("there is no such attribute")),
            };
            if is_twice {
                return Err(self.bad("an attribute is there twice"));
            }
        }
        if is_root && !has_namespace {
            return Err(self.bad("the element is not of the namespace of JSON"));
        }
        let truth = |value: Option<String>| match value.as_deref() {
            None | Some("false" | "0") => Some(false),
            Some("true" | "1") => Some(true),
            Some(_) => None,
        };
        let why = "escaped is true or false";
        tag.is_escaped = truth(escaped).ok_or_else(|| self.bad(why))?;
        let key_is_escaped = truth(key_is_escaped).ok_or_else(|| self.bad(why))?;
        if let Some(raw) = raw_key {
            let key = quoted(&raw, key_is_escaped).ok_or_else(|| self.bad("an escape is bad"))?;
            tag.key = Some(key);
        } else if key_is_escaped {
            return Err(self.bad("there is no key to be escaped"));
        }
        Ok(tag)
    }

    fn attribute(&mut self) -> Result<(String, String), Problem> {
        let rest = self.rest();
        let of_name = |one: char| one.is_ascii_lowercase() || one == '-';
        let end = rest.find(|one| !of_name(one)).unwrap_or(rest.len());
        let name = rest[..end].to_owned();
        self.at += end;
        self.skip_space();
        if name.is_empty() || !self.eat("=") {
            return Err(self.bad("this is no attribute"));
        }
        self.skip_space();
        let quote = if self.eat("\"") {
            '"'
        } else if self.eat("'") {
            '\''
        } else {
            return Err(self.bad("an attribute has no quotes"));
        };
        let end = self.rest().find(quote).ok_or_else(|| self.bad("an attribute has no end"))?;
        let raw = self.rest()[..end].to_owned();
        if raw.contains('<') {
            return Err(self.bad("an attribute has no end"));
        }
        // XML 1.0 §3.3.3: as they stand there, they are spaces.
        let value = self.unescape(&raw.replace(['\t', '\n', '\r'], " "))?;
        self.at += end + 1;
        Ok((name, value))
    }

    /// Resolves references to characters and to XML's own entities.
    fn unescape(&self, raw: &str) -> Result<String, Problem> {
        let mut text = String::with_capacity(raw.len());
        let mut rest = raw;
        while let Some(at) = rest.find('&') {
            text.push_str(&rest[..at]);
            let end = rest[at..].find(';').filter(|end| *end <= 12);
            let end = end.ok_or_else(|| self.bad("a reference has no end"))?;
            let name = &rest[at + 1..at + end];
            let one = match name {
                "amp" => Some('&'),
                "lt" => Some('<'),
                "gt" => Some('>'),
                "quot" => Some('"'),
                "apos" => Some('\''),
                _ => {
                    let digits = name.strip_prefix('#');
                    let number = digits.and_then(|digits| match digits.strip_prefix('x') {
                        Some(hex) if hex.bytes().all(|one| one.is_ascii_hexdigit()) => {
                            u32::from_str_radix(hex, 16).ok()
                        }
                        None if digits.bytes().all(|one| one.is_ascii_digit()) => {
                            digits.parse().ok()
                        }
                        _ => None,
                    });
                    number.and_then(char::from_u32).filter(|one| is_char(*one))
                }
            };
            text.push(one.ok_or_else(|| self.bad("there is no such entity or character"))?);
            rest = &rest[at + end + 1..];
        }
        text.push_str(rest);
        // Line ends that are no references (XML 1.0 §2.11) were none of a text that we wrote.
        if !text.chars().all(is_char) {
            return Err(self.bad("a character is none of XML"));
        }
        Ok(text)
    }
}

/// A text as a string of JSON, with its quotes. `is_escaped`: a backslash begins an escape of JSON,
/// which stays; an error if it is none.
fn quoted(text: &str, is_escaped: bool) -> Option<String> {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    let mut rest = text.chars();
    while let Some(one) = rest.next() {
        match one {
            '\\' if is_escaped => {
                let escape = rest.next().filter(|next| "\"\\/bfnrtu".contains(*next))?;
                out.extend(['\\', escape]);
                if escape == 'u' {
                    for _ in 0..4 {
                        out.push(rest.next().filter(char::is_ascii_hexdigit)?);
                    }
                }
            }
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            one => out.push(one),
        }
    }
    out.push('"');
    Some(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn to_xml(json: &str) -> String {
        String::from_utf8(from_json(json.as_bytes(), 1 << 20).unwrap()).unwrap()
    }

    fn back(xml: &str) -> Result<String, Problem> {
        to_json(xml.as_bytes(), 1 << 20).map(|json| String::from_utf8(json).unwrap())
    }

    #[test]
    fn the_mapping_is_the_one_of_xpath_functions() {
        let root = format!(" xmlns=\"{NAMESPACE}\"");
        for (json, xml) in [
            (
                r#"{"id": 7, "tags": ["a", null], "ok": true}"#,
                format!(
                    "<map{root}><number key=\"id\">7</number><array key=\"tags\"><string>a</string>\
                      <null/></array><boolean key=\"ok\">true</boolean></map>"
                ),
            ),
            (
                r#""<&>\" \t\r\n""#,
                format!("<string{root}>&lt;&amp;&gt;&quot; &#x9;&#xD;&#xA;</string>"),
            ),
            (r#""a\\b""#, format!("<string{root}>a\\b</string>")),
            (
                r#""a\\\u0000\uffff""#,
                format!("<string{root} escaped=\"true\">a\\\\\\u0000\\uFFFF</string>"),
            ),
            (
                r#"{"\u0001":1.50e+3}"#,
                format!(
                    "<map{root}><number key=\"\\u0001\" escaped-key=\"true\">1.50e+3</number></map>"
                ),
            ),
            ("[]", format!("<array{root}></array>")),
        ] {
            assert_eq!(to_xml(json), xml);
        }
    }

    #[test]
    fn what_became_xml_comes_back() {
        for json in [
            r#"{"id":7,"tags":["a",null,{"":[]}],"ok":true,"no":false}"#,
            r#""<&>\" \t\r\n'\\ \u0000 \uffff \ud83d\ude00 é""#,
            r#"{"\u0001\\":1.50e+3,"\n":-0,"big":123456789012345678901234567890}"#,
            "null",
            "0",
            "\"\"",
            "[]",
            "{}",
            "[[],[[]]]",
        ] {
            // The same value; escapes may be written in another way.
            let xml = to_xml(json);
            let again = back(&xml).unwrap_or_else(|problem| panic!("{json} {xml}: {problem:?}"));
            assert_eq!(to_xml(&again), xml, "{json}");
        }
    }

    #[test]
    fn hostile_xml_is_refused() {
        let root = format!(" xmlns=\"{NAMESPACE}\"");
        let doctype = format!("<!DOCTYPE map [<!ENTITY a \"aaaa\">]><string{root}>&a;</string>");
        for xml in [
            doctype,
            format!("<string{root}>&a;</string>"),
            format!("<string{root}>&#0;</string>"),
            format!("<string{root}>&#xD800;</string>"),
            format!("<string{root}><!-- x --></string>"),
            format!("<string{root}><![CDATA[x]]></string>"),
            format!("<?pi?><string{root}>x</string>"),
            "<string>x</string>".to_owned(),
            "<string xmlns=\"other\">x</string>".to_owned(),
            format!("<map{root}><null key=\"a\"/><null key=\"a\"/></map>"),
            format!(
                "<map{root}><null key=\"a\"/><null key=\"\\u0061\" escaped-key=\"true\"/></map>"
            ),
            format!("<map{root}><null/></map>"),
            format!("<array{root}><null key=\"a\"/></array>"),
            format!("<array{root}>text</array>"),
            format!("<number{root}>1,2</number>"),
            format!("<number{root}>1-</number>"),
            format!("<number{root}>NaN</number>"),
            format!("<string{root} escaped=\"true\">\\x</string>"),
            format!("<string{root} escaped=\"true\">\\ud800</string>"),
            format!("<string{root} escaped=\"true\" escaped=\"true\">x</string>"),
            format!("<string{root} other=\"\">x</string>"),
            format!("<string{root}>x</string>x"),
            format!("<string{root}>x</number>"),
            format!("<string{root}>x"),
            format!("<array{root}>{}", "<array>".repeat(1 << 16)),
            "\u{feff}".to_owned(),
            String::new(),
        ] {
            assert!(back(&xml).is_err(), "{xml:.200}");
        }
    }

    #[test]
    fn the_bounds_hold_for_what_grows_most() {
        for json in [
            "[0,0,0,0,0,0,0,0]",
            "[[],[],[],[],[]]",
            "{\"a\":{},\"b\":{},\"c\":0}",
            "\"&&&&&&&&&&&&&\"",
            "\"\\u0000\\u0000\"",
            "[null,null,true,\"\",\"\",\"\"]",
            "{\"\\u0001\":0,\"\\u0002\":0}",
            "0",
        ] {
            assert!(to_xml(json).len() <= most_bytes(json.len()), "{json}");
        }
        let body = format!("[{}0]", "0,".repeat(1000));
        assert_eq!(from_json(body.as_bytes(), 1000).unwrap_err().status, 413);
    }

    /// Any JSON, as text.
    fn any_json() -> impl Strategy<Value = String> {
        let string = "[\u{0}-\u{7f}\u{85}\u{2028}\u{fffe}\u{ffff}\u{10ffff}\u{e9}]{0,6}"
            .prop_map(serde_json::Value::from);
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(serde_json::Value::from),
            any::<i64>().prop_map(serde_json::Value::from),
            string,
        ];
        let value = leaf.prop_recursive(4, 32, 5, |inner| {
            let members =
                prop::collection::btree_map("[\u{0}-\u{7f}\u{ffff}]{0,4}", inner.clone(), 0..5);
            prop_oneof![
                prop::collection::vec(inner, 0..5).prop_map(serde_json::Value::from),
                members.prop_map(|members| members
                    .into_iter()
                    .collect::<serde_json::Map<_, _>>()
                    .into()),
            ]
        });
        value.prop_map(|value| value.to_string())
    }

    proptest! {
        #[test]
        fn any_json_comes_back_from_xml_and_within_its_bounds(json in any_json()) {
            let xml = from_json(json.as_bytes(), 1 << 20).unwrap();
            prop_assert!(xml.len() <= most_bytes(json.len()), "{} of {}", xml.len(), json.len());
            let again = to_json(&xml, 1 << 20).unwrap();
            prop_assert!(again.len() <= xml.len());
            let parse = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).unwrap();
            prop_assert_eq!(parse(&again), parse(json.as_bytes()));
        }

        #[test]
        fn whatever_is_read_as_xml_is_json(
            inner in r#"(<(map|array|string|number|null)( key="[a&;#x0-9]{0,3}")?( escaped="true")?/?>|</(map|array|string)>|[a0-9 &;<>\\]|&lt;|&#x41;){0,10}"#,
            root in "(map|array|string)",
        ) {
            let xml = format!("<{root} xmlns=\"{NAMESPACE}\">{inner}</{root}>");
            if let Ok(json) = to_json(xml.as_bytes(), 1 << 20) {
                prop_assert!(serde_json::from_slice::<serde_json::Value>(&json).is_ok());
                let again = from_json(&json, 1 << 20).unwrap();
                let twice = to_json(&again, 1 << 20).unwrap();
                let parse = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).unwrap();
                prop_assert_eq!(parse(&twice), parse(&json));
            }
        }
    }
}
