//! What `both` is compared with: frames of `bbqueue`, filled and copied out, no checksum.

#![no_std]
#![no_main]

use core::hint::black_box;
use core::panic::PanicInfo;

use bbqueue::BBQueue;
use bbqueue::traits::notifier::polling::Polling;
use bbqueue::traits::storage::Inline;
// Links the critical section of one core.
use cortex_m as _;

#[cfg(target_has_atomic = "ptr")]
use bbqueue::traits::coordination::cas::AtomicCoord as Coord;
#[cfg(not(target_has_atomic = "ptr"))]
use bbqueue::traits::coordination::cs::CsCoord as Coord;

static QUEUE: BBQueue<Inline<1024>, Coord, Polling> = BBQueue::new();

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {}
}

#[cortex_m_rt::entry]
fn main() -> ! {
    let (producer, consumer) = (QUEUE.framed_producer(), QUEUE.framed_consumer());
    let mut buf = [0; 64];
    loop {
        if let Ok(mut grant) = producer.grant(64) {
            if let Some(frame) = grant.get_mut(..64) {
                frame.copy_from_slice(black_box(&[1; 64]));
            }
            grant.commit(64);
        }
        if let Ok(grant) = consumer.read() {
            for (to, from) in buf.iter_mut().zip(grant.iter()) {
                *to = *from;
            }
            grant.release();
        }
        black_box(&buf);
    }
}
