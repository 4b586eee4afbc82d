//! Every call of the core that a firmware can make without awaiting, for one thing: that no panic
//! is linked. Left out are the handshake, which is for sockets, `tail_word`, which is for futexes
//! and says itself that it panics, and what postcard writes as varints, integers beyond a byte and
//! lengths: with `opt-level = "s"` its loop keeps a check of a bound, and so the panic.

#![no_std]
#![no_main]

use core::fmt::Write as _;
use core::hint::black_box;
use core::panic::PanicInfo;
use core::sync::atomic::Ordering::Relaxed;

use aqueduct_core::attributes::AttributeWriter;
use aqueduct_core::typed::{self, Tagged};
use aqueduct_core::{
    AttributeBlock, Memory, MemoryMut, Meta, Next, Observer, Producer, Reader, Region, Ring,
    RingConfig, Segment, Start, WaitMode, payload_crc, postcard, recovery,
};
// Links the critical section of one core.
use cortex_m as _;

static RING: Segment<{ 256 + 1024 }> = Segment::new();
static PAGE: Segment<256> = Segment::new();

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {}
}

/// A value of either kind.
#[derive(
    Clone,
    Copy,
    zerocopy::FromBytes,
    zerocopy::IntoBytes,
    zerocopy::Immutable,
    zerocopy::KnownLayout,
)]
#[repr(transparent)]
struct Level([u8; 8]);

// SAFETY: eight bytes without padding, any value of them, and nothing outside.
unsafe impl bytemuck::Zeroable for Level {}
// SAFETY: as above.
unsafe impl bytemuck::Pod for Level {}

/// A value of `serde`'s.
struct Number(#[allow(dead_code, reason = "it is only taken")] u32);

impl<'b> serde::Deserialize<'b> for Number {
    fn deserialize<D: serde::Deserializer<'b>>(from: D) -> Result<Self, D::Error> {
        u32::deserialize(from).map(Self)
    }
}

impl Tagged for Number {
    const TYPE_TAG: u16 = 2;
}

impl Tagged for Level {
    const TYPE_TAG: u16 = 1;
}

/// Hides from the compiler what it could compute.
fn number() -> usize {
    black_box(7)
}

fn meta() -> Meta {
    black_box(Meta { type_tag: 1, timestamp_ns: 2 })
}

fn level() -> Level {
    black_box(Level([1; 8]))
}

#[inline(never)]
fn named(room: &mut [u8]) -> AttributeBlock<'_> {
    let mut attributes = AttributeWriter::new(room);
    let _ = black_box(attributes.add(black_box("unit"), black_box(b"C")));
    let _ = black_box(attributes.add_parts(&[black_box("unit"), "s"], black_box(b"s")));
    attributes.finish()
}

#[inline(never)]
fn produce(producer: &mut Producer<Region<'static>, Region<'static>, 2>) {
    let bytes = [1; 64];
    let bytes = bytes.get(..number()).unwrap_or_default();
    let _ = black_box(producer.push(meta(), bytes));
    let _ = black_box(producer.append(meta(), bytes));
    if let Ok(mut grant) = producer.claim(number()) {
        let _ = grant.write(bytes);
        black_box(grant.remaining());
        grant.commit(meta());
    }
    let mut room = [0; 32];
    let block = named(&mut room);
    let _ = black_box(producer.push_with(meta(), bytes, block));
    let _ = black_box(producer.append_with(meta(), bytes, block));
    let _ = black_box(producer.push_pod(1, &level()));
    let _ = black_box(producer.append_pod(1, &level()));
    let _ = black_box(producer.push_bytes_of(1, &level()));
    let _ = black_box(producer.append_bytes_of(1, &level()));
    if let Ok(mut grant) = producer.claim(number()) {
        let _ = black_box(write!(grant, "{} of {}", "level", number()));
        let _ = black_box(grant.write_pod(&level()));
        let _ = black_box(grant.write_bytes_of(&level()));
        let _ = black_box(embedded_io::Write::write(&mut grant, bytes));
        let _ = black_box(embedded_io::Write::write_all(&mut grant, bytes));
        grant.commit_as::<Level>(1);
    }
    if let Ok(mut grant) = producer.claim(number()) {
        let _ = black_box(postcard::write(&(level().0, true), &mut grant));
        let _ = black_box(grant.commit_with(meta(), block));
    }
    if let Ok(grant) = producer.claim(number()) {
        black_box(grant.payload_ptr());
        let crc = black_box((number() == 7).then_some(1));
        let _ = black_box(grant.commit_filled(meta(), number(), crc));
    }
    black_box((producer.geometry(), producer.next_seq()));
    let _ = black_box(producer.publish());
    let _ = black_box(producer.want_space(number()));
    black_box(producer.has_room(number() as u64));
    black_box(producer.want_room(number() as u64));
    black_box(producer.backlog());
    black_box(producer.take_violation());
    if let Ok(id) = producer.subscribe(black_box(Start::At(3))) {
        let _ = black_box(producer.attach(id, "x", PAGE.region()));
        black_box(producer.subscription(id));
        black_box(producer.detach(id));
        black_box(producer.unsubscribe(id));
    }
    let _ = black_box(producer.close());
}

#[inline(never)]
fn read(reader: &mut Reader<aqueduct_core::ReadRegion<'static>, Region<'static>>) {
    let mut buf = [0; 64];
    let buf = buf.get_mut(..number()).unwrap_or_default();
    if let Ok(Next::Record(record)) = reader.next(buf) {
        black_box(record.payload(buf));
        let attributes = record.attributes(buf);
        black_box((attributes.get(black_box("unit")), attributes.are_whole()));
        for attribute in attributes {
            black_box(attribute);
        }
        let _ = black_box(typed::view::<Level>(&record, buf));
        let _ = black_box(typed::view_slice::<Level>(&record, buf));
        let _ = black_box(typed::view_ref::<Level>(&record, buf));
        let _ = black_box(typed::value::<Level>(&record, buf));
    }
    let _ = black_box(reader.next_pod::<Level>().is_ok());
    let _ = black_box(reader.next_from_bytes::<Level>().is_ok());
    let _ = black_box(reader.batch(buf, number(), |record, bytes| {
        black_box((record, bytes));
    }));
    let _ = black_box(reader.peek());
    let _ = black_box(reader.skip());
    let _ = black_box(reader.seek(number() as u64, number() as u64));
    let _ = black_box(reader.lag(number() as u64));
    let _ = black_box(reader.skip_to_latest());
    if let Ok(mut again) = Reader::attach(RING.region().read_only(), PAGE.region()) {
        again.resume(reader);
        black_box(again);
    }
    black_box((reader.is_ready(), reader.is_at_first(), reader.next_seq(), reader.stats()));
    let _ = black_box(reader.prepare_sleep(black_box(WaitMode::Futex)));
    let _ = black_box(reader.finish_sleep(black_box(true)));
    black_box(reader.release());
}

#[inline(never)]
fn observe() {
    if let Ok(mut observer) = Observer::oldest(RING.region().read_only()) {
        let mut buf = [0; 64];
        let buf = buf.get_mut(..number()).unwrap_or_default();
        let _ = black_box(observer.next(buf));
        let _ = black_box(observer.peek());
        let _ = black_box(observer.skip());
        let _ = black_box(observer.seek(number() as u64, number() as u64));
        let _ = black_box(observer.lag(number() as u64));
        observer.skip_to_latest();
        let _ = black_box(observer.skip_to_oldest());
        black_box((observer.is_ready(), observer.is_at_first(), observer.next_seq()));
        black_box((observer.lost(), observer.corrupt(), observer.geometry()));
        if let Ok(mut again) = Observer::latest(RING.region().read_only()) {
            again.resume(&observer);
            black_box(again);
        }
    }
}

#[inline(never)]
fn share(producer: Producer<Region<'static>, Region<'static>, 2>) {
    type Shared = aqueduct_core::SharedProducer<
        Region<'static>,
        Region<'static>,
        aqueduct_core::shared::Native,
        8,
        2,
    >;
    let Ok(shared) = Shared::new(producer) else { return };
    let bytes = [1; 64];
    let bytes = bytes.get(..number()).unwrap_or_default();
    let _ = black_box(shared.push(meta(), bytes));
    let mut room = [0; 32];
    let block = named(&mut room);
    let _ = black_box(shared.push_with(meta(), bytes, block));
    let _ = black_box(shared.push_pod(1, &level()));
    let _ = black_box(shared.push_bytes_of(1, &level()));
    if let Ok(mut grant) = shared.claim(number()) {
        let _ = grant.write(bytes);
        black_box(grant.remaining());
        let _ = black_box(grant.commit(meta()));
    }
    if let Ok(mut grant) = shared.claim(number()) {
        let _ = black_box(write!(grant, "{} of {}", "level", number()));
        let _ = black_box(grant.write_pod(&level()));
        let _ = black_box(grant.write_bytes_of(&level()));
        let _ = black_box(embedded_io::Write::write(&mut grant, bytes));
        let _ = black_box(grant.commit_as::<Level>(1));
    }
    if let Ok(mut grant) = shared.claim(number()) {
        let _ = black_box(postcard::write(&(level().0, true), &mut grant));
        let _ = black_box(grant.commit_with(meta(), block));
    }
    if let Ok(grant) = shared.claim(number()) {
        black_box(grant.payload_ptr());
        let crc = black_box((number() == 7).then_some(1));
        let _ = black_box(grant.commit_filled(meta(), number(), crc));
    }
    if let Ok(subscribed) = shared.subscribe(black_box(Start::Latest))
        && let Ok(id) = subscribed.value
    {
        let _ = black_box(shared.attach(id, "x", &mut Some(PAGE.region())));
        let _ = black_box(shared.subscription(id));
        let _ = black_box(shared.detach(id));
        let _ = black_box(shared.unsubscribe(id));
    }
    let _ = black_box(shared.take_violation());
    black_box(shared.geometry());
    if let Ok(grant) = shared.claim(number()) {
        let _ = black_box(grant.abandon());
    }
    let _ = black_box(shared.publish());
    let _ = black_box(shared.unfinished());
    let _ = black_box(shared.want_space(number()));
    let _ = black_box(shared.into_producer().1);
}

#[inline(never)]
fn split() {
    static WHOLE: Ring<1024, 2> = Ring::new();
    let Some((mut producer, [mut first, mut second])) = WHOLE.split() else { return };
    let _ = black_box(producer.push(meta(), &[1; 8]));
    let mut room = [0; 32];
    let block = named(&mut room);
    let _ = black_box(producer.append(meta(), &[1; 8]));
    let _ = black_box(producer.push_with(meta(), &[1; 8], block));
    let _ = black_box(producer.append_with(meta(), &[1; 8], block));
    let _ = black_box(producer.push_pod(1, &level()));
    if let Ok(grant) = producer.claim(number()) {
        grant.commit(meta());
    }
    let _ = black_box(producer.publish());
    let _ = black_box(producer.want_space(number()));
    black_box(producer.backlog());
    for reader in [&mut first, &mut second] {
        let _ = black_box(reader.next_in_place());
        if let Ok(Next::Record((record, bytes))) = reader.next_in_place_with_attributes() {
            let _ = black_box(postcard::value::<Number>(&record, bytes).is_ok());
        }
        black_box(reader.release());
    }
    let _ = black_box(WHOLE.observer().is_ok());
    let _ = black_box(producer.close());
}

#[inline(never)]
fn split_for_many() {
    static SHARED: Ring<1024, 2> = Ring::new();
    let Some((shared, [mut first, _])) = SHARED.split_shared::<8>() else { return };
    let _ = black_box(shared.push(meta(), &[1; 8]));
    let _ = black_box(first.next(&mut [0; 8]));
}

#[inline(never)]
fn split_again(ring: &mut Ring<256>) {
    let Some((mut producer, [mut reader])) = ring.split_mut() else { return };
    let _ = black_box(producer.push(meta(), &[1; 8]));
    let _ = black_box(reader.next(&mut [0; 8]));
}

/// Every access that the traits have, at places that the compiler does not know.
#[inline(never)]
fn access(region: Region<'static>) {
    let mut bytes = [0; 64];
    let bytes = bytes.get_mut(..number()).unwrap_or_default();
    region.read(number(), bytes);
    region.write(number(), bytes);
    region.store(number(), region.load(number(), Relaxed), Relaxed);
    black_box((region.span(number(), number()).is_some(), region.is_same(&RING.region())));
}

#[cortex_m_rt::entry]
fn main() -> ! {
    split();
    split_for_many();
    split_again(black_box(&mut Ring::new()));
    access(black_box(RING.region()));
    let config = RingConfig::new("whole", black_box(1), 1024);
    let new = Producer::<_, Region<'_>, 2>::create_new(RING.region(), black_box(&config));
    let _ = black_box(new.is_ok());
    if let Ok(mut producer) = Producer::create(RING.region(), black_box(&config)) {
        produce(&mut producer);
        if let Ok(mut reader) = Reader::attach(RING.region().read_only(), PAGE.region()) {
            read(&mut reader);
        }
        observe();
        share(producer);
    }
    if let Ok(recovered) = recovery::recover(
        &RING.region(),
        recovery::Checkpoint::oldest(&RING.region()),
        recovery::Bound::Tail,
    ) {
        let _ = black_box(Producer::<_, Region<'_>, 1>::resume(RING.region(), &recovered));
    }
    if let Ok(scan) = recovery::scan(RING.region()) {
        for found in scan {
            let _ = black_box(found);
        }
    }
    black_box(payload_crc(black_box(&[1; 7])));
    loop {
        black_box(());
    }
}
