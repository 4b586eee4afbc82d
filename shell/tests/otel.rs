//! What a collector is told, and that one which is slow, refuses or is gone costs nothing but what
//! it was to be told.
#![cfg(feature = "otel")]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aqueduct::telemetry::messages::{self, Data, Value};
use aqueduct_client::Event;
use common::reader::Attached;
use common::{PATIENCE, Response, Server, record};
use prost::Message;

const TRACE_ID: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT_ID: &str = "b7ad6b7169203331";

/// How the collector answers.
#[derive(Clone, Copy, PartialEq)]
enum Mood {
    Takes,
    Unavailable,
    /// It takes the bytes and says nothing.
    Hangs,
}

/// A collector of the test: what was posted to which path.
struct Collector {
    address: SocketAddr,
    mood: Arc<Mutex<Mood>>,
    posted: Arc<Posted>,
}

/// Paths and bodies.
type Posted = Mutex<Vec<(String, Vec<u8>)>>;

impl Collector {
    fn start(mood: Mood) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("an address");
        let address = listener.local_addr().expect("bound");
        let (mood, posted) = (Arc::new(Mutex::new(mood)), Arc::new(Mutex::default()));
        let collector = Self { address, mood: Arc::clone(&mood), posted: Arc::clone(&posted) };
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (mood, posted) = (Arc::clone(&mood), Arc::clone(&posted));
                std::thread::spawn(move || serve(stream, &mood, &posted));
            }
        });
        collector
    }

    fn set(&self, mood: Mood) {
        *self.mood.lock().expect("whole") = mood;
    }

    fn of<M: Message + Default>(&self, path: &str) -> Vec<M> {
        let posted = self.posted.lock().expect("whole");
        let here = posted.iter().filter(|(to, _)| to == path);
        here.map(|(_, body)| M::decode(&body[..]).expect("a message of OTLP")).collect()
    }

    fn spans(&self) -> Vec<messages::Span> {
        let traces: Vec<messages::Traces> = self.of("/otlp/v1/traces");
        let resources = traces.into_iter().flat_map(|traces| traces.resource_spans);
        let scopes = resources.flat_map(|resource| resource.scope_spans);
        scopes.flat_map(|scope| scope.spans).collect()
    }

    fn metrics(&self) -> Vec<messages::Metric> {
        let metrics: Vec<messages::Metrics> = self.of("/otlp/v1/metrics");
        let resources = metrics.into_iter().flat_map(|metrics| metrics.resource_metrics);
        let scopes = resources.flat_map(|resource| resource.scope_metrics);
        scopes.flat_map(|scope| scope.metrics).collect()
    }

    fn lines(&self) -> Vec<messages::LogRecord> {
        let logs: Vec<messages::Logs> = self.of("/otlp/v1/logs");
        let resources = logs.into_iter().flat_map(|logs| logs.resource_logs);
        let scopes = resources.flat_map(|resource| resource.scope_logs);
        scopes.flat_map(|scope| scope.log_records).collect()
    }
}

/// Answers one request.
fn serve(mut stream: TcpStream, mood: &Mutex<Mood>, posted: &Posted) {
    let mut reader = BufReader::new(stream.try_clone().expect("a descriptor"));
    let (mut path, mut length, mut line) = (String::new(), 0, String::new());
    while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
        if let Some(target) = line.strip_prefix("POST ") {
            target.split(' ').next().unwrap_or_default().clone_into(&mut path);
        }
        if let Some((_, value)) = line.to_lowercase().split_once("content-length:") {
            length = value.trim().parse().expect("a number");
        }
        line.clear();
    }
    let mut body = vec![0; length];
    if reader.read_exact(&mut body).is_err() {
        return;
    }
    let now = *mood.lock().expect("whole");
    let answer: &[u8] = match now {
        Mood::Takes => {
            posted.lock().expect("whole").push((path, body));
            b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
        }
        Mood::Unavailable => b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n",
        Mood::Hangs => {
            // Until the other side gives up.
            let _ = reader.read(&mut [0]);
            return;
        }
    };
    let _ = stream.write_all(answer);
}

/// A listener that tells this collector, with rings of these further settings.
fn server(collector: SocketAddr, otel: &str, ring: &str) -> Server {
    let text = format!(
        "[http]\nattributes = [\"x-before\", \"traceparent\"]\n\
         [otel]\nendpoint = \"http://{collector}/otlp/\"\n{otel}\n\
         [[ring]]\nname = \"orders\"\n{ring}\n"
    );
    Server::with_file(&text, &[])
}

/// Posts to the ring `orders` with this `traceparent` if there is one.
fn post(server: &Server, headers: &str, trace: Option<&str>, payload: &[u8]) -> Response {
    let trace = trace.map_or(String::new(), |trace| format!("traceparent: {trace}\r\n"));
    server.exchange(record("orders", &format!("{headers}{trace}connection: close\r\n"), payload))
}

fn sampled() -> String {
    format!("00-{TRACE_ID}-{PARENT_ID}-01")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn attribute(span: &messages::Span, key: &str) -> Option<Value> {
    let found = span.attributes.iter().find(|attribute| attribute.key == key)?;
    found.value.clone()?.value
}

fn until(what: &str, server: &Server, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + 3 * PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}; log:\n{}", server.log());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The trace contexts of the records of `orders`, in their order.
fn contexts(server: &Server, count: usize) -> Vec<Option<String>> {
    let mut reader = Attached::attach(&server.socket, "orders", "default");
    (0..count)
        .map(|_| match reader.client.next_with_attributes().expect("undamaged") {
            Event::Record((_, _, mut attributes)) => attributes
                .find(|one| one.name == b"traceparent")
                .map(|one| String::from_utf8_lossy(one.value).into_owned()),
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn a_trace_goes_from_the_client_through_the_listener_to_the_reader() {
    let collector = Collector::start(Mood::Takes);
    for ring in ["", "durability = \"process\"", "durability = \"disk\""] {
        let journals = common::Scratch::new();
        let journal = format!("[journal]\ndirectory = \"{}\"", journals.path("j").display());
        let otel = if ring.is_empty() { String::new() } else { journal };
        std::fs::create_dir_all(journals.path("j")).expect("made");
        let server = server(collector.address, &otel, ring);
        collector.posted.lock().expect("whole").clear();
        assert_eq!(post(&server, "x-before: 1\r\n", Some(&sampled()), b"hello").status, 202);
        let unsampled = format!("00-{TRACE_ID}-{PARENT_ID}-00");
        assert_eq!(post(&server, "", Some(&unsampled), b"quiet").status, 202);
        assert_eq!(post(&server, "", None, b"none").status, 202);
        until("a span", &server, || !collector.spans().is_empty());
        let spans = collector.spans();
        let [span] = &spans[..] else { panic!("{spans:?}") };
        assert_eq!(
            (hex(&span.trace_id).as_str(), hex(&span.parent_span_id).as_str()),
            (TRACE_ID, PARENT_ID)
        );
        assert_eq!((span.name.as_str(), span.kind), ("publish orders", messages::KIND_PRODUCER));
        assert_eq!((span.status.clone(), span.flags), (None, 0x301));
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano, "{span:?}");
        let text = |text: &str| Some(Value::Text(text.to_owned()));
        assert_eq!(attribute(span, "messaging.destination.name"), text("orders"));
        assert_eq!(attribute(span, "messaging.message.body.size"), Some(Value::Int(5)));
        let Some(Value::Text(id)) = attribute(span, "messaging.message.id") else { panic!() };
        assert!(id.ends_with("-0"), "{id}");
        let expected = format!("00-{TRACE_ID}-{}-01", hex(&span.span_id));
        assert_eq!(contexts(&server, 3), [Some(expected), Some(unsampled), None], "{ring}");
    }
}

#[test]
fn a_batch_has_one_span_and_a_refusal_says_why() {
    let collector = Collector::start(Mood::Takes);
    let server = server(
        collector.address,
        "",
        "capacity_bytes = 1024\nmax_payload_bytes = 400\nfull_wait_ms = 0",
    );
    let batch = "content-type: application/x-ndjson\r\n";
    let answer = post(&server, batch, Some(&sampled()), b"{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n");
    assert_eq!(answer.status, 202, "{answer:?}");
    let contexts = contexts(&server, 3);
    assert!(contexts.iter().all(|context| *context == contexts[0]), "{contexts:?}");
    // Nobody releases anything, so the ring gets full.
    let status = |_| post(&server, "", Some(&sampled()), &[b'x'; 300]).status;
    let statuses: Vec<u16> = (0..4).map(status).collect();
    assert!(statuses.contains(&503), "{statuses:?}");
    until("all spans", &server, || collector.spans().len() == 5);
    let spans = collector.spans();
    assert_eq!(attribute(&spans[0], "messaging.batch.message_count"), Some(Value::Int(3)));
    assert_eq!(contexts[0], Some(format!("00-{TRACE_ID}-{}-01", hex(&spans[0].span_id))));
    let failed: Vec<_> = spans.iter().filter(|span| span.status.is_some()).collect();
    assert_eq!(failed.len(), statuses.iter().filter(|status| **status == 503).count());
    let reason = attribute(failed[0], "error.type");
    assert_eq!(reason, Some(Value::Text("full".to_owned())));
    assert_eq!(failed[0].status.as_ref().expect("it has one").code, messages::STATUS_ERROR);
}

#[test]
fn open_metrics_has_the_last_traces_beside_latencies_and_refusals() {
    let collector = Collector::start(Mood::Takes);
    let text = format!(
        "[http]\nattributes = [\"traceparent\"]\n[admin]\nlisten = \"127.0.0.1:0\"\n\
         [otel]\nendpoint = \"http://{}/otlp/\"\n\
         [[ring]]\nname = \"orders\"\ncapacity_bytes = 1024\nmax_payload_bytes = 400\n\
         full_wait_ms = 0\n",
        collector.address
    );
    let server = Server::with_file(&text, &[]);
    let admin = server.admin.expect("an address");
    let asked = |accept: &str| {
        let fields = format!("host: t\r\nconnection: close\r\n{accept}");
        Server::exchange_at(admin, format!("GET /metrics HTTP/1.1\r\n{fields}\r\n"))
    };
    // The ring is full after some; what came without a trace is counted without one.
    assert_eq!(post(&server, "", None, b"quiet").status, 202);
    while post(&server, "", Some(&sampled()), &[b'x'; 300]).status == 202 {}
    until("a refusal", &server, || collector.spans().iter().any(|span| span.status.is_some()));
    let spans = collector.spans();
    let open = "accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n";
    let answer = asked(open);
    let kind = answer.header("content-type").expect("a type");
    assert!(kind.starts_with("application/openmetrics-text; version=1.0.0"), "{kind}");
    assert!(answer.body.ends_with("# EOF\n"), "{}", answer.body);
    let exemplars = |name: &str| -> Vec<&str> {
        let lines = answer.body.lines().filter(|line| line.starts_with(name));
        lines.filter_map(|line| Some(line.split_once(" # ")?.1)).collect()
    };
    let is_of = |exemplar: &str, span: &messages::Span| {
        let ids = format!("trace_id=\"{TRACE_ID}\",span_id=\"{}\"", hex(&span.span_id));
        exemplar.contains(&ids)
    };
    let latencies = exemplars("aqueduct_traced_publish_seconds_bucket{ring=\"orders\"");
    let done: Vec<_> = spans.iter().filter(|span| span.status.is_none()).collect();
    assert!(!latencies.is_empty(), "{}", answer.body);
    for exemplar in latencies {
        assert!(done.iter().any(|span| is_of(exemplar, span)), "{exemplar}: {done:?}");
    }
    let refused = exemplars("aqueduct_records_rejected_total{reason=\"full\",ring=\"orders\"");
    let failed = spans.iter().find(|span| span.status.is_some()).expect("waited for");
    assert!(refused.len() == 1 && is_of(refused[0], failed), "{refused:?}: {failed:?}");
    let count = format!("aqueduct_traced_publish_seconds_count{{ring=\"orders\"}} {}", done.len());
    assert!(answer.body.lines().any(|line| line == count), "{count}: {}", answer.body);
    for accept in ["", "accept: text/plain;version=0.0.4\r\n"] {
        let answer = asked(accept);
        assert!(answer.header("content-type").is_some_and(|it| it.starts_with("text/plain")));
        assert!(!answer.body.contains(" # {") && !answer.body.contains("# EOF"), "{answer:?}");
    }
}

#[test]
fn traces_begin_here_if_the_settings_say_so() {
    let collector = Collector::start(Mood::Takes);
    let server = server(collector.address, "root_ratio = 1", "");
    for _ in 0..3 {
        assert_eq!(post(&server, "", None, b"x").status, 202);
    }
    until("all spans", &server, || collector.spans().len() == 3);
    let spans = collector.spans();
    for (span, context) in spans.iter().zip(contexts(&server, 3)) {
        assert!(span.parent_span_id.is_empty(), "{span:?}");
        let (trace, own) = (hex(&span.trace_id), hex(&span.span_id));
        assert_eq!(context, Some(format!("00-{trace}-{own}-01")));
    }
    assert_ne!(spans[0].trace_id, spans[1].trace_id);
}

#[test]
fn metrics_and_the_log_are_sent_and_the_rest_of_both_at_the_end() {
    let collector = Collector::start(Mood::Takes);
    let mut server =
        server(collector.address, "metrics_interval_ms = 200\nservice_name = \"a\"", "");
    assert_eq!(post(&server, "", None, b"x").status, 202);
    let published = |metric: &messages::Metric| match &metric.data {
        Some(Data::Sum(sum)) => sum.data_points.iter().any(|point| point.as_double == Some(1.0)),
        _ => false,
    };
    until("a record that is counted", &server, || {
        let metrics = collector.metrics();
        metrics.iter().any(|it| it.name == "aqueduct_records_total" && published(it))
    });
    assert!(collector.metrics().iter().any(|metric| metric.name == "aqueduct_ring_used_bytes"));
    let says = |text: &str| {
        let is_it = |line: &messages::LogRecord| {
            line.body
                .as_ref()
                .and_then(|body| body.value.as_ref())
                .is_some_and(|body| matches!(body, Value::Text(said) if said == text))
        };
        collector.lines().iter().any(is_it)
    };
    until("a line", &server, || says("ready"));
    server.terminate();
    assert!(server.wait().success());
    assert!(says("stopped"), "the last line");
    let logs: Vec<messages::Logs> = collector.of("/otlp/v1/logs");
    let resource = logs[0].resource_logs[0].resource.clone().expect("it says who");
    let name = resource.attributes.iter().find(|attribute| attribute.key == "service.name");
    let name = name.and_then(|name| name.value.clone()?.value);
    assert_eq!(name, Some(Value::Text("a".to_owned())));
}

#[test]
fn a_collector_that_hangs_refuses_or_is_gone_costs_spans_only() {
    for mood in [Some(Mood::Hangs), Some(Mood::Unavailable), None] {
        let collector = Collector::start(mood.unwrap_or(Mood::Takes));
        let address = match mood {
            Some(_) => collector.address,
            // Nobody listens there any more.
            None => TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("free"),
        };
        let mut server = server(address, "timeout_ms = 60000", "capacity_bytes = 4194304");
        let mut stream = server.connect();
        // More than all queues together have room for: each record has a span of its own.
        let request = record("orders", &format!("traceparent: {}\r\n", sampled()), b"x");
        let many = request.repeat(500);
        for _ in 0..24 {
            stream.write_all(&many).expect("sent");
            for _ in 0..500 {
                assert_eq!(Response::read(&mut stream).status, 202);
            }
        }
        let lost = "aqueduct_telemetry_lost_total{signal=\"spans\"}";
        until("spans that are lost", &server, || server.metric(lost) > 1000.0);
        if mood == Some(Mood::Unavailable) {
            until("a failure", &server, || {
                server.metric("aqueduct_telemetry_failures_total{signal=\"spans\"}") > 0.0
            });
            collector.set(Mood::Takes);
            until("what was kept", &server, || collector.spans().len() > 4000);
            assert!(server.log().contains("takes telemetry again"));
        }
        server.terminate();
        assert!(server.wait().success(), "{}", server.log());
    }
}
