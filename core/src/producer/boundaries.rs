//! Remembers one record boundary per sixteenth of the ring, so that `oldest` can be moved without
//! reading a record.

use crate::geometry::{Geometry, distance, low32};

/// Sectors that a ring is divided into.
const SECTORS: usize = 16;

/// The first record boundary of each sector of the last lap.
pub(crate) struct Boundaries {
    /// The low 32 bits of a boundary in the sector of this index that was passed last.
    table: [u32; SECTORS],
    /// Bit i: entry i is set. INVARIANT: its sector is one of the last 16 before `next_sector`.
    known: u32,
    /// Start of the first sector without an entry.
    next_sector: u64,
    /// Binary logarithm of a sector's granules.
    shift: u32,
}

impl Boundaries {
    /// Knows nothing yet of a ring that begins at `start`.
    pub(crate) fn new(geometry: &Geometry, start: u64) -> Self {
        let shift = (geometry.capacity() as usize / SECTORS).max(1).ilog2();
        Self { table: [0; SECTORS], known: 0, next_sector: start, shift }
    }

    /// Notes that a record begins at `position`; positions come in rising order.
    #[inline]
    pub(crate) fn note(&mut self, position: u64) {
        if position >= self.next_sector {
            self.note_first(position);
        }
    }

    /// Notes the first boundary of a sector, and forgets the sectors before it that have none.
    fn note_first(&mut self, position: u64) {
        let sector = position >> self.shift;
        for skipped in (self.next_sector >> self.shift..sector).take(SECTORS) {
            self.known &= !(1 << index(skipped));
        }
        self.known |= 1 << index(sector);
        self.table[index(sector)] = low32(position);
        self.next_sector = (sector + 1) << self.shift;
    }

    /// Returns the first remembered boundary at or past `needed`, which lies in the last lap.
    pub(crate) fn first_from(&self, needed: u64) -> Option<u64> {
        let end = self.next_sector >> self.shift;
        let first = (needed >> self.shift).max(end.saturating_sub(SECTORS as u64));
        (first..end).filter(|&sector| self.known >> index(sector) & 1 == 1).find_map(|sector| {
            let start = sector << self.shift;
            let at = start + u64::from(distance(low32(start), self.table[index(sector)]));
            (at >= needed).then_some(at)
        })
    }
}

/// Returns the index of a sector in the table.
#[allow(clippy::cast_possible_truncation, reason = "below 16")]
const fn index(sector: u64) -> usize {
    (sector % SECTORS as u64) as usize
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
        for capacity in [4, 8, 16, 32, 64] {
            for start in [u64::from(u32::MAX) - 7, 0, 5, 9 << 33] {
                for step in 1..=u64::from(capacity) / 2 {
                    let mut boundaries = Boundaries::new(&geometry(capacity), start);
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
        let mut boundaries = Boundaries::new(&geometry(64), 100);
        assert_eq!(boundaries.first_from(100), None);
        boundaries.note(100);
        boundaries.note(101);
        assert_eq!((boundaries.first_from(100), boundaries.first_from(101)), (Some(100), None));
    }

    #[test]
    fn boundary_is_found_behind_sectors_in_which_no_record_begins() {
        let mut boundaries = Boundaries::new(&geometry(64), 0);
        boundaries.note(0);
        boundaries.note(30);
        assert_eq!([1, 4, 29, 30].map(|needed| boundaries.first_from(needed)), [Some(30); 4]);
    }
}
