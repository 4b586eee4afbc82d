//! What the ring is meant to reach, as ratios within one run.

use crate::results::{Measure, Run};

/// One target and what came of it.
pub struct Target {
    /// In words.
    pub what: &'static str,
    /// In words.
    pub wanted: &'static str,
    /// The ratio of this run; none if a part of it was not measured.
    pub got: Option<f64>,
    /// Whether it is enough.
    pub met: bool,
}

const RECORD: &str = "ns per record";

/// Quiet by quiet; the median of a run says how busy the machine was.
fn over(above: Option<&Measure>, below: Option<&Measure>) -> Option<f64> {
    Some(above?.shown().0 / below?.shown().0)
}

/// All of them.
pub fn targets(run: &Run) -> Vec<Target> {
    let pair = |subject, bytes, batch| {
        run.find("processes", subject, &[("bytes", bytes), ("batch", batch)], RECORD)
    };
    let ring = |bytes, batch| pair("ring, C reader", bytes, batch);
    let trip = |way: &str, subject| run.find(&format!("trips, {way}"), subject, &[], "p50 ns");
    let recipe = |batch| {
        let both = [pair("mutex and condition", 64, batch)?, pair("two semaphores", 64, batch)?];
        both.into_iter().min_by(|a, b| a.quiet.total_cmp(&b.quiet))
    };
    let kept = |readers| {
        over(
            run.find("instructions", "publish", &[("readers", 1)], "instructions per record"),
            instructions(run, readers),
        )
    };
    let producers =
        |subject, threads| run.find("producing threads", subject, &[("threads", threads)], RECORD);
    let read = |subject, bytes| run.find("reading alone", subject, &[("bytes", bytes)], RECORD);
    let at_least = |what, wanted, least: f64, got: Option<f64>| Target {
        what,
        wanted,
        got,
        met: got.is_some_and(|got| got >= least),
    };
    let at_most = |what, wanted, most: f64, got: Option<f64>| Target {
        what,
        wanted,
        got,
        met: got.is_some_and(|got| got <= most),
    };
    vec![
        at_least(
            "64 B, one by one: rate by iceoryx2",
            "≥ 8 (aim 15)",
            8.0,
            over(pair("iceoryx2", 64, 1), ring(64, 1)),
        ),
        at_least("64 B, by 16: rate by one by one", "≥ 1.5", 1.5, over(ring(64, 1), ring(64, 16))),
        at_least(
            "1 KiB, one by one: rate by iceoryx2",
            "≥ 5",
            5.0,
            over(pair("iceoryx2", 1024, 1), ring(1024, 1)),
        ),
        at_least(
            "64 KiB: rate by a copy",
            "≥ 0.5",
            0.5,
            over(run.find("limits", "copy", &[("bytes", 65536)], "ns"), ring(65536, 1)),
        ),
        at_most(
            "busy round trip by the cache line's",
            "≤ 2",
            2.0,
            over(trip("busy", "ring"), trip("busy", "limit")),
        ),
        at_most(
            "busy round trip by iceoryx2's",
            "≤ 0.4",
            0.4,
            over(trip("busy", "ring"), trip("busy", "iceoryx2")),
        ),
        at_most(
            "sleeping round trip by the futex's",
            "≤ 1.3",
            1.3,
            over(trip("sleep", "ring"), trip("sleep", "limit")),
        ),
        at_least(
            "64 B, one by one: rate by the faster recipe",
            "≥ 2",
            2.0,
            over(recipe(1), ring(64, 1)),
        ),
        at_least(
            "64 B, by 16: rate by the faster recipe one by one",
            "≥ 4",
            4.0,
            over(recipe(1), ring(64, 16)),
        ),
        at_least(
            "64 B, by 16: rate by the faster recipe by 16, which checks nothing",
            "≥ 4",
            4.0,
            over(recipe(16), ring(64, 16)),
        ),
        at_most(
            "CPU of a reader that sleeps for 10 s, ms",
            "≤ 1",
            1.0,
            run.find("idle", "C reader", &[], "CPU ms").map(|idle| idle.quiet),
        ),
        at_least("2 gating readers: rate kept, by instructions", "≥ 0.7", 0.7, kept(2)),
        at_least("4 gating readers: rate kept, by instructions", "≥ 0.5", 0.5, kept(4)),
        at_least(
            "2 producing threads: rate by one `Producer`",
            "≥ 0.6",
            0.6,
            over(producers("Producer", 1), producers("SharedProducer", 2)),
        ),
        at_least(
            "2 producing threads: rate by `Mutex<Producer>`",
            "> 1",
            1.0,
            over(producers("Mutex<Producer>", 2), producers("SharedProducer", 2)),
        ),
        at_most(
            "C reader by Rust reader, 64 B, reading alone",
            "≤ 1.25",
            1.25,
            over(read("C reader", 64), read("Rust reader", 64)),
        ),
        at_most(
            "C reader by Rust reader, 1 KiB, reading alone",
            "≤ 1.25",
            1.25,
            over(read("C reader", 1024), read("Rust reader", 1024)),
        ),
    ]
}

fn instructions(run: &Run, readers: u64) -> Option<&Measure> {
    run.find("instructions", "publish", &[("readers", readers)], "instructions per record")
}
