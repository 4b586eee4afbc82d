//! The least that a server over one of the listener's drivers can do: whatever arrives is answered
//! with a fixed 202, unread. One thread, no ring. What the listener costs beyond this is parsing,
//! the ring and its checks.
//!
//! Run: `bare epoll` or `bare io_uring`; it prints `http=ADDR:PORT` and serves until it is killed.

use std::io::Write;
use std::net::TcpListener;
use std::process::ExitCode;
use std::sync::Arc;

use aqueduct::ingress::event_loop::driver::{Buffers, Driver, Epoll, Event, Id, Uring, Waker};

/// As long as the listener's answer to one record.
const ANSWER: &[u8] = b"HTTP/1.1 202 Accepted\r\ncontent-type: application/json\r\n\
    aqueduct-seq: 1000000\r\ncontent-length: 42\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n\
    {\"seq\":1000000,\"epoch\":\"5f0c3a9be2d14477\"}";

fn main() -> ExitCode {
    let driver = std::env::args().nth(1).unwrap_or_default();
    let result = Waker::new().map(Arc::new).and_then(|waker| match driver.as_str() {
        "epoll" => {
            let buffers = Buffers::default();
            serve(Epoll::new(waker, buffers.clone())?, &buffers)
        }
        "io_uring" => {
            let buffers = Buffers::default();
            serve(Uring::new(waker, buffers.clone())?, &buffers)
        }
        other => Err(std::io::Error::other(format!("`{other}` is neither epoll nor io_uring"))),
    });
    if let Err(error) = result {
        eprintln!("bare: {error}");
    }
    ExitCode::FAILURE
}

fn serve<D: Driver>(mut driver: D, buffers: &Buffers) -> std::io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("http={}", listener.local_addr()?);
    std::io::stdout().flush()?;
    driver.listen(listener.into())?;
    let (mut accepted, mut answers, mut gone) = (Vec::new(), Vec::new(), Vec::new());
    let (mut free, mut next): (Vec<Id>, Id) = (Vec::new(), 0);
    loop {
        driver.turn(None, |event| match event {
            Event::Accepted { socket, .. } => accepted.push(socket),
            Event::Received { id, .. } => answers.push(id),
            Event::Ended { id } | Event::Failed { id, .. } => gone.push(id),
            Event::Closed { id } | Event::Released { id, .. } => free.push(id),
            Event::AcceptFailed { .. } | Event::Drained { .. } | Event::Woken => {}
        })?;
        for socket in accepted.drain(..) {
            let id = free.pop().unwrap_or_else(|| {
                next += 1;
                next - 1
            });
            driver.add(id, socket)?;
        }
        for id in answers.drain(..) {
            let mut answer = buffers.take();
            answer.extend_from_slice(ANSWER);
            driver.send(id, answer);
        }
        for id in gone.drain(..) {
            driver.close(id);
        }
    }
}
