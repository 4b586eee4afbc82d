//! The least that a server over one of the listener's drivers can do: whatever arrives is answered
//! with a fixed 202, unread. No ring. What the listener costs beyond this is parsing, the ring and
//! its checks.
//!
//! Run: `bare epoll LOOPS` or `bare io_uring LOOPS`; it prints `http=ADDR:PORT` and serves until it
//! is killed. As in the listener, each loop is a thread, and the first accepts for all.

use std::io::Write;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use aqueduct::ingress::event_loop::driver::{Buffers, Driver, Epoll, Event, Id, Uring, Waker};

/// As long as the listener's answer to one record.
const ANSWER: &[u8] = b"HTTP/1.1 202 Accepted\r\ncontent-type: application/json\r\n\
    aqueduct-seq: 1000000\r\ncontent-length: 42\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n\
    {\"seq\":1000000,\"epoch\":\"5f0c3a9be2d14477\"}";

/// How connections come to a loop.
struct Seat {
    waker: Arc<Waker>,
    arrivals: Mutex<Vec<OwnedFd>>,
}

impl Seat {
    fn arrivals(&self) -> std::sync::MutexGuard<'_, Vec<OwnedFd>> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let driver = words.next().unwrap_or_default();
    let loops = words.next().map_or(Ok(1), |word| word.parse::<usize>());
    let result = match loops {
        Ok(loops @ 1..=64) => start(&driver, loops),
        _ => Err(std::io::Error::other("LOOPS is a number from 1 to 64")),
    };
    if let Err(error) = result {
        eprintln!("bare: {error}");
    }
    ExitCode::FAILURE
}

fn start(driver: &str, loops: usize) -> std::io::Result<()> {
    let seats = (0..loops).map(|_| {
        let waker = Arc::new(Waker::new()?);
        Ok(Seat { waker, arrivals: Mutex::default() })
    });
    let seats = &*seats.collect::<std::io::Result<Vec<_>>>()?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let mut listener = Some(listener);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..loops)
            .map(|index| {
                let listener = listener.take();
                scope.spawn(move || run(driver, seats, index, listener))
            })
            .collect();
        println!("http={address}");
        std::io::stdout().flush()?;
        threads.into_iter().try_for_each(|thread| {
            thread.join().unwrap_or_else(|_| Err(std::io::Error::other("a loop panicked")))
        })
    })
}

fn run(
    driver: &str,
    seats: &[Seat],
    index: usize,
    listener: Option<TcpListener>,
) -> std::io::Result<()> {
    let (waker, buffers) = (Arc::clone(&seats[index].waker), Buffers::default());
    match driver {
        "epoll" => serve(Epoll::new(waker, buffers.clone())?, &buffers, seats, index, listener),
        "io_uring" => serve(Uring::new(waker, buffers.clone())?, &buffers, seats, index, listener),
        other => {
            eprintln!("bare: `{other}` is neither epoll nor io_uring");
            std::process::exit(1)
        }
    }
}

fn serve<D: Driver>(
    mut driver: D,
    buffers: &Buffers,
    seats: &[Seat],
    index: usize,
    listener: Option<TcpListener>,
) -> std::io::Result<()> {
    if let Some(listener) = listener {
        driver.listen(listener.into())?;
    }
    let (seat, mut turn_of, mut woken) = (&seats[index], 0, false);
    let (mut accepted, mut answers, mut gone) = (Vec::new(), Vec::new(), Vec::new());
    let (mut free, mut next): (Vec<Id>, Id) = (Vec::new(), 0);
    loop {
        driver.turn(None, |event| match event {
            Event::Accepted { socket, .. } => accepted.push(socket),
            Event::Received { id, .. } => answers.push(id),
            Event::Ended { id } | Event::Failed { id, .. } => gone.push(id),
            Event::Closed { id } | Event::Released { id, .. } => free.push(id),
            Event::Woken => woken = true,
            Event::AcceptFailed { .. } | Event::Drained { .. } => {}
        })?;
        let mut own = Vec::new();
        if std::mem::take(&mut woken) {
            seat.waker.taken();
            own.append(&mut seat.arrivals());
        }
        for socket in accepted.drain(..) {
            let to = &seats[turn_of % seats.len()];
            turn_of += 1;
            if std::ptr::eq(to, seat) {
                own.push(socket);
            } else {
                to.arrivals().push(socket);
                to.waker.wake();
            }
        }
        for socket in own {
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
