//! A ring of loom memory with its readers attached, ready to be moved into threads.
//!
//! Payloads follow from the sequence number, so a model checks content without an oracle.

use aqueduct_core::{Meta, Next, Producer, Reader, RingConfig, Start, Wake};

use crate::loom_memory::{Bytes, LoomMemory};
use crate::weak::{Weak, Weakness};

/// Epoch of every modelled ring.
pub const EPOCH: u64 = 0x0123_4567_89ab_cdef;

/// Producer of a model, with room for two subscriptions.
pub type LoomProducer = Producer<Weak, Weak, 2>;
/// Reader of a model.
pub type LoomReader = Reader<Weak, Weak>;

/// What a model starts from.
#[derive(Clone, Copy, Debug)]
pub struct Rig {
    /// Granules, a power of two from 4.
    pub capacity: u32,
    /// Position of the first record.
    pub first_position: u32,
    /// What is spoilt on the producer's side.
    pub producer: &'static [Weakness],
    /// What is spoilt on every reader's side.
    pub reader: &'static [Weakness],
}

impl Rig {
    /// The protocol as it ships, at position 0.
    #[must_use]
    pub const fn new(capacity: u32) -> Self {
        Self { capacity, first_position: 0, producer: &[], reader: &[] }
    }

    /// The same, with one side spoilt.
    #[must_use]
    pub const fn spoil_producer(self, spoilt: &'static [Weakness]) -> Self {
        Self { producer: spoilt, ..self }
    }

    /// The same, with one side spoilt.
    #[must_use]
    pub const fn spoil_reader(self, spoilt: &'static [Weakness]) -> Self {
        Self { reader: spoilt, ..self }
    }

    /// The same, from another position on.
    #[must_use]
    pub const fn from(self, first_position: u32) -> Self {
        Self { first_position, ..self }
    }

    /// The configuration for [`Producer::create`].
    #[must_use]
    pub const fn config(&self) -> RingConfig<'static> {
        let mut config = RingConfig::new("model", EPOCH, self.capacity as usize * 32);
        config.first_position = self.first_position;
        config
    }

    /// Makes the ring, `N` gating subscriptions and their readers, and the ring as a futex call
    /// sees it.
    ///
    /// # Panics
    /// If the core refuses any of it.
    #[must_use]
    pub fn build<const N: usize>(&self) -> (LoomProducer, [LoomReader; N], LoomMemory) {
        let ring = LoomMemory::ring(self.capacity as usize, Bytes::Cells);
        let mut producer =
            Producer::create(Weak::new(&ring, self.producer), &self.config()).expect("create");
        let readers = std::array::from_fn(|_| {
            let page = LoomMemory::page(Bytes::Cells);
            let id = producer.subscribe(Start::Latest).expect("subscribe");
            producer.attach(id, "model", Weak::new(&page, self.producer)).expect("attach");
            Reader::attach(Weak::new(&ring, self.reader), Weak::new(&page, self.reader))
                .expect("reader")
        });
        (producer, readers, ring)
    }
}

/// The payload of record `seq`: empty for every third, else 32 bytes that name it.
#[must_use]
pub fn payload(seq: u64) -> Vec<u8> {
    if seq % 3 == 2 {
        Vec::new()
    } else {
        (0..4).flat_map(|word| (seq * 4 + word + 1).to_le_bytes()).collect()
    }
}

/// Pushes the next record; `None` if the ring is full.
///
/// # Panics
/// If the core refuses for another reason or numbers wrongly.
pub fn push(producer: &mut LoomProducer) -> Option<Wake> {
    let seq = producer.next_seq();
    match producer.push(Meta { type_tag: 7, timestamp_ns: seq }, &payload(seq)) {
        Ok((given, wake)) => {
            assert_eq!(given, seq);
            Some(wake)
        }
        Err(aqueduct_core::ClaimError::Full { .. }) => None,
        Err(other) => panic!("{other}"),
    }
}

/// Looks once; a record must be number `*next`, whole, and counts it.
///
/// # Panics
/// If a record is damaged, out of order, or not what was pushed.
pub fn look(reader: &mut LoomReader, next: &mut u64) -> Next {
    let mut buf = [0; 32];
    let seen = reader.next(&mut buf).expect("nothing is damaged");
    if let Next::Record(record) = seen {
        assert_eq!((record.seq, record.timestamp_ns, record.type_tag), (*next, *next, 7));
        assert_eq!(&buf[..record.len], payload(*next));
        *next += 1;
    }
    seen
}

/// Looks until there is nothing more. Only when the producer has stopped: it would spin otherwise.
///
/// # Panics
/// As [`look`].
pub fn drain(reader: &mut LoomReader, next: &mut u64) {
    while matches!(look(reader, next), Next::Record(_)) {}
}
