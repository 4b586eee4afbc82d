//! An honest reader, by `aqueduct-client`.

use std::path::Path;

use aqueduct_client::{Client, Event, Options, Start};

use super::PATIENCE;

/// An attached reader.
pub struct Attached {
    pub client: Client,
}

impl Attached {
    /// Attaches where the subscription is.
    pub fn attach(path: &Path, ring: &str, subscription: &str) -> Self {
        Self::attach_at(path, ring, subscription, Start::Here)
    }

    pub fn attach_at(path: &Path, ring: &str, subscription: &str, start: Start) -> Self {
        let options = Options::new(path).ring(ring).subscription(subscription).start(start);
        Self { client: options.timeout(PATIENCE).attach().expect("an honest server") }
    }

    /// The next record, if one is there.
    pub fn next(&mut self) -> Option<(u64, u16, Vec<u8>)> {
        match self.client.next().expect("undamaged") {
            Event::Record((record, payload)) => {
                Some((record.seq, record.type_tag, payload.to_vec()))
            }
            _ => None,
        }
    }

    /// Releases what was read.
    pub fn release(&mut self) {
        self.client.release();
    }

    /// Whether the end of the stream shows. The record that closes a ring may first be skipped as
    /// an `Empty` of its own.
    pub fn is_closed(&mut self) -> bool {
        (0..2).any(|_| matches!(self.client.next(), Ok(Event::Closed)))
    }

    /// That the server ends the connection, with everything read.
    #[track_caller]
    pub fn assert_ended(&mut self) {
        let waited = self.client.wait(Some(PATIENCE)).expect("polled");
        let event = self.client.next().map(|event| matches!(event, Event::Closed | Event::Lost));
        assert!(event.expect("undamaged"), "the connection goes on: {waited:?}");
    }
}
