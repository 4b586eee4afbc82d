//! A configuration as a whole: what is in effect by default and as it is written, what a reload
//! changes, and what is refused, setting by setting.

use std::fmt::Write;

use super::*;

fn check(text: &str) -> Result<(Config, Tables), String> {
    let tables: Tables = toml::from_str(text).map_err(|error| error.to_string())?;
    let config = Config::check(&tables).map_err(|error| error.to_string())?;
    Ok((config, tables))
}

/// Everything in effect, a line for each: `*` is changed by a reload, `.` is not.
fn described(text: &str) -> String {
    let (config, mut tables) = check(text).expect("a good configuration");
    if tables.ring.is_empty() {
        tables.ring.push(RingTable::named(Given::by_default("default".to_owned())));
    }
    let mut lines = String::new();
    for section in config.describe(&tables) {
        let _ = writeln!(lines, "{}", section.name());
        for entry in section.entries {
            let mark = if entry.change == Change::Live { '*' } else { '.' };
            // What the machine and the user decide.
            let depends = ["threads", "loops", "socket", "allow_uids"].contains(&entry.key);
            let value = if depends { "" } else { &entry.value };
            let given = if entry.origin == Origin::Default { "" } else { " (given)" };
            let _ = writeln!(lines, "{mark} {} {value}{given}", entry.key);
        }
    }
    lines
}

#[cfg(feature = "http2")]
#[test]
fn an_empty_file_means_what_the_manual_says() {
    let expected = "\
server
. threads \n* drain_timeout_ms \"5s\"
ingest
. driver \"auto\"
. loops \n. max_buffered_bytes \"256MiB\"
. wake_interval_us 100
. idempotency_keys 4096
. idempotency_time_ms \"10m\"
http
. listen \"127.0.0.1:8080\"
* header_timeout_ms \"10s\"
* body_timeout_ms \"30s\"
* keep_alive_timeout_ms \"75s\"
. max_connections 1024
* max_header_bytes \"16KiB\"
* max_headers 64
. attributes []
* origins []
* http2 true
* max_concurrent_streams 100
* authenticate false
* tls false
control
. socket \n* handshake_timeout_ms \"2s\"
. max_observers 32
. max_handshakes 64
* allow_uids \n* allow_gids []
admin
. forwarders []
. max_connections 32
* tls false
log
* level \"info\"
. format \"text\"
credentials
tls
ring default
. name \"default\"
. capacity_bytes \"16MiB\"
. max_payload_bytes \"1MiB\"
* full_wait_ms \"1s\"
. clock \"realtime\"
. durability \"memory\"
. subscriptions [\"default\"]
. lagging []
. lag_bytes \"1GiB\"
";
    assert_eq!(described(""), expected);
    let (config, _) = check("").expect("good");
    assert!(!config.has_secrets());
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    assert_eq!(config.threads, cores.clamp(2, 1024));
    let expected = if cores == 1 { 1 } else { cores.div_ceil(4).clamp(2, 256) };
    assert_eq!(config.ingest.loops, expected);
}

const ALL: &str = r##"
[server]
threads = 7
drain_timeout_ms = 0

[ingest]
driver = "epoll"
loops = 256
max_buffered_bytes = "1GiB"
wake_interval_us = 10000
idempotency_keys = 0
idempotency_time_ms = 1

[http]
listen = "[::1]:81"
header_timeout_ms = 1
body_timeout_ms = "2m"
keep_alive_timeout_ms = "24h"
max_connections = 1000000
max_header_bytes = 65534
max_headers = 1
attributes = [":path", ":peer", "x-a"]
origins = ["https://example.com", "http://127.0.0.1:3000"]
http2 = false
max_concurrent_streams = 65535

[control]
socket = "/s"
handshake_timeout_ms = 1
max_observers = 0
max_handshakes = 10000
allow_uids = [1, 2]
allow_gids = [3]

[admin]
listen = "127.0.0.1:82"
max_connections = 1024
forwarders = ["127.0.0.1:83"]

[journal]
directory = "/j"
segment_bytes = "64KiB"
retain_bytes = 5
retain_ms = "1h"
cursor_sync_ms = 1

[[ring]]
name = "a"
capacity_bytes = "64KiB"
max_payload_bytes = "4KiB"

[[ring]]
name = "b"
capacity_bytes = "64KiB"
max_payload_bytes = "8KiB"
durability = "process"

[[listen]]
address = "127.0.0.1:84"
protocol = "mqtt"
idle_timeout_ms = "5s"
max_message_bytes = 77
topics = [{ filter = "x/+", ring = "b", type = 9 }, { filter = "#", ring = "a" }]
attributes = [":topic", ":peer", "content-type", "user:*"]

[[listen]]
address = "unix:/u"
protocol = "lines"
ring = "b"
type = 3
oversize = "skip"

[[listen]]
address = "127.0.0.1:85"
protocol = "http"

[[listen]]
address = "127.0.0.1:86"
protocol = "octets"
ring = "a"
attributes = [":peer"]
"##;

#[test]
fn what_is_written_is_in_effect() {
    let described = described(ALL);
    for expected in [
        "* drain_timeout_ms \"0ms\" (given)",
        ". driver \"epoll\" (given)",
        ". max_buffered_bytes \"1GiB\" (given)",
        ". wake_interval_us 10000 (given)",
        ". idempotency_keys 0 (given)",
        ". idempotency_time_ms \"1ms\" (given)",
        "http\n. listen \"[::1]:81\" (given)\n* header_timeout_ms \"1ms\" (given)\n\
         * body_timeout_ms \"2m\" (given)\n* keep_alive_timeout_ms \"24h\" (given)\n\
         . max_connections 1000000 (given)\n* max_header_bytes 65534 (given)\n\
         * max_headers 1 (given)\n. attributes [\":path\", \":peer\", \"x-a\"] (given)\n\
         * origins [\"https://example.com\", \"http://127.0.0.1:3000\"] (given)\n\
         * http2 false (given)\n* max_concurrent_streams 65535 (given)\n* authenticate false\n\
         * tls false\n",
        "* handshake_timeout_ms \"1ms\" (given)\n. max_observers 0 (given)\n\
         . max_handshakes 10000 (given)\n",
        "* allow_gids [3] (given)",
        "admin\n. listen \"127.0.0.1:82\" (given)\n. forwarders [\"127.0.0.1:83\"] (given)\n\
         . max_connections 1024 (given)\n* tls false\n",
        "journal\n. directory \"/j\" (given)\n. segment_bytes \"64KiB\" (given)\n\
         . retain_bytes 5 (given)\n. retain_ms \"1h\" (given)\n\
         . cursor_sync_ms \"1ms\" (given)\n",
        "listen 1\n. address \"127.0.0.1:84\" (given)\n. protocol \"mqtt\" (given)\n\
         * idle_timeout_ms \"5s\" (given)\n* max_message_bytes 77 (given)\n\
         * topics [{ filter = \"x/+\", ring = \"b\", type = 9 }, \
         { filter = \"#\", ring = \"a\", type = 0 }] (given)\n\
         . attributes [\":topic\", \":peer\", \"content-type\", \"user:*\"] (given)\n\
         * authenticate false\n* tls false\n",
        "listen 2\n. address \"unix:/u\" (given)\n. protocol \"lines\" (given)\n\
         * idle_timeout_ms \"0ms\"\n* max_message_bytes \"8KiB\"\n* ring \"b\" (given)\n\
         * type 3 (given)\n* oversize \"skip\" (given)\n. attributes []\n",
        "listen 3\n. address \"127.0.0.1:85\" (given)\n. protocol \"http\" (given)\n\
         * idle_timeout_ms \"24h\"\n. attributes []\n* authenticate false\n",
        "listen 4\n. address \"127.0.0.1:86\" (given)\n. protocol \"octets\" (given)\n\
         * idle_timeout_ms \"0ms\"\n* max_message_bytes \"8KiB\"\n* ring \"a\" (given)\n\
         * type 0\n* oversize \"close\"\n. attributes [\":peer\"] (given)\n",
    ] {
        assert!(described.contains(expected), "{expected}\nis not in\n{described}");
    }
    let (config, _) = check(ALL).expect("good");
    assert_eq!((config.threads, config.ingest.loops), (7, 256));
    let control = &config.control;
    assert_eq!(control.socket, PathBuf::from("/s"));
    assert!(control.allowed.permits(1, &[]) && control.allowed.permits(9, &[4, 3]));
    assert!(!control.allowed.permits(0, &[1, 2]));
    // Only MQTT and octets bring attributes elsewhere than HTTP does, to the rings they write to.
    let mqtt = &config.listen[0];
    assert!(mqtt.brings_attributes_to(0) && mqtt.brings_attributes_to(1));
    let octets = &config.listen[3];
    assert!(octets.brings_attributes_to(0) && !octets.brings_attributes_to(1));
    assert!(!config.listen[1].brings_attributes_to(1) && !config.listen[2].brings_attributes_to(0));
    assert!(config.rings.iter().all(|ring| ring.has_attributes), "HTTP writes to all");
    let journal = config.journal.expect("one ring has one");
    assert_eq!(journal.segment_bytes, 64 << 10);
}

#[test]
fn the_control_socket_is_for_root_and_the_own_user_unless_others_are_named() {
    let own = rustix::process::geteuid().as_raw();
    let (config, _) = check("[control]\nallow_gids = [5]\n").expect("good");
    assert_eq!((config.control.allowed.uids, config.control.allowed.gids), (vec![own, 0], vec![5]));
    let (config, _) = check("[control]\nallow_uids = []\n").expect("good");
    assert!(!config.control.allowed.permits(0, &[0]));
    let long = "s".repeat(107);
    assert!(check(&format!("[control]\nsocket = '{long}'\n")).is_ok());
}

#[test]
fn rings_get_attributes_if_an_address_or_route_may_write_them() {
    let rings = "[[ring]]\nname = 'a'\n[[ring]]\nname = 'b'\n";
    let has = |text: &str| {
        let (config, _) = check(&format!("{text}\n{rings}")).expect("good");
        config.rings.iter().map(|ring| ring.has_attributes).collect::<Vec<_>>()
    };
    assert_eq!(has(""), [false, false]);
    assert_eq!(has("[http]\nattributes = [':path']"), [true, true]);
    let listen = "[[listen]]\naddress = '127.0.0.1:1'\nprotocol = ";
    assert_eq!(has(&format!("{listen}'resp'\nattributes = [':peer']")), [true, true]);
    assert_eq!(has(&format!("{listen}'resp'")), [false, false]);
    assert_eq!(has(&format!("{listen}'nul'\nring = 'b'\nattributes = [':peer']")), [false, true]);
    let topics = "topics = [{ filter = 'x', ring = 'a' }]\nattributes = [':topic']";
    assert_eq!(has(&format!("{listen}'mqtt'\n{topics}")), [true, false]);
    let route = "[[route]]\npath = '/p'\nring = 'b'\nattributes = [':path']";
    assert_eq!(has(route), [false, true]);
}

#[test]
fn messages_that_are_not_complete_may_have_twice_the_largest_record_and_more() {
    let least = |payload: u64| 2 * (payload + (64 << 10));
    let ring = "[[ring]]\nname = 'a'\ncapacity_bytes = '1GiB'\nmax_payload_bytes = ";
    let (config, _) = check(&format!("{ring}'256MiB'\n")).expect("good");
    assert_eq!(config.ingest.max_buffered_bytes, least(256 << 20));
    let kept = |bytes: u64| {
        let ingest = format!("[ingest]\nmax_buffered_bytes = {bytes}\n");
        check(&format!("{ingest}{ring}1000\n")).map(|(config, _)| config.ingest.max_buffered_bytes)
    };
    assert_eq!(kept(least(1000)), Ok(least(1000)));
    let error = kept(least(1000) - 1).expect_err("one byte too few");
    assert!(error.contains("ingest.max_buffered_bytes"), "{error}");
}

#[test]
fn values_out_of_range_are_refused_by_key_and_told_the_range() {
    for (text, key, allowed) in [
        ("[server]\nthreads = 0", "server.threads", "1 to 1024"),
        ("[server]\nthreads = 1025", "server.threads", "1 to 1024"),
        ("[ingest]\nloops = 0", "ingest.loops", "1 to 256"),
        ("[ingest]\nloops = 257", "ingest.loops", "1 to 256"),
        ("[ingest]\nwake_interval_us = 10001", "ingest.wake_interval_us", "0 to 10000"),
        ("[ingest]\nidempotency_keys = 16777217", "ingest.idempotency_keys", "0 to 16777216"),
        ("[ingest]\nidempotency_time_ms = 0", "ingest.idempotency_time_ms", "1 to 86400000"),
        ("[http]\nheader_timeout_ms = 0", "http.header_timeout_ms", "1 to 86400000"),
        ("[http]\nbody_timeout_ms = 0", "http.body_timeout_ms", "1 to"),
        ("[http]\nkeep_alive_timeout_ms = '25h'", "http.keep_alive_timeout_ms", "1 to"),
        ("[http]\nmax_connections = 0", "http.max_connections", "1 to 1000000"),
        ("[http]\nmax_connections = 1000001", "http.max_connections", "1 to 1000000"),
        ("[http]\nmax_header_bytes = 255", "http.max_header_bytes", "256 to 65534"),
        ("[http]\nmax_header_bytes = 65535", "http.max_header_bytes", "256 to 65534"),
        ("[http]\nmax_headers = 0", "http.max_headers", "1 to"),
        ("[http]\nmax_concurrent_streams = 0", "http.max_concurrent_streams", "1 to 65535"),
        ("[http]\nattributes = [':topic']", "http.attributes", "\":path\", \":peer\" and names"),
        ("[http]\nattributes = ['x', 'x']", "http.attributes", "names that differ"),
        ("[http]\nattributes = ['']", "http.attributes", "\":path\""),
        ("[http]\nattributes = ['X']", "http.attributes", "\":path\""),
        ("[http]\norigins = ['example.com']", "http.origins", "as browsers send it"),
        ("[http]\norigins = ['https://']", "http.origins", "as browsers send it"),
        ("[http]\norigins = ['https://a/']", "http.origins", "as browsers send it"),
        ("[http]\norigins = ['https://*']", "http.origins", "as browsers send it"),
        ("[http]\norigins = ['https://A']", "http.origins", "as browsers send it"),
        ("[http]\norigins = ['https://\u{e4}']", "http.origins", "as browsers send it"),
        ("[http]\nauthenticate = true", "http.authenticate", "credentials.file"),
        ("[http]\ntls = true", "http.tls", "tls.certificate"),
        ("[control]\nsocket = ''", "control.socket", "1 to 107 bytes"),
        ("[control]\nhandshake_timeout_ms = 0", "control.handshake_timeout_ms", "1 to"),
        ("[control]\nmax_observers = 10001", "control.max_observers", "0 to 10000"),
        ("[control]\nmax_handshakes = 0", "control.max_handshakes", "1 to 10000"),
        ("[admin]\nmax_connections = 0", "admin.max_connections", "1 to 1024"),
        ("[admin]\nmax_connections = 1025", "admin.max_connections", "1 to 1024"),
        ("[admin]\ntls = true", "admin.tls", "tls.certificate"),
        ("[journal]\nsegment_bytes = 65535", "journal.segment_bytes", "\"64KiB\" or more"),
        ("[journal]\ncursor_sync_ms = 0", "journal.cursor_sync_ms", "1 to"),
        (
            "[[ring]]\nname = 'r'\ndurability = 'disk'",
            "ring r: durability",
            "memory, or a directory",
        ),
    ] {
        let error = check(text).map(|_| ()).expect_err(text);
        assert!(error.contains(key) && error.contains(allowed), "{text}\n{error}");
    }
    let long = format!("[control]\nsocket = '{}'\n", "s".repeat(108));
    assert!(check(&long).is_err());
    let forwarders = |count: usize| {
        let addresses = vec!["'127.0.0.1:1'"; count].join(", ");
        check(&format!("[admin]\nforwarders = [{addresses}]\n")).map(|_| ())
    };
    assert_eq!(forwarders(64), Ok(()));
    assert!(forwarders(65).expect_err("one too many").contains("at most 64 addresses"));
    let name = |bytes: usize| {
        check(&format!("[http]\nattributes = ['{}']\n", "x".repeat(bytes))).map(|_| ())
    };
    assert_eq!(name(255), Ok(()));
    assert!(name(256).is_err());
}

#[test]
fn addresses_are_refused_what_their_protocol_has_not() {
    let listen = |protocol: &str, lines: &str| {
        let two = "[[ring]]\nname = 'a'\n[[ring]]\nname = 'b'\n";
        let listen = format!("[[listen]]\naddress = '127.0.0.1:1'\nprotocol = '{protocol}'\n");
        check(&format!("{two}{listen}{lines}\n")).map(|_| ())
    };
    for (protocol, lines, key, allowed) in [
        ("http", "ring = 'a'", "listen.ring", "\"lines\", \"nul\" or \"octets\""),
        ("resp", "type = 1", "listen.type", "\"lines\", \"nul\" or \"octets\""),
        ("mqtt", "oversize = 'skip'", "listen.oversize", "\"lines\", \"nul\" or \"octets\""),
        ("lines", "ring = 'a'\ntopics = []", "listen.topics", "with protocol = \"mqtt\""),
        ("nul", "", "listen.ring", "one of the rings a, b"),
        ("octets", "ring = 'c'", "listen.ring", "one of the rings a, b"),
        ("mqtt", "", "listen.topics.ring", "one of the rings a, b"),
        ("mqtt", "topics = [{ filter = 'x' }]", "listen.topics.ring", "one of the rings"),
        ("mqtt", "topics = [{ filter = 'x#', ring = 'a' }]", "listen.topics.filter", "topic fil"),
        ("http", "max_message_bytes = 0", "listen.max_message_bytes", "1 to"),
        ("http", "attributes = [':topic']", "listen.attributes", "\":path\""),
        ("resp", "attributes = [':path']", "listen.attributes", "\":peer\""),
        ("mqtt", "topics = []", "listen.topics", "at least one"),
        (
            "mqtt",
            "topics = [{ filter = 'x', ring = 'a' }]\nattributes = ['user:']",
            "listen.attributes",
            "\"user:KEY\"",
        ),
        (
            "mqtt",
            "topics = [{ filter = 'x', ring = 'a' }]\nattributes = ['x-a']",
            "listen.attributes",
            "\"user:KEY\"",
        ),
        ("resp", "authenticate = true", "listen.authenticate", "credentials.file"),
        ("lines", "ring = 'a'\nauthenticate = true", "listen.authenticate", "no words"),
        ("resp", "tls = true", "listen.tls", "tls.certificate"),
    ] {
        let error = listen(protocol, lines).expect_err(lines);
        assert!(error.contains(key) && error.contains(allowed), "{protocol} {lines}\n{error}");
    }
    for (protocol, lines) in [
        ("resp", "attributes = [':peer']"),
        ("mqtt", "topics = [{ filter = 'x', ring = 'a' }]\nattributes = ['user:k']"),
        ("lines", "ring = 'a'\nauthenticate = false"),
        ("nul", "ring = 'b'\ntype = 65535"),
    ] {
        assert_eq!(listen(protocol, lines), Ok(()), "{protocol} {lines}");
    }
}

#[cfg(feature = "tls")]
#[test]
fn credentials_and_certificates_are_used_where_there_are_some() {
    let secrets = "[credentials]\nfile = '/c'\n[tls]\nself_signed = true\n";
    let (config, _) = check(secrets).expect("good");
    assert!(config.has_secrets() && config.http.authenticate && config.http.tls);
    assert!(!config.admin.tls, "probes ask in plain");
    let (config, _) = check("[tls]\nself_signed = true\n[admin]\ntls = true\n").expect("good");
    assert!(config.admin.tls && config.has_secrets() && !config.http.authenticate);
    let off = "[http]\nauthenticate = false\ntls = false\n";
    let (config, _) = check(&format!("{secrets}{off}")).expect("good");
    assert!(!config.http.authenticate && !config.http.tls);
    let lines = "[[listen]]\naddress = '127.0.0.1:1'\nprotocol = 'lines'\n";
    let error = check(&format!("{secrets}{lines}")).map(|_| ()).expect_err("no words");
    assert!(error.contains("no words for credentials"), "{error}");
    let files = "[tls]\ncertificate = '/c'\nkey = '/k'\nclient_ca = '/a'\n";
    let asking = format!("[credentials]\nfile = '/c'\n{files}{lines}");
    let (config, _) = check(&asking).expect("certificates are credentials");
    assert!(config.listen[0].authenticate && config.listen[0].tls);
    let error = check(&format!("{asking}tls = false\n")).map(|_| ()).expect_err("not over TLS");
    assert!(error.contains("only over TLS"), "{error}");
    let (config, _) = check(&format!("{asking}authenticate = false\n")).expect("asked for");
    assert!(!config.listen[0].authenticate);
}

#[cfg(feature = "otel")]
#[test]
fn trace_contexts_are_kept_where_their_attribute_is() {
    let keeps = |text: &str| check(text).expect("good").0.keeps_traces();
    assert!(!keeps("") && !keeps("[http]\nattributes = ['x']"));
    assert!(keeps("[http]\nattributes = ['traceparent']"));
    let mqtt = "[[listen]]\naddress = '127.0.0.1:1'\nprotocol = 'mqtt'\nattributes = ";
    assert!(keeps(&format!("{mqtt}['user:traceparent']")) && keeps(&format!("{mqtt}['user:*']")));
    assert!(!keeps(&format!("{mqtt}['user:x', 'content-type']")));
    assert!(keeps("[[route]]\npath = '/p'\nattributes = ['traceparent']"));
    assert!(!keeps("[[route]]\npath = '/p'\nattributes = [':path']"));
}
