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

#[cfg(all(test, feature = "tls"))]
mod tests {
    use super::*;

    #[allow(clippy::unnecessary_wraps, reason = "a field of a table may be absent")]
    fn path(path: &str) -> Option<Given<PathBuf>> {
        Some(Given::by_default(path.into()))
    }

    fn check(table: &TlsTable) -> Result<Option<TlsSettings>, String> {
        TlsSettings::check(table).map_err(|error| error.to_string())
    }

    #[test]
    fn certificates_come_from_files_or_are_made_but_not_both() {
        let none = TlsTable::default();
        assert_eq!(check(&none), Ok(None));
        let off = TlsTable { self_signed: Some(Given::by_default(false)), ..none.clone() };
        assert_eq!(check(&off), Ok(None));
        let made = TlsTable { self_signed: Some(Given::by_default(true)), ..none.clone() };
        assert_eq!(check(&made), Ok(Some(TlsSettings::SelfSigned)));
        assert!(!TlsSettings::SelfSigned.asks_clients());
        let files = TlsTable { certificate: path("/c"), key: path("/k"), ..none.clone() };
        let found = check(&files).expect("good").expect("files");
        assert!(!found.asks_clients());
        let asking = TlsTable { client_ca: path("/a"), client_crl: path("/l"), ..files.clone() };
        let found = check(&asking).expect("good").expect("files");
        assert!(found.asks_clients());
        let expected = TlsFiles {
            certificate: "/c".into(),
            key: "/k".into(),
            client_ca: Some("/a".into()),
            client_crl: Some("/l".into()),
        };
        assert_eq!(found, TlsSettings::Files(expected));

        for (table, refused) in [
            (TlsTable { key: None, ..files.clone() }, "`/c` is not allowed; allowed: it together"),
            (TlsTable { certificate: None, ..files.clone() }, "it together with tls.certificate"),
            (
                TlsTable { self_signed: made.self_signed.clone(), ..files.clone() },
                "it without tls.self_signed",
            ),
            (TlsTable { client_ca: path("/a"), ..made.clone() }, "it together with tls.certif"),
            (TlsTable { client_ca: path("/a"), ..none }, "it together with tls.certificate"),
            (TlsTable { client_crl: path("/l"), ..files }, "it together with tls.client_ca"),
        ] {
            let error = check(&table).expect_err(refused);
            assert!(error.contains(refused), "{error}");
        }
    }

    #[test]
    fn what_is_given_is_described_and_what_is_not_left_out() {
        let table = TlsTable {
            certificate: path("/c"),
            self_signed: Some(Given::by_default(true)),
            ..TlsTable::default()
        };
        let section = TlsSettings::describe(&table);
        let entries = section.entries.iter().map(|entry| (entry.key, entry.value.as_str()));
        let expected = [("certificate", "\"/c\""), ("self_signed", "true")];
        assert_eq!((section.name(), entries.collect::<Vec<_>>()), ("tls".into(), expected.into()));
    }

    #[test]
    fn tls_is_spoken_where_there_are_certificates_unless_an_address_says_otherwise() {
        let given = |value: bool| Some(Given::by_default(value));
        let spoken = |said: Option<bool>, has_tls: bool| {
            let said = said.and_then(given);
            tls("http.tls", said.as_ref(), has_tls).map_err(|error| error.to_string())
        };
        assert_eq!((spoken(None, true), spoken(None, false)), (Ok(true), Ok(false)));
        assert_eq!((spoken(Some(false), true), spoken(Some(false), false)), (Ok(false), Ok(false)));
        assert_eq!(spoken(Some(true), true), Ok(true));
        let error = spoken(Some(true), false).expect_err("with what?");
        assert!(error.contains("http.tls") && error.contains("tls.certificate"), "{error}");
    }
}
