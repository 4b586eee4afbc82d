//! One connection: name, TCP, with the feature `tls` also TLS, with the authorities of now.

use std::io;
use std::path::Path;

use hyper::Uri;
use smol::io::{AsyncRead, AsyncWrite};
use smol::net::TcpStream;

/// Bytes to and from the other side.
pub(in crate::sinks) trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// Knows where to connect to, and how.
pub(in crate::sinks) struct Connector {
    host: String,
    port: u16,
    #[cfg(feature = "tls")]
    tls: Option<Tls>,
}

#[cfg(feature = "tls")]
struct Tls {
    name: futures_rustls::pki_types::ServerName<'static>,
    protocols: Vec<Vec<u8>>,
    ca_file: Option<std::path::PathBuf>,
    /// What was in the file, and what was made of it.
    made: std::cell::RefCell<(Vec<u8>, futures_rustls::TlsConnector)>,
}

impl Connector {
    /// Takes the address apart, and reads the certificates of authorities. `protocols` is what a
    /// server is asked for by ALPN; nothing if there is none.
    pub(in crate::sinks) fn new(
        uri: &Uri,
        ca_file: Option<&Path>,
        protocols: &[&[u8]],
    ) -> Result<Self, String> {
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
        let tls = if uri.scheme_str() == Some("https") {
            Some(Tls::new(&host, ca_file, protocols)?)
        } else {
            None
        };
        #[cfg(not(feature = "tls"))]
        let _ = (ca_file, protocols);
        Ok(Self {
            host,
            port,
            #[cfg(feature = "tls")]
            tls,
        })
    }

    /// Connects.
    pub(in crate::sinks) async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            let connector = tls.connector().map_err(io::Error::other)?;
            return Ok(Box::new(connector.connect(tls.name.clone(), stream).await?));
        }
        Ok(Box::new(stream))
    }
}

#[cfg(feature = "tls")]
impl Tls {
    fn new(host: &str, ca_file: Option<&Path>, protocols: &[&[u8]]) -> Result<Self, String> {
        use futures_rustls::pki_types::ServerName;

        let protocols: Vec<_> = protocols.iter().map(|name| name.to_vec()).collect();
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| format!("sink.url: {host}: {error}"))?;
        let content = content_of(ca_file)?;
        let made = (content, make(ca_file, &protocols)?).into();
        Ok(Self { name, protocols, ca_file: ca_file.map(Path::to_owned), made })
    }

    /// Returns what makes connections; made anew if the file of authorities is another one.
    fn connector(&self) -> Result<futures_rustls::TlsConnector, String> {
        let content = content_of(self.ca_file.as_deref())?;
        if self.made.borrow().0 != content {
            let connector = make(self.ca_file.as_deref(), &self.protocols)?;
            *self.made.borrow_mut() = (content, connector);
        }
        Ok(self.made.borrow().1.clone())
    }
}

#[cfg(feature = "tls")]
fn content_of(ca_file: Option<&Path>) -> Result<Vec<u8>, String> {
    let Some(path) = ca_file else { return Ok(Vec::new()) };
    std::fs::read(path).map_err(|error| format!("sink.ca_file: {}: {error}", path.display()))
}

#[cfg(feature = "tls")]
fn make(
    ca_file: Option<&Path>,
    protocols: &[Vec<u8>],
) -> Result<futures_rustls::TlsConnector, String> {
    use crate::sinks::tls;

    let mut config = tls::believing(tls::roots(ca_file)?)?.with_no_client_auth();
    config.alpn_protocols = protocols.to_vec();
    Ok(std::sync::Arc::new(config).into())
}
