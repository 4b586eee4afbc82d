//! Event loops: one turn is one batch.
//!
//! A turn takes what all ready connections have, decodes it, appends every record, publishes once,
//! sends the answers, and then wakes each sleeping reader once, but under load only so often. Under
//! load batches grow by themselves; a single record is as fast as without.
//!
//! Reading order: `driver` (sockets), `clock` and `deadlines`, `protocol` (codecs), `held` (answers
//! that wait), `input`, `connection`, `shared`, `wakeups`, `batch` (the rings during a turn),
//! `work` (events), `attend` (after the turn), and here the turn itself.

mod address;
mod attend;
mod batch;
mod clock;
mod connection;
mod deadlines;
pub mod driver;
mod held;
mod input;
mod protocol;
mod settings;
mod shared;
#[cfg(test)]
mod tests;
mod wakeups;
mod window;
mod work;

use std::cell::RefCell;
use std::io;
use std::num::NonZeroU64;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

pub use self::address::{Address, Addresses};
#[cfg(feature = "http2")]
pub(in crate::ingress) use self::attend::write_page;
#[cfg(feature = "http2")]
pub(in crate::ingress) use self::batch::Batch;
pub use self::connection::Timeouts;
use self::connection::{Connection, Phase};
use self::driver::{Buffers, Driver, Epoll, Id, Kind, Listener, Uring};
#[cfg(feature = "http2")]
pub(in crate::ingress) use self::held::{Hold, Settled, Until};
use self::input::Input;
pub use self::protocol::Protocol;
use self::protocol::Speaker;
#[cfg(feature = "http2")]
pub(in crate::ingress) use self::protocol::peer_name;
pub use self::settings::{
    IngestSettings, IngestTable, ListenSettings, ListenTable, ProtocolName, ProtocolSettings,
    Target, authenticate, keep,
};
use self::shared::{Arrival, Mailbox};
pub use self::shared::{HandOver, HandedOver, PageContent, Shared, ring_facts};
pub use self::window::Window;
use self::work::{Slot, Work};
use crate::codec::{Sink, Wait};

/// Pause after a failed accept, which is mostly a lack of descriptors, ms.
const ACCEPT_PAUSE_MS: u64 = 50;
/// Pause before a loop that failed starts again.
const RESTART_PAUSE: Duration = Duration::from_millis(100);

/// A listening socket. Its place in the list is its number in [`Addresses`].
pub struct Listening {
    /// Bound and listening.
    pub socket: OwnedFd,
}

/// Running loops.
pub struct Loops {
    mailboxes: Vec<Arc<Mailbox>>,
}

impl Loops {
    /// Starts `count` loops, each in a thread. The first accepts for all and deals connections out
    /// in turn, so that the loops are evenly loaded and no port is bound twice.
    pub fn start(
        kind: Kind,
        count: usize,
        shared: &Arc<Shared>,
        listening: Vec<Listening>,
    ) -> io::Result<Self> {
        let mailboxes = (0..count).map(|_| Mailbox::new()).collect::<io::Result<Vec<_>>>()?;
        let (ready, is_ready) = channel();
        let mut listening = Some(listening);
        for index in 0..count {
            let seat = Seat {
                index,
                shared: Arc::clone(shared),
                mailboxes: mailboxes.clone(),
                listening: RefCell::new(listening.take().unwrap_or_default()),
            };
            let ready = ready.clone();
            std::thread::Builder::new()
                .name(format!("aqueduct-loop-{index}"))
                .spawn(move || seat.serve(kind, &ready))?;
        }
        for _ in 0..count {
            is_ready.recv().map_err(io::Error::other)??;
        }
        Ok(Self { mailboxes })
    }

    /// Has every loop look around: to be called when the process begins to end.
    pub fn wake(&self) {
        for mailbox in &self.mailboxes {
            mailbox.waker.wake();
        }
    }
}

/// What one loop's thread owns.
struct Seat {
    index: usize,
    shared: Arc<Shared>,
    mailboxes: Vec<Arc<Mailbox>>,
    /// Of the loop that accepts; empty once the process is ending.
    listening: RefCell<Vec<Listening>>,
}

impl Seat {
    /// Runs for the rest of the process. A panic is a bug, and an error of the driver an accident;
    /// both end the connections of this loop and not the loop.
    fn serve(self, kind: Kind, ready: &Sender<io::Result<()>>) {
        loop {
            let ended = catch_unwind(AssertUnwindSafe(|| self.run(kind, ready)));
            match ended {
                Ok(Ok(never)) => match never {},
                Ok(Err(error)) => {
                    tracing::error!(%error, "an event loop failed: its connections are lost");
                    // Taken only while the loops are being started.
                    let _ = ready.send(Err(error));
                }
                Err(_) => tracing::error!("an event loop panicked: its connections are lost"),
            }
            std::thread::sleep(RESTART_PAUSE);
        }
    }

    fn run(
        &self,
        kind: Kind,
        ready: &Sender<io::Result<()>>,
    ) -> io::Result<std::convert::Infallible> {
        let buffers = Buffers::default();
        let waker = Arc::clone(&self.mailboxes[self.index].waker);
        match kind {
            Kind::Epoll => self.turns(Epoll::new(waker, buffers.clone())?, buffers, ready),
            Kind::IoUring => self.turns(Uring::new(waker, buffers.clone())?, buffers, ready),
        }
    }

    fn turns<D: Driver>(
        &self,
        mut driver: D,
        buffers: Buffers,
        ready: &Sender<io::Result<()>>,
    ) -> io::Result<std::convert::Infallible> {
        for listening in &*self.listening.borrow() {
            driver.listen(listening.socket.try_clone()?)?;
        }
        let mailbox = &self.mailboxes[self.index];
        let mut work = Work::new(&self.shared, Arc::clone(mailbox), buffers);
        let mut turn = Turn::new(self);
        // Wake-ups on time: by default the kernel may be 50 us late.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1000));
        let _ = ready.send(Ok(()));
        loop {
            let wait = turn.wait(&work);
            debug_assert!(work.batch.is_published(), "a ring would be locked during the wait");
            // Sends what the last turn answered before it reports the first event.
            driver.turn(wait, |event| work.event(event))?;
            // Without an event the turn has not begun yet.
            work.begin();
            turn.after(&mut work, &mut driver);
            work.end();
        }
    }
}

/// What one loop remembers from turn to turn, beside its connections.
struct Turn<'a> {
    seat: &'a Seat,
    /// Loop that gets the next connection.
    next: usize,
    /// Listening sockets that rest after a failure, and until when, ms.
    accept_again: Vec<(u64, Listener)>,
    /// Connections so far.
    connections: u64,
    ending: bool,
    /// What is spoken where, and how often that has changed.
    addresses: Arc<[Address]>,
    generation: u64,
}

impl<'a> Turn<'a> {
    fn new(seat: &'a Seat) -> Self {
        let addresses = &seat.shared.addresses;
        let (generation, addresses) = (addresses.generation(), addresses.now());
        Self {
            seat,
            next: 0,
            accept_again: Vec::new(),
            connections: 0,
            ending: false,
            addresses,
            generation,
        }
    }

    /// Returns how long nothing has to be done unless something happens.
    fn wait(&self, work: &Work<'_>) -> Option<Duration> {
        if !(work.again.is_empty() && work.paging.is_empty()) {
            return Some(Duration::ZERO);
        }
        let resting = self.accept_again.iter().map(|&(at, _)| at).min();
        let look = (work.look_at_ms != clock::NEVER).then_some(work.look_at_ms);
        let next = work.deadlines.first().into_iter().chain(resting).chain(look).min();
        let next = next.map(|next| work.batch.clock.until(next));
        next.into_iter().chain(work.batch.wakeups.due_in()).min()
    }

    /// Everything of a turn that follows its events.
    fn after(&mut self, work: &mut Work<'_>, driver: &mut impl Driver) {
        let mailbox = &self.seat.mailboxes[self.seat.index];
        let mut arrivals = Vec::new();
        let woken = std::mem::take(&mut work.woken);
        if woken {
            mailbox.waker.taken();
            arrivals = mailbox.take_arrivals();
            work.look_again();
        }
        // After the arrivals are taken: the rules are none older than those that they came by.
        self.follow();
        if woken {
            for mut arrival in arrivals {
                // The loop that accepted it may not have known of a reload yet.
                if let Some(address) = self.addresses.get(arrival.address as usize) {
                    arrival.speaker.follow(&address.protocol);
                    arrival.timeouts = Arc::clone(&address.timeouts);
                }
                add(work, driver, arrival);
            }
            for (id, number) in mailbox.take_done() {
                work.back(id, number);
            }
        }
        for id in std::mem::take(&mut work.again) {
            if let Some(connection) = work.connection(id) {
                connection.again = false;
                if matches!(connection.phase, Phase::Open) {
                    work.decode(id);
                }
            }
        }
        if mailbox.take_space() {
            work.retry();
            work.look_at_held();
        }
        work.look_at_readers();
        work.expire();
        self.accept(work, driver);
        if work.batch.is_ending() && !std::mem::replace(&mut self.ending, true) {
            driver.stop_listening();
            // Closed for good: who connects now is told so by the kernel.
            self.seat.listening.borrow_mut().clear();
            work.end_idle();
        }
        let one_waits = work.one_waits();
        work.batch.publish_for(one_waits);
        work.make_pages();
        work.attend(driver);
        work.watch_held();
        // A peer that `attend` gave up may have left a will. No ring stays locked during the wait.
        work.batch.publish();
    }

    /// Takes what a reload has changed, for connections that come from now on. Those that are there
    /// have taken no more of it at the begin of the turn.
    fn follow(&mut self) {
        let addresses = &self.seat.shared.addresses;
        let generation = addresses.generation();
        if generation != self.generation {
            self.generation = generation;
            self.addresses = addresses.now();
        }
    }

    fn accept(&mut self, work: &mut Work<'_>, driver: &mut impl Driver) {
        let now = work.batch.clock.now();
        self.accept_again.retain(|&(at, listener)| {
            if at <= now {
                driver.accept_again(listener);
            }
            at > now
        });
        for (listener, errno) in work.not_accepted.drain(..) {
            tracing::warn!(error = %io::Error::from(errno), "connection not accepted");
            self.accept_again.push((now + ACCEPT_PAUSE_MS, listener));
        }
        let shared = &self.seat.shared;
        for (listener, socket) in std::mem::take(&mut work.accepted) {
            self.connections += 1;
            let Some(at) = self.addresses.get(listener as usize) else { continue };
            let speaker = at.protocol.speaker(self.connections, socket.as_fd());
            let (address, timeouts) = (listener, Arc::clone(&at.timeouts));
            let tls = match &at.tls {
                None => None,
                Some(acceptor) => match acceptor.session() {
                    Some(session) => Some(Box::new(session)),
                    None => continue,
                },
            };
            let has_tls = tls.is_some();
            if let Some(mut permit) = shared.connections.acquire() {
                if let Some(metrics) = shared.by_address.get(listener as usize) {
                    permit = permit.counted(&metrics.connections);
                }
                self.deal(
                    work,
                    driver,
                    Arrival { socket, address, speaker, tls, timeouts, permit },
                );
                continue;
            }
            shared.metrics.http_connections_refused.inc();
            tracing::debug!(limit = shared.connections.most(), "connection refused: too many");
            if has_tls {
                // Nothing can be said before a handshake, which would take a place.
                continue;
            }
            if matches!(speaker, Speaker::Http(_)) {
                (shared.overflow)(socket);
                continue;
            }
            if let Some(permit) = shared.refusals.acquire() {
                let id = add(
                    work,
                    driver,
                    Arrival { socket, address, speaker, tls: None, timeouts, permit },
                );
                refuse(work, id);
            }
        }
    }

    /// Gives a connection to the loop whose turn it is.
    fn deal(&mut self, work: &mut Work<'_>, driver: &mut impl Driver, arrival: Arrival) {
        let to = self.next;
        self.next = (to + 1) % self.seat.mailboxes.len();
        if to == self.seat.index {
            add(work, driver, arrival);
        } else {
            self.seat.mailboxes[to].send(arrival);
        }
    }
}

/// Takes a connection into this loop.
fn add(work: &mut Work<'_>, driver: &mut impl Driver, arrival: Arrival) -> Option<Id> {
    let Arrival { socket, address, speaker, tls, timeouts, permit } = arrival;
    let id = work.free.pop().unwrap_or_else(|| {
        work.slots.push(Slot::Free);
        Id::try_from(work.slots.len() - 1).unwrap_or(Id::MAX)
    });
    if let Err(error) = driver.add(id, socket) {
        tracing::warn!(%error, "connection not served");
        work.free.push(id);
        return None;
    }
    // A handshake has the time of a head, whatever comes then.
    let first = if tls.is_some() { Some(timeouts.head) } else { timeouts.of(Wait::First) };
    let deadline_ms = work.batch.clock.after(first);
    let input = Input::new(&work.shared.buffered);
    let mut connection = Connection::new(address, speaker, timeouts, permit, input);
    connection.deadline_ms = deadline_ms;
    connection.tls = tls;
    work.slots[id as usize] = Slot::Taken(Box::new(connection));
    work.touch(id);
    tracing::trace!(id, "connection accepted");
    if work.batch.is_ending() {
        work.close_after_answers(id);
    }
    Some(id)
}

/// Tells a connection that it is one too many.
fn refuse(work: &mut Work<'_>, id: Option<Id>) {
    if let Some(id) = id
        && let Some(connection) = work.connection(id)
    {
        connection.speaker.refuse(&mut connection.out);
        connection.speaker = Speaker::Refused;
        work.close_after_answers(id);
    }
}
