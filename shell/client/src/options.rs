//! Options for opening a client, and opening it.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use aqueduct_core::handshake::{Hello, Kind, Status};
use rustix::net::SocketAddrUnix;

use crate::attach::{self, Patience, Request};
use crate::client::{Client, Reconnecting};
use crate::error::OpenError;
use crate::info::RingInfo;
use crate::interrupt::Interrupter;
use crate::link::{Deadline, Link};
use crate::source::Source;

/// The longest path of a socket: the kernel's field has 108 bytes, with a zero at the end.
const PATH_BYTES_MAX: usize = 107;
/// For a handshake.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Where reading starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// Where the subscription's last reader released; for an observer the same as
    /// [`Oldest`](Start::Oldest).
    #[default]
    Here,
    /// At the oldest intact record. A subscription moves back to it, so records that it released
    /// are delivered again.
    Oldest,
    /// After the last published record. What the subscription still held is released.
    Latest,
}

/// Opens a [`Client`].
///
/// ```no_run
/// use std::time::Duration;
/// use aqueduct_client::{Options, Start};
///
/// let mut client = Options::new("/run/aqueduct.sock")
///     .ring("orders")
///     .subscription("audit")
///     .start(Start::Oldest)
///     .retry_open_for(Duration::from_secs(30))
///     .reconnect_for(Duration::MAX)
///     .attach()?;
/// # Ok::<(), aqueduct_client::OpenError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "options do nothing before `attach` or `observe`"]
pub struct Options {
    path: PathBuf,
    ring: String,
    subscription: String,
    start: Start,
    timeout: Duration,
    reconnect_for: Duration,
    retry_open_for: Duration,
    backoff: (Duration, Duration),
    standby: bool,
    interrupter: Option<Interrupter>,
}

impl Options {
    /// Takes the path of the listener's control socket; everything else has a default.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            ring: String::new(),
            subscription: String::new(),
            start: Start::Here,
            timeout: TIMEOUT,
            reconnect_for: Duration::ZERO,
            retry_open_for: Duration::ZERO,
            backoff: (Duration::from_millis(20), Duration::from_secs(2)),
            standby: false,
            interrupter: None,
        }
    }

    /// Names the ring, in at most 64 bytes. Default: the listener's only ring.
    pub fn ring(mut self, name: impl Into<String>) -> Self {
        self.ring = name.into();
        self
    }

    /// Names the subscription, in at most 32 bytes. Default: `default`. Ignored for an observer.
    pub fn subscription(mut self, name: impl Into<String>) -> Self {
        self.subscription = name.into();
        self
    }

    /// Sets where reading starts. Default: [`Start::Here`]. Applies to the first attachment; later
    /// ones continue where the reader or its subscription is.
    ///
    /// To start at a stored (epoch, seq), call [`Client::seek`] after opening.
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// Limits the time for each handshake. Default: 5 s. `Duration::ZERO` does only what needs no
    /// waiting; `Duration::MAX` waits without limit when opening, and 5 s when reconnecting.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets how long the client tries to attach again after the listener's end. Default:
    /// `Duration::ZERO`, not at all; `Duration::MAX` is without limit.
    pub fn reconnect_for(mut self, time: Duration) -> Self {
        self.reconnect_for = time;
        self
    }

    /// Sets how long opening retries while there is no listener, so that a program may be started
    /// before it. Default: `Duration::ZERO`, not at all; `Duration::MAX` is without limit.
    ///
    /// Opening retries after an error that the start of a listener or some time can cure, see
    /// [`OpenError::is_curable`]. Every other error is final, an unknown ring and, without
    /// [`standby`](Self::standby), a busy subscription among them. The last attempt is made when
    /// the time is over, and each attempt may take [`timeout`](Self::timeout).
    ///
    /// A lack that never passes looks like one that does: a listener whose `RLIMIT_FSIZE` allows no
    /// segment, or observers that never leave. Without limit, opening then never returns, unless an
    /// [`interrupter`](Self::interrupter) ends it.
    pub fn retry_open_for(mut self, time: Duration) -> Self {
        self.retry_open_for = time;
        self
    }

    /// Makes opening retry also while another reader holds the subscription, so that this one takes
    /// over when the other ends. Only with [`retry_open_for`](Self::retry_open_for).
    pub fn standby(mut self) -> Self {
        self.standby = true;
        self
    }

    /// Sets the pauses between attempts: `min` after the first failure, then doubled up to `max`.
    /// Default: 20 ms and 2 s. A `max` below `min` counts as `min`.
    pub fn backoff(mut self, min: Duration, max: Duration) -> Self {
        self.backoff = (min, max.max(min));
        self
    }

    /// Uses an existing interrupter, which can then also end the wait for a listener while the
    /// client is being opened: opening fails with [`OpenError::Interrupted`]. That takes up to
    /// 500 ms while a listener's backlog is full.
    pub fn interrupter(mut self, interrupter: &Interrupter) -> Self {
        self.interrupter = Some(interrupter.clone());
        self
    }

    /// Attaches as a gating reader: the producer does not overwrite what it has not released.
    ///
    /// # Errors
    /// Any [`OpenError`].
    pub fn attach(&self) -> Result<Client, OpenError> {
        let kind = match self.start {
            Start::Here => Kind::Attach,
            Start::Oldest => Kind::AttachOldest,
            Start::Latest => Kind::AttachLatest,
        };
        // Later attachments go on where this one was.
        self.open([kind, Kind::Attach])
    }

    /// Attaches as an observer, which takes no subscription and never holds the producer back. It
    /// may be overrun, and is then told how many records it missed. The producer does not wake
    /// observers: while it waits, an observer polls the ring every 1 to 32 ms.
    ///
    /// # Errors
    /// Any [`OpenError`].
    pub fn observe(&self) -> Result<Client, OpenError> {
        let mut client = self.open([Kind::Observe; 2])?;
        if self.start == Start::Latest {
            // An observer's never fails.
            let _ = client.skip_to_latest();
        }
        Ok(client)
    }

    /// Opens with one kind of HELLO, and keeps another one for reconnections.
    fn open(&self, [first, later]: [Kind; 2]) -> Result<Client, OpenError> {
        let (first, later) = (self.request(first)?, self.request(later)?);
        let interrupter = match &self.interrupter {
            Some(interrupter) => interrupter.clone(),
            None => Interrupter::new()?,
        };
        let mut link = Link::new(interrupter)?;
        let (source, info) = self.attach_with_retries(&mut link, &first)?;
        let reconnecting = Reconnecting {
            request: later,
            timeout: if self.timeout == Duration::MAX { TIMEOUT } else { self.timeout },
            limit: self.reconnect_for,
            backoff: self.backoff,
        };
        Ok(Client::new(source, info, link, Some(reconnecting)))
    }

    fn request(&self, kind: Kind) -> Result<Request, OpenError> {
        let path = self.path.as_os_str().as_bytes();
        let address = SocketAddrUnix::new(&self.path).ok();
        let good = (1..=PATH_BYTES_MAX).contains(&path.len()) && !path.contains(&0);
        let address = address
            .filter(|_| good)
            .ok_or(OpenError::Path { bytes: path.len(), limit: PATH_BYTES_MAX })?;
        let observe = kind == Kind::Observe;
        let subscription = if observe { "" } else { &*self.subscription };
        let hello = Hello { kind, ring: &self.ring, subscription };
        Ok(Request { address, hello: hello.encode().map_err(OpenError::Name)?, observe })
    }

    /// One attempt, and as many more as there is time for.
    fn attach_with_retries(
        &self,
        link: &mut Link,
        request: &Request,
    ) -> Result<(Source, RingInfo), OpenError> {
        let end = Deadline::after(self.retry_open_for);
        let stop = self.interrupter.as_ref();
        let mut pause = self.backoff.0;
        loop {
            let patience = Patience { deadline: Deadline::after(self.timeout), stop };
            let error = match attach::begin(link, request, patience)
                .and_then(|()| attach::finish(link, request, patience))
            {
                Ok(attached) => return Ok(attached),
                Err(error) => error,
            };
            let is_held = self.standby && error.refusal() == Some(Status::Busy);
            if !(error.is_curable() || is_held) || end.is_over() {
                return Err(error);
            }
            link.disconnect();
            let until = Deadline::after(pause).or(end);
            while !until.is_over() {
                Patience { deadline: until, stop }.wait(None)?;
            }
            pause = pause.saturating_mul(2).min(self.backoff.1);
        }
    }
}
