//! A real broker of Kafka's protocol over TCP, and what the process goes through: nothing lost, the
//! order of a partition kept, what comes twice told by its headers.
//!
//! `KILLS=200` makes it a campaign; 5 by default. `SEED` repeats one.
#![cfg(feature = "kafka")]
#![allow(clippy::disallowed_types, reason = "inside the process, not in shared memory")]

mod common;
#[path = "common/tools.rs"]
mod tools;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rustix::process::Signal;

use common::{Forward, Listener, Process, Random, Scratch, TIMEOUT, eventually};

const PARTITIONS: i32 = 3;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// One broker that keeps its records in memory.
struct Broker {
    process: Process,
    address: SocketAddr,
}

impl Broker {
    fn start(scratch: &Scratch, program: &Path) -> Self {
        let address = {
            let free = TcpListener::bind("127.0.0.1:0").expect("a port");
            free.local_addr().expect("bound")
        };
        let url = format!("tcp://{address}");
        let mut command = Command::new(program);
        command.args(["broker", "--silent", "--listener-url", &url]);
        command.args(["--advertised-listener-url", &url, "--storage-engine", "memory://tansu/"]);
        command.stdout(Stdio::null());
        let process = Process::start(&mut command, scratch.join("broker.log"));
        eventually("a broker", || TcpStream::connect(address).ok());
        eventually("a topic", || {
            let mut create = Command::new(program);
            create.args(["topic", "create", "--broker", &url, "orders"]);
            create.args(["--partitions", &PARTITIONS.to_string()]);
            create.output().expect("it runs").status.success().then_some(())
        });
        Self { process, address }
    }

    /// Reads partitions from their beginning until all these records were seen: of each partition
    /// the (key, number, header `aqueduct-seq`).
    fn read(&self, until: u64) -> BTreeMap<i32, Vec<(String, u64, u64)>> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.address.to_string())
            .set("group.id", "test")
            .create()
            .expect("a consumer");
        let mut list = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            list.add_partition_offset("orders", partition, Offset::Beginning).expect("added");
        }
        consumer.assign(&list).expect("assigned");
        let (mut found, mut seen) = (BTreeMap::<_, Vec<_>>::new(), BTreeSet::new());
        let began = Instant::now();
        let mut quiet = None;
        // And then for a moment, for what is there twice.
        while began.elapsed() < TIMEOUT * 2 {
            let Some(message) = consumer.poll(Duration::from_millis(100)) else {
                let done = seen.len() as u64 >= until;
                if done && quiet.get_or_insert_with(Instant::now).elapsed() > Duration::from_secs(2)
                {
                    break;
                }
                continue;
            };
            quiet = None;
            let Ok(message) = message else { continue };
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let json: serde_json::Value =
                serde_json::from_slice(message.payload().expect("a payload")).expect("JSON");
            let n = json["n"].as_u64().expect("a number");
            let headers = message.headers().expect("headers");
            let seq = headers.iter().find(|header| header.key == "aqueduct-seq");
            let seq = text(seq.expect("it is there").value.expect("a value"));
            let key = text(message.key().expect("a key"));
            assert_eq!(Some(key.as_str()), json["key"].as_str());
            seen.insert(n);
            let seq = seq.parse().expect("a number");
            found.entry(message.partition()).or_default().push((key, n, seq));
        }
        found
    }
}

fn config(broker: &Broker, settings: &str) -> String {
    format!(
        "[sink]\nkind = 'kafka'\nbrokers = '{}'\ntopic = 'orders'\nkey_pointer = '/key'\n\
         delivery_timeout_ms = '2s'\n[sink.settings]\n{settings}\n\
         [batch]\nrecords = 100\nwait_ms = 2\n[retry]\nbreaker_pause_ms = 500\n",
        broker.address
    )
}

/// Posts until it is told to stop; returns how many.
fn produce(listener: &Listener, stop: &Arc<AtomicBool>) -> thread::JoinHandle<u64> {
    let (mut client, ended) = (listener.client(), Arc::clone(stop));
    thread::spawn(move || {
        let mut next = 0_u64;
        // ORDER(none): a flag between threads of a test, and a join after it.
        while !ended.load(Ordering::Relaxed) {
            let line = |n| format!("{{\"n\":{n},\"key\":\"k{}\"}}", n % 16);
            let body: Vec<_> = (next..next + 10).map(line).collect();
            if client.lines(&body.join("\n")) {
                next += 10;
            }
            thread::sleep(Duration::from_millis(8));
        }
        next
    })
}

/// Checks that nothing is lost and the order of each key is kept; returns how many came twice.
fn judge(found: &BTreeMap<i32, Vec<(String, u64, u64)>>, posted: u64) -> u64 {
    let mut partition_of = BTreeMap::new();
    let mut seen = BTreeMap::new();
    let mut twice = 0;
    for (partition, messages) in found {
        let mut highest = None;
        for (key, n, seq) in messages {
            assert_eq!(partition_of.entry(key.clone()).or_insert(*partition), partition);
            // What is there twice has the same name.
            let is_new = seen.insert(*n, *seq).inspect(|before| assert_eq!(before, seq)).is_none();
            assert!(!is_new || Some(*n) > highest, "{n} after {highest:?}");
            highest = highest.max(Some(*n));
            twice += u64::from(!is_new);
        }
    }
    assert_eq!(seen.len() as u64, posted, "none is lost");
    twice
}

#[test]
fn killed_at_random_nothing_is_lost_and_the_order_of_each_key_is_kept() {
    let Some(program) = tools::tool("tansu") else { return };
    let (kills, seed) = (number("KILLS", 5), number("SEED", 0x5eed));
    let mut random = Random(seed | 1);
    let scratch = Scratch::new("kafka");
    let mut broker = Broker::start(&scratch, &program);
    let listener = Listener::start_with(&scratch, &["--capacity-bytes", "1MiB"]);
    let config = config(&broker, "acks = 1\nretries = 3");
    let stop = Arc::new(AtomicBool::new(false));
    let producer = produce(&listener, &stop);
    let mut forward = Forward::start(&scratch, &listener.socket, &config, &[]);
    for round in 0..kills {
        thread::sleep(Duration::from_millis(random.below(300)));
        if round % 5 == 4 {
            // A broker that hangs for longer than an attempt may take.
            broker.process.signal(Signal::STOP);
            thread::sleep(Duration::from_millis(1000 + random.below(2500)));
            broker.process.signal(Signal::CONT);
        } else {
            forward.process.kill();
            forward = Forward::start(&scratch, &listener.socket, &config, &[]);
        }
    }
    stop.store(true, Ordering::Relaxed);
    let posted = producer.join().expect("it posted");
    let found = broker.read(posted);
    assert_eq!(forward.stop(), 0, "{}", forward.process.log());
    let twice = judge(&found, posted);
    println!(
        "kafka: {kills} kills and stops, {posted} records, 0 lost, {twice} twice, known by their names"
    );
}

#[test]
fn a_broker_that_is_gone_for_a_while_gets_all_within_seconds_of_its_return() {
    let Some(program) = tools::tool("tansu") else { return };
    let scratch = Scratch::new("kafkaback");
    let mut broker = Broker::start(&scratch, &program);
    let listener = Listener::start_with(&scratch, &["--capacity-bytes", "256KiB"]);
    let mut forward = Forward::start(&scratch, &listener.socket, &config(&broker, ""), &[]);
    let stop = Arc::new(AtomicBool::new(false));
    let producer = produce(&listener, &stop);
    thread::sleep(Duration::from_millis(500));
    broker.process.signal(Signal::STOP);
    forward.process.wait_for_log("not delivered");
    thread::sleep(Duration::from_secs(2));
    broker.process.signal(Signal::CONT);
    let back = Instant::now();
    let before = forward.process.log().lines().filter(|it| it.contains("not delivered")).count();
    thread::sleep(Duration::from_secs(4));
    stop.store(true, Ordering::Relaxed);
    let posted = producer.join().expect("it posted");
    // The last failure that was under way when it came back, and its retries: within five seconds.
    let found = broker.read(posted);
    println!("kafka: all {posted} records {} ms after the return", back.elapsed().as_millis());
    let after = forward.process.log().lines().filter(|it| it.contains("not delivered")).count();
    assert!(after - before <= 3, "attempts fail no more: {}", forward.process.log());
    assert_eq!(forward.stop(), 0);
    judge(&found, posted);
}

#[test]
fn orders_reach_their_topic_as_the_flow_says() {
    let Some(program) = tools::tool("tansu") else { return };
    let scratch = Scratch::new("orders");
    let broker = Broker::start(&scratch, &program);
    let listener = Listener::start(&scratch);
    let line = |n: u64| format!("{{\"n\":{n},\"key\":\"k{0}\",\"customer\":\"k{0}\"}}", n % 16);
    let orders: Vec<_> = (0..3000).map(line).collect();
    assert!(listener.client().lines(&orders.join("\n")));
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/flows/orders-to-kafka.toml");
    let config = std::fs::read_to_string(path).expect("it is there");
    let config = config.replace("127.0.0.1:9092", &broker.address.to_string());
    let mut forward = Forward::start(&scratch, &listener.socket, &config, &["--once"]);
    assert_eq!(forward.process.wait().code(), Some(0), "{}", forward.process.log());
    assert_eq!(judge(&broker.read(3000), 3000), 0);
}
