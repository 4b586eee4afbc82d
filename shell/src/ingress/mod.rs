//! Whatever brings records: listening sockets and protocols.
//!
//! Every record that was begun ends as published or as one counted refusal, also if its client goes
//! away. There is one way in: a codec, and a turn of the rings that it wants.

pub mod listen;

mod line;
mod watchdog;
mod watched;

pub mod workers;

pub mod http;

pub mod event_loop;
#[cfg(feature = "http2")]
pub mod http2;
