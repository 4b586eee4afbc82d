//! What the loops share: rings, limits, and how a connection comes to another loop or leaves them.

use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::address::Addresses;
use super::connection::Timeouts;
use super::driver::{Id, Listener, Waker};
use super::protocol::Speaker;
use super::window::Window;
use crate::codec::{Resource, Ring as RingFacts, RingId};
use crate::ingress::workers::Workers;
use crate::limits::{ByteLimit, Limit, Permit};
use crate::metrics::{AddressMetrics, Metrics};
use crate::ring::Ring;
use crate::shutdown::Shutdown;
use crate::sync::lock;
use crate::tls::Session;

#[allow(clippy::disallowed_types, reason = "inside the process, not in shared memory")]
type Flag = std::sync::atomic::AtomicBool;

/// A page for operators: status, media type, further header lines, content.
pub type PageContent = (u16, &'static str, &'static str, Vec<u8>);

/// Takes a connection: its socket, the number of its address, the bytes that were read, and its
/// place among the connections.
pub type HandOver = Box<dyn Fn(HandedOver) + Send + Sync>;

/// A connection that leaves its loop.
pub struct HandedOver {
    /// Its socket.
    pub socket: OwnedFd,
    /// Number of the address that it came in by.
    pub address: u32,
    /// What has been read, plain.
    pub read: Vec<u8>,
    /// The session of TLS that goes on.
    pub tls: Option<Box<Session>>,
    /// Its place among all connections.
    pub permit: Permit,
}

/// What an event loop needs of the process around it.
pub struct Shared {
    /// All rings, by the number that codecs know them by.
    pub rings: Vec<Arc<Ring>>,
    /// What is spoken at each address.
    pub addresses: Addresses,
    /// Where things are counted.
    pub metrics: Arc<Metrics>,
    /// Where they are counted by address, in the order of `addresses`.
    pub by_address: Arc<[AddressMetrics]>,
    /// Least time between two wake-ups of readers by one loop.
    pub wake_interval: Duration,
    /// Whether the process is ending.
    pub shutdown: Arc<Shutdown>,
    /// Most connections at once.
    pub connections: Arc<Limit>,
    /// Most bytes that all connections keep of messages that are not complete or not published.
    pub buffered: Arc<ByteLimit>,
    /// Takes HTTP connections beyond it, which are told so.
    pub overflow: Box<dyn Fn(OwnedFd) + Send + Sync>,
    /// Connections beyond it of other protocols that are told so.
    pub refusals: Arc<Limit>,
    /// Makes pages; `None` for one that is not served here.
    pub page: Box<dyn Fn(Resource) -> Option<PageContent> + Send + Sync>,
    /// Takes connections of HTTP/2, with the bytes that were read.
    pub hand_over: HandOver,
    /// Idempotency keys, by ring. Locked after the ring where both are.
    pub windows: Vec<Mutex<Window>>,
    /// Does what is too long for a loop.
    pub workers: Arc<Workers>,
    /// Follows traces, if they are sent.
    #[cfg(feature = "otel")]
    pub tracer: Option<Arc<crate::telemetry::Tracer>>,
}

/// What codecs have to know about a ring.
pub fn ring_facts(rings: &[Arc<Ring>], index: usize) -> Option<RingFacts> {
    let ring = rings.get(index)?;
    Some(RingFacts {
        id: RingId(u16::try_from(index).ok()?),
        epoch: ring.epoch(),
        max_payload_bytes: ring.max_payload_bytes(),
        capacity_bytes: ring.capacity_bytes(),
    })
}

/// A connection on its way to a loop.
pub(super) struct Arrival {
    pub(super) socket: OwnedFd,
    pub(super) address: Listener,
    pub(super) speaker: Speaker,
    pub(super) tls: Option<Box<Session>>,
    pub(super) timeouts: Arc<Timeouts>,
    pub(super) permit: Permit,
}

/// How others reach one loop.
pub(super) struct Mailbox {
    pub(super) waker: Arc<Waker>,
    arrivals: Mutex<Vec<Arrival>>,
    /// Connections whose work is done, with the numbers of their waits.
    done: Mutex<Vec<(Id, u64)>>,
    /// A ring has moved: there may be space for the first connection that waits for it, and answers
    /// that were held may be sent.
    space: Flag,
}

impl Mailbox {
    pub(super) fn new() -> std::io::Result<Arc<Self>> {
        let waker = Arc::new(Waker::new()?);
        let (arrivals, done) = (Mutex::default(), Mutex::default());
        Ok(Arc::new(Self { waker, arrivals, done, space: Flag::new(false) }))
    }

    pub(super) fn send(&self, arrival: Arrival) {
        lock(&self.arrivals).push(arrival);
        self.waker.wake();
    }

    pub(super) fn take_arrivals(&self) -> Vec<Arrival> {
        std::mem::take(&mut lock(&self.arrivals))
    }

    pub(super) fn work_is_done(&self, id: Id, number: u64) {
        lock(&self.done).push((id, number));
        self.waker.wake();
    }

    pub(super) fn take_done(&self) -> Vec<(Id, u64)> {
        std::mem::take(&mut lock(&self.done))
    }

    /// Whether [`wake`](std::task::Wake::wake) was called since the last time.
    pub(super) fn take_space(&self) -> bool {
        // ORDER(mailbox): Acquire. What the reader released before is seen. Pairs with `wake`.
        self.space.load(Ordering::Relaxed) && self.space.swap(false, Ordering::Acquire)
    }
}

/// What a ring calls when the first who waits may try again, or records were published that
/// somebody watches.
impl std::task::Wake for Mailbox {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // ORDER(mailbox): Release. Pairs with `take_space`.
        self.space.store(true, Ordering::Release);
        self.waker.wake();
    }
}
