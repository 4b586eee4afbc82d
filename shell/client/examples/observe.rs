//! Watches a ring without holding anybody back, and says what it missed.
//!
//! Run: `cargo run -p aqueduct-client --example observe -- /run/aqueduct.sock`
//! Expect: `0 hello`, or `missed 71 records` if they came faster than they were printed

use aqueduct_client::error::WaitError;
use aqueduct_client::{Event, Options, ReadError};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args_os().nth(1).ok_or("which socket?")?;
    let mut observer = Options::new(path).observe()?;
    loop {
        match observer.next_wait(None) {
            Ok(Event::Record((record, payload))) => {
                println!("{} {}", record.seq, payload.escape_ascii());
            }
            Ok(Event::Closed | Event::Lost) => return Ok(()),
            Ok(Event::Empty | Event::EpochChanged(_)) => {}
            Err(WaitError::Read(ReadError::Overrun {
                expected: Some(expected),
                found: Some(found),
            })) => println!("missed {} records", found - expected),
            // Damage: skipped. The next call goes on after it.
            Err(WaitError::Read(error)) => println!("{error}"),
            Err(error) => return Err(error.into()),
        }
    }
}
