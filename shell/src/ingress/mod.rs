//! Whatever brings records: listening sockets, protocols, and the one way in, [`Submit`].

pub mod event_loop;
pub mod http;
pub mod listen;
mod submit;

pub use submit::{Record, Submit};
