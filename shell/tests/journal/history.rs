//! `aqueduct journal`: what people see of a journal, play back and record.

use std::io::Write;
use std::path::Path;
#[cfg(feature = "look")]
use std::{
    process::{Command, Stdio},
    time::Duration,
};

use aqueduct_client::{Event, Options};
use rustix::process::Signal;

use crate::common::reader::Attached;
use crate::common::{Ends, Response, Server, command, record};
use crate::{journal, start, strs};

#[test]
fn a_journal_is_inspected_verified_replayed_and_trimmed() {
    let (mut server, flags) = start("disk", "retain_bytes = \"1GiB\"");
    for n in 0..10_u8 {
        let payload = [b"record ", &[b'0' + n][..]].concat();
        assert_eq!(server.post("default", &payload).status, 202);
    }
    let ring = journal(&server);
    let run = |arguments: &[&str]| {
        let directory = ring.to_str().expect("ASCII");
        let (what, more) = arguments.split_first().expect("a command");
        let output = command().args(["journal", what, directory]).args(more).ended();
        let output = output.expect("it runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (status, said, _) = run(&["inspect"]);
    assert_eq!(status, Some(0));
    assert!(said.contains("ring default, disk, epoch") && said.contains("  10 records"), "{said}");
    let (status, said, complaints) = run(&["verify"]);
    assert_eq!((status, complaints.as_str()), (Some(0), ""), "{said}");
    assert!(said.ends_with(" 10 records, 0 damaged places\n"), "{said}");
    let (_, lines, _) = run(&["replay", "--format", "lines", "--from", "3", "--to", "6"]);
    assert_eq!(lines, "record 3\nrecord 4\nrecord 5\n");
    let (_, objects, _) = run(&["replay", "--from", "2020-01-01T00:00:00Z"]);
    assert_eq!(objects.lines().count(), 10);
    assert!(objects.contains("\"seq\":7,\"type\":0,"), "{objects}");
    assert!(objects.contains("\"data\":\"record 7\"}"), "{objects}");
    // Into a ring of another listener, in order.
    let other = Server::start(&[]);
    let url = format!("http://{}/v1/rings/default/records", other.http);
    let (status, _, complaints) = run(&["replay", "--url", &url, "--speed", "1000"]);
    assert_eq!(status, Some(0), "{complaints}");
    let mut reader = Attached::attach(&other.socket, "", "");
    let found: Vec<_> = std::iter::from_fn(|| reader.next().map(|record| record.2)).collect();
    assert_eq!((found.len(), &found[9][..]), (10, &b"record 9"[..]));
    let (status, _, complaints) = run(&["trim"]);
    assert_eq!(status, Some(1));
    assert!(complaints.contains("another process uses this journal"), "{complaints}");

    let mut reader = Attached::attach(&server.socket, "", "");
    while reader.next().is_some() {}
    reader.release();
    server.terminate();
    assert_eq!(server.wait().code(), Some(0));
    server.start_again(&strs(&flags));
    server.signal(Signal::KILL);
    let _ = server.wait();
    let (status, said, complaints) = run(&["trim"]);
    assert_eq!((status, said.as_str()), (Some(0), "1 segments removed, 1 kept\n"), "{complaints}");

    // A record in the middle is damaged.
    server.start_again(&strs(&flags));
    for n in 0..3_u8 {
        assert_eq!(server.post("default", &[n; 40]).status, 202);
    }
    server.signal(Signal::KILL);
    let _ = server.wait();
    let mut segments: Vec<_> = std::fs::read_dir(&ring)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "segment"))
        .collect();
    segments.sort();
    let newest = segments.last().expect("one");
    let mut bytes = std::fs::read(newest).expect("readable");
    bytes[4096 + 96 + 40] ^= 1;
    std::fs::write(newest, bytes).expect("written");
    let (status, said, _) = run(&["inspect"]);
    assert_eq!(status, Some(1));
    assert!(said.contains("damage at position") && said.contains("record 11 is damaged"), "{said}");
    let (status, _, complaints) = run(&["verify"]);
    assert_eq!(status, Some(1));
    assert!(complaints.contains("record 11 is damaged"), "{complaints}");
}

/// What `aqueduct journal` says of a directory: status, stdout, stderr.
fn journal_command(directory: &Path, what: &str, more: &[&str]) -> (Option<i32>, String, String) {
    let output = command().args(["journal", what]).arg(directory).args(more).ended();
    let output = output.expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// Number, type, payload, attributes.
type Whole = (u64, u16, Vec<u8>, Vec<(String, Vec<u8>)>);

/// Records of a ring.
fn records_with_attributes(server: &Server) -> Vec<Whole> {
    let options = Options::new(&server.socket).start(aqueduct_client::Start::Oldest);
    let mut observer = options.observe().expect("it observes");
    let mut found = Vec::new();
    while let Event::Record((record, payload, attributes)) =
        observer.next_with_attributes().expect("it reads")
    {
        let attributes = attributes
            .map(|one| (String::from_utf8_lossy(one.name).into_owned(), one.value.to_vec()));
        found.push((record.seq, record.type_tag, payload.to_vec(), attributes.collect()));
    }
    found
}

#[test]
fn replay_carries_attributes_or_says_that_it_cannot() {
    let (server, _) = start("process", "[http]\nattributes = [\":path\", \"x-id\"]");
    let mut stream = server.connect();
    for id in ["7", "a b"] {
        let lines = format!("aqueduct-type: 3\r\nx-id: {id}\r\n");
        stream.write_all(&record("default", &lines, id.as_bytes())).expect("sent");
        assert_eq!(Response::read(&mut stream).status, 202);
    }
    let sent = records_with_attributes(&server);
    assert_eq!(sent[1].3[1], ("x-id".to_owned(), b"a b".to_vec()));
    let ring = journal(&server);
    let (_, lines, _) = journal_command(&ring, "replay", &[]);
    let attributes = "\"attributes\":[{\"name\":\":path\",\"value\":\"/v1/rings/default/records\"},\
                      {\"name\":\"x-id\",\"value\":\"a b\"}],\"data\":\"a b\"}";
    assert!(lines.lines().last().is_some_and(|line| line.ends_with(attributes)), "{lines}");
    let url = |server: &Server| format!("http://{}/v1/rings/default/records", server.http);
    let believes = Server::with_file("[http]\nattributes = ['aqueduct-attributes']\n", &[]);
    let (status, _, complaints) = journal_command(&ring, "replay", &["--url", &url(&believes)]);
    assert_eq!(status, Some(0), "{complaints}");
    assert_eq!(records_with_attributes(&believes), sent);
    let deaf = Server::start(&[]);
    let (status, _, complaints) = journal_command(&ring, "replay", &["--url", &url(&deaf)]);
    assert_eq!(status, Some(1));
    assert!(complaints.contains("have that address keep \"aqueduct-attributes\""), "{complaints}");
    assert!(records_with_attributes(&deaf).is_empty());
    let dropping = ["--url", &url(&deaf), "--drop-attributes"];
    assert_eq!(journal_command(&ring, "replay", &dropping).0, Some(0));
    let without: Vec<_> =
        sent.into_iter().map(|(seq, tag, payload, _)| (seq, tag, payload, Vec::new())).collect();
    assert_eq!(records_with_attributes(&deaf), without);
}

#[cfg(feature = "look")]
#[test]
fn a_ring_without_a_journal_is_recorded_and_the_recording_goes_on_where_it_ended() {
    let settings = "[http]\nattributes = ['x-id', 'aqueduct-attributes']\n\
                    [[ring]]\nname = 'default'\ncapacity_bytes = '64KiB'\nfull_wait_ms = 0\n\
                    subscriptions = ['tape']\n";
    let server = Server::with_file(settings, &[]);
    let socket = server.socket.to_str().expect("ASCII");
    let directory = server.scratch.path("recording");
    let mut stream = server.connect();
    let mut post = |n: u32| {
        let lines = format!("aqueduct-type: {}\r\nx-id: {n}\r\n", n % 7);
        let body = vec![b'a'; 1000];
        stream.write_all(&record("default", &lines, &body)).expect("sent");
        Response::read(&mut stream).status
    };
    // More than the ring holds, so that it must be released; in files that are small.
    let flags = ["--socket", socket, "--subscription", "tape", "--segment-bytes", "1MiB"];
    let mut posted = 0;
    for round in 0..3_u64 {
        // The tests may themselves run where a hangup is ignored.
        let mut child = Command::new("env");
        child.arg("--default-signal=HUP").arg(command().get_program());
        child.args(["journal", "record"]).arg(&directory).args(flags);
        let mut child = child.stdout(Stdio::null()).spawn().expect("it starts");
        let until = posted + 700;
        while posted < until {
            match post(posted) {
                202 => posted += 1,
                503 => std::thread::sleep(Duration::from_millis(5)),
                status => panic!("{status}"),
            }
        }
        if round == 1 {
            // Whatever it has not released comes again, and is recorded once.
            child.kill().expect("it runs");
            assert!(!child.wait().expect("it ended").success());
        } else {
            // Closing a terminal loses nothing, either.
            let signal = if round == 0 { Signal::TERM } else { Signal::HUP };
            let pid = rustix::process::Pid::from_child(&child);
            rustix::process::kill_process(pid, signal).expect("it runs");
            assert!(child.wait().expect("it ended").success());
        }
    }
    let drained = ["--socket", socket, "--subscription", "tape", "--no-follow"];
    let (status, said, complaints) = journal_command(&directory, "record", &drained);
    assert_eq!(status, Some(0), "{complaints}");
    assert!(said.ends_with(" recorded, 0 missed\n"), "{said}");
    let (status, said, complaints) = journal_command(&directory, "verify", &[]);
    assert_eq!((status, complaints.as_str()), (Some(0), ""), "{said}");
    assert!(said.ends_with(&format!(" {posted} records, 0 damaged places\n")), "{said}");
    let (_, lines, _) = journal_command(&directory, "replay", &[]);
    for (seq, line) in lines.lines().enumerate() {
        let (tag, id) = (seq % 7, format!("[{{\"name\":\"x-id\",\"value\":\"{seq}\"}}]"));
        let begins = format!("\"seq\":{seq},\"type\":{tag},");
        assert!(line.contains(&begins) && line.contains(&id), "{seq}: {line}");
    }
    // An observer holds nobody back, and says what it missed.
    let seen = server.scratch.path("seen");
    let flags = ["--socket", socket, "--no-follow"];
    assert_eq!(journal_command(&seen, "record", &flags).0, Some(0));
    let mut lapped = 0;
    while lapped < 200 {
        match post(0) {
            202 => lapped += 1,
            _ => {
                let _ = journal_command(&directory, "record", &drained);
            }
        }
    }
    let (status, said, complaints) = journal_command(&seen, "record", &flags);
    assert_eq!(status, Some(1), "{said}");
    assert!(complaints.contains("came faster than they were written"), "{complaints}");
    let (status, said, complaints) = journal_command(&seen, "verify", &[]);
    assert_eq!(status, Some(0), "{said}{complaints}");
    // Nobody writes two rings, or twice, to one directory.
    let other = Server::with_file("[[ring]]\nname = 'other'\n", &[]);
    let socket = ["--socket", other.socket.to_str().expect("ASCII"), "--no-follow"];
    let (status, _, complaints) = journal_command(&seen, "record", &socket);
    assert_eq!(status, Some(1));
    assert!(complaints.contains("holds records of the ring default"), "{complaints}");
}
