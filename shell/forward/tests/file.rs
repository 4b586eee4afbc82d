//! The frame as a process, with a file as its sink: what arrives, in which form, and how it ends.

mod common;
#[path = "common/disk.rs"]
mod disk;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use common::{Forward, Listener, Scratch, eventually, get, lines, metric};
use disk::Disk;
use rustix::process::{Pid, Resource, Rlimit, Signal};

/// A configuration with a file as its sink.
fn to_file(scratch: &Scratch, more: &str) -> String {
    format!("[sink]\nkind = 'file'\npath = '{}'\n{more}", scratch.join("out").display())
}

#[test]
fn once_delivers_what_is_there_and_ends() {
    let scratch = Scratch::new("once");
    let listener = Listener::start(&scratch);
    let mut client = listener.client();
    assert!(client.lines("one\ntwo\nthree\n"));
    let config = to_file(&scratch, "");
    let mut forward = Forward::start(&scratch, &listener.socket, &config, &["--once"]);
    assert_eq!(forward.process.wait().code(), Some(0), "{}", forward.process.log());
    assert_eq!(lines(&scratch.join("out")), ["one", "two", "three"]);
    let log = forward.process.log();
    assert!(log.contains("delivered=3 dead_lettered=0 left=0"), "{log}");
    // Released: nothing comes twice.
    client.record(0, b"four");
    let mut forward = Forward::start(&scratch, &listener.socket, &config, &["--once"]);
    assert_eq!(forward.process.wait().code(), Some(0));
    assert_eq!(lines(&scratch.join("out")), ["one", "two", "three", "four"]);
}

#[test]
fn once_draws_a_bar_on_a_terminal_and_none_elsewhere() {
    let scratch = Scratch::new("bar");
    let listener = Listener::start(&scratch);
    assert!(listener.client().lines("one\ntwo\nthree\n"));
    // `script` runs a command on a terminal of its own.
    let command = format!(
        "{} --socket {} --subscription s --once --to {}",
        env!("CARGO_BIN_EXE_aqueduct-forward"),
        listener.socket.display(),
        scratch.join("out").display()
    );
    let mut script = std::process::Command::new("script");
    let output = script.args(["--quiet", "--return", "--command", &command, "/dev/null"]).output();
    let output = output.expect("script is there");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("[##############################] 100.0 % 3/3 records"), "{text}");
    assert_eq!(lines(&scratch.join("out")), ["one", "two", "three"]);
    listener.client().record(0, b"four");
    let config = to_file(&scratch, "");
    let mut forward = Forward::start(&scratch, &listener.socket, &config, &["--once"]);
    assert_eq!(forward.process.wait().code(), Some(0));
    assert!(!forward.process.log().contains("[#"), "{}", forward.process.log());
}

#[test]
fn stdout_is_a_sink_by_a_flag_and_the_log_goes_elsewhere() {
    let scratch = Scratch::new("stdout");
    let listener = Listener::start(&scratch);
    listener.client().record(7, b"{\"a\": 1}");
    let config = "[envelope]\nform = 'json'\njson_payload = true\n";
    let flags = ["--once", "--to", "-"];
    let mut forward = Forward::start(&scratch, &listener.socket, config, &flags);
    assert_eq!(forward.process.wait().code(), Some(0), "{}", forward.process.log());
    let out = lines(&scratch.join("stdout"));
    let value: serde_json::Value = serde_json::from_str(&out[0]).expect("JSON");
    assert_eq!((out.len(), &value["seq"], &value["type"]), (1, &0.into(), &7.into()));
    assert_eq!(value["payload"]["a"], 1);
}

#[test]
fn only_the_wanted_types_arrive_and_the_others_are_released() {
    let scratch = Scratch::new("types");
    let listener = Listener::start_with(&scratch, &["--capacity-bytes", "64KiB"]);
    let config = to_file(&scratch, "[from]\ntypes = [2, 3]\n");
    let more = ["--admin-listen", "127.0.0.1:0"];
    let forward = Forward::start(&scratch, &listener.socket, &config, &more);
    let admin = forward.admin();
    let mut client = listener.client();
    // Several times the ring: what is not wanted must not hold it up.
    for n in 0..6000_u16 {
        client.record(n % 1000, b"0123456789");
    }
    let out = scratch.join("out");
    eventually("twelve lines", || (lines(&out).len() == 12).then_some(()));
    let page = eventually("all are counted", || {
        let page = get(admin, "/metrics").1;
        let filtered = metric(&page, "filtered_records_total");
        // The lag is measured now and then, not with each record.
        (filtered > 5987.5 && metric(&page, "lag_records") < 0.5).then_some(page)
    });
    assert!((metric(&page, "delivered_records_total") - 12.0).abs() < 0.1, "{page}");
}

#[test]
fn a_record_waits_for_others_no_longer_than_it_is_told() {
    let scratch = Scratch::new("wait");
    let listener = Listener::start(&scratch);
    let config = to_file(&scratch, "[batch]\nrecords = 3\nwait_ms = '1500ms'\n");
    let _forward = Forward::start(&scratch, &listener.socket, &config, &[]);
    let out = scratch.join("out");
    eventually("the sink is probed", || out.exists().then_some(()));
    let mut client = listener.client();
    let began = Instant::now();
    assert!(client.lines("one\ntwo\nthree\nfour\n"));
    eventually("the first batch", || (lines(&out).len() == 3).then_some(()));
    assert!(began.elapsed() < Duration::from_millis(1400), "a full batch does not wait");
    eventually("the second batch", || (lines(&out).len() == 4).then_some(()));
    assert!(began.elapsed() >= Duration::from_millis(1500), "one that is not full does");
}

#[test]
fn a_batch_has_half_of_the_next_ring_when_that_is_smaller() {
    let scratch = Scratch::new("smaller");
    let mut listener = Listener::start_with(&scratch, &["--capacity-bytes", "1MiB"]);
    // Only the ring ends a batch.
    let config = to_file(&scratch, "[batch]\nrecords = 1000000\nwait_ms = '1h'\n");
    let mut forward = Forward::start(&scratch, &listener.socket, &config, &[]);
    forward.process.wait_for_log("attached");
    listener.client().record(0, b"of the first ring");
    listener.process.kill();
    let listener = Listener::start_with(&scratch, &["--capacity-bytes", "64KiB"]);
    let out = scratch.join("out");
    eventually("the first ring's", || (lines(&out).len() == 1).then_some(()));
    let mut client = listener.client();
    for n in 0..3000_u32 {
        let answer = client.post("", n.to_string().as_bytes());
        assert!(matches!(answer, Ok((202, _))), "{n}: {answer:?}: no batch ended");
    }
    assert_eq!(forward.stop(), 0);
    assert_eq!(lines(&out).len(), 3001);
}

#[test]
fn without_a_ring_the_log_says_why_and_says_it_once() {
    let scratch = Scratch::new("detached");
    let socket = scratch.join("a.sock");
    let mut forward = Forward::start(&scratch, &socket, &to_file(&scratch, ""), &[]);
    let said = |forward: &Forward, reason: &str| {
        let log = forward.process.log();
        log.lines().filter(|it| it.contains("not attached") && it.contains(reason)).count()
    };
    let line = forward.process.wait_for_log("not attached");
    assert!(line.contains("No such file") && line.contains(&*socket.to_string_lossy()), "{line}");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(said(&forward, ""), 1, "a reason is said once: {}", forward.process.log());
    // A socket that nobody listens on.
    drop(std::os::unix::net::UnixListener::bind(&socket).expect("bound"));
    forward.process.wait_for_log("refused");
    let mut listener = Listener::start(&scratch);
    forward.process.wait_for_log(" attached ");
    assert_eq!(said(&forward, ""), 2, "{}", forward.process.log());
    // The same while it runs.
    listener.process.kill();
    eventually("refused again", || (said(&forward, "refused") == 2).then_some(()));
    let listener = Listener::start(&scratch);
    forward.process.wait_for_log("attached again");
    listener.client().record(0, b"one");
    eventually("delivered", || (lines(&scratch.join("out")) == ["one"]).then_some(()));
    assert_eq!(forward.stop(), 0, "{}", forward.process.log());
    // One that waits for a ring ends when it is told to.
    let mut forward = Forward::start(&scratch, &scratch.join("b"), &to_file(&scratch, ""), &[]);
    eventually("it waits", || (said(&forward, "No such file") == 2).then_some(()));
    assert_eq!(forward.stop(), 0, "{}", forward.process.log());
}

#[test]
fn what_another_process_delivered_meanwhile_is_no_damage() {
    let scratch = Scratch::new("held");
    let file = scratch.join("listener.toml");
    let text = format!(
        "[journal]\ndirectory = '{}'\n[[ring]]\nname = 'r'\ndurability = 'process'\n\
         subscriptions = ['s']\n",
        scratch.join("journal").display()
    );
    fs::write(&file, text).expect("written");
    let start = || Listener::start_with(&scratch, &["--config", &file.display().to_string()]);
    let mut listener = start();
    let config = to_file(&scratch, "[batch]\nwait_ms = 5\n");
    let out = scratch.join("out");
    let delivered = |record: &str| {
        eventually("delivered", || lines(&out).contains(&record.to_owned()).then_some(()));
    };
    let more = ["--admin-listen", "127.0.0.1:0"];
    let mut first = Forward::start(&scratch, &listener.socket, &config, &more);
    let admin = first.admin();
    listener.client().record(0, b"one");
    delivered("one");
    first.process.signal(Signal::STOP);
    listener.process.kill();
    listener = start();
    let mut second = Forward::start(&scratch, &listener.socket, &config, &[]);
    let mut client = listener.client();
    client.record(0, b"two");
    delivered("two");
    first.process.signal(Signal::CONT);
    first.process.wait_for_log("already");
    assert_eq!(second.stop(), 0);
    client.record(0, b"three");
    delivered("three");
    first.process.wait_for_log("another process delivered what is between");
    let page = get(admin, "/metrics").1;
    assert!(metric(&page, "damaged_total") + metric(&page, "missed_total") < 0.5, "{page}");
    assert_eq!(first.stop(), 0);
    // The killed listener may not have known that the first record was released.
    assert!(lines(&out).ends_with(&["one", "two", "three"].map(str::to_owned)), "in order");
}

#[test]
fn poison_stops_the_process_unless_there_is_a_dead_letter_file() {
    let scratch = Scratch::new("poison");
    let listener = Listener::start(&scratch);
    let mut client = listener.client();
    for payload in ["one", "t\nwo", "three"] {
        client.record(5, payload.as_bytes());
    }
    let config = to_file(&scratch, "");
    // However often it is started again, what was delivered before it stays delivered.
    for _ in 0..3 {
        let mut forward = Forward::start(&scratch, &listener.socket, &config, &["--once"]);
        assert_eq!(forward.process.wait().code(), Some(4));
        let log = forward.process.log();
        assert!(log.contains("-1 will never be delivered"), "{log}");
        assert!(log.contains("a line break"), "{log}");
        assert_eq!(lines(&scratch.join("out")), ["one"]);
    }

    let dead = scratch.join("dead");
    let config = to_file(&scratch, &format!("[poison]\nfile = '{}'\n", dead.display()));
    let mut forward = Forward::start(&scratch, &listener.socket, &config, &["--once"]);
    assert_eq!(forward.process.wait().code(), Some(0), "{}", forward.process.log());
    assert_eq!(lines(&scratch.join("out")), ["one", "three"]);
    let dead = lines(&dead);
    let letter: serde_json::Value = serde_json::from_str(&dead[0]).expect("JSON");
    assert_eq!((dead.len(), &letter["record"]["text"]), (1, &"t\nwo".into()));
    assert_eq!((&letter["record"]["seq"], &letter["sink"]), (&1.into(), &"file".into()));
    assert!(letter["reason"].as_str().is_some_and(|reason| reason.contains("line break")));
}

#[test]
fn dead_letters_wait_for_room_and_each_is_a_whole_line() {
    let scratch = Scratch::new("letters");
    let Some(disk) = Disk::mount(scratch.join("disk"), 4096) else { return };
    let listener = Listener::start(&scratch);
    let mut client = listener.client();
    for n in 0..60 {
        let payload = if n % 2 == 0 { format!("{n}") } else { format!("a line break\n{n}") };
        client.record(0, payload.as_bytes());
    }
    let dead = disk.path().join("dead");
    let config = to_file(&scratch, &format!("[poison]\nfile = '{}'\n", dead.display()));
    let mut forward = Forward::start(&scratch, &listener.socket, &config, &[]);
    forward.process.wait_for_log("not put aside");
    // Killed while it waits, and by the next process: what is there is whole.
    forward.process.kill();
    let flags = ["--admin-listen", "127.0.0.1:0"];
    let mut forward = Forward::start(&scratch, &listener.socket, &config, &flags);
    let admin = forward.admin();
    eventually("not ready", || (get(admin, "/readyz").0 == 503).then_some(()));
    disk.resize(1 << 20);
    eventually("all are delivered", || (lines(&scratch.join("out")).len() >= 30).then_some(()));
    eventually("ready", || (get(admin, "/readyz").0 == 200).then_some(()));
    assert_eq!(forward.stop(), 0, "{}", forward.process.log());
    let letters: BTreeSet<_> = lines(&dead)
        .iter()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("a whole line"))
        .filter_map(|letter| letter["record"]["seq"].as_u64())
        .collect();
    assert_eq!(letters, (0..60).filter(|n| n % 2 == 1).collect());
}

#[test]
fn a_file_that_is_removed_while_its_disk_is_full_is_made_anew() {
    let scratch = Scratch::new("removed");
    let Some(disk) = Disk::mount(scratch.join("disk"), 16 << 10) else { return };
    let listener = Listener::start(&scratch);
    let mut client = listener.client();
    let out = disk.path().join("out");
    let config = format!(
        "[sink]\nkind = 'file'\npath = '{}'\n[retry]\nbreaker_failures = 1000\n",
        out.display()
    );
    let mut forward = Forward::start(&scratch, &listener.socket, &config, &[]);
    client.record(0, b"first");
    eventually("delivered", || (lines(&out) == ["first"]).then_some(()));
    // More than there is room for, even in an empty file.
    let large = "x".repeat(20_000);
    client.record(0, large.as_bytes());
    forward.process.wait_for_log("not delivered");
    fs::remove_file(&out).expect("removed");
    disk.resize(1 << 20);
    client.record(0, b"last");
    eventually("in a new file", || (lines(&out) == [&*large, "last"]).then_some(()));
    assert_eq!(forward.stop(), 0, "{}", forward.process.log());
}

#[test]
fn sigterm_delivers_what_was_read_and_the_status_says_if_it_could_not() {
    let scratch = Scratch::new("term");
    let listener = Listener::start(&scratch);
    let mut client = listener.client();
    // A long wait for others: only the signal has the batch delivered.
    let config = to_file(&scratch, "[batch]\nwait_ms = '1h'\n");
    let mut forward = Forward::start(&scratch, &listener.socket, &config, &[]);
    forward.process.wait_for_log("attached");
    client.record(0, b"one");
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(forward.stop(), 0, "{}", forward.process.log());
    assert_eq!(lines(&scratch.join("out")), ["one"]);

    // A disk without room: what was read stays in the ring.
    let config = "[sink]\nkind = 'file'\npath = '/dev/full'\n[shutdown]\ndrain_timeout_ms = 300\n";
    let mut forward = Forward::start(&scratch, &listener.socket, config, &[]);
    client.record(0, b"two");
    forward.process.wait_for_log("not delivered");
    let began = Instant::now();
    assert_eq!(forward.stop(), 3, "{}", forward.process.log());
    assert!(began.elapsed() < Duration::from_secs(5), "within the deadline");
    forward.process.wait_for_log("1 records are not delivered and stay in the ring");
    let config = to_file(&scratch, "");
    let mut forward = Forward::start(&scratch, &listener.socket, &config, &["--once"]);
    assert_eq!(forward.process.wait().code(), Some(0));
    assert_eq!(lines(&scratch.join("out")), ["one", "two"]);
}

#[test]
fn it_is_ready_only_while_the_other_side_is_there() {
    let scratch = Scratch::new("ready");
    let listener = Listener::start(&scratch);
    // A symbolic link: where the sink is, changes.
    let out = scratch.join("out");
    std::os::unix::fs::symlink("/dev/full", &out).expect("linked");
    let config = to_file(&scratch, "[retry]\nbreaker_failures = 3\nbreaker_pause_ms = 50\n");
    let more = ["--admin-listen", "127.0.0.1:0"];
    let forward = Forward::start(&scratch, &listener.socket, &config, &more);
    let admin = forward.admin();
    assert_eq!(get(admin, "/healthz"), (200, "ok\n".to_owned()));
    eventually("idle and ready", || (get(admin, "/readyz").0 == 200).then_some(()));
    listener.client().record(0, b"one");
    eventually("not ready", || (get(admin, "/readyz").0 == 503).then_some(()));
    let page = eventually("the circuit opens", || {
        let page = get(admin, "/metrics").1;
        (metric(&page, "breaker_openings_total") > 0.5).then_some(page)
    });
    assert!(metric(&page, "retries_total") > 1.5 && metric(&page, "in_flight_records") > 0.5);
    fs::remove_file(&out).expect("removed");
    eventually("delivered", || (lines(&out) == ["one"]).then_some(()));
    eventually("ready again", || (get(admin, "/readyz").0 == 200).then_some(()));
    let page = get(admin, "/metrics").1;
    assert!(metric(&page, "in_flight_records") < 0.5 && metric(&page, "breaker_open") < 0.5);
    assert_eq!(get(admin, "/nothing").0, 404);
}

#[test]
fn records_in_hand_are_counted_and_keep_it_from_being_ready() {
    let scratch = Scratch::new("hand");
    let listener = Listener::start(&scratch);
    let config = to_file(
        &scratch,
        "[batch]\nrecords = 20\nwait_ms = '1h'\n[admin]\nready_lag_records = 5\n",
    );
    let more = ["--admin-listen", "127.0.0.1:0"];
    let forward = Forward::start(&scratch, &listener.socket, &config, &more);
    let admin = forward.admin();
    eventually("ready", || (get(admin, "/readyz").0 == 200).then_some(()));
    let mut client = listener.client();
    for n in 0..19_u32 {
        client.record(0, n.to_string().as_bytes());
        let left = eventually("counted", || {
            let page = get(admin, "/metrics").1;
            let left = metric(&page, "lag_records") + metric(&page, "in_flight_records");
            (left > f64::from(n) + 0.5).then_some(page)
        });
        // Nobody is asked for an acknowledgement yet.
        assert!(metric(&left, "waiting_seconds") < 0.001, "{left}");
        let expected = if n < 5 { 200 } else { 503 };
        assert_eq!(get(admin, "/readyz").0, expected, "{n}");
    }
    client.record(0, b"the last");
    eventually("delivered", || (lines(&scratch.join("out")).len() == 20).then_some(()));
    eventually("ready again", || (get(admin, "/readyz").0 == 200).then_some(()));
    let page = get(admin, "/metrics").1;
    assert!(metric(&page, "in_flight_records") < 0.5, "{page}");
}

#[test]
fn it_stays_ready_while_nothing_that_comes_is_wanted() {
    let scratch = Scratch::new("unwanted");
    let listener = Listener::start(&scratch);
    let config = to_file(&scratch, "[from]\ntypes = [1]\n[admin]\nready_age_ms = 2500\n");
    let more = ["--admin-listen", "127.0.0.1:0"];
    let forward = Forward::start(&scratch, &listener.socket, &config, &more);
    let admin = forward.admin();
    eventually("ready", || (get(admin, "/readyz").0 == 200).then_some(()));
    let mut client = listener.client();
    let until = Instant::now() + Duration::from_secs(4);
    while Instant::now() < until {
        client.record(2, b"unwanted");
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(get(admin, "/readyz"), (200, "{\"ready\":true}\n".to_owned()));
    }
}

#[test]
fn an_idle_process_stays_ready_within_a_short_age() {
    let scratch = Scratch::new("short");
    let listener = Listener::start(&scratch);
    let config = to_file(&scratch, "[admin]\nready_age_ms = 1000\n");
    let more = ["--admin-listen", "127.0.0.1:0"];
    let forward = Forward::start(&scratch, &listener.socket, &config, &more);
    let admin = forward.admin();
    eventually("ready", || (get(admin, "/readyz").0 == 200).then_some(()));
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        assert_eq!(get(admin, "/readyz"), (200, "{\"ready\":true}\n".to_owned()));
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn settings_that_are_wrong_end_it_with_2_and_a_check_reads_no_ring() {
    let scratch = Scratch::new("settings");
    let nowhere = scratch.join("nobody.sock");
    for (config, says) in [
        ("", "sink.kind"),
        ("[sink]\nkind = 'file'\n", "path"),
        ("[batch]\nrecords = 0\n[sink]\nkind = 'file'\npath = '-'\n", "batch.records: `0`"),
        ("[nothing]\n", "nothing"),
    ] {
        let mut forward = Forward::start(&scratch, &nowhere, config, &["--check"]);
        assert_eq!(forward.process.wait().code(), Some(2), "{config}");
        let log = forward.process.log();
        let last = log.lines().filter(|line| line.contains(says)).count();
        assert!(last > 0, "{config}: {log}");
    }
    let config = to_file(&scratch, "");
    let mut forward = Forward::start(&scratch, &nowhere, &config, &["--check"]);
    assert_eq!(forward.process.wait().code(), Some(0));
    let mut forward = Forward::start(
        &scratch,
        &nowhere,
        &to_file(&scratch, "[from]\nopen_wait_ms = 50\n"),
        &["--once"],
    );
    assert_eq!(forward.process.wait().code(), Some(1), "no listener");
}

#[test]
fn peers_that_are_silent_or_slow_keep_nobody_from_the_health_page() {
    let scratch = Scratch::new("silent");
    let listener = Listener::start(&scratch);
    let more = ["--admin-listen", "127.0.0.1:0"];
    let forward = Forward::start(&scratch, &listener.socket, &to_file(&scratch, ""), &more);
    let admin = forward.admin();
    // Fewer than have a place, and more.
    for silent in [10, 200] {
        let began = Instant::now();
        let peers: Vec<_> = (0..silent)
            .map(|n| {
                let mut peer = TcpStream::connect(admin).expect("it accepts");
                match n % 3 {
                    0 => {}
                    1 => peer.write_all(b"GET /metrics HT").expect("sent"),
                    // It never reads the answer.
                    _ => peer.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").expect("sent"),
                }
                peer
            })
            .collect();
        assert_eq!(get(admin, "/healthz"), (200, "ok\n".to_owned()));
        // One after the other they would have two seconds each.
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        // Nobody keeps its place: one that sends a byte now and then has as long as any.
        let mut trickling = TcpStream::connect(admin).expect("it accepts");
        let is_closed = |peer: &mut TcpStream| peer.write_all(b"x").is_err();
        eventually("its time is over", || is_closed(&mut trickling).then_some(()));
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
        drop(peers);
    }
    let page = get(admin, "/metrics").1;
    assert!(metric(&page, "log_lines_dropped_total") < 0.5, "{page}");
    assert!(metric(&page, "log_lines_suppressed_total") < 0.5, "{page}");
}

#[cfg(feature = "http")]
#[test]
fn lines_of_the_log_that_nobody_takes_are_counted() {
    let scratch = Scratch::new("deaf");
    let listener = Listener::start(&scratch);
    // Nobody is there, and that is a line every two seconds.
    let config = "[sink]\nkind = 'http'\nurl = 'http://127.0.0.1:1/'\n";
    let more = ["--admin-listen", "127.0.0.1:0"];
    let forward = Forward::start(&scratch, &listener.socket, config, &more);
    let admin = forward.admin();
    let pid = Pid::from_raw(i32::try_from(forward.process.pid()).expect("small"));
    // The log is a file that may not grow.
    let none = Rlimit { current: Some(0), maximum: None };
    rustix::process::prlimit(pid, Resource::Fsize, none).expect("limited");
    let lost = |page: &str| metric(page, "log_lines_dropped_total") > 0.5;
    eventually("lines are lost", || lost(&get(admin, "/metrics").1).then_some(()));
}

#[test]
fn a_file_that_may_not_grow_is_for_a_person_and_nothing_is_lost() {
    let scratch = Scratch::new("limit");
    let listener = Listener::start(&scratch);
    let mut client = listener.client();
    client.record(0, b"first");
    let config = to_file(&scratch, "");
    let mut forward = Forward::start(&scratch, &listener.socket, &config, &[]);
    eventually("delivered", || (lines(&scratch.join("out")).len() == 1).then_some(()));
    let pid = Pid::from_raw(i32::try_from(forward.process.pid()).expect("small"));
    let limit = Rlimit { current: Some(8192), maximum: None };
    rustix::process::prlimit(pid, Resource::Fsize, limit).expect("limited");
    client.record(0, &[b'x'; 10_000]);
    let status = forward.process.wait_for(Duration::from_secs(10));
    assert_eq!(status.and_then(|status| status.code()), Some(1), "{}", forward.process.log());
    let log = forward.process.log();
    assert!(log.contains("RLIMIT_FSIZE") && log.contains("8192"), "{log}");
    let mut forward = Forward::start(&scratch, &listener.socket, &config, &["--once"]);
    assert_eq!(forward.process.wait().code(), Some(0), "{}", forward.process.log());
    let found = lines(&scratch.join("out"));
    assert_eq!(found.iter().map(String::len).collect::<Vec<_>>(), [5, 10_000]);
}

#[test]
fn with_too_few_descriptors_it_says_so_in_a_line() {
    let scratch = Scratch::new("descriptors");
    let file = scratch.join("forward.toml");
    let text = to_file(&scratch, "[from]\nopen_wait_ms = 0\n[admin]\nlisten = '127.0.0.1:0'\n");
    fs::write(&file, text).expect("written");
    for limit in 5..20 {
        let script = format!("ulimit -n {limit}; exec \"$0\" \"$@\"");
        let mut command = std::process::Command::new("sh");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_aqueduct-forward"), "--once"]);
        command.arg("--config").arg(&file).arg("--socket").arg(scratch.join("nobody"));
        let output = command.output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{limit}: {said}");
        let last = said.lines().last().unwrap_or_default();
        assert!(last.starts_with("aqueduct-forward: "), "{limit}: {said}");
        assert!(!said.contains("panic"), "{limit}: {said}");
    }
}
