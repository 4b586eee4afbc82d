//! A ring that comes whole, between an interrupt handler and a task that awaits its records.
//!
//! The handler and the task push through one `SharedProducer` of a static `Ring`, on the Cortex-M0
//! too, where the core's compare-and-swap is a critical section. The task sleeps by WFI until the
//! waker that it left in `Waiters` is called, which counts.
//!
//! Run: `cargo run --release --bin waits`. Expect a line `ok` and exit code 0. With the argument
//! `seed=short` it stops after a few records; with `seed=deaf` nobody is woken, which must fail.

#![no_std]
#![no_main]

mod task;

use core::cell::{Cell, RefCell};
use core::ops::ControlFlow;

use aqueduct_core::shared::Native;
use aqueduct_core::waiters::Waiters;
use aqueduct_core::{ClaimError, Meta, Next, Region, Ring, SharedProducer};
use aqueduct_firmware::{Random, pass, seeded};
use cortex_m::Peripherals;
use cortex_m::peripheral::syst::SystClkSource;
use cortex_m_rt::{entry, exception};
use cortex_m_semihosting::hprintln;
use critical_section::Mutex;

type Shared = SharedProducer<Region<'static>, Region<'static>, Native, 8, 1>;

static RING: Ring<512> = Ring::new();
static WAITERS: Waiters = Waiters::new();

const FROM_HANDLER: u16 = 1;
const FROM_TASK: u16 = 2;

/// What the handler works with, once it is there.
static HANDOVER: Mutex<Cell<Option<&'static Shared>>> = Mutex::new(Cell::new(None));

/// The next record of the handler, and how many it will make.
static NUMBERS: Mutex<RefCell<(u32, u32)>> = Mutex::new(RefCell::new((0, 0)));

/// Whether wake-ups are lost, which the run must notice.
static DEAF: Mutex<Cell<bool>> = Mutex::new(Cell::new(false));

fn push(shared: &Shared, source: u16, number: u32) -> Result<(), ClaimError> {
    let meta = Meta { type_tag: source, timestamp_ns: u64::from(number) };
    let payload = [number.to_le_bytes(); 5];
    let (wake, outcome) = match shared.push(meta, payload.as_flattened()) {
        Ok(commit) => (commit.wake, Ok(())),
        // Making room may have published what others committed.
        Err(error) => (shared.publish(), Err(error)),
    };
    if !critical_section::with(|section| DEAF.borrow(section).get()) {
        WAITERS.wake(wake);
    }
    outcome
}

#[exception]
fn SysTick() {
    static mut RANDOM: Random = Random::new(0x5EED);
    let Some(shared) = critical_section::with(|section| HANDOVER.borrow(section).get()) else {
        return;
    };
    for _ in 0..RANDOM.below(4) {
        let (number, end) = critical_section::with(|section| *NUMBERS.borrow_ref(section));
        // A full ring or a busy table: again at the next tick.
        if number == end || push(shared, FROM_HANDLER, number).is_err() {
            return;
        }
        critical_section::with(|section| NUMBERS.borrow_ref_mut(section).0 += 1);
    }
}

#[entry]
fn main() -> ! {
    static mut SHARED: Option<Shared> = None;
    let records = if seeded("short") { 40 } else { 4000 };
    let (producer, [mut reader]) = RING.split_shared().expect("nobody has split it");
    assert!(RING.split().is_none() && RING.split_shared::<8>().is_none(), "each half once");
    let shared: &'static Shared = SHARED.insert(producer);
    let deaf = seeded("deaf");
    critical_section::with(|section| {
        DEAF.borrow(section).set(deaf);
        *NUMBERS.borrow_ref_mut(section) = (0, records);
        HANDOVER.borrow(section).set(Some(shared));
    });

    let mut timer = Peripherals::take().expect("the first").SYST;
    timer.set_clock_source(SystClkSource::Core);
    timer.set_reload(1500);
    timer.clear_current();
    timer.enable_counter();
    timer.enable_interrupt();

    let (mut handlers, mut own, mut pushed, mut buf) = (0_u32, 0_u32, 0_u32, [0; 32]);
    let slept = task::run(async || {
        let next = WAITERS.next(0, &mut reader, &mut buf).await.expect("nothing is damaged");
        let Next::Record(record) = next else { panic!("nobody closed it") };
        let counter = if record.type_tag == FROM_TASK { &mut own } else { &mut handlers };
        assert_eq!(record.timestamp_ns, u64::from(*counter), "{record:?}");
        assert!(
            buf[..record.len] == *[counter.to_le_bytes(); 5].as_flattened(),
            "content of {record:?}"
        );
        *counter += 1;
        WAITERS.released(reader.release());
        // One of its own for four of the handler's; a full ring leaves it for later.
        if handlers / 4 > pushed && push(shared, FROM_TASK, pushed).is_ok() {
            pushed += 1;
        }
        if handlers == records { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(own > records / 8, "the task pushed {own} records");
    assert!(slept > records / 10, "the task slept {slept} times: it was not awaited");
    hprintln!(
        "ok: {} records from a handler and {} from the task, which slept {} times",
        handlers,
        own,
        slept
    );
    pass()
}
