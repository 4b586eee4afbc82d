//! What an answer means. Pure.

use std::time::{Duration, SystemTime};

use hyper::StatusCode;
use hyper::header::{HeaderMap, RETRY_AFTER};

use crate::sink::{Failure, Remedy};

/// Most characters of an answer's body that are told.
const REASON_CHARS: usize = 200;

/// Returns what the answer says about the records of its request.
///
/// 400, 413 and 422 are about them; another status, from 401 to 599, is about the service, and may
/// pass without a change of ours.
pub(super) fn judge(
    status: StatusCode,
    retry_after: Option<Duration>,
    body: &[u8],
) -> Result<(), Failure> {
    if status.is_success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(body);
    let text: String =
        text.chars().map(|it| if it.is_control() { ' ' } else { it }).take(REASON_CHARS).collect();
    let reason = format!("answered {status}: {}", text.trim());
    Err(match status.as_u16() {
        400 | 413 | 422 => Failure::split(reason),
        _ => Failure { done: 0, remedy: Remedy::Retry(retry_after), reason },
    })
}

/// Returns what `retry-after` asks for: seconds, or a date.
pub(super) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    httpdate::parse_http_date(text).ok()?.duration_since(now).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_delivered_for_later_or_about_the_records() {
        let five = Some(Duration::from_secs(5));
        for (status, remedy) in [
            (200, None),
            (204, None),
            (301, Some(Remedy::Retry(five))),
            (400, Some(Remedy::Split)),
            (401, Some(Remedy::Retry(five))),
            (409, Some(Remedy::Retry(five))),
            (413, Some(Remedy::Split)),
            (422, Some(Remedy::Split)),
            (429, Some(Remedy::Retry(five))),
            (503, Some(Remedy::Retry(five))),
        ] {
            let status = StatusCode::from_u16(status).expect("a status");
            let judged = judge(status, five, b"no\nroom").err();
            assert_eq!(judged.as_ref().map(|failure| failure.remedy), remedy, "{status}");
            assert!(judged.is_none_or(|failure| failure.reason.ends_with("no room")));
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_770);
        for (text, expected) in [
            ("7", Some(7)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(7)),
            ("Sun, 06 Nov 1994 08:49:27 GMT", None),
            ("soon", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().expect("a value"));
            assert_eq!(retry_after(&headers, now), expected.map(Duration::from_secs), "{text}");
        }
    }
}
