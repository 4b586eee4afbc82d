//! Asking a running process to read its configuration again, over its control socket.
//!
//! One packet each way. Not part of the ABI of readers: both ends are this program.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::net::sockopt::{self, Timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};

/// What is sent.
pub(super) const RELOAD: &[u8] = b"RELOAD";
/// First byte of the answer: it is done, and what has changed follows.
pub(super) const DONE: u8 = b'+';
/// First byte of the answer: nothing has changed, and why follows.
pub(super) const REFUSED: u8 = b'-';
/// Longest answer, bytes; what is longer is cut.
pub(super) const OUTCOME_BYTES_MAX: usize = 32 << 10;

/// How long the answer may take: names may have to be resolved.
const PATIENCE: Duration = Duration::from_secs(60);

/// Has the process that listens at `path` read its configuration again. Returns what it says:
/// what has changed, or why nothing has.
pub fn reload(path: &Path) -> io::Result<Result<String, String>> {
    let socket: OwnedFd = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    sockopt::set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
    sockopt::set_socket_timeout(&socket, Timeout::Send, Some(PATIENCE))?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::net::send(&socket, RELOAD, SendFlags::NOSIGNAL)?;
    let mut answer = vec![0; OUTCOME_BYTES_MAX];
    let (_, bytes) = rustix::net::recv(&socket, &mut answer[..], RecvFlags::empty())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match answer[..bytes].split_first() {
        Some((&DONE, rest)) => Ok(Ok(text(rest))),
        Some((&REFUSED, rest)) => Ok(Err(text(rest))),
        _ => Err(io::Error::other("the process does not take part in reloads")),
    }
}
