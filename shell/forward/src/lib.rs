#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]
// They panic when the other end is gone, and wait while nobody reads: `aqueduct::log`.
#![deny(clippy::print_stderr, clippy::print_stdout)]

// The import order: a module uses those above it, never one below.

// What was read: records in memory, and how they look outside.
pub mod batch;

pub mod compress;
pub mod envelope;
pub mod json;
pub mod trace;

pub mod select;

// What may stop, fail, wait and be counted.
pub mod stop;

pub mod metrics;

pub mod retry;

// The other side: what a sink is, and those that there are.
pub mod sink;

pub mod sinks;

// The way through: settings, the dead-letter file, reading and delivering.
pub mod dead_letter;

pub mod settings;

pub mod progress;

pub mod run;

// The process: what operators ask, and the command.
pub mod admin;

pub mod cli;
