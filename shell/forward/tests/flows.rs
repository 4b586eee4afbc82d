//! The flows of `examples/flows`, as they are, between real processes.
#![cfg(all(feature = "http", feature = "postgres"))]
#![allow(clippy::disallowed_types, reason = "inside the process, not in shared memory")]

mod common;
#[path = "common/postgres.rs"]
#[allow(dead_code, reason = "each program of tests uses some of it")]
mod postgres;
#[path = "common/service.rs"]
mod service;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use common::{Forward, Listener, Scratch, eventually, lines};
use postgres::Server;
use service::{Answer, Request, Service};

/// A flow's file, with other places in it.
fn flow(name: &str, places: &[(&str, &str)]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/flows").join(name);
    let mut text = fs::read_to_string(path).expect("it is there");
    for (place, ours) in places {
        assert!(text.contains(place), "{name}: {place}");
        text = text.replace(place, ours);
    }
    text
}

#[test]
fn every_flow_is_named_in_the_readme() {
    let readme = include_str!("../README.md");
    let flows = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/flows");
    for entry in fs::read_dir(flows).expect("it is there") {
        let name = entry.expect("an entry").file_name().into_string().expect("UTF-8");
        assert!(readme.contains(&format!("`{name}`")), "{name}");
    }
}

#[test]
fn changes_in_a_crm_reach_an_erp_as_xml() {
    let scratch = Scratch::new("crm");
    let listener = Listener::start(&scratch);
    let kept: Arc<Mutex<Vec<Request>>> = Arc::default();
    let keep = Arc::clone(&kept);
    let erp = Service::start(move |request| {
        if request.body.windows(6).any(|six| six == b"<id>3<") {
            return Answer::Status(422, "");
        }
        keep.lock().expect("nobody panicked").push(request.clone());
        Answer::Status(201, "")
    });
    let mut crm = listener.client();
    for (event, id) in [("updated", 1), ("created", 2), ("updated", 3), ("updated", 4)] {
        let body = format!(
            r#"{{"event": "customer.{event}", "id": {id}, "name": "A & <B>", "phones": ["1", "2"]}}"#
        );
        crm.record(0, body.as_bytes());
    }
    let refused = scratch.join("refused");
    let config = flow(
        "crm-to-erp.toml",
        &[
            ("127.0.0.1:8081", &erp.address.to_string()),
            ("/var/lib/aqueduct/erp-refused.ndjson", &refused.display().to_string()),
        ],
    );
    let mut forward = Forward::start(&scratch, &listener.socket, &config, &["--once"]);
    assert_eq!(forward.process.wait().code(), Some(0), "{}", forward.process.log());
    let kept = kept.lock().expect("nobody panicked");
    assert_eq!(kept.len(), 2);
    // What somebody else's parser makes of them.
    let script = "import sys, xml.etree.ElementTree as tree\n\
                  root = tree.fromstring(sys.stdin.buffer.read())\n\
                  print(root.tag, root.get('seq'), *('%s=%s' % (e.tag, e.text) for e in root), sep='|')";
    for (request, expected) in kept.iter().zip([
        "customer|0|event=customer.updated|id=1|name=A & <B>|phones=1|phones=2",
        "customer|3|event=customer.updated|id=4|name=A & <B>|phones=1|phones=2",
    ]) {
        assert_eq!(request.header("content-type"), Some("application/xml"));
        assert_eq!(request.path, "/customers");
        let mut python = Command::new("python3")
            .args(["-c", script])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("python3 is installed");
        python.stdin.take().expect("piped").write_all(&request.body).expect("written");
        let output = python.wait_with_output().expect("it ends");
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim_end(), expected);
    }
    assert_eq!(lines(&refused).len(), 1, "the third");
}

#[test]
fn users_reach_a_service_in_batches_compressed_above_a_threshold() {
    let scratch = Scratch::new("users");
    let listener = Listener::start(&scratch);
    let kept: Arc<Mutex<Vec<Request>>> = Arc::default();
    let keep = Arc::clone(&kept);
    let service = Service::start(move |request| {
        keep.lock().expect("nobody panicked").push(request.clone());
        Answer::Status(200, "")
    });
    let user = |n: u32| format!("{{\"user\": \"user {n}\", \"mail\": \"user{n}@example.com\"}}");
    let many: Vec<_> = (0..1010).map(user).collect();
    assert!(listener.client().lines(&many.join("\n")));
    let config = flow("users-to-service.toml", &[("127.0.0.1:8081", &service.address.to_string())]);
    let mut forward = Forward::start(&scratch, &listener.socket, &config, &["--once"]);
    assert_eq!(forward.process.wait().code(), Some(0), "{}", forward.process.log());
    let kept = kept.lock().expect("nobody panicked");
    let sent: Vec<_> = kept.iter().map(|it| it.header("content-encoding")).collect();
    assert_eq!(sent, [Some("snappy"), Some("snappy"), None], "500, 500 and 10");
    let whole = snap::raw::Decoder::new().decompress_vec(&kept[0].body).expect("snappy");
    assert!(kept[0].body.len() * 2 < whole.len(), "{} of {}", kept[0].body.len(), whole.len());
    let last = user(1009);
    assert!(kept[2].body.windows(last.len()).any(|window| window == last.as_bytes()));
}

#[test]
fn readings_over_mqtt_become_rows_through_a_pool() {
    let server = Server::start();
    server.sql(
        "CREATE TABLE readings (topic text, value double precision, unit text, at timestamptz)",
    );
    let scratch = Scratch::new("readings");
    let file = scratch.join("listener.toml");
    let mqtt = scratch.join("m.sock");
    fs::write(
        &file,
        format!(
            "[[ring]]\nname = 'r'\nsubscriptions = ['s']\n\
             [[listen]]\naddress = 'unix:{}'\nprotocol = 'mqtt'\nattributes = [':topic']\n",
            mqtt.display()
        ),
    )
    .expect("written");
    let listener = Listener::start_with(&scratch, &["--config", &file.display().to_string()]);
    let config = flow(
        "readings-to-postgres.toml",
        &[("/run/postgresql", &server.directory().display().to_string())],
    );
    let mut forward = Forward::start(&scratch, &listener.socket, &config, &[]);
    let mut broker = UnixStream::connect(&mqtt).expect("it listens");
    broker.write_all(b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04test").expect("CONNECT");
    let mut answer = [0; 4];
    broker.read_exact(&mut answer).expect("CONNACK");
    assert_eq!(answer, [0x20, 2, 0, 0]);
    for n in 0..400_u16 {
        let topic = format!("hall/{}/temperature", n % 4);
        let payload = format!(r#"{{"value": {n}.5, "unit": "C"}}"#);
        let mut packet = u16::try_from(topic.len()).expect("short").to_be_bytes().to_vec();
        packet.extend_from_slice(topic.as_bytes());
        packet.extend_from_slice(&(n + 1).to_be_bytes());
        packet.extend_from_slice(payload.as_bytes());
        let len = u8::try_from(packet.len()).expect("short");
        broker.write_all(&[0x32, len]).and_then(|()| broker.write_all(&packet)).expect("PUBLISH");
        broker.read_exact(&mut answer).expect("PUBACK");
        assert_eq!(answer[..2], [0x40, 2]);
    }
    let query = "SELECT count(*), count(DISTINCT value), count(DISTINCT topic), sum(value), \
                 bool_and(unit = 'C' AND abs(extract(epoch FROM now() - at)) < 60) FROM readings";
    eventually("all rows", || (server.sql(query) == "400|400|4|80000|t").then_some(()));
    assert_eq!(forward.stop(), 0);
    assert_eq!(server.sql("SELECT count(*) FROM aqueduct_progress WHERE parts = 4"), "4");
}

#[test]
fn records_reach_the_centre_from_the_edge() {
    let (here, there) = (Scratch::new("here"), Scratch::new("there"));
    let (edge, centre) = (Listener::start(&here), Listener::start(&there));
    let all: Vec<_> = (0..5000).map(|n| format!("reading {n}")).collect();
    assert!(edge.client().lines(&all.join("\n")));
    let config = flow("edge-to-centre.toml", &[("127.0.0.1:8081", &centre.http.to_string())]);
    let mut forward = Forward::start(&here, &edge.socket, &config, &["--once"]);
    assert_eq!(forward.process.wait().code(), Some(0), "{}", forward.process.log());
    let mut reader = Forward::start(&there, &centre.socket, "", &["--once", "--to", "-"]);
    assert_eq!(reader.process.wait().code(), Some(0), "{}", reader.process.log());
    assert_eq!(lines(&there.join("stdout")), all);
}
