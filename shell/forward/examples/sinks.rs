//! How fast a sink takes records from memory, and what else there is beside it.
//!
//! Run: `cargo run --release -p aqueduct-forward --features kafka,parquet --example sinks -- sink
//! RECORDS 'kind = "parquet"' 'path = "/tmp/lake"'`. In place of `sink`, `bare` is the client
//! library alone, of Kafka or of NATS, and `named` the same with the headers that the sink sends.
//! `rows payload|columns RECORDS` prints what `\copy` of `psql` reads.
//! Expect: `records=1000000 seconds=1.234 cpu_seconds=1.200`

use std::fs;
use std::io::Write;
use std::time::Instant;

use aqueduct_forward::batch::{Batch, View};
use aqueduct_forward::sinks::{self, Context, batch_defaults};
use aqueduct_forward::stop::Stop;

/// As in the program.
#[cfg(feature = "kafka")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Device, and tenths, of record `n`.
const fn reading(n: u64) -> (u64, u64) {
    // 1,024 of each.
    (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 54, n.wrapping_mul(0xD6E8_FEB8_6659_FD93) >> 54)
}

/// The payload of record `n`: 98 to 104 bytes of JSON.
fn payload(n: u64) -> String {
    let (device, tenths) = reading(n);
    format!(
        "{{\"device\":\"sensor-{device:04}\",\"reading\":{n},\"value\":{}.{},\"unit\":\"celsius\",\
         \"state\":\"nominal\",\"ok\":true}}",
        tenths / 10,
        tenths % 10
    )
}

/// Processor time of this process so far, in seconds.
fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields: Vec<&str> = stat.rsplit(") ").next().expect("fields").split(' ').collect();
    // utime and stime, in ticks of 10 ms.
    let ticks: u32 = fields[11..13].iter().map(|it| it.parse::<u32>().expect("a number")).sum();
    f64::from(ticks) / 100.0
}

fn main() {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let mode = args.remove(0);
    if mode == "rows" {
        return rows(&args.remove(0), args.remove(0).parse().expect("RECORDS"));
    }
    let records: u64 = args.remove(0).parse().expect("RECORDS");
    let mut table: toml::Table = toml::from_str(&args.join("\n")).expect("TOML");
    let kind = table.get("kind").and_then(toml::Value::as_str).map(str::to_owned);
    let limits = batch_defaults(kind.as_deref());
    // Another number than the sink's own.
    let most = table.remove("batch_records").and_then(|it| it.as_integer()?.try_into().ok());
    let batches: Vec<Batch> = batches(records, most.unwrap_or(limits.records), limits.bytes);
    let (wall, cpu) = match (mode.as_str(), kind.as_deref()) {
        // With its first record librdkafka asks for its number: half a second, or none.
        ("sink", kind) => sink(table, &batches, kind == Some("kafka")),
        #[cfg(feature = "kafka")]
        ("bare" | "named", Some("kafka")) => kafka(&table, &batches, mode == "named"),
        #[cfg(feature = "nats")]
        ("bare" | "named", Some("nats")) => nats(&table, &batches, mode == "named"),
        _ => panic!("{mode} of {kind:?}: there is none, or built without its feature"),
    };
    println!("records={records} seconds={wall:.3} cpu_seconds={cpu:.3}");
}

/// The records, as the frame would hold them, batch by batch.
fn batches(records: u64, most: u64, bytes: u64) -> Vec<Batch> {
    let mut batches = Vec::new();
    let mut batch = Batch::default();
    batch.clear(7);
    for n in 0..records {
        batch.push(n, 1, 1_796_000_000_000_000_000 + n * 1000, payload(n).as_bytes(), b"");
        if batch.len() as u64 == most || batch.bytes() as u64 >= bytes {
            batches.push(std::mem::take(&mut batch));
            batch.clear(7);
        }
    }
    if !batch.is_empty() {
        batches.push(batch);
    }
    batches
}

/// Prints rows as COPY has them.
fn rows(form: &str, records: u64) {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for n in 0..records {
        let (device, tenths) = reading(n);
        let written = match form {
            "payload" => writeln!(out, "{n}\t{}", payload(n)),
            _ => writeln!(out, "sensor-{device:04}\t{n}\t{}.{}\tt", tenths / 10, tenths % 10),
        };
        written.expect("written");
    }
}

/// `is_warm`: with one record before the clock begins.
fn sink(table: toml::Table, batches: &[Batch], is_warm: bool) -> (f64, f64) {
    let (_, mut sink) = sinks::open(table, &Context::default()).expect("settings");
    let stop = Stop::default();
    sink.probe(&stop).expect("it is there");
    if is_warm {
        let mut first = Batch::default();
        first.clear(6);
        first.push(0, 1, 0, b"first", b"");
        sink.deliver(&first.records(), &stop).expect("delivered");
    }
    let (began, cpu) = (Instant::now(), cpu_seconds());
    for batch in batches {
        sink.deliver(&batch.records(), &stop).expect("delivered");
    }
    (began.elapsed().as_secs_f64(), cpu_seconds() - cpu)
}

#[allow(dead_code, reason = "without these features there is nothing beside the sinks")]
fn all(batches: &[Batch]) -> impl Iterator<Item = View<'_>> {
    batches.iter().flat_map(|batch| {
        let records = batch.records();
        (0..records.len()).map(move |at| records.get(at))
    })
}

#[cfg(feature = "kafka")]
fn kafka(table: &toml::Table, batches: &[Batch], is_named: bool) -> (f64, f64) {
    use rdkafka::error::RDKafkaErrorCode::QueueFull;
    use rdkafka::message::{Header, OwnedHeaders};
    use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
    let text = |key: &str| table[key].as_str().expect("a string").to_owned();
    let producer: ThreadedProducer<DefaultProducerContext> = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", text("brokers"))
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .create()
        .expect("a producer");
    let topic = text("topic");
    let time = std::time::Duration::from_secs(60);
    producer.client().fetch_metadata(Some(&topic), time).expect("it is there");
    let first = BaseRecord::<[u8], [u8]>::to(&topic).payload(b"first");
    producer.send(first).expect("sent");
    producer.flush(time).expect("delivered");
    let (began, cpu) = (Instant::now(), cpu_seconds());
    for record in all(batches) {
        let mut message = BaseRecord::<[u8], [u8]>::to(&topic).payload(record.payload);
        if is_named {
            let epoch = format!("{:016x}", record.epoch);
            let (seq, tag) = (record.seq.to_string(), record.type_tag.to_string());
            let header = |key, value| Header { key, value: Some(value) };
            let headers = OwnedHeaders::new_with_capacity(3)
                .insert(header("aqueduct-epoch", epoch.as_bytes()))
                .insert(header("aqueduct-seq", seq.as_bytes()))
                .insert(header("aqueduct-type", tag.as_bytes()));
            message = message.headers(headers);
        }
        while let Err((error, back)) = producer.send(message) {
            assert_eq!(error.rdkafka_error_code(), Some(QueueFull));
            std::thread::sleep(std::time::Duration::from_millis(1));
            message = back;
        }
    }
    producer.flush(time).expect("all delivered");
    (began.elapsed().as_secs_f64(), cpu_seconds() - cpu)
}

/// As `nats bench` does it asynchronously, but that acknowledgements are awaited one by one while
/// others are under way, not batch by batch.
#[cfg(feature = "nats")]
fn nats(table: &toml::Table, batches: &[Batch], is_named: bool) -> (f64, f64) {
    use async_nats::jetstream::{self, message::PublishMessage};
    const MOST_IN_FLIGHT: usize = 1000;
    let text = |key: &str| table[key].as_str().expect("a string").to_owned();
    let server = table["servers"][0].as_str().expect("a string").to_owned();
    let (stream, subject) = (text("stream"), text("subject"));
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(1).enable_all().build().expect("threads");
    runtime.block_on(async {
        let client = async_nats::connect(server).await.expect("connected");
        let context = jetstream::new(client);
        let (began, cpu) = (Instant::now(), cpu_seconds());
        let mut flying = std::collections::VecDeque::new();
        for (sent, record) in (0..).zip(all(batches)) {
            let mut message = PublishMessage::build().payload(record.payload.to_vec().into());
            if is_named {
                message = message.header("Aqueduct-Type", record.type_tag.to_string());
                message = message.message_id(record.name()).expected_stream(&stream);
                message = message.expected_last_sequence(sent);
            }
            flying.push_back(context.send_publish(subject.clone(), message).await.expect("sent"));
            if flying.len() > MOST_IN_FLIGHT {
                flying.pop_front().expect("one").await.expect("acknowledged");
            }
        }
        for acknowledgement in flying {
            acknowledgement.await.expect("acknowledged");
        }
        (began.elapsed().as_secs_f64(), cpu_seconds() - cpu)
    })
}
