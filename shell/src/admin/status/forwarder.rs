//! What forwarders say of themselves, asked at their addresses for operators.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode};
use serde::{Deserialize, Serialize};
use smol::Timer;
use smol::future::{or, zip};
use smol::net::TcpStream;
use smol_hyper::rt::FuturesIo;

/// How long a forwarder may take to answer, in all.
const PATIENCE: Duration = Duration::from_secs(1);
/// Bytes of an answer that are read.
const BYTES_MAX: usize = 16 * 1024;

/// What `/v1/status` of a forwarder says.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct ForwarderStatus {
    /// The kind of sink that it delivers to.
    pub sink: String,
    /// The ring that it reads.
    pub ring: String,
    /// The subscription that it reads by.
    pub subscription: String,
    /// Whether records get through.
    pub ready: bool,
    /// Why not.
    pub detail: Option<String>,
    /// Records that the other side has durably.
    pub delivered_records: u64,
    /// Attempts that failed and were repeated.
    pub retries: u64,
    /// Records in its dead-letter file.
    pub dead_lettered_records: u64,
    /// Records read and not acknowledged.
    pub in_flight_records: u64,
    /// Records published and not read.
    pub lag_records: u64,
    /// Time since the last acknowledgement, seconds; none if there was none yet.
    pub acknowledgement_age_seconds: Option<f64>,
}

/// Asks a forwarder; the error is for people.
pub(super) async fn ask(address: SocketAddr) -> Result<ForwarderStatus, String> {
    let late = async {
        Timer::after(PATIENCE).await;
        Err(format!("no answer within {} s", PATIENCE.as_secs()))
    };
    or(fetch(address), late).await
}

async fn fetch(address: SocketAddr) -> Result<ForwarderStatus, String> {
    let failed = |error: hyper::Error| error.to_string();
    let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    let (mut sender, connection) =
        http1::handshake(FuturesIo::new(stream)).await.map_err(failed)?;
    let request =
        Request::get("/v1/status").header("host", address.to_string()).body(Empty::<Bytes>::new());
    let request = request.map_err(|error| error.to_string())?;
    let answer = async move {
        let answer = sender.send_request(request).await.map_err(failed)?;
        if answer.status() != StatusCode::OK {
            return Err(format!("it answers {}", answer.status()));
        }
        let body = Limited::new(answer.into_body(), BYTES_MAX).collect().await;
        let body = body.map_err(|error| error.to_string())?.to_bytes();
        // The sender goes, and the connection ends.
        serde_json::from_slice(&body).map_err(|error| format!("it answers something else: {error}"))
    };
    // An error of the connection is one of the answer, too.
    zip(answer, connection).await.0
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    /// What a peer that answers with `response` is taken to say.
    fn asked(response: &[u8]) -> Result<ForwarderStatus, String> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("an address");
        let address = listener.local_addr().expect("bound");
        let response = response.to_vec();
        let peer = std::thread::spawn(move || {
            let (mut peer, _) = listener.accept().expect("a caller");
            let mut head = [0; 1024];
            let _ = peer.read(&mut head).expect("a head");
            let _ = peer.write_all(&response);
        });
        let said = smol::block_on(ask(address));
        peer.join().expect("it ended");
        said
    }

    #[test]
    fn an_answer_is_read_and_anything_else_is_an_error() {
        let body = r#"{"sink":"file","ring":"a","subscription":"s","ready":false,"detail":"down",
            "delivered_records":7,"retries":1,"dead_lettered_records":0,"in_flight_records":2,
            "lag_records":3,"acknowledgement_age_seconds":null}"#;
        let good = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let said = asked(good.as_bytes()).expect("understood");
        assert_eq!((said.sink.as_str(), said.delivered_records), ("file", 7));
        assert_eq!((said.ready, said.detail.as_deref()), (false, Some("down")));
        for (response, says) in [
            (&b""[..], "connection closed"),
            (b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", "404"),
            (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", "something else"),
            (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}", "reading a body"),
            (b"220 mail\r\n", "invalid HTTP"),
        ] {
            let error = asked(response).expect_err("nothing of the kind");
            assert!(error.contains(says), "{error:?} does not say {says:?}");
        }
    }

    #[test]
    fn a_forwarder_that_is_not_there_is_an_error_and_one_that_says_nothing_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("an address");
        let address = listener.local_addr().expect("bound");
        let silent = smol::block_on(ask(address)).expect_err("it says nothing");
        assert_eq!(silent, "no answer within 1 s");
        drop(listener);
        assert!(smol::block_on(ask(address)).is_err());
    }
}
