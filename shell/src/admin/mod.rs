//! What an operator and an orchestrator ask: health, readiness, metrics; the rings and their
//! readers; and a description of all that.
//!
//! Answers are pages without a protocol; an ingress that speaks HTTP serves them, on its own
//! address or beside the records.

mod health;
mod metrics_page;
mod page;
mod rings;
mod settings;
mod status;
mod target;

use std::sync::Arc;

use crate::limits::{ByteLimit, Limit};
use crate::metrics::{AddressMetrics, Metrics};
use crate::ring::Ring;
use crate::shutdown::Shutdown;

pub use settings::{AdminSettings, AdminTable};
pub use status::{ForwarderStatus, IngestAddress, Watch};
pub use target::Target;

/// Describes everything at the address of operators, as `OpenAPI` 3.1.
const DESCRIPTION: &str = include_str!("openapi.json");

/// What is asked about.
pub struct Admin {
    /// The rings.
    pub rings: Vec<Arc<Ring>>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// Whether the process is ending.
    pub shutdown: Arc<Shutdown>,
    /// HTTP connections.
    pub http_connections: Arc<Limit>,
    /// Connections to the address for operators, if there is one.
    pub admin_connections: Arc<Limit>,
    /// Control connections.
    pub control_connections: Arc<Limit>,
    /// What connections keep of incomplete messages.
    pub buffered: Arc<ByteLimit>,
    /// Where records come in.
    pub addresses: Vec<IngestAddress>,
    /// What is counted there, in the same order.
    pub by_address: Arc<[AddressMetrics]>,
    /// Samples of the last ten minutes.
    pub watch: Watch,
}

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Page {
    /// Content of this media type.
    Content(&'static str, Vec<u8>),
    /// A file of the status page, of this media type.
    File(&'static str, &'static str),
    /// Not now, and why.
    Unavailable(String),
    /// The answer could not be made.
    Failed(&'static str),
    /// There is no such thing, and what is missing.
    Missing(&'static str),
    /// What was asked for is done.
    Done,
}

impl Admin {
    /// Answers at the address of operators, by a method that the target has.
    pub fn answer(&self, target: &Target) -> Page {
        match target {
            Target::File(file) => page::file(*file),
            Target::Status => status::all(self),
            Target::History(name) => status::history(self, name),
            Target::Health => health::live(),
            Target::Readiness => health::ready(self),
            Target::Metrics => metrics_page::page(self),
            Target::Description => {
                Page::Content("application/json", DESCRIPTION.as_bytes().to_vec())
            }
            Target::Rings => rings::all(self),
            Target::Ring(name) => rings::one(self, name),
            Target::Reader(ring, name) => rings::evict(self, ring, name),
        }
    }

    /// Formats the metrics as `OpenMetrics`, for clients that prefer it.
    #[cfg(feature = "otel")]
    pub fn open_metrics(&self) -> Page {
        metrics_page::open_metrics(self)
    }

    /// Lists why a record that is sent now has no chance; nothing if it has one.
    pub fn obstacles(&self) -> Vec<String> {
        health::obstacles(self)
    }

    /// Brings the metrics up to date that are not counted as it happens.
    pub fn refresh_metrics(&self) {
        metrics_page::refresh(self);
    }

    /// Makes a page that may also be beside the records, by its path; `None` if there is none.
    pub fn page(&self, path: &str) -> Option<Page> {
        match path {
            "/healthz" => Some(health::live()),
            "/readyz" => Some(health::ready(self)),
            "/metrics" => Some(metrics_page::page(self)),
            _ => None,
        }
    }
}
