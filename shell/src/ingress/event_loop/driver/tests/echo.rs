//! A server that sends back what it gets, in a thread of its own.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::io::Errno;

use crate::ingress::event_loop::driver::{Buffers, Driver, Epoll, Event, Id, Kind, Uring, Waker};

/// Longer than anything takes on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// Unsent bytes of a connection beyond which it is not read.
const UNSENT_BYTES: usize = 64 << 10;

/// What a test asks of the server.
#[derive(Clone, Copy, Debug)]
pub(super) enum Command {
    Pause(Id),
    Resume(Id),
    Close(Id),
    Release(Id),
    StopListening,
    Stop,
}

/// What the server saw.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) accepted: usize,
    pub(super) open: usize,
    pub(super) most_open: usize,
    pub(super) received_bytes: usize,
    pub(super) largest_unsent: usize,
    pub(super) largest_received: usize,
    pub(super) ended: usize,
    pub(super) failed: Vec<(Id, Errno)>,
    pub(super) released: Vec<(Id, OwnedFd)>,
    pub(super) turns: usize,
    pub(super) wakes: usize,
}

#[derive(Default)]
struct Shared {
    commands: Mutex<Vec<Command>>,
    seen: Mutex<Seen>,
}

/// The running server; stopped when dropped.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    shared: Arc<Shared>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(super) fn start(kind: Kind) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        Self::with_listener(kind, address, listener.into())
    }

    pub(super) fn with_listener(kind: Kind, address: SocketAddr, listener: OwnedFd) -> Self {
        let waker = Arc::new(Waker::new().expect("an eventfd"));
        let shared = Arc::new(Shared::default());
        let thread = std::thread::spawn({
            let (waker, shared) = (Arc::clone(&waker), Arc::clone(&shared));
            move || {
                let buffers = Buffers::default();
                match kind {
                    Kind::Epoll => {
                        let driver = Epoll::new(Arc::clone(&waker), buffers.clone());
                        serve(driver.expect("a driver"), &buffers, listener, &shared, &waker);
                    }
                    Kind::IoUring => {
                        let driver = Uring::new(Arc::clone(&waker), buffers.clone());
                        serve(driver.expect("a driver"), &buffers, listener, &shared, &waker);
                    }
                }
            }
        });
        Self { address, shared, waker, thread: Some(thread) }
    }

    pub(super) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("accepted");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        stream
    }

    pub(super) fn command(&self, command: Command) {
        self.shared.commands.lock().expect("no panic").push(command);
        self.waker.wake();
    }

    pub(super) fn seen<T>(&self, look: impl FnOnce(&mut Seen) -> T) -> T {
        look(&mut self.shared.seen.lock().expect("no panic in the server"))
    }

    /// Waits until the condition holds.
    pub(super) fn eventually(&self, what: &str, condition: impl Fn(&mut Seen) -> bool) {
        let until = std::time::Instant::now() + PATIENCE;
        while !self.seen(&condition) {
            assert!(
                std::time::Instant::now() < until,
                "never: {what}; {:?}",
                self.seen(|seen| format!("{seen:?}"))
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.command(Command::Stop);
        let ended = self.thread.take().expect("joined once").join();
        assert!(ended.is_ok() || std::thread::panicking(), "the server panicked");
    }
}

/// A connection, as the echo sees it.
#[derive(Clone, Default)]
#[allow(clippy::struct_excessive_bools, reason = "independent facts about one connection")]
struct Connection {
    open: bool,
    out: Vec<u8>,
    ended: bool,
    /// Paused because its peer does not read.
    full: bool,
    leaving: bool,
}

#[allow(clippy::too_many_lines, reason = "one match over everything that can happen")]
fn serve<D: Driver>(
    mut driver: D,
    buffers: &Buffers,
    listener: OwnedFd,
    shared: &Shared,
    waker: &Waker,
) {
    driver.listen(listener).expect("listening");
    let mut connections: Vec<Connection> = Vec::new();
    let mut touched: Vec<Id> = Vec::new();
    let mut new: Vec<OwnedFd> = Vec::new();
    loop {
        let mut broken: Vec<Id> = Vec::new();
        let mut woken = false;
        driver
            .turn(Some(PATIENCE), |event| {
                let mut seen = shared.seen.lock().expect("no panic");
                match event {
                    Event::Accepted { listener, socket } => {
                        assert_eq!(listener, 0);
                        seen.accepted += 1;
                        new.push(socket);
                    }
                    Event::AcceptFailed { errno, .. } => panic!("not accepted: {errno}"),
                    Event::Received { id, bytes } => {
                        let connection = &mut connections[id as usize];
                        assert!(connection.open && !connection.ended && !bytes.is_empty());
                        seen.received_bytes += bytes.len();
                        seen.largest_received = seen.largest_received.max(bytes.len());
                        if connection.out.is_empty() {
                            connection.out = buffers.take();
                        }
                        connection.out.extend_from_slice(bytes);
                        // It may be written to.
                        bytes.fill(0xEE);
                        touched.push(id);
                    }
                    Event::Ended { id } => {
                        assert!(!std::mem::replace(&mut connections[id as usize].ended, true));
                        seen.ended += 1;
                        touched.push(id);
                    }
                    Event::Drained { id } => touched.push(id),
                    Event::Failed { id, errno } => {
                        seen.failed.push((id, errno));
                        broken.push(id);
                    }
                    Event::Closed { id } => {
                        assert!(std::mem::take(&mut connections[id as usize]).open, "closed twice");
                        seen.open -= 1;
                    }
                    Event::Released { id, socket } => {
                        assert!(std::mem::take(&mut connections[id as usize]).open);
                        seen.open -= 1;
                        seen.released.push((id, socket));
                    }
                    Event::Woken => woken = true,
                }
            })
            .expect("a turn");
        for socket in new.drain(..) {
            let free = connections.iter().position(|connection| !connection.open);
            let id = free.unwrap_or_else(|| {
                connections.push(Connection::default());
                connections.len() - 1
            });
            connections[id] = Connection { open: true, ..Connection::default() };
            driver.add(Id::try_from(id).expect("few"), socket).expect("added");
            let mut seen = shared.seen.lock().expect("no panic");
            seen.open += 1;
            seen.most_open = seen.most_open.max(seen.open);
        }
        for id in touched.drain(..) {
            let connection = &mut connections[id as usize];
            if !connection.open || connection.leaving {
                continue;
            }
            let out = std::mem::take(&mut connection.out);
            if !out.is_empty() {
                driver.send(id, out);
            }
            let unsent = driver.unsent(id);
            let mut seen = shared.seen.lock().expect("no panic");
            seen.largest_unsent = seen.largest_unsent.max(unsent);
            let full = unsent > UNSENT_BYTES;
            if full != connection.full {
                connection.full = full;
                if full {
                    driver.pause(id);
                } else {
                    driver.resume(id);
                }
            }
            if connection.ended && unsent == 0 {
                connection.leaving = true;
                driver.finish(id);
                driver.close(id);
            }
        }
        for id in broken {
            let connection = &mut connections[id as usize];
            if connection.open && !std::mem::replace(&mut connection.leaving, true) {
                driver.close(id);
            }
        }
        let mut seen = shared.seen.lock().expect("no panic");
        seen.turns += 1;
        if woken {
            seen.wakes += 1;
            waker.taken();
        }
        drop(seen);
        let commands = std::mem::take(&mut *shared.commands.lock().expect("no panic"));
        for command in commands {
            match command {
                Command::Pause(id) => driver.pause(id),
                Command::Resume(id) => driver.resume(id),
                Command::Close(id) => {
                    connections[id as usize].leaving = true;
                    driver.close(id);
                }
                Command::Release(id) => {
                    connections[id as usize].leaving = true;
                    driver.release(id);
                }
                Command::StopListening => driver.stop_listening(),
                Command::Stop => return,
            }
        }
    }
}
