//! What the threads of one run did, in order, for the report of a run that fails.
//!
//! Off unless `AQUEDUCT_LOOM_TRACE` is set: loom repeats a model many thousand times.

use std::cell::RefCell;
use std::sync::OnceLock;

thread_local! {
    /// loom runs all threads of a model on one thread of the system, so one list has them all in
    /// order.
    static RUN: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

fn enabled() -> bool {
    static ENABLED: OnceLock<bool> = OnceLock::new();
    *ENABLED.get_or_init(|| std::env::var_os("AQUEDUCT_LOOM_TRACE").is_some())
}

/// Adds a line to the run, with the thread that does it.
pub fn trace(line: impl FnOnce() -> String) {
    if enabled() {
        let line = format!("{:?} {}", loom::thread::current().id(), line());
        RUN.with_borrow_mut(|run| run.push(line));
    }
}

/// Begins a new run.
pub fn forget() {
    RUN.with_borrow_mut(Vec::clear);
}

/// The lines since [`forget`].
#[must_use]
pub fn lines() -> String {
    RUN.with_borrow(|run| run.join("\n"))
}
