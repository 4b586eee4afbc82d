//! Threads for work that is too long for an event loop. They start when the first work comes.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crate::middleware::Job;
use crate::sync::lock;

/// Most jobs that wait for a worker; beyond it they are refused.
const WAITING_MAX: usize = 1024;

/// Called by a worker when a job is done.
pub type Done = Box<dyn FnOnce() + Send>;

/// A few threads, and the jobs that wait for them.
pub struct Workers {
    /// Most threads.
    most: usize,
    state: Mutex<State>,
    filled: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<(Job, Done)>,
    threads: usize,
    /// Threads that wait for a job.
    idle: usize,
}

impl Workers {
    /// At most so many threads, and at least one.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most: most.max(1), state: Mutex::default(), filled: Condvar::new() })
    }

    /// Has a job done, in order of arrival, and then calls `done`. If too many wait, or no thread
    /// can be had, the job is dropped, which its errand learns, and `done` called at once.
    pub fn run(self: &Arc<Self>, job: Job, done: Done) {
        let refused = {
            let mut state = lock(&self.state);
            if state.idle <= state.waiting.len() && state.threads < self.most {
                let workers = Arc::clone(self);
                let name = format!("aqueduct-work-{}", state.threads);
                let thread = std::thread::Builder::new().name(name).spawn(move || workers.serve());
                match thread {
                    Ok(_) => state.threads += 1,
                    Err(error) => tracing::warn!(%error, "no thread for long work"),
                }
            }
            if state.threads == 0 || state.waiting.len() >= WAITING_MAX {
                Some((job, done))
            } else {
                state.waiting.push_back((job, done));
                None
            }
        };
        match refused {
            None => self.filled.notify_one(),
            Some((job, done)) => {
                drop(job);
                done();
            }
        }
    }

    fn serve(&self) {
        loop {
            let (job, done) = self.next();
            job.run();
            done();
        }
    }

    fn next(&self) -> (Job, Done) {
        let mut state = lock(&self.state);
        loop {
            if let Some(next) = state.waiting.pop_front() {
                return next;
            }
            state.idle += 1;
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;
    use crate::middleware::Outcome;

    #[test]
    fn jobs_beyond_the_bound_are_refused_and_every_one_is_answered() {
        let workers = Workers::new(2);
        let (sender, done) = channel();
        let (release, gate) = channel::<()>();
        let gate = Arc::new(Mutex::new(gate));
        let errands: Vec<_> = (0..WAITING_MAX + 10)
            .map(|index| {
                let gate = Arc::clone(&gate);
                let job = Job::new(0, move || {
                    // Until all are there.
                    let _ = lock(&gate).recv();
                    Outcome::Credential(None)
                });
                let (errand, sender) = (job.errand(), sender.clone());
                workers.run(job, Box::new(move || sender.send(index).expect("the test waits")));
                errand
            })
            .collect();
        drop(release);
        for _ in 0..errands.len() {
            done.recv_timeout(Duration::from_secs(10)).expect("all are answered");
        }
        let undone =
            errands.iter().filter(|errand| matches!(errand.take(), Some(Outcome::Undone(_))));
        // One or both of the threads had taken one.
        assert!((8..=10).contains(&undone.count()));
    }
}
