//! One life of a ring up to the store at which its producer is killed: what it was doing, and what
//! the others had read by then.

use std::rc::Rc;

use aqueduct_core::geometry::max_payload_for;
use aqueduct_core::layout::{cursor_word, ring_word};
use aqueduct_core::shared::SharedGrant;
use aqueduct_core::{
    AttributeBlock, ClaimError, Meta, Next, Observer, Producer, ReadError, Reader, RingConfig,
    SharedProducer, Start, SubscriptionId,
};
use aqueduct_verify::crash_memory::{Bytes, CrashMemory, Fuse, survive};
use aqueduct_verify::rng::Rng;

pub(crate) const EPOCH: u64 = 0x0123_4567_89ab_cdef;
pub(crate) const SIDES: usize = 2;
pub(crate) type Ring = CrashMemory;
pub(crate) type Mortal = Producer<CrashMemory, CrashMemory, SIDES>;
type Shared = SharedProducer<CrashMemory, CrashMemory, aqueduct_core::shared::Native, 4, SIDES>;

/// What the producer does next, and what the readers do in between.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Push(usize),
    Append(usize),
    Publish,
    Claim {
        len: usize,
        pieces: Vec<usize>,
        commit: bool,
    },
    WantSpace(usize),
    Subscribe(usize, Start),
    Attach(usize),
    Detach(usize),
    Unsubscribe(usize),
    /// A reader reads so many records, then perhaps releases.
    Read(usize, usize, bool),
    /// The observer reads so many.
    Look(usize),
    Close,
    /// Many producers for a while.
    Shared(Vec<Turn>),
}

/// What one of many producers does.
#[derive(Clone, Debug)]
pub(crate) enum Turn {
    Claim(usize),
    /// Commits one of those in flight with so many bytes less than claimed.
    Commit(usize, usize),
    Drop(usize),
    Read(usize, usize, bool),
}

#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) capacity: u32,
    pub(crate) first_position: u32,
    pub(crate) word_bytes: usize,
}

/// One name of a reader.
#[derive(Default)]
pub(crate) struct Side {
    pub(crate) id: Option<SubscriptionId>,
    /// The page handed over last; complete only if its identity checks.
    pub(crate) page: Option<Bytes>,
    pub(crate) reader: Option<Reader<Ring, CrashMemory>>,
    /// Number of the record that the reader reads next; `None` until it is known.
    pub(crate) next: Option<u64>,
    /// The same for a reader that would begin at the stored cursor.
    pub(crate) released: Option<u64>,
}

pub(crate) struct Life {
    pub(crate) ring: Bytes,
    fuse: Rc<Fuse>,
    pub(crate) shape: Shape,
    /// Lengths of the records committed, or just being committed, by number.
    pub(crate) lens: Vec<usize>,
    /// Records certainly published.
    pub(crate) published: u64,
    /// The `tail` word after each step, and how many records lay before it.
    pub(crate) tails: Vec<(u32, u64)>,
    pub(crate) sides: [Side; SIDES],
    pub(crate) observer: Observer<Ring>,
    /// What the observer expects; `None` until it read one.
    pub(crate) observed: Option<u64>,
}

pub(crate) fn payload(seq: u64, len: usize) -> Vec<u8> {
    (0..len as u64)
        .map(|at| (seq.wrapping_mul(37) ^ at.wrapping_mul(11)).wrapping_add(1).to_le_bytes()[0])
        .collect()
}

pub(crate) fn meta(seq: u64) -> Meta {
    Meta { type_tag: u16::try_from(seq % 60_000).unwrap(), timestamp_ns: seq << 17 }
}

impl Life {
    /// Lives until the end of `steps`, or until `fuse` burns through after so many stores.
    pub(crate) fn live(shape: &Shape, steps: &[Step], fuse: &Rc<Fuse>, stores: u64) -> Self {
        let ring = Bytes::new(256 + shape.capacity as usize * 32);
        let mut config = RingConfig::new("crash", EPOCH, shape.capacity as usize * 32);
        config.first_position = shape.first_position;
        // Creation is cut by tests of its own.
        fuse.disarm();
        let mut producer: Mortal = Producer::create(ring.mortal(fuse), &config).unwrap();
        fuse.arm(stores);
        let observer = Observer::oldest(ring.immortal()).unwrap();
        let mut life = Self {
            ring,
            fuse: fuse.clone(),
            shape: shape.clone(),
            lens: Vec::new(),
            published: 0,
            tails: Vec::new(),
            sides: Default::default(),
            observer,
            observed: None,
        };
        life.tails.push((shape.first_position, 0));
        survive(|| {
            for step in steps {
                producer = life.step(producer, step, fuse);
                life.tails.push((life.ring.word(ring_word::TAIL), life.published));
            }
        });
        life
    }

    fn step(&mut self, mut producer: Mortal, step: &Step, fuse: &Rc<Fuse>) -> Mortal {
        match step {
            Step::Push(len) => {
                let (bytes, block) = self.begin(*len);
                match producer.push_with(meta(producer.next_seq()), &bytes, taken(&block)) {
                    Ok((seq, _)) => self.published = seq + 1,
                    Err(error) => self.refused(error),
                }
            }
            Step::Append(len) => {
                let (bytes, block) = self.begin(*len);
                let meta = meta(producer.next_seq());
                if let Err(error) = producer.append_with(meta, &bytes, taken(&block)) {
                    self.refused(error);
                }
            }
            Step::Publish => {
                let _ = producer.publish();
                self.published = producer.next_seq();
            }
            Step::Claim { len, pieces, commit } => self.claim(&mut producer, *len, pieces, *commit),
            Step::WantSpace(len) => {
                assert!(matches!(
                    producer.want_space(*len),
                    Ok(_) | Err(ClaimError::Closed | ClaimError::TooLarge { .. })
                ));
            }
            Step::Subscribe(side, start) => self.subscribe(&mut producer, *side, *start),
            Step::Attach(side) => self.attach(&mut producer, *side, fuse),
            Step::Detach(side) => {
                if let Some(id) = self.sides[*side].id {
                    let _page = producer.detach(id);
                    self.gone(*side);
                }
            }
            Step::Unsubscribe(side) => {
                if let Some(id) = self.sides[*side].id.take() {
                    assert!(producer.unsubscribe(id));
                    self.sides[*side] = Side::default();
                }
            }
            Step::Read(side, records, release) => self.read(*side, *records, *release),
            Step::Look(records) => self.look(*records),
            Step::Close => {
                let _ = producer.close();
                self.published = producer.next_seq();
            }
            Step::Shared(turns) => return self.many(producer, turns),
        }
        producer
    }

    /// A record is about to be committed: from here on it may be found. Every third has
    /// attributes.
    fn begin(&mut self, len: usize) -> (Vec<u8>, Vec<u8>) {
        let seq = self.lens.len() as u64;
        let block = if seq % 3 == 1 { attributes(seq) } else { Vec::new() };
        self.lens.push(if block.is_empty() { len } else { len | ATTRIBUTED });
        (payload(seq, len), block)
    }

    fn refused(&mut self, error: ClaimError) {
        assert!(
            matches!(
                error,
                ClaimError::Full { .. }
                    | ClaimError::Closed
                    | ClaimError::TooLarge { .. }
                    | ClaimError::Busy { .. }
            ),
            "{error}"
        );
        self.lens.pop();
    }

    fn claim(&mut self, producer: &mut Mortal, len: usize, pieces: &[usize], commit: bool) {
        let seq = producer.next_seq();
        let Ok(mut grant) = producer.claim(len) else { return };
        let bytes = payload(seq, len);
        let mut written = 0;
        for &piece in pieces {
            let piece = piece.min(len - written);
            grant.write(&bytes[written..written + piece]).unwrap();
            written += piece;
        }
        if commit {
            self.lens.push(written);
            assert_eq!(grant.commit(meta(seq)), seq);
        }
    }

    fn subscribe(&mut self, producer: &mut Mortal, side: usize, start: Start) {
        if self.sides[side].id.is_some() {
            return;
        }
        let id = producer.subscribe(start).unwrap();
        let next = (start == Start::Latest).then_some(self.published);
        self.sides[side] = Side { id: Some(id), page: None, reader: None, next, released: next };
    }

    fn attach(&mut self, producer: &mut Mortal, side: usize, fuse: &Rc<Fuse>) {
        let Some(id) = self.sides[side].id else { return };
        let _ = producer.detach(id);
        self.gone(side);
        let page = Bytes::new(256);
        // From here on the new page may be found; until it is complete, it is no page.
        self.sides[side].page = Some(page.clone());
        producer.attach(id, "side", page.mortal(fuse)).unwrap();
        self.fuse.settle();
        self.sides[side].reader =
            Some(Reader::attach(self.ring.immortal(), page.immortal()).unwrap());
    }

    fn gone(&mut self, side: usize) {
        let side = &mut self.sides[side];
        (side.reader, side.next) = (None, side.released);
    }

    pub(crate) fn read(&mut self, side: usize, records: usize, release: bool) {
        self.fuse.settle();
        let lens = &self.lens;
        let Side { reader: Some(reader), next, released, .. } = &mut self.sides[side] else {
            return;
        };
        for _ in 0..records {
            if one(lens, next, |buf| reader.next(buf)).is_none() {
                break;
            }
        }
        if release {
            let _ = reader.release();
            *released = *next;
        }
    }

    /// The observer may be overrun; everything else is like for a reader.
    pub(crate) fn look(&mut self, records: usize) {
        self.fuse.settle();
        for _ in 0..records {
            let observer = &mut self.observer;
            let mut buf = [0; 1024];
            match observer.next(&mut buf) {
                Ok(Next::Record(record)) => {
                    check(&self.lens, record, &buf);
                    assert!(
                        self.observed.is_none_or(|seq| seq == record.seq),
                        "{:?}, {record:?}",
                        self.observed
                    );
                    self.observed = Some(record.seq + 1);
                }
                Ok(Next::Empty | Next::Closed) => break,
                Err(ReadError::Overrun { expected, found: Some(found) }) => {
                    assert_eq!(expected, self.observed);
                    self.observed = Some(found);
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn many(&mut self, producer: Mortal, turns: &[Turn]) -> Mortal {
        let shared = Shared::new(producer).unwrap();
        self.published = self.lens.len() as u64;
        // In the order of their claims: the grant until it is finished, then what became of it.
        let mut flight: Vec<(Option<_>, Option<usize>, usize)> = Vec::new();
        for turn in turns {
            match turn {
                Turn::Claim(len) => match shared.claim(*len) {
                    Ok(grant) => flight.push((Some(grant), None, *len)),
                    Err(ClaimError::Full { .. } | ClaimError::Busy { .. } | ClaimError::Closed) => {
                    }
                    Err(error) => panic!("{error}"),
                },
                Turn::Commit(which, less) => {
                    let open: Vec<usize> =
                        (0..flight.len()).filter(|&at| flight[at].0.is_some()).collect();
                    let Some(&at) = open.get(*which % 1.max(open.len())) else { continue };
                    let len = flight[at].2.saturating_sub(*less);
                    let mut grant = flight[at].0.take().unwrap();
                    // Its number depends on what becomes of the claims before it.
                    grant.write(&payload(0, len)).unwrap();
                    flight[at].1 = Some(len);
                    self.finished(&mut flight);
                    let _ = grant.commit(meta(0));
                }
                Turn::Drop(which) => {
                    let open: Vec<usize> =
                        (0..flight.len()).filter(|&at| flight[at].0.is_some()).collect();
                    let Some(&at) = open.get(*which % 1.max(open.len())) else { continue };
                    let grant = flight[at].0.take();
                    self.finished(&mut flight);
                    let _ = grant.map(SharedGrant::abandon);
                }
                Turn::Read(side, records, release) => self.read(*side, *records, *release),
            }
            // Whatever is finished up to the first claim that is not was published by that turn.
            self.published = self.lens.len() as u64;
            self.tails.push((self.ring.word(ring_word::TAIL), self.published));
        }
        // The rest is given up, the youngest first.
        while let Some(at) = flight.iter().rposition(|(grant, ..)| grant.is_some()) {
            let grant = flight[at].0.take();
            self.finished(&mut flight);
            drop(grant);
            self.tails.push((self.ring.word(ring_word::TAIL), self.lens.len() as u64));
        }
        drop(flight);
        let (producer, _) = shared.into_producer();
        self.published = producer.next_seq();
        producer
    }

    /// Claims that are finished up to the first that is not may be found from here on.
    fn finished<G>(&mut self, flight: &mut Vec<(Option<G>, Option<usize>, usize)>) {
        let done = flight.iter().position(|(grant, ..)| grant.is_some()).unwrap_or(flight.len());
        for (_, committed, _) in flight.drain(..done) {
            self.lens.extend(committed.map(|len| len | ANONYMOUS));
        }
    }

    /// Length of a record that was committed.
    pub(crate) fn len(&self, seq: u64) -> Option<usize> {
        self.lens.get(usize::try_from(seq).unwrap()).map(|len| len & !(ANONYMOUS | ATTRIBUTED))
    }

    /// The cursor of a side whose page is complete.
    pub(crate) fn cursor(&self, side: usize) -> Option<u32> {
        let page = self.sides[side].page.as_ref()?;
        let reader = Reader::attach(self.ring.duplicate().immortal(), page.duplicate().immortal());
        reader.is_ok().then(|| page.word(cursor_word::CURSOR))
    }
}

/// Marks a record whose content does not follow from its number.
const ANONYMOUS: usize = 1 << 40;
/// Marks a record with attributes.
const ATTRIBUTED: usize = 1 << 41;

/// The block of a record of this number.
fn attributes(seq: u64) -> Vec<u8> {
    let value = payload(seq, usize::try_from(seq % 8).unwrap());
    let mut room = [0; 16];
    AttributeBlock::write([("n", &value[..])], &mut room).unwrap().as_bytes().to_vec()
}

fn taken(block: &[u8]) -> AttributeBlock<'_> {
    AttributeBlock::from_bytes(block).unwrap()
}

/// One look that must give the next record, whole, or nothing.
pub(crate) fn one(
    lens: &[usize],
    next: &mut Option<u64>,
    look: impl FnOnce(&mut [u8]) -> Result<Next, ReadError>,
) -> Option<u64> {
    let mut buf = [0; 1024];
    match look(&mut buf).unwrap_or_else(|error| panic!("{error}")) {
        Next::Record(record) => {
            check(lens, record, &buf);
            assert!(next.is_none_or(|seq| seq == record.seq), "{next:?} expected, {record:?}");
            *next = Some(record.seq + 1);
            Some(record.seq)
        }
        Next::Empty | Next::Closed => None,
    }
}

pub(crate) fn check(lens: &[usize], record: aqueduct_core::Record, buf: &[u8]) {
    let seq = usize::try_from(record.seq).unwrap();
    let committed = *lens.get(seq).unwrap_or_else(|| panic!("record {seq} was never committed"));
    let told = if committed & ANONYMOUS == 0 { record.seq } else { 0 };
    let has_attributes = committed & ATTRIBUTED != 0;
    let len = committed & !(ANONYMOUS | ATTRIBUTED);
    assert_eq!(record.len, len, "length of record {seq}");
    let block = if has_attributes { attributes(told) } else { Vec::new() };
    assert_eq!(buf[record.len..record.bytes()], block, "attributes of record {seq}");
    assert_eq!(
        (record.type_tag, record.timestamp_ns),
        (meta(told).type_tag, meta(told).timestamp_ns),
        "record {seq}"
    );
    assert_eq!(buf[..record.len], payload(told, record.len), "payload of record {seq}");
}

/// A random life.
pub(crate) fn random(seed: u64) -> (Shape, Vec<Step>) {
    let mut rng = Rng::new(seed);
    let capacity = 4 << rng.below(3);
    let first_position = [0, 3, u32::MAX - 5, rng.word()][rng.below(4)];
    let shape = Shape { capacity, first_position, word_bytes: if rng.once_in(4) { 4 } else { 8 } };
    let limit = max_payload_for(capacity) as usize + 1;
    let gating = rng.below(3);
    let mut steps = Vec::new();
    for side in 0..gating {
        steps.extend([Step::Subscribe(side, Start::Latest), Step::Attach(side)]);
    }
    for _ in 0..8 + rng.below(12) {
        let side = rng.below(SIDES);
        let len = rng.below(limit);
        steps.push(match rng.below(24) {
            0..5 => Step::Push(len),
            5..9 => Step::Append(len),
            9..11 => Step::Publish,
            11..13 => {
                let pieces = (0..rng.below(4)).map(|_| rng.below(40)).collect();
                Step::Claim { len, pieces, commit: !rng.once_in(3) }
            }
            13 => Step::WantSpace(len),
            14 => Step::Subscribe(side, if rng.once_in(2) { Start::Latest } else { Start::Oldest }),
            15 => Step::Attach(side),
            16 => Step::Detach(side),
            17 if rng.once_in(3) => Step::Unsubscribe(side),
            17..20 => Step::Read(side, 1 + rng.below(4), !rng.once_in(3)),
            20 => Step::Look(rng.below(5)),
            21..23 => Step::Shared(
                (0..2 + rng.below(6))
                    .map(|_| match rng.below(6) {
                        0..3 => Turn::Claim(rng.below(limit)),
                        3 => Turn::Commit(rng.below(4), rng.below(20)),
                        4 => Turn::Drop(rng.below(4)),
                        _ => Turn::Read(rng.below(SIDES), rng.below(4), true),
                    })
                    .collect(),
            ),
            _ if rng.once_in(4) => Step::Close,
            _ => Step::Publish,
        });
    }
    (shape, steps)
}
