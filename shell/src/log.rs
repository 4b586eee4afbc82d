//! The log: what is written, and in which shape.

use clap::ValueEnum;
use serde::Deserialize;
use tracing_subscriber::filter::LevelFilter;

/// Least severe level that is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Something failed that should not.
    Error,
    /// A peer misbehaved, or something was lost.
    Warn,
    /// Life of the process and of its readers.
    Info,
    /// Each connection.
    Debug,
    /// Everything.
    Trace,
}

/// Shape of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `[log]` as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogTable {
    /// Least severe level that is logged.
    pub level: Option<LogLevel>,
    /// Shape of the log.
    pub format: Option<LogFormat>,
}

/// The log, checked.
#[derive(Clone, Copy, Debug)]
pub struct LogSettings {
    /// Least severe level that is logged.
    pub level: LogLevel,
    /// Shape of the log.
    pub format: LogFormat,
}

impl LogSettings {
    /// Fills in what the table leaves out.
    pub fn check(table: &LogTable) -> Self {
        Self {
            level: table.level.unwrap_or(LogLevel::Info),
            format: table.format.unwrap_or(LogFormat::Text),
        }
    }
}

/// Starts the log of this process, on stderr.
pub fn start(settings: LogSettings) {
    let level = match settings.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let log = tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(level);
    match settings.format {
        LogFormat::Text => log.with_ansi(false).init(),
        LogFormat::Json => log.json().init(),
    }
}
