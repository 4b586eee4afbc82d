//! What the test programs share: a verdict that reaches the shell, faults to seed, and records that
//! say what they must contain.
//!
//! A run ends by semihosting, with exit code 0 or not; a failed check is a panic.

#![no_std]

pub mod content;
#[cfg(feature = "crc-hook")]
pub mod crc_unit;

use core::panic::PanicInfo;

use cortex_m_rt::{ExceptionFrame, exception};
use cortex_m_semihosting::{debug, hprintln, nr};

/// Ends the run with exit code 0.
pub fn pass() -> ! {
    debug::exit(debug::EXIT_SUCCESS);
    unreachable!("the emulator has exited");
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    hprintln!("FAILED: {}", info);
    loop {
        debug::exit(debug::EXIT_FAILURE);
    }
}

// SAFETY: it touches nothing of the program that faulted and never returns to it.
#[exception]
unsafe fn HardFault(frame: &ExceptionFrame) -> ! {
    panic!("hard fault at {:#010x}", frame.pc());
}

/// Whether this run was asked, by an argument `seed=FAULT` of the emulator, to do something wrong.
/// It must then fail.
pub fn seeded(fault: &str) -> bool {
    let mut line = [0_u8; 128];
    let mut block = [(&raw mut line).addr(), line.len()];
    // SAFETY: SYS_GET_CMDLINE takes the address of {address, size} of a buffer and writes into the
    // buffer and the block only; both live until it returns, and are mutable.
    let refused = unsafe {
        cortex_m_semihosting::syscall1(nr::GET_CMDLINE, (&raw mut block).expose_provenance())
    };
    let end = line.iter().position(|&byte| byte == 0).unwrap_or(0);
    let line = core::str::from_utf8(&line[..end]).unwrap_or_default();
    refused == 0
        && line.split(' ').filter_map(|word| word.strip_prefix("seed=")).any(|word| word == fault)
}

/// Pseudo-random numbers, the same in every run (xorshift, Marsaglia 2003).
pub struct Random(u32);

impl Random {
    /// `seed` is not 0.
    pub const fn new(seed: u32) -> Self {
        Self(seed)
    }

    /// A number below `limit`.
    pub const fn below(&mut self, limit: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0 % limit
    }
}
