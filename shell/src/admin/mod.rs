//! What an operator and an orchestrator ask: health, readiness, metrics.
//!
//! Answers are pages without a protocol; an ingress that speaks HTTP serves them, on its own
//! address or beside the records.

mod health;
mod metrics_page;
mod settings;

use std::sync::Arc;

use crate::limits::{ByteLimit, Limit};
use crate::metrics::Metrics;
use crate::ring::Ring;
use crate::shutdown::Shutdown;

pub use settings::{AdminSettings, AdminTable};

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
    /// Control connections.
    pub control_connections: Arc<Limit>,
    /// What connections keep of incomplete messages.
    pub buffered: Arc<ByteLimit>,
}

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Page {
    /// Content of this media type.
    Content(&'static str, Vec<u8>),
    /// Not now, and why.
    Unavailable(String),
    /// The answer could not be made.
    Failed(&'static str),
}

impl Admin {
    /// Paths of all pages.
    pub const PATHS: [&'static str; 3] = ["/healthz", "/readyz", "/metrics"];

    /// Makes the page of a path; `None` if there is none.
    pub fn page(&self, path: &str) -> Option<Page> {
        match path {
            "/healthz" => Some(health::live()),
            "/readyz" => Some(health::ready(self)),
            "/metrics" => Some(metrics_page::page(self)),
            _ => None,
        }
    }
}
