//! A service manager as far as the listener can tell: it hands sockets over, listens to what it is
//! told, keeps descriptors, and hands these over at the next start.

use std::io::{BufRead, BufReader, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SocketAddrUnix, SocketFlags, SocketType,
};

use super::{PATIENCE, Scratch};

/// Sockets of these kinds, to be handed over.
pub struct Sockets {
    pub http: SocketAddr,
    pub control: PathBuf,
    held: Vec<(String, OwnedFd)>,
}

impl Sockets {
    pub fn bind(scratch: &Scratch) -> Self {
        let http = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let control = scratch.path("aqd.sock");
        let socket = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        );
        let socket = socket.expect("a socket");
        let address = SocketAddrUnix::new(&control).expect("a short path");
        rustix::net::bind(&socket, &address).expect("bound");
        rustix::net::listen(&socket, 128).expect("listens");
        let at = http.local_addr().expect("bound");
        let held = vec![("http".to_owned(), http.into()), ("control".to_owned(), socket)];
        Self { http: at, control, held }
    }
}

#[derive(Default)]
struct Heard {
    lines: Vec<String>,
    kept: Vec<(String, OwnedFd)>,
}

/// The manager.
pub struct Manager {
    pub scratch: Scratch,
    heard: Arc<Mutex<Heard>>,
    notify: PathBuf,
    socket: Arc<OwnedFd>,
}

impl Manager {
    pub fn new() -> Self {
        let manager = Self::bind();
        manager.listen();
        manager
    }

    /// One whose socket is full, and that reads nothing before it is to.
    pub fn deaf() -> Self {
        let manager = Self::bind();
        let full = std::os::unix::net::UnixDatagram::unbound().expect("a socket");
        full.set_nonblocking(true).expect("set");
        while full.send_to(b"X_FULL=1", &manager.notify).is_ok() {}
        manager
    }

    fn bind() -> Self {
        let scratch = Scratch::new();
        let notify = scratch.path("notify");
        let socket = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::DGRAM,
            SocketFlags::CLOEXEC,
            None,
        );
        let socket = socket.expect("a socket");
        rustix::net::bind(&socket, &SocketAddrUnix::new(&notify).expect("short")).expect("bound");
        Self { scratch, heard: Arc::default(), notify, socket: Arc::new(socket) }
    }

    /// Begins to read, if it does not yet.
    pub fn listen(&self) {
        let (hearing, socket) = (Arc::downgrade(&self.heard), Arc::clone(&self.socket));
        std::thread::spawn(move || {
            loop {
                let Some((text, descriptors)) = receive(&socket) else { return };
                let Some(heard) = hearing.upgrade() else { return };
                heard.lock().expect("no test panics here").take(&text, descriptors);
            }
        });
    }

    /// Starts the listener with these sockets and everything that is kept.
    pub fn start(&self, sockets: Option<&Sockets>, flags: &[&str]) -> Started {
        self.start_prepared(sockets, flags, |_| ())
    }

    pub fn start_prepared(
        &self,
        sockets: Option<&Sockets>,
        flags: &[&str],
        prepare: impl FnOnce(&mut Command),
    ) -> Started {
        let mut handed: Vec<(String, OwnedFd)> = Vec::new();
        let copy = |(name, fd): &(String, OwnedFd)| {
            // Out of the way of the numbers that they get.
            (name.clone(), rustix::io::fcntl_dupfd_cloexec(fd, 200).expect("a descriptor"))
        };
        handed.extend(sockets.iter().flat_map(|sockets| sockets.held.iter().map(copy)));
        handed.extend(self.heard.lock().expect("no panic").kept.iter().map(copy));
        let names: Vec<&str> = handed.iter().map(|(name, _)| name.as_str()).collect();
        // A process knows its own id only when it runs.
        let mut command = Command::new("sh");
        command
            .args(["-c", "LISTEN_PID=$$ exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_aqueduct")])
            .args(["serve", "--log-level", "debug"])
            .args(flags)
            .env("LISTEN_FDS", handed.len().to_string())
            .env("LISTEN_FDNAMES", names.join(":"))
            .env("NOTIFY_SOCKET", &self.notify)
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(self.scratch.path("log")).expect("a log"));
        if let Some(sockets) = sockets {
            command.arg("--listen").arg(sockets.http.to_string());
            command.arg("--socket").arg(&sockets.control);
        }
        prepare(&mut command);
        let numbers: Vec<i32> = handed.iter().map(|(_, fd)| fd.as_raw_fd()).collect();
        let place = move || {
            for (to, &from) in (3..).zip(&numbers) {
                // SAFETY: two system calls on numbers; nothing of Rust knows descriptors 3 and up
                // in the child, which executes right after.
                if unsafe { libc::dup2(from, to) } < 0 {
                    return Err(std::io::Error::last_os_error());
                }
            }
            Ok(())
        };
        // SAFETY: `place` only makes system calls, and allocates nothing.
        unsafe { command.pre_exec(place) };
        Started { child: command.spawn().expect("the binary starts") }
    }

    /// Everything that was told, the last first.
    pub fn told(&self) -> Vec<String> {
        self.heard.lock().expect("no panic").lines.iter().rev().cloned().collect()
    }

    /// Names of what is kept.
    pub fn kept(&self) -> Vec<String> {
        let heard = self.heard.lock().expect("no panic");
        heard.kept.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Puts a sealed memfd of zeros in the place of a kept descriptor of this kind.
    pub fn replace(&self, kind: &str) {
        let flags = rustix::fs::MemfdFlags::CLOEXEC | rustix::fs::MemfdFlags::ALLOW_SEALING;
        let zeros = rustix::fs::memfd_create("zeros", flags).expect("a memfd");
        rustix::fs::ftruncate(&zeros, 65536).expect("truncated");
        rustix::fs::fcntl_add_seals(&zeros, rustix::fs::SealFlags::SHRINK).expect("sealed");
        let mut heard = self.heard.lock().expect("no panic");
        let found = heard.kept.iter_mut().find(|(name, _)| name.starts_with(kind));
        found.expect("it is kept").1 = zeros;
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.scratch.path("log")).unwrap_or_default()
    }

    #[track_caller]
    pub fn eventually(&self, what: &str, mut condition: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition() {
            assert!(
                Instant::now() < deadline,
                "not {what}; told: {:?}; kept: {:?}; log:\n{}",
                self.told(),
                self.kept(),
                self.log()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Heard {
    fn take(&mut self, text: &str, descriptors: Vec<OwnedFd>) {
        let value = |key: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
                .map(str::to_owned)
        };
        let name = value("FDNAME").unwrap_or_else(|| "stored".to_owned());
        if value("FDSTORE").as_deref() == Some("1") {
            assert!(name.len() <= 255 && !name.contains(':'), "{name}");
            self.kept.extend(descriptors.into_iter().map(|fd| (name.clone(), fd)));
        } else if value("FDSTOREREMOVE").as_deref() == Some("1") {
            self.kept.retain(|(known, _)| *known != name);
        } else {
            self.lines.extend(text.lines().map(str::to_owned));
        }
    }
}

fn receive(socket: &OwnedFd) -> Option<(String, Vec<OwnedFd>)> {
    let mut bytes = [0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = rustix::net::recvmsg(
        socket.as_fd(),
        &mut [IoSliceMut::new(&mut bytes)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    );
    let message = message.ok()?;
    assert!(!message.flags.contains(ReturnFlags::TRUNC));
    let descriptors = control.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => descriptors.collect::<Vec<_>>(),
        _ => Vec::new(),
    });
    let descriptors = descriptors.collect();
    Some((String::from_utf8(bytes[..message.bytes].to_vec()).ok()?, descriptors))
}

/// A listener that the manager started; killed when it is dropped.
pub struct Started {
    pub child: Child,
}

impl Started {
    /// The ready line, or what came instead.
    pub fn line(&mut self) -> String {
        let out = self.child.stdout.take().expect("piped, and asked once");
        let (found, line) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            BufReader::new(out).read_line(&mut line).expect("a line or the end");
            let _ = found.send(line);
        });
        line.recv_timeout(PATIENCE).unwrap_or_else(|_| "nothing in time".to_owned())
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("the process lives");
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> std::process::ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("our child") {
                return status;
            }
            assert!(Instant::now() < deadline, "it still runs");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
