//! Work that is done elsewhere than on the event loop.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use super::Problem;
use super::credentials::Credential;
use crate::limits::Held;
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
    bytes: usize,
    /// Bytes of the body that it works on, which are held all the while.
    body_bytes: usize,
    work: Option<Box<dyn FnOnce() -> Outcome + Send + Sync>>,
    result: Arc<Mutex<Option<Outcome>>>,
}

/// Who waits for a [`Job`].
#[derive(Debug)]
pub struct Errand(Arc<Mutex<Option<Outcome>>>);

impl Job {
    /// Work that takes up to so many bytes of memory.
    pub fn new(bytes: usize, work: impl FnOnce() -> Outcome + Send + Sync + 'static) -> Self {
        Self { bytes, body_bytes: 0, work: Some(Box::new(work)), result: Arc::default() }
    }

    /// The same for a body of so many bytes.
    #[must_use]
    pub fn of_body(mut self, body_bytes: usize) -> Self {
        self.body_bytes = body_bytes;
        self
    }

    /// Has `held` hold what it may take. `None` if there is no room: its errand learns whether that
    /// is so now, or always will be with a body of this size.
    pub fn enter(self, held: &mut Held) -> Option<Self> {
        if held.promise(self.bytes) {
            return Some(self);
        }
        let (needed, most) = (self.bytes.saturating_add(self.body_bytes) as u64, held.most());
        if self.body_bytes > 0 && needed > most {
            let problem = Problem::too_large(format!(
                "working on a body of {} bytes may take {needed} bytes of memory, and all \
                 connections together have {most}",
                self.body_bytes
            ));
            *lock(&self.result) = Some(Outcome::Undone(problem));
        }
        None
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
    use crate::limits::ByteLimit;

    #[test]
    fn a_job_without_room_learns_whether_there_ever_is_some() {
        let limit = ByteLimit::new(1000);
        let status = |bytes, body_bytes| {
            let job = Job::new(bytes, || Outcome::Credential(None)).of_body(body_bytes);
            let errand = job.errand();
            let mut held = Held::nothing(&limit);
            let entered = job.enter(&mut held).is_some();
            match errand.take() {
                _ if entered => 200,
                Some(Outcome::Undone(problem)) => problem.status,
                _ => 0,
            }
        };
        assert_eq!((status(1000, 0), status(900, 100), status(900, 101)), (200, 200, 200));
        // What is held by others may be given back; what the body itself takes is not.
        let mut others = Held::nothing(&limit);
        assert!(others.resize(101));
        assert_eq!((status(900, 100), status(900, 101), status(1001, 1)), (503, 413, 413));
        // What is no body's is not made smaller by anybody.
        assert_eq!(status(1001, 0), 503);
    }

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
