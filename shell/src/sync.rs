//! Locking, once for all modules.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex even after a panic: no value guarded in this crate is ever left half changed.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
