//! What the command line and the file may say, and what is answered to the rest.

mod common;

use common::{Scratch, Server, command};

/// Runs `serve` with these arguments, which must be refused as usage; the message.
#[track_caller]
fn refused(args: &[&str]) -> String {
    let out = command().arg("serve").args(args).output().expect("it runs");
    let message = String::from_utf8(out.stderr).expect("UTF-8");
    assert_eq!(out.status.code(), Some(2), "{message}");
    assert!(out.stdout.is_empty(), "{:?}", out.stdout);
    message
}

#[track_caller]
fn refused_file(text: &str, parts: &[&str]) {
    let scratch = Scratch::new();
    let file = scratch.path("aqd.toml");
    std::fs::write(&file, text).expect("written");
    let file = file.to_str().expect("ASCII");
    let message = refused(&["--config", file]);
    for part in [&[file], parts].concat() {
        assert!(message.contains(part), "{part:?} not in {message:?}");
    }
}

#[test]
fn values_out_of_range_name_the_flag_and_what_is_allowed() {
    for (args, part) in [
        (
            ["--capacity-bytes", "1000"],
            "--capacity-bytes: `1000` is not allowed; allowed: 32 times a power of two, 128 to 34359738368",
        ),
        (["--capacity-bytes", "64"], "--capacity-bytes"),
        (
            ["--max-payload-bytes", "8388609"],
            "--max-payload-bytes: `8388609` is not allowed; allowed: 1 to 8388576",
        ),
        (
            ["--ring", "no/slash"],
            "--ring: `no/slash` is not allowed; allowed: 1 to 64 of A-Z a-z 0-9 . _ -",
        ),
        (["--ring", ""], "--ring"),
        (["--subscription", "a name of more than 32 bytes, too long"], "--subscription"),
        (
            ["--max-connections", "0"],
            "--max-connections: `0` is not allowed; allowed: 1 to 1000000",
        ),
        (
            ["--full-wait-ms", "86400001"],
            "--full-wait-ms: `86400001` is not allowed; allowed: 0 to 86400000",
        ),
        (["--listen", "localhost"], "--listen"),
        (["--log-level", "loud"], "[possible values: error, warn, info, debug, trace]"),
        (["--socket", ""], "--socket"),
        (["--config", "/does/not/exist.toml"], "/does/not/exist.toml: No such file"),
    ] {
        let message = refused(&args);
        assert!(message.contains(part), "{part:?} not in {message:?}");
    }
    assert!(refused(&["--ring", "a", "--ring", "a"]).contains("names that differ"));
    assert!(refused(&["--nonsense"]).contains("--nonsense"));
}

#[test]
fn errors_in_the_file_name_the_file_the_key_and_what_is_allowed() {
    refused_file("full_wait = 3\n", &["full_wait", "expected one of", "full_wait_ms"]);
    refused_file("full_wait_ms = 'long'\n", &["full_wait_ms", "u64"]);
    refused_file(
        "full_wait_ms = 86400001\n",
        &[": full_wait_ms: `86400001` is not allowed; allowed: 0 to 86400000"],
    );
    refused_file("listen = 'here'\n", &[": listen: `here`", "ADDR:PORT"]);
    refused_file("[[ring]]\ncapacity_bytes = 128\n", &["missing field `name`"]);
    refused_file("[[ring]]\nname = 'a'\nsize = 1\n", &["size", "capacity_bytes"]);
    refused_file(
        "[[ring]]\nname = 'a'\nclock = 'sundial'\n",
        &["sundial", "realtime", "monotonic"],
    );
    refused_file(
        "[[ring]]\nname = 'a'\ncapacity_bytes = 100\n",
        &[": capacity_bytes: `100`", "32 times a power of two"],
    );
    refused_file(
        "[[ring]]\nname = 'a'\nsubscriptions = ['x', 'x']\n",
        &[": subscriptions: `x`", "names that differ"],
    );
    refused_file(
        "max_header_bytes = 100\n",
        &[": max_header_bytes: `100` is not allowed; allowed: 256 to 65534"],
    );
}

#[test]
fn flags_win_over_the_file() {
    let file =
        "full_wait_ms = 60000\n[[ring]]\nname = 'a'\ncapacity_bytes = 128\n[[ring]]\nname = 'b'\n";
    let server = Server::with_file(file, &["--full-wait-ms", "0"]);
    assert_eq!(server.post("a", &[0; 32]).status, 202);
    assert_eq!(server.post("a", &[0; 32]).status, 503, "at once");
    assert_eq!(server.post("b", &[0; 32]).status, 202);
    let server = Server::with_file(file, &["--ring", "c"]);
    assert_eq!((server.post("a", b"").status, server.post("c", b"").status), (404, 202));
}

#[test]
fn help_and_version_are_no_errors() {
    for arg in ["--help", "--version", "serve --help"] {
        let out = command().args(arg.split(' ')).output().expect("it runs");
        assert!(out.status.success() && !out.stdout.is_empty(), "{out:?}");
    }
}
