//! Which driver runs: what the configuration asks for, and what this kernel and container allow.

use std::fmt;
use std::io;

use serde::Deserialize;

use super::uring::probe;

/// What the configuration says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Choice {
    /// `io_uring` if it works here, otherwise epoll.
    #[default]
    Auto,
    /// Epoll, even if `io_uring` works.
    Epoll,
    /// `io_uring`; an error where it does not work.
    IoUring,
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Epoll => "epoll",
            Self::IoUring => "io_uring",
        })
    }
}

/// A driver that works here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Edge-triggered epoll.
    Epoll,
    /// `io_uring`.
    IoUring,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Epoll => "epoll",
            Self::IoUring => "io_uring",
        })
    }
}

/// Chooses a driver; logs once if it is not the one that was hoped for. An error only where
/// `io_uring` is forced and does not work.
pub fn select(choice: Choice) -> io::Result<Kind> {
    match choice {
        Choice::Epoll => Ok(Kind::Epoll),
        Choice::IoUring => match probe() {
            Ok(()) => Ok(Kind::IoUring),
            Err(error) => {
                let detail = format!("io_uring is asked for and does not work here: {error}");
                Err(io::Error::new(error.kind(), detail))
            }
        },
        Choice::Auto => Ok(match probe() {
            Ok(()) => Kind::IoUring,
            Err(error) => {
                tracing::info!(%error, "io_uring does not work here: using epoll");
                Kind::Epoll
            }
        }),
    }
}
