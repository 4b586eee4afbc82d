//! Why a record or a ring was refused.
//!
//! Next: `subscriptions`.

use std::fmt;

use aqueduct_core::producer::{CreateError, SubscribeError};

use crate::mapping::MappingError;

/// Why a record was not published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishError {
    /// The ring stayed full for the whole wait.
    Full,
    /// No record of this ring may be so large.
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: u32,
    },
    /// The ring is closed.
    Closed,
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => write!(f, "the ring stayed full"),
            Self::TooLarge { bytes, limit } => {
                write!(f, "record of {bytes} bytes; this ring takes {limit}")
            }
            Self::Closed => write!(f, "the ring is closed"),
        }
    }
}

impl std::error::Error for PublishError {}

/// Why a ring could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RingError {
    /// No shared memory.
    Mapping(MappingError),
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

impl From<MappingError> for RingError {
    fn from(error: MappingError) -> Self {
        Self::Mapping(error)
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
            Self::Mapping(error) => error.fmt(f),
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
