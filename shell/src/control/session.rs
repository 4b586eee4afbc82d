//! One task per control connection: handshake, then packets until the reader goes.
//!
//! Decides who is attached and who is evicted; what that means for a ring is `ring`'s business.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aqueduct_core::Start;
use aqueduct_core::handshake::{self, Kind, MESSAGE_BYTES, Status};
use smol::{Executor, future};

use super::{
    Allowed, Asked, ControlConnection, ControlListener, ControlSettings, HelloError, Packet, Peer,
};
use crate::accept;
use crate::limits::{Limit, Permit, Place, Rotation};
use crate::metrics::Metrics;
use crate::ring::{AttachError, Attachment, Doorbell, Ring};
use crate::segment::CURSOR_BYTES;
use crate::shutdown::Shutdown;
use crate::sync::Live;

/// Connections of peers that may not attach, which are only told so.
pub(super) const REJECTIONS: usize = 16;

/// Reads the configuration again; says what has changed, or why nothing has.
pub type Reload = Arc<dyn Fn() -> Result<String, String> + Send + Sync>;

/// Who was let in.
enum Admitted {
    Reader(Attachment),
    Observer(Arc<Ring>, Permit),
}

/// What the tasks of all control connections share.
pub struct Control {
    rings: Vec<Arc<Ring>>,
    metrics: Arc<Metrics>,
    shutdown: Arc<Shutdown>,
    /// Who may attach, and how long a HELLO may take.
    rules: Live<(Allowed, Duration)>,
    /// Reads the configuration again.
    reload: OnceLock<Reload>,
    connections: Arc<Limit>,
    observers: Arc<Limit>,
    handshakes: Arc<Rotation>,
    rejections: Arc<Limit>,
}

impl Control {
    /// Prepares to serve readers of these rings. `connections` counts them.
    pub fn new(
        rings: Vec<Arc<Ring>>,
        metrics: Arc<Metrics>,
        shutdown: Arc<Shutdown>,
        settings: &ControlSettings,
        connections: Arc<Limit>,
    ) -> Self {
        let own = rustix::process::geteuid().as_raw();
        if !settings.allowed.permits(own, &[rustix::process::getegid().as_raw()]) {
            tracing::warn!(
                uid = own,
                "the user of this process is not in allow_uids and may not attach"
            );
        }
        for status in Status::ALL {
            metrics.control_handshakes.with_label_values(&[status.label()]);
        }
        Self {
            rings,
            metrics,
            shutdown,
            rules: Live::new((settings.allowed.clone(), settings.handshake_timeout)),
            reload: OnceLock::new(),
            connections,
            observers: Limit::new(settings.max_observers),
            handshakes: Rotation::new(settings.max_handshakes),
            rejections: Limit::new(REJECTIONS),
        }
    }

    /// Serves connections that come from now on by these settings.
    pub fn set_rules(&self, settings: &ControlSettings) {
        self.rules.set((settings.allowed.clone(), settings.handshake_timeout));
    }

    /// Has the root user, and the one of this process, ask for reloads.
    pub fn on_reload(&self, reload: Reload) {
        // Set once, before anyone connects.
        let _ = self.reload.set(reload);
    }

    /// Accepts until it is dropped: during a shutdown, readers are told why they cannot attach.
    pub async fn run(
        self: Arc<Self>,
        listener: Arc<ControlListener>,
        executor: Arc<Executor<'static>>,
    ) {
        let connected = |connection| {
            let (control, executor) = (Arc::clone(&self), Arc::clone(&executor));
            async move { control.connected(connection, &executor).await }
        };
        accept::forever(&*listener, connected).await;
    }

    async fn connected(
        self: &Arc<Self>,
        connection: ControlConnection,
        executor: &Executor<'static>,
    ) {
        let peer = connection.peer();
        let rules = self.rules.get();
        if rules.0.permits(peer.uid, connection.groups())
            && let Some(permit) = self.connections.acquire()
        {
            let place = self.handshakes.enter().await;
            let serve = Arc::clone(self).serve(Arc::new(connection), place, permit);
            executor.spawn(serve).detach();
            return;
        }
        // Strangers take no place from those who may attach.
        let message = "this user and group may not attach";
        tracing::warn!(%peer, reason = message, "reader refused");
        self.count(Status::NotPermitted);
        if let Some(permit) = self.rejections.acquire() {
            executor.spawn(Arc::clone(self).reject(connection, permit, message)).detach();
        }
    }

    /// Refuses after the HELLO: closing a socket with unread packets would throw the answer away
    /// too.
    async fn reject(
        self: Arc<Self>,
        connection: ControlConnection,
        _permit: Permit,
        message: &'static str,
    ) {
        let timeout = self.rules.get().1;
        if let Ok(_) | Err(HelloError::Packet(_)) = connection.asked(timeout).await {
            connection.refuse(Status::NotPermitted, message);
        }
    }

    async fn serve(
        self: Arc<Self>,
        connection: Arc<ControlConnection>,
        place: Place,
        _permit: Permit,
    ) {
        let peer = connection.peer();
        let lost = async {
            place.lost().await;
            tracing::debug!(%peer, "control connection gave way to a newer one");
            None
        };
        let admitted = future::or(self.handshake(&connection), lost).await;
        let Some(admitted) = admitted else {
            // The descriptor first, then the right to have one.
            drop(connection);
            drop(place);
            return;
        };
        drop(place);
        let attachment = match admitted {
            Admitted::Reader(attachment) => attachment,
            Admitted::Observer(ring, _permit) => {
                return Self::serve_observer(&connection, &ring).await;
            }
        };
        let (ring, subscription) =
            (attachment.ring().name().to_owned(), attachment.subscription().to_owned());
        tracing::info!(%peer, ring, subscription, "reader attached");
        loop {
            match connection.packet().await {
                Packet::Space => {
                    attachment.space_released();
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
    async fn serve_observer(connection: &ControlConnection, ring: &Ring) {
        let (peer, ring) = (connection.peer(), ring.name());
        tracing::info!(%peer, ring, "observer attached");
        match connection.packet().await {
            Packet::HangUp => tracing::info!(%peer, ring, "observer detached"),
            Packet::Space | Packet::Junk { .. } => {
                tracing::warn!(%peer, ring, "observer evicted: observers send no packets");
            }
        }
    }

    /// Reads the HELLO, attaches, and answers.
    async fn handshake(&self, connection: &Arc<ControlConnection>) -> Option<Admitted> {
        let peer = connection.peer();
        let refuse = |status: Status, message: &str| {
            tracing::warn!(%peer, reason = message, "reader refused");
            self.count(status);
            connection.refuse(status, message);
            None
        };
        let timeout = self.rules.get().1;
        let hello = match connection.asked(timeout).await {
            Ok(Asked::Attach(hello)) => hello,
            Ok(Asked::Reload) => {
                connection.tell_reloaded(&self.reloaded(peer).await);
                return None;
            }
            Err(error @ (HelloError::HangUp | HelloError::Receive(_))) => {
                tracing::debug!(%peer, %error, "control connection ended");
                return None;
            }
            Err(error @ HelloError::Packet(handshake::HelloError::Version { .. })) => {
                return refuse(Status::Version, &error.to_string());
            }
            Err(error) => return refuse(Status::Malformed, &error.to_string()),
        };
        if self.shutdown.has_begun() {
            return refuse(Status::ShuttingDown, "the producer is shutting down");
        }
        let ring = match (hello.ring.as_str(), &self.rings[..]) {
            ("", [only]) => only,
            ("", rings) => {
                let message = with_names("there are several rings; name one", rings);
                return refuse(Status::NoRing, &message);
            }
            (name, rings) => {
                let Some(ring) = rings.iter().find(|ring| ring.name() == name) else {
                    let message = with_names("there is no ring of that name, but", rings);
                    return refuse(Status::NoRing, &message);
                };
                ring
            }
        };
        if ring.has_attributes() && !hello.knows_attributes {
            return refuse(
                Status::Version,
                "records of this ring have attributes: ABI 1.2 or later",
            );
        }
        let start = match hello.kind {
            Kind::Observe => {
                let Some(permit) = self.observers.acquire() else {
                    return refuse(Status::Resource, "too many observers");
                };
                let sent = self.welcome(connection, ring.handout(), None);
                return sent.then(|| Admitted::Observer(Arc::clone(ring), permit));
            }
            Kind::Attach => None,
            Kind::AttachOldest => Some(Start::Oldest),
            Kind::AttachLatest => Some(Start::Latest),
        };
        let doorbell = Arc::clone(connection) as Arc<dyn Doorbell>;
        let attached = if ring.may_lag(&hello.subscription) {
            // Makes a ring, and fills it from files.
            let (ring, name) = (Arc::clone(ring), hello.subscription.clone());
            smol::unblock(move || ring.attach(&name, start, doorbell)).await
        } else {
            ring.attach(&hello.subscription, start, doorbell)
        };
        let attached = match attached {
            Ok(attached) => attached,
            Err(error) => {
                let status = match error {
                    AttachError::NoSubscription => Status::NoSubscription,
                    AttachError::Busy => Status::Busy,
                    AttachError::Start => Status::Malformed,
                    AttachError::Resource(_) => Status::Resource,
                };
                return refuse(status, &error.to_string());
            }
        };
        // If it is not sent, the attachment is dropped, and so undone.
        self.welcome(connection, attached.handout(), Some(attached.cursor.as_fd()))
            .then_some(Admitted::Reader(attached.attachment))
    }

    /// Reads the configuration again for this peer.
    async fn reloaded(&self, peer: Peer) -> Result<String, String> {
        let own = rustix::process::geteuid().as_raw();
        if peer.uid != own && peer.uid != 0 {
            tracing::warn!(%peer, "reload refused: neither root nor the user of this process");
            return Err("only root and the user of the process may ask for a reload".to_owned());
        }
        let Some(reload) = self.reload.get() else {
            return Err("the process has no configuration to read again".to_owned());
        };
        tracing::info!(%peer, "reload asked for");
        let (sender, outcome) = smol::channel::bounded(1);
        let reload = Arc::clone(reload);
        // It reads files and resolves names, which takes its time.
        let thread = std::thread::Builder::new().name("aqueduct-reload".to_owned());
        let thread = thread.spawn(move || {
            // The peer may be gone.
            let _ = sender.send_blocking(reload());
        });
        thread.map_err(|error| format!("starting a thread: {error}"))?;
        outcome.recv().await.unwrap_or_else(|_| Err("the reload panicked".to_owned()))
    }

    /// Sends the answer to an accepted reader. Returns whether it was sent.
    fn welcome(
        &self,
        connection: &ControlConnection,
        ring: (u64, BorrowedFd<'_>),
        cursor: Option<BorrowedFd<'_>>,
    ) -> bool {
        let cursor =
            cursor.map(|descriptor| (u32::try_from(CURSOR_BYTES).unwrap_or(0), descriptor));
        if let Err(error) = connection.welcome(ring, cursor) {
            tracing::debug!(peer = %connection.peer(), %error, "welcome not sent");
            return false;
        }
        self.count(Status::Attached);
        true
    }

    fn count(&self, status: Status) {
        self.metrics.control_handshakes.with_label_values(&[status.label()]).inc();
    }
}

/// Says something, and which rings there are, as many as a refusal has room for.
fn with_names(what: &str, rings: &[Arc<Ring>]) -> String {
    let mut text = format!("{what}: ");
    for (index, ring) in rings.iter().enumerate() {
        let between = if index == 0 { "" } else { ", " };
        let more = "\u{2026}";
        if text.len() + between.len() + ring.name().len() + 2 + more.len() > MESSAGE_BYTES {
            text.push_str(between);
            text.push_str(more);
            break;
        }
        text.push_str(between);
        text.push_str(ring.name());
    }
    text
}
