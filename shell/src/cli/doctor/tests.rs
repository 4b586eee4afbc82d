//! What is said of a listener's pages, sockets, addresses and disks, and how.

use std::io::{BufRead, BufReader, Write as _};
use std::net::TcpListener;

use serde_json::json;

use super::*;
use crate::server::{Config, Tables};

fn settings(text: &str) -> Config {
    let tables: Tables = toml::from_str(text).expect("TOML");
    Config::check(&tables).expect("good")
}

fn args(admin: &str) -> DoctorArgs {
    DoctorArgs {
        listener: ListenerArgs::default(),
        admin: Some(admin.to_owned()),
        strict: false,
        format: Format::Text,
    }
}

/// A listener's pages: by path, status and body. It ends with the test.
fn pages(pages: Vec<(&'static str, u16, String)>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let mut stream = BufReader::new(stream);
            let mut head = String::new();
            while stream.read_line(&mut head).is_ok_and(|bytes| bytes > 0) {
                if !head.ends_with("\r\n\r\n") {
                    continue;
                }
                let path = head.split(' ').nth(1).expect("a path").to_owned();
                head.clear();
                let page = pages.iter().find(|(known, ..)| *known == path);
                let (_, status, body) = page.cloned().unwrap_or(("", 404, String::new()));
                let length = body.len();
                let answer =
                    format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n\r\n{body}");
                if stream.get_mut().write_all(answer.as_bytes()).is_err() {
                    break;
                }
            }
        }
    });
    address
}

/// What is said of a listener with these pages, without what is said of its control socket.
fn said(
    ready: (u16, &str),
    rings: Option<&serde_json::Value>,
) -> Vec<(&'static str, Status, String)> {
    let mut all =
        vec![("/healthz", 200, "ok".to_owned()), ("/readyz", ready.0, ready.1.to_owned())];
    all.extend(rings.map(|rings| ("/v1/rings", 200, rings.to_string())));
    let address = pages(all);
    let settings = settings("[control]\nsocket = '/no/such/directory/s'\n");
    let args = args(&address);
    let running = super::listener::find(&settings, &args);
    assert!(running.is_some(), "it answers");
    let mut checks = super::listener::checks(&settings, &args, running);
    let files = checks.remove(0);
    assert_eq!((files.name, files.status), ("files", Status::Good));
    assert!(checks[1].text.contains(&address), "{checks:?}");
    let (control, listener) = (&checks[0], &checks[1]);
    assert_eq!((control.name, control.status), ("control socket", Status::Failure));
    assert_eq!(control.mend.as_deref(), Some("install -d -m 0755 /no/such/directory"));
    assert_eq!((listener.name, listener.status), ("listener", Status::Good));
    let rest = checks.into_iter().skip(2);
    rest.map(|check| {
        assert_eq!(check.mend.is_none(), check.status == Status::Good, "{check:?}");
        (check.name, check.status, check.text)
    })
    .collect()
}

fn ring(reader: &serde_json::Value) -> serde_json::Value {
    let mut whole = json!({
        "name": "s", "state": "attached", "lag_bytes": 0, "lag_seconds": 0.0, "corrupt": 0,
        "lost_records": 0, "missed_wakes": 0
    });
    for (key, value) in reader.as_object().expect("an object") {
        whole[key] = value.clone();
    }
    json!({ "rings": [{ "name": "r", "readers": [whole] }] })
}

#[test]
fn a_listener_is_ready_or_says_why_not() {
    let rings = ring(&json!({}));
    let good = ("readers", Status::Good, "none is behind".to_owned());
    let ready = |status, body| said((status, body), Some(&rings));
    let taken = ("ready", Status::Good, "records are taken".to_owned());
    assert_eq!(ready(200, "{}"), [taken, good.clone()]);
    let full = ("ready", Status::Failure, "ring r is full".to_owned());
    assert_eq!(ready(503, "{\"detail\":\"ring r is full\"}"), [full, good.clone()]);
    let silent = ("ready", Status::Failure, "it does not say why".to_owned());
    assert_eq!(ready(503, "no JSON"), [silent, good]);
}

#[test]
fn readers_that_are_gone_behind_damaged_or_asleep_are_told() {
    let told = |reader: serde_json::Value| {
        let mut found = said((200, "{}"), Some(&ring(&reader)));
        found.remove(0);
        assert!(found.iter().all(|(name, ..)| *name == "readers"), "{found:?}");
        found.into_iter().map(|(_, status, text)| (status, text)).collect::<Vec<_>>()
    };
    let place = "ring r, subscription s: ";
    let warned = |text: &str| vec![(Status::Warning, format!("{place}{text}"))];
    let failed = |text: &str| vec![(Status::Failure, format!("{place}{text}"))];
    let fine = || vec![(Status::Good, "none is behind".to_owned())];
    assert_eq!(
        told(json!({ "state": "detached", "lag_bytes": 64 })),
        warned("no reader is attached, and 64 bytes wait for one")
    );
    assert_eq!(told(json!({ "state": "detached" })), fine());
    // Whether one is too far behind is what the listener finds.
    assert_eq!(told(json!({ "lag_bytes": 64, "lag_seconds": 99.0 })), fine());
    assert_eq!(told(json!({ "corrupt": 1 })), failed("it saw 1 damaged places, 0 records lost"));
    assert_eq!(
        told(json!({ "lost_records": 2 })),
        failed("it saw 0 damaged places, 2 records lost")
    );
    assert_eq!(
        told(json!({ "missed_wakes": 3 })),
        warned("3 times it slept although there was data")
    );
}

#[test]
fn everything_that_the_listener_finds_is_told_once() {
    let finding = |kind: &str, reader: &str, text: &str| json!({ "kind": kind, "ring": "r", "reader": reader, "text": text });
    let findings = json!({
        "findings": [
            finding("reader_stuck", "a", "it has released nothing for 7 s"),
            finding("reader_slow", "b", "it is behind"),
            finding("reader_absent", "c", "no reader is attached"),
            finding("ring_damaged", "d", "it saw 1 damaged records"),
            { "kind": "of_next_year", "text": "nobody knows" },
        ],
        "findings_left_out": 2,
    });
    let reader = |name: &str, state: &str, corrupt: u32| {
        json!({ "name": name, "state": state, "lag_bytes": 64, "lag_seconds": 7.0,
                "corrupt": corrupt, "lost_records": 0, "missed_wakes": 0 })
    };
    let readers = [
        reader("a", "attached", 0),
        reader("b", "attached", 0),
        reader("c", "detached", 0),
        reader("d", "attached", 1),
        reader("e", "detached", 0),
    ];
    let address = pages(vec![
        ("/healthz", 200, "ok".to_owned()),
        ("/readyz", 200, "{}".to_owned()),
        ("/v1/status", 200, findings.to_string()),
        ("/v1/rings", 200, json!({ "rings": [{ "name": "r", "readers": readers }] }).to_string()),
    ]);
    let settings = settings("[control]\nsocket = '/no/such/directory/s'\n");
    let args = args(&address);
    let running = super::listener::find(&settings, &args);
    let checks = super::listener::checks(&settings, &args, running);
    let told: Vec<_> = checks.iter().skip(4).map(|it| (it.name, it.status, &*it.text)).collect();
    let place = "ring r, subscription";
    assert_eq!(
        told,
        [
            ("readers", Status::Failure, &*format!("{place} a: it has released nothing for 7 s")),
            ("readers", Status::Warning, &*format!("{place} b: it is behind")),
            ("readers", Status::Warning, &*format!("{place} c: no reader is attached")),
            ("readers", Status::Failure, &*format!("{place} d: it saw 1 damaged records")),
            ("finding", Status::Warning, "nobody knows"),
            ("finding", Status::Warning, "there are 2 findings more"),
            (
                "readers",
                Status::Warning,
                &*format!("{place} e: no reader is attached, and 64 bytes wait for one")
            ),
        ]
    );
    let evicts = checks[4].mend.as_deref().expect("what to do");
    assert!(evicts.contains(&format!("DELETE http://{address}/v1/rings/r/readers/a")), "{evicts}");
}

#[test]
fn a_listener_without_pages_for_operators_is_told() {
    let found = said((200, "{}"), None);
    let (name, status, text) = &found[1];
    assert_eq!((*name, *status), ("readers", Status::Warning));
    assert!(text.ends_with("has no pages for operators: readers were not looked at"), "{text}");
}

#[test]
fn without_a_listener_its_socket_and_its_addresses_are_tried() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    let (taken_at, free_at) = (taken.local_addr().expect("one"), free.local_addr().expect("one"));
    drop(free);
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("s");
    let settings = settings(&format!(
        "[control]\nsocket = '{}'\n[http]\nlisten = '{taken_at}'\n[admin]\nlisten = '{free_at}'\n\
         [[listen]]\naddress = 'unix:/u'\nprotocol = 'lines'\n",
        socket.display()
    ));
    let args = DoctorArgs { admin: None, ..args("") };
    let running = super::listener::find(&settings, &args);
    assert!(running.is_none());
    let checks = super::listener::checks(&settings, &args, running);
    let found: Vec<_> = checks.iter().map(|check| (check.name, check.status)).collect();
    let expected = [
        ("files", Status::Good),
        ("control socket", Status::Good),
        ("listener", Status::Warning),
        ("address", Status::Failure),
        ("address", Status::Good),
    ];
    assert_eq!(found, expected, "{checks:?}");
    assert_eq!(checks[1].text, format!("{} can be made", socket.display()));
    assert_eq!(checks[3].text, format!("{taken_at}: another process has it"));
    assert_eq!(checks[4].text, format!("{free_at} can be bound"));
    // One that somebody has left is replaced by the next listener.
    drop(std::os::unix::net::UnixListener::bind(&socket).expect("made"));
    let checks = super::listener::checks(&settings, &args, None);
    assert_eq!(checks[1].status, Status::Good);
    assert!(checks[1].text.ends_with("left by a listener that has ended"), "{}", checks[1].text);
}

#[test]
fn a_journal_needs_a_directory_and_room_for_two_segments_of_each_ring() {
    let directory = tempfile::tempdir().expect("a directory");
    let check = |segment: &str, place: &std::path::Path| {
        let settings = settings(&format!(
            "[journal]\ndirectory = '{}'\nsegment_bytes = '{segment}'\n[[ring]]\nname = 'a'\n\
             durability = 'process'\n[[ring]]\nname = 'b'\n",
            place.display()
        ));
        let mut checks = super::machine::checks(&settings, true);
        checks.pop().filter(|check| check.name == "journal").expect("the last one")
    };
    let good = check("64KiB", &directory.path().join("not/there/yet"));
    assert_ne!(good.status, Status::Failure, "{good:?}");
    assert!(good.text.contains("free"), "{good:?}");
    let ring = |n| format!("[[ring]]\nname = 'r{n}'\ndurability = 'process'\n");
    let many: String = (0..128).map(ring).collect();
    let settings_of_many = settings(&format!(
        "[journal]\ndirectory = '{}'\nsegment_bytes = '64GiB'\n{many}",
        directory.path().display()
    ));
    let mut checks = super::machine::checks(&settings_of_many, true);
    let large = checks.pop().filter(|check| check.name == "journal").expect("the last one");
    assert_eq!(large.status, Status::Failure, "16 TiB: {large:?}");
    let told = format!("two segments of each ring are {}", 2 * 128 * (64_u64 << 30));
    assert!(large.text.contains(&told), "{large:?}");
    let names: Vec<_> = super::machine::checks(&settings(""), true)
        .into_iter()
        .map(|check| (check.name, check.status == Status::Failure))
        .collect();
    let expected = ["descriptors", "memory", "processors", "file size", "clock", "backlog"];
    assert_eq!(names, expected.map(|name| (name, false)));
}

#[test]
fn memory_is_asked_for_unless_a_listener_has_it_already() {
    let check = |text: &str, is_running| {
        let checks = super::machine::checks(&settings(text), is_running);
        checks.into_iter().find(|check| check.name == "memory").expect("always")
    };
    let small = "[[ring]]\nname = 'a'\ncapacity_bytes = '64KiB'\n";
    assert_eq!(check(small, true).text, "the running listener has 69632 bytes of rings");
    assert_eq!(check(small, false).text, "there is room for 69632 bytes of rings");
    let ring = |name: &str| format!("[[ring]]\nname = '{name}'\ncapacity_bytes = '8GiB'\n");
    let large: String = (0..128).map(|n| ring(&format!("r{n}"))).collect();
    assert_eq!(check(&large, false).status, Status::Failure, "a terabyte");
    assert_eq!(check(&large, true).status, Status::Good);
}

#[test]
fn checks_are_lines_for_people_and_an_object_for_programs() {
    let checks = [
        Check::good("a", "fine"),
        Check::warning("b", "so\u{1b} \"so\"", "do this"),
        Check::failure("c", "bad", "do that"),
        Check::warning("d", "so so", "do this"),
    ];
    assert_eq!(
        text(&checks),
        "ok   a: fine\nWARN b: so? \"so\"\n     mend: do this\nFAIL c: bad\n     mend: do that\n\
         WARN d: so so\n     mend: do this\n"
    );
    let object = object(&checks);
    let value: serde_json::Value = serde_json::from_str(&object).expect("JSON");
    assert_eq!((&value["failures"], &value["warnings"]), (&json!(1), &json!(2)));
    let second = json!({
        "name": "b", "status": "warning", "text": "so\u{1b} \"so\"", "mend": "do this"
    });
    assert_eq!(value["checks"][1], second);
    assert_eq!(value["checks"][0]["mend"], serde_json::Value::Null);
    assert_eq!(value["checks"][2]["status"], "failure");
}

#[test]
fn this_kernel_can_do_what_is_needed() {
    let checks = super::kernel::checks();
    let found: Vec<_> = checks.iter().map(|check| check.name).collect();
    assert_eq!(found, ["kernel", "memfd", "futex", "io_uring", "core dumps"]);
    for name in ["kernel", "memfd", "futex"] {
        let check = checks.iter().find(|check| check.name == name).expect("it is one of them");
        assert_eq!(check.status, Status::Good, "the tests run on it: {check:?}");
    }
    assert!(checks[0].text.starts_with("Linux "), "{}", checks[0].text);
}
