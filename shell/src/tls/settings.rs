//! The `[tls]` table of the configuration.

use std::path::PathBuf;

use serde::Deserialize;

use crate::config::{Change, ConfigError, Given, Origin, Section, quoted};

/// `[tls]` as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsTable {
    /// Chain of certificates, PEM, our own first.
    pub certificate: Option<Given<PathBuf>>,
    /// Its private key, PEM.
    pub key: Option<Given<PathBuf>>,
    /// Authorities whose certificates clients must show, PEM.
    pub client_ca: Option<Given<PathBuf>>,
    /// Certificates of clients that are revoked, PEM.
    pub client_crl: Option<Given<PathBuf>>,
    /// A certificate that is made at the start, for trying.
    pub self_signed: Option<Given<bool>>,
}

/// Where certificates come from, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsSettings {
    /// Made at the start, and with each reload.
    SelfSigned,
    /// Read from files.
    Files(TlsFiles),
}

/// The files of TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Chain of certificates.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Authorities of clients; without, nobody must show a certificate.
    pub client_ca: Option<PathBuf>,
    /// Revoked certificates of clients.
    pub client_crl: Option<PathBuf>,
}

impl TlsSettings {
    /// Whether clients must show certificates.
    pub fn asks_clients(&self) -> bool {
        matches!(self, Self::Files(files) if files.client_ca.is_some())
    }

    /// Checks the table; `None` if there is no TLS.
    pub fn check(table: &TlsTable) -> Result<Option<Self>, ConfigError> {
        let given = |path: &Option<Given<PathBuf>>| path.as_ref().map(|given| given.value.clone());
        let is_self_signed = table.self_signed.as_ref().is_some_and(|given| given.value);
        let needs = |have: &Given<PathBuf>, key: &str, allowed: &str| {
            Err(ConfigError::value(have.origin, key, have.value.display(), allowed))
        };
        let found = match (&table.certificate, &table.key) {
            (None, None) if is_self_signed => Some(Self::SelfSigned),
            (None, None) => None,
            (Some(have), None) => {
                return needs(have, "tls.certificate", "it together with tls.key");
            }
            (None, Some(have)) => {
                return needs(have, "tls.key", "it together with tls.certificate");
            }
            (Some(have), Some(_)) if is_self_signed => {
                return needs(have, "tls.certificate", "it without tls.self_signed");
            }
            (Some(certificate), Some(key)) => Some(Self::Files(TlsFiles {
                certificate: certificate.value.clone(),
                key: key.value.clone(),
                client_ca: given(&table.client_ca),
                client_crl: given(&table.client_crl),
            })),
        };
        let client = table.client_ca.as_ref().filter(|_| !matches!(found, Some(Self::Files(_))));
        if let Some(have) = client {
            return needs(have, "tls.client_ca", "it together with tls.certificate");
        }
        if let Some(have) = table.client_crl.as_ref().filter(|_| table.client_ca.is_none()) {
            return needs(have, "tls.client_crl", "it together with tls.client_ca");
        }
        if found.is_some() && !cfg!(feature = "tls") {
            let origins = [&table.certificate, &table.key].map(|path| path.as_ref());
            let origin = origins.into_iter().flatten().next().map(|given| given.origin);
            let origin = origin.or(table.self_signed.as_ref().map(|given| given.origin));
            let allowed = "a program that was built with the cargo feature `tls`";
            let origin = origin.unwrap_or(Origin::Default);
            return Err(ConfigError::value(origin, "tls", "TLS", allowed));
        }
        Ok(found)
    }

    /// Lists what is in effect.
    pub fn describe(table: &TlsTable) -> Section {
        let mut section = Section::new("[tls]");
        for (key, given) in [
            ("certificate", &table.certificate),
            ("key", &table.key),
            ("client_ca", &table.client_ca),
            ("client_crl", &table.client_crl),
        ] {
            if let Some(given) = given {
                let path = quoted(given.value.display());
                section.put(key, path, Some(given), Change::Live);
            }
        }
        if let Some(given) = &table.self_signed {
            section.put("self_signed", given.value.to_string(), Some(given), Change::Live);
        }
        section
    }
}

/// Checks whether TLS is spoken at an address: by default, where there are certificates.
pub fn tls(key: &str, given: Option<&Given<bool>>, has_tls: bool) -> Result<bool, ConfigError> {
    match given {
        Some(Given { value: true, origin }) if !has_tls => {
            let allowed = "true where `tls.certificate` and `tls.key` name files";
            Err(ConfigError::value(*origin, key, true, allowed))
        }
        given => Ok(given.map_or(has_tls, |given| given.value)),
    }
}
