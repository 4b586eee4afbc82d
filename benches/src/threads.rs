//! Two threads of one process, each on its own core, started together. Next: `limits`.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use crate::machine::{RECEIVER, SENDER, pin};

/// Runs both at once; from the first start to the last end.
///
/// # Panics
/// A side does, or there are not two cores.
pub fn duet(first: impl FnOnce() + Send, second: impl FnOnce() + Send) -> Duration {
    let gate = Barrier::new(2);
    let side = |core, work: &mut dyn FnMut()| {
        pin(core).expect("two cores to run on");
        gate.wait();
        let start = Instant::now();
        work();
        (start, Instant::now())
    };
    let (mut first, mut second) = (Some(first), Some(second));
    std::thread::scope(|scope| {
        let first = scope.spawn(|| side(SENDER, &mut || first.take().expect("once")()));
        let second = scope.spawn(|| side(RECEIVER, &mut || second.take().expect("once")()));
        let (a, b) = (first.join().expect("the first side"), second.join().expect("the second side"));
        a.1.max(b.1) - a.0.min(b.0)
    })
}
