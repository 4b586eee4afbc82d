//! Why a ring could not be created.

use std::fmt;

use aqueduct_core::{CreateError, SubscribeError};

use crate::segment::SegmentError;

/// The reason why a ring could not be created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
        }
    }
}

impl std::error::Error for RingError {}
