//! The `[control]` table of the configuration.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::config::{
    Change, ConfigError, Given, Millis, Origin, Section, number, quoted, time, written_time,
};

/// Longest socket path, bytes: what `sockaddr_un` holds with its zero byte.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// `[control]` as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControlTable {
    /// Path of the socket.
    pub socket: Option<Given<PathBuf>>,
    /// How long a reader may take to send its HELLO.
    pub handshake_timeout_ms: Option<Given<Millis>>,
    /// Most observers at once.
    pub max_observers: Option<Given<u64>>,
    /// Most connections at once that have not said yet what they want.
    pub max_handshakes: Option<Given<u64>>,
    /// Users that may attach.
    pub allow_uids: Option<Given<Vec<u32>>>,
    /// Groups that may attach.
    pub allow_gids: Option<Given<Vec<u32>>>,
}

/// The control socket, checked.
#[derive(Clone, Debug)]
pub struct ControlSettings {
    /// Path of the socket.
    pub socket: PathBuf,
    /// How long a reader may take to send its HELLO.
    pub handshake_timeout: Duration,
    /// Most observers at once. Gating readers need no bound: each subscription has one place.
    pub max_observers: usize,
    /// Most connections at once that have not said yet what they want; beyond it, the oldest has to
    /// go.
    pub max_handshakes: usize,
    /// Who may attach.
    pub allowed: Allowed,
}

/// User and group ids whose processes may attach. A peer needs one of either.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// Effective user ids.
    pub uids: Vec<u32>,
    /// Group ids, effective or supplementary.
    pub gids: Vec<u32>,
}

impl Allowed {
    /// Returns whether a peer with this user id and these group ids may attach.
    pub fn permits(&self, uid: u32, gids: &[u32]) -> bool {
        self.uids.contains(&uid) || gids.iter().any(|gid| self.gids.contains(gid))
    }
}

impl ControlSettings {
    /// Checks the table.
    pub fn check(table: &ControlTable) -> Result<Self, ConfigError> {
        let count = |key, given: Option<&Given<u64>>, default, least| {
            let most = number(key, given, default, least..=10_000)?;
            Ok(usize::try_from(most).unwrap_or(usize::MAX))
        };
        Ok(Self {
            socket: socket(table)?,
            handshake_timeout: time(
                "control.handshake_timeout_ms",
                table.handshake_timeout_ms.as_ref(),
                2000,
                1,
            )?,
            max_observers: count("control.max_observers", table.max_observers.as_ref(), 32, 0)?,
            max_handshakes: count("control.max_handshakes", table.max_handshakes.as_ref(), 64, 1)?,
            allowed: allowed(table),
        })
    }

    /// Lists what is in effect.
    pub fn describe(&self, table: &ControlTable) -> Section {
        const PLACES: Change = Change::Fixed("places for readers are set aside at the start");
        let mut section = Section::new("[control]");
        let bound = Change::Fixed("readers know this path");
        section.put("socket", quoted(self.socket.display()), table.socket.as_ref(), bound);
        let time = written_time(self.handshake_timeout);
        let given = table.handshake_timeout_ms.as_ref();
        section.put("handshake_timeout_ms", time, given, Change::Live);
        let given = table.max_observers.as_ref();
        section.put("max_observers", self.max_observers.to_string(), given, PLACES);
        let given = table.max_handshakes.as_ref();
        section.put("max_handshakes", self.max_handshakes.to_string(), given, PLACES);
        let (uids, gids) = (&self.allowed.uids, &self.allowed.gids);
        section.put("allow_uids", format!("{uids:?}"), table.allow_uids.as_ref(), Change::Live);
        section.put("allow_gids", format!("{gids:?}"), table.allow_gids.as_ref(), Change::Live);
        section
    }
}

fn socket(table: &ControlTable) -> Result<PathBuf, ConfigError> {
    let (path, origin) = match &table.socket {
        Some(given) => (given.value.clone(), given.origin),
        None => (default_socket(), Origin::Default),
    };
    let bytes = path.as_os_str().len();
    if (1..=SOCKET_PATH_BYTES_MAX).contains(&bytes) {
        return Ok(path);
    }
    let allowed = format!("a path of 1 to {SOCKET_PATH_BYTES_MAX} bytes");
    Err(ConfigError::value(origin, "control.socket", path.display(), allowed))
}

/// Groups come on top of the users; only `allow_uids` itself takes root and the own user out.
fn allowed(table: &ControlTable) -> Allowed {
    let own = rustix::process::geteuid().as_raw();
    let uids = table.allow_uids.as_ref().map_or_else(|| vec![own, 0], |given| given.value.clone());
    let gids = table.allow_gids.as_ref().map(|given| given.value.clone()).unwrap_or_default();
    Allowed { uids, gids }
}

/// Finds `$XDG_RUNTIME_DIR/aqueduct.sock`, or `/run/aqueduct.sock` without one.
fn default_socket() -> PathBuf {
    let directory = std::env::var_os("XDG_RUNTIME_DIR").filter(|value| !value.is_empty());
    directory.map_or_else(|| PathBuf::from("/run"), PathBuf::from).join("aqueduct.sock")
}
