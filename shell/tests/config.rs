//! What the command line and the file may say, and what is answered to the rest.

mod common;

use std::process::{Child, Stdio};

use common::{Ends, Scratch, Server, command};

/// Runs `serve` with these arguments, which must be refused as usage; the message.
#[track_caller]
fn refused(args: &[&str]) -> String {
    let out = command().arg("serve").args(args).ended().expect("it runs");
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
        (["--listen", "localhost"], "HOST:PORT"),
        (["--admin-listen", "unix:/run/http"], "HOST:PORT"),
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
    refused_file(
        "[http]\nbody_timeout = 3\n",
        &["body_timeout", "expected one of", "body_timeout_ms"],
    );
    refused_file("[http]\nbody_timeout_ms = 'long'\n", &["body_timeout_ms", "ms, s, m or h"]);
    refused_file("full_wait_ms = 3\n", &["full_wait_ms", "expected one of", "`http`"]);
    refused_file(
        "[server]\ndrain_timeout_ms = 86400001\n",
        &[": server.drain_timeout_ms: `86400001` is not allowed; allowed: 0 to 86400000"],
    );
    refused_file("[http]\nlisten = 'here'\n", &["listen = 'here'", "`here`", "HOST:PORT"]);
    refused_file("[http]\nlisten = 'unix:'\n", &["`unix:`", "a path of 1 to 107 bytes"]);
    refused_file("[[ring]]\ncapacity_bytes = 128\n", &["missing field `name`"]);
    refused_file("[[ring]]\nname = 'a'\nsize = 1\n", &["size", "capacity_bytes"]);
    refused_file("[[ring]]\nname = 'a'\ncapacity_bytes = '16M'\n", &["\"16M\"", "KiB, MiB"]);
    refused_file(
        "[[ring]]\nname = 'a'\nclock = 'sundial'\n",
        &["sundial", "realtime", "monotonic"],
    );
    refused_file(
        "[[ring]]\nname = 'a'\ncapacity_bytes = 100\n",
        &[": ring a: capacity_bytes: `100`", "32 times a power of two"],
    );
    refused_file(
        "[[ring]]\nname = 'a'\nsubscriptions = ['x', 'x']\n",
        &[": ring a: subscriptions: `x`", "names that differ"],
    );
    for origin in ["*", "null", "example.com", "https://example.com/", "https://Example.com"] {
        let text = format!("http.origins = ['{origin}']\n");
        let said = format!(": http.origins: `{origin}` is not allowed; allowed: an origin as");
        refused_file(&text, &[&said]);
    }
    refused_file(
        "ingest.max_buffered_bytes = '1MiB'\n",
        &[": ingest.max_buffered_bytes: `1048576` is not allowed; allowed: 2228224 to"],
    );
    refused_file(
        "[http]\nmax_header_bytes = 100\n",
        &[": http.max_header_bytes: `100` is not allowed; allowed: 256 to 65534"],
    );
    for value in [0, 257] {
        let said = format!(": http.max_headers: `{value}` is not allowed; allowed: 1 to 256");
        refused_file(&format!("http.max_headers = {value}\n"), &[&said]);
    }
    refused_file(
        "ingest.wake_interval_us = 10001\n",
        &[": ingest.wake_interval_us: `10001` is not allowed; allowed: 0 to 10000"],
    );
}

#[test]
fn attributes_are_named_as_their_protocol_has_them() {
    let http = |names: &str| format!("[http]\nattributes = {names}\n");
    refused_file(&http("[':topic']"), &["http.attributes: `:topic`", "\":path\", \":peer\""]);
    refused_file(&http("['X-Id']"), &["http.attributes: `X-Id`", "in lower case"]);
    refused_file(&http("['']"), &["http.attributes", "names of HTTP headers"]);
    refused_file(&http("['x-id', 'x-id']"), &["names that differ"]);
    let listen = |protocol: &str, names: &str| {
        format!(
            "[[listen]]\naddress = '127.0.0.1:0'\nprotocol = '{protocol}'\nattributes = {names}\n"
        )
    };
    refused_file(&listen("mqtt", "[':path']"), &["listen.attributes: `:path`", "\":topic\""]);
    refused_file(&listen("mqtt", "['user:']"), &["listen.attributes: `user:`", "\"user:KEY\""]);
    for protocol in ["resp", "lines", "nul", "octets"] {
        refused_file(&listen(protocol, "['x-id']"), &["listen.attributes: `x-id`", "\":peer\""]);
    }
}

#[test]
fn a_ring_without_subscriptions_is_refused_rather_than_given_one() {
    refused_file(
        "[[ring]]\nname = 'a'\nsubscriptions = []\n",
        &[": ring a: subscriptions: `0 names` is not allowed; allowed: 1 to 64 names"],
    );
}

#[test]
fn sizes_and_times_may_have_units_and_addresses_names() {
    let file = "[http]\nlisten = 'localhost:0'\nheader_timeout_ms = '2s'\n\
                [[ring]]\nname = 'a'\ncapacity_bytes = '64KiB'\nmax_payload_bytes = '1kB'\n";
    let server = Server::with_file(file, &["--full-wait-ms", "0s", "--drain-timeout-ms", "100ms"]);
    assert!((server.metric("aqueduct_ring_capacity_bytes{ring=\"a\"}") - 65_536.0).abs() < 0.5);
    assert_eq!(
        (server.post("a", &[0; 1000]).status, server.post("a", &[0; 1001]).status),
        (202, 413)
    );
    let server = Server::start(&["--listen", "localhost:0", "--capacity-bytes", "1MiB"]);
    assert!(server.http.ip().is_loopback() && server.http.is_ipv4(), "{}", server.http);
}

#[test]
fn as_many_headers_as_are_allowed_are_read() {
    let server =
        Server::with_file("http.max_headers = 256\ningest.wake_interval_us = 10000\n", &[]);
    for (fields, status) in [(254, 202), (255, 431)] {
        // Beside them are host and length.
        let fields = (0..fields).fold(String::new(), |head, n| format!("{head}x{n}: 1\r\n"));
        assert_eq!(server.exchange(common::record("default", &fields, b"x")).status, status);
    }
}

#[test]
fn health_and_metrics_move_to_an_address_of_their_own_if_they_have_one() {
    let server = Server::start(&["--admin-listen", "127.0.0.1:0"]);
    let admin = server.admin.expect("it says so when it is ready");
    assert_eq!(server.post("default", b"x").status, 202);
    server.get("/metrics").assert_problem(404);
    let get = |path: &str| Server::exchange_at(admin, common::get(path));
    assert_eq!((get("/healthz").status, get("/readyz").status), (200, 200));
    assert!(get("/metrics").body.contains("aqueduct_records_total{ring=\"default\"} 1"));
    Server::exchange_at(admin, common::record("default", "connection: close\r\n", b"x"))
        .assert_problem(404);
}

#[test]
fn flags_win_over_the_file() {
    let file =
        "[[ring]]\nname = 'a'\ncapacity_bytes = 128\nfull_wait_ms = 60000\n[[ring]]\nname = 'b'\n";
    let server = Server::with_file(file, &["--full-wait-ms", "0"]);
    assert_eq!(server.post("a", &[0; 32]).status, 202);
    assert_eq!(server.post("a", &[0; 32]).status, 503, "at once");
    assert_eq!(server.post("b", &[0; 32]).status, 202);
    let server = Server::with_file(file, &["--ring", "c"]);
    assert_eq!((server.post("a", b"").status, server.post("c", b"").status), (404, 202));
}

#[test]
fn cargo_run_chooses_the_command_among_the_binaries_of_the_workspace() {
    let workspace = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let metadata = std::process::Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(&workspace)
        .output()
        .expect("cargo runs");
    let metadata = String::from_utf8(metadata.stdout).expect("JSON");
    let defaults: Vec<_> = metadata
        .split("\"default_run\":")
        .skip(1)
        .filter_map(|rest| rest.strip_prefix('"')?.split('"').next())
        .collect();
    assert_eq!(defaults, ["aqueduct"], "or `cargo run -- serve` cannot choose");
}

#[test]
fn the_command_alone_prints_its_help() {
    let out = command().ended().expect("it runs");
    assert!(
        out.status.success() && String::from_utf8_lossy(&out.stdout).contains("serve"),
        "{out:?}"
    );
}

#[cfg(not(feature = "look"))]
#[test]
fn a_command_of_another_build_is_told_with_its_feature() {
    for (name, feature) in [("tail", "`look`"), ("top", "`operate`")] {
        let out = command().arg(name).ended().expect("it runs");
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.code() == Some(2) && said.contains(feature), "{out:?}");
    }
}

#[test]
fn help_and_version_are_no_errors() {
    for arg in ["--help", "--version", "serve --help"] {
        let out = command().args(arg.split(' ')).ended().expect("it runs");
        assert!(out.status.success() && !out.stdout.is_empty(), "{out:?}");
    }
}

#[test]
fn a_variable_that_is_no_text_is_refused_rather_than_left_out() {
    use std::os::unix::ffi::OsStrExt;

    for name in ["AQUEDUCT_HTTP_MAX_CONNECTIONS", "AQUEDUCT_RING", "AQUEDUCT_LOG_LEVEL"] {
        let value = std::ffi::OsStr::from_bytes(b"8\xff");
        let out = command().args(["check-config"]).env(name, value).ended().expect("it runs");
        let said = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(2), "{said}");
        assert!(said.contains(name) && said.contains("not UTF-8"), "{said}");
    }
    // Others' variables are their own.
    let value = std::ffi::OsStr::from_bytes(b"\xff");
    let out = command().args(["check-config"]).env("AQUEDUCT_COLOUR", value).ended();
    assert!(out.expect("it runs").status.success());
}

#[test]
fn output_that_is_lost_is_an_error() {
    for args in ["", "--help", "--version", "serve --help", "config"] {
        let full = std::fs::File::options().write(true).open("/dev/full").expect("/dev/full");
        let mut command = command();
        let out = command.args(args.split_whitespace()).stdout(full).stderr(Stdio::piped());
        let out = out.spawn().and_then(Child::wait_with_output).expect("it runs");
        let said = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(1), "{args}: {said}");
        assert!(said.contains("No space left on device"), "{args}: {said}");
    }
}

#[test]
fn the_file_in_the_readme_is_accepted() {
    let readme = include_str!("../README.md");
    let file = readme.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next());
    let tables =
        toml::from_str(file.expect("the README shows a file")).expect("of the right shape");
    let config = aqueduct::server::Config::check(&tables);
    let config = config.expect("every value is allowed");
    assert_eq!(config.rings[0].subscriptions, ["pricing", "audit"]);
    assert_eq!(config.control.allowed.uids, [0, 1000]);
}

#[test]
fn a_file_without_an_end_is_refused() {
    let message = refused(&["--config", "/dev/zero"]);
    assert!(message.contains("/dev/zero: it has more than 16777216 bytes"), "{message}");
}

/// Runs a subcommand in an environment of these variables; status, stdout, stderr.
fn run_with(args: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let out = command().args(args).envs(variables.iter().copied()).ended().expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (out.status.code(), text(out.stdout), text(out.stderr))
}

fn written(text: &str) -> (Scratch, String) {
    let scratch = Scratch::new();
    let file = scratch.path("aqd.toml");
    std::fs::write(&file, text).expect("written");
    let file = file.to_str().expect("ASCII").to_owned();
    (scratch, file)
}

#[test]
fn unknown_keys_are_told_their_line_and_the_nearest_name() {
    for (text, said) in [
        ("[http]\n\nbody_timeout = 3\n", ":3: ", "; did you mean `body_timeout_ms`?"),
        ("\n[htpp]\n", ":2: ", "; did you mean `http`?"),
        ("[[ring]]\nname = 'a'\nsubscription = ['x']\n", ":3: ", "did you mean `subscriptions`?"),
        ("[log]\nlevel = 'wran'\n", ":2: ", "did you mean `warn`?"),
    ]
    .map(|(text, line, hint)| (text, [line, hint]))
    {
        refused_file(text, &said);
    }
    let message = refused(&["--lisen", "127.0.0.1:0"]);
    assert!(message.contains("'--listen'"), "{message}");
}

#[test]
fn values_out_of_range_name_their_line() {
    refused_file("\n\n[[ring]]\nname = 'a'\n\ncapacity_bytes = 100\n", &["aqd.toml:6: ring a: "]);
    let listen = "[[listen]]\naddress = '127.0.0.1:0'\nprotocol = 'mqtt'\n";
    refused_file(&format!("{listen}ring = 'a'\n"), &["aqd.toml:4: listen.ring", "\"lines\""]);
    let rings = "[[ring]]\nname = 'a'\n[[ring]]\nname = 'b'\n";
    refused_file(&format!("{rings}{listen}"), &["aqd.toml:7: listen.topics.ring", "rings a, b"]);
    let topics =
        "topics = [\n  { filter = 'x', ring = 'a' },\n  { filter = 'y', ring = 'c' },\n]\n";
    refused_file(&format!("{rings}{listen}{topics}"), &["aqd.toml:10: listen.topics.ring: `c`"]);
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let (_scratch, file) = written(
        "[http]\nlisten = '127.0.0.1:1'\nmax_connections = 7\nhttp2 = false\n\
         [log]\nlevel = 'error'\n[[ring]]\nname = 'a'\n",
    );
    let variables = [
        ("AQUEDUCT_CONFIG", file.as_str()),
        ("AQUEDUCT_HTTP_LISTEN", "127.0.0.1:2"),
        ("AQUEDUCT_HTTP_MAX_CONNECTIONS", "8"),
        ("AQUEDUCT_HTTP_ATTRIBUTES", "[':peer', 'x-id']"),
        ("AQUEDUCT_FULL_WAIT_MS", "3s"),
        ("AQUEDUCT_SUBSCRIPTION", "x, y"),
    ];
    let args = ["config", "--listen", "127.0.0.1:3", "--full-wait-ms", "4s"];
    let (status, out, err) = run_with(&args, &variables);
    assert_eq!(status, Some(0), "{err}");
    let has = |key: &str, value: &str, origin: &str| {
        let line = format!("{key} = {value}");
        let line = if origin.is_empty() { line } else { format!("{line:<39} # {origin}") };
        assert!(out.lines().any(|each| each == line), "{line:?} not in\n{out}");
    };
    has("listen", "\"127.0.0.1:3\"", "--listen");
    has("max_connections", "8", "AQUEDUCT_HTTP_MAX_CONNECTIONS");
    has("attributes", "[\":peer\", \"x-id\"]", "AQUEDUCT_HTTP_ATTRIBUTES");
    has("http2", "false", &format!("{file}:4"));
    has("level", "\"error\"", &format!("{file}:6"));
    has("full_wait_ms", "\"4s\"", "--full-wait-ms");
    has("subscriptions", "[\"x\", \"y\"]", "AQUEDUCT_SUBSCRIPTION");
    has("capacity_bytes", "\"16MiB\"", "");
    has("max_connections", "32", "");
}

#[test]
fn the_environment_is_checked_as_the_file_is() {
    for (name, value, said) in [
        (
            "AQUEDUCT_HTTP_MAX_CONNECTIONS",
            "0",
            "AQUEDUCT_HTTP_MAX_CONNECTIONS: http.max_connections: `0` is not allowed",
        ),
        ("AQUEDUCT_HTTP_LISEN", "x", "did you mean `listen`?"),
        ("AQUEDUCT_HTPP_LISTEN", "x", "did you mean `AQUEDUCT_HTTP_LISTEN`?"),
        ("AQUEDUCT_RINGS", "a", "did you mean `AQUEDUCT_RING`?"),
        ("AQUEDUCT_CAPACITY_BYTES", "7x", "AQUEDUCT_CAPACITY_BYTES: `7x`: expected a whole"),
        ("AQUEDUCT_CAPACITY_BYTES", "7", "AQUEDUCT_CAPACITY_BYTES: `7` is not allowed"),
        ("AQUEDUCT_CONFIG", "/does/not/exist", "/does/not/exist: No such file"),
    ] {
        let (status, out, err) = run_with(&["check-config"], &[(name, value)]);
        assert_eq!((status, out.as_str()), (Some(2), ""), "{err}");
        assert!(err.contains(name) || name == "AQUEDUCT_CONFIG", "{name} not in {err}");
        assert!(err.contains(said), "{said:?} not in {err}");
    }
    // Those of others: of our tests and benches, and of container platforms.
    let foreign = [("AQUEDUCT_TEST_DRIVER", "x"), ("AQUEDUCT_HTTP_PORT", "tcp://10.0.0.1:80")];
    assert_eq!(run_with(&["check-config"], &foreign).0, Some(0));
}

#[test]
fn the_effective_configuration_is_a_file_that_means_the_same() {
    let (_scratch, file) = written(
        "[http]\norigins = ['https://a.example']\n[control]\nallow_gids = [7]\n\
         [[ring]]\nname = 'a'\nfull_wait_ms = '90s'\n[[ring]]\nname = 'b'\nclock = 'monotonic'\n\
         [[listen]]\naddress = 'unix:/tmp/x'\nprotocol = 'lines'\nring = 'b'\ntype = 3\n\
         oversize = 'skip'\n[[listen]]\naddress = '127.0.0.1:9'\nprotocol = 'mqtt'\n\
         topics = [{ filter = 'a/+', ring = 'a', type = 1 }, { filter = '#', ring = 'b' }]\n",
    );
    let (status, first, err) = run_with(&["config", "--config", &file], &[]);
    assert_eq!(status, Some(0), "{err}");
    let bare = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.split(" #").next().unwrap_or("").trim_end().into()).collect()
    };
    let (_again, file) = written(&first);
    let (status, second, err) = run_with(&["config", "--config", &file], &[]);
    assert_eq!(status, Some(0), "{err}");
    assert_eq!(bare(&first), bare(&second));
    assert!(first.contains("topics = [{ filter = \"a/+\", ring = \"a\", type = 1 }"), "{first}");
    let (status, said, _) = run_with(&["check-config", "--config", &file], &[]);
    assert_eq!((status, said.as_str()), (Some(0), "the configuration is accepted: rings=2\n"));
}
