//! Aqueduct beside its peers, in import order: what a result is, how programs and loops are
//! measured in turn, the subjects of one process and of several, the ring's own growth and
//! mappings, and what is made of the results.
//!
//! `benches/run` runs it all; `benches/README.md` shows what came out.

pub mod results;

pub mod commands;
pub mod processes;

pub mod bare;
pub mod queues;

pub mod growth;
pub mod mappings;

pub mod plots;
pub mod targets;

pub mod tables;
