//! The value of a `Date` field (RFC 9110 §5.6.7).

/// Formats seconds since 1970 as an IMF-fixdate: 0 gives `Thu, 01 Jan 1970 00:00:00 GMT`. Years
/// beyond 9999 lose their upper digits.
pub fn format(unix_seconds: u64) -> [u8; 29] {
    const DAYS: &[u8; 21] = b"ThuFriSatSunMonTueWed";
    const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
    let (days, second) = (unix_seconds / 86_400, unix_seconds % 86_400);
    let (year, month, day) = civil(days);
    let mut date = *b"xxx, 00 xxx 0000 00:00:00 GMT";
    let name = |names: &[u8], index: u64| {
        let at = usize::try_from(index * 3).unwrap_or(0);
        [names[at], names[at + 1], names[at + 2]]
    };
    date[..3].copy_from_slice(&name(DAYS, days % 7));
    date[8..11].copy_from_slice(&name(MONTHS, month - 1));
    for (at, number) in [
        (5, day),
        (12, year / 100),
        (14, year),
        (17, second / 3_600),
        (20, second / 60 % 60),
        (23, second % 60),
    ] {
        for (at, digit) in [(at, number / 10), (at + 1, number)] {
            date[at] = b'0' + u8::try_from(digit % 10).unwrap_or(0);
        }
    }
    date
}

/// Year, month (from 1) and day (from 1) of a day since 1970. Source: Hinnant, "chrono-Compatible
/// Low-Level Date Algorithms", `civil_from_days`.
const fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_date_is_the_one_of_the_httpdate_crate(seconds in 0..253_402_300_800_u64) {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            let ours = String::from_utf8(format(seconds).to_vec()).expect("ASCII");
            prop_assert_eq!(ours, httpdate::fmt_http_date(time));
        }
    }

    #[test]
    fn leap_days_exist_where_they_should() {
        assert_eq!(&format(951_782_400), b"Tue, 29 Feb 2000 00:00:00 GMT");
        assert_eq!(&format(784_111_777), b"Sun, 06 Nov 1994 08:49:37 GMT");
    }
}
