//! The naive ring: every record ever committed in a list, and one number per subscription.
//!
//! It knows the arithmetic of positions (ABI §1, §3, §4.1) and nothing of caches, sectors or shared
//! bytes.

use aqueduct_core::{ClaimError, WaitMode};

/// One record or padding.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// Sequence number of a DATA record.
    pub(crate) seq: Option<u64>,
}

/// A committed DATA record.
#[derive(Clone, Debug)]
pub(crate) struct Data {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) type_tag: u16,
    pub(crate) timestamp_ns: u64,
    pub(crate) payload: Vec<u8>,
}

/// A reader that sleeps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asleep {
    pub(crate) mode: WaitMode,
    /// Publications that named it.
    pub(crate) woken: u32,
}

/// One subscription.
#[derive(Clone, Debug)]
pub(crate) struct Sub {
    pub(crate) attached: bool,
    /// Where the reader reads next; without one, equal to `released`.
    pub(crate) position: u64,
    /// What holds the producer back.
    pub(crate) released: u64,
    pub(crate) asleep: Option<Asleep>,
    pub(crate) missed_wakes: u32,
    /// The request for space that it answered last.
    pub(crate) answered: u32,
}

/// The naive ring.
#[derive(Clone, Debug)]
pub(crate) struct Oracle {
    pub(crate) capacity: u64,
    pub(crate) max_payload: usize,
    pub(crate) head: u64,
    pub(crate) tail: u64,
    pub(crate) closed: bool,
    pub(crate) items: Vec<Item>,
    pub(crate) data: Vec<Data>,
    /// DATA records before `tail`.
    pub(crate) published: usize,
    pub(crate) subs: Vec<Option<Sub>>,
    /// The latest request for space, if the answer was no.
    pub(crate) request: u32,
}

impl Oracle {
    pub(crate) fn new(
        capacity: u32,
        first_position: u32,
        max_payload: usize,
        subscriptions: usize,
    ) -> Self {
        let at = u64::from(first_position);
        Self {
            capacity: u64::from(capacity),
            max_payload,
            head: at,
            tail: at,
            closed: false,
            items: Vec::new(),
            data: Vec::new(),
            published: 0,
            subs: vec![None; subscriptions],
            request: 0,
        }
    }

    /// Whether a record fits, as the core must say it: granules of PAD before it, and its own.
    pub(crate) fn fits(&self, len: usize) -> Result<(u64, u64), ClaimError> {
        if len > self.max_payload {
            return Err(ClaimError::TooLarge {
                bytes: len,
                limit: u32::try_from(self.max_payload).unwrap(),
            });
        }
        if self.closed {
            return Err(ClaimError::Closed);
        }
        let granules = 1 + len.div_ceil(32) as u64;
        let room = self.capacity - self.head % self.capacity;
        let pad = if granules > room { room } else { 0 };
        let slowest = self.subs.iter().flatten().map(|sub| sub.released).min().unwrap_or(self.tail);
        let limit = slowest + self.capacity - 1;
        if self.head + pad + granules > limit {
            let narrow = |granules| u32::try_from(granules).unwrap();
            return Err(ClaimError::Full {
                needed: narrow(pad + granules),
                free: narrow(limit.saturating_sub(self.head)),
            });
        }
        Ok((pad, granules))
    }

    fn item(&mut self, granules: u64, seq: Option<u64>) {
        let start = self.head;
        self.head += granules;
        self.items.push(Item { start, end: self.head, seq });
    }

    /// A claim that was granted: its PAD is there even if the grant is dropped.
    pub(crate) fn claimed(&mut self, pad: u64) {
        if pad > 0 {
            self.item(pad, None);
        }
    }

    /// A record of this payload, after its PAD.
    pub(crate) fn committed(&mut self, type_tag: u16, timestamp_ns: u64, payload: Vec<u8>) -> u64 {
        let seq = self.data.len() as u64;
        let start = self.head;
        self.item(1 + payload.len().div_ceil(32) as u64, Some(seq));
        self.data.push(Data { start, end: self.head, type_tag, timestamp_ns, payload });
        seq
    }

    /// Whether anything became visible.
    pub(crate) fn publish(&mut self) -> bool {
        let moved = self.tail != self.head;
        self.tail = self.head;
        self.published = self.data.len();
        moved
    }

    pub(crate) fn close(&mut self) {
        self.publish();
        self.item(1, None);
        self.publish();
        self.closed = true;
    }

    /// A place where a record or padding begins, or the tail.
    pub(crate) fn is_boundary(&self, at: u64) -> bool {
        at == self.tail || self.items.iter().any(|item| item.start == at)
    }

    /// The first published DATA record at or after a position.
    pub(crate) fn next_data(&self, position: u64) -> Option<(u64, &Data)> {
        let seq = self.data[..self.published].partition_point(|data| data.start < position);
        self.data[..self.published].get(seq).map(|data| (seq as u64, data))
    }
}
