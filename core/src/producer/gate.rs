//! The producer's view of its gating readers: how far each has released, and which of them sleep.
//!
//! Believes nothing a reader wrote: a cursor is clamped to what is possible, and a reader is woken
//! once per sleep. Never waits and makes no system call.

use core::sync::atomic::Ordering;

use crate::geometry::{distance, low32};
use crate::layout::{WAITING_FUTEX, WAITING_MODE_MASK, WAITING_SOCKET, cursor_word};
use crate::memory::Memory;

/// Names one subscription of a producer until it is removed.
///
/// ```
/// use aqueduct_core::{Producer, Region, RingConfig, Segment, Start, SubscriptionId};
///
/// let ring = Segment::<{ 256 + 1024 }>::new();
/// let config = RingConfig::new("events", 0x5eed_5f0c, 1024);
/// let mut producer: Producer<Region> = Producer::create(ring.region(), &config).unwrap();
/// let first: SubscriptionId = producer.subscribe(Start::Latest).unwrap();
/// let second = producer.subscribe(Start::Latest).unwrap();
/// assert_eq!((first.index(), second.index()), (0, 1));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct SubscriptionId(pub(crate) u8);

impl SubscriptionId {
    /// Returns its index, below the producer's limit and below 64: the bit it has in
    /// [`Wake::sockets`].
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// The readers that the caller must wake, by whatever its platform offers. The core never makes a
/// system call itself.
///
/// ```
/// use aqueduct_core::Wake;
///
/// let first = Wake { sockets: 0b01, ..Wake::NONE };
/// let wake = first.and(Wake { futex: true, sockets: 0b10 });
/// assert!(!wake.is_none());
/// let mut told = Vec::new();
/// if wake.futex {
///     told.push("FUTEX_WAKE on the tail word".to_string());
/// }
/// for index in (0..64).filter(|index| wake.sockets >> index & 1 == 1) {
///     told.push(format!("a packet to the reader of subscription {index}"));
/// }
/// assert_eq!(told.len(), 3);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[must_use = "sleeping readers are woken only by the caller"]
pub struct Wake {
    /// One `FUTEX_WAKE` of all waiters (not private) on the `tail` word.
    pub futex: bool,
    /// Bit i: one `W` packet to the reader of the subscription with index i.
    pub sockets: u64,
}

impl Wake {
    /// Nobody sleeps.
    pub const NONE: Self = Self { futex: false, sockets: 0 };

    /// Returns whether nobody must be woken.
    #[must_use]
    pub const fn is_none(self) -> bool {
        !self.futex && self.sockets == 0
    }

    /// Combines two.
    pub const fn and(self, other: Self) -> Self {
        Self { futex: self.futex || other.futex, sockets: self.sockets | other.sockets }
    }
}

/// A reader stored a cursor that no honest reader can have. It was detached; its subscription gates
/// at `last_seen`.
///
/// ```
/// use core::sync::atomic::Ordering;
///
/// use aqueduct_core::layout::cursor_word;
/// use aqueduct_core::{MemoryMut, Meta, Producer, Region, RingConfig, Segment, Start, Violation};
///
/// let (ring, cursor) = (Segment::<{ 256 + 1024 }>::new(), Segment::<256>::new());
/// let config = RingConfig::new("events", 0x5eed_5f08, 1024);
/// let mut producer: Producer<Region> = Producer::create(ring.region(), &config)?;
/// let id = producer.subscribe(Start::Oldest)?;
/// producer.attach(id, "liar", cursor.region())?;
/// let _ = producer.push(Meta::default(), b"one")?;
/// cursor.region().store(cursor_word::CURSOR, 99, Ordering::Release); // past the tail
/// assert_eq!(producer.backlog(), 2);
/// let violation = Violation { subscription: id, stored: 99, last_seen: 0, tail: 2 };
/// assert_eq!(producer.take_violation(), Some(violation));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Violation {
    /// Whose reader.
    pub subscription: SubscriptionId,
    /// What it stored, a position.
    pub stored: u32,
    /// The last acceptable cursor, a position.
    pub last_seen: u32,
    /// Just past the last published record: the most it could have stored.
    pub tail: u32,
}

impl core::fmt::Display for Violation {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(
            f,
            "cursor {:#x} stored, outside [{:#x}, {:#x}]",
            self.stored, self.last_seen, self.tail
        )
    }
}

/// One subscription, attached or not.
struct Slot<C> {
    /// The attached reader's cursor segment.
    segment: Option<C>,
    /// Position up to which it released. INVARIANT: at most a capacity before the published tail,
    /// and not past it; never goes back.
    seen: u32,
    /// The value of `waiting` for which the reader was last woken; 0 is never woken for.
    woken: u32,
    /// Set when the reader lied, until it is taken.
    lie: Option<Lie>,
}

/// What becomes a [`Violation`] when it is taken; the place in the table says whose.
struct Lie {
    stored: u32,
    last_seen: u32,
    tail: u32,
}

/// A fixed table of subscriptions.
pub(crate) struct Gate<C, const READERS: usize> {
    slots: heapless::Vec<Option<Slot<C>>, READERS>,
}

impl<C: Memory, const READERS: usize> Gate<C, READERS> {
    pub(crate) const fn new() -> Self {
        const { assert!(READERS <= 64, "a Wake has 64 bits") };
        Self { slots: heapless::Vec::new() }
    }

    /// Adds a subscription that gates from `at` on; `None` if the table is full.
    pub(crate) fn add(&mut self, at: u32) -> Option<SubscriptionId> {
        let slot = Slot { segment: None, seen: at, woken: 0, lie: None };
        let free = self.slots.iter().position(Option::is_none);
        let index = if let Some(free) = free {
            self.slots[free] = Some(slot);
            free
        } else {
            self.slots.push(Some(slot)).ok()?;
            self.slots.len() - 1
        };
        u8::try_from(index).ok().map(SubscriptionId)
    }

    /// Removes a subscription, which gates no more. Returns whether there was one.
    pub(crate) fn remove(&mut self, id: SubscriptionId) -> bool {
        self.slots.get_mut(id.index()).and_then(Option::take).is_some()
    }

    fn slot(&mut self, id: SubscriptionId) -> Option<&mut Slot<C>> {
        self.slots.get_mut(id.index())?.as_mut()
    }

    /// Returns the position from which the subscription gates, and whether a reader is attached.
    pub(crate) fn get(&self, id: SubscriptionId) -> Option<(u32, bool)> {
        let slot = self.slots.get(id.index())?.as_ref()?;
        Some((slot.seen, slot.segment.is_some()))
    }

    pub(crate) fn segment(&self, id: SubscriptionId) -> Option<&C> {
        self.slots.get(id.index())?.as_ref()?.segment.as_ref()
    }

    /// Returns the other subscription, if any, whose reader has this very segment.
    pub(crate) fn other_with(&self, id: SubscriptionId, segment: &C) -> Option<SubscriptionId> {
        // One place has no other.
        if READERS < 2 {
            return None;
        }
        let others = (0u8..).map(SubscriptionId).zip(&self.slots).filter(|(other, _)| *other != id);
        others.into_iter().find_map(|(other, slot)| {
            let theirs = slot.as_ref()?.segment.as_ref()?;
            theirs.is_same(segment).then_some(other)
        })
    }

    /// Hands the slot a cursor segment that was formatted with the position that [`get`](Self::get)
    /// returns.
    pub(crate) fn attach(&mut self, id: SubscriptionId, segment: C) -> bool {
        let Some(slot) = self.slot(id) else { return false };
        slot.segment = Some(segment);
        slot.woken = 0;
        true
    }

    /// Takes the segment back after one last look at the cursor in it.
    pub(crate) fn detach(&mut self, id: SubscriptionId, tail: u64) -> Option<C> {
        let slot = self.slot(id)?;
        refresh_slot(slot, low32(tail));
        slot.segment.take()
    }

    /// Reloads the cursors and returns the slowest; `None` without subscriptions.
    pub(crate) fn refresh(&mut self, tail: u64) -> Option<u64> {
        let mut most = None;
        for slot in self.slots.iter_mut().flatten() {
            refresh_slot(slot, low32(tail));
            most = most.max(Some(distance(slot.seen, low32(tail))));
        }
        most.map(|behind| tail - u64::from(behind))
    }

    /// Returns the next reader that lied, once.
    pub(crate) fn take_violation(&mut self) -> Option<Violation> {
        let slots = (0u8..).map(SubscriptionId).zip(&mut self.slots);
        slots.into_iter().find_map(|(subscription, slot)| {
            let Lie { stored, last_seen, tail } = slot.as_mut()?.lie.take()?;
            Some(Violation { subscription, stored, last_seen, tail })
        })
    }

    /// Returns whether any reader is attached, so that a publication must look for sleepers.
    pub(crate) fn any_attached(&self) -> bool {
        self.slots.iter().flatten().any(|slot| slot.segment.is_some())
    }

    /// Returns the readers that sleep on another tail than this one and were not woken from that
    /// yet. Call it after a publication and its `fence(SeqCst)`.
    ///
    /// A reader that names this very tail went to sleep after the publication and has seen it.
    /// Waking it now could come before its system call and be lost, and the next publication must
    /// not take it for woken.
    pub(crate) fn sleepers(&mut self, tail: u32) -> Wake {
        let mut wake = Wake::NONE;
        for (index, slot) in self.slots.iter_mut().enumerate() {
            let Some(slot) = slot else { continue };
            let Some(segment) = &slot.segment else { continue };
            // ORDER(sleep): Relaxed; the SeqCst fence before this call orders it after the
            // publication.
            let waiting = segment.load(cursor_word::WAITING, Ordering::Relaxed);
            if waiting == 0 {
                slot.woken = 0;
                continue;
            }
            if waiting >> 2 == tail & (u32::MAX >> 2) {
                slot.woken = 0;
                continue;
            }
            if waiting == slot.woken {
                continue;
            }
            slot.woken = waiting;
            match waiting & WAITING_MODE_MASK {
                WAITING_FUTEX => wake.futex = true,
                WAITING_SOCKET => wake.sockets |= if READERS == 1 { 1 } else { 1 << index },
                _ => {}
            }
        }
        wake
    }
}

fn refresh_slot<C: Memory>(slot: &mut Slot<C>, tail: u32) {
    let Some(segment) = &slot.segment else { return };
    // ORDER(release): Acquire. What the reader did with the bytes it released comes before we
    // overwrite them. Pairs with `Reader::release`.
    let stored = segment.load(cursor_word::CURSOR, Ordering::Acquire);
    if distance(slot.seen, stored) <= distance(slot.seen, tail) {
        slot.seen = stored;
    } else {
        slot.segment = None;
        slot.lie = Some(Lie { stored, last_seen: slot.seen, tail });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{MemoryMut, Region, Segment};

    fn store(page: &Segment<256>, at: usize, value: u32) {
        // ORDER(none): one thread.
        page.region().store(at, value, Ordering::Relaxed);
    }

    #[test]
    fn slowest_cursor_counts_whether_a_reader_is_attached_or_not() {
        let page = Segment::<256>::new();
        let mut gate = Gate::<Region<'_>, 3>::new();
        assert_eq!((gate.refresh(9), gate.any_attached()), (None, false));
        let (slow, fast) = (gate.add(5).unwrap(), gate.add(7).unwrap());
        assert_eq!(gate.refresh(9), Some(5));
        store(&page, cursor_word::CURSOR, 5);
        assert!(gate.attach(slow, page.region()) && gate.any_attached());
        assert!(!gate.attach(SubscriptionId(2), page.region()));
        store(&page, cursor_word::CURSOR, 9);
        assert_eq!(gate.refresh(9), Some(7));
        assert_eq!((gate.get(slow), gate.get(fast)), (Some((9, true)), Some((7, false))));
        assert!(gate.detach(slow, 9).is_some() && gate.segment(slow).is_none());
        assert!(gate.remove(fast) && !gate.remove(fast) && !gate.remove(SubscriptionId(2)));
        assert_eq!(gate.refresh(9), Some(9));
        assert_eq!(
            (gate.add(9), gate.add(9), gate.add(9)),
            (Some(fast), Some(SubscriptionId(2)), None)
        );
    }

    #[test]
    fn cursor_is_believed_up_to_the_tail_and_not_a_granule_further() {
        for seen in [0_u64, 100, (3 << 32) - 2] {
            for (step, believed) in [
                (0_u32, true),
                (1, true),
                (4, true),
                (5, false),
                (u32::MAX, false),
                (1 << 31, false),
            ] {
                let page = Segment::<256>::new();
                let mut gate = Gate::<Region<'_>, 1>::new();
                let id = gate.add(low32(seen)).unwrap();
                gate.attach(id, page.region());
                let stored = low32(seen).wrapping_add(step);
                store(&page, cursor_word::CURSOR, stored);
                let now = seen + if believed { u64::from(step) } else { 0 };
                assert_eq!(gate.refresh(seen + 4), Some(now));
                assert_eq!(gate.any_attached(), believed);
                let violation = Violation {
                    subscription: id,
                    stored,
                    last_seen: low32(seen),
                    tail: low32(seen + 4),
                };
                assert_eq!(gate.take_violation(), (!believed).then_some(violation));
                assert_eq!(gate.take_violation(), None);
            }
        }
    }

    #[test]
    fn sleepers_are_named_by_their_mode_and_index_once() {
        let pages = [const { Segment::<256>::new() }; 3];
        let mut gate = Gate::<Region<'_>, 3>::new();
        for (page, waiting) in
            pages.iter().zip([WAITING_SOCKET + 4, WAITING_FUTEX + 4, WAITING_SOCKET + 8])
        {
            let id = gate.add(0).unwrap();
            gate.attach(id, page.region());
            store(page, cursor_word::WAITING, waiting);
        }
        assert_eq!(gate.sleepers(9), Wake { futex: true, sockets: 0b101 });
        assert_eq!(gate.sleepers(9), Wake::NONE);
        store(&pages[2], cursor_word::WAITING, WAITING_SOCKET + 12);
        assert_eq!(gate.sleepers(9), Wake { futex: false, sockets: 0b100 });
        // A page that is attached anew begins anew, and so does a reader that was seen awake.
        gate.attach(SubscriptionId(0), pages[0].region());
        assert_eq!(gate.sleepers(9), Wake { futex: false, sockets: 0b001 });
        store(&pages[0], cursor_word::WAITING, 0);
        assert_eq!(gate.sleepers(9), Wake::NONE);
        store(&pages[0], cursor_word::WAITING, WAITING_SOCKET + 4);
        assert_eq!(gate.sleepers(9), Wake { futex: false, sockets: 0b001 });
    }

    #[test]
    fn reader_that_sleeps_on_the_new_tail_is_left_asleep_until_the_next() {
        for tail in [0_u32, 5, u32::MAX >> 2, (u32::MAX >> 2) + 1, u32::MAX] {
            let page = Segment::<256>::new();
            let mut gate = Gate::<Region<'_>, 1>::new();
            let id = gate.add(0).unwrap();
            gate.attach(id, page.region());
            store(&page, cursor_word::WAITING, tail << 2 | WAITING_FUTEX);
            assert_eq!(gate.sleepers(tail), Wake::NONE);
            assert_eq!(gate.sleepers(tail.wrapping_add(1)), Wake { futex: true, sockets: 0 });
            assert_eq!(gate.sleepers(tail.wrapping_add(2)), Wake::NONE);
        }
    }

    #[test]
    fn wakes_add_up() {
        let (futex, socket) = (Wake { futex: true, sockets: 0 }, Wake { futex: false, sockets: 2 });
        assert_eq!(futex.and(socket), Wake { futex: true, sockets: 2 });
        assert_eq!(
            socket.and(Wake { futex: false, sockets: 7 }).sockets,
            7,
            "asked twice is asked once"
        );
        assert!(!futex.is_none() && !socket.is_none() && Wake::NONE.is_none());
    }
}
