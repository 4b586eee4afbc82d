//! The one way in for records that a task waits for, whatever protocol brings them.
//!
//! Every record that was begun ends as published or as one counted [`Refusal`], also if its client
//! goes away. An event loop, which holds many records at once, uses [`Ring::turn`] instead.

use std::future::Future;
use std::sync::Arc;

use crate::refusal::Refusal;
use crate::ring::{Published, Ring};
use crate::shutdown::Shutdown;

/// A record that has arrived.
pub struct Record<P> {
    /// The user's tag.
    pub type_tag: u16,
    /// Its bytes.
    pub payload: P,
}

/// The rings, as protocols see them.
pub struct Submit {
    rings: Vec<Arc<Ring>>,
    shutdown: Arc<Shutdown>,
}

impl Submit {
    /// Opens the way to these rings.
    pub fn new(rings: Vec<Arc<Ring>>, shutdown: Arc<Shutdown>) -> Self {
        Self { rings, shutdown }
    }

    /// Finds a ring by its name.
    pub fn ring(&self, name: &str) -> Option<&Arc<Ring>> {
        self.rings.iter().find(|ring| ring.name() == name)
    }

    /// Takes one record: receives it, publishes it, and waits for space as long as the ring allows.
    /// A record whose client goes away, so that the future is dropped, is counted as disconnected,
    /// even if the future was never polled.
    pub fn submit<P, F>(
        &self,
        ring: &Arc<Ring>,
        receive: F,
    ) -> impl Future<Output = Result<Published, Refusal>> + Send + use<P, F>
    where
        P: AsRef<[u8]> + Send + Sync,
        F: Future<Output = Result<Record<P>, Refusal>> + Send,
    {
        let shutdown = Arc::clone(&self.shutdown);
        let guard = DisconnectGuard { ring: Arc::clone(ring), answered: false };
        async move {
            let ring = Arc::clone(&guard.ring);
            let outcome = async {
                if shutdown.has_begun() {
                    return Err(Refusal::ShuttingDown);
                }
                let record = receive.await?;
                ring.publish(record.type_tag, record.payload.as_ref(), ring.full_wait()).await
            };
            let outcome = outcome.await;
            guard.disarm();
            if let Err(refusal) = outcome {
                ring.metrics().refused(refusal);
                tracing::debug!(ring = ring.name(), %refusal, "record refused");
            }
            outcome
        }
    }
}

/// Counts a record whose client went away before it was answered.
struct DisconnectGuard {
    ring: Arc<Ring>,
    answered: bool,
}

impl DisconnectGuard {
    /// Ends the guard: the client is there to be answered.
    fn disarm(mut self) {
        self.answered = true;
    }
}

impl Drop for DisconnectGuard {
    fn drop(&mut self) {
        if !self.answered {
            self.ring.metrics().refused(Refusal::Disconnected);
            tracing::debug!(ring = self.ring.name(), "client gone before its record was answered");
        }
    }
}
