//! One process, two threads, each on its own core: throughput, round trips, several producers;
//! against what `std` offers and against the limits.
//!
//! Run: `cargo bench -p aqueduct-benches --bench threads`. Longer:
//! `AQUEDUCT_BENCH_ROUNDS=101 AQUEDUCT_BENCH_ROUND_MS=20` in front of it. It prints Markdown.
//! Without `--bench`, as `cargo test --all-targets` runs it, it only shows that everything works.

use std::os::unix::net::UnixStream;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use aqueduct_benches::machine::Mapping;
use aqueduct_benches::ring::{PAGE_BYTES, RING_BYTES, attach, create_gated, receive, send};
use aqueduct_benches::rounds::{Plan, Series, Subject, interleave};
use aqueduct_benches::threads::duet;
use aqueduct_benches::work::{CAPACITY_BYTES, Payload, check};
use aqueduct_benches::{limits, stream};
use aqueduct_core::payload_crc;

mod producers;
mod trips;

const SIZES: [usize; 5] = [16, 64, 256, 1024, 4096];

fn main() {
    let measured = std::env::args().any(|arg| arg == "--bench");
    let plan = if measured {
        Plan::from_env(31, 5)
    } else {
        Plan { rounds: 1, round: Duration::from_millis(1) }
    };
    println!("# Threads: {} rounds of {} ms each", plan.rounds, plan.round.as_millis());
    println!(
        "\nEverywhere: the median, what a tenth of the rounds stay below (quiet), and (smallest–largest).\n"
    );
    limit_table(plan);
    throughput_table(plan);
    trips::table(plan);
    producers::table(plan);
}

/// Nanoseconds: the median, in quiet rounds, and the spread.
fn nanoseconds(series: &Series) -> String {
    let (low, high) = series.spread();
    format!("{:.1}, quiet {:.1} ({low:.1}–{high:.1})", series.median(), series.quiet())
}

/// How many times longer one takes than the other: the median of the rounds' ratios, quiet by
/// quiet, and the spread.
fn ratio(series: &Series, other: &Series) -> String {
    let ratio = series.over(other);
    let (low, high) = ratio.spread();
    format!(
        "{:.2}, quiet {:.2} ({low:.2}–{high:.2})",
        ratio.median(),
        series.quiet() / other.quiet()
    )
}

fn limit_table(plan: Plan) {
    println!("## Limits, one thread, ns per call\n");
    println!("| bytes | copy | GB/s | CRC | GB/s |\n|--:|--:|--:|--:|--:|");
    for bytes in SIZES.into_iter().chain([CAPACITY_BYTES]) {
        let series = interleave(
            plan,
            &mut [
                Subject::new("copy", |times| limits::copy(bytes, times)),
                Subject::new("CRC", |times| limits::crc(bytes, times)),
            ],
        );
        #[allow(clippy::cast_precision_loss, reason = "at most 2^20")]
        let speed = |series: &Series| bytes as f64 / series.quiet();
        let [copy, crc] = &series[..] else { unreachable!("two subjects") };
        println!(
            "| {bytes} | {} | {:.1} | {} | {:.1} |",
            nanoseconds(copy),
            speed(copy),
            nanoseconds(crc),
            speed(crc)
        );
    }
    println!();
}

fn throughput_table(plan: Plan) {
    println!("## Throughput, ns per record; peers: how many times longer they take\n");
    println!(
        "| bytes | published by | ring | `sync_channel<Box<[u8]>>` | `sync_channel<[u8; N]>` | UNIX stream |\n|--:|--:|--:|--:|--:|--:|"
    );
    for bytes in SIZES {
        for batch in [1, 16] {
            let mut subjects = vec![
                Subject::new("ring", |records| through_ring(records, bytes, batch)),
                Subject::new("boxed", |records| through_boxes(records, bytes, batch)),
                Subject::new("socket", |records| through_socket(records, bytes, batch)),
            ];
            // A channel of arrays has no batches.
            if batch == 1 {
                subjects.push(Subject::new("arrays", |records| match bytes {
                    16 => through_arrays::<16>(records),
                    64 => through_arrays::<64>(records),
                    256 => through_arrays::<256>(records),
                    1024 => through_arrays::<1024>(records),
                    _ => through_arrays::<4096>(records),
                }));
            }
            let series = interleave(plan, &mut subjects);
            let arrays =
                series.get(3).map_or_else(|| "–".into(), |arrays| ratio(arrays, &series[0]));
            println!(
                "| {bytes} | {batch} | {} | {} | {arrays} | {} |",
                nanoseconds(&series[0]),
                ratio(&series[1], &series[0]),
                ratio(&series[2], &series[0])
            );
        }
    }
    println!();
}

fn through_ring(records: u64, bytes: usize, batch: u32) -> Duration {
    let segment = Mapping::anonymous(RING_BYTES).expect("memory");
    let page = Mapping::anonymous(PAGE_BYTES).expect("memory");
    let mut producer = create_gated(&segment, &page);
    let mut reader = attach(&segment, &page);
    duet(
        || send(&mut producer, records, bytes, batch),
        || receive(&mut reader, records, bytes, |_| ()),
    )
}

/// Records that the same memory would hold.
const fn room_for(bytes: usize) -> usize {
    CAPACITY_BYTES / (bytes + 32)
}

/// A batch is one box: each record with its CRC after the one before.
fn through_boxes(records: u64, bytes: usize, batch: u32) -> Duration {
    let (sender, receiver) = sync_channel::<Box<[u8]>>((room_for(bytes) / batch as usize).max(1));
    let send = move || {
        let mut payload = Payload::new(bytes);
        let mut seq = 0;
        while seq < records {
            let end = (seq + u64::from(batch)).min(records);
            let mut message = Vec::with_capacity((bytes + 4) * batch as usize);
            for seq in seq..end {
                let payload = payload.numbered(seq);
                message.extend_from_slice(&payload_crc(payload).to_le_bytes());
                message.extend_from_slice(payload);
            }
            sender.send(message.into_boxed_slice()).expect("the receiver is there");
            seq = end;
        }
    };
    let receive = move || {
        let mut seq = 0;
        while seq < records {
            let message = receiver.recv().expect("the sender is there");
            for record in message.chunks_exact(4 + bytes) {
                let (crc, payload) = record.split_at(4);
                assert_eq!(crc, payload_crc(payload).to_le_bytes(), "record {seq}");
                check(payload, seq, bytes);
                seq += 1;
            }
        }
    };
    duet(send, receive)
}

fn through_arrays<const N: usize>(records: u64) -> Duration {
    let (sender, receiver) = sync_channel::<([u8; N], u32)>(room_for(N));
    let send = move || {
        let mut payload = Payload::new(N);
        for seq in 0..records {
            let payload: [u8; N] = payload.numbered(seq).try_into().expect("N bytes");
            sender.send((payload, payload_crc(&payload))).expect("the receiver is there");
        }
    };
    let receive = move || {
        for seq in 0..records {
            let (payload, crc) = receiver.recv().expect("the sender is there");
            assert_eq!(crc, payload_crc(&payload), "record {seq}");
            check(&payload, seq, N);
        }
    };
    duet(send, receive)
}

fn through_socket(records: u64, bytes: usize, batch: u32) -> Duration {
    let (mut from, mut into) = UnixStream::pair().expect("a socket pair");
    duet(
        move || stream::send(&mut into, records, bytes, batch),
        move || stream::receive(&mut from, records, bytes, || ()),
    )
}
