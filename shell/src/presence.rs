//! Who is here, and whether it is time to go: bounded slots for connections, and the flag that ends
//! the process's work.
//!
//! Neither knows what a connection is. Next: `mapping`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use event_listener::{Event, EventListener};

/// Locks even behind a panic: none of the values guarded here is ever half changed.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A bounded number of places.
pub struct Slots {
    limit: usize,
    /// INVARIANT: at most `limit`; the number of `Slot` values alive.
    used: Mutex<usize>,
    emptied: Event,
}

/// One taken place; dropping it gives it back.
pub struct Slot(Arc<Slots>);

impl Slots {
    /// `limit` free places.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, used: Mutex::new(0), emptied: Event::new() })
    }

    /// A place, if one is free.
    pub fn enter(self: &Arc<Self>) -> Option<Slot> {
        let mut used = lock(&self.used);
        if *used == self.limit {
            return None;
        }
        *used += 1;
        Some(Slot(Arc::clone(self)))
    }

    /// Places taken.
    pub fn used(&self) -> usize {
        *lock(&self.used)
    }

    /// Waits until no place is taken.
    pub async fn empty(&self) {
        loop {
            let emptied = self.emptied.listen();
            if self.used() == 0 {
                return;
            }
            emptied.await;
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let left = {
            let mut used = lock(&self.0.used);
            *used -= 1;
            *used
        };
        if left == 0 {
            self.0.emptied.notify(usize::MAX);
        }
    }
}

/// Set once, when the process begins to end.
#[derive(Default)]
pub struct Stop {
    set: Mutex<bool>,
    event: Event,
}

impl Stop {
    /// Whether the process is ending.
    pub fn is_set(&self) -> bool {
        *lock(&self.set)
    }

    /// Tells everyone.
    pub fn set(&self) {
        *lock(&self.set) = true;
        self.event.notify(usize::MAX);
    }

    /// Completes when the process begins to end; `None` if it has.
    pub fn listen(&self) -> Option<EventListener> {
        let listener = self.event.listen();
        (!self.is_set()).then_some(listener)
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
    fn slots_are_bounded_and_given_back() {
        let slots = Slots::new(2);
        let first = slots.enter();
        let second = slots.enter();
        assert!(first.is_some() && second.is_some() && slots.enter().is_none());
        drop(first);
        assert_eq!(slots.used(), 1);
        assert!(slots.enter().is_some());
        drop(second);
        smol::block_on(slots.empty());
    }

    #[test]
    fn stop_is_seen_before_and_after_it_is_set() {
        let stop = Stop::default();
        let listener = stop.listen().expect("not set yet");
        stop.set();
        smol::block_on(listener);
        assert!(stop.listen().is_none());
        smol::block_on(stop.wait());
    }
}
