//! Random kills (SIGKILL) of forwarder and listener while records arrive, and what the file holds
//! in the end: nothing lost, order kept, what came twice counted.
//!
//! `KILLS=200` makes it a campaign; 5 by default. `SEED` repeats one.
#![allow(clippy::disallowed_types, reason = "inside the process, not in shared memory")]

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use common::{Forward, Listener, Random, Scratch, eventually, lines};

const BATCH_RECORDS: usize = 64;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn killed_at_random_nothing_is_lost_and_order_is_kept() {
    let (kills, seed) = (number("KILLS", 5), number("SEED", 0x5eed));
    let mut random = Random(seed | 1);
    let scratch = Scratch::new("kills");
    let listener = Listener::start_with(&scratch, &["--capacity-bytes", "1MiB"]);
    let out = scratch.join("out");
    let config = format!(
        "[sink]\nkind = 'file'\npath = '{}'\n[batch]\nrecords = {BATCH_RECORDS}\nwait_ms = 2\n",
        out.display()
    );
    let stop = Arc::new(AtomicBool::new(false));
    let (mut client, ended) = (listener.client(), Arc::clone(&stop));
    let producer = thread::spawn(move || {
        let mut next = 0_u64;
        // ORDER(none): a flag between threads of a test, and a join after it.
        while !ended.load(Ordering::Relaxed) {
            let body: Vec<_> = (next..next + 10).map(|n| n.to_string()).collect();
            if client.lines(&body.join("\n")) {
                next += 10;
            }
            thread::sleep(Duration::from_micros(300));
        }
        next
    });
    let mut forward = Forward::start(&scratch, &listener.socket, &config, &[]);
    for _ in 0..kills {
        thread::sleep(Duration::from_millis(random.below(120)));
        forward.process.kill();
        forward = Forward::start(&scratch, &listener.socket, &config, &[]);
    }
    stop.store(true, Ordering::Relaxed);
    let posted = producer.join().expect("it posted");
    let last = (posted - 1).to_string();
    eventually("the last record", || (lines(&out).last() == Some(&last)).then_some(()));
    assert_eq!(forward.stop(), 0);

    let arrived: Vec<u64> =
        lines(&out).iter().map(|line| line.parse().expect("a whole record")).collect();
    let different: BTreeSet<u64> = arrived.iter().copied().collect();
    assert_eq!(different.len() as u64, posted, "none is lost (seed {seed})");
    // A repetition begins at the first record that was not released, and goes on without a gap.
    let mut jumps = 0;
    for pair in arrived.windows(2) {
        if pair[1] != pair[0] + 1 {
            assert!(pair[1] <= pair[0], "a gap from {} to {} (seed {seed})", pair[0], pair[1]);
            assert!(pair[0] - pair[1] < BATCH_RECORDS as u64, "more than a batch came twice");
            jumps += 1;
        }
    }
    let twice = arrived.len() as u64 - posted;
    println!("file: {kills} kills of the forwarder, {posted} records, 0 lost, {twice} twice");
    assert!(jumps <= kills, "only kills repeat");
    assert!(posted > 0 && twice <= kills * BATCH_RECORDS as u64);
}

#[test]
fn a_killed_listener_loses_nothing_that_a_forwarder_reads() {
    let kills = number("KILLS", 5);
    let mut random = Random(number("SEED", 0x5eed) | 1);
    let scratch = Scratch::new("lkills");
    let out = scratch.join("out");
    let config = format!(
        "[sink]\nkind = 'file'\npath = '{}'\n[batch]\nwait_ms = 2\n[envelope]\nform = 'json'\n",
        out.display()
    );
    let mut listener = Listener::start(&scratch);
    let mut forward = Forward::start(&scratch, &listener.socket, &config, &[]);
    forward.process.wait_for_log("attached");
    let mut answered = Vec::new();
    let mut next = 0_u64;
    for round in 0..=kills {
        let mut client = listener.client();
        client.record(0, next.to_string().as_bytes());
        answered.push(next);
        next += 1;
        // A ring that was never attached is memory that is gone.
        eventually("attached", || (lines(&out).len() == answered.len()).then_some(()));
        // At random: in the middle of what is being read.
        for _ in 0..20 + random.below(100) {
            client.record(0, next.to_string().as_bytes());
            answered.push(next);
            next += 1;
        }
        if round < kills {
            listener.process.kill();
            listener = Listener::start(&scratch);
        }
    }
    let arrived = eventually("all that was answered", || {
        let arrived: Vec<serde_json::Value> = lines(&out)
            .iter()
            .map(|line| serde_json::from_str(line).expect("a whole record"))
            .collect();
        (arrived.len() >= answered.len()).then_some(arrived)
    });
    let numbers: Vec<u64> = arrived
        .iter()
        .map(|record| record["text"].as_str().and_then(|n| n.parse().ok()).expect("a number"))
        .collect();
    assert_eq!(numbers, answered, "each once, in order");
    let epochs: BTreeSet<_> = arrived.iter().map(|it| it["epoch"].to_string()).collect();
    assert_eq!(epochs.len() as u64, kills + 1, "one epoch for each listener");
    assert_eq!(forward.stop(), 0);
    let records = answered.len();
    println!("listener: {kills} kills of the listener, {records} records, 0 lost, 0 twice");
}

#[test]
fn with_a_journal_listener_and_forwarder_are_killed_together_and_nothing_is_lost() {
    let kills = number("KILLS", 5);
    let mut random = Random(number("SEED", 0x5eed) | 1);
    let scratch = Scratch::new("jkills");
    let file = scratch.join("listener.toml");
    std::fs::write(
        &file,
        format!(
            "[journal]\ndirectory = '{}'\n[[ring]]\nname = 'r'\ncapacity_bytes = '256KiB'\n\
             durability = 'process'\nsubscriptions = ['s']\n",
            scratch.join("journal").display()
        ),
    )
    .expect("written");
    let start = || Listener::start_with(&scratch, &["--config", &file.display().to_string()]);
    let out = scratch.join("out");
    let config = format!(
        "[sink]\nkind = 'file'\npath = '{}'\n[batch]\nwait_ms = 2\n[envelope]\nform = 'json'\n",
        out.display()
    );
    let mut listener = start();
    let mut forward = Forward::start(&scratch, &listener.socket, &config, &[]);
    let mut answered = 0_u64;
    for _ in 0..kills {
        let mut client = listener.client();
        for _ in 0..random.below(300) {
            client.record(0, answered.to_string().as_bytes());
            answered += 1;
        }
        // Either first: what the other one does meanwhile is lost on nobody.
        if random.below(2) == 0 {
            forward.process.kill();
            listener.process.kill();
        } else {
            listener.process.kill();
            forward.process.kill();
        }
        listener = start();
        forward = Forward::start(&scratch, &listener.socket, &config, &[]);
    }
    let arrived = || -> Vec<(String, u64, u64)> {
        let name = |line: &String| {
            let value: serde_json::Value = serde_json::from_str(line).expect("a whole record");
            let n = value["text"].as_str().and_then(|n| n.parse().ok()).expect("a number");
            (value["epoch"].to_string(), value["seq"].as_u64().expect("a number"), n)
        };
        lines(&out).iter().map(name).collect()
    };
    let different = || arrived().into_iter().collect::<BTreeSet<_>>();
    let all = eventually("all that was answered", || {
        Some(different()).filter(|all| all.len() as u64 >= answered)
    });
    let numbers: Vec<_> = all.iter().map(|(_, _, n)| *n).collect();
    assert_eq!(numbers, (0..answered).collect::<Vec<_>>(), "each by one name, in order");
    assert_eq!(forward.stop(), 0);
    let twice = arrived().len() as u64 - answered;
    println!(
        "journal: {kills} kills of listener and forwarder together, {answered} records, 0 lost, \
         {twice} twice"
    );
}
