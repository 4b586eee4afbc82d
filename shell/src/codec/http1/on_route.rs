//! A request on a configured route, from its head to its answer.

use std::sync::Arc;

use crate::codec::{Reason, Ring};
use crate::middleware::{Errand, Exchange, Fault, Job, LOOP_BYTES, Outcome, Problem};

/// What the codec knows of a request on a route.
pub(super) struct OnRoute {
    /// What its units know of it.
    pub(super) exchange: Exchange,
    /// Where its record goes.
    pub(super) rings: Vec<Ring>,
    /// Work that the loop has not taken yet.
    pub(super) job: Option<Job>,
    /// What it waits for.
    pub(super) errand: Option<Errand>,
    /// Its body, changed by its units.
    pub(super) changed: Option<Vec<u8>>,
}

/// How far changing a body came.
pub(super) enum Change {
    /// It is changed.
    Done,
    /// A worker is at it.
    Away,
    /// A unit refused it.
    Refused(Problem),
}

impl OnRoute {
    pub(super) fn new(exchange: Exchange, rings: Vec<Ring>) -> Self {
        Self { exchange, rings, job: None, errand: None, changed: None }
    }

    /// Gives work away.
    pub(super) fn send_away(&mut self, job: Job) {
        self.errand = Some(job.errand());
        self.job = Some(job);
    }

    /// Has the units change a body of which `limit` bytes may be left, here or by a worker.
    pub(super) fn change(&mut self, body: &[u8], limit: usize) -> Change {
        if self.changed.is_some() {
            return Change::Done;
        }
        let changed = if let Some(errand) = &self.errand {
            match errand.take() {
                None => return Change::Away,
                Some(Outcome::Body(changed)) => changed,
                Some(Outcome::Undone(problem)) => Err(problem),
                Some(Outcome::Credential(_)) => Err(Problem::failed()),
            }
        } else {
            let route = self.exchange.route();
            let (body_bytes, cost) = (body.len(), route.cost(body.len(), limit));
            let body = body.to_vec();
            if cost > LOOP_BYTES {
                let memory = route.memory(body_bytes, limit);
                let (route, codings) = (Arc::clone(route), self.exchange.codings.clone());
                let work = move || Outcome::Body(route.change(body, limit, &codings));
                self.send_away(Job::new(memory, work).of_body(body_bytes));
                return Change::Away;
            }
            route.change(body, limit, &self.exchange.codings)
        };
        self.errand = None;
        match changed {
            Ok(body) => {
                self.changed = Some(body);
                Change::Done
            }
            Err(problem) => Change::Refused(problem),
        }
    }
}

/// Under which reason the refusal of a unit is counted.
pub(super) fn reason(fault: Fault) -> Reason {
    match fault {
        Fault::Denied => Reason::Denied,
        Fault::RateLimited => Reason::RateLimited,
        Fault::Malformed => Reason::Malformed,
        Fault::TooLarge => Reason::TooLarge,
        Fault::NoMemory => Reason::NoMemory,
    }
}

/// What a body may have at most that units change: the limit that a unit states, or a record's.
pub(super) fn wire_limit(on: &OnRoute, of_record: usize) -> usize {
    let route = on.exchange.route();
    match route.most_bytes() {
        None => of_record,
        Some(most) if route.changes_bodies() => most,
        Some(most) => most.min(of_record),
    }
}

/// The largest record that every ring of a request takes.
pub(super) fn smallest(rings: &[Ring]) -> Option<Ring> {
    rings.iter().min_by_key(|ring| ring.max_payload_bytes).copied()
}
