//! `aqueduct top`, `bench`, `completions` and `man` against a real listener.
#![cfg(feature = "operate")]

mod common;

use std::io::Read;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::{Ends, PATIENCE, Scratch, Server, command};
use rustix::process::{Pid, Signal, kill_process};
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
    let findings = shown["findings"].as_array().expect("a list");
    let is_it = |finding: &&Value| finding["forwarder"] == "127.0.0.1:1";
    let found = findings.iter().find(is_it).expect("found, too");
    assert_eq!(found["kind"], "forwarder_unreachable", "{found}");
    assert_eq!(shown["forwarders"][0]["why"], found["text"], "{shown}");
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
fn top_wants_a_terminal_and_gives_it_back_whatever_ends_it() {
    let server = with_admin();
    let admin = admin(&server);
    let (output, _) = run(&["top", "--admin", &admin]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert_eq!(output.stdout, b"", "nothing that a file would have to keep");
    assert!(String::from_utf8_lossy(&output.stderr).contains("--once"), "{output:?}");
    for signal in [Signal::TERM, Signal::HUP, Signal::INT] {
        // `script` is the terminal, and says afterwards what its modes are.
        let program = env!("CARGO_BIN_EXE_aqueduct");
        let command =
            format!("stty rows 24 cols 160; {program} top --admin {admin}; echo $?; stty");
        let mut script = std::process::Command::new("script")
            .args(["--quiet", "--command", &command, "/dev/null"])
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("script is of util-linux");
        let mut shown = script.stdout.take().expect("piped");
        let mut seen = Vec::new();
        let mut piece = [0; 4096];
        while !String::from_utf8_lossy(&seen).contains("RECORDS/S") {
            let read = shown.read(&mut piece).expect("a screen");
            assert!(read > 0, "{}", String::from_utf8_lossy(&seen));
            seen.extend_from_slice(&piece[..read]);
        }
        rustix::process::kill_process(child_named("aqueduct", script.id()), signal).expect("sent");
        let mut rest = String::new();
        shown.read_to_string(&mut rest).expect("text");
        script.wait().expect("it ends");
        let (last, after) = rest.split_once("\u{1b}[?1049l").expect("the screen is left");
        assert!(after.contains("\n0\r\n") || after.contains("0\r\nspeed"), "{last}{after}");
        assert!(!after.contains("-icanon") && !after.contains("-echo "), "{signal:?}: {after}");
    }
}

/// A descendant of a process, by its name.
fn child_named(name: &str, of: u32) -> rustix::process::Pid {
    let children = |pid: u32| -> Vec<u32> {
        let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        list.unwrap_or_default().split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
    };
    let mut waiting = children(of);
    while let Some(pid) = waiting.pop() {
        let is_it = std::fs::read_to_string(format!("/proc/{pid}/comm"));
        if is_it.is_ok_and(|comm| comm.trim() == name) {
            let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
            return pid.expect("not zero");
        }
        waiting.extend(children(pid));
    }
    panic!("no {name} below {of}");
}

#[test]
fn whatever_prints_a_result_prints_it_as_json_too() {
    let scratch = Scratch::new();
    let journals = scratch.path("journals");
    std::fs::create_dir(&journals).expect("made");
    let file = scratch.path("aqueduct.toml");
    let text = |wait: &str| {
        format!(
            "[journal]\ndirectory = \"{}\"\n\
             [[ring]]\nname = \"kept\"\ncapacity_bytes = \"64KiB\"\n\
             durability = \"process\"\nfull_wait_ms = \"{wait}\"\nsubscriptions = [\"s\"]\n",
            journals.display()
        )
    };
    std::fs::write(&file, text("1s")).expect("written");
    let file = file.to_str().expect("ASCII").to_owned();
    let server = Server::start_in(scratch, &["--config", &file]);
    assert_eq!(server.post("kept", b"payload").status, 202);
    let json = ["--format", "json"];
    let said = |arguments: &[&str], status: i32| {
        let (output, value) = run(&[arguments, &json].concat());
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {output:?}");
        assert!(value.is_object(), "{arguments:?}: {output:?}");
        value
    };
    assert_eq!(said(&["check-config", "--config", &file], 0)["rings"], 1);
    let refused = said(&["check-config", "--config", "/nonexistent"], 2);
    assert!(refused["accepted"] == false && refused["error"].is_string(), "{refused}");
    let shown = said(&["config", "--config", &file], 0);
    let tables = shown["tables"].as_array().expect("tables");
    let table = |name: &str| tables.iter().find(|table| table["table"] == name).expect("there");
    assert_eq!(table("ring")["settings"]["full_wait_ms"], "1s");
    let from = table("ring")["from"]["full_wait_ms"].as_str();
    assert!(from.is_some_and(|from| from.contains(&file)), "{shown}");
    assert_eq!(table("ring")["settings"]["subscriptions"], serde_json::json!(["s"]));
    assert_eq!(table("http")["from"].get("max_connections"), None, "nobody gave it");
    let socket = server.socket.to_str().expect("ASCII");
    let at = ["reload", "--socket", socket];
    std::fs::write(&file, text("2s")).expect("written");
    let changes = said(&at, 0);
    assert!(changes["changes"].as_str().is_some_and(|it| it.contains("full_wait_ms")), "{changes}");
    std::fs::write(&file, "[nonsense]").expect("written");
    let refused = said(&at, 1);
    assert!(refused["applied"] == false && refused["error"].is_string(), "{refused}");
    let credential = said(&["credential", "add", "robot", "--ring", "kept"], 0);
    assert!(credential["line"].as_str().is_some_and(|it| it.ends_with(" rings=kept")));
    assert!(credential["token"].as_str().is_some_and(|it| it.starts_with("aqd_")));
    let own = journals.join("kept");
    let own = own.to_str().expect("ASCII");
    let inspected = said(&["journal", "inspect", own], 0);
    let segment = &inspected["segments"][0];
    assert_eq!((&segment["ring"], &segment["records"]), (&"kept".into(), &1.into()));
    assert_eq!(segment["ends"][0]["kind"], "end", "{inspected}");
    assert_eq!(inspected["cursors"][0]["subscriptions"][0]["name"], "s", "{inspected}");
    let verified = said(&["journal", "verify", own], 0);
    assert_eq!((&verified["records"], &verified["damages"]), (&1.into(), &serde_json::json!([])));
    let copy = server.scratch.path("copy");
    let copy = copy.to_str().expect("ASCII");
    let of_ring = ["journal", "record", copy, "--socket", socket, "--no-follow"];
    let recorded = said(&of_ring, 0);
    assert_eq!((&recorded["recorded"], &recorded["missed"]), (&1.into(), &0.into()));
    assert_eq!(said(&["journal", "trim", copy], 0)["removed"], 0);
}

#[test]
fn a_recording_outlives_its_terminal_where_it_was_started_so() {
    let server = Server::start(&["--capacity-bytes", "64KiB"]);
    let socket = server.socket.to_str().expect("ASCII");
    for (number, (before, outlives)) in
        [("--ignore-signal=HUP", true), ("--default-signal=HUP", false)].into_iter().enumerate()
    {
        let copy = server.scratch.path(&format!("copy-{number}"));
        let arguments = ["journal", "record", copy.to_str().expect("ASCII"), "--socket", socket];
        let program = command();
        let mut child = Command::new("env")
            .arg(before)
            .arg(program.get_program())
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("started");
        let pid = Pid::from_child(&child);
        // Its directory is made after it has said which signals it takes.
        let deadline = Instant::now() + PATIENCE;
        while !copy.exists() {
            assert!(Instant::now() < deadline, "it does not begin");
            std::thread::sleep(Duration::from_millis(5));
        }
        kill_process(pid, Signal::HUP).expect("it lives");
        if outlives {
            std::thread::sleep(Duration::from_millis(600));
            assert!(child.try_wait().expect("a child").is_none(), "the hangup ended it");
            kill_process(pid, Signal::TERM).expect("it lives");
        }
        while child.try_wait().expect("a child").is_none() {
            if Instant::now() > deadline {
                child.kill().expect("killed");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(0), "{before}: {output:?}");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(said, "0 records recorded, 0 missed\n", "{before}");
    }
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
fn records_that_are_refused_for_good_are_counted_so_and_the_rest_is_unsent() {
    let server = Server::start(&["--max-payload-bytes", "1024"]);
    let http = format!("http://{}/v1/rings/default/records", server.http);
    let (output, report) = run(&[
        "bench",
        &http,
        "--no-check",
        "--size",
        "2000",
        "--rate",
        "20",
        "--duration",
        "500ms",
        "--connections",
        "2",
        "--format",
        "json",
    ]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let number = |name: &str| report[name].as_u64().expect("a number");
    assert_eq!((number("refused"), number("errors"), number("taken")), (2, 0, 0), "{report}");
    assert_eq!((number("sent"), number("unsent")), (2, 8), "{report}");
    assert!(report["last_reason"].as_str().is_some_and(|it| it.starts_with("413")), "{report}");
}

#[test]
fn what_a_hung_server_left_unsent_counts_with_the_time_that_it_has_waited() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let host = listener.local_addr().expect("an address").to_string();
    // It takes requests, and hangs up after a while.
    let server = std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a client");
        std::thread::sleep(std::time::Duration::from_millis(1600));
        drop((stream, listener));
    });
    let to = format!("http://{host}/v1/rings/default/records");
    let flags = ["--no-check", "--connections", "1", "--rate", "100", "--duration", "500ms"];
    let (output, report) = run(&[&["bench", &to, "--format", "json"][..], &flags].concat());
    server.join().expect("it ended");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let count = |key: &str| report[key].as_u64().expect("a number");
    assert_eq!(count("sent") + count("unsent"), 50, "all that were due: {report}");
    assert!(count("sent") < 5, "{report}");
    let latency = &report["latency_ns"];
    assert_eq!(latency["count"], report["unsent"], "{report}");
    assert!(latency["p50"].as_u64() > Some(1_000_000_000), "{report}");
    // Nothing was answered, so nothing is said of times.
    let (output, _) = run(&["bench", "resp://127.0.0.1:1/r", "--no-check", "--duration", "50ms"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains(" 0 taken") && !text.contains("p50"), "{text}");
}

#[test]
fn of_several_rings_the_address_names_one_and_a_refusal_says_which_there_are() {
    let rings: Vec<String> = ["orders".to_owned(), "events".to_owned(), "x".repeat(64)].to_vec();
    let flags: Vec<&str> = rings.iter().flat_map(|ring| ["--ring", ring]).collect();
    let server = Server::start(&[&flags[..], &["--capacity-bytes", "64KiB"]].concat());
    let socket = server.socket.to_str().expect("ASCII");
    let http = format!("http://{}/v1/rings/events/records", server.http);
    let (output, report) = run(&[
        "bench",
        &http,
        "--socket",
        socket,
        "--rate",
        "100",
        "--duration",
        "200ms",
        "--format",
        "json",
    ]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(report["arrived"]["records"], report["taken"], "{report}");
    let (output, _) = run(&["tail", "--socket", socket, "--no-follow"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.ends_with("there are several rings; name one: orders, events, \u{2026}\n"),
        "{said}"
    );
    let (output, _) = run(&["tail", "--socket", socket, "--ring", "order", "--no-follow"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let expected = "there is no ring of that name, but: orders, events, \u{2026}\n";
    assert!(said.ends_with(expected), "{said}");
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
    let (output, _) = run(&["man", directory.to_str().expect("ASCII")]);
    assert!(output.status.success(), "{output:?}");
    let page = std::fs::read_to_string(directory.join("aqueduct-tail.1")).expect("a page");
    assert!(page.contains("reconnect\\-for"), "{page}");
    assert!(directory.join("aqueduct-journal-replay.1").is_file());
    assert!(page.contains(".BR aqueduct (1)"), "where the exit statuses are: {page}");
    // What would be said of a page: by mandoc, and by groff, which is what `man` runs.
    let mut pages: Vec<_> = std::fs::read_dir(&directory)
        .expect("it is there")
        .map(|entry| entry.expect("a page").path())
        .collect();
    pages.sort();
    assert!(pages.len() > 15, "{pages:?}");
    let checks: [(&str, &[&str]); 2] = [
        ("mandoc", &["-Tlint", "-Wwarning"]),
        ("groff", &["-mandoc", "-ww", "-z", "-Tutf8", "-k"]),
    ];
    for (program, flags) in checks {
        let said = std::process::Command::new(program).args(flags).args(&pages).ended();
        let Ok(said) = said else {
            assert!(std::env::var_os("CI").is_none(), "{program}: .ci/setup installs it");
            println!("NOT run: {program}, which is not installed");
            continue;
        };
        let said = [said.stdout, said.stderr].concat();
        assert_eq!(String::from_utf8_lossy(&said), "", "{program}");
    }
}

#[test]
fn shells_complete_commands_flags_and_values() {
    let scratch = Scratch::new();
    let script = |shell: &str| {
        let (output, _) = run(&["completions", shell]);
        let path = scratch.path(&format!("aqueduct.{shell}"));
        std::fs::write(&path, output.stdout).expect("written");
        path.to_str().expect("ASCII").to_owned()
    };
    let asked = |program: &str, script: &str| {
        let Ok(output) = std::process::Command::new(program).args(["-c", script]).ended() else {
            assert!(std::env::var_os("CI").is_none(), "{program}: .ci/setup installs it");
            println!("NOT run: {program}, which is not installed");
            return None;
        };
        assert!(output.status.success(), "{program}: {output:?}");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Some(text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    };
    let words = ["aqueduct ta", "aqueduct tail --form", "aqueduct journal re"];
    let expected = ["tail", "--format", "replay record"];
    for (line, expected) in words.into_iter().zip(expected) {
        let bash = format!(
            ". {}; COMP_WORDS=({line}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\n\
             _aqueduct aqueduct \"${{COMP_WORDS[-1]}}\" \"${{COMP_WORDS[-2]}}\"\n\
             complete -p aqueduct >/dev/null && echo \"${{COMPREPLY[@]}}\"",
            script("bash")
        );
        let found = asked("bash", &bash).expect("bash is everywhere");
        assert_eq!(found.join(" "), expected, "{line}");
        let fish = format!("source {}; complete --do-complete '{line}'", script("fish"));
        // Each line has a description.
        if let Some(found) = asked("fish", &fish) {
            for word in expected.split(' ') {
                assert!(found.iter().any(|found| found == word), "{line}: {found:?}");
            }
        }
    }
    // Its functions need a terminal; that they are well formed needs none.
    let zsh =
        format!("autoload -U compinit; compinit -D; . {}; whence -w _aqueduct", script("zsh"));
    if let Some(found) = asked("zsh", &zsh) {
        assert_eq!(found.join(" "), "_aqueduct: function");
    }
}
