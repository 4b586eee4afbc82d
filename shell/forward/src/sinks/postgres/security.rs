//! How a connection is protected: `sslmode` and the files that belong to it, in the words of libpq,
//! from the settings or out of the URL. Pure over text.

use std::path::PathBuf;

use serde::Deserialize;
use tokio_postgres::config::SslMode;

/// How much a connection must be protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Mode {
    /// In the clear.
    Disable,
    /// TLS if the server has it, without checking its certificate.
    #[default]
    Prefer,
    /// TLS, without checking the certificate; with authorities, as `verify-ca`.
    Require,
    /// TLS with whom an authority has certified, by whatever name.
    VerifyCa,
    /// TLS with whom an authority has certified by this name.
    VerifyFull,
}

impl Mode {
    const ALL: [(&'static str, Self); 5] = [
        ("disable", Self::Disable),
        ("prefer", Self::Prefer),
        ("require", Self::Require),
        ("verify-ca", Self::VerifyCa),
        ("verify-full", Self::VerifyFull),
    ];

    /// What the client library is told.
    pub(super) const fn of_library(self) -> SslMode {
        match self {
            Self::Disable => SslMode::Disable,
            Self::Prefer => SslMode::Prefer,
            Self::Require | Self::VerifyCa | Self::VerifyFull => SslMode::Require,
        }
    }
}

/// What is said about protection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Security {
    pub(super) mode: Option<Mode>,
    /// Certificates of authorities, PEM; without a file the system's.
    pub(super) ca_file: Option<PathBuf>,
    /// The client's own certificate and its key, PEM.
    pub(super) cert_file: Option<PathBuf>,
    pub(super) key_file: Option<PathBuf>,
}

impl Security {
    /// Takes what a URL, or `key=value` pairs, say about it out of them, and returns the rest.
    ///
    /// # Errors
    /// Something is said twice, or there is no such mode.
    pub(super) fn take_from(&mut self, url: &str) -> Result<String, String> {
        let is_url = url.starts_with("postgres://") || url.starts_with("postgresql://");
        if !is_url {
            return self.take_from_pairs(url);
        }
        let Some((base, query)) = url.split_once('?') else { return Ok(url.to_owned()) };
        let mut kept = Vec::new();
        for part in query.split('&') {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            if !self.take(key, || unescaped(value))? {
                kept.push(part);
            }
        }
        let mark = if kept.is_empty() { "" } else { "?" };
        Ok(format!("{base}{mark}{}", kept.join("&")))
    }

    fn take_from_pairs(&mut self, pairs: &str) -> Result<String, String> {
        let (mut kept, mut rest) = (String::new(), pairs);
        // What is no pair is for the client library to complain of.
        while let Some((key, after)) = rest.split_once('=') {
            let after = after.trim_start();
            let (value, bytes) = value_of(after);
            if !self.take(key.trim(), || value)? {
                kept.push_str(key);
                kept.push('=');
                kept.push_str(&after[..bytes]);
            }
            rest = &after[bytes..];
        }
        Ok(kept + rest)
    }

    /// Takes one setting. False if it is about something else.
    fn take(&mut self, key: &str, value: impl FnOnce() -> String) -> Result<bool, String> {
        let twice = || Err(format!("sink.url: {key} is said twice"));
        let place = match key {
            "sslmode" => {
                let value = value();
                let found = Mode::ALL.iter().find(|(name, _)| *name == value);
                let names = Mode::ALL.map(|(name, _)| name).join(", ");
                let wrong = || format!("sink.url: sslmode is one of {names}, not `{value}`");
                let (_, mode) = found.ok_or_else(wrong)?;
                return if self.mode.replace(*mode).is_some() { twice() } else { Ok(true) };
            }
            "sslrootcert" => &mut self.ca_file,
            "sslcert" => &mut self.cert_file,
            "sslkey" => &mut self.key_file,
            _ => return Ok(false),
        };
        if place.replace(value().into()).is_some() { twice() } else { Ok(true) }
    }

    /// Checks what there is together; returns the mode.
    ///
    /// # Errors
    /// The name of the setting that has no place, or that this build has no TLS.
    pub(super) fn check(&self) -> Result<Mode, String> {
        let mode = self.mode.unwrap_or_default();
        let may_be_clear = matches!(mode, Mode::Disable | Mode::Prefer);
        if !may_be_clear && !cfg!(feature = "tls") {
            let why = "this build has no TLS; build with --features tls";
            return Err(format!("sink.sslmode: {why}"));
        }
        if may_be_clear && self.ca_file.is_some() {
            let modes = "require, verify-ca or verify-full";
            return Err(format!("sink.ca_file: only with sslmode {modes}"));
        }
        if self.cert_file.is_some() != self.key_file.is_some() {
            return Err("sink.cert_file: with key_file, or neither".to_owned());
        }
        Ok(match (mode, &self.ca_file) {
            (Mode::Require, Some(_)) => Mode::VerifyCa,
            _ => mode,
        })
    }
}

/// The first value of text: in quotes, or up to a space. Returns also the bytes that it takes.
fn value_of(text: &str) -> (String, usize) {
    let is_quoted = text.starts_with('\'');
    let (mut value, mut is_escaped) = (String::new(), false);
    for (at, character) in text.char_indices().skip(usize::from(is_quoted)) {
        match character {
            _ if is_escaped => {
                value.push(character);
                is_escaped = false;
            }
            '\\' => is_escaped = true,
            '\'' if is_quoted => return (value, at + 1),
            _ if !is_quoted && character.is_whitespace() => return (value, at),
            _ => value.push(character),
        }
    }
    (value, text.len())
}

/// A value of a URL, whose escapes are bytes in hexadecimal digits.
fn unescaped(value: &str) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(escaped) if byte == b'%' => {
                bytes.push(escaped);
                rest = &after[2..];
            }
            _ => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(url: &str) -> Result<(String, Security), String> {
        let mut security = Security::default();
        security.take_from(url).map(|rest| (rest, security))
    }

    #[test]
    fn what_a_url_says_about_protection_is_taken_out_of_it() {
        let full = Security {
            mode: Some(Mode::VerifyFull),
            ca_file: Some("/etc/my ca.pem".into()),
            ..Security::default()
        };
        for (url, rest) in [
            (
                "postgresql://u@h/d?sslmode=verify-full&connect_timeout=3&sslrootcert=/etc/my%20ca.pem",
                "postgresql://u@h/d?connect_timeout=3",
            ),
            ("postgres://u@h/d?sslmode=verify-full&sslrootcert=/etc/my ca.pem", "postgres://u@h/d"),
            (
                "host=h sslmode=verify-full sslrootcert='/etc/my ca.pem' user='a\\'b'",
                "host=h user='a\\'b'",
            ),
            ("sslmode = verify-full sslrootcert = /etc/my\\ ca.pem host=h", " host=h"),
        ] {
            assert_eq!(taken(url), Ok((rest.to_owned(), full.clone())), "{url}");
        }
        for url in ["postgresql://u@h/d", "host=h user=u", "host"] {
            assert_eq!(taken(url), Ok((url.to_owned(), Security::default())));
        }
        assert!(taken("sslmode=full").is_err_and(|why| why.contains("not `full`")));
        assert!(taken("sslmode=require sslmode=disable").is_err_and(|why| why.contains("twice")));
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        let with = |mode, ca_file: Option<&str>| Security {
            mode: Some(mode),
            ca_file: ca_file.map(Into::into),
            ..Security::default()
        };
        assert_eq!(Security::default().check(), Ok(Mode::Prefer));
        assert!(with(Mode::Prefer, Some("ca")).check().is_err_and(|why| why.contains("ca_file")));
        let alone = Security { cert_file: Some("c".into()), ..Security::default() };
        assert!(alone.check().is_err_and(|why| why.contains("key_file")));
        let required = with(Mode::Require, Some("ca")).check();
        if cfg!(feature = "tls") {
            assert_eq!(required, Ok(Mode::VerifyCa));
        } else {
            assert!(required.is_err_and(|why| why.contains("--features tls")));
        }
    }
}
