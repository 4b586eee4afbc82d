//! What was answered survives the process, under its number.

use std::io::{Read, Write};

use aqueduct_client::{Event, Options};

use crate::common::http2;
use crate::common::reader::Attached;
use crate::common::{self, Response, record};
use crate::{journal, kill, place, start, strs};

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
    // A segment in use and one to spare, of at least the ring's size.
    server.eventually("the space of the journal is known", || {
        server.metric("aqueduct_journal_size_bytes{ring=\"default\"}") >= 2.0 * 1024.0 * 1024.0
            && server.metric("aqueduct_journal_room_bytes{ring=\"default\"}") > 0.0
    });
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
        while answers.matches('-').count() < 50 {
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

#[test]
fn a_client_that_reconnects_goes_on_without_a_gap_or_a_repeat() {
    let (mut server, flags) = start("disk", "");
    let options = Options::new(&server.socket).reconnect_for(common::PATIENCE);
    let mut client = options.attach().expect("an honest server");
    let mut next = || {
        loop {
            match client.next().expect("undamaged") {
                Event::Record((record, _)) => return record.seq,
                Event::Empty => {
                    let _ = client.wait(Some(common::PATIENCE)).expect("polled");
                }
                _ => panic!("neither another epoch nor an end"),
            }
        }
    };
    for seq in 0..12 {
        assert_eq!(place(&server.post("default", b"x")).0, seq);
        // Nothing is released: what was read and kept is not handed over again.
        assert_eq!(next(), seq);
        if seq % 4 == 3 {
            kill(&mut server, &flags);
        }
    }
}
