//! Memory whose every load may return anything: honest, stale, random, off by one, or forged so
//! that it passes the checks.
//!
//! It counts the words loaded, so that a test can bound the work of a call, and asserts that no
//! access leaves the segment. Stores are kept; only loads lie. Everything follows from the seed.
//! One thread.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::Ordering;

use aqueduct_core::geometry::Geometry;
use aqueduct_core::internals::{Framing, Header};
use aqueduct_core::layout::{
    KIND_ATTRIBUTES, KIND_DATA, KIND_DISCARD, KIND_PAD, RingHeader, ring_word,
};
use aqueduct_core::memory::Span;
use aqueduct_core::payload_crc;
use aqueduct_core::{Memory, MemoryMut};

use crate::rng::Rng;

/// How a segment lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    /// Never.
    Honest,
    /// Any lie, in so many of a thousand loads.
    Often(usize),
    /// There is always a lap more to read, and none of it is a record.
    Debris,
    /// There is always a lap more to read, and all of it are padding records of one granule.
    Padding,
    /// There is always a lap more to read: empty records of any numbers, no two of which follow.
    Jumps,
    /// The producer is always ahead: `oldest` moves with every load, and what was copied is lost.
    Runaway,
    /// A lap of padding records, and at its end `oldest` says that it was overwritten; then the
    /// same lap again.
    Pendulum,
}

struct State {
    bytes: RefCell<Vec<u8>>,
    /// What the bytes were when [`Hostile::remember`] was called.
    stale: RefCell<Vec<u8>>,
    rng: RefCell<Rng>,
    habit: Cell<Habit>,
    /// Words loaded since they were last taken.
    loaded: Cell<usize>,
    /// Set for rings.
    geometry: Option<Geometry>,
    /// The words last told: positions that a reader believes in follow from them.
    tail: Cell<u32>,
    oldest: Cell<u32>,
    /// Loads of `oldest`, for the pendulum.
    looks: Cell<u32>,
}

/// A segment that lies. Clones are the same segment.
#[derive(Clone)]
pub struct Hostile(Rc<State>);

impl Hostile {
    /// An honest segment of zeros; a ring if it has a geometry.
    #[must_use]
    pub fn new(size: usize, geometry: Option<Geometry>, seed: u64) -> Self {
        Self(Rc::new(State {
            bytes: RefCell::new(vec![0; size]),
            stale: RefCell::new(vec![0; size]),
            rng: RefCell::new(Rng::new(seed)),
            habit: Cell::new(Habit::Honest),
            loaded: Cell::new(0),
            geometry,
            tail: Cell::new(0),
            oldest: Cell::new(0),
            looks: Cell::new(0),
        }))
    }

    /// From now on it lies like this.
    pub fn set(&self, habit: Habit) {
        self.0.habit.set(habit);
    }

    /// Stale loads return what is there now.
    pub fn remember(&self) {
        self.0.stale.borrow_mut().clone_from(&self.0.bytes.borrow());
    }

    /// Words loaded since the last call.
    #[must_use]
    pub fn take_loaded(&self) -> usize {
        self.0.loaded.take()
    }

    fn roll(&self, limit: usize) -> usize {
        self.0.rng.borrow_mut().below(limit)
    }

    fn random(&self) -> u32 {
        self.0.rng.borrow_mut().word()
    }

    fn lies(&self) -> bool {
        matches!(self.0.habit.get(), Habit::Often(often) if self.roll(1000) < often)
    }

    fn capacity(&self) -> u32 {
        self.0.geometry.map_or(16, |ring| ring.capacity())
    }

    fn word(bytes: &[u8], at: usize) -> u32 {
        u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
    }

    /// A control word by a plan to keep its reader busy.
    fn planned(&self, at: usize, honest: u32) -> u32 {
        let state = &self.0;
        match (state.habit.get(), at) {
            (Habit::Debris | Habit::Padding | Habit::Jumps, ring_word::TAIL) => {
                state.tail.get().wrapping_add(self.capacity())
            }
            (Habit::Runaway, ring_word::TAIL) => state.oldest.get().wrapping_add(self.capacity()),
            (Habit::Runaway, ring_word::OLDEST) => {
                state.oldest.get().wrapping_add(self.capacity() / 2 + 1)
            }
            (Habit::Pendulum, ring_word::TAIL) => honest.wrapping_add(self.capacity()),
            (Habit::Pendulum, ring_word::OLDEST) => {
                state.looks.set(state.looks.get() + 1);
                let swing = state.looks.get().is_multiple_of(self.capacity());
                Self::word(&state.bytes.borrow(), ring_word::TAIL).wrapping_add(if swing {
                    self.capacity()
                } else {
                    0
                })
            }
            _ => honest,
        }
    }

    fn lie(&self, at: usize, honest: u32) -> u32 {
        match self.roll(10) {
            0 => Self::word(&self.0.stale.borrow(), at),
            1 => self.random(),
            2 => honest.wrapping_add(1),
            3 => honest.wrapping_sub(1),
            4 => honest.wrapping_add(self.capacity()),
            5 => honest.wrapping_sub(self.capacity()),
            6 => honest.wrapping_add(self.capacity() + 1),
            7 => honest ^ (1 << self.roll(32)),
            8 => self.0.tail.get().wrapping_add(self.random() % (self.capacity() + 2)),
            _ => [0, 1, 2, u32::MAX, 1 << 31, self.capacity()][self.roll(6)],
        }
    }

    /// A header that checks at the position that its reader takes this granule for.
    fn forged(&self, at: usize) -> Option<[u8; 32]> {
        let ring = self.0.geometry?;
        let capacity = ring.capacity();
        let index = u32::try_from(at.checked_sub(ring.offset_of(0))? / 32).ok()?;
        // The last position before the tail, or the first after `oldest`, that is in this
        // granule.
        let (tail, oldest) = (self.0.tail.get(), self.0.oldest.get());
        let position = if self.0.habit.get() != Habit::Runaway && self.roll(4) > 0 {
            let back = tail.wrapping_sub(index) % capacity;
            tail.wrapping_sub(if back == 0 { capacity } else { back })
        } else {
            oldest.wrapping_add(index.wrapping_sub(oldest) % capacity)
        };
        let room = ring.room_to_end(u64::from(position));
        let mut header = Header::padding(KIND_PAD, 0, self.random().into());
        match self.0.habit.get() {
            Habit::Jumps => header.kind = KIND_DATA,
            Habit::Often(_) => {
                const ATTRIBUTED: u8 = KIND_DATA | KIND_ATTRIBUTES;
                header.kind = [KIND_DATA, KIND_DATA, ATTRIBUTED, KIND_PAD, KIND_DISCARD, 0, 200]
                    [self.roll(7)];
                header.flags = [0, 1, 2, 255][self.roll(4)];
                header.len = [
                    0,
                    1,
                    self.random() % 64,
                    (room - 1) * 32,
                    room * 32,
                    ring.max_payload(),
                    ring.max_payload() + 1,
                    u32::MAX,
                ][self.roll(8)];
                header.seq =
                    [0, 1, u64::MAX, u64::MAX - 1, u64::from(self.random() % 64), header.seq << 32]
                        [self.roll(6)];
                header.timestamp_ns = [0, u64::MAX, header.seq][self.roll(3)];
                header.payload_crc =
                    if self.roll(2) == 0 { payload_crc(&[]) } else { self.random() };
            }
            _ => {}
        }
        Some(Framing::new(ring.epoch()).encode(position, &header))
    }

    /// A ring header with a right CRC and other values.
    fn other_ring(&self, into: &mut [u8]) {
        use zerocopy::{FromBytes, IntoBytes};
        let Ok(header) = RingHeader::mut_from_bytes(into) else { return };
        match self.roll(5) {
            0 => header.capacity.set(1 << self.roll(32)),
            1 => header
                .max_payload
                .set([self.random(), u32::MAX, header.max_payload.get() + 1][self.roll(3)]),
            2 => header
                .data_offset
                .set([256, 64, 320, u32::MAX - 63, self.random() & !63][self.roll(5)]),
            3 => header.epoch.set(u64::from(self.random() % 2)),
            _ => header.clock_id.set(self.random()),
        }
        let crc = crc32fast::hash(&header.as_bytes()[..124]);
        header.header_crc.set(crc);
    }

    fn lie_bytes(&self, at: usize, into: &mut [u8]) {
        if at == 0 && into.len() == 128 && self.roll(2) == 0 {
            return self.other_ring(into);
        }
        match self.roll(6) {
            0 => into.copy_from_slice(&self.0.stale.borrow()[at..at + into.len()]),
            1 => into.iter_mut().for_each(|byte| *byte = self.random().to_le_bytes()[0]),
            2 => {
                let bit = self.roll((into.len() * 8).max(1));
                if let Some(byte) = into.get_mut(bit / 8) {
                    *byte ^= 1 << (bit % 8);
                }
            }
            3 => into.fill(0),
            _ => {
                if let (32, Some(header)) = (into.len(), self.forged(at)) {
                    into.copy_from_slice(&header);
                }
            }
        }
    }
}

impl Memory for Hostile {
    fn size(&self) -> usize {
        self.0.bytes.borrow().len()
    }

    fn load(&self, at: usize, _: Ordering) -> u32 {
        assert!(
            at.is_multiple_of(4) && at + 4 <= self.size(),
            "control word at {at} of {}",
            self.size()
        );
        self.0.loaded.set(self.0.loaded.get() + 1);
        let honest = self.planned(at, Self::word(&self.0.bytes.borrow(), at));
        let told = if self.lies() { self.lie(at, honest) } else { honest };
        match at {
            ring_word::TAIL => self.0.tail.set(told),
            ring_word::OLDEST => self.0.oldest.set(told),
            _ => {}
        }
        told
    }

    fn read(&self, at: usize, into: &mut [u8]) {
        let words = into.len().div_ceil(8);
        assert!(
            at.is_multiple_of(32) && at + words * 8 <= self.size(),
            "{} bytes at {at} of {}",
            into.len(),
            self.size()
        );
        self.0.loaded.set(self.0.loaded.get() + words);
        into.copy_from_slice(&self.0.bytes.borrow()[at..at + into.len()]);
        match self.0.habit.get() {
            Habit::Often(_) if self.lies() => self.lie_bytes(at, into),
            Habit::Honest | Habit::Often(_) => {}
            // The planned ones leave the ring's header alone.
            _ if at < 128 => {}
            Habit::Debris => into.fill(0),
            Habit::Padding | Habit::Jumps | Habit::Runaway | Habit::Pendulum => {
                if let (32, Some(header)) = (into.len(), self.forged(at)) {
                    into.copy_from_slice(&header);
                }
            }
        }
    }

    /// Every load may be lied to.
    fn span(&self, _: usize, _: usize) -> Option<Span<'_>> {
        None
    }

    fn fence(&self, _: Ordering) {}
}

impl MemoryMut for Hostile {
    fn store(&self, at: usize, value: u32, _: Ordering) {
        assert!(
            at.is_multiple_of(4) && at + 4 <= self.size(),
            "control word at {at} of {}",
            self.size()
        );
        self.0.bytes.borrow_mut()[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }

    fn write(&self, at: usize, bytes: &[u8]) {
        let whole = bytes.len().next_multiple_of(8);
        assert!(
            at.is_multiple_of(8) && at + whole <= self.size(),
            "{} bytes at {at} of {}",
            bytes.len(),
            self.size()
        );
        let place = &mut self.0.bytes.borrow_mut()[at..at + whole];
        place.fill(0);
        place[..bytes.len()].copy_from_slice(bytes);
    }
}
