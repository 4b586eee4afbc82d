//! How many bytes of bodies the streams of one connection may hold together.

use std::sync::{Arc, Mutex};

use event_listener::Event;

use crate::sync::lock;

/// Bytes that are left to a connection.
pub(super) struct Budget {
    total: usize,
    left: Mutex<usize>,
    returned: Event,
}

/// Bytes that a stream has; dropping it gives them back.
pub(super) struct Share {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Budget {
    pub(super) fn new(total: usize) -> Arc<Self> {
        Arc::new(Self { total, left: Mutex::new(total), returned: Event::new() })
    }

    /// Waits until so many bytes are left and takes them; all of them, if that is less. A stream
    /// asks before it reads its body, so none waits for another one's rest while it holds some.
    pub(super) async fn take(self: &Arc<Self>, bytes: usize) -> Share {
        let mut share = Share { budget: Arc::clone(self), bytes: 0 };
        loop {
            let returned = self.returned.listen();
            if share.grow(bytes.min(self.total)) {
                return share;
            }
            returned.await;
        }
    }
}

impl Share {
    /// Takes what is missing to so many bytes, if it is left.
    pub(super) fn grow(&mut self, to: usize) -> bool {
        let more = to.saturating_sub(self.bytes);
        let mut left = lock(&self.budget.left);
        if more > *left {
            return false;
        }
        *left -= more;
        self.bytes += more;
        true
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        *lock(&self.budget.left) += self.bytes;
        self.budget.returned.notify(usize::MAX);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use smol::future::poll_once;

    use super::*;

    #[test]
    fn a_share_waits_for_the_others_and_a_large_one_for_all_of_them() {
        smol::block_on(async {
            let budget = Budget::new(100);
            let first = budget.take(40).await;
            let mut second = budget.take(40).await;
            assert!(!second.grow(61) && second.grow(60) && second.grow(10), "only 20 were left");
            let mut all = pin!(budget.take(1_000));
            assert!(poll_once(all.as_mut()).await.is_none());
            drop(first);
            assert!(poll_once(all.as_mut()).await.is_none(), "60 are not back yet");
            drop(second);
            let mut all = all.await;
            assert!(!all.grow(101));
            assert!(poll_once(pin!(budget.take(1))).await.is_none());
            drop(all);
            drop(budget.take(100).await);
        });
    }
}
