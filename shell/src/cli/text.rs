//! Text that commands read and write: its shape, JSON strings, times.

use std::io::{self, Write};

use aqueduct_core::Attributes;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The shape of what a command prints.
#[cfg(feature = "look")]
#[allow(clippy::doc_markdown, reason = "the texts are the help that the command prints")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// For people
    Text,
    /// One object of JSON
    Json,
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

/// Writes a time (RFC 3339, UTC, nanoseconds).
pub(super) fn written(ns: u64) -> String {
    let (seconds, fraction) = (ns / 1_000_000_000, ns % 1_000_000_000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Source: Howard Hinnant, "chrono-compatible low-level date algorithms".
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:09}Z")
}

/// Reads a time (RFC 3339 in UTC), ns since the Unix epoch.
pub(super) fn time_of(text: &str) -> Option<u64> {
    let (day_text, time) = text.strip_suffix('Z')?.split_once('T')?;
    let numbers = |text: &str, by: char| -> Option<Vec<u64>> {
        text.split(by).map(|part| part.parse().ok()).collect()
    };
    let date = numbers(day_text, '-')?;
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let time = numbers(time, ':')?;
    let (&[year, month, day], &[hour, minute, second]) = (&date[..], &time[..]) else {
        return None;
    };
    let possible = (1970..2500).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second < 61;
    if !possible || fraction.len() > 9 {
        return None;
    }
    let fraction: u64 = format!("{fraction:0<9}").parse().ok()?;
    let shifted_year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (shifted_year / 400, shifted_year % 400);
    let shifted_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = (era * 146_097 + day_of_era).checked_sub(719_468)?;
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second;
    let ns = seconds.checked_mul(1_000_000_000)?.checked_add(fraction)?;
    // A month without such a day has run over into the next.
    written(ns).starts_with(day_text).then_some(ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_and_read() {
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
        ] {
            assert_eq!(time_of(text), None, "{text}");
        }
    }

    #[test]
    fn text_is_quoted_as_json_has_it() {
        assert_eq!(json("a\"b\\\n\u{1}é"), "\"a\\\"b\\\\\\n\\u0001é\"");
    }
}
