//! Opens TLS connections one after the other in each of some threads: a handshake, one POST, its
//! answer, the end. Sessions are resumed, unless FULL is said. Certificate: the one of the file,
//! which is its own authority.
//!
//! Run: `handshakes ADDRESS PATH CERTIFICATE THREADS SECONDS BYTES [full]`.
//! Expect one line of JSON: `{"taken":9120,"resumed":9118,"seconds":2.0001}`, where `taken` are the
//! connections with a 2xx. Anything else ends it with status 1.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, Stream, version};

/// Sessions that a thread keeps: a server gives two with each full handshake.
const SESSIONS: usize = 8;

struct Plan {
    address: SocketAddr,
    request: Vec<u8>,
    roots: RootCertStore,
    threads: usize,
    time: Duration,
    resumes: bool,
}

#[derive(Default)]
struct Taken {
    all: u64,
    resumed: u64,
}

fn main() -> ExitCode {
    let Some(plan) = plan() else {
        eprintln!("usage: handshakes ADDRESS PATH CERTIFICATE THREADS SECONDS BYTES [full]");
        return ExitCode::from(2);
    };
    match run(&plan) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("handshakes: {error}");
            ExitCode::FAILURE
        }
    }
}

fn plan() -> Option<Plan> {
    let mut words = std::env::args().skip(1);
    let address = words.next()?.parse().ok()?;
    let path = words.next()?;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(words.next()?).ok()?).ok()?;
    let threads = words.next()?.parse().ok()?;
    let time = Duration::from_secs_f64(words.next()?.parse().ok()?);
    let bytes = words.next()?.parse().ok()?;
    let resumes = words.next().is_none();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-length: {bytes}\r\n\r\n"
    );
    let mut request = head.into_bytes();
    request.extend((b'a'..=b'z').cycle().take(bytes));
    Some(Plan { address, request, roots, threads, time, resumes })
}

fn run(plan: &Plan) -> io::Result<()> {
    let start = Instant::now();
    let taken = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..plan.threads).map(|_| scope.spawn(|| connect(plan, start + plan.time))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().map_err(|_| io::Error::other("a thread panicked"))?)
            .try_fold(Taken::default(), |sum, each: io::Result<Taken>| {
                let each = each?;
                io::Result::Ok(Taken {
                    all: sum.all + each.all,
                    resumed: sum.resumed + each.resumed,
                })
            })
    })?;
    let Taken { all, resumed } = taken;
    let seconds = start.elapsed().as_secs_f64();
    println!("{{\"taken\":{all},\"resumed\":{resumed},\"seconds\":{seconds:.6}}}");
    Ok(())
}

/// One thread, with sessions of its own.
fn connect(plan: &Plan, end: Instant) -> io::Result<Taken> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&version::TLS13])
        .map_err(io::Error::other)?
        .with_root_certificates(plan.roots.clone())
        .with_no_client_auth();
    config.resumption = if plan.resumes {
        Resumption::in_memory_sessions(SESSIONS)
    } else {
        Resumption::disabled()
    };
    let config = Arc::new(config);
    let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
    let mut taken = Taken::default();
    let mut answer = Vec::new();
    while Instant::now() < end {
        let mut socket = TcpStream::connect(plan.address)?;
        socket.set_nodelay(true)?;
        let mut session =
            ClientConnection::new(Arc::clone(&config), name.clone()).map_err(io::Error::other)?;
        let mut stream = Stream::new(&mut session, &mut socket);
        stream.write_all(&plan.request)?;
        answer.clear();
        stream.read_to_end(&mut answer)?;
        if !answer.starts_with(b"HTTP/1.1 2") {
            let line = answer.split(|byte| *byte == b'\r').next().unwrap_or_default();
            return Err(io::Error::other(String::from_utf8_lossy(line).into_owned()));
        }
        taken.all += 1;
        taken.resumed += u64::from(session.handshake_kind() == Some(HandshakeKind::Resumed));
    }
    Ok(taken)
}
