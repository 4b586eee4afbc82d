//! HTTP/1.1: accepting within bounds, and turning away what goes beyond them.
//!
//! Requests are `routes`', one connection's life is `connection`'s. Next: `serve`.

mod activity;
mod connection;
mod reply;
mod routes;

use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;

use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::net::{TcpListener, TcpStream};
use smol::{Executor, Timer, future};

use crate::config::HttpLimits;
use crate::control::Control;
use crate::ingest::Ring;
use crate::metrics::Metrics;
use crate::presence::{Slot, Slots, Stop};

/// Connections beyond the limit that are told so at once.
const REFUSALS: usize = 64;
/// How long an answer that ends a connection is protected from the reset that unread input would
/// cause.
const LINGER: Duration = Duration::from_secs(1);
/// The same for a connection that never was one, and while the process ends.
const LINGER_REFUSED: Duration = Duration::from_millis(250);
/// Pause after a failed accept, which is mostly a lack of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What the connections share.
pub struct Http {
    rings: Vec<Arc<Ring>>,
    metrics: Arc<Metrics>,
    stop: Arc<Stop>,
    control: Arc<Control>,
    limits: HttpLimits,
    full_wait: Duration,
    slots: Arc<Slots>,
    refusals: Arc<Slots>,
}

impl Http {
    /// For these rings.
    pub fn new(
        rings: Vec<Arc<Ring>>,
        metrics: Arc<Metrics>,
        stop: Arc<Stop>,
        control: Arc<Control>,
        limits: HttpLimits,
        full_wait: Duration,
    ) -> Self {
        let slots = Slots::new(limits.max_connections);
        Self {
            rings,
            metrics,
            stop,
            control,
            limits,
            full_wait,
            slots,
            refusals: Slots::new(REFUSALS),
        }
    }

    /// Connections, to be waited for.
    pub fn connections(&self) -> &Arc<Slots> {
        &self.slots
    }

    /// Accepts until the process begins to end.
    pub async fn accept(self: Arc<Self>, listener: TcpListener, executor: Arc<Executor<'static>>) {
        loop {
            let accepted = future::or(async { Some(listener.accept().await) }, async {
                self.stop.wait().await;
                None
            });
            let stream = match accepted.await {
                None => return,
                Some(Ok((stream, _))) => stream,
                Some(Err(error)) => {
                    tracing::warn!(%error, "HTTP connection not accepted");
                    Timer::after(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            if let Some(slot) = self.slots.enter() {
                executor.spawn(Arc::clone(&self).serve(stream, slot)).detach();
                continue;
            }
            self.metrics.http_connections_refused.inc();
            tracing::debug!(
                limit = self.limits.max_connections,
                "HTTP connection refused: too many"
            );
            if let Some(slot) = self.refusals.enter() {
                executor.spawn(turn_away(stream, slot)).detach();
            }
        }
    }

    async fn serve(self: Arc<Self>, stream: TcpStream, _slot: Slot) {
        // Answers are small and complete; waiting to fill a segment only delays them.
        let _ = stream.set_nodelay(true);
        connection::drive(&self, stream).await;
    }

    fn count_response(&self, status: u16) {
        self.metrics.http_requests.with_label_values(&[status.to_string()]).inc();
    }
}

async fn turn_away(mut stream: TcpStream, _slot: Slot) {
    let answer =
        reply::raw(503, "Service Unavailable", "too many connections", "retry-after: 1\r\n");
    if finish(&mut stream, answer.as_bytes()).await.is_ok() {
        linger(stream, LINGER_REFUSED).await;
    }
}

/// Writes a last answer, without waiting long for a peer that does not take it.
async fn finish(stream: &mut TcpStream, answer: &[u8]) -> std::io::Result<()> {
    future::or(stream.write_all(answer), async {
        Timer::after(LINGER).await;
        Err(std::io::ErrorKind::TimedOut.into())
    })
    .await
}

/// Ends our side and reads on for a while: closing a socket with unread input resets it, and the
/// peer may never see the answer.
async fn linger(mut stream: TcpStream, time: Duration) {
    if stream.shutdown(Shutdown::Write).is_err() {
        return;
    }
    let drained = async {
        let mut scrap = vec![0; 16 << 10];
        while let Ok(1..) = stream.read(&mut scrap).await {
            future::yield_now().await;
        }
    };
    future::or(drained, async {
        Timer::after(time).await;
    })
    .await;
}
