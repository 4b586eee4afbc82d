//! Connection limits: a bounded number of permits, and waiting until all are given back.

use std::sync::{Arc, Mutex};

use event_listener::Event;

use crate::sync::lock;

/// A bound on how many of something exist at once.
pub struct Limit {
    most: usize,
    /// INVARIANT: at most `most`; the number of `Permit` values alive.
    used: Mutex<usize>,
    emptied: Event,
}

/// The right to be one of those that a [`Limit`] counts; dropping it gives the right back.
pub struct Permit(Arc<Limit>);

impl Limit {
    /// Makes a limit of `most`, none of them used.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, used: Mutex::new(0), emptied: Event::new() })
    }

    /// Takes a permit, if one is left.
    pub fn acquire(self: &Arc<Self>) -> Option<Permit> {
        let mut used = lock(&self.used);
        if *used == self.most {
            return None;
        }
        *used += 1;
        Some(Permit(Arc::clone(self)))
    }

    /// Returns how many there may be.
    pub fn most(&self) -> usize {
        self.most
    }

    /// Returns how many permits are taken.
    pub fn used(&self) -> usize {
        *lock(&self.used)
    }

    /// Waits until no permit is taken.
    pub async fn all_returned(&self) {
        loop {
            let emptied = self.emptied.listen();
            if self.used() == 0 {
                return;
            }
            emptied.await;
        }
    }
}

impl Drop for Permit {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permits_are_bounded_and_given_back() {
        let limit = Limit::new(2);
        let first = limit.acquire();
        let second = limit.acquire();
        assert!(first.is_some() && second.is_some() && limit.acquire().is_none());
        drop(first);
        assert_eq!((limit.used(), limit.most()), (1, 2));
        assert!(limit.acquire().is_some());
        drop(second);
        smol::block_on(limit.all_returned());
    }
}
