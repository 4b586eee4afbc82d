//! What the status page shows, and that it finds apart what can go wrong.
#![allow(clippy::disallowed_types, reason = "flags of this process alone")]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aqueduct_core::MemoryMut;
use aqueduct_core::layout::cursor_word;
use common::control::Raw;
use common::reader::Attached;
use common::{PATIENCE, Server, get};
use serde_json::Value;

const ADMIN: [&str; 2] = ["--admin-listen", "127.0.0.1:0"];

fn admin(server: &Server) -> SocketAddr {
    server.admin.expect("it has an address")
}

fn json(server: &Server, path: &str) -> Value {
    let response = Server::exchange_at(admin(server), get(path));
    assert_eq!(response.status, 200, "{response:?}");
    serde_json::from_str(&response.body).expect("JSON")
}

/// The kinds of what is wrong, with the reader where there is one.
fn findings(status: &Value) -> Vec<String> {
    let findings = status["findings"].as_array().expect("a list").iter();
    let named = findings.map(|finding| match finding["reader"].as_str() {
        Some(reader) => format!("{} {reader}", finding["kind"].as_str().expect("a word")),
        None => finding["kind"].as_str().expect("a word").to_owned(),
    });
    named.collect()
}

/// Waits until the findings are these; how long that may take is no measure of time.
fn until_found(server: &Server, expected: &[&str]) {
    let deadline = Instant::now() + 3 * PATIENCE;
    loop {
        let found = findings(&json(server, "/v1/status"));
        if found == expected {
            return;
        }
        assert!(Instant::now() < deadline, "{found:?} instead of {expected:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn a_journal_is_there_with_what_it_takes_and_how_its_disk_does() {
    let journals = common::Scratch::new();
    let text = format!(
        "[journal]\ndirectory = \"{}\"\n[[ring]]\nname = \"kept\"\n\
         capacity_bytes = \"64KiB\"\ndurability = \"disk\"\n[[ring]]\nname = \"loose\"\n\
         capacity_bytes = \"64KiB\"\n",
        journals.path("").display()
    );
    let server = Server::with_file(&text, &ADMIN);
    assert_eq!(server.post("kept", b"payload").status, 202);
    let status = json(&server, "/v1/status");
    let [journal] = &status["journals"].as_array().expect("a list")[..] else { panic!("{status}") };
    assert_eq!((&journal["ring"], &journal["durability"]), (&"kept".into(), &"disk".into()));
    assert_eq!((&journal["state"], &journal["waiting_seconds"]), (&"good".into(), &0.0.into()));
    for number in ["segments", "size_bytes", "room_bytes"] {
        assert!(journal[number].as_u64() > Some(0), "{number}: {journal}");
    }
    let metrics = Server::exchange_at(admin(&server), get("/metrics")).body;
    let line = "aqueduct_journal_waiting_seconds{ring=\"kept\"} 0";
    assert!(metrics.lines().any(|said| said == line), "{metrics}");
}

#[test]
fn a_journal_that_lost_records_is_said_to_until_a_start_finds_nothing_missing() {
    let scratch = common::Scratch::new();
    let file = scratch.path("aqueduct.toml");
    let text = format!(
        "[journal]\ndirectory = \"{}\"\n[[ring]]\nname = \"kept\"\n\
         capacity_bytes = \"64KiB\"\ndurability = \"disk\"\n",
        scratch.path("journal").display()
    );
    std::fs::write(&file, text).expect("written");
    let ring = scratch.path("journal").join("kept");
    let config = file.to_str().expect("ASCII").to_owned();
    let flags: Vec<&str> = ADMIN.into_iter().chain(["--config", &config]).collect();
    let mut server = Server::start_in(scratch, &flags);
    for _ in 0..3 {
        assert_eq!(server.post("kept", b"payload").status, 202);
    }
    let journal_state = |server: &Server| {
        let status = json(server, "/v1/status");
        let journal = &status["journals"][0];
        (journal["state"].clone(), journal["missing_records"].clone(), findings(&status))
    };
    let found = journal_state(&server);
    assert_eq!((&found.0, &found.1), (&"good".into(), &0.into()));
    let end = |server: &mut Server| {
        server.terminate();
        assert_eq!(server.wait().code(), Some(0), "{}", server.log());
    };
    end(&mut server);
    for entry in std::fs::read_dir(&ring).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "segment") {
            std::fs::remove_file(path).expect("removed");
        }
    }
    server.start_again(&flags);
    let found = journal_state(&server);
    assert_eq!((&found.0, &found.1), (&"damaged".into(), &3.into()));
    assert_eq!(found.2, ["journal_damaged"]);
    end(&mut server);
    server.start_again(&flags);
    let found = journal_state(&server);
    assert_eq!((&found.0, &found.1), (&"good".into(), &0.into()));
    assert_eq!(found.2, [""; 0]);
}

#[test]
fn the_page_may_run_its_own_script_and_ask_its_own_address_only() {
    let server = Server::start(&ADMIN);
    for (path, media_type, says) in [
        ("/", "text/html; charset=utf-8", "status.js"),
        ("/status.css", "text/css; charset=utf-8", "prefers-color-scheme"),
        ("/status.js", "text/javascript; charset=utf-8", "v1/status"),
    ] {
        let response = Server::exchange_at(admin(&server), get(path));
        assert_eq!((response.status, response.header("content-type")), (200, Some(media_type)));
        let policy = response.header("content-security-policy").expect("a policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
        assert!(!policy.contains("unsafe") && policy.contains("frame-ancestors 'none'"));
        assert_eq!(response.header("x-content-type-options"), Some("nosniff"));
        assert!(response.body.contains(says), "{path}");
        assert!(!response.body.contains("http://") || path == "/status.js", "{path}");
    }
    // Beside the records, there is no such page.
    assert_eq!(server.get("/").status, 404);
    assert_eq!(server.get("/v1/status").status, 404);
}

#[test]
fn idle_connections_give_their_places_to_those_who_ask() {
    let server = Server::start(&ADMIN);
    // More than there is room for: the first of them have to go.
    let idle: Vec<_> = (0..40)
        .map(|_| std::net::TcpStream::connect(admin(&server)).expect("it accepts"))
        .collect();
    let status = json(&server, "/v1/status");
    assert!(!findings(&status).iter().any(|kind| kind.contains("connections")), "{status}");
    assert_eq!(status["connections"]["refused"], 0, "{status}");
    // One that has asked before is idle, too.
    let mut asked: Vec<_> = (0..40)
        .map(|_| {
            let mut stream = std::net::TcpStream::connect(admin(&server)).expect("it accepts");
            stream.write_all(get("/healthz").as_bytes()).expect("sent");
            stream
        })
        .collect();
    let _ = asked.last_mut().expect("one").read(&mut [0; 1024]);
    assert_eq!(Server::exchange_at(admin(&server), get("/v1/rings")).status, 200);
    drop((idle, asked));
}

#[test]
fn an_address_says_what_comes_in_there() {
    let server = Server::with_file(
        "[[listen]]\naddress = \"127.0.0.1:0\"\nprotocol = \"resp\"\n\
         [[listen]]\naddress = \"127.0.0.1:0\"\nprotocol = \"lines\"\n",
        &[&ADMIN[..], &["--max-payload-bytes", "1024"]].concat(),
    );
    let addresses = |key: &str| -> Vec<Value> {
        let status = json(&server, "/v1/status");
        let addresses = status["addresses"].as_array().expect("a list");
        addresses.iter().map(|address| address[key].clone()).collect()
    };
    assert_eq!(addresses("protocol"), ["http", "resp", "lines"]);
    assert_eq!(addresses("connections"), [0, 0, 0]);
    for _ in 0..3 {
        assert_eq!(server.post("default", b"x").status, 202);
    }
    assert_eq!(server.post("default", &[0; 2000]).status, 413);
    let mut resp = server.speak("resp");
    let large = format!("XADD default * data x\r\nXADD default * data {}\r\n", "y".repeat(2000));
    resp.write_all(large.as_bytes()).expect("sent");
    let mut lines = server.speak("lines");
    lines.write_all(b"one\ntwo\nthree\nfour\n").expect("sent");
    server.eventually("all are counted", || addresses("records") == [3, 1, 4]);
    server.eventually("and closed", || addresses("connections") == [0, 1, 1]);
    assert_eq!(addresses("refused"), [1, 1, 0]);
    drop((resp, lines));
    server.eventually("nobody is there any more", || addresses("connections") == [0, 0, 0]);
    let metrics = Server::exchange_at(admin(&server), get("/metrics")).body;
    for line in [
        format!(
            "aqueduct_address_records_total{{address=\"{}\",protocol=\"lines\"}} 4",
            server.at("lines")
        ),
        format!(
            "aqueduct_address_records_rejected_total{{address=\"{}\",protocol=\"http\"}} 1",
            server.http
        ),
        format!(
            "aqueduct_address_connections{{address=\"{}\",protocol=\"resp\"}} 0",
            server.at("resp")
        ),
    ] {
        assert!(metrics.lines().any(|said| said == line), "{line}: {metrics}");
    }
    // Rates come from two looks.
    let ends = Arc::new(AtomicBool::new(false));
    let flood = {
        let (ends, address) = (Arc::clone(&ends), server.http);
        std::thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                let _ = Server::exchange_at(address, common::record("default", "", b"x"));
                std::thread::sleep(Duration::from_millis(20));
            }
        })
    };
    server.eventually("a rate", || {
        let rates = addresses("records_per_second");
        rates[0].as_f64() > Some(0.5) && rates[2].as_f64() < Some(0.1)
    });
    ends.store(true, Ordering::Relaxed);
    flood.join().expect("it sent");
}

#[test]
fn readers_that_are_stuck_slow_and_gone_are_found_apart_and_so_is_a_full_ring() {
    let names = ["stuck", "slow", "gone"];
    let flags = names.iter().flat_map(|name| ["--subscription", name]);
    let flags: Vec<&str> = ADMIN.into_iter().chain(flags).collect();
    let server = Server::start(&[&flags[..], &["--capacity-bytes", "65536"]].concat());
    assert_eq!(findings(&json(&server, "/v1/status")), [""; 0]);
    let _stuck = Attached::attach(&server.socket, "", "stuck");
    let slow = Attached::attach(&server.socket, "", "slow");
    for _ in 0..64 {
        assert_eq!(server.post("default", &[7; 100]).status, 202);
    }
    let ends = Arc::new(AtomicBool::new(false));
    let reading = {
        let (ends, mut slow) = (Arc::clone(&ends), slow);
        std::thread::spawn(move || {
            // One record in half a second: the oldest of 64 gets older and older.
            while !ends.load(Ordering::Relaxed) {
                let _ = slow.next();
                slow.release();
                std::thread::sleep(Duration::from_millis(500));
            }
        })
    };
    until_found(&server, &["reader_stuck stuck", "reader_slow slow", "reader_absent gone"]);
    // The log has said each of them when it began.
    let told = |kind: &str| {
        server.log().lines().any(|it| it.contains("trouble begins") && it.contains(kind))
    };
    for kind in ["reader_stuck", "reader_slow", "reader_absent"] {
        server.eventually(kind, || told(kind));
    }
    let history = json(&server, "/v1/rings/default/history");
    let words: Vec<&str> = (0..3)
        .map(|reader| history["readers"][reader]["state"].as_str().expect("a word"))
        .collect();
    assert_eq!(words, ["stuck", "slow", "absent"], "{history}");
    let records = history["records_per_second"].as_array().expect("a series");
    let sum: f64 = records.iter().map(|value| value.as_f64().expect("a number")).sum();
    assert!(sum > 0.0, "{history}");
    // The ring fills up behind them.
    while server.post("default", &[7; 10_000]).status == 202 {}
    let found = findings(&json(&server, "/v1/status"));
    assert_eq!(found[0], "ring_full", "{found:?}");
    let status = json(&server, "/v1/status");
    assert_eq!((&status["ready"], &status["rings"][0]["state"]), (&false.into(), &"full".into()));
    assert_eq!(status["rings"][0]["worst"]["state"], "stuck", "{status}");
    ends.store(true, Ordering::Relaxed);
    reading.join().expect("it read");
}

#[test]
fn a_reader_that_lies_and_records_that_are_refused_are_found() {
    let server = Server::start(&[&ADMIN[..], &["--max-payload-bytes", "1024"]].concat());
    let liar = Raw::attach(&server.socket, "", "default");
    assert_eq!(server.post("default", b"bait").status, 202);
    until_found(&server, &[""; 0]);
    // Beyond the tail.
    liar.page.store(cursor_word::CURSOR, 1000, Ordering::SeqCst);
    until_found(&server, &["reader_evicted", "reader_absent default"]);
    let ends = Arc::new(AtomicBool::new(false));
    let flood = {
        let (ends, address) = (Arc::clone(&ends), server.http);
        std::thread::spawn(move || {
            let large = common::record("default", "", &[0; 2000]);
            while !ends.load(Ordering::Relaxed) {
                assert_eq!(Server::exchange_at(address, large.clone()).status, 413);
                std::thread::sleep(Duration::from_millis(10));
            }
        })
    };
    until_found(&server, &["records_refused", "reader_evicted", "reader_absent default"]);
    ends.store(true, Ordering::Relaxed);
    flood.join().expect("it was refused");
}

/// Answers every request with this body, until `ends`.
fn forwarder(body: Value) -> (SocketAddr, impl FnOnce()) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("an address");
    let address = listener.local_addr().expect("bound");
    let ends = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&ends);
    let serving = std::thread::spawn(move || {
        while let Ok((mut peer, _)) = listener.accept() {
            if told.load(Ordering::Relaxed) {
                return;
            }
            let _ = peer.read(&mut [0; 1024]);
            let body = body.to_string();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            let _ = peer.write_all((head + &body).as_bytes());
        }
    });
    let end = move || {
        ends.store(true, Ordering::Relaxed);
        let _ = std::net::TcpStream::connect(address);
        serving.join().expect("it served");
    };
    (address, end)
}

#[test]
fn a_forwarder_whose_other_side_hangs_is_found_and_so_is_one_that_is_gone() {
    let (address, end) = forwarder(serde_json::json!({
        "sink": "kafka", "ring": "default", "subscription": "default", "ready": false,
        "detail": "the other side does not answer", "delivered_records": 5, "retries": 9,
        "dead_lettered_records": 0, "in_flight_records": 3, "lag_records": 0,
        "acknowledgement_age_seconds": 31.5,
    }));
    let server = Server::with_file(
        &format!("[admin]\nlisten = \"127.0.0.1:0\"\nforwarders = [\"{address}\"]\n"),
        &[],
    );
    until_found(&server, &["forwarder_behind"]);
    let status = json(&server, "/v1/status");
    let text = status["findings"][0]["text"].as_str().expect("a sentence");
    assert_eq!(text, "kafka of default/default: the other side does not answer");
    assert_eq!(status["forwarders"][0]["retries"], 9, "{status}");
    end();
    until_found(&server, &["forwarder_unreachable"]);
}
