//! Requests on configured routes.

use std::sync::Arc;

use aqueduct_core::AttributeBlock;

use super::super::{Config, Guard, Http1, Routes};
use super::config;
use crate::codec::trial::{OneCertificate, RINGS, Trial, certificate, converse};
use crate::codec::{Codec, Event, Reason};
use crate::middleware::credentials::{Check, Credential, Credentials, Presented};
use crate::middleware::units::{Authenticate, BodyLimit, Per, RateLimit, RequestId, ValidJson};
use crate::middleware::{Acknowledge, Host, Pattern, Route, Router, Unit};

const PEER: &str = "192.0.2.1:4711";

fn route(method: &'static str, path: &str, rings: &[&str], units: Vec<Arc<dyn Unit>>) -> Route {
    Route {
        index: 0,
        methods: vec![method],
        host: Host::Any,
        pattern: Pattern::new(path).unwrap(),
        rings: rings.iter().map(|&ring| ring.to_owned()).collect(),
        type_tag: None,
        attributes: None,
        acknowledge: Acknowledge::Published,
        is_open: false,
        units,
    }
}

fn with(routes: Vec<Route>) -> Arc<Config> {
    let routes = Routes::new(&Arc::new(Router::new(routes).unwrap()));
    Arc::new(Config { routes, max_header_bytes: 16_384, ..Config::clone(&config()) })
}

/// Says `request` whole and byte by byte; both must come to the same, which is returned.
#[track_caller]
fn say(config: impl Fn() -> Arc<Config>, sink: &Trial, request: &[u8]) -> (String, Trial) {
    let hear = |cuts: &[usize]| {
        let mut sink = sink.clone();
        let mut codec = Http1::of_peer(config(), PEER);
        let (answers, _) = converse(&mut codec, &mut sink, request, cuts);
        (String::from_utf8(answers).expect("answers are text"), sink)
    };
    let (whole, pieces) = (hear(&[]), hear(&vec![1; request.len()]));
    assert_eq!(whole.0, pieces.0);
    assert_eq!((&whole.1.records, &whole.1.attributes), (&pieces.1.records, &pieces.1.attributes));
    assert_eq!(whole.1.events, pieces.1.events);
    whole
}

fn request(method: &str, target: &str, lines: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "{method} {target} HTTP/1.1\r\nhost: a\r\n{lines}content-length: {length}\r\n\r\n{body}"
    )
    .into()
}

#[test]
fn a_path_is_matched_in_its_normal_form_and_its_parameters_are_kept() {
    let routes = || {
        let attributes = Some(vec![":param.id".to_owned(), ":path".to_owned()]);
        with(vec![Route {
            type_tag: Some(7),
            attributes,
            ..route("PUT", "/crm/users/{id}", &["a"], Vec::new())
        }])
    };
    for (target, id) in [
        ("/crm/users/17", "17"),
        ("/crm/./x/../users/17?q=/crm", "17"),
        ("/%63rm/users/%31%37", "17"),
        ("/crm/users/a%2Fb%20c", "a/b c"),
        ("http://any/crm/users/17", "17"),
        ("/crm/users/%2e%2e/users/17", "17"),
    ] {
        let (answers, sink) = say(routes, &Trial::new(), &request("PUT", target, "", "x"));
        assert!(answers.starts_with("HTTP/1.1 202 "), "{target}: {answers}");
        assert_eq!((sink.records[0].type_tag, &*sink.records[0].payload), (7, &b"x"[..]));
        let block = AttributeBlock::from_bytes(&sink.attributes[0]).expect("a block");
        let kept: Vec<_> = block.attributes().map(|one| (one.name, one.value)).collect();
        assert_eq!(
            kept,
            [(&b":path"[..], target.as_bytes()), (b":param.id", id.as_bytes())]
                .map(|(name, value)| (name, value))
        );
    }
    for (target, status) in [
        ("/crm/users/17/", "404"),
        ("/CRM/users/17", "404"),
        ("/crm//users/17", "404"),
        ("/crm/users/..", "404"),
        ("/crm/users/%2e", "404"),
        ("/crm%2Fusers/17", "404"),
        ("/crm/users/%", "400"),
        ("/crm/users/%00", "400"),
        ("/crm/users/%ff", "400"),
        ("/v1/rings/c/records", "404"),
        ("*", "404"),
    ] {
        let (answers, sink) = say(routes, &Trial::new(), &request("PUT", target, "", ""));
        assert!(answers.starts_with(&format!("HTTP/1.1 {status} ")), "{target}: {answers}");
        assert!(answers.contains("application/problem+json"), "{answers}");
        assert_eq!(sink.records, []);
    }
}

#[test]
fn own_resources_stay_and_a_wrong_method_names_the_right_ones() {
    let routes = || {
        with(vec![
            route("PUT", "/x", &["a"], Vec::new()),
            Route { host: Host::only("b"), ..route("PATCH", "/x", &["a"], Vec::new()) },
        ])
    };
    let (answers, sink) = say(routes, &Trial::new(), &super::post("aqueduct-type: 3\r\n", "own"));
    assert!(answers.starts_with("HTTP/1.1 202 "), "{answers}");
    assert_eq!(sink.records[0].type_tag, 3);
    let (answers, _) = say(routes, &Trial::new(), &request("POST", "/x", "", ""));
    assert!(
        answers.starts_with("HTTP/1.1 405 ") && answers.contains("\r\nallow: PUT\r\n"),
        "{answers}"
    );
    let (answers, _) =
        say(routes, &Trial::new(), b"PATCH http://B:1/x HTTP/1.1\r\nhost: a\r\n\r\n");
    assert!(answers.starts_with("HTTP/1.1 202 "), "the target's authority is the host: {answers}");
    let origin = "origin: https://good.example\r\naccess-control-request-method: PUT\r\n";
    let (answers, _) = say(routes, &Trial::new(), &request("OPTIONS", "/x", origin, ""));
    assert!(answers.starts_with("HTTP/1.1 204 "), "{answers}");
    assert!(answers.contains("\r\naccess-control-allow-methods: PUT\r\n"), "{answers}");
    assert!(answers.contains("content-type, authorization, idempotency-key"), "{answers}");
}

#[test]
fn a_route_that_names_a_type_refuses_another_one() {
    let routes =
        || with(vec![Route { type_tag: Some(7), ..route("POST", "/x", &["a"], Vec::new()) }]);
    let bytes = request("POST", "/x", "aqueduct-type: 7\r\n", "");
    let (answers, sink) = say(routes, &Trial::new(), &bytes);
    assert!(answers.starts_with("HTTP/1.1 400 "), "{answers}");
    assert!(
        sink.events
            .iter()
            .any(|event| matches!(event, Event::Rejected { reason: Reason::BadType, .. }))
    );
}

#[test]
fn every_ring_of_a_route_takes_the_record_or_none_does() {
    let routes = || with(vec![route("POST", "/x", &["a", "b"], Vec::new())]);
    for fulls in [0, 2] {
        let sink = Trial { fulls, ..Trial::new() };
        let both = [request("POST", "/x", "", "one"), request("POST", "/x", "", "two")].concat();
        let (answers, sink) = say(routes, &sink, &both);
        let rings: Vec<_> = sink.records.iter().map(|record| record.ring).collect();
        assert_eq!(rings, [0, 1, 0, 1]);
        let rings = "\"rings\":[{\"ring\":\"a\",\"seq\":1,\"epoch\":\"0123456789abcdef\"},\
                     {\"ring\":\"b\",\"seq\":1,\"epoch\":\"0123456789abcdef\"}]}";
        assert!(answers.ends_with(rings), "{answers}");
    }
    // Ring b takes 16 bytes.
    let (answers, sink) = say(routes, &Trial::new(), &request("POST", "/x", "", &"x".repeat(17)));
    assert!(answers.starts_with("HTTP/1.1 413 "), "{answers}");
    assert_eq!(sink.records, []);
    let sink = Trial { refusal: Some(Reason::Full), ..Trial::new() };
    let (answers, sink) = say(routes, &sink, &request("POST", "/x", "", "x"));
    assert!(answers.starts_with("HTTP/1.1 503 "), "{answers}");
    assert!(answers.contains("the record is in none of them"), "{answers}");
    assert_eq!(sink.records, []);
}

#[test]
fn units_pass_refuse_and_change_in_their_order() {
    let routes = || {
        with(vec![route(
            "POST",
            "/x",
            &["a"],
            vec![
                Arc::new(RequestId::new(true)),
                Arc::new(RateLimit::new(Per::Client, 0.001, 3, 10)),
                Arc::new(BodyLimit { max_bytes: 40 }),
                Arc::new(ValidJson { minify: true }),
            ],
        )])
    };
    let id = "x-request-id: seven\r\n";
    let all = [
        request("POST", "/x", id, " { \"a\" : 1 } "),
        request("POST", "/x", id, "{\"a\":1,\"a\":2}"),
        request("POST", "/x", id, "[1, 2]"),
        request("POST", "/x", id, "[3]"),
    ]
    .concat();
    let (answers, sink) = say(routes, &Trial::new(), &all);
    let payloads: Vec<_> = sink.records.iter().map(|record| &*record.payload).collect();
    assert_eq!(payloads, [&b"{\"a\":1}"[..], b"[1,2]"]);
    let statuses = answers.match_indices("HTTP/1.1 ").map(|(at, _)| &answers[at + 9..at + 12]);
    assert_eq!(statuses.collect::<Vec<_>>(), ["202", "400", "202", "429"], "{answers}");
    assert_eq!(answers.matches("\r\nx-request-id: seven\r\n").count(), 4, "{answers}");
    assert!(answers.contains("\r\nretry-after: "), "{answers}");
    let reasons = sink.events.iter().filter_map(|event| match event {
        Event::Rejected { reason, .. } => Some(*reason),
        _ => None,
    });
    assert_eq!(reasons.collect::<Vec<_>>(), [Reason::Malformed, Reason::RateLimited]);
    let (answers, _) = say(routes, &Trial::new(), &request("POST", "/x", id, &" ".repeat(41)));
    assert!(answers.starts_with("HTTP/1.1 413 "), "{answers}");
    assert!(answers.contains("a body of this route has at most 40 bytes"), "{answers}");
    // The same where no unit changes bodies, and where the ring allows less.
    let limited =
        |path, ring| route("POST", path, &[ring], vec![Arc::new(BodyLimit { max_bytes: 40 })]);
    let routes = || with(vec![limited("/a", "a"), limited("/b", "b")]);
    for (path, limit) in [
        ("/a", "a body of this route has at most 40 bytes"),
        ("/b", "a record of ring b has at most 16 bytes"),
    ] {
        let (answers, _) = say(routes, &Trial::new(), &request("POST", path, "", &"x".repeat(41)));
        assert!(answers.starts_with("HTTP/1.1 413 "), "{answers}");
        assert!(answers.contains(limit), "{answers}");
    }
}

/// Knows the token `good` at once, and the password `slow` after a while.
#[derive(Debug)]
struct Known;

impl Credentials for Known {
    fn check(&self, presented: &Presented<'_>) -> Check {
        match presented {
            Presented::Bearer(b"good") => Check::Granted(Arc::new(Credential {
                name: "ann".to_owned(),
                rings: Some(vec!["a".to_owned()]),
                mark: 1,
            })),
            Presented::Bearer(_) | Presented::Certificate(_) => Check::Denied,
            Presented::Basic { .. } => Check::Slow,
        }
    }

    fn verify(&self, presented: &Presented<'_>) -> Option<Arc<Credential>> {
        let name = "bob".to_owned();
        (*presented == Presented::Basic { name: b"bob", secret: b"slow" })
            .then(|| Arc::new(Credential { name, rings: None, mark: 2 }))
    }

    fn renew(&self, before: &Credential) -> Option<Arc<Credential>> {
        Some(Arc::new(before.clone()))
    }
}

#[test]
fn credentials_are_checked_before_the_body_is_read_and_slow_ones_by_a_worker() {
    let routes = || {
        let known =
            || -> Vec<Arc<dyn Unit>> { vec![Arc::new(Authenticate::new(Arc::new(Known), None))] };
        let kept = Some(vec![":credential".to_owned()]);
        with(vec![
            Route { attributes: kept, ..route("POST", "/x", &["a"], known()) },
            route("POST", "/b", &["b"], known()),
        ])
    };
    let bearer = |token: &str| format!("authorization: Bearer {token}\r\n");
    // bob:slow, bob:fast
    let (slow, wrong) =
        ("authorization: Basic Ym9iOnNsb3c=\r\n", "authorization: Basic Ym9iOmZhc3Q=\r\n");
    for (path, lines, status, name) in [
        ("/x", bearer("good"), 202, "ann"),
        ("/x", slow.to_owned(), 202, "bob"),
        ("/b", slow.to_owned(), 202, "bob"),
        ("/b", bearer("good"), 403, ""),
        ("/x", bearer("bad"), 401, ""),
        ("/x", wrong.to_owned(), 401, ""),
        ("/x", String::new(), 401, ""),
        ("/x", bearer("good") + &bearer("good"), 400, ""),
    ] {
        let bytes = request("POST", path, &lines, "body");
        let (answers, sink) = say(routes, &Trial::new(), &bytes);
        assert!(answers.starts_with(&format!("HTTP/1.1 {status} ")), "{path} {lines}: {answers}");
        assert_eq!(answers.contains("\r\nwww-authenticate: "), status == 401);
        assert_eq!(sink.records.len(), usize::from(status == 202));
        if path == "/x" && status == 202 {
            let block = AttributeBlock::from_bytes(&sink.attributes[0]).expect("a block");
            let kept: Vec<_> = block.attributes().map(|one| one.value).collect();
            assert_eq!(kept, [name.as_bytes()]);
        }
    }
}

#[test]
fn a_request_has_nothing_of_the_one_before_it_on_its_connection() {
    let known = || -> Arc<dyn Unit> { Arc::new(Authenticate::new(Arc::new(Known), None)) };
    let kept = || {
        let names = [":credential", ":request-id", ":param.id", ":param.more"];
        Some(names.map(str::to_owned).to_vec())
    };
    let routes = || {
        with(vec![
            Route {
                attributes: kept(),
                ..route("POST", "/x/{id}", &["a"], vec![known(), Arc::new(RequestId::new(true))])
            },
            Route { attributes: kept(), ..route("POST", "/x/{id}/{more}", &["a"], Vec::new()) },
        ])
    };
    let good = "authorization: Bearer good\r\n";
    let all = [
        request("POST", "/x/seven", &format!("{good}x-request-id: one\r\n"), "1"),
        request("POST", "/x/8", &format!("{good}x-request-id: two\r\n"), "2"),
        request("POST", "/x/8", "", ""),
        request("POST", "/x/8", "authorization: Bearer gooe\r\n", ""),
        request("POST", "/x/8", "authorization: Bearer hood\r\n", ""),
        request("POST", "/x/8", "authorization: Bearer goo\r\n", ""),
        request("POST", "/x/9/10", "", "3"),
        request("POST", "/nowhere", good, ""),
        request("POST", "/x/11", &format!("{good}x-request-id: three\r\n"), "4"),
        request("POST", "/x/12/%ff", good, ""),
    ]
    .concat();
    let (answers, sink) = say(routes, &Trial::new(), &all);
    let statuses = answers.match_indices("HTTP/1.1 ").map(|(at, _)| &answers[at + 9..at + 12]);
    let expected = ["202", "202", "401", "401", "401", "401", "202", "404", "202", "400"];
    assert_eq!(statuses.collect::<Vec<_>>(), expected, "{answers}");
    let text = |block: &Vec<u8>| {
        let block = AttributeBlock::from_bytes(block).expect("a block");
        let values = block.attributes().map(|one| String::from_utf8_lossy(one.value));
        values.collect::<Vec<_>>().join(" ")
    };
    let kept: Vec<_> = sink.attributes.iter().map(text).collect();
    assert_eq!(kept, ["one ann seven", "two ann 8", "9 10", "three ann 11"]);
}

#[test]
fn a_large_body_is_changed_by_a_worker_and_waits_for_space_changed() {
    /// Reads more than a loop may.
    #[derive(Debug)]
    struct Heavy;
    impl Unit for Heavy {
        fn name(&self) -> &'static str {
            "heavy"
        }
        fn changes_bodies(&self) -> bool {
            true
        }
        fn reads(&self, _: usize, _: usize) -> usize {
            1 << 20
        }
        fn body(
            &self,
            mut body: Vec<u8>,
            _: usize,
            _: &[String],
        ) -> Result<Vec<u8>, crate::middleware::Problem> {
            let name = std::thread::current().name().map(str::to_owned);
            assert!(name.is_some(), "the test's thread plays the worker");
            body.make_ascii_uppercase();
            Ok(body)
        }
    }
    let routes = || with(vec![route("POST", "/x", &["a"], vec![Arc::new(Heavy)])]);
    let chunked = b"POST /x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n\
                    3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n";
    let both = [&chunked[..], &request("POST", "/x", "", "next")].concat();
    let (answers, sink) = say(routes, &Trial { fulls: 2, ..Trial::new() }, &both);
    assert_eq!(answers.matches("HTTP/1.1 202 ").count(), 2, "{answers}");
    let payloads: Vec<_> = sink.records.iter().map(|record| &*record.payload).collect();
    assert_eq!(payloads, [&b"ABCDEFG"[..], b"NEXT"]);
}

#[test]
fn a_key_answers_with_the_first_answer_and_never_appends_twice() {
    let keyed = |key: &str, body: &str| super::post(&format!("idempotency-key: {key}\r\n"), body);
    let all = [
        keyed("\"one\"", "body"),
        keyed("one", "body"),
        keyed("one", "other"),
        keyed("two", "other"),
        super::post("idempotency-key: one\r\naqueduct-type: 1\r\n", "body"),
        super::post("idempotency-key: batch\r\ncontent-type: application/x-ndjson\r\n", "1\n2\n"),
        super::post("idempotency-key: batch\r\ncontent-type: application/x-ndjson\r\n", "1\n2\n"),
        keyed("\"\"", "body"),
    ]
    .concat();
    for fulls in [0, 1] {
        let sink = Trial { fulls, ..Trial::new() };
        let (answers, sink) = say(|| with(Vec::new()), &sink, &all);
        let statuses = answers.match_indices("HTTP/1.1 ").map(|(at, _)| &answers[at + 9..at + 12]);
        let expected = ["202", "202", "422", "202", "422", "202", "202", "400"];
        assert_eq!(statuses.collect::<Vec<_>>(), expected, "{answers}");
        assert_eq!(answers.matches("\r\naqueduct-seq: 0\r\n").count(), 2, "{answers}");
        assert_eq!(answers.matches("\"first\":2,\"last\":3,\"taken\":2}").count(), 2, "{answers}");
        assert_eq!(answers.matches("\r\nidempotent-replayed: true\r\n").count(), 2);
        let payloads: Vec<_> = sink.records.iter().map(|record| &*record.payload).collect();
        assert_eq!(payloads, [&b"body"[..], b"other", b"1", b"2"]);
    }
}

#[test]
fn a_record_of_several_rings_has_keys_and_waits_for_the_readers_of_all() {
    let routes = || with(vec![route("POST", "/x", &["a", "b"], Vec::new())]);
    let keyed = |body: &str| request("POST", "/x", "idempotency-key: k\r\n", body);
    let all = [keyed("one"), request("POST", "/x", "", "other"), keyed("one"), keyed("two")];
    for fulls in [0, 1] {
        let sink = Trial { fulls, ..Trial::new() };
        let (answers, sink) = say(routes, &sink, &all.concat());
        let statuses = answers.match_indices("HTTP/1.1 ").map(|(at, _)| &answers[at + 9..at + 12]);
        assert_eq!(statuses.collect::<Vec<_>>(), ["202", "202", "202", "422"], "{answers}");
        assert_eq!(answers.matches("\r\nidempotent-replayed: true\r\n").count(), 1);
        let rings = "\"rings\":[{\"ring\":\"a\",\"seq\":0,\"epoch\":\"0123456789abcdef\"},\
                     {\"ring\":\"b\",\"seq\":0,\"epoch\":\"0123456789abcdef\"}]}";
        assert_eq!(answers.matches(rings).count(), 2, "{answers}");
        let payloads: Vec<_> =
            sink.records.iter().map(|record| (record.ring, &*record.payload)).collect();
        let expected = [(0, &b"one"[..]), (1, b"one"), (0, b"other"), (1, b"other")];
        assert_eq!(payloads, expected);
    }
    let lines = "aqueduct-acknowledge: consumed;by=default;within=1s\r\n";
    let (answers, sink) = say(routes, &Trial::new(), &request("POST", "/x", lines, "one"));
    assert!(answers.starts_with("HTTP/1.1 202 "), "{answers}");
    let awaited: Vec<_> = sink.awaited.iter().map(|one| (one.0, one.1, one.2)).collect();
    assert_eq!(awaited, [(0, 0, Some(0)), (1, 0, Some(0))]);
    let late = String::from_utf8(sink.awaited[1].4.clone()).unwrap();
    assert!(late.contains("not each of its readers has released it"), "{late}");
    assert!(late.contains(",\"rings\":[{\"ring\":\"a\",\"seq\":0,"), "{late}");
}

#[test]
fn an_answer_waits_for_readers_as_the_request_or_its_route_says() {
    let routes = || {
        let by = Some("default".to_owned());
        let within = std::time::Duration::from_millis(700);
        let acknowledge = Acknowledge::Consumed { by, within };
        with(vec![Route { acknowledge, ..route("POST", "/x", &["a"], Vec::new()) }])
    };
    let lines = "aqueduct-acknowledge: consumed; within=2s\r\n";
    let all = [
        super::post(lines, "one"),
        request("POST", "/x", "", "two"),
        request("POST", "/x", "aqueduct-acknowledge: published\r\n", "three"),
    ]
    .concat();
    let (answers, sink) = say(routes, &Trial::new(), &all);
    assert_eq!(answers.matches("HTTP/1.1 202 ").count(), 3, "{answers}");
    let awaited: Vec<_> =
        sink.awaited.iter().map(|one| (one.1, one.2, one.3.as_millis())).collect();
    assert_eq!(awaited, [(0, None, 2000), (1, Some(0), 700)]);
    let late = String::from_utf8(sink.awaited[1].4.clone()).unwrap();
    assert!(late.starts_with("HTTP/1.1 504 "), "{late}");
    assert!(late.contains("\r\naqueduct-seq: 1\r\n"), "{late}");
    assert!(late.contains("record 1 is published and stays published"), "{late}");
    assert!(late.ends_with(",\"seq\":1,\"epoch\":\"0123456789abcdef\"}"), "{late}");
    assert_eq!(sink.events, [Event::HttpStatus(202); 3]);
    // Sent again with its key, both answers say so.
    let keyed = request("POST", "/x", "idempotency-key: k\r\n", "four");
    let (answers, sink) = say(routes, &Trial::new(), &keyed.repeat(2));
    let is_repeated = |text: &str| text.matches("\r\nidempotent-replayed: true\r\n").count();
    assert_eq!(is_repeated(&answers), 1, "{answers}");
    let late = sink.awaited.iter().map(|one| String::from_utf8_lossy(&one.4));
    assert_eq!(late.map(|late| is_repeated(&late)).collect::<Vec<_>>(), [0, 1]);
    for level in ["consumed;by=nobody", "durable", "consumed;within=2h"] {
        let bytes = super::post(&format!("aqueduct-acknowledge: {level}\r\n"), "x");
        let (answers, sink) = say(routes, &Trial::new(), &bytes);
        assert!(answers.starts_with("HTTP/1.1 400 "), "{answers}");
        assert_eq!(sink.records, []);
    }
}

#[test]
fn the_paths_of_rings_pass_their_units_and_a_certificate_says_who_sends() {
    let known: Arc<dyn Unit> = Arc::new(Authenticate::new(Arc::new(OneCertificate), None));
    let guard = Some(Guard::new(RINGS.into_iter(), &[known]));
    let config = Arc::new(Config { guard, ..Config::clone(&config()) });
    for (ring, introduced, status) in [("a", true, 202), ("b", true, 403), ("a", false, 401)] {
        let mut codec = Http1::of_peer(Arc::clone(&config), PEER);
        if introduced {
            codec.introduce(certificate());
        }
        let bytes = request("POST", &format!("/v1/rings/{ring}/records"), "", "x");
        let mut sink = Trial::new();
        let (answers, _) = converse(&mut codec, &mut sink, &bytes, &[]);
        let expected = format!("HTTP/1.1 {status} ");
        assert!(answers.starts_with(expected.as_bytes()), "{}", String::from_utf8_lossy(&answers));
        assert_eq!(sink.records.len(), usize::from(status == 202));
    }
}
