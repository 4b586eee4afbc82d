//! The control socket, by which readers attach and are woken: ABI §6.

mod connection;
mod listener;
mod reload;
mod session;
mod settings;

pub use connection::{Asked, ControlConnection, Hello, HelloError, Packet, Peer};
pub use listener::ControlListener;
pub use reload::reload;
pub use session::{Control, Reload};
pub use settings::{Allowed, ControlSettings, ControlTable};
