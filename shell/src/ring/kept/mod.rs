//! Rings that outlive their process in the hands of a service manager.
//!
//! The manager keeps three kinds of memfds: the ring's segment, a [page](page) of where everyone
//! is, and the cursor segment of each attached reader. The segment is sealed, so that no process
//! can map it writable again: the next one makes a segment of its own with the same epoch, and
//! copies into it what was not released, each record to its position. Names:
//!
//! ```text
//! ring/RING/GENERATION   page/RING/GENERATION   cursor/RING/GENERATION/ATTACHMENT/SUBSCRIPTION
//! ```
//!
//! A generation is a life of the ring. What an earlier one left is dropped when the next is whole.

mod left;
mod page;

use std::os::fd::{AsFd, BorrowedFd};

use aqueduct_core::Start;
use aqueduct_core::geometry::low32;

use super::journaled::{InMemory, copy_past, go_on};
use super::{Inner, Ring, RingError, RingProducer, RingSettings, random_epoch};
use crate::journal::Past;
use crate::metrics::Metrics;
use crate::supervisor::Store;

pub use left::Left;
use page::Page;

/// How the descriptors of a ring are kept.
pub(super) struct Kept {
    store: Store,
    ring: String,
    generation: u32,
    page: Page,
}

impl Kept {
    fn name(kind: &str, ring: &str, generation: u32) -> String {
        format!("{kind}/{ring}/{generation}")
    }

    /// Has the cursor segment of a reader kept, before the reader gets it.
    pub(super) fn keep_cursor(&self, attachment: u64, subscription: &str, cursor: BorrowedFd<'_>) {
        self.store.keep(&self.cursor_name(attachment, subscription), cursor);
    }

    /// Drops it: where the subscription is has been noted.
    pub(super) fn forget_cursor(&self, attachment: u64, subscription: &str) {
        self.store.forget(&self.cursor_name(attachment, subscription));
    }

    fn cursor_name(&self, attachment: u64, subscription: &str) -> String {
        let ring = Self::name("cursor", &self.ring, self.generation);
        format!("{ring}/{attachment}/{subscription}")
    }

    /// Says that the process ends in order.
    pub(super) fn end(&self) {
        self.page.end();
    }

    /// Notes where everyone is.
    pub(super) fn note(&self, inner: &mut Inner) {
        let tail = inner.producer.ring().tail();
        for (index, subscription) in inner.subscriptions.iter().enumerate() {
            if let Some(status) = inner.producer.subscription(subscription.id) {
                self.page.note(index, tail.wrapping_sub(status.lag_granules));
            }
        }
        self.page.note_seq(inner.producer.next_seq());
    }
}

/// A producer, its epoch, and the positions of the subscriptions that are known.
type Begun = (RingProducer, u64, Vec<(String, u64)>);

impl Ring {
    /// Creates the ring with what an earlier process left of it, and has it kept for a later one.
    /// Its records are numbered on in the same epoch, unless the ring is made in another way now.
    pub fn create_kept(
        settings: &RingSettings,
        metrics: &Metrics,
        store: Store,
        left: Left,
    ) -> Result<Self, RingError> {
        let name = &settings.name;
        let generation = left.generation.map_or(0, |before| before.wrapping_add(1));
        let past = left.past().unwrap_or_else(|reason| {
            tracing::error!(ring = %name, reason, "the records that were kept cannot be used");
            None
        });
        let crashes = past.as_ref().map_or(0, |past| past.crashes);
        let segment = Self::make_segment(settings)?;
        let (producer, epoch, positions) = match past.map(|past| (past.past, past.records)) {
            None => {
                let epoch = random_epoch()?;
                (Self::format(settings, &segment, epoch, 0)?, epoch, Vec::new())
            }
            Some((past, records)) => Self::begin_again(settings, &segment, past, &records)?,
        };
        let mut ring = Self::assemble(settings, metrics, segment, producer, epoch, |name| {
            let known = positions.iter().find(|(other, _)| other == name);
            known.map_or(Start::Latest, |(_, at)| Start::At(low32(*at)))
        })?;
        let (page, descriptor) = Page::create(name, epoch, crashes, &settings.subscriptions)?;
        let kept = Kept { store, ring: name.clone(), generation, page };
        kept.note(&mut ring.lock());
        kept.page.complete();
        kept.store.keep(&Kept::name("ring", name, generation), ring.segment.handout());
        kept.store.keep(&Kept::name("page", name, generation), descriptor.as_fd());
        // Only now: whatever happens before, one of the two is whole.
        for name in left.names {
            kept.store.forget(&name);
        }
        ring.crashes = crashes;
        ring.kept = Some(kept);
        Ok(ring)
    }

    fn begin_again(
        settings: &RingSettings,
        segment: &crate::segment::RingSegment,
        past: Past,
        records: &InMemory,
    ) -> Result<Begun, RingError> {
        let name = &settings.name;
        let unread_bytes = records.bytes.len();
        let before = format!("{:016x}", past.epoch);
        if let Some(producer) = go_on(settings, segment, &past, records)? {
            let next_seq = past.next_seq;
            tracing::info!(ring = %name, epoch = before, next_seq, unread_bytes, "ring goes on");
            return Ok((producer, past.epoch, past.positions));
        }
        let epoch = random_epoch()?;
        let mut producer = Self::format(settings, segment, epoch, 0)?;
        let positions = copy_past(settings, &mut producer, &past, records, None)?;
        let _ = producer.publish();
        let records = producer.next_seq();
        let epoch_text = format!("{epoch:016x}");
        tracing::warn!(
            ring = %name,
            epoch = epoch_text,
            before,
            records,
            "the ring is made in another way now: a new epoch begins with what was not released"
        );
        Ok((producer, epoch, positions))
    }

    /// Returns how many processes in a row, before this one, ended without a word.
    pub fn crashes(&self) -> u32 {
        self.crashes
    }
}
