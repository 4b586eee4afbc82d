//! A stream of NATS `JetStream`, by its client library.
//!
//! Delivered means that the stream has acknowledged each record: with three replicas, a majority of
//! them has it. Each message has its record's name as `Nats-Msg-Id`, and says as
//! `Nats-Expected-Last-Sequence` which number the one before it has in the stream, so the stream
//! takes each record once and in order, whatever is sent again. (Not by
//! `Nats-Expected-Last-Msg-Id`: a replica that has caught up does not know the id of its last
//! message, takes the next one for wrong and stops.) The
//! library's runtime stays in here, on a thread of its own.

mod message;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Duration;

use aqueduct::config::Millis;
use async_nats::jetstream::context::{ContextBuilder, PublishAckFuture};
use async_nats::jetstream::stream::{LastRawMessageErrorKind, RetentionPolicy, Stream};
use async_nats::jetstream::{self, message::PublishMessage};
use async_nats::{ConnectOptions, Subject};
use serde::Deserialize;

use super::Context;
use crate::batch::Records;
use crate::envelope::Envelope;
use crate::sink::{Delivered, Failure, Remedy, Sink};
use crate::stop::Stop;

/// Messages that may wait for their acknowledgement; the server's own queue is larger.
const MOST_IN_FLIGHT: usize = 1000;
/// The longest pause before the library connects again.
const RECONNECT_MS: u64 = 500;
/// `[sink]` with `kind = "nats"`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// `nats://host:port` or `tls://host:port`.
    servers: Vec<String>,
    /// The stream. It must be there.
    stream: String,
    /// The subject, one of the stream's.
    subject: String,
    /// The least replicas that the stream must have.
    #[serde(default = "one")]
    replicas: usize,
    /// Whether the stream has nothing but this flow, in its order.
    #[serde(default = "super::yes")]
    ordered: bool,
    /// The longest that an acknowledgement may take.
    ack_timeout_ms: Option<Millis>,
    user: Option<String>,
    /// A file with the password of `user`, or, without one, a token.
    secret_file: Option<PathBuf>,
    /// A file of a JWT and its seed, as `nsc` writes it.
    credentials_file: Option<PathBuf>,
    /// Certificates of authorities, PEM; without it, the system's.
    tls_ca_file: Option<PathBuf>,
}

const fn one() -> usize {
    1
}

/// The sink.
pub struct Nats {
    table: Table,
    ack_timeout: Duration,
    envelope: Envelope,
    runtime: tokio::runtime::Runtime,
    link: Option<Link>,
}

/// A connection, and what is known of the stream.
struct Link {
    client: async_nats::Client,
    context: jetstream::Context,
    /// The last message of the stream; `None`: it is to be asked.
    last: Option<Last>,
}

/// The last message of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Last {
    /// Its number there; 0: there was never one.
    sequence: u64,
    /// The epoch and number of its record, if it says so.
    record: Option<(u64, u64)>,
}

impl Last {
    /// Reads a `Nats-Msg-Id` of ours.
    fn record_of(id: &str) -> Option<(u64, u64)> {
        let (epoch, seq) = id.split_once('-')?;
        let is_ours = epoch.len() == 16 && seq.bytes().all(|it| it.is_ascii_digit());
        let epoch = u64::from_str_radix(epoch, 16).ok().filter(|_| is_ours)?;
        Some((epoch, seq.parse().ok()?))
    }

    /// Returns the number of its record, if that is one of this epoch.
    fn seq(&self, epoch: u64) -> Option<u64> {
        self.record.filter(|(of, _)| *of == epoch).map(|(_, seq)| seq)
    }
}

impl Nats {
    /// Takes the settings. Servers are connected to by the first delivery or probe.
    ///
    /// # Errors
    /// What is wrong with the settings, with the name of its key.
    pub fn open(table: Table, context: &Context) -> Result<Self, String> {
        if table.servers.is_empty() {
            return Err("sink.servers: which? [\"nats://127.0.0.1:4222\"], for instance".to_owned());
        }
        for server in &table.servers {
            let address: Result<async_nats::ServerAddr, _> = server.parse();
            address.map_err(|error| format!("sink.servers: `{server}`: {error}"))?;
        }
        let is_one = |subject: &str| {
            let parts = subject.split('.');
            parts.clone().all(|it| !it.is_empty()) && !subject.contains(['*', '>', ' ', '\t'])
        };
        if !is_one(&table.subject) {
            let subject = &table.subject;
            return Err(format!("sink.subject: `{subject}`: one subject, without wildcards"));
        }
        let ack_ms = table.ack_timeout_ms.map_or(5000, Into::<u64>::into);
        if !(100..=120_000).contains(&ack_ms) {
            return Err(format!("sink.ack_timeout_ms: `{ack_ms}`; allowed: 100ms to 2m"));
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("forward-nats")
            .enable_all()
            .build()
            .map_err(|error| format!("threads: {error}"))?;
        let (envelope, ack_timeout) = (context.envelope.clone(), Duration::from_millis(ack_ms));
        Ok(Self { table, ack_timeout, envelope, runtime, link: None })
    }
}

impl Table {
    async fn connect(&self, ack_timeout: Duration) -> Result<Link, Failure> {
        let secret = match &self.secret_file {
            Some(path) => {
                let text = std::fs::read_to_string(path);
                let text = text.map_err(|it| Failure::stop(format!("{}: {it}", path.display())))?;
                Some(text.trim_end().to_owned())
            }
            None => None,
        };
        let mut options = ConnectOptions::new()
            .name("aqueduct-forward")
            .connection_timeout(ack_timeout)
            // A server that was cut off is noticed within twice this time.
            .ping_interval(Duration::from_secs(5))
            .reconnect_delay_callback(|attempts| {
                let attempts = u64::try_from(attempts).unwrap_or(u64::MAX);
                Duration::from_millis(attempts.saturating_mul(50).min(RECONNECT_MS))
            })
            .event_callback(|event| async move { tracing::info!(%event, "NATS") });
        options = match (self.user.clone(), secret) {
            (Some(user), secret) => options.user_and_password(user, secret.unwrap_or_default()),
            (None, Some(token)) => options.token(token),
            (None, None) => options,
        };
        if let Some(path) = &self.credentials_file {
            let read = options.credentials_file(path).await;
            options = read.map_err(|it| Failure::stop(format!("{}: {it}", path.display())))?;
        }
        if let Some(path) = &self.tls_ca_file {
            options = options.add_root_certificates(path.clone()).require_tls(true);
        }
        let client = options.connect(self.servers.clone()).await.map_err(Failure::retry)?;
        let context = ContextBuilder::new()
            .timeout(ack_timeout)
            .ack_timeout(ack_timeout)
            .max_ack_inflight(2 * MOST_IN_FLIGHT)
            .build(client.clone());
        Ok(Link { client, context, last: None })
    }

    /// Asks for the stream, and checks that it is what is wanted.
    async fn stream(&self, link: &Link) -> Result<Stream, Failure> {
        let stream = link.context.get_stream(&self.stream).await;
        let stream = stream.map_err(|it| Failure::retry(format!("{}: {it}", self.stream)))?;
        let replicas = stream.cached_info().config.num_replicas;
        if replicas < self.replicas {
            let (name, wanted) = (&self.stream, self.replicas);
            return Err(Failure::stop(format!("{name}: {replicas} replicas, not {wanted}")));
        }
        let retention = stream.cached_info().config.retention;
        if self.ordered && retention != RetentionPolicy::Limits {
            let name = &self.stream;
            return Err(Failure::stop(format!(
                "{name}: it deletes what was consumed ({retention:?}), and with that what tells \
                 which records it had: sink.ordered = false is for such a stream"
            )));
        }
        Ok(stream)
    }

    /// Asks for the last message of the stream.
    async fn last(&self, link: &Link) -> Result<Last, Failure> {
        let stream = self.stream(link).await?;
        let sequence = stream.cached_info().state.last_sequence;
        if sequence == 0 {
            return Ok(Last::default());
        }
        match stream.get_raw_message(sequence).await {
            Ok(message) => {
                let id = message.headers.get(async_nats::header::NATS_MESSAGE_ID);
                let record = id.and_then(|id| Last::record_of(id.as_str()));
                Ok(Last { sequence, record })
            }
            // Deleted, by its age for instance.
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => {
                Ok(Last { sequence, record: None })
            }
            Err(error) => Err(Failure::retry(format!("{}: {error}", self.stream))),
        }
    }

    /// Publishes records and waits for all acknowledgements, or the first failure.
    async fn publish(
        &self,
        link: &mut Link,
        envelope: &Envelope,
        records: &Records<'_>,
    ) -> Result<Delivered, Failure> {
        let (mut last, mut expected) = (None, None);
        let mut known = 0;
        if self.ordered {
            let asked = match link.last.take() {
                Some(last) => last,
                None => self.last(link).await?,
            };
            // A record that is there is not sent again, however long ago it was.
            let has = asked.seq(records.epoch());
            known = records.iter().take_while(|record| has >= Some(record.seq)).count();
            (last, expected) = (Some(asked), Some(asked.sequence));
        }
        let limit = link.client.server_info().max_payload;
        let subject = Subject::from(self.subject.as_str());
        let mut acknowledged = known;
        let mut repeated = 0;
        let mut refused = None;
        // While the oldest is waited for, others are under way.
        let mut flying: VecDeque<PublishAckFuture> = VecDeque::with_capacity(MOST_IN_FLIGHT);
        let (mut sent, mut end) = (known, records.len());
        loop {
            if sent < end && flying.len() < MOST_IN_FLIGHT {
                let record = records.get(sent);
                let (headers, payload) = match message::of(envelope, &record, limit) {
                    Ok(message) => message,
                    Err(reason) => {
                        // What was sent is still waited for.
                        refused = Some(Failure::poison(sent, reason));
                        end = sent;
                        continue;
                    }
                };
                let message = PublishMessage::build().payload(payload).headers(headers);
                let mut message = message.expected_stream(&self.stream);
                if let Some(sequence) = &mut expected {
                    message = message.expected_last_sequence(*sequence);
                    *sequence += 1;
                }
                let future = link.context.send_publish(subject.clone(), message).await;
                flying.push_back(future.map_err(|it| message::failure(&it).after(acknowledged))?);
                sent += 1;
                continue;
            }
            let Some(oldest) = flying.pop_front() else { break };
            let answer =
                oldest.await.map_err(|error| message::failure(&error).after(acknowledged))?;
            repeated += u64::from(answer.duplicate);
            if let Some(last) = &mut last {
                let seq = records.get(acknowledged).seq;
                *last = Last { sequence: answer.sequence, record: Some((records.epoch(), seq)) };
            }
            acknowledged += 1;
        }
        // What was there already has a number from before: it is asked for again.
        link.last = last.filter(|_| repeated == 0);
        refused.map_or(Ok(Delivered { known: known as u64 + repeated }), Err)
    }
}

impl Sink for Nats {
    fn deliver(&mut self, records: &Records<'_>, stop: &Stop) -> Result<Delivered, Failure> {
        let Self { table, ack_timeout, envelope, runtime, link } = self;
        let ack_timeout = *ack_timeout;
        // Every acknowledgement has its own time; this is for the batch, and for the end.
        let limit = stop.time_for(ack_timeout * 6);
        let work = async {
            if link.is_none() {
                *link = Some(table.connect(ack_timeout).await?);
            }
            let Some(link) = link.as_mut() else { return Err(Failure::retry("no connection")) };
            table.publish(link, envelope, records).await
        };
        let late = || Failure::retry("NATS: the time for it is over");
        let result = runtime.block_on(async { tokio::time::timeout(limit, work).await });
        let result = result.unwrap_or_else(|_| Err(late()));
        if matches!(&result, Err(Failure { remedy: Remedy::Retry(_), .. })) {
            // The connection may hang, and may be to a server that the others have left.
            *link = None;
        }
        result
    }

    fn probe(&mut self, stop: &Stop) -> Result<(), Failure> {
        let Self { table, ack_timeout, runtime, link, .. } = self;
        let limit = stop.time_for(*ack_timeout);
        let work = async {
            if link.is_none() {
                *link = Some(table.connect(*ack_timeout).await?);
            }
            let Some(link) = link.as_mut() else { return Err(Failure::retry("no connection")) };
            table.stream(link).await.map(|_| ())
        };
        let result = runtime.block_on(async { tokio::time::timeout(limit, work).await });
        let result = result.unwrap_or_else(|_| Err(Failure::retry("NATS: no answer in time")));
        if result.is_err() {
            *link = None;
        }
        result
    }
}
