//! Work that is done elsewhere than on the event loop.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use super::Problem;
use super::credentials::Credential;
use crate::sync::lock;

/// What a worker found.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Whose credential it is, if it is right.
    Credential(Option<Arc<Credential>>),
    /// What became of a body.
    Body(Result<Vec<u8>, Problem>),
    /// It was not done: nobody had time, or it failed.
    Undone(Problem),
}

/// Work for a worker. Running or dropping it settles its [`Errand`].
pub struct Job {
    /// Bytes of memory that it may take.
    pub bytes: usize,
    work: Option<Box<dyn FnOnce() -> Outcome + Send + Sync>>,
    result: Arc<Mutex<Option<Outcome>>>,
}

/// Who waits for a [`Job`].
#[derive(Debug)]
pub struct Errand(Arc<Mutex<Option<Outcome>>>);

impl Job {
    /// Work that takes up to so many bytes of memory.
    pub fn new(bytes: usize, work: impl FnOnce() -> Outcome + Send + Sync + 'static) -> Self {
        Self { bytes, work: Some(Box::new(work)), result: Arc::default() }
    }

    /// Who waits for it.
    pub fn errand(&self) -> Errand {
        Errand(Arc::clone(&self.result))
    }

    /// Does it. A panic is a bug; it ends the request and not the worker.
    pub fn run(mut self) {
        if let Some(work) = self.work.take() {
            let outcome = catch_unwind(AssertUnwindSafe(work));
            let outcome = outcome.unwrap_or_else(|_| Outcome::Undone(Problem::failed()));
            *lock(&self.result) = Some(outcome);
        }
    }
}

/// One that nobody runs is answered, too.
impl Drop for Job {
    fn drop(&mut self) {
        lock(&self.result).get_or_insert_with(|| Outcome::Undone(Problem::busy()));
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl Errand {
    /// Takes what was found, once the job is done.
    pub fn take(&self) -> Option<Outcome> {
        lock(&self.0).take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_is_dropped_or_panics_is_answered() {
        let job = Job::new(1, || Outcome::Credential(None));
        let errand = job.errand();
        assert!(errand.take().is_none());
        drop(job);
        assert!(matches!(errand.take(), Some(Outcome::Undone(problem)) if problem.status == 503));
        let job = Job::new(1, || panic!("on purpose"));
        let errand = job.errand();
        job.run();
        assert!(matches!(errand.take(), Some(Outcome::Undone(problem)) if problem.status == 500));
        let job = Job::new(1, || Outcome::Credential(None));
        let errand = job.errand();
        job.run();
        assert!(matches!(errand.take(), Some(Outcome::Credential(None))));
    }
}
