//! One measure of iceoryx2 between processes: the publisher on core 0, subscribers on the others.
//!
//! ```text
//! iceoryx throughput BYTES RECORDS READERS   records=N ns=N send_cpu_ns=N receive_cpu_ns=N
//! iceoryx trips BYTES TRIPS busy|sleep       p50=N p99=N p999=N cpu_ns=N
//! ```
//! As its documentation has it: the `ipc` service, loaned slices written in place, samples read in
//! place, a publisher that retries until delivered; and for sleeping an event beside the data. It
//! has no batches. Nothing is checked but the numbers.

use std::time::Duration;

use aqueduct_benches::machine::{SENDER, cpu_ns, monotonic_ns, pin, receiver_core};
use aqueduct_benches::process::{Peer, number, print_trips, this_program};
use aqueduct_benches::work::{Backoff, CAPACITY_BYTES, Payload, check, spin};
use iceoryx2::port::listener::Listener;
use iceoryx2::port::notifier::Notifier;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::port::update_connections::UpdateConnections;
use iceoryx2::prelude::*;
use iceoryx2::service::port_factory::event::PortFactory as Event;
use iceoryx2::service::port_factory::publish_subscribe::PortFactory as Stream;

fn main() {
    set_log_level(LogLevel::Error);
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["throughput", bytes, records, readers] => {
            throughput(number(bytes), number(records), number(readers));
        }
        ["trips", bytes, count, way] => trips(number(bytes), number(count), way),
        ["read", name, bytes, records, core] => {
            read(name, number(bytes), number(records), number(core));
        }
        ["echo", name, bytes, count, way] => echo(name, number(bytes), number(count), way),
        _ => {
            eprintln!(
                "usage: iceoryx throughput BYTES RECORDS READERS | trips BYTES TRIPS busy|sleep"
            );
            std::process::exit(2);
        }
    }
}

fn node() -> Node<ipc::Service> {
    NodeBuilder::new().create().expect("a node")
}

fn stream(node: &Node<ipc::Service>, name: &str, bytes: usize) -> Stream<ipc::Service, [u8], ()> {
    node.service_builder(&name.try_into().expect("a name"))
        .publish_subscribe::<[u8]>()
        .max_publishers(1)
        .max_subscribers(16)
        .history_size(0)
        // Room for as many records as the ring has.
        .subscriber_max_buffer_size((CAPACITY_BYTES / (bytes + 32)).max(2))
        .enable_safe_overflow(false)
        .open_or_create()
        .expect("a service")
}

fn publisher(
    stream: &Stream<ipc::Service, [u8], ()>,
    bytes: usize,
) -> Publisher<ipc::Service, [u8], ()> {
    stream
        .publisher_builder()
        .initial_max_slice_len(bytes)
        .backpressure_strategy(BackpressureStrategy::RetryUntilDelivered)
        .create()
        .expect("a publisher")
}

fn subscriber(stream: &Stream<ipc::Service, [u8], ()>) -> Subscriber<ipc::Service, [u8], ()> {
    stream.subscriber_builder().create().expect("a subscriber")
}

fn publish(publisher: &Publisher<ipc::Service, [u8], ()>, payload: &[u8]) {
    let sample = publisher.loan_slice_uninit(payload.len()).expect("a free sample");
    sample.write_from_slice(payload).send().expect("subscribers that read on");
}

fn unique(what: &str) -> String {
    format!("aqueduct-peers/{what}/{}", std::process::id())
}

// ---- throughput

fn throughput(bytes: usize, records: u64, readers: usize) {
    let name = unique("stream");
    let node = node();
    let stream = stream(&node, &name, bytes);
    let publisher = publisher(&stream, bytes);
    let start = |at| {
        let mut command = this_program();
        command.args([
            "read",
            &name,
            &bytes.to_string(),
            &records.to_string(),
            &receiver_core(at).to_string(),
        ]);
        Peer::start(&mut command)
    };
    let peers: Vec<Peer> = (0..readers).map(start).collect();
    pin(SENDER).expect("two cores to run on");
    publisher.update_connections().expect("its subscribers");
    let mut payload = Payload::new(bytes);
    let (began, cpu) = (monotonic_ns(), cpu_ns());
    for seq in 0..records {
        publish(&publisher, payload.numbered(seq));
    }
    let cpu = cpu_ns() - cpu;
    let ends: Vec<[u64; 2]> = peers.into_iter().map(Peer::end).collect();
    let ns = ends.iter().map(|[end, _]| end - began).max().expect("a reader");
    let receive_cpu: u64 = ends.iter().map(|[_, cpu]| cpu).sum();
    println!("records={records} ns={ns} send_cpu_ns={cpu} receive_cpu_ns={receive_cpu}");
}

fn read(name: &str, bytes: usize, records: u64, core: usize) {
    let node = node();
    let subscriber = subscriber(&stream(&node, name, bytes));
    pin(core).expect("two cores to run on");
    println!("ready");
    let cpu = cpu_ns();
    let mut wait = Backoff::default();
    for seq in 0..records {
        let sample = loop {
            match subscriber.receive().expect("a publisher") {
                Some(sample) => break sample,
                None => wait.pause(),
            }
        };
        wait.reset();
        check(sample.payload(), seq, bytes);
    }
    println!("{} {}", monotonic_ns(), cpu_ns() - cpu);
}

// ---- round trips

/// One side's ends: data and, for sleepers, events in both directions.
struct Side {
    out: Publisher<ipc::Service, [u8], ()>,
    back: Subscriber<ipc::Service, [u8], ()>,
    bell: Option<(Notifier<ipc::Service>, Listener<ipc::Service>)>,
}

impl Side {
    fn new(
        node: &Node<ipc::Service>,
        name: &str,
        [out, back]: [&str; 2],
        bytes: usize,
        way: &str,
    ) -> Self {
        let event = |direction: &str| -> Event<ipc::Service> {
            let name = format!("{name}/{direction}");
            node.service_builder(&name.as_str().try_into().expect("a name"))
                .event()
                .open_or_create()
                .expect("an event")
        };
        let bell = (way == "sleep").then(|| {
            let notifier = event(out).notifier_builder().create().expect("a notifier");
            (notifier, event(back).listener_builder().create().expect("a listener"))
        });
        let out = publisher(&stream(node, &format!("{name}/{out}"), bytes), bytes);
        let back = subscriber(&stream(node, &format!("{name}/{back}"), bytes));
        Self { out, back, bell }
    }

    fn send(&self, payload: &[u8]) {
        publish(&self.out, payload);
        if let Some((notifier, _)) = &self.bell {
            notifier.notify().expect("a listener that is there");
        }
    }

    /// Copies one message out.
    fn receive(&self, into: &mut [u8]) {
        let sample = spin(|| {
            let sample = self.back.receive().expect("a publisher");
            if let (None, Some((_, listener))) = (&sample, &self.bell) {
                listener
                    .timed_wait(|_| (), Duration::from_secs(1))
                    .expect("a notifier that is there");
            }
            sample
        });
        into.copy_from_slice(sample.payload());
    }
}

fn trips(bytes: usize, count: u64, way: &str) {
    let name = unique("trips");
    let node = node();
    let here = Side::new(&node, &name, ["to", "fro"], bytes, way);
    let mut command = this_program();
    command.args(["echo", &name, &bytes.to_string(), &count.to_string(), way]);
    let peer = Peer::start(&mut command);
    pin(SENDER).expect("two cores to run on");
    here.out.update_connections().expect("its subscriber");
    let (mut payload, mut reply) = (Payload::new(bytes), vec![0; bytes]);
    let cpu = cpu_ns();
    let samples = (0..count)
        .map(|seq| {
            let message = payload.numbered(seq);
            let began = monotonic_ns();
            here.send(message);
            here.receive(&mut reply);
            let took = monotonic_ns() - began;
            check(&reply, seq, bytes);
            took
        })
        .collect();
    let cpu = cpu_ns() - cpu;
    let [other] = peer.end();
    print_trips(samples, cpu + other);
}

fn echo(name: &str, bytes: usize, count: u64, way: &str) {
    let node = node();
    let there = Side::new(&node, name, ["fro", "to"], bytes, way);
    pin(receiver_core(0)).expect("two cores to run on");
    println!("ready");
    let cpu = cpu_ns();
    let mut buf = vec![0; bytes];
    for _ in 0..count {
        there.receive(&mut buf);
        there.send(&buf);
    }
    println!("{}", cpu_ns() - cpu);
}
