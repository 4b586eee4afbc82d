//! Answers of HTTP as statuses of gRPC. Pure.

use hyper::body::Bytes;
use hyper::header::RETRY_AFTER;
use hyper::{Response, StatusCode};
use serde::Deserialize;
use tonic::metadata::{AsciiMetadataKey, MetadataMap, MetadataValue};
use tonic::{Code, Status};

use super::generated::PublishResponse;

/// What is said of a record that is in the ring; also of one that readers have not released.
#[derive(Deserialize)]
struct Place {
    seq: u64,
    epoch: String,
}

/// What is said of one that is not.
#[derive(Deserialize)]
struct Problem {
    detail: String,
}

/// Turns the answer to one record into what its call is told.
pub(super) fn read(answer: &Response<Bytes>) -> Result<PublishResponse, Status> {
    let place = || {
        let Place { seq, epoch } = serde_json::from_slice(answer.body()).ok()?;
        Some((seq, u64::from_str_radix(&epoch, 16).ok()?))
    };
    if answer.status() == StatusCode::ACCEPTED {
        let replayed = answer.headers().contains_key("idempotent-replayed");
        let (seq, epoch) = place().ok_or_else(|| Status::internal("the answer has no place"))?;
        return Ok(PublishResponse { seq, epoch, replayed });
    }
    let detail = serde_json::from_slice(answer.body()).map(|Problem { detail }| detail);
    let mut status = Status::new(code(answer.status()), detail.unwrap_or_default());
    if let Some(after) = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()) {
        put(status.metadata_mut(), "retry-after", after);
    }
    if answer.status() == StatusCode::GATEWAY_TIMEOUT
        && let Some((seq, epoch)) = place()
    {
        put(status.metadata_mut(), "aqueduct-seq", &seq.to_string());
        put(status.metadata_mut(), "aqueduct-epoch", &format!("{epoch:016x}"));
    }
    Err(status)
}

/// The code of a refusal.
fn code(status: StatusCode) -> Code {
    match status.as_u16() {
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::NotFound,
        408 | 504 => Code::DeadlineExceeded,
        413 => Code::OutOfRange,
        422 => Code::AlreadyExists,
        429 => Code::ResourceExhausted,
        503 => Code::Unavailable,
        400..500 => Code::InvalidArgument,
        _ => Code::Internal,
    }
}

/// Refuses what there is no memory for.
pub(super) fn no_memory() -> Status {
    let mut status = Status::unavailable("no memory is left for the message");
    put(status.metadata_mut(), "retry-after", "1");
    status
}

/// Adds metadata.
pub(super) fn put(metadata: &mut MetadataMap, name: &'static str, value: &str) {
    if let Ok(value) = MetadataValue::try_from(value) {
        metadata.insert(AsciiMetadataKey::from_static(name), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16, body: &'static str) -> Response<Bytes> {
        let answer = Response::builder().status(status).header(RETRY_AFTER, "2");
        answer.body(Bytes::from_static(body.as_bytes())).expect("an answer")
    }

    #[test]
    fn a_record_that_is_in_the_ring_is_ok_and_nothing_else_is() {
        let answer = answered(202, "{\"seq\":7,\"epoch\":\"00000000000000ff\"}");
        let read_back = read(&answer).expect("it is in the ring");
        assert_eq!(read_back, PublishResponse { seq: 7, epoch: 255, replayed: false });
        for status in (100..600).filter(|status| *status != 202) {
            let refused = read(&answered(status, "{\"detail\":\"why\"}")).expect_err("no record");
            assert_ne!(refused.code(), Code::Ok, "{status}");
            assert_eq!(refused.message(), "why");
            assert_eq!(refused.metadata().get("retry-after").expect("it is told"), "2");
        }
    }

    #[test]
    fn a_record_that_was_not_released_in_time_has_its_place() {
        let body = "{\"detail\":\"late\",\"seq\":3,\"epoch\":\"0000000000000001\"}";
        let late = read(&answered(504, body)).expect_err("it is late");
        assert_eq!(late.code(), Code::DeadlineExceeded);
        assert_eq!(late.metadata().get("aqueduct-seq").expect("it is told"), "3");
        assert_eq!(late.metadata().get("aqueduct-epoch").expect("it is told"), "0000000000000001");
    }
}
