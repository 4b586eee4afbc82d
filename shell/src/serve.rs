//! The life of the process: bind everything, say so, serve, and on a signal finish in the order
//! that loses nothing.
//!
//! Next: `main`.

use std::fmt;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_signal::{Signal, Signals};
use rustix::process::{Resource, Rlimit};
use smol::net::TcpListener;
use smol::stream::StreamExt;
use smol::{Executor, Task, Timer, future};

use crate::config::Config;
use crate::control::Control;
use crate::handoff::{BindError, Listener};
use crate::http::Http;
use crate::ingest::{Ring, RingError};
use crate::metrics::Metrics;
use crate::presence::Stop;

/// How often a shutdown looks whether the readers are through.
const DRAIN_LOOK: Duration = Duration::from_millis(5);
/// For the answers to requests that waited until the rings were closed.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// Descriptors beside connections.
const DESCRIPTORS_SPARE: u64 = 128;

/// Runs until a signal ends it. The second signal ends the process at once.
pub fn run(config: &Config) -> Result<(), ServeError> {
    raise_descriptor_limit(config);
    // Before anything is visible, so that a signal finds its handler.
    let mut signals = Signals::new([Signal::Term, Signal::Int]).map_err(ServeError::Signals)?;
    let executor = Arc::new(Executor::new());
    for number in 0..config.threads {
        start_thread(number, &executor).map_err(ServeError::Thread)?;
    }
    smol::block_on(async {
        let server = Server::bind(config, executor).await?;
        server.announce();
        let signal = signals.next().await;
        tracing::info!(?signal, "shutting down");
        future::or(
            async {
                server.finish(config.drain_timeout).await;
                Ok(())
            },
            async {
                let second = signals.next().await.and_then(Result::ok).unwrap_or(Signal::Term);
                tracing::warn!(signal = ?second, "second signal: stopping at once");
                std::process::exit(128 + second as i32)
            },
        )
        .await
    })
}

/// Everything that is bound and running.
struct Server {
    rings: Vec<Arc<Ring>>,
    stop: Arc<Stop>,
    http: Arc<Http>,
    address: std::net::SocketAddr,
    listener: Arc<Listener>,
    accepting_http: Task<()>,
    accepting_readers: Task<()>,
}

impl Server {
    async fn bind(config: &Config, executor: Arc<Executor<'static>>) -> Result<Self, ServeError> {
        let metrics = Arc::new(Metrics::new().map_err(ServeError::Metrics)?);
        let stop = Arc::new(Stop::default());
        let mut rings = Vec::with_capacity(config.rings.len());
        for settings in &config.rings {
            let ring = Ring::create(settings, &metrics)
                .map_err(|error| ServeError::Ring { name: settings.name.clone(), error })?;
            rings.push(Arc::new(ring));
        }
        let listen = |error| ServeError::Listen { address: config.listen, error };
        let http_listener = TcpListener::bind(config.listen).await.map_err(listen)?;
        let address = http_listener.local_addr().map_err(listen)?;
        let listener = Arc::new(Listener::bind(&config.socket).map_err(ServeError::Socket)?);
        let control = Arc::new(Control::new(
            rings.clone(),
            Arc::clone(&metrics),
            Arc::clone(&stop),
            config.allowed.clone(),
            config.handshake_timeout,
            config.max_readers,
        ));
        let http = Arc::new(Http::new(
            rings.clone(),
            metrics,
            Arc::clone(&stop),
            Arc::clone(&control),
            config.http.clone(),
            config.full_wait,
        ));
        let accepting_readers =
            executor.spawn(control.accept(Arc::clone(&listener), Arc::clone(&executor)));
        let accepting_http =
            executor.spawn(Arc::clone(&http).accept(http_listener, Arc::clone(&executor)));
        Ok(Self { rings, stop, http, address, listener, accepting_http, accepting_readers })
    }

    /// The one line on stdout.
    fn announce(&self) {
        let mut out = io::stdout().lock();
        let line = format!(
            "aqueduct ready http={} socket={}\n",
            self.address,
            self.listener.path().display()
        );
        if let Err(error) = out.write_all(line.as_bytes()).and_then(|()| out.flush()) {
            tracing::warn!(%error, "nobody takes the ready line");
        }
        tracing::info!(http = %self.address, socket = %self.listener.path().display(), rings = self.rings.len(), "ready");
    }

    /// Finishes: requests in flight, then readers, both within `timeout`; then the end of every
    /// ring.
    async fn finish(self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        // Ends accepting; open connections finish what they are at. Readers that still come are
        // told why not.
        self.stop.set();
        let requests = async {
            self.accepting_http.await;
            self.http.connections().empty().await;
        };
        if within(requests, deadline).await.is_none() {
            tracing::warn!(
                connections = self.http.connections().used(),
                "drain timeout: connections still open"
            );
        }
        let readers = async {
            while self.rings.iter().any(|ring| ring.status().attached_lag_bytes > 0) {
                Timer::after(DRAIN_LOOK).await;
            }
        };
        if within(readers, deadline).await.is_none() {
            tracing::warn!("drain timeout: attached readers have not released everything");
        }
        for ring in &self.rings {
            let left_bytes = ring.status().used_bytes;
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
        let _ = within(self.http.connections().empty(), Instant::now() + LAST_WORDS).await;
        self.accepting_readers.cancel().await;
        // The last reference: this removes the socket file.
        drop(self.listener);
        tracing::info!("stopped");
    }
}

/// The value, unless the time is over; what is ready is taken even then.
async fn within<T>(work: impl Future<Output = T>, deadline: Instant) -> Option<T> {
    future::or(async { Some(work.await) }, async {
        Timer::at(deadline).await;
        None
    })
    .await
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

/// Each connection takes a descriptor; the usual soft limit is below the usual number of
/// connections.
fn raise_descriptor_limit(config: &Config) {
    let needed = (config.http.max_connections + config.max_readers) as u64 + DESCRIPTORS_SPARE;
    let limit = rustix::process::getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return;
    }
    let granted = limit.maximum.map_or(needed, |maximum| maximum.min(needed));
    let raised = rustix::process::setrlimit(
        Resource::Nofile,
        Rlimit { current: Some(granted), maximum: limit.maximum },
    );
    if raised.is_err() || granted < needed {
        tracing::warn!(
            needed,
            granted,
            "the limit of open files is below max_connections + max_readers"
        );
    }
}

/// Why the process could not serve.
#[derive(Debug)]
pub enum ServeError {
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
    /// The HTTP address.
    Listen {
        /// Which.
        address: std::net::SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// The control socket.
    Socket(BindError),
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signals(error) => write!(f, "signal handlers: {error}"),
            Self::Thread(error) => write!(f, "starting a thread: {error}"),
            Self::Metrics(error) => write!(f, "metrics: {error}"),
            Self::Ring { name, error } => write!(f, "ring {name}: {error}"),
            Self::Listen { address, error } => write!(f, "listening on {address}: {error}"),
            Self::Socket(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ServeError {}
