//! The naive ring: what was committed, in a queue, and where it is. It knows ABI §1, §3 and
//! §4.1 and nothing of shared bytes.

use std::collections::VecDeque;

/// One record or padding.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) data: Option<Data>,
}

/// A DATA record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Data {
    pub(crate) seq: u64,
    /// What its content follows from.
    pub(crate) nonce: u64,
    pub(crate) len: usize,
}

#[derive(Debug)]
pub(crate) struct Oracle {
    pub(crate) capacity: u64,
    /// Everything from `oldest` on, and some from before.
    pub(crate) items: VecDeque<Item>,
    pub(crate) head: u64,
    pub(crate) tail: u64,
    /// Number of the next DATA record, committed and published.
    pub(crate) next_seq: u64,
    pub(crate) published: u64,
    pub(crate) closed: bool,
}

impl Oracle {
    pub(crate) fn new(capacity: u32, first: u32) -> Self {
        let at = u64::from(first);
        Self {
            capacity: capacity.into(),
            items: VecDeque::new(),
            head: at,
            tail: at,
            next_seq: 0,
            published: 0,
            closed: false,
        }
    }

    /// Granules of PAD and of the record, if it is claimed at `head`.
    pub(crate) fn shape(&self, head: u64, len: usize) -> (u64, u64) {
        let granules = 1 + len.div_ceil(32) as u64;
        let room = self.capacity - head % self.capacity;
        (if granules > room { room } else { 0 }, granules)
    }

    pub(crate) fn padding(&mut self, granules: u64) {
        if granules > 0 {
            self.items.push_back(Item { start: self.head, end: self.head + granules, data: None });
            self.head += granules;
        }
    }

    pub(crate) fn data(&mut self, nonce: u64, len: usize) -> u64 {
        let data = Some(Data { seq: self.next_seq, nonce, len });
        let end = self.head + 1 + len.div_ceil(32) as u64;
        self.items.push_back(Item { start: self.head, end, data });
        (self.head, self.next_seq) = (end, self.next_seq + 1);
        self.next_seq - 1
    }

    pub(crate) fn publish(&mut self) {
        (self.tail, self.published) = (self.head, self.next_seq);
    }

    /// The first published record from a position on.
    pub(crate) fn first_from(&self, position: u64) -> Option<(Item, Data)> {
        let at = self.items.partition_point(|item| item.start < position);
        let item = self
            .items
            .range(at..)
            .find(|item| item.data.is_some())
            .filter(|item| item.end <= self.tail)?;
        Some((*item, item.data?))
    }

    /// Record boundaries from `oldest` to the tail.
    pub(crate) fn boundaries(&self, oldest: u64) -> Vec<u64> {
        let starts = self
            .items
            .iter()
            .map(|item| item.start)
            .filter(|start| (oldest..self.tail).contains(start));
        starts.chain([self.tail]).collect()
    }

    /// Number of the DATA record that is at or after a boundary up to `end`.
    pub(crate) fn seq_at(&self, position: u64, end: u64) -> u64 {
        let mut after = self.items.iter().filter(|item| item.start >= position && item.end <= end);
        let first = after.find_map(|item| item.data);
        first.map_or_else(|| self.seq_before(end), |data| data.seq)
    }

    /// Number that follows everything before `end`.
    pub(crate) fn seq_before(&self, end: u64) -> u64 {
        let after = self.items.iter().find(|item| item.start >= end && item.data.is_some());
        after.and_then(|item| item.data).map_or(self.next_seq, |data| data.seq)
    }

    /// A new producer begins at `end`; nothing after it was ever there.
    pub(crate) fn resume(&mut self, end: u64) {
        self.next_seq = self.seq_before(end);
        self.items.retain(|item| item.end <= end);
        (self.head, self.closed) = (end, false);
        self.publish();
    }

    pub(crate) fn forget_before(&mut self, oldest: u64) {
        while self.items.front().is_some_and(|item| item.end + 2 * self.capacity < oldest) {
            self.items.pop_front();
        }
    }
}
