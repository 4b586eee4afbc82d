//! TLS to a server: by rustls, between the streams of tokio and those of `futures`.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_rustls::TlsConnector;
use futures_rustls::client::TlsStream;
use futures_rustls::pki_types::pem::PemObject;
use futures_rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use futures_rustls::rustls::client::WebPkiServerVerifier;
use futures_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use futures_rustls::rustls::crypto::{
    CryptoProvider, ring::default_provider, verify_tls12_signature, verify_tls13_signature,
};
use futures_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
};
use smol::io::{AsyncRead, AsyncWrite};
use tokio::io::ReadBuf;
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect};

use super::security::{Mode, Security};
use crate::sinks::tls;

/// Makes connections TLS.
#[derive(Clone)]
pub(super) struct Tls(Arc<ClientConfig>);

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// What is wrong with them, with the name of the setting.
    pub(super) fn new(mode: Mode, security: &Security) -> Result<Self, String> {
        let builder = tls::builder()?.dangerous();
        let provider = Arc::new(default_provider());
        let verifier = || {
            let roots = Arc::new(tls::roots(security.ca_file.as_deref())?);
            WebPkiServerVerifier::builder_with_provider(roots, Arc::new(default_provider()))
                .build()
                .map_err(|error| format!("sink.ca_file: {error}"))
        };
        let verifier: Arc<dyn ServerCertVerifier> = match mode {
            Mode::VerifyFull => verifier()?,
            Mode::VerifyCa => Arc::new(AnyName { verifier: Some(verifier()?), provider }),
            Mode::Disable | Mode::Prefer | Mode::Require => {
                Arc::new(AnyName { verifier: None, provider })
            }
        };
        let builder = builder.with_custom_certificate_verifier(verifier);
        let (Some(cert), Some(key)) = (&security.cert_file, &security.key_file) else {
            return Ok(Self(Arc::new(builder.with_no_client_auth())));
        };
        let chain: Result<Vec<_>, _> =
            CertificateDer::pem_file_iter(cert).and_then(Iterator::collect);
        let chain =
            chain.map_err(|error| format!("sink.cert_file: {}: {error}", cert.display()))?;
        let own = PrivateKeyDer::from_pem_file(key)
            .map_err(|error| format!("sink.key_file: {}: {error}", key.display()))?;
        let config = builder
            .with_client_auth_cert(chain, own)
            .map_err(|error| format!("sink.cert_file: {}: {error}", cert.display()))?;
        Ok(Self(Arc::new(config)))
    }
}

/// Believes a certificate whatever name it has; without a verifier, any certificate. Who holds its
/// key is checked all the same.
#[derive(Debug)]
struct AnyName {
    verifier: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(verifier) = &self.verifier else { return Ok(ServerCertVerified::assertion()) };
        match verifier.verify_server_cert(end_entity, intermediates, name, ocsp, now) {
            // The name is looked at after everything else.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            judged => judged,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl<S> MakeTlsConnect<S> for Tls
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    type Stream = Stream<S>;
    type TlsConnect = Connect;
    type Error = io::Error;

    fn make_tls_connect(&mut self, host: &str) -> io::Result<Connect> {
        // Also asked for a UNIX socket, which has no name and no TLS.
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other);
        Ok(Connect { connector: Arc::clone(&self.0).into(), name })
    }
}

/// One handshake.
pub(super) struct Connect {
    connector: TlsConnector,
    name: io::Result<ServerName<'static>>,
}

impl<S> TlsConnect<S> for Connect
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    type Stream = Stream<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Stream<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(
            async move { Ok(Stream(self.connector.connect(self.name?, Plain(stream)).await?)) },
        )
    }
}

/// A stream of tokio as `futures` has them.
pub(super) struct Plain<S>(S);

impl<S: tokio::io::AsyncRead + Unpin> AsyncRead for Plain<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut into = ReadBuf::new(into);
        let read = Pin::new(&mut self.0).poll_read(context, &mut into);
        read.map_ok(|()| into.filled().len())
    }
}

impl<S: tokio::io::AsyncWrite + Unpin> AsyncWrite for Plain<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

/// A stream of TLS as tokio has them.
pub(super) struct Stream<S>(TlsStream<Plain<S>>);

impl<S> tokio_postgres::tls::TlsStream for Stream<S>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> tokio::io::AsyncRead for Stream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.0).poll_read(context, into.initialize_unfilled());
        read.map_ok(|bytes| into.advance(bytes))
    }
}

impl<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> tokio::io::AsyncWrite for Stream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_close(context)
    }
}
