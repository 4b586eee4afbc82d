//! Columns out of records: by JSON pointer, from an attribute, or a record's own field.
//! Pure over bytes; how a column is stored is `columns`' job.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value as Json;

use crate::batch::View;
use crate::json::{self, Found, Wanted};

/// One column as a configuration has it, in `[[sink.columns]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ColumnTable {
    /// Its name.
    pub(super) name: String,
    /// JSON pointer (RFC 6901) into the payload.
    pub(super) pointer: Option<String>,
    /// Name of an attribute; its first value is taken.
    pub(super) attribute: Option<String>,
    /// What a record has of itself.
    pub(super) field: Option<Field>,
    /// What its values are.
    #[serde(default, rename = "type")]
    pub(super) kind: Option<Kind>,
    /// Whether a record without a value is poison.
    #[serde(default)]
    pub(super) required: bool,
}

/// What a record has of itself, beside what every file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Field {
    /// The payload, as bytes unless its `type` says otherwise.
    Payload,
    /// All attributes as a JSON object, a name that comes twice with its last value.
    Attributes,
}

/// What the values of a column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// UTF-8. A JSON value that is no string is written as JSON.
    Text,
    /// Any bytes.
    Bytes,
    /// 64 bits with sign.
    Integer,
    /// 64 bits, IEEE 754.
    Float,
    /// True or false.
    Boolean,
    /// A JSON value, as text.
    Json,
}

/// Where the values of a column come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// What this JSON pointer names in the payload.
    Pointer(String),
    /// The first attribute of this name.
    Attribute(String),
    /// The record's own.
    Field(Field),
}

/// One column, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Column {
    /// Its name.
    pub(super) name: String,
    /// Where its values come from.
    pub(super) source: Source,
    /// What they are.
    pub(super) kind: Kind,
    /// Whether a record without a value is poison.
    pub(super) required: bool,
}

/// A value of a column.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value<'v> {
    /// There is none.
    Null,
    /// Of [`Kind::Text`] and [`Kind::Json`].
    Text(Cow<'v, str>),
    /// Of [`Kind::Bytes`].
    Bytes(&'v [u8]),
    /// Of [`Kind::Integer`].
    Integer(i64),
    /// Of [`Kind::Float`].
    Float(f64),
    /// Of [`Kind::Boolean`].
    Boolean(bool),
}

/// All columns of a table.
#[derive(Clone, Debug)]
pub(super) struct Mapping {
    columns: Vec<Column>,
    /// The pointers of columns, in their order: with any, payloads must be JSON.
    wanted: Option<Wanted>,
}

impl Mapping {
    /// Checks columns. `taken` are the names that the sink itself gives to columns.
    ///
    /// # Errors
    /// What is wrong, with the name of the column and its key.
    pub(super) fn check(tables: Vec<ColumnTable>, taken: &[&str]) -> Result<Self, String> {
        let mut columns: Vec<Column> = Vec::new();
        for table in tables {
            let column = table.check()?;
            let name = &column.name;
            if taken.contains(&name.as_str()) || columns.iter().any(|other| other.name == *name) {
                return Err(format!("sink.columns: there is a column `{name}` already"));
            }
            columns.push(column);
        }
        let pointers: Vec<_> = columns.iter().filter_map(|it| it.source.pointer()).collect();
        let wanted = (!pointers.is_empty()).then(|| Wanted::new(pointers));
        Ok(Self { columns, wanted })
    }

    /// Returns the columns, in order.
    pub(super) fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Gives the values of a record to `take`, with the number of their column from 0. What is in
    /// `found` is of no further use.
    ///
    /// # Errors
    /// Why the record does not fit the table. Values before the one that does not were given.
    pub(super) fn values<'r>(
        &self,
        record: &View<'r>,
        found: &mut Vec<Found<'r>>,
        mut take: impl FnMut(usize, Value<'_>),
    ) -> Result<(), String> {
        found.clear();
        if let Some(wanted) = &self.wanted {
            wanted.of(record.payload, found)?;
        }
        let mut found = found.iter();
        for (at, column) in self.columns.iter().enumerate() {
            let value = column.value(record, &mut found);
            let value = value.map_err(|why| format!("column `{}`: {why}", column.name))?;
            if column.required && matches!(value, Value::Null) {
                return Err(format!("column `{}`: there is no value", column.name));
            }
            take(at, value);
        }
        Ok(())
    }
}

impl ColumnTable {
    fn check(self) -> Result<Column, String> {
        let Self { name, pointer, attribute, field, kind, required } = self;
        let wrong = |why: &str| Err(format!("sink.columns: `{name}`: {why}"));
        if name.is_empty() {
            return wrong("a column has a name");
        }
        let source = match (pointer, attribute, field) {
            (Some(pointer), None, None) if json::is_pointer(&pointer) => Source::Pointer(pointer),
            (Some(_), None, None) => return wrong("a JSON pointer is empty or begins with `/`"),
            (None, Some(attribute), None) => Source::Attribute(attribute),
            (None, None, Some(field)) => Source::Field(field),
            _ => return wrong("one of pointer, attribute and field"),
        };
        let kind = kind.unwrap_or(match source {
            Source::Field(Field::Payload) => Kind::Bytes,
            Source::Field(Field::Attributes) => Kind::Json,
            Source::Pointer(_) | Source::Attribute(_) => Kind::Text,
        });
        let fits = match &source {
            Source::Pointer(_) => kind != Kind::Bytes,
            Source::Attribute(_) => true,
            Source::Field(Field::Payload) => {
                matches!(kind, Kind::Bytes | Kind::Text | Kind::Json)
            }
            Source::Field(Field::Attributes) => kind == Kind::Json,
        };
        if !fits {
            return wrong("its `type` cannot come from there");
        }
        Ok(Column { name, source, kind, required })
    }
}

impl Source {
    fn pointer(&self) -> Option<&str> {
        match self {
            Self::Pointer(pointer) => Some(pointer),
            Self::Attribute(_) | Self::Field(_) => None,
        }
    }
}

impl Column {
    /// Returns the value of a record; that of a pointer is the next of those that were found.
    fn value<'v, 'p: 'v>(
        &self,
        record: &View<'v>,
        found: &mut impl Iterator<Item = &'v Found<'p>>,
    ) -> Result<Value<'v>, String> {
        let bytes = match &self.source {
            Source::Pointer(_) => return self.kind.of_json(found.next().unwrap_or(&Found::Null)),
            Source::Attribute(name) => match record.attributes.get(name) {
                Some(value) => value,
                None => return Ok(Value::Null),
            },
            Source::Field(Field::Payload) => record.payload,
            Source::Field(Field::Attributes) => return Ok(attributes(record)),
        };
        self.kind.of_bytes(bytes)
    }
}

fn attributes(record: &View<'_>) -> Value<'static> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let all = record.attributes.clone();
    let object: serde_json::Map<_, _> =
        all.map(|it| (text(it.name), Json::String(text(it.value)))).collect();
    if object.is_empty() {
        return Value::Null;
    }
    Value::Text(Cow::Owned(Json::Object(object).to_string()))
}

impl Kind {
    fn of_json<'v>(self, value: &'v Found<'_>) -> Result<Value<'v>, String> {
        let text = || value.clone().into_value().to_string();
        let fits = match (self, value) {
            (_, Found::Null) => Some(Value::Null),
            (Self::Text, Found::Text(text)) => Some(Value::Text(Cow::Borrowed(text))),
            (Self::Text | Self::Json, _) => Some(Value::Text(Cow::Owned(text()))),
            (Self::Integer, Found::Number(number)) => number.as_i64().map(Value::Integer),
            (Self::Float, Found::Number(number)) => number.as_f64().map(Value::Float),
            (Self::Boolean, Found::Boolean(is)) => Some(Value::Boolean(*is)),
            _ => None,
        };
        fits.ok_or_else(|| self.misfit(&text()))
    }

    fn of_bytes(self, bytes: &[u8]) -> Result<Value<'_>, String> {
        if self == Self::Bytes {
            return Ok(Value::Bytes(bytes));
        }
        let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
        let value = match self {
            Self::Integer => text.parse().ok().map(Value::Integer),
            Self::Float => text.parse().ok().map(Value::Float),
            Self::Boolean => text.parse().ok().map(Value::Boolean),
            Self::Json => {
                serde_json::from_str::<serde::de::IgnoredAny>(text)
                    .map_err(|error| format!("this is not JSON: {error}"))?;
                Some(Value::Text(Cow::Borrowed(text)))
            }
            Self::Text | Self::Bytes => Some(Value::Text(Cow::Borrowed(text))),
        };
        value.ok_or_else(|| self.misfit(text))
    }

    fn misfit(self, text: &str) -> String {
        let begin: String = text.chars().take(40).collect();
        let kind = match self {
            Self::Text => "text",
            Self::Bytes => "bytes",
            Self::Integer => "an integer of 64 bits",
            Self::Float => "a number",
            Self::Boolean => "true or false",
            Self::Json => "JSON",
        };
        format!("`{begin}` is not {kind}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Batch;

    fn mapping(text: &str) -> Result<Mapping, String> {
        #[derive(Deserialize)]
        struct Sink {
            columns: Vec<ColumnTable>,
        }
        let sink: Sink = toml::from_str(text).map_err(|error| error.to_string())?;
        Mapping::check(sink.columns, &["seq"])
    }

    fn values(mapping: &Mapping, payload: &[u8]) -> Result<Vec<String>, String> {
        let mut batch = Batch::default();
        batch.clear(1);
        batch.push(0, 0, 0, payload, b"\x10\0\x02\0\x01\x02\0n42\x01\x02\0xhi");
        let (mut seen, mut found) = (Vec::new(), Vec::new());
        let record = batch.records().get(0);
        mapping.values(&record, &mut found, |at, value| seen.push(format!("{at} {value:?}")))?;
        Ok(seen)
    }

    #[test]
    fn every_kind_comes_from_where_it_can_and_what_does_not_fit_says_why() {
        let all = mapping(
            "columns = [
                { name = 'id', pointer = '/id' },
                { name = 'n', pointer = '/n', type = 'integer', required = true },
                { name = 'f', pointer = '/f', type = 'float' },
                { name = 'b', pointer = '/b', type = 'boolean' },
                { name = 'j', pointer = '/j', type = 'json' },
                { name = 'an', attribute = 'n', type = 'integer' },
                { name = 'ax', attribute = 'x' },
                { name = 'none', attribute = 'none' },
                { name = 'all', field = 'attributes' },
                { name = 'raw', field = 'payload' },
            ]",
        )
        .expect("a mapping");
        let payload = br#"{"id": "a", "n": -3, "f": 2, "b": true, "j": {"k": [1]}}"#;
        let seen = values(&all, payload).expect("it fits").join("; ");
        let expected = "0 Text(\"a\"); 1 Integer(-3); 2 Float(2.0); 3 Boolean(true); \
                        4 Text(\"{\\\"k\\\":[1]}\"); 5 Integer(42); 6 Text(\"hi\"); 7 Null; \
                        8 Text(\"{\\\"n\\\":\\\"42\\\",\\\"x\\\":\\\"hi\\\"}\"); 9 Bytes";
        assert!(seen.starts_with(expected), "{seen}");
        for (payload, why) in [
            (&b"{"[..], "the payload is not JSON"),
            (b"{}", "column `n`: there is no value"),
            (br#"{"n": 1.5}"#, "column `n`: `1.5` is not an integer of 64 bits"),
            (br#"{"n": 18446744073709551615}"#, "column `n`: `18446744073709551615` is not an"),
            (br#"{"n": 1, "b": "yes"}"#, "column `b`: `\"yes\"` is not true or false"),
        ] {
            let error = values(&all, payload).expect_err("it does not fit");
            assert!(error.starts_with(why), "{error}");
        }
    }

    #[test]
    fn a_column_that_cannot_be_is_told_by_its_name() {
        for (text, why) in [
            ("columns = [{ name = 'a' }]", "`a`: one of"),
            ("columns = [{ name = 'a', pointer = 'x' }]", "begins with `/`"),
            ("columns = [{ name = 'a', pointer = '/x', field = 'payload' }]", "`a`: one of"),
            ("columns = [{ name = 'a', field = 'payload', type = 'float' }]", "cannot come from"),
            ("columns = [{ name = 'seq', field = 'payload' }]", "a column `seq` already"),
            ("columns = [{ name = 'a', pointr = '' }]", "pointr"),
        ] {
            let error = mapping(text).expect_err("it is refused");
            assert!(error.contains(why), "{error}");
        }
    }
}
