//! The client: one reader or observer that outlives the listeners it attaches to.
//!
//! This file has its state and its accessors. `reading` reads, `waiting` sleeps, `reconnecting`
//! carries on after a listener's end.

mod reading;
mod reconnecting;
mod waiting;

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use aqueduct_core::SeekError;
use aqueduct_core::{Lag, ReadError, Record, Seek};

use crate::attach;
use crate::error::OpenError;
use crate::info::{Change, End, RingInfo, Stats, Totals};
use crate::interrupt::Interrupter;
use crate::link::Link;
use crate::source::Source;

pub use reading::Event;
pub(crate) use reconnecting::Reconnecting;
pub use waiting::{Armed, Waited};

/// Reads a ring of a listener, as a gating reader or as an observer.
///
/// [`Options`](crate::Options) opens it. It may move between threads; an [`Interrupter`] ends its
/// waits from another one. Dropping it ends the connection and unmaps the segments: what was not
/// released is delivered again to the next reader of the subscription.
///
/// **Nothing is trusted.** Whatever the listener sends or writes, no call reads outside the mapped
/// segments, loops forever, leaks or faults. Segments that could be shortened are refused.
///
/// **Reading never blocks**, and delivers everything that was published before it reports an end;
/// [`wait`](Self::wait) blocks. While the client reconnects, reading returns [`Event::Empty`].
///
/// **After a fork** without `exec`, the child may drop its copy, which leaves the parent's
/// connection open, and must not use it in any other way.
pub struct Client {
    source: Source,
    info: RingInfo,
    link: Link,
    /// `None`: opened from descriptors, so there is no address to connect to again.
    reconnecting: Option<Reconnecting>,
    /// Whether there is, or was, a control socket.
    controlled: bool,
    phase: Phase,
    /// The connection has ended.
    hung_up: bool,
    armed: bool,
    /// The change of epoch that is not reported yet.
    untold: Option<Change>,
    change: Option<Change>,
    outage: Outage,
    /// The next sleep, where the producer does not wake this client.
    look_again_after: Duration,
    /// Counts calls that found nothing, to look at the socket now and then.
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

/// The present outage, or the last one.
struct Outage {
    /// How the ring before it ended.
    end: End,
    began: Instant,
    /// The pause after the next attempt that fails.
    backoff: Duration,
    /// Whether the last attachment was to the same ring as the one before.
    resumed: bool,
    /// Records read and skipped before the last attachment: more since then means it was of use.
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

    /// Attaches to segments that were received in some other way: as a gating reader if there is a
    /// cursor segment, otherwise as an observer. Their sizes are those of the files, their seals
    /// are checked, and the descriptors may be closed afterwards.
    ///
    /// `control` is a connected control socket, past its handshake. Without one, the end of the
    /// producer's process goes unnoticed ([`Event::Lost`] is never returned), the producer cannot
    /// wake this client, which polls the ring while it waits as an observer does, and a producer
    /// that waits for space is not notified.
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

    /// Releases everything read so far, so that the producer may overwrite it, and notifies a
    /// producer that waits for space.
    ///
    /// Call it when the records are processed: before sleeping, and at least every few hundred
    /// records, because a full ring waits for it. What is not released is delivered again to the
    /// next reader of the subscription. Does nothing for an observer. Never blocks.
    pub fn release(&mut self) {
        if self.source.release() && self.phase == Phase::Attached {
            self.link.send_space();
        }
    }

    /// Releases what was read before `record`, and not that record, for a program that has
    /// processed some of what it read. The record is one that was read from the ring of now, whose
    /// epoch is [`RingInfo::epoch`]; nothing happens if it is released already. Does nothing for an
    /// observer. Never blocks.
    pub fn release_before(&mut self, record: &Record) {
        if self.source.release_before(record.position) && self.phase == Phase::Attached {
            self.link.send_space();
        }
    }

    /// Moves to the record with sequence number `seq` in the ring with this epoch: the next record
    /// wanted, so the last one processed + 1.
    ///
    /// For effects that happen exactly once, store the epoch and `seq + 1` in the transaction that
    /// stores the result, and [`release`](Self::release) after the commit. After a restart, open
    /// and seek: records that were committed but not released are skipped. With
    /// [`Start::Oldest`](crate::Start::Oldest), released records are found too, as far back as the
    /// ring reaches; release after seeking in that case, because until then the ring is full.
    ///
    /// Returns [`Seek::Gone`] if the record was overwritten, or lies before a gating reader's
    /// position: a gating reader never moves back. Damage on the way is skipped and counted. Never
    /// blocks.
    ///
    /// # Errors
    /// [`SeekError::Epoch`]: the number belongs to another ring, so every record of this one is
    /// new; nothing moved. [`SeekError::Read`]: the ring cannot be read; an observer that was
    /// overrun repeatedly may try again.
    pub fn seek(&mut self, epoch: u64, seq: u64) -> Result<Seek, SeekError> {
        self.source.seek(epoch, seq)
    }

    /// Moves past everything published so far; the next [`release`](Self::release) releases it.
    /// Never blocks.
    ///
    /// # Errors
    /// [`ReadError::TailOutOfRange`].
    pub fn skip_to_latest(&mut self) -> Result<(), ReadError> {
        self.source.skip_to_latest()
    }

    /// Returns the sequence number that the next record should have; `None` before the first
    /// record. Store it with [`RingInfo::epoch`] for [`seek`](Self::seek).
    pub const fn next_seq(&self) -> Option<u64> {
        self.source.next_seq()
    }

    /// Describes the ring; constant until [`Event::EpochChanged`].
    pub const fn info(&self) -> &RingInfo {
        &self.info
    }

    /// Returns the counts of damage and losses in this attachment.
    pub fn stats(&self) -> Stats {
        self.source.stats()
    }

    /// Returns the counts since the client was opened.
    pub const fn totals(&self) -> Totals {
        self.totals
    }

    /// Measures how far this client is behind the producer, now, by the ring's clock. The age is 0
    /// if that clock is private to the producer.
    ///
    /// # Errors
    /// [`ReadError::TailOutOfRange`]; for an observer also [`ReadError::Overrun`], if the control
    /// words change faster than they are read.
    pub fn lag(&self) -> Result<Lag, ReadError> {
        self.source.lag()
    }

    /// Returns the latest change of epoch; `None` before the first.
    pub const fn change(&self) -> Option<&Change> {
        self.change.as_ref()
    }

    /// Returns why the latest attempt to reconnect failed; `None` if it did not.
    pub const fn last_failure(&self) -> Option<&OpenError> {
        self.failure.as_ref()
    }

    /// Returns whether a listener is attached, as far as is known: false while reconnecting and
    /// after [`Event::Lost`]. Always true without a control socket.
    pub fn is_attached(&self) -> bool {
        self.phase == Phase::Attached && !self.hung_up
    }

    /// Returns whether this is a gating reader, not an observer.
    pub const fn is_gating(&self) -> bool {
        self.source.is_gating()
    }

    /// Returns a handle by which other threads end this client's waits.
    pub fn interrupter(&self) -> Interrupter {
        self.link.interrupter().clone()
    }
}

/// The descriptor for an event loop, the same one through all reconnections: see [`Client::arm`].
/// Poll it for readability only; never read, write or close it.
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
