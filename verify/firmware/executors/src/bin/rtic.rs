//! RTIC 2: a hardware task of the timer at the highest priority, a task that awaits its records in
//! the middle, and one that produces and awaits space below both.
//!
//! Run: `cargo run --release --bin rtic`. Expect a line `ok` and exit code 0. With the argument
//! `seed=deaf` nobody is woken, which must fail.

#![no_std]
#![no_main]
#![allow(missing_docs, clippy::result_large_err, reason = "what the macro makes")]

#[rtic::app(device = aqueduct_executors::device, peripherals = false, dispatchers = [SWI0])]
mod app {
    use aqueduct_core::ring::{RingProducer, RingReader};
    use aqueduct_executors::{Handler, begin, start};

    #[shared]
    struct Shared {}

    #[local]
    struct Local {
        handler: Handler,
    }

    #[init]
    fn init(context: init::Context) -> (Shared, Local) {
        let (handler, (reader, producer)) = begin();
        start(context.core.SYST);
        assert!(read::spawn(reader).is_ok(), "the first");
        assert!(produce::spawn(producer).is_ok(), "the first");
        (Shared {}, Local { handler })
    }

    #[task(binds = SysTick, priority = 2, local = [handler])]
    fn tick(context: tick::Context) {
        context.local.handler.tick();
    }

    #[task(priority = 1)]
    async fn read(_: read::Context, reader: RingReader<'static>) {
        aqueduct_executors::read(reader).await;
    }

    #[task(priority = 0)]
    async fn produce(_: produce::Context, producer: RingProducer<'static>) {
        aqueduct_executors::produce(producer).await;
    }
}
