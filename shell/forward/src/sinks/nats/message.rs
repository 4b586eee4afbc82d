//! One message: a record, its name and what was kept beside it; and what its refusal means.

use std::error::Error as _;

use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::{self, ErrorCode};
use async_nats::{HeaderMap, HeaderName, header};
use bytes::Bytes;

use crate::batch::View;
use crate::envelope::{Envelope, Form};
use crate::sink::{Failure, Remedy};
use crate::trace::{TRACEPARENT, Trace};

/// Bytes that the names, lengths and headers of ours take beside a payload, at most.
const HEAD_BYTES: usize = 512;
const TYPE: HeaderName = HeaderName::from_static("Aqueduct-Type");

/// Makes headers and payload of a record, whose name is its id.
///
/// # Errors
/// Why it can never be a message for a server with this `max_payload`.
pub(super) fn of(
    envelope: &Envelope,
    record: &View<'_>,
    limit: usize,
) -> Result<(HeaderMap, Bytes), String> {
    let mut payload = Vec::with_capacity(record.payload.len() + 64);
    envelope.encode(record, &mut payload)?;
    let mut headers = HeaderMap::new();
    headers.insert(header::NATS_MESSAGE_ID, record.name());
    headers.insert(TYPE, record.type_tag.to_string());
    let mut bytes = payload.len() + HEAD_BYTES;
    if envelope.form == Form::Raw {
        // Any other form has them inside.
        for attribute in record.attributes.clone() {
            let name = String::from_utf8_lossy(attribute.name);
            let value = String::from_utf8_lossy(attribute.value);
            // What cannot be a header of NATS is left out: a name with a colon, a line break. So
            // is what would be taken for the server's or ours.
            let is_taken = is_taken(&name);
            let name = name.parse::<HeaderName>();
            let value = value.parse::<async_nats::HeaderValue>();
            if let (Ok(name), Ok(value), false) = (name, value, is_taken) {
                bytes += attribute.name.len() + attribute.value.len() + 4;
                headers.append(name, value);
            }
        }
    }
    if envelope.form != Form::Raw || record.attributes.get(TRACEPARENT).is_none() {
        for (name, value) in Trace::of(record).headers() {
            bytes += name.len() + value.len() + 4;
            headers.insert(name, value);
        }
    }
    if bytes > limit {
        return Err(format!("NATS: {bytes} bytes are more than the server's max_payload, {limit}"));
    }
    Ok((headers, payload.into()))
}

/// Whether a name means something to the server: an attribute, which a client chose, does not.
fn is_taken(name: &str) -> bool {
    name.get(..5).is_some_and(|begin| begin.eq_ignore_ascii_case("nats-"))
        || name.eq_ignore_ascii_case("aqueduct-type")
}

/// What a refusal, or silence, means.
pub(super) fn failure(error: &PublishError) -> Failure {
    let code = error
        .source()
        .and_then(|source| source.downcast_ref::<jetstream::Error>())
        .map(jetstream::Error::error_code);
    let remedy = match (error.kind(), code) {
        (PublishErrorKind::MaxPayloadExceeded, _)
        | (_, Some(ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM)) => Remedy::Poison,
        (_, Some(ErrorCode::STREAM_NOT_MATCH)) => Remedy::Stop,
        _ => Remedy::Retry(None),
    };
    Failure { done: 0, remedy, reason: format!("NATS: {error}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_mean_something_to_the_server_are_no_attributes() {
        for taken in ["Nats-Msg-Id", "nats-rollup", "NATS-Batch-Commit", "Aqueduct-Type"] {
            assert!(is_taken(taken), "{taken}");
        }
        for free in ["tenant", "nat", "nats", "x-nats-ttl"] {
            assert!(!is_taken(free), "{free}");
        }
    }
}
