//! What a record of 64 bytes costs: instructions and stack, here and with `bbqueue` and `heapless`.
//!
//! Run by `cost.sh`, in an emulator that counts a nanosecond for each instruction. SysTick counts
//! these; a loop of known length says how many a tick is. Interrupts stay off.

#![no_std]
#![no_main]

mod meters;

use core::hint::black_box;

use aqueduct_core::{Meta, Next, Producer, ReadRegion, Reader, Region, RingConfig, Segment, Start};
use aqueduct_firmware::pass;
use bbqueue::BBQueue;
use bbqueue::traits::notifier::polling::Polling;
use bbqueue::traits::storage::Inline;
use cortex_m_rt::entry;
use cortex_m_semihosting::hprintln;
use heapless::spsc::Queue;

use self::meters::{instructions, stack};

#[cfg(target_has_atomic = "ptr")]
use bbqueue::traits::coordination::cas::AtomicCoord as Coord;
#[cfg(not(target_has_atomic = "ptr"))]
use bbqueue::traits::coordination::cs::CsCoord as Coord;

type OneProducer = Producer<Region<'static>, Region<'static>, 1>;
type OneReader = Reader<ReadRegion<'static>, Region<'static>>;

static RING: Segment<{ 256 + 1024 }> = Segment::new();
static PAGE: Segment<256> = Segment::new();
static FRAMES: BBQueue<Inline<1024>, Coord, Polling> = BBQueue::new();

const PAYLOAD: [u8; 64] = [0x5a; 64];

#[inline(never)]
fn create() -> OneProducer {
    let config = RingConfig::new("cost", 0x0c05_7000_0c05_7001, 1024);
    let mut producer = Producer::create(RING.region(), &config).expect("a right configuration");
    let id = producer.subscribe(Start::Oldest).expect("an empty table");
    producer.attach(id, "reader", PAGE.region()).expect("it is large enough");
    producer
}

#[inline(never)]
fn attach() -> OneReader {
    Reader::attach(RING.region().read_only(), PAGE.region()).expect("the ring was just made")
}

#[inline(never)]
fn aqueduct(producer: &mut OneProducer, reader: &mut OneReader, buf: &mut [u8; 64]) {
    let _ = black_box(producer.push(black_box(Meta::default()), black_box(&PAYLOAD)));
    let next = reader.next(buf);
    assert!(matches!(next, Ok(Next::Record(record)) if record.len == 64), "every record is read");
    black_box(&buf);
    let _ = black_box(reader.release());
}

#[inline(never)]
fn bbqueue(buf: &mut [u8; 64]) {
    let (producer, consumer) = (FRAMES.framed_producer(), FRAMES.framed_consumer());
    let mut grant = producer.grant(64).expect("there is room");
    grant.copy_from_slice(black_box(&PAYLOAD));
    grant.commit(64);
    let grant = consumer.read().expect("there is a frame");
    buf.copy_from_slice(&grant);
    grant.release();
    black_box(&buf);
}

#[entry]
fn main() -> ! {
    static mut QUEUE: Queue<[u8; 64], 16> = Queue::new();
    cortex_m::interrupt::disable();
    meters::start();

    let (mut producer, set_up) = stack(create);
    let (mut reader, attaching) = stack(attach);
    let mut buf = [0; 64];
    let ((), record) = stack(|| aqueduct(&mut producer, &mut reader, &mut buf));
    let count = instructions(|| aqueduct(&mut producer, &mut reader, &mut buf));
    assert!(buf == PAYLOAD, "the record came through");
    hprintln!("aqueduct instructions {}", count);
    hprintln!("aqueduct stack {}", record.max(set_up).max(attaching));
    hprintln!("aqueduct ram {}", size_of::<OneProducer>() + size_of::<OneReader>() + 2 * 256);

    let ((), record) = stack(|| bbqueue(&mut buf));
    hprintln!("bbqueue instructions {}", instructions(|| bbqueue(&mut buf)));
    hprintln!("bbqueue stack {}", record);
    hprintln!("bbqueue ram {}", size_of_val(&FRAMES) - 1024);

    let (mut enqueue, mut dequeue) = QUEUE.split();
    let mut heapless = || {
        let _ = black_box(enqueue.enqueue(black_box(PAYLOAD)));
        if let Some(record) = dequeue.dequeue() {
            black_box(&record);
        }
    };
    let ((), record) = stack(&mut heapless);
    hprintln!("heapless instructions {}", instructions(&mut heapless));
    hprintln!("heapless stack {}", record);
    hprintln!("heapless ram {}", size_of::<Queue<[u8; 64], 16>>() - 16 * 64);
    pass()
}
