//! What the models share: other backends for [`aqueduct_core::Memory`], and the harness that counts
//! what a model really saw.
//!
//! The production algorithms run here unchanged; only the memory under them differs. The models
//! themselves are in `models/`. The import order: a module uses those above it, never one below.

// Production memory with an owner.
pub mod heap;

// Memory of loom and of shuttle; what a failed run did, and an ordering spoilt on purpose.
pub mod loom_memory;
pub mod shuttle_memory;
pub mod trace;

pub mod loom_backend;
pub mod weak;

// The kernel's part of a sleep.
pub mod futex;

// Runs a model, counts, or demands a failure; a ring that is ready to be raced.
pub mod explore;
pub mod rig;

// Seeded numbers, and what is driven by them: a party dies at its k-th store, every load may
// return anything.
pub mod rng;

pub mod crash_memory;
pub mod hostile_memory;
