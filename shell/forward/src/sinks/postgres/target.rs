//! Where to connect to, and how that is protected: what the settings and their files say now. Files
//! are read for every connection, since passwords and certificates are written anew.

use std::path::PathBuf;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

use super::pool::Connector;
use super::security::Security;

/// What the settings say.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) url: Option<String>,
    /// A file with the same.
    pub(super) url_file: Option<PathBuf>,
    pub(super) security: Security,
    /// The longest that a connection may take.
    pub(super) wait: Duration,
}

impl Target {
    /// Reads the files.
    ///
    /// # Errors
    /// What is wrong with the settings or the files, with the name of the setting.
    pub(super) fn read(&self) -> Result<(Config, Connector), String> {
        let url = match (&self.url, &self.url_file) {
            (Some(url), None) => url.clone(),
            (None, Some(path)) => std::fs::read_to_string(path)
                .map_err(|error| format!("sink.url_file: {}: {error}", path.display()))?,
            _ => return Err("sink.url: one of url and url_file".to_owned()),
        };
        let mut security = self.security.clone();
        let url = security.take_from(url.trim())?;
        let mode = security.check()?;
        // The reason does not repeat the text, which may have a password in it.
        let mut config: Config = url.parse().map_err(|error| format!("sink.url: {error}"))?;
        config.application_name("aqueduct-forward").connect_timeout(self.wait);
        // A UNIX socket has no TLS, and is not asked for it, whatever the mode is.
        let is_local = |host: &Host| matches!(host, Host::Unix(_));
        let is_all_local =
            !config.get_hosts().is_empty() && config.get_hosts().iter().all(is_local);
        config.ssl_mode(if is_all_local { SslMode::Disable } else { mode.of_library() });
        #[cfg(feature = "tls")]
        let connector = super::tls::Tls::new(mode, &security)?;
        #[cfg(not(feature = "tls"))]
        let connector = tokio_postgres::NoTls;
        Ok((config, connector))
    }
}
