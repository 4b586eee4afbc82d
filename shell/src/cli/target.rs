//! Where records go: a ring by HTTP or RESP, a topic by MQTT, or an address of lines.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::time::Duration;

use serde_json::Value;

use crate::cli::http;
use crate::cli::wire::{TLS, UNIX, Wire};

/// For the answer of a server, and for the end of a connection of lines.
const PATIENCE: Duration = Duration::from_secs(90);
/// The longest line of an answer.
const LINE_MAX: u64 = 4096;

/// The protocol and the address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Url {
    Http {
        host: String,
        path: String,
    },
    Resp {
        host: String,
        ring: String,
    },
    Mqtt {
        host: String,
        topic: String,
    },
    /// What ends each record, or how long it is before it.
    Lines {
        host: String,
        end: End,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Byte(u8),
    Counted,
}

impl Url {
    /// The ring that it names, if it names one.
    pub(super) fn ring(&self) -> Option<&str> {
        match self {
            Self::Http { path, .. } => path.strip_prefix("/v1/rings/")?.strip_suffix("/records"),
            Self::Resp { ring, .. } => Some(ring),
            Self::Mqtt { .. } | Self::Lines { .. } => None,
        }
    }
}

impl std::str::FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || {
            "http://HOST:PORT/v1/rings/RING/records, resp://HOST:PORT/RING, \
             mqtt://HOST:PORT/TOPIC, lines://HOST:PORT, nul://HOST:PORT or octets://HOST:PORT; \
             https://… or, of the others, resp+tls://…; http+unix://SOCKET:/v1/rings/RING/records, \
             resp+unix://SOCKET:RING, lines+unix://SOCKET"
                .to_owned()
        };
        if let Some((host, path)) = http::split(text) {
            return Ok(Self::Http { host, path });
        }
        let (scheme, rest) = text.split_once("://").ok_or_else(expected)?;
        let (protocol, way) = scheme.split_once('+').unwrap_or((scheme, ""));
        let (host, path) = match way {
            "unix" => {
                let (socket, path) = rest.split_once(':').unwrap_or((rest, ""));
                let is_path = socket.starts_with('/');
                (is_path.then(|| format!("{UNIX}{socket}")).ok_or_else(expected)?, path)
            }
            "" | "tls" => {
                let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
                let port = host.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
                port.ok_or_else(expected)?;
                (format!("{}{host}", if way == "tls" { TLS } else { "" }), path)
            }
            _ => return Err(expected()),
        };
        let end = match protocol {
            "resp" if !path.is_empty() => return Ok(Self::Resp { host, ring: path.to_owned() }),
            "mqtt" if !path.is_empty() => return Ok(Self::Mqtt { host, topic: path.to_owned() }),
            "lines" => End::Byte(b'\n'),
            "nul" => End::Byte(0),
            "octets" => End::Counted,
            _ => return Err(expected()),
        };
        path.is_empty().then_some(Self::Lines { host, end }).ok_or_else(expected)
    }
}

/// What became of a batch.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It is in the ring, or, of lines, sent.
    Published(Published),
    /// Not now; again after this time, if it was said.
    Wait(Option<Duration>, String),
    /// Not ever.
    Refused(String),
}

/// A batch that is in the ring.
#[derive(Debug, Default)]
pub(super) struct Published {
    /// First and last sequence number.
    pub(super) seqs: Option<(u64, u64)>,
    pub(super) epoch: Option<String>,
    /// It was there before: this is the first answer again.
    pub(super) is_repeated: bool,
}

/// How each record is sent.
#[derive(Clone, Debug)]
pub(super) struct Manner {
    pub(super) type_tag: u16,
    pub(super) token: Option<String>,
}

/// A connection to one.
pub(super) enum Target {
    Http { client: http::Client, path: String },
    Resp { host: String, ring: String, stream: Option<BufReader<Wire>> },
    Mqtt { host: String, topic: String, session: Option<Session> },
    Lines { host: String, end: End, stream: Option<Wire> },
}

impl Target {
    pub(super) fn new(url: &Url) -> Self {
        match url.clone() {
            Url::Http { host, path } => Self::Http { client: http::Client::new(host), path },
            Url::Resp { host, ring } => Self::Resp { host, ring, stream: None },
            Url::Mqtt { host, topic } => Self::Mqtt { host, topic, session: None },
            Url::Lines { host, end } => Self::Lines { host, end, stream: None },
        }
    }

    /// Sends a batch. After an error nobody knows whether it was taken; the next call connects
    /// anew. With a key, one that is sent again is not appended again.
    pub(super) fn send(
        &mut self,
        records: &[Vec<u8>],
        manner: &Manner,
        key: Option<&str>,
    ) -> io::Result<Outcome> {
        match self {
            Self::Http { client, path } => post(client, path, records, manner, key),
            Self::Resp { host, ring, stream } => {
                let mut connection = match stream.take() {
                    Some(connection) => connection,
                    None => BufReader::new(Wire::connect(host)?),
                };
                let outcome = add(&mut connection, ring, records, manner, key)?;
                *stream = Some(connection);
                Ok(outcome)
            }
            Self::Mqtt { host, topic, session } => {
                let mut open = match session.take() {
                    Some(open) => open,
                    None => Session::open(host, manner)?,
                };
                open.publish(topic, records)?;
                *session = Some(open);
                Ok(Outcome::Published(Published::default()))
            }
            Self::Lines { host, end, stream } => {
                let mut connection = match stream.take() {
                    Some(connection) => connection,
                    None => Wire::connect(host)?,
                };
                // A full ring is waited for as long as it takes: nobody answers anything.
                connection.set_write_timeout(None)?;
                let mut bytes = Vec::new();
                for record in records {
                    match *end {
                        End::Byte(end) if record.contains(&end) => {
                            let text = "a record has the byte in it that ends records there";
                            return Ok(Outcome::Refused(text.to_owned()));
                        }
                        End::Byte(end) => {
                            bytes.extend_from_slice(record);
                            bytes.push(end);
                        }
                        End::Counted => {
                            bytes.extend(format!("{} ", record.len()).bytes());
                            bytes.extend_from_slice(record);
                        }
                    }
                }
                connection.write_all(&bytes)?;
                *stream = Some(connection);
                Ok(Outcome::Published(Published::default()))
            }
        }
    }

    /// Ends the connection; of lines, when the other side has taken everything.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        let Self::Lines { stream, .. } = self else { return Ok(()) };
        let Some(mut stream) = stream.take() else { return Ok(()) };
        stream.finish()?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let read = Read::take(&mut stream, LINE_MAX).read_to_end(&mut Vec::new());
        read.map(|_| ()).map_err(|error| {
            io::Error::new(error.kind(), format!("not everything was seen to be taken: {error}"))
        })
    }
}

/// A session of MQTT 3.1.1 that publishes at least once.
pub(super) struct Session {
    stream: BufReader<Wire>,
    packet: u16,
}

impl Session {
    fn open(host: &str, manner: &Manner) -> io::Result<Self> {
        let mut stream = BufReader::new(Wire::connect(host)?);
        let token = manner.token.as_deref();
        // Clean session; a token is the password of a user of that name.
        let flags = if token.is_some() { 0xC2 } else { 0x02 };
        let mut body = b"\x00\x04MQTT\x04".to_vec();
        body.extend([flags, 0, 60]);
        body.extend([0, 0]);
        if let Some(token) = token {
            string(&mut body, b"token");
            string(&mut body, token.as_bytes());
        }
        stream.get_mut().write_all(&packet(0x10, &body))?;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer)?;
        if answer[0] != 0x20 || answer[3] != 0 {
            return Err(io::Error::other(format!("MQTT CONNACK: return code {}", answer[3])));
        }
        Ok(Self { stream, packet: 0 })
    }

    /// Publishes one after the other, and waits for as many PUBACK.
    fn publish(&mut self, topic: &str, records: &[Vec<u8>]) -> io::Result<()> {
        let mut bytes = Vec::new();
        let mut awaited = Vec::with_capacity(records.len());
        for record in records {
            self.packet = self.packet.checked_add(1).unwrap_or(1);
            awaited.push(self.packet);
            let mut body = Vec::with_capacity(record.len() + topic.len() + 4);
            string(&mut body, topic.as_bytes());
            body.extend(self.packet.to_be_bytes());
            body.extend_from_slice(record);
            bytes.extend(packet(0x32, &body));
        }
        self.stream.get_mut().write_all(&bytes)?;
        for packet in awaited {
            let mut answer = [0; 4];
            self.stream.read_exact(&mut answer)?;
            let [high, low] = packet.to_be_bytes();
            if answer != [0x40, 2, high, low] {
                return Err(io::Error::other(format!("not the PUBACK of {packet}: {answer:02x?}")));
            }
        }
        Ok(())
    }
}

fn string(body: &mut Vec<u8>, bytes: &[u8]) {
    body.extend(u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes());
    body.extend_from_slice(bytes);
}

/// A control packet: type and flags, length, body.
fn packet(head: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![head];
    let mut left = body.len();
    loop {
        let digit = u8::try_from(left % 128).unwrap_or(0);
        left /= 128;
        packet.push(if left > 0 { digit | 0x80 } else { digit });
        if left == 0 {
            break;
        }
    }
    packet.extend_from_slice(body);
    packet
}

fn post(
    client: &mut http::Client,
    path: &str,
    records: &[Vec<u8>],
    manner: &Manner,
    key: Option<&str>,
) -> io::Result<Outcome> {
    let mut headers = String::new();
    // Writing to a string cannot fail.
    if let Some(token) = &manner.token {
        let _ = write!(headers, "authorization: Bearer {token}\r\n");
    }
    if let Some(key) = key {
        let _ = write!(headers, "idempotency-key: \"{key}\"\r\n");
    }
    let answer = if let [record] = records {
        let _ = write!(headers, "aqueduct-type: {}\r\n", manner.type_tag);
        client.send("POST", path, &headers, record)?
    } else {
        headers.push_str("content-type: application/vnd.aqueduct.records\r\n");
        let mut body = Vec::new();
        for record in records {
            body.extend(u32::try_from(record.len()).unwrap_or(u32::MAX).to_le_bytes());
            body.extend(manner.type_tag.to_le_bytes());
            body.extend_from_slice(record);
        }
        client.send("POST", path, &headers, &body)?
    };
    let value: Value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
    Ok(match answer.status {
        200..=299 => {
            let number = |name: &str| value[name].as_u64();
            let first = number("first").or(number("seq"));
            Outcome::Published(Published {
                seqs: first.zip(number("last").or(first)),
                epoch: value["epoch"].as_str().map(str::to_owned),
                is_repeated: answer.header("idempotent-replayed") == Some("true"),
            })
        }
        429 | 503 => {
            let after = answer.header("retry-after").and_then(|after| after.parse().ok());
            let text = value["detail"].as_str().unwrap_or("not now");
            Outcome::Wait(after.map(Duration::from_secs), text.to_owned())
        }
        status => {
            let text = value["detail"].as_str().unwrap_or("no reason is given");
            Outcome::Refused(format!("{status}: {text}"))
        }
    })
}

/// Sends a pipeline of XADD, and reads as many answers.
fn add(
    stream: &mut BufReader<Wire>,
    ring: &str,
    records: &[Vec<u8>],
    manner: &Manner,
    key: Option<&str>,
) -> io::Result<Outcome> {
    let mut bytes = Vec::new();
    let mut command = |parts: &[&[u8]]| {
        bytes.extend(format!("*{}\r\n", parts.len()).bytes());
        for part in parts {
            bytes.extend(format!("${}\r\n", part.len()).bytes());
            bytes.extend_from_slice(part);
            bytes.extend(b"\r\n");
        }
    };
    let type_tag = manner.type_tag.to_string();
    if let Some(token) = &manner.token {
        command(&[b"AUTH", token.as_bytes()]);
    }
    for (index, record) in records.iter().enumerate() {
        let (ring, type_tag) = (ring.as_bytes(), type_tag.as_bytes());
        let key = key.map(|key| format!("{key}-{index}"));
        match &key {
            Some(key) => command(&[
                b"XADD",
                ring,
                b"*",
                b"data",
                record,
                b"type",
                type_tag,
                b"id",
                key.as_bytes(),
            ]),
            None => command(&[b"XADD", ring, b"*", b"data", record, b"type", type_tag]),
        }
    }
    // Answers fit the buffers of the sockets: there are never more than a batch's.
    stream.get_mut().write_all(&bytes)?;
    let mut published = Published::default();
    let (mut wait, mut refused) = (None, None);
    if manner.token.is_some()
        && let Err(text) = reply(stream)?
    {
        return Ok(Outcome::Refused(text));
    }
    for _ in records {
        match reply(stream)? {
            Ok(id) => {
                let Some((epoch, seq)) = id.rsplit_once('-') else { continue };
                // An id of RESP is decimal; everywhere else an epoch has 16 hexadecimal digits.
                published.epoch = epoch.parse::<u64>().ok().map(|epoch| format!("{epoch:016x}"));
                if let Ok(seq) = seq.parse() {
                    published.seqs = Some((published.seqs.map_or(seq, |(first, _)| first), seq));
                }
            }
            Err(text) if text.starts_with("BUSY") => wait = Some(text),
            Err(text) => refused = Some(text),
        }
    }
    Ok(match (refused, wait) {
        (Some(text), _) => Outcome::Refused(text),
        (None, Some(text)) => Outcome::Wait(None, text),
        (None, None) => Outcome::Published(published),
    })
}

/// One answer: a string, or an error.
fn reply(stream: &mut BufReader<Wire>) -> io::Result<Result<String, String>> {
    let bad = || io::Error::new(io::ErrorKind::InvalidData, "the answer is not RESP");
    let mut line = String::new();
    if Read::take(&mut *stream, LINE_MAX).read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let line = line.trim_end();
    let (kind, rest) = line.split_at_checked(1).ok_or_else(bad)?;
    match kind {
        "+" | ":" => Ok(Ok(rest.to_owned())),
        "-" => Ok(Err(rest.to_owned())),
        "$" => {
            let length: u64 = rest.parse().ok().filter(|&it| it <= LINE_MAX).ok_or_else(bad)?;
            let mut bytes = Vec::new();
            Read::take(&mut *stream, length + 2).read_to_end(&mut bytes)?;
            let text = String::from_utf8(bytes).map_err(|_| bad())?;
            Ok(Ok(text.trim_end().to_owned()))
        }
        _ => Err(bad()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_name_a_protocol() {
        let host = || "h:1".to_owned();
        for (text, url) in [
            ("http://h:1/x", Some(Url::Http { host: host(), path: "/x".into() })),
            ("resp://h:1/r", Some(Url::Resp { host: host(), ring: "r".into() })),
            ("lines://h:1", Some(Url::Lines { host: host(), end: End::Byte(b'\n') })),
            ("nul://h:1", Some(Url::Lines { host: host(), end: End::Byte(0) })),
            ("octets://h:1", Some(Url::Lines { host: host(), end: End::Counted })),
            ("resp://h:1", None),
            ("lines://h", None),
            ("lines://h:1/r", None),
            ("h:1", None),
            ("mqtt://h:1/a/b", Some(Url::Mqtt { host: host(), topic: "a/b".into() })),
            ("kafka://h:1/r", None),
            ("resp+tls://h:1/r", Some(Url::Resp { host: "tls:h:1".into(), ring: "r".into() })),
            ("resp+unix:///a:r", Some(Url::Resp { host: "unix:/a".into(), ring: "r".into() })),
            ("mqtt+unix:///a:b/c", Some(Url::Mqtt { host: "unix:/a".into(), topic: "b/c".into() })),
            ("nul+tls://h:1", Some(Url::Lines { host: "tls:h:1".into(), end: End::Byte(0) })),
            ("octets+unix:///a", Some(Url::Lines { host: "unix:/a".into(), end: End::Counted })),
            ("lines+unix://a", None),
            ("lines+udp://h:1", None),
            ("resp+unix:///a", None),
            ("https://h/x", Some(Url::Http { host: "tls:h:443".into(), path: "/x".into() })),
        ] {
            assert_eq!(text.parse::<Url>().ok(), url, "{text}");
        }
    }
}
