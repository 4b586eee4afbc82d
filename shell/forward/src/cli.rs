//! The `aqueduct-forward` command: arguments, log, signals, exit status.

use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use aqueduct::config::Address;
use aqueduct::log::{self, LogFormat, LogLevel};
use aqueduct::server;
use aqueduct_client::Interrupter;
use clap::Parser;
use smol::stream::StreamExt;

use crate::admin;
use crate::metrics::{Flow, Metrics};
use crate::run::{self, Error, Handles, Report};
use crate::settings::{Refused, Settings, Tables};
use crate::sinks;
use crate::stop::Stop;

/// Exit statuses, as `README.md` has them.
const EXIT_FAILED: u8 = 1;
const EXIT_USAGE: u8 = 2;
const EXIT_UNDELIVERED: u8 = 3;
const EXIT_POISON: u8 = 4;
/// How much longer than the deadline a sink may take to notice it.
const GRACE: Duration = Duration::from_millis(500);

/// Carries the records of a ring on to a file, a service, a database or a broker, and releases them
/// when that has acknowledged them.
#[allow(clippy::doc_markdown, reason = "the texts are the help that the command prints")]
#[derive(Debug, Parser)]
#[command(name = "aqueduct-forward", version, about)]
pub struct Args {
    /// TOML file with all settings; flags win over it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Control socket of the listener [default: $XDG_RUNTIME_DIR/aqueduct.sock, else
    /// /run/aqueduct.sock]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Ring to read [default: the listener's only one]
    #[arg(long, value_name = "NAME")]
    pub ring: Option<String>,
    /// Subscription to read; it belongs to this flow alone [default: default]
    #[arg(long, value_name = "NAME")]
    pub subscription: Option<String>,
    /// Where records go, instead of the file's table `sink`: a path, or - for stdout; a line each
    #[arg(long, value_name = "PATH")]
    pub to: Option<PathBuf>,
    /// Deliver what is there, then end; with a progress bar on a terminal
    #[arg(long)]
    pub once: bool,
    /// Check the settings, and end
    #[arg(long)]
    pub check: bool,
    /// Where health and metrics are served [default: nowhere]
    #[arg(long, value_name = "HOST:PORT")]
    pub admin_listen: Option<Address>,
    /// Least severe level that is logged [default: info]
    #[arg(long, value_name = "LEVEL", value_enum)]
    pub log_level: Option<LogLevel>,
    /// Shape of the log on stderr [default: text]
    #[arg(long, value_name = "FORMAT", value_enum)]
    pub log_format: Option<LogFormat>,
}

impl Args {
    /// Reads the file that the flags name, puts the flags over it, and checks the result.
    ///
    /// # Errors
    /// Any [`Refused`].
    pub fn settings(&self) -> Result<Settings, Refused> {
        let mut tables = match &self.config {
            Some(path) => Tables::read(path)?,
            None => Tables::default(),
        };
        let from = &mut tables.from;
        from.socket = self.socket.clone().or(from.socket.take());
        from.ring = self.ring.clone().or(from.ring.take());
        from.subscription = self.subscription.clone().or(from.subscription.take());
        tables.admin.listen = self.admin_listen.clone().or(tables.admin.listen.take());
        tables.log.level = self.log_level.or(tables.log.level);
        tables.log.format = self.log_format.or(tables.log.format);
        if let Some(path) = &self.to {
            let path = path.to_string_lossy().into_owned();
            tables.sink = toml::Table::from_iter([
                ("kind".to_owned(), toml::Value::from("file")),
                ("path".to_owned(), toml::Value::from(path)),
            ]);
        }
        tables.check().map_err(|error| error.in_file(self.config.as_deref()))
    }
}

/// Does what the command line says.
pub fn main() -> ExitCode {
    log::guarded("aqueduct-forward", forward)
}

fn forward() -> ExitCode {
    server::ignore_file_size_signal();
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(said) if said.use_stderr() => {
            log::last_words(said.render().to_string().trim_end());
            return ExitCode::from(EXIT_USAGE);
        }
        Err(help) => {
            // Whoever does not take it, as `head` does, is not told so.
            let _ = std::io::stdout().write_all(help.render().to_string().as_bytes());
            return ExitCode::SUCCESS;
        }
    };
    let refused = |error: &dyn std::fmt::Display| {
        log::last_words(&format!("aqueduct-forward: {error}"));
        ExitCode::from(EXIT_USAGE)
    };
    let settings = match args.settings() {
        Ok(settings) => settings,
        Err(error) => return refused(&error),
    };
    let (kind, mut sink) = match sinks::open(settings.sink.clone(), &settings.context) {
        Ok(opened) => opened,
        Err(error) => return refused(&error),
    };
    if args.check {
        return ExitCode::SUCCESS;
    }
    log::start(settings.log);
    let handles = match start(&settings, &kind) {
        Ok(handles) => handles,
        Err(error) => {
            log::last_words(&format!("aqueduct-forward: {error}"));
            return ExitCode::from(EXIT_FAILED);
        }
    };
    let ended = run::run(&settings, sink.as_mut(), &kind, args.once, &handles);
    let code = match ended {
        Ok(Report { delivered, dead_lettered, left }) => {
            tracing::info!(delivered, dead_lettered, left, "the end");
            log::flush();
            return ExitCode::SUCCESS;
        }
        Err(ref error) => {
            log::last_words(&format!("aqueduct-forward: {error}"));
            exit_status(error)
        }
    };
    ExitCode::from(code)
}

const fn exit_status(error: &Error) -> u8 {
    match error {
        Error::Undelivered { .. } => EXIT_UNDELIVERED,
        Error::Poison { .. } => EXIT_POISON,
        _ => EXIT_FAILED,
    }
}

/// Starts what runs beside the work: signals, the pages of operators.
fn start(settings: &Settings, kind: &str) -> Result<Handles, Box<dyn std::error::Error>> {
    let handles = Handles {
        stop: Stop::default(),
        interrupter: Interrupter::new()?,
        metrics: Arc::new(Metrics::default()),
    };
    watch_signals(handles.clone(), settings.drain_timeout)
        .map_err(|error| format!("watching signals: {error}"))?;
    if let Some(address) = &settings.admin {
        let listener = TcpListener::bind(address.socket_addr())
            .map_err(|error| format!("admin address {address}: {error}"))?;
        tracing::info!(address = %listener.local_addr()?, "health and metrics are served");
        let metrics = Arc::clone(&handles.metrics);
        let subscription = match &*settings.subscription {
            "" => "default",
            name => name,
        };
        let flow = Flow {
            sink: kind.to_owned(),
            ring: settings.ring.clone(),
            subscription: subscription.to_owned(),
        };
        admin::serve(listener, metrics, flow, settings.readiness)?;
    }
    Ok(handles)
}

/// The first signal asks for the end. A second one, or a sink that does not notice its deadline,
/// ends the process: what is in flight was not released and is delivered again.
fn watch_signals(handles: Handles, drain_timeout: Duration) -> std::io::Result<()> {
    let mut signals = server::endings()?;
    let (sender, seen) = mpsc::channel();
    let listen = move || {
        smol::block_on(async {
            while let Some(Ok(signal)) = signals.next().await {
                let _ = sender.send(signal);
            }
        });
    };
    std::thread::Builder::new().name("forward-signals".to_owned()).spawn(listen)?;
    let watch = move || {
        let Ok(signal) = seen.recv() else { return };
        tracing::info!(?signal, "asked to end; finishing what is in flight");
        handles.stop.ask(drain_timeout);
        handles.interrupter.interrupt();
        let in_flight = || handles.metrics.in_flight_records.get();
        // With nothing in flight, only a probe can take longer than this: nothing is lost by its
        // end. Otherwise what is in flight has its time.
        let again = seen.recv_timeout(GRACE);
        if again.is_err() && in_flight() > 0 {
            let _ = seen.recv_timeout(drain_timeout);
        }
        let records = in_flight();
        if records == 0 {
            let metrics = &handles.metrics;
            let delivered = metrics.delivered_records.get();
            let dead_lettered = metrics.dead_lettered_records.get();
            let left = metrics.lag_records.get();
            tracing::info!(delivered, dead_lettered, left, "the end");
            log::flush();
            std::process::exit(0);
        }
        let why = "the sink did not answer in time, or a second signal came";
        log::last_words(&format!(
            "aqueduct-forward: {records} records are not delivered and stay in the ring: {why}"
        ));
        std::process::exit(EXIT_UNDELIVERED.into());
    };
    std::thread::Builder::new().name("forward-watch".to_owned()).spawn(watch).map(|_| ())
}
