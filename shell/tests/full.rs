//! A ring that is full: who waits, who is told, and that nobody waits for nothing.

mod common;

use std::io::Write;
use std::time::{Duration, Instant};

use common::reader::Attached;
use common::{PATIENCE, Response, Server, record};

/// 32 granules; a record of 64 bytes takes 3.
const SMALL: [&str; 2] = ["--capacity-bytes", "1024"];

fn start(flags: &[&str]) -> Server {
    Server::start(&[&SMALL, flags].concat())
}

/// Posts until it is full; how many went in.
fn fill(server: &Server) -> u64 {
    let mut published = 0;
    let mut stream = server.connect();
    loop {
        stream.write_all(&record("default", "", &[1; 64])).expect("sent");
        match Response::read(&mut stream).status {
            202 => published += 1,
            503 => return published,
            other => panic!("{other}"),
        }
    }
}

#[test]
fn a_full_ring_is_answered_503_within_bounds_and_works_again_after_a_release() {
    let server = start(&["--full-wait-ms", "150"]);
    let published = fill(&server);
    assert_eq!(published, 10, "31 granules hold 10 records of 3");

    let begun = Instant::now();
    let refused = server.post("default", &[2; 64]);
    let waited = begun.elapsed();
    refused.assert_problem(503);
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert!(waited >= Duration::from_millis(150) && waited < PATIENCE, "{waited:?}");
    let ready = server.get("/readyz");
    ready.assert_problem(503);
    assert!(ready.body.contains("ring default is full"), "{ready:?}");

    let mut reader = Attached::attach(&server.socket, "", "");
    for seq in 0..published {
        assert_eq!(reader.next().map(|record| record.0), Some(seq));
    }
    reader.release();
    assert_eq!(server.get("/readyz").status, 200);
    let again = server.post("default", &[3; 64]);
    assert_eq!((again.status, again.header("aqueduct-seq")), (202, Some("10")));
    assert_eq!(reader.next(), Some((10, 0, vec![3; 64])), "what was refused is not there");
    assert!(
        server.metric("aqueduct_records_rejected_total{reason=\"full\",ring=\"default\"}") > 1.5
    );
}

#[test]
fn requests_that_wait_are_published_in_their_order_as_soon_as_there_is_space() {
    let server = start(&["--full-wait-ms", "60000"]);
    let mut reader = Attached::attach(&server.socket, "", "");
    let mut stream = server.connect();
    for _ in 0..10 {
        stream.write_all(&record("default", "", &[1; 64])).expect("sent");
        assert_eq!(Response::read(&mut stream).status, 202);
    }
    let mut waiting: Vec<_> = (0..8_u8)
        .map(|n| {
            let mut stream = server.connect();
            stream.write_all(&record("default", "", &[n; 64])).expect("sent");
            stream
        })
        .collect();
    let mut seen = Vec::new();
    let begun = Instant::now();
    while seen.len() < 18 {
        assert!(begun.elapsed() < PATIENCE, "stuck at {}; log:\n{}", seen.len(), server.log());
        while let Some((seq, ..)) = reader.next() {
            seen.push(seq);
            reader.release();
        }
    }
    assert_eq!(seen, (0..18).collect::<Vec<_>>());
    for stream in &mut waiting {
        assert_eq!(Response::read(stream).status, 202);
    }
}

#[test]
fn a_small_record_that_gets_space_does_not_forget_a_large_one_that_waits() {
    let server = start(&["--full-wait-ms", "60000"]);
    let mut reader = Attached::attach(&server.socket, "", "");
    let mut stream = server.connect();
    for _ in 0..10 {
        stream.write_all(&record("default", "", &[1; 64])).expect("sent");
        assert_eq!(Response::read(&mut stream).status, 202);
    }
    let mut large = server.connect();
    large.write_all(&record("default", "", &[2; 400])).expect("sent");
    let mut small = server.connect();
    small.write_all(&record("default", "", &[3; 1])).expect("sent");
    let mut got = 0;
    let begun = Instant::now();
    while got < 12 {
        assert!(begun.elapsed() < PATIENCE, "stuck at {got}");
        if reader.next().is_some() {
            got += 1;
            reader.release();
        }
    }
    assert_eq!((Response::read(&mut large).status, Response::read(&mut small).status), (202, 202));
}

#[test]
fn clients_that_go_away_while_they_wait_leave_no_trace() {
    let server = start(&["--full-wait-ms", "60000"]);
    let mut reader = Attached::attach(&server.socket, "", "");
    let mut stream = server.connect();
    for _ in 0..10 {
        stream.write_all(&record("default", "", &[1; 64])).expect("sent");
        assert_eq!(Response::read(&mut stream).status, 202);
    }
    for _ in 0..5 {
        let mut gone = server.connect();
        gone.write_all(&record("default", "", &[9; 64])).expect("sent");
        common::reset(gone);
    }
    // One that has been waiting for a while, too.
    let mut waiting = server.connect();
    waiting.write_all(&record("default", "", &[9; 64])).expect("sent");
    std::thread::sleep(Duration::from_millis(50));
    common::reset(waiting);
    let series = "aqueduct_records_rejected_total{reason=\"disconnected\",ring=\"default\"}";
    server.eventually("six clients gone", || server.metric(series) > 5.5);
    for seq in 0..10 {
        assert_eq!(reader.next().map(|record| record.0), Some(seq));
    }
    reader.release();
    assert_eq!(server.post("default", &[4; 64]).header("aqueduct-seq"), Some("10"));
    assert_eq!(reader.next(), Some((10, 0, vec![4; 64])));
}

#[test]
fn a_subscription_nobody_attached_to_holds_the_ring_back() {
    let server = start(&["--full-wait-ms", "0", "--subscription", "a", "--subscription", "b"]);
    let mut reader = Attached::attach(&server.socket, "", "a");
    let published = fill(&server);
    while reader.next().is_some() {}
    reader.release();
    assert_eq!(server.post("default", &[1; 64]).status, 503);
    let mut late = Attached::attach(&server.socket, "", "b");
    for seq in 0..published {
        assert_eq!(late.next().map(|record| record.0), Some(seq));
    }
    late.release();
    assert_eq!(server.post("default", &[1; 64]).status, 202);
}
