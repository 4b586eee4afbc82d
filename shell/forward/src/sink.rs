//! What a sink is. The frame (`run`) reads, retries, counts and releases; a sink only delivers.

use std::fmt;
use std::time::Duration;

use crate::batch::{Records, View};
use crate::stop::Stop;

/// The other side.
///
/// A sink is used by one thread. It may keep connections, and makes new ones by itself after a
/// failure; it never retries a batch by itself.
pub trait Sink {
    /// Delivers all of the records, in order, and returns when the other side has acknowledged them
    /// durably. What is returned as delivered is released, and never comes again.
    ///
    /// Takes a bounded time, which `stop` may shorten ([`Stop::time_for`]). Records may come that
    /// were delivered before: after a failure, after a crash, each with its (epoch, seq).
    ///
    /// # Errors
    /// A [`Failure`] says how many of the records are delivered all the same, counted from the
    /// first, and what is to be done about the next.
    fn deliver(&mut self, records: &Records<'_>, stop: &Stop) -> Result<Delivered, Failure>;

    /// Asks whether the other side is there, without leaving anything there. Takes a bounded time.
    /// Called when nothing is to be delivered, and before the circuit closes.
    ///
    /// # Errors
    /// A [`Failure`], of which the reason is logged.
    fn probe(&mut self, stop: &Stop) -> Result<(), Failure>;

    /// Says why a record will never be delivered, if that can be told without the other side.
    /// Asked about the rest of a batch when one of its records was [`Remedy::Poison`]: these are
    /// put aside together, so that they do not end a delivery each.
    fn refuses(&self, _record: &View<'_>) -> Option<String> {
        None
    }
}

/// What was delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    /// Records that the other side said it had already.
    pub known: u64,
}

/// Why a delivery failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Records that are delivered all the same, counted from the first.
    pub done: usize,
    /// What is to be done.
    pub remedy: Remedy,
    /// The reason, for people.
    pub reason: String,
}

/// What is to be done after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// It may pass: try again, not before this time if the other side named one.
    Retry(Option<Duration>),
    /// The first record that is not delivered never will be.
    Poison,
    /// So many records take longer than an attempt may: try again with fewer. More are tried again
    /// after those.
    Fewer,
    /// One of the records at least never will be; the other side does not say which. Fewer of them
    /// are tried, down to a single one.
    Split,
    /// Nothing will be delivered before a person changes something.
    Stop,
}

impl Failure {
    /// A failure that may pass.
    pub fn retry(reason: impl fmt::Display) -> Self {
        Self { done: 0, remedy: Remedy::Retry(None), reason: reason.to_string() }
    }

    /// Work that did not end in its time, and may with fewer records.
    pub fn fewer(reason: impl fmt::Display) -> Self {
        Self { done: 0, remedy: Remedy::Fewer, reason: reason.to_string() }
    }

    /// The record at `done`, counted from 0, never will be delivered.
    pub fn poison(done: usize, reason: impl fmt::Display) -> Self {
        Self { done, remedy: Remedy::Poison, reason: reason.to_string() }
    }

    /// One of the records never will be delivered.
    pub fn split(reason: impl fmt::Display) -> Self {
        Self { done: 0, remedy: Remedy::Split, reason: reason.to_string() }
    }

    /// A person must change something.
    pub fn stop(reason: impl fmt::Display) -> Self {
        Self { done: 0, remedy: Remedy::Stop, reason: reason.to_string() }
    }

    /// The same, after `done` records that are delivered.
    #[must_use]
    pub fn after(mut self, done: usize) -> Self {
        self.done = done;
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Failure {}
