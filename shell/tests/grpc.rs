//! Records over gRPC, by tonic's client: what is answered is what the ring holds.
#![cfg(feature = "grpc")]

mod common;

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use common::http2::{Client, Tasks, run};
use common::publisher::publisher_client::PublisherClient;
use common::publisher::{PublishRequest, PublishStreamResponse};
use common::reader::Attached;
use common::{Ends, Scratch, Server, command};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http2::SendRequest;
use rustix::process::Signal;
use smol::stream::{self, StreamExt};
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::{Code, Request, Status};

/// A connection, as tonic wants it.
#[derive(Clone)]
struct Channel(SendRequest<Body>);

impl Service<hyper::Request<Body>> for Channel {
    type Response = hyper::Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = hyper::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: hyper::Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

async fn connect(server: &Server, tasks: &Tasks) -> PublisherClient<Channel> {
    let client = Client::connect(server.http, tasks).await;
    client.ended.detach();
    PublisherClient::with_origin(Channel(client.sender), "http://t".parse().expect("a URI"))
}

fn record(ring: &str, payload: &'static [u8]) -> PublishRequest {
    PublishRequest {
        ring: ring.to_owned(),
        payload: Bytes::from_static(payload),
        ..PublishRequest::default()
    }
}

fn told<'a>(status: &'a Status, name: &str) -> Option<&'a str> {
    status.metadata().get(name).map(|value| value.to_str().expect("ASCII"))
}

#[test]
fn a_record_and_a_stream_of_them_are_in_the_ring_as_they_are_answered() {
    let server = Server::start(&["--ring", "a"]);
    let answers = run(async |tasks| {
        let mut client = connect(&server, &tasks).await;
        let typed = PublishRequest { r#type: 7, ..record("a", b"one") };
        let one = client.publish(typed).await.expect("taken").into_inner();
        // The ring is named once.
        let more = [record("a", b"two"), record("", b""), record("a", b"four")];
        let stream = client.publish_stream(stream::iter(more)).await.expect("taken").into_inner();
        let none = client.publish_stream(stream::iter([])).await.expect("nothing is refused");
        assert_eq!(none.into_inner(), PublishStreamResponse::default());
        (one, stream)
    });
    let (one, stream) = answers;
    assert_eq!((one.seq, one.replayed), (0, false));
    assert_eq!((stream.taken, stream.first_seq, stream.last_seq), (3, Some(1), Some(3)));
    assert_eq!((stream.epoch, stream.replayed), (one.epoch, 0));
    let mut reader = Attached::attach(&server.socket, "a", "default");
    let expected: [(u16, &[u8]); 4] = [(7, b"one"), (0, b"two"), (0, b""), (0, b"four")];
    for (seq, (tag, payload)) in (0..).zip(expected) {
        assert_eq!(reader.next(), Some((seq, tag, payload.to_vec())));
    }
}

#[test]
fn a_refusal_has_its_status_and_a_stream_says_what_was_taken_before() {
    let server = Server::start(&[
        "--ring",
        "a",
        "--capacity-bytes",
        "1024",
        "--max-payload-bytes",
        "100",
        "--full-wait-ms",
        "50",
    ]);
    run(async |tasks| {
        let mut client = connect(&server, &tasks).await;
        for (request, code) in [
            (record("other", b"x"), Code::NotFound),
            (record("", b"x"), Code::NotFound),
            (record("a/../a", b"x"), Code::NotFound),
            (PublishRequest { r#type: 65_536, ..record("a", b"x") }, Code::InvalidArgument),
            (
                PublishRequest { idempotency_key: "k\n".into(), ..record("a", b"x") },
                Code::InvalidArgument,
            ),
            (
                PublishRequest { idempotency_key: "k".repeat(256), ..record("a", b"x") },
                Code::InvalidArgument,
            ),
            (record("a", &[0; 101]), Code::OutOfRange),
            (record("a", &[0; 5000]), Code::OutOfRange),
        ] {
            let status = client.publish(request).await.expect_err("it is refused");
            assert_eq!(status.code(), code, "{status}");
            assert!(!status.message().is_empty());
        }
        // Nobody reads: the ring is full some time.
        let many = stream::iter(std::iter::repeat_with(|| record("a", &[1; 90])).take(100));
        let full = client.publish_stream(many).await.expect_err("it is full");
        assert_eq!(full.code(), Code::Unavailable, "{full}");
        assert!(told(&full, "retry-after").is_some());
        let taken: u64 = told(&full, "aqueduct-taken").expect("told").parse().expect("a number");
        assert!((5..10).contains(&taken), "{taken}");
        assert_eq!(told(&full, "aqueduct-first-seq"), Some("0"));
        assert_eq!(told(&full, "aqueduct-last-seq"), Some(&*(taken - 1).to_string()));
        let two = stream::iter([record("b", b"x"), record("a", b"x")]);
        let status = client.publish_stream(two).await.expect_err("no such ring");
        assert_eq!((status.code(), told(&status, "aqueduct-taken")), (Code::NotFound, Some("0")));
        assert_eq!(told(&status, "aqueduct-first-seq"), None);
    });
}

#[test]
fn keys_and_levels_of_acknowledgement_are_those_of_http() {
    let server = Server::start(&["--ring", "a", "--ring", "b"]);
    run(async |tasks| {
        let mut client = connect(&server, &tasks).await;
        let keyed =
            |payload| PublishRequest { idempotency_key: "k".into(), ..record("a", payload) };
        let first = client.publish(keyed(b"one")).await.expect("taken").into_inner();
        let again = client.publish(keyed(b"one")).await.expect("taken").into_inner();
        assert_eq!((first.replayed, again.replayed, again.seq), (false, true, first.seq));
        let other = client.publish(keyed(b"two")).await.expect_err("another payload");
        assert_eq!(other.code(), Code::AlreadyExists);
        let mut waits = Request::new(record("a", b"three"));
        let level = "consumed;within=50".parse().expect("ASCII");
        waits.metadata_mut().insert("aqueduct-acknowledge", level);
        let late = client.publish(waits).await.expect_err("nobody reads");
        assert_eq!((late.code(), told(&late, "aqueduct-seq")), (Code::DeadlineExceeded, Some("1")));
        assert!(told(&late, "aqueduct-epoch").is_some());
        let two = stream::iter([record("a", b"four"), record("b", b"x")]);
        let status = client.publish_stream(two).await.expect_err("two rings");
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(told(&status, "aqueduct-last-seq"), Some("2"));
    });
}

#[test]
fn credentials_are_checked_as_over_http() {
    let scratch = Scratch::new();
    let file = scratch.path("credentials").to_str().expect("ASCII").to_owned();
    let out =
        command().args(["credential", "add", "robot", "--ring", "a", "--file", &file]).ended();
    let said = String::from_utf8(out.expect("it runs").stderr).expect("UTF-8");
    let token = said.trim().rsplit(' ').next().expect("a token").to_owned();
    let text = format!("credentials.file = '{file}'\n[[ring]]\nname = 'a'\n[[ring]]\nname = 'b'\n");
    let config = scratch.path("aqueduct.toml");
    std::fs::write(&config, text).expect("written");
    let config = config.to_str().expect("ASCII").to_owned();
    let server = Server::start_in(scratch, &["--config", &config]);
    run(async |tasks| {
        let mut client = connect(&server, &tasks).await;
        let asked = |ring: &str, token: Option<&str>| {
            let mut request = Request::new(record(ring, b"x"));
            if let Some(token) = token {
                let value = format!("Bearer {token}").parse().expect("ASCII");
                request.metadata_mut().insert("authorization", value);
            }
            request
        };
        for (ring, token, code) in [
            ("a", None, Code::Unauthenticated),
            ("a", Some("aqd_wrong"), Code::Unauthenticated),
            ("b", Some(&*token), Code::PermissionDenied),
        ] {
            let status = client.publish(asked(ring, token)).await.expect_err("refused");
            assert_eq!(status.code(), code, "{ring} {token:?}: {status}");
        }
        client.publish(asked("a", Some(&token))).await.expect("taken");
    });
}

#[test]
fn an_open_stream_ends_with_the_process_and_one_that_pauses_does_not_stay() {
    let mut server = Server::start(&["--ring", "a", "--body-timeout-ms", "300"]);
    run(async |tasks| {
        let mut client = connect(&server, &tasks).await;
        // A first message that never comes.
        let silent = client.publish_stream(stream::pending()).await.expect_err("too slow");
        assert_eq!(silent.code(), Code::DeadlineExceeded, "{silent}");
        let one = stream::iter([record("a", b"x")]).chain(stream::pending());
        let open = client.publish_stream(one);
        let ends = async {
            smol::Timer::after(Duration::from_millis(300)).await;
            server.signal(Signal::TERM);
            std::future::pending::<()>().await;
        };
        let status = smol::future::or(async { Some(open.await) }, async {
            ends.await;
            None
        });
        let status = status.await.expect("it ends").expect_err("the process ends");
        assert_eq!(status.code(), Code::Unavailable, "{status}");
        assert_eq!(told(&status, "aqueduct-taken"), Some("1"));
    });
    assert!(server.wait().success());
}

#[test]
fn what_is_no_call_is_answered_as_http() {
    let server = Server::start(&[]);
    run(async |tasks| {
        let client = Client::connect(server.http, &tasks).await;
        for (path, kind, status) in [
            ("/aqueduct.v1.Publisher/Publish", "application/json", 404),
            ("/aqueduct.v2.Publisher/Publish", "application/grpc", 404),
            // tonic answers by a status of gRPC.
            ("/aqueduct.v1.Publisher/Other", "application/grpc", 200),
            ("/aqueduct.v1.Publisher/Publish", "application/grpc", 200),
        ] {
            let request =
                common::http2::request("POST", path, &[("content-type", kind)], &b"x"[..]);
            let answer = client.send(request).await.expect("answered");
            assert_eq!(answer.status, status, "{path} {kind}");
            if status == 200 {
                let code = answer.header("grpc-status").expect("a status");
                assert_ne!(code, "0", "{path}");
            }
        }
    });
}
