//! When a certificate ends: the one field of X.509 that operators ask for (RFC 5280 §4.1.2.5).

use super::der::{SEQUENCE, any, element, tagged};

const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// Finds `notAfter` of a certificate in DER, seconds since 1970; `None` if it is not where it
/// belongs.
pub(super) fn not_after_s(certificate: &[u8]) -> Option<i64> {
    let (certificate, _) = element(certificate, SEQUENCE)?;
    let (mut rest, _) = element(certificate, SEQUENCE)?;
    if rest.first() == Some(&VERSION) {
        (_, rest) = any(rest)?;
    }
    // Serial number, algorithm, issuer.
    for _ in 0..3 {
        (_, _, rest) = tagged(rest)?;
    }
    let (validity, _) = element(rest, SEQUENCE)?;
    let (_, after) = any(validity)?;
    let (tag, text, _) = tagged(after)?;
    let (year, rest) = match tag {
        UTC_TIME => {
            let (year, rest) = digits(text, 2)?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => digits(text, 4)?,
        _ => return None,
    };
    let (month, rest) = digits(rest, 2)?;
    let (day, rest) = digits(rest, 2)?;
    let (hour, rest) = digits(rest, 2)?;
    let (minute, rest) = digits(rest, 2)?;
    let (second, rest) = digits(rest, 2)?;
    let is_time = rest == b"Z" && (1..=12).contains(&month) && (1..=31).contains(&day);
    is_time.then(|| days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second)
}

fn digits(text: &[u8], count: usize) -> Option<(i64, &[u8])> {
    let (digits, rest) = text.split_at_checked(count)?;
    let is_number = digits.iter().all(u8::is_ascii_digit);
    is_number
        .then(|| (digits.iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0')), rest))
}

/// Days from 1970-01-01 to a day of the Gregorian calendar. Years begin in March here, so that a
/// leap day is the last of its year.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap_days + (month * 153 + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(year: i32, month: u8, day: u8) -> Vec<u8> {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut parameters = rcgen::CertificateParams::new(["a".to_owned()]).expect("parameters");
        parameters.not_after = rcgen::date_time_ymd(year, month, day);
        parameters.self_signed(&key).expect("signed").der().to_vec()
    }

    #[test]
    fn the_end_of_a_certificate_is_found_in_both_forms_of_time() {
        // `date -u -d DATE +%s`
        for ((year, month, day), seconds) in [
            ((1970, 1, 2), 86_400),
            ((2000, 2, 29), 951_782_400),
            ((2026, 11, 29), 1_795_910_400),
            ((2049, 12, 31), 2_524_521_600),
            ((2050, 1, 1), 2_524_608_000),
            ((4096, 1, 1), 67_090_118_400),
        ] {
            let found = not_after_s(&certificate(year, month, day));
            assert_eq!(found, Some(seconds), "{year}-{month}-{day}");
        }
    }

    #[test]
    fn what_is_cut_or_changed_is_no_time_and_no_panic() {
        let whole = certificate(2026, 11, 29);
        for length in 0..whole.len() {
            assert_eq!(not_after_s(&whole[..length]), None, "{length}");
        }
        for at in 0..whole.len().min(200) {
            for byte in [0, 0x7f, 0x80, 0x84, 0xff] {
                let mut changed = whole.clone();
                changed[at] = byte;
                let _ = not_after_s(&changed);
            }
        }
    }

    #[test]
    fn the_time_of_day_counts_and_what_is_no_date_is_none() {
        let whole = certificate(2026, 11, 29);
        let at = whole.windows(13).position(|it| it == b"261129000000Z").expect("UTCTime");
        let with = |time: &[u8; 13]| {
            let mut changed = whole.clone();
            changed[at..at + 13].copy_from_slice(time);
            not_after_s(&changed)
        };
        assert_eq!(with(b"261129123456Z"), Some(1_795_910_400 + 12 * 3600 + 34 * 60 + 56));
        assert_eq!(with(b"500101000000Z"), Some(-631_152_000), "RFC 5280: 50 to 99 are 1900s");
        for bad in [b"260029000000Z", b"261329000000Z", b"261100000000Z", b"261132000000Z"] {
            assert_eq!(with(bad), None);
        }
        assert_eq!(with(b"261129000000+"), None);
    }
}
