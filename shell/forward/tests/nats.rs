//! Three real servers of NATS with a stream of three replicas, and what they and the process go
//! through: nothing lost, nothing twice, in order.
//!
//! `KILLS=200` makes it a campaign; 5 by default. `SEED` repeats one.
#![cfg(feature = "nats")]
#![allow(clippy::disallowed_types, reason = "inside the process, not in shared memory")]

mod common;
#[path = "common/disk.rs"]
mod disk;
#[path = "common/tools.rs"]
mod tools;

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use async_nats::jetstream::{self, consumer::pull::OrderedConfig, stream};
use rustix::process::Signal;
use smol::stream::StreamExt;

use common::{Forward, Listener, Process, Random, Scratch, TIMEOUT, eventually};

const SERVERS: usize = 3;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Servers that know one another, and a stream on all of them.
struct Cluster {
    program: PathBuf,
    directory: PathBuf,
    /// For clients, and for the other servers.
    ports: Vec<(u16, u16)>,
    servers: Vec<Option<Process>>,
    runtime: tokio::runtime::Runtime,
}

impl Cluster {
    fn start(scratch: &Scratch, program: PathBuf) -> Self {
        let free = || TcpListener::bind("127.0.0.1:0").expect("a port");
        let held: Vec<_> = (0..SERVERS).map(|_| (free(), free())).collect();
        let port = |it: &TcpListener| it.local_addr().expect("bound").port();
        let ports = held.iter().map(|(one, other)| (port(one), port(other))).collect();
        drop(held);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("threads");
        let directory = scratch.join("nats");
        let mut cluster = Self { program, directory, ports, servers: Vec::new(), runtime };
        for at in 0..SERVERS {
            cluster.servers.push(None);
            cluster.restart(at);
        }
        eventually("a stream", || {
            cluster.runtime.block_on(async {
                let config = stream::Config {
                    name: "orders".to_owned(),
                    subjects: vec!["orders.*".to_owned()],
                    num_replicas: SERVERS,
                    // Shorter than what the cluster goes through: the client's order must do.
                    duplicate_window: Duration::from_secs(1),
                    ..stream::Config::default()
                };
                cluster.context().await?.create_stream(config).await.ok()
            })
        });
        cluster
    }

    fn restart(&mut self, at: usize) {
        let (client, route) = self.ports[at];
        let routes: Vec<_> =
            self.ports.iter().map(|(_, port)| format!("nats://127.0.0.1:{port}")).collect();
        let mut command = Command::new(&self.program);
        command.args(["-a", "127.0.0.1", "-p", &client.to_string(), "-n", &format!("n{at}")]);
        command.arg("-js").arg("-sd").arg(self.directory.join(format!("n{at}")));
        command.args(["--cluster_name", "c", "--cluster"]);
        command.arg(format!("nats://127.0.0.1:{route}")).args(["--routes", &routes.join(",")]);
        command.stdout(std::process::Stdio::null());
        fs::create_dir_all(&self.directory).expect("a directory");
        let log = self.directory.join(format!("n{at}.log"));
        self.servers[at] = Some(Process::start(&mut command, log));
    }

    fn kill(&mut self, at: usize) {
        self.servers[at].take().expect("it runs").kill();
    }

    fn signal(&mut self, at: usize, signal: Signal) {
        self.servers[at].as_mut().expect("it runs").signal(signal);
    }

    fn addresses(&self) -> Vec<String> {
        self.ports.iter().map(|(port, _)| format!("nats://127.0.0.1:{port}")).collect()
    }

    async fn context(&self) -> Option<jetstream::Context> {
        let options = async_nats::ConnectOptions::new();
        let client = options.connection_timeout(Duration::from_secs(2)).connect(self.addresses());
        let mut context = jetstream::new(client.await.ok()?);
        context.set_timeout(Duration::from_secs(3));
        Some(context)
    }

    /// Which server leads the stream.
    fn leader(&self) -> usize {
        eventually("a leader", || {
            self.runtime.block_on(async {
                let stream = self.context().await?.get_stream("orders").await.ok()?;
                let leader = stream.cached_info().cluster.as_ref()?.leader.clone()?;
                leader.strip_prefix('n')?.parse().ok()
            })
        })
    }

    /// Whether a server has all that the stream has.
    fn is_current(&self, at: usize) -> bool {
        let name = format!("n{at}");
        self.runtime.block_on(async {
            let Some(context) = self.context().await else { return false };
            let Ok(stream) = context.get_stream("orders").await else { return false };
            let Some(cluster) = stream.cached_info().cluster.clone() else { return false };
            cluster.leader.as_ref() == Some(&name)
                || cluster.replicas.iter().any(|it| it.name == name && it.current && !it.offline)
        })
    }

    fn count(&self) -> u64 {
        self.runtime
            .block_on(async {
                let stream = self.context().await?.get_stream("orders").await.ok()?;
                Some(stream.cached_info().state.messages)
            })
            .unwrap_or(0)
    }

    /// All messages of the stream, in order: id and payload.
    fn read(&self) -> Vec<(String, String)> {
        let count = usize::try_from(self.count()).expect("few");
        self.runtime.block_on(async {
            let context = self.context().await.expect("it is there");
            let stream = context.get_stream("orders").await.expect("it is there");
            // Servers that were killed just now may need a while.
            let until = Instant::now() + TIMEOUT;
            let consumer = loop {
                match stream.create_consumer(OrderedConfig::default()).await {
                    Ok(consumer) => break consumer,
                    Err(error) => assert!(Instant::now() < until, "{error}"),
                }
            };
            let mut messages = consumer.messages().await.expect("messages");
            let mut found = Vec::new();
            while found.len() < count {
                let next = tokio::time::timeout(TIMEOUT, messages.next()).await;
                let message = next.expect("in time").expect("one more").expect("whole");
                let headers = message.headers.as_ref().expect("headers");
                let id = headers.get("Nats-Msg-Id").expect("an id").as_str().to_owned();
                found.push((id, String::from_utf8_lossy(&message.payload).into_owned()));
            }
            found
        })
    }
}

fn config(cluster: &Cluster) -> String {
    format!(
        "[sink]\nkind = 'nats'\nservers = {:?}\nstream = 'orders'\nsubject = 'orders.new'\n\
         replicas = 3\nack_timeout_ms = '2s'\n[batch]\nrecords = 100\nwait_ms = 2\n\
         [retry]\nbreaker_pause_ms = 500\n",
        cluster.addresses()
    )
}

#[test]
fn whatever_servers_and_process_go_through_each_record_is_there_once_and_in_order() {
    let Some(program) = tools::tool("nats-server") else { return };
    let (kills, seed) = (number("KILLS", 5), number("SEED", 0x5eed));
    let mut random = Random(seed | 1);
    let scratch = Scratch::new("nats");
    let mut cluster = Cluster::start(&scratch, program);
    let listener = Listener::start_with(&scratch, &["--capacity-bytes", "1MiB"]);
    let config = config(&cluster);
    let (stop, posted) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut client = listener.client();
    let (ended, count) = (Arc::clone(&stop), Arc::clone(&posted));
    let producer = thread::spawn(move || {
        // ORDER(none): a flag and a number between threads of a test, and a join after them.
        while !ended.load(Ordering::Relaxed) {
            let next = count.load(Ordering::Relaxed);
            let body: Vec<_> = (next..next + 10).map(|n| n.to_string()).collect();
            if client.lines(&body.join("\n")) {
                count.store(next + 10, Ordering::Relaxed);
            }
            thread::sleep(Duration::from_millis(4));
        }
    });
    let mut forward = Forward::start(&scratch, &listener.socket, &config, &[]);
    for round in 0..kills {
        thread::sleep(Duration::from_millis(200 + random.below(300)));
        // Each in turn, at moments of chance.
        match round % 5 {
            // The leader of the stream.
            0 => {
                let leader = cluster.leader();
                cluster.kill(leader);
                thread::sleep(Duration::from_millis(random.below(1500)));
                cluster.restart(leader);
            }
            1 | 4 => {
                forward.process.kill();
                forward = Forward::start(&scratch, &listener.socket, &config, &[]);
            }
            // One that neither hears nor speaks, the leader or not, longer than the others wait.
            2 => {
                let at = usize::try_from(random.below(3)).expect("few");
                cluster.signal(at, Signal::STOP);
                thread::sleep(Duration::from_millis(2000 + random.below(4000)));
                cluster.signal(at, Signal::CONT);
            }
            // Two of three: nothing can be acknowledged until one is back.
            _ => {
                let stays = usize::try_from(random.below(3)).expect("few");
                let lost: Vec<_> = (0..SERVERS).filter(|at| *at != stays).collect();
                for &at in &lost {
                    cluster.kill(at);
                }
                thread::sleep(Duration::from_millis(random.below(2000)));
                for &at in &lost {
                    cluster.restart(at);
                }
            }
        }
    }
    stop.store(true, Ordering::Relaxed);
    producer.join().expect("it posted");
    let posted = posted.load(Ordering::Relaxed);
    let began = Instant::now();
    eventually("all records", || (cluster.count() >= posted).then_some(()));
    assert_eq!(forward.stop(), 0, "{}", forward.process.log());
    let found = cluster.read();
    let numbers: Vec<u64> = found.iter().map(|(_, it)| it.parse().expect("a number")).collect();
    let expected: Vec<u64> = (0..posted).collect();
    let first = numbers.iter().zip(&expected).position(|(one, other)| one != other);
    let around = first.map(|at| &found[at.saturating_sub(3)..(at + 3).min(found.len())]);
    assert!(numbers == expected, "{} of {posted} (seed {seed}): {around:?}", numbers.len());
    println!(
        "nats: {kills} kills and cuts, {posted} records, 0 lost, 0 twice, in order; all there after {} ms",
        began.elapsed().as_millis()
    );
}

#[test]
fn when_the_disk_of_one_server_is_full_the_others_go_on_and_it_comes_back() {
    let Some(program) = tools::tool("nats-server") else { return };
    let scratch = Scratch::new("natsfull");
    // The store of one of them; the others have all of the machine's disk.
    let full = 0;
    let Some(disk) = disk::Disk::mount(scratch.join("nats/n0"), 4 << 20) else { return };
    let mut cluster = Cluster::start(&scratch, program);
    let listener = Listener::start_with(&scratch, &["--capacity-bytes", "4MiB"]);
    let mut forward = Forward::start(&scratch, &listener.socket, &config(&cluster), &[]);
    let (mut client, mut random) = (listener.client(), Random(7));
    let mut post = |from: u64, count: u64| {
        for n in from..from + count {
            let mut letter = || char::from(b'a' + u8::try_from(random.below(26)).expect("few"));
            let noise: String = (0..2000).map(|_| letter()).collect();
            // A full ring is asked again: what the stream takes is what matters.
            eventually("a record is taken", || client.lines(&format!("{n} {noise}")).then_some(()));
        }
    };
    // Twice what that disk has.
    post(0, 4000);
    let log = fs::read_to_string(scratch.join("nats/n0.log")).unwrap_or_default();
    assert!(log.contains("no space left on device"), "its disk is full: {log}");
    eventually("all records, by the two others", || (cluster.count() >= 4000).then_some(()));
    // It gets a larger disk, with nothing on it, and catches up.
    cluster.kill(full);
    disk.resize(64 << 20);
    disk.clear();
    cluster.restart(full);
    post(4000, 200);
    eventually("all records", || (cluster.count() >= 4200).then_some(()));
    // It takes part again: without it, and one of the others gone, there is no majority.
    eventually("it has caught up", || cluster.is_current(full).then_some(()));
    cluster.kill(1);
    post(4200, 100);
    eventually("all records, by it and one other", || (cluster.count() >= 4300).then_some(()));
    assert_eq!(forward.stop(), 0, "{}", forward.process.log());
    let found = cluster.read();
    let number = |text: &String| text.split(' ').next().and_then(|it| it.parse::<u64>().ok());
    let numbers: Vec<_> = found.iter().map(|(_, it)| number(it).expect("a number")).collect();
    assert!(numbers.iter().copied().eq(0..4300), "each once, in order: {}", numbers.len());
}

#[test]
fn a_stream_that_cannot_hold_what_is_promised_is_for_a_person_and_what_is_too_large_is_poison() {
    let Some(program) = tools::tool("nats-server") else { return };
    let scratch = Scratch::new("natsone");
    let port = {
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        free.local_addr().expect("bound").port()
    };
    let mut command = Command::new(program);
    command.args(["-a", "127.0.0.1", "-p", &port.to_string(), "--user", "u", "--pass", "secret"]);
    command.arg("-js").arg("-sd").arg(scratch.join("store"));
    let _server = Process::start(&mut command, scratch.join("server.log"));
    fs::write(scratch.join("secret"), "secret\n").expect("written");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("it is made");
    let address = format!("nats://127.0.0.1:{port}");
    eventually("a stream", || {
        runtime.block_on(async {
            let options = async_nats::ConnectOptions::with_user_and_password;
            let client =
                options("u".to_owned(), "secret".to_owned()).connect(&address).await.ok()?;
            let config = stream::Config {
                name: "orders".to_owned(),
                subjects: vec!["orders.*".to_owned()],
                max_message_size: 2000,
                ..stream::Config::default()
            };
            let queue = stream::Config {
                name: "tasks".to_owned(),
                subjects: vec!["tasks.*".to_owned()],
                retention: stream::RetentionPolicy::WorkQueue,
                ..stream::Config::default()
            };
            let context = jetstream::new(client);
            context.create_stream(queue).await.ok()?;
            context.create_stream(config).await.ok()
        })
    });
    let listener = Listener::start(&scratch);
    let mut client = listener.client();
    let large = "x".repeat(3000);
    assert!(client.lines(&format!("one\n{large}\nthree")));
    let sink = format!(
        "[sink]\nkind = 'nats'\nservers = ['{address}']\nstream = 'orders'\nuser = 'u'\n\
         secret_file = '{}'\nsubject = 'orders.new'\n",
        scratch.join("secret").display()
    );
    let config = format!("{sink}replicas = 3\n");
    let mut forward = Forward::start(&scratch, &listener.socket, &config, &["--once"]);
    assert_eq!(forward.process.wait().code(), Some(1));
    forward.process.wait_for_log("orders: 1 replicas, not 3");
    let queue = sink.replace("'orders", "'tasks");
    let mut forward = Forward::start(&scratch, &listener.socket, &queue, &["--once"]);
    assert_eq!(forward.process.wait().code(), Some(1));
    forward.process.wait_for_log("tasks: it deletes what was consumed (WorkQueue)");
    let dead = scratch.join("dead");
    let config = format!("{sink}[poison]\nfile = '{}'\n", dead.display());
    let mut forward = Forward::start(&scratch, &listener.socket, &config, &["--once"]);
    assert_eq!(forward.process.wait().code(), Some(0), "{}", forward.process.log());
    let buried = common::lines(&dead);
    assert!(buried.len() == 1 && buried[0].contains("exceeds maximum"), "{buried:?}");
    let count = runtime.block_on(async {
        let options = async_nats::ConnectOptions::with_user_and_password;
        let client = options("u".to_owned(), "secret".to_owned()).connect(&address).await;
        let context = jetstream::new(client.expect("connected"));
        let stream = context.get_stream("orders").await.expect("it is there");
        stream.cached_info().state.messages
    });
    assert_eq!(count, 2);
}
