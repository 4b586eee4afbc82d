//! The calls of `aqueduct.v1.Publisher`.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::Full;
use hyper::header::{
    CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, TE,
};
use hyper::http::uri::Authority;
use prost::Message;
use smol::future;
use tonic::{Request, Response, Status, Streaming};

use super::arriving::Arrived;
use super::generated::publisher_server::Publisher;
use super::generated::{PublishRequest, PublishResponse, PublishStreamResponse};
use super::status;
use crate::codec::GIVEN;
use crate::ingress::http2::{Connection, exchange, translate};

/// Bytes before a message (gRPC over HTTP/2: compressed flag and length).
const PREFIX_BYTES: usize = 5;
/// Most bytes of a ring's name.
const RING_BYTES_MAX: usize = 64;

const TYPE: HeaderName = HeaderName::from_static("aqueduct-type");
const KEY: HeaderName = HeaderName::from_static("idempotency-key");
const ATTRIBUTES: HeaderName = HeaderName::from_static(GIVEN);

/// One call.
pub(super) struct Call {
    connection: Arc<Connection>,
    host: HeaderValue,
    arrived: Arc<Arrived>,
}

impl Call {
    pub(super) fn new(
        connection: &Arc<Connection>,
        authority: Option<&Authority>,
        arrived: &Arc<Arrived>,
    ) -> Self {
        let host = authority.and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
        Self {
            connection: Arc::clone(connection),
            host: host.unwrap_or(HeaderValue::from_static("localhost")),
            arrived: Arc::clone(arrived),
        }
    }

    /// Publishes one record, with the headers of its call.
    async fn publish(
        &self,
        headers: &HeaderMap,
        ring: &str,
        message: PublishRequest,
    ) -> Result<PublishResponse, Status> {
        let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if ring.is_empty() || ring.len() > RING_BYTES_MAX || !ring.bytes().all(is_of_name) {
            return Err(Status::not_found("there is no ring of this name"));
        }
        let request = hyper::Request::post(format!("/v1/rings/{ring}/records")).body(());
        let request = request.map_err(|error| Status::not_found(error.to_string()))?;
        let (mut parts, ()) = request.into_parts();
        parts.headers.clone_from(headers);
        parts.headers.insert(HOST, self.host.clone());
        parts.headers.insert(CONTENT_LENGTH, message.payload.len().into());
        parts.headers.insert(TYPE, message.r#type.into());
        if !message.idempotency_key.is_empty() {
            let key = HeaderValue::from_str(&message.idempotency_key)
                .map_err(|_| Status::invalid_argument("the key has bytes that no header has"))?;
            parts.headers.insert(KEY, key);
        }
        if !message.attributes.is_empty() {
            let encoded = STANDARD.encode(&message.attributes);
            let value = HeaderValue::try_from(encoded);
            let value = value.map_err(|error| Status::invalid_argument(error.to_string()))?;
            parts.headers.insert(ATTRIBUTES, value);
        }
        let body = Full::new(message.payload);
        let answer = exchange::answer(&self.connection, &parts, body).await;
        let answer = answer
            .as_deref()
            .and_then(translate::answer)
            .ok_or_else(|| Status::unknown("whether the record is published cannot be said"))?;
        status::read(&answer)
    }
}

/// Leaves of a call's metadata what an HTTP request for a record has.
fn headers(request: HeaderMap) -> HeaderMap {
    let mut headers = request;
    // What says something of the call, and what the message says itself.
    for name in [CONTENT_TYPE, CONTENT_LENGTH, EXPECT, HOST, TE, TYPE, KEY] {
        headers.remove(name);
    }
    let of_grpc: Vec<_> =
        headers.keys().filter(|name| name.as_str().starts_with("grpc-")).cloned().collect();
    for name in of_grpc {
        headers.remove(name);
    }
    headers
}

#[tonic::async_trait]
impl Publisher for Call {
    async fn publish(
        &self,
        request: Request<PublishRequest>,
    ) -> Result<Response<PublishResponse>, Status> {
        let (metadata, _, mut message) = request.into_parts();
        self.arrived.done(message.encoded_len() + PREFIX_BYTES);
        let ring = std::mem::take(&mut message.ring);
        let headers = headers(metadata.into_headers());
        Call::publish(self, &headers, &ring, message).await.map(Response::new)
    }

    async fn publish_stream(
        &self,
        request: Request<Streaming<PublishRequest>>,
    ) -> Result<Response<PublishStreamResponse>, Status> {
        let (metadata, _, mut messages) = request.into_parts();
        let headers = headers(metadata.into_headers());
        let mut taken = PublishStreamResponse::default();
        let mut ring = String::new();
        loop {
            let next = future::or(messages.message(), async {
                self.connection.http2.shutdown.wait().await;
                Err(Status::unavailable("shutting down"))
            });
            let mut message = match next.await {
                Ok(Some(message)) => message,
                Ok(None) => return Ok(Response::new(taken)),
                Err(status) => return Err(told(&taken, status)),
            };
            self.arrived.done(message.encoded_len() + PREFIX_BYTES);
            let named = std::mem::take(&mut message.ring);
            if ring.is_empty() {
                ring = named;
            } else if !named.is_empty() && named != ring {
                let status = Status::invalid_argument("a stream is to one ring");
                return Err(told(&taken, status));
            }
            match Call::publish(self, &headers, &ring, message).await {
                Ok(PublishResponse { seq, epoch, replayed }) => {
                    taken.taken += 1;
                    taken.first_seq.get_or_insert(seq);
                    taken.last_seq = Some(seq);
                    taken.epoch = epoch;
                    taken.replayed += u64::from(replayed);
                }
                Err(status) => return Err(told(&taken, status)),
            }
        }
    }
}

/// Says with a status what of the stream was taken before.
fn told(taken: &PublishStreamResponse, mut status: Status) -> Status {
    let metadata = status.metadata_mut();
    status::put(metadata, "aqueduct-taken", &taken.taken.to_string());
    if let (Some(first), Some(last)) = (taken.first_seq, taken.last_seq) {
        status::put(metadata, "aqueduct-first-seq", &first.to_string());
        status::put(metadata, "aqueduct-last-seq", &last.to_string());
        status::put(metadata, "aqueduct-epoch", &format!("{:016x}", taken.epoch));
    }
    status
}
