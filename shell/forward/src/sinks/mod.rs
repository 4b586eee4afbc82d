//! The sinks that there are, and which of them a configuration means.

pub mod file;
#[cfg(feature = "grpc")]
pub mod grpc;
#[cfg(feature = "http")]
pub mod http;
#[cfg(any(feature = "http", feature = "postgres"))]
mod join;
#[cfg(feature = "kafka")]
pub mod kafka;
#[cfg(feature = "nats")]
pub mod nats;
#[cfg(feature = "parquet")]
pub mod parquet;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "tls")]
mod tls;

use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::compress::Compression;
use crate::envelope::Envelope;
use crate::sink::Sink;

/// Names of the sinks that exist, and whether this build has them.
pub const KINDS: &[(&str, bool)] = &[
    ("file", true),
    ("grpc", cfg!(feature = "grpc")),
    ("http", cfg!(feature = "http")),
    ("kafka", cfg!(feature = "kafka")),
    ("nats", cfg!(feature = "nats")),
    ("parquet", cfg!(feature = "parquet")),
    ("postgres", cfg!(feature = "postgres")),
];

/// What is delivered together, where the configuration does not say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchDefaults {
    /// Most records.
    pub records: u64,
    /// Most bytes.
    pub bytes: u64,
    /// The longest that a record waits for others.
    pub wait: Duration,
}

/// Returns the defaults of a kind of sink: a batch is a file of some, and files are not small.
pub fn batch_defaults(kind: Option<&str>) -> BatchDefaults {
    match kind {
        Some("parquet") => {
            BatchDefaults { records: 1_000_000, bytes: 64 << 20, wait: Duration::from_secs(60) }
        }
        // A batch waits for its last report, and librdkafka makes requests of its own of it.
        Some("kafka") => {
            BatchDefaults { records: 100_000, bytes: 16 << 20, wait: Duration::from_millis(20) }
        }
        // Acknowledgements of a batch are waited for while its next records are sent.
        Some("nats") => {
            BatchDefaults { records: 20_000, bytes: 8 << 20, wait: Duration::from_millis(100) }
        }
        // A batch is a transaction, and a commit is a sync of the server's disk.
        Some("postgres") => {
            BatchDefaults { records: 100_000, bytes: 16 << 20, wait: Duration::from_millis(100) }
        }
        _ => BatchDefaults { records: 1000, bytes: 1 << 20, wait: Duration::from_millis(100) },
    }
}

/// What every sink is told.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// How records are written.
    pub envelope: Envelope,
    /// What is compressed.
    pub compression: Compression,
    /// Name of the subscription: where progress is kept on the other side, its name there.
    pub flow: String,
}

/// Opens a sink by its table, whose `kind` says which. Does not wait for the other side.
///
/// # Errors
/// What is wrong with the table, with the name of its key.
pub fn open(mut table: toml::Table, context: &Context) -> Result<(String, Box<dyn Sink>), String> {
    let kind = match table.remove("kind") {
        Some(toml::Value::String(kind)) => kind,
        Some(_) => return Err("sink.kind: the name of a sink is a string".to_owned()),
        None => return Err("sink.kind: which sink? file, for instance".to_owned()),
    };
    let sink: Box<dyn Sink> = match kind.as_str() {
        "file" => Box::new(file::File::open(parse(table)?, context)?),
        #[cfg(feature = "grpc")]
        "grpc" => Box::new(grpc::Grpc::open(parse(table)?, context)?),
        #[cfg(feature = "http")]
        "http" => Box::new(http::Http::open(parse(table)?, context)?),
        #[cfg(feature = "kafka")]
        "kafka" => Box::new(kafka::Kafka::open(parse(table)?, context)?),
        #[cfg(feature = "nats")]
        "nats" => Box::new(nats::Nats::open(parse(table)?, context)?),
        #[cfg(feature = "parquet")]
        "parquet" => Box::new(parquet::Parquet::open(parse(table)?, context)?),
        #[cfg(feature = "postgres")]
        "postgres" => Box::new(postgres::Postgres::open(parse(table)?, context)?),
        other => return Err(unknown(other)),
    };
    Ok((kind, sink))
}

/// Why a kind of sink cannot be opened.
fn unknown(kind: &str) -> String {
    if KINDS.iter().any(|(name, _)| *name == kind) {
        return format!("sink.kind: this build has no `{kind}`; build with --features {kind}");
    }
    let built: Vec<_> = KINDS.iter().filter(|(_, built)| *built).map(|(name, _)| *name).collect();
    format!("sink.kind: `{kind}` is no sink; this build has: {}", built.join(", "))
}

/// Reads the rest of a table.
fn parse<T: DeserializeOwned>(table: toml::Table) -> Result<T, String> {
    T::deserialize(toml::Value::Table(table))
        .map_err(|error| format!("[sink] {}", error.to_string().trim_end().replace('\n', " ")))
}

/// A default that is true.
const fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(text: &str) -> String {
        let table = toml::from_str(text).expect("TOML");
        open(table, &Context::default()).err().expect("it is refused")
    }

    #[test]
    fn a_table_that_is_wrong_is_told_by_its_key() {
        assert_eq!(error_of(""), "sink.kind: which sink? file, for instance");
        assert!(error_of("kind = 'fire'").starts_with("sink.kind: `fire` is no sink; this build"));
        let typo = error_of("kind = 'file'\npaht = 'x'");
        assert!(typo.contains("paht") && typo.contains("path"), "{typo}");
    }
}
