//! `aqueduct top`, `bench`, `completions` and `man` against a real listener.
#![cfg(feature = "operate")]

mod common;

use std::process::Output;

use common::{Ends, Scratch, Server, command};
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

#[test]
fn top_prints_rings_readers_and_forwarders_once() {
    let server = with_admin();
    for _ in 0..3 {
        assert_eq!(server.post("default", b"payload").status, 202);
    }
    let admin = admin(&server);
    let flags = ["top", "--once", "--admin", &admin, "--forwarder", "127.0.0.1:1"];
    let (output, shown) = run(&[&flags[..], &["--format", "json"]].concat());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let ring = &shown["rings"][0];
    assert_eq!((&ring["name"], &ring["next_seq"]), (&"default".into(), &3.into()), "{shown}");
    assert!(ring["records_per_second"].is_number() && ring["wakes"].is_number(), "{ring}");
    let reader = &shown["readers"][0];
    assert_eq!(
        (&reader["ring"], &reader["lag_records"]),
        (&"default".into(), &3.into()),
        "{shown}"
    );
    assert!(shown["forwarders"][0]["error"].is_string(), "{shown}");
    let (output, _) = run(&flags);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("RECORDS/S") && text.contains("default"), "{text}");
    assert_eq!(run(&["top", "--once", "--admin", "127.0.0.1:1"]).0.status.code(), Some(1));
    while server.post("default", &[0; 4000]).status == 202 {}
    server.eventually("it says what is wrong", || {
        let (_, shown) = run(&[&flags[..], &["--format", "json"]].concat());
        let findings = shown["findings"].as_array().unwrap_or_else(|| panic!("{shown}"));
        findings.iter().any(|finding| finding["kind"] == "ring_full")
    });
}

#[test]
fn bench_loads_every_protocol_and_finds_all_that_was_taken() {
    let server = Server::with_file(
        "[[ring]]\nname = \"default\"\ncapacity_bytes = \"16MiB\"\nsubscriptions = [\"s\"]\n\
         [[listen]]\naddress = \"127.0.0.1:0\"\nprotocol = \"resp\"\n\
         [[listen]]\naddress = \"127.0.0.1:0\"\nprotocol = \"lines\"\n\
         [[listen]]\naddress = \"127.0.0.1:0\"\nprotocol = \"mqtt\"\n",
        &[],
    );
    let socket = server.socket.to_str().expect("ASCII");
    let http = format!("http://{}/v1/rings/default/records", server.http);
    let resp = format!("resp://{}/default", server.at("resp"));
    let lines = format!("lines://{}", server.at("lines"));
    let mqtt = format!("mqtt://{}/a/b", server.at("mqtt"));
    let cases: [(&str, &[&str]); 5] = [
        (&http, &["--rate", "200"]),
        (&http, &["--rate", "200", "--batch", "10"]),
        (&resp, &["--rate", "200", "--batch", "5"]),
        (&mqtt, &["--rate", "200"]),
        (&lines, &["--rate", "200"]),
    ];
    for (to, more) in cases {
        let flags = ["--socket", socket, "--duration", "500ms", "--connections", "2"];
        let (output, report) =
            run(&[&["bench", to, "--format", "json"][..], &flags, more].concat());
        assert_eq!(output.status.code(), Some(0), "{to} {more:?}: {output:?}");
        let taken = report["taken"].as_u64().expect("a number");
        assert!(taken >= 50, "{to} {more:?}: {report}");
        let arrived = &report["arrived"];
        assert_eq!(arrived["records"], taken, "{to} {more:?}: {report}");
        assert_eq!((&arrived["missing"], &arrived["twice"]), (&0.into(), &0.into()), "{report}");
        assert_eq!(arrived["latency_ns"]["count"], taken, "{report}");
    }
    let (output, report) =
        run(&["bench", &http, "--no-check", "--duration", "200ms", "--format", "json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(report["arrived"].is_null() && report["taken"].as_u64() > Some(0), "{report}");
    let (output, _) = run(&["bench", "resp://127.0.0.1:1/r", "--no-check", "--duration", "50ms"]);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn what_a_package_has_is_installed_where_a_package_has_it() {
    let scratch = Scratch::new();
    let root = scratch.path("root");
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_aqueduct"));
    std::fs::create_dir(scratch.path("built")).expect("made");
    std::fs::copy(program, scratch.path("built/aqueduct")).expect("copied");
    let output = std::process::Command::new("deploy/install")
        .arg("--from")
        .arg(scratch.path("built"))
        .args(["--prefix", "/usr", "--destdir"])
        .arg(&root)
        .ended()
        .expect("it ends");
    assert!(output.status.success(), "{output:?}");
    let text = |name: &str| {
        let read = std::fs::read_to_string(root.join("usr").join(name));
        read.unwrap_or_else(|error| panic!("{name}: {error}; {output:?}"))
    };
    assert!(root.join("usr/bin/aqueduct").is_file());
    assert!(!root.join("usr/bin/aqueduct-forward").exists());
    assert!(text("share/man/man1/aqueduct.1").contains(".Dt AQUEDUCT 1"));
    for command in ["tail", "publish", "journal-replay"] {
        assert!(text(&format!("share/man/man1/aqueduct-{command}.1")).contains(".TH"), "{command}");
    }
    assert!(text("share/bash-completion/completions/aqueduct").contains("reconnect-for"));
    assert!(text("share/zsh/site-functions/_aqueduct").starts_with("#compdef aqueduct"));
    assert!(text("share/fish/vendor_completions.d/aqueduct.fish").contains("aqueduct"));
    let unit = text("lib/systemd/system/aqueduct.service");
    assert!(unit.contains("ExecStart=/usr/bin/aqueduct serve"), "{unit}");
}

#[test]
fn completions_and_pages_are_made_of_the_command_line() {
    for shell in ["bash", "zsh", "fish"] {
        let (output, _) = run(&["completions", shell]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && text.contains("reconnect-for"), "{shell}");
    }
    let scratch = Scratch::new();
    let directory = scratch.path("man");
    std::fs::create_dir(&directory).expect("made");
    let (output, _) = run(&["man", directory.to_str().expect("ASCII")]);
    assert!(output.status.success(), "{output:?}");
    let page = std::fs::read_to_string(directory.join("aqueduct-tail.1")).expect("a page");
    assert!(page.contains("reconnect\\-for"), "{page}");
    assert!(directory.join("aqueduct-journal-replay.1").is_file());
}
