//! The shutdown signal inside the process: set once, seen by every task.

use std::sync::Mutex;

use event_listener::{Event, EventListener};

use crate::sync::lock;

/// Tells every task that the process has begun to end.
#[derive(Default)]
pub struct Shutdown {
    begun: Mutex<bool>,
    event: Event,
}

impl Shutdown {
    /// Returns whether the process has begun to end.
    pub fn has_begun(&self) -> bool {
        *lock(&self.begun)
    }

    /// Tells everyone that the process ends.
    pub fn begin(&self) {
        *lock(&self.begun) = true;
        self.event.notify(usize::MAX);
    }

    /// Returns a listener that completes when the process begins to end; `None` if it has.
    pub fn listen(&self) -> Option<EventListener> {
        let listener = self.event.listen();
        (!self.has_begun()).then_some(listener)
    }

    /// Waits until the process begins to end.
    pub async fn wait(&self) {
        if let Some(listener) = self.listen() {
            listener.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shutdown_is_seen_before_and_after_it_begins() {
        let shutdown = Shutdown::default();
        let listener = shutdown.listen().expect("not begun yet");
        let waits = async {
            shutdown.wait().await;
            true
        };
        let not_yet = smol::future::or(waits, async { false });
        assert!(!smol::block_on(not_yet), "it has not begun");
        shutdown.begin();
        smol::block_on(listener);
        assert!(shutdown.listen().is_none());
        smol::block_on(shutdown.wait());
    }
}
