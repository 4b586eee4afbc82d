//! `aqueduct doctor` beside a real listener, and where none could start.
#![cfg(feature = "look")]

mod common;

use std::process::Output;

use common::{Ends, Scratch, Server, command, get};
use serde_json::Value;

fn run(arguments: &[&str]) -> (Output, Value) {
    let output = command().args(arguments).ended().expect("it ends");
    let value = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output, value)
}

fn with_admin() -> Server {
    Server::start(&["--admin-listen", "127.0.0.1:0", "--capacity-bytes", "64KiB"])
}

fn admin(server: &Server) -> String {
    server.admin.expect("an address").to_string()
}

/// The check of this name in the answer of `doctor`.
fn check<'v>(report: &'v Value, name: &str) -> &'v Value {
    let checks = report["checks"].as_array().unwrap_or_else(|| panic!("{report}"));
    checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("{name}: {report}"))
}

#[test]
fn doctor_looks_at_a_running_listener_and_its_readers() {
    let server = with_admin();
    let socket = server.socket.to_str().expect("ASCII");
    let admin = admin(&server);
    let flags = ["doctor", "--format", "json", "--socket", socket, "--admin", &admin];
    let (output, report) = run(&flags);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    for name in ["kernel", "memfd", "futex", "descriptors", "memory", "clock"] {
        assert_ne!(check(&report, name)["status"], "failure", "{report}");
    }
    for name in ["control socket", "listener", "ready", "readers"] {
        assert_eq!(check(&report, name)["status"], "ok", "{report}");
    }
    assert_eq!(server.post("default", b"x").status, 202);
    let (output, report) = run(&flags);
    assert_eq!(output.status.code(), Some(0), "a warning only: {output:?}");
    let readers = check(&report, "readers");
    assert_eq!(readers["status"], "warning", "{report}");
    assert!(readers["text"].as_str().is_some_and(|it| it.contains("no reader is attached")));
    assert!(readers["mend"].is_string(), "{report}");
    let (output, _) = run(&[&flags[..], &["--strict"]].concat());
    assert_eq!(output.status.code(), Some(1));
    while server.post("default", &[0; 4000]).status == 202 {}
    let (output, report) = run(&flags);
    assert_eq!(
        (output.status.code(), &check(&report, "ready")["status"]),
        (Some(1), &"failure".into())
    );
    server.eventually("what the listener itself finds is there, too", || {
        let (_, report) = run(&flags);
        let checks = report["checks"].as_array().unwrap_or_else(|| panic!("{report}"));
        let is_it = |check: &&Value| {
            check["name"] == "finding"
                && check["text"].as_str().is_some_and(|text| text.starts_with("default: "))
        };
        checks.iter().find(is_it).is_some_and(|check| {
            check["status"] == "failure"
                && check["mend"].as_str().is_some_and(|it| it.contains("top"))
        })
    });
}

#[test]
fn what_doctor_recommends_works_when_it_is_pasted_and_it_leaves_no_trace() {
    let two = "[[ring]]\nname = \"a\"\ncapacity_bytes = \"64KiB\"\nsubscriptions = [\"s\"]\n\
               [[ring]]\nname = \"b\"\ncapacity_bytes = \"64KiB\"\n";
    let server = Server::with_file(two, &["--admin-listen", "127.0.0.1:0"]);
    let socket = server.socket.to_str().expect("ASCII");
    let admin = admin(&server);
    while server.post("a", &[0; 4000]).status == 202 {}
    for given in [&["--admin", &*admin][..], &[]] {
        let flags = [&["doctor", "--format", "json", "--socket", socket][..], given].concat();
        let (_, report) = run(&flags);
        assert_eq!(check(&report, "control socket")["status"], "ok", "{report}");
        let refused = "aqueduct_control_handshakes_total{outcome=\"no_ring\"}";
        let text = Server::exchange_at(server.admin.expect("an address"), get("/metrics")).body;
        assert!(text.lines().any(|line| line == format!("{refused} 0")), "{text}");
        assert!(!server.log().contains("reader refused"), "{}", server.log());
        if given.is_empty() {
            continue;
        }
        let mend = check(&report, "ready")["mend"].as_str().expect("what to do");
        let words: Vec<&str> = mend.split(' ').collect();
        assert_eq!(words[..3], ["aqueduct", "top", "--once"], "{mend}");
        #[cfg(feature = "operate")]
        {
            let (output, _) = run(&words[1..]);
            assert!(output.status.success(), "{mend}: {output:?}");
        }
    }
}

#[test]
fn doctor_says_what_would_keep_a_listener_from_starting() {
    let scratch = Scratch::new();
    // It takes connections and never answers.
    let other = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let taken = other.local_addr().expect("an address").to_string();
    let config = |text: &str| {
        let path = scratch.path("aqueduct.toml");
        std::fs::write(&path, text).expect("written");
        path.to_str().expect("ASCII").to_owned()
    };
    let socket = scratch.path("none/aqd.sock");
    // More than any machine has.
    let ring = "capacity_bytes = \"32GiB\"\ndurability = \"disk\"\n";
    let ring = |n: u32| format!("[[ring]]\nname = \"r{n}\"\n{ring}");
    let rings = (0..32).map(ring).collect::<Vec<_>>().concat();
    let file = config(&format!(
        "[http]\nlisten = \"{taken}\"\n[control]\nsocket = \"{}\"\n\
         [credentials]\nfile = \"/nonexistent/credentials\"\n\
         [journal]\ndirectory = \"/proc/nowhere\"\n{rings}",
        socket.display()
    ));
    let (output, report) = run(&["doctor", "--format", "json", "--config", &file]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    for (name, words) in [
        ("address", "another process has it"),
        ("control socket", "no such directory"),
        ("memory", "the rings need"),
        ("files", "/nonexistent/credentials"),
    ] {
        let check = check(&report, name);
        assert_eq!(check["status"], "failure", "{name}: {report}");
        assert!(check["text"].as_str().is_some_and(|text| text.contains(words)), "{check}");
        assert!(check["mend"].is_string(), "{check}");
    }
    assert_ne!(check(&report, "journal")["status"], "ok", "{report}");
    let bad = config("[http]\nlisten = 7\n");
    assert_eq!(run(&["doctor", "--config", &bad]).0.status.code(), Some(2));
}
