//! HTTP/1.1 for operators: their own address, and connections beyond the limit of the others.
//!
//! Requests are `routes`' business, one connection's life is `connection`'s.

#[cfg(feature = "otel")]
mod accepts;
mod activity;
mod connection;
mod reply;
mod reserved;
mod routes;
mod settings;

use std::net::Shutdown as Direction;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use event_listener::Event;
use smol::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use smol::net::{TcpListener, TcpStream};
use smol::{Async, Executor, Timer, future};

use self::activity::Activity;
use self::reserved::Overflow;
use super::line::Line;
use crate::accept;
use crate::admin::Admin;
use crate::codec::http1::Origin;
use crate::limits::{Limit, Permit, Rotation};
use crate::metrics::Metrics;
use crate::shutdown::Shutdown;
use crate::sync::{Live, lock};
use crate::tls::Acceptor;

pub use reply::problem_json;
pub use settings::{HttpLimits, HttpSettings, HttpTable};

/// How long nothing may come before a connection is closed whose last answer is sent: the reset
/// that unread input would cause could reach the peer before it has read that.
pub(super) const LINGER: Duration = Duration::from_secs(1);
/// The same for a connection that never was one, and while the process ends.
pub(super) const LINGER_REJECTED: Duration = Duration::from_millis(250);
/// How long something may come, and how much of it. As in the event loops.
pub(super) const LINGER_MOST: Duration = Duration::from_secs(30);
const LINGER_BYTES: usize = 64 << 20;

/// How long an idle connection that is to go may take to do so.
const GIVE_WAY: Duration = Duration::from_secs(1);

/// What the connections of one listening address share.
pub struct Http {
    /// What operators ask; `None` if they ask at another address.
    admin: Option<Arc<Admin>>,
    metrics: Arc<Metrics>,
    shutdown: Arc<Shutdown>,
    /// What bounds a connection, and web origins whose pages may ask.
    rules: Live<(HttpLimits, Vec<Origin>)>,
    connections: Arc<Limit>,
    /// Those that are served.
    served: Mutex<Vec<Weak<Activity>>>,
    /// One of them has given its place back.
    freed: Event,
    /// For connections beyond the limit, which are told so.
    reserved: Arc<Rotation>,
    overflow: Overflow,
    /// What connections speak, if it is TLS.
    tls: Live<Option<Arc<Acceptor>>>,
}

impl Http {
    /// Prepares to serve pages for operators, if there are any here, to clients and to web pages of
    /// these origins. `connections` bounds how many
    /// connections there are at once; those beyond get one of some reserved `places`, where they
    /// are told so, and where pages for operators are answered all the same.
    pub fn new(
        admin: Option<Arc<Admin>>,
        metrics: Arc<Metrics>,
        shutdown: Arc<Shutdown>,
        rules: (HttpLimits, Vec<Origin>),
        connections: Arc<Limit>,
        places: usize,
    ) -> Self {
        let (reserved, overflow) = (Rotation::new(places), Overflow::new(places));
        let rules = Live::new(rules);
        let tls = Live::new(None);
        let (served, freed) = (Mutex::default(), Event::new());
        Self {
            admin,
            metrics,
            shutdown,
            rules,
            connections,
            served,
            freed,
            reserved,
            overflow,
            tls,
        }
    }

    /// Has connections that come from now on speak TLS, or not.
    pub fn set_tls(&self, acceptor: Option<Arc<Acceptor>>) {
        self.tls.set(acceptor);
    }

    /// Serves connections that come from now on by these rules.
    pub fn set_rules(&self, limits: HttpLimits, origins: Vec<Origin>) {
        self.rules.set((limits, origins));
    }

    /// Accepts until the process begins to end.
    pub async fn run(self: Arc<Self>, listener: TcpListener, executor: Arc<Executor<'static>>) {
        let connected = |stream| {
            let (http, executor) = (Arc::clone(&self), Arc::clone(&executor));
            async move { http.connected(stream, &executor).await }
        };
        accept::until_shutdown(&listener, &self.shutdown, connected).await;
    }

    async fn connected(self: &Arc<Self>, stream: TcpStream, executor: &Executor<'static>) {
        let permit = match self.connections.acquire() {
            Some(permit) => Some(permit),
            None => self.take_idle_place().await,
        };
        if let Some(permit) = permit {
            // Here and not in the task: a connection may have to go before that has begun.
            let activity = Activity::new();
            {
                let mut served = lock(&self.served);
                served.retain(|other| other.strong_count() > 0);
                served.push(Arc::downgrade(&activity));
            }
            executor.spawn(Arc::clone(self).serve(stream, activity, permit)).detach();
            return;
        }
        self.metrics.admin_connections_refused.inc();
        tracing::debug!(limit = self.connections.most(), "HTTP connection refused: too many");
        if self.tls.get().is_some() {
            // Without a handshake nothing can be said.
            return;
        }
        self.serve_reserved(stream, executor).await;
    }

    /// Takes the place of the connection that has been idle for the longest time, if one is:
    /// whoever keeps connections open and asks nothing keeps no operator out.
    async fn take_idle_place(&self) -> Option<Permit> {
        let freed = self.freed.listen();
        let longest = {
            let served = lock(&self.served);
            let idle = served.iter().filter_map(Weak::upgrade);
            let idle = idle.filter_map(|activity| Some((activity.idle_since()?, activity)));
            idle.min_by_key(|(since, _)| *since)
        };
        let (_, activity) = longest?;
        activity.give_way();
        future::or(freed, async {
            Timer::after(GIVE_WAY).await;
        })
        .await;
        self.connections.acquire()
    }

    async fn serve_reserved(self: &Arc<Self>, stream: TcpStream, executor: &Executor<'static>) {
        let (http, place) = (Arc::clone(self), self.reserved.enter().await);
        executor.spawn(async move { reserved::serve(&http, stream, place).await }).detach();
    }

    /// Takes a connection beyond the limit from an event loop. Never blocks; if more come than can
    /// be told, the oldest of them is closed without a word.
    pub fn turn_over(&self, socket: OwnedFd) {
        self.overflow.push(socket);
    }

    /// Serves the connections of [`turn_over`](Self::turn_over) until the process begins to end.
    pub async fn serve_overflow(self: Arc<Self>, executor: Arc<Executor<'static>>) {
        let serve = async {
            loop {
                match Async::new(std::net::TcpStream::from(self.overflow.next().await)) {
                    Ok(stream) => self.serve_reserved(stream.into(), &executor).await,
                    Err(error) => tracing::warn!(%error, "connection not served"),
                }
            }
        };
        future::or(serve, self.shutdown.wait()).await;
    }

    async fn serve(self: Arc<Self>, stream: TcpStream, activity: Arc<Activity>, permit: Permit) {
        let leaving = self.talk(stream, activity).await;
        // While the process ends, idle connections are many and the time is short.
        if let Some(stream) = leaving {
            if self.shutdown.has_begun() {
                linger(stream, LINGER_REJECTED, LINGER_REJECTED).await;
            } else {
                // Its place is for others: operators must get in, however long it sends on.
                let place = self.reserved.enter().await;
                drop(permit);
                self.freed.notify(1);
                return future::or(linger(stream, LINGER, LINGER_MOST), place.lost()).await;
            }
        }
        drop(permit);
        self.freed.notify(1);
    }

    /// Serves a connection. Returns it if its last answer was sent and it may not be closed yet.
    async fn talk(
        self: &Arc<Self>,
        stream: TcpStream,
        activity: Arc<Activity>,
    ) -> Option<TcpStream> {
        // Answers are small and complete; waiting to fill a segment only delays them.
        let _ = stream.set_nodelay(true);
        let session = match &*self.tls.get() {
            None => None,
            Some(acceptor) => match acceptor.session() {
                Some(session) => Some(Box::new(session)),
                None => return None,
            },
        };
        connection::drive(self, Line::new(stream, session), activity).await
    }

    fn count_response(&self, status: u16) {
        self.metrics.http_requests.with_label_values(&[status.to_string()]).inc();
    }
}

/// Writes a last answer, without waiting long for a peer that does not take it.
async fn finish<S>(stream: &mut S, answer: &[u8]) -> std::io::Result<()>
where
    S: AsyncWrite + Unpin,
{
    let sent = async {
        stream.write_all(answer).await?;
        stream.flush().await
    };
    future::or(sent, async {
        Timer::after(LINGER).await;
        Err(std::io::ErrorKind::TimedOut.into())
    })
    .await
}

/// Says in TLS that nothing more comes, without waiting long; without TLS it ends our side.
async fn say_end(line: &mut Line) {
    let closed = async {
        // The peer may be gone.
        let _ = line.close().await;
    };
    future::or(closed, async {
        Timer::after(LINGER_REJECTED).await;
    })
    .await;
}

/// Ends our side and reads on until nothing has come for `quiet`, or for `most` in all: closing a
/// socket with unread input resets it, and the peer may never see the answer.
pub(super) async fn linger(mut stream: TcpStream, quiet: Duration, most: Duration) {
    if stream.shutdown(Direction::Write).is_err() {
        return;
    }
    let end = Instant::now() + most;
    let mut bytes_left = LINGER_BYTES;
    let mut scrap = vec![0; 16 << 10];
    while Instant::now() < end {
        let until = end.min(Instant::now() + quiet);
        let read = future::or(async { stream.read(&mut scrap).await.ok() }, async {
            Timer::at(until).await;
            None
        });
        match read.await {
            Some(bytes) if bytes > 0 && bytes < bytes_left => bytes_left -= bytes,
            _ => return,
        }
        future::yield_now().await;
    }
}
