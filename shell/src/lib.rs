#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]
// They panic when the other end is gone, and wait while nobody reads: `log::say`, `cli::print`.
#![deny(clippy::print_stderr, clippy::print_stdout)]

// The import order: a module uses those above it, never one below.

// What every module may use: locking, settings and their errors, bounds, the log, reasons, counts.
mod sync;

pub mod config;
pub mod limits;
pub mod log;
pub mod refusal;
pub mod shutdown;
pub mod supervisor;
pub mod tls;

pub mod metrics;

// What a collector is told.
pub mod telemetry;

// The way of a record: shared memory, and the ring in it.
pub mod segment;

// The records in files, for rings that outlive the process.
pub mod journal;

pub mod ring;

// The way out: readers attach over a socket. The accept loop and the files of UNIX sockets are
// everyone's who listens.
pub mod accept;
pub mod socket_file;

pub mod control;

// What operators ask.
pub mod admin;

// The way in: routes and what requests pass on them, protocols as pure bytes, and the sockets that
// bring records.
pub mod middleware;

// Who may write to which ring.
pub mod credentials;

pub mod codec;

pub mod ingress;

// The process: the only place that knows all of it, and the command that starts it.
pub mod server;

pub mod cli;
