//! Reading a ring that somebody else writes: gating readers, which the producer waits for, and
//! observers, which it overruns.

mod observer;
mod reader;
pub(crate) mod walk;

pub use self::observer::{JoinError, Observer};
pub use self::reader::{Reader, ReaderStats, Sleep, WaitMode};
pub use self::walk::{Lag, Next, Seek};
