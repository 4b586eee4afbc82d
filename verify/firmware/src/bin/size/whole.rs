//! Every call of the core that a firmware can make without awaiting, for one thing: that no panic
//! is linked.

#![no_std]
#![no_main]

use core::hint::black_box;
use core::panic::PanicInfo;

use aqueduct_core::{
    Meta, Next, Observer, Producer, Reader, Region, Ring, RingConfig, Segment, Start, WaitMode,
    payload_crc, recovery,
};
// Links the critical section of one core.
use cortex_m as _;

static RING: Segment<{ 256 + 1024 }> = Segment::new();
static PAGE: Segment<256> = Segment::new();

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {}
}

/// Hides from the compiler what it could compute.
fn number() -> usize {
    black_box(7)
}

fn meta() -> Meta {
    black_box(Meta { type_tag: 1, timestamp_ns: 2 })
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
        black_box(record);
    }
    let _ = black_box(reader.batch(buf, number(), |record, bytes| {
        black_box((record, bytes));
    }));
    let _ = black_box(reader.peek());
    let _ = black_box(reader.skip());
    let _ = black_box(reader.seek(number() as u64, number() as u64));
    let _ = black_box(reader.lag(number() as u64));
    let _ = black_box(reader.skip_to_latest());
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
    if let Ok(mut grant) = shared.claim(number()) {
        let _ = grant.write(bytes);
        let _ = black_box(grant.commit(meta()));
    }
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
    for reader in [&mut first, &mut second] {
        let _ = black_box(reader.next_in_place());
        black_box(reader.release());
    }
}

#[cortex_m_rt::entry]
fn main() -> ! {
    split();
    let config = RingConfig::new("whole", black_box(1), 1024);
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
    black_box(payload_crc(black_box(&[1; 7])));
    loop {
        black_box(());
    }
}
