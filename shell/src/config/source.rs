//! Where a configuration is written: a file, and over it variables of the environment, as one text.
//!
//! `AQUEDUCT_TABLE_KEY` is the key of that table, `AQUEDUCT_HTTP_LISTEN` for one, with a value as
//! in the file, whose quotes may be left out. The variables are appended to the file's text, a line
//! each, so that an offset into the text says where any value came from.

use std::fmt::Write;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::nearest::nearest;
use super::{ConfigError, Origin};

/// What the names of our variables begin with.
pub const VARIABLE_PREFIX: &str = "AQUEDUCT_";
/// Largest configuration file, bytes: more than all rings there can be.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// A configuration as it was read.
#[derive(Clone, Debug, Default)]
pub struct Source {
    path: Option<PathBuf>,
    /// The file, then a line for each of `variables`.
    text: String,
    /// Where the file ends in `text`.
    file_end: usize,
    variables: Vec<String>,
}

impl Source {
    /// Reads the file, if there is one, and those of `variables` that are keys of these tables.
    pub fn read(
        path: Option<&Path>,
        variables: impl IntoIterator<Item = (String, String)>,
        tables: &[&str],
    ) -> Result<Self, ConfigError> {
        let mut text = String::new();
        if let Some(path) = path {
            text = read_bounded(path)
                .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        }
        let file_end = text.len();
        text.push('\n');
        let mut source =
            Self { path: path.map(Path::to_owned), text, file_end, variables: Vec::new() };
        for (name, value) in variables {
            source.add(name, &value, tables);
        }
        Ok(source)
    }

    /// Adds a variable, unless it is no key of a table.
    fn add(&mut self, name: String, value: &str, tables: &[&str]) {
        let Some(key) = key_of(&name, tables) else { return };
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "{key} = {}", literal(value));
        self.variables.push(name);
    }

    /// Makes tables of the text.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        let table = self.merged().map_err(|error| self.refused(error))?;
        T::deserialize(toml::Deserializer::from(table)).map_err(|error| self.refused(error))
    }

    /// The file's tables with the variables over them; every span is one of `text`.
    fn merged(&self) -> Result<Spanned<DeTable<'_>>, toml::de::Error> {
        let mut table = DeTable::parse(&self.text[..self.file_end])?;
        let begin = self.file_end + 1;
        let variables = DeTable::parse(&self.text[begin..]).map_err(|mut error| {
            // The offset is the variables' own; the name of the first one says enough.
            error.set_input(None);
            error
        })?;
        put_over(table.get_mut(), moved_table(variables.into_inner(), begin));
        Ok(table)
    }

    fn refused(&self, mut error: toml::de::Error) -> ConfigError {
        let at = error.span().map_or(0, |span| span.start);
        let hint = hint(error.message());
        let message = if at > self.file_end {
            error.message().to_owned()
        } else {
            error.set_input(Some(&self.text[..self.file_end]));
            error.to_string().trim_end().to_owned()
        };
        ConfigError::Parse { place: self.place(Origin::Text(at)), message: message + &hint }
    }

    /// Says where a value came from: `FILE:LINE`, the name of a flag or a variable, `default`.
    pub fn place(&self, origin: Origin) -> String {
        match origin {
            Origin::Flag(name) | Origin::Variable(name) => name.to_owned(),
            Origin::Default => "default".to_owned(),
            Origin::Text(at) if at > self.file_end => {
                let lines = self.text[self.file_end + 1..].get(..at - self.file_end - 1);
                let index = lines.map_or(0, |before| before.matches('\n').count());
                self.variables.get(index).cloned().unwrap_or_default()
            }
            Origin::Text(at) => {
                let path = self.path.as_deref().unwrap_or(Path::new("configuration"));
                format!("{}:{}", path.display(), self.line(at))
            }
        }
    }

    fn line(&self, at: usize) -> usize {
        1 + self.text[..at].matches('\n').count()
    }
}

/// Reads a file that may be a pipe, but none without an end.
pub fn read_bounded(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("it has more than {FILE_BYTES_MAX} bytes")));
    }
    Ok(text)
}

/// The dotted key that a variable names, if it is one of these tables.
pub fn key_of(variable: &str, tables: &[&str]) -> Option<String> {
    let rest = variable.strip_prefix(VARIABLE_PREFIX)?;
    let (table, key) = rest.split_once('_')?;
    let table = table.to_ascii_lowercase();
    let is_word = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    // A container platform announces a service named `aqueduct-http` by variables of these names.
    let is_foreign = key == "PORT"
        || key.starts_with("PORT_")
        || key.starts_with("SERVICE_HOST")
        || key.starts_with("SERVICE_PORT");
    (tables.contains(&table.as_str()) && !key.is_empty() && is_word && !is_foreign)
        .then(|| format!("{table}.{}", key.to_ascii_lowercase()))
}

/// The value of a variable as TOML: as it is if it is a number, a truth value, a list or has
/// quotes, else as a string.
fn literal(value: &str) -> String {
    let is_literal = !value.contains('\n')
        && DeValue::parse(value).is_ok_and(|parsed| {
            let parsed = parsed.get_ref();
            parsed.is_integer() || parsed.is_bool() || parsed.is_array() || parsed.is_str()
        });
    if is_literal { value.trim().to_owned() } else { super::quoted(value) }
}

/// Puts one table over another, key by key.
fn put_over<'i>(under: &mut DeTable<'i>, over: DeTable<'i>) {
    for (key, value) in over {
        match (under.get_mut(key.get_ref().as_ref()).map(Spanned::get_mut), value) {
            (Some(DeValue::Table(under)), value) if value.get_ref().is_table() => {
                if let DeValue::Table(over) = value.into_inner() {
                    put_over(under, over);
                }
            }
            (_, value) => {
                under.insert(key, value);
            }
        }
    }
}

fn moved(span: Range<usize>, by: usize) -> Range<usize> {
    span.start + by..span.end + by
}

fn moved_table(table: DeTable<'_>, by: usize) -> DeTable<'_> {
    let entries = table.into_iter().map(|(key, value)| {
        let span = moved(key.span(), by);
        (Spanned::new(span, key.into_inner()), moved_value(value, by))
    });
    entries.collect()
}

fn moved_value(value: Spanned<DeValue<'_>>, by: usize) -> Spanned<DeValue<'_>> {
    let span = moved(value.span(), by);
    let value = match value.into_inner() {
        DeValue::Table(table) => DeValue::Table(moved_table(table, by)),
        DeValue::Array(array) => {
            let values: DeArray<'_> =
                array.into_iter().map(|value| moved_value(value, by)).collect();
            DeValue::Array(values)
        }
        other => other,
    };
    Spanned::new(span, value)
}

/// What was probably meant, if the message says that a name is unknown and which there are.
fn hint(message: &str) -> String {
    let names: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    match names.split_first() {
        Some((unknown, known)) if message.starts_with("unknown ") => nearest(unknown, known)
            .map_or_else(String::new, |name| format!("; did you mean `{name}`?")),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;
    use crate::config::Given;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Tables {
        http: BTreeMap<String, Given<toml::Value>>,
    }

    fn source(file: &str, variables: &[(&str, &str)]) -> Source {
        let variables = variables.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        let mut source =
            Source { text: format!("{file}\n"), file_end: file.len(), ..Source::default() };
        source.path = Some(PathBuf::from("aqd.toml"));
        variables.for_each(|(name, value): (String, String)| source.add(name, &value, &["http"]));
        source
    }

    #[test]
    fn variables_win_over_the_file_and_every_value_knows_its_place() {
        let file = "[http]\n\nlisten = 'a:1'\nmax_connections = 3\n";
        let source = source(
            file,
            &[("AQUEDUCT_HTTP_LISTEN", "b:2"), ("PATH", "/bin"), ("AQUEDUCT_HTTP_HTTP2", "false")],
        );
        let tables: Tables = source.parse().expect("good");
        let place = |key: &str| source.place(tables.http[key].origin);
        assert_eq!(tables.http["listen"].value.as_str(), Some("b:2"));
        assert_eq!(tables.http["http2"].value.as_bool(), Some(false));
        assert_eq!(place("listen"), "AQUEDUCT_HTTP_LISTEN");
        assert_eq!(place("http2"), "AQUEDUCT_HTTP_HTTP2");
        assert_eq!(place("max_connections"), "aqd.toml:4");
        assert_eq!(source.place(Origin::Default), "default");
    }

    #[test]
    fn the_value_of_a_variable_is_text_unless_it_is_a_number_a_truth_value_or_a_list() {
        for (value, toml) in [
            ("7", "7"),
            ("true", "true"),
            ("[':path', \"b\"]", "[':path', \"b\"]"),
            ("'7'", "'7'"),
            ("2s", "\"2s\""),
            ("1.5", "\"1.5\""),
            ("", "\"\""),
            ("a\"b\\c\n\u{1}", "\"a\\\"b\\\\c\\n\\u0001\""),
            ("7\nx = 1", "\"7\\nx = 1\""),
            ("1979-05-27", "\"1979-05-27\""),
        ] {
            assert_eq!(literal(value), toml, "{value:?}");
            DeValue::parse(toml).expect("TOML");
        }
    }

    #[test]
    fn variables_of_others_are_left_alone() {
        for name in [
            "AQUEDUCT_HTTP_PORT",
            "AQUEDUCT_HTTP_SERVICE_HOST",
            "AQUEDUCT_HTTP_SERVICE_PORT_WEB",
            "AQUEDUCT_HTTP_PORT_80_TCP_ADDR",
            "AQUEDUCT_CRC_PATH",
            "AQUEDUCT_HTTP",
            "AQUEDUCT_HTTP_",
            "HTTP_LISTEN",
        ] {
            assert_eq!(key_of(name, &["http"]), None, "{name}");
        }
        assert_eq!(key_of("AQUEDUCT_HTTP_MAX_X", &["http"]).as_deref(), Some("http.max_x"));
    }

    #[test]
    fn an_unknown_name_is_told_the_nearest_one_that_there_is() {
        let said = "unknown field `lisen`, expected one of `listen`, `threads`";
        assert_eq!(hint(said), "; did you mean `listen`?");
        assert_eq!(hint("unknown field `zzz`, expected `listen`"), "");
        assert_eq!(hint("invalid type: `listen`, expected `listens`"), "");
        let error = source("[htp]\nx = 1\n", &[]).parse::<Tables>().expect_err("unknown");
        let error = error.to_string();
        assert!(error.starts_with("aqd.toml:1: "), "{error}");
        assert!(error.ends_with("did you mean `http`?"), "{error}");
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Typed {
        http: Numbers,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Numbers {
        one: Option<Given<u64>>,
        two: Option<Given<Vec<Given<u64>>>>,
        three: Option<Given<u64>>,
    }

    #[test]
    fn a_value_of_the_wrong_type_is_told_by_its_line_or_its_variable() {
        let said = |file: &str, variables: &[(&str, &str)]| {
            source(file, variables).parse::<Typed>().map(|_| ()).expect_err("wrong").to_string()
        };
        let error = said("[http]\n\none = 'x'\n", &[]);
        assert!(error.starts_with("aqd.toml:3: "), "{error}");
        assert!(error.contains("one = 'x'"), "it shows the line: {error}");
        // What is not there is missing in the last line.
        let error = said("[http]\none =", &[]);
        assert!(error.starts_with("aqd.toml:2: ") && error.contains("2 | one ="), "{error}");
        let good = ("AQUEDUCT_HTTP_ONE", "1");
        let over: Typed = source("[http.one]\nx = 1\n", &[good]).parse().expect("not a table");
        assert_eq!(over.http.one.expect("given").value, 1, "a value goes over a table");
        for (bad, name) in [
            (("AQUEDUCT_HTTP_THREE", "x"), "AQUEDUCT_HTTP_THREE: "),
            (("AQUEDUCT_HTTP_TWO", "[1, 'x']"), "AQUEDUCT_HTTP_TWO: "),
            (("AQUEDUCT_HTTP_FOUR", "1"), "AQUEDUCT_HTTP_FOUR: "),
        ] {
            let error = said("[http]\n", &[good, bad]);
            assert!(error.starts_with(name), "{name} {error}");
            assert!(!error.contains('|'), "nothing of the file is shown: {error}");
        }
        // The same table in both, key by key, and a table that only variables name.
        let variables = [good, ("AQUEDUCT_HTTP_TWO", "[7, 8]")];
        let both = source("[http]\none = 5\nthree = 3\n", &variables);
        let tables: Typed = both.parse().expect("good");
        let value = |given: &Option<Given<u64>>| given.as_ref().expect("given").value;
        assert_eq!((value(&tables.http.one), value(&tables.http.three)), (1, 3));
        let list = tables.http.two.expect("given");
        assert_eq!(both.place(list.origin), "AQUEDUCT_HTTP_TWO");
        assert_eq!(list.value.iter().map(|each| each.value).collect::<Vec<_>>(), [7, 8]);
        assert!(list.value.iter().all(|each| both.place(each.origin) == "AQUEDUCT_HTTP_TWO"));
        assert_eq!(both.place(tables.http.three.expect("given").origin), "aqd.toml:3");
        let tables: Typed = source("", &[good]).parse().expect("good");
        assert_eq!(value(&tables.http.one), 1);
    }

    #[test]
    fn a_configuration_is_read_from_its_file_which_has_an_end() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a.toml");
        std::fs::write(&path, "[http]\none = 7\n").expect("written");
        let variables = || [("AQUEDUCT_HTTP_THREE".to_owned(), "9".to_owned())];
        let read = Source::read(Some(&path), variables(), &["http"]).expect("it is there");
        let tables: Typed = read.parse().expect("good");
        let origins = (tables.http.one.expect("given"), tables.http.three.expect("given"));
        assert_eq!((origins.0.value, origins.1.value), (7, 9));
        assert_eq!(read.place(origins.0.origin), format!("{}:2", path.display()));
        assert_eq!(read.place(origins.1.origin), "AQUEDUCT_HTTP_THREE");
        let none = Source::read(None, variables(), &["http"]).expect("nothing to read");
        assert_eq!(none.parse::<Typed>().expect("good").http.three.expect("given").value, 9);

        let missing = directory.path().join("missing.toml");
        let error = Source::read(Some(&missing), variables(), &["http"]).expect_err("missing");
        assert!(error.to_string().starts_with(&missing.display().to_string()), "{error}");
        let large = File::create(&path).expect("made");
        large.set_len(FILE_BYTES_MAX).expect("sparse");
        assert_eq!(read_bounded(&path).expect("the most").len() as u64, FILE_BYTES_MAX);
        large.set_len(FILE_BYTES_MAX + 1).expect("sparse");
        let error = read_bounded(&path).expect_err("one more").to_string();
        assert_eq!(error, "it has more than 16777216 bytes");
    }
}
