//! The targets themselves, callable without a fuzzer: `cargo test` replays the corpora through
//! them.

pub mod attributes;
pub mod compare;
pub mod conversions;
pub mod differential;
pub mod differential_observer;
pub mod http1;
pub mod inspect;
pub mod journal;
pub mod lines;
pub mod mqtt;
pub mod observer;
pub mod reader;
pub mod record;
pub mod recovery;
pub mod resp;
pub mod routes;
pub mod shared;

use aqueduct_core::Next;
use aqueduct_core::ReadError;

use crate::oracle::Outcome;

/// What a call of the crate gave, in the oracle's terms.
#[must_use]
pub fn outcome(result: Result<Next, ReadError>, buffer: &[u8]) -> Outcome {
    match result {
        Ok(Next::Record(record)) => Outcome::Record(record, buffer[..record.bytes()].to_vec()),
        Ok(Next::Empty) => Outcome::Empty,
        Ok(Next::Closed) => Outcome::Closed,
        Err(error) => Outcome::Error(error),
    }
}

/// A target by its name.
pub type Target = fn(&[u8]);

/// All of them.
pub const ALL: [(&str, Target); 16] = [
    ("attributes", attributes::run),
    ("reader", reader::run),
    ("observer", observer::run),
    ("recovery", recovery::run),
    ("record", record::run),
    ("differential", differential::run),
    ("differential_observer", differential_observer::run),
    ("shared", shared::run),
    ("http1", http1::run),
    ("resp", resp::run),
    ("mqtt", mqtt::run),
    ("lines", lines::run),
    ("inspect", inspect::run),
    ("journal", journal::run),
    ("conversions", conversions::run),
    ("routes", routes::run),
];
