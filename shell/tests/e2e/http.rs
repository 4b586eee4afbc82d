//! A blocking HTTP/1.1 client for one thing: posting records over a connection that is kept alive.
//! It believes only what an answer says, and refuses answers that it does not understand.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// No answer within this time is an error.
const TIMEOUT: Duration = Duration::from_secs(30);
/// A longer head is refused.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// What the listener answered.
pub(crate) struct Answer {
    /// The status code.
    pub(crate) status: u16,
    /// Header `aqueduct-seq`.
    pub(crate) seq: Option<u64>,
    /// Header `retry-after`, seconds.
    pub(crate) retry_after_s: Option<u64>,
    /// The listener will close the connection.
    pub(crate) close: bool,
    /// The body.
    pub(crate) body: Vec<u8>,
}

/// One connection. After an error it is of no further use, and whether the record of that request
/// was taken is unknown.
pub(crate) struct Client {
    stream: TcpStream,
    target: String,
    out: Vec<u8>,
    /// Bytes received behind the last answer; nothing is pipelined, so it is empty between
    /// requests.
    input: Vec<u8>,
}

impl Client {
    /// Connects; records go to `ring`.
    pub(crate) fn connect(address: SocketAddr, ring: &str) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        let target = format!("POST /v1/rings/{ring}/records HTTP/1.1\r\nhost: {address}\r\n");
        Ok(Self { stream, target, out: Vec::new(), input: Vec::new() })
    }

    /// Posts one record and waits for the answer. `None` as type sends no header, which means type
    /// 0.
    pub(crate) fn post(&mut self, type_tag: Option<u16>, body: &[u8]) -> io::Result<Answer> {
        self.out.clear();
        self.out.extend_from_slice(self.target.as_bytes());
        if let Some(tag) = type_tag {
            write!(self.out, "aqueduct-type: {tag}\r\n")?;
        }
        write!(self.out, "content-length: {}\r\n\r\n", body.len())?;
        self.out.extend_from_slice(body);
        self.stream.write_all(&self.out)?;
        self.receive()
    }

    fn receive(&mut self) -> io::Result<Answer> {
        let head_end = loop {
            if let Some(at) = self.input.windows(4).position(|four| four == b"\r\n\r\n") {
                break at;
            }
            if self.input.len() > MAX_HEAD_BYTES {
                return Err(odd("a head without an end"));
            }
            self.fill()?;
        };
        let head = std::str::from_utf8(&self.input[..head_end])
            .map_err(|_| odd("a head that is not text"))?;
        let (mut answer, length) = parse_head(head)?;
        let end = head_end + 4 + length;
        while self.input.len() < end {
            self.fill()?;
        }
        if self.input.len() > end {
            return Err(odd("bytes behind the answer"));
        }
        answer.body = self.input.split_off(head_end + 4);
        self.input.clear();
        Ok(answer)
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut chunk = [0; 4096];
        match self.stream.read(&mut chunk)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                self.input.extend_from_slice(&chunk[..count]);
                Ok(())
            }
        }
    }
}

/// The answer without its body, and the body's length in bytes.
fn parse_head(head: &str) -> io::Result<(Answer, usize)> {
    let mut lines = head.split("\r\n");
    let status_line = lines.next().unwrap_or_default();
    let status = status_line
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3))
        .and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| odd(status_line))?;
    let mut answer =
        Answer { status, seq: None, retry_after_s: None, close: false, body: Vec::new() };
    let mut length = None;
    for line in lines {
        let (name, value) = line.split_once(':').ok_or_else(|| odd(line))?;
        let value = value.trim();
        let number = || value.parse::<u64>().map(Some).map_err(|_| odd(line));
        match name.to_ascii_lowercase().as_str() {
            "aqueduct-seq" => answer.seq = number()?,
            "retry-after" => answer.retry_after_s = number()?,
            "connection" => answer.close = value.eq_ignore_ascii_case("close"),
            "content-length" => length = Some(value.parse().map_err(|_| odd(line))?),
            _ => {}
        }
    }
    Ok((answer, length.ok_or_else(|| odd("an answer without content-length"))?))
}

fn odd(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not understood: {what}"))
}
