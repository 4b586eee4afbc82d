//! Connections of commands: TCP, a UNIX socket, or TLS over TCP, with a bound for every wait but
//! that for a UNIX socket whose backlog is full.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// For each read and write.
pub(super) const PATIENCE: Duration = Duration::from_secs(90);
/// For connecting.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// What an address of a UNIX socket begins with, before its path.
pub(super) const UNIX: &str = "unix:";
/// What an address that speaks TLS begins with, before `HOST:PORT`.
pub(super) const TLS: &str = "tls:";

/// An error that another attempt does not mend.
#[derive(Debug)]
struct Lasting(String);

impl std::fmt::Display for Lasting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Lasting {}

/// Makes an error one that another attempt does not mend.
fn lasting(error: &impl std::fmt::Display) -> io::Error {
    io::Error::other(Lasting(error.to_string()))
}

/// Returns whether another attempt would fail in the same way: what TLS needs is not there, or one
/// side refuses the certificate of the other.
pub(super) fn is_lasting(error: &io::Error) -> bool {
    let Some(inner) = error.get_ref() else { return false };
    #[cfg(feature = "tls")]
    if let Some(error) = inner.downcast_ref::<rustls::Error>() {
        return refuses_certificate(error);
    }
    inner.is::<Lasting>()
}

#[cfg(feature = "tls")]
fn refuses_certificate(error: &rustls::Error) -> bool {
    use rustls::AlertDescription as Alert;
    match error {
        rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented => true,
        rustls::Error::AlertReceived(alert) => matches!(
            alert,
            Alert::NoCertificate
                | Alert::BadCertificate
                | Alert::UnsupportedCertificate
                | Alert::CertificateRevoked
                | Alert::CertificateExpired
                | Alert::CertificateUnknown
                | Alert::UnknownCA
                | Alert::AccessDenied
                | Alert::CertificateRequired
        ),
        _ => false,
    }
}

/// One connection.
pub(super) enum Wire {
    Tcp(TcpStream),
    Unix(UnixStream),
    #[cfg(feature = "tls")]
    Tls(Box<rustls::StreamOwned<rustls::ClientConnection, TcpStream>>),
}

impl Wire {
    /// Connects to `HOST:PORT`, `unix:PATH` or `tls:HOST:PORT`.
    pub(super) fn connect(address: &str) -> io::Result<Self> {
        if let Some(path) = address.strip_prefix(UNIX) {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            return Ok(Self::Unix(stream));
        }
        match address.strip_prefix(TLS) {
            Some(address) => secure(address, tcp(address)?),
            None => tcp(address).map(Self::Tcp),
        }
    }

    pub(super) fn set_read_timeout(&self, time: Option<Duration>) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_read_timeout(time),
            Self::Unix(stream) => stream.set_read_timeout(time),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.sock.set_read_timeout(time),
        }
    }

    #[cfg(feature = "operate")]
    pub(super) fn set_write_timeout(&self, time: Option<Duration>) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_write_timeout(time),
            Self::Unix(stream) => stream.set_write_timeout(time),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.sock.set_write_timeout(time),
        }
    }

    /// Says that nothing more comes from here.
    #[cfg(feature = "operate")]
    pub(super) fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown(std::net::Shutdown::Write),
            Self::Unix(stream) => stream.shutdown(std::net::Shutdown::Write),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => {
                stream.conn.send_close_notify();
                stream.flush()
            }
        }
    }
}

impl Read for Wire {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(into),
            Self::Unix(stream) => stream.read(into),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.read(into),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.flush(),
            Self::Unix(stream) => stream.flush(),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.flush(),
        }
    }
}

fn tcp(address: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "no address of that name");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_PATIENCE) {
            Ok(stream) => {
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(not(feature = "tls"))]
fn secure(_: &str, _: TcpStream) -> io::Result<Wire> {
    Err(lasting(&"this program was built without TLS"))
}

#[cfg(feature = "tls")]
fn secure(address: &str, stream: TcpStream) -> io::Result<Wire> {
    let config = trust::config().map_err(|error| lasting(&error))?;
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let name = host.trim_matches(['[', ']']).to_owned();
    let name = rustls::pki_types::ServerName::try_from(name).map_err(|error| lasting(&error))?;
    let session = rustls::ClientConnection::new(config, name).map_err(io::Error::other)?;
    let mut stream = rustls::StreamOwned::new(session, stream);
    // The server is known before anything is sent to it.
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(Wire::Tls(Box::new(stream)))
}

/// Whom a command trusts, and who it says it is, over TLS.
#[cfg(feature = "operate")]
#[derive(Clone, Debug, Default, clap::Args)]
pub struct TrustArgs {
    /// Authorities that the certificate of a TLS address may be signed by, PEM [default: the
    /// system's]
    #[arg(long, value_name = "FILE")]
    ca: Option<std::path::PathBuf>,
    /// Certificate that is shown over TLS, with its chain, PEM
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<std::path::PathBuf>,
    /// Its private key, PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<std::path::PathBuf>,
}

#[cfg(feature = "operate")]
impl TrustArgs {
    /// Has every connection of this process over TLS made so.
    #[cfg_attr(not(feature = "tls"), allow(clippy::unused_self, reason = "nobody speaks TLS"))]
    pub(super) fn apply(&self) {
        #[cfg(feature = "tls")]
        trust::set(self.ca.clone(), self.cert.clone().zip(self.key.clone()));
    }
}

#[cfg(feature = "tls")]
mod trust {
    use std::io;
    use std::path::{Path, PathBuf};
    use std::sync::{Arc, OnceLock};

    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use rustls::{ClientConfig, RootCertStore};

    /// Where systems have their authorities: Debian and Alpine; Fedora; SUSE.
    const BUNDLES: [&str; 3] = [
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/ssl/ca-bundle.pem",
    ];

    /// Authorities, and our certificate with its key.
    type Given = (Option<PathBuf>, Option<(PathBuf, PathBuf)>);

    static GIVEN: OnceLock<Given> = OnceLock::new();
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();

    #[cfg(feature = "operate")]
    pub(super) fn set(ca: Option<PathBuf>, own: Option<(PathBuf, PathBuf)>) {
        // A command does so once.
        let _ = GIVEN.set((ca, own));
    }

    /// The configuration of all connections, read for the first one: sessions are resumed.
    pub(super) fn config() -> io::Result<Arc<ClientConfig>> {
        if let Some(config) = CONFIG.get() {
            return Ok(Arc::clone(config));
        }
        let config = Arc::new(read()?);
        Ok(Arc::clone(CONFIG.get_or_init(|| config)))
    }

    fn read() -> io::Result<ClientConfig> {
        let (ca, own) = GIVEN.get().cloned().unwrap_or_default();
        let bundle = || BUNDLES.iter().map(PathBuf::from).find(|path| path.exists());
        let none = || io::Error::other("no authorities are known to this system: give --ca FILE");
        let ca = ca.or_else(bundle).ok_or_else(none)?;
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&ca)? {
            roots.add(certificate).map_err(|error| said(&ca, error))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots);
        let Some((chain, key)) = own else { return Ok(builder.with_no_client_auth()) };
        let own = PrivateKeyDer::from_pem_file(&key).map_err(|error| said(&key, error))?;
        builder.with_client_auth_cert(certificates(&chain)?, own).map_err(|e| said(&chain, e))
    }

    fn certificates(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
        let read = CertificateDer::pem_file_iter(path).map_err(|error| said(path, error))?;
        read.collect::<Result<_, _>>().map_err(|error| said(path, error))
    }

    fn said(path: &Path, error: impl std::fmt::Display) -> io::Error {
        io::Error::other(format!("{}: {error}", path.display()))
    }
}
