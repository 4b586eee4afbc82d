//! What the manager is told, in words for `systemctl status` and in signs for itself.

use sd_notify::NotifyState;

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

impl Told<'_> {
    pub(super) fn send(&self) {
        // A line is an assignment, so a reason of several lines would be taken for more.
        let line = |text: &str| text.replace('\n', "; ");
        let sent = match self {
            Self::Ready(text) => {
                sd_notify::notify(&[NotifyState::Ready, NotifyState::Status(&line(text))])
            }
            Self::Status(text) => sd_notify::notify(&[NotifyState::Status(&line(text))]),
            Self::Alive(text) => {
                sd_notify::notify(&[NotifyState::Watchdog, NotifyState::Status(&line(text))])
            }
            Self::Stopping(text) => {
                sd_notify::notify(&[NotifyState::Stopping, NotifyState::Status(&line(text))])
            }
            Self::Failed(text) => {
                let text = format!("failed: {}", line(text));
                sd_notify::notify(&[NotifyState::Status(&text)])
            }
        };
        if let Err(error) = sent {
            tracing::debug!(%error, "the service manager is not reached");
        }
    }
}
