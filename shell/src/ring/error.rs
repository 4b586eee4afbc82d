//! Why a ring could not be created.

use std::fmt;

use std::path::PathBuf;
use std::sync::Arc;

use aqueduct_core::recovery::RecoverError;
use aqueduct_core::{ClaimError, CreateError, SubscribeError};

use crate::journal::Failure;
use crate::segment::SegmentError;

/// The reason why a ring could not be created.
#[derive(Clone, Debug)]
pub enum RingError {
    /// No shared memory.
    Segment(SegmentError),
    /// A value that the core refuses.
    Create(CreateError),
    /// A subscription that the core refuses.
    Subscribe(SubscribeError),
    /// More than this machine can address.
    AddressSpace {
        /// Asked for.
        bytes: u64,
    },
    /// No randomness for the epoch.
    Random {
        /// What the system said.
        errno: rustix::io::Errno,
    },
    /// The directory of its journal.
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        error: Arc<std::io::Error>,
    },
    /// Its journal.
    Journal(Arc<dyn std::error::Error + Send + Sync>),
    /// There is no space for the records of its journal that a new epoch begins with.
    Space {
        /// What the new segment takes.
        bytes: u64,
        /// What failed.
        failure: Arc<Failure>,
    },
    /// The records of its journal do not make a ring: a bug.
    Recover(RecoverError),
    /// A subscription lags farther than the ring reaches, and may not.
    Lagging {
        /// Its name.
        subscription: String,
    },
    /// The records of its journal that nobody has read do not fit.
    Unread {
        /// What the ring says.
        error: ClaimError,
    },
}

impl From<SegmentError> for RingError {
    fn from(error: SegmentError) -> Self {
        Self::Segment(error)
    }
}

impl From<CreateError> for RingError {
    fn from(error: CreateError) -> Self {
        Self::Create(error)
    }
}

impl From<SubscribeError> for RingError {
    fn from(error: SubscribeError) -> Self {
        Self::Subscribe(error)
    }
}

impl fmt::Display for RingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Segment(error) => error.fmt(f),
            Self::Create(error) => error.fmt(f),
            Self::Subscribe(error) => error.fmt(f),
            Self::AddressSpace { bytes } => {
                write!(f, "{bytes} bytes are more than this machine can address")
            }
            Self::Random { errno } => write!(f, "getrandom: {errno}"),
            Self::Directory { path, error } => {
                write!(f, "directory of the journal {}: {error}", path.display())
            }
            Self::Journal(error) => write!(f, "journal: {error}"),
            Self::Space { bytes, failure } => write!(
                f,
                "journal: {failure}: a new epoch begins with what was not released, for which \
                 {bytes} bytes must be free beside the journal that is there"
            ),
            Self::Recover(error) => write!(f, "records of the journal: {error}"),
            Self::Lagging { subscription } => write!(
                f,
                "subscription {subscription} lags farther behind than the ring holds: leave it in \
                 `lagging` until its reader has caught up"
            ),
            Self::Unread { error } => {
                write!(
                    f,
                    "what nobody has read does not fit ({error}): begin with the capacity_bytes \
                     and max_payload_bytes that the ring had"
                )
            }
        }
    }
}

impl std::error::Error for RingError {}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn what_kept_a_ring_from_being_made_is_said_with_what_it_needs() {
        let gone = || io::Error::other("gone");
        let failure = Failure::of("reserving space for", "next.tmp")(gone());
        let (errno, path) = (rustix::io::Errno::NOSYS, PathBuf::from("/j"));
        for (error, said) in [
            (RingError::AddressSpace { bytes: 7 }, "7 bytes are more than this machine can"),
            (RingError::Random { errno }, "getrandom: Function not implemented"),
            (
                RingError::Directory { path, error: Arc::new(gone()) },
                "directory of the journal /j: gone",
            ),
            (RingError::Journal(Arc::new(gone())), "journal: gone"),
            (
                RingError::Space { bytes: 7, failure: Arc::new(failure) },
                "journal: reserving space for next.tmp: gone: a new epoch begins with what was not \
                 released, for which 7 bytes must be free",
            ),
            (
                RingError::Lagging { subscription: "audit".to_owned() },
                "subscription audit lags farther behind than the ring holds: leave it in `lagging`",
            ),
            (
                RingError::Unread { error: ClaimError::Closed },
                "what nobody has read does not fit (",
            ),
        ] {
            assert!(error.to_string().starts_with(said), "{error}");
        }
    }
}
