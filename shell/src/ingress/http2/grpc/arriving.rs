//! The body of a call as it arrives: counted until it is a record, ended when it takes too long.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use smol::Timer;
use tonic::Status;

use super::status;
use crate::ingress::http2::body::Asked;
use crate::limits::{ByteLimit, Held};
use crate::sync::lock;

/// What of a call has arrived and is not a record yet.
pub(super) struct Arrived(Mutex<State>);

struct State {
    bytes: usize,
    /// `bytes` of what all connections may keep.
    held: Held,
    /// When the next message must be there.
    due: Instant,
    message_timeout: Duration,
    idle_timeout: Duration,
}

impl Arrived {
    /// Begins with nothing. A message that has begun may take `message_timeout`, the next one
    /// `idle_timeout` to begin.
    pub(super) fn new(
        buffered: &Arc<ByteLimit>,
        message_timeout: Duration,
        idle_timeout: Duration,
    ) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            bytes: 0,
            held: Held::nothing(buffered),
            due: Instant::now() + message_timeout,
            message_timeout,
            idle_timeout,
        })))
    }

    /// Notes a piece.
    pub(super) fn grow(&self, bytes: usize) -> Result<(), Status> {
        let mut state = lock(&self.0);
        if state.bytes == 0 {
            state.due = Instant::now() + state.message_timeout;
        }
        state.bytes += bytes;
        let sum = state.bytes;
        if state.held.resize(sum) { Ok(()) } else { Err(status::no_memory()) }
    }

    /// Notes that a message of so many bytes has been dealt with.
    pub(super) fn done(&self, bytes: usize) {
        let mut state = lock(&self.0);
        state.bytes = state.bytes.saturating_sub(bytes);
        let rest = state.bytes;
        // It is less than before.
        let _ = state.held.resize(rest);
        let time = if rest > 0 { state.message_timeout } else { state.idle_timeout };
        state.due = Instant::now() + time;
    }

    fn due(&self) -> Instant {
        lock(&self.0).due
    }
}

/// A body that says what of it arrives.
pub(super) struct Arriving {
    body: Asked,
    arrived: Arc<Arrived>,
    timer: Timer,
    timer_at: Instant,
}

impl Arriving {
    pub(super) fn new(body: Asked, arrived: Arc<Arrived>) -> Self {
        let timer_at = arrived.due();
        Self { body, arrived, timer: Timer::at(timer_at), timer_at }
    }
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                Poll::Ready(Some(this.arrived.grow(bytes).map(|()| frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                tracing::debug!(%error, "call broke off");
                Poll::Ready(Some(Err(Status::cancelled("the call broke off"))))
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                let due = this.arrived.due();
                if due != this.timer_at {
                    this.timer_at = due;
                    this.timer.set_at(due);
                }
                match Pin::new(&mut this.timer).poll(cx) {
                    Poll::Ready(_) => {
                        let late =
                            Status::deadline_exceeded("the next message did not come in time");
                        Poll::Ready(Some(Err(late)))
                    }
                    Poll::Pending => Poll::Pending,
                }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_arrives_is_counted_until_it_is_dealt_with() {
        let buffered = ByteLimit::new(100);
        let arrived = Arrived::new(&buffered, Duration::from_secs(30), Duration::from_secs(75));
        arrived.grow(60).expect("there is room");
        let due = arrived.due();
        arrived.grow(40).expect("there is room");
        assert_eq!((buffered.used(), arrived.due()), (100, due), "one message, one time");
        let refused = arrived.grow(1).expect_err("there is no room");
        assert_eq!(refused.code(), tonic::Code::Unavailable);
        arrived.done(101);
        assert_eq!(buffered.used(), 0);
        drop(arrived);
    }
}
