//! An interrupt handler produces, the main loop reads, on one core.
//!
//! 1. `plain`: the handler owns the one [`Producer`](aqueduct_core::Producer).
//! 2. `shared`, where the processor has compare-and-swap: two interrupt handlers of different
//!    priority and the main loop claim, fill and commit through one `SharedProducer`, interrupting
//!    each other while claims are open.
//!
//! Run: `cargo run --release --bin isr`. Expect two lines `ok` and exit code 0. Read next: `plain`.

#![no_std]
#![no_main]

#[cfg(all(target_has_atomic = "32", feature = "interrupt-accesses"))]
mod interrupting;
mod plain;
#[cfg(target_has_atomic = "32")]
mod shared;

use core::cell::RefCell;

use aqueduct_firmware::{Random, pass};
use cortex_m::Peripherals;
use cortex_m::peripheral::SYST;
use cortex_m::peripheral::syst::SystClkSource;
use cortex_m_rt::{entry, exception};
use critical_section::Mutex;

/// Records of each source.
const RECORDS: u32 = 20_000;

/// Data area of each ring, bytes. Small, so that it is often full and wraps often.
const DATA_BYTES: usize = 4096;

/// So near to 2^32 that shared positions wrap early in the run.
const FIRST_POSITION: u32 = u32::MAX - 5000;

/// What the timer's interrupt does.
#[allow(
    clippy::large_enum_variant,
    reason = "there is one of it, and no heap to put the larger variant on"
)]
enum Work {
    Plain(plain::Interrupt),
    #[cfg(target_has_atomic = "32")]
    Shared(shared::Interrupt),
}

/// From the main loop to the handler: it owns this from its next tick on.
static HANDOVER: Mutex<RefCell<Option<Work>>> = Mutex::new(RefCell::new(None));

fn hand_over(work: Work) {
    critical_section::with(|section| HANDOVER.borrow_ref_mut(section).replace(work));
}

#[exception]
fn SysTick() {
    static mut WORK: Option<Work> = None;
    static mut RANDOM: Random = Random::new(0x5EED);
    if let Some(new) = critical_section::with(|section| HANDOVER.borrow_ref_mut(section).take()) {
        *WORK = Some(new);
    }
    match WORK {
        None => {}
        Some(Work::Plain(work)) => work.tick(),
        #[cfg(target_has_atomic = "32")]
        Some(Work::Shared(work)) => work.tick(),
    }
    // For the tick after the next one; that is under way already.
    timer().set_reload(500 + RANDOM.below(3000));
}

fn timer() -> SYST {
    // SAFETY: the timer is only used by `main` before it is started, and by its own handler from
    // then on.
    unsafe { Peripherals::steal() }.SYST
}

#[entry]
fn main() -> ! {
    let mut timer = timer();
    timer.set_clock_source(SystClkSource::Core);
    timer.set_reload(1000);
    timer.clear_current();
    timer.enable_counter();
    timer.enable_interrupt();

    plain::run();
    #[cfg(target_has_atomic = "32")]
    shared::run();
    pass()
}
