//! The client: one reader or observer, from one listener to the next.
//!
//! Here is what it is and what it knows. `reading` reads, `waiting` sleeps, `reconnecting` goes on
//! after a listener's end; each uses those after it in that list.

mod reading;
mod reconnecting;
mod waiting;

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use aqueduct_core::SeekError;
use aqueduct_core::{Lag, ReadError, Seek};

use crate::attach;
use crate::error::OpenError;
use crate::info::{Change, End, RingInfo, Stats, Totals};
use crate::interrupt::Interrupter;
use crate::link::Link;
use crate::source::Source;

pub use reading::Event;
pub(crate) use reconnecting::Reconnecting;
pub use waiting::{Armed, Waited};

/// Reads a ring of a listener as a gating reader or as an observer.
///
/// Opened by [`Options`](crate::Options). One thread at a time uses it, by `&mut`; it may move
/// between threads. An [`Interrupter`] ends its waits from elsewhere. Dropping it ends the
/// connection and unmaps the segments: what was not released is delivered again to the next reader
/// of the subscription.
///
/// **Nothing is trusted.** Whatever the listener sends or writes, no call reads outside of its
/// memory, loops for ever, leaks or faults. Segments that could be shortened are refused.
///
/// **Reading never blocks** and delivers everything that was published before it tells of an end;
/// [`wait`](Self::wait) blocks. While the client reconnects, reading gives [`Event::Empty`].
///
/// **After a fork** without `exec`, a child may drop its copy, which leaves the parent's connection
/// alone, and must not use it otherwise.
pub struct Client {
    source: Source,
    info: RingInfo,
    link: Link,
    /// `None`: came by descriptors, so there is nobody to connect to again.
    reconnecting: Option<Reconnecting>,
    /// Whether a listener is, or was, on a control socket.
    controlled: bool,
    phase: Phase,
    /// The connection has ended.
    hung_up: bool,
    armed: bool,
    /// The change of epoch that is to be told.
    untold: Option<Change>,
    change: Option<Change>,
    outage: Outage,
    /// How long the next sleep of one whom nobody wakes lasts.
    look_again_after: Duration,
    /// For a look at the socket now and then.
    empty_calls: u32,
    /// Grows to the largest payload seen.
    buffer: Vec<u8>,
    totals: Totals,
    failure: Option<OpenError>,
}

/// Transitions: attached → down (an end, and reconnecting is wanted) → greeted → attached or down;
/// down → over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Attached,
    /// Nobody listens.
    Down {
        next_attempt: Instant,
    },
    /// The HELLO is sent, the WELCOME awaited.
    Greeted {
        until: Instant,
    },
    /// Reconnecting was given up.
    Over,
}

/// What is known of the present outage, or of the last one.
struct Outage {
    /// How the ring ended that was attached before it.
    end: End,
    began: Instant,
    /// The pause after the next attempt that fails.
    backoff: Duration,
    /// Whether the last attachment was to the ring before.
    resumed: bool,
    /// Records read and skipped up to the last attachment, which tell whether it was of any use.
    records_before: u64,
}

impl Client {
    pub(crate) fn new(
        source: Source,
        info: RingInfo,
        link: Link,
        reconnecting: Option<Reconnecting>,
    ) -> Self {
        let backoff = reconnecting.as_ref().map_or(Duration::ZERO, |how| how.backoff.0);
        Self {
            controlled: link.socket().is_some(),
            source,
            info,
            link,
            reconnecting,
            phase: Phase::Attached,
            hung_up: false,
            armed: false,
            untold: None,
            change: None,
            outage: Outage {
                end: End::Lost,
                began: Instant::now(),
                backoff,
                resumed: false,
                records_before: 0,
            },
            look_again_after: waiting::LOOK_AGAIN_MIN,
            empty_calls: 0,
            buffer: Vec::new(),
            totals: Totals { attachments: 1, ..Totals::default() },
            failure: None,
        }
    }

    /// Attaches to segments that came by another way: to the ring, with a cursor segment as a
    /// gating reader, without one as an observer. They are as large as their files; their seals are
    /// checked; their descriptors may be closed at once.
    ///
    /// `control` is a connected control socket after its handshake. Without one, nothing tells the
    /// end of the producer's process ([`Event::Lost`] never comes), nobody wakes this client, which
    /// then looks at the ring while it waits as an observer does, and nobody tells a producer that
    /// waits for space.
    ///
    /// # Errors
    /// [`OpenError::Size`], [`OpenError::NotSealed`], [`OpenError::Attach`],
    /// [`OpenError::System`].
    pub fn from_descriptors(
        control: Option<OwnedFd>,
        ring: BorrowedFd<'_>,
        cursor: Option<BorrowedFd<'_>>,
    ) -> Result<Self, OpenError> {
        let mut link = Link::new(Interrupter::new()?)?;
        if let Some(control) = control {
            link.adopt(control)?;
        }
        let (source, info) = attach::map_all(ring, cursor)?;
        Ok(Self::new(source, info, link, None))
    }

    /// Gives everything that was read back to the producer, and tells it if it waits for space.
    ///
    /// Call it after the records are processed, before sleeping and at least every some hundred
    /// records: a full ring waits for it. What is not released is delivered again to the next
    /// reader of the subscription. For an observer it does nothing. Never blocks.
    pub fn release(&mut self) {
        if self.source.release() && self.phase == Phase::Attached {
            self.link.send_space();
        }
    }

    /// Moves to record number `seq` of the ring with this epoch: the first one wanted, so the last
    /// one processed + 1.
    ///
    /// For effects that happen exactly once, store the epoch and `seq + 1` in the transaction that
    /// stores what came of the records, and [`release`](Self::release) after the commit. After a
    /// restart, open and seek: records that were committed and not released are skipped. With
    /// [`Start::Oldest`](crate::Start::Oldest), older numbers are found too, as far back as the
    /// ring reaches; release after seeking then, for until then the ring is full.
    ///
    /// [`Seek::Gone`] is told if the record was overwritten or released. A gating reader never goes
    /// back. Damage on the way is skipped and counted. Never blocks.
    ///
    /// # Errors
    /// [`SeekError::Epoch`]: the number was stored for another ring, all of whose records are new;
    /// nothing moved. [`SeekError::Read`]: the ring cannot be read; an observer that is overrun
    /// again and again may try again.
    pub fn seek(&mut self, epoch: u64, seq: u64) -> Result<Seek, SeekError> {
        self.source.seek(epoch, seq)
    }

    /// Moves past everything published so far; the next [`release`](Self::release) gives it up.
    /// Never blocks.
    ///
    /// # Errors
    /// [`ReadError::TailOutOfRange`].
    pub fn skip_to_latest(&mut self) -> Result<(), ReadError> {
        self.source.skip_to_latest()
    }

    /// Gives the sequence number that the next record should have; `None` before the first record.
    /// With [`RingInfo::epoch`], it is what to store for [`seek`](Self::seek).
    pub const fn next_seq(&self) -> Option<u64> {
        self.source.next_seq()
    }

    /// Describes the ring; constant until [`Event::EpochChanged`].
    pub const fn info(&self) -> &RingInfo {
        &self.info
    }

    /// Counts damage and losses of this attachment.
    pub fn stats(&self) -> Stats {
        self.source.stats()
    }

    /// Counts what happened since the client was opened.
    pub const fn totals(&self) -> Totals {
        self.totals
    }

    /// Measures how far this client is behind the producer, now, by the ring's clock. The age is 0
    /// if that clock is private to the producer.
    ///
    /// # Errors
    /// [`ReadError::TailOutOfRange`]; for an observer also [`ReadError::Overrun`], if records come
    /// faster than they are looked at.
    pub fn lag(&self) -> Result<Lag, ReadError> {
        self.source.lag()
    }

    /// Describes the latest change of epoch; `None` before the first.
    pub const fn change(&self) -> Option<&Change> {
        self.change.as_ref()
    }

    /// Tells why the latest attempt to reconnect failed; `None` if it did not.
    pub const fn last_failure(&self) -> Option<&OpenError> {
        self.failure.as_ref()
    }

    /// Tells whether a listener is attached as far as is known: not while reconnecting, and not
    /// after [`Event::Lost`]. Always without a control socket.
    pub fn is_attached(&self) -> bool {
        self.phase == Phase::Attached && !self.hung_up
    }

    /// Tells whether this is a gating reader, not an observer.
    pub const fn is_gating(&self) -> bool {
        self.source.is_gating()
    }

    /// Gives a handle by which other threads end this client's waits.
    pub fn interrupter(&self) -> Interrupter {
        self.link.interrupter().clone()
    }
}

/// The descriptor for an event loop, the same through all reconnections: see [`Client::arm`]. Ask
/// it for reading only; never read, write or close it.
impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.link.as_fd()
    }
}

impl AsRawFd for Client {
    fn as_raw_fd(&self) -> RawFd {
        self.link.as_fd().as_raw_fd()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("info", &self.info)
            .field("gating", &self.is_gating())
            .field("attached", &self.is_attached())
            .field("totals", &self.totals)
            .finish_non_exhaustive()
    }
}
