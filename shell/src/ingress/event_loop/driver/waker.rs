//! Ends a driver's wait from another thread.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};

use super::pending::Pending;

/// Wakes one event loop. Wakes add up to one until the loop takes them.
#[derive(Debug)]
pub struct Waker {
    event: OwnedFd,
    pending: Pending,
}

impl Waker {
    /// Makes a waker that no driver waits for yet.
    pub fn new() -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { event, pending: Pending::new() })
    }

    /// Ends the wait of the driver, or its next one. What was stored before is seen after
    /// [`Self::taken`].
    pub fn wake(&self) {
        // Fails only if the counter is full, and then the driver is awake.
        self.pending.wake(|| {
            let _ = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
        });
    }

    /// Takes the wakes so far. To be called before the loop looks at what others left for it.
    pub fn taken(&self) {
        // Nothing to read if the write is yet to come; it then wakes for nothing.
        self.pending.taken(|| {
            let _ = rustix::io::read(&self.event, &mut [0; 8]);
        });
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::ingress::event_loop::driver::uring::probe;
    use crate::ingress::event_loop::driver::{Buffers, Driver, Epoll, Event, Uring};
    use crate::sync::{Mutex, lock};

    /// Threads that leave something and wake.
    const OTHERS: u32 = 3;
    /// What each leaves.
    const EACH: u32 = 50_000;

    fn no_wake_is_lost<D: Driver>(mut driver: D, waker: &Arc<Waker>) {
        let left = Arc::new(Mutex::new(0_u32));
        let others: Vec<_> = (0..OTHERS)
            .map(|_| {
                let (left, waker) = (Arc::clone(&left), Arc::clone(waker));
                std::thread::spawn(move || {
                    for _ in 0..EACH {
                        *lock(&left) += 1;
                        waker.wake();
                    }
                })
            })
            .collect();
        let mut found = 0;
        while found < OTHERS * EACH {
            let mut woken = false;
            let turn = driver.turn(Some(Duration::from_secs(20)), |event| {
                woken |= matches!(event, Event::Woken);
            });
            turn.expect("a turn");
            assert!(woken, "slept on what was left: {found} found, {} not", lock(&left));
            waker.taken();
            found += std::mem::take(&mut *lock(&left));
        }
        for other in others {
            other.join().expect("no panic");
        }
    }

    #[test]
    fn what_is_left_by_any_number_of_threads_ends_the_wait() {
        let waker = Arc::new(Waker::new().expect("an eventfd"));
        let buffers = Buffers::default();
        no_wake_is_lost(Epoll::new(Arc::clone(&waker), buffers.clone()).expect("epoll"), &waker);
        if probe().is_ok() {
            let waker = Arc::new(Waker::new().expect("an eventfd"));
            no_wake_is_lost(Uring::new(Arc::clone(&waker), buffers).expect("io_uring"), &waker);
        }
    }
}
