//! What the operator asked for: flags over file over defaults, checked as a whole before anything
//! is opened.
//!
//! It opens no socket and maps no memory. Every error names the file or flag, the key, and what is
//! allowed. Next: `metrics`.

mod args;
mod file;

use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aqueduct_core::layout::{
    GRANULE_BYTES, MAX_CAPACITY, MIN_CAPACITY, RING_NAME_BYTES, SUBSCRIPTION_NAME_BYTES,
    max_payload_for,
};

pub use args::{Args, Command, ServeArgs};
pub use file::{ClockName, LogFormat, LogLevel};
use file::{FileConfig, FileRing};

/// Data area of a ring that says nothing else, bytes.
pub const CAPACITY_BYTES_DEFAULT: u64 = 16 << 20;
/// Largest payload of a ring that says nothing else and is large enough, bytes. It bounds what one
/// request may hold in memory.
pub const MAX_PAYLOAD_BYTES_DEFAULT: u64 = 1 << 20;
/// Most subscriptions of one ring.
pub const MAX_SUBSCRIPTIONS: usize = 64;
/// Longest socket path, bytes: what `sockaddr_un` holds, less room for the temporary name it is
/// first bound to.
const SOCKET_PATH_BYTES_MAX: usize = 90;
/// Bounds of every timeout, ms: one day.
const DAY_MS: u64 = 86_400_000;

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where HTTP is served.
    pub listen: SocketAddr,
    /// Path of the control socket.
    pub socket: PathBuf,
    /// At least one, with distinct names.
    pub rings: Vec<RingSettings>,
    /// How long a request waits for space.
    pub full_wait: Duration,
    /// How long a shutdown waits for requests and readers.
    pub drain_timeout: Duration,
    /// What bounds a connection.
    pub http: HttpLimits,
    /// How long a reader may take to send its HELLO.
    pub handshake_timeout: Duration,
    /// Most control connections at once.
    pub max_readers: usize,
    /// Executor threads.
    pub threads: usize,
    /// Who may attach.
    pub allowed: Allowed,
    /// Least severe level that is logged.
    pub log_level: LogLevel,
    /// Shape of the log.
    pub log_format: LogFormat,
}

/// One ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingSettings {
    /// 1 to 64 of `A-Z a-z 0-9 . _ -`.
    pub name: String,
    /// 32 times a power of two.
    pub capacity_bytes: u64,
    /// At most what the capacity allows.
    pub max_payload_bytes: u32,
    /// Clock of the timestamps.
    pub clock: ClockName,
    /// At least one, distinct.
    pub subscriptions: Vec<String>,
}

/// Bounds of one HTTP connection.
#[derive(Clone, Debug)]
pub struct HttpLimits {
    /// From the first byte of a head to its last.
    pub header_timeout: Duration,
    /// From the head to the last byte of the body; also how long a client may leave a response
    /// untaken.
    pub body_timeout: Duration,
    /// Between requests.
    pub keep_alive_timeout: Duration,
    /// Most connections at once.
    pub max_connections: usize,
    /// Most bytes of a request head.
    pub max_header_bytes: usize,
    /// Most header fields.
    pub max_headers: usize,
}

/// User and group ids whose processes may attach. A peer needs one of either.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// Effective user ids.
    pub uids: Vec<u32>,
    /// Effective group ids.
    pub gids: Vec<u32>,
}

impl Allowed {
    /// Whether a peer with these ids may attach.
    pub fn permits(&self, uid: u32, gid: u32) -> bool {
        self.uids.contains(&uid) || self.gids.contains(&gid)
    }
}

/// Where a value came from, for messages.
enum Origin<'a> {
    Flag,
    File(&'a Path),
    Default,
}

impl Config {
    /// Merges the flags with the file they name and checks the result.
    pub fn load(args: &ServeArgs) -> Result<Self, ConfigError> {
        let file = match &args.config {
            Some(path) => FileConfig::read(path)?,
            None => FileConfig::default(),
        };
        Merge { args, file: &file, path: args.config.as_deref() }.config()
    }
}

/// Flags and file side by side.
struct Merge<'a> {
    args: &'a ServeArgs,
    file: &'a FileConfig,
    path: Option<&'a Path>,
}

impl Merge<'_> {
    fn config(&self) -> Result<Config, ConfigError> {
        let (args, file) = (self.args, self.file);
        let listen = match (args.listen, &file.listen) {
            (Some(address), _) => address,
            (None, Some(text)) => text.parse().map_err(|_| {
                self.error(
                    &self.in_file(),
                    "listen",
                    text,
                    "ADDR:PORT with a numeric address, as 127.0.0.1:8080",
                )
            })?,
            (None, None) => SocketAddr::from(([127, 0, 0, 1], 8080)),
        };
        let ms = |key, flag, from_file, default, least| {
            self.number(key, flag, from_file, default, least..=DAY_MS).map(Duration::from_millis)
        };
        let count = |key, flag, from_file, default, range: RangeInclusive<u64>| {
            self.number(key, flag, from_file, default, range)
                .map(|n| usize::try_from(n).unwrap_or(usize::MAX))
        };
        let cores = std::thread::available_parallelism().map_or(2, |n| n.get() as u64).max(2);
        Ok(Config {
            listen,
            socket: self.socket()?,
            rings: self.rings()?,
            full_wait: ms("full_wait_ms", args.full_wait_ms, file.full_wait_ms, 1000, 0)?,
            drain_timeout: ms(
                "drain_timeout_ms",
                args.drain_timeout_ms,
                file.drain_timeout_ms,
                5000,
                0,
            )?,
            http: HttpLimits {
                header_timeout: ms(
                    "header_timeout_ms",
                    args.header_timeout_ms,
                    file.header_timeout_ms,
                    10_000,
                    1,
                )?,
                body_timeout: ms(
                    "body_timeout_ms",
                    args.body_timeout_ms,
                    file.body_timeout_ms,
                    30_000,
                    1,
                )?,
                keep_alive_timeout: ms(
                    "keep_alive_timeout_ms",
                    None,
                    file.keep_alive_timeout_ms,
                    75_000,
                    1,
                )?,
                max_connections: count(
                    "max_connections",
                    args.max_connections,
                    file.max_connections,
                    1024,
                    1..=1_000_000,
                )?,
                // Above 65 534 a request line alone could end in 414 instead.
                max_header_bytes: count(
                    "max_header_bytes",
                    None,
                    file.max_header_bytes,
                    16_384,
                    256..=65_534,
                )?,
                max_headers: count("max_headers", None, file.max_headers, 64, 1..=1024)?,
            },
            handshake_timeout: ms(
                "handshake_timeout_ms",
                None,
                file.handshake_timeout_ms,
                2000,
                1,
            )?,
            max_readers: count("max_readers", None, file.max_readers, 64, 1..=10_000)?,
            threads: count("threads", None, file.threads, cores, 1..=1024)?,
            allowed: self.allowed(),
            log_level: args.log_level.or(file.log_level).unwrap_or(LogLevel::Info),
            log_format: args.log_format.or(file.log_format).unwrap_or(LogFormat::Text),
        })
    }

    fn in_file(&self) -> Origin<'_> {
        self.path.map_or(Origin::Default, Origin::File)
    }

    fn number(
        &self,
        key: &'static str,
        flag: Option<u64>,
        file: Option<u64>,
        default: u64,
        range: RangeInclusive<u64>,
    ) -> Result<u64, ConfigError> {
        let (value, origin) = match (flag, file) {
            (Some(value), _) => (value, Origin::Flag),
            (None, Some(value)) => (value, self.in_file()),
            (None, None) => (default, Origin::Default),
        };
        if range.contains(&value) {
            return Ok(value);
        }
        Err(self.error(&origin, key, value, &format!("{} to {}", range.start(), range.end())))
    }

    fn socket(&self) -> Result<PathBuf, ConfigError> {
        let (path, origin) = match (&self.args.socket, &self.file.socket) {
            (Some(path), _) => (path.clone(), Origin::Flag),
            (None, Some(path)) => (path.clone(), self.in_file()),
            (None, None) => (default_socket(), Origin::Default),
        };
        let bytes = path.as_os_str().len();
        if (1..=SOCKET_PATH_BYTES_MAX).contains(&bytes) {
            return Ok(path);
        }
        Err(self.error(
            &origin,
            "socket",
            path.display(),
            &format!("a path of 1 to {SOCKET_PATH_BYTES_MAX} bytes"),
        ))
    }

    fn allowed(&self) -> Allowed {
        if self.file.allow_uids.is_none() && self.file.allow_gids.is_none() {
            return Allowed {
                uids: vec![rustix::process::geteuid().as_raw(), 0],
                gids: Vec::new(),
            };
        }
        Allowed {
            uids: self.file.allow_uids.clone().unwrap_or_default(),
            gids: self.file.allow_gids.clone().unwrap_or_default(),
        }
    }

    fn rings(&self) -> Result<Vec<RingSettings>, ConfigError> {
        let named = |name: &str| FileRing { name: name.to_owned(), ..FileRing::default() };
        let (listed, origin) = if !self.args.ring.is_empty() {
            (self.args.ring.iter().map(|name| named(name)).collect(), Origin::Flag)
        } else if self.file.ring.is_empty() {
            (vec![named("default")], Origin::Default)
        } else {
            (self.file.ring.clone(), self.in_file())
        };
        let mut rings: Vec<RingSettings> = Vec::with_capacity(listed.len());
        for ring in &listed {
            self.check_name(&origin, "ring", &ring.name, RING_NAME_BYTES)?;
            if rings.iter().any(|other| other.name == ring.name) {
                return Err(self.error(&origin, "ring", &ring.name, "names that differ"));
            }
            rings.push(self.ring(ring)?);
        }
        Ok(rings)
    }

    fn ring(&self, ring: &FileRing) -> Result<RingSettings, ConfigError> {
        let granule = GRANULE_BYTES as u64;
        let (least, most) = (u64::from(MIN_CAPACITY) * granule, u64::from(MAX_CAPACITY) * granule);
        let capacity_bytes = self.number(
            "capacity_bytes",
            self.args.capacity_bytes,
            ring.capacity_bytes,
            CAPACITY_BYTES_DEFAULT,
            0..=u64::MAX,
        )?;
        let origin = if self.args.capacity_bytes.is_some() { Origin::Flag } else { self.in_file() };
        if !(least..=most).contains(&capacity_bytes) || !capacity_bytes.is_power_of_two() {
            let allowed =
                format!("32 times a power of two, {least} to {most}, as {CAPACITY_BYTES_DEFAULT}");
            return Err(self.error(&origin, "capacity_bytes", capacity_bytes, &allowed));
        }
        let granules = u32::try_from(capacity_bytes / granule).unwrap_or(MAX_CAPACITY);
        let limit = u64::from(max_payload_for(granules));
        let max_payload = self.number(
            "max_payload_bytes",
            self.args.max_payload_bytes,
            ring.max_payload_bytes,
            limit.min(MAX_PAYLOAD_BYTES_DEFAULT),
            1..=limit,
        )?;
        Ok(RingSettings {
            name: ring.name.clone(),
            capacity_bytes,
            max_payload_bytes: u32::try_from(max_payload).unwrap_or(u32::MAX),
            clock: ring.clock.unwrap_or(ClockName::Realtime),
            subscriptions: self.subscriptions(ring)?,
        })
    }

    fn subscriptions(&self, ring: &FileRing) -> Result<Vec<String>, ConfigError> {
        let (names, origin) = match (&self.args.subscription, &ring.subscriptions) {
            (flags, _) if !flags.is_empty() => (flags.clone(), Origin::Flag),
            (_, Some(names)) if !names.is_empty() => (names.clone(), self.in_file()),
            _ => (vec!["default".to_owned()], Origin::Default),
        };
        let key = if matches!(origin, Origin::Flag) { "subscription" } else { "subscriptions" };
        for (index, name) in names.iter().enumerate() {
            self.check_name(&origin, key, name, SUBSCRIPTION_NAME_BYTES)?;
            if names[..index].contains(name) {
                return Err(self.error(&origin, key, name, "names that differ"));
            }
        }
        if names.len() > MAX_SUBSCRIPTIONS {
            return Err(self.error(
                &origin,
                key,
                format!("{} names", names.len()),
                &format!("1 to {MAX_SUBSCRIPTIONS} names"),
            ));
        }
        Ok(names)
    }

    fn check_name(
        &self,
        origin: &Origin<'_>,
        key: &'static str,
        name: &str,
        most: usize,
    ) -> Result<(), ConfigError> {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if (1..=most).contains(&name.len()) && name.bytes().all(good) {
            return Ok(());
        }
        Err(self.error(
            origin,
            key,
            name.escape_debug(),
            &format!("1 to {most} of A-Z a-z 0-9 . _ -"),
        ))
    }

    #[allow(clippy::unused_self, reason = "reads as part of the merge")]
    fn error(
        &self,
        origin: &Origin<'_>,
        key: &'static str,
        value: impl fmt::Display,
        allowed: &str,
    ) -> ConfigError {
        let place = match origin {
            Origin::Flag => format!("--{}", key.replace('_', "-")),
            Origin::File(path) => format!("{}: {key}", path.display()),
            Origin::Default => format!("{key} (default)"),
        };
        ConfigError::Value { place, value: value.to_string(), allowed: allowed.to_owned() }
    }
}

/// `$XDG_RUNTIME_DIR/aqueduct.sock`, or `/run/aqueduct.sock` without one.
fn default_socket() -> PathBuf {
    let directory = std::env::var_os("XDG_RUNTIME_DIR").filter(|value| !value.is_empty());
    directory.map_or_else(|| PathBuf::from("/run"), PathBuf::from).join("aqueduct.sock")
}

/// Why a configuration is refused.
#[derive(Debug)]
pub enum ConfigError {
    /// The file cannot be read.
    Read {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not TOML of the right shape.
    Parse {
        /// Its path.
        path: PathBuf,
        /// Line, key and what is expected.
        source: Box<toml::de::Error>,
    },
    /// A value is not allowed.
    Value {
        /// Flag, or file and key.
        place: String,
        /// What was given.
        value: String,
        /// What may be given.
        allowed: String,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { path, source } => write!(f, "{}: {source}", path.display()),
            Self::Parse { path, source } => {
                write!(f, "{}: {}", path.display(), source.to_string().trim_end())
            }
            Self::Value { place, value, allowed } => {
                write!(f, "{place}: `{value}` is not allowed; allowed: {allowed}")
            }
        }
    }
}

impl std::error::Error for ConfigError {}
