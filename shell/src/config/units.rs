//! Sizes and times: plain numbers, or numbers with a unit.

use std::fmt;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// A size in bytes: `65536`, `64KiB`, `16MiB`, `1GiB`, or decimal, `64kB`, `16MB`, `1GB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

/// A time in milliseconds: `1500`, `1500ms`, `2s`, `5m`, `1h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Millis(pub u64);

const SIZE_UNITS: [(&str, u64); 8] = [
    ("", 1),
    ("b", 1),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("kb", 1000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
];
const SIZE_EXPECTED: &str = "a whole number of bytes, or one with B, KiB, MiB, GiB, kB, MB or GB";

const TIME_UNITS: [(&str, u64); 5] =
    [("", 1), ("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];
const TIME_EXPECTED: &str = "a whole number of milliseconds, or one with ms, s, m or h";

/// Reads a whole number with one of these units.
fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start().to_ascii_lowercase();
    let factor = units.iter().find(|(name, _)| *name == unit)?.1;
    number.parse::<u64>().ok()?.checked_mul(factor)
}

macro_rules! unit {
    ($name:ident, $units:ident, $expected:ident) => {
        impl From<$name> for u64 {
            fn from(value: $name) -> Self {
                value.0
            }
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                parse(text, &$units).map(Self).ok_or_else(|| format!("expected {}", $expected))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Seen;
                impl Visitor<'_> for Seen {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expected)
                    }

                    fn visit_i64<E: Error>(self, value: i64) -> Result<$name, E> {
                        u64::try_from(value).map($name).map_err(|_| {
                            E::invalid_value(serde::de::Unexpected::Signed(value), &self)
                        })
                    }

                    fn visit_u64<E: Error>(self, value: u64) -> Result<$name, E> {
                        Ok($name(value))
                    }

                    fn visit_str<E: Error>(self, text: &str) -> Result<$name, E> {
                        parse(text, &$units).map($name).ok_or_else(|| {
                            E::invalid_value(serde::de::Unexpected::Str(text), &self)
                        })
                    }
                }
                deserializer.deserialize_any(Seen)
            }
        }
    };
}

unit!(Size, SIZE_UNITS, SIZE_EXPECTED);
unit!(Millis, TIME_UNITS, TIME_EXPECTED);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_binary_and_decimal_units() {
        for (text, bytes) in [
            ("0", 0),
            ("65536", 65_536),
            ("12B", 12),
            ("64KiB", 65_536),
            ("16MiB", 16 << 20),
            ("16 MiB", 16 << 20),
            ("2GiB", 2 << 30),
            ("64kB", 64_000),
            ("1MB", 1_000_000),
            ("1GB", 1_000_000_000),
        ] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        for text in ["", "MiB", "16M", "16Mi", "1.5MiB", "-1", "1 2", "99999999999999GiB", "１"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }

    #[test]
    fn times_have_units_too() {
        for (text, ms) in [("0", 0), ("250", 250), ("250ms", 250), ("2s", 2000), ("5m", 300_000)] {
            assert_eq!(text.parse(), Ok(Millis(ms)), "{text}");
        }
        for text in ["", "s", "1d", "1.5s", "-1s", "1us"] {
            assert!(text.parse::<Millis>().is_err(), "{text}");
        }
    }
}
