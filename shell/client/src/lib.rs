#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]
// What a program says is its own.
#![deny(clippy::print_stderr, clippy::print_stdout)]

// What it answers.
pub mod error;
pub mod info;

// The operating system: descriptors, mappings, sockets.
pub mod interrupt;
mod link;
mod mapping;

// One attachment: the handshake, and what is read by it.
mod source;

mod attach;

// The client: what the program holds, from one listener to the next.
pub mod client;
pub mod options;

pub use aqueduct_core::SeekError;
pub use aqueduct_core::handshake::Status;
pub use aqueduct_core::{Attribute, Attributes, Lag, ReadError, Record, Seek};
pub use client::{Armed, Client, Event, Waited};
pub use error::{OpenError, SegmentKind, WaitError};
pub use info::{Change, End, RingInfo, Stats, Totals};
pub use interrupt::Interrupter;
pub use options::{Options, Start};
