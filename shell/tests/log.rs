//! What only reports must not stop the service: pipes that nobody reads, ends that are gone, files
//! that are full.

mod common;

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::control::{Control, Raw};
use common::reader::Attached;
use common::{Ends, PATIENCE, Scratch, Server, command, deaf_pipes, get, record};
use rustix::process::{Resource, Rlimit, Signal};

/// A server whose outputs are the test's business.
struct Bare {
    child: Child,
    http: SocketAddr,
    scratch: Scratch,
}

/// A port that is free now.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address")
}

impl Bare {
    /// Starts it and waits until it serves, without reading a byte of what it says.
    fn start(flags: &[&str], prepare: impl FnOnce(&mut Command)) -> Self {
        let (scratch, http) = (Scratch::new(), free_address());
        let mut server = command();
        server
            .args(["serve", "--listen", &http.to_string(), "--socket"])
            .arg(scratch.path("aqd.sock"))
            .args(flags)
            .stdout(Stdio::null());
        prepare(&mut server);
        let child = server.spawn().expect("the binary starts");
        let bare = Self { child, http, scratch };
        Self::eventually("it serves", || TcpStream::connect(http).is_ok());
        bare
    }

    fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition() {
            assert!(Instant::now() < deadline, "never: {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn post(&self) -> u16 {
        Server::exchange_at(self.http, record("default", "connection: close\r\n", b"x")).status
    }

    fn metric(&self, series: &str) -> f64 {
        let text = Server::exchange_at(self.http, get("/metrics")).body;
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{series} not in\n{text}")).parse().expect("a number")
    }

    /// Attaches, says something that no reader says, and is evicted: two lines, and one more for a
    /// HELLO that is none.
    fn provoke_lines(&self) {
        let socket = self.scratch.path("aqd.sock");
        let reader = Raw::attach(&socket, "", "");
        reader.control.send(b"junk");
        reader.control.assert_ended();
        Control::refused(&socket, b"no hello");
    }

    fn attach(&self) -> Attached {
        Attached::attach(&self.scratch.path("aqd.sock"), "", "")
    }

    /// SIGTERM must end it in order: exit 0, rings closed.
    fn ends_well(mut self, mut reader: Attached) {
        while reader.next().is_some() {}
        reader.release();
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, Signal::TERM).expect("it lives");
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("our child") {
                break status;
            }
            assert!(begun.elapsed() < PATIENCE, "SIGTERM is ignored");
            std::thread::sleep(Duration::from_millis(5));
        };
        assert_eq!(status.code(), Some(0));
        assert!(reader.is_closed(), "the end of the stream is marked");
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A pipe whose reading end is kept and never read.
fn pipe() -> (OwnedFd, OwnedFd) {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("a pipe")
}

#[test]
fn a_log_whose_reader_is_gone_costs_lines_only() {
    let (reading, writing) = pipe();
    let server = Bare::start(&["--log-level", "debug"], |command| {
        command.stderr(writing);
    });
    drop(reading);
    for _ in 0..20 {
        server.provoke_lines();
        assert_eq!(server.post(), 202);
    }
    assert!(server.metric("aqueduct_log_lines_dropped_total") > 20.0);
    let reader = server.attach();
    server.ends_well(reader);
}

#[test]
fn a_log_that_nobody_reads_holds_nothing_up() {
    let (_reading, writing) = pipe();
    let server = Bare::start(&["--log-level", "trace"], |command| {
        command.stderr(writing);
    });
    // Some megabytes of lines: more than pipe and queue hold.
    let mut stream = TcpStream::connect(server.http).expect("it accepts");
    let request = record("default", "aqueduct-type: x\r\nconnection: close\r\n", b"x");
    let mut posted = 0;
    let begun = Instant::now();
    while server.metric("aqueduct_log_lines_dropped_total") < 0.5 {
        assert!(begun.elapsed() < 6 * PATIENCE, "{posted}");
        for _ in 0..500 {
            assert_eq!(Server::exchange_at(server.http, &request).status, 400);
            posted += 1;
        }
    }
    server.provoke_lines();
    assert_eq!(server.post(), 202);
    stream.write_all(get("/healthz").as_bytes()).expect("sent");
    assert_eq!(common::Response::read(&mut stream).status, 200);
    let reader = server.attach();
    server.ends_well(reader);
}

#[test]
fn a_ready_line_that_nobody_takes_does_not_keep_signals_out() {
    let (_reading, writing) = pipe();
    rustix::io::ioctl_fionbio(&writing, true).expect("set");
    while rustix::io::write(&writing, &[b'x'; 4096]).is_ok() {}
    rustix::io::ioctl_fionbio(&writing, false).expect("set");
    let server = Bare::start(&[], |command| {
        command.stdout(writing).stderr(Stdio::null());
    });
    assert_eq!(server.post(), 202);
    let reader = server.attach();
    server.ends_well(reader);
}

#[test]
fn a_ready_line_whose_reader_is_gone_is_lost() {
    let (reading, writing) = pipe();
    drop(reading);
    let server = Bare::start(&[], |command| {
        command.stdout(writing).stderr(Stdio::null());
    });
    let reader = server.attach();
    server.ends_well(reader);
}

fn close_standard_descriptors() {
    for fd in 0..3 {
        // SAFETY: in the child, before it executes anything: nothing owns these descriptors.
        unsafe { rustix::io::close(fd) };
    }
}

#[test]
fn closed_standard_descriptors_harm_nothing() {
    let server = Bare::start(&["--log-level", "debug"], |command| {
        // SAFETY: between fork and exec the closure only makes system calls.
        unsafe {
            command.pre_exec(|| {
                close_standard_descriptors();
                Ok(())
            });
        }
    });
    assert_eq!(server.post(), 202);
    let reader = server.attach();
    server.ends_well(reader);
}

#[test]
fn lines_that_peers_can_cause_are_limited() {
    let server = Server::start(&[]);
    let begun = Instant::now();
    for _ in 0..300 {
        Control::refused(&server.socket, b"no hello");
    }
    // 50 in each period of 10 seconds; two, if it ended meanwhile.
    let periods = usize::try_from(begun.elapsed().as_secs() / 10).expect("short") + 2;
    let text = "malformed hello";
    let lines = server.log().lines().filter(|line| line.contains(text)).count();
    assert!((1..=50 * periods).contains(&lines), "{lines} lines in {periods} periods");
    let suppressed = server.metric("aqueduct_log_lines_suppressed_total");
    assert!(suppressed > 50.0, "{suppressed} of 300 in {periods} periods");
    // The others are told in one line, as soon as the period is over.
    let deadline = Instant::now() + 2 * PATIENCE;
    while !server.log().contains("more log lines of one kind were not written") {
        assert!(Instant::now() < deadline, "no summary:\n{}", server.log());
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Limits the size of files that the process writes. It begins as a shell starts it: whoever runs
/// the tests may have the signal ignored, as Python has, and that is inherited.
fn limit_file_size(command: &mut Command, bytes: u64) {
    let limit = Rlimit { current: Some(bytes), maximum: Some(bytes) };
    let limited = move || {
        // SAFETY: `SIG_DFL` is a valid disposition of a valid signal.
        unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_DFL) };
        Ok(rustix::process::setrlimit(Resource::Fsize, limit)?)
    };
    // SAFETY: between fork and exec the closure makes two system calls.
    unsafe { command.pre_exec(limited) };
}

#[test]
fn a_ring_beyond_the_limit_of_file_sizes_is_an_error_that_names_the_limit() {
    let scratch = Scratch::new();
    let mut server = command();
    server.args(["serve", "--listen", "127.0.0.1:0", "--socket"]).arg(scratch.path("aqd.sock"));
    limit_file_size(&mut server, 1 << 20);
    let out = server.ended().expect("it runs");
    let message = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{out:?}");
    assert!(message.contains("RLIMIT_FSIZE") && message.contains("1048576"), "{message}");
}

#[test]
fn a_log_file_that_is_full_costs_lines_only() {
    let log = Scratch::new();
    let path = log.path("log");
    let flags = ["--capacity-bytes", "4096", "--log-level", "debug", "--full-wait-ms", "0"];
    let server = Bare::start(&flags, |command| {
        command.stderr(File::create(&path).expect("a file"));
        limit_file_size(command, 32 << 10);
    });
    let begun = Instant::now();
    while server.metric("aqueduct_log_lines_dropped_total") < 0.5 {
        assert!(begun.elapsed() < 6 * PATIENCE);
        for _ in 0..50 {
            server.provoke_lines();
        }
    }
    assert_eq!(server.post(), 202);
    let mut text = String::new();
    File::open(&path).expect("there").read_to_string(&mut text).expect("text");
    assert!(text.len() <= 32 << 10 && text.contains("RLIMIT_FSIZE"), "{text}");
    let reader = server.attach();
    server.ends_well(reader);
}

#[test]
fn what_a_command_has_to_say_holds_nothing_up_and_is_no_panic() {
    let nowhere = Scratch::new();
    let nowhere = nowhere.path("nowhere");
    let at = nowhere.to_str().expect("ASCII");
    for (arguments, status) in [
        (&["check-config", "--config", at][..], 2),
        (&["config", "--config", at], 2),
        (&["reload", "--socket", at], 1),
        (&["journal", "verify", at], 1),
        (&["nonsense"], 2),
        (&["serve", "--config", at], 2),
    ] {
        for (_kept, deaf) in deaf_pipes() {
            let mut child = command();
            child.args(arguments).stdout(Stdio::null()).stderr(deaf);
            let mut child = child.spawn().expect("it starts");
            let deadline = Instant::now() + PATIENCE;
            while child.try_wait().expect("our child").is_none() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(5));
            }
            let _ = child.kill();
            let ended = child.wait().expect("it ended").code();
            assert_eq!(ended, Some(status), "{arguments:?}");
        }
    }
}
