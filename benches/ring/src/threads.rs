//! Two threads of one process, each on its own core, started together.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use crate::machine::{RECEIVER, SENDER, pin};

/// Runs both at once; from the first start to the last end.
///
/// # Panics
/// A side does, or there are not two cores.
pub fn duet(first: impl FnOnce() + Send, second: impl FnOnce() + Send) -> Duration {
    prepared_duet(|| first, || second)
}

/// The same, with something that each side makes on its own thread before the clock runs.
///
/// # Panics
/// As [`duet`].
pub fn prepared_duet<A: FnOnce(), B: FnOnce()>(
    first: impl FnOnce() -> A + Send,
    second: impl FnOnce() -> B + Send,
) -> Duration {
    let gate = Barrier::new(2);
    std::thread::scope(|scope| {
        let first = scope.spawn(|| side(SENDER, &gate, first));
        let second = scope.spawn(|| side(RECEIVER, &gate, second));
        let (a, b) =
            (first.join().expect("the first side"), second.join().expect("the second side"));
        a.1.max(b.1) - a.0.min(b.0)
    })
}

/// Runs any number at once, each on its core; from the first start to the last end.
///
/// # Panics
/// One does, or a core does not exist.
pub fn chorus<W: FnOnce() + Send>(voices: Vec<(usize, W)>) -> Duration {
    let gate = Barrier::new(voices.len());
    let times: Vec<_> = std::thread::scope(|scope| {
        let gate = &gate;
        let voices: Vec<_> = voices
            .into_iter()
            .map(|(core, work)| scope.spawn(move || side(core, gate, || work)))
            .collect();
        voices.into_iter().map(|voice| voice.join().expect("a voice")).collect()
    });
    let (first, last) =
        (times.iter().map(|time| time.0).min(), times.iter().map(|time| time.1).max());
    last.zip(first).map_or(Duration::ZERO, |(last, first)| last - first)
}

fn side<W: FnOnce()>(
    core: usize,
    gate: &Barrier,
    prepare: impl FnOnce() -> W,
) -> (Instant, Instant) {
    pin(core).expect("two cores to run on");
    let work = prepare();
    gate.wait();
    let start = Instant::now();
    work();
    (start, Instant::now())
}
