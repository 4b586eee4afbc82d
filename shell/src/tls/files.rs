//! Certificates, keys and revocation lists from files, and what accepts connections by them.

use std::path::Path;
use std::sync::Arc;

use blake2::digest::consts::U32;
use blake2::{Blake2b, Digest};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime,
};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};

use super::{Session, Shown, TlsFiles, TlsSettings, expiry};

/// Begins sessions by the certificates that there were when it was made.
pub struct Acceptor {
    config: Arc<ServerConfig>,
    expires_s: Option<i64>,
    clients: Clients,
}

/// Judges clients.
struct Clients {
    verifier: Arc<dyn ClientCertVerifier>,
    /// Tells its authorities and lists from all others.
    rules: [u8; 32],
}

impl Clients {
    /// Everybody, whatever they show.
    fn all() -> Self {
        Self { verifier: WebPkiClientVerifier::no_client_auth(), rules: [0; 32] }
    }
}

impl Acceptor {
    /// Reads the files. `protocols` are offered by ALPN, the best first. The error names the file.
    pub fn read(settings: &TlsSettings, protocols: &[&[u8]]) -> Result<Self, String> {
        let provider = Arc::new(ring::default_provider());
        let (chain, key, clients) = match settings {
            TlsSettings::SelfSigned => {
                let (chain, key) = self_signed()?;
                (chain, key, Clients::all())
            }
            TlsSettings::Files(files) => {
                let clients = clients(files, &provider)?;
                (certificates(&files.certificate)?, private_key(&files.key)?, clients)
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
            .with_client_cert_verifier(Arc::clone(&clients.verifier))
            .with_single_cert(chain, key)
            .map_err(wrong)?;
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        config.ticketer = ring::Ticketer::new().map_err(|error| error.to_string())?;
        Ok(Self { config: Arc::new(config), expires_s, clients })
    }

    /// Returns when the first certificate of the chain ends, seconds since 1970; `None` if none
    /// says so in a way that is understood.
    pub fn expires_s(&self) -> Option<i64> {
        self.expires_s
    }

    /// Begins a session.
    pub fn session(&self) -> Option<Session> {
        Session::new(&self.config, self.clients.rules)
    }

    /// Whether a client that an earlier acceptor let in would be let in by this one, by the
    /// authorities and lists that it has. Sessions are resumed by the acceptor that began them
    /// only.
    pub fn accepts(&self, shown: &mut Shown) -> bool {
        let Clients { verifier, rules } = &self.clients;
        if shown.rules == *rules || !verifier.offer_client_auth() {
            return true;
        }
        let accepted = match &shown.chain[..] {
            [] => !verifier.client_auth_mandatory(),
            [own, others @ ..] => verifier.verify_client_cert(own, others, UnixTime::now()).is_ok(),
        };
        if accepted {
            shown.rules = *rules;
        }
        accepted
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
fn clients(
    files: &TlsFiles,
    provider: &Arc<rustls::crypto::CryptoProvider>,
) -> Result<Clients, String> {
    let Some(authorities) = &files.client_ca else {
        return Ok(Clients::all());
    };
    let (mut roots, mut rules) = (RootCertStore::empty(), Blake2b::<U32>::new());
    for certificate in certificates(authorities)? {
        rules.update(&certificate);
        roots.add(certificate).map_err(|error| said(authorities, error))?;
    }
    let builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let builder = match &files.client_crl {
        None => builder,
        Some(path) => {
            let read = CertificateRevocationListDer::pem_file_iter(path);
            let lists = read.and_then(Iterator::collect::<Result<Vec<_>, _>>);
            let lists = lists.map_err(|error| said(path, error))?;
            for list in &lists {
                rules.update(list);
            }
            builder.with_crls(lists).only_check_end_entity_revocation()
        }
    };
    let verifier = builder.build().map_err(|error| said(authorities, error))?;
    Ok(Clients { verifier, rules: rules.finalize().into() })
}

/// A certificate for this machine that nobody else has signed.
fn self_signed() -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), String> {
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let made = rcgen::generate_simple_self_signed(names).map_err(|error| error.to_string())?;
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    Ok((vec![made.cert.der().clone()], PrivateKeyDer::Pkcs8(key)))
}
