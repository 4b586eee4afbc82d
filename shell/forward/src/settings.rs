//! The configuration file, and the check of its values.

use std::path::{Path, PathBuf};
use std::time::Duration;

use aqueduct::config::{Address, ConfigError, Given, Millis, Origin, Size, number, time};
use aqueduct::log::{LogSettings, LogTable};
use serde::Deserialize;

use crate::compress::{Codec, Compression};
use crate::envelope::{Envelope, Form};
use crate::metrics::Readiness;
use crate::retry::Policy;
use crate::sinks::Context;

/// The file as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tables {
    /// Where records come from.
    pub from: FromTable,
    /// What is delivered together.
    pub batch: BatchTable,
    /// What a record looks like outside.
    pub envelope: EnvelopeTable,
    /// What is compressed.
    pub compression: CompressionTable,
    /// The other side: `kind`, and what that sink needs.
    pub sink: toml::Table,
    /// When to try again.
    pub retry: RetryTable,
    /// What to do with what will never be taken.
    pub poison: PoisonTable,
    /// The end.
    pub shutdown: ShutdownTable,
    /// What operators ask.
    pub admin: AdminTable,
    /// The log.
    pub log: LogTable,
}

/// `[from]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FromTable {
    /// Path of the listener's control socket.
    pub socket: Option<PathBuf>,
    /// Name of the ring; without it, the listener's only one.
    pub ring: Option<String>,
    /// Name of the subscription.
    pub subscription: Option<String>,
    /// Types that are delivered; without it, all.
    pub types: Option<Vec<u16>>,
    /// How long `--once` waits for a listener.
    pub open_wait_ms: Option<Given<Millis>>,
}

/// `[batch]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BatchTable {
    /// Most records.
    pub records: Option<Given<u64>>,
    /// Most bytes of payloads and attributes; one record may be larger.
    pub bytes: Option<Given<Size>>,
    /// The longest that a record waits for others.
    pub wait_ms: Option<Given<Millis>>,
}

/// `[envelope]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EnvelopeTable {
    /// The form.
    pub form: Form,
    /// Whether payloads are JSON, for the form `json`.
    pub json_payload: bool,
}

/// `[compression]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CompressionTable {
    /// How.
    pub codec: Codec,
    /// Bytes up to which nothing is compressed.
    pub above_bytes: Option<Given<Size>>,
}

/// `[retry]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetryTable {
    /// The pause after the first failure.
    pub first_ms: Option<Given<Millis>>,
    /// The longest.
    pub longest_ms: Option<Given<Millis>>,
    /// Failures in a row that open the circuit.
    pub breaker_failures: Option<Given<u64>>,
    /// How long it stays open.
    pub breaker_pause_ms: Option<Given<Millis>>,
}

/// `[poison]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PoisonTable {
    /// Where records go that will never be taken; without it, the first of them stops the process.
    pub file: Option<PathBuf>,
}

/// `[shutdown]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ShutdownTable {
    /// How long the end waits for what is in flight.
    pub drain_timeout_ms: Option<Given<Millis>>,
}

/// `[admin]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdminTable {
    /// Where health and metrics are served; without it, nowhere.
    pub listen: Option<Address>,
    /// The longest that a ready process waits for an acknowledgement.
    pub ready_age_ms: Option<Given<Millis>>,
    /// The most records that a ready process is behind.
    pub ready_lag_records: Option<Given<u64>>,
}

/// All settings, checked.
#[derive(Debug)]
pub struct Settings {
    /// Path of the listener's control socket.
    pub socket: PathBuf,
    /// Name of the ring; empty: the listener's only one.
    pub ring: String,
    /// Name of the subscription; empty: `default`.
    pub subscription: String,
    /// Types that are delivered; `None`: all.
    pub types: Option<Vec<u16>>,
    /// How long `--once` waits for a listener.
    pub open_wait: Duration,
    /// Most records of a batch.
    pub batch_records: usize,
    /// Most bytes of a batch.
    pub batch_bytes: usize,
    /// The longest that a record waits for others.
    pub batch_wait: Duration,
    /// The other side.
    pub sink: toml::Table,
    /// What it is told.
    pub context: Context,
    /// When to try again.
    pub retry: Policy,
    /// Where poison goes; `None`: it stops the process.
    pub dead_letters: Option<PathBuf>,
    /// How long the end waits.
    pub drain_timeout: Duration,
    /// Where health and metrics are served.
    pub admin: Option<Address>,
    /// When the process is ready.
    pub readiness: Readiness,
    /// The log.
    pub log: LogSettings,
}

impl Tables {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, or is not TOML of this shape.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        toml::from_str(&text).map_err(|source| ConfigError::Parse {
            path: path.to_owned(),
            source: Box::new(source),
        })
    }

    /// Checks every value and fills in what is left out.
    ///
    /// # Errors
    /// The first value that is not allowed. What is wrong with `[sink]` is found when it is opened.
    pub fn check(self) -> Result<Settings, ConfigError> {
        const GIB: u64 = 1 << 30;
        let Self { from, batch, envelope, compression, sink, retry, poison, shutdown, admin, log } =
            self;
        if !compression.codec.is_built() {
            let name = compression.codec.encoding().unwrap_or_default();
            let allowed = format!("what this build has; build with --features {name}");
            return Err(ConfigError::value(Origin::File, "compression.codec", name, allowed));
        }
        let above = compression.above_bytes.as_ref();
        let subscription = from.subscription.unwrap_or_default();
        let first = time("retry.first_ms", retry.first_ms.as_ref(), 50, 1)?;
        let longest = time("retry.longest_ms", retry.longest_ms.as_ref(), 2000, 1)?;
        let failures = retry.breaker_failures.as_ref();
        let flow = if subscription.is_empty() { "default" } else { &*subscription };
        let context = Context {
            envelope: Envelope { form: envelope.form, is_json_payload: envelope.json_payload },
            compression: Compression {
                codec: compression.codec,
                above_bytes: small(number("compression.above_bytes", above, 1024, 0..=GIB)?),
            },
            flow: flow.to_owned(),
        };
        let (records, bytes) = (batch.records.as_ref(), batch.bytes.as_ref());
        Ok(Settings {
            socket: from.socket.unwrap_or_else(default_socket),
            ring: from.ring.unwrap_or_default(),
            subscription,
            types: from.types,
            open_wait: time("from.open_wait_ms", from.open_wait_ms.as_ref(), 5000, 0)?,
            batch_records: small(number("batch.records", records, 1000, 1..=1_000_000)?),
            batch_bytes: small(number("batch.bytes", bytes, 1 << 20, 1..=GIB)?),
            batch_wait: time("batch.wait_ms", batch.wait_ms.as_ref(), 100, 0)?,
            sink,
            context,
            retry: Policy {
                first,
                longest: longest.max(first),
                breaker_failures: u32::try_from(number(
                    "retry.breaker_failures",
                    failures,
                    8,
                    1..=1_000_000,
                )?)
                .unwrap_or(u32::MAX),
                breaker_pause: time(
                    "retry.breaker_pause_ms",
                    retry.breaker_pause_ms.as_ref(),
                    2000,
                    1,
                )?,
            },
            dead_letters: poison.file,
            drain_timeout: time(
                "shutdown.drain_timeout_ms",
                shutdown.drain_timeout_ms.as_ref(),
                5000,
                0,
            )?,
            readiness: Readiness {
                acknowledgement: time(
                    "admin.ready_age_ms",
                    admin.ready_age_ms.as_ref(),
                    10_000,
                    100,
                )?,
                lag_records: number(
                    "admin.ready_lag_records",
                    admin.ready_lag_records.as_ref(),
                    u64::MAX,
                    0..=u64::MAX,
                )?,
            },
            admin: admin.listen,
            log: LogSettings::check(&log),
        })
    }
}

/// A number that was checked against a limit that every machine holds.
fn small(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// Where the listener puts its control socket if nobody says otherwise.
fn default_socket() -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(directory) if !directory.is_empty() => PathBuf::from(directory).join("aqueduct.sock"),
        _ => PathBuf::from("/run/aqueduct.sock"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str) -> Result<Settings, ConfigError> {
        toml::from_str::<Tables>(text).expect("TOML of this shape").check()
    }

    #[test]
    fn what_is_left_out_has_a_default() {
        let settings = checked("").expect("all is left out");
        assert_eq!((settings.batch_records, settings.batch_bytes), (1000, 1 << 20));
        assert_eq!(settings.context.flow, "default");
        assert_eq!(settings.retry.longest, Duration::from_secs(2));
        assert!(settings.dead_letters.is_none() && settings.types.is_none());
    }

    #[test]
    fn a_value_that_is_not_allowed_is_told_with_its_key() {
        for (text, key) in [
            ("[batch]\nrecords = 0", "batch.records: `0`"),
            ("[batch]\nbytes = '2GiB'", "batch.bytes: `2147483648`"),
            ("[retry]\nfirst_ms = '2d1'", ""),
            ("[admin]\nready_age_ms = 5", "admin.ready_age_ms: `5`"),
        ] {
            let Ok(tables) = toml::from_str::<Tables>(text) else {
                assert_eq!(key, "", "{text}");
                continue;
            };
            let error = tables.check().expect_err(text).to_string();
            assert!(!key.is_empty() && error.starts_with(key), "{error}");
        }
        let typo = toml::from_str::<Tables>("[batch]\nrecord = 1").expect_err("no such key");
        assert!(typo.to_string().contains("records"), "{typo}");
    }

    #[test]
    fn a_longest_pause_below_the_first_counts_as_the_first() {
        let settings = checked("[retry]\nfirst_ms = '3s'\nlongest_ms = 10").expect("allowed");
        assert_eq!(settings.retry.longest, Duration::from_secs(3));
    }
}
