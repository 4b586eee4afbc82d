//! The service manager: what it hands over at the start, what it is told, and what it keeps for
//! the next start (`sd_listen_fds(3)`, `sd_notify(3)`, `FDSTORE` of systemd).
//!
//! Without one, nothing is handed over and nobody is told.

mod channel;
mod inherited;
mod told;

use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::net::SocketType;

use crate::sync::lock;

use channel::Channel;
use inherited::Socket;
pub use told::Told;

/// A service manager, or none.
#[derive(Default)]
pub struct Supervisor {
    /// Listening sockets that nobody has taken yet.
    sockets: Mutex<Vec<Socket>>,
    /// Other descriptors, by the names that they were given.
    stored: Mutex<Vec<(String, OwnedFd)>>,
    /// The way to it, if it listens.
    channel: Option<Arc<Channel>>,
    watchdog: Option<Duration>,
}

/// Where descriptors outlive the process. Whether they do is up to the manager: one that is not
/// asked to (`FileDescriptorStoreMax`) drops them.
#[derive(Clone)]
pub struct Store(Arc<Channel>);

impl Supervisor {
    /// Takes what the environment says. To be called once, before anything else opens a file.
    pub fn from_environment() -> Self {
        let mut supervisor = Self { watchdog: sd_notify::watchdog_enabled(), ..Self::default() };
        for (name, descriptor) in inherited::descriptors() {
            match Socket::of(descriptor) {
                Ok(socket) => lock(&supervisor.sockets).push(socket),
                Err(other) => lock(&supervisor.stored).push((name, other)),
            }
        }
        let kept = lock(&supervisor.stored).iter().map(|(name, _)| name.clone()).collect();
        // Only now, for it opens a descriptor.
        supervisor.channel =
            std::env::var_os("NOTIFY_SOCKET").and_then(|name| Channel::open(&name, kept));
        if supervisor.watchdog.is_some_and(|period| period.is_zero()) {
            supervisor.watchdog = None;
        }
        supervisor
    }

    /// Takes the listening socket of an address, if one was handed over.
    pub fn take_tcp(&self, address: SocketAddr) -> Option<OwnedFd> {
        self.take(|socket| socket.is_tcp(address))
    }

    /// Takes the listening socket of a path, if one was handed over.
    pub fn take_unix(&self, path: &Path, kind: SocketType) -> Option<OwnedFd> {
        self.take(|socket| socket.is_unix(path, kind))
    }

    fn take(&self, wanted: impl Fn(&Socket) -> bool) -> Option<OwnedFd> {
        let mut sockets = lock(&self.sockets);
        let index = sockets.iter().position(wanted)?;
        Some(sockets.swap_remove(index).into())
    }

    /// Names the sockets that nobody has taken: connections to them would wait for ever.
    pub fn untaken(&self) -> Option<String> {
        let sockets = lock(&self.sockets);
        let names: Vec<String> = sockets.iter().map(Socket::to_string).collect();
        (!names.is_empty()).then(|| names.join(", "))
    }

    /// Takes the kept descriptors whose names begin so; returns them with the rest of the name.
    pub fn take_stored(&self, prefix: &str) -> Vec<(String, OwnedFd)> {
        let mut stored = lock(&self.stored);
        let (taken, left) = std::mem::take(&mut *stored)
            .into_iter()
            .partition(|(name, _)| name.starts_with(prefix));
        *stored = left;
        let rest =
            |(name, descriptor): (String, OwnedFd)| (name[prefix.len()..].to_owned(), descriptor);
        Vec::into_iter(taken).map(rest).collect()
    }

    /// Names the kept descriptors that nobody has taken.
    pub fn unclaimed(&self) -> Vec<String> {
        lock(&self.stored).iter().map(|(name, _)| name.clone()).collect()
    }

    /// Returns where descriptors can be kept, if there is a manager.
    pub fn store(&self) -> Option<Store> {
        self.channel.clone().map(Store)
    }

    /// Returns how often the manager wants a sign of life, if it listens at all.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog.filter(|_| self.channel.is_some())
    }

    /// Tells the manager something. It is not waited for, whether it listens or not, and that it is
    /// gone is no failure.
    pub fn tell(&self, told: &Told<'_>) {
        if let Some(channel) = &self.channel {
            channel.tell(told);
        }
    }

    /// Waits half a second at most until the manager has taken what it was told.
    pub fn flush(&self) {
        if let Some(channel) = &self.channel {
            channel.flush();
        }
    }
}

impl Store {
    /// Has a descriptor kept under a name. When this returns, the manager will find it, even if
    /// this process is killed at once; one that does not listen gets it as soon as it does, and is
    /// not waited for.
    pub fn keep(&self, name: &str, descriptor: BorrowedFd<'_>) {
        self.0.keep(name, descriptor);
    }

    /// Has the descriptors of a name dropped. Does not wait.
    pub fn forget(&self, name: &str) {
        self.0.forget(name);
    }
}
