//! The service manager: what it hands over at the start, what it is told, and what it keeps for
//! the next start (`sd_listen_fds(3)`, `sd_notify(3)`, `FDSTORE` of systemd).
//!
//! Without one, nothing is handed over and nobody is told.

mod inherited;
mod told;

use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use rustix::net::SocketType;
use sd_notify::NotifyState;

use crate::sync::lock;

use inherited::Socket;
pub use told::Told;

/// A service manager, or none.
#[derive(Default)]
pub struct Supervisor {
    /// Listening sockets that nobody has taken yet.
    sockets: Mutex<Vec<Socket>>,
    /// Other descriptors, by the names that they were given.
    stored: Mutex<Vec<(String, OwnedFd)>>,
    listens: bool,
    watchdog: Option<Duration>,
}

/// Where descriptors outlive the process. Whether they do is up to the manager: one that is not
/// asked to (`FileDescriptorStoreMax`) drops them.
#[derive(Clone, Copy, Debug)]
pub struct Store(());

impl Supervisor {
    /// Takes what the environment says. To be called once, before anything else opens a file.
    pub fn from_environment() -> Self {
        let mut supervisor = Self {
            listens: std::env::var_os("NOTIFY_SOCKET").is_some(),
            watchdog: sd_notify::watchdog_enabled(),
            ..Self::default()
        };
        for (name, descriptor) in inherited::descriptors() {
            match Socket::of(descriptor) {
                Ok(socket) => lock(&supervisor.sockets).push(socket),
                Err(other) => lock(&supervisor.stored).push((name, other)),
            }
        }
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
        self.listens.then_some(Store(()))
    }

    /// Returns how often the manager wants a sign of life, if it listens at all.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog.filter(|_| self.listens)
    }

    /// Tells the manager something. It is not waited for, and that it is gone is no failure.
    pub fn tell(&self, told: &Told<'_>) {
        if self.listens {
            told.send();
        }
    }
}

impl Store {
    /// Has a descriptor kept under a name. When this returns, the manager will find it, even if
    /// this process is killed at once.
    pub fn keep(self, name: &str, descriptor: BorrowedFd<'_>) {
        let state = [NotifyState::FdStore, NotifyState::FdName(name)];
        if let Err(error) = sd_notify::notify_with_fds(&state, &[descriptor]) {
            tracing::warn!(name, %error, "the service manager does not keep a descriptor");
        }
    }

    /// Has the descriptors of a name dropped.
    pub fn forget(self, name: &str) {
        let state = [NotifyState::FdStoreRemove, NotifyState::FdName(name)];
        if let Err(error) = sd_notify::notify(&state) {
            tracing::warn!(name, %error, "the service manager is not reached");
        }
    }
}
