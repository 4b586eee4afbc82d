//! embassy: two tasks of one thread-mode executor, which sleeps by WFE, and a handler of the timer.
//!
//! Run: `cargo run --release --bin embassy`. Expect a line `ok` and exit code 0. With the argument
//! `seed=deaf` nobody is woken, which must fail.

#![no_std]
#![no_main]

use core::cell::RefCell;

use aqueduct_core::ring::{RingProducer, RingReader};
use aqueduct_executors::{Handler, begin, produce, read, start};
use cortex_m::Peripherals;
use cortex_m_rt::{entry, exception};
use critical_section::Mutex;
use embassy_executor::{Executor, task};

static HANDLER: Mutex<RefCell<Option<Handler>>> = Mutex::new(RefCell::new(None));

#[exception]
fn SysTick() {
    critical_section::with(|section| {
        if let Some(handler) = HANDLER.borrow_ref_mut(section).as_mut() {
            handler.tick();
        }
    });
}

#[task]
async fn reading(reader: RingReader<'static>) {
    read(reader).await;
}

#[task]
async fn producing(producer: RingProducer<'static>) {
    produce(producer).await;
}

#[entry]
fn main() -> ! {
    static mut EXECUTOR: Option<Executor> = None;
    let (handler, (reader, producer)) = begin();
    critical_section::with(|section| HANDLER.replace(section, Some(handler)));
    start(Peripherals::take().expect("the first").SYST);
    EXECUTOR.insert(Executor::new()).run(|spawner| {
        spawner.spawn(reading(reader).expect("the first"));
        spawner.spawn(producing(producer).expect("the first"));
    })
}
