//! What settings are made of: values with their origin, sizes and times with units, addresses, and
//! the one error that all of them report.
//!
//! Which settings exist is decided beside what they configure: each module that has settings has a
//! `settings` file with the table of the configuration file and the check of its values. Flags and
//! file meet in `cli`.

mod address;
mod given;
mod units;

use std::fmt;
use std::path::PathBuf;

pub use address::{Address, Endpoint};
pub use given::{Given, Origin, number, time};
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
    /// The file is not TOML of the right shape.
    Parse {
        /// Its path.
        path: PathBuf,
        /// Line, key and what is expected.
        source: Box<toml::de::Error>,
    },
    /// A value is not allowed.
    Value {
        /// Where the value came from.
        origin: Origin,
        /// The file, if the value came from one.
        path: Option<PathBuf>,
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
            path: None,
            key: key.into(),
            value: value.to_string(),
            allowed: allowed.into(),
        }
    }

    /// Names the file that a value may have come from.
    #[must_use]
    pub fn in_file(mut self, file: Option<&std::path::Path>) -> Self {
        if let Self::Value { path, .. } = &mut self {
            *path = file.map(std::path::Path::to_owned);
        }
        self
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { path, source } => write!(f, "{}: {source}", path.display()),
            Self::Parse { path, source } => {
                write!(f, "{}: {}", path.display(), source.to_string().trim_end())
            }
            Self::Value { origin, path, key, value, allowed } => {
                match (origin, path) {
                    (Origin::Flag(flag), _) => write!(f, "{flag}")?,
                    (Origin::File, Some(path)) => write!(f, "{}: {key}", path.display())?,
                    (Origin::File, None) => write!(f, "{key}")?,
                    (Origin::Default, _) => write!(f, "{key} (default)")?,
                }
                write!(f, ": `{value}` is not allowed; allowed: {allowed}")
            }
        }
    }
}

impl std::error::Error for ConfigError {}
