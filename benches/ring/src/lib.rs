//! What the benches share, in import order: the machine, the work that every subject does, the
//! ring that carries it, rounds and their medians, and the limits that no ring can beat.
//!
//! Nothing here is part of the product. How to run the benches, and what they gave:
//! `benches/README.md`.

pub mod machine;
pub mod work;

pub mod ring;
pub mod stream;

pub mod rounds;

pub mod process;
pub mod threads;

pub mod limits;
