//! The processor's atomics, with an interrupt now and then right before an access.
//!
//! A timer hits a given gap between two accesses once in many minutes; this hits each of them many
//! times in a second. Only with the feature `interrupt-accesses`.

#![allow(clippy::disallowed_types, reason = "it takes the place of the core's own backend")]

use core::cell;
use core::sync::atomic::{AtomicU32, Ordering};

use aqueduct_core::shared::{Backend, NativeCell, Word};
use aqueduct_firmware::Random;
use cortex_m::asm;
use cortex_m::peripheral::SCB;
use cortex_m::peripheral::scb::{Exception, VectActive};
use critical_section::Mutex;

pub(crate) struct Interrupting;

impl Backend for Interrupting {
    type Word = InterruptedWord;
    type Cell<T> = NativeCell<T>;
}

pub(crate) struct InterruptedWord(AtomicU32);

static RANDOM: Mutex<cell::RefCell<Random>> =
    Mutex::new(cell::RefCell::new(Random::new(0x00AC_CE55)));

fn maybe_interrupt() {
    // The handler itself would only come again when it is done, for ever.
    let interruptible = !matches!(SCB::vect_active(), VectActive::Exception(Exception::SysTick));
    if interruptible
        && critical_section::with(|section| RANDOM.borrow_ref_mut(section).below(32)) == 0
    {
        SCB::set_pendst();
        asm::dsb();
        asm::isb();
    }
}

// SAFETY: every method is that of the one atomic `u32` inside; an interrupt may come before any
// access anyway.
unsafe impl Word for InterruptedWord {
    fn new(value: u32) -> Self {
        Self(AtomicU32::new(value))
    }

    fn load(&self, order: Ordering) -> u32 {
        maybe_interrupt();
        self.0.load(order)
    }

    fn store(&self, value: u32, order: Ordering) {
        maybe_interrupt();
        self.0.store(value, order);
    }

    fn compare_exchange(
        &self,
        current: u32,
        new: u32,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u32, u32> {
        maybe_interrupt();
        self.0.compare_exchange(current, new, success, failure)
    }

    fn fetch_or(&self, bits: u32, order: Ordering) -> u32 {
        maybe_interrupt();
        self.0.fetch_or(bits, order)
    }
}
