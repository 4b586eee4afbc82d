//! HTTP/2 (RFC 9113) at the addresses of HTTP/1.1, over TLS where they speak it.
//!
//! A connection comes from an event loop: with the preface of a client that knows what it speaks
//! to, or with a request that asks for `Upgrade: h2c`. From then on hyper decodes its frames, in a
//! task. Each request is answered by the codec of HTTP/1.1, so that both versions take the same
//! records, batches and pages, and refuse the same things with the same words.
//!
//! Reading order: `frames` and `activity` (what a connection does, and until when it may), `body`,
//! `budget` (memory), `translate` (messages), `exchange` (one request), `grpc` (the cargo feature),
//! `connection`, `upgrade`.

mod activity;
mod body;
mod budget;
mod connection;
mod exchange;
mod frames;
#[cfg(feature = "grpc")]
mod grpc;
mod translate;
mod upgrade;

use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, Weak};

use hyper::body::Bytes;
use smol::{Async, Executor};

use self::budget::Budget;
use super::event_loop::{HandedOver, Protocol, Shared, peer_name};
use super::http::HttpLimits;
use super::line::Line;
use crate::codec::http1::{self, PREFACE};
use crate::metrics::Metrics;
use crate::shutdown::Shutdown;
use crate::sync::{Live, lock};
use crate::tls::{Peer, Shown};

/// Bytes of one body that may have arrived and not been read: also what one stream moves in each
/// round trip, which is what a distant client with a large body waits for.
const STREAM_WINDOW_BYTES: u32 = 64 << 10;

/// What the HTTP/2 connections of the process share.
pub struct Http2 {
    /// Rings, pages and metrics. Weak, because the loops that share them hand connections over.
    shared: Weak<Shared>,
    limits: Live<HttpLimits>,
    metrics: Arc<Metrics>,
    shutdown: Arc<Shutdown>,
    executor: Arc<Executor<'static>>,
    /// What is set aside for a body whose length is not announced, bytes.
    largest_record_bytes: usize,
}

/// What the streams of a connection share.
struct Connection {
    http2: Arc<Http2>,
    /// Number of the address that it came in by, whose rules each request looks up.
    address: u32,
    /// What bounds it, as it was when the connection came.
    limits: Arc<HttpLimits>,
    /// Its address, where that is kept.
    peer: String,
    /// Whom its certificate names, if it has one.
    certificate: Option<Arc<Peer>>,
    /// What it has shown, over TLS.
    shown: Option<Mutex<Shown>>,
    /// For the bodies of its streams together: as much as the one request of an HTTP/1.1 connection
    /// may have.
    budget: Arc<Budget>,
}

impl Http2 {
    /// Prepares to serve what the loops of `shared` hand over.
    pub fn new(
        shared: Weak<Shared>,
        limits: HttpLimits,
        (metrics, shutdown): (Arc<Metrics>, Arc<Shutdown>),
        executor: Arc<Executor<'static>>,
        largest_record_bytes: usize,
    ) -> Arc<Self> {
        let limits = Live::new(limits);
        Arc::new(Self { shared, limits, metrics, shutdown, executor, largest_record_bytes })
    }

    /// Serves a connection whose first bytes are a preface, or a request that asks for an upgrade.
    /// Its requests are answered by the rules of its address; the permit is kept as long as it
    /// lasts.
    pub fn adopt(self: &Arc<Self>, given: HandedOver) {
        let HandedOver { socket, address, read, tls, permit } = given;
        let Some(rules) = self.shared.upgrade().and_then(|shared| rules(&shared, address)) else {
            return;
        };
        let peer = peer_name(socket.as_fd());
        let connection = Connection {
            http2: Arc::clone(self),
            address,
            limits: self.limits.get(),
            peer,
            certificate: tls.as_ref().and_then(|session| session.peer()),
            shown: tls.as_ref().map(|session| Mutex::new(session.shown())),
            budget: Budget::new(rules.max_batch_bytes.max(self.largest_record_bytes)),
        };
        // It may be a UNIX socket: what a stream does here, to read, write and shut down, is the
        // same for both.
        let stream = match Async::new(std::net::TcpStream::from(socket)) {
            Ok(stream) => smol::net::TcpStream::from(stream),
            Err(error) => {
                tracing::warn!(%error, "connection not handed over");
                return;
            }
        };
        let serving = async move {
            // Answers are small and complete; waiting to fill a segment only delays them.
            let _ = stream.set_nodelay(true);
            if read.starts_with(PREFACE) {
                connection::drive(connection, Line::new(stream, tls), Bytes::from(read)).await;
            } else if tls.is_none() {
                upgrade::serve(connection, stream, read).await;
            }
            drop(permit);
        };
        self.executor.spawn(serving).detach();
    }

    /// Bounds connections that come from now on as this says.
    pub fn set_limits(&self, limits: HttpLimits) {
        self.limits.set(limits);
    }

    fn count_protocol_error(&self, what: &str) {
        self.metrics.protocol_errors.inc();
        tracing::debug!(what, "HTTP/2 connection closed");
    }
}

impl Connection {
    /// Whether its client would be let in now: a reload may have brought other authorities, or a
    /// longer list of what is revoked.
    fn is_accepted(&self) -> bool {
        let Some(shown) = &self.shown else { return true };
        let Some(shared) = self.http2.shared.upgrade() else { return false };
        let now = shared.addresses.now();
        let acceptor = now.get(self.address as usize).and_then(|address| address.tls.as_ref());
        acceptor.is_none_or(|acceptor| acceptor.accepts(&mut lock(shown)))
    }
}

/// The rules of an address as they are now.
fn rules(shared: &Shared, address: u32) -> Option<Arc<http1::Config>> {
    match &shared.addresses.now().get(address as usize)?.protocol {
        Protocol::Http(config) => Some(Arc::clone(config)),
        Protocol::Resp(_) | Protocol::Mqtt(_) | Protocol::Lines(_) => None,
    }
}
