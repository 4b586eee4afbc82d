//! Round trips of 48 bytes between two cores. The limit is one cache line that carries a number to
//! and fro.

#![allow(clippy::disallowed_types, reason = "the limit is a bare atomic")]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Instant;

use aqueduct_benches::machine::Mapping;
use aqueduct_benches::ring::{PAGE_BYTES, RING_BYTES, attach, create_gated};
use aqueduct_benches::rounds::{Plan, Series};
use aqueduct_benches::threads::duet;
use aqueduct_benches::work::{Payload, check, spin, stamp};
use aqueduct_core::payload_crc;
use aqueduct_core::{Meta, Next, Producer, ReadRegion, Reader, Region};

use super::{nanoseconds, ratio};

const BYTES: usize = 48;
type Message = [u8; BYTES];

/// One end of a connection.
trait Link: Send {
    fn send(&mut self, message: &Message);
    fn receive(&mut self, message: &mut Message);
}

struct Rings<'a> {
    out: Producer<Region<'a>>,
    back: Reader<ReadRegion<'a>, Region<'a>>,
}

impl Link for Rings<'_> {
    fn send(&mut self, message: &Message) {
        let (_, wake) = self.out.push(Meta::default(), message).expect("room for one");
        assert!(wake.is_none(), "nobody sleeps");
    }

    fn receive(&mut self, message: &mut Message) {
        spin(|| match self.back.next(message).expect("an undamaged ring") {
            Next::Record(_) => Some(()),
            Next::Empty => None,
            Next::Closed => panic!("closed"),
        });
        assert!(!self.back.release(), "nobody asks for space");
    }
}

struct Channels {
    out: SyncSender<(Message, u32)>,
    back: Receiver<(Message, u32)>,
}

impl Link for Channels {
    fn send(&mut self, message: &Message) {
        self.out.send((*message, payload_crc(message))).expect("the peer is there");
    }

    fn receive(&mut self, message: &mut Message) {
        let (received, crc) = spin(|| self.back.try_recv().ok());
        assert_eq!(crc, payload_crc(&received));
        *message = received;
    }
}

impl Link for UnixStream {
    fn send(&mut self, message: &Message) {
        let mut frame = [0; BYTES + 4];
        frame[..BYTES].copy_from_slice(message);
        frame[BYTES..].copy_from_slice(&payload_crc(message).to_le_bytes());
        self.write_all(&frame).expect("the peer is there");
    }

    fn receive(&mut self, message: &mut Message) {
        let mut frame = [0; BYTES + 4];
        self.read_exact(&mut frame).expect("the peer is there");
        message.copy_from_slice(&frame[..BYTES]);
        assert_eq!(frame[BYTES..], payload_crc(message).to_le_bytes());
    }
}

/// A word on a line of its own, and the prefetcher's line beside it.
#[repr(align(128))]
struct Line(AtomicU32);

/// Carries the first four bytes of the number only.
struct Lines<'a> {
    out: &'a Line,
    back: &'a Line,
    last: u32,
}

impl Link for Lines<'_> {
    fn send(&mut self, message: &Message) {
        let number = u32::from_le_bytes([message[0], message[1], message[2], message[3]]);
        // ORDER(trip): Release. Pairs with the Acquire below, as those of `tail` do.
        self.out.0.store(number.wrapping_add(1), Ordering::Release);
    }

    fn receive(&mut self, message: &mut Message) {
        // ORDER(trip): Acquire. Pairs with the Release above.
        self.last =
            spin(|| Some(self.back.0.load(Ordering::Acquire)).filter(|&now| now != self.last));
        stamp(message, u64::from(self.last.wrapping_sub(1)));
    }
}

/// Median and 99th percentile of so many round trips, nanoseconds.
fn trips(trips: u64, mut here: impl Link, mut there: impl Link) -> (f64, f64) {
    let mut samples = Vec::new();
    let caller = || {
        let (mut payload, mut reply) = (Payload::new(BYTES), [0; BYTES]);
        for seq in 0..trips {
            let message = payload.numbered(seq).try_into().expect("a message");
            let start = Instant::now();
            here.send(message);
            here.receive(&mut reply);
            samples.push(start.elapsed().as_secs_f64() * 1e9);
            check(&reply, seq, BYTES);
        }
    };
    let echo = || {
        let mut message = [0; BYTES];
        for _ in 0..trips {
            there.receive(&mut message);
            there.send(&message);
        }
    };
    duet(caller, echo);
    let series = Series::of(samples);
    (series.median(), series.quantile(0.99))
}

fn by_rings(count: u64) -> (f64, f64) {
    let map = |bytes| Mapping::anonymous(bytes).expect("memory");
    let (to, to_page, fro, fro_page) =
        (map(RING_BYTES), map(PAGE_BYTES), map(RING_BYTES), map(PAGE_BYTES));
    let (out, back) = (create_gated(&to, &to_page), create_gated(&fro, &fro_page));
    let (there, here) = (attach(&to, &to_page), attach(&fro, &fro_page));
    trips(count, Rings { out, back: here }, Rings { out: back, back: there })
}

fn by_channels(count: u64) -> (f64, f64) {
    let (out, there) = sync_channel(64);
    let (back, here) = sync_channel(64);
    trips(count, Channels { out, back: here }, Channels { out: back, back: there })
}

fn by_socket(count: u64) -> (f64, f64) {
    let (here, there) = UnixStream::pair().expect("a socket pair");
    trips(count, here, there)
}

fn by_lines(count: u64) -> (f64, f64) {
    let (to, fro) = (Line(AtomicU32::new(0)), Line(AtomicU32::new(0)));
    trips(count, Lines { out: &to, back: &fro, last: 0 }, Lines { out: &fro, back: &to, last: 0 })
}

/// A way to make round trips: median and 99th percentile of so many.
type Way = fn(u64) -> (f64, f64);

pub(super) fn table(plan: Plan) {
    let ways: [(&str, Way); 4] = [
        ("ring", by_rings),
        ("cache line alone", by_lines),
        ("`sync_channel`, polled", by_channels),
        ("UNIX stream", by_socket),
    ];
    let count = u64::try_from(plan.round.as_micros()).unwrap_or(u64::MAX).clamp(100, 100_000);
    let mut samples = vec![(Vec::new(), Vec::new()); ways.len()];
    for _ in 0..plan.rounds {
        for ((_, way), (p50, p99)) in ways.iter().zip(&mut samples) {
            let (median, tail) = way(count);
            p50.push(median);
            p99.push(tail);
        }
    }
    let series: Vec<_> =
        samples.into_iter().map(|(p50, p99)| (Series::of(p50), Series::of(p99))).collect();
    println!("## Round trip of {BYTES} bytes, ns, clock reading included\n");
    println!("| by | p50 | p99 | p50 by that of the ring |\n|---|--:|--:|--:|");
    for ((name, _), (p50, p99)) in ways.iter().zip(&series) {
        println!(
            "| {name} | {} | {} | {} |",
            nanoseconds(p50),
            nanoseconds(p99),
            ratio(p50, &series[0].0)
        );
    }
    println!();
}
