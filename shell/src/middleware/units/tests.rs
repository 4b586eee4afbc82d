//! The units by what they do with the head of a request, all of one route.

use std::fmt::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::*;
use crate::middleware::credentials::{Check, Credential, Credentials, Presented};
use crate::middleware::{
    Acknowledge, Client, Exchange, Fault, Host, Outcome, Pattern, Problem, RequestHead, Route,
    Step, Unit,
};
use crate::sync::lock;
use crate::tls::{Peer, PeerName};

fn head(bytes: &[u8]) -> RequestHead<'_> {
    let client = Client::of_peer("127.0.0.1:1");
    let target = "/p?secret";
    RequestHead { method: "POST", target, bytes, client, certificate: None, now: Instant::now() }
}

/// A request of a route to these rings.
fn exchange(rings: &[&str], head: &RequestHead<'_>) -> Exchange {
    let route = Route {
        index: 0,
        methods: vec!["POST"],
        host: Host::Any,
        pattern: Pattern::new("/p").expect("a path"),
        rings: rings.iter().map(|&ring| ring.to_owned()).collect(),
        type_tag: None,
        attributes: None,
        acknowledge: Acknowledge::Published,
        is_open: false,
        units: Vec::new(),
    };
    Exchange::new(Arc::new(route), Vec::new(), head)
}

/// Knows `token` at once as `t`, who may write to `a`; `s` with the password `slow` after some
/// work; certificates with a name as `c`.
#[derive(Debug)]
struct Known;

fn who(name: &str, ring: Option<&str>) -> Arc<Credential> {
    let rings = ring.map(|ring| vec![ring.to_owned()]);
    Arc::new(Credential { name: name.to_owned(), rings, mark: 1 })
}

impl Credentials for Known {
    fn check(&self, presented: &Presented<'_>) -> Check {
        match presented {
            Presented::Bearer(b"token") => Check::Granted(who("t", Some("a"))),
            Presented::Basic { .. } => Check::Slow,
            Presented::Certificate(peer) if !peer.names.is_empty() => {
                Check::Granted(who("c", None))
            }
            _ => Check::Denied,
        }
    }

    fn verify(&self, presented: &Presented<'_>) -> Option<Arc<Credential>> {
        let slow = Presented::Basic { name: b"s", secret: b"slow" };
        (*presented == slow).then(|| who("s", Some("a")))
    }

    fn renew(&self, _: &Credential) -> Option<Arc<Credential>> {
        None
    }
}

/// Status and fault of a refusal; the name of who entered otherwise.
fn entered(
    unit: &Authenticate,
    rings: &[&str],
    head: &RequestHead<'_>,
) -> Result<String, (u16, Fault)> {
    let mut exchange = exchange(rings, head);
    let refused = |problem: Problem| {
        assert_eq!(problem.lines.contains("www-authenticate"), problem.status == 401);
        (problem.status, problem.fault)
    };
    match unit.head(head, &mut exchange).map_err(refused)? {
        Step::Next => {}
        Step::Work(job) => {
            let errand = job.errand();
            job.run();
            let outcome = errand.take().expect("it is done");
            unit.settle(outcome, &mut exchange).map_err(refused)?;
        }
    }
    Ok(exchange.credential.expect("who entered").name.clone())
}

#[test]
fn requests_enter_with_a_credential_that_may_use_the_route() {
    let unit = Authenticate::new(Arc::new(Known), None);
    let bearer = |token: &str| format!("POST /p\r\nauthorization: Bearer {token}\r\n\r\n");
    let enters = |rings: &[&str], text: &str| entered(&unit, rings, &head(text.as_bytes()));
    assert_eq!(enters(&["a"], &bearer("token")), Ok("t".to_owned()));
    // s:slow
    let slow = "POST /p\r\nauthorization: Basic czpzbG93\r\n\r\n";
    assert_eq!(enters(&["a"], slow), Ok("s".to_owned()));
    for (rings, text, status) in [
        (&["a"][..], "POST /p\r\n\r\n".to_owned(), 401),
        (&["a"], bearer("other"), 401),
        (&["a"], "POST /p\r\nauthorization: Basic YTpi\r\n\r\n".to_owned(), 401),
        (&["a"], "POST /p\r\nauthorization: Digest x\r\n\r\n".to_owned(), 401),
        (&["b"], bearer("token"), 403),
        (&["a", "b"], bearer("token"), 403),
        (&["a", "b"], slow.to_owned(), 403),
    ] {
        assert_eq!(enters(rings, &text), Err((status, Fault::Denied)), "{text:?}");
    }
    let twice = "POST /p\r\nauthorization: Bearer token\r\nAuthorization: Bearer token\r\n\r\n";
    assert_eq!(enters(&["a"], twice), Err((400, Fault::Malformed)));
    assert_eq!(unit.name(), "authenticate");
}

#[test]
fn a_route_may_name_who_may_use_it() {
    let only = |names: &[&str]| {
        let names = names.iter().map(|&name| name.to_owned()).collect();
        let unit = Authenticate::new(Arc::new(Known), Some(names));
        entered(&unit, &["a"], &head(b"POST /p\r\nauthorization: Bearer token\r\n\r\n"))
    };
    assert_eq!(only(&["x", "t"]), Ok("t".to_owned()));
    assert_eq!(only(&["x"]), Err((403, Fault::Denied)));
    assert_eq!(only(&[]), Err((403, Fault::Denied)));
}

#[test]
fn a_certificate_is_asked_for_where_nothing_else_is_presented() {
    let unit = Authenticate::new(Arc::new(Known), None);
    let named = Peer { names: vec![PeerName::Dns("c".to_owned())] };
    let with = |text: &'static [u8], peer| {
        entered(&unit, &["b"], &RequestHead { certificate: Some(peer), ..head(text) })
    };
    assert_eq!(with(b"POST /p\r\n\r\n", &named), Ok("c".to_owned()));
    let nameless = Peer { names: Vec::new() };
    assert_eq!(with(b"POST /p\r\n\r\n", &nameless), Err((401, Fault::Denied)));
    let other = b"POST /p\r\nauthorization: Bearer other\r\n\r\n";
    assert_eq!(with(other, &named), Err((401, Fault::Denied)));
}

#[test]
fn what_a_worker_did_not_find_out_is_a_refusal() {
    let unit = Authenticate::new(Arc::new(Known), None);
    let mut exchange = exchange(&["a"], &head(b""));
    for (outcome, status) in [
        (Outcome::Credential(None), 401),
        (Outcome::Undone(Problem::busy()), 503),
        (Outcome::Body(Ok(Vec::new())), 500),
    ] {
        let problem = unit.settle(outcome, &mut exchange).expect_err("refused");
        assert_eq!(problem.status, status);
        assert!(exchange.credential.is_none());
    }
}

#[test]
fn an_id_is_kept_if_it_is_one_and_made_otherwise_and_is_in_the_answer() {
    let id = |unit: &RequestId, text: &str| {
        let head = head(text.as_bytes());
        let mut exchange = exchange(&["a"], &head);
        assert!(matches!(unit.head(&head, &mut exchange), Ok(Step::Next)));
        let id = exchange.request_id.expect("each has one");
        assert_eq!(exchange.lines, format!("x-request-id: {id}\r\n"));
        id
    };
    let (keeps, makes) = (RequestId::new(true), RequestId::new(false));
    let given = "POST /p\r\nx-request-id: mine\r\n\r\n";
    assert_eq!(id(&keeps, given), "mine");
    for (unit, text) in [
        (&makes, given),
        (&keeps, "POST /p\r\nx-request-id: not one\r\n\r\n"),
        (&keeps, "POST /p\r\nx-request-id: a\r\nx-request-id: a\r\n\r\n"),
        (&keeps, "POST /p\r\n\r\n"),
    ] {
        let (one, other) = (id(unit, text), id(unit, text));
        assert_eq!((one.len(), other.len()), (32, 32), "{one} {other}");
        assert_ne!(one, other);
        assert_eq!(one[..16], other[..16], "of one process");
    }
    assert_ne!(id(&keeps, "")[..16], id(&makes, "")[..16]);
    assert_eq!(keeps.name(), "request_id");
}

#[test]
fn requests_beyond_the_rate_are_told_when_to_come_back() {
    let take = |unit: &RateLimit, name: Option<&str>, peer: &str, now: Instant| {
        let head = RequestHead { client: Client::of_peer(peer), now, ..head(b"") };
        let mut exchange = exchange(&["a"], &head);
        exchange.credential = name.map(|name| who(name, None));
        unit.head(&head, &mut exchange).map(|_| ()).map_err(|problem| {
            assert_eq!((problem.status, problem.fault), (429, Fault::RateLimited));
            problem.lines.into_owned()
        })
    };
    let now = Instant::now();
    let clients = RateLimit::new(Per::Client, 0.1, 1, 10);
    assert_eq!(take(&clients, None, "127.0.0.1:1", now), Ok(()));
    let refused = take(&clients, Some("other"), "127.0.0.1:2", now);
    assert_eq!(refused, Err("retry-after: 11\r\n".to_owned()));
    assert_eq!(take(&clients, None, "127.0.0.2:1", now), Ok(()));
    let later = now + Duration::from_millis(9500);
    let refused = take(&clients, None, "127.0.0.1:2", later);
    assert_eq!(refused, Err("retry-after: 1\r\n".to_owned()));

    let credentials = RateLimit::new(Per::Credential, 0.1, 1, 10);
    assert_eq!(take(&credentials, Some("one"), "127.0.0.1:1", now), Ok(()));
    assert!(take(&credentials, Some("one"), "127.0.0.2:1", now).is_err());
    assert_eq!(take(&credentials, Some("two"), "127.0.0.1:1", now), Ok(()));
    assert_eq!(take(&credentials, None, "127.0.0.1:1", now), Ok(()), "of the client");
    assert!(take(&credentials, None, "127.0.0.1:1", now).is_err());
    assert_eq!(clients.name(), "rate_limit");
}

/// The fields of the lines that are logged, as text.
struct Fields(Arc<Mutex<Vec<String>>>);

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Fields {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        struct Text(String);
        impl tracing::field::Visit for Text {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                if field.name() != "us" {
                    let _ = write!(self.0, "{}={value:?} ", field.name());
                }
            }
        }
        let mut text = Text(format!("{}: ", event.metadata().target()));
        event.record(&mut text);
        lock(&self.0).push(text.0);
    }
}

#[test]
fn the_line_of_a_request_says_who_asked_for_what_and_what_came_of_it_but_no_query() {
    use tracing_subscriber::layer::SubscriberExt;

    let unit = AccessLog;
    let lines = Arc::<Mutex<Vec<String>>>::default();
    let logged = tracing_subscriber::registry().with(Fields(Arc::clone(&lines)));
    tracing::subscriber::with_default(logged, || {
        let head = head(b"");
        let mut exchange = exchange(&["a"], &head);
        unit.answered(&exchange, 404);
        assert!(matches!(unit.head(&head, &mut exchange), Ok(Step::Next)));
        exchange.credential = Some(who("w", None));
        exchange.request_id = Some("i".to_owned());
        unit.answered(&exchange, 202);
    });
    let expected = "aqueduct::access: message=request client=127.0.0.1 credential=\"w\" \
                    request_id=\"i\" method=\"POST\" path=\"/p\" route=\"/p\" status=202 ";
    assert_eq!(*lock(&lines), [expected]);
    assert_eq!(unit.name(), "access_log");
}

#[test]
fn json_passes_as_it_came_or_without_its_spaces() {
    let body = |minify, body: &[u8]| ValidJson { minify }.body(body.to_vec(), 100, &[]);
    assert_eq!(body(false, b"{ \"a\" : 1 }").as_deref(), Ok(&b"{ \"a\" : 1 }"[..]));
    assert_eq!(body(true, b"{ \"a\" : 1 }").as_deref(), Ok(&b"{\"a\":1}"[..]));
    let problem = body(false, b"{").expect_err("it is no JSON");
    assert_eq!((problem.status, problem.fault), (400, Fault::Malformed));
    assert!(problem.detail.contains("not JSON"), "{}", problem.detail);
    assert!(ValidJson { minify: false }.changes_bodies());
    assert_eq!(ValidJson { minify: false }.name(), "json");
}

#[test]
fn a_limit_of_bodies_changes_none_and_says_how_large_they_may_be() {
    let unit = BodyLimit { max_bytes: 7 };
    assert_eq!(
        (unit.name(), unit.most_bytes(), unit.changes_bodies()),
        ("body_limit", Some(7), false)
    );
    // What units do that say nothing of it.
    assert_eq!((unit.reads(5, 9), unit.writes(6)), (5, 6));
    assert_eq!(unit.body(vec![1, 2], 9, &[]), Ok(vec![1, 2]));
    let head = head(b"");
    let mut exchange = exchange(&["a"], &head);
    assert!(matches!(unit.head(&head, &mut exchange), Ok(Step::Next)));
    assert_eq!(unit.settle(Outcome::Credential(None), &mut exchange), Ok(()));
}

#[cfg(feature = "decompress")]
#[test]
fn codings_are_taken_in_their_order_by_any_of_their_names_and_two_of_them() {
    let unit = Decompress { max_bytes: None, max_ratio: 10 };
    let codings = |fields: &str| {
        let text = format!("POST /p\r\n{fields}\r\n");
        let head = head(text.as_bytes());
        let mut exchange = exchange(&["a"], &head);
        let step = unit.head(&head, &mut exchange).map_err(|problem| problem.status)?;
        assert!(matches!(step, Step::Next));
        Ok(exchange.codings)
    };
    let found = |names: &[&str]| Ok(names.iter().map(|&name| name.to_owned()).collect());
    assert_eq!(codings(""), found(&[]));
    assert_eq!(codings("content-encoding: identity,\r\n"), found(&[]));
    assert_eq!(codings("content-encoding: X-GZIP\r\n"), found(&["x-gzip"]));
    let two = "Content-Encoding: zstd\r\ncontent-encoding: identity, snappy\r\n";
    assert_eq!(codings(two), found(&["zstd", "snappy"]));
    assert_eq!(codings("content-encoding: x-snappy-framed\r\n"), found(&["x-snappy-framed"]));
    for refused in ["br", "gzip, br", "gzip, gzip, gzip"] {
        assert_eq!(codings(&format!("content-encoding: {refused}\r\n")), Err(415), "{refused}");
    }
    assert_eq!((unit.name(), unit.changes_bodies()), ("decompress", true));
    // Small bodies may grow by more than the ratio; a bound of bytes counts for all.
    assert_eq!((unit.writes(10), unit.writes(200)), (1024, 2000));
    let bounded = Decompress { max_bytes: Some(1500), max_ratio: 10 };
    assert_eq!((bounded.writes(10), bounded.writes(200)), (1024, 1500));
    assert_eq!(unit.writes(usize::MAX), usize::MAX);
}

#[cfg(feature = "decompress")]
#[test]
fn frames_of_zstd_follow_each_other_are_skipped_and_have_bounds_and_checksums() {
    let unit = Decompress { max_bytes: None, max_ratio: 1000 };
    let zstd = ["zstd".to_owned()];
    let body = |body: &[u8], limit| {
        unit.body(body.to_vec(), limit, &zstd).map_err(|problem| problem.status)
    };
    let frame = |bytes: &[u8]| {
        let level = ruzstd::encoding::CompressionLevel::Fastest;
        ruzstd::encoding::compress_to_vec(bytes, level)
    };
    let skipped = [&0x184d_2a50_u32.to_le_bytes()[..], &3_u32.to_le_bytes(), b"abc"].concat();
    let rows = [&frame(b"one ")[..], &skipped, &frame(b"two")].concat();
    assert_eq!(body(&rows, 100), Ok(b"one two".to_vec()));
    // As many bytes as there may be, and one more, of both frames together.
    assert_eq!(body(&rows, 7), Ok(b"one two".to_vec()));
    assert_eq!(body(&rows, 6), Err(413));
    assert_eq!(body(&skipped[..10], 100), Err(400), "it skips more than there is");
    // A raw block of a frame whose window is 16 MiB: more than is allowed on the web.
    let wide = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x70, 0x09, 0x00, 0x00, b'x'];
    assert_eq!(body(&wide, 100), Err(413));
    let narrow = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x68, 0x09, 0x00, 0x00, b'x'];
    assert_eq!(body(&narrow, 100), Ok(b"x".to_vec()));
    // The same with a checksum that is not that of its content.
    let checked = [0x28, 0xb5, 0x2f, 0xfd, 0x04, 0x00, 0x09, 0x00, 0x00, b'x', 1, 2, 3, 4];
    assert_eq!(body(&checked, 100), Err(400));
}
