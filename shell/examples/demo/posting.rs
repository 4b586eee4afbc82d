//! Posts the data set over HTTP, by one client or by many at once, and remembers what each answer
//! said.

use std::io;
use std::net::SocketAddr;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::{Duration, Instant};

use crate::http::{Answer, Client};
use crate::{Event, records};

/// A record that was answered with 202.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Accepted {
    /// The sequence number that the answer named.
    pub(crate) seq: u64,
    /// The record.
    pub(crate) record: &'static str,
}

/// What the clients saw.
pub(crate) struct Posted {
    /// Every record of the data set, once.
    pub(crate) accepted: Vec<Accepted>,
    /// From the first request to the last answer.
    pub(crate) took: Duration,
}

/// Posts in the background: `connections` clients, each every so-many-th record. The outcome
/// becomes an event.
pub(crate) fn start(
    http: SocketAddr,
    ring: &'static str,
    connections: usize,
    sender: Sender<Event>,
) {
    thread::spawn(move || {
        let begun = Instant::now();
        let clients: Vec<_> = (0..connections)
            .map(|first| thread::spawn(move || post(http, ring, first, connections)))
            .collect();
        let gathered = clients.into_iter().map(|client| {
            client.join().unwrap_or_else(|_| Err(io::Error::other("a client panicked")))
        });
        let accepted = gathered.collect::<io::Result<Vec<_>>>().map(|each| each.concat());
        let _ = sender.send(Event::Posted(
            accepted.map(|accepted| Posted { accepted, took: begun.elapsed() }),
        ));
    });
}

/// One client: posts the records `first`, `first + step`, … and waits for each answer.
fn post(http: SocketAddr, ring: &str, first: usize, step: usize) -> io::Result<Vec<Accepted>> {
    let mut client = Client::connect(http, ring)?;
    let mut accepted = Vec::new();
    for record in records().skip(first).step_by(step) {
        loop {
            match client.post(None, record.as_bytes())? {
                Answer { status: 202, seq: Some(seq), .. } => {
                    break accepted.push(Accepted { seq, record });
                }
                // The ring is full: the record is not in it.
                Answer { status: 503, .. } => thread::sleep(Duration::from_millis(10)),
                Answer { status, body, .. } => {
                    let body = String::from_utf8_lossy(&body);
                    return Err(io::Error::other(format!(
                        "record {record} was answered with {status}: {body}"
                    )));
                }
            }
        }
    }
    Ok(accepted)
}
