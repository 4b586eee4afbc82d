//! One measure of a ring between two processes: a Rust producer on core 0, and Rust or C readers on
//! the others.
//!
//! READER is `rust` or the path of the C reader, which `benches/run` builds from
//! `benches/c/reader_bench.c`.
//!
//! ```text
//! cross throughput READER BYTES BATCH RECORDS READERS busy|view|sleep|drain   records=N ns=N send_cpu_ns=N receive_cpu_ns=N
//! cross trips BYTES TRIPS busy|sleep                                     p50=N p99=N p999=N cpu_ns=N
//! cross answers READER BYTES TRIPS busy|sleep                            the same
//! cross idle READER SECONDS                                              cpu_ns=N
//! ```
//! *drain*: the producer fills the ring, publishes once and waits; `ns` is the reader's time alone.
//! *trips*: by two rings, Rust on both sides. *answers*: the reader's release is the answer, and
//! the producer watches for it. *view*: the C reader checks payloads where they lie. *idle*: CPU
//! time of a reader that sleeps so long.

use std::os::fd::AsRawFd;
use std::process::Command;
use std::time::Duration;

use aqueduct_benches::machine::{
    Mapping, SENDER, cpu_ns, inherited, monotonic_ns, pin, receiver_core,
};
use aqueduct_benches::process::{Peer, number, print_trips, this_program};
use aqueduct_benches::ring::{
    PAGE_BYTES, RING_BYTES, Waiting, attach, create_gated, create_gated_by, receive, receive_each,
    receive_one, refuse_an_unknown_path, send, send_laps, send_one,
};
use aqueduct_benches::work::{Payload, RELEASE_EVERY, check, spin};

const USAGE: &str =
    "usage: cross throughput READER BYTES BATCH RECORDS READERS busy|view|sleep|drain
       cross trips BYTES TRIPS busy|sleep
       cross answers READER BYTES TRIPS busy|sleep
       cross idle READER SECONDS";

fn main() {
    refuse_an_unknown_path();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["throughput", reader, bytes, batch, records, readers, way] => {
            throughput(reader, number(bytes), number(batch), number(records), number(readers), way);
        }
        ["trips", bytes, count, way] => trips(number(bytes), number(count), way),
        ["answers", reader, bytes, count, way] => {
            answers(reader, number(bytes), number(count), way);
        }
        ["idle", reader, seconds] => idle(reader, number(seconds)),
        ["read", ring, page, records, bytes, way, release_every, core] => {
            read(
                ring,
                page,
                number(records),
                number(bytes),
                way,
                number(release_every),
                number(core),
            );
        }
        ["echo", to, to_page, fro, fro_page, bytes, count, way] => {
            echo([to, to_page, fro, fro_page], number(bytes), number(count), waiting(way));
        }
        _ => {
            eprintln!("{USAGE}");
            std::process::exit(2);
        }
    }
}

fn waiting(way: &str) -> Waiting {
    match way {
        "sleep" => Waiting::Asleep,
        _ => Waiting::Busy,
    }
}

// ---- the sending side

/// A memfd that child processes inherit: the number of its descriptor, and its mapping.
fn segment(bytes: usize) -> (String, Mapping) {
    let (file, mapping) = Mapping::memfd(bytes).expect("a memfd");
    let descriptor = file.as_raw_fd().to_string();
    std::mem::forget(file);
    (descriptor, mapping)
}

/// What a reader is to do.
struct Work<'a> {
    records: u64,
    bytes: usize,
    way: &'a str,
    release_every: u32,
}

fn start_reader(reader: &str, ring: &str, page: &str, work: &Work, number: usize) -> Peer {
    let Work { records, bytes, way, release_every } = work;
    let mut command = if reader == "rust" { this_program() } else { Command::new(reader) };
    command.args([
        "read",
        ring,
        page,
        &records.to_string(),
        &bytes.to_string(),
        way,
        &release_every.to_string(),
    ]);
    Peer::start(command.arg(receiver_core(number).to_string()))
}

fn throughput(reader: &str, bytes: usize, batch: u32, records: u64, readers: usize, way: &str) {
    pin(SENDER).expect("two cores to run on");
    let (ring_fd, ring) = segment(RING_BYTES);
    let (page_fds, pages): (Vec<_>, Vec<_>) = (0..readers).map(|_| segment(PAGE_BYTES)).unzip();
    let mut producer = create_gated_by(&ring, &pages);
    let work = Work { records, bytes, way, release_every: RELEASE_EVERY };
    let start =
        |(number, page): (usize, &String)| start_reader(reader, &ring_fd, page, &work, number);
    let peers: Vec<Peer> = page_fds.iter().enumerate().map(start).collect();
    let (began, cpu) = (monotonic_ns(), cpu_ns());
    if way == "drain" {
        send_laps(&mut producer, records, bytes);
    } else {
        send(&mut producer, records, bytes, batch);
    }
    let cpu = cpu_ns() - cpu;
    let ends: Vec<[u64; 3]> = peers.into_iter().map(Peer::end).collect();
    let ns = ends
        .iter()
        .map(|&[end, _, reading]| if way == "drain" { reading } else { end - began })
        .max()
        .expect("a reader");
    let receive_cpu: u64 = ends.iter().map(|[_, cpu, _]| cpu).sum();
    println!("records={records} ns={ns} send_cpu_ns={cpu} receive_cpu_ns={receive_cpu}");
}

fn trips(bytes: usize, count: u64, way: &str) {
    pin(SENDER).expect("two cores to run on");
    let [(to_fd, to), (fro_fd, fro)] = [segment(RING_BYTES), segment(RING_BYTES)];
    let [(to_page_fd, to_page), (fro_page_fd, fro_page)] =
        [segment(PAGE_BYTES), segment(PAGE_BYTES)];
    let mut out = create_gated(&to, &to_page);
    // The other side makes the ring of the answers, and then says so.
    let mut command = this_program();
    command.args([
        "echo",
        &to_fd,
        &to_page_fd,
        &fro_fd,
        &fro_page_fd,
        &bytes.to_string(),
        &count.to_string(),
        way,
    ]);
    let peer = Peer::start(&mut command);
    let mut back = attach(&fro, &fro_page);
    let (mut payload, mut reply) = (Payload::new(bytes), vec![0; bytes]);
    let cpu = cpu_ns();
    let samples = (0..count)
        .map(|seq| {
            let message = payload.numbered(seq);
            let began = monotonic_ns();
            send_one(&mut out, message);
            let len = receive_one(&mut back, fro.read_only(), &mut reply, waiting(way));
            let took = monotonic_ns() - began;
            check(&reply[..len], seq, bytes);
            took
        })
        .collect();
    let cpu = cpu_ns() - cpu;
    let [other] = peer.end();
    print_trips(samples, cpu + other);
}

fn answers(reader: &str, bytes: usize, count: u64, way: &str) {
    pin(SENDER).expect("two cores to run on");
    let ((ring_fd, ring), (page_fd, page)) = (segment(RING_BYTES), segment(PAGE_BYTES));
    let mut producer = create_gated(&ring, &page);
    let peer = start_reader(
        reader,
        &ring_fd,
        &page_fd,
        &Work { records: count, bytes, way, release_every: 1 },
        0,
    );
    let mut payload = Payload::new(bytes);
    let cpu = cpu_ns();
    let samples = (0..count)
        .map(|seq| {
            let message = payload.numbered(seq);
            if way == "sleep" {
                // Long enough for the reader to fall asleep.
                let until = monotonic_ns() + 50_000;
                while monotonic_ns() < until {
                    std::hint::spin_loop();
                }
            }
            let began = monotonic_ns();
            send_one(&mut producer, message);
            spin(|| (producer.backlog() == 0).then_some(()));
            monotonic_ns() - began
        })
        .collect();
    let cpu = cpu_ns() - cpu;
    let [_, other, _] = peer.end();
    print_trips(samples, cpu + other);
}

fn idle(reader: &str, seconds: u64) {
    let ((ring_fd, ring), (page_fd, page)) = (segment(RING_BYTES), segment(PAGE_BYTES));
    let mut producer = create_gated(&ring, &page);
    let peer = start_reader(
        reader,
        &ring_fd,
        &page_fd,
        &Work { records: 1, bytes: 64, way: "sleep", release_every: 1 },
        0,
    );
    std::thread::sleep(Duration::from_secs(seconds));
    send_one(&mut producer, Payload::new(64).numbered(0));
    let [_, cpu, _] = peer.end();
    println!("cpu_ns={cpu}");
}

// ---- the receiving side

fn inherited_mapping(descriptor: &str, writable: bool) -> Mapping {
    Mapping::of(&inherited(descriptor).expect("an inherited memfd"), writable).expect("a memfd")
}

fn read(
    ring: &str,
    page: &str,
    records: u64,
    bytes: usize,
    way: &str,
    release_every: u32,
    core: usize,
) {
    assert!(way != "view", "by the C reader only");
    let (ring, page) = (inherited_mapping(ring, false), inherited_mapping(page, true));
    let mut reader = attach(&ring, &page);
    pin(core).expect("two cores to run on");
    println!("ready");
    let cpu = cpu_ns();
    let (mut began, mut reading) = (None, 0);
    if way == "drain" {
        receive(&mut reader, records, bytes, |found| match (found, began) {
            (true, _) => began = Some(monotonic_ns()),
            (false, Some(since)) => {
                reading += monotonic_ns() - since;
                began = None;
            }
            (false, None) => {}
        });
    } else if way == "sleep" || release_every == 1 {
        receive_each(&mut reader, ring.read_only(), records, bytes, waiting(way), release_every);
    } else {
        receive(&mut reader, records, bytes, |_| ());
    }
    println!("{} {} {reading}", monotonic_ns(), cpu_ns() - cpu);
}

fn echo(descriptors: [&str; 4], bytes: usize, count: u64, waiting: Waiting) {
    let [to, to_page, fro, fro_page] = descriptors;
    let (to, to_page) = (inherited_mapping(to, false), inherited_mapping(to_page, true));
    let (fro, fro_page) = (inherited_mapping(fro, true), inherited_mapping(fro_page, true));
    let mut here = attach(&to, &to_page);
    let mut back = create_gated(&fro, &fro_page);
    pin(receiver_core(0)).expect("two cores to run on");
    println!("ready");
    let cpu = cpu_ns();
    let mut buf = vec![0; bytes];
    for _ in 0..count {
        let len = receive_one(&mut here, to.read_only(), &mut buf, waiting);
        send_one(&mut back, &buf[..len]);
    }
    println!("{}", cpu_ns() - cpu);
}
