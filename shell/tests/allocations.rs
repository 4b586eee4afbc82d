//! Counts what the common form of a request allocates, and one on a route; holds what conversions
//! take of memory against what they say that they may take.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use aqueduct::codec::http1::{Config, Http1, Routes};
use aqueduct::codec::{
    BatchSize, Codec, Consumption, Event, Keep, Keyed, Outcome, Reason, Recall, Record, Ring,
    RingId, Room, Seen, Sink, State, Wait,
};
use aqueduct::credentials::{Store, new_token};
use aqueduct::middleware::credentials::Credentials;
use aqueduct::middleware::units::{Authenticate, RequestId};
use aqueduct::middleware::{Acknowledge, Host, Pattern, Route, Router};

struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
    /// Bytes that this thread has now, and had at most. What other threads free goes below zero.
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

// Growing is by the trait's own way: the larger block is there before the smaller one goes.
// SAFETY: every call goes on to the system's allocator, with what it was given.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        LIVE.with(|live| live.set(live.get() + layout.size().cast_signed()));
        PEAK.with(|peak| peak.set(peak.get().max(LIVE.get())));
        // SAFETY: as the caller guarantees.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.with(|live| live.set(live.get() - layout.size().cast_signed()));
        // SAFETY: as the caller guarantees.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Takes every record, and keeps nothing.
struct Nowhere(u64);

impl Sink for Nowhere {
    fn ring(&self, name: &[u8]) -> Option<Ring> {
        (name == b"orders").then_some(Ring {
            id: RingId(0),
            epoch: 1,
            max_payload_bytes: 1 << 16,
            capacity_bytes: 1 << 20,
        })
    }

    fn name(&self, _: RingId) -> &'static str {
        "orders"
    }

    fn record(&mut self, record: Record<'_>) -> Outcome {
        black_box(record.payload);
        self.0 += 1;
        Outcome::Accepted(self.0 - 1)
    }

    fn room(&mut self, _: RingId, _: BatchSize) -> Room {
        Room::Refused(Reason::Full)
    }

    fn fan_out(&mut self, _: &[RingId], _: Record<'_>, _: &mut Vec<u64>) -> Outcome {
        Outcome::Refused(Reason::Full)
    }

    fn recall(&mut self, _: RingId, _: &Keyed<'_>) -> Recall {
        Recall::Off
    }

    fn remember(&mut self, _: RingId, _: &Keyed<'_>, _: Seen) {}

    fn recall_all(&mut self, _: &Keyed<'_>, _: &mut Vec<u64>) -> Recall {
        Recall::Off
    }

    fn remember_all(&mut self, _: &Keyed<'_>, _: &[u64]) {}

    fn subscription(&self, _: RingId, _: &str) -> Option<u16> {
        None
    }

    fn hold_until_consumed(&mut self, _: Range<usize>, _: Consumption) {}

    fn next_seq(&self, _: RingId) -> u64 {
        self.0
    }

    fn note(&mut self, event: Event) {
        black_box(event);
    }

    fn is_ending(&self) -> bool {
        false
    }

    fn now(&self) -> Instant {
        Instant::now()
    }

    fn date(&self) -> [u8; 29] {
        *b"Sun, 06 Nov 1994 08:49:37 GMT"
    }
}

#[test]
fn the_common_form_of_a_request_allocates_nothing() {
    let config = Arc::new(Config {
        guard: None,
        max_header_bytes: 16_384,
        max_headers: 64,
        max_batch_bytes: 1 << 20,
        origins: Vec::new(),
        http2: true,
        h2c: true,
        keep: Keep::default(),
        routes: None,
    });
    let (mut codec, mut sink) = (Http1::new(config), Nowhere(0));
    let mut out = Vec::with_capacity(1 << 12);
    let request = b"POST /v1/rings/orders/records HTTP/1.1\r\nhost: t\r\naqueduct-type: 7\r\n\
                    content-type: application/json\r\ncontent-length: 12\r\n\r\n{\"id\":12345}";
    let chunked = b"POST /v1/rings/orders/records HTTP/1.1\r\nhost: t\r\n\
                    transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    for request in [&request[..], chunked] {
        let mut input = request.to_vec();
        let before = COUNT.get();
        for _ in 0..1000 {
            input.copy_from_slice(request);
            out.clear();
            let progress = codec.decode(&mut input, &mut sink, &mut out);
            assert_eq!(progress.consumed, request.len());
            assert!(matches!(progress.state, State::More { wait: Wait::Idle, .. }));
            assert!(out.starts_with(b"HTTP/1.1 202 "));
        }
        assert_eq!(COUNT.get() - before, 0, "allocations of 1,000 requests");
    }
    // That it counts at all.
    let before = COUNT.get();
    black_box(vec![1_u8; 100]);
    assert_eq!(COUNT.get() - before, 1);
}

#[test]
fn keeping_attributes_of_a_request_allocates_once() {
    let config = Arc::new(Config {
        guard: None,
        max_header_bytes: 16_384,
        max_headers: 64,
        max_batch_bytes: 1 << 20,
        origins: Vec::new(),
        http2: true,
        h2c: true,
        keep: Keep::new(vec![":path".to_owned(), "traceparent".to_owned()]),
        routes: None,
    });
    let (mut codec, mut sink) = (Http1::new(config), Nowhere(0));
    let mut out = Vec::with_capacity(1 << 12);
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    let request = format!(
        "POST /v1/rings/orders/records HTTP/1.1\r\nhost: t\r\ntraceparent: {trace}\r\n\
         content-length: 5\r\n\r\nhello"
    );
    let mut input = request.clone().into_bytes();
    let mut count = || {
        input.copy_from_slice(request.as_bytes());
        out.clear();
        let before = COUNT.get();
        let progress = codec.decode(&mut input, &mut sink, &mut out);
        assert_eq!(progress.consumed, request.len());
        assert!(out.starts_with(b"HTTP/1.1 202 "));
        COUNT.get() - before
    };
    // The first one may find out what kind of processor this is.
    count();
    for _ in 0..100 {
        assert_eq!(count(), 1, "what is kept");
    }
}

#[test]
fn a_route_with_token_and_request_id_allocates_for_the_first_request_of_a_connection_only() {
    let (token, line) = new_token("robot", None).expect("a token");
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), line).expect("written");
    let store = Store::read(file.path(), &["orders"]).expect("credentials");
    let credentials: Arc<dyn Credentials> = Arc::new(store);
    let route = Route {
        index: 0,
        methods: vec!["POST"],
        host: Host::Any,
        pattern: Pattern::new("/crm/users/{id}").expect("a path"),
        rings: vec!["orders".to_owned()],
        type_tag: None,
        attributes: None,
        acknowledge: Acknowledge::Published,
        is_open: false,
        units: vec![
            Arc::new(Authenticate::new(credentials, None)),
            Arc::new(RequestId::new(false)),
        ],
    };
    let router = Arc::new(Router::new(vec![route]).expect("one route"));
    let config = Arc::new(Config {
        guard: None,
        max_header_bytes: 16_384,
        max_headers: 64,
        max_batch_bytes: 1 << 20,
        origins: Vec::new(),
        http2: true,
        h2c: true,
        keep: Keep::default(),
        routes: Routes::new(&router),
    });
    let (mut codec, mut sink) = (Http1::new(config), Nowhere(0));
    let mut out = Vec::with_capacity(1 << 12);
    let request = format!(
        "POST /crm/users/4711 HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {token}\r\n\
         content-length: 12\r\n\r\n{{\"id\":12345}}"
    );
    let mut input = request.clone().into_bytes();
    let mut ask = || {
        input.copy_from_slice(request.as_bytes());
        out.clear();
        let before = COUNT.get();
        let progress = codec.decode(&mut input, &mut sink, &mut out);
        let allocations = COUNT.get() - before;
        assert_eq!(progress.consumed, request.len());
        assert!(out.starts_with(b"HTTP/1.1 202 "), "{}", String::from_utf8_lossy(&out));
        allocations
    };
    let first = ask();
    // What is kept of a request waits for the second one to be complete: the former id.
    let second = ask();
    println!("{first} allocations of the first request, {second} of the second");
    assert!(first > 0, "not vacuous");
    assert_eq!((0..1000).map(|_| ask()).sum::<u64>(), 0, "allocations of 1,000 more");
}

// With all that changes bodies.
#[cfg(all(feature = "convert", feature = "decompress"))]
mod memory {
    use std::sync::Arc;

    use aqueduct::middleware::units::{Conversion, Convert, Decompress, ValidJson};
    use aqueduct::middleware::{Acknowledge, Host, LOOP_BYTES, Pattern, Route, Unit};

    use super::{LIVE, PEAK};

    /// Most bytes that an event loop takes for a body that it works on by itself.
    const LOOP_MEMORY_BYTES: usize = 3 << 20;

    /// Has a unit change a body; most bytes that there were at a time, with the body.
    fn peak(unit: &dyn Unit, body: &[u8], limit: usize, codings: &[String]) -> usize {
        let before = LIVE.get();
        let body = body.to_vec();
        PEAK.set(LIVE.get());
        let made = unit.body(body, limit, codings);
        let peak = PEAK.get() - before;
        drop(made);
        assert_eq!(LIVE.get(), before, "something is kept");
        peak.cast_unsigned()
    }

    /// Holds a unit to what it says, for each body, and for limits that are reached and that are
    /// not. Prints the most for each byte.
    fn hold(what: &str, unit: &dyn Unit, bodies: &[Vec<u8>], codings: &[&str]) {
        let codings: Vec<_> = codings.iter().map(|&coding| coding.to_owned()).collect();
        let mut most = (0.0, 0.0);
        for (index, body) in bodies.iter().enumerate() {
            for limit in [1 << 12, 1 << 24] {
                let (taken, said) =
                    (peak(unit, body, limit, &codings), unit.memory(body.len(), limit));
                assert!(
                    taken <= said,
                    "{what} {index}, {limit}: {taken} of {said}, {}",
                    body.len()
                );
                #[expect(clippy::cast_precision_loss, reason = "to be printed")]
                let each = |bytes: usize| bytes as f64 / body.len().max(1) as f64;
                if body.len() > 1 << 15 && each(taken) > most.0 {
                    most = (each(taken), each(said));
                }
            }
        }
        println!("{what}: {:.1} bytes for each of a body, {:.1} at most", most.0, most.1);
    }

    /// JSON that takes much: names, empty values, what becomes longer, in sizes around which
    /// vectors grow.
    fn json() -> Vec<Vec<u8>> {
        let mut bodies = vec![b"1e1".to_vec(), b"{}".to_vec(), vec![b'['; 1 << 12]];
        for count in [1, 100, 8_195] {
            let list =
                |part: &dyn Fn(usize) -> String| (0..count).map(part).collect::<Vec<_>>().join(",");
            // Two characters are enough for 3,000 names, three for all.
            let name = |at: usize| {
                let digit = |at: usize| {
                    char::from(b"!#$%&'()*+-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ"[at % 56])
                };
                let short = [digit(at), digit(at / 56), digit(at / 3136)];
                short[..if count < 3_000 { 2 } else { 3 }].iter().collect::<String>()
            };
            bodies.push(format!("{{{}}}", list(&|at| format!("\"{}\":1", name(at)))).into());
            bodies.push(format!("{{{}}}", list(&|at| format!("\"\\n{}\":[]", name(at)))).into());
            bodies.push(format!("[{}]", list(&|_| "[]".to_owned())).into());
            bodies.push(format!("[{}]", list(&|_| "{}".to_owned())).into());
            bodies.push(format!("[{}]", list(&|_| "0".to_owned())).into());
            bodies.push(format!("[{}]", list(&|_| "1e1".to_owned())).into());
            bodies.push(format!("[{}]", list(&|_| "\"\\u0001\"".to_owned())).into());
            let deep = "{\"a\":".repeat(127);
            bodies.push(
                format!(
                    "{deep}{{{}}}{}",
                    list(&|at| format!("\"{}\":0", name(at))),
                    "}".repeat(127)
                )
                .into(),
            );
            for text in ["&", "\\u0000", "\\\"", "\u{fffe}", "\\n", "a", "é"] {
                let text = text.repeat(count);
                bodies.push(format!("\"{text}\"").into());
                bodies.push(format!("{{\"{text}\":null}}").into());
            }
        }
        bodies
    }

    #[test]
    fn json_takes_no_more_memory_than_it_says() {
        hold("json", &ValidJson { minify: false }, &json(), &[]);
        hold("json, minify", &ValidJson { minify: true }, &json(), &[]);
    }

    /// What a conversion makes of all that JSON.
    fn made(from: &str, to: &str) -> Vec<Vec<u8>> {
        let Some(conversion) = Conversion::new(from, to) else { return Vec::new() };
        let bodies = json().into_iter();
        bodies
            .filter_map(|body| Convert(conversion.clone()).body(body, 1 << 26, &[]).ok())
            .collect()
    }

    #[test]
    fn conversions_take_no_more_memory_than_they_say() {
        for (from, to) in [
            ("json", "xml"),
            ("xml", "json"),
            ("json", "cbor"),
            ("cbor", "json"),
            ("json", "messagepack"),
            ("messagepack", "json"),
        ] {
            let Some(conversion) = Conversion::new(from, to) else { continue };
            let mut bodies = if from == "json" { json() } else { made("json", from) };
            for count in [1_usize, 8_195] {
                let all =
                    |part: &dyn Fn(usize) -> Vec<u8>| (0..count).flat_map(part).collect::<Vec<_>>();
                let word = u32::try_from(count).unwrap().to_be_bytes();
                match from {
                    "xml" => {
                        let root = "<array xmlns=\"http://www.w3.org/2005/xpath-functions\">";
                        for part in [
                            "<null/>",
                            "<string>&#1114111;</string>",
                            "<string escaped=\"1\">\\u0000</string>",
                        ] {
                            bodies.push(format!("{root}{}</array>", part.repeat(count)).into());
                        }
                        let text = "&#9;".repeat(count);
                        bodies.push(format!("{root}<string>{text}</string></array>").into());
                        let text = "&quot;".repeat(count);
                        bodies.push(
                            format!("{root}<map><null key=\"{text}\"/></map></array>").into(),
                        );
                    }
                    "cbor" => {
                        bodies
                            .push([[0x9a].as_slice(), &word, &[0xf9, 0, 1].repeat(count)].concat());
                        let names = all(&|at| {
                            [
                                &[0x63],
                                &at.to_be_bytes()[5..8]
                                    .iter()
                                    .map(|byte| byte & 0x7f)
                                    .collect::<Vec<_>>()[..],
                                &[0xf6],
                            ]
                            .concat()
                        });
                        bodies.push([[0xba].as_slice(), &word, &names].concat());
                        bodies.push([[0x7a].as_slice(), &word, &vec![1; count]].concat());
                        bodies.push([[0x5a].as_slice(), &word, &vec![1; count]].concat());
                        bodies
                            .push([[0x7f].as_slice(), &[0x61, 1].repeat(count), &[0xff]].concat());
                        bodies
                            .push([[0x5f].as_slice(), &[0x41, 1].repeat(count), &[0xff]].concat());
                    }
                    "messagepack" => {
                        bodies.push([[0xdd].as_slice(), &word, &[0xc0].repeat(count)].concat());
                        let names = all(&|at| {
                            [
                                &[0xa3],
                                &at.to_be_bytes()[5..8]
                                    .iter()
                                    .map(|byte| byte & 0x7f)
                                    .collect::<Vec<_>>()[..],
                                &[0xc0],
                            ]
                            .concat()
                        });
                        bodies.push([[0xdf].as_slice(), &word, &names].concat());
                        bodies.push([[0xdb].as_slice(), &word, &vec![1; count]].concat());
                        bodies.push([[0xc6].as_slice(), &word, &vec![1; count]].concat());
                    }
                    _ => {}
                }
            }
            hold(&format!("{from} to {to}"), &Convert(conversion), &bodies, &[]);
        }
    }

    #[cfg(feature = "protobuf")]
    #[test]
    fn protobuf_takes_no_more_memory_than_it_says() {
        use aqueduct::middleware::protobuf::Schema;
        use prost_reflect::prost::Message;
        use prost_reflect::prost_types::field_descriptor_proto::{Label, Type};
        use prost_reflect::prost_types::{
            DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
        };

        let field = |name: &str, number, label: Label, of: Type| FieldDescriptorProto {
            name: Some(name.to_owned()),
            number: Some(number),
            label: Some(label.into()),
            r#type: Some(of.into()),
            type_name: (of == Type::Message).then(|| ".t.M".to_owned()),
            ..FieldDescriptorProto::default()
        };
        let message = DescriptorProto {
            name: Some("M".to_owned()),
            field: vec![
                field("m", 1, Label::Repeated, Type::Message),
                field("i", 2, Label::Optional, Type::Int64),
                field("s", 3, Label::Repeated, Type::String),
                field("b", 4, Label::Repeated, Type::Bool),
            ],
            ..DescriptorProto::default()
        };
        let file = FileDescriptorProto {
            name: Some("t.proto".to_owned()),
            package: Some("t".to_owned()),
            message_type: vec![message],
            syntax: Some("proto3".to_owned()),
            ..FileDescriptorProto::default()
        };
        let descriptors = FileDescriptorSet { file: vec![file] }.encode_to_vec();
        let schema = Schema::new(&descriptors, "t.M", true).unwrap();
        let mut bodies = Vec::new();
        for count in [1, 100, 4_097] {
            for part in [
                // Empty messages, messages of one field, empty texts, truths, unknown fields.
                &b"\x0a\0"[..],
                b"\x0a\x02\x10\x01",
                b"\x0a\x02\x0a\0",
                b"\x0a\x02\x1a\0",
                b"\x0a\x02\x20\x01",
                b"\x1a\0",
                b"\x20\x01",
                b"\x48\x01",
                b"\x4a\0",
                b"\x0a\x02\x48\x01",
            ] {
                bodies.push(part.repeat(count));
            }
            // Messages in messages, as deep as lengths of one byte go.
            let deep = (1_u8..90).fold(Vec::new(), |inner: Vec<u8>, _| {
                let length = u8::try_from(inner.len()).unwrap();
                // A length of two bytes would be one more.
                if length > 0x7d { inner } else { [&[0x0a, length], &*inner].concat() }
            });
            bodies.push(deep.repeat(count / 10 + 1));
        }
        // What is weighed before it is read: much that is taken, and the first that is refused.
        let text = [&b"\x0a\x42\x10\x01\x1a\x3e"[..], &[b'x'; 62]].concat();
        let many = b"\x0a\x06\x10\x01\x1a\0\x1a\0";
        let truths = [&b"\x22\x80\x80\x02"[..], &vec![1; 1 << 15]].concat();
        let unknown = [&b"\x4a\x80\x80\x02"[..], &vec![1; 1 << 15]].concat();
        for part in [&text[..], many, &truths, &unknown, b"\x1a\x04text", b"\x0a\x02\x10\x01"] {
            let most = (1 << 20) / part.len();
            bodies.extend([most / 7, most / 3, most].map(|count| part.repeat(count)));
        }
        assert!(schema.to_json(&text.repeat(15_000), 1 << 24).is_ok(), "a common message of 1 MiB");
        hold("protobuf to json", &Convert(Conversion::ProtobufToJson(schema)), &bodies, &[]);
    }

    #[cfg(feature = "decompress")]
    #[test]
    fn decompression_takes_no_more_memory_than_it_says() {
        use std::io::Write;

        let gzip = |bytes: &[u8]| {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        };
        // A frame of blocks that repeat one byte, four bytes each, with this window.
        let zstd = |window: u8, blocks: usize, block: u32| {
            let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0, window];
            for at in 1..=blocks {
                let head = block << 3 | 1 << 1 | u32::from(at == blocks);
                frame.extend_from_slice(&head.to_le_bytes()[..3]);
                frame.push(b'x');
            }
            frame
        };
        // 8 MiB, and 128 KiB.
        let (large, small) = (13 << 3, 7 << 3);
        let mut bodies = Vec::new();
        for (blocks, block) in
            [(1, 10), (1, 128 << 10), (64, 128 << 10), (1_000, 128 << 10), (9_000, 1)]
        {
            bodies.extend([zstd(large, blocks, block), zstd(small, blocks, block)]);
        }
        bodies.push(zstd(large, 1, 10).repeat(500));
        let lone = bodies.len();
        assert!(lone > 0);
        for ratio in [1, 100, 100_000] {
            let unit = Decompress { max_bytes: None, max_ratio: ratio };
            hold(&format!("zstd, {ratio}"), &unit, &bodies, &["zstd"]);
            let all = vec![0; 20 << 20];
            let zeros = [0, 100, 100_000, 20 << 20].map(|bytes| &all[..bytes]);
            let bombs = zeros.map(gzip);
            hold(&format!("gzip, {ratio}"), &unit, &bombs, &["gzip"]);
            let twice = bombs.map(|bomb| gzip(&bomb));
            hold(&format!("gzip twice, {ratio}"), &unit, &twice, &["gzip", "gzip"]);
            let of_zstd: Vec<_> = bodies.iter().map(|body| gzip(body)).collect();
            hold(&format!("zstd in gzip, {ratio}"), &unit, &of_zstd, &["zstd", "gzip"]);
            let snappy = zeros.map(|body| snap::raw::Encoder::new().compress_vec(body).unwrap());
            hold(&format!("snappy, {ratio}"), &unit, &snappy, &["snappy"]);
            let framed = zeros.map(|body| {
                let mut encoder = snap::write::FrameEncoder::new(Vec::new());
                encoder.write_all(body).unwrap();
                encoder.into_inner().unwrap()
            });
            hold(&format!("framed, {ratio}"), &unit, &framed, &["x-snappy-framed"]);
        }
    }

    /// What an event loop works on by itself is not counted, so it must be little.
    #[test]
    fn what_a_loop_works_on_takes_little_memory() {
        let convert = |from: &str, to: &str| {
            Conversion::new(from, to).map(|it| Arc::new(Convert(it)) as Arc<dyn Unit>)
        };
        let json: Arc<dyn Unit> = Arc::new(ValidJson { minify: true });
        let decompress: Arc<dyn Unit> = Arc::new(Decompress { max_bytes: None, max_ratio: 100 });
        let pairs = [("json", "xml"), ("xml", "json"), ("cbor", "json"), ("json", "messagepack")];
        let mut chains: Vec<Vec<Arc<dyn Unit>>> =
            vec![vec![Arc::clone(&json)], vec![Arc::clone(&decompress)], vec![decompress, json]];
        chains.extend(pairs.iter().filter_map(|(from, to)| Some(vec![convert(from, to)?])));
        for units in chains {
            let route = Route {
                index: 0,
                methods: vec!["POST"],
                host: Host::Any,
                pattern: Pattern::new("/a").unwrap(),
                rings: Vec::new(),
                type_tag: None,
                attributes: None,
                acknowledge: Acknowledge::Published,
                is_open: false,
                units,
            };
            let limit = 1 << 30;
            let on_loop = (0..=LOOP_BYTES).filter(|bytes| route.cost(*bytes, limit) <= LOOP_BYTES);
            let most = on_loop.map(|bytes| route.memory(bytes, limit)).max();
            assert!(most.is_some_and(|most| most <= LOOP_MEMORY_BYTES), "{most:?}, {route:?}");
        }
    }
}
