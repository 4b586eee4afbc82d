//! One connection: a request out, an answer in, never two at once.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

/// One keep-alive connection.
pub(crate) struct Connection {
    socket: TcpStream,
    /// The whole request.
    request: Vec<u8>,
    /// Where its body begins.
    body: usize,
    input: Vec<u8>,
    /// The request under way: when it was due, and its number.
    waiting: Option<(Instant, u64)>,
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) due: Instant,
    pub(crate) status: u16,
    /// `aqueduct-seq`, where there is one.
    pub(crate) seq: Option<u64>,
    /// Number of the request.
    pub(crate) number: u64,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr, path: &str, bytes: usize) -> io::Result<Self> {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        let head = format!("POST {path} HTTP/1.1\r\nhost: b\r\ncontent-length: {bytes}\r\n\r\n");
        let mut request = head.into_bytes();
        let body = request.len();
        request.extend((b'a'..=b'z').cycle().take(bytes));
        Ok(Self { socket, request, body, input: Vec::with_capacity(4096), waiting: None })
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Sends the next request. The answer to the last one is complete, so the kernel has room.
    pub(crate) fn send(&mut self, number: u64, due: Instant, numbered: bool) -> io::Result<()> {
        debug_assert!(self.waiting.is_none(), "two requests at once");
        if numbered {
            let Some(front) = self.request[self.body..].first_chunk_mut() else {
                return Err(io::Error::other("a numbered body has 8 bytes at least"));
            };
            *front = number.to_le_bytes();
        }
        if self.socket.write(&self.request)? != self.request.len() {
            return Err(io::Error::other("the kernel took a part of a request"));
        }
        self.waiting = Some((due, number));
        Ok(())
    }

    /// Takes what has arrived; an answer once it is complete.
    pub(crate) fn receive(&mut self) -> io::Result<Option<Answer>> {
        let mut bytes = [0; 4096];
        loop {
            match self.socket.read(&mut bytes) {
                Ok(0) => return Err(io::Error::other("the server has closed a connection")),
                Ok(count) => self.input.extend_from_slice(&bytes[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            }
            if let Some((status, seq)) = whole(&self.input)? {
                self.input.clear();
                let Some((due, number)) = self.waiting.take() else {
                    return Err(io::Error::other("an answer that nobody asked for"));
                };
                return Ok(Some(Answer { due, status, seq, number }));
            }
        }
    }
}

/// Status and sequence number, if this is a whole answer.
fn whole(input: &[u8]) -> io::Result<Option<(u16, Option<u64>)>> {
    let Some(end) = input.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let bad = || io::Error::other("this is no HTTP answer");
    let head = std::str::from_utf8(&input[..end]).map_err(|_| bad())?;
    let status = head.get(9..12).and_then(|status| status.parse().ok()).ok_or_else(bad)?;
    let (mut length, mut seq) = (0, None);
    for line in head.split("\r\n").skip(1) {
        let (name, value) = line.split_once(':').ok_or_else(bad)?;
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().map_err(|_| bad())?;
        } else if name.eq_ignore_ascii_case("aqueduct-seq") {
            seq = Some(value.trim().parse().map_err(|_| bad())?);
        }
    }
    Ok((input.len() >= end + 4 + length).then_some((status, seq)))
}
