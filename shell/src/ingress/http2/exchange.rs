//! One request of an HTTP/2 connection, from its head to its answer.
//!
//! The codec of HTTP/1.1 reads it, a turn of its own for each look, as an event loop does for a
//! connection: what it appends is published before its answer is looked at.

use std::fmt::Display;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use hyper::body::{Body, Bytes};
use hyper::http::request::Parts;
use smol::{Timer, future};

use super::Connection;
use super::budget::Share;
use super::translate::{self, Framing};
use crate::codec::http1::Http1;
use crate::codec::{Codec, Consumption, Page, Release, RingId, State, Wait};
use crate::ingress::event_loop::{Batch, Hold, Settled, Shared, Until, write_page};
use crate::limits::Held;
use crate::ring::Ticket;

/// How often cursors are looked at while an answer waits for readers.
const LOOK: Duration = Duration::from_millis(1);

/// Bytes around a chunk, and of the last one.
const CHUNK_BYTES: usize = 32;

/// A request that is being answered. Dropping it before counts its record as lost.
struct Exchange {
    shared: Arc<Shared>,
    /// Number of the address that it came in by.
    address: u32,
    codec: Http1,
    /// What the codec has not consumed.
    input: Vec<u8>,
    /// Its share of what all connections may keep. INVARIANT: at least the capacity of `input`,
    /// once there is a body in it.
    held: Held,
    out: Vec<u8>,
    /// What the answer waits for.
    holds: Vec<Hold>,
    /// What of the answer waits for readers: its bytes, and what they wait for.
    consumption: Option<(Range<usize>, Consumption)>,
    is_done: bool,
}

/// A place in the queue for space.
struct Place {
    ring: RingId,
    ticket: Ticket,
    since: Instant,
}

/// What came of a body.
enum Piece {
    Data(Bytes),
    End,
    /// The stream or its connection is gone.
    Broken,
    Late,
}

/// Answers a request: `None` if there is nobody to be answered. The bytes are a whole HTTP/1.1
/// response.
pub(super) async fn answer<B>(connection: &Connection, parts: &Parts, body: B) -> Option<Vec<u8>>
where
    B: Body<Data = Bytes, Error: Display> + Unpin,
{
    let limits = &connection.limits;
    let shared = connection.http2.shared.upgrade()?;
    let rules = super::rules(&shared, connection.address)?;
    let framing = Framing::of(parts, body.is_end_stream());
    let mut codec = Http1::of_peer(rules, &connection.peer);
    if let Some(certificate) = &connection.certificate {
        codec.introduce(Arc::clone(certificate));
    }
    let mut exchange = Exchange {
        held: Held::nothing(&shared.buffered),
        shared,
        address: connection.address,
        codec,
        input: translate::head(parts, framing),
        out: Vec::new(),
        holds: Vec::new(),
        consumption: None,
        is_done: false,
    };
    let deadline = Instant::now() + limits.body_timeout;
    exchange.run(connection, framing, body, deadline).await;
    exchange.is_done = true;
    if !exchange.released().await {
        return None;
    }
    exchange.consumed().await;
    Some(std::mem::take(&mut exchange.out))
}

impl Exchange {
    async fn run<B>(
        &mut self,
        connection: &Connection,
        framing: Framing,
        mut body: B,
        deadline: Instant,
    ) where
        B: Body<Data = Bytes, Error: Display> + Unpin,
    {
        let mut share: Option<Share> = None;
        // What has arrived and not been read, at most: it is counted as long as more may come.
        let mut unread = Held::nothing(&self.shared.buffered);
        let (mut state, mut place) = self.decode(None, false);
        loop {
            match state {
                State::More { need, wait: Wait::Body } => {
                    if share.is_none() && !unread.resize(framing.unread_bytes_max()) {
                        return self.end(|codec, rest, batch, out| {
                            codec.out_of_memory(rest, batch, out);
                        });
                    }
                    let taken = match &mut share {
                        Some(share) => share,
                        none => match take_share(connection, framing, deadline).await {
                            Some(taken) => none.insert(taken),
                            None => {
                                return self.end(|codec, rest, batch, out| {
                                    codec.timed_out(rest, batch, out);
                                });
                            }
                        },
                    };
                    match receive(&mut body, deadline).await {
                        Piece::Data(data) => {
                            let bytes = self.input.len() + data.len();
                            if !taken.grow(bytes) || !self.keep(&data, framing, need) {
                                return self.end(|codec, rest, batch, out| {
                                    codec.out_of_memory(rest, batch, out);
                                });
                            }
                            if framing == Framing::Chunked || self.input.len() >= need {
                                (state, place) = self.decode(None, false);
                            }
                        }
                        Piece::End if framing == Framing::Chunked => {
                            self.input.extend_from_slice(b"0\r\n\r\n");
                            (state, place) = self.decode(None, false);
                        }
                        Piece::End => {
                            return self.end(|codec, rest, batch, out| {
                                codec.end_of_input(rest, batch, out);
                            });
                        }
                        Piece::Broken => {
                            return self.end(|codec, rest, batch, _| codec.broken(rest, batch));
                        }
                        Piece::Late => {
                            return self.end(|codec, rest, batch, out| {
                                codec.timed_out(rest, batch, out);
                            });
                        }
                    }
                }
                State::Parked => {
                    let _ = unread.resize(0);
                    state = self.wait_for_space(place.take()).await;
                }
                State::Away => {
                    self.work().await;
                    (state, place) = self.decode(None, false);
                }
                State::Flush => (state, place) = self.decode(None, false),
                State::Page(page) => return self.page(page),
                State::More { .. } | State::Close | State::HandOver => return,
            }
        }
    }

    /// Has the codec look at what there is, in a turn that is published before this returns. For
    /// [`State::Parked`], with the place in the queue; there is none if nobody may queue.
    fn decode(&mut self, place: Option<Place>, expired: bool) -> (State, Option<Place>) {
        let since = place.as_ref().map(|place| place.since);
        let mut batch = Batch::new(&self.shared);
        batch.begin();
        batch.come_by(self.address);
        batch.expired = expired;
        batch.waited_ms =
            since.map(|since| u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX));
        batch.ticket = place.map(|place| (place.ring, place.ticket));
        let progress = self.codec.decode(&mut self.input, &mut batch, &mut self.out);
        self.holds.append(&mut batch.take_holds());
        self.consumption = batch.take_consumptions().pop().or(self.consumption.take());
        self.input.truncate(progress.end);
        self.input.drain(..progress.consumed);
        let kept = batch.ticket.take();
        let place = if progress.state == State::Parked {
            match kept {
                kept @ Some(_) => kept,
                None if batch.refuses_at_once() => None,
                // The waker of the task is put in when it waits.
                None => batch.queue(Waker::noop().clone()),
            }
        } else {
            drop(kept);
            None
        };
        // Sleeping readers are woken when the batch is dropped.
        batch.publish();
        let since = since.unwrap_or_else(Instant::now);
        (progress.state, place.map(|(ring, ticket)| Place { ring, ticket, since }))
    }

    /// Waits until the answer may be sent; false if nothing true can be said of its records.
    async fn released(&self) -> bool {
        for hold in &self.holds {
            let published = match hold.until {
                Until::Published => self.shared.rings[usize::from(hold.ring.0)].published(hold.seq),
                // Theirs is `consumption`.
                Until::Consumed { .. } => continue,
            };
            if !published.await {
                return false;
            }
        }
        true
    }

    /// Waits until readers have released the record, if the answer says so. What they did not
    /// release in time is told instead.
    async fn consumed(&mut self) {
        let Some((bytes, wait)) = self.consumption.take() else { return };
        let Consumption { of, within, late, statuses, answered } = wait;
        let is_open = |each: &Release| {
            self.shared.rings[usize::from(each.ring.0)].unreleased(each.by) <= each.seq
        };
        let deadline = Instant::now() + within;
        let mut is_late = false;
        // Nobody calls when a reader releases something.
        while of.iter().any(is_open) && !is_late {
            is_late = Instant::now() >= deadline;
            Timer::after(LOOK).await;
        }
        if is_late {
            self.out.splice(bytes, late);
        }
        let status = Settled { statuses, answered }.tell(is_late);
        let mut batch = Batch::new(&self.shared);
        batch.count(status);
        batch.publish();
    }

    /// Waits until the ring has space, or the time for that is over.
    async fn wait_for_space(&mut self, place: Option<Place>) -> State {
        let Some(place) = place else { return self.decode(None, true).0 };
        let full_wait = self.shared.rings[usize::from(place.ring.0)].full_wait();
        let mut late = Timer::at(place.since + full_wait);
        let mut place = Some(place);
        future::poll_fn(|cx| {
            if let Some(place) = &place {
                place.ticket.set_waker(cx.waker());
            }
            let state;
            (state, place) = self.decode(place.take(), false);
            if state != State::Parked {
                return Poll::Ready(state);
            }
            if place.is_none() {
                // Nowhere to wait any more.
                return Poll::Ready(self.decode(None, true).0);
            }
            if Pin::new(&mut late).poll(cx).is_pending() {
                return Poll::Pending;
            }
            Poll::Ready(self.decode(place.take(), true).0)
        })
        .await
    }

    /// Waits until a worker has done what the codec wants.
    async fn work(&mut self) {
        let Some(job) = self.codec.take_job() else { return };
        let mut held = Held::nothing(&self.shared.buffered);
        let Some(job) = job.enter(&mut held) else { return };
        let (done, is_done) = smol::channel::bounded::<()>(1);
        let tell = move || {
            // The request may be gone.
            let _ = done.try_send(());
        };
        self.shared.workers.run(job, Box::new(tell));
        let _ = is_done.recv().await;
    }

    /// Keeps a piece of the body, which has `need` bytes as far as that is known; whether there is
    /// room for it, here and in what all connections together may keep.
    fn keep(&mut self, data: &[u8], framing: Framing, need: usize) -> bool {
        if data.is_empty() {
            // As a chunk it would be the last.
            return true;
        }
        let around = if framing == Framing::Chunked { CHUNK_BYTES } else { 0 };
        if !self.held.reserve(&mut self.input, data.len() + around, need) {
            return false;
        }
        if framing == Framing::Chunked {
            self.input.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
        }
        self.input.extend_from_slice(data);
        if framing == Framing::Chunked {
            self.input.extend_from_slice(b"\r\n");
        }
        true
    }

    fn page(&mut self, page: Page) {
        let made = (self.shared.page)(page.resource);
        let mut batch = Batch::new(&self.shared);
        let status = write_page(&mut self.out, &batch.clock.date(), page, made.as_ref());
        batch.count(status);
        batch.publish();
    }

    /// Has the codec say its last word.
    fn end(&mut self, word: impl FnOnce(&mut Http1, &[u8], &mut Batch<'_>, &mut Vec<u8>)) {
        let mut batch = Batch::new(&self.shared);
        batch.come_by(self.address);
        word(&mut self.codec, &self.input, &mut batch, &mut self.out);
        batch.publish();
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if !self.is_done {
            self.end(|codec, rest, batch, _| codec.broken(rest, batch));
        }
    }
}

/// Waits for room for a body; `None` if there is none in time.
async fn take_share(connection: &Connection, framing: Framing, deadline: Instant) -> Option<Share> {
    let bytes = match framing {
        Framing::Length(bytes) => bytes,
        Framing::None | Framing::Chunked => connection.http2.largest_record_bytes,
    };
    future::or(async { Some(connection.budget.take(bytes).await) }, async {
        Timer::at(deadline).await;
        None
    })
    .await
}

async fn receive<B>(body: &mut B, deadline: Instant) -> Piece
where
    B: Body<Data = Bytes, Error: Display> + Unpin,
{
    let frame = future::or(async { Some(body.frame().await) }, async {
        Timer::at(deadline).await;
        None
    });
    match frame.await {
        None => Piece::Late,
        Some(None) => Piece::End,
        // Trailers say nothing here.
        Some(Some(Ok(frame))) => Piece::Data(frame.into_data().unwrap_or_default()),
        Some(Some(Err(error))) => {
            tracing::debug!(%error, "request body broke off");
            Piece::Broken
        }
    }
}
