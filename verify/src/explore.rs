//! Runs a model through loom and counts what happened in it, or demands that loom refuses it.
//!
//! A model can pass because nothing ever met; so it reports events, and its test asserts on them.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use crate::trace::{forget, lines};

/// How often each named event took place, over all interleavings.
#[derive(Clone, Default)]
pub struct Events(Arc<Mutex<BTreeMap<&'static str, u64>>>);

impl Events {
    /// Counts `times` events.
    pub fn add(&self, name: &'static str, times: u64) {
        if times > 0 {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_default() +=
                times;
        }
    }

    /// Counts one event if `seen`.
    pub fn note(&self, name: &'static str, seen: bool) {
        self.add(name, u64::from(seen));
    }

    /// The count so far; 0 for a name never counted.
    #[must_use]
    pub fn count(&self, name: &str) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied().unwrap_or(0)
    }
}

impl fmt::Display for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, count) in &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            write!(f, ", {name} {count}")?;
        }
        Ok(())
    }
}

/// How far loom goes: pre-emptions per run, or all of them.
///
/// `AQUEDUCT_LOOM_PREEMPTIONS` overrides every model's own bound: a number, or `all`.
#[derive(Clone, Copy, Debug)]
pub struct Bound(pub Option<usize>);

impl Bound {
    /// Every interleaving.
    pub const ALL: Self = Self(None);

    /// At most this many pre-emptions in one run.
    #[must_use]
    pub const fn preemptions(count: usize) -> Self {
        Self(Some(count))
    }

    fn chosen(self) -> Option<usize> {
        match std::env::var("AQUEDUCT_LOOM_PREEMPTIONS") {
            Ok(all) if all == "all" => None,
            Ok(count) => Some(count.parse().expect("AQUEDUCT_LOOM_PREEMPTIONS: a number or `all`")),
            Err(_) => self.0,
        }
    }
}

/// Explores `model` and prints how many interleavings it had and what was seen in them.
///
/// # Panics
/// If loom finds a run that fails.
pub fn explore(
    name: &str,
    bound: Bound,
    model: impl Fn(&Events) + Send + Sync + 'static,
) -> Events {
    let events = Events::default();
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = bound.chosen();
    builder.max_branches = 10_000;
    let counted = events.clone();
    let started = std::time::Instant::now();
    let checked = catch_unwind(AssertUnwindSafe(|| {
        builder.check(move || {
            counted.add("interleavings", 1);
            forget();
            model(&counted);
        });
    }));
    if let Err(panic) = checked {
        println!("{name}: failed in interleaving {}\n{}", events.count("interleavings"), lines());
        resume_unwind(panic);
    }
    println!("{name}: {:?}{events}, {:.1?}", bound.chosen(), started.elapsed());
    events
}

/// Explores a model that is wrong and demands that loom refuses it for the expected reason.
///
/// # Panics
/// If every run passes, or if one fails with another message than one that contains `reason`.
pub fn refuse(
    name: &'static str,
    reason: &str,
    bound: Bound,
    model: impl Fn(&Events) + Send + Sync + 'static,
) {
    refuse_for_any(name, &[reason], bound, model);
}

/// As [`refuse`], where one mistake may come to light in several ways.
///
/// # Panics
/// As there.
pub fn refuse_for_any(
    name: &'static str,
    reasons: &[&str],
    bound: Bound,
    model: impl Fn(&Events) + Send + Sync + 'static,
) {
    // A thread of its own: loom's state of a failed run stays behind in the thread that ran it.
    let outcome = std::thread::spawn(move || explore(name, bound, model)).join();
    let Err(panic) = outcome else {
        panic!("{name}: loom found nothing wrong, so the model proves nothing here")
    };
    let message = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    let message = message.unwrap_or("a panic without a message");
    assert!(
        reasons.iter().any(|reason| message.contains(reason)),
        "{name}: refused for another reason: {message}"
    );
    println!("{name}: refused: {}", message.lines().next().unwrap_or_default());
}

/// loom's report of an access that nothing orders.
pub const UNORDERED: &str = "Causality violation";
/// loom's report of a sleeper that nobody wakes.
pub const DEADLOCK: &str = "deadlock";
