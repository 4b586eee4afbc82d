//! A small HTTP/1.1 client for commands: one connection, one request at a time, every wait bounded.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::time::Duration;

use super::wire::{PATIENCE, TLS, UNIX, Wire, is_lasting};

/// For a page for operators.
#[cfg(feature = "look")]
const PAGE_PATIENCE: Duration = Duration::from_secs(3);
/// The largest answer that is taken.
const BODY_MAX: u64 = 64 << 20;
/// The longest head of an answer that is taken.
const HEAD_MAX: u64 = 64 << 10;

/// An address that speaks HTTP, and a connection to it while there is one.
pub(super) struct Client {
    host: String,
    patience: Duration,
    stream: Option<BufReader<Wire>>,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Names in lower case.
    headers: Vec<(String, String)>,
    #[cfg_attr(not(feature = "look"), allow(dead_code, reason = "nobody else looks at it"))]
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// Returns the value of a header by its name in lower case.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(given, _)| given == name).map(|(_, value)| &**value)
    }
}

/// Splits a URL into address and path: `http://HOST[:PORT][/PATH]`, the same with `https`, or
/// `http+unix://SOCKET[:/PATH]`. The address is what [`Wire::connect`] takes.
pub(super) fn split(url: &str) -> Option<(String, String)> {
    let (scheme, rest) = url.split_once("://")?;
    if scheme == "http+unix" {
        let (socket, path) = rest.split_once(':').unwrap_or((rest, "/"));
        let is_good = socket.starts_with('/') && path.starts_with('/');
        return is_good.then(|| (format!("{UNIX}{socket}"), path.to_owned()));
    }
    let (begin, port) = match scheme {
        "http" => ("", 80),
        "https" => (TLS, 443),
        _ => return None,
    };
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    // An IPv6 address has colons of its own, in brackets.
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'));
    let address = if has_port { format!("{begin}{host}") } else { format!("{begin}{host}:{port}") };
    (!host.is_empty() && !host.starts_with(':')).then(|| (address, format!("/{path}")))
}

impl Client {
    /// Takes what [`Wire::connect`] does; connects with the first request.
    pub(super) fn new(host: impl Into<String>) -> Self {
        Self { host: host.into(), patience: PATIENCE, stream: None }
    }

    /// Takes one that is to answer at once, or not at all.
    #[cfg(feature = "look")]
    pub(super) fn for_pages(host: impl Into<String>) -> Self {
        Self { patience: PAGE_PATIENCE, ..Self::new(host) }
    }

    /// Asks for a page.
    #[cfg(feature = "look")]
    pub(super) fn get(&mut self, path: &str) -> io::Result<Answer> {
        // One that was kept may have been closed since, which nobody can know before.
        let was_kept = self.stream.is_some();
        match self.send("GET", path, "", &[]) {
            Err(error) if was_kept && is_closed(&error) => self.send("GET", path, "", &[]),
            answer => answer,
        }
    }

    /// Sends a request. `headers` are whole lines. After an error the connection is gone, and
    /// nobody knows whether the request was taken.
    pub(super) fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &str,
        body: &[u8],
    ) -> io::Result<Answer> {
        // Taken out, so that it is gone unless all goes well.
        let mut stream = if let Some(stream) = self.stream.take() {
            stream
        } else {
            let stream = Wire::connect(&self.host)?;
            stream.set_read_timeout(Some(self.patience))?;
            BufReader::new(stream)
        };
        let host = self.host.strip_prefix(TLS).unwrap_or(&self.host);
        let host = if host.starts_with(UNIX) { "localhost" } else { host };
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {host}\r\n{headers}content-length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        // A server that refuses early answers and closes: then its answer is what counts.
        let sent = stream.get_mut().write_all(&request);
        let (answer, closes) = match (read(&mut stream), sent) {
            (Ok(answer), _) => answer,
            // In TLS 1.3 a server refuses a certificate after the client has begun to send.
            (Err(error), _) if is_lasting(&error) => return Err(error),
            (Err(_), Err(error)) | (Err(error), Ok(())) => return Err(error),
        };
        if !closes {
            self.stream = Some(stream);
        }
        Ok(answer)
    }
}

/// Returns whether a connection was there, and is no more.
#[cfg(feature = "look")]
pub(super) fn is_closed(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}

/// Reads one answer; returns it, and whether the connection ends.
fn read(stream: &mut BufReader<Wire>) -> io::Result<(Answer, bool)> {
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut head = Read::take(&mut *stream, HEAD_MAX);
    let mut line = String::new();
    if head.read_line(&mut line)? == 0 {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed without an answer"));
    }
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| bad("the answer is not HTTP"))?;
    let mut headers = Vec::new();
    loop {
        line.clear();
        if head.read_line(&mut line)? == 0 {
            return Err(bad("the head of the answer is cut off"));
        }
        let text = line.trim_end();
        if text.is_empty() {
            break;
        }
        if let Some((name, value)) = text.split_once(':') {
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    let mut answer = Answer { status, headers, body: Vec::new() };
    let mut closes =
        answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    match answer.header("content-length") {
        Some(length) => {
            let length = length.parse().ok().filter(|&length| length <= BODY_MAX);
            let length = length.ok_or_else(|| bad("an impossible content-length"))?;
            let read = Read::take(&mut *stream, length).read_to_end(&mut answer.body)?;
            if read as u64 != length {
                return Err(bad("the body of the answer is cut off"));
            }
        }
        None if answer.header("transfer-encoding").is_some() => chunks(stream, &mut answer.body)?,
        None if matches!(status, 204 | 304) => {}
        None => {
            closes = true;
            Read::take(&mut *stream, BODY_MAX).read_to_end(&mut answer.body)?;
        }
    }
    Ok((answer, closes))
}

/// Reads a chunked body.
fn chunks(stream: &mut BufReader<Wire>, body: &mut Vec<u8>) -> io::Result<()> {
    let bad = || io::Error::new(io::ErrorKind::InvalidData, "a broken chunk");
    loop {
        let mut line = String::new();
        Read::take(&mut *stream, HEAD_MAX).read_line(&mut line)?;
        let size = line.trim_end().split(';').next().unwrap_or_default();
        let size = u64::from_str_radix(size, 16).map_err(|_| bad())?;
        if size > BODY_MAX.saturating_sub(body.len() as u64) {
            return Err(bad());
        }
        let read = Read::take(&mut *stream, size).read_to_end(body)?;
        let mut end = String::new();
        Read::take(&mut *stream, HEAD_MAX).read_line(&mut end)?;
        if read as u64 != size || !end.trim_end().is_empty() {
            return Err(bad());
        }
        if size == 0 {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_have_a_host_a_port_and_a_path() {
        for (url, parts) in [
            ("http://h/a/b?c", Some(("h:80", "/a/b?c"))),
            ("http://h:8080", Some(("h:8080", "/"))),
            ("http://[::1]:8/x", Some(("[::1]:8", "/x"))),
            ("http://[::1]/x", Some(("[::1]:80", "/x"))),
            ("https://h/", Some(("tls:h:443", "/"))),
            ("https://[::1]:8/x", Some(("tls:[::1]:8", "/x"))),
            ("http+unix:///run/a.sock:/v1/x", Some(("unix:/run/a.sock", "/v1/x"))),
            ("http+unix:///run/a.sock", Some(("unix:/run/a.sock", "/"))),
            ("http+unix://a.sock", None),
            ("http+unix:///run/a.sock:v1", None),
            ("http:///x", None),
            ("https://", None),
            ("ftp://h/x", None),
        ] {
            let parts = parts.map(|(host, path)| (host.to_owned(), path.to_owned()));
            assert_eq!(split(url), parts, "{url}");
        }
    }

    /// Answers each request with one of these, on one connection if it may; the heads that came.
    fn server(answers: Vec<Vec<u8>>) -> (String, std::thread::JoinHandle<Vec<String>>) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let serve = move || {
            let mut heads = Vec::new();
            let mut answers = answers.into_iter().peekable();
            while answers.peek().is_some() {
                let (stream, _) = listener.accept().expect("a connection");
                let mut stream = BufReader::new(stream);
                let mut head = String::new();
                while stream.read_line(&mut head).is_ok_and(|bytes| bytes > 0) {
                    if !head.ends_with("\r\n\r\n") {
                        continue;
                    }
                    let length = head.split("content-length: ").nth(1).expect("a length");
                    let length = length.trim_end().parse().expect("a number");
                    let mut body = vec![0; length];
                    stream.read_exact(&mut body).expect("a body");
                    heads.push(std::mem::take(&mut head));
                    let Some(answer) = answers.next() else { break };
                    let closes = !answer.starts_with(b"HTTP/1.1 2");
                    stream.get_mut().write_all(&answer).expect("somebody reads");
                    if closes {
                        break;
                    }
                }
            }
            heads
        };
        (address, std::thread::spawn(serve))
    }

    /// Status and body of an answer, or what is said of it.
    type Found = Result<(u16, Vec<u8>), String>;

    /// The answers, and the heads that were asked.
    fn asked(answers: &[&[u8]]) -> (Vec<Found>, Vec<String>) {
        let (address, server) = server(answers.iter().map(|answer| answer.to_vec()).collect());
        let mut client = Client::new(address);
        let found = answers.iter().map(|_| {
            let answer = client.send("POST", "/p", "x: y\r\n", b"body");
            answer.map(|answer| (answer.status, answer.body)).map_err(|error| error.to_string())
        });
        let found = found.collect();
        drop(client);
        (found, server.join().expect("it served"))
    }

    #[test]
    fn answers_of_every_length_are_read_on_one_connection() {
        let (found, heads) = asked(&[
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
            b"HTTP/1.1 204 No Content\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2;x\r\nde\r\n0B\r\nfghijklmnop\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            b"HTTP/1.1 404 Not Found\r\n\r\nuntil the end",
        ]);
        let body = |status, body: &[u8]| Ok((status, body.to_vec()));
        let expected = [
            body(200, b"abc"),
            body(204, b""),
            body(200, b"defghijklmnop"),
            body(200, b""),
            body(404, b"until the end"),
        ];
        assert_eq!(found, expected);
        assert_eq!(heads.len(), 5);
        assert!(heads[4].starts_with("POST /p HTTP/1.1\r\nhost: 127.0.0.1:"), "{}", heads[4]);
        assert!(heads[4].contains("\r\nx: y\r\ncontent-length: 4\r\n"), "{}", heads[4]);
    }

    #[test]
    fn a_connection_that_was_closed_is_made_anew() {
        let closes = b"HTTP/1.1 503 Busy\r\nConnection: Close\r\ncontent-length: 1\r\n\r\n!";
        let (found, heads) =
            asked(&[closes, closes, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"]);
        let statuses: Vec<_> = found.into_iter().map(|it| it.map(|(status, _)| status)).collect();
        assert_eq!(statuses, [Ok(503), Ok(503), Ok(200)]);
        assert_eq!(heads.len(), 3);
    }

    #[test]
    fn what_is_no_answer_or_cut_off_is_an_error() {
        for (answer, said) in [
            (&b"220 smtp.example ESMTP\r\n"[..], "the answer is not HTTP"),
            (b"HTTP/1.1 400 Bad\r\nx: y\r\n", "the head of the answer is cut off"),
            (b"HTTP/1.1 400 Bad\r\ncontent-length: 9\r\n\r\nabc", "the body of the answer is cut"),
            (b"HTTP/1.1 400 Bad\r\ncontent-length: x\r\n\r\n", "an impossible content-length"),
            (b"HTTP/1.1 400 Bad\r\ncontent-length: 67108865\r\n\r\n", "an impossible content"),
            (b"HTTP/1.1 400 Bad\r\ntransfer-encoding: chunked\r\n\r\nx\r\n", "a broken chunk"),
            (
                b"HTTP/1.1 400 Bad\r\ntransfer-encoding: chunked\r\n\r\n2\r\nabcd\r\n",
                "a broken chunk",
            ),
            (b"HTTP/1.1 400 Bad\r\ntransfer-encoding: chunked\r\n\r\n9\r\nab", "a broken chunk"),
            (
                b"HTTP/1.1 400 Bad\r\ntransfer-encoding: chunked\r\n\r\n4000001\r\n",
                "a broken chunk",
            ),
        ] {
            let (found, _) = asked(&[answer]);
            let error = found[0].as_ref().expect_err(said);
            assert!(error.contains(said), "{said}: {error}");
        }
        // Of a connection that ends without a word nobody knows anything.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let mut client = Client::new(listener.local_addr().expect("an address").to_string());
        let closing = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let _ = stream.read(&mut [0; 1000]);
        });
        let error = client.send("POST", "/", "", &[]).expect_err("it was closed");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        closing.join().expect("it closed");
    }
}
