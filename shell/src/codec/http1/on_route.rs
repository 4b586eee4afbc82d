//! A request on a configured route, from its head to its answer.

use std::sync::Arc;

use crate::codec::{Reason, Ring, Sink};
use crate::middleware::{
    Client, Errand, Exchange, Fault, Found, Job, LOOP_BYTES, Outcome, Problem, RequestHead, Route,
};

/// The request of a connection that came by a route, if one is under way, and what is left of the
/// one before it: the next one takes its memory, so that requests of the common form allocate
/// nothing.
#[derive(Default)]
pub(super) struct Current {
    now: Option<Box<OnRoute>>,
    before: Option<Box<OnRoute>>,
}

impl Current {
    /// The request that is under way.
    pub(super) fn get(&self) -> Option<&OnRoute> {
        self.now.as_deref()
    }

    pub(super) fn get_mut(&mut self) -> Option<&mut OnRoute> {
        self.now.as_deref_mut()
    }

    /// Returns who sends, if an earlier request has found out.
    pub(super) fn client(&self) -> Option<Client> {
        self.now.as_ref().or(self.before.as_ref()).map(|on| on.exchange.client)
    }

    /// Takes the values of the request before, for those of the next one.
    pub(super) fn room_for_values(&mut self) -> Vec<String> {
        self.before.as_mut().map(|on| std::mem::take(&mut on.exchange.values)).unwrap_or_default()
    }

    /// Begins a request on this route; `None` if there is no ring of a name that it has.
    pub(super) fn begin<S: Sink>(
        &mut self,
        found: Found,
        head: &RequestHead<'_>,
        sink: &S,
    ) -> Option<&mut OnRoute> {
        let Found { route, values } = found;
        let rings = |route: &Route| -> Option<Vec<Ring>> {
            route.rings.iter().map(|name| sink.ring(name.as_bytes())).collect()
        };
        let on = if let Some(mut on) = self.before.take() {
            if !Arc::ptr_eq(on.exchange.route(), &route) {
                on.rings = rings(&route)?;
            }
            on.exchange.renew(route, values, head);
            on
        } else {
            let rings = rings(&route)?;
            Box::new(OnRoute::new(Exchange::new(route, values, head), rings))
        };
        Some(self.now.insert(on))
    }

    /// Takes the request that is under way, for another owner.
    pub(super) fn take(&mut self) -> Option<Box<OnRoute>> {
        self.now.take()
    }

    /// Ends the request.
    pub(super) fn end(&mut self) {
        let Some(mut on) = self.now.take() else { return };
        on.exchange.end();
        if on.exchange.kept_bytes() <= KEPT_BYTES_MAX {
            on.job = None;
            on.errand = None;
            on.changed = None;
            self.before = Some(on);
        }
    }
}

/// Most bytes of text that a connection keeps of a request for the next one.
const KEPT_BYTES_MAX: usize = 1024;

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
            let mut copy = Vec::new();
            if copy.try_reserve_exact(body_bytes).is_err() {
                return Change::Refused(Problem::busy());
            }
            copy.extend_from_slice(body);
            let body = copy;
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
