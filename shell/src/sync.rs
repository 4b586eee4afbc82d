//! Locking, once for all modules, and values that a reload replaces.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Locks a mutex even after a panic: no value guarded in this crate is ever left half changed.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A value that is replaced as a whole while others use it. Not for every record: it is locked.
pub(crate) struct Live<T>(Mutex<Arc<T>>);

impl<T> Live<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Mutex::new(Arc::new(value)))
    }

    /// Returns what it is now.
    pub(crate) fn get(&self) -> Arc<T> {
        Arc::clone(&lock(&self.0))
    }

    /// Replaces it for whoever asks from now on.
    pub(crate) fn set(&self, value: T) {
        *lock(&self.0) = Arc::new(value);
    }
}
