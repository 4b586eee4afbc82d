//! How a ring reaches the readers attached to it, without knowing what connects them.

/// The connection of one attached reader, as far as a ring is concerned. Its methods are called
/// from any thread, and none of them may block.
pub trait Doorbell: Send + Sync {
    /// Wakes the reader, because there are records. Returns whether a signal was sent; one that
    /// still waits to be taken makes another unnecessary.
    fn ring(&self) -> bool;

    /// Ends the reader's connection.
    fn disconnect(&self);

    /// Returns whether the reader is gone.
    fn is_gone(&self) -> bool;
}
