//! The hand-over from those who append to the thread that commits: a bell, and what is done when it
//! rings. A thread that appended may commit by itself instead, if no other does at that moment.

use std::time::{Duration, Instant};

use crate::sync::{Condvar, Fault, Mutex, PoisonError, lock, seeded};

/// What a thread waits for.
#[derive(Default)]
pub(crate) struct Bell {
    state: Mutex<Rung>,
    changed: Condvar,
    /// Held from the choice of a batch until it is published, so that the order of commits is that
    /// of publications, whichever thread commits. Locked before everything else.
    pub(super) working: Mutex<()>,
}

#[derive(Clone, Copy, Default)]
struct Rung {
    /// There is something to do.
    now: bool,
    /// It is the last.
    last: bool,
    /// The thread has ended, or never was.
    ended: bool,
}

impl Bell {
    pub(crate) fn ring(&self, last: bool) {
        let mut state = lock(&self.state);
        let is_news = !state.now || last;
        state.now = !seeded(Fault::BellForgets) || last;
        state.last |= last;
        drop(state);
        if is_news {
            self.changed.notify_all();
        }
    }

    /// Waits until it is rung, or for so long. Returns whether it was the last time.
    pub(crate) fn wait(&self, at_most: Option<Duration>) -> bool {
        let mut state = lock(&self.state);
        let until = at_most.map(|at_most| Instant::now() + at_most);
        while !state.now {
            let Some(until) = until else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                if seeded(Fault::BellForgets) {
                    break;
                }
                continue;
            };
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.now = false;
        state.last
    }

    /// Says that the thread has ended.
    pub(crate) fn end(&self) {
        lock(&self.state).ended = true;
        self.changed.notify_all();
    }

    /// Waits for that; false if it took too long.
    pub(crate) fn ended(&self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        let mut state = lock(&self.state);
        while !state.ended {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

/// What the thread does with what was appended.
pub(crate) trait Stage {
    /// Records that belong together.
    type Batch;

    /// Takes all that was appended and not committed.
    fn uncommitted(&self) -> Option<Self::Batch>;

    /// Makes it safe. False if that failed: for good.
    fn commit(&self, batch: &Self::Batch) -> bool;

    /// Shows it to the readers, and tells those who wait for it.
    fn publish(&self, batch: &Self::Batch);
}

/// Commits and then publishes what was appended until there is nothing left, and again whenever the
/// bell rings, until it has rung for the last time.
pub(crate) fn commit_for_ever(bell: &Bell, stage: &impl Stage) {
    loop {
        let is_last = bell.wait(None);
        loop {
            let _one_at_a_time = lock(&bell.working);
            if !commit_once(stage) {
                break;
            }
        }
        if is_last {
            break;
        }
    }
    bell.end();
}

/// Commits and then publishes what was appended, on the thread that appended it. False if
/// another thread is about to commit: then the bell is to be rung.
pub(crate) fn commit_here(bell: &Bell, stage: &impl Stage) -> bool {
    let one_at_a_time = bell.working.try_lock();
    if one_at_a_time.is_err() && !seeded(Fault::CommitsTogether) {
        return false;
    }
    commit_once(stage);
    true
}

/// Commits and publishes one batch. False if there is none, or it failed.
fn commit_once(stage: &impl Stage) -> bool {
    let Some(batch) = stage.uncommitted() else { return false };
    if seeded(Fault::PublishesBeforeCommit) {
        stage.publish(&batch);
        let _ = stage.commit(&batch);
        return true;
    }
    let is_safe = stage.commit(&batch);
    if is_safe {
        stage.publish(&batch);
    }
    is_safe
}
