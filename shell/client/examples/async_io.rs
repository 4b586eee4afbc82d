//! Reads in an event loop beside other tasks, and goes on when the listener restarts.
//!
//! Run: `cargo run -p aqueduct-client --example async_io -- /run/aqueduct.sock`
//! Expect: `0 5` for a first record of 5 bytes, and `another ring` after a restart of the listener

use std::os::fd::AsFd;
use std::time::Duration;

use aqueduct_client::{Armed, Event, Options, Record};
use async_io::Async;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args_os().nth(1).ok_or("which socket?")?;
    let options = Options::new(path).reconnect_for(Duration::from_secs(60));
    async_io::block_on(read(&options))
}

async fn read(options: &Options) -> Result<(), Box<dyn std::error::Error>> {
    let mut client = options.attach()?;
    // A descriptor of its own for the same epoll set, so that the client stays free to be used. It
    // is only watched, never read, so it need not be non-blocking.
    let readiness = Async::new_nonblocking(client.as_fd().try_clone_to_owned()?)?;
    loop {
        match client.batch(64, print)? {
            // There may be more. A program with other tasks yields to them here.
            (_, None) => continue,
            (_, Some(Event::EpochChanged(_))) => {
                println!("another ring");
                continue;
            }
            (_, Some(Event::Closed | Event::Lost)) => return Ok(()),
            (_, Some(Event::Empty | Event::Record(_))) => {}
        }
        if let Armed::Sleep(_) = client.arm_with_timer()? {
            readiness.readable().await?;
        }
    }
}

fn print(record: Record, payload: &[u8]) {
    println!("{} {}", record.seq, payload.len());
}
