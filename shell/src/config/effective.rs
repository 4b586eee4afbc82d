//! The settings in effect, one by one: what `aqueduct config` prints, and what a reload compares.

use std::fmt::{Display, Write};
use std::time::Duration;

use super::{Given, Origin};

/// Whether a setting takes another value while the process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A reload changes it.
    Live,
    /// It stays until the process starts again, for this reason.
    Fixed(&'static str),
}

/// One setting in effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its key in the table.
    pub key: &'static str,
    /// Its value, as TOML.
    pub value: String,
    /// Who gave it.
    pub origin: Origin,
    /// Whether a reload changes it.
    pub change: Change,
}

/// One table in effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Its header as it is written, `[http]` or `[[ring]]`.
    pub header: &'static str,
    /// What tells it from others of that header: the name of a ring, the number of an address.
    pub of: String,
    /// Where it begins.
    pub origin: Origin,
    /// Its settings.
    pub entries: Vec<Entry>,
}

impl Section {
    /// Begins a table that there is once.
    pub fn new(header: &'static str) -> Self {
        Self { header, of: String::new(), origin: Origin::Default, entries: Vec::new() }
    }

    /// Begins one of several tables.
    pub fn one_of(header: &'static str, of: impl Into<String>, origin: Origin) -> Self {
        Self { header, of: of.into(), origin, entries: Vec::new() }
    }

    /// Adds a setting with its value, as TOML, which nobody need have given.
    pub fn put<T>(
        &mut self,
        key: &'static str,
        value: String,
        given: Option<&Given<T>>,
        change: Change,
    ) {
        let origin = given.map_or(Origin::Default, |given| given.origin);
        self.entries.push(Entry { key, value, origin, change });
    }

    /// Names it for messages: `http`, `ring orders`, `listen 2`.
    pub fn name(&self) -> String {
        let name = self.header.trim_matches(['[', ']']);
        if self.of.is_empty() { name.to_owned() } else { format!("{name} {}", self.of) }
    }
}

/// Writes a string of TOML.
pub fn quoted(text: impl Display) -> String {
    let mut quoted = String::from("\"");
    for character in text.to_string().chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            character if character.is_control() => {
                // Writing to a string cannot fail.
                let _ = write!(quoted, "\\u{:04X}", u32::from(character));
            }
            character => quoted.push(character),
        }
    }
    quoted + "\""
}

/// Writes a list of strings.
pub fn list<T: Display>(values: impl IntoIterator<Item = T>) -> String {
    let values: Vec<String> = values.into_iter().map(quoted).collect();
    format!("[{}]", values.join(", "))
}

/// Writes a time, with the largest unit that has it as a whole number.
pub fn written_time(time: Duration) -> String {
    match time.as_millis() {
        ms if ms > 0 && ms % 3_600_000 == 0 => format!("\"{}h\"", ms / 3_600_000),
        ms if ms > 0 && ms % 60_000 == 0 => format!("\"{}m\"", ms / 60_000),
        ms if ms > 0 && ms % 1000 == 0 => format!("\"{}s\"", ms / 1000),
        ms => format!("\"{ms}ms\""),
    }
}

/// Writes a size, with the largest binary unit that has it as a whole number.
pub fn written_size(bytes: u64) -> String {
    for (shift, unit) in [(30, "GiB"), (20, "MiB"), (10, "KiB")] {
        if bytes > 0 && bytes.is_multiple_of(1 << shift) {
            return format!("\"{}{unit}\"", bytes >> shift);
        }
    }
    bytes.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_as_the_same() {
        for ms in [0, 1, 999, 1000, 1500, 60_000, 61_000, 3_600_000, 86_400_000] {
            let written = written_time(Duration::from_millis(ms));
            let read: super::super::Millis = written.trim_matches('"').parse().expect("a time");
            assert_eq!(read.0, ms, "{written}");
        }
        for bytes in [0, 1, 1023, 1024, 65_534, 65_536, 1 << 20, 1 << 30, 3 << 30] {
            let written = written_size(bytes);
            let read: super::super::Size = written.trim_matches('"').parse().expect("a size");
            assert_eq!(read.0, bytes, "{written}");
        }
        let text = "a \"b\" \\ \n\t\u{7f}ä";
        let read = toml::de::DeValue::parse(&quoted(text))
            .map(|value| value.get_ref().as_str().map(str::to_owned));
        assert_eq!(read.expect("TOML").as_deref(), Some(text));
    }

    #[test]
    fn times_and_sizes_have_the_largest_unit_that_has_them_whole() {
        for (ms, written) in [
            (0, "\"0ms\""),
            (999, "\"999ms\""),
            (1000, "\"1s\""),
            (1500, "\"1500ms\""),
            (60_000, "\"1m\""),
            (61_000, "\"61s\""),
            (3_600_000, "\"1h\""),
            (5_400_000, "\"90m\""),
            (86_400_000, "\"24h\""),
        ] {
            assert_eq!(written_time(Duration::from_millis(ms)), written);
        }
        for (bytes, written) in [
            (0, "0"),
            (1, "1"),
            (1023, "1023"),
            (1024, "\"1KiB\""),
            (1536, "1536"),
            (3 << 20, "\"3MiB\""),
            (1 << 30, "\"1GiB\""),
            (1025 << 20, "\"1025MiB\""),
        ] {
            assert_eq!(written_size(bytes), written);
        }
    }

    #[test]
    fn a_section_is_named_for_messages_and_lists_what_is_put_into_it() {
        assert_eq!(Section::new("[http]").name(), "http");
        let mut section = Section::one_of("[[ring]]", "orders", Origin::Flag("--ring"));
        assert_eq!(section.name(), "ring orders");
        section.put::<u64>("names", list(["a\"b", "c"]), None, Change::Live);
        assert_eq!(section.entries.len(), 1);
        let Entry { key, value, origin, .. } = &section.entries[0];
        assert_eq!((*key, &**value, *origin), ("names", "[\"a\\\"b\", \"c\"]", Origin::Default));
    }
}
