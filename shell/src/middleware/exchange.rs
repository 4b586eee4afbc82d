//! What the units of a route know of one request, from its head to its answer.

use std::sync::Arc;
use std::time::Instant;

use super::credentials::Credential;
use super::{Client, Job, Outcome, Problem, RequestHead, Route, Step};

/// A request on its way through the units of its route.
#[derive(Debug)]
pub struct Exchange {
    route: Arc<Route>,
    /// Values of the parameters of its path.
    pub values: Vec<String>,
    /// Who sent it.
    pub client: Client,
    /// Whose it is, once a unit found out.
    pub credential: Option<Arc<Credential>>,
    /// Its id, once a unit gave it one.
    pub request_id: Option<String>,
    /// Whole header lines of its answer.
    pub lines: String,
    /// Names of the content codings of its body, outermost first, if a unit decodes them.
    pub codings: Vec<String>,
    /// Method and target, if a unit wants to log them.
    pub line: Option<(String, String)>,
    /// When its head was read.
    pub started: Instant,
    /// The unit that looks at the head next.
    next: usize,
}

/// How far the units came with a head.
#[derive(Debug)]
pub enum Looked {
    /// All of them have looked.
    All,
    /// A worker is asked first.
    Work(Job),
}

impl Exchange {
    /// A request that has just come.
    pub fn new(route: Arc<Route>, values: Vec<String>, head: &RequestHead<'_>) -> Self {
        Self {
            route,
            values,
            client: head.client,
            credential: None,
            request_id: None,
            lines: String::new(),
            codings: Vec::new(),
            line: None,
            started: head.now,
            next: 0,
        }
    }

    /// Its route.
    pub fn route(&self) -> &Arc<Route> {
        &self.route
    }

    /// Has the units look at the head that have not yet. `outcome` is what the worker found that
    /// they asked for the last time.
    ///
    /// # Errors
    /// How one of them refuses the request.
    pub fn look(
        &mut self,
        head: &RequestHead<'_>,
        outcome: Option<Outcome>,
    ) -> Result<Looked, Problem> {
        let route = Arc::clone(&self.route);
        if let Some(outcome) = outcome {
            let unit = &route.units[self.next];
            self.next += 1;
            match outcome {
                Outcome::Undone(problem) => return Err(problem),
                outcome => unit.settle(outcome, self)?,
            }
        }
        while let Some(unit) = route.units.get(self.next) {
            match unit.head(head, self)? {
                Step::Next => self.next += 1,
                Step::Work(job) => return Ok(Looked::Work(job)),
            }
        }
        Ok(Looked::All)
    }

    /// Tells every unit how the request was answered.
    pub fn answered(&self, status: u16) {
        for unit in &self.route.units {
            unit.answered(self, status);
        }
    }
}
