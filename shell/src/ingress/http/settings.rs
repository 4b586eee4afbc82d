//! The `[http]` table of the configuration.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;

use super::super::event_loop::{ProtocolName, authenticate, keep};
use crate::codec::Keep;
use crate::codec::http1::{MAX_HEADERS, Origin};
use crate::config::{
    Change, ConfigError, Endpoint, Given, Millis, Section, Size, list, number, quoted, time,
    written_size, written_time,
};
use crate::tls::tls;

/// `[http]` as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpTable {
    /// Where HTTP is served.
    pub listen: Option<Given<Endpoint>>,
    /// From the first byte of a head to its last.
    pub header_timeout_ms: Option<Given<Millis>>,
    /// From the head to the last byte of the body.
    pub body_timeout_ms: Option<Given<Millis>>,
    /// Between requests.
    pub keep_alive_timeout_ms: Option<Given<Millis>>,
    /// Most connections at once.
    pub max_connections: Option<Given<u64>>,
    /// Most bytes of a request head.
    pub max_header_bytes: Option<Given<Size>>,
    /// Most header fields of a request.
    pub max_headers: Option<Given<u64>>,
    /// What is kept with the records, by the names of the attributes.
    pub attributes: Option<Given<Vec<String>>>,
    /// Web origins whose pages may post.
    pub origins: Option<Given<Vec<String>>>,
    /// Whether HTTP/2 is spoken, too.
    pub http2: Option<Given<bool>>,
    /// HTTP/2: most requests of a connection at once.
    pub max_concurrent_streams: Option<Given<u64>>,
    /// Whether clients that post need credentials.
    pub authenticate: Option<Given<bool>>,
    /// Whether TLS is spoken.
    pub tls: Option<Given<bool>>,
}

/// HTTP, checked.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// Where HTTP is served.
    pub listen: Endpoint,
    /// What bounds a connection.
    pub limits: HttpLimits,
    /// Most connections at once.
    pub max_connections: usize,
    /// What is kept with the records.
    pub keep: Keep,
    /// Web origins whose pages may post.
    pub origins: Vec<Origin>,
    /// Whether HTTP/2 is spoken, too.
    pub http2: bool,
    /// Whether clients that post need credentials.
    pub authenticate: bool,
    /// Whether TLS is spoken.
    pub tls: bool,
}

/// Bounds of one HTTP connection.
#[derive(Clone, Debug)]
pub struct HttpLimits {
    /// From the first byte of a head to its last.
    pub header_timeout: Duration,
    /// From the head to the last byte of the body; also how long a client may leave a response
    /// untaken.
    pub body_timeout: Duration,
    /// Between requests.
    pub keep_alive_timeout: Duration,
    /// Most bytes of a request head.
    pub max_header_bytes: usize,
    /// Most header fields of a request, up to [`MAX_HEADERS`].
    pub max_headers: usize,
    /// HTTP/2: most requests of a connection at once.
    pub max_concurrent_streams: u32,
}

impl HttpSettings {
    /// Checks the table, where there are credentials and certificates or not.
    pub fn check(
        table: &HttpTable,
        has_credentials: bool,
        has_tls: bool,
    ) -> Result<Self, ConfigError> {
        let ms = |key: &str, given: &Option<Given<Millis>>, default| {
            time(&format!("http.{key}"), given.as_ref(), default, 1)
        };
        let count = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        let default = || Endpoint::Tcp(SocketAddr::from(([127, 0, 0, 1], 8080)).into());
        let listen = table.listen.as_ref().map_or_else(default, |given| given.value.clone());
        Ok(Self {
            listen,
            limits: HttpLimits {
                header_timeout: ms("header_timeout_ms", &table.header_timeout_ms, 10_000)?,
                body_timeout: ms("body_timeout_ms", &table.body_timeout_ms, 30_000)?,
                keep_alive_timeout: ms(
                    "keep_alive_timeout_ms",
                    &table.keep_alive_timeout_ms,
                    75_000,
                )?,
                // Above 65 534 a request line alone could end in 414 instead.
                max_header_bytes: count(number(
                    "http.max_header_bytes",
                    table.max_header_bytes.as_ref(),
                    16_384,
                    256..=65_534,
                )?),
                max_headers: count(number(
                    "http.max_headers",
                    table.max_headers.as_ref(),
                    64,
                    // The codec has room for no more, whatever is configured.
                    1..=MAX_HEADERS as u64,
                )?),
                max_concurrent_streams: u32::try_from(number(
                    "http.max_concurrent_streams",
                    table.max_concurrent_streams.as_ref(),
                    100,
                    1..=65_535,
                )?)
                .unwrap_or(u32::MAX),
            },
            max_connections: count(number(
                "http.max_connections",
                table.max_connections.as_ref(),
                1024,
                1..=1_000_000,
            )?),
            keep: keep("http.attributes", table.attributes.as_ref(), ProtocolName::Http)?,
            origins: origins(table.origins.as_ref())?,
            http2: Self::http2(table.http2.as_ref())?,
            tls: tls("http.tls", table.tls.as_ref(), has_tls)?,
            authenticate: authenticate(
                "http.authenticate",
                table.authenticate.as_ref(),
                has_credentials,
            )?,
        })
    }

    /// Lists what is in effect.
    pub fn describe(&self, table: &HttpTable) -> Section {
        const KEPT: Change = Change::Fixed("readers were told whether records have attributes");
        let mut section = Section::new("[http]");
        let limits = &self.limits;
        let bound = Change::Fixed("the address is bound at the start");
        section.put("listen", quoted(&self.listen), table.listen.as_ref(), bound);
        for (key, time, given) in [
            ("header_timeout_ms", limits.header_timeout, &table.header_timeout_ms),
            ("body_timeout_ms", limits.body_timeout, &table.body_timeout_ms),
            ("keep_alive_timeout_ms", limits.keep_alive_timeout, &table.keep_alive_timeout_ms),
        ] {
            section.put(key, written_time(time), given.as_ref(), Change::Live);
        }
        let most = self.max_connections.to_string();
        let shared_out = Change::Fixed("descriptors are shared out at the start");
        section.put("max_connections", most, table.max_connections.as_ref(), shared_out);
        let head = written_size(limits.max_header_bytes as u64);
        section.put("max_header_bytes", head, table.max_header_bytes.as_ref(), Change::Live);
        let fields = limits.max_headers.to_string();
        section.put("max_headers", fields, table.max_headers.as_ref(), Change::Live);
        let names = |given: &Option<Given<Vec<String>>>| {
            list(given.as_ref().map_or(&[][..], |given| &given.value[..]))
        };
        let (attributes, origins) = (names(&table.attributes), names(&table.origins));
        section.put("attributes", attributes, table.attributes.as_ref(), KEPT);
        section.put("origins", origins, table.origins.as_ref(), Change::Live);
        section.put("http2", self.http2.to_string(), table.http2.as_ref(), Change::Live);
        let streams = limits.max_concurrent_streams.to_string();
        let given = table.max_concurrent_streams.as_ref();
        section.put("max_concurrent_streams", streams, given, Change::Live);
        let asks = self.authenticate.to_string();
        section.put("authenticate", asks, table.authenticate.as_ref(), Change::Live);
        section.put("tls", self.tls.to_string(), table.tls.as_ref(), Change::Live);
        section
    }

    fn http2(given: Option<&Given<bool>>) -> Result<bool, ConfigError> {
        let has_http2 = cfg!(feature = "http2");
        match given {
            Some(given) if given.value && !has_http2 => {
                let allowed = "false, for this program was built without HTTP/2";
                Err(ConfigError::value(given.origin, "http.http2", "true", allowed))
            }
            given => Ok(given.map_or(has_http2, |given| given.value)),
        }
    }
}

/// Checks origins: as browsers send them, or none would ever match.
fn origins(given: Option<&Given<Vec<String>>>) -> Result<Vec<Origin>, ConfigError> {
    let Some(Given { value: texts, origin }) = given else { return Ok(Vec::new()) };
    let as_sent = |text: &&String| {
        let host = text.strip_prefix("https://").or(text.strip_prefix("http://"));
        host.is_some_and(|host| {
            !host.is_empty() && !host.contains(['/', '*', '?', '#', '@', ',']) && text.is_ascii()
        }) && !text.bytes().any(|byte| byte.is_ascii_uppercase())
    };
    let allowed = "an origin as browsers send it, as https://example.com or http://127.0.0.1:3000";
    let check = |text: &String| {
        let checked = Some(text).filter(as_sent).and_then(|text| Origin::new(text));
        checked.ok_or_else(|| ConfigError::value(*origin, "http.origins", text, allowed))
    };
    texts.iter().map(check).collect()
}
