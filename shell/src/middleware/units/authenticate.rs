//! Who sends a request: bearer tokens, Basic credentials, and without either the client's
//! certificate.

use std::fmt::Debug;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::middleware::credentials::{Check, Credential, Credentials, Presented, VERIFY_BYTES};
use crate::middleware::{Exchange, Fault, Field, Job, Outcome, Problem, RequestHead, Step, Unit};

/// What a request without credentials is told to send.
pub const CHALLENGE: &str =
    "www-authenticate: Bearer realm=\"aqueduct\", Basic realm=\"aqueduct\", charset=\"UTF-8\"\r\n";

/// Longest value of `authorization` that is looked at, bytes.
const VALUE_BYTES_MAX: usize = 4096;

/// Lets requests pass whose `authorization` is right, and which may write to all rings of the
/// route.
#[derive(Debug)]
pub struct Authenticate {
    credentials: Arc<dyn Credentials>,
    /// Names of those who may pass; `None` is everyone who is known.
    allowed: Option<Vec<String>>,
}

impl Authenticate {
    /// Asks these credentials. `allowed` names those who may pass.
    pub fn new(credentials: Arc<dyn Credentials>, allowed: Option<Vec<String>>) -> Self {
        Self { credentials, allowed }
    }

    fn enter(&self, who: Arc<Credential>, exchange: &mut Exchange) -> Result<(), Problem> {
        let is_allowed =
            self.allowed.as_ref().is_none_or(|names| names.iter().any(|name| *name == who.name));
        let may_write = exchange.route().rings.iter().all(|ring| who.may_write(ring));
        exchange.credential = Some(who);
        if is_allowed && may_write {
            return Ok(());
        }
        Err(Problem {
            status: 403,
            fault: Fault::Denied,
            lines: "".into(),
            detail: "this credential may not use this route".into(),
        })
    }
}

fn unauthorized(detail: &'static str) -> Problem {
    Problem { status: 401, fault: Fault::Denied, lines: CHALLENGE.into(), detail: detail.into() }
}

/// A value of `authorization`, with its secrets.
enum Value<'a> {
    Bearer(&'a [u8]),
    Basic(Vec<u8>, Vec<u8>),
}

impl<'a> Value<'a> {
    /// Reads it: the scheme in any case, and what is valid in it only.
    fn parse(value: &'a [u8]) -> Option<Self> {
        if value.len() > VALUE_BYTES_MAX {
            return None;
        }
        let space = memchr::memchr(b' ', value)?;
        let (scheme, rest) = (&value[..space], value[space..].trim_ascii());
        if scheme.eq_ignore_ascii_case(b"bearer") {
            let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte);
            return (!rest.is_empty() && rest.iter().all(is_token)).then_some(Self::Bearer(rest));
        }
        if scheme.eq_ignore_ascii_case(b"basic") {
            let pair = STANDARD.decode(rest).ok()?;
            let colon = memchr::memchr(b':', &pair)?;
            return Some(Self::Basic(pair[..colon].to_owned(), pair[colon + 1..].to_owned()));
        }
        None
    }

    fn presented(&self) -> Presented<'_> {
        match self {
            Self::Bearer(token) => Presented::Bearer(token),
            Self::Basic(name, secret) => Presented::Basic { name, secret },
        }
    }
}

impl Unit for Authenticate {
    fn name(&self) -> &'static str {
        "authenticate"
    }

    fn head(&self, head: &RequestHead<'_>, exchange: &mut Exchange) -> Result<Step, Problem> {
        let value = match head.field("authorization") {
            Field::Absent => {
                let presented = head.certificate.map(Presented::Certificate);
                return match presented.map(|presented| self.credentials.check(&presented)) {
                    Some(Check::Granted(who)) => self.enter(who, exchange).map(|()| Step::Next),
                    _ => Err(unauthorized("this route wants credentials")),
                };
            }
            Field::Many => {
                return Err(Problem::malformed("the field authorization is there twice"));
            }
            Field::One(value) => value,
        };
        // What was right before on this connection need not be read and hashed again, only be good
        // still.
        if let Some(before) = exchange.known(value)
            && let Some(who) = self.credentials.renew(before)
        {
            return self.enter(who, exchange).map(|()| Step::Next);
        }
        let text = value;
        let Some(value) = Value::parse(text) else {
            return Err(unauthorized("the field authorization has no Bearer token or Basic pair"));
        };
        match self.credentials.check(&value.presented()) {
            Check::Granted(who) => {
                // That a password was right is remembered elsewhere, and for a while only.
                if matches!(value, Value::Bearer(_)) {
                    exchange.remember(text, &who);
                }
                self.enter(who, exchange).map(|()| Step::Next)
            }
            Check::Denied => Err(unauthorized("these credentials are not right")),
            Check::Slow => {
                let Value::Basic(name, secret) = value else {
                    return Err(unauthorized("these credentials are not right"));
                };
                let credentials = Arc::clone(&self.credentials);
                Ok(Step::Work(Job::new(VERIFY_BYTES, move || {
                    let presented = Presented::Basic { name: &name, secret: &secret };
                    Outcome::Credential(credentials.verify(&presented))
                })))
            }
        }
    }

    fn settle(&self, outcome: Outcome, exchange: &mut Exchange) -> Result<(), Problem> {
        match outcome {
            Outcome::Credential(Some(who)) => self.enter(who, exchange),
            Outcome::Credential(None) => Err(unauthorized("these credentials are not right")),
            Outcome::Undone(problem) => Err(problem),
            Outcome::Body(_) => Err(Problem::failed()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes_are_read_in_any_case_and_nothing_is_shown_of_a_secret() {
        assert!(
            matches!(Value::parse(b"bearer  abc"), Some(Value::Bearer(token)) if token == b"abc")
        );
        let Some(basic @ Value::Basic(..)) = Value::parse(b"BASIC YTpiOmM=") else { panic!() };
        assert_eq!(basic.presented(), Presented::Basic { name: b"a", secret: b"b:c" });
        assert_eq!(format!("{:?}", basic.presented()), "Basic a");
        assert_eq!(format!("{:?}", Presented::Bearer(b"secret")), "Bearer");
        for value in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer a b",
            "Digest x",
            "Basic !",
            "Basic YQ==",
            "Basic YT pi",
            "Basic YTo",
            "Basic YTp=",
        ] {
            assert!(Value::parse(value.as_bytes()).is_none(), "{value}");
        }
    }

    #[test]
    fn the_longest_value_is_looked_at_and_a_longer_one_is_not() {
        let value = |bytes: usize| format!("Bearer {}", "t".repeat(bytes - "Bearer ".len()));
        assert!(Value::parse(value(VALUE_BYTES_MAX).as_bytes()).is_some());
        assert!(Value::parse(value(VALUE_BYTES_MAX + 1).as_bytes()).is_none());
    }
}
