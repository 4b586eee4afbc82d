//! Counts instructions by SysTick, and stack by what changed below it.

use aqueduct_firmware::pass;
use cortex_m::Peripherals;
use cortex_m::peripheral::SYST;
use cortex_m::peripheral::syst::SystClkSource;

const ROUNDS: u32 = 1000;

/// Bytes below the stack that are painted: more than anything here takes.
const PAINTED: usize = 3072;
const PAINT: u32 = 0x5AFE_5AFE;

/// Starts the timer, of 24 bits, without its interrupt.
pub(crate) fn start() {
    let Some(peripherals) = Peripherals::take() else { pass() };
    let mut timer = peripherals.SYST;
    timer.set_clock_source(SystClkSource::Core);
    timer.set_reload(0x00FF_FFFF);
    timer.clear_current();
    timer.enable_counter();
}

fn ticks(work: impl FnOnce()) -> u32 {
    let before = SYST::get_current();
    work();
    before.wrapping_sub(SYST::get_current()) & 0x00FF_FFFF
}

/// Returns the instructions that `work` takes, the call included: a mean over many rounds.
pub(crate) fn instructions(mut work: impl FnMut()) -> u32 {
    work();
    // Of two instructions a round.
    let loops = 1_000_000;
    let per_loops = ticks(|| cortex_m::asm::delay(loops));
    let taken = ticks(|| (0..ROUNDS).for_each(|_| work()));
    let empty = ticks(|| (0..ROUNDS).for_each(|_| core::hint::black_box(())));
    let counted = u64::from(taken - empty) * u64::from(loops);
    u32::try_from(counted / u64::from(per_loops) / u64::from(ROUNDS)).unwrap_or(u32::MAX)
}

/// Returns what `work` returns, and the most bytes of stack that it had in use.
#[inline(never)]
pub(crate) fn stack<R>(work: impl FnOnce() -> R) -> (R, usize) {
    // The frame of `paint` itself lies in the first bytes.
    let top = (cortex_m::register::msp::read() as usize - 128) & !3;
    paint(top);
    let result = work();
    (result, 128 + top - untouched(top))
}

#[inline(never)]
fn paint(top: usize) {
    for at in (top - PAINTED..top).step_by(4) {
        let word = core::ptr::with_exposed_provenance_mut::<u32>(at);
        // SAFETY: RAM below the stack, which nobody uses: interrupts are off, and the program's
        // statics end far below it.
        unsafe { word.write_volatile(PAINT) };
    }
}

/// Returns the lowest address that was written since.
#[inline(never)]
fn untouched(top: usize) -> usize {
    let painted = |&at: &usize| {
        let word = core::ptr::with_exposed_provenance::<u32>(at);
        // SAFETY: as in `paint`.
        unsafe { word.read_volatile() == PAINT }
    };
    (top - PAINTED..top).step_by(4).find(|at| !painted(at)).unwrap_or(top)
}
