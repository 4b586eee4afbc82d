//! The way to the manager: the only place that writes to `NOTIFY_SOCKET`.
//!
//! Its socket never blocks. What the manager does not take at once waits here, in an order and a
//! size that are bounded: of everything it is told, only the latest counts and is one datagram; a
//! descriptor that was to be kept and is to be forgotten before it was sent is neither. A thread
//! sends what waits, and tries again when the manager cannot be reached.

use std::collections::{HashSet, VecDeque};
use std::ffi::OsStr;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType,
};

use super::Told;
use crate::sync::{Condvar, Mutex, PoisonError, lock};

/// How soon a manager that cannot be reached is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How long the end of the process waits for a manager that does not listen.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// Most descriptors that wait to be kept or forgotten. It is two for each subscription at most that
/// a manager which does not listen leaves here, and what an earlier process left.
const ERRANDS_MOST: usize = 4096;
/// Longest status, in bytes: the manager ignores a datagram of more than a page.
const STATUS_BYTES: usize = 2048;

/// What the manager has not been sent yet, and the thread that waits for it.
pub(super) struct Channel {
    address: SocketAddrUnix,
    state: Mutex<State>,
    /// Notified when something waits.
    filled: Condvar,
    /// Notified when nothing waits, or when the manager cannot be reached.
    settled: Condvar,
}

#[derive(Default)]
struct State {
    /// INVARIANT: non-blocking, and connected.
    socket: Option<Arc<OwnedFd>>,
    news: News,
    errands: VecDeque<Errand>,
    /// Names of what the manager may keep, and has not been told to drop.
    kept: HashSet<String>,
    /// The manager could not be reached last time: it is gone, or refuses.
    fails: bool,
}

/// What the manager is to know. A later word takes the place of an earlier one.
#[derive(Default)]
struct News {
    ready: bool,
    stopping: bool,
    alive: bool,
    status: Option<String>,
}

/// A descriptor that the manager is to keep, or those of a name that it is to drop.
enum Errand {
    Keep(String, OwnedFd),
    Forget(String),
}

/// How far sending got.
enum Sent {
    All,
    /// The manager has not read what is there: this socket is writable when it has.
    Full(Arc<OwnedFd>),
    Failed,
}

impl Channel {
    /// Prepares to write to this address, and starts the thread that waits in place of others. The
    /// manager keeps descriptors of the names in `kept` already. `None` if it is no address.
    pub(super) fn open(name: &OsStr, kept: HashSet<String>) -> Option<Arc<Self>> {
        let address = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddrUnix::new_abstract_name(name),
            _ => SocketAddrUnix::new(name),
        };
        let channel = Arc::new(Self {
            address: address.ok()?,
            state: Mutex::new(State { kept, ..State::default() }),
            filled: Condvar::new(),
            settled: Condvar::new(),
        });
        let waiting = Arc::clone(&channel);
        let thread = std::thread::Builder::new().name("aqueduct-manager".to_owned());
        // Without it, whoever has something to say next tries to send what is left.
        let _ = thread.spawn(move || waiting.send_for_ever());
        Some(channel)
    }

    /// Tells the manager something. Returns at once.
    pub(super) fn tell(&self, told: &Told<'_>) {
        let mut state = lock(&self.state);
        state.news.add(told);
        self.send_now(&mut state);
    }

    /// Has a descriptor kept.
    pub(super) fn keep(&self, name: &str, descriptor: BorrowedFd<'_>) {
        let mut state = lock(&self.state);
        // Without a copy, if nothing waits before it.
        if matches!(state.send(&self.address), Sent::All)
            && matches!(state.send_errand(&self.address, name, Some(descriptor)), Sent::All)
        {
            return;
        }
        match rustix::io::fcntl_dupfd_cloexec(descriptor, 0) {
            Ok(copy) => self.queue(&mut state, Errand::Keep(name.to_owned(), copy)),
            Err(error) => {
                tracing::warn!(name, %error, "the service manager does not keep a descriptor");
            }
        }
    }

    /// Has the descriptors of a name dropped.
    pub(super) fn forget(&self, name: &str) {
        let mut state = lock(&self.state);
        let unsent = |errand: &Errand| matches!(errand, Errand::Keep(kept, _) if kept == name);
        if let Some(index) = state.errands.iter().position(unsent) {
            state.errands.remove(index);
        }
        // What it was not sent needs no word, and one is enough: each more would take the place of
        // a descriptor that is to be kept.
        if state.kept.remove(name) {
            self.queue(&mut state, Errand::Forget(name.to_owned()));
        }
    }

    fn queue(&self, state: &mut State, errand: Errand) {
        if state.errands.len() >= ERRANDS_MOST {
            let name = errand.name();
            tracing::warn!(
                name,
                "too much waits for the service manager: a descriptor is left out"
            );
            return;
        }
        state.errands.push_back(errand);
        self.send_now(state);
    }

    /// Sends what waits, as far as the manager takes it, and leaves the rest to the thread.
    fn send_now(&self, state: &mut State) {
        if !matches!(state.send(&self.address), Sent::All) {
            self.filled.notify_one();
        }
    }

    /// Waits until everything was sent, but not long, and not for a manager that is gone.
    pub(super) fn flush(&self) {
        let state = lock(&self.state);
        let waits = |state: &mut State| state.waiting() > 0 && !state.fails;
        let waited = self.settled.wait_timeout_while(state, LAST_WORDS, waits);
        let waiting = waited.unwrap_or_else(PoisonError::into_inner).0.waiting();
        if waiting > 0 {
            tracing::warn!(
                waiting,
                "the service manager does not listen: it is not told everything"
            );
        }
    }

    fn send_for_ever(&self) {
        let mut state = lock(&self.state);
        loop {
            match state.send(&self.address) {
                Sent::All => {
                    self.settled.notify_all();
                    let idle = |state: &mut State| state.waiting() == 0;
                    state =
                        self.filled.wait_while(state, idle).unwrap_or_else(PoisonError::into_inner);
                }
                Sent::Full(socket) => {
                    drop(state);
                    let mut writable = [PollFd::new(&socket, PollFlags::OUT)];
                    let timeout = Timespec::try_from(RETRY).ok();
                    let _ = rustix::event::poll(&mut writable, timeout.as_ref());
                    state = lock(&self.state);
                }
                Sent::Failed => {
                    self.settled.notify_all();
                    drop(state);
                    std::thread::sleep(RETRY);
                    state = lock(&self.state);
                }
            }
        }
    }
}

impl State {
    fn waiting(&self) -> usize {
        usize::from(self.news.text().is_some()) + self.errands.len()
    }

    /// Sends what waits, the news first: a descriptor that is not taken must not keep a sign of
    /// life back.
    fn send(&mut self, address: &SocketAddrUnix) -> Sent {
        if let Some(text) = self.news.text() {
            match self.datagram(address, &text, None) {
                Sent::All => self.news = News::default(),
                other => return other,
            }
        }
        while let Some(errand) = self.errands.pop_front() {
            let descriptor = match &errand {
                Errand::Keep(_, descriptor) => Some(descriptor.as_fd()),
                Errand::Forget(_) => None,
            };
            match self.send_errand(address, errand.name(), descriptor) {
                Sent::All => {}
                other => {
                    self.errands.push_front(errand);
                    return other;
                }
            }
        }
        Sent::All
    }

    fn send_errand(
        &mut self,
        address: &SocketAddrUnix,
        name: &str,
        descriptor: Option<BorrowedFd<'_>>,
    ) -> Sent {
        let verb = if descriptor.is_some() { "FDSTORE" } else { "FDSTOREREMOVE" };
        let sent = self.datagram(address, &format!("{verb}=1\nFDNAME={name}"), descriptor);
        if descriptor.is_some() && matches!(sent, Sent::All) {
            self.kept.insert(name.to_owned());
        }
        sent
    }

    /// Sends one datagram, if the manager takes it now. One that has begun anew is found.
    fn datagram(
        &mut self,
        address: &SocketAddrUnix,
        text: &str,
        descriptor: Option<BorrowedFd<'_>>,
    ) -> Sent {
        let failed = loop {
            let (socket, is_new) = match &self.socket {
                Some(socket) => (Arc::clone(socket), false),
                None => match connect(address) {
                    Ok(socket) => (Arc::clone(self.socket.insert(Arc::new(socket))), true),
                    Err(error) => break error,
                },
            };
            match send(&socket, text, descriptor) {
                Ok(()) => {
                    self.fails = false;
                    return Sent::All;
                }
                Err(Errno::AGAIN) => {
                    self.fails = false;
                    return Sent::Full(socket);
                }
                Err(error) => {
                    self.socket = None;
                    if is_new {
                        break error;
                    }
                }
            }
        };
        if !self.fails {
            tracing::warn!(error = %failed, "the service manager is not reached; tried again each second");
        }
        self.fails = true;
        Sent::Failed
    }
}

impl News {
    fn add(&mut self, told: &Told<'_>) {
        // A line is an assignment, so a reason of several lines would be taken for more.
        let line = |text: &str| {
            let mut text = text.replace('\n', "; ");
            let fits = |index: &usize| *index <= STATUS_BYTES;
            let end = text.char_indices().map(|(index, _)| index).take_while(fits).last();
            if text.len() > STATUS_BYTES {
                text.truncate(end.unwrap_or(0));
            }
            text
        };
        let (Told::Ready(text)
        | Told::Status(text)
        | Told::Alive(text)
        | Told::Stopping(text)
        | Told::Failed(text)) = told;
        self.status = Some(match told {
            Told::Failed(_) => format!("failed: {}", line(text)),
            _ => line(text),
        });
        self.ready |= matches!(told, Told::Ready(_));
        self.alive |= matches!(told, Told::Alive(_));
        self.stopping |= matches!(told, Told::Stopping(_));
    }

    /// One datagram of it; `None` if there is nothing to say.
    fn text(&self) -> Option<String> {
        let mut text = String::new();
        for (is_so, line) in [
            (self.ready, "READY=1\n"),
            (self.stopping, "STOPPING=1\n"),
            (self.alive, "WATCHDOG=1\n"),
        ] {
            if is_so {
                text.push_str(line);
            }
        }
        if let Some(status) = &self.status {
            text.push_str("STATUS=");
            text.push_str(status);
        }
        (!text.is_empty()).then_some(text)
    }
}

impl Errand {
    fn name(&self) -> &str {
        match self {
            Self::Keep(name, _) | Self::Forget(name) => name,
        }
    }
}

fn connect(address: &SocketAddrUnix) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
    rustix::net::connect(&socket, address)?;
    Ok(socket)
}

fn send(socket: &OwnedFd, text: &str, descriptor: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors: Vec<_> = descriptor.into_iter().collect();
    if !descriptors.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    let bytes = [IoSlice::new(text.as_bytes())];
    loop {
        match rustix::net::sendmsg(socket, &bytes, &mut control, flags) {
            Err(Errno::INTR) => {}
            other => return other.map(|_| ()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    #[test]
    fn only_what_was_sent_is_forgotten_and_only_once() {
        let home = tempfile::tempdir().expect("a place for files");
        let path = home.path().join("manager");
        // It is not read at first.
        let manager = UnixDatagram::bind(&path).expect("a socket");
        let inherited = HashSet::from(["inherited".to_owned()]);
        let channel = Channel::open(path.as_os_str(), inherited).expect("an address");
        let waiting = || lock(&channel.state).waiting();
        let keep = |name: &str| channel.keep(name, manager.as_fd());
        let filled = (0..ERRANDS_MOST).find(|number| {
            keep(&format!("full-{number}"));
            waiting() > 0
        });
        assert!(filled.is_some_and(|number| number > 0), "{filled:?}");
        let before = waiting();
        keep("unsent");
        assert_eq!(waiting(), before + 1);
        for _ in 0..3 {
            channel.forget("unsent");
            channel.forget("unknown");
            assert_eq!(waiting(), before);
        }
        for name in ["full-0", "inherited", "full-0", "inherited"] {
            channel.forget(name);
        }
        assert_eq!(waiting(), before + 2);
        // Kept again and forgotten before either was said.
        keep("full-0");
        channel.forget("full-0");
        channel.forget("full-0");
        assert_eq!(waiting(), before + 2);
        // Sent, and sent again under its name.
        keep("inherited");
        manager.set_read_timeout(Some(Duration::from_secs(10))).expect("set");
        let mut texts = Vec::new();
        while texts.last().is_none_or(|last| last != "FDSTORE=1\nFDNAME=inherited") {
            let mut text = [0; 256];
            let count = manager.recv(&mut text).expect("a datagram");
            texts.push(String::from_utf8_lossy(&text[..count]).into_owned());
        }
        let forgotten = |name: &str| {
            texts.iter().filter(|text| **text == format!("FDSTOREREMOVE=1\nFDNAME={name}")).count()
        };
        assert_eq!(["full-0", "inherited", "unsent", "unknown"].map(forgotten), [1, 1, 0, 0]);
        channel.forget("inherited");
        let mut text = [0; 256];
        let count = manager.recv(&mut text).expect("a datagram");
        assert_eq!(&text[..count], b"FDSTOREREMOVE=1\nFDNAME=inherited");
    }
}
