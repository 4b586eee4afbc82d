//! One connection: name, TCP, with the feature `tls` also TLS.

use std::io;
use std::path::Path;

use hyper::Uri;
use smol::io::{AsyncRead, AsyncWrite};
use smol::net::TcpStream;

/// Bytes to and from the other side.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// Knows where to connect to, and how.
pub(super) struct Connector {
    host: String,
    port: u16,
    #[cfg(feature = "tls")]
    tls: Option<Tls>,
}

#[cfg(feature = "tls")]
struct Tls {
    connector: futures_rustls::TlsConnector,
    name: futures_rustls::pki_types::ServerName<'static>,
}

impl Connector {
    /// Takes the address apart, and reads the certificates of authorities.
    pub(super) fn new(uri: &Uri, ca_file: Option<&Path>) -> Result<Self, String> {
        let host = uri.host().filter(|host| !host.is_empty()).ok_or("sink.url: no host")?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = match uri.scheme_str() {
            Some("http") => 80,
            Some("https") if cfg!(feature = "tls") => 443,
            Some("https") => {
                return Err("sink.url: this build has no TLS; build with --features tls".to_owned());
            }
            _ => return Err("sink.url: expected http:// or https://".to_owned()),
        };
        let port = uri.port_u16().unwrap_or(port);
        #[cfg(feature = "tls")]
        let tls =
            if uri.scheme_str() == Some("https") { Some(Tls::new(&host, ca_file)?) } else { None };
        #[cfg(not(feature = "tls"))]
        let _ = ca_file;
        Ok(Self {
            host,
            port,
            #[cfg(feature = "tls")]
            tls,
        })
    }

    /// Connects.
    pub(super) async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return Ok(Box::new(tls.connector.connect(tls.name.clone(), stream).await?));
        }
        Ok(Box::new(stream))
    }
}

#[cfg(feature = "tls")]
impl Tls {
    fn new(host: &str, ca_file: Option<&Path>) -> Result<Self, String> {
        use futures_rustls::pki_types::pem::PemObject;
        use futures_rustls::pki_types::{CertificateDer, ServerName};
        use futures_rustls::rustls::crypto::ring::default_provider;
        use futures_rustls::rustls::{ClientConfig, RootCertStore};

        let mut roots = RootCertStore::empty();
        if let Some(path) = ca_file {
            let wrong = |error: &dyn std::fmt::Display| {
                format!("sink.ca_file: {}: {error}", path.display())
            };
            for certificate in CertificateDer::pem_file_iter(path).map_err(|error| wrong(&error))? {
                let certificate = certificate.map_err(|error| wrong(&error))?;
                roots.add(certificate).map_err(|error| wrong(&error))?;
            }
            if roots.is_empty() {
                return Err(wrong(&"no certificate in it"));
            }
        } else {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
            if roots.is_empty() {
                return Err("sink.ca_file: the system has no certificates; name a file".to_owned());
            }
        }
        let provider = std::sync::Arc::new(default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("TLS: {error}"))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| format!("sink.url: {host}: {error}"))?;
        Ok(Self { connector: std::sync::Arc::new(config).into(), name })
    }
}
