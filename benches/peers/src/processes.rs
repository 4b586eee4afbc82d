//! Two processes and more: the ring with C and Rust readers, iceoryx2, and what C programs use.

use std::path::Path;
use std::time::Duration;

use aqueduct_benches::rounds::{Plan, Series};

use crate::commands::{Program, per_record, round_trips};
use crate::results::Measure;

/// Where the measured programs are.
pub struct Programs {
    /// `cross` of the benches.
    pub cross: String,
    /// `reader_bench`, the C reader.
    pub c_reader: String,
    /// `peers`, the C peers.
    pub peers: String,
    /// `iceoryx`.
    pub iceoryx: String,
}

impl Programs {
    /// Rust programs from one directory, C programs from another.
    pub fn of(rust: &Path, c: &Path) -> Self {
        let path = |directory: &Path, name| {
            directory.join(name).to_str().expect("a path in UTF-8").to_string()
        };
        Self {
            cross: path(rust, "cross"),
            c_reader: path(c, "reader_bench"),
            peers: path(c, "peers"),
            iceoryx: path(rust, "iceoryx"),
        }
    }
}

/// C media and their names in the tables.
const MEDIA: [(&str, &str); 6] = [
    ("condition", "mutex and condition"),
    ("semaphore", "two semaphores"),
    ("pipe", "pipe"),
    ("unix", "UNIX stream"),
    ("mqueue", "message queue"),
    ("zmq", "ZeroMQ ipc"),
];

/// Throughput at these sizes and batches, one reader; and of the smallest with several readers.
pub fn throughput(plan: Plan, programs: &Programs) -> Vec<Measure> {
    let mut measures = Vec::new();
    for (bytes, batch) in [(64, 1), (64, 16), (1024, 1), (1024, 16), (65536, 1)] {
        measures.extend(per_record(plan, "processes", &senders(programs, bytes, batch, 1)));
    }
    for readers in [2, 4] {
        measures.extend(per_record(plan, "readers", &senders(programs, 64, 1, readers)));
    }
    for bytes in [64, 1024, 65536] {
        let with = [("bytes", bytes)];
        let drain = |name, reader: &str| {
            Program::new(
                name,
                &programs.cross,
                &format!("throughput {reader} {bytes} 1 N 1 drain"),
                &with,
            )
        };
        measures.extend(per_record(
            plan,
            "reading alone",
            &[drain("C reader", &programs.c_reader), drain("Rust reader", "rust")],
        ));
    }
    measures
}

fn senders(programs: &Programs, bytes: u64, batch: u64, readers: u64) -> Vec<Program> {
    let with = [("bytes", bytes), ("batch", batch), ("readers", readers)];
    let ring = |name, reader: &str, way| {
        Program::new(
            name,
            &programs.cross,
            &format!("throughput {reader} {bytes} {batch} N {readers} {way}"),
            &with,
        )
    };
    let mut all = vec![
        ring("ring, C reader", &programs.c_reader, "busy"),
        ring("ring, C reader that sleeps", &programs.c_reader, "sleep"),
        ring("ring, Rust reader", "rust", "busy"),
    ];
    if batch == 1 {
        all.push(Program::new(
            "iceoryx2",
            &programs.iceoryx,
            &format!("throughput {bytes} N {readers}"),
            &with,
        ));
    }
    all.extend(MEDIA.iter().map(|(medium, name)| {
        Program::new(
            name,
            &programs.peers,
            &format!("throughput {medium} {bytes} {batch} N {readers}"),
            &with,
        )
    }));
    all
}

/// Round trips of 48 bytes, busy and asleep, and the limits of both.
pub fn trips(plan: Plan, programs: &Programs) -> Vec<Measure> {
    let mut measures = Vec::new();
    for (way, limit, trips) in [("busy", "line", 10_000), ("sleep", "futex", 1_000)] {
        let of = |name, program: &str, arguments: String| {
            Program::new(name, program, &arguments, &[("bytes", 48)])
        };
        let mut all = vec![
            of("limit", &programs.peers, format!("trips {limit} 48 N {way}")),
            of("ring", &programs.cross, format!("trips 48 N {way}")),
            of(
                "ring, C reader, answered by its release",
                &programs.cross,
                format!("answers {} 48 N {way}", programs.c_reader),
            ),
            of("iceoryx2", &programs.iceoryx, format!("trips 48 N {way}")),
        ];
        all.extend(
            MEDIA.iter().map(|(medium, name)| {
                of(name, &programs.peers, format!("trips {medium} 48 N {way}"))
            }),
        );
        measures.extend(round_trips(plan, &format!("trips, {way}"), &all, trips));
    }
    measures
}

/// CPU time of a reader that sleeps for ten seconds.
pub fn idle(programs: &Programs, sleep: Duration) -> Vec<Measure> {
    let seconds = sleep.as_secs();
    let program = Program::new(
        "C reader",
        &programs.cross,
        &format!("idle {} {seconds}", programs.c_reader),
        &[("seconds", seconds)],
    );
    let cpu = program.run(0).and_then(|printed| printed.get("cpu_ns").copied());
    cpu.map(|ns| {
        Measure::new("idle", &program.subject, &program.with, "CPU ms", &Series::of(vec![ns / 1e6]))
    })
    .into_iter()
    .collect()
}
