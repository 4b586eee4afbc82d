//! The value of a `Date` field (RFC 9110 §5.6.7).

use std::io::Write;
use std::time::{Duration, UNIX_EPOCH};

use httpdate::HttpDate;

/// The last second of the year 9999: later ones have no date.
const LAST: u64 = 253_402_300_799;

/// Formats seconds since 1970 as an IMF-fixdate: 0 gives `Thu, 01 Jan 1970 00:00:00 GMT`. After
/// the year 9999 it stays at its last second.
pub fn format(unix_seconds: u64) -> [u8; 29] {
    let date = HttpDate::from(UNIX_EPOCH + Duration::from_secs(unix_seconds.min(LAST)));
    let mut text = [b' '; 29];
    // Every date is as long as its place.
    let _ = write!(&mut text[..], "{date}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_fills_its_place() {
        for (seconds, date) in [
            (0, b"Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, b"Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, b"Tue, 29 Feb 2000 00:00:00 GMT"),
            (LAST, b"Fri, 31 Dec 9999 23:59:59 GMT"),
            (u64::MAX, b"Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(&format(seconds), date, "{seconds}");
        }
    }
}
