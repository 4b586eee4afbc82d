//! Records as rows: of `COPY … FROM STDIN` in its text format, or of `INSERT … VALUES`. The server
//! converts text to the type of each column. Pure over bytes.

use std::borrow::Cow;
use std::fmt::Write;

use serde::Deserialize;
use serde_json::Value;

use crate::batch::View;
use crate::json::{self, Found, Wanted};

/// How rows are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Method {
    /// By `COPY`, into a table.
    #[default]
    Copy,
    /// By `INSERT` of many rows, also into a view, also with `ON CONFLICT`.
    Insert,
}

/// One column as it is written in the file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ColumnTable {
    name: String,
    pointer: Option<String>,
    attribute: Option<String>,
    field: Option<Field>,
    #[serde(default)]
    required: bool,
}

/// What a record has of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Field {
    /// As text, which must be UTF-8 without NUL.
    Payload,
    /// For a column of `bytea`.
    PayloadBytes,
    /// 16 hexadecimal digits.
    Epoch,
    Seq,
    Type,
    /// For a column of `timestamptz`; NULL if unknown.
    Timestamp,
    /// Nanoseconds since 1970.
    TimestampNs,
    /// For a column of `jsonb`: an object, a name that comes twice with its last value.
    Attributes,
}

#[derive(Clone, Debug)]
enum Source {
    Pointer(String),
    Attribute(String),
    Field(Field),
}

/// The columns of a table, checked.
#[derive(Clone, Debug)]
pub(super) struct Columns {
    columns: Vec<(String, Source, bool)>,
    /// The pointers of columns, in their order: with any, payloads must be JSON.
    wanted: Option<Wanted>,
}

impl Columns {
    /// Checks them.
    pub(super) fn new(tables: Vec<ColumnTable>) -> Result<Self, String> {
        if tables.is_empty() {
            return Err("sink.columns: at least one".to_owned());
        }
        let mut columns = Vec::new();
        for ColumnTable { name, pointer, attribute, field, required } in tables {
            let source = match (pointer, attribute, field) {
                (Some(pointer), None, None) if json::is_pointer(&pointer) => {
                    Source::Pointer(pointer)
                }
                (Some(pointer), None, None) => {
                    return Err(format!("sink.columns: {name}: `{pointer}` is no JSON pointer"));
                }
                (None, Some(attribute), None) => Source::Attribute(attribute),
                (None, None, Some(field)) => Source::Field(field),
                _ => {
                    return Err(format!(
                        "sink.columns: {name}: one of pointer, attribute and field"
                    ));
                }
            };
            columns.push((name, source, required));
        }
        let pointer = |source: &'_ Source| match source {
            Source::Pointer(pointer) => Some(pointer.clone()),
            Source::Attribute(_) | Source::Field(_) => None,
        };
        let pointers: Vec<_> = columns.iter().filter_map(|(_, it, _)| pointer(it)).collect();
        let pointers = pointers.iter().map(String::as_str);
        let wanted = (pointers.len() > 0).then(|| Wanted::new(pointers));
        Ok(Self { columns, wanted })
    }

    /// Returns their names for SQL.
    pub(super) fn names(&self) -> String {
        let quoted: Vec<_> = self.columns.iter().map(|(name, _, _)| quoted(name)).collect();
        quoted.join(", ")
    }

    /// Appends a row in this form.
    ///
    /// # Errors
    /// The record has none: its payload is no JSON or no text, or what is required is not there.
    /// `into` may have grown.
    pub(super) fn row(
        &self,
        method: Method,
        record: &View<'_>,
        into: &mut Vec<u8>,
    ) -> Result<(), String> {
        let mut found = Vec::new();
        if let Some(wanted) = &self.wanted {
            wanted.of(record.payload, &mut found)?;
        }
        let mut found = found.into_iter();
        if method == Method::Insert {
            into.push(b'(');
        }
        for (at, (name, source, is_required)) in self.columns.iter().enumerate() {
            if at > 0 {
                into.push(if method == Method::Copy { b'\t' } else { b',' });
            }
            let text = match source {
                Source::Pointer(_) => found.next().and_then(Found::into_text),
                Source::Attribute(_) | Source::Field(_) => source.text(record)?,
            };
            match (text, method) {
                (Some(text), Method::Copy) => escape(&text, into),
                (Some(text), Method::Insert) => quote(name, &text, into)?,
                (None, _) if *is_required => return Err(format!("there is no value for `{name}`")),
                (None, Method::Copy) => into.extend_from_slice(b"\\N"),
                (None, Method::Insert) => into.extend_from_slice(b"NULL"),
            }
        }
        into.push(if method == Method::Copy { b'\n' } else { b')' });
        Ok(())
    }
}

impl Source {
    /// What it is of a record, unless that is in the payload's JSON.
    fn text<'r>(&self, record: &View<'r>) -> Result<Option<Cow<'r, str>>, String> {
        fn utf8<'r>(bytes: &'r [u8], what: &str) -> Result<Option<Cow<'r, str>>, String> {
            let text = std::str::from_utf8(bytes).map_err(|error| format!("{what}: {error}"))?;
            Ok(Some(Cow::Borrowed(text)))
        }
        let text = match self {
            Self::Pointer(_) => return Ok(None),
            Self::Attribute(name) => {
                return record.attributes.get(name).map_or(Ok(None), |value| utf8(value, name));
            }
            Self::Field(Field::Payload) => return utf8(record.payload, "the payload"),
            Self::Field(Field::PayloadBytes) => hexadecimal(record.payload),
            Self::Field(Field::Epoch) => format!("{:016x}", record.epoch),
            Self::Field(Field::Seq) => record.seq.to_string(),
            Self::Field(Field::Type) => record.type_tag.to_string(),
            Self::Field(Field::Timestamp) if record.timestamp_ns == 0 => return Ok(None),
            Self::Field(Field::Timestamp) => timestamp(record.timestamp_ns),
            Self::Field(Field::TimestampNs) => record.timestamp_ns.to_string(),
            Self::Field(Field::Attributes) => {
                let object: serde_json::Map<String, Value> = record
                    .attributes
                    .clone()
                    .map(|it| {
                        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
                        (text(it.name), Value::String(text(it.value)))
                    })
                    .collect();
                Value::Object(object).to_string()
            }
        };
        Ok(Some(Cow::Owned(text)))
    }
}

/// Quotes a name for SQL.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Appends text as a value of COPY.
fn escape(text: &str, into: &mut Vec<u8>) {
    let mut rest = text.as_bytes();
    let is_special = |byte: &u8| matches!(byte, b'\\' | b'\t' | b'\n' | b'\r');
    while let Some(at) = rest.iter().position(is_special) {
        into.extend_from_slice(&rest[..at]);
        into.extend_from_slice(match rest[at] {
            b'\\' => b"\\\\",
            b'\t' => b"\\t",
            b'\n' => b"\\n",
            _ => b"\\r",
        });
        rest = &rest[at + 1..];
    }
    into.extend_from_slice(rest);
}

/// Appends text as a string of SQL (`standard_conforming_strings`: only the quote is doubled).
///
/// # Errors
/// There is a NUL in it, which would end the statement.
fn quote(name: &str, text: &str, into: &mut Vec<u8>) -> Result<(), String> {
    if text.contains('\0') {
        return Err(format!("the value for `{name}` has a NUL, which no text of SQL has"));
    }
    into.push(b'\'');
    into.extend_from_slice(text.replace('\'', "''").as_bytes());
    into.push(b'\'');
    Ok(())
}

/// Bytes as `bytea` reads them.
fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 + 2 * bytes.len());
    text.push_str("\\x");
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// A time as `timestamptz` reads it, in microseconds. Source of the calendar: Hinnant's
/// `civil_from_days`.
fn timestamp(ns: u64) -> String {
    let (seconds, micros) = (ns / 1_000_000_000, ns / 1000 % 1_000_000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}.{micros:06}+00",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Batch;

    fn columns(text: &str) -> Result<Columns, String> {
        #[derive(Deserialize)]
        struct All {
            columns: Vec<ColumnTable>,
        }
        Columns::new(toml::from_str::<All>(text).expect("TOML").columns)
    }

    fn row(text: &str, payload: &[u8]) -> Result<String, String> {
        row_by(Method::Copy, text, payload)
    }

    fn row_by(method: Method, text: &str, payload: &[u8]) -> Result<String, String> {
        let mut batch = Batch::default();
        batch.clear(0xab);
        batch.push(5, 7, 1_700_000_000_123_456_789, payload, b"");
        let mut row = Vec::new();
        columns(text).expect("columns").row(method, &batch.records().get(0), &mut row)?;
        Ok(String::from_utf8(row).expect("UTF-8"))
    }

    #[test]
    fn a_row_has_what_the_columns_name() {
        let fields = "columns = [{ name = 'a', field = 'epoch' }, { name = 'b', field = 'seq' }, \
             { name = 'c', field = 'type' }, { name = 'd', field = 'timestamp' }, \
             { name = 'e', field = 'payload' }, { name = 'f', field = 'payload_bytes' }, \
             { name = 'g', attribute = ':path' }, { name = 'h', field = 'attributes' }]";
        assert_eq!(
            row(fields, b"x\ty\\z\n").expect("a row"),
            "00000000000000ab\t5\t7\t2023-11-14 22:13:20.123456+00\tx\\ty\\\\z\\n\
             \t\\\\x7809795c7a0a\t\\N\t{}\n"
        );
        let pointers = "columns = [{ name = 'n', pointer = '/n' }, { name = 'q', pointer = '/q' }]";
        assert_eq!(row(pointers, br#"{"n": 2.5}"#).expect("a row"), "2.5\t\\N\n");
        assert!(row(pointers, b"n").is_err_and(|error| error.contains("not JSON")));
        let required = "columns = [{ name = 'q', pointer = '/q', required = true }]";
        let error = row(required, b"{}").expect_err("it is required");
        assert_eq!(error, "there is no value for `q`");
        assert!(row("columns = [{ name = 'p', field = 'payload' }]", b"\xff").is_err());
    }

    #[test]
    fn a_row_of_insert_has_strings_of_sql_that_nothing_gets_out_of() {
        let columns = "columns = [{ name = 'a', field = 'seq' }, { name = 'b', pointer = '/b' }, \
                       { name = 'c', pointer = '/c' }]";
        let payload = br#"{"b": "it's \\ ','); DROP TABLE t; --"}"#;
        assert_eq!(
            row_by(Method::Insert, columns, payload).expect("a row"),
            "('5','it''s \\ '',''); DROP TABLE t; --',NULL)"
        );
        let error = row_by(Method::Insert, columns, br#"{"b": "\u0000"}"#).expect_err("a NUL");
        assert!(error.contains("`b` has a NUL"), "{error}");
    }

    #[test]
    fn columns_that_mean_nothing_are_refused() {
        for text in [
            "columns = []",
            "columns = [{ name = 'a' }]",
            "columns = [{ name = 'a', pointer = 'a' }]",
            "columns = [{ name = 'a', pointer = '/a', field = 'seq' }]",
        ] {
            assert!(columns(text).is_err_and(|error| error.starts_with("sink.columns")), "{text}");
        }
        assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00.000000+00"),
            (951_782_399, "2000-02-28 23:59:59.000000+00"),
            (951_782_400, "2000-02-29 00:00:00.000000+00"),
            (4_102_444_800, "2100-01-01 00:00:00.000000+00"),
        ] {
            assert_eq!(timestamp(seconds * 1_000_000_000), text);
        }
    }
}
