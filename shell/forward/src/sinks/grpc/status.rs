//! What the end of a call means. Pure.

use std::time::Duration;

use hyper::header::HeaderMap;

use crate::sink::{Failure, Remedy};

/// Codes of gRPC.
const OK: u32 = 0;
const INVALID_ARGUMENT: u32 = 3;
const ALREADY_EXISTS: u32 = 6;
const OUT_OF_RANGE: u32 = 11;

/// Reads what a call ended with: trailers, or a head if there was nothing else.
///
/// # Errors
/// The call failed: how many records were taken before, and what is to be done about the next.
pub(super) fn judge(trailers: &HeaderMap) -> Result<(), Failure> {
    let text = |name: &str| trailers.get(name).and_then(|value| value.to_str().ok());
    let number = |name: &str| text(name).and_then(|text| text.parse::<u32>().ok());
    let Some(code) = number("grpc-status") else {
        return Err(Failure::retry("the call ended without a status"));
    };
    if code == OK {
        return Ok(());
    }
    let reason = format!("status {code}: {}", unescaped(text("grpc-message").unwrap_or_default()));
    let remedy = match code {
        // They are about the record after those that were taken.
        INVALID_ARGUMENT | ALREADY_EXISTS | OUT_OF_RANGE => Remedy::Poison,
        // Everything else is about the other side, and may pass.
        _ => {
            let seconds = number("retry-after").map(u64::from);
            Remedy::Retry(seconds.map(Duration::from_secs))
        }
    };
    Err(Failure { done: number("aqueduct-taken").unwrap_or(0) as usize, remedy, reason })
}

/// A message whose bytes that are not printable ASCII are `%` and two hexadecimal digits.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        if let Some(escaped) = escaped.filter(|_| byte == b'%') {
            bytes.push(escaped);
            rest = &after[2..];
        } else {
            bytes.push(byte);
            rest = after;
        }
    }
    let text = String::from_utf8_lossy(&bytes);
    text.chars().map(|it| if it.is_control() { ' ' } else { it }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(pairs: &[(&'static str, &str)]) -> Result<(), Failure> {
        let mut trailers = HeaderMap::new();
        for (name, value) in pairs {
            trailers.insert(*name, value.parse().expect("a value"));
        }
        judge(&trailers)
    }

    #[test]
    fn a_status_is_delivered_for_later_or_about_the_next_record() {
        assert_eq!(judged(&[("grpc-status", "0")]), Ok(()));
        let later = judged(&[
            ("grpc-status", "14"),
            ("grpc-message", "stayed%20full"),
            ("retry-after", "2"),
            ("aqueduct-taken", "7"),
        ]);
        let expected = Failure {
            done: 7,
            remedy: Remedy::Retry(Some(Duration::from_secs(2))),
            reason: "status 14: stayed full".to_owned(),
        };
        assert_eq!(later, Err(expected));
        for (code, is_poison) in
            [("3", true), ("6", true), ("11", true), ("7", false), ("2", false)]
        {
            let failure = judged(&[("grpc-status", code)]).expect_err("it failed");
            assert_eq!(failure.remedy == Remedy::Poison, is_poison, "{code}");
        }
        assert!(judged(&[]).is_err_and(|failure| failure.remedy == Remedy::Retry(None)));
    }
}
