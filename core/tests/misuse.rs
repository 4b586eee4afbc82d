//! What a program without `unsafe` can do to a ring's memory, wrongly or by spite: the answers may
//! be nonsense, the memory stays sound. Meant for Miri, which sees accesses of two sizes that
//! overlap; without it, that nothing crashes.
//!
//! In a debug build an access where none may be panics. That is caught here, so that the same tests
//! show with `--release` what happens without the assertions.

#![forbid(unsafe_code)]

use std::mem::forget;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::thread;

use aqueduct_core::memory::Span;
use aqueduct_core::{
    AttributeWriter, Memory, MemoryMut, Meta, Next, Observer, Producer, ReadRegion, Reader, Region,
    RingConfig, Segment, Start,
};

const CAPACITY_BYTES: usize = 256;
const RING_BYTES: usize = 256 + CAPACITY_BYTES;
const ROUNDS: usize = if cfg!(miri) { 6 } else { 200 };

type Ring = Segment<RING_BYTES>;

/// Does something that may be refused by a panic.
fn tried<R>(work: impl FnOnce() -> R) -> Option<R> {
    catch_unwind(AssertUnwindSafe(work)).ok()
}

fn producer(ring: &Ring) -> Producer<Region<'_>> {
    Producer::create(ring.region(), &RingConfig::new("misused", 7, CAPACITY_BYTES))
        .expect("a right configuration")
}

/// Pushes, publishes and looks, whatever becomes of it.
fn produce(producer: &mut Producer<Region<'_>>) {
    for round in 0..ROUNDS {
        let payload = [u8::try_from(round % 251).expect("small"); 48];
        let _ = tried(|| producer.push(Meta::default(), &payload[..round % 49]));
        let _ = tried(|| producer.want_space(40));
    }
}

fn read(reader: &mut Reader<ReadRegion<'_>, Region<'_>>) {
    let mut buf = [0; 64];
    for _ in 0..ROUNDS {
        let _ = tried(|| reader.next(&mut buf));
        let _ = tried(|| reader.release());
    }
}

/// Every access that the traits have, of every size and at every place, inside and outside.
fn rummage(region: Region<'_>, from: usize) {
    let mut buf = [0x5a; 72];
    for round in 0..ROUNDS * if cfg!(miri) { 2 } else { 8 } {
        let at = (from + round * 28) % (RING_BYTES + 64);
        let len = (round * 5) % 72;
        let _ = tried(|| region.load(at, Ordering::Acquire));
        let _ = tried(|| region.store(at, 7, Ordering::Release));
        let _ = tried(|| region.read(at, &mut buf[..len]));
        let _ = tried(|| region.write(at & !7, &buf[..len]));
        let _ = tried(|| region.read(at & !31, &mut buf[..len]));
    }
}

#[test]
fn a_ring_segment_may_be_given_as_a_cursor_segment() {
    let ring = Ring::new();
    let mut producer = producer(&ring);
    let id = producer.subscribe(Start::Latest).expect("an empty table");
    producer.attach(id, "itself", ring.region()).expect("it is large enough");
    thread::scope(|scope| {
        scope.spawn(|| produce(&mut producer));
        scope.spawn(|| {
            if let Ok(mut observer) = Observer::latest(ring.region()) {
                for _ in 0..ROUNDS {
                    let _ = tried(|| observer.next(&mut [0; 64]));
                }
            }
        });
        scope.spawn(|| {
            for _ in 0..ROUNDS {
                let ring = ring.region();
                if let Ok(mut reader) = Reader::attach(ring.read_only(), ring) {
                    read(&mut reader);
                }
            }
        });
    });
}

#[test]
fn a_segment_may_be_a_ring_and_another_rings_cursor_segment_at_once() {
    let (first, second) = (Ring::new(), Ring::new());
    let (mut one, mut other) = (producer(&first), producer(&second));
    for (producer, page) in [(&mut one, &second), (&mut other, &first)] {
        let id = producer.subscribe(Start::Latest).expect("an empty table");
        producer.attach(id, "the other", page.region()).expect("it is large enough");
    }
    thread::scope(|scope| {
        scope.spawn(|| produce(&mut one));
        scope.spawn(|| produce(&mut other));
    });
}

#[test]
fn control_words_may_be_written_as_bytes_and_bytes_loaded_as_words() {
    let (ring, page) = (Ring::new(), Segment::<256>::new());
    let mut producer = producer(&ring);
    let id = producer.subscribe(Start::Latest).expect("an empty table");
    producer.attach(id, "reader", page.region()).expect("the page is right");
    let mut reader = Reader::attach(ring.region().read_only(), page.region()).expect("fits");
    thread::scope(|scope| {
        scope.spawn(|| ring.region().write(128, &[0; 16]));
        scope.spawn(|| ring.region().load(132, Ordering::Relaxed));
        scope.spawn(|| produce(&mut producer));
        scope.spawn(|| read(&mut reader));
        scope.spawn(|| rummage(ring.region(), 0));
        scope.spawn(|| rummage(ring.region(), 132));
    });
}

#[test]
fn two_producers_may_create_and_write_the_same_segment() {
    let ring = Ring::new();
    thread::scope(|scope| {
        for data_offset_bytes in [256, 320] {
            let mut config = RingConfig::new("twice", 7, CAPACITY_BYTES / 2);
            config.data_offset_bytes = data_offset_bytes;
            let ring = &ring;
            scope.spawn(move || {
                if let Some(Ok(mut producer)) = tried(|| Producer::create(ring.region(), &config)) {
                    produce(&mut producer);
                }
            });
        }
    });
}

/// A backend that lends other bytes than it was asked for, too few or to write where it must not.
#[derive(Clone, Copy)]
struct Liar<'a> {
    region: Region<'a>,
    other: ReadRegion<'a>,
    shift: usize,
    len: usize,
}

impl Memory for Liar<'_> {
    fn size(&self) -> usize {
        usize::MAX
    }
    fn load(&self, at: usize, order: Ordering) -> u32 {
        self.region.load(at, order)
    }
    fn read(&self, at: usize, into: &mut [u8]) {
        self.region.read(at, into);
    }
    fn span(&self, at: usize, len: usize) -> Option<Span<'_>> {
        if self.shift == 1 {
            return self.other.span(at, len);
        }
        self.region.span(at.saturating_sub(self.shift), len.min(self.len))
    }
    fn fence(&self, order: Ordering) {
        self.region.fence(order);
    }
}

impl MemoryMut for Liar<'_> {
    fn store(&self, at: usize, value: u32, order: Ordering) {
        self.region.store(at, value, order);
    }
    fn write(&self, at: usize, bytes: &[u8]) {
        let _ = tried(|| self.region.write(at, bytes));
    }
}

#[test]
fn a_backend_may_lend_what_it_likes() {
    let (ring, other, page) = (Ring::new(), Ring::new(), Segment::<256>::new());
    for (shift, len) in [(0, usize::MAX), (1, 0), (64, 8), (64, usize::MAX), (0, 40)] {
        let liar = Liar { region: ring.region(), other: other.region().read_only(), shift, len };
        let page = Liar { region: page.region(), ..liar };
        let config = RingConfig::new("lent", 7, CAPACITY_BYTES);
        let Some(Ok(mut producer)) =
            tried(|| Producer::<Liar<'_>, Liar<'_>, 1>::create(liar, &config))
        else {
            continue;
        };
        let id = producer.subscribe(Start::Latest).expect("an empty table");
        let _ = tried(|| producer.attach(id, "reader", page));
        let reader = tried(|| Reader::attach(liar, page));
        let Some(Ok(mut reader)) = reader else { continue };
        let mut buf = [0; 64];
        for round in 0..ROUNDS {
            let _ = tried(|| producer.push(Meta::default(), &[9; 96][..round % 96]));
            let _ = tried(|| reader.next(&mut buf[..round % 64]));
            let _ = tried(|| reader.release());
        }
    }
}

#[test]
fn what_is_forgotten_leaves_a_ring_that_goes_on() {
    let mut ring = aqueduct_core::Ring::<256>::new();
    for round in 0..3_u8 {
        let (mut producer, [mut reader]) = ring.split_mut().expect("it is borrowed");
        producer.claim(40).expect("room").write(&[9; 30]).expect("it was claimed");
        let _ = producer.push(Meta::default(), &[round; 40]).expect("room");
        let Ok(Next::Record((record, payload))) = reader.next_in_place() else { panic!("one") };
        assert_eq!((record.seq, payload), (0, &[round; 40][..]));
        // Not released: gone with its reader, not in the way of the next life.
        forget((producer, reader));
    }
    let (shared, [mut reader]) = ring.split_shared::<2>().expect("it was borrowed only");
    forget(shared.claim(40).expect("room"));
    let later = shared.push(Meta::default(), b"later").expect("room");
    assert_eq!((later.seq, shared.unfinished().is_some()), (None, true), "it waits for ever");
    assert!(matches!(reader.next(&mut [0; 64]), Ok(Next::Empty)));
}

#[test]
fn readers_of_rings_that_look_alike_may_be_taken_for_each_other() {
    let (first, second) = (aqueduct_core::Ring::<256>::new(), aqueduct_core::Ring::<256>::new());
    let (mut one, [mut reader]) = first.split().expect("nobody has split it");
    let (mut other, [mut stranger]) = second.split().expect("nobody has split it");
    for producer in [&mut one, &mut other] {
        let _ = producer.push(Meta::default(), b"there is one").expect("room");
    }
    let mut seen = 0;
    thread::scope(|scope| {
        let busy = |producer: &mut aqueduct_core::ring::RingProducer<'_>, length: usize| {
            for round in 0..ROUNDS {
                let payload = [u8::try_from(round % 251).expect("small"); 48];
                let _ = tried(|| producer.push(Meta::default(), &payload[..round * length % 49]));
            }
        };
        scope.spawn(move || busy(&mut one, 7));
        scope.spawn(move || busy(&mut other, 5));
        for _ in 0..ROUNDS {
            // Both have epoch 1 and one size, so `resume` cannot tell them apart.
            let _ = tried(|| reader.resume(&stranger));
            let _ = tried(|| stranger.resume(&reader));
            std::mem::swap(&mut reader, &mut stranger);
            for reader in [&mut reader, &mut stranger] {
                let lengths = tried(|| match reader.next_in_place() {
                    Ok(Next::Record((record, payload))) => Some((record.len, payload.len())),
                    _ => None,
                });
                if let Some((said, given)) = lengths.flatten() {
                    assert_eq!(said, given);
                    seen += 1;
                }
                let _ = tried(|| reader.release());
            }
        }
    });
    assert!(seen > 0, "not vacuous");
}

#[test]
fn a_record_of_another_buffer_has_no_payload() {
    let ring = Ring::new();
    let mut producer = producer(&ring);
    let mut room = [0; 64];
    let mut writer = AttributeWriter::new(&mut room);
    writer.add("name", b"value").expect("room");
    let block = writer.finish();
    let _ = producer.push_with(Meta::default(), b"longer", block).expect("room");
    let mut observer = Observer::oldest(ring.region()).expect("a ring");
    let mut buf = [7; 64];
    let Ok(Next::Record(record)) = observer.next(&mut buf) else { panic!("it was pushed") };
    assert_eq!(record.payload(&buf), b"longer");
    assert_eq!(record.attributes(&buf).count(), 1);
    for short in 0..record.bytes() {
        if short < record.len {
            let payload = tried(|| record.payload(&buf[..short]));
            assert_eq!(payload, (!cfg!(debug_assertions)).then_some(&[][..]), "{short} bytes");
        }
        assert_eq!(record.attributes(&buf[..short]).count(), 0, "{short} bytes");
    }
}

#[test]
fn a_read_only_view_stores_nothing() {
    let (ring, elsewhere) = (Ring::new(), Ring::new());
    let mut producer = producer(&ring);
    let _ = producer.push(Meta::default(), b"kept").expect("room");
    // Who forwards its span into a MemoryMut of its own must not get to write through it.
    let liar =
        Liar { region: elsewhere.region(), other: ring.region().read_only(), shift: 1, len: 0 };
    let config = RingConfig::new("over it", 9, CAPACITY_BYTES);
    let mut over: Producer<Liar<'_>, Liar<'_>, 1> =
        Producer::create(liar, &config).expect("a right configuration");
    let _ = over.push(Meta::default(), b"lost").expect("room");
    let mut observer = Observer::oldest(ring.region()).expect("a ring");
    let mut buf = [0; 4];
    assert!(matches!(observer.next(&mut buf), Ok(Next::Record(record)) if record.len == 4));
    assert_eq!(&buf, b"kept");
}
