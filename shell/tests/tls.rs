//! TLS at the addresses of records: versions, certificates of both sides, reload, resumption.
#![cfg(feature = "tls")]

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

#[cfg(feature = "http2")]
use common::frames::{self, frame};
use common::{Ends, PATIENCE, Scratch, Server, command, record};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateRevocationListParams, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};

type Client = StreamOwned<ClientConnection, TcpStream>;

/// An authority, and what it signs.
struct Authority {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

struct Signed {
    certificate: CertificateDer<'static>,
    key: KeyPair,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new([]).expect("good names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).expect("signed");
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    fn sign(&self, name: &str, serial: u64, until_year: i32) -> Signed {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new([name.to_owned()]).expect("a good name");
        params.serial_number = Some(SerialNumber::from(serial));
        params.not_after = date_time_ymd(until_year, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        Signed { certificate: certificate.der().clone(), key }
    }

    fn revocations(&self, serials: &[u64]) -> Vec<u8> {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(2100, 1, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).expect("signed").der().to_vec()
    }
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut encoded = String::new();
    for group in bytes.chunks(3) {
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

fn write_pem(path: &Path, label: &str, der: &[u8]) {
    let text = format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", base64(der));
    std::fs::write(path, text).expect("written");
}

/// Writes certificate and key for the listener.
fn write(directory: &Scratch, signed: &Signed) {
    write_pem(&directory.path("cert.pem"), "CERTIFICATE", &signed.certificate);
    write_pem(&directory.path("key.pem"), "PRIVATE KEY", &signed.key.serialize_der());
}

/// A listener with TLS at each address.
fn start(signed: &Signed, more: &str) -> Server {
    let scratch = Scratch::new();
    write(&scratch, signed);
    let path = |name: &str| scratch.path(name).display().to_string();
    let listen = "[[listen]]\naddress = '127.0.0.1:0'\nprotocol = ";
    let text = format!(
        "[tls]\ncertificate = '{}'\nkey = '{}'\n{more}\n{listen}'resp'\n{listen}'lines'\n\
         {listen}'http'\ntls = false\n",
        path("cert.pem"),
        path("key.pem")
    );
    let file = scratch.path("aqueduct.toml");
    std::fs::write(&file, text).expect("written");
    let file = file.to_str().expect("ASCII").to_owned();
    Server::start_in(scratch, &["--config", &file, "--header-timeout-ms", "500"])
}

fn trusting(authority: &Authority, as_client: Option<&Signed>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate.der().clone()).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots);
    Arc::new(match as_client {
        None => builder.with_no_client_auth(),
        Some(client) => {
            let key = PrivatePkcs8KeyDer::from(client.key.serialize_der());
            let chain = vec![client.certificate.clone()];
            builder.with_client_auth_cert(chain, PrivateKeyDer::Pkcs8(key)).expect("they match")
        }
    })
}

fn connect(config: &Arc<ClientConfig>, stream: TcpStream) -> Client {
    let name = ServerName::try_from("localhost").expect("a name");
    let connection = ClientConnection::new(Arc::clone(config), name).expect("a session");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    StreamOwned::new(connection, stream)
}

/// Posts a record; the status, or why there is none.
fn post(client: &mut Client) -> Result<String, std::io::Error> {
    client.write_all(&record("default", "", b"x"))?;
    let mut head = Vec::new();
    while !head.ends_with(b"}") {
        let mut byte = [0];
        if client.read(&mut byte)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head[9..12]).into_owned())
}

#[test]
fn every_protocol_is_spoken_over_tls() {
    let authority = Authority::new();
    let server = start(&authority.sign("localhost", 1, 2100), "");
    let config = trusting(&authority, None);
    let mut http = connect(&config, server.connect());
    for _ in 0..3 {
        assert_eq!(post(&mut http).expect("an answer"), "202");
    }
    let mut resp = connect(&config, server.speak("resp"));
    resp.write_all(b"PUBLISH default x\r\nQUIT\r\n").expect("sent");
    let mut said = String::new();
    resp.read_to_string(&mut said).expect("an end that is said");
    assert_eq!(said, ":1\r\n+OK\r\n");
    let mut lines = connect(&config, server.speak("lines"));
    lines.write_all(b"one\ntwo\n").expect("sent");
    // Larger than a record of TLS, and than what a turn reads.
    let mut large = connect(&config, server.connect());
    large.write_all(&record("default", "", &vec![7; 900_000])).expect("sent");
    let mut start = [0; 12];
    large.read_exact(&mut start).expect("an answer");
    assert_eq!(&start, b"HTTP/1.1 202");
    let mut plain = server.speak_at_last("http");
    let count = |stream: &mut TcpStream| {
        stream.write_all(common::get("/metrics").as_bytes()).expect("sent");
        let mut page = String::new();
        stream.read_to_string(&mut page).expect("a page");
        page.contains("aqueduct_records_total{ring=\"default\"} 7\n")
    };
    assert!(count(&mut plain) || count_later(&server, count));
}

/// Lines are not answered: they are there soon.
fn count_later(server: &Server, count: impl Fn(&mut TcpStream) -> bool) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if count(&mut server.speak_at_last("http")) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}

#[test]
fn what_is_no_tls_or_too_old_is_refused_and_half_a_handshake_does_not_stay() {
    let authority = Authority::new();
    let server = start(&authority.sign("localhost", 1, 2100), "");
    let answer_to = |bytes: &[u8]| {
        let mut stream = server.connect();
        stream.write_all(bytes).expect("sent");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        answer
    };
    // Alerts: 21, version, length, fatal.
    let plain = answer_to(&record("default", "", b"x"));
    assert!(plain.first() == Some(&21) && plain.get(5) == Some(&2), "{plain:?}");
    // A hello of TLS 1.0 with one suite.
    let body = [&[1, 0, 0, 43, 3, 1][..], &[7; 32], &[0, 0, 2, 0, 47, 1, 0, 0, 0]].concat();
    let length = u8::try_from(body.len()).expect("short");
    let old = answer_to(&[&[22, 3, 1, 0, length][..], &body].concat());
    assert!(old.first() == Some(&21) && old.get(5) == Some(&2), "{old:?}");
    for begun in [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01"] {
        let mut stream = server.speak("resp");
        stream.write_all(begun).expect("sent");
        let since = Instant::now();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        let took = since.elapsed();
        assert!(took > Duration::from_millis(400) && took < PATIENCE, "{begun:?}: {took:?}");
    }
    let config = trusting(&authority, None);
    assert_eq!(post(&mut connect(&config, server.connect())).expect("an answer"), "202");
}

#[test]
fn a_reload_brings_new_certificates_and_loses_no_connection() {
    let authority = Authority::new();
    let (first, second) =
        (authority.sign("localhost", 1, 2100), authority.sign("localhost", 2, 2200));
    let server = start(&first, "");
    let config = trusting(&authority, None);
    // The address without TLS.
    let ends = |at: &str| {
        let mut stream = server.speak_at_last("http");
        stream.write_all(common::get("/metrics").as_bytes()).expect("sent");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("a page");
        let series = "aqueduct_tls_certificate_expiry_timestamp_seconds{file=";
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with(series)).collect();
        assert!(lines.len() == 1 && lines[0].ends_with(at), "{lines:?}");
    };
    ends(" 4102444800");
    let mut old = connect(&config, server.connect());
    assert_eq!(post(&mut old).expect("an answer"), "202");
    let shown = |client: &Client| client.conn.peer_certificates().expect("shown")[0].to_vec();
    assert_eq!(shown(&old), first.certificate.to_vec());
    let reload = || {
        let out = command().arg("reload").arg("--socket").arg(&server.socket).ended();
        let out = out.expect("it runs");
        (out.status.success(), String::from_utf8_lossy(&out.stderr).into_owned())
    };
    // The key of another certificate: nothing changes.
    let key = server.scratch.path("key.pem");
    write_pem(&key, "PRIVATE KEY", &second.key.serialize_der());
    let (taken, said) = reload();
    assert!(!taken && said.contains("cert.pem"), "{said}");
    std::fs::write(&key, "nothing").expect("written");
    let (taken, said) = reload();
    assert!(!taken && said.contains("key.pem"), "{said}");
    write(&server.scratch, &second);
    assert!(reload().0);
    ends(" 7258118400");
    let fresh = trusting(&authority, None);
    let mut new = connect(&fresh, server.connect());
    assert_eq!(post(&mut new).expect("an answer"), "202");
    assert_eq!(shown(&new), second.certificate.to_vec());
    assert_eq!(post(&mut old).expect("the old one goes on"), "202");
}

#[test]
fn a_session_is_resumed() {
    let authority = Authority::new();
    let server = start(&authority.sign("localhost", 1, 2100), "");
    let config = trusting(&authority, None);
    let kinds: Vec<_> = (0..3)
        .map(|_| {
            let mut client = connect(&config, server.connect());
            assert_eq!(post(&mut client).expect("an answer"), "202");
            client.conn.handshake_kind().expect("it is over")
        })
        .collect();
    assert_eq!(kinds, [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed]);
}

#[test]
fn clients_show_a_certificate_that_is_neither_foreign_expired_nor_revoked() {
    let (authority, foreign) = (Authority::new(), Authority::new());
    let scratch = Scratch::new();
    let path = |name: &str| scratch.path(name);
    write_pem(&path("ca.pem"), "CERTIFICATE", authority.certificate.der());
    write_pem(&path("crl.pem"), "X509 CRL", &authority.revocations(&[11]));
    let more = format!(
        "client_ca = '{}'\nclient_crl = '{}'",
        path("ca.pem").display(),
        path("crl.pem").display()
    );
    let server = start(&authority.sign("localhost", 1, 2100), &more);
    let ask = |client: Option<&Signed>| {
        post(&mut connect(&trusting(&authority, client), server.connect()))
    };
    let good = authority.sign("robot.example", 10, 2100);
    let other = authority.sign("other.example", 13, 2100);
    let (as_good, as_other) =
        (trusting(&authority, Some(&good)), trusting(&authority, Some(&other)));
    let mut open = connect(&as_good, server.connect());
    assert_eq!(post(&mut open).expect("an answer"), "202");
    let mut resumed = connect(&as_good, server.connect());
    assert_eq!(post(&mut resumed).expect("an answer"), "202");
    assert_eq!(resumed.conn.handshake_kind(), Some(HandshakeKind::Resumed));
    let mut others = connect(&as_other, server.connect());
    assert_eq!(post(&mut others).expect("an answer"), "202");
    #[cfg(feature = "http2")]
    let mut streams = {
        let mut config = ClientConfig::clone(&as_good);
        config.alpn_protocols = vec![b"h2".to_vec()];
        let mut client = connect(&Arc::new(config), server.connect());
        let answers = post_streams(&mut client, &["default"], &[b"x".to_vec()]);
        assert!(answers[0].starts_with("{\"seq\":"), "{answers:?}");
        client
    };
    assert!(ask(None).is_err(), "no certificate");
    let revoked = authority.sign("revoked.example", 11, 2100);
    assert!(ask(Some(&revoked)).is_err(), "revoked");
    assert!(ask(Some(&authority.sign("old.example", 12, 2020))).is_err(), "expired");
    assert!(ask(Some(&foreign.sign("robot.example", 10, 2100))).is_err(), "foreign");
    // A reload takes a new list.
    write_pem(&path("crl.pem"), "X509 CRL", &authority.revocations(&[10, 11]));
    let out = command().arg("reload").arg("--socket").arg(&server.socket).ended();
    assert!(out.expect("it runs").status.success());
    assert!(ask(Some(&good)).is_err(), "revoked now");
    // Nor does a session that could be resumed, or one that is open, help; others go on.
    assert!(post(&mut connect(&as_good, server.connect())).is_err(), "no resumption");
    for client in [&mut open, &mut resumed] {
        assert!(post(client).is_err(), "closed");
    }
    #[cfg(feature = "http2")]
    {
        let head = frames::asking("POST", "/v1/rings/default/records");
        let sent = [
            frame(frames::HEADERS, frames::END_HEADERS, 3, &head),
            frame(frames::DATA, frames::END_STREAM, 3, b"x"),
        ];
        let _ = streams.write_all(&sent.concat());
        let answered = |frame: &frames::Frame| frame.kind == frames::DATA;
        while let Some(frame) = frames::read(&mut streams) {
            assert!(!answered(&frame), "{:?}", frame.payload);
            if frame.kind == frames::RST_STREAM {
                break;
            }
        }
    }
    assert_eq!(post(&mut others).expect("not revoked"), "202");
}

/// A listener whose clients show certificates of `authority`, with rings `a` and `b`, RESP and
/// MQTT, and this file of credentials, whose path is also returned.
fn start_guarded(authority: &Authority, credentials: &str) -> (Server, PathBuf) {
    let scratch = Scratch::new();
    write_pem(&scratch.path("ca.pem"), "CERTIFICATE", authority.certificate.der());
    write(&scratch, &authority.sign("localhost", 1, 2100));
    let path = |name: &str| scratch.path(name).display().to_string();
    let listen = "[[listen]]\naddress = '127.0.0.1:0'\nprotocol = ";
    let text = format!(
        "credentials.file = '{}'\nadmin.listen = '127.0.0.1:0'\n[tls]\ncertificate = '{}'\nkey = '{}'\nclient_ca = '{}'\n\
         {listen}'resp'\n{listen}'mqtt'\n\
         topics = [{{ filter = 'a/#', ring = 'a' }}, {{ filter = '#', ring = 'b' }}]\n\
         {listen}'lines'\nring = 'a'\n\
         [[ring]]\nname = 'a'\n[[ring]]\nname = 'b'\n",
        path("credentials"),
        path("cert.pem"),
        path("key.pem"),
        path("ca.pem"),
    );
    let (file, known) = (scratch.path("aqueduct.toml"), scratch.path("credentials"));
    std::fs::write(&known, credentials).expect("written");
    std::fs::write(&file, text).expect("written");
    let file = file.to_str().expect("ASCII").to_owned();
    (Server::start_in(scratch, &["--config", &file]), known)
}

/// Posts an empty record, whose refusal does not end the connection; the status.
fn post_to(client: &mut Client, ring: &str, lines: &str) -> String {
    client.write_all(&record(ring, lines, b"")).expect("sent");
    // An answer is one record of TLS.
    let mut answer = [0; 4096];
    let count = client.read(&mut answer).expect("an answer");
    String::from_utf8_lossy(&answer[9..count.min(12)]).into_owned()
}

/// Says `bytes` and reads as many of the answer as are expected, or to its end.
fn said(client: &mut Client, bytes: &[u8], count: usize) -> Vec<u8> {
    client.write_all(bytes).expect("sent");
    let mut answer = Vec::new();
    let _ = client.take(count as u64).read_to_end(&mut answer);
    answer
}

#[test]
fn a_certificate_is_a_credential_of_every_protocol_until_a_reload_revokes_it() {
    let authority = Authority::new();
    let token = command().args(["credential", "add", "ann"]).ended().expect("it runs");
    let secret = String::from_utf8_lossy(&token.stderr).into_owned();
    let secret = secret.trim().rsplit(' ').next().expect("a token").to_owned();
    let line = |name: &str, certificate: &str| {
        let out = command()
            .args(["credential", "add", name, "--ring", "a", "--certificate", certificate])
            .ended()
            .expect("it runs");
        assert!(out.status.success(), "{out:?}");
        String::from_utf8(out.stdout).expect("UTF-8")
    };
    let robot = line("robot", "dns:robot.example");
    let known = format!(
        "{}{robot}{}",
        String::from_utf8_lossy(&token.stdout),
        line("works", "CN=rcgen self signed cert")
    );
    let (server, file) = start_guarded(&authority, &known);
    let robot_shows = authority.sign("robot.example", 10, 2100);
    let other_shows = authority.sign("other.example", 11, 2100);
    let (as_robot, as_other) =
        (trusting(&authority, Some(&robot_shows)), trusting(&authority, Some(&other_shows)));
    // HTTP/1.1: its own ring, another's, and what goes before it.
    let mut kept = connect(&as_robot, server.connect());
    assert_eq!(post_to(&mut kept, "a", ""), "202");
    assert_eq!(post_to(&mut kept, "b", ""), "403");
    let bearer = format!("authorization: Bearer {secret}\r\n");
    assert_eq!(post_to(&mut kept, "b", &bearer), "202");
    assert_eq!(post_to(&mut kept, "a", "authorization: Bearer aqd_x\r\n"), "401");
    // One that a resumed session does not show again counts, too.
    let mut resumed = connect(&as_robot, server.connect());
    assert_eq!(post_to(&mut resumed, "a", ""), "202");
    assert_eq!(resumed.conn.handshake_kind(), Some(HandshakeKind::Resumed));
    // Signed, and in no line by any alternative name: the subject is, which all of them have.
    let mut other = connect(&as_other, server.connect());
    assert_eq!(post_to(&mut other, "a", ""), "202");
    assert_eq!(post_to(&mut other, "b", ""), "403");
    #[cfg(feature = "http2")]
    {
        let mut config = ClientConfig::clone(&as_robot);
        config.alpn_protocols = vec![b"h2".to_vec()];
        let mut client = connect(&Arc::new(config), server.connect());
        let answers = post_streams(&mut client, &["a", "b"], &[b"x".to_vec(), b"x".to_vec()]);
        assert!(answers[0].starts_with("{\"seq\":"), "{answers:?}");
        assert!(answers[1].contains("\"status\":403"), "{answers:?}");
    }
    // RESP: at once, for its ring.
    let mut resp = connect(&as_robot, server.speak("resp"));
    let denied = "-NOPERM these credentials may not write to this ring\r\n";
    let expected = format!("+PONG\r\n:1\r\n{denied}");
    let heard = said(&mut resp, b"PING\r\nPUBLISH a x\r\nPUBLISH b x\r\n", expected.len());
    assert_eq!(String::from_utf8_lossy(&heard), expected);
    // MQTT 3.1.1: CONNECT without name and password, PUBLISH with QoS 1.
    let connect_packet = b"\x10\x0d\0\x04MQTT\x04\x02\0\x0a\0\x01c";
    let publish = |topic: u8| [0x32, 8, 0, 3, topic, b'/', b'x', 0, 1, b'x'];
    let mqtt = |config: &Arc<ClientConfig>, topic: u8| {
        let mut client = connect(config, server.speak("mqtt"));
        said(&mut client, &[&connect_packet[..], &publish(topic)].concat(), 8)
    };
    assert_eq!(mqtt(&as_robot, b'a'), [0x20, 2, 0, 0, 0x40, 2, 0, 1]);
    assert_eq!(mqtt(&as_robot, b'b'), [0x20, 2, 0, 0], "withheld, and the connection closed");
    // Lines have no words: the certificate is all that they can say.
    let appended = || {
        let stream = TcpStream::connect(server.admin.expect("an address")).expect("connected");
        let (mut stream, mut text) = (stream, String::new());
        stream.write_all(common::get("/metrics").as_bytes()).expect("sent");
        stream.read_to_string(&mut text).expect("a page");
        let series = "aqueduct_records_total{ring=\"a\"} ";
        let line = text.lines().find_map(|line| line.strip_prefix(series));
        line.expect("the series").parse::<u64>().expect("a number")
    };
    let mut line = connect(&as_robot, server.speak("lines"));
    let before = appended();
    line.write_all(b"line\n").expect("sent");
    server.eventually("the line is there", || appended() == before + 1);
    // Without their lines, nobody is let in any more, and the open connection is refused.
    std::fs::write(&file, &token.stdout).expect("written");
    let out = command().arg("reload").arg("--socket").arg(&server.socket).ended();
    assert!(out.expect("it runs").status.success());
    assert_eq!(post_to(&mut kept, "a", ""), "401");
    assert_eq!(post_to(&mut kept, "b", &bearer), "202");
    assert_eq!(post_to(&mut connect(&as_robot, server.connect()), "a", ""), "401");
    let mut resp = connect(&as_robot, server.speak("resp"));
    let expected = "-NOAUTH Authentication required.\r\n";
    let heard = said(&mut resp, b"PUBLISH a x\r\n", expected.len());
    assert_eq!(String::from_utf8_lossy(&heard), expected);
    assert_eq!(mqtt(&as_robot, b'a'), [0x20, 2, 0, 5]);
    let before = appended();
    for client in [&mut line, &mut connect(&as_robot, server.speak("lines"))] {
        assert_eq!(said(client, b"line\n", 1), b"", "closed");
    }
    assert_eq!(appended(), before);
}

#[test]
fn a_certificate_for_trying_is_made_at_the_start() {
    let server = Server::start(&["--tls-self-signed"]);
    // Whoever does not know it does not trust it.
    let config = trusting(&Authority::new(), None);
    let error = post(&mut connect(&config, server.connect())).expect_err("not trusted");
    assert!(error.to_string().contains("invalid peer certificate"), "{error}");
    let out = command().args(["serve", "--tls-self-signed"]).env("AQUEDUCT_TLS_KEY", "x").ended();
    let said = String::from_utf8_lossy(&out.expect("it runs").stderr).into_owned();
    assert!(said.contains("AQUEDUCT_TLS_KEY") && said.contains("together"), "{said}");
}

/// Posts records as streams of HTTP/2; what is answered to each.
#[cfg(feature = "http2")]
fn post_streams(client: &mut Client, rings: &[&str], bodies: &[Vec<u8>]) -> Vec<String> {
    let mut sent = [frames::PREFACE, &frame(frames::SETTINGS, 0, 0, &[])].concat();
    for ((stream, body), ring) in (1..).step_by(2).zip(bodies).zip(rings.iter().cycle()) {
        let head = frames::asking("POST", &format!("/v1/rings/{ring}/records"));
        sent.extend(frame(frames::HEADERS, frames::END_HEADERS, stream, &head));
        sent.extend(frame(frames::DATA, frames::END_STREAM, stream, body));
    }
    client.write_all(&sent).expect("sent");
    let mut answers = vec![String::new(); bodies.len()];
    while answers.iter().any(|answer| !answer.ends_with('}')) {
        let frame = frames::read(client).expect("all are answered");
        if frame.kind == frames::DATA {
            let answer = &mut answers[frame.stream as usize / 2];
            answer.push_str(&String::from_utf8_lossy(&frame.payload));
        }
    }
    answers
}

#[cfg(feature = "http2")]
#[test]
fn http_2_is_spoken_to_who_asks_for_it_by_alpn() {
    let authority = Authority::new();
    let server = start(&authority.sign("localhost", 1, 2100), "");
    let asking = |names: &[&[u8]]| {
        let mut config = ClientConfig::clone(&trusting(&authority, None));
        config.alpn_protocols = names.iter().map(|name| name.to_vec()).collect();
        Arc::new(config)
    };
    let mut client = connect(&asking(&[b"h2", b"http/1.1"]), server.connect());
    // Larger than a record of TLS, and several of them at once.
    let bodies: Vec<_> = (0..3_u8).map(|byte| vec![byte; 16_000]).collect();
    let answers = post_streams(&mut client, &["default"], &bodies);
    assert_eq!(client.conn.alpn_protocol(), Some(&b"h2"[..]));
    assert!(answers.iter().all(|answer| answer.starts_with("{\"seq\":")), "{answers:?}");
    client.conn.send_close_notify();
    client.flush().expect("sent");
    // The others go on as they did.
    let mut old = connect(&asking(&[b"http/1.1"]), server.connect());
    assert_eq!(post(&mut old).expect("answered"), "202");
    assert_eq!(old.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
    // An upgrade from within TLS is none (RFC 7540 §3.2): it is answered over HTTP/1.1.
    let mut asks = connect(&asking(&[]), server.connect());
    let head = "GET /healthz HTTP/1.1\r\nhost: t\r\nconnection: upgrade, http2-settings\r\n\
                upgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n\r\n";
    asks.write_all(head.as_bytes()).expect("sent");
    let mut status = [0; 12];
    asks.read_exact(&mut status).expect("answered");
    assert_eq!(&status, b"HTTP/1.1 200");
}

#[test]
fn operators_are_answered_over_tls_where_it_is_asked_for() {
    let authority = Authority::new();
    let server =
        start(&authority.sign("localhost", 1, 2100), "[admin]\nlisten = '127.0.0.1:0'\ntls = true");
    let address = server.admin.expect("an address");
    let get = |client: &mut Client| {
        client.write_all(b"GET /healthz HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        client.read_to_string(&mut answer).map(|_| answer)
    };
    let stream = || TcpStream::connect(address).expect("connected");
    let mut client = connect(&trusting(&authority, None), stream());
    // To the end, which TLS says by itself: nothing was cut off.
    let answer = get(&mut client).expect("answered, and ended in order");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok\n"), "{answer}");
    let mut plain = stream();
    plain.set_read_timeout(Some(PATIENCE)).expect("set");
    plain.write_all(b"GET /healthz HTTP/1.1\r\nhost: t\r\n\r\n").expect("sent");
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    // What does not begin does not stay.
    let mut silent = stream();
    silent.set_read_timeout(Some(PATIENCE)).expect("set");
    assert_eq!(silent.read(&mut [0; 1]).expect("closed"), 0);
}

/// How a client says that nothing more comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Notify,
    Fin,
    Both,
}

fn end(client: &mut Client, how: End) {
    if how != End::Fin {
        client.conn.send_close_notify();
    }
    client.flush().expect("sent");
    if how != End::Notify {
        client.sock.shutdown(std::net::Shutdown::Write).expect("open");
    }
}

/// Everything up to the end of the connection, however that is said.
fn rest(client: &mut Client) -> Vec<u8> {
    let (mut all, mut piece) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = client.read(&mut piece) {
        all.extend_from_slice(&piece[..count]);
    }
    all
}

#[test]
fn a_client_that_ends_its_side_gets_every_answer_over_tls() {
    const RECORDS: usize = 50;
    let authority = Authority::new();
    let server = start(&authority.sign("localhost", 1, 2100), "");
    let config = trusting(&authority, None);
    for how in [End::Notify, End::Fin, End::Both] {
        let mut client = connect(&config, server.connect());
        client.write_all(&record("default", "", b"x").repeat(RECORDS)).expect("sent");
        end(&mut client, how);
        let answers = rest(&mut client);
        let answers = String::from_utf8_lossy(&answers);
        assert_eq!(answers.matches("HTTP/1.1 202").count(), RECORDS, "{how:?}: {answers}");
        // Half a request is none.
        let mut client = connect(&config, server.connect());
        let request = record("default", "", b"whole");
        client.write_all(&request[..request.len() - 1]).expect("sent");
        end(&mut client, how);
        let answers = rest(&mut client);
        let answers = String::from_utf8_lossy(&answers);
        assert!(!answers.contains("HTTP/1.1 202"), "{how:?}: {answers}");
    }
}

#[cfg(feature = "http2")]
#[test]
fn a_client_of_http_2_that_ends_its_side_gets_every_answer_over_tls() {
    let authority = Authority::new();
    let server = start(&authority.sign("localhost", 1, 2100), "");
    let mut config = ClientConfig::clone(&trusting(&authority, None));
    config.alpn_protocols = vec![b"h2".to_vec()];
    let config = Arc::new(config);
    for how in [End::Notify, End::Fin, End::Both] {
        let mut client = connect(&config, server.connect());
        let mut all = [frames::PREFACE, &frame(frames::SETTINGS, 0, 0, &[])].concat();
        for stream in (1..100).step_by(2) {
            let asked = frames::asking("POST", "/v1/rings/default/records");
            all.extend(frame(frames::HEADERS, frames::END_HEADERS, stream, &asked));
            all.extend(frame(frames::DATA, frames::END_STREAM, stream, b"x"));
        }
        client.write_all(&all).expect("sent");
        end(&mut client, how);
        let answers = rest(&mut client);
        let answers = String::from_utf8_lossy(&answers);
        assert_eq!(answers.matches("\"seq\"").count(), 50, "{how:?}");
    }
}

#[test]
fn junk_where_tls_is_expected_ends_its_connection_and_nothing_else() {
    let authority = Authority::new();
    let server = start(&authority.sign("localhost", 1, 2100), "");
    let noise: Vec<u8> =
        (0..70_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
    let table: [(&str, Vec<u8>); 10] = [
        ("noise", noise.clone()),
        ("zeros", vec![0; 70_000]),
        ("HTTP", record("default", "", b"x").repeat(500)),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".repeat(100)),
        ("lines", b"one\ntwo\n".repeat(1000)),
        ("RESP", b"PUBLISH default x\r\n".repeat(1000)),
        ("a record that is too long", [&[22, 3, 1, 255, 255][..], &noise[..65_535]].concat()),
        ("empty records", [22, 3, 1, 0, 0].repeat(10_000)),
        ("data before a handshake", [&[23, 3, 3, 64, 0][..], &noise[..16_384]].concat()),
        ("an alert", vec![21, 3, 3, 0, 2, 2, 40]),
    ];
    for protocol in ["http", "resp", "lines"] {
        for (what, bytes) in &table {
            let mut stream =
                if protocol == "http" { server.connect() } else { server.speak(protocol) };
            stream.set_read_timeout(Some(PATIENCE)).expect("set");
            // It may be closed before it has all.
            let _ = stream.write_all(bytes);
            let mut answer = Vec::new();
            let ended = stream.read_to_end(&mut answer);
            let timed_out =
                ended.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
            assert!(!timed_out, "{protocol}, {what}: it is not closed");
            // An alert, or nothing.
            assert!(
                answer.is_empty() || answer[0] == 21 && answer.len() == 7,
                "{what}: {answer:?}"
            );
        }
    }
    let mut plain = server.speak_at_last("http");
    plain.write_all(common::get("/metrics").as_bytes()).expect("sent");
    let mut page = String::new();
    plain.read_to_string(&mut page).expect("a page");
    assert!(page.contains("aqueduct_records_total{ring=\"default\"} 0\n"), "{page}");
    let errors = page.lines().find_map(|line| line.strip_prefix("aqueduct_protocol_errors_total "));
    let errors: usize = errors.and_then(|count| count.parse().ok()).expect("a count");
    // An empty record, and an alert, break no rule by themselves.
    assert!(errors >= 3 * (table.len() - 2), "{errors} are counted");
    let config = trusting(&authority, None);
    assert_eq!(post(&mut connect(&config, server.connect())).expect("an answer"), "202");
}

#[test]
fn health_that_would_be_closed_beyond_the_limit_is_warned_of_at_the_start() {
    let authority = Authority::new();
    let signed = authority.sign("localhost", 1, 2100);
    let said = "health is asked at an address that speaks TLS";
    for (more, is_said) in [("", true), ("[admin]\nlisten = '127.0.0.1:0'\n", false)] {
        let server = start(&signed, more);
        // It would be before this line.
        server.eventually("it is ready", || server.log().contains("ready http="));
        assert_eq!(server.log().contains(said), is_said, "{}", server.log());
    }
}
