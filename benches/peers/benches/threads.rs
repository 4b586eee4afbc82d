//! One process, two threads on two cores: the ring with and without its checks, the queues one
//! would use instead, and the limits.
//!
//! Run: `cargo bench --manifest-path benches/peers/Cargo.toml`, or all of it by `benches/run`.
//! It prints what it measured, as the file of the results has it; with
//! `AQUEDUCT_BENCH_PARTS=DIRECTORY` it writes it there.

use std::path::Path;

use aqueduct_benches::limits;
use aqueduct_benches::rounds::{Plan, Series, Subject, interleave};
use aqueduct_peers::queues::{
    Segments, bbqueue_frames, pass, pass_by_iceoryx, room_for, rtrb_chunks, trips, trips_by_iceoryx,
};
use aqueduct_peers::results::{Measure, save};
use heapless::spsc::Queue;
use thingbuf::ThingBuf;

/// Bytes of a round trip.
const TRIP: usize = 48;

fn main() {
    iceoryx2::prelude::set_log_level(iceoryx2::prelude::LogLevel::Error);
    let in_earnest = std::env::args().any(|arg| arg == "--bench");
    let plan = if in_earnest {
        Plan::from_env(15, 8)
    } else {
        Plan { rounds: 1, round: std::time::Duration::from_millis(1) }
    };
    let mut measures = Vec::new();
    measures.extend(limits_of(plan));
    measures.extend(throughput::<16, 21845>(plan));
    measures.extend(throughput::<64, 10922>(plan));
    measures.extend(throughput::<256, 3640>(plan));
    measures.extend(throughput::<1024, 992>(plan));
    measures.extend(throughput::<4096, 254>(plan));
    measures.extend(throughput::<65536, 16>(plan));
    measures.extend(round_trips(plan));
    for measure in &measures {
        println!(
            "{}: {} {:?}: {} {}, quiet {}",
            measure.group,
            measure.subject,
            measure.with,
            measure.median,
            measure.quantity,
            measure.quiet
        );
    }
    if let Some(directory) = std::env::var_os("AQUEDUCT_BENCH_PARTS") {
        save(Path::new(&directory), "threads", &measures).expect("a directory to write to");
    }
}

fn limits_of(plan: Plan) -> Vec<Measure> {
    let of = |bytes: usize| {
        let mut subjects = [
            Subject::new("copy", move |times| limits::copy(bytes, times)),
            Subject::new("CRC", move |times| limits::crc(bytes, times)),
        ];
        let series = interleave(plan, &mut subjects);
        ["copy", "CRC"].into_iter().zip(series).map(move |(name, series)| {
            Measure::new("limits", name, &[("bytes", bytes as u64)], "ns", &series)
        })
    };
    [16, 64, 256, 1024, 4096, 65536].into_iter().flat_map(of).collect()
}

fn throughput<const N: usize, const ROOM: usize>(plan: Plan) -> Vec<Measure> {
    let ring = |batch| {
        move |records| {
            let segments = Segments::default();
            let (tx, rx) = segments.ring(N, batch);
            pass(records, N, tx, rx)
        }
    };
    let bare = |records| {
        let segments = Segments::default();
        let (tx, rx) = segments.bare(N);
        pass(records, N, tx, rx)
    };
    let rtrb = |records| {
        let (tx, rx) = rtrb_chunks(N);
        pass(records, N, tx, rx)
    };
    let bbqueue = |records| {
        let (tx, rx) = bbqueue_frames();
        pass(records, N, tx, rx)
    };
    let heapless = |records| {
        let mut queue = Box::new(Queue::<[u8; N], ROOM>::new());
        let (tx, rx) = queue.split();
        pass(records, N, tx, rx)
    };
    let crossbeam = |records| {
        let (tx, rx) = crossbeam_channel::bounded::<[u8; N]>(room_for(N));
        pass(records, N, tx, rx)
    };
    let thingbuf = |records| {
        let queue = ThingBuf::<Vec<u8>>::new(room_for(N));
        pass(records, N, &queue, &queue)
    };
    let mut subjects = vec![
        Subject::new("ring", ring(1)),
        Subject::new("ring, by 16", ring(16)),
        Subject::new("ring without CRC", bare),
        Subject::new("rtrb (chunks)", rtrb),
        Subject::new("bbqueue (framed)", bbqueue),
        Subject::new("heapless spsc", heapless),
        Subject::new("crossbeam-channel", crossbeam),
        Subject::new("thingbuf", thingbuf),
        Subject::new("iceoryx2 (local)", |records| pass_by_iceoryx(records, N)),
    ];
    let names: Vec<_> = subjects.iter().map(|subject| subject.name).collect();
    let series = interleave(plan, &mut subjects);
    let measure = |(name, series): (&str, Series)| {
        Measure::new("threads", name, &[("bytes", N as u64)], "ns per record", &series)
    };
    names.into_iter().zip(series).map(measure).collect()
}

fn by_ring(count: u64) -> f64 {
    let (to, fro) = (Segments::default(), Segments::default());
    trips(count, TRIP, to.ring(TRIP, 1), fro.ring(TRIP, 1))
}

fn by_bare(count: u64) -> f64 {
    let (to, fro) = (Segments::default(), Segments::default());
    trips(count, TRIP, to.bare(TRIP), fro.bare(TRIP))
}

fn by_heapless(count: u64) -> f64 {
    let (mut to, mut fro) = (Queue::<[u8; TRIP], 64>::new(), Queue::<[u8; TRIP], 64>::new());
    trips(count, TRIP, to.split(), fro.split())
}

fn by_crossbeam(count: u64) -> f64 {
    let channel = || crossbeam_channel::bounded::<[u8; TRIP]>(64);
    trips(count, TRIP, channel(), channel())
}

fn by_thingbuf(count: u64) -> f64 {
    let (to, fro) = (ThingBuf::<Vec<u8>>::new(64), ThingBuf::<Vec<u8>>::new(64));
    trips(count, TRIP, (&to, &to), (&fro, &fro))
}

/// A way to make round trips: the median of so many.
type Way = fn(u64) -> f64;

fn round_trips(plan: Plan) -> Vec<Measure> {
    let ways: [(&str, Way); 8] = [
        ("ring", by_ring),
        ("ring without CRC", by_bare),
        ("rtrb (chunks)", |count| trips(count, TRIP, rtrb_chunks(TRIP), rtrb_chunks(TRIP))),
        ("bbqueue (framed)", |count| trips(count, TRIP, bbqueue_frames(), bbqueue_frames())),
        ("heapless spsc", by_heapless),
        ("crossbeam-channel", by_crossbeam),
        ("thingbuf", by_thingbuf),
        ("iceoryx2 (local)", |count| trips_by_iceoryx(count, TRIP)),
    ];
    let count = u64::try_from(plan.round.as_micros()).unwrap_or(u64::MAX).clamp(100, 100_000);
    let mut samples = vec![Vec::new(); ways.len()];
    for _ in 0..plan.rounds {
        for ((_, way), samples) in ways.iter().zip(&mut samples) {
            samples.push(way(count));
        }
    }
    let measure = |((name, _), samples): ((&str, Way), Vec<f64>)| {
        Measure::new(
            "threads, trips",
            name,
            &[("bytes", TRIP as u64)],
            "p50 ns",
            &Series::of(samples),
        )
    };
    ways.into_iter().zip(samples).map(measure).collect()
}
