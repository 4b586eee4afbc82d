//! One request to the collector, bounded as a whole.

use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use prost::Message;
use smol::Timer;
use smol::future::{or, zip};
use smol::net::TcpStream;
use smol_hyper::rt::FuturesIo;

use super::OtelSettings;
use super::messages::Answer;

/// Bytes of an answer that are read.
const ANSWER_MAX: usize = 64 * 1024;

/// Why something was not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// For people.
    pub(super) reason: String,
    /// It would not be taken another time, either.
    pub(super) is_final: bool,
}

/// Sends a message. Returns how much of it the collector refused.
pub(super) async fn post(
    settings: &OtelSettings,
    path: &str,
    body: Vec<u8>,
    timeout: Duration,
) -> Result<u64, Failure> {
    let late = async {
        Timer::after(timeout).await;
        Err(again(format!("no answer within {} ms", timeout.as_millis())))
    };
    or(send(settings, path, body), late).await
}

fn again(reason: impl Into<String>) -> Failure {
    Failure { reason: reason.into(), is_final: false }
}

async fn send(settings: &OtelSettings, path: &str, body: Vec<u8>) -> Result<u64, Failure> {
    let stream = TcpStream::connect((settings.host.as_str(), settings.port)).await;
    let stream = stream.map_err(|error| again(error.to_string()))?;
    let (mut sender, connection) =
        http1::handshake(FuturesIo::new(stream)).await.map_err(|error| again(error.to_string()))?;
    let request = Request::post(path)
        .header("host", &settings.authority)
        .header("content-type", "application/x-protobuf")
        .header("user-agent", concat!("aqueduct/", env!("CARGO_PKG_VERSION")))
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| Failure { reason: error.to_string(), is_final: true })?;
    let answer = async move {
        let answer =
            sender.send_request(request).await.map_err(|error| again(error.to_string()))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await;
        match status.as_u16() {
            200..=299 => {
                let answer = body.ok().and_then(|body| Answer::decode(body.to_bytes()).ok());
                let partial = answer.and_then(|answer| answer.partial_success);
                let rejected = partial.map_or(0, |partial| partial.rejected);
                Ok(u64::try_from(rejected).unwrap_or(0))
            }
            // What the specification of OTLP calls retryable.
            429 | 502..=504 => Err(again(format!("it answers {status}"))),
            _ => Err(Failure { reason: format!("it answers {status}"), is_final: true }),
        }
    };
    // An error of the connection is one of the answer, too. The sender goes, and it ends.
    zip(answer, connection).await.0
}
