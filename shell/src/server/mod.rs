//! The life of the process: bind everything, say so, serve, and on a signal finish in the order
//! that loses nothing. The only place that knows all parts.

mod config;
mod descriptors;
mod ingest;
mod memory;
mod reload;
mod reports;
mod signals;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_signal::Signal;
use smol::stream::StreamExt;
use smol::{Async, Executor, Task, Timer, future};

use crate::admin::{Admin, Watch};
use crate::config::{ConfigError, Endpoint};
use crate::control::{Control, ControlListener, ControlSettings};
use crate::credentials::StoreError;
use crate::ingress::event_loop::Loops;
use crate::ingress::http::Http;
use crate::ingress::listen::Bound;
use crate::journal::Durability;
use crate::limits::{Asks, ByteLimit, Limit};
use crate::log;
use crate::metrics::Metrics;
use crate::ring::{Left, Ring, RingError, RingSettings};
use crate::segment;
use crate::shutdown::Shutdown;
use crate::socket_file::{BindError, SocketFile};
use crate::supervisor::{Supervisor, Told};
#[cfg(feature = "otel")]
use crate::telemetry;

use descriptors::Shares;

use self::ingest::{Bindings, Whereabouts};

pub use config::{Config, Loaded, ServerTable, Tables};
pub use descriptors::{TooFewDescriptors, wanted_descriptors};
pub use ingest::check_files;
pub use memory::{Available, NotEnoughMemory};
pub use reload::Load;
use reload::Reloader;
use reports::Reports;
pub use signals::{endings, endings_unless_nohup, ignore_file_size_signal};

/// Threads of a journal: one commits, one looks after it.
const THREADS_OF_A_JOURNAL: usize = 2;
/// How often a shutdown looks whether the readers are through.
const DRAIN_LOOK: Duration = Duration::from_millis(5);
/// Threads of the runtime, for signals, for the ready line and for what takes its time.
const OTHER_THREADS: usize = 3;
/// For the answers to requests that waited until the rings were closed.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Runs until a signal ends it. The second signal ends the process at once.
/// With a configuration file, SIGHUP has `load` read it again; without one it ends the process as
/// SIGTERM does, for closing a terminal must lose nothing.
pub fn run(
    loaded: &Arc<Loaded>,
    load: Load,
    supervisor: &Arc<Supervisor>,
) -> Result<(), ServeError> {
    let config = &loaded.config;
    let has_file = loaded.path.is_some();
    let shares = descriptors::share_out(config, supervisor.store().is_some())
        .map_err(ServeError::Descriptors)?;
    check_memory(config, &shares)?;
    let journals = config.rings.iter().filter(|ring| ring.durability != Durability::Memory);
    // One more feeds those that lag.
    let of_journals =
        journals.map(|ring| THREADS_OF_A_JOURNAL + usize::from(!ring.lagging.is_empty()));
    check_threads(
        config.threads + config.ingest.loops + OTHER_THREADS + of_journals.sum::<usize>(),
    )
    .map_err(ServeError::Thread)?;
    // Before anything is visible, so that a signal finds its handler.
    let mut endings = signals::endings().map_err(ServeError::Signals)?;
    let executor = Arc::new(Executor::new());
    for number in 0..config.threads {
        start_thread(number, &executor).map_err(ServeError::Thread)?;
    }
    smol::block_on(async {
        let is_hangup = |signal: &Option<io::Result<Signal>>| {
            has_file && matches!(signal, Some(Ok(Signal::Hup)))
        };
        let metrics = Arc::new(Metrics::new().map_err(ServeError::Metrics)?);
        let (making, of_all) = (Arc::clone(loaded), Arc::clone(&metrics));
        let keeper = Arc::clone(supervisor);
        // In a thread of its own: a large journal is read for long, and whoever gives up waiting
        // for it must be heard. Whatever it is at, it may be killed there. Not by `unblock`, whose
        // threads stay, and wake twice a second.
        let (made, rings) = smol::channel::bounded(1);
        let thread = std::thread::Builder::new().name("aqueduct-rings".to_owned());
        let thread = thread.spawn(move || {
            let _ = made.try_send(Server::rings(&making.config, &of_all, &keeper));
        });
        let thread = thread.map_err(ServeError::Thread)?;
        let mut reload_asked = false;
        let rings = future::or(async { Ok(rings.recv().await) }, async {
            loop {
                let signal = endings.next().await;
                if !is_hangup(&signal) {
                    return Err(signal);
                }
                reload_asked = true;
            }
        });
        let rings = match rings.await {
            Ok(Ok(rings)) => rings?,
            Ok(Err(_)) => {
                let panic = thread.join().err().unwrap_or_else(|| Box::new("no rings"));
                std::panic::resume_unwind(panic)
            }
            Err(signal) => {
                tracing::info!(?signal, "shutting down before the rings were there");
                supervisor.tell(&Told::Stopping("ended before it was ready"));
                return Ok(());
            }
        };
        let parts = (metrics, rings);
        let server = Server::bind(loaded, load, shares, parts, (&executor, supervisor))?;
        // Once the rings are made: what is in /proc of such a process belongs to root.
        if config.has_secrets()
            && let Err(error) = keep_memory_private()
        {
            tracing::warn!(%error, "a core dump would have secrets");
        }
        #[cfg(feature = "otel")]
        server.send_telemetry(config);
        if config.http.tls && config.admin.listen.is_none() {
            tracing::warn!(
                "without [admin] listen, health is asked at an address that speaks TLS: beyond \
                 max_connections it is closed without an answer"
            );
        }
        server.announce();
        let reports = Reports::new(supervisor, &server.admin);
        reports.ready();
        for reason in server.admin.obstacles() {
            tracing::warn!(reason, "not all records are taken yet");
        }
        let _reporting = reports.spawn(&executor);
        if reload_asked {
            server.reloader.reload_apart();
        }
        let signal = loop {
            let signal = endings.next().await;
            if !is_hangup(&signal) {
                break signal;
            }
            server.reloader.reload_apart();
        };
        tracing::info!(?signal, "shutting down");
        reports.stopping();
        let drain_timeout = server.reloader.drain_timeout();
        future::or(
            async {
                server.finish(drain_timeout).await;
                Ok(())
            },
            async {
                let mut second = endings.next().await;
                while is_hangup(&second) {
                    second = endings.next().await;
                }
                let second = second.and_then(Result::ok).unwrap_or(Signal::Term);
                tracing::warn!(signal = ?second, "second signal: stopping at once");
                log::flush();
                std::process::exit(128 + second as i32)
            },
        )
        .await
    })
}

/// Shortest backlog of a listening address: those beyond a small limit are to be told so quickly.
const BACKLOG_MIN: usize = 128;

/// Everything that is bound and running.
struct Server {
    rings: Vec<Arc<Ring>>,
    admin: Arc<Admin>,
    shutdown: Arc<Shutdown>,
    connections: Arc<Limit>,
    loops: Arc<Loops>,
    reloader: Arc<Reloader>,
    addresses: Whereabouts,
    socket_files: Vec<SocketFile>,
    admin_address: Option<SocketAddr>,
    control_listener: Arc<ControlListener>,
    accepting: Vec<Task<()>>,
    /// Ends with the value.
    _watching: Vec<Task<()>>,
    accepting_readers: Task<()>,
}

impl Server {
    /// Makes all rings: out of their journals, out of what the service manager kept, or new.
    fn rings(
        config: &Config,
        metrics: &Metrics,
        supervisor: &Supervisor,
    ) -> Result<Vec<Arc<Ring>>, ServeError> {
        let mut rings = Vec::with_capacity(config.rings.len());
        for settings in &config.rings {
            let journal = config.journal.as_ref();
            let journal = journal.filter(|_| settings.durability != Durability::Memory);
            let ring = match journal {
                Some(journal) => Ring::open(settings, journal, metrics),
                None => match supervisor.store() {
                    Some(store) => {
                        let left = Left::take(supervisor, &settings.name);
                        Ring::create_kept(settings, metrics, store, left).map(Arc::new)
                    }
                    None => Ring::create(settings, metrics).map(Arc::new),
                },
            };
            let failed = |error| ServeError::Ring { name: settings.name.clone(), error };
            rings.push(ring.map_err(failed)?);
        }
        Ok(rings)
    }

    fn bind(
        loaded: &Arc<Loaded>,
        load: Load,
        shares: Shares,
        (metrics, rings): (Arc<Metrics>, Vec<Arc<Ring>>),
        (executor, supervisor): (&Arc<Executor<'static>>, &Supervisor),
    ) -> Result<Self, ServeError> {
        let config = &loaded.config;
        let shutdown = Arc::new(Shutdown::default());
        let admin_listener = match config.admin.listen {
            Some(address) => {
                let (socket, bound) = listen(supervisor, address, shares.admin)?;
                let listener = Async::new(std::net::TcpListener::from(socket));
                let failed = |error| ServeError::Listen { address: address.to_string(), error };
                Some((listener.map_err(failed)?, bound))
            }
            None => None,
        };
        let control_listener = ControlListener::bind(supervisor, &config.control.socket)
            .map_err(ServeError::Socket)?;
        let control_listener = Arc::new(control_listener);
        // Last, so that whoever finds an address open finds the readers' socket, too.
        let bindings = Bindings::bind(config, supervisor, shares.connections.max(BACKLOG_MIN))?;
        if let Some(sockets) = supervisor.untaken() {
            return Err(ServeError::Untaken { sockets });
        }
        for name in supervisor.unclaimed() {
            tracing::warn!(name, "the service manager keeps something that no ring asks for");
        }
        let addresses = bindings.addresses(config);

        let connections = Limit::new(shares.connections);
        let control_connections = Limit::new(usize::MAX);
        let admin_connections = Limit::new(shares.admin);
        let asks: Option<Asks> = segment::memory_may_be_refused().then_some(segment::has_memory);
        let buffered = ByteLimit::asking(config.ingest.max_buffered_bytes, asks);
        let listed = bindings.listed(config);
        let by_address = ingest::counted(&listed, &metrics);
        let admin = Arc::new(Admin {
            rings: rings.clone(),
            metrics: Arc::clone(&metrics),
            shutdown: Arc::clone(&shutdown),
            http_connections: Arc::clone(&connections),
            admin_connections: Arc::clone(&admin_connections),
            control_connections: Arc::clone(&control_connections),
            buffered: Arc::clone(&buffered),
            addresses: listed,
            by_address: Arc::clone(&by_address),
            watch: Watch::new(config.admin.forwarders.clone()),
        });
        let watched = Arc::clone(&admin);
        let control = Arc::new(Control::new(
            rings.clone(),
            Arc::clone(&metrics),
            Arc::clone(&shutdown),
            &ControlSettings {
                max_observers: shares.observers,
                max_handshakes: shares.handshakes,
                ..config.control.clone()
            },
            control_connections,
        ));
        let http = |admin, origins, connections| {
            let (metrics, shutdown) = (Arc::clone(&metrics), Arc::clone(&shutdown));
            let rules = (config.http.limits.clone(), origins);
            let places = shares.reserved;
            Arc::new(Http::new(admin, metrics, shutdown, rules, connections, places))
        };

        let beside = admin_listener.is_none().then(|| Arc::clone(&admin));
        let overflow = http(beside, config.http.origins.clone(), Arc::clone(&connections));
        let parts = ingest::Parts {
            rings: rings.clone(),
            metrics: Arc::clone(&metrics),
            by_address,
            shutdown: Arc::clone(&shutdown),
            connections: Arc::clone(&connections),
            buffered,
            reserved: shares.reserved,
            admin: admin_listener.is_none().then(|| Arc::clone(&admin)),
            overflow: Arc::clone(&overflow),
            executor: Arc::clone(executor),
        };
        let ingest::Started { loops, socket_files, shared, set_http2_limits } =
            ingest::start(config, parts, bindings)?;
        let mut accepting =
            vec![executor.spawn(Arc::clone(&overflow).serve_overflow(Arc::clone(executor)))];
        let admin_address = admin_listener.as_ref().map(|(_, address)| *address);
        let mut pages = None;
        let mut watching = Vec::new();
        if let Some((listener, _)) = admin_listener {
            watching = watch(&admin, executor);
            let served = http(Some(admin), Vec::new(), admin_connections);
            served.set_tls(ingest::of_pages(config)?);
            pages = Some(Arc::clone(&served));
            accepting.push(executor.spawn(served.run(listener.into(), Arc::clone(executor))));
        }
        let changing = reload::Parts {
            shared,
            loops: Arc::clone(&loops),
            control: Arc::clone(&control),
            overflow,
            pages,
            set_http2_limits,
        };
        let reloader = Arc::new(Reloader::new(load, Arc::clone(loaded), changing));
        // Weak: the reloader has the control connections, too.
        let reloading = Arc::downgrade(&reloader);
        control.on_reload(Arc::new(move || match reloading.upgrade() {
            Some(reloader) => reloader.reload(),
            None => Err("shutting down".to_owned()),
        }));
        let readers = control.run(Arc::clone(&control_listener), Arc::clone(executor));
        let accepting_readers = executor.spawn(readers);
        Ok(Self {
            rings,
            admin: watched,
            shutdown,
            connections,
            loops,
            reloader,
            addresses,
            socket_files,
            admin_address,
            control_listener,
            accepting,
            _watching: watching,
            accepting_readers,
        })
    }

    /// Begins to send what a collector is to know.
    #[cfg(feature = "otel")]
    fn send_telemetry(&self, config: &Config) {
        let Some(settings) = &config.otel else { return };
        if settings.traces && !config.keeps_traces() {
            tracing::warn!("no address keeps the attribute `traceparent`: there will be no traces");
        }
        let admin = Arc::clone(&self.admin);
        let source = Box::new(move || {
            admin.refresh_metrics();
            admin.metrics.gather()
        });
        match telemetry::send(source) {
            Ok(()) => tracing::info!(collector = settings.authority, "telemetry is sent"),
            Err(error) => tracing::error!(%error, "telemetry is not sent"),
        }
    }

    /// Writes the one line on stdout.
    fn announce(&self) {
        let Whereabouts { http, others } = &self.addresses;
        let socket = self.control_listener.path().display();
        let admin = self.admin_address.map_or(String::new(), |address| format!(" admin={address}"));
        let line = format!("aqueduct ready http={http}{admin}{others} socket={socket}\n");
        // By a thread of its own: a pipe that nobody empties must not hold the signals up.
        let untold = |error| tracing::warn!(%error, "nobody takes the ready line");
        if let Err(error) = log::tell_stdout(line, untold) {
            untold(error);
        }
        let (rings, max_connections) = (self.rings.len(), self.connections.most());
        tracing::info!(%http, %socket, rings, max_connections, "ready");
    }

    /// Finishes: requests in flight, then readers, both within `timeout`; then the end of every
    /// ring.
    async fn finish(self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        // Ends accepting; open connections finish what they are at. Readers that still come are
        // told why not.
        self.shutdown.begin();
        self.loops.wake();
        let requests = async {
            for task in self.accepting {
                task.await;
            }
            self.connections.all_returned().await;
        };
        if within(requests, deadline).await.is_none() {
            tracing::warn!(
                connections = self.connections.used(),
                "drain timeout: connections still open"
            );
        }
        let readers = async {
            while self.rings.iter().any(|ring| ring.refresh().attached_lag_bytes > 0) {
                Timer::after(DRAIN_LOOK).await;
            }
        };
        if within(readers, deadline).await.is_none() {
            tracing::warn!("drain timeout: attached readers have not released everything");
        }
        for ring in &self.rings {
            let finishing = Arc::clone(ring);
            // The disk may take its time, and a second signal must not wait for it.
            smol::unblock(move || finishing.finish_journal()).await;
            let left_bytes = ring.refresh().used_bytes;
            ring.close();
            if left_bytes > 0 {
                tracing::warn!(
                    ring = ring.name(),
                    left_bytes,
                    "ring closed with records that no reader released"
                );
            } else {
                tracing::info!(ring = ring.name(), "ring closed");
            }
        }
        // Requests that still wait for space learn now that there will be none.
        let _ = within(self.connections.all_returned(), Instant::now() + LAST_WORDS).await;
        self.accepting_readers.cancel().await;
        drop(self.socket_files);
        // The last reference: this removes the socket file.
        drop(self.control_listener);
        tracing::info!("stopped");
        #[cfg(feature = "otel")]
        smol::unblock(telemetry::end).await;
    }
}

/// Has the kernel write no core dump of this process, and let nobody but root look into it.
fn keep_memory_private() -> io::Result<()> {
    Ok(rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?)
}

/// Looks at everything for the status page, and asks forwarders.
fn watch(admin: &Arc<Admin>, executor: &Arc<Executor<'static>>) -> Vec<Task<()>> {
    let ask = |index| executor.spawn(Watch::forwarder(Arc::clone(admin), index));
    let mut watching: Vec<_> = (0..admin.watch.forwarders()).map(ask).collect();
    watching.push(executor.spawn(Watch::samples(Arc::clone(admin))));
    watching
}

/// Waits for the value until the deadline; what is ready is taken even then.
async fn within<T>(work: impl Future<Output = T>, deadline: Instant) -> Option<T> {
    future::or(async { Some(work.await) }, async {
        Timer::at(deadline).await;
        None
    })
    .await
}

/// Binds an address and finds out which one it is, if any port would do.
fn listen(
    supervisor: &Supervisor,
    address: SocketAddr,
    connections: usize,
) -> Result<(OwnedFd, SocketAddr), ServeError> {
    let failed = |error| ServeError::Listen { address: address.to_string(), error };
    let endpoint = Endpoint::Tcp(address.into());
    let bound = Bound::take_or_bind(supervisor, &endpoint, connections.max(BACKLOG_MIN));
    let bound = bound.map_err(failed)?;
    let address = bound.endpoint.socket_addr().unwrap_or(address);
    Ok((bound.socket, address))
}

/// Checks that the machine has the memory of all rings together, and says if bodies may need more
/// than what is left. Bodies are rarely that large all at once, so this is no error.
fn check_memory(config: &Config, shares: &Shares) -> Result<(), ServeError> {
    let available = Available::now();
    let rings = config.rings.iter().map(RingSettings::memory_bytes).fold(0, u64::saturating_add);
    available.check(rings).map_err(ServeError::Memory)?;
    let largest = config.rings.iter().map(|ring| ring.max_payload_bytes).max().unwrap_or(0);
    let bodies = u64::from(largest).saturating_mul(shares.connections as u64);
    let bodies = bodies.min(config.ingest.max_buffered_bytes);
    if available.check(rings.saturating_add(bodies)).is_err() {
        tracing::warn!(
            bodies_bytes = bodies,
            rings_bytes = rings,
            available_bytes = available.least(),
            "request bodies may need more memory than there is: set ingest.max_buffered_bytes"
        );
    }
    Ok(())
}

/// Checks that the system grants this many threads at once: where it does not, the runtime would
/// panic.
fn check_threads(count: usize) -> io::Result<()> {
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let ended = Arc::new(std::sync::Mutex::new(ended));
    let mut threads = Vec::with_capacity(count);
    let mut outcome = Ok(());
    for _ in 0..count {
        let ended = Arc::clone(&ended);
        let wait = move || {
            // Until all have been asked for: the other end goes.
            let _ = crate::sync::lock(&ended).recv();
        };
        match std::thread::Builder::new().spawn(wait) {
            Ok(thread) => threads.push(thread),
            Err(error) => {
                outcome = Err(error);
                break;
            }
        }
    }
    drop(end);
    for thread in threads {
        let _ = thread.join();
    }
    outcome
}

fn start_thread(number: usize, executor: &Arc<Executor<'static>>) -> io::Result<()> {
    let executor = Arc::clone(executor);
    std::thread::Builder::new().name(format!("aqueduct-{number}")).spawn(move || {
        loop {
            // A panic is a bug; it ends its connection and not the others.
            let run = AssertUnwindSafe(|| smol::block_on(executor.run(future::pending::<()>())));
            if catch_unwind(run).is_err() {
                tracing::error!("a task panicked");
            }
        }
    })?;
    Ok(())
}

/// The reason why the process could not serve.
#[derive(Debug)]
pub enum ServeError {
    /// The limit of open files.
    Descriptors(TooFewDescriptors),
    /// The memory of the machine or of the control group.
    Memory(NotEnoughMemory),
    /// Signal handlers.
    Signals(io::Error),
    /// A thread.
    Thread(io::Error),
    /// The metrics contradict each other: a bug.
    Metrics(prometheus::Error),
    /// A ring.
    Ring {
        /// Its name.
        name: String,
        /// Why.
        error: RingError,
    },
    /// An address.
    Listen {
        /// Which.
        address: String,
        /// Why.
        error: io::Error,
    },
    /// The event loops.
    Loops(io::Error),
    /// More rings than codecs can number.
    TooManyRings,
    /// The file of credentials.
    Credentials {
        /// Its path.
        path: PathBuf,
        /// Why.
        error: StoreError,
    },
    /// Certificates and keys.
    Tls(String),
    /// The routes.
    Routes(ConfigError),
    /// The control socket.
    Socket(BindError),
    /// The service manager handed sockets over that no address of the configuration asks for.
    Untaken {
        /// Where they are.
        sockets: String,
    },
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Descriptors(error) => error.fmt(f),
            Self::Memory(error) => error.fmt(f),
            Self::Signals(error) => write!(f, "signal handlers: {error}"),
            Self::Thread(error) => {
                write!(f, "starting a thread: {error}; see the limits of processes and threads")
            }
            Self::Metrics(error) => write!(f, "metrics: {error}"),
            Self::Ring { name, error } => write!(f, "ring {name}: {error}"),
            Self::Listen { address, error } => write!(f, "listening on {address}: {error}"),
            Self::Credentials { path, error } => write!(f, "{}: {error}", path.display()),
            Self::Tls(error) => write!(f, "TLS: {error}"),
            Self::TooManyRings => write!(f, "there are more than 65535 rings"),
            Self::Routes(error) => error.fmt(f),
            Self::Loops(error) => write!(f, "event loops: {error}"),
            Self::Socket(error) => error.fmt(f),
            Self::Untaken { sockets } => write!(
                f,
                "the service manager holds sockets at {sockets}, which are in no setting: a unit \
                 must name addresses as the configuration does"
            ),
        }
    }
}

impl std::error::Error for ServeError {}
