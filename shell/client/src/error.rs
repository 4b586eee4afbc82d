//! Why a client could not be opened, or attached again.

use std::fmt;
use std::io;

use aqueduct_core::handshake::{Status, WelcomeError};
use aqueduct_core::layout::NameError;
use aqueduct_core::{AttachError, ReadError};
use rustix::io::Errno;

/// Why opening, or the latest attempt to reconnect, failed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenError {
    /// The path cannot be a socket's: it is empty, too long, or contains a zero byte.
    Path {
        /// Its length, bytes.
        bytes: usize,
        /// The longest that a socket's path can be, bytes.
        limit: usize,
    },
    /// The name of the ring or of the subscription is too long.
    Name(NameError),
    /// A system call failed. From `connect`, `ENOENT` means that there is no socket at the path and
    /// `ECONNREFUSED` that no process listens there.
    System {
        /// The call.
        call: &'static str,
        /// The error number of the operating system.
        errno: i32,
    },
    /// The listener did not answer in time.
    Timeout,
    /// The listener hung up during the handshake.
    HangUp,
    /// An [`Interrupter`](crate::Interrupter) ended the wait for the listener.
    Interrupted,
    /// The listener's answer is not a WELCOME of this ABI.
    Welcome(WelcomeError),
    /// The WELCOME carries the wrong number of descriptors.
    Descriptors {
        /// How many it carries.
        found: usize,
        /// How many it should carry: 2 for a gating reader, 1 for an observer.
        expected: usize,
    },
    /// The listener refused.
    Refused {
        /// The status it answered with; see [`refusal`](OpenError::refusal).
        status: u32,
        /// The reason in the listener's words, with control characters replaced.
        message: String,
    },
    /// A segment is shorter than announced, or was announced as empty.
    Size {
        /// Which.
        segment: SegmentKind,
        /// Its size, bytes.
        found: u64,
        /// The size in the WELCOME, bytes.
        announced: u64,
    },
    /// A segment could be shortened while it is mapped, which could kill this process.
    NotSealed {
        /// Which.
        segment: SegmentKind,
    },
    /// The segments are not a readable ring, or not a cursor segment of that ring.
    Attach(AttachError),
}

/// Names one of the two segments of an attachment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentKind {
    /// The ring: records, written by the producer.
    Ring,
    /// The cursor segment, written by the reader.
    Cursor,
}

impl OpenError {
    /// Returns the reason for a refusal; `None` if the listener did not refuse, or if this version
    /// does not know the status.
    #[must_use]
    pub fn refusal(&self) -> Option<Status> {
        match self {
            Self::Refused { status, .. } => Status::from_number(*status),
            _ => None,
        }
    }

    /// Returns whether the start of a listener, its restart or some time can cure this: no process
    /// listens, or the listener is silent, hung up, is shutting down or lacks a resource, as a
    /// place for one more observer.
    #[must_use]
    pub fn is_curable(&self) -> bool {
        match self {
            Self::System { errno, .. } => {
                [Errno::NOENT, Errno::CONNREFUSED].contains(&Errno::from_raw_os_error(*errno))
            }
            Self::Refused { .. } => {
                matches!(self.refusal(), Some(Status::ShuttingDown | Status::Resource))
            }
            Self::Timeout | Self::HangUp => true,
            _ => false,
        }
    }

    pub(crate) fn system(call: &'static str) -> impl FnOnce(Errno) -> Self {
        move |errno| Self::System { call, errno: errno.raw_os_error() }
    }
}

impl fmt::Display for SegmentKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ring => "ring",
            Self::Cursor => "cursor",
        })
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path { bytes, limit } => {
                write!(
                    f,
                    "a socket's path has 1 to {limit} bytes and no zero byte; this one has {bytes} bytes"
                )
            }
            Self::Name(error) => error.fmt(f),
            Self::System { call, errno } => {
                write!(f, "{call}: {}", io::Error::from_raw_os_error(*errno))
            }
            Self::Timeout => f.write_str("the listener did not answer in time"),
            Self::HangUp => f.write_str("the listener hung up during the handshake"),
            Self::Interrupted => f.write_str("interrupted while waiting for the listener"),
            Self::Welcome(error) => error.fmt(f),
            Self::Descriptors { found, expected } => {
                write!(f, "the welcome carries {found} descriptors instead of {expected}")
            }
            Self::Refused { status, message } => match self.refusal() {
                Some(known) => write!(f, "refused ({}): {message}", known.label()),
                None => write!(f, "refused ({status}): {message}"),
            },
            Self::Size { segment, found, announced } => {
                write!(f, "the {segment} segment has {found} bytes; the welcome says {announced}")
            }
            Self::NotSealed { segment } => {
                write!(f, "the {segment} segment is not sealed against shrinking")
            }
            Self::Attach(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for OpenError {}

/// Why [`Client::next_wait`](crate::Client::next_wait) failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum WaitError {
    /// An [`Interrupter`](crate::Interrupter) interrupted the wait, or did before it began.
    Interrupted,
    /// The stream is damaged, or records are missing; see [`ReadError`].
    Read(ReadError),
    /// `poll` failed, for lack of memory.
    System(io::Error),
}

impl From<ReadError> for WaitError {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl From<io::Error> for WaitError {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

impl fmt::Display for WaitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interrupted => f.write_str("interrupted while waiting for a record"),
            Self::Read(error) => error.fmt(f),
            Self::System(error) => write!(f, "poll: {error}"),
        }
    }
}

impl std::error::Error for WaitError {}
