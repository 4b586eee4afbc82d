//! Prints every record as it comes.
//!
//! Run: `cargo run -p aqueduct-client --example read -- /run/aqueduct.sock`
//! Expect: `0 7 hello` for a first record of type 7 with these bytes

use aqueduct_client::{Event, Options};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args_os().nth(1).ok_or("which socket?")?;
    let mut client = Options::new(path).attach()?;
    loop {
        match client.next_wait(None)? {
            Event::Record((record, payload)) => {
                println!("{} {} {}", record.seq, record.type_tag, payload.escape_ascii());
            }
            Event::Closed | Event::Lost => return Ok(()),
            Event::Empty | Event::EpochChanged(_) => {}
        }
        client.release();
    }
}
