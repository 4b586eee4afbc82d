//! Routes, and the one that a request takes.

use std::sync::Arc;
use std::time::Duration;

use super::path::{BadPath, Pattern};
use super::{Problem, Unit};

/// Methods that a route may have: those whose requests have a body.
pub const METHODS: [&str; 3] = ["POST", "PUT", "PATCH"];

/// Units that requests pass before their credentials are asked for.
const NAMING: [&str; 2] = ["access_log", "request_id"];

/// Between units a body may have so many times the bytes that the record may have in the end.
const BETWEEN_FACTOR: usize = 4;

/// The hosts of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// Whatever a request names.
    Any,
    /// This name or address, in lower case, without a port.
    Only(String),
}

impl Host {
    /// Reads the host of a route.
    pub fn only(name: &str) -> Self {
        Self::Only(name_of(name.as_bytes()).to_ascii_lowercase())
    }

    /// Whether a `host` field, or the authority of a target, names it: in any case, with any port,
    /// and with or without the dot at the end of a domain name.
    pub fn matches(&self, value: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::Only(name) => name_of(value).eq_ignore_ascii_case(name),
        }
    }
}

/// The host of a value that has been checked, without port and final dot.
fn name_of(value: &[u8]) -> &str {
    let value = std::str::from_utf8(value).unwrap_or_default();
    let host = match value.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((literal, _)) => &value[..literal.len() + 2],
        None => value.split(':').next().unwrap_or(value),
    };
    host.strip_suffix('.').filter(|name| !name.is_empty()).unwrap_or(host)
}

/// One route.
#[derive(Clone, Debug)]
pub struct Route {
    /// Its place among the routes as they are tried.
    pub index: usize,
    /// Of [`METHODS`].
    pub methods: Vec<&'static str>,
    /// Whom a request must ask.
    pub host: Host,
    /// What its path looks like.
    pub pattern: Pattern,
    /// Where its records go: to each of these rings.
    pub rings: Vec<String>,
    /// Their tag, instead of the one that a request names.
    pub type_tag: Option<u16>,
    /// What is kept with them, instead of what the address keeps.
    pub attributes: Option<Vec<String>>,
    /// How its requests are answered, unless they ask for something else.
    pub acknowledge: Acknowledge,
    /// Whether they need no credentials, even where the address asks for some.
    pub is_open: bool,
    /// What a request passes, in order.
    pub units: Vec<Arc<dyn Unit>>,
}

/// When a request is answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Acknowledge {
    /// When its record is in the ring.
    #[default]
    Published,
    /// When it has been released, too.
    Consumed {
        /// By this subscription; by all of them without.
        by: Option<String>,
        /// At the latest then.
        within: Duration,
    },
}

impl Route {
    /// Whether a unit changes bodies, so that each is one record.
    pub fn changes_bodies(&self) -> bool {
        self.units.iter().any(|unit| unit.changes_bodies())
    }

    /// Most bytes of a body as it arrives, if a unit says so.
    pub fn most_bytes(&self) -> Option<usize> {
        self.units.iter().filter_map(|unit| unit.most_bytes()).min()
    }

    fn changers(&self) -> impl DoubleEndedIterator<Item = &Arc<dyn Unit>> {
        self.units.iter().filter(|unit| unit.changes_bodies())
    }

    /// Most bytes that the units read and write for a body of so many, of which a record may have
    /// `limit` in the end.
    pub fn cost(&self, bytes: usize, limit: usize) -> usize {
        let steps = self.steps(bytes, limit);
        steps
            .map(|step| step.unit.reads(step.bytes, step.most).saturating_add(step.made))
            .fold(0, usize::saturating_add)
    }

    /// Most bytes of memory that they take for it at a time: one works after the other.
    pub fn memory(&self, bytes: usize, limit: usize) -> usize {
        let steps = self.steps(bytes, limit);
        steps.map(|step| step.unit.memory(step.bytes, step.most)).max().unwrap_or(0)
    }

    /// What each unit that changes bodies has to do with one of so many bytes, at most.
    fn steps(&self, mut bytes: usize, limit: usize) -> impl Iterator<Item = Step<'_>> {
        let mut left = self.changers().count();
        self.changers().map(move |unit| {
            left -= 1;
            let most = most(left, limit);
            let made = unit.writes(bytes).min(most);
            Step { unit: &**unit, bytes: std::mem::replace(&mut bytes, made), most, made }
        })
    }

    /// Has the units change a body, of which a record may have `limit` bytes in the end.
    ///
    /// # Errors
    /// How one of them refuses it.
    pub fn change(
        &self,
        mut body: Vec<u8>,
        limit: usize,
        codings: &[String],
    ) -> Result<Vec<u8>, Problem> {
        let mut left = self.changers().count();
        for unit in self.changers() {
            left -= 1;
            let most = most(left, limit);
            body = unit.body(body, most, codings)?;
            if body.len() > most {
                return Err(Problem::too_large(format!(
                    "the body would have more than {most} bytes after `{}`",
                    unit.name()
                )));
            }
        }
        Ok(body)
    }
}

/// One unit's part of changing a body: most bytes of what it gets, may make, and makes.
struct Step<'a> {
    unit: &'a dyn Unit,
    bytes: usize,
    most: usize,
    made: usize,
}

/// Most bytes of a body before so many further units, of which a record may have `limit`.
fn most(left: usize, limit: usize) -> usize {
    if left == 0 { limit } else { limit.saturating_mul(BETWEEN_FACTOR) }
}

/// All routes of the process.
#[derive(Debug, Default)]
pub struct Router {
    /// The more specific first, and of the same path those of a host.
    routes: Vec<Arc<Route>>,
}

/// Which route a request takes.
#[derive(Debug)]
pub struct Found {
    /// The route.
    pub route: Arc<Route>,
    /// Values of the parameters of its path.
    pub values: Vec<String>,
}

/// Why a request takes no route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotFound {
    /// No route has this path.
    Path,
    /// The routes of this path are those of other hosts.
    Host,
    /// The routes of this path have these methods.
    Method(String),
    /// The path cannot be read.
    Bad(BadPath),
}

impl Router {
    /// Puts routes into the order in which they are tried. Two that would take the same requests
    /// are an error: their places in `routes`.
    pub fn new(mut routes: Vec<Route>) -> Result<Self, (Arc<Route>, Arc<Route>)> {
        routes.sort_by(|one, other| {
            let is_any = |route: &Route| route.host == Host::Any;
            one.pattern.rank(&other.pattern).then(is_any(one).cmp(&is_any(other)))
        });
        for (index, route) in routes.iter_mut().enumerate() {
            route.index = index;
        }
        let routes: Vec<_> = routes.into_iter().map(Arc::new).collect();
        for (index, one) in routes.iter().enumerate() {
            let is_same = |other: &&Arc<Route>| {
                other.host == one.host
                    && other.pattern.is_same(&one.pattern)
                    && other.methods.iter().any(|method| one.methods.contains(method))
            };
            if let Some(other) = routes[index + 1..].iter().find(is_same) {
                return Err((Arc::clone(one), Arc::clone(other)));
            }
        }
        Ok(Self { routes })
    }

    /// The same routes where credentials are asked for: one that does not ask by itself, and is not
    /// open, has `guard` before its other units, but for those that only name and log a request.
    #[must_use]
    pub fn guarded(&self, guard: &Arc<dyn Unit>) -> Self {
        let guarded = |route: &Arc<Route>| {
            if route.is_open || route.units.iter().any(|unit| unit.name() == guard.name()) {
                return Arc::clone(route);
            }
            let mut route = Route::clone(route);
            let only_names = |unit: &Arc<dyn Unit>| NAMING.contains(&unit.name());
            let place = route.units.iter().take_while(|unit| only_names(unit)).count();
            route.units.insert(place, Arc::clone(guard));
            Arc::new(route)
        };
        Self { routes: self.routes.iter().map(guarded).collect() }
    }

    /// The routes, in the order in which they are tried.
    pub fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }

    /// Finds the route of a request with a normal path.
    pub fn find(&self, method: &[u8], host: &[u8], path: &[u8]) -> Result<Found, NotFound> {
        self.find_with(method, host, path, Vec::new())
    }

    /// The same with memory for the values, whatever is in it.
    pub fn find_with(
        &self,
        method: &[u8],
        host: &[u8],
        path: &[u8],
        mut values: Vec<String>,
    ) -> Result<Found, NotFound> {
        let mut missed = NotFound::Path;
        for route in &self.routes {
            if !route.pattern.matches(path) {
                continue;
            }
            if !route.host.matches(host) {
                if missed == NotFound::Path {
                    missed = NotFound::Host;
                }
                continue;
            }
            if route.methods.iter().any(|each| each.as_bytes() == method) {
                route.pattern.read_values(path, &mut values).map_err(NotFound::Bad)?;
                return Ok(Found { route: Arc::clone(route), values });
            }
            let mut allowed = match missed {
                NotFound::Method(before) => before,
                _ => String::new(),
            };
            for method in &route.methods {
                if !allowed.split(", ").any(|known| known == *method) {
                    let comma = if allowed.is_empty() { "" } else { ", " };
                    allowed.extend([comma, method]);
                }
            }
            missed = NotFound::Method(allowed);
        }
        Err(missed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(methods: &[&'static str], host: Option<&str>, path: &str, ring: &str) -> Route {
        Route {
            index: 0,
            methods: methods.to_vec(),
            host: host.map_or(Host::Any, Host::only),
            pattern: Pattern::new(path).unwrap(),
            rings: vec![ring.to_owned()],
            type_tag: None,
            attributes: None,
            acknowledge: Acknowledge::Published,
            is_open: false,
            units: Vec::new(),
        }
    }

    #[test]
    fn the_most_specific_route_of_host_path_and_method_is_taken() {
        let router = Router::new(vec![
            route(&["POST"], None, "/users/{id}", "any"),
            route(&["POST", "PUT"], Some("CRM.example."), "/users/{id}", "crm"),
            route(&["POST"], None, "/users/me", "me"),
            route(&["PATCH"], Some("[::1]"), "/{a}/{b}", "six"),
        ])
        .unwrap();
        let find = |method: &str, host: &str, path: &str| {
            let found = router.find(method.as_bytes(), host.as_bytes(), path.as_bytes());
            found.map(|found| (found.route.rings[0].clone(), found.values.join(",")))
        };
        let found = |ring: &str, values: &str| Ok((ring.to_owned(), values.to_owned()));
        assert_eq!(find("POST", "crm.EXAMPLE:8080", "/users/7"), found("crm", "7"));
        assert_eq!(find("POST", "crm.example.", "/users/7"), found("crm", "7"));
        assert_eq!(find("POST", "other", "/users/7"), found("any", "7"));
        assert_eq!(find("POST", "crm.example", "/users/me"), found("me", ""));
        assert_eq!(find("PUT", "crm.example", "/users/me"), found("crm", "me"));
        assert_eq!(find("PATCH", "[::1]:80", "/a/b"), found("six", "a,b"));
        assert_eq!(find("PATCH", "[::2]", "/a/b"), Err(NotFound::Host));
        assert_eq!(find("DELETE", "other", "/users/7"), Err(NotFound::Method("POST".into())));
        let both = NotFound::Method("POST, PUT".into());
        assert_eq!(find("GET", "crm.example", "/users/7"), Err(both));
        assert_eq!(find("POST", "other", "/users"), Err(NotFound::Path));
        assert!(matches!(find("POST", "other", "/users/%FF"), Err(NotFound::Bad(_))));
    }

    #[test]
    fn two_routes_for_the_same_requests_are_an_error() {
        let one = || route(&["POST", "PUT"], None, "/a/{x}", "one");
        assert!(Router::new(vec![one(), route(&["PUT"], None, "/a/{y}", "two")]).is_err());
        assert!(Router::new(vec![one(), route(&["PATCH"], None, "/a/{y}", "two")]).is_ok());
        assert!(Router::new(vec![one(), route(&["PUT"], Some("h"), "/a/{y}", "two")]).is_ok());
    }

    /// Makes a body so many times as long.
    #[derive(Debug)]
    struct Times(usize);

    impl Unit for Times {
        fn name(&self) -> &'static str {
            "times"
        }

        fn changes_bodies(&self) -> bool {
            true
        }

        fn writes(&self, bytes: usize) -> usize {
            bytes * self.0
        }

        fn memory(&self, bytes: usize, limit: usize) -> usize {
            bytes * 10 + limit
        }

        fn body(&self, body: Vec<u8>, _: usize, _: &[String]) -> Result<Vec<u8>, Problem> {
            Ok(body.repeat(self.0))
        }
    }

    /// Changes nothing, and takes bodies of so many bytes.
    #[derive(Debug)]
    struct Takes(Option<usize>);

    impl Unit for Takes {
        fn name(&self) -> &'static str {
            "takes"
        }

        fn most_bytes(&self) -> Option<usize> {
            self.0
        }
    }

    fn with(units: Vec<Arc<dyn Unit>>) -> Route {
        Route { units, ..route(&["POST"], None, "/", "r") }
    }

    #[test]
    fn what_units_cost_is_what_each_reads_and_writes_within_its_bound() {
        let units = || with(vec![Arc::new(Times(2)), Arc::new(Takes(None)), Arc::new(Times(3))]);
        assert!(units().changes_bodies());
        // 10 are read, 20 written and read again, 60 written.
        assert_eq!(units().cost(10, 100), 10 + 20 + 20 + 60);
        // Between units a body may have four times what the record may have in the end.
        assert_eq!(units().cost(10, 15), 10 + 20 + 20 + 15);
        assert_eq!(units().cost(10, 4), 10 + 16 + 16 + 4);
        // Of memory the most that one of them takes: of 10 bytes and 400, or of 20 and 100.
        assert_eq!(units().memory(10, 100), 100 + 400);
        assert_eq!(units().memory(10, 1), 100 + 4);
        let none = with(vec![Arc::new(Takes(None))]);
        assert_eq!((none.cost(10, 100), none.memory(10, 100)), (0, 0));
        assert!(!none.changes_bodies());
    }

    #[test]
    fn a_body_that_becomes_too_large_is_refused_after_the_unit_that_made_it_so() {
        let units = with(vec![Arc::new(Times(2)), Arc::new(Takes(None)), Arc::new(Times(3))]);
        let change = |limit| units.change(vec![7; 10], limit, &[]);
        assert_eq!(change(60), Ok(vec![7; 60]));
        for (limit, most) in [(59, 59), (5, 5), (4, 16)] {
            let problem = change(limit).expect_err("too large");
            assert_eq!(problem.status, 413);
            let told = format!("more than {most} bytes after `times`");
            assert!(problem.detail.contains(&told), "{}", problem.detail);
        }
    }

    #[test]
    fn the_least_of_what_units_take_of_a_body_counts() {
        let most = |units: &[Option<usize>]| {
            let units = units.iter().map(|most| -> Arc<dyn Unit> { Arc::new(Takes(*most)) });
            with(units.collect()).most_bytes()
        };
        assert_eq!(most(&[]), None);
        assert_eq!(most(&[None]), None);
        assert_eq!(most(&[Some(7), None, Some(5), Some(9)]), Some(5));
    }

    #[test]
    fn routes_know_their_place_in_the_order_in_which_they_are_tried() {
        let router = Router::new(vec![
            route(&["POST"], None, "/a/{x}", "any"),
            route(&["POST"], Some("h"), "/a/{x}", "host"),
            route(&["POST"], None, "/a/b", "literal"),
        ])
        .expect("they differ");
        let order = router.routes().iter().map(|route| (route.index, route.rings[0].as_str()));
        assert_eq!(order.collect::<Vec<_>>(), [(0, "literal"), (1, "host"), (2, "any")]);
    }

    #[test]
    fn a_host_is_compared_without_port_case_and_final_dot() {
        for (name, value) in
            [("a.b", "A.B."), ("a.b.", "a.b:80"), ("[::1]", "[::1]:80"), ("a.b", "a.b.:80")]
        {
            assert!(Host::only(name).matches(value.as_bytes()), "{name} {value}");
        }
        for (name, value) in [("a.b", "a.bc"), ("a.b", "b"), ("[::1]", "[::2]"), ("a", "\u{e4}")] {
            assert!(!Host::only(name).matches(value.as_bytes()), "{name} {value}");
        }
        assert!(Host::Any.matches(b"anything"));
        assert!(!Host::only("a").matches(b"."));
    }
}
