//! What settings are made of: values with their origin, sizes and times with units, addresses, and
//! the one error that all of them report.
//!
//! Which settings exist is decided beside what they configure: each module that has settings has a
//! `settings` file with the table of the configuration file, the check of its values, and a
//! `describe` that lists what is in effect. File, environment and flags meet in `cli`.

mod address;
mod effective;
mod given;
mod nearest;
mod source;
mod units;

use std::fmt;
use std::path::PathBuf;

pub use address::{Address, Endpoint};
pub use effective::{Change, Entry, Section, list, quoted, written_size, written_time};
pub use given::{Given, Origin, number, time};
pub use nearest::{misspelt, nearest};
pub use source::{Source, VARIABLE_PREFIX, key_of, read_bounded};
pub use units::{Millis, Size};

/// Why a configuration is refused.
#[derive(Debug)]
pub enum ConfigError {
    /// The file cannot be read.
    Read {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The text is not TOML of the right shape.
    Parse {
        /// File and line, or the variable.
        place: String,
        /// Key and what is expected.
        message: String,
    },
    /// A value is not allowed.
    Value {
        /// Where the value came from.
        origin: Origin,
        /// The same in words, once it is known.
        place: Option<String>,
        /// The key in the file.
        key: String,
        /// What was given.
        value: String,
        /// What may be given.
        allowed: String,
    },
}

impl ConfigError {
    /// Refuses a value.
    pub fn value(
        origin: Origin,
        key: impl Into<String>,
        value: impl fmt::Display,
        allowed: impl Into<String>,
    ) -> Self {
        Self::Value {
            origin,
            place: None,
            key: key.into(),
            value: value.to_string(),
            allowed: allowed.into(),
        }
    }

    /// Says in words where a refused value came from.
    #[must_use]
    pub fn located(mut self, source: &Source) -> Self {
        if let Self::Value { origin, place, .. } = &mut self {
            *place = Some(source.place(*origin));
        }
        self
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { path, source } => write!(f, "{}: {source}", path.display()),
            Self::Parse { place, message } => write!(f, "{place}: {message}"),
            Self::Value { origin, place, key, value, allowed } => {
                match (origin, place) {
                    (Origin::Flag(name) | Origin::Variable(name), _) => write!(f, "{name}")?,
                    (Origin::Text(_), Some(place)) => write!(f, "{place}: {key}")?,
                    (Origin::Text(_), None) => write!(f, "{key}")?,
                    (Origin::Default, _) => write!(f, "{key} (default)")?,
                }
                write!(f, ": `{value}` is not allowed; allowed: {allowed}")
            }
        }
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_value_is_told_with_where_it_came_from_and_what_may_be_given() {
        let said = |origin, place: Option<&str>| {
            let error = ConfigError::value(origin, "http.x", 7, "1 to 5");
            let ConfigError::Value { origin, key, value, allowed, .. } = error else { panic!() };
            let place = place.map(str::to_owned);
            ConfigError::Value { origin, place, key, value, allowed }.to_string()
        };
        let rest = ": `7` is not allowed; allowed: 1 to 5";
        assert_eq!(said(Origin::Flag("--x"), None), format!("--x{rest}"));
        assert_eq!(said(Origin::Variable("X"), Some("elsewhere")), format!("X{rest}"));
        assert_eq!(said(Origin::Text(3), Some("f:1")), format!("f:1: http.x{rest}"));
        assert_eq!(said(Origin::Text(3), None), format!("http.x{rest}"));
        assert_eq!(said(Origin::Default, Some("f:1")), format!("http.x (default){rest}"));
        let located = ConfigError::value(Origin::Flag("--x"), "k", 1, "2");
        let located = located.located(&Source::default());
        assert!(matches!(located, ConfigError::Value { place: Some(place), .. } if place == "--x"));
    }

    #[test]
    fn numbers_and_times_have_ranges() {
        let given = |value: u64| Given { value, origin: Origin::Flag("--n") };
        let in_range = |value: Option<u64>| {
            let given = value.map(given);
            number("k", given.as_ref(), 5, 1..=9).map_err(|error| error.to_string())
        };
        assert_eq!((in_range(None), in_range(Some(1)), in_range(Some(9))), (Ok(5), Ok(1), Ok(9)));
        for wrong in [0, 10] {
            let error = in_range(Some(wrong)).expect_err("out of range");
            assert_eq!(error, format!("--n: `{wrong}` is not allowed; allowed: 1 to 9"));
        }
        let day = 86_400_000;
        let lasts = |ms: u64| {
            let given = Given { value: Millis(ms), origin: Origin::Default };
            time("k", Some(&given), 1, 3).map(|time| time.as_millis()).ok()
        };
        assert_eq!(
            (lasts(2), lasts(3), lasts(day), lasts(day + 1)),
            (None, Some(3), Some(day.into()), None)
        );
        assert_eq!(time("k", None, 77, 3).ok(), Some(std::time::Duration::from_millis(77)));
        assert_eq!(
            Given::by_flag(Some(1), "--f"),
            Some(Given { value: 1, origin: Origin::Flag("--f") })
        );
        assert_eq!(Given::by_flag(None::<u8>, "--f"), None);
    }

    #[test]
    fn a_file_that_cannot_be_read_or_parsed_is_named() {
        let read = ConfigError::Read { path: "/f".into(), source: std::io::Error::other("why") };
        assert_eq!(read.to_string(), "/f: why");
        let parse = ConfigError::Parse { place: "/f:1".into(), message: "what".into() };
        assert_eq!(parse.to_string(), "/f:1: what");
    }
}
