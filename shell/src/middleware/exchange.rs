//! What the units of a route know of one request, from its head to its answer.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use subtle::ConstantTimeEq;

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
    /// What was presented last on its connection and was right.
    known: Option<Known>,
    /// An id of an earlier request, whose memory the next id takes.
    former_id: String,
}

/// A value of `authorization`, with a token that was right, and whose it is.
struct Known {
    value: Box<[u8]>,
    who: Arc<Credential>,
}

/// Shows no secret.
impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Known").field("who", &self.who.name).finish_non_exhaustive()
    }
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
            known: None,
            former_id: String::new(),
        }
    }

    /// Makes it the next request of the same connection, in the memory that it has.
    pub fn renew(&mut self, route: Arc<Route>, values: Vec<String>, head: &RequestHead<'_>) {
        self.route = route;
        self.values = values;
        self.client = head.client;
        self.credential = None;
        if let Some(id) = self.request_id.take() {
            self.former_id = id;
        }
        self.lines.clear();
        self.codings.clear();
        self.line = None;
        self.started = head.now;
        self.next = 0;
    }

    /// Ends it: what is of no use to the next request takes no memory until then.
    pub fn end(&mut self) {
        self.line = None;
        self.codings = Vec::new();
    }

    /// Returns how many bytes of text are kept for the next request.
    pub fn kept_bytes(&self) -> usize {
        let values = self.values.iter().map(|value| size_of::<String>() + value.capacity());
        let values = values.sum::<usize>();
        let id = self.request_id.as_ref().map_or(0, String::capacity);
        let known = self.known.as_ref().map_or(0, |known| known.value.len());
        values + id + known + self.lines.capacity() + self.former_id.capacity()
    }

    /// Returns an empty text for the id of the request.
    pub fn room_for_id(&mut self) -> String {
        let mut id = std::mem::take(&mut self.former_id);
        id.clear();
        id
    }

    /// Returns whose value of `authorization` this is, if it is the last one that was right on this
    /// connection. Takes as long wherever two of one length differ. Whether it is good still is for
    /// the caller to find out.
    pub fn known(&self, value: &[u8]) -> Option<&Arc<Credential>> {
        self.known.as_ref().filter(|known| known.value.ct_eq(value).into()).map(|known| &known.who)
    }

    /// Remembers a value that was right.
    pub fn remember(&mut self, value: &[u8], who: &Arc<Credential>) {
        self.known = Some(Known { value: value.into(), who: Arc::clone(who) });
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::middleware::{Acknowledge, Fault, Host, Pattern, Unit};
    use crate::sync::lock;

    /// Asks a worker, and notes what it is told.
    #[derive(Debug, Default)]
    struct Asks {
        settled: Mutex<u16>,
        answered: Mutex<u16>,
    }

    impl Unit for Asks {
        fn name(&self) -> &'static str {
            "asks"
        }

        fn head(&self, _: &RequestHead<'_>, _: &mut Exchange) -> Result<Step, Problem> {
            Ok(Step::Work(Job::new(1, || Outcome::Credential(None))))
        }

        fn settle(&self, _: Outcome, _: &mut Exchange) -> Result<(), Problem> {
            *lock(&self.settled) += 1;
            Ok(())
        }

        fn answered(&self, _: &Exchange, status: u16) {
            *lock(&self.answered) = status;
        }
    }

    #[derive(Debug)]
    struct Passes;

    impl Unit for Passes {
        fn name(&self) -> &'static str {
            "passes"
        }
    }

    fn route(units: Vec<Arc<dyn Unit>>) -> Arc<Route> {
        Arc::new(Route {
            index: 0,
            methods: vec!["POST"],
            host: Host::Any,
            pattern: Pattern::new("/p").expect("a path"),
            rings: vec!["r".to_owned()],
            type_tag: None,
            attributes: None,
            acknowledge: Acknowledge::Published,
            is_open: false,
            units,
        })
    }

    #[test]
    fn what_a_request_leaves_to_the_next_one_is_counted_and_its_credentials_are_known() {
        let head = RequestHead {
            method: "POST",
            target: "/p",
            bytes: b"",
            client: Client::Local,
            certificate: None,
            now: Instant::now(),
        };
        let text = |bytes: usize| String::with_capacity(bytes);
        let mut exchange = Exchange::new(route(Vec::new()), Vec::new(), &head);
        assert_eq!(exchange.kept_bytes(), 0);
        exchange.values = vec![text(10), text(20)];
        let kept = 2 * size_of::<String>() + 30;
        assert_eq!(exchange.kept_bytes(), kept);
        exchange.lines = text(300);
        assert_eq!(exchange.kept_bytes(), kept + 300);
        exchange.request_id = Some(text(40));
        assert_eq!(exchange.kept_bytes(), kept + 340);
        let who = Arc::new(Credential { name: "ann".to_owned(), rings: None, mark: 1 });
        assert!(exchange.known(b"Bearer x").is_none());
        exchange.remember(b"Bearer x", &who);
        assert_eq!(exchange.kept_bytes(), kept + 348);
        assert_eq!(exchange.known(b"Bearer x"), Some(&who));
        assert!(exchange.known(b"Bearer y").is_none() && exchange.known(b"Bearer").is_none());
        let shown = format!("{exchange:?}");
        assert!(shown.contains("Known { who: \"ann\"") && !shown.contains("Bearer"), "{shown}");
        exchange.codings = Vec::with_capacity(4);
        exchange.line = Some((String::new(), String::new()));
        exchange.end();
        assert!(exchange.line.is_none() && exchange.codings.capacity() == 0);
        // The next request of the connection has the memory, and nothing of what was said.
        exchange.request_id = Some("former".to_owned());
        exchange.renew(route(Vec::new()), Vec::new(), &head);
        assert!(exchange.request_id.is_none());
        assert_eq!(exchange.kept_bytes(), 300 + 8 + "former".len());
        let room = exchange.room_for_id();
        assert!(room.is_empty() && room.capacity() == "former".len());
        assert_eq!(exchange.kept_bytes(), 300 + 8);
    }

    #[test]
    fn each_unit_looks_once_and_goes_on_when_its_worker_has_found_something() {
        let asks = [Arc::<Asks>::default(), Arc::<Asks>::default()];
        let units: Vec<Arc<dyn Unit>> =
            vec![Arc::new(Passes), Arc::clone(&asks[0]) as _, Arc::clone(&asks[1]) as _];
        let head = RequestHead {
            method: "POST",
            target: "/p",
            bytes: b"",
            client: Client::Local,
            certificate: None,
            now: Instant::now(),
        };
        let mut exchange = Exchange::new(route(units), Vec::new(), &head);
        assert!(matches!(exchange.look(&head, None), Ok(Looked::Work(_))));
        let settled = || asks.each_ref().map(|unit| *lock(&unit.settled));
        assert_eq!(settled(), [0, 0]);
        let found = || Some(Outcome::Credential(None));
        assert!(matches!(exchange.look(&head, found()), Ok(Looked::Work(_))));
        assert_eq!(settled(), [1, 0]);
        assert!(matches!(exchange.look(&head, found()), Ok(Looked::All)));
        assert_eq!(settled(), [1, 1]);
        exchange.answered(202);
        assert_eq!(asks.each_ref().map(|unit| *lock(&unit.answered)), [202, 202]);
        // What was not done is refused by what says so, and no unit is asked.
        exchange.next = 1;
        let undone = Some(Outcome::Undone(Problem::busy()));
        let problem = exchange.look(&head, undone).expect_err("not done");
        assert_eq!((problem.status, problem.fault), (503, Fault::NoMemory));
        assert_eq!(settled(), [1, 1]);
    }
}
