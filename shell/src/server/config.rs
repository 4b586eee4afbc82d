//! All settings together: the tables of the configuration file, and the checked result.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::admin::{AdminSettings, AdminTable};
#[cfg(feature = "otel")]
use crate::codec::ALL_USER_PROPERTIES;
use crate::config::{
    Change, ConfigError, Given, Millis, Origin, Section, Source, number, time, written_time,
};
use crate::control::{ControlSettings, ControlTable};
use crate::credentials::CredentialsTable;
use crate::ingress::event_loop::{IngestSettings, IngestTable, ListenSettings, ListenTable};
use crate::ingress::http::{HttpSettings, HttpTable};
use crate::journal::{Durability, JournalSettings, JournalTable};
use crate::log::{LogSettings, LogTable};
use crate::middleware::{RouteSettings, RouteTable};
use crate::ring::{RingSettings, RingTable};
use crate::telemetry::{OtelSettings, OtelTable};
use crate::tls::{TlsSettings, TlsTable};

/// The configuration file as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tables {
    /// The process.
    pub server: ServerTable,
    /// How connections are served.
    pub ingest: IngestTable,
    /// Further addresses.
    pub listen: Vec<ListenTable>,
    /// HTTP.
    pub http: HttpTable,
    /// The control socket.
    pub control: ControlTable,
    /// Health and metrics.
    pub admin: AdminTable,
    /// The log.
    pub log: LogTable,
    /// Journals.
    pub journal: JournalTable,
    /// Who may write.
    pub credentials: CredentialsTable,
    /// Certificates.
    pub tls: TlsTable,
    /// What a collector is sent.
    pub otel: OtelTable,
    /// The rings.
    pub ring: Vec<RingTable>,
    /// Routes of HTTP.
    pub route: Vec<RouteTable>,
}

/// `[server]` as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerTable {
    /// Executor threads.
    pub threads: Option<Given<u64>>,
    /// How long a shutdown waits for requests and readers.
    pub drain_timeout_ms: Option<Given<Millis>>,
}

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Executor threads.
    pub threads: usize,
    /// How long a shutdown waits for requests and readers.
    pub drain_timeout: Duration,
    /// How connections are served.
    pub ingest: IngestSettings,
    /// Addresses beside the one of HTTP.
    pub listen: Vec<ListenSettings>,
    /// HTTP.
    pub http: HttpSettings,
    /// The control socket.
    pub control: ControlSettings,
    /// Health and metrics.
    pub admin: AdminSettings,
    /// The log.
    pub log: LogSettings,
    /// The journals of the rings that have one; `None` if none has.
    pub journal: Option<JournalSettings>,
    /// The file of credentials, if there is one.
    pub credentials: Option<PathBuf>,
    /// Where certificates come from, if TLS is spoken.
    pub tls: Option<TlsSettings>,
    /// What a collector is sent, if there is one.
    pub otel: Option<OtelSettings>,
    /// At least one, with distinct names.
    pub rings: Vec<RingSettings>,
    /// Routes of HTTP.
    pub routes: RouteSettings,
}

/// A configuration with what it was made of.
#[derive(Debug)]
pub struct Loaded {
    /// The file, if there is one.
    pub path: Option<PathBuf>,
    /// File and environment, which know the places of values.
    pub source: Source,
    /// Everything that was given.
    pub tables: Tables,
    /// The same, checked.
    pub config: Config,
}

impl Tables {
    /// Tables that there are once: variables of the environment name their keys.
    pub const ONCE: [&'static str; 10] = [
        "server",
        "ingest",
        "http",
        "control",
        "admin",
        "log",
        "journal",
        "credentials",
        "tls",
        "otel",
    ];
}

impl Config {
    /// Checks everything, before anything is opened.
    pub fn check(tables: &Tables) -> Result<Self, ConfigError> {
        let cores = std::thread::available_parallelism().map_or(2, |n| n.get() as u64).max(2);
        let threads =
            number("server.threads", tables.server.threads.as_ref(), cores.min(1024), 1..=1024)?;
        let drain = tables.server.drain_timeout_ms.as_ref();
        let has_credentials = tables.credentials.file.is_some();
        let tls = TlsSettings::check(&tables.tls)?;
        let has_tls = tls.is_some();
        let mut rings = RingSettings::check(&tables.ring)?;
        let http = HttpSettings::check(&tables.http, has_credentials, has_tls)?;
        let keep_alive = http.limits.keep_alive_timeout;
        let certificates = tls.as_ref();
        let listen = &tables.listen;
        let listen =
            ListenSettings::check(listen, &rings, keep_alive, has_credentials, certificates)?;
        let routes = RouteSettings::check(&tables.route, &rings, has_credentials)?;
        let ingest = IngestSettings::check(&tables.ingest, &rings)?;
        routes.fit(&tables.route, ingest.max_buffered_bytes)?;
        for (index, ring) in rings.iter_mut().enumerate() {
            ring.has_attributes = !http.keep.is_empty()
                || routes.brings_attributes_to(index)
                || listen.iter().any(|address| address.brings_attributes_to(index));
        }
        Ok(Self {
            threads: usize::try_from(threads).unwrap_or(usize::MAX),
            drain_timeout: time("server.drain_timeout_ms", drain, 5000, 0)?,
            ingest,
            listen,
            http,
            control: ControlSettings::check(&tables.control)?,
            admin: AdminSettings::check(&tables.admin, has_tls)?,
            log: LogSettings::check(&tables.log),
            journal: JournalSettings::check(&tables.journal, &durabilities(&tables.ring))?,
            tls,
            otel: OtelSettings::check(&tables.otel)?,
            credentials: tables.credentials.file.as_ref().map(|given| given.value.clone()),
            rings,
            routes,
        })
    }

    /// Whether clients send secrets, or the process has some.
    pub fn has_secrets(&self) -> bool {
        self.credentials.is_some() || self.tls.is_some()
    }

    /// Whether any address or route keeps the trace of its records.
    #[cfg(feature = "otel")]
    pub fn keeps_traces(&self) -> bool {
        let listen = self.listen.iter().map(|address| &address.keep);
        ["traceparent", "user:traceparent", ALL_USER_PROPERTIES].into_iter().any(|name| {
            self.http.keep.keeps(name)
                || listen.clone().any(|keep| keep.keeps(name))
                || self.routes.keep(name)
        })
    }

    /// Lists everything that is in effect. `tables` are those that were checked.
    pub fn describe(&self, tables: &Tables) -> Vec<Section> {
        let mut server = Section::new("[server]");
        let started = Change::Fixed("threads are started once");
        server.put("threads", self.threads.to_string(), tables.server.threads.as_ref(), started);
        let drain = written_time(self.drain_timeout);
        let given = tables.server.drain_timeout_ms.as_ref();
        server.put("drain_timeout_ms", drain, given, Change::Live);
        let mut sections = vec![
            server,
            self.ingest.describe(&tables.ingest),
            self.http.describe(&tables.http),
            self.control.describe(&tables.control),
            self.admin.describe(&tables.admin),
            self.log.describe(&tables.log),
            tables.credentials.describe(),
            TlsSettings::describe(&tables.tls),
        ];
        sections.extend(self.otel.as_ref().map(|otel| otel.describe(&tables.otel)));
        sections.extend(self.journal.as_ref().map(|journal| journal.describe(&tables.journal)));
        let rings = self.rings.iter().zip(&tables.ring);
        sections.extend(rings.map(|(ring, table)| ring.describe(table)));
        let addresses = self.listen.iter().zip(&tables.listen).enumerate();
        sections.extend(
            addresses
                .map(|(index, (address, table))| address.describe(index + 1, table, &self.rings)),
        );
        sections.extend(self.routes.describe(&tables.route));
        sections
    }
}

/// Which rings want a journal, and where that is said.
fn durabilities(rings: &[RingTable]) -> Vec<(String, Durability, Origin)> {
    let durability = |ring: &RingTable| {
        let given = ring.durability.as_ref()?;
        Some((ring.name.value.clone(), given.value, given.origin))
    };
    rings.iter().filter_map(durability).collect()
}

#[cfg(test)]
mod tests;
