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
