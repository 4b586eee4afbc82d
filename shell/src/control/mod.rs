//! The control socket, by which readers attach and are woken: ABI §6.

mod connection;
mod listener;
mod session;
mod settings;

pub use connection::{ControlConnection, Hello, HelloError, Packet, Peer};
pub use listener::ControlListener;
pub use session::Control;
pub use settings::{Allowed, ControlSettings, ControlTable};
