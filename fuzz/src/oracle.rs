//! A slow reader and a slow observer, from ABI §4.2 and §4.3: no cached views, every byte looked at
//! in a copy of the segment.

use aqueduct_core::ReadError;
use aqueduct_core::{Lag, Record, Seek, Sleep};

use crate::wire::{self, Head, Layout, Refusal, u32_at};

/// One look at the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Record(Record, Vec<u8>),
    Empty,
    Closed,
    Error(ReadError),
}

/// Where a slow reader is, and what it has written into its page.
#[derive(Clone, Debug)]
pub struct Oracle {
    pub layout: Layout,
    /// Gating readers stop when the tail is impossible, observers go on at `oldest`.
    gated: bool,
    pub position: u32,
    tail: u32,
    pub expected: Option<u64>,
    overrun: bool,
    pub corrupt: u32,
    pub lost: u32,
    pub missed_wakes: u32,
    pub released: u32,
    answered: u32,
    waiting: u32,
}

/// What a reader says of a record with this header.
#[must_use]
pub fn described(head: &Head, position: u32) -> Record {
    let Head { seq, timestamp_ns, type_tag, .. } = *head;
    let (units, flags) = (head.units(), if head.kind == wire::DATA { head.flags } else { 0 });
    let len = head.len as usize - usize::from(units) * 16;
    Record { seq, timestamp_ns, len, type_tag, flags, attribute_units: units, position }
}

impl Oracle {
    /// §2.1, §6.1: a gating reader.
    ///
    /// # Errors
    /// The first check that fails.
    pub fn attach(ring: &[u8], page: &[u8]) -> Result<Self, Refusal> {
        let layout = Layout::parse(ring)?;
        wire::check_page(page, layout.epoch)?;
        let mut oracle = Self::at(layout, true, u32_at(page, wire::CURSOR));
        oracle.corrupt = u32_at(page, wire::CORRUPT);
        oracle.lost = u32_at(page, wire::LOST);
        oracle.missed_wakes = u32_at(page, wire::MISSED_WAKES);
        oracle.refresh(ring).map_err(|_| Refusal::TailOutOfRange)?;
        Ok(oracle)
    }

    /// §4.3: an observer at the oldest whole record, or after the last.
    ///
    /// # Errors
    /// The first check that fails.
    pub fn observe(ring: &[u8], latest: bool) -> Result<Self, Refusal> {
        let mut oracle = Self::at(Layout::parse(ring)?, false, u32_at(ring, wire::TAIL));
        if !latest {
            oracle.stand_at_oldest(ring).map_err(|_| Refusal::TailOutOfRange)?;
        }
        Ok(oracle)
    }

    fn at(layout: Layout, gated: bool, position: u32) -> Self {
        Self {
            layout,
            gated,
            position,
            tail: position,
            expected: None,
            overrun: false,
            corrupt: 0,
            lost: 0,
            missed_wakes: 0,
            released: position,
            answered: 0,
            waiting: 0,
        }
    }

    /// §6.1: what the reader's words of the page must be.
    #[must_use]
    pub fn page_words(&self) -> [u32; 5] {
        [self.released, self.waiting, self.corrupt, self.lost, self.missed_wakes]
    }

    fn refresh(&mut self, ring: &[u8]) -> Result<(), ReadError> {
        let tail = u32_at(ring, wire::TAIL);
        if tail.wrapping_sub(self.position) <= self.layout.capacity {
            self.tail = tail;
            Ok(())
        } else if self.gated {
            Err(ReadError::TailOutOfRange { position: self.position, tail })
        } else {
            self.overrun = true;
            self.stand_at_oldest(ring)
        }
    }

    fn stand_at_oldest(&mut self, ring: &[u8]) -> Result<(), ReadError> {
        let (oldest, tail) = (u32_at(ring, wire::OLDEST), u32_at(ring, wire::TAIL));
        if tail.wrapping_sub(oldest) > self.layout.capacity {
            return Err(ReadError::TailOutOfRange { position: oldest, tail });
        }
        (self.position, self.tail) = (oldest, tail);
        Ok(())
    }

    fn before_oldest(&self, ring: &[u8]) -> bool {
        (1..=1 << 31).contains(&u32_at(ring, wire::OLDEST).wrapping_sub(self.position))
    }

    /// §4.2, 1 to 4 and 7.
    fn locate(&mut self, ring: &[u8]) -> Result<Option<Head>, Outcome> {
        let mut looked = false;
        loop {
            if self.position == self.tail && !looked {
                looked = true;
                self.refresh(ring).map_err(Outcome::Error)?;
            }
            if self.position == self.tail {
                let closed = u32_at(ring, wire::STATE) == 1;
                return Err(if closed { Outcome::Closed } else { Outcome::Empty });
            }
            let head = self.layout.head(ring, self.position, self.tail);
            if !self.gated && self.before_oldest(ring) {
                self.overrun = true;
                self.stand_at_oldest(ring).map_err(Outcome::Error)?;
                continue;
            }
            let head = match head {
                Ok(head) => head,
                Err((stored, computed)) => {
                    return Err(Outcome::Error(self.resync(ring, stored, computed)));
                }
            };
            if !head.is_data() {
                self.position = self.position.wrapping_add(head.granules() as u32);
                continue;
            }
            let overrun = core::mem::take(&mut self.overrun);
            let Some(expected) =
                self.expected.replace(head.seq).filter(|&expected| expected != head.seq)
            else {
                return Ok(Some(head));
            };
            self.lost = self.lost.wrapping_add(head.seq.saturating_sub(expected) as u32);
            return Err(Outcome::Error(if overrun && head.seq > expected {
                ReadError::Overrun { expected: Some(expected), found: Some(head.seq) }
            } else {
                ReadError::Gap { expected, found: head.seq }
            }));
        }
    }

    fn resync(&mut self, ring: &[u8], stored: u32, computed: u32) -> ReadError {
        let position = self.position;
        let mut lost = None;
        self.position = self.tail;
        for ahead in 1..self.tail.wrapping_sub(position) {
            let at = position.wrapping_add(ahead);
            if let Ok(head) = self.layout.head(ring, at, self.tail) {
                lost = self.expected.map(|expected| head.seq.saturating_sub(expected));
                self.expected = Some(head.seq);
                self.position = at;
                break;
            }
        }
        self.corrupt = self.corrupt.wrapping_add(1);
        self.lost = self.lost.wrapping_add(lost.unwrap_or(0) as u32);
        ReadError::Header { position, resumed_at: self.position, stored, computed, lost }
    }

    /// §4.2 and §4.3 with a buffer of this many bytes.
    pub fn next(&mut self, ring: &[u8], buffer: usize) -> Outcome {
        let head = match self.locate(ring) {
            Ok(Some(head)) => head,
            Ok(None) => return Outcome::Empty,
            Err(outcome) => return outcome,
        };
        let position = self.position;
        let payload = self.layout.payload(ring, position, &head);
        if payload.len() > buffer {
            return Outcome::Error(ReadError::BufferTooSmall {
                needed: payload.len(),
                given: buffer,
            });
        }
        self.position = position.wrapping_add(head.granules() as u32);
        self.expected = Some(head.seq.wrapping_add(1));
        let computed = wire::crc(payload);
        if computed != head.payload_crc {
            self.corrupt = self.corrupt.wrapping_add(1);
            self.lost = self.lost.wrapping_add(1);
            return Outcome::Error(ReadError::Payload {
                seq: head.seq,
                position,
                stored: head.payload_crc,
                computed,
            });
        }
        Outcome::Record(described(&head, position), payload.to_vec())
    }

    /// §4.2, 5 and 6. Whether the producer must be told.
    pub fn release(&mut self, ring: &[u8]) -> bool {
        self.released = self.position;
        let wanted = u32_at(ring, wire::SPACE_WANTED);
        let tell = wanted != 0 && wanted != self.answered;
        if tell {
            self.answered = wanted;
        }
        tell
    }

    /// §4.5, before the sleep.
    ///
    /// # Errors
    /// The tail is impossible.
    pub fn prepare_sleep(&mut self, ring: &[u8], mode: u32) -> Result<Sleep, ReadError> {
        if self.position != self.tail {
            return Ok(Sleep::Ready);
        }
        self.waiting = 0;
        self.refresh(ring)?;
        if self.position != self.tail {
            return Ok(Sleep::Ready);
        }
        self.waiting = mode.wrapping_add(self.tail.wrapping_mul(4));
        Ok(Sleep::Wait { tail: self.tail })
    }

    /// §4.5, after the sleep.
    ///
    /// # Errors
    /// The tail is impossible.
    pub fn finish_sleep(&mut self, ring: &[u8], timed_out: bool) -> Result<(), ReadError> {
        self.waiting = 0;
        self.refresh(ring)?;
        if timed_out && self.position != self.tail {
            self.missed_wakes = self.missed_wakes.wrapping_add(1);
        }
        Ok(())
    }

    /// Behind everything published.
    ///
    /// # Errors
    /// The tail is impossible.
    pub fn skip_to_latest(&mut self, ring: &[u8]) -> Result<(), ReadError> {
        self.refresh(ring)?;
        if self.position != self.tail {
            self.position = self.tail;
            self.expected = None;
        }
        Ok(())
    }

    /// To the first DATA record with at least this number, counting damage on the way.
    /// `from_oldest`: as an observer does.
    ///
    /// # Errors
    /// The tail is impossible.
    pub fn seek(&mut self, ring: &[u8], seq: u64, from_oldest: bool) -> Result<Seek, ReadError> {
        if from_oldest {
            (self.expected, self.overrun) = (None, false);
            self.stand_at_oldest(ring)?;
        }
        loop {
            let head = match self.locate(ring) {
                Ok(Some(head)) => head,
                Ok(None) | Err(Outcome::Empty | Outcome::Closed) => {
                    return Ok(match self.expected {
                        Some(oldest) if oldest > seq => Seek::Gone { oldest },
                        _ => Seek::Ahead,
                    });
                }
                Err(Outcome::Error(error @ ReadError::TailOutOfRange { .. })) => return Err(error),
                Err(_) => continue,
            };
            if head.seq == seq {
                return Ok(Seek::Found);
            }
            if head.seq > seq {
                return Ok(Seek::Gone { oldest: head.seq });
            }
            self.position = self.position.wrapping_add(head.granules() as u32);
            self.expected = Some(head.seq.wrapping_add(1));
        }
    }

    /// Records, bytes and age of what is unread and can be read.
    ///
    /// # Errors
    /// The tail is impossible.
    pub fn lag(&self, ring: &[u8], now_ns: u64) -> Result<Lag, ReadError> {
        let mut look = self.clone();
        if self.gated {
            look.refresh(ring)?;
        } else {
            look.stand_at_oldest(ring)?;
            let is_whole =
                |at: u32| at.wrapping_sub(look.position) <= look.tail.wrapping_sub(look.position);
            look.position = if is_whole(self.position) { self.position } else { look.position };
        }
        let bytes = u64::from(look.tail.wrapping_sub(look.position)) * 32;
        let (mut at, mut first) = (look.position, None);
        while at != look.tail {
            match self.layout.head(ring, at, look.tail) {
                Ok(head) if head.is_data() => {
                    first = Some(head);
                    break;
                }
                Ok(head) => at = at.wrapping_add(head.granules() as u32),
                Err(_) => break,
            }
        }
        let nanoseconds = first.map_or(0, |head| now_ns.saturating_sub(head.timestamp_ns));
        let records = first.map(|head| head.seq).or(self.expected);
        let records = records
            .map_or(0, |seq| u64::from(u32_at(ring, wire::NEXT_SEQ).wrapping_sub(seq as u32)));
        Ok(Lag { records, bytes, nanoseconds })
    }
}
