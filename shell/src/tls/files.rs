//! Certificates, keys and revocation lists from files, and what accepts connections by them.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer, PrivatePkcs8KeyDer,
};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};

use super::{Session, TlsFiles, TlsSettings, expiry};

/// Begins sessions by the certificates that there were when it was made.
pub struct Acceptor {
    config: Arc<ServerConfig>,
    expires_s: Option<i64>,
}

impl Acceptor {
    /// Reads the files. `protocols` are offered by ALPN, the best first. The error names the file.
    pub fn read(settings: &TlsSettings, protocols: &[&[u8]]) -> Result<Self, String> {
        let provider = Arc::new(ring::default_provider());
        let (chain, key, verifier) = match settings {
            TlsSettings::SelfSigned => {
                let (chain, key) = self_signed()?;
                (chain, key, WebPkiClientVerifier::no_client_auth())
            }
            TlsSettings::Files(files) => {
                let verifier = verifier(files, &provider)?;
                (certificates(&files.certificate)?, private_key(&files.key)?, verifier)
            }
        };
        let wrong = |error: rustls::Error| match settings {
            TlsSettings::SelfSigned => error.to_string(),
            TlsSettings::Files(files) => format!("{}: {error}", files.certificate.display()),
        };
        let expires_s = chain.iter().filter_map(|one| expiry::not_after_s(one)).min();
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .map_err(wrong)?;
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        config.ticketer = ring::Ticketer::new().map_err(|error| error.to_string())?;
        Ok(Self { config: Arc::new(config), expires_s })
    }

    /// Returns when the first certificate of the chain ends, seconds since 1970; `None` if none
    /// says so in a way that is understood.
    pub fn expires_s(&self) -> Option<i64> {
        self.expires_s
    }

    /// Begins a session.
    pub fn session(&self) -> Option<Session> {
        Session::new(&self.config)
    }
}

fn said(path: &Path, what: impl std::fmt::Display) -> String {
    format!("{}: {what}", path.display())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(path).map_err(|error| said(path, error))?;
    let all: Vec<_> = read.collect::<Result<_, _>>().map_err(|error| said(path, error))?;
    if all.is_empty() { Err(said(path, "there is no certificate in it")) } else { Ok(all) }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    // Its text is not part of the error.
    PrivateKeyDer::from_pem_file(path).map_err(|error| said(path, error))
}

/// Who must show a certificate, if anybody.
fn verifier(
    files: &TlsFiles,
    provider: &Arc<rustls::crypto::CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let Some(authorities) = &files.client_ca else {
        return Ok(WebPkiClientVerifier::no_client_auth());
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(authorities)? {
        roots.add(certificate).map_err(|error| said(authorities, error))?;
    }
    let builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let builder = match &files.client_crl {
        None => builder,
        Some(path) => {
            let read = CertificateRevocationListDer::pem_file_iter(path);
            let lists = read.and_then(Iterator::collect::<Result<Vec<_>, _>>);
            builder
                .with_crls(lists.map_err(|error| said(path, error))?)
                .only_check_end_entity_revocation()
        }
    };
    builder.build().map_err(|error| said(authorities, error))
}

/// A certificate for this machine that nobody else has signed.
fn self_signed() -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), String> {
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let made = rcgen::generate_simple_self_signed(names).map_err(|error| error.to_string())?;
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    Ok((vec![made.cert.der().clone()], PrivateKeyDer::Pkcs8(key)))
}
