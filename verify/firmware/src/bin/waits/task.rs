//! One task without an executor: it is polled after each wake-up, and sleeps by WFI in between.

use core::cell::Cell;
use core::ops::ControlFlow;
use core::pin::pin;
use core::ptr;
use core::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};

use critical_section::Mutex;

/// Wake-ups so far.
static WOKEN: Mutex<Cell<u32>> = Mutex::new(Cell::new(0));

fn woken() -> u32 {
    critical_section::with(|section| WOKEN.borrow(section).get())
}

fn wake(_: *const ()) {
    critical_section::with(|section| WOKEN.borrow(section).update(|count| count + 1));
}

const VTABLE: RawWakerVTable =
    RawWakerVTable::new(|_| RawWaker::new(ptr::null(), &VTABLE), wake, wake, |_| {});

/// The most that one wait may take, in interrupts: the timer comes again and again.
const PATIENCE: u32 = 1000;

/// Runs `step` again and again until it says that it is done. Returns how often it slept.
pub(crate) fn run(mut step: impl AsyncFnMut() -> ControlFlow<()>) -> u32 {
    // SAFETY: the table's functions ignore their pointer, and may be called from anywhere.
    let waker = unsafe { Waker::from_raw(RawWaker::new(ptr::null(), &VTABLE)) };
    let mut context = Context::from_waker(&waker);
    let mut slept = 0;
    loop {
        let mut future = pin!(step());
        let flow = loop {
            let before = woken();
            if let Poll::Ready(flow) = future.as_mut().poll(&mut context) {
                break flow;
            }
            slept += 1;
            let mut interrupts = 0;
            while woken() == before {
                cortex_m::asm::wfi();
                interrupts += 1;
                assert!(interrupts < PATIENCE, "nobody woke the task");
            }
        };
        if flow.is_break() {
            return slept;
        }
    }
}
