//! The configuration file, and the check of its values.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aqueduct::config::{Address, Millis, Size};
use aqueduct::log::{LogFormat, LogLevel, LogSettings};
use serde::Deserialize;

use crate::compress::{Codec, Compression};
use crate::envelope::{Envelope, Form, is_xml_name};
use crate::json::is_pointer;
use crate::metrics::Readiness;
use crate::retry::Policy;
use crate::select::{Condition, Select};
use crate::sinks::{Context, batch_defaults};

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
    /// Conditions on payloads of JSON; what does not meet all of them is not delivered.
    #[serde(rename = "where")]
    pub conditions: Vec<Condition>,
    /// How long `--once` waits for a listener.
    pub open_wait_ms: Option<Millis>,
}

/// `[batch]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BatchTable {
    /// Most records.
    pub records: Option<u64>,
    /// Most bytes of payloads and attributes; one record may be larger.
    pub bytes: Option<Size>,
    /// The longest that a record waits for others.
    pub wait_ms: Option<Millis>,
}

/// `[envelope]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EnvelopeTable {
    /// The form.
    pub form: Form,
    /// Whether payloads are JSON, for the form `json`.
    pub json_payload: bool,
    /// Name of the root, for the form `xml`.
    pub root: Option<String>,
}

/// `[compression]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CompressionTable {
    /// How.
    pub codec: Codec,
    /// Bytes up to which nothing is compressed.
    pub above_bytes: Option<Size>,
}

/// `[retry]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetryTable {
    /// The pause after the first failure.
    pub first_ms: Option<Millis>,
    /// The longest.
    pub longest_ms: Option<Millis>,
    /// Failures in a row that open the circuit.
    pub breaker_failures: Option<u64>,
    /// How long it stays open.
    pub breaker_pause_ms: Option<Millis>,
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
    pub drain_timeout_ms: Option<Millis>,
}

/// `[admin]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdminTable {
    /// Where health and metrics are served; without it, nowhere.
    pub listen: Option<Address>,
    /// The longest that a ready process waits for an acknowledgement.
    pub ready_age_ms: Option<Millis>,
    /// The most records that a ready process may have left to deliver.
    pub ready_lag_records: Option<u64>,
}

/// `[log]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogTable {
    /// Least severe level that is logged.
    pub level: Option<LogLevel>,
    /// Shape of the log.
    pub format: Option<LogFormat>,
}

/// Why settings are refused, in words: file and line, or key, value and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused(String);

impl Refused {
    fn value(key: &str, value: impl fmt::Display, allowed: impl fmt::Display) -> Self {
        Self(format!("{key}: `{value}` is not allowed; allowed: {allowed}"))
    }

    /// Names the file that the settings are from.
    #[must_use]
    pub fn in_file(self, file: Option<&Path>) -> Self {
        match file {
            Some(file) => Self(format!("{}: {}", file.display(), self.0)),
            None => self,
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

/// All settings, checked.
#[derive(Debug)]
pub struct Settings {
    /// Path of the listener's control socket.
    pub socket: PathBuf,
    /// Name of the ring; empty: the listener's only one.
    pub ring: String,
    /// Name of the subscription; empty: `default`.
    pub subscription: String,
    /// What is delivered.
    pub select: Select,
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
    pub fn read(path: &Path) -> Result<Self, Refused> {
        let text = std::fs::read_to_string(path).map_err(|error| Refused(error.to_string()));
        text.and_then(|text| {
            toml::from_str(&text).map_err(|error| Refused(error.to_string().trim_end().to_owned()))
        })
        .map_err(|error| error.in_file(Some(path)))
    }

    /// Checks every value and fills in what is left out.
    ///
    /// # Errors
    /// The first value that is not allowed. What is wrong with `[sink]` is found when it is opened.
    pub fn check(self) -> Result<Settings, Refused> {
        const GIB: u64 = 1 << 30;
        let Self { from, batch, envelope, compression, sink, retry, poison, shutdown, admin, log } =
            self;
        if !compression.codec.is_built() {
            let name = compression.codec.encoding().unwrap_or_default();
            let allowed = format!("what this build has; build with --features {name}");
            return Err(Refused::value("compression.codec", name, allowed));
        }
        let above = compression.above_bytes;
        if let Some(wrong) = from.conditions.iter().find(|it| !is_pointer(&it.pointer)) {
            return Err(Refused::value("from.where.pointer", &wrong.pointer, "a JSON pointer"));
        }
        if from.types.as_ref().is_some_and(Vec::is_empty) {
            let allowed = "at least one; without this key, records of all types";
            return Err(Refused::value("from.types", "[]", allowed));
        }
        let text_of = |key| sink.get(key).and_then(toml::Value::as_str);
        let kind = text_of("kind").unwrap_or_default();
        let (form, codec) = (envelope.form, compression.codec);
        if codec != Codec::None && !matches!(kind, "" | "http" | "grpc") {
            let codec = codec.encoding().unwrap_or_default();
            let allowed = format!("`none`: the sink `{kind}` sends no bodies that are compressed");
            return Err(Refused::value("compression.codec", codec, allowed));
        }
        // Where records are written in another way than by their envelope.
        let other = match (kind, text_of("body")) {
            ("postgres" | "parquet", _) => Some("its columns say what is written"),
            ("http", Some("counted" | "protobuf")) => Some("its body says what is written"),
            _ => None,
        };
        let is_enveloped = form != Form::Raw || envelope.json_payload || envelope.root.is_some();
        if let Some(how) = other.filter(|_| is_enveloped) {
            return Err(Refused(format!("[envelope] is of no use to the sink `{kind}`: {how}")));
        }
        if envelope.json_payload && form != Form::Json {
            let allowed = "only with form = \"json\"";
            return Err(Refused::value("envelope.json_payload", true, allowed));
        }
        if let Some(root) = envelope.root.as_ref().filter(|_| form != Form::Xml) {
            return Err(Refused::value("envelope.root", root, "only with form = \"xml\""));
        }
        let root = envelope.root.unwrap_or_else(|| "record".to_owned());
        if !is_xml_name(&root) {
            return Err(Refused::value("envelope.root", root, "a name of XML"));
        }
        let subscription = from.subscription.unwrap_or_default();
        let first = time("retry.first_ms", retry.first_ms, 50, 1)?;
        let longest = time("retry.longest_ms", retry.longest_ms, 2000, 1)?;
        let failures = retry.breaker_failures;
        let flow = if subscription.is_empty() { "default" } else { &*subscription };
        let context = Context {
            envelope: Envelope {
                form: envelope.form,
                is_json_payload: envelope.json_payload,
                root: root.into(),
            },
            compression: Compression {
                codec: compression.codec,
                above_bytes: small(number("compression.above_bytes", above, 1024, 0..=GIB)?),
            },
            flow: flow.to_owned(),
        };
        let (records, bytes) = (batch.records, batch.bytes);
        let defaults = batch_defaults(sink.get("kind").and_then(toml::Value::as_str));
        let wait_ms = u64::try_from(defaults.wait.as_millis()).unwrap_or(DAY_MS);
        Ok(Settings {
            socket: from.socket.unwrap_or_else(default_socket),
            ring: from.ring.unwrap_or_default(),
            subscription,
            select: Select { types: from.types, conditions: from.conditions },
            open_wait: time("from.open_wait_ms", from.open_wait_ms, 5000, 0)?,
            batch_records: small(number(
                "batch.records",
                records,
                defaults.records,
                1..=1_000_000,
            )?),
            batch_bytes: small(number("batch.bytes", bytes, defaults.bytes, 1..=GIB)?),
            batch_wait: time("batch.wait_ms", batch.wait_ms, wait_ms, 0)?,
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
                breaker_pause: time("retry.breaker_pause_ms", retry.breaker_pause_ms, 2000, 1)?,
            },
            dead_letters: poison.file,
            drain_timeout: time("shutdown.drain_timeout_ms", shutdown.drain_timeout_ms, 5000, 0)?,
            readiness: Readiness {
                acknowledgement: time("admin.ready_age_ms", admin.ready_age_ms, 10_000, 100)?,
                lag_records: number(
                    "admin.ready_lag_records",
                    admin.ready_lag_records,
                    u64::MAX,
                    0..=u64::MAX,
                )?,
            },
            admin: admin.listen,
            log: LogSettings {
                level: log.level.unwrap_or(LogLevel::Info),
                format: log.format.unwrap_or(LogFormat::Text),
            },
        })
    }
}

/// Longest time that any setting takes, ms: one day.
const DAY_MS: u64 = 86_400_000;

/// Checks a number against its range.
fn number(
    key: &str,
    given: Option<impl Into<u64>>,
    default: u64,
    range: RangeInclusive<u64>,
) -> Result<u64, Refused> {
    let value = given.map_or(default, Into::into);
    if range.contains(&value) {
        return Ok(value);
    }
    Err(Refused::value(key, value, format!("{} to {}", range.start(), range.end())))
}

/// Checks a time: at least `least_ms`, at most a day.
fn time(
    key: &str,
    given: Option<Millis>,
    default_ms: u64,
    least_ms: u64,
) -> Result<Duration, Refused> {
    number(key, given, default_ms, least_ms..=DAY_MS).map(Duration::from_millis)
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

    fn checked(text: &str) -> Result<Settings, Refused> {
        toml::from_str::<Tables>(text).expect("TOML of this shape").check()
    }

    #[test]
    fn what_is_left_out_has_a_default() {
        let settings = checked("").expect("all is left out");
        assert_eq!((settings.batch_records, settings.batch_bytes), (1000, 1 << 20));
        assert_eq!(settings.context.flow, "default");
        assert_eq!(settings.retry.longest, Duration::from_secs(2));
        assert!(settings.dead_letters.is_none() && settings.select.types.is_none());
    }

    #[test]
    fn a_value_that_is_not_allowed_is_told_with_its_key() {
        for (text, key) in [
            ("[batch]\nrecords = 0", "batch.records: `0`"),
            ("[batch]\nbytes = '2GiB'", "batch.bytes: `2147483648`"),
            ("[retry]\nfirst_ms = '2d1'", ""),
            ("[admin]\nready_age_ms = 5", "admin.ready_age_ms: `5`"),
            // Everything would be released undelivered.
            ("[from]\ntypes = []", "from.types: `[]`"),
            // What would do nothing.
            ("[sink]\nkind = 'kafka'\n[compression]\ncodec = 'gzip'", "compression.codec: `gzip`"),
            ("[sink]\nkind = 'file'\n[compression]\ncodec = 'gzip'", "compression.codec: `gzip`"),
            ("[sink]\nkind = 'postgres'\n[envelope]\nform = 'json'", "[envelope] is of no use"),
            ("[sink]\nkind = 'parquet'\n[envelope]\nform = 'avro'", "[envelope] is of no use"),
            (
                "[sink]\nkind = 'http'\nbody = 'counted'\n[envelope]\nform = 'json'",
                "[envelope] is of no use to the sink `http`",
            ),
            ("[envelope]\njson_payload = true", "envelope.json_payload: `true`"),
            ("[envelope]\nform = 'json'\nroot = 'r'", "envelope.root: `r`"),
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

    #[cfg(feature = "gzip")]
    #[test]
    fn what_a_sink_uses_is_taken() {
        for text in [
            "[sink]\nkind = 'http'\nbody = 'counted'\n[compression]\ncodec = 'gzip'",
            "[sink]\nkind = 'http'\nbody = 'single'\n[envelope]\nform = 'xml'\nroot = 'r'",
            "[sink]\nkind = 'kafka'\n[compression]\ncodec = 'none'\n[envelope]\nform = 'avro'",
            "[sink]\nkind = 'postgres'\n[envelope]\nform = 'raw'",
            "[envelope]\nform = 'json'\njson_payload = true",
        ] {
            assert!(checked(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn a_longest_pause_below_the_first_counts_as_the_first() {
        let settings = checked("[retry]\nfirst_ms = '3s'\nlongest_ms = 10").expect("allowed");
        assert_eq!(settings.retry.longest, Duration::from_secs(3));
    }
}
