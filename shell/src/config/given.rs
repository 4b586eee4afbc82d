//! Values that remember where they came from, and the checks that most of them need.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use toml::Spanned;

use super::{ConfigError, Millis};

/// Where a value came from, for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A flag of the command line.
    Flag(&'static str),
    /// A variable of the environment that stands for a flag.
    Variable(&'static str),
    /// The text of the configuration, from this byte on: see [`Source`](super::Source), which
    /// knows the file and the line, or the variable.
    Text(usize),
    /// Nobody gave it.
    Default,
}

/// A value that somebody gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given<T> {
    /// The value.
    pub value: T,
    /// Who gave it.
    pub origin: Origin,
}

impl<T> Given<T> {
    /// Wraps the value of a flag, if there is one.
    pub fn by_flag(value: Option<T>, flag: &'static str) -> Option<Self> {
        value.map(|value| Self { value, origin: Origin::Flag(flag) })
    }

    /// Wraps a value that nobody gave.
    pub fn by_default(value: T) -> Self {
        Self { value, origin: Origin::Default }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Given<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<T>::deserialize(deserializer)?;
        let origin = Origin::Text(spanned.span().start);
        Ok(Self { value: spanned.into_inner(), origin })
    }
}

/// Longest time that any setting takes, ms: one day.
const DAY_MS: u64 = 86_400_000;

/// Checks a number against its range.
pub fn number<T: Copy + Into<u64>>(
    key: &str,
    given: Option<&Given<T>>,
    default: u64,
    range: RangeInclusive<u64>,
) -> Result<u64, ConfigError> {
    let (value, origin) =
        given.map_or((default, Origin::Default), |given| (given.value.into(), given.origin));
    if range.contains(&value) {
        return Ok(value);
    }
    Err(ConfigError::value(origin, key, value, format!("{} to {}", range.start(), range.end())))
}

/// Checks a time in milliseconds: at least `least`, at most a day.
pub fn time(
    key: &str,
    given: Option<&Given<Millis>>,
    default_ms: u64,
    least_ms: u64,
) -> Result<Duration, ConfigError> {
    number(key, given, default_ms, least_ms..=DAY_MS).map(Duration::from_millis)
}
