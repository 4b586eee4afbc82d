//! The same ring in memory of every kind, with and without its pages present: attaching, the first
//! lap, and what stays.

use std::time::Instant;

use aqueduct_benches::machine::{Kind, Mapping, SENDER, Shared, page_faults, pin};
use aqueduct_benches::ring::{PAGE_BYTES, attach, create_gated, receive, send};
use aqueduct_benches::rounds::{Plan, Series};
use aqueduct_benches::threads::duet;

use crate::results::Measure;

const RING_BYTES: usize = 4096 + (16 << 20);
const BYTES: usize = 1024;
/// Records that fill the ring nearly once.
const LAP: u64 = 15_000;

const KINDS: [(Kind, &str); 4] = [
    (Kind::Memfd, "memfd"),
    (Kind::PosixShm, "POSIX shm"),
    (Kind::SystemV, "System V shm"),
    (Kind::File, "file on a disk"),
];

/// What one ring gave, by the quantities of [`QUANTITIES`].
type Sample = [f64; 5];

const QUANTITIES: [&str; 5] = [
    "attach us",
    "page faults of the first lap",
    "first lap, ns per record",
    "later laps, ns per record",
    "page faults of later laps",
];

/// Every kind with and without prefault.
pub fn table(plan: Plan) -> Vec<Measure> {
    pin(SENDER).expect("a core");
    let cases: Vec<_> = KINDS.into_iter().flat_map(|kind| [(kind, false), (kind, true)]).collect();
    let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); cases.len()];
    for _ in 0..plan.rounds {
        for (&((kind, name), prefault), samples) in cases.iter().zip(&mut samples) {
            match measure(kind, prefault) {
                Ok(sample) => samples.push(sample),
                Err(error) => eprintln!("{name}: {error}"),
            }
        }
    }
    let mut measures = Vec::new();
    for (((_, name), prefault), samples) in
        cases.into_iter().zip(samples).filter(|(_, samples)| !samples.is_empty())
    {
        for (at, quantity) in QUANTITIES.into_iter().enumerate() {
            let series = Series::of(samples.iter().map(|sample| sample[at]).collect());
            measures.push(Measure::new(
                "mappings",
                name,
                &[("prefault", prefault.into())],
                quantity,
                &series,
            ));
        }
    }
    measures
}

#[allow(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn measure(kind: Kind, prefault: bool) -> std::io::Result<Sample> {
    let memory = Shared::new(kind, RING_BYTES)?;
    let page = Mapping::anonymous(PAGE_BYTES)?;
    let ring = memory.map(true, prefault)?;
    let mut producer = create_gated(&ring, &page);
    let began = Instant::now();
    // What a reader does when it attaches; its own page is one of many.
    let read_only = memory.map(false, prefault)?;
    let mut reader = attach(&read_only, &page);
    let attach_us = began.elapsed().as_secs_f64() * 1e6;
    let lap = |producer: &mut _, reader: &mut _| {
        let (began, faults) = (Instant::now(), page_faults());
        send(producer, LAP, BYTES, 1);
        receive(reader, LAP, BYTES, |_| ());
        (began.elapsed().as_secs_f64() * 1e9 / LAP as f64, (page_faults() - faults) as f64)
    };
    let (first_ns, first_faults) = lap(&mut producer, &mut reader);
    lap(&mut producer, &mut reader); // what the first lap left out
    let faults = page_faults();
    let records = 2 * LAP;
    let took = duet(
        || send(&mut producer, records, BYTES, 1),
        || receive(&mut reader, records, BYTES, |_| ()),
    );
    Ok([
        attach_us,
        first_faults,
        first_ns,
        took.as_secs_f64() * 1e9 / records as f64,
        (page_faults() - faults) as f64,
    ])
}
