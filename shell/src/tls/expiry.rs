//! When a certificate ends: the one field of X.509 that operators ask for (RFC 5280 §4.1.2.5).

/// Finds `notAfter` of a certificate in DER, seconds since 1970; `None` if it is no certificate.
pub(super) fn not_after_s(certificate: &[u8]) -> Option<i64> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    Some(certificate.validity().not_after.timestamp())
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
