//! The event loops of the process: what they listen to, and what they ask of the other parts.

use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use smol::Executor;

use super::{Config, ServeError};
use crate::admin::{Admin, IngestAddress, Page};
use crate::codec::{Keep, Resource, http1, lines, mqtt, resp};
use crate::config::Endpoint;
use crate::credentials::{Store, StoreError};
use crate::ingress::event_loop::driver::select;
use crate::ingress::event_loop::{
    Address, Addresses, HandOver, ListenSettings, Listening, Loops, PageContent, Protocol,
    ProtocolName, ProtocolSettings, Shared, Target, Timeouts, Window, ring_facts,
};
use crate::ingress::http::{Http, HttpLimits, problem_json};
use crate::ingress::listen::Bound;
use crate::ingress::workers::Workers;
use crate::limits::{ByteLimit, Limit};
use crate::metrics::{AddressMetrics, Metrics};
use crate::middleware::Router;
use crate::middleware::Unit;
use crate::middleware::credentials::{Credentials, VERIFY_BYTES};
use crate::middleware::units::Authenticate;
use crate::ring::Ring;
use crate::shutdown::Shutdown;
use crate::socket_file::SocketFile;
use crate::supervisor::Supervisor;
use crate::tls::{Acceptor, TlsSettings};

/// Media type of problems (RFC 9457).
const PROBLEM: &str = "application/problem+json";

/// What the loops need.
pub(super) struct Parts {
    pub(super) rings: Vec<Arc<Ring>>,
    pub(super) metrics: Arc<Metrics>,
    /// By address, in the order of [`Bindings::listed`].
    pub(super) by_address: Arc<[AddressMetrics]>,
    pub(super) shutdown: Arc<Shutdown>,
    pub(super) connections: Arc<Limit>,
    pub(super) buffered: Arc<ByteLimit>,
    /// Most connections beyond the limit that are told so, of protocols other than HTTP.
    pub(super) reserved: usize,
    /// Pages beside the records, if they are served there.
    pub(super) admin: Option<Arc<Admin>>,
    /// Tells HTTP connections beyond the limit that they are.
    pub(super) overflow: Arc<Http>,
    pub(super) executor: Arc<Executor<'static>>,
}

/// Everything that connections come in by.
pub(super) struct Bindings {
    /// Where HTTP is served.
    pub(super) http: Bound,
    /// Further addresses, in the order of the configuration.
    pub(super) others: Vec<Bound>,
}

/// Makes what is counted at each address.
pub(super) fn counted(listed: &[IngestAddress], metrics: &Metrics) -> Arc<[AddressMetrics]> {
    listed.iter().map(|at| metrics.address(&at.protocol, &at.address)).collect()
}

/// Where connections come in, as the ready line says it.
pub(super) struct Whereabouts {
    pub(super) http: String,
    /// ` PROTOCOL=ADDRESS` for each further one.
    pub(super) others: String,
}

impl Bindings {
    /// Binds all addresses.
    pub(super) fn bind(
        config: &Config,
        supervisor: &Supervisor,
        backlog: usize,
    ) -> Result<Self, ServeError> {
        let bind = |endpoint: &Endpoint| {
            Bound::take_or_bind(supervisor, endpoint, backlog)
                .map_err(|error| ServeError::Listen { address: endpoint.to_string(), error })
        };
        let http = bind(&config.http.listen)?;
        let others = config.listen.iter().map(|listen| bind(&listen.endpoint));
        Ok(Self { http, others: others.collect::<Result<_, _>>()? })
    }

    /// Lists where everything is, HTTP first.
    pub(super) fn listed(&self, config: &Config) -> Vec<IngestAddress> {
        let http = IngestAddress {
            protocol: ProtocolName::Http.as_str().to_owned(),
            address: self.http.endpoint.to_string(),
        };
        let others = config.listen.iter().zip(&self.others).map(|(listen, bound)| IngestAddress {
            protocol: listen.name.as_str().to_owned(),
            address: bound.endpoint.to_string(),
        });
        std::iter::once(http).chain(others).collect()
    }

    /// Says where everything is.
    pub(super) fn addresses(&self, config: &Config) -> Whereabouts {
        let others = config.listen.iter().zip(&self.others);
        let others = others.map(|(listen, bound)| {
            let (protocol, at) = (listen.name.as_str(), &bound.endpoint);
            format!(" {protocol}={at}")
        });
        Whereabouts { http: self.http.endpoint.to_string(), others: others.collect() }
    }
}

/// Loops that run, and what a reload needs of them.
pub(super) struct Started {
    pub(super) loops: Arc<Loops>,
    /// To be removed in the end.
    pub(super) socket_files: Vec<SocketFile>,
    pub(super) shared: Arc<Shared>,
    pub(super) set_http2_limits: SetLimits,
}

/// Bounds HTTP/2 connections that come from now on.
pub(super) type SetLimits = Box<dyn Fn(&HttpLimits) + Send + Sync>;

/// Makes the rules of every address, in the order in which they are bound.
pub(super) fn addresses(config: &Config, rings: &[Arc<Ring>]) -> Result<Vec<Address>, ServeError> {
    let limits = &config.http.limits;
    let credentials = credentials(config)?;
    let acceptors = Acceptors::read(config)?;
    let router = config.routes.router(credentials.as_ref()).map_err(ServeError::Routes)?;
    let parts = AddressParts { config, router: Arc::new(router), credentials };
    let mut addresses = Vec::with_capacity(1 + config.listen.len());
    let times = timeouts(limits, Some(limits.keep_alive_timeout), true);
    let first = parts.http(config.http.keep.clone(), config.http.authenticate, config.http.tls);
    let tls = acceptors.of(config.http.tls, ProtocolName::Http);
    addresses.push(Address { protocol: first, timeouts: Arc::new(times), tls });
    for settings in &config.listen {
        // Clients of Redis and of syslog connect long before they have something to say.
        let speaks_first = matches!(settings.name, ProtocolName::Http | ProtocolName::Mqtt);
        let timeouts = timeouts(limits, settings.idle_timeout, speaks_first);
        let protocol = parts.protocol(settings, rings)?;
        let tls = acceptors.of(settings.tls, settings.name);
        addresses.push(Address { protocol, timeouts: Arc::new(timeouts), tls });
    }
    Ok(addresses)
}

/// Has the metrics say when the certificates in use end.
pub(super) fn tell_expiry(config: &Config, addresses: &[Address], metrics: &Metrics) {
    let acceptors = addresses.iter().filter_map(|address| address.tls.as_ref());
    let expires_s = acceptors.filter_map(|acceptor| acceptor.expires_s()).min();
    let file = config.tls.as_ref().map(TlsSettings::name).unwrap_or_default();
    metrics.certificate_expires(&file, expires_s);
}

/// Starts the loops.
pub(super) fn start(
    config: &Config,
    parts: Parts,
    bindings: Bindings,
) -> Result<Started, ServeError> {
    let Parts {
        rings,
        metrics,
        by_address,
        shutdown,
        connections,
        buffered,
        reserved,
        admin,
        overflow,
        executor,
    } = parts;
    let mut files = Vec::new();
    let mut listening = Vec::with_capacity(1 + bindings.others.len());
    for bound in [bindings.http].into_iter().chain(bindings.others) {
        files.extend(bound.file);
        listening.push(Listening { socket: bound.socket });
    }
    let addresses = addresses(config, &rings)?;
    tell_expiry(config, &addresses, &metrics);
    let addresses = Addresses::new(addresses);
    let mut set_http2_limits: SetLimits = Box::new(|_| ());
    let (keys, time) = (config.ingest.idempotency_keys, config.ingest.idempotency_time);
    let windows = rings.iter().map(|_| Mutex::new(Window::new(keys, time))).collect();
    let shared = Arc::new_cyclic(|shared| Shared {
        rings,
        addresses,
        hand_over: {
            let (hand_over, set) = hand_over(config, shared, &metrics, &shutdown, executor);
            set_http2_limits = set;
            hand_over
        },
        metrics,
        by_address,
        wake_interval: config.ingest.wake_interval,
        shutdown,
        connections,
        buffered,
        overflow: Box::new(move |socket| overflow.turn_over(socket)),
        refusals: Limit::new(reserved),
        windows,
        workers: Workers::new(config.threads),
        #[cfg(feature = "otel")]
        tracer: crate::telemetry::tracer(),
        page: Box::new(move |resource| admin.as_ref().and_then(|admin| page(admin, resource))),
    });
    let kind = select(config.ingest.driver).map_err(ServeError::Loops)?;
    let loops =
        Loops::start(kind, config.ingest.loops, &shared, listening).map_err(ServeError::Loops)?;
    tracing::info!(driver = %kind, loops = config.ingest.loops, "event loops started");
    Ok(Started { loops: Arc::new(loops), socket_files: files, shared, set_http2_limits })
}

fn timeouts(limits: &HttpLimits, idle: Option<Duration>, speaks_first: bool) -> Timeouts {
    let head = limits.header_timeout;
    // One that never sends a byte keeps its place no longer than a slow head.
    let first = if speaks_first { Some(head) } else { idle };
    Timeouts { first, head, body: limits.body_timeout, idle }
}

/// What serves the connections of HTTP/2.
#[cfg(feature = "http2")]
fn hand_over(
    config: &Config,
    shared: &Weak<Shared>,
    metrics: &Arc<Metrics>,
    shutdown: &Arc<Shutdown>,
    executor: Arc<Executor<'static>>,
) -> (HandOver, SetLimits) {
    let largest = config.rings.iter().map(|ring| ring.max_payload_bytes).max().unwrap_or(0);
    let http2 = crate::ingress::http2::Http2::new(
        Weak::clone(shared),
        config.http.limits.clone(),
        (Arc::clone(metrics), Arc::clone(shutdown)),
        executor,
        usize::try_from(largest).unwrap_or(usize::MAX),
    );
    let setting = Arc::clone(&http2);
    (
        Box::new(move |given| http2.adopt(given)),
        Box::new(move |limits| setting.set_limits(limits.clone())),
    )
}

/// Without HTTP/2 nothing is handed over.
#[cfg(not(feature = "http2"))]
fn hand_over(
    _: &Config,
    _: &Weak<Shared>,
    _: &Arc<Metrics>,
    _: &Arc<Shutdown>,
    _: Arc<Executor<'static>>,
) -> (HandOver, SetLimits) {
    (Box::new(|_| ()), Box::new(|_| ()))
}

/// Opens the files that a configuration names, to see whether they are good.
pub fn check_files(config: &Config) -> Result<(), ServeError> {
    credentials(config)?;
    Acceptors::read(config).map(|_| ())
}

/// What accepts TLS at the address of operators, if it is spoken there.
pub(super) fn of_pages(config: &Config) -> Result<Option<Arc<Acceptor>>, ServeError> {
    match config.tls.as_ref().filter(|_| config.admin.tls) {
        None => Ok(None),
        Some(settings) => Acceptor::read(settings, &[b"http/1.1"])
            .map(|acceptor| Some(Arc::new(acceptor)))
            .map_err(ServeError::Tls),
    }
}

/// What accepts TLS, by what is spoken in it.
#[derive(Default)]
struct Acceptors {
    http: Option<Arc<Acceptor>>,
    others: Option<Arc<Acceptor>>,
}

impl Acceptors {
    fn read(config: &Config) -> Result<Self, ServeError> {
        let Some(settings) = &config.tls else { return Ok(Self::default()) };
        let read = |protocols: &[&[u8]]| {
            Acceptor::read(settings, protocols).map(Arc::new).map_err(ServeError::Tls)
        };
        let http: &[&[u8]] = if config.http.http2 { &[b"h2", b"http/1.1"] } else { &[b"http/1.1"] };
        Ok(Self { http: Some(read(http)?), others: Some(read(&[])?) })
    }

    fn of(&self, tls: bool, protocol: ProtocolName) -> Option<Arc<Acceptor>> {
        let acceptor = if protocol == ProtocolName::Http { &self.http } else { &self.others };
        acceptor.clone().filter(|_| tls)
    }
}

/// Opens the file of credentials, if there is one.
fn credentials(config: &Config) -> Result<Option<Arc<dyn Credentials>>, ServeError> {
    let Some(path) = &config.credentials else { return Ok(None) };
    let rings: Vec<&str> = config.rings.iter().map(|ring| ring.name.as_str()).collect();
    let refused = |error| ServeError::Credentials { path: path.clone(), error };
    let store = Store::read(path, &rings).map_err(refused)?;
    // Beside them there is at least what the client has sent.
    let needed = VERIFY_BYTES + (1 << 20);
    if store.has_passwords() && config.ingest.max_buffered_bytes < needed as u64 {
        return Err(refused(StoreError::Memory { needed }));
    }
    let asks = config.tls.as_ref().is_some_and(TlsSettings::asks_clients);
    if store.has_certificates() && !asks {
        tracing::warn!(
            path = %path.display(),
            "credentials are names of certificates, which no client shows without tls.client_ca"
        );
    }
    Ok(Some(Arc::new(store)))
}

/// What the rules of all addresses are made of.
struct AddressParts<'a> {
    config: &'a Config,
    router: Arc<Router>,
    credentials: Option<Arc<dyn Credentials>>,
}

impl AddressParts<'_> {
    fn http(&self, keep: Keep, authenticate: bool, tls: bool) -> Protocol {
        let config = self.config;
        let credentials = self.credentials.as_ref().filter(|_| authenticate);
        let unit = credentials.map(|credentials| -> Arc<dyn Unit> {
            Arc::new(Authenticate::new(Arc::clone(credentials), None))
        });
        let guard = unit.clone().map(|unit| {
            http1::Guard::new(config.rings.iter().map(|ring| ring.name.as_str()), &[unit])
        });
        let router = match &unit {
            None => Arc::clone(&self.router),
            Some(unit) => Arc::new(self.router.guarded(unit)),
        };
        let largest_ring = config.rings.iter().map(|ring| ring.capacity_bytes).max().unwrap_or(0);
        // A batch must fit by itself into what all bodies may take.
        let largest_batch = largest_ring.min(config.ingest.max_buffered_bytes / 2);
        Protocol::Http(Arc::new(http1::Config {
            max_header_bytes: config.http.limits.max_header_bytes,
            max_headers: config.http.limits.max_headers,
            max_batch_bytes: usize::try_from(largest_batch).unwrap_or(usize::MAX),
            origins: config.http.origins.clone(),
            http2: config.http.http2,
            h2c: config.http.http2 && !tls,
            keep,
            routes: http1::Routes::new(&router),
            guard,
        }))
    }

    fn protocol(
        &self,
        settings: &ListenSettings,
        rings: &[Arc<Ring>],
    ) -> Result<Protocol, ServeError> {
        let facts =
            |target: &Target| ring_facts(rings, target.ring).ok_or(ServeError::TooManyRings);
        let credentials = self.credentials.clone().filter(|_| settings.authenticate);
        Ok(match &settings.protocol {
            ProtocolSettings::Http => {
                self.http(settings.keep.clone(), settings.authenticate, settings.tls)
            }
            ProtocolSettings::Resp => {
                let (max_command_bytes, keep) = (settings.max_message_bytes, settings.keep.clone());
                Protocol::Resp(Arc::new(resp::Config { max_command_bytes, keep, credentials }))
            }
            ProtocolSettings::Mqtt(topics) => {
                let rules = topics.iter().map(|(filter, target)| {
                    let route = mqtt::Route { ring: facts(target)?, type_tag: target.type_tag };
                    Ok(mqtt::Rule { filter: filter.clone(), route })
                });
                Protocol::Mqtt(Arc::new(mqtt::Config {
                    rules: rules.collect::<Result<_, _>>()?,
                    max_packet_bytes: settings.max_message_bytes,
                    max_keep_alive: 0,
                    keep: settings.keep.clone(),
                    credentials,
                }))
            }
            ProtocolSettings::Frames(target, framing, oversize) => {
                Protocol::Lines(Arc::new(lines::Config {
                    ring: facts(target)?,
                    type_tag: target.type_tag,
                    framing: *framing,
                    max_frame_bytes: settings.max_message_bytes,
                    oversize: *oversize,
                    keep: settings.keep.clone(),
                    credentials,
                }))
            }
        })
    }
}

fn page(admin: &Admin, resource: Resource) -> Option<PageContent> {
    Some(match admin.page(resource.path())? {
        Page::Content(media_type, body) => (200, media_type, "", body),
        Page::Unavailable(detail) => {
            let body = problem_json(503, "Service Unavailable", &detail);
            (503, PROBLEM, "retry-after: 1\r\n", body.into_bytes())
        }
        // None of the three pages that may be beside the records.
        Page::File(..) | Page::Missing(_) | Page::Done => return None,
        Page::Failed(detail) => {
            let body = problem_json(500, "Internal Server Error", detail);
            (500, PROBLEM, "", body.into_bytes())
        }
    })
}
