//! What arrived: an observer of the ring looks for the records of this run.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use aqueduct_client::{Client, Event, OpenError, Options, ReadError, Start};
use hdrhistogram::Histogram;

use super::record::{Mark, nanoseconds};

/// Between two looks that find nothing.
const PAUSE: Duration = Duration::from_micros(200);
/// How long after the last record was taken its arrival is awaited.
const PATIENCE: Duration = Duration::from_secs(5);

/// What an observer saw.
pub(super) struct Arrivals {
    /// Records of this run.
    pub(super) records: u64,
    /// Those that came more than once.
    pub(super) twice: u64,
    /// Those that came before an earlier one of their connection.
    pub(super) disordered: u64,
    /// Records of the ring, of whomever, that the observer missed: it was overrun.
    pub(super) unseen: u64,
    /// Damaged records.
    pub(super) damaged: u64,
    /// From when a record was due to be sent to when the observer had it, nanoseconds.
    pub(super) latency: Histogram<u64>,
}

/// Begins to watch, at the latest record.
pub(super) fn watch(
    socket: PathBuf,
    ring: String,
    run: u64,
    began: Instant,
    expected: Receiver<u64>,
) -> Result<JoinHandle<Arrivals>, OpenError> {
    let client = Options::new(socket).ring(ring).start(Start::Latest).observe()?;
    Ok(std::thread::spawn(move || look(client, run, began, &expected)))
}

/// Looks until as many have come as were taken, or none comes any more.
fn look(mut client: Client, run: u64, began: Instant, expected: &Receiver<u64>) -> Arrivals {
    let mut seen = Arrivals {
        records: 0,
        twice: 0,
        disordered: 0,
        unseen: 0,
        damaged: 0,
        latency: super::histogram(),
    };
    let mut connections: HashMap<u32, Connection> = HashMap::new();
    let (mut awaited, mut until) = (None, None::<Instant>);
    loop {
        match client.next() {
            Ok(Event::Record((_, payload))) => {
                let Some(mark) = Mark::read(payload).filter(|mark| mark.run == run) else {
                    continue;
                };
                seen.records += 1;
                let now = nanoseconds(began.elapsed());
                seen.latency.saturating_record(now.saturating_sub(mark.due_ns).max(1));
                let connection = connections.entry(mark.connection).or_default();
                match connection.add(mark.number) {
                    Came::InOrder => {}
                    Came::Late => seen.disordered += 1,
                    Came::Twice => {
                        seen.twice += 1;
                        seen.records -= 1;
                    }
                }
                continue;
            }
            Ok(Event::Empty | Event::EpochChanged(_)) => std::thread::sleep(PAUSE),
            Ok(Event::Closed | Event::Lost)
            | Err(ReadError::TailOutOfRange { .. } | ReadError::BufferTooSmall { .. }) => {
                return seen;
            }
            Err(
                ReadError::Overrun { expected: Some(expected), found: Some(found) }
                | ReadError::Gap { expected, found },
            ) => {
                seen.unseen += found.saturating_sub(expected);
            }
            Err(ReadError::Overrun { .. }) => {}
            Err(_) => seen.damaged += 1,
        }
        if awaited.is_none() {
            match expected.try_recv() {
                Ok(count) => {
                    awaited = Some(count);
                    until = Instant::now().checked_add(PATIENCE);
                }
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return seen,
            }
        }
        let is_complete = awaited.is_some_and(|awaited| seen.records + seen.unseen >= awaited);
        if is_complete || until.is_some_and(|until| Instant::now() >= until) {
            return seen;
        }
    }
}

enum Came {
    InOrder,
    Late,
    Twice,
}

/// Which numbers of a connection have come.
#[derive(Default)]
struct Connection {
    /// All below have come or were passed over.
    next: u64,
    /// Those below it that have not.
    missing: std::collections::HashSet<u64>,
}

impl Connection {
    fn add(&mut self, number: u64) -> Came {
        if number >= self.next {
            self.missing.extend(self.next..number);
            self.next = number + 1;
            return Came::InOrder;
        }
        if self.missing.remove(&number) { Came::Late } else { Came::Twice }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_in_order_late_or_twice() {
        let mut connection = Connection::default();
        let came = [0, 1, 3, 2, 2, 1, 4].map(|number| match connection.add(number) {
            Came::InOrder => 'o',
            Came::Late => 'l',
            Came::Twice => 't',
        });
        assert_eq!(came, ['o', 'o', 'o', 'l', 't', 't', 'o']);
    }
}
