//! The journal of a ring: its records in files, so that they survive the process or the power.
//!
//! Knows bytes and a small file system, neither rings nor protocols. Reading order: `files` (what
//! is asked of the file system), `disk` (the real one), `format` (the bytes), `walk` (records, each
//! checked), `stretch` (where they are), `cursors`, `log` (the writing half), `recover` (the
//! reading half), `follow` (reading while it is written), `history` (for people), `settings`.

pub mod cursors;
pub mod disk;
pub mod files;
pub mod follow;
pub mod format;
pub mod history;
pub mod log;
pub mod recover;
mod seeded;
mod settings;
mod stretch;
#[cfg(test)]
mod tests;
pub mod walk;

pub use self::cursors::CursorFile;
pub use self::disk::Disk;
pub use self::follow::{Follow, Stop};
pub use self::format::{Cursors, Durability};
pub use self::log::{Facts, Failure, Log, Prepared, Spill, prepare};
pub use self::recover::{Damage, Journal, OpenError, Opened, Past, Taken};
pub use self::settings::{JournalSettings, JournalTable};
pub use self::stretch::Stretch;
