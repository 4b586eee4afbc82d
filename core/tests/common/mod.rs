//! What the tests share: segments, payloads that tell their number, a small generator, damage.
#![allow(dead_code, reason = "every test file uses a part of it")]
#![allow(unreachable_pub, reason = "a module of several test crates")]

use core::cell::Cell;
use core::sync::atomic::Ordering;

use aqueduct_core::layout::{DATA_OFFSET_MIN, GRANULE_BYTES};
use aqueduct_core::memory::Span;
use aqueduct_core::{
    Memory, MemoryMut, Meta, Next, Producer, ReadError, Reader, Region, RingConfig, Segment, Start,
    SubscriptionId,
};

pub const EPOCH: u64 = 0x0123_4567_89ab_cdef;
/// Offset of the data area in these rings, bytes.
pub const DATA: usize = DATA_OFFSET_MIN as usize;
/// Room for the largest ring of these tests, 64 granules.
pub type Ring = Segment<{ DATA + 64 * GRANULE_BYTES }>;
pub type Page = Segment<256>;

/// A ring of this many granules whose first record stands at `first`.
pub fn config(granules: u32, first: u32) -> RingConfig<'static> {
    let mut config = RingConfig::new("test", EPOCH, granules as usize * GRANULE_BYTES);
    config.first_position = first;
    config
}

/// The same with something changed.
pub fn with<'a>(
    mut config: RingConfig<'a>,
    change: impl FnOnce(&mut RingConfig<'a>),
) -> RingConfig<'a> {
    change(&mut config);
    config
}

pub fn create(ring: &Ring, granules: u32, first: u32) -> Producer<Region<'_>> {
    Producer::create(ring.region(), &config(granules, first)).expect("the configuration is right")
}

/// A producer with one attached reader.
pub fn pair<'a>(
    ring: &'a Ring,
    page: &'a Page,
    granules: u32,
    first: u32,
) -> (Producer<Region<'a>>, SubscriptionId, Reader<Region<'a>, Region<'a>>) {
    let mut producer = create(ring, granules, first);
    let id = producer.subscribe(Start::Latest).expect("the table is empty");
    producer.attach(id, "reader", page.region()).expect("the page is right");
    let reader = Reader::attach(ring.region(), page.region()).expect("ring and page fit");
    (producer, id, reader)
}

pub fn meta(tag: u64) -> Meta {
    Meta {
        type_tag: u16::try_from(tag % 60_000).expect("it is below"),
        timestamp_ns: tag.wrapping_mul(0x9E37_79B9_7F4A_7C15),
    }
}

/// Bytes that tell for which number they were made.
pub fn payload(number: u64, len: usize) -> Vec<u8> {
    let mut rng = Rng::new(number ^ 0xABCD);
    (0..len).map(|_| rng.next().to_le_bytes()[3]).collect()
}

/// What a reader or observer gave: a record's number and length after everything in it was checked
/// against [`payload`] and [`meta`].
pub fn checked(next: Result<Next, ReadError>, buf: &[u8]) -> Result<Next<(u64, usize)>, ReadError> {
    Ok(match next? {
        Next::Record(record) => {
            assert_eq!(
                buf[..record.len],
                payload(record.seq, record.len),
                "payload of record {}",
                record.seq
            );
            assert_eq!(
                (record.type_tag, record.timestamp_ns, record.flags),
                (meta(record.seq).type_tag, meta(record.seq).timestamp_ns, 0)
            );
            Next::Record((record.seq, record.len))
        }
        Next::Empty => Next::Empty,
        Next::Closed => Next::Closed,
    })
}

/// The next record of a ring in which nothing is damaged; `None` if there is none.
pub fn take<R: Memory, C: MemoryMut>(reader: &mut Reader<R, C>) -> Option<(u64, usize)> {
    let mut buf = [0; 1024];
    let next = reader.next(&mut buf);
    match checked(next, &buf).expect("nothing is damaged") {
        Next::Record(found) => Some(found),
        Next::Empty | Next::Closed => None,
    }
}

/// Pushes a record whose content follows from its number.
pub fn push(
    producer: &mut Producer<Region<'_>>,
    len: usize,
) -> Result<u64, aqueduct_core::ClaimError> {
    let seq = producer.next_seq();
    producer.push(meta(seq), &payload(seq, len)).map(|(pushed, _)| {
        assert_eq!(pushed, seq);
        seq
    })
}

/// The control word at this offset.
pub fn word(ring: &Ring, at: usize) -> u32 {
    ring.region().load(at, Ordering::Relaxed)
}

/// xorshift64*, for steps that are the same in every run.
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(2).wrapping_add(0x1234_5678_9ABC_DEF1))
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub fn word(&mut self) -> u32 {
        u32::try_from(self.next() >> 32).expect("32 bits")
    }

    pub fn below(&mut self, limit: usize) -> usize {
        usize::try_from((self.next() >> 33) % limit as u64).expect("below a usize")
    }
}

/// Flips one bit of the segment, counted from its start.
pub fn flip(ring: &Region<'_>, bit: usize) {
    let at = bit / 256 * 32;
    let mut granule = [0; 32];
    ring.read(at, &mut granule);
    granule[bit / 8 % 32] ^= 1 << (bit % 8);
    ring.write(at, &granule);
}

/// What somebody just did to a [`Hooked`] segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touch {
    Loaded(usize),
    Stored(usize),
    Read(usize),
    Wrote(usize),
}

/// A segment that calls back after every access: what another party does in between, without a
/// thread.
#[derive(Clone, Copy)]
pub struct Hooked<'a> {
    pub region: Region<'a>,
    pub hook: &'a Cell<Option<&'a dyn Fn(Touch)>>,
}

impl Hooked<'_> {
    fn touched(&self, touch: Touch) {
        if let Some(hook) = self.hook.get() {
            hook(touch);
        }
    }
}

impl Memory for Hooked<'_> {
    fn size(&self) -> usize {
        self.region.size()
    }

    fn load(&self, at: usize, order: Ordering) -> u32 {
        let value = self.region.load(at, order);
        self.touched(Touch::Loaded(at));
        value
    }

    fn read(&self, at: usize, into: &mut [u8]) {
        self.region.read(at, into);
        self.touched(Touch::Read(at));
    }

    /// Every access must call back.
    fn span(&self, _: usize, _: usize) -> Option<Span<'_>> {
        None
    }

    fn fence(&self, order: Ordering) {
        self.region.fence(order);
    }
}

impl MemoryMut for Hooked<'_> {
    fn store(&self, at: usize, value: u32, order: Ordering) {
        self.region.store(at, value, order);
        self.touched(Touch::Stored(at));
    }

    fn write(&self, at: usize, bytes: &[u8]) {
        self.region.write(at, bytes);
        self.touched(Touch::Wrote(at));
    }
}
