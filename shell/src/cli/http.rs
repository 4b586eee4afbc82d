//! A small HTTP/1.1 client for commands: one connection, one request at a time, every wait bounded.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::time::Duration;

use super::wire::{PATIENCE, TLS, UNIX, Wire};

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
        self.send("GET", path, "", &[])
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
            (Err(_), Err(error)) | (Err(error), Ok(())) => return Err(error),
        };
        if !closes {
            self.stream = Some(stream);
        }
        Ok(answer)
    }
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
}
