//! `aqueduct journal replay`: writes the records of a journal to stdout, or sends them to a ring.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use aqueduct_core::Attributes;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, ValueEnum};

use super::super::text::{attributes, value, written};
use super::super::{EXIT_USAGE, http};
use super::Bound;
use crate::codec::GIVEN;
use crate::journal::Failure;
use crate::journal::history::History;
use crate::journal::walk::Found;

#[allow(clippy::doc_markdown, reason = "the texts are the help that the command prints")]
#[derive(Clone, Debug, Args)]
pub(super) struct ReplayArgs {
    /// Directory of one ring's journal
    pub(super) directory: PathBuf,
    /// First record: a sequence number, or a time as 2026-11-29T10:00:00Z [default: the oldest]
    #[arg(long, value_name = "SEQ|TIME")]
    from: Option<Bound>,
    /// The record or time before which it ends [default: after the newest]
    #[arg(long, value_name = "SEQ|TIME")]
    to: Option<Bound>,
    /// Shape of the output
    #[arg(long, value_enum, default_value = "ndjson")]
    format: Format,
    /// Sends each record to this ring instead, as http://HOST:PORT/v1/rings/RING/records, and waits
    /// for its answer. Attributes go with it, if that address takes `aqueduct-attributes`
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Sends records without their attributes
    #[arg(long, requires = "url")]
    drop_attributes: bool,
    /// Pauses between records: 1 as when they were recorded, 10 ten times as fast [default: none]
    #[arg(long, value_name = "FACTOR")]
    speed: Option<f64>,
}

#[allow(clippy::doc_markdown, reason = "the texts are the help that the command prints")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// An object per line: epoch, seq, type, time, attributes, and data as text or data_base64
    Ndjson,
    /// Payloads, each with a line feed
    Lines,
}

/// Plays records back.
pub(super) fn run(history: &History, args: &ReplayArgs) -> Result<ExitCode, Failure> {
    let mut output = match &args.url {
        Some(url) => {
            let Some(target) = Target::of(url) else {
                say!(
                    "aqueduct: {url}: allowed is http://HOST:PORT/PATH, https://… and http+unix://SOCKET:/PATH"
                );
                return Ok(ExitCode::from(EXIT_USAGE));
            };
            Output::Ring(Box::new(target), args.drop_attributes)
        }
        None => Output::Text(io::BufWriter::new(io::stdout().lock()), args.format),
    };
    let mut pace = Pace { speed: args.speed.filter(|speed| *speed > 0.0), first: None };
    for piece in &history.pieces {
        let mut is_over = false;
        let ends = history.walk(piece, |header, found| {
            let (seq, timestamp_ns) = (found.header.seq, found.header.timestamp_ns);
            if !found.header.is_data()
                || args.from.is_some_and(|from| !from.is_reached(seq, timestamp_ns))
            {
                return Ok(true);
            }
            if args.to.is_some_and(|to| to.is_reached(seq, timestamp_ns)) {
                is_over = true;
                return Ok(false);
            }
            pace.wait(timestamp_ns);
            output.put(header.epoch, found)?;
            Ok(true)
        })?;
        for end in ends.iter().filter(|end| end.is_damage(piece)) {
            say!("{}: damage at position {}: {}", piece.name, end.position, end.cut);
        }
        if is_over {
            break;
        }
    }
    output.flush().map_err(Failure::of("writing", "the output"))?;
    Ok(ExitCode::SUCCESS)
}

/// When the next record is due.
struct Pace {
    speed: Option<f64>,
    /// When the first was played, and when it was recorded.
    first: Option<(Instant, u64)>,
}

impl Pace {
    fn wait(&mut self, timestamp_ns: u64) {
        let Some(speed) = self.speed else { return };
        let (began, recorded) = *self.first.get_or_insert((Instant::now(), timestamp_ns));
        let after = Duration::from_nanos(timestamp_ns.saturating_sub(recorded));
        let after = Duration::try_from_secs_f64(after.as_secs_f64() / speed).unwrap_or_default();
        std::thread::sleep((began + after).saturating_duration_since(Instant::now()));
    }
}

/// Where records go.
enum Output<'o> {
    Text(io::BufWriter<io::StdoutLock<'o>>, Format),
    /// With or without attributes.
    Ring(Box<Target>, bool),
}

impl Output<'_> {
    fn put(&mut self, epoch: u64, found: &Found<'_>) -> io::Result<()> {
        let (payload, block) = found.content();
        match self {
            Self::Ring(target, drops) => {
                let block: &[u8] = if *drops { &[] } else { block };
                target.send(found.header.type_tag, payload, block)
            }
            Self::Text(out, Format::Lines) => {
                out.write_all(payload)?;
                out.write_all(b"\n")
            }
            Self::Text(out, Format::Ndjson) => {
                let header = &found.header;
                write!(
                    out,
                    "{{\"epoch\":\"{epoch:016x}\",\"seq\":{},\"type\":{},\"time\":\"{}\"",
                    header.seq,
                    header.type_tag,
                    written(header.timestamp_ns)
                )?;
                attributes(out, Attributes::of(block))?;
                value(out, "data", payload)?;
                out.write_all(b"}\n")
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Text(out, _) => out.flush(),
            Self::Ring(..) => Ok(()),
        }
    }
}

/// A ring of a listener, over one connection.
struct Target {
    host: String,
    path: String,
    client: http::Client,
}

impl Target {
    fn of(url: &str) -> Option<Self> {
        let (host, path) = http::split(url)?;
        Some(Self { client: http::Client::new(host.clone()), host, path })
    }

    /// Sends one record until it is taken; a refusal that will stay is an error.
    fn send(&mut self, type_tag: u16, payload: &[u8], block: &[u8]) -> io::Result<()> {
        let mut headers = format!("aqueduct-type: {type_tag}\r\n");
        if !block.is_empty() {
            headers = format!("{headers}{GIVEN}: {}\r\n", STANDARD.encode(block));
        }
        loop {
            match self.client.send("POST", &self.path, &headers, payload)?.status {
                200..=299 => return Ok(()),
                503 => std::thread::sleep(Duration::from_millis(200)),
                403 if !block.is_empty() => {
                    let host = &self.host;
                    return Err(io::Error::other(format!(
                        "{host} answers 403 to a record with attributes: have that address keep \
                         \"{GIVEN}\", or use --drop-attributes"
                    )));
                }
                status => {
                    return Err(io::Error::other(format!("{} answers {status}", self.host)));
                }
            }
        }
    }
}
