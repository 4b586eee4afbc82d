//! Mistakes that the tests make on purpose, to see that they would be noticed. There are none in a
//! program.

/// A mistake.
#[allow(dead_code, reason = "made by tests only")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bug {
    /// Records are published when they are written.
    PublishBeforeSync,
    /// A new segment's name is left to the system.
    NoDirectorySync,
    /// A record is believed if its header is right.
    HeaderTrusted,
    /// A segment is removed by cursors that are not durable.
    CursorAfterUnlink,
    /// A sync that failed is tried again.
    RetryAfterFailedSync,
    /// A start believes what the system has in memory.
    CacheTrusted,
    /// A start believes a copy of the cursors that is not durable, and writes over the other.
    CopyTrusted,
    /// The end of the last process is left in the cursors when another one goes on.
    EndKept,
}

#[cfg(test)]
thread_local! {
    static MADE: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Makes a mistake on this thread from now on, or none.
#[cfg(test)]
pub(super) fn make(bug: Option<Bug>) {
    MADE.set(bug);
}

/// Whether this mistake is to be made.
#[cfg(test)]
pub(super) fn is(bug: Bug) -> bool {
    MADE.get() == Some(bug)
}

/// Whether this mistake is to be made.
#[cfg(not(test))]
#[inline]
pub(super) const fn is(_: Bug) -> bool {
    false
}
