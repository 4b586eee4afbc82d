//! A Rust reader beside the C program, by `aqueduct-client`: a subscription of its own, compared
//! with what was posted.

use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use aqueduct_client::{Client, Event, Options};

use crate::posting::Accepted;

/// The reader at work, in a thread of its own until the ring is closed.
pub(crate) struct RustReader {
    received: Arc<Received>,
    thread: JoinHandle<io::Result<()>>,
}

#[derive(Default)]
struct Received {
    /// Sequence numbers and payloads, in the order of delivery.
    records: Mutex<Vec<(u64, Vec<u8>)>>,
    more: Condvar,
}

impl RustReader {
    /// Attaches it to `[ring, subscription]`.
    pub(crate) fn start(socket: &Path, names: [&str; 2]) -> io::Result<Self> {
        let options = Options::new(socket).ring(names[0]).subscription(names[1]);
        let client = options.attach().map_err(io::Error::other)?;
        let received = Arc::new(Received::default());
        let theirs = Arc::clone(&received);
        Ok(Self { received, thread: thread::spawn(move || theirs.follow(client)) })
    }

    /// Compares all that it received with what was accepted, once it has as much.
    pub(crate) fn compare(&self, accepted: &[Accepted], deadline: Instant) -> io::Result<()> {
        let records = self.received.records.lock().unwrap_or_else(PoisonError::into_inner);
        let time = deadline.saturating_duration_since(Instant::now());
        let (records, _) = self
            .received
            .more
            .wait_timeout_while(records, time, |records| records.len() < accepted.len())
            .unwrap_or_else(PoisonError::into_inner);
        let expected = accepted.iter().map(|accepted| (accepted.seq, accepted.record.as_bytes()));
        let found = records.iter().map(|(seq, payload)| (*seq, &payload[..]));
        if expected.eq(found) {
            return Ok(());
        }
        Err(io::Error::other(format!(
            "the Rust reader has {} records; {} were accepted, or their bytes differ",
            records.len(),
            accepted.len()
        )))
    }

    /// Waits for its end, which comes with the ring's.
    pub(crate) fn finish(self) -> io::Result<()> {
        self.thread.join().map_err(|_| io::Error::other("the Rust reader panicked"))?
    }
}

impl Received {
    fn follow(&self, mut client: Client) -> io::Result<()> {
        loop {
            match client.next_wait(None).map_err(io::Error::other)? {
                Event::Record((record, payload)) => {
                    let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
                    records.push((record.seq, payload.to_vec()));
                    self.more.notify_all();
                }
                Event::Closed => return Ok(()),
                Event::Lost => return Err(io::Error::other("the listener died")),
                Event::Empty | Event::EpochChanged(_) => {}
            }
            client.release();
        }
    }
}
