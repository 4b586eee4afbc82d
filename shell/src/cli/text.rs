//! Text that commands read and write: its shape, JSON strings, times.

use std::io::{self, Write};
use std::time::{Duration, UNIX_EPOCH};

use aqueduct_core::Attributes;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Damaged places that are listed; further ones are counted.
pub(super) const DAMAGE_MAX: usize = 1000;

/// The shape of what a command prints.
#[allow(clippy::doc_markdown, reason = "the texts are the help that the command prints")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// For people
    #[default]
    Text,
    /// One object of JSON
    Json,
}

/// The flag by which a command is told the shape of what it prints.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct FormatArgs {
    /// Shape of what is printed
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

impl FormatArgs {
    /// Whether programs are to read it.
    pub(super) fn is_json(self) -> bool {
        self.format == Format::Json
    }

    /// Writes a line for people, or an object for programs, as it was asked for.
    pub(super) fn choose(
        self,
        text: impl FnOnce() -> String,
        object: &serde_json::Value,
    ) -> String {
        if self.is_json() { format!("{object}\n") } else { text() }
    }
}

/// Writes a string of JSON.
pub(super) fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Writes the member `attributes` of an object, after others; nothing if there are none.
pub(super) fn attributes(out: &mut impl Write, attributes: Attributes<'_>) -> io::Result<()> {
    let mut between = ",\"attributes\":[";
    for attribute in attributes {
        let name = String::from_utf8_lossy(attribute.name);
        write!(out, "{between}{{\"name\":{}", json(&name))?;
        value(out, "value", attribute.value)?;
        out.write_all(b"}")?;
        between = ",";
    }
    if between == "," { out.write_all(b"]") } else { Ok(()) }
}

/// Writes bytes as text, or in base64 under a name that says so.
pub(super) fn value(out: &mut impl Write, name: &str, bytes: &[u8]) -> io::Result<()> {
    match std::str::from_utf8(bytes) {
        Ok(text) => write!(out, ",\"{name}\":{}", json(text)),
        Err(_) => write!(out, ",\"{name}_base64\":\"{}\"", STANDARD.encode(bytes)),
    }
}

/// Writes text for people, in which nothing can steer a terminal.
#[cfg(feature = "look")]
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '?' } else { character }).collect()
}

/// Writes a text as one word of a shell.
#[cfg(feature = "look")]
pub(super) fn word(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=@%+,".contains(&byte);
    if !text.is_empty() && text.bytes().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// Writes a time (RFC 3339, UTC, nanoseconds).
pub(super) fn written(ns: u64) -> String {
    humantime::format_rfc3339_nanos(UNIX_EPOCH + Duration::from_nanos(ns)).to_string()
}

/// Reads a time (RFC 3339 in UTC), ns since the Unix epoch.
pub(super) fn time_of(text: &str) -> Option<u64> {
    let since = humantime::parse_rfc3339(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(since.as_nanos()).ok()
}

#[cfg(test)]
mod tests {
    use aqueduct_core::AttributeBlock;

    use super::*;

    #[cfg(feature = "look")]
    #[test]
    fn a_text_is_one_word_of_a_shell() {
        for (text, written) in [
            ("/run/a.sock", "/run/a.sock"),
            ("/run/my own", "'/run/my own'"),
            ("it's", "'it'\\''s'"),
            ("[::1]:90", "'[::1]:90'"),
            ("", "''"),
        ] {
            assert_eq!(word(text), written);
        }
    }

    #[test]
    fn times_are_written_and_read() {
        assert_eq!(written(u64::MAX), "2554-07-21T23:34:33.709551615Z");
        for (text, ns) in [
            ("1970-01-01T00:00:00.000000000Z", 0),
            ("2000-02-29T23:59:59.000000001Z", 951_868_799_000_000_001),
            ("2026-11-29T10:00:00.500000000Z", 1_795_946_400_500_000_000),
        ] {
            assert_eq!((written(ns), time_of(text)), (text.to_owned(), Some(ns)));
        }
        assert_eq!(time_of("2026-11-29T10:00:00Z"), Some(1_795_946_400_000_000_000));
        for text in [
            "",
            "x",
            "2026-13-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-11-29T10:00:00",
            "2026-11-29",
            "9999-12-31T23:59:59Z",
        ] {
            assert_eq!(time_of(text), None, "{text}");
        }
    }

    #[test]
    fn text_is_quoted_as_json_has_it() {
        assert_eq!(json("a\"b\\\n\u{1}é"), "\"a\\\"b\\\\\\n\\u0001é\"");
    }

    #[test]
    fn bytes_that_are_no_text_are_written_in_base64_under_another_name() {
        let written = |bytes: &[u8]| {
            let mut out = Vec::new();
            value(&mut out, "v", bytes).expect("memory");
            String::from_utf8(out).expect("text")
        };
        assert_eq!(written(b"a\"b"), ",\"v\":\"a\\\"b\"");
        assert_eq!(written(b"\xff\x00"), ",\"v_base64\":\"/wA=\"");
    }

    #[test]
    fn attributes_are_a_list_of_names_and_values_that_is_left_out_if_it_is_empty() {
        let written = |pairs: &[(&'static str, &'static [u8])]| {
            let mut buffer = [0; 64];
            let block = AttributeBlock::write(pairs.iter().copied(), &mut buffer).expect("room");
            let block = block.as_bytes().to_vec();
            let mut out = Vec::new();
            attributes(&mut out, Attributes::of(&block)).expect("memory");
            String::from_utf8(out).expect("text")
        };
        assert_eq!(written(&[]), "");
        let one = ",\"attributes\":[{\"name\":\"a\",\"value\":\"x\"}";
        assert_eq!(written(&[("a", b"x")]), format!("{one}]"));
        let two = format!("{one},{{\"name\":\"b\",\"value_base64\":\"/w==\"}}]");
        assert_eq!(written(&[("a", b"x"), ("b", b"\xff")]), two);
    }

    #[cfg(feature = "look")]
    #[test]
    fn nothing_in_text_for_people_steers_a_terminal() {
        assert_eq!(plain("a\u{1b}[2J\n\u{9b}\u{e4}"), "a?[2J??\u{e4}");
    }
}
