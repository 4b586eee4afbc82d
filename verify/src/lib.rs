//! What the proofs of Aqueduct share: other backends for [`aqueduct_core::Memory`] and the harness
//! that counts what a model really saw.
//!
//! The production algorithms run here unchanged; only the memory under them differs. The models
//! themselves stand in `models/`. Reading order: [`heap`] (production memory with an owner) →
//! [`loom_memory`] (loom's atomics and cells) → [`trace`] (what a failed run did) → [`weak`] (one
//! ordering spoilt on purpose) → [`futex`] (the kernel's part of a sleep) → [`explore`] (run,
//! count, or demand a failure) → [`rig`] (a ring, ready to be raced) → [`rng`] (seeded numbers) →
//! [`crash_memory`] (a party dies at its k-th store) → [`hostile_memory`] (every load may return
//! anything).

pub mod heap;

pub mod loom_backend;
pub mod loom_memory;
pub mod shuttle_memory;
pub mod trace;
pub mod weak;

pub mod futex;

pub mod explore;
pub mod rig;

pub mod rng;

pub mod crash_memory;
pub mod hostile_memory;
