//! Both halves in one program: `push`, `next`, `release`.

#![no_std]
#![no_main]

use core::hint::black_box;
use core::panic::PanicInfo;

use aqueduct_core::{Meta, Producer, Reader, Region, RingConfig, Segment, Start};

static RING: Segment<{ 256 + 1024 }> = Segment::new();
static PAGE: Segment<256> = Segment::new();

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {}
}

#[cortex_m_rt::entry]
fn main() -> ! {
    let config = RingConfig::new("size", black_box(1), 1024);
    if let Ok(mut producer) = Producer::<Region<'_>, Region<'_>, 1>::create(RING.region(), &config)
        && let Ok(subscription) = producer.subscribe(Start::Oldest)
        && producer.attach(subscription, "size", PAGE.region()).is_ok()
        && let Ok(mut reader) = Reader::attach(RING.region().read_only(), PAGE.region())
    {
        let mut buf = [0; 64];
        loop {
            let _ = black_box(producer.push(black_box(Meta::default()), black_box(&[1; 64])));
            let _ = black_box(reader.next(&mut buf));
            black_box(&buf);
            black_box(reader.release());
        }
    }
    loop {
        black_box(());
    }
}
