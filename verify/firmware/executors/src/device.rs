//! The interrupts of the device, as a crate for a board would have them: one line, which nothing of
//! the board uses on either of the two, and programs make pending by themselves.

use cortex_m::interrupt::InterruptNumber;

/// Bits of a priority that every Cortex-M has.
pub const NVIC_PRIO_BITS: u8 = 2;

/// The interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(non_camel_case_types, reason = "as crates for devices name it")]
#[repr(u16)]
pub enum interrupt {
    /// For software.
    SWI0 = 20,
}

pub use interrupt as Interrupt;

// SAFETY: the number of the line, which both boards have.
unsafe impl InterruptNumber for interrupt {
    fn number(self) -> u16 {
        self as u16
    }
}

unsafe extern "C" {
    fn DefaultHandler();
    fn SWI0();
}

/// The part of the vector table that is the device's.
#[unsafe(link_section = ".vector_table.interrupts")]
#[unsafe(no_mangle)]
pub static __INTERRUPTS: [unsafe extern "C" fn(); 21] = {
    let mut table = [DefaultHandler as unsafe extern "C" fn(); 21];
    table[20] = SWI0;
    table
};
