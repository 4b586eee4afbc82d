//! What reaches a collector, and what becomes of what it does not take.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};

use super::*;
use crate::config::Given;
use crate::telemetry::messages::{LogRecord, Value};
use crate::telemetry::{OtelTable, Span};

/// Answers as many requests as there are answers, and hands on the path and the body of each.
fn collector(answers: &[&'static str]) -> (OtelSettings, Receiver<(String, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("http://{}/base", listener.local_addr().expect("an address"));
    let (sender, requests) = channel();
    let answers = answers.to_vec();
    std::thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().expect("a connection");
            let (mut seen, mut part) = (Vec::new(), [0; 4096]);
            let (head, length) = loop {
                let read = stream.read(&mut part).expect("a request");
                seen.extend_from_slice(&part[..read]);
                if let Some(end) = seen.windows(4).position(|four| four == b"\r\n\r\n") {
                    let head = String::from_utf8(seen.drain(..end + 4).collect()).expect("text");
                    let length = head.to_ascii_lowercase();
                    let length = length.split("content-length: ").nth(1).expect("a length");
                    let length = length.lines().next().expect("a line").trim().to_owned();
                    break (head, length.parse::<usize>().expect("a number"));
                }
            };
            while seen.len() < length {
                let read = stream.read(&mut part).expect("the body");
                seen.extend_from_slice(&part[..read]);
            }
            let path = head.split(' ').nth(1).expect("a path").to_owned();
            sender.send((path, seen)).expect("the test waits");
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    (settings(endpoint), requests)
}

fn settings(endpoint: String) -> OtelSettings {
    let endpoint = Some(Given::by_default(endpoint));
    let table = OtelTable { endpoint, ..OtelTable::default() };
    let mut settings = OtelSettings::check(&table).expect("good").expect("sent");
    settings.service_name = "tested".to_owned();
    settings
}

fn exporter(settings: OtelSettings) -> (Exporter, Arc<Inbox>) {
    let inbox = Arc::<Inbox>::default();
    (Exporter::new(settings, Arc::clone(&inbox), Box::new(Vec::new)), inbox)
}

fn taken(spans: usize, lines: usize) -> Taken {
    let spans = vec![Span { ring: "r".to_owned(), ..Span::default() }; spans];
    Taken { spans, lines: vec![LogRecord::default(); lines], is_ending: false }
}

const TAKEN: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
const BUSY: &str = "HTTP/1.1 503 Busy\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
const BAD: &str = "HTTP/1.1 400 Bad\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
/// It did not take two: field 1, of four bytes, whose field 1 is 2.
const PARTIAL: &str =
    "HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\n\n\u{2}\u{8}\u{2}";

#[test]
fn spans_and_lines_go_to_their_paths_with_who_sends_them_and_are_counted() {
    let (settings, requests) = collector(&[TAKEN, TAKEN]);
    let (mut exporter, inbox) = exporter(settings);
    exporter.settings.metrics = false;
    exporter.encode(taken(3, 2));
    for signal in [Signal::Spans, Signal::Lines, Signal::Points] {
        exporter.send(signal, None);
    }
    let (path, body) = requests.recv().expect("spans");
    assert_eq!(path, "/base/v1/traces");
    let sent = &Traces::decode(&*body).expect("spans").resource_spans[0];
    assert_eq!(sent.scope_spans[0].spans.len(), 3);
    assert_eq!(sent.scope_spans[0].scope.as_ref().expect("who").name, "aqueduct");
    let resource = sent.resource.as_ref().expect("who");
    assert_eq!(resource.attributes[0], KeyValue::text("service.name", "tested"));
    let (path, body) = requests.recv().expect("lines");
    assert_eq!(path, "/base/v1/logs");
    let sent = &Logs::decode(&*body).expect("lines").resource_logs[0];
    assert_eq!(sent.scope_logs[0].log_records.len(), 2);
    let counts = |signal| (inbox.counts(signal).sent, inbox.counts(signal).lost);
    assert_eq!((counts(Signal::Spans), counts(Signal::Lines)), ((3, 0), (2, 0)));
    assert_eq!(inbox.counts(Signal::Points), super::super::Counts::default());
}

#[test]
fn metrics_are_sent_when_it_is_time_and_at_the_end() {
    let (settings, requests) = collector(&[TAKEN]);
    let (mut exporter, inbox) = exporter(settings);
    exporter.encode(taken(0, 0));
    assert!(exporter.points.body.is_some(), "the first are due at the start");
    exporter.send(Signal::Points, None);
    assert_eq!(requests.recv().expect("metrics").0, "/base/v1/metrics");
    assert!(exporter.points.body.is_none());
    exporter.encode(taken(0, 0));
    assert!(exporter.points.body.is_none(), "not again before their time");
    let wait = exporter.metrics_at - Instant::now();
    assert!(wait > exporter.settings.metrics_interval / 2, "{wait:?}");
    exporter.encode(Taken { is_ending: true, ..Taken::default() });
    assert!(exporter.points.body.is_some(), "the last ones");
    // Values that are replaced before they were sent are lost.
    exporter.points.body = Some((Vec::new(), 7));
    exporter.encode(Taken { is_ending: true, ..Taken::default() });
    assert_eq!(inbox.counts(Signal::Points).lost, 7);
    assert!(exporter.spans.body.is_none() && exporter.lines.body.is_none());
}

/// Spans that failed between then and now are tried again after so long.
fn waits(exporter: &Exporter, before: Instant, wait: Duration) {
    assert!(exporter.spans.at >= before + wait);
    assert!(exporter.spans.at <= Instant::now() + wait);
}

#[test]
fn what_a_busy_collector_does_not_take_is_sent_again_after_a_wait_that_doubles() {
    let (settings, requests) = collector(&[BUSY, BUSY, TAKEN]);
    let (mut exporter, inbox) = exporter(settings);
    exporter.encode(taken(3, 0));
    let before = Instant::now();
    exporter.send(Signal::Spans, None);
    waits(&exporter, before, FIRST_WAIT);
    // Before its time nothing is sent.
    exporter.send(Signal::Spans, None);
    assert_eq!((exporter.spans.failures, inbox.counts(Signal::Spans).failures), (1, 1));
    exporter.spans.at = Instant::now();
    let before = Instant::now();
    exporter.send(Signal::Spans, None);
    waits(&exporter, before, 2 * FIRST_WAIT);
    assert!(exporter.has_complained);
    assert_eq!(exporter.spans.body.as_ref().map(|(_, count)| *count), Some(3));
    exporter.spans.at = Instant::now();
    exporter.send(Signal::Spans, None);
    let bodies: Vec<_> = requests.iter().take(3).map(|(_, body)| body).collect();
    assert!(bodies[0] == bodies[1] && bodies[1] == bodies[2]);
    let counts = inbox.counts(Signal::Spans);
    assert_eq!((counts.sent, counts.lost, counts.failures), (3, 0, 2));
    assert_eq!((exporter.spans.failures, exporter.has_complained), (0, false));
}

#[test]
fn the_longest_wait_has_a_bound() {
    let (mut exporter, _) = exporter(settings("http://127.0.0.1:1".to_owned()));
    exporter.spans.failures = 40;
    let failure = Failure { reason: "gone".to_owned(), is_final: false };
    let before = Instant::now();
    exporter.failed(Signal::Spans, (vec![1], 1), &failure);
    waits(&exporter, before, LONGEST_WAIT);
    assert_eq!(exporter.spans.failures, 41);
}

#[test]
fn what_a_collector_refuses_is_lost_and_not_sent_again() {
    let (settings, _requests) = collector(&[BAD, PARTIAL]);
    let (mut exporter, inbox) = exporter(settings);
    exporter.encode(taken(0, 5));
    exporter.send(Signal::Lines, None);
    let counts = inbox.counts(Signal::Lines);
    assert_eq!((counts.sent, counts.lost, counts.failures), (0, 5, 1));
    assert!(exporter.lines.body.is_none());
    exporter.lines.at = Instant::now();
    exporter.encode(taken(0, 5));
    exporter.send(Signal::Lines, None);
    let counts = inbox.counts(Signal::Lines);
    assert_eq!((counts.sent, counts.lost, counts.failures), (3, 7, 1), "two of five");
}

#[test]
fn at_the_end_what_is_left_is_tried_once_more_and_then_lost() {
    let (mut exporter, inbox) = exporter(settings("http://127.0.0.1:1".to_owned()));
    exporter.settings.metrics = false;
    exporter.spans.body = Some((vec![1], 2));
    exporter.spans.at = Instant::now() + LONGEST_WAIT;
    inbox.push_line(LogRecord::default());
    let begun = Instant::now();
    let ending = Arc::clone(&inbox);
    let end = std::thread::spawn(move || ending.end(Duration::from_secs(60)));
    exporter.run();
    end.join().expect("it has finished");
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    let (spans, lines) = (inbox.counts(Signal::Spans), inbox.counts(Signal::Lines));
    assert_eq!((spans.failures, spans.lost, spans.sent), (1, 2, 0));
    assert_eq!((lines.lost, lines.sent), (1, 0));
    assert!(lines.failures >= 1);
}

#[test]
fn a_collector_that_says_nothing_has_the_time_that_it_may_take() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    let (mut exporter, inbox) = exporter(settings(endpoint));
    exporter.settings.timeout = Duration::from_millis(30);
    exporter.encode(taken(1, 0));
    let begun = Instant::now();
    exporter.send(Signal::Spans, None);
    assert!(begun.elapsed() >= Duration::from_millis(30));
    assert_eq!(inbox.counts(Signal::Spans).failures, 1);
    // With no time left nothing is begun.
    exporter.send(Signal::Spans, Some(Instant::now()));
    assert_eq!(inbox.counts(Signal::Spans).failures, 1);
    assert!(exporter.spans.body.is_some());
}

#[test]
fn a_collector_that_does_not_take_anything_is_complained_of_once_until_it_does() {
    use tracing_subscriber::layer::SubscriberExt;

    let (settings, _requests) = collector(&[TAKEN]);
    let (mut exporter, _) = exporter(settings);
    let logged = Arc::<Inbox>::default();
    let lines = super::super::lines::Lines(Arc::clone(&logged));
    let fails = |exporter: &mut Exporter| {
        let failure = Failure { reason: "gone".to_owned(), is_final: false };
        exporter.failed(Signal::Spans, (vec![0], 1), &failure);
    };
    tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), || {
        fails(&mut exporter);
        fails(&mut exporter);
        exporter.spans.at = Instant::now();
        exporter.send(Signal::Spans, None);
        fails(&mut exporter);
    });
    let said = logged.take(Instant::now(), (false, true)).lines;
    let texts = said.iter().map(|line| match &line.body.as_ref().expect("a message").value {
        Some(Value::Text(text)) => text.as_str(),
        other => panic!("{other:?}"),
    });
    let of_ours = texts.filter(|text| text.starts_with("the collector "));
    let words = of_ours.map(|text| text.split(' ').nth(2).expect("a third word"));
    assert_eq!(words.collect::<Vec<_>>(), ["does", "takes", "does"]);
}
