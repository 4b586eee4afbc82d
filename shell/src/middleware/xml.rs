//! JSON as XML, and back: the mapping of the W3C's `XPath` and `XQuery` Functions 3.1, §17.5
//! (`fn:json-to-xml` with `escape` true, and `fn:xml-to-json`), which every XSLT 3 processor knows.
//! quick-xml reads and writes the XML.
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

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::Write as _;

use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::attributes::Attribute;
use quick_xml::events::{BytesEnd, BytesRef, BytesStart, BytesText, Event};
use quick_xml::name::{Namespace, PrefixDeclaration, QName, ResolveResult};
use quick_xml::{NsReader, Writer, XmlVersion};

use super::Problem;
use super::json::{self, BadJson, Events, Kind, Text};

/// The namespace of the elements.
pub const NAMESPACE: &str = "http://www.w3.org/2005/xpath-functions";

/// Writes one JSON value as one XML element, in at most `limit` bytes.
///
/// # Errors
/// The body is no JSON, or becomes too large.
pub fn from_json(body: &[u8], limit: usize) -> Result<Vec<u8>, Problem> {
    let mut elements = Elements { out: Writer::new(Vec::new()), key: None, is_root: true, limit };
    json::read(body, &mut elements)?;
    Ok(elements.out.into_inner())
}

/// Most bytes that [`from_json`] makes of so many: each of `0,0,0` becomes `<number>0</number>`,
/// and each of `"\u0000"` no more than it was.
pub fn most_bytes(json_bytes: usize) -> usize {
    json_bytes.saturating_mul(12).saturating_add(128)
}

/// Most bytes of memory that [`from_json`] takes beside the text and what it makes: for the names
/// of objects, and for one string that is all of the text and becomes five times as long, in parts
/// that grow twofold.
pub fn memory_of_json(json_bytes: usize) -> usize {
    json::reading_bytes(json_bytes).saturating_add(json_bytes.saturating_mul(24))
}

/// The same of [`to_json`], of so many bytes to so many.
pub fn memory_of_xml(xml_bytes: usize, json_bytes: usize) -> usize {
    json::reading_bytes(json_bytes).saturating_add(xml_bytes.saturating_mul(8))
}

struct Elements<'a> {
    out: Writer<Vec<u8>>,
    /// The name of the value that comes next.
    key: Option<Text<'a>>,
    is_root: bool,
    limit: usize,
}

impl Elements<'_> {
    /// A start tag with what every element has.
    fn tag(&mut self, name: &'static str) -> BytesStart<'static> {
        let mut tag = BytesStart::new(name);
        if std::mem::take(&mut self.is_root) {
            tag.push_attribute(("xmlns", NAMESPACE));
        }
        if let Some(key) = self.key.take() {
            let (value, is_escaped) = escaped(&key.decoded);
            tag.push_attribute(Attribute { key: QName("key"), value: value.into() });
            if is_escaped {
                tag.push_attribute(("escaped-key", "true"));
            }
        }
        tag
    }

    fn write(&mut self, event: Event<'_>) -> Result<(), Problem> {
        // Writing to memory cannot fail.
        let _ = self.out.write_event(event);
        if self.out.get_ref().len() > self.limit {
            let detail = format!("as XML, it has more than {} bytes", self.limit);
            return Err(Problem::too_large(detail));
        }
        Ok(())
    }

    /// Writes an element of a text that is escaped already.
    fn element(&mut self, tag: BytesStart<'static>, text: String) -> Result<(), Problem> {
        let end = tag.to_end().into_owned();
        self.write(Event::Start(tag))?;
        self.write(Event::Text(BytesText::from_escaped(text)))?;
        self.write(Event::End(end))
    }
}

impl<'a> Events<'a> for Elements<'a> {
    type Refusal = Problem;

    fn null(&mut self) -> Result<(), Problem> {
        let tag = self.tag("null");
        self.write(Event::Empty(tag))
    }

    fn boolean(&mut self, value: bool) -> Result<(), Problem> {
        let tag = self.tag("boolean");
        self.element(tag, value.to_string())
    }

    fn number(&mut self, text: &'a str) -> Result<(), Problem> {
        let tag = self.tag("number");
        self.element(tag, text.to_owned())
    }

    fn string(&mut self, text: Text<'a>) -> Result<(), Problem> {
        let (text, is_escaped) = escaped(&text.decoded);
        let mut tag = self.tag("string");
        if is_escaped {
            tag.push_attribute(("escaped", "true"));
        }
        self.element(tag, text)
    }

    fn open(&mut self, of: Kind) -> Result<(), Problem> {
        let tag = self.tag(name(of));
        self.write(Event::Start(tag))
    }

    fn key(&mut self, text: Text<'a>) -> Result<(), Problem> {
        self.key = Some(text);
        Ok(())
    }

    fn close(&mut self, of: Kind) -> Result<(), Problem> {
        self.write(Event::End(BytesEnd::new(name(of))))
    }
}

const fn name(of: Kind) -> &'static str {
    match of {
        Kind::Array => "array",
        Kind::Object => "map",
    }
}

fn is_char(one: char) -> bool {
    matches!(one, '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}'
        | '\u{10000}'..='\u{10ffff}')
}

/// A text that reads the same in an element and in an attribute, whatever a parser makes of line
/// ends and tabs. Whether it has escapes of JSON, because XML 1.0 has no character (production
/// `Char`) for part of it.
fn escaped(text: &str) -> (String, bool) {
    let is_escaped = text.chars().any(|one| !is_char(one));
    // A vector that grows would take three times as much.
    let bytes = text.chars().map(|one| match one {
        '&' | '\t' | '\n' | '\r' => 5,
        '<' | '>' => 4,
        '"' => 6,
        '\\' => 2,
        one if is_char(one) => one.len_utf8(),
        _ => 6,
    });
    let mut out = String::with_capacity(bytes.sum());
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
    (out, is_escaped)
}

/// Reads what [`from_json`] has written, and what means the same: elements of the mapping, in any
/// form that needs no document type. Comments, processing instructions, sections of characters,
/// document types and references to entities that are not XML's own five are refused.
///
/// # Errors
/// The body is something else, or becomes too large.
pub fn to_json(body: &[u8], limit: usize) -> Result<Vec<u8>, Problem> {
    let text =
        std::str::from_utf8(body).map_err(|error| bad(error.valid_up_to(), "this is not UTF-8"))?;
    let mut reader = NsReader::from_str(text);
    reader.config_mut().expand_empty_elements = true;
    let mut values = Values { out: Vec::new(), open: Vec::new(), is_over: false };
    let mut is_first = true;
    loop {
        let at = usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX);
        let (of, event) = match reader.read_resolved_event() {
            Ok(read) => read,
            Err(error) => return Err(bad(at, &error.to_string())),
        };
        let is_ours = of == ResolveResult::Bound(Namespace(NAMESPACE));
        let taken = match event {
            Event::Start(tag) if is_ours => Tag::new(&tag).and_then(|tag| values.begin(tag)),
            Event::Start(_) => Err("the element is not of the namespace of JSON".into()),
            Event::End(_) => values.end(),
            // XML 1.0 §2.4.
            Event::Text(text) if text.contains("]]>") => Err("there is `]]>` in a text".into()),
            Event::Text(text) => values.text(&text.xml10_content()),
            Event::GeneralRef(reference) => {
                resolved(&reference).and_then(|text| values.text(text.as_ref()))
            }
            Event::Decl(_) if !is_first => Err("the declaration is not at the start".into()),
            Event::Decl(declaration) => {
                match (declaration.version().as_deref(), declaration.encoding()) {
                    (Ok("1.0"), None) => Ok(()),
                    (Ok("1.0"), Some(Ok(name))) if name.eq_ignore_ascii_case("utf-8") => Ok(()),
                    _ => Err("the declaration is not that of XML 1.0 in UTF-8".into()),
                }
            }
            Event::Eof if values.is_over => break,
            Event::Eof => Err("there is no element, or it has no end".into()),
            Event::Empty(_) | Event::CData(_) | Event::Comment(_) => {
                Err("there is something else than elements and text".into())
            }
            Event::DocType(_) | Event::PI(_) => {
                Err("document types and processing instructions are not taken".into())
            }
        };
        taken.map_err(|why: Cow<'_, str>| bad(at, &why))?;
        is_first = false;
        if values.out.len() > limit {
            let detail = format!("as JSON, it has more than {limit} bytes");
            return Err(Problem::too_large(detail));
        }
    }
    // Names that are twice in a map, and numbers that are none, are found as in any JSON.
    match json::check(&values.out) {
        Ok(()) => Ok(values.out),
        Err(BadJson { why }) => {
            Err(Problem::malformed(format!("the body stands for no JSON that can be taken: {why}")))
        }
    }
}

fn bad(at: usize, why: &str) -> Problem {
    Problem::malformed(format!("the body is not XML that can be taken: at byte {at}, {why}"))
}

/// What a reference stands for.
fn resolved(reference: &BytesRef<'_>) -> Result<Cow<'static, str>, Cow<'static, str>> {
    match reference.resolve_char_ref() {
        Ok(Some(one)) => Ok(Cow::Owned(one.to_string())),
        Ok(None) => resolve_xml_entity(reference)
            .map(Cow::Borrowed)
            .ok_or(Cow::Borrowed("there is no such entity")),
        Err(error) => Err(Cow::Owned(error.to_string())),
    }
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

/// A start tag.
struct Tag {
    kind: TagKind,
    /// As JSON, with its quotes.
    key: Option<String>,
    is_escaped: bool,
}

impl Tag {
    fn new(tag: &BytesStart<'_>) -> Result<Self, Cow<'static, str>> {
        let kind = match tag.local_name().as_ref() {
            "null" => TagKind::Null,
            "boolean" => TagKind::Boolean,
            "number" => TagKind::Number,
            "string" => TagKind::String,
            "array" => TagKind::Array,
            "map" => TagKind::Map,
            _ => return Err("this is no element of JSON: map, array, string, number, …".into()),
        };
        if !tag.name().prefix().is_none_or(|prefix| is_prefix(prefix.as_ref())) {
            return Err("the prefix is no name".into());
        }
        if !are_apart(tag.attributes_raw()) {
            return Err("there is no space between attributes".into());
        }
        let (mut key, mut is_escaped, mut key_is_escaped) = (None, false, false);
        for attribute in tag.attributes() {
            let attribute = attribute.map_err(|error| error.to_string())?;
            if attribute.value.contains('<') {
                return Err("an attribute has a `<`".into());
            }
            let value = attribute.normalized_value(XmlVersion::Implicit1_0);
            let value = value.map_err(|error| error.to_string())?;
            if !value.chars().all(is_char) {
                return Err("a character is none of XML".into());
            }
            let truth = match &*value {
                "true" | "1" => Some(true),
                "false" | "0" => Some(false),
                _ => None,
            };
            match attribute.key.0 {
                "key" => key = Some(value.into_owned()),
                "escaped" => is_escaped = truth.ok_or("escaped is true or false")?,
                "escaped-key" => key_is_escaped = truth.ok_or("escaped-key is true or false")?,
                _ => match attribute.key.as_namespace_binding() {
                    Some(PrefixDeclaration::Default) => {}
                    Some(PrefixDeclaration::Named(prefix)) if is_prefix(prefix) => {}
                    _ => return Err("there is no such attribute".into()),
                },
            }
        }
        if is_escaped && kind != TagKind::String {
            return Err("only strings are escaped".into());
        }
        let key = match key {
            Some(key) => Some(quoted(&key, key_is_escaped).ok_or("an escape is bad")?),
            None if key_is_escaped => return Err("there is no key to be escaped".into()),
            None => None,
        };
        Ok(Self { kind, key, is_escaped })
    }
}

/// Whether a prefix is a name, of those that XML allows the usual ones.
fn is_prefix(prefix: &str) -> bool {
    let is_first = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b'_';
    prefix.as_bytes().first().is_some_and(is_first)
        && prefix
            .bytes()
            .all(|byte| is_first(&byte) || byte.is_ascii_digit() || b"-.".contains(&byte))
}

/// Whether each attribute ends with the tag, or before a space (XML 1.0 §3.1).
fn are_apart(attributes: &str) -> bool {
    let mut rest = attributes;
    while let Some(at) = rest.find(['"', '\'']) {
        let quote = rest.as_bytes()[at];
        let Some(end) = memchr::memchr(quote, &rest.as_bytes()[at + 1..]) else { return false };
        rest = &rest[at + end + 2..];
        if !rest.is_empty() && !rest.starts_with([' ', '\t', '\n', '\r']) {
            return false;
        }
    }
    true
}

/// The JSON that elements stand for.
struct Values {
    out: Vec<u8>,
    open: Vec<Open>,
    /// The only value has ended.
    is_over: bool,
}

/// An element that has begun.
struct Open {
    kind: TagKind,
    is_escaped: bool,
    /// Nothing is in it yet.
    is_new: bool,
    /// Its text so far, of those that hold no others.
    text: String,
}

impl Open {
    fn holds_others(&self) -> bool {
        matches!(self.kind, TagKind::Array | TagKind::Map)
    }
}

impl Values {
    fn begin(&mut self, tag: Tag) -> Result<(), Cow<'static, str>> {
        if self.is_over {
            return Err("something follows the element".into());
        }
        if self.open.len() >= json::DEPTH_MAX && matches!(tag.kind, TagKind::Array | TagKind::Map) {
            return Err("the value is nested too deeply".into());
        }
        let outer = self.open.last_mut();
        let is_member = outer.as_ref().is_some_and(|outer| outer.kind == TagKind::Map);
        if let Some(outer) = outer {
            if !outer.holds_others() {
                return Err("there is something else than text in a text".into());
            }
            if !std::mem::take(&mut outer.is_new) {
                self.out.push(b',');
            }
        }
        match tag.key {
            Some(key) if is_member => {
                let _ = write!(self.out, "{key}:");
            }
            Some(_) => return Err("only members of a map have keys".into()),
            None if is_member => return Err("a member of a map has no key".into()),
            None => {}
        }
        match tag.kind {
            TagKind::Array => self.out.push(b'['),
            TagKind::Map => self.out.push(b'{'),
            _ => {}
        }
        let (kind, is_escaped) = (tag.kind, tag.is_escaped);
        self.open.push(Open { kind, is_escaped, is_new: true, text: String::new() });
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<(), Cow<'static, str>> {
        if !text.chars().all(is_char) {
            return Err("a character is none of XML".into());
        }
        match self.open.last_mut() {
            Some(open) if !open.holds_others() => {
                open.text.push_str(text);
            }
            _ if text.chars().all(|one| " \t\n\r".contains(one)) => {}
            _ => return Err("there is text between elements".into()),
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), Cow<'static, str>> {
        let Some(Open { kind, is_escaped, text, .. }) = self.open.pop() else {
            return Err("an element ends that has not begun".into());
        };
        self.is_over = self.open.is_empty();
        let bare = text.trim_matches([' ', '\t', '\n', '\r']);
        match kind {
            TagKind::Array => self.out.push(b']'),
            TagKind::Map => self.out.push(b'}'),
            TagKind::Null if bare.is_empty() => self.out.extend_from_slice(b"null"),
            TagKind::Null => return Err("a null has no content".into()),
            TagKind::Boolean => self.out.extend_from_slice(match bare {
                "true" | "1" => b"true",
                "false" | "0" => b"false",
                _ => return Err("a boolean is true or false".into()),
            }),
            TagKind::Number => {
                // Whether it is a number of JSON is looked at in the end; it cannot be more.
                let is_of_number = |byte: u8| byte.is_ascii_digit() || b"+-.eE".contains(&byte);
                if bare.is_empty() || !bare.bytes().all(is_of_number) {
                    return Err("this is not a number".into());
                }
                self.out.extend_from_slice(bare.as_bytes());
            }
            TagKind::String => {
                let text = quoted(&text, is_escaped).ok_or("an escape is bad")?;
                self.out.extend_from_slice(text.as_bytes());
            }
        }
        Ok(())
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
    fn a_prefix_and_a_declaration_mean_what_they_do_in_xml() {
        let prefixed = format!(
            "<?xml version='1.0' encoding=\"UTF-8\"?>\n<f:map xmlns:f='{NAMESPACE}'>\
             <f:null key = 'a'\n/></f:map>\n"
        );
        assert_eq!(back(&prefixed).as_deref(), Ok("{\"a\":null}"));
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
            format!("<string{root}>]]></string>"),
            format!("<map{root}><null key=\"a\"escaped-key=\"true\"/></map>"),
            format!("<?xml version=\"1.1\"?><null{root}/>"),
            format!("<?xml version=\"1.0\" encoding=\"latin1\"?><null{root}/>"),
            format!("<1:null xmlns:1=\"{NAMESPACE}\"/>"),
            format!(" <?xml version=\"1.0\"?><null{root}/>"),
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

    #[test]
    fn elements_hold_what_their_names_say_and_keys_are_of_members() {
        let said = |xml: &str| {
            let xml = xml.replacen('>', " xmlns=\"http://www.w3.org/2005/xpath-functions\">", 1);
            let json = to_json(xml.as_bytes(), 1 << 20).map_err(|problem| problem.detail);
            json.map(|json| String::from_utf8(json).unwrap())
        };
        for (xml, json) in [
            ("<null> \n</null>", "null"),
            ("<number> 1.5 </number>", "1.5"),
            ("<array><null/><boolean> 1</boolean></array>", "[null,true]"),
            ("<map><number key=\"a\">1</number></map>", "{\"a\":1}"),
        ] {
            assert_eq!(said(xml).as_deref(), Ok(json), "{xml}");
        }
        for (xml, why) in [
            ("<null>x</null>", "a null has no content"),
            ("<number>true</number>", "this is not a number"),
            ("<number>[1]</number>", "this is not a number"),
            ("<number> </number>", "this is not a number"),
            ("<array><null key=\"a\"/></array>", "only members of a map have keys"),
            ("<map><null/></map>", "a member of a map has no key"),
        ] {
            let error = said(xml).expect_err(xml);
            assert!(error.contains(why), "{xml}: {error}");
        }
        for (prefix, is_one) in [
            ("a", true),
            ("_a-1.b", true),
            ("1a", false),
            ("-a", false),
            ("a+b", false),
            ("a b", false),
        ] {
            assert_eq!(is_prefix(prefix), is_one, "{prefix}");
        }
        let xml = "<string xmlns=\"http://www.w3.org/2005/xpath-functions\">abc</string>";
        assert_eq!(to_json(xml.as_bytes(), 5).as_deref(), Ok(&b"\"abc\""[..]));
        assert_eq!(to_json(xml.as_bytes(), 4).map_err(|problem| problem.status), Err(413));
    }

    #[test]
    fn a_document_has_its_end_its_declaration_and_its_bound() {
        let array = "<array xmlns=\"http://www.w3.org/2005/xpath-functions\">";
        for (xml, is_taken) in [
            (format!("{array}</array>"), true),
            (format!("<?xml version=\"1.0\"?>{array}</array>"), true),
            (format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>{array}</array>"), true),
            (format!("<?xml version=\"1.1\"?>{array}</array>"), false),
            (format!("<?xml version=\"1.0\" encoding=\"latin1\"?>{array}</array>"), false),
            (array.to_owned(), false),
            (String::new(), false),
        ] {
            assert_eq!(to_json(xml.as_bytes(), 99).is_ok(), is_taken, "{xml}");
        }
        let made = from_json(b"[1]", usize::MAX).unwrap();
        assert_eq!(from_json(b"[1]", made.len()), Ok(made.clone()));
        let status = from_json(b"[1]", made.len() - 1).map_err(|problem| problem.status);
        assert_eq!(status, Err(413));
    }
}
