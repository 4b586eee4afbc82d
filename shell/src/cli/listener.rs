//! Which listener a command means: its control socket, its ring, its addresses.

use std::path::PathBuf;

use super::ServeArgs;
use crate::config::ConfigError;
use crate::server::Config;

/// Flags by which a command finds a listener's control socket.
#[allow(clippy::doc_markdown, reason = "the texts are the help that the command prints")]
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ListenerArgs {
    /// Control socket of the process [default: as `serve` finds it]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// TOML file of the process, which names its control socket
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

impl ListenerArgs {
    /// Finds the control socket: the flag; else what `serve` would listen at.
    pub(super) fn socket(&self) -> Result<PathBuf, ConfigError> {
        if let Some(path) = &self.socket {
            return Ok(path.clone());
        }
        Ok(self.settings()?.control.socket)
    }

    /// Reads the settings that `serve` would have.
    pub(super) fn settings(&self) -> Result<Config, ConfigError> {
        let serve = ServeArgs { config: self.config.clone(), ..ServeArgs::default() };
        Ok(serve.load()?.config)
    }
}
