//! What the manager is told, in words for `systemctl status` and in signs for itself.

/// Something to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told<'a> {
    /// Records are taken from now on.
    Ready(&'a str),
    /// How things stand.
    Status(&'a str),
    /// The process is alive, and how things stand.
    Alive(&'a str),
    /// The end has begun.
    Stopping(&'a str),
    /// It did not work, and why: the last words.
    Failed(&'a str),
}
