//! The command line, and how its flags go over the file.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::config::{Address, ConfigError, Endpoint, Given, Millis, Size};
use crate::ingress::event_loop::driver::Choice;
use crate::log::{LogFormat, LogLevel};
use crate::ring::RingFlags;
use crate::server::{Config, Tables};

/// Carries records from HTTP through a shared-memory ring into readers in other processes.
#[derive(Debug, Parser)]
#[command(name = "aqueduct", version, about)]
pub struct Args {
    /// What to do; help without one.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What `aqueduct` can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Take records over HTTP and hand them to readers, until SIGTERM or SIGINT.
    Serve(ServeArgs),
}

/// Flags of `aqueduct serve`. A flag wins over the file.
#[allow(clippy::doc_markdown, reason = "the texts are the help that the command prints")]
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ServeArgs {
    /// TOML file with the rings and all other settings
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where HTTP is served, HOST:PORT or unix:PATH; port 0 takes a free one [default:
    /// 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<Endpoint>,
    /// Control socket that readers attach through [default: $XDG_RUNTIME_DIR/aqueduct.sock, else
    /// /run/aqueduct.sock]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// A ring to make, instead of those in the file; may be repeated [default: default]
    #[arg(long, value_name = "NAME")]
    pub ring: Vec<String>,
    /// Size of each ring: 32 times a power of two, as 65536 or 64KiB [default: 16MiB]
    #[arg(long, value_name = "SIZE")]
    pub capacity_bytes: Option<Size>,
    /// Largest record of each ring [default: 1MiB, or what the capacity allows if that is less]
    #[arg(long, value_name = "SIZE")]
    pub max_payload_bytes: Option<Size>,
    /// A subscription of each ring, which holds records back even while nobody is attached; may be
    /// repeated [default: default]
    #[arg(long, value_name = "NAME")]
    pub subscription: Vec<String>,
    /// How long a request waits for space in a full ring, as 250 (ms) or 2s [default: 1s]
    #[arg(long, value_name = "TIME")]
    pub full_wait_ms: Option<Millis>,
    /// How long a shutdown waits for requests and readers [default: 5s]
    #[arg(long, value_name = "TIME")]
    pub drain_timeout_ms: Option<Millis>,
    /// How long a request head may take to arrive [default: 10s]
    #[arg(long, value_name = "TIME")]
    pub header_timeout_ms: Option<Millis>,
    /// How long a request body may take to arrive [default: 30s]
    #[arg(long, value_name = "TIME")]
    pub body_timeout_ms: Option<Millis>,
    /// An address for health and metrics alone [default: they are beside the records]
    #[arg(long, value_name = "HOST:PORT")]
    pub admin_listen: Option<Address>,
    /// How connections are served; auto is io_uring where it works, else epoll [default: auto]
    #[arg(long, value_name = "DRIVER", value_enum)]
    pub driver: Option<Choice>,
    /// Most HTTP connections at once [default: 1024]
    #[arg(long, value_name = "N")]
    pub max_connections: Option<u64>,
    /// Least severe level that is logged [default: info]
    #[arg(long, value_name = "LEVEL", value_enum)]
    pub log_level: Option<LogLevel>,
    /// Shape of the log on stderr [default: text]
    #[arg(long, value_name = "FORMAT", value_enum)]
    pub log_format: Option<LogFormat>,
}

impl ServeArgs {
    /// Reads the file that the flags name, puts the flags over it, and checks the result.
    pub fn config(&self) -> Result<Config, ConfigError> {
        let path = self.config.as_deref();
        let mut tables = match path {
            Some(path) => Tables::read(path)?,
            None => Tables::default(),
        };
        self.put_over(&mut tables);
        Config::check(&tables, &self.ring_flags()).map_err(|error| error.in_file(path))
    }

    fn put_over(&self, tables: &mut Tables) {
        fn put<T: Clone>(to: &mut Option<Given<T>>, flag: Option<&T>, name: &'static str) {
            if let Some(given) = Given::by_flag(flag.cloned(), name) {
                *to = Some(given);
            }
        }
        put(&mut tables.http.listen, self.listen.as_ref(), "--listen");
        put(
            &mut tables.http.header_timeout_ms,
            self.header_timeout_ms.as_ref(),
            "--header-timeout-ms",
        );
        put(&mut tables.http.body_timeout_ms, self.body_timeout_ms.as_ref(), "--body-timeout-ms");
        put(&mut tables.http.max_connections, self.max_connections.as_ref(), "--max-connections");
        put(&mut tables.admin.listen, self.admin_listen.as_ref(), "--admin-listen");
        put(&mut tables.control.socket, self.socket.as_ref(), "--socket");
        put(
            &mut tables.server.drain_timeout_ms,
            self.drain_timeout_ms.as_ref(),
            "--drain-timeout-ms",
        );
        tables.ingest.driver = self.driver.or(tables.ingest.driver);
        tables.log.level = self.log_level.or(tables.log.level);
        tables.log.format = self.log_format.or(tables.log.format);
    }

    fn ring_flags(&self) -> RingFlags {
        let subscriptions = (!self.subscription.is_empty()).then(|| self.subscription.clone());
        RingFlags {
            names: self.ring.clone(),
            capacity_bytes: Given::by_flag(self.capacity_bytes, "--capacity-bytes"),
            max_payload_bytes: Given::by_flag(self.max_payload_bytes, "--max-payload-bytes"),
            full_wait_ms: Given::by_flag(self.full_wait_ms, "--full-wait-ms"),
            subscriptions: Given::by_flag(subscriptions, "--subscription"),
        }
    }
}
