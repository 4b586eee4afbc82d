//! The event loops of the process: what they listen to, and what they ask of the other parts.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use smol::Executor;

use super::Config;
use crate::admin::{Admin, Page};
use crate::codec::Resource;
use crate::codec::http1;
use crate::ingress::event_loop::driver::select;
use crate::ingress::event_loop::{Listening, Loops, PageContent, Protocol, Shared, Timeouts};
use crate::ingress::http::{Http, problem_json};
use crate::limits::Limit;
use crate::metrics::Metrics;
use crate::ring::Ring;
use crate::shutdown::Shutdown;

/// Connections beyond the limit that are told so at once.
const REFUSALS: usize = 64;

/// Media type of problems (RFC 9457).
const PROBLEM: &str = "application/problem+json";

/// What the loops need.
pub(super) struct Parts {
    pub(super) rings: Vec<Arc<Ring>>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) shutdown: Arc<Shutdown>,
    pub(super) connections: Arc<Limit>,
    /// Pages beside the records, if they are served there.
    pub(super) admin: Option<Arc<Admin>>,
    /// Serves what is not HTTP/1.1.
    pub(super) hyper: Arc<Http>,
    pub(super) executor: Arc<Executor<'static>>,
}

/// Starts the loops on this socket.
pub(super) fn start(config: &Config, parts: Parts, socket: OwnedFd) -> io::Result<Loops> {
    let Parts { rings, metrics, shutdown, connections, admin, hyper, executor } = parts;
    let limits = &config.http.limits;
    let largest_ring = config.rings.iter().map(|ring| ring.capacity_bytes).max().unwrap_or(0);
    let protocol = Protocol::Http(Arc::new(http1::Config {
        max_header_bytes: limits.max_header_bytes,
        max_headers: limits.max_headers,
        max_batch_bytes: usize::try_from(largest_ring).unwrap_or(usize::MAX),
        origins: Vec::new(),
        http2: false,
    }));
    let shared = Arc::new(Shared {
        rings,
        metrics,
        shutdown,
        connections,
        overflow: {
            let hyper = Arc::clone(&hyper);
            Box::new(move |socket| hyper.turn_over(socket))
        },
        refusals: Limit::new(REFUSALS),
        timeouts: Timeouts {
            header: limits.header_timeout,
            body: limits.body_timeout,
            keep_alive: limits.keep_alive_timeout,
        },
        page: Box::new(move |resource| admin.as_ref().and_then(|admin| page(admin, resource))),
        hand_over: Box::new(move |socket, read, permit| {
            hyper.adopt(socket, read, permit, &executor);
        }),
    });
    let kind = select(config.ingest.driver)?;
    let loops =
        Loops::start(kind, config.ingest.loops, &shared, vec![Listening { socket, protocol }])?;
    tracing::info!(driver = %kind, loops = config.ingest.loops, "event loops started");
    Ok(loops)
}

fn page(admin: &Admin, resource: Resource) -> Option<PageContent> {
    let path = match resource {
        Resource::Health => "/healthz",
        Resource::Readiness => "/readyz",
        Resource::Metrics => "/metrics",
    };
    Some(match admin.page(path)? {
        Page::Content(media_type, body) => (200, media_type, "", body),
        Page::Unavailable(detail) => {
            let body = problem_json(503, "Service Unavailable", &detail);
            (503, PROBLEM, "retry-after: 1\r\n", body.into_bytes())
        }
        Page::Failed(detail) => {
            let body = problem_json(500, "Internal Server Error", detail);
            (500, PROBLEM, "", body.into_bytes())
        }
    })
}
