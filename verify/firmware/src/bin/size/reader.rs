//! A core that only reads what another one produces: attaches, then `next` and `release`.

#![no_std]
#![no_main]

use core::hint::black_box;
use core::panic::PanicInfo;

use aqueduct_core::{Reader, Segment};

static RING: Segment<{ 256 + 1024 }> = Segment::new();
static PAGE: Segment<256> = Segment::new();

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {}
}

#[cortex_m_rt::entry]
fn main() -> ! {
    if let Ok(mut reader) = Reader::attach(RING.region().read_only(), PAGE.region()) {
        let mut buf = [0; 64];
        loop {
            let _ = black_box(reader.next(&mut buf));
            black_box(&buf);
            black_box(reader.release());
        }
    }
    loop {
        black_box(());
    }
}
