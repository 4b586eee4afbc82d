//! What happens to a connection over time.

use std::sync::Arc;

use super::{config, post, say, say_to};
use crate::codec::http1::{Config, Http1};
use crate::codec::trial::{End, Trial, converse};
use crate::codec::{Codec, Event, Keep, OUTPUT_BYTES_MAX, Progress, Reason, RingId, State, Wait};

#[test]
fn pipelined_requests_are_answered_in_order() {
    let requests: Vec<u8> = (0..20_u8).flat_map(|n| post("", [n])).collect();
    let heard = say(requests);
    assert_eq!(heard.statuses(), [202; 20]);
    let mut rest = &*heard.answers;
    for seq in 0..20_u8 {
        let field = format!("aqueduct-seq: {seq}\r\n");
        let at = rest.find(&field).unwrap_or_else(|| panic!("{seq} is missing"));
        rest = &rest[at + field.len()..];
        assert_eq!(heard.sink.records[usize::from(seq)].payload, [seq]);
    }
}

#[test]
fn answers_that_nobody_reads_stop_the_decoding() {
    let mut sink = Trial::new();
    let mut codec = Http1::new(config());
    let mut input = post("", "x").repeat(2000);
    let mut out = Vec::new();
    let progress = codec.decode(&mut input, &mut sink, &mut out);
    assert_eq!(progress.state, State::Flush);
    assert!(progress.consumed < input.len() && progress.messages == sink.records.len());
    let (_, _) = converse(&mut codec, &mut sink, &input[progress.consumed..], &[]);
    assert_eq!(sink.records.len(), 2000);
}

#[test]
fn a_client_that_asks_to_close_is_answered_and_nothing_after() {
    let heard = say([post("connection: x, Close\r\n", "one"), post("", "two")].concat());
    assert_eq!((heard.payloads(), heard.end), (vec![&b"one"[..]], End::Closed));
    assert!(heard.answers.contains("connection: close\r\n"), "{}", heard.answers);
    let heard = say("POST /v1/rings/a/records HTTP/1.0\r\n\r\nrest");
    assert_eq!((heard.statuses(), heard.end), (vec![202], End::Closed));
}

#[test]
fn an_http10_client_that_stays_is_told_so() {
    let heard = say("POST /v1/rings/a/records HTTP/1.0\r\nconnection: keep-alive\r\n\r\n");
    assert_eq!((heard.statuses(), heard.end), (vec![202], End::Input));
    assert!(heard.answers.contains("connection: keep-alive\r\n"), "{}", heard.answers);
}

#[test]
fn a_client_that_expects_100_gets_it_before_the_body() {
    let lines = "host: t\r\nexpect: 100-Continue\r\ncontent-length: 2\r\n\r\n";
    let asking = format!("POST /v1/rings/a/records HTTP/1.1\r\n{lines}");
    let (mut codec, mut sink, mut out) = (Http1::new(config()), Trial::new(), Vec::new());
    let mut input = asking.clone().into_bytes();
    let progress = codec.decode(&mut input, &mut sink, &mut out);
    let state = State::More { need: 2, wait: Wait::Body };
    assert_eq!(
        progress,
        Progress { consumed: asking.len(), end: asking.len(), messages: 0, state }
    );
    assert_eq!(out, b"HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(say(format!("{asking}hi")).statuses(), [100, 202]);
    assert_eq!(say(post("expect: 100-continue\r\n", "")).statuses(), [202], "no body, no 100");
    let heard = say(post("expect: 100-continue\r\naqueduct-type: x\r\n", "hi"));
    assert_eq!(heard.statuses(), [400], "a refusal comes instead");
}

#[test]
fn a_full_ring_parks_the_request_until_there_is_room() {
    for requests in [
        post("", "first"),
        b"POST /v1/rings/a/records HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n\
          2\r\nfi\r\n3\r\nrst\r\n0\r\n\r\n"
            .to_vec(),
    ] {
        let sink = Trial { fulls: 3, ..Trial::new() };
        let heard = say_to(sink, [&requests[..], &post("", "second")].concat());
        assert_eq!(heard.payloads(), [&b"first"[..], b"second"]);
        assert_eq!(heard.statuses(), [202, 202]);
    }
}

#[test]
fn a_ring_that_stays_full_is_answered_503_and_the_connection_goes_on() {
    let (mut codec, mut out) = (Http1::new(config()), Vec::new());
    let mut sink = Trial { fulls: 1, ..Trial::new() };
    let mut input = post("", "first");
    let progress = codec.decode(&mut input, &mut sink, &mut out);
    assert_eq!((progress.state, out.len()), (State::Parked, 0));
    sink.refusal = Some(Reason::Full);
    let progress = codec.decode(&mut input[progress.consumed..], &mut sink, &mut out);
    assert_eq!(progress.state, State::More { need: 1, wait: Wait::Idle });
    let text = String::from_utf8(out).expect("ASCII");
    assert!(text.starts_with("HTTP/1.1 503 ") && text.contains("retry-after: 1\r\n"), "{text}");
    assert!(text.contains("ring a stayed full") && !text.contains("connection: close"), "{text}");
    let rejected = Event::Rejected { ring: Some(RingId(0)), reason: Reason::Full, records: 1 };
    assert_eq!(sink.events, [rejected, Event::HttpStatus(503)]);
}

#[test]
fn a_ring_whose_journal_failed_is_answered_503_and_the_connection_goes_on() {
    let heard = say_to(Trial { refusal: Some(Reason::Journal), ..Trial::new() }, post("", "x"));
    assert_eq!(heard.statuses(), [503]);
    assert!(heard.answers.contains("the journal of ring a failed"), "{}", heard.answers);
    assert!(heard.answers.contains("retry-after: 1"), "{}", heard.answers);
}

#[test]
fn a_ring_whose_journal_has_no_space_says_so() {
    let refusal = Some(Reason::Full);
    let heard = say_to(Trial { refusal, is_out_of_space: true, ..Trial::new() }, post("", "x"));
    assert_eq!(heard.statuses(), [503]);
    let detail = "ring a takes nothing: there is no space for its journal";
    assert!(heard.answers.contains(detail), "{}", heard.answers);
}

#[test]
fn a_request_for_a_page_is_counted_as_a_message() {
    let mut input = b"GET /healthz HTTP/1.1\r\nhost: t\r\n\r\n".to_vec();
    let progress = Http1::new(config()).decode(&mut input, &mut Trial::new(), &mut Vec::new());
    assert_eq!((progress.consumed, progress.messages), (input.len(), 1));
}

/// A browser is told each header once, and no asterisk, which would be every header to it.
#[test]
fn a_preflight_names_the_headers_that_are_read_and_kept() {
    let names = ["*", "content-type", "x-sensor"].map(str::to_owned);
    let config = Arc::new(Config { keep: Keep::new(names.to_vec()), ..(*config()).clone() });
    let asking = b"OPTIONS /v1/rings/a/records HTTP/1.1\r\nhost: t\r\n\
        origin: https://good.example\r\naccess-control-request-method: POST\r\n\r\n";
    let mut codec = Http1::new(config);
    let (answers, _) = converse(&mut codec, &mut Trial::new(), asking, &[]);
    let text = String::from_utf8(answers).expect("ASCII");
    let line = "access-control-allow-headers: aqueduct-type, content-type, x-sensor\r\n";
    assert!(text.starts_with("HTTP/1.1 204 ") && text.contains(line), "{text}");
}

#[test]
fn a_process_that_ends_refuses_records_and_closes() {
    let heard = say_to(Trial { is_ending: true, ..Trial::new() }, post("", "x"));
    assert_eq!((heard.statuses(), heard.end), (vec![503], End::Closed));
    assert!(heard.answers.contains("shutting down"), "{}", heard.answers);
    let heard =
        say_to(Trial { refusal: Some(Reason::ShuttingDown), ..Trial::new() }, post("", "x"));
    assert_eq!((heard.statuses(), heard.end), (vec![503], End::Closed));
}

#[test]
fn every_complete_request_before_a_half_close_is_answered() {
    let whole = post("", "x");
    for cut in 0..whole.len() {
        let heard = say([&whole.repeat(5)[..], &whole[..cut]].concat());
        let expected: &[u16] = if cut == 0 { &[202; 5] } else { &[202, 202, 202, 202, 202, 400] };
        assert_eq!(heard.statuses(), expected, "{cut}");
        assert_eq!(heard.sink.records.len(), 5, "half a record is none");
    }
    let disconnected =
        Event::Rejected { ring: Some(RingId(0)), reason: Reason::Disconnected, records: 1 };
    let heard = say(&whole[..whole.len() - 1]);
    assert_eq!(heard.sink.events, [disconnected, Event::HttpStatus(400)]);
}

#[test]
fn what_comes_too_late_is_answered_408_and_an_idle_connection_not_at_all() {
    let whole = post("", "x");
    let timed_out = |bytes: &[u8]| {
        let (mut codec, mut sink, mut out) = (Http1::new(config()), Trial::new(), Vec::new());
        let progress = codec.decode(&mut bytes.to_vec(), &mut sink, &mut out);
        let State::More { wait, .. } = progress.state else { panic!("{progress:?}") };
        out.clear();
        codec.timed_out(&bytes[progress.consumed..], &mut sink, &mut out);
        (wait, String::from_utf8(out).expect("ASCII"), sink.events)
    };
    assert_eq!(timed_out(b""), (Wait::First, String::new(), vec![]));
    assert_eq!(timed_out(b"\r\n"), (Wait::First, String::new(), vec![]));
    let (wait, text, _) = timed_out(&whole);
    assert_eq!((wait, text), (Wait::Idle, String::new()));
    let (wait, text, _) = timed_out(&whole[..10]);
    assert_eq!(wait, Wait::Head);
    assert!(text.starts_with("HTTP/1.1 408 ") && text.contains("connection: close"), "{text}");
    let (wait, text, events) = timed_out(&whole[..whole.len() - 1]);
    assert_eq!(wait, Wait::Body);
    assert!(text.starts_with("HTTP/1.1 408 "), "{text}");
    let late = Event::Rejected { ring: Some(RingId(0)), reason: Reason::Timeout, records: 1 };
    assert_eq!(events, [late, Event::HttpStatus(408)]);
}

#[test]
fn a_connection_that_breaks_counts_the_record_it_takes_along() {
    let whole = post("", "x");
    for (cut, records) in [(whole.len() - 1, 1), (10, 0), (whole.len(), 0)] {
        let (mut codec, mut sink, mut out) = (Http1::new(config()), Trial::new(), Vec::new());
        let progress = codec.decode(&mut whole[..cut].to_vec(), &mut sink, &mut out);
        sink.events.clear();
        codec.broken(&whole[progress.consumed..cut], &mut sink);
        assert_eq!(sink.events.len(), records, "{cut}");
    }
}

#[test]
fn a_page_of_an_allowed_origin_may_post_and_see_the_answer() {
    let heard = say(post("origin: https://good.example\r\n", "x"));
    assert_eq!(heard.statuses(), [202]);
    let line = "access-control-allow-origin: https://good.example\r\nvary: origin\r\n";
    assert!(heard.answers.contains(line), "{}", heard.answers);
    let heard = say(post("origin: https://good.example\r\naqueduct-type: x\r\n", "x"));
    assert!(heard.answers.contains(line), "refusals, too: {}", heard.answers);
    for other in ["https://good.example.evil", "HTTPS://GOOD.EXAMPLE", "null", ""] {
        let heard = say(post(&format!("origin: {other}\r\n"), "x"));
        assert_eq!(heard.statuses(), [403], "{other}");
        assert!(!heard.answers.contains("access-control"), "{}", heard.answers);
    }
}

#[test]
fn http2_goes_to_hyper_with_all_its_bytes() {
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    assert_eq!(say([&preface[..], b"frames"].concat()).end, End::HandedOver(0));
    let first = post("", "x");
    let heard = say([&first[..], preface].concat());
    assert_eq!(heard.statuses(), [202, 505], "only at the start of a connection");
    let upgrade = "POST /v1/rings/a/records HTTP/1.1\r\nhost: t\r\nconnection: upgrade, \
                   http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n\r\n";
    let heard = say([&first[..], upgrade.as_bytes()].concat());
    assert_eq!(heard.end, End::HandedOver(first.len()));
    let heard = say(upgrade.replace("h2c", "websocket"));
    assert_eq!(heard.statuses(), [202], "another upgrade is declined by going on");
}

#[test]
fn a_connection_follows_the_rules_of_its_address_from_the_next_request_on() {
    let (mut codec, mut sink) = (Http1::new(config()), Trial::new());
    let request = post("origin: https://good.example\r\n", "x");
    let (answers, _) = converse(&mut codec, &mut sink, &request, &[]);
    assert!(answers.starts_with(b"HTTP/1.1 202 "));
    codec.follow(&Arc::new(Config { origins: Vec::new(), ..(*config()).clone() }));
    let (answers, _) = converse(&mut codec, &mut sink, &request, &[]);
    assert!(answers.starts_with(b"HTTP/1.1 403 "));
    assert_eq!(sink.records.len(), 1);
}

#[test]
fn a_client_that_is_answered_before_its_body_was_read_may_still_be_sending() {
    let interrupted = |request: &[u8]| {
        let (mut codec, mut sink, mut out) = (Http1::new(config()), Trial::new(), Vec::new());
        let _ = codec.decode(&mut request.to_vec(), &mut sink, &mut out);
        (codec.take_interrupted(), codec.take_interrupted())
    };
    assert_eq!(interrupted(&post("", "x")), (false, false));
    assert_eq!(interrupted(b"GET /nowhere HTTP/1.1\r\nhost: t\r\n\r\n"), (false, false));
    let unread = b"POST /nowhere HTTP/1.1\r\nhost: t\r\ncontent-length: 9\r\n\r\n";
    assert_eq!(interrupted(unread), (true, false), "it is said once");
}

#[test]
fn without_memory_a_request_is_answered_503_and_told_to_come_again() {
    let answer = |said: &[u8], rest: &[u8]| {
        let (mut codec, mut sink, mut out) = (Http1::new(config()), Trial::new(), Vec::new());
        let _ = codec.decode(&mut said.to_vec(), &mut sink, &mut out);
        out.clear();
        codec.out_of_memory(rest, &mut sink, &mut out);
        (String::from_utf8_lossy(&out).into_owned(), codec.take_interrupted(), sink.events)
    };
    let head = b"POST /v1/rings/a/records HTTP/1.1\r\nhost: t\r\ncontent-length: 9\r\n\r\n";
    let (answers, interrupted, events) = answer(head, b"");
    assert!(answers.starts_with("HTTP/1.1 503 ") && answers.contains("retry-after: 1\r\n"));
    assert!(interrupted);
    let reason = Reason::NoMemory;
    assert_eq!(events[0], Event::Rejected { ring: Some(RingId(0)), reason, records: 1 });
    let (answers, interrupted, _) = answer(b"POST /", b"POST /");
    assert!(answers.starts_with("HTTP/1.1 503 ") && answers.contains("retry-after: 1\r\n"));
    assert!(!interrupted);
    assert_eq!(answer(b"", b"\r\n").0, "", "nothing was asked");
}

#[test]
fn a_body_that_is_late_is_not_told_to_come_again() {
    let (mut codec, mut sink, mut out) = (Http1::new(config()), Trial::new(), Vec::new());
    let head = b"POST /v1/rings/a/records HTTP/1.1\r\nhost: t\r\ncontent-length: 9\r\n\r\n";
    let _ = codec.decode(&mut head.to_vec(), &mut sink, &mut out);
    codec.timed_out(b"", &mut sink, &mut out);
    let answer = String::from_utf8_lossy(&out);
    assert!(answer.starts_with("HTTP/1.1 408 ") && !answer.contains("retry-after"), "{answer}");
}

#[test]
fn a_client_that_has_sent_everything_is_not_answered_before_the_loop_would() {
    let (mut codec, mut sink, mut out) = (Http1::new(config()), Trial::new(), Vec::new());
    while out.len() < OUTPUT_BYTES_MAX {
        let progress = codec.decode(&mut post("", "x"), &mut sink, &mut out);
        assert_eq!(progress.state, State::More { need: 1, wait: Wait::Idle });
    }
}
