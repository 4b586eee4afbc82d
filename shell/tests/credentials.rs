//! Who may write: tokens and passwords over HTTP, RESP and MQTT, and what a reload changes.

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

use common::{Ends, Scratch, Server, command, record};
use rustix::process::{Pid, Resource, Rlimit, Signal};

const PASSWORD: &str = "correct horse battery";

/// Adds a credential to the file; the token, if it is one.
fn add(file: &str, args: &[&str], password: &str) -> String {
    let mut child = command()
        .args(["credential", "add", "--file", file])
        .args(args)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut stdin = child.stdin.take().expect("piped");
    // One that makes a token may be gone already: it reads nothing.
    let _ = stdin.write_all(format!("{password}\n").as_bytes());
    drop(stdin);
    let out = child.wait_with_output().expect("it ends");
    let said = String::from_utf8(out.stderr).expect("UTF-8");
    assert!(out.status.success(), "{said}");
    said.trim().rsplit(' ').next().unwrap_or_default().to_owned()
}

struct Guarded {
    server: Server,
    file: String,
    token: String,
    restricted: String,
}

/// Rings `a` and `b`; `robot` has a token for both, `narrow` one for `a`, `ann` a password.
fn guarded() -> Guarded {
    let scratch = Scratch::new();
    let file = scratch.path("credentials").to_str().expect("ASCII").to_owned();
    let token = add(&file, &["robot"], "");
    let restricted = add(&file, &["narrow", "--ring", "a"], "");
    add(&file, &["ann", "--password"], PASSWORD);
    let listen = "[[listen]]\naddress = '127.0.0.1:0'\nprotocol = ";
    let text = format!(
        "credentials.file = '{file}'\n[[ring]]\nname = 'a'\n[[ring]]\nname = 'b'\n\
         {listen}'resp'\n{listen}'mqtt'\ntopics = [{{ filter = 'a/#', ring = 'a' }}, \
         {{ filter = '#', ring = 'b' }}]\n{listen}'http'\nauthenticate = false\n\
         [[route]]\npath = '/to/a'\nring = 'a'\n"
    );
    let config = scratch.path("aqueduct.toml");
    std::fs::write(&config, text).expect("written");
    let config = config.to_str().expect("ASCII").to_owned();
    let server = Server::start_in(scratch, &["--config", &config]);
    Guarded { server, file, token, restricted }
}

fn base64(text: &str) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut encoded = String::new();
    for group in text.as_bytes().chunks(3) {
        let mut octets = [0; 4];
        octets[1..=group.len()].copy_from_slice(group);
        let bits = u32::from_be_bytes(octets);
        for place in 0..4 {
            let six = (bits >> (18 - 6 * place) & 63) as usize;
            encoded.push(if place <= group.len() { ALPHABET[six].into() } else { '=' });
        }
    }
    encoded
}

fn post(server: &Server, ring: &str, authorization: &str) -> common::Response {
    let field = format!("authorization: {authorization}\r\n");
    let headers = if authorization.is_empty() { "" } else { &field };
    server.exchange(record(ring, headers, b"x"))
}

#[test]
fn http_takes_tokens_and_passwords_for_the_rings_they_are_good_for() {
    let Guarded { server, token, restricted, .. } = guarded();
    let bearer = |token: &str| format!("Bearer {token}");
    let basic = |pair: &str| format!("Basic {}", base64(pair));
    let response = post(&server, "a", "");
    response.assert_problem(401);
    assert!(response.header("www-authenticate").is_some_and(|it| it.contains("bearer")));
    for ring in ["a", "b"] {
        assert_eq!(post(&server, ring, &bearer(&token)).status, 202);
        assert_eq!(post(&server, ring, &basic(&format!("ann:{PASSWORD}"))).status, 202);
        assert_eq!(post(&server, ring, &basic(&format!("robot:{token}"))).status, 202);
    }
    assert_eq!(post(&server, "a", &bearer(&restricted)).status, 202);
    post(&server, "b", &bearer(&restricted)).assert_problem(403);
    post(&server, "none", &bearer(&token)).assert_problem(404);
    let last = token.len() - 1;
    let wrong_last = format!("{}{}", &token[..last], if token.ends_with('A') { "B" } else { "A" });
    for wrong in [
        bearer("x"),
        bearer(&wrong_last),
        bearer(&token[..last]),
        basic(&format!("ann:{PASSWORD}x")),
        basic("ann:"),
        basic(&format!("bob:{PASSWORD}")),
        basic(&format!("ann:{token}")),
        format!("Digest {token}"),
        token.clone(),
    ] {
        post(&server, "a", &wrong).assert_problem(401);
    }
    // Pages are everyone's, and an address may leave its doors open.
    assert_eq!(server.get("/healthz").status, 200);
    let mut open = server.speak_at_last("http");
    open.write_all(&record("a", "", b"x")).expect("sent");
    assert_eq!(common::Response::read(&mut open).status, 202);
    assert!(server.metric("aqueduct_records_rejected_total{reason=\"denied\",ring=\"a\"}") > 9.0);
    assert!(!server.log().contains(&token[20..]) && !server.log().contains(PASSWORD));
}

/// A route that says nothing of credentials is no way around them.
#[test]
fn routes_ask_for_credentials_where_their_address_does_unless_they_are_open() {
    let scratch = Scratch::new();
    let file = scratch.path("credentials").to_str().expect("ASCII").to_owned();
    let (token, narrow) = (add(&file, &["robot"], ""), add(&file, &["narrow", "--ring", "b"], ""));
    let text = format!(
        "credentials.file = '{file}'\n[[ring]]\nname = 'a'\n[[ring]]\nname = 'b'\n\
         [[route]]\npath = '/plain'\nring = 'a'\nunits = ['request_id', 'json']\n\
         [[route]]\npath = '/open'\nring = 'a'\nauthenticate = false\n\
         [[route]]\npath = '/asking'\nring = 'a'\nauthenticate = true\n\
         [[route]]\npath = '/listed'\nring = 'a'\n\
         units = [{{ unit = 'authenticate', allow = ['ann'] }}]\n\
         [[listen]]\naddress = '127.0.0.1:0'\nprotocol = 'http'\nauthenticate = false\n"
    );
    let config = scratch.path("aqueduct.toml");
    std::fs::write(&config, text).expect("written");
    let server = Server::start_in(scratch, &["--config", config.to_str().expect("ASCII")]);
    let request = |path: &str, token: &str| {
        let field = format!("authorization: Bearer {token}\r\n");
        let field = if token.is_empty() { "" } else { &*field };
        format!("POST {path} HTTP/1.1\r\nhost: t\r\n{field}content-length: 2\r\n\r\n[]")
    };
    for (path, sent, status) in [
        ("/plain", "", 401),
        ("/plain", "aqd_nonsense", 401),
        ("/plain", &*narrow, 403),
        ("/plain", &*token, 202),
        ("/open", "", 202),
        ("/asking", "", 401),
        ("/asking", &*token, 202),
        ("/listed", "", 401),
        ("/listed", &*token, 403),
    ] {
        let response = server.exchange(request(path, sent));
        assert_eq!(response.status, status, "{path} {sent}: {response:?}");
        let named = response.header("x-request-id").is_some();
        assert_eq!(named, path == "/plain", "a refusal has its id, too: {response:?}");
    }
    // The other address asks nobody, but for a route that does so by itself.
    let mut other = server.speak_at_last("http");
    for (path, status) in [("/plain", 202), ("/asking", 401)] {
        other.write_all(request(path, "").as_bytes()).expect("sent");
        assert_eq!(common::Response::read(&mut other).status, status, "{path}");
    }
}

#[test]
fn resp_and_mqtt_ask_for_the_same_credentials() {
    let Guarded { server, token, restricted, .. } = guarded();
    let say = |commands: &str| {
        let mut stream = server.speak("resp");
        stream.write_all(format!("{commands}QUIT\r\n").as_bytes()).expect("sent");
        let mut said = String::new();
        stream.read_to_string(&mut said).expect("an end");
        said
    };
    assert!(say("PUBLISH a x\r\n").starts_with("-NOAUTH"));
    assert_eq!(say(&format!("AUTH {token}\r\nPUBLISH a x\r\n")), "+OK\r\n:1\r\n+OK\r\n");
    assert_eq!(say(&format!("AUTH robot {token}\r\nPUBLISH b x\r\n")), "+OK\r\n:1\r\n+OK\r\n");
    let by_password = format!("AUTH ann '{PASSWORD}'\r\nPUBLISH a x\r\n");
    for _ in 0..2 {
        assert_eq!(say(&by_password), "+OK\r\n:1\r\n+OK\r\n");
    }
    assert!(say("AUTH ann wrong\r\nPUBLISH a x\r\n").starts_with("-WRONGPASS"));
    let narrow = say(&format!("AUTH {restricted}\r\nPUBLISH b x\r\nPUBLISH a x\r\n"));
    assert!(narrow.starts_with("+OK\r\n-NOPERM") && narrow.contains(":1\r\n"), "{narrow}");

    let text =
        |text: &str| [&[0, u8::try_from(text.len()).expect("short")], text.as_bytes()].concat();
    let packet = |first: u8, rest: &[u8]| {
        let length = u8::try_from(rest.len()).expect("short");
        [&[first, length], rest].concat()
    };
    let connect = |name: &str, secret: &str| {
        let login = [text("c"), text(name), text(secret)].concat();
        packet(0x10, &[b"\0\x04MQTT\x04\xc2\0\x0a", &login[..]].concat())
    };
    let publish = |topic: &str| packet(0x32, &[text(topic), vec![0, 1], b"x".to_vec()].concat());
    let answer = |bytes: &[u8], count: usize| {
        let mut stream = server.speak("mqtt");
        stream.write_all(bytes).expect("sent");
        let mut answer = vec![0; count];
        let read = stream.read_exact(&mut answer);
        read.is_ok().then_some(answer)
    };
    let taken = Some(vec![0x20, 2, 0, 0, 0x40, 2, 0, 1]);
    assert_eq!(answer(&[connect("robot", &token), publish("a/x")].concat(), 8), taken);
    assert_eq!(answer(&[connect("ann", PASSWORD), publish("b/x")].concat(), 8), taken);
    assert_eq!(answer(&connect("ann", "wrong password"), 4), Some(vec![0x20, 2, 0, 4]));
    let denied = [connect("narrow", &restricted), publish("b/x")].concat();
    assert_eq!(answer(&denied, 8), None, "withheld, and the connection closed");
    assert_eq!(answer(&[connect("narrow", &restricted), publish("a/x")].concat(), 8), taken);
}

#[test]
fn a_reload_takes_new_credentials_and_forgets_old_ones() {
    let Guarded { server, file, token, .. } = guarded();
    let reload = || {
        let out = command().arg("reload").arg("--socket").arg(&server.socket).ended();
        let out = out.expect("it runs");
        let said = [out.stdout, out.stderr].concat();
        (out.status.success(), String::from_utf8_lossy(&said).into_owned())
    };
    // Connections that are open all the time.
    let mut resp = server.speak("resp");
    let mut say = |line: &str| {
        resp.write_all(format!("{line}\r\n").as_bytes()).expect("sent");
        let mut said = String::new();
        while !said.ends_with("\r\n") {
            let mut byte = [0];
            resp.read_exact(&mut byte).expect("an answer");
            said.push(char::from(byte[0]));
        }
        said
    };
    assert_eq!(say(&format!("AUTH {token}")), "+OK\r\n");
    let new = add(&file, &["robot"], "");
    assert_eq!(post(&server, "a", &format!("Bearer {new}")).status, 401);
    let (taken, said) = reload();
    assert!(taken && said.contains("the file of credentials was read again"), "{said}");
    assert!(!said.contains("TLS"), "{said}");
    // Both are good while one replaces the other.
    for token in [&new, &token] {
        assert_eq!(post(&server, "a", &format!("Bearer {token}")).status, 202);
    }
    let text = std::fs::read_to_string(&file).expect("there");
    std::fs::write(&file, format!("{text}ann hunter2\n")).expect("written");
    assert_eq!(say("PUBLISH a x"), ":1\r\n", "the open connection, too");
    let mut kept = server.connect();
    let mut to_route = || {
        let head = format!("POST /to/a HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {token}\r\n");
        kept.write_all(format!("{head}content-length: 1\r\n\r\nx").as_bytes()).expect("sent");
        common::Response::read(&mut kept).status
    };
    // The second one is known by its connection.
    assert_eq!((to_route(), to_route()), (202, 202));
    let (taken, said) = reload();
    let lines = text.lines().count() + 1;
    assert!(!taken && said.contains(&format!("{file}: line {lines}: a hash begins")), "{said}");
    assert!(!said.contains("hunter2"));
    std::fs::write(&file, text.lines().last().expect("a line")).expect("written");
    assert!(reload().0);
    assert_eq!(to_route(), 401, "on the connection that it was known on");
    assert_eq!(post(&server, "a", &format!("Bearer {token}")).status, 401);
    assert_eq!(post(&server, "a", &format!("Bearer {new}")).status, 202);
    // What was open is asked again, and may say something better.
    assert_eq!(say("PUBLISH a x"), "-NOAUTH Authentication required.\r\n");
    assert_eq!(say(&format!("AUTH {new}")), "+OK\r\n");
    assert_eq!(say("PUBLISH a x"), ":1\r\n");
}

#[test]
fn what_credentials_cannot_guard_has_to_be_said() {
    let scratch = Scratch::new();
    let credentials = scratch.path("credentials");
    std::fs::write(&credentials, "# none\n").expect("written");
    let path = credentials.to_str().expect("ASCII");
    let check = |text: &str| {
        let file = scratch.path("aqd.toml");
        std::fs::write(&file, text).expect("written");
        let out = command().args(["check-config", "--config"]).arg(&file).ended().expect("it runs");
        (out.status.code(), String::from_utf8_lossy(&out.stderr).into_owned())
    };
    let lines = "[[listen]]\naddress = '127.0.0.1:0'\nprotocol = 'lines'\n";
    let (status, said) = check(&format!("credentials.file = '{path}'\n{lines}"));
    assert_eq!(status, Some(2), "{said}");
    assert!(said.contains("listen.authenticate") && said.contains("no words"), "{said}");
    let open = format!("credentials.file = '{path}'\n{lines}authenticate = false\n");
    assert_eq!(check(&open).0, Some(0));
    add(path, &["ann", "--password"], PASSWORD);
    let small = format!("credentials.file = '{path}'\ningest.max_buffered_bytes = '64MiB'\n");
    let (status, said) = check(&small);
    assert!(status == Some(2) && said.contains("verifying its passwords may take"), "{said}");
    assert_eq!(check(&small.replace("64MiB", "65MiB")).0, Some(0));
    let (status, said) = check("http.authenticate = true\n");
    assert!(status == Some(2) && said.contains("`credentials.file` names some"), "{said}");
    let (status, said) = check("credentials.file = '/does/not/exist'\n");
    assert!(status == Some(2) && said.contains("/does/not/exist: No such file"), "{said}");
}

#[test]
fn a_process_with_credentials_leaves_no_core_dump() {
    // Whether one that was aborted has dumped its memory, if nothing but itself forbids it.
    let dumps = |server: &mut Server| {
        let all = Rlimit { current: None, maximum: None };
        let pid = Pid::from_raw(i32::try_from(server.pid()).expect("a pid"));
        rustix::process::prlimit(pid, Resource::Core, all).expect("our child");
        server.signal(Signal::ABORT);
        let status = server.wait();
        assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()));
        status.core_dumped()
    };
    assert!(!dumps(&mut guarded().server));
    let mut open = Server::start_under(&[], |command| {
        command.current_dir(std::env::temp_dir());
    });
    if !dumps(&mut open) {
        eprintln!("skipped: nobody leaves a core dump on this machine");
    }
}

#[test]
fn credentials_are_made_one_line_at_a_time() {
    let scratch = Scratch::new();
    let file = scratch.path("credentials");
    let path = file.to_str().expect("ASCII");
    let token = add(path, &["robot", "--ring", "a", "--ring", "b"], "");
    let text = std::fs::read_to_string(&file).expect("there");
    assert!(text.starts_with("robot $blake2b$") && text.ends_with(" rings=a,b\n"), "{text}");
    assert!(!text.contains(&token[13..]));
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&file).expect("there"));
    assert_eq!(mode & 0o777, 0o600);
    let out = command().args(["credential", "add", "a b"]).ended().expect("it runs");
    assert!(String::from_utf8_lossy(&out.stderr).contains("a name has"), "{out:?}");
    let out = command().args(["credential", "add", "robot"]).ended().expect("it runs");
    assert!(out.stdout.starts_with(b"robot $blake2b$") && out.status.success(), "{out:?}");
    let said = BufReader::new(&out.stderr[..]).lines().next().expect("a line").expect("UTF-8");
    assert!(said.contains("aqd_") && !out.stdout.windows(4).any(|part| part == b"aqd_"));
}
