//! Rings that outlive the process: the real binary, killed and started again.

mod common;

use std::io::{Read, Write};
use std::path::PathBuf;

use common::http2;
use common::reader::Attached;
use common::{Ends, Response, Scratch, Server, command, record};
use rustix::process::Signal;

/// A configuration with one ring and its journal in the scratch directory, and the flags for it.
fn configured(scratch: &Scratch, durability: &str, more: &str) -> Vec<String> {
    let directory = scratch.path("journal");
    let text = format!(
        "[journal]\ndirectory = \"{}\"\n{more}\n\
         [[ring]]\nname = \"default\"\ncapacity_bytes = \"64KiB\"\nfull_wait_ms = 0\n\
         durability = \"{durability}\"\n\
         [[listen]]\naddress = \"127.0.0.1:0\"\nprotocol = \"resp\"\n",
        directory.display()
    );
    let file = scratch.path("aqueduct.toml");
    std::fs::write(&file, text).expect("the file is written");
    ["--config", file.to_str().expect("ASCII")].map(str::to_owned).to_vec()
}

fn start(durability: &str, more: &str) -> (Server, Vec<String>) {
    let scratch = Scratch::new();
    let flags = configured(&scratch, durability, more);
    let server = Server::start_in(scratch, &strs(&flags));
    (server, flags)
}

fn strs(flags: &[String]) -> Vec<&str> {
    flags.iter().map(String::as_str).collect()
}

fn kill(server: &mut Server, flags: &[String]) {
    server.signal(Signal::KILL);
    let _ = server.wait();
    server.start_again(&strs(flags));
}

/// What an answer says: sequence number and epoch.
fn place(response: &Response) -> (u64, String) {
    assert_eq!(response.status, 202, "{response:?}");
    let body = &response.body;
    let field = |name: &str| {
        let after = body.split_once(name).unwrap_or_else(|| panic!("{body}")).1;
        after.trim_start_matches(['"', ':']).split(['"', ',', '}']).next().unwrap_or("").to_owned()
    };
    (field("seq").parse().expect("a number"), field("epoch"))
}

#[test]
fn what_was_answered_survives_a_kill_with_its_number_and_readers_go_on() {
    for durability in ["process", "disk"] {
        let (mut server, flags) = start(durability, "");
        let mut reader = Attached::attach(&server.socket, "", "");
        let (first, epoch) = place(&server.post("default", b"record 0"));
        assert_eq!(first, 0);
        for n in 1..20_u8 {
            let payload = format!("record {n}");
            assert_eq!(place(&server.post("default", payload.as_bytes())).0, u64::from(n));
        }
        for seq in 0..5 {
            assert_eq!(reader.next().map(|record| record.0), Some(seq), "{durability}");
        }
        reader.release();
        server.eventually("the cursor is saved", || {
            let metric = server.metric(
                "aqueduct_subscription_lag_bytes{ring=\"default\",subscription=\"default\"}",
            );
            std::thread::sleep(std::time::Duration::from_millis(150));
            metric < 20.0 * 64.0
        });
        for round in 0..3 {
            kill(&mut server, &flags);
            let mut reader = Attached::attach(&server.socket, "", "");
            let found: Vec<_> = std::iter::from_fn(|| reader.next()).collect();
            assert_eq!(found.len(), 15 + round, "{durability}: {}", server.log());
            for (seq, (found, _, payload)) in (5..).zip(&found) {
                assert_eq!((*found, payload), (seq, &format!("record {seq}").into_bytes()));
            }
            let next = 20 + round as u64;
            let payload = format!("record {next}");
            let answered = place(&server.post("default", payload.as_bytes()));
            assert_eq!(answered, (next, epoch.clone()), "{durability}: {}", server.log());
        }
    }
}

#[test]
fn an_end_in_order_keeps_the_place_of_every_subscription() {
    let (mut server, flags) = start("process", "");
    let mut reader = Attached::attach(&server.socket, "", "");
    let (_, epoch) = place(&server.post("default", b"0"));
    for n in 1..10 {
        assert_eq!(place(&server.post("default", &[n])).0, u64::from(n));
    }
    for _ in 0..10 {
        assert!(reader.next().is_some());
    }
    reader.release();
    server.terminate();
    assert_eq!(server.wait().code(), Some(0), "{}", server.log());
    assert!(reader.is_closed(), "the stream has an end");
    server.start_again(&strs(&flags));
    let mut reader = Attached::attach(&server.socket, "", "");
    assert_eq!(reader.next(), None, "everything was released");
    assert_eq!(place(&server.post("default", b"again")), (10, epoch));
    assert_eq!(reader.next().map(|record| (record.0, record.2)), Some((10, b"again".to_vec())));
}

#[test]
fn answers_of_a_pipeline_come_in_order_in_every_protocol() {
    for durability in ["process", "disk"] {
        let (server, _) = start(durability, "");
        let mut stream = server.connect();
        let mut requests = Vec::new();
        for n in 0..40_u8 {
            requests.extend(record("default", "", &[n]));
            requests.extend(b"GET /healthz HTTP/1.1\r\nhost: t\r\n\r\n");
        }
        stream.write_all(&requests).expect("sent");
        for n in 0..40 {
            assert_eq!(place(&Response::read(&mut stream)).0, n, "{durability}");
            assert_eq!(Response::read(&mut stream).status, 200);
        }
        let mut stream = server.speak("resp");
        let one = "*5\r\n$4\r\nXADD\r\n$7\r\ndefault\r\n$1\r\n*\r\n$4\r\ndata\r\n$1\r\nx\r\n";
        stream.write_all(one.repeat(50).as_bytes()).expect("sent");
        let mut answers = String::new();
        let mut piece = [0; 4096];
        while answers.matches("-").count() < 50 {
            let read = stream.read(&mut piece).expect("answers");
            assert_ne!(read, 0, "{answers}");
            answers.push_str(&String::from_utf8_lossy(&piece[..read]));
        }
        let seqs: Vec<u64> =
            answers.lines().filter_map(|line| line.split_once('-')?.1.parse().ok()).collect();
        assert_eq!(seqs, (40..90).collect::<Vec<_>>(), "{durability}");
        // The last one asks to close: the answer comes all the same.
        let response = server.exchange(record("default", "connection: close\r\n", b"last"));
        assert_eq!(place(&response).0, 90);
    }
}

#[cfg(feature = "http2")]
#[test]
fn http2_is_answered_when_the_record_is_safe() {
    let (server, _) = start("disk", "");
    let address = server.http;
    http2::run(|tasks| async move {
        let client = http2::Client::connect(address, &tasks).await;
        for seq in 0..10 {
            let answer = client.send(http2::record(&b"x"[..])).await.expect("an answer");
            assert_eq!(answer.status, 202);
            assert_eq!(answer.header("aqueduct-seq"), Some(seq.to_string().as_str()));
        }
    });
}

#[test]
fn a_ring_is_written_over_many_times_and_only_what_is_unread_is_kept() {
    let (mut server, flags) = start("process", "segment_bytes = \"64KiB\"");
    let mut reader = Attached::attach(&server.socket, "", "");
    let payload = [7; 1000];
    let mut seq = 0;
    for _ in 0..12 {
        for _ in 0..20 {
            server.eventually("there is room", || server.post("default", &payload).status == 202);
        }
        while let Some((found, _, content)) = reader.next() {
            assert_eq!((found, &content[..]), (seq, &payload[..]));
            seq += 1;
        }
        reader.release();
        if seq % 80 == 0 {
            kill(&mut server, &flags);
            reader = Attached::attach(&server.socket, "", "");
            // What was released shortly before the kill may come again.
            while let Some((found, ..)) = reader.next() {
                assert!(found < seq, "{found} after {seq}");
            }
            reader.release();
        }
    }
    assert_eq!(seq, 240);
    server.eventually("segments are removed", || {
        let files = std::fs::read_dir(journal(&server)).expect("a directory").count();
        files <= 6
    });
}

fn journal(server: &Server) -> PathBuf {
    server.scratch.path("journal").join("default")
}

#[test]
fn a_journal_that_vanishes_is_noticed_and_told_and_readers_keep_what_they_have() {
    let (mut server, flags) = start("disk", "");
    assert_eq!(server.post("default", b"safe").status, 202);
    assert_eq!(server.get("/readyz").status, 200);
    std::fs::remove_dir_all(journal(&server)).expect("it was there");
    server.eventually("it is noticed", || server.get("/readyz").status == 503);
    let ready = server.get("/readyz");
    let detail = &ready.body;
    assert!(detail.contains("the journal of ring default failed"), "{detail}");
    let refused = server.post("default", b"lost");
    refused.assert_problem(503);
    assert!(refused.header("retry-after").is_some());
    assert_eq!(server.metric("aqueduct_journal_failed{ring=\"default\"}"), 1.0);
    let rejected = "aqueduct_records_rejected_total{reason=\"journal\",ring=\"default\"}";
    assert_eq!(server.metric(rejected), 1.0);
    let mut reader = Attached::attach(&server.socket, "", "");
    assert_eq!(reader.next().map(|record| record.2), Some(b"safe".to_vec()));
    reader.release();
    server.terminate();
    assert_eq!(server.wait().code(), Some(0), "{}", server.log());
    server.start_again(&strs(&flags));
    assert_eq!(place(&server.post("default", b"anew")).0, 0);
}

#[test]
fn a_second_process_is_refused() {
    let (server, flags) = start("disk", "");
    let output = command()
        .args(["serve", "--listen", "127.0.0.1:0", "--socket"])
        .arg(server.scratch.path("other.sock"))
        .args(&flags)
        .ended()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("ring default: journal: another process uses this journal"), "{said}");
    assert_eq!(server.post("default", b"x").status, 202);
}

#[test]
fn a_durability_without_a_directory_is_refused() {
    let scratch = Scratch::new();
    let file = scratch.path("aqueduct.toml");
    std::fs::write(&file, "[[ring]]\nname = \"a\"\ndurability = \"disk\"\n").expect("written");
    let output = command().args(["serve", "--config"]).arg(&file).ended().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("ring a: durability") && said.contains("[journal]"), "{said}");
}

#[test]
fn another_size_of_the_ring_begins_an_epoch_with_what_is_unread() {
    let (mut server, flags) = start("disk", "");
    let (_, epoch) = place(&server.post("default", b"zero"));
    assert_eq!(place(&server.post("default", b"one")).0, 1);
    let file = server.scratch.path("aqueduct.toml");
    let text = std::fs::read_to_string(&file).expect("it is there");
    std::fs::write(&file, text.replace("64KiB", "128KiB")).expect("written");
    kill(&mut server, &flags);
    let mut reader = Attached::attach(&server.socket, "", "");
    for (seq, payload) in [(0, "zero"), (1, "one")] {
        let found = reader.next().map(|record| (record.0, record.2));
        assert_eq!(found, Some((seq, payload.as_bytes().to_vec())), "{}", server.log());
    }
    let (seq, other) = place(&server.post("default", b"two"));
    assert_eq!(seq, 2);
    assert_ne!(epoch, other);
    reader.release();
    kill(&mut server, &flags);
    let mut reader = Attached::attach(&server.socket, "", "");
    let last = std::iter::from_fn(|| reader.next()).last();
    assert_eq!(last.map(|record| (record.0, record.2)), Some((2, b"two".to_vec())));
    assert_eq!(place(&server.post("default", b"three")), (3, other), "{}", server.log());
}
