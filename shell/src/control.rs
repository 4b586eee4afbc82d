//! One task per control connection: handshake, then packets until the reader goes.
//!
//! Decides who is attached and who is thrown out; what that means for a ring is `ingest`'s. Next:
//! `http`.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use aqueduct_core::handshake::{self, Kind, Status};
use smol::{Executor, Timer, future};

use crate::config::Allowed;
use crate::handoff::{Hello, HelloError, Link, Listener, Packet};
use crate::ingest::{AttachError, Attachment, Place, Ring};
use crate::mapping::CURSOR_BYTES;
use crate::metrics::Metrics;
use crate::presence::{Slot, Slots, Stop};

/// Connections that are only told why they are refused.
const REFUSALS: usize = 16;
/// Pause after a failed accept, which is mostly a lack of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Who was let in.
enum Admitted {
    Reader(Attachment),
    Observer(Arc<Ring>),
}

/// What the tasks share.
pub struct Control {
    rings: Vec<Arc<Ring>>,
    metrics: Arc<Metrics>,
    stop: Arc<Stop>,
    allowed: Allowed,
    handshake_timeout: Duration,
    slots: Arc<Slots>,
    refusals: Arc<Slots>,
}

impl Control {
    /// For these rings.
    pub fn new(
        rings: Vec<Arc<Ring>>,
        metrics: Arc<Metrics>,
        stop: Arc<Stop>,
        allowed: Allowed,
        handshake_timeout: Duration,
        max_readers: usize,
    ) -> Self {
        Self {
            rings,
            metrics,
            stop,
            allowed,
            handshake_timeout,
            slots: Slots::new(max_readers),
            refusals: Slots::new(REFUSALS),
        }
    }

    /// Control connections open now.
    pub fn connections(&self) -> usize {
        self.slots.used()
    }

    /// Accepts until it is dropped.
    pub async fn accept(
        self: Arc<Self>,
        listener: Arc<Listener>,
        executor: Arc<Executor<'static>>,
    ) {
        loop {
            let link = match listener.accept().await {
                Ok(link) => link,
                Err(error) => {
                    tracing::warn!(%error, "control connection not accepted");
                    Timer::after(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let peer = link.peer();
            // Strangers take no place from those who may come in.
            let permitted = self.allowed.permits(peer.uid, peer.gid);
            if permitted && let Some(slot) = self.slots.enter() {
                executor.spawn(Arc::clone(&self).serve(Arc::new(link), slot)).detach();
                continue;
            }
            let (status, message) = if permitted {
                (Status::Resource, "too many control connections")
            } else {
                (Status::NotPermitted, "this user and group may not attach")
            };
            tracing::warn!(%peer, reason = message, "reader refused");
            self.count(status);
            if let Some(slot) = self.refusals.enter() {
                executor.spawn(Arc::clone(&self).turn_away(link, slot, status, message)).detach();
            }
        }
    }

    /// Refuses after the HELLO: closing a socket with unread packets would throw the answer away
    /// too.
    async fn turn_away(
        self: Arc<Self>,
        link: Link,
        _slot: Slot,
        status: Status,
        message: &'static str,
    ) {
        if let Ok(_) | Err(HelloError::Packet(_)) = link.hello(self.handshake_timeout).await {
            link.refuse(status, message);
        }
    }

    async fn serve(self: Arc<Self>, link: Arc<Link>, _slot: Slot) {
        let peer = link.peer();
        let attachment = match self.handshake(&link).await {
            Some(Admitted::Reader(attachment)) => attachment,
            Some(Admitted::Observer(ring)) => return Self::serve_observer(&link, &ring).await,
            None => return,
        };
        let (ring, subscription) =
            (attachment.ring().name().to_owned(), attachment.subscription().to_owned());
        tracing::info!(%peer, ring, subscription, "reader attached");
        loop {
            match link.packet().await {
                Packet::Space => {
                    attachment.ring().space_released();
                    // One that never stops sending must not keep the thread.
                    future::yield_now().await;
                }
                Packet::Junk { bytes } => {
                    attachment.evict();
                    tracing::warn!(%peer, ring, subscription, bytes, "reader evicted: not a packet that readers send");
                    break;
                }
                Packet::HangUp => break,
            }
        }
        drop(attachment);
        tracing::info!(%peer, ring, subscription, "reader detached");
    }

    /// Holds the connection, whose end is all that an observer learns by it. There is nothing that
    /// an observer says.
    async fn serve_observer(link: &Link, ring: &Ring) {
        let (peer, ring) = (link.peer(), ring.name());
        tracing::info!(%peer, ring, "observer attached");
        match link.packet().await {
            Packet::HangUp => tracing::info!(%peer, ring, "observer detached"),
            Packet::Space | Packet::Junk { .. } => {
                tracing::warn!(%peer, ring, "observer thrown out: observers send no packets");
            }
        }
    }

    /// Reads the HELLO, attaches, and answers.
    async fn handshake(&self, link: &Arc<Link>) -> Option<Admitted> {
        let peer = link.peer();
        let refuse = |status: Status, message: &str| {
            tracing::warn!(%peer, reason = message, "reader refused");
            self.count(status);
            link.refuse(status, message);
            None
        };
        let hello = match link.hello(self.handshake_timeout).await {
            Ok(hello) => hello,
            Err(error @ (HelloError::HangUp | HelloError::Receive(_))) => {
                tracing::debug!(%peer, %error, "control connection ended");
                return None;
            }
            Err(error @ HelloError::Packet(handshake::HelloError::Version { .. })) => {
                return refuse(Status::Version, &error.to_string());
            }
            Err(error) => return refuse(Status::Malformed, &error.to_string()),
        };
        if self.stop.is_set() {
            return refuse(Status::ShuttingDown, "the producer is shutting down");
        }
        let ring = match (hello.ring.as_str(), &self.rings[..]) {
            ("", [only]) => only,
            ("", _) => return refuse(Status::NoRing, "there are several rings; name one"),
            (name, rings) => match rings.iter().find(|ring| ring.name() == name) {
                Some(ring) => ring,
                None => return refuse(Status::NoRing, "there is no ring of that name"),
            },
        };
        let Some(place) = place_of(&hello) else {
            return self.welcome(link, ring, None).then(|| Admitted::Observer(Arc::clone(ring)));
        };
        let attached = match ring.attach(&hello.subscription, place, link) {
            Ok(attached) => attached,
            Err(error) => {
                let status = match error {
                    AttachError::NoSubscription => Status::NoSubscription,
                    AttachError::Busy => Status::Busy,
                    AttachError::Resource(_) => Status::Resource,
                };
                return refuse(status, &error.to_string());
            }
        };
        // If it is not sent, the attachment is dropped, and so undone.
        self.welcome(link, ring, Some(attached.cursor.as_fd()))
            .then_some(Admitted::Reader(attached.attachment))
    }

    /// Whether the answer was sent.
    fn welcome(&self, link: &Link, ring: &Ring, cursor: Option<BorrowedFd<'_>>) -> bool {
        let cursor =
            cursor.map(|descriptor| (u32::try_from(CURSOR_BYTES).unwrap_or(0), descriptor));
        if let Err(error) = link.welcome(ring.handout(), cursor) {
            tracing::debug!(peer = %link.peer(), %error, "welcome not sent");
            return false;
        }
        self.count(Status::Attached);
        true
    }

    fn count(&self, status: Status) {
        self.metrics.control_handshakes.with_label_values(&[status.label()]).inc();
    }
}

/// Where a gating reader wants to start; `None` for an observer.
const fn place_of(hello: &Hello) -> Option<Place> {
    match hello.kind {
        Kind::Attach => Some(Place::Here),
        Kind::AttachOldest => Some(Place::Oldest),
        Kind::AttachLatest => Some(Place::Latest),
        Kind::Observe => None,
    }
}
