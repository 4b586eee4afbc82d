//! Remembers one record boundary per sixteenth of the ring, so that `oldest` can be moved without
//! reading a record.

use crate::geometry::{Geometry, distance, low32};

/// Sectors that a ring is divided into.
const SECTORS: u32 = 16;

/// A place in a sector, granules. Where memory is small, so are sectors: in a ring of up to 32 MiB
/// each place has 16 bits. In a larger one a sector whose first boundary comes later than that is
/// taken for one without any.
#[cfg(not(all(target_os = "none", not(target_pointer_width = "64"))))]
type Place = u32;
#[cfg(all(target_os = "none", not(target_pointer_width = "64")))]
type Place = u16;

/// The first record boundary of each sector of the last lap.
///
/// Counts in 32 bits: all it is asked about is less than half of that circle apart.
pub(crate) struct Boundaries<P = Place> {
    /// Where in the sector of this index the boundary is that was passed last.
    table: [P; SECTORS as usize],
    /// Start of the first sector without an entry; before the first entry, where the ring begins.
    next_sector: u32,
    /// Bit i: entry i is set. INVARIANT: its sector is one of the last 16 before `next_sector`.
    known: u16,
    /// Binary logarithm of a sector's granules.
    shift: u8,
}

impl<P: Copy + Default + TryFrom<u32> + Into<u32>> Boundaries<P> {
    /// Knows nothing yet of a ring that begins at `start`.
    #[allow(clippy::cast_possible_truncation, reason = "a logarithm")]
    pub(crate) fn new(geometry: &Geometry, start: u64) -> Self {
        let shift = (geometry.capacity() / SECTORS).max(1).ilog2() as u8;
        Self { table: [P::default(); SECTORS as usize], next_sector: low32(start), known: 0, shift }
    }

    /// Notes that a record begins at `position`; positions come in rising order.
    #[inline]
    pub(crate) fn note(&mut self, position: u64) {
        if !is_before(low32(position), self.next_sector) {
            self.note_first(low32(position));
        }
    }

    /// Notes the first boundary of a sector, and forgets the sectors before it that have none.
    #[allow(clippy::cast_possible_truncation, reason = "16 bits are left")]
    fn note_first(&mut self, position: u32) {
        let start = self.start_of(position);
        let skipped = distance(self.start_of(self.next_sector), start) >> self.shift;
        // The skipped sectors and this one, around the end of the table.
        let passed = !(u32::MAX << skipped.saturating_add(1).min(SECTORS));
        let passed = passed << self.index(self.next_sector);
        let mut known = u32::from(self.known) & !(passed | passed >> SECTORS);
        if let Ok(place) = P::try_from(distance(start, position)) {
            self.table[self.index(position)] = place;
            known |= 1 << self.index(position);
        }
        self.known = known as u16;
        self.next_sector = start.wrapping_add(1 << self.shift);
    }

    /// Returns the first remembered boundary at or past `needed`, which lies in the last lap.
    pub(crate) fn first_from(&self, needed: u64) -> Option<u64> {
        let from = low32(needed);
        let mut start = self.start_of(from);
        let first = self.next_sector.wrapping_sub(SECTORS << self.shift);
        if is_before(start, first) {
            start = first;
        }
        while is_before(start, self.next_sector) {
            let index = self.index(start);
            let at = start.wrapping_add(self.table[index].into());
            if self.known >> index & 1 == 1 && !is_before(at, from) {
                return Some(needed + u64::from(distance(from, at)));
            }
            start = start.wrapping_add(1 << self.shift);
        }
        None
    }

    /// Returns where the sector of a position begins.
    const fn start_of(&self, position: u32) -> u32 {
        position >> self.shift << self.shift
    }

    /// Returns the index of a position's sector in the table.
    const fn index(&self, position: u32) -> usize {
        ((position >> self.shift) % SECTORS) as usize
    }
}

/// Returns whether a position comes before another, less than half the circle away.
#[inline]
const fn is_before(position: u32, other: u32) -> bool {
    distance(other, position) > u32::MAX / 2
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::vec::Vec;

    fn geometry(capacity: u32) -> Geometry {
        Geometry::new(1, capacity, 32, 256, 0, usize::MAX).expect("it keeps the rules")
    }

    #[test]
    #[cfg_attr(miri, ignore = "arithmetic over private values, and there takes minutes")]
    fn found_boundary_is_the_first_of_its_sector_for_every_need_of_the_last_lap() {
        firsts_are_found::<u32>();
        firsts_are_found::<u16>();
    }

    fn firsts_are_found<P: Copy + Default + TryFrom<u32> + Into<u32>>() {
        for capacity in [4, 8, 16, 32, 64] {
            for start in [u64::from(u32::MAX) - 7, 0, 5, 9 << 33] {
                for step in 1..=u64::from(capacity) / 2 {
                    let mut boundaries = Boundaries::<P>::new(&geometry(capacity), start);
                    let sector = u64::from((capacity / 16).max(1));
                    let (mut firsts, mut count) = (Vec::<u64>::new(), 0);
                    let mut at = start;
                    // Records of this many granules and, now and then, of one.
                    while at < start + 3 * u64::from(capacity) {
                        boundaries.note(at);
                        if firsts.last().is_none_or(|last| last / sector < at / sector) {
                            firsts.push(at);
                        }
                        count += 1;
                        at += if count % 3 == 0 { 1 } else { step };
                        for needed in at.saturating_sub(u64::from(capacity)).max(start)..at {
                            // A place in the table is taken over by what lies 16 sectors further.
                            let lost = |at: u64| {
                                firsts.iter().any(|other| other / sector == at / sector + 16)
                            };
                            let oracle =
                                firsts.iter().copied().find(|&at| at >= needed && !lost(at));
                            assert_eq!(
                                boundaries.first_from(needed),
                                oracle,
                                "capacity {capacity}, step {step}, needed {needed}"
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn nothing_is_found_where_nothing_was_noted() {
        let mut boundaries = Boundaries::<u32>::new(&geometry(64), 100);
        assert_eq!(boundaries.first_from(100), None);
        boundaries.note(100);
        boundaries.note(101);
        assert_eq!((boundaries.first_from(100), boundaries.first_from(101)), (Some(100), None));
    }

    #[test]
    fn boundary_is_found_behind_sectors_in_which_no_record_begins() {
        let mut boundaries = Boundaries::<u32>::new(&geometry(64), 0);
        boundaries.note(0);
        boundaries.note(30);
        assert_eq!([1, 4, 29, 30].map(|needed| boundaries.first_from(needed)), [Some(30); 4]);
    }

    #[test]
    fn nothing_is_found_past_the_last_entry_nor_before_the_first_of_an_odd_start() {
        let mut boundaries = Boundaries::<u16>::new(&geometry(64), u64::from(u32::MAX) - 6);
        assert_eq!(boundaries.first_from(u64::from(u32::MAX) - 60), None);
        boundaries.note(u64::from(u32::MAX) - 6);
        boundaries.note(u64::from(u32::MAX) + 2);
        assert_eq!(boundaries.first_from(u64::from(u32::MAX) + 2), Some(u64::from(u32::MAX) + 2));
        assert_eq!(boundaries.first_from(u64::from(u32::MAX) + 3), None);
        assert_eq!(boundaries.first_from(u64::from(u32::MAX) + 40), None);
    }

    #[test]
    fn boundary_too_far_into_its_sector_for_a_place_is_passed_over() {
        let geometry = geometry(1 << 24);
        let (mut short, mut long) =
            (Boundaries::<u16>::new(&geometry, 0), Boundaries::<u32>::new(&geometry, 0));
        let sector = 1 << 20;
        for at in [0, sector + 0xffff, 2 * sector + 0x1_0000, 3 * sector + 5] {
            short.note(at);
            long.note(at);
        }
        for (needed, by_16_bits, by_32_bits) in [
            (1, sector + 0xffff, sector + 0xffff),
            (sector + 0x1_0000, 3 * sector + 5, 2 * sector + 0x1_0000),
            (3 * sector, 3 * sector + 5, 3 * sector + 5),
        ] {
            assert_eq!(short.first_from(needed), Some(by_16_bits));
            assert_eq!(long.first_from(needed), Some(by_32_bits));
        }
    }
}
