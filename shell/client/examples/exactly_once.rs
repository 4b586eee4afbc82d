//! Counts records and their bytes in a file, each exactly once, however often it is killed.
//!
//! The file holds what was made of the records together with the epoch and sequence number that
//! come next, and is replaced as a whole; only then are the records released. A crash between the
//! two delivers them again, and seeking skips them.
//!
//! Run: `cargo run -p aqueduct-client --example exactly_once -- /run/aqueduct.sock state`
//! Expect: `3 records, 16 bytes` after three records of 16 bytes together

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use aqueduct_client::{Client, Event, Options, ReadError, Seek, SeekError};

/// What the file holds.
#[derive(Default)]
struct State {
    epoch: u64,
    next_seq: u64,
    records: u64,
    bytes: u64,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [socket, file] = &arguments[..] else { return Err("which socket, which file?".into()) };
    let mut state = State::load(Path::new(file))?;
    let mut client = Options::new(socket).attach()?;
    match client.seek(state.epoch, state.next_seq) {
        Ok(Seek::Found | Seek::Ahead) => {}
        Ok(Seek::Gone { oldest }) => println!("{} to {oldest} are missing", state.next_seq),
        // Another ring, or the first start: all of its records are new.
        Err(SeekError::Epoch { ring, .. }) => (state.epoch, state.next_seq) = (ring, 0),
        Err(error) => return Err(error.into()),
    }
    loop {
        let more = take_some(&mut client, &mut state)?;
        state.store(Path::new(file))?;
        client.release();
        match more {
            Event::Record(()) => {}
            Event::Empty | Event::EpochChanged(_) => _ = client.wait(None)?,
            Event::Closed | Event::Lost => {
                println!("{} records, {} bytes", state.records, state.bytes);
                return Ok(());
            }
        }
    }
}

/// Takes what is there, up to a number for one transaction.
fn take_some(client: &mut Client, state: &mut State) -> Result<Event<()>, ReadError> {
    for _ in 0..256 {
        match client.next()? {
            Event::Record((record, payload)) => {
                state.next_seq = record.seq + 1;
                state.records += 1;
                state.bytes += payload.len() as u64;
            }
            Event::EpochChanged(change) => (state.epoch, state.next_seq) = (change.new_epoch, 0),
            Event::Empty => return Ok(Event::Empty),
            Event::Closed => return Ok(Event::Closed),
            Event::Lost => return Ok(Event::Lost),
        }
    }
    Ok(Event::Record(()))
}

impl State {
    fn load(path: &Path) -> io::Result<Self> {
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            read => read?,
        };
        let numbers: Option<Vec<u64>> = text.split_whitespace().map(|n| n.parse().ok()).collect();
        match numbers.as_deref() {
            Some(&[epoch, next_seq, records, bytes]) => {
                Ok(Self { epoch, next_seq, records, bytes })
            }
            _ => Err(io::Error::other("this is no file of this program")),
        }
    }

    /// The transaction: after it, the file is the new one as a whole, also after a power loss.
    fn store(&self, path: &Path) -> io::Result<()> {
        let new = path.with_extension("new");
        let mut file = File::create(&new)?;
        writeln!(file, "{} {} {} {}", self.epoch, self.next_seq, self.records, self.bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
    }
}
