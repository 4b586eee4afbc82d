//! The sink `grpc` against a real listener: each record is there once, whatever is killed or cut.
#![cfg(feature = "grpc")]
#![allow(clippy::disallowed_types, reason = "inside the process, not in shared memory")]

mod common;
#[path = "common/outage.rs"]
mod outage;

use std::cell::RefCell;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use aqueduct_client::{Event, Options, Start};
use common::{Forward, Listener, Random, Scratch, eventually, get, lines, metric};
use rustix::process::Signal;

/// A configuration for the ring `r` at this address.
fn config(address: SocketAddr, more: &str) -> String {
    format!(
        "[retry]\nfirst_ms = 10\nlongest_ms = 200\nbreaker_pause_ms = 200\n[batch]\nwait_ms = 5\n\
         [sink]\nkind = 'grpc'\nurl = 'http://{address}'\nring = 'r'\n{more}"
    )
}

/// A listener with a ring that holds all of a test, and its settings.
fn centre(scratch: &Scratch, more: &str) -> Listener {
    let file = scratch.join("centre.toml");
    let text = format!(
        "{more}\n[[ring]]\nname = 'r'\nsubscriptions = ['s']\ncapacity_bytes = '64MiB'\n\
         full_wait_ms = 0\n"
    );
    fs::write(&file, text).expect("written");
    Listener::start_with(scratch, &["--config", &file.display().to_string()])
}

/// A record: type, payload, attributes.
type Found = (u16, Vec<u8>, Vec<(String, String)>);

/// All that is in a ring.
fn found(listener: &Listener) -> Vec<Found> {
    let options = Options::new(&listener.socket).ring("r").start(Start::Oldest);
    let mut observer = options.observe().expect("it observes");
    let mut found = Vec::new();
    while let Event::Record((record, payload, attributes)) =
        observer.next_with_attributes().expect("it reads")
    {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let attributes = attributes.map(|one| (text(one.name), text(one.value))).collect();
        found.push((record.type_tag, payload.to_vec(), attributes));
    }
    found
}

/// What a flow's file says, with other places in it.
fn flow(places: &[(&str, &str)]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/flows/users-to-grpc.toml");
    let mut text = fs::read_to_string(path).expect("it is there");
    for (place, ours) in places {
        assert!(text.contains(place), "{place}");
        text = text.replace(place, ours);
    }
    text
}

#[test]
fn users_reach_another_ring_in_batches_with_types_and_attributes_compressed_above_a_threshold() {
    let (here, there) = (Scratch::new("users-here"), Scratch::new("users-there"));
    let edge = centre(&here, "[http]\nattributes = [':path', 'x-id']\n");
    let believing = "[http]\nattributes = ['aqueduct-attributes']\n";
    let centre = centre(&there, believing);
    let proxy = Proxy::start(centre.http);
    let mut client = edge.client();
    let long = "a long story, ".repeat(500);
    for n in 0..1200_u16 {
        let body =
            format!("{{\"user\": {n}, \"story\": \"{}\"}}", if n % 10 == 0 { &long } else { "" });
        let head = format!("aqueduct-type: {}\r\nx-id: {n}\r\n", n % 300);
        assert_eq!(client.post(&head, body.as_bytes()).expect("an answer").0, 202);
    }
    let config = flow(&[("127.0.0.1:8081", &proxy.address.to_string())]);
    let mut forward = Forward::start(&here, &edge.socket, &config, &["--once"]);
    assert_eq!(forward.process.wait().code(), Some(0), "{}", forward.process.log());
    let (sent, arrived) = (found(&edge), found(&centre));
    assert_eq!(arrived.len(), 1200);
    assert_eq!(sent, arrived);
    assert_eq!(arrived[30].2[1], ("x-id".to_owned(), "30".to_owned()));
    let payloads: usize = sent.iter().map(|(_, payload, _)| payload.len()).sum();
    let passed = usize::try_from(proxy.passed()).expect("bytes");
    assert!(passed * 2 < payloads, "{passed} of {payloads} bytes went over the network");
}

#[test]
fn what_the_other_ring_does_not_take_is_poison_or_waits() {
    let (here, there) = (Scratch::new("no-here"), Scratch::new("no-there"));
    let edge = Listener::start_with(&here, &["--capacity-bytes", "4MiB"]);
    let file = there.join("centre.toml");
    let text = "[[ring]]\nname = 'r'\nsubscriptions = ['s']\ncapacity_bytes = '64KiB'\n\
                max_payload_bytes = '2KiB'\nfull_wait_ms = 0\n";
    fs::write(&file, text).expect("written");
    let centre = Listener::start_with(&there, &["--config", &file.display().to_string()]);
    let mut client = edge.client();
    client.record(1, b"one");
    client.record(2, &[b'x'; 3000]); // larger than records there
    client.record(3, &vec![b'y'; 30_000]); // larger than a message there
    client.record(4, b"four");
    let dead = here.join("dead");
    let poison = format!("[poison]\nfile = '{}'\n", dead.display());
    let config_of = |more: &str| config(centre.http, more);
    let mut forward = Forward::start(&here, &edge.socket, &config_of(&poison), &["--once"]);
    assert_eq!(forward.process.wait().code(), Some(0), "{}", forward.process.log());
    let payloads: Vec<_> = found(&centre).into_iter().map(|(_, payload, _)| payload).collect();
    assert_eq!(payloads, [b"one".to_vec(), b"four".to_vec()]);
    assert_eq!(lines(&dead).len(), 2);
    // A full ring, of which nothing is released; then it is.
    let many: Vec<_> = (0..600).map(|n| format!("{n:0>200}")).collect();
    assert!(client.lines(&many.join("\n")));
    let flags = ["--admin-listen", "127.0.0.1:0"];
    let mut forward = Forward::start(&here, &edge.socket, &config_of(&poison), &flags);
    let admin = forward.admin();
    eventually("it waits", || {
        (metric(&get(admin, "/metrics").1, "retries_total") > 1.5).then_some(())
    });
    let mut reader = Forward::start(&there, &centre.socket, "", &["--to", "-"]);
    eventually("all of it", || (lines(&there.join("stdout")).len() == 602).then_some(()));
    assert_eq!((forward.stop(), reader.stop()), (0, 0));
    assert_eq!(lines(&there.join("stdout"))[2..], many, "in order, each once");
    // An address that does not believe attributes is not sent any in silence.
    let beside = Scratch::new("no-noted");
    let noted = noting(&beside);
    assert_eq!(noted.client().post("x-id: 7\r\n", b"with").expect("an answer").0, 202);
    let config = config(centre.http, "attributes = true\n[shutdown]\ndrain_timeout_ms = 50\n");
    let mut forward = Forward::start(&beside, &noted.socket, &config, &[]);
    forward.process.wait_for_log("aqueduct-attributes is not taken here");
    assert_eq!(forward.stop(), 3);
}

#[test]
fn a_token_that_is_written_anew_is_used_on_the_connection_that_is_there() {
    let (here, there) = (Scratch::new("token-here"), Scratch::new("token-there"));
    let edge = Listener::start(&here);
    let (file, token) = (there.join("credentials"), here.join("token"));
    let make = || {
        let mut command = Command::new(common::examples().join("listener"));
        command.args(["credential", "add", "edge", "--file"]).arg(&file);
        let output = command.output().expect("it runs");
        let text = String::from_utf8(output.stderr).expect("UTF-8");
        text.trim_end().rsplit(' ').next().expect("a token").to_owned()
    };
    fs::write(&token, make()).expect("written");
    let more = format!("[credentials]\nfile = '{}'\n", file.display());
    let mut centre = centre(&there, &more);
    let config = config(centre.http, &format!("token_file = '{}'\n", token.display()));
    let mut forward = Forward::start(&here, &edge.socket, &config, &[]);
    edge.client().record(1, b"one");
    eventually("the first", || (found(&centre).len() == 1).then_some(()));
    // The old line is gone.
    fs::remove_file(&file).expect("it was there");
    let new = make();
    centre.process.signal(Signal::HUP);
    eventually("another status", || {
        edge.client().record(2, b"two");
        forward.process.log().contains("status 16").then_some(())
    });
    fs::write(&token, new).expect("written");
    edge.client().record(3, b"three");
    eventually("the last", || (found(&centre).last()?.0 == 3).then_some(()));
    assert_eq!(forward.stop(), 0, "{}", forward.process.log());
}

#[test]
fn a_centre_that_hangs_for_a_while_gets_all_within_seconds() {
    let (here, there) = (Scratch::new("gone-here"), Scratch::new("gone-there"));
    let edge = Listener::start_with(&here, &outage::LISTENER);
    // Its ring is memory: it is gone as one that hangs.
    let centre = RefCell::new(centre(&there, ""));
    let signal = |signal| centre.borrow_mut().process.signal(signal);
    let config = config(centre.borrow().http, "timeout_ms = 2000\n");
    let taken = outage::outlasts(
        "grpc",
        (&here, &edge),
        &config,
        || signal(Signal::STOP),
        || signal(Signal::CONT),
    );
    let number = |(_, payload, _): Found| {
        let value: serde_json::Value = serde_json::from_slice(&payload).expect("JSON");
        value["n"].as_u64().expect("a number")
    };
    let numbers: Vec<_> = found(&centre.borrow()).into_iter().map(number).collect();
    assert_eq!(numbers, (0..taken).collect::<Vec<_>>(), "each once, in order");
}

/// A listener that keeps the header `x-id`.
fn noting(scratch: &Scratch) -> Listener {
    let file = scratch.join("noted.toml");
    let text = "[http]\nattributes = ['x-id']\n[[ring]]\nname = 'r'\nsubscriptions = ['s']\n";
    fs::write(&file, text).expect("written");
    Listener::start_with(scratch, &["--config", &file.display().to_string()])
}

#[test]
fn killed_and_cut_at_random_each_record_is_there_once_and_in_order() {
    let number = |name: &str, default| {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let (kills, seed): (u64, u64) = (number("KILLS", 5), number("SEED", 0x5eed));
    let mut random = Random(seed | 1);
    let (here, there) = (Scratch::new("gkills"), Scratch::new("gkills-there"));
    let edge = Listener::start_with(&here, &["--capacity-bytes", "1MiB"]);
    let centre = centre(&there, "");
    let proxy = Proxy::start(centre.http);
    let more = "call_records = 100\ntimeout_ms = 3000\n";
    let config = config(proxy.address, more);
    let mut forward = Forward::start(&here, &edge.socket, &config, &[]);
    let (mut posted, mut by) = (0, [0; 2]);
    for kill in 0..kills {
        let until = Instant::now() + Duration::from_millis(random.below(120));
        while Instant::now() < until {
            let all: Vec<_> = (posted..posted + 20).map(|n| format!("record {n}")).collect();
            assert!(edge.client().lines(&all.join("\n")));
            posted += 20;
            thread::sleep(Duration::from_millis(1));
        }
        if kill % 2 == 0 {
            // Some bytes later, wherever that is: in a call, or in its answer.
            proxy.cut_after(random.below(6000));
            by[0] += 1;
        } else {
            forward.process.kill();
            forward = Forward::start(&here, &edge.socket, &config, &[]);
            by[1] += 1;
        }
    }
    proxy.cut_after(u64::from(u32::MAX));
    let all: Vec<_> = (0..posted).map(|n| format!("record {n}").into_bytes()).collect();
    eventually("all of them", || (found(&centre).len() >= all.len()).then_some(()));
    assert_eq!(forward.stop(), 0, "{}", forward.process.log());
    let arrived: Vec<_> = found(&centre).into_iter().map(|(_, payload, _)| payload).collect();
    assert_eq!(arrived.len(), all.len(), "seed {seed}");
    assert!(arrived == all, "another order, seed {seed}");
    assert!(proxy.cuts() > 0, "nothing was cut");
    println!(
        "grpc: {} cuts of the connection, {} kills of the forwarder, {posted} records, 0 lost, \
         0 twice",
        proxy.cuts(),
        by[1]
    );
}

/// Passes bytes on, counts them, and cuts connections.
struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    to: SocketAddr,
    passed: AtomicI64,
    /// Bytes, both ways, after which all connections are cut; far away for none.
    left: AtomicI64,
    cuts: AtomicI64,
}

impl Proxy {
    fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared {
            to,
            passed: AtomicI64::new(0),
            left: AtomicI64::new(i64::MAX / 2),
            cuts: AtomicI64::new(0),
        });
        let all = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(all.to) else { continue };
                for (from, into) in [(&client, &server), (&server, &client)] {
                    let (Ok(from), Ok(into)) = (from.try_clone(), into.try_clone()) else {
                        continue;
                    };
                    let shared = Arc::clone(&all);
                    thread::spawn(move || shared.pass(from, into));
                }
            }
        });
        Self { address, shared }
    }

    fn cut_after(&self, bytes: u64) {
        // ORDER(none): numbers of a test.
        self.shared.left.store(i64::try_from(bytes).expect("few"), Ordering::Relaxed);
    }

    fn passed(&self) -> i64 {
        self.shared.passed.load(Ordering::Relaxed)
    }

    fn cuts(&self) -> i64 {
        self.shared.cuts.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn pass(&self, mut from: TcpStream, mut into: TcpStream) {
        let mut piece = [0; 1024];
        while let Ok(bytes @ 1..) = from.read(&mut piece) {
            let moved = i64::try_from(bytes).unwrap_or(i64::MAX);
            self.passed.fetch_add(moved, Ordering::Relaxed);
            let left = self.left.fetch_sub(moved, Ordering::Relaxed);
            if left < moved {
                // Only once: what comes next passes again.
                self.left.store(i64::MAX / 2, Ordering::Relaxed);
                self.cuts.fetch_add(1, Ordering::Relaxed);
                let part = usize::try_from(left.max(0)).unwrap_or(0);
                let _ = into.write_all(&piece[..part]);
                break;
            }
            if into.write_all(&piece[..bytes]).is_err() {
                break;
            }
        }
        for stream in [from, into] {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}
