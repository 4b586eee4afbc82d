//! Records over gRPC: `aqueduct.v1.Publisher` of `shell/proto`, at the addresses of HTTP/2.
//!
//! tonic frames and decodes the messages of a call. Each record then goes the way of an HTTP
//! request to `/v1/rings/{ring}/records`, with the metadata of the call as its headers, and its
//! answer becomes the status of the call: so gRPC takes the same records, checks the same
//! credentials and refuses the same things with the same words.
//!
//! Reading order: `arriving` (how much of a call may be here, and how long it may take),
//! `compressed` (messages in Snappy), `status`, `publisher`.

mod arriving;
mod compressed;
#[rustfmt::skip]
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::pedantic,
    clippy::missing_docs_in_private_items,
    reason = "generated"
)]
mod generated;
mod publisher;
mod status;

use std::sync::Arc;

use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Request, Response};
use tonic::body::Body;
use tonic::codegen::Service;

use self::arriving::{Arrived, Arriving};
use self::compressed::{ACCEPTED, Expanded};
use self::generated::publisher_server::PublisherServer;
use self::publisher::Call;
use super::Connection;
use super::body::Asked;

/// The paths of calls.
const PREFIX: &str = "/aqueduct.v1.Publisher/";
/// Bytes of a message around its record: ring, type, key, attributes, and their tags.
const AROUND_BYTES: usize = 5 << 10;

/// Whether a request is a call.
pub(super) fn is_call(request: &Request<Asked>) -> bool {
    let kind = request.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    request.uri().path().starts_with(PREFIX)
        && kind.is_some_and(|kind| kind.starts_with(b"application/grpc"))
}

/// Answers a call; `None` if there is nobody to be answered.
pub(super) async fn answer(
    connection: &Arc<Connection>,
    request: Request<Asked>,
) -> Option<Response<Body>> {
    let shared = connection.http2.shared.upgrade()?;
    let limits = &connection.limits;
    let arrived = Arrived::new(&shared.buffered, limits.body_timeout, limits.keep_alive_timeout);
    drop(shared);
    let call = Call::new(connection, request.uri().authority(), &arrived);
    let most = connection.http2.largest_record_bytes + AROUND_BYTES;
    let mut server = PublisherServer::new(call).max_decoding_message_size(most);
    let mut request = request.map(|body| Arriving::new(body, Arc::clone(&arrived)));
    let is_snappy = compressed::take_encoding(request.headers_mut());
    let request = request.map(|body| Expanded::new(body, arrived, is_snappy, most));
    match server.call(request).await {
        Ok(mut response) => {
            let (name, value) = ACCEPTED;
            response.headers_mut().insert(name, value);
            Some(response)
        }
        Err(never) => match never {},
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_generated_code_is_that_of_the_proto_file() {
        let proto = include_bytes!("../../../../proto/aqueduct/v1/publisher.proto");
        let crc = format!("(CRC-32 {:08x})", crc32fast::hash(proto));
        let head = include_str!("generated.rs").lines().next().unwrap_or_default();
        assert!(head.contains(&crc), "run shell/proto/generate: {head} is not {crc}");
    }
}
