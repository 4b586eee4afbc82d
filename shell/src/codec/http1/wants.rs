//! What a request wants beside its record being published: to wait for readers, and to be told
//! apart from its repetitions.

use std::time::Duration;

use super::head::Head;
use crate::codec::{Ring, Sink};
use crate::config::Millis;
use crate::middleware::Acknowledge;

/// How long a request waits for readers if it does not say so.
const WITHIN: Duration = Duration::from_secs(5);
/// How long it may at most.
const WITHIN_MAX: Duration = Duration::from_secs(60);
/// Longest idempotency key.
const KEY_BYTES_MAX: usize = 255;

/// What a request wants.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wants {
    /// Its idempotency key.
    pub(super) key: Option<Box<[u8]>>,
    /// Whose release it waits for.
    pub(super) consumed: Option<Consumed>,
}

/// A wait for readers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Consumed {
    /// Place of the subscription in each of the rings; all subscriptions without.
    pub(super) by: Option<Box<[u16]>>,
    pub(super) within: Duration,
}

const FORM: &str = "aqueduct-acknowledge is `published`, or `consumed` with `;by=SUBSCRIPTION` and \
                    `;within=TIME`, at most 60 s";
const NO_SUBSCRIPTION: &str = "the ring has no subscription of the name in aqueduct-acknowledge";
const KEY_FORM: &str =
    "an idempotency-key is a string of 1 to 255 printable characters, in quotes or without space";

impl Wants {
    /// Reads what a request wants of its rings. What it does not say, its route does.
    ///
    /// # Errors
    /// What is wrong with its fields.
    pub(super) fn read<S: Sink>(
        head: &Head<'_>,
        route: Option<&Acknowledge>,
        rings: &[Ring],
        sink: &S,
    ) -> Result<Self, &'static str> {
        if head.idempotency_key.is_none() && head.acknowledge.is_none() && route.is_none() {
            return Ok(Self::default());
        }
        let key = head.idempotency_key.map(key).transpose()?;
        let level = match (head.acknowledge, route) {
            (Some(value), _) => acknowledge(value).ok_or(FORM)?,
            (None, Some(level)) => level.clone(),
            (None, None) => Acknowledge::Published,
        };
        let consumed = match level {
            Acknowledge::Published => None,
            Acknowledge::Consumed { by, within } => {
                let find = |name: String| -> Result<Box<[u16]>, _> {
                    let places = rings.iter().map(|ring| sink.subscription(ring.id, &name));
                    places.collect::<Option<_>>().ok_or(NO_SUBSCRIPTION)
                };
                Some(Consumed { by: by.map(find).transpose()?, within })
            }
        };
        Ok(Self { key, consumed })
    }
}

/// The key of `idempotency-key` (draft-ietf-httpapi-idempotency-key-header): a string as
/// structured fields write it, or what many clients send instead, the same without quotes.
fn key(value: &[u8]) -> Result<Box<[u8]>, &'static str> {
    let mut key = Vec::with_capacity(value.len());
    match value.strip_prefix(b"\"") {
        None => key.extend_from_slice(value),
        Some(rest) => {
            let inside = rest.strip_suffix(b"\"").ok_or(KEY_FORM)?;
            let mut bytes = inside.iter();
            while let Some(&byte) = bytes.next() {
                // RFC 9651 §3.3.3: only these two have escapes, and need them.
                let byte = match byte {
                    b'\\' => *bytes.next().filter(|next| b"\"\\".contains(next)).ok_or(KEY_FORM)?,
                    b'"' => return Err(KEY_FORM),
                    byte => byte,
                };
                key.push(byte);
            }
        }
    }
    let is_quoted = value.starts_with(b"\"");
    let is_of_key = |byte: &u8| byte.is_ascii_graphic() || is_quoted && *byte == b' ';
    if key.is_empty() || key.len() > KEY_BYTES_MAX || !key.iter().all(is_of_key) {
        return Err(KEY_FORM);
    }
    Ok(key.into())
}

/// A value of `aqueduct-acknowledge`.
fn acknowledge(value: &[u8]) -> Option<Acknowledge> {
    let mut parts = std::str::from_utf8(value).ok()?.split(';').map(str::trim);
    match parts.next()? {
        "published" => parts.next().is_none().then_some(Acknowledge::Published),
        "consumed" => {
            let (mut by, mut within) = (None, None);
            for part in parts {
                let before = match part.split_once('=')? {
                    ("by", name) => by.replace(name.to_owned()).is_some(),
                    ("within", time) => {
                        let Millis(ms) = time.parse().ok()?;
                        within.replace(Duration::from_millis(ms)).is_some()
                    }
                    _ => return None,
                };
                if before {
                    return None;
                }
            }
            let within = within.unwrap_or(WITHIN);
            (within <= WITHIN_MAX).then_some(Acknowledge::Consumed { by, within })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_strings_in_quotes_or_without() {
        for (value, expected) in [
            ("\"8e03978e\"", "8e03978e"),
            ("8e03978e-40d5", "8e03978e-40d5"),
            ("\"a b\"", "a b"),
            ("\"a\\\"\\\\\"", "a\"\\"),
        ] {
            assert_eq!(key(value.as_bytes()).as_deref(), Ok(expected.as_bytes()), "{value}");
        }
        let longest = "x".repeat(255);
        assert_eq!(key(longest.as_bytes()).as_deref(), Ok(longest.as_bytes()));
        let long = "x".repeat(256);
        for value in
            ["", "\"\"", "\"", "\"a", "a b", "\"a\"b\"", "\"a\\b\"", "\u{e9}", "\"a\"x", &long]
        {
            assert_eq!(key(value.as_bytes()), Err(KEY_FORM), "{value}");
        }
    }

    #[test]
    fn levels_are_read_with_their_parameters_once() {
        let consumed = |by: Option<&str>, ms| {
            let by = by.map(str::to_owned);
            Some(Acknowledge::Consumed { by, within: Duration::from_millis(ms) })
        };
        assert_eq!(acknowledge(b"published"), Some(Acknowledge::Published));
        assert_eq!(acknowledge(b"consumed"), consumed(None, 5000));
        assert_eq!(acknowledge(b"consumed; by=a.b ;within=250ms"), consumed(Some("a.b"), 250));
        for value in [
            "",
            "durable",
            "published;by=a",
            "consumed;by=a;by=b",
            "consumed;x=1",
            "consumed;within=61s",
        ] {
            assert_eq!(acknowledge(value.as_bytes()), None, "{value}");
        }
    }
}
