//! The body of a request: it breaks off when its peer has ended its sending side before it is
//! whole.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};

use super::activity::Activity;

/// A body as it comes.
pub(super) struct Asked {
    body: Incoming,
    activity: Arc<Activity>,
    /// Its number among the streams of the connection.
    number: u64,
}

/// Why there is no more of a body that is not whole.
#[derive(Debug)]
pub(super) enum BrokenOff {
    /// What hyper says.
    Failed(hyper::Error),
    /// Nothing comes any more from the peer.
    Ended,
}

impl Asked {
    pub(super) fn new(body: Incoming, activity: Arc<Activity>, number: u64) -> Self {
        Self { body, activity, number }
    }
}

impl Body for Asked {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        // Asked first: what came before the end is in the body when that is known.
        let has_ended = self.activity.has_ended();
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(frame) => Poll::Ready(frame.map(|frame| frame.map_err(BrokenOff::Failed))),
            Poll::Pending if has_ended => Poll::Ready(Some(Err(BrokenOff::Ended))),
            Poll::Pending => {
                self.activity.tell_end(self.number, cx.waker());
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.activity.forget(self.number);
    }
}

impl fmt::Display for BrokenOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => error.fmt(f),
            Self::Ended => write!(f, "its peer has ended its sending side"),
        }
    }
}

impl std::error::Error for BrokenOff {}
