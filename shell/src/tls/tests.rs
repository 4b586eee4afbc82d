//! Sessions in memory: what each side learns, and which clients are let in by which files.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateRevocationListParams, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::*;

/// An authority, and what it signs.
struct Authority {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

struct Signed {
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
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

    fn sign(&self, serial: u64, until_year: i32) -> Signed {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(["localhost".to_owned()]).expect("a good name");
        params.serial_number = Some(SerialNumber::from(serial));
        params.not_after = date_time_ymd(until_year, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        Signed { certificate: certificate.der().clone(), key: key.serialize_der() }
    }

    fn revocations(&self, serial: u64) -> Vec<u8> {
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(2100, 1, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: vec![RevokedCertParams {
                serial_number: SerialNumber::from(serial),
                revocation_time: date_time_ymd(2024, 1, 1),
                reason_code: None,
                invalidity_date: None,
            }],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).expect("signed").der().to_vec()
    }

    /// A client that believes this authority.
    fn client(&self, shows: Option<&Signed>) -> ClientConnection {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone()).expect("a certificate");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots);
        let config = match shows {
            None => builder.with_no_client_auth(),
            Some(Signed { certificate, key }) => {
                let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.clone()));
                builder.with_client_auth_cert(vec![certificate.clone()], key).expect("they match")
            }
        };
        let name = ServerName::try_from("localhost").expect("a name");
        let mut client = ClientConnection::new(Arc::new(config), name).expect("a session");
        client.set_buffer_limit(None);
        client
    }
}

fn pem(path: &Path, label: &str, der: &[u8]) -> PathBuf {
    let text = STANDARD.encode(der);
    std::fs::write(path, format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n"))
        .expect("written");
    path.to_owned()
}

/// Files in a directory for each.
struct Files {
    directory: tempfile::TempDir,
    files: TlsFiles,
}

impl Files {
    fn of(own: &Signed) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        let files = TlsFiles {
            certificate: pem(&at("cert.pem"), "CERTIFICATE", &own.certificate),
            key: pem(&at("key.pem"), "PRIVATE KEY", &own.key),
            client_ca: None,
            client_crl: None,
        };
        Self { directory, files }
    }

    /// Clients must show what this authority has signed and not revoked.
    fn asking(mut self, authority: &Authority, revoked: Option<u64>) -> Self {
        let at = |name: &str| self.directory.path().join(name);
        let der = authority.certificate.der();
        self.files.client_ca = Some(pem(&at("ca.pem"), "CERTIFICATE", der));
        self.files.client_crl =
            revoked.map(|serial| pem(&at("crl.pem"), "X509 CRL", &authority.revocations(serial)));
        self
    }

    fn acceptor(&self) -> Acceptor {
        Acceptor::read(&TlsSettings::Files(self.files.clone()), &[b"x"]).expect("good files")
    }

    fn refused(&self) -> String {
        match Acceptor::read(&TlsSettings::Files(self.files.clone()), &[]) {
            Ok(_) => panic!("they are no good"),
            Err(error) => error,
        }
    }
}

/// Passes on what both sides have to say until neither has more. What the server has read.
fn talk(client: &mut ClientConnection, server: &mut Session) -> Result<Vec<u8>, Broken> {
    let mut plain = Vec::new();
    loop {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).expect("memory");
        }
        let received = server.receive(&wire, &mut plain);
        let mut back = Vec::new();
        if server.wants_to_send() {
            server.send(b"", &mut back);
            assert!(!server.wants_to_send());
        }
        if wire.is_empty() && back.is_empty() {
            return Ok(plain);
        }
        let mut rest = &back[..];
        while !rest.is_empty() {
            client.read_tls(&mut rest).expect("memory");
            let _ = client.process_new_packets();
        }
        received?;
    }
}

#[test]
fn bytes_go_both_ways_and_each_side_learns_of_the_others_end() {
    let authority = Authority::new();
    let acceptor = Files::of(&authority.sign(1, 2100)).acceptor();
    let (mut client, mut server) = (authority.client(None), acceptor.session().expect("one"));
    assert!(server.is_handshaking() && server.peer().is_none());
    assert_eq!(talk(&mut client, &mut server), Ok(Vec::new()));
    assert!(!server.is_handshaking() && server.peer().is_none());
    let large = vec![7; 100_000];
    client.writer().write_all(&large).expect("memory");
    assert_eq!(talk(&mut client, &mut server), Ok(large));
    let mut wire = Vec::new();
    server.send(b"answer", &mut wire);
    assert!(!wire.windows(6).any(|six| six == b"answer"));
    client.read_tls(&mut &wire[..]).expect("memory");
    client.process_new_packets().expect("good");
    let mut answer = [0; 6];
    client.reader().read_exact(&mut answer).expect("it is there");
    assert_eq!(&answer, b"answer");

    let mut wire = Vec::new();
    server.finish(&mut wire);
    client.read_tls(&mut &wire[..]).expect("memory");
    assert!(client.process_new_packets().expect("good").peer_has_closed());
    assert!(!server.has_ended());
    client.send_close_notify();
    assert_eq!(talk(&mut client, &mut server), Ok(Vec::new()));
    assert!(server.has_ended());
    // What follows the end is not looked at.
    let mut plain = Vec::new();
    assert_eq!(server.receive(b"anything", &mut plain), Ok(()));
    assert!(plain.is_empty());
}

#[test]
fn what_is_no_tls_is_broken_and_answered_by_an_alert() {
    let authority = Authority::new();
    let acceptor = Files::of(&authority.sign(1, 2100)).acceptor();
    let mut server = acceptor.session().expect("one");
    assert_eq!(server.receive(b"POST / HTTP/1.1\r\n\r\n", &mut Vec::new()), Err(Broken));
    assert!(server.wants_to_send());
    let mut wire = Vec::new();
    server.send(b"", &mut wire);
    assert_eq!(wire.first(), Some(&21), "an alert");
}

#[test]
fn a_client_is_whom_its_certificate_names_and_must_show_one_where_that_is_asked() {
    let (own, theirs, others) = (Authority::new(), Authority::new(), Authority::new());
    let acceptor = Files::of(&own.sign(1, 2100)).asking(&theirs, Some(3)).acceptor();
    let enter = |shows: Option<&Signed>| {
        let (mut client, mut server) = (own.client(shows), acceptor.session().expect("one"));
        talk(&mut client, &mut server)?;
        assert!(!server.is_handshaking());
        Ok(server)
    };
    let good = theirs.sign(2, 2100);
    let server = enter(Some(&good)).map_err(|Broken| "refused").expect("let in");
    let peer = server.peer().expect("it has shown one");
    assert!(peer.names.contains(&PeerName::Dns("localhost".to_owned())));
    assert_eq!(server.shown().chain, std::slice::from_ref(&good.certificate));
    assert!(enter(None).is_err(), "it shows nothing");
    assert!(enter(Some(&theirs.sign(3, 2100))).is_err(), "it is revoked");
    assert!(enter(Some(&theirs.sign(4, 2001))).is_err(), "it has ended");
    assert!(enter(Some(&others.sign(5, 2100))).is_err(), "somebody else has signed it");
}

#[test]
fn later_files_let_in_whom_they_would_let_in_anew() {
    let (own, theirs, others) = (Authority::new(), Authority::new(), Authority::new());
    let signed = own.sign(1, 2100);
    let first = Files::of(&signed).asking(&theirs, None);
    let (mut client, mut server) =
        (own.client(Some(&theirs.sign(2, 2100))), first.acceptor().session().expect("one"));
    talk(&mut client, &mut server).map_err(|Broken| "refused").expect("let in");
    let accepts = |files: Files| {
        let mut shown = server.shown();
        files.acceptor().accepts(&mut shown)
    };
    assert!(accepts(Files::of(&signed).asking(&theirs, None)), "the same");
    assert!(accepts(Files::of(&signed).asking(&theirs, Some(7))), "another is revoked");
    assert!(!accepts(Files::of(&signed).asking(&theirs, Some(2))), "it is revoked");
    assert!(!accepts(Files::of(&signed).asking(&others, None)), "of another authority");
    assert!(accepts(Files::of(&signed)), "nobody is asked any more");
    // Who was let in by the new rules is not judged by them once more.
    let again = Files::of(&signed).asking(&theirs, Some(7)).acceptor();
    let mut shown = server.shown();
    assert!(again.accepts(&mut shown));
    shown.chain.clear();
    assert!(again.accepts(&mut shown));
    // Who has shown nothing is not let in where something is asked.
    let open = Files::of(&signed).acceptor();
    let (mut client, mut server) = (own.client(None), open.session().expect("one"));
    talk(&mut client, &mut server).map_err(|Broken| "refused").expect("let in");
    assert!(server.shown().chain.is_empty());
    assert!(!first.acceptor().accepts(&mut server.shown()));
    assert!(open.accepts(&mut server.shown()));
}

#[test]
fn a_certificate_of_this_machine_is_made_and_one_from_a_file_says_when_it_ends() {
    let made = Acceptor::read(&TlsSettings::SelfSigned, &[]).expect("made");
    assert!(made.session().is_some());
    let authority = Authority::new();
    // 1 January 2030.
    let acceptor = Files::of(&authority.sign(1, 2030)).acceptor();
    assert_eq!(acceptor.expires_s(), Some(1_893_456_000));
    assert_eq!(TlsSettings::SelfSigned.name(), "self-signed");
    let files = Files::of(&authority.sign(1, 2030)).files;
    let path = files.certificate.display().to_string();
    assert_eq!(TlsSettings::Files(files).name(), path);
}

#[test]
fn files_that_are_no_good_are_named() {
    let authority = Authority::new();
    let files = || Files::of(&authority.sign(1, 2100)).asking(&authority, Some(9));
    let with = |change: &dyn Fn(&Files)| {
        let files = files();
        change(&files);
        files.refused()
    };
    let empty = |name: &'static str| {
        with(&|files: &Files| {
            std::fs::write(files.directory.path().join(name), "nothing\n").expect("written");
        })
    };
    let error = empty("cert.pem");
    assert!(error.ends_with("cert.pem: there is no certificate in it"), "{error}");
    for name in ["key.pem", "ca.pem"] {
        let error = empty(name);
        assert!(error.contains(&format!("{name}: ")), "{error}");
    }
    for name in ["cert.pem", "key.pem", "ca.pem", "crl.pem"] {
        let error = with(&|files: &Files| {
            std::fs::remove_file(files.directory.path().join(name)).expect("it is there");
        });
        assert!(error.contains(&format!("{name}: ")), "{error}");
    }
    let error = with(&|files: &Files| {
        let other = authority.sign(2, 2100);
        pem(&files.directory.path().join("key.pem"), "PRIVATE KEY", &other.key);
    });
    assert!(error.contains("cert.pem: "), "of another key: {error}");
}
