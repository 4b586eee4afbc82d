//! How far publication has come, for those who wait for it.

use std::sync::atomic::Ordering;
use std::task::Waker;

use crate::sync::{Counter, Mutex, lock};

/// How a record of a ring stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Readers may see it. Of a ring with a journal: it is as safe as the ring promises.
    Published,
    /// It is on its way.
    Coming,
    /// It never will be published by this process.
    Lost,
}

/// What others know of a ring whose publication waits.
pub(crate) struct Progress {
    /// Sequence number of the first record that is not published.
    next_seq: Counter,
    /// 1 once nothing will be published any more.
    failed: Counter,
    /// Called at the next progress, and forgotten.
    watchers: Mutex<Vec<Waker>>,
}

impl Progress {
    pub(crate) fn at(next_seq: u64) -> Self {
        Self {
            next_seq: Counter::new(next_seq),
            failed: Counter::new(0),
            watchers: Mutex::new(Vec::new()),
        }
    }

    pub(crate) fn standing(&self, seq: u64) -> Standing {
        // ORDER(progress): Acquire. What was done before the step was announced has happened.
        if self.next_seq.load(Ordering::Acquire) > seq {
            Standing::Published
        } else if self.failed.load(Ordering::Acquire) != 0 {
            Standing::Lost
        } else {
            Standing::Coming
        }
    }

    /// Calls `waker` when anything has changed since this record's standing was
    /// [`Standing::Coming`]; at once if it has already.
    pub(crate) fn watch(&self, seq: u64, waker: Waker) {
        {
            let mut watchers = lock(&self.watchers);
            if self.standing(seq) == Standing::Coming {
                if !watchers.iter().any(|other| other.will_wake(&waker)) {
                    watchers.push(waker);
                }
                return;
            }
        }
        waker.wake();
    }

    /// Notes that everything before this number is published. Two threads may note theirs in
    /// another order than they published: the larger stays.
    pub(crate) fn advance(&self, next_seq: u64) {
        // ORDER(progress): Release. Pairs with `standing`.
        self.next_seq.fetch_max(next_seq, Ordering::Release);
        self.tell();
    }

    pub(crate) fn fail(&self) {
        // ORDER(progress): Release. Pairs with `standing`.
        self.failed.store(1, Ordering::Release);
        self.tell();
    }

    fn tell(&self) {
        let watchers = std::mem::take(&mut *lock(&self.watchers));
        for waker in watchers {
            waker.wake();
        }
    }
}
