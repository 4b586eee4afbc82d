//! How fast a sink takes records from memory, and a bare rdkafka producer beside it.
//!
//! Run: `cargo run --release -p aqueduct-forward --features kafka,parquet --example sinks --
//! RECORDS 'kind = "parquet"' 'path = "/tmp/lake"'`; with `bare` in front of RECORDS the Kafka
//! producer.
//! Expect: `records=1000000 seconds=1.234 cpu_seconds=1.200`

use std::fs;
use std::time::Instant;

use aqueduct_forward::batch::Batch;
use aqueduct_forward::sinks::{self, Context, batch_defaults};
use aqueduct_forward::stop::Stop;

/// The payload of record `n`: 98 to 104 bytes of JSON.
fn payload(n: u64) -> String {
    let device = n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 54; // 1,024 of them
    let tenths = n.wrapping_mul(0xD6E8_FEB8_6659_FD93) >> 54;
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
    let is_bare = args.first().is_some_and(|first| first == "bare");
    if is_bare {
        args.remove(0);
    }
    let records: u64 = args.remove(0).parse().expect("RECORDS");
    let table: toml::Table = toml::from_str(&args.join("\n")).expect("TOML");
    let limits = batch_defaults(table.get("kind").and_then(toml::Value::as_str));
    let batches: Vec<Batch> = batches(records, limits.records, limits.bytes);
    let (wall, cpu) = if is_bare { bare(&table, &batches) } else { sink(table, &batches) };
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

fn sink(table: toml::Table, batches: &[Batch]) -> (f64, f64) {
    let (_, mut sink) = sinks::open(table, &Context::default()).expect("settings");
    let stop = Stop::default();
    sink.probe(&stop).expect("it is there");
    let (began, cpu) = (Instant::now(), cpu_seconds());
    for batch in batches {
        sink.deliver(&batch.records(), &stop).expect("delivered");
    }
    (began.elapsed().as_secs_f64(), cpu_seconds() - cpu)
}

#[cfg(feature = "kafka")]
fn bare(table: &toml::Table, batches: &[Batch]) -> (f64, f64) {
    use rdkafka::error::RDKafkaErrorCode::QueueFull;
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
    let (began, cpu) = (Instant::now(), cpu_seconds());
    for record in batches.iter().flat_map(|batch| batch.records().iter().collect::<Vec<_>>()) {
        let mut message = BaseRecord::<[u8], [u8]>::to(&topic).payload(record.payload);
        while let Err((error, back)) = producer.send(message) {
            assert_eq!(error.rdkafka_error_code(), Some(QueueFull));
            std::thread::sleep(std::time::Duration::from_millis(1));
            message = back;
        }
    }
    producer.flush(time).expect("all delivered");
    (began.elapsed().as_secs_f64(), cpu_seconds() - cpu)
}

#[cfg(not(feature = "kafka"))]
fn bare(_: &toml::Table, _: &[Batch]) -> (f64, f64) {
    panic!("built without the feature `kafka`");
}
