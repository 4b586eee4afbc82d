//! Why a record was not published: one list for every protocol, and its names in the metrics.
//!
//! A protocol turns a refusal into what its clients understand: HTTP into a status, others into
//! theirs.

use std::fmt;

/// The reason why a record was not published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The ring stayed full, or others wait for its space already. The same record may be accepted
    /// later.
    Full,
    /// No record of this ring may be so large.
    TooLarge {
        /// Its size as far as it is known, bytes.
        bytes: u64,
        /// The largest payload, bytes.
        limit: u32,
    },
    /// The type tag is not one number of 16 bits.
    BadType,
    /// The bytes break the protocol, or a checksum that came with them does not match.
    Malformed,
    /// The record did not arrive in time.
    Timeout,
    /// The client went away, or its record broke off.
    Disconnected,
    /// The client may not write to this ring.
    Denied,
    /// The client has asked too often. The same record may be accepted later.
    RateLimited,
    /// There is no memory to receive it. The same record may be accepted later.
    NoMemory,
    /// The process is ending, or the ring is closed. The same record may be accepted by the next
    /// process.
    ShuttingDown,
    /// The journal of the ring failed, so nothing is taken until the process is started again.
    Journal,
}

impl Refusal {
    /// Labels of all reasons, in the order of [`index`](Self::index).
    pub const LABELS: [&'static str; 11] = [
        "full",
        "too_large",
        "bad_type",
        "malformed",
        "timeout",
        "disconnected",
        "denied",
        "no_memory",
        "shutting_down",
        "journal",
        "rate_limited",
    ];

    /// Returns the place of this reason in [`LABELS`](Self::LABELS).
    pub const fn index(self) -> usize {
        match self {
            Self::Full => 0,
            Self::TooLarge { .. } => 1,
            Self::BadType => 2,
            Self::Malformed => 3,
            Self::Timeout => 4,
            Self::Disconnected => 5,
            Self::Denied => 6,
            Self::NoMemory => 7,
            Self::ShuttingDown => 8,
            Self::Journal => 9,
            Self::RateLimited => 10,
        }
    }

    /// Names the reason in metrics and logs.
    pub const fn label(self) -> &'static str {
        Self::LABELS[self.index()]
    }

    /// Returns whether sending the same record again later can succeed.
    pub const fn may_retry(self) -> bool {
        match self {
            Self::Full
            | Self::Timeout
            | Self::Disconnected
            | Self::NoMemory
            | Self::ShuttingDown
            | Self::RateLimited
            | Self::Journal => true,
            Self::TooLarge { .. } | Self::BadType | Self::Malformed | Self::Denied => false,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => write!(f, "the ring stayed full: its readers have not released enough"),
            Self::TooLarge { bytes, limit } => {
                write!(f, "a record of {bytes} bytes or more; this ring takes at most {limit}")
            }
            Self::BadType => write!(f, "the type must be one decimal number from 0 to 65535"),
            Self::Malformed => write!(f, "the record is malformed"),
            Self::Denied => write!(f, "the client may not write to this ring"),
            Self::RateLimited => write!(f, "the client has asked too often"),
            Self::Timeout => write!(f, "the record did not arrive in time"),
            Self::Disconnected => write!(f, "the record broke off"),
            Self::NoMemory => write!(f, "there is no memory to receive the record"),
            Self::ShuttingDown => write!(f, "shutting down"),
            Self::Journal => write!(f, "the journal of the ring failed"),
        }
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_label_of_its_own() {
        let all = [
            Refusal::Full,
            Refusal::TooLarge { bytes: 2, limit: 1 },
            Refusal::BadType,
            Refusal::Malformed,
            Refusal::Timeout,
            Refusal::Disconnected,
            Refusal::Denied,
            Refusal::NoMemory,
            Refusal::ShuttingDown,
            Refusal::Journal,
            Refusal::RateLimited,
        ];
        for (index, reason) in all.into_iter().enumerate() {
            assert_eq!((reason.index(), reason.label()), (index, Refusal::LABELS[index]));
        }
    }

    #[test]
    fn what_is_wrong_with_the_record_itself_is_not_worth_another_try() {
        let final_ones =
            [Refusal::TooLarge { bytes: 2, limit: 1 }, Refusal::BadType, Refusal::Malformed];
        assert!(final_ones.iter().all(|refusal| !refusal.may_retry()));
        assert!(!Refusal::Denied.may_retry());
        let passing = [
            Refusal::Full,
            Refusal::Timeout,
            Refusal::Disconnected,
            Refusal::NoMemory,
            Refusal::ShuttingDown,
            Refusal::RateLimited,
            Refusal::Journal,
        ];
        assert!(passing.iter().all(|refusal| refusal.may_retry()));
        let large = Refusal::TooLarge { bytes: 2, limit: 1 }.to_string();
        assert_eq!(large, "a record of 2 bytes or more; this ring takes at most 1");
    }
}
