//! A core that only produces: makes a ring with one reader's page, then `push`.

#![no_std]
#![no_main]

use core::hint::black_box;
use core::panic::PanicInfo;

use aqueduct_core::{Meta, Producer, Region, RingConfig, Segment, Start};

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
    {
        loop {
            let _ = black_box(producer.push(black_box(Meta::default()), black_box(&[1; 64])));
        }
    }
    loop {
        black_box(());
    }
}
