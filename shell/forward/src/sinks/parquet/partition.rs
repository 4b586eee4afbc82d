//! Directories by time, as Hive, Spark and `DuckDB` know them: `date=2026-11-29/hour=07`.
//! Pure.

use serde::Deserialize;

/// One level of directories.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// `date=2026-11-29`.
    Date,
    /// `hour=07`.
    Hour,
}

/// What Hive calls the partition of rows without a value.
const NONE: &str = "__HIVE_DEFAULT_PARTITION__";

impl Level {
    /// Returns the name of the column that readers make of it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Date => "date",
            Self::Hour => "hour",
        }
    }
}

/// Checks that each level is there once, the hour inside its date.
pub(super) fn check(levels: &[Level]) -> Result<(), String> {
    match levels {
        [] | [Level::Date] | [Level::Date, Level::Hour] => Ok(()),
        _ => Err("sink.partition: allowed: [], [\"date\"], [\"date\", \"hour\"]".to_owned()),
    }
}

/// Returns what tells records of different directories apart: the hour since 1970; `None`: the time
/// is unknown.
pub(super) fn hour(timestamp_ns: u64) -> Option<u64> {
    (timestamp_ns > 0).then_some(timestamp_ns / 3_600_000_000_000)
}

/// Returns the directory of a record, relative to the sink's; 0: the time is unknown.
pub(super) fn of(levels: &[Level], timestamp_ns: u64) -> String {
    let seconds = timestamp_ns / 1_000_000_000;
    let values = levels.iter().map(|level| match level {
        _ if timestamp_ns == 0 => format!("{}={NONE}", level.name()),
        Level::Date => {
            let (year, month, day) = civil(seconds / 86_400);
            format!("date={year:04}-{month:02}-{day:02}")
        }
        Level::Hour => format!("hour={:02}", seconds / 3600 % 24),
    });
    values.collect::<Vec<_>>().join("/")
}

/// Year, month and day of the Gregorian calendar, so many days after 1970-01-01. Source: Howard
/// Hinnant, `chrono`-compatible low-level date algorithms, `civil_from_days`.
const fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468; // From 0000-03-01.
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + (month <= 2) as u64;
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        // By `date -u -d @SECONDS`.
        for (seconds, directory) in [
            (1, "date=1970-01-01/hour=00"),
            (951_782_400, "date=2000-02-29/hour=00"),
            (4_107_542_399, "date=2100-02-28/hour=23"),
            (4_107_542_400, "date=2100-03-01/hour=00"),
            (1_796_023_800, "date=2026-11-30/hour=07"),
        ] {
            let both = [Level::Date, Level::Hour];
            assert_eq!(of(&both, seconds * 1_000_000_000), directory);
        }
        assert_eq!(of(&[Level::Date], 0), "date=__HIVE_DEFAULT_PARTITION__");
        assert_eq!(of(&[], 5), "");
        // Each day is the one after the one before it.
        let mut before = civil(0);
        for days in 1..80_000 {
            let (year, month, day) = civil(days);
            let follows = (year, month, day) == (before.0, before.1, before.2 + 1)
                || (day == 1 && (year, month) == (before.0, before.1 + 1))
                || (year, month, day) == (before.0 + 1, 1, 1);
            assert!(follows && day <= 31 && month <= 12, "{before:?} {year}-{month}-{day}");
            before = (year, month, day);
        }
    }

    #[test]
    fn an_hour_without_its_date_is_refused() {
        assert!(check(&[Level::Hour]).is_err() && check(&[Level::Date, Level::Date]).is_err());
        assert!(check(&[Level::Date, Level::Hour]).is_ok());
    }
}
