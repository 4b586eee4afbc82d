//! Reading a ring that somebody else writes: gating readers, which the producer waits for, and
//! observers, which it overruns.

mod answer;
pub(crate) mod view;
pub(crate) mod walk;

mod attach;
mod reader;
mod sleep;

mod observer;

pub use self::answer::{Lag, Next, ReadError, Seek, SeekError};
pub use self::attach::AttachError;
pub use self::observer::{JoinError, Observer};
pub use self::reader::{Reader, ReaderStats};
pub use self::sleep::{Sleep, WaitMode};
