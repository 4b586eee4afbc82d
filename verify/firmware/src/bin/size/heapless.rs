//! What `both` is compared with: a queue of `heapless`, records of 64 bytes by value, no checksum.

#![no_std]
#![no_main]

use core::hint::black_box;
use core::panic::PanicInfo;

use heapless::spsc::Queue;

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {}
}

#[cortex_m_rt::entry]
fn main() -> ! {
    static mut QUEUE: Queue<[u8; 64], 16> = Queue::new();
    let (mut producer, mut consumer) = QUEUE.split();
    loop {
        let _ = black_box(producer.enqueue(black_box([1; 64])));
        if let Some(record) = consumer.dequeue() {
            black_box(&record);
        }
    }
}
