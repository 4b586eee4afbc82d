//! Configured routes: which request is whose record, and the chain of units that it passes.
//! Knows no sockets and no rings; a codec asks it.
//!
//! A [`Unit`] sees a request twice. [`Unit::head`] looks at the head, before anything of the body
//! is read, on the event loop. [`Unit::body`] turns the whole body into another one.
//!
//! # Where units run
//! An event loop serves all of its connections, so what one request may cost there is bounded:
//! looking at a head takes a time that depends on the head alone, and bodies are worked on there
//! only if all units of the route together read and write at most [`LOOP_BYTES`] for it, by the
//! bound that each of them states before it begins ([`Unit::reads`], [`Unit::writes`]): about a
//! tenth of a millisecond. Everything else is a [`Job`], which the loop gives to a pool of workers
//! and goes on; the connection waits for it as for space in a full ring. So large bodies, whatever
//! a small one may inflate to, and hashes of passwords never hold up a loop. A job states the
//! memory that it may take ([`Unit::memory`]), and begins only when there is room for it; what a
//! loop does by itself takes a few MiB at most.
//!
//! Reading order: `path`, `head`, `problem`, `credentials`, `job`, `exchange`, `route`, `json`,
//! `xml`, `binary`, `cbor`, `messagepack`, `protobuf`, `units`, `settings`. The conversions are
//! cargo features of those names.

#[cfg(any(feature = "cbor", feature = "messagepack"))]
pub mod binary;
#[cfg(feature = "cbor")]
pub mod cbor;
pub mod credentials;
mod exchange;
mod head;
mod job;
pub mod json;
#[cfg(feature = "messagepack")]
pub mod messagepack;
mod path;
mod problem;
#[cfg(feature = "protobuf")]
pub mod protobuf;
mod route;
mod settings;
pub mod units;
#[cfg(feature = "xml")]
pub mod xml;

pub use exchange::{Exchange, Looked};
pub use head::{Client, Field, RequestHead};
pub use job::{Errand, Job, Outcome};
pub use path::{BadPath, Pattern, is_normal, normalise};
pub use problem::{Fault, Problem};
pub use route::{Acknowledge, Found, Host, METHODS, NotFound, Route, Router};
pub use settings::{RouteSettings, RouteTable};

/// Most bytes that the units of a request read and write on an event loop.
pub const LOOP_BYTES: usize = 64 << 10;

/// What [`Unit::head`] found.
#[derive(Debug)]
pub enum Step {
    /// The next unit may look.
    Next,
    /// The rest is for a worker; afterwards [`Unit::settle`] is told what it found.
    Work(Job),
}

/// One station of a route.
pub trait Unit: Send + Sync + std::fmt::Debug {
    /// Its name in the configuration.
    fn name(&self) -> &'static str;

    /// Looks at the head of a request.
    ///
    /// # Errors
    /// How the request is refused.
    fn head(&self, _head: &RequestHead<'_>, _exchange: &mut Exchange) -> Result<Step, Problem> {
        Ok(Step::Next)
    }

    /// Takes what the worker found that [`head`](Self::head) asked for.
    ///
    /// # Errors
    /// How the request is refused.
    fn settle(&self, _outcome: Outcome, _exchange: &mut Exchange) -> Result<(), Problem> {
        Ok(())
    }

    /// Most bytes of a body as it arrives, if it says so.
    fn most_bytes(&self) -> Option<usize> {
        None
    }

    /// Whether it changes bodies.
    fn changes_bodies(&self) -> bool {
        false
    }

    /// Most bytes that [`body`](Self::body) reads of a body of so many, however often, when it is
    /// to make at most `limit`.
    fn reads(&self, bytes: usize, _limit: usize) -> usize {
        bytes
    }

    /// Most bytes that [`body`](Self::body) makes of a body of so many, as far as the unit bounds
    /// it.
    fn writes(&self, bytes: usize) -> usize {
        bytes
    }

    /// Most bytes of memory that [`body`](Self::body) takes at a time, with the body itself and
    /// with what it makes of it.
    fn memory(&self, bytes: usize, _limit: usize) -> usize {
        bytes
    }

    /// Turns a body into another one. `limit` is the most bytes that it may have: beyond it the
    /// unit ends with [`Problem::too_large`]. `codings` are those that [`Exchange`] has.
    ///
    /// # Errors
    /// How the request is refused.
    fn body(&self, body: Vec<u8>, _limit: usize, _codings: &[String]) -> Result<Vec<u8>, Problem> {
        Ok(body)
    }

    /// Learns how the request was answered.
    fn answered(&self, _exchange: &Exchange, _status: u16) {}
}
