//! Prints the RAM that each half keeps on this target, bytes: (what, bytes).

#![no_std]
#![no_main]

use aqueduct_core::layout::{CURSOR_BYTES_MIN, DATA_OFFSET_MIN, GRANULE_BYTES, MIN_CAPACITY};
use aqueduct_core::{Observer, Producer, ReadRegion, Reader, Region};
use aqueduct_firmware::pass;
use cortex_m_semihosting::hprintln;

type R = Region<'static>;
// On the Cortex-M0 by critical sections.
type Shared<const CLAIMS: usize> =
    aqueduct_core::SharedProducer<R, R, aqueduct_core::shared::Native, CLAIMS, 1>;

#[cortex_m_rt::entry]
fn main() -> ! {
    let smallest_ring = DATA_OFFSET_MIN as usize + MIN_CAPACITY as usize * GRANULE_BYTES;
    for (what, bytes) in [
        ("Producer, 1 subscription", size_of::<Producer<R, R, 1>>()),
        ("Producer, 16 subscriptions", size_of::<Producer<R, R, 16>>()),
        ("Reader", size_of::<Reader<ReadRegion<'static>, R>>()),
        ("Observer", size_of::<Observer<ReadRegion<'static>>>()),
        ("smallest ring segment (payloads up to 32 bytes)", smallest_ring),
        ("smallest cursor segment", CURSOR_BYTES_MIN),
        ("SharedProducer, 1 subscription, 8 claims", size_of::<Shared<8>>()),
        ("SharedProducer, 1 subscription, 64 claims", size_of::<Shared<64>>()),
    ] {
        hprintln!("{:<50} {:>6}", what, bytes);
    }
    pass()
}
