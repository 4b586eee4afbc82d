//! A sink that keeps what it is given, and second opinions, for tests and fuzzing of codecs.

pub mod http;
pub mod hyper;

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::codec::sink::{
    BatchSize, Consumption, Event, Keyed, Outcome, Reason, Recall, Record, Release, Ring, RingId,
    Room, Seen, Sink,
};
use crate::codec::{Codec, OUTPUT_BYTES_MAX, Persistence, Progress, State};
use crate::middleware::credentials::{Check, Credential, Credentials, Presented};
use crate::tls::{Peer, PeerName};

/// What a record was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Index of the ring.
    pub ring: u16,
    /// Its tag.
    pub type_tag: u16,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// Ring, number, subscription, time, and what is said otherwise.
pub type Awaited = (u16, u64, Option<u16>, Duration, Vec<u8>);
/// A ring, whose key, and the key.
pub type Key = (u16, Vec<u8>, Vec<u8>);
/// A message for several rings: its tag, its bytes, the rings.
pub type ForAll = (u16, Vec<u8>, Vec<u16>);

/// Rings without memory, by name: `a` takes records of 1,000 bytes, `b` of 16.
#[derive(Clone, Debug, Default)]
pub struct Trial {
    /// Everything accepted.
    pub records: Vec<Kept>,
    /// The attributes of each, as a block.
    pub attributes: Vec<Vec<u8>>,
    /// Everything reported.
    pub events: Vec<Event>,
    /// So many answers "full" come before a record is accepted; then it is counted anew.
    pub fulls: u32,
    /// "Full" so far, for the next record.
    pub seen_full: u32,
    /// Records of a batch for which there must be room.
    pub promised: u64,
    /// What every record is refused for.
    pub refusal: Option<Reason>,
    /// Whether the process ends.
    pub is_ending: bool,
    /// Whether there is no space for journals.
    pub is_out_of_space: bool,
    /// Keys, with bodies and what became of them.
    pub keys: Vec<(Key, (u16, Vec<u8>), Seen)>,
    /// Keys of messages for several rings, with bodies, rings and numbers.
    pub keys_of_all: Vec<(Key, ForAll, Vec<u64>)>,
    /// What answers were held for.
    pub awaited: Vec<Awaited>,
    /// The next sequence numbers.
    pub next_seqs: [u64; 2],
}

fn of_all(keyed: &Keyed<'_>) -> (Key, ForAll) {
    let rings: Vec<_> = keyed.rings.iter().map(|ring| ring.0).collect();
    let key = (rings[0], keyed.owner.to_vec(), keyed.key.to_vec());
    (key, (keyed.type_tag, keyed.body.to_vec(), rings))
}

/// Names of the rings of a [`Trial`].
pub const RINGS: [&str; 2] = ["a", "b"];
/// Epoch of both.
pub const EPOCH: u64 = 0x0123_4567_89ab_cdef;
/// Their largest payloads, bytes.
pub const MAX_PAYLOADS: [u32; 2] = [1000, 16];

impl Trial {
    /// Takes everything at once.
    pub fn new() -> Self {
        Self::default()
    }

    fn has_room(&mut self) -> bool {
        if self.seen_full < self.fulls {
            self.seen_full += 1;
            return false;
        }
        self.seen_full = 0;
        true
    }
}

impl Sink for Trial {
    fn ring(&self, name: &[u8]) -> Option<Ring> {
        let index = RINGS.iter().position(|ring| ring.as_bytes() == name)?;
        Some(Ring {
            id: RingId(u16::try_from(index).ok()?),
            epoch: EPOCH,
            max_payload_bytes: MAX_PAYLOADS[index],
            capacity_bytes: 1 << 14,
        })
    }

    fn name(&self, ring: RingId) -> &str {
        RINGS[usize::from(ring.0)]
    }

    fn record(&mut self, record: Record<'_>) -> Outcome {
        let index = usize::from(record.ring.0);
        let limit = MAX_PAYLOADS[index];
        let bytes = record.payload.len() + record.attributes.as_bytes().len();
        assert!(bytes <= limit as usize, "{bytes} bytes of {limit}");
        if let Some(reason) = self.refusal {
            return Outcome::Refused(reason);
        }
        if self.promised > 0 {
            self.promised -= 1;
        } else if !self.has_room() {
            return Outcome::Full;
        }
        self.records.push(Kept {
            ring: record.ring.0,
            type_tag: record.type_tag,
            payload: record.payload.to_vec(),
        });
        self.attributes.push(record.attributes.as_bytes().to_vec());
        self.next_seqs[index] += 1;
        Outcome::Accepted(self.next_seqs[index] - 1)
    }

    fn room(&mut self, _ring: RingId, batch: BatchSize) -> Room {
        assert!(batch.records > 0 && batch.largest > 0 && batch.granules >= batch.records);
        if let Some(reason) = self.refusal {
            return Room::Refused(reason);
        }
        if self.has_room() {
            self.promised = batch.records;
            Room::Yes
        } else {
            Room::Full
        }
    }

    fn fan_out(&mut self, rings: &[RingId], record: Record<'_>, seqs: &mut Vec<u64>) -> Outcome {
        if self.refusal.is_none() && !self.has_room() {
            return Outcome::Full;
        }
        for &ring in rings {
            self.promised = 1;
            match self.record(Record { ring, ..record }) {
                Outcome::Accepted(seq) => seqs.push(seq),
                other => {
                    self.promised = 0;
                    return other;
                }
            }
        }
        Outcome::Accepted(seqs[0])
    }

    fn recall(&mut self, ring: RingId, keyed: &Keyed<'_>) -> Recall {
        let key = (ring.0, keyed.owner.to_vec(), keyed.key.to_vec());
        match self.keys.iter().find(|(other, ..)| *other == key) {
            None => Recall::New,
            Some((_, body, seen)) if *body == (keyed.type_tag, keyed.body.to_vec()) => {
                Recall::Seen(*seen)
            }
            Some(_) => Recall::Conflict,
        }
    }

    fn remember(&mut self, ring: RingId, keyed: &Keyed<'_>, seen: Seen) {
        let key = (ring.0, keyed.owner.to_vec(), keyed.key.to_vec());
        self.keys.push((key, (keyed.type_tag, keyed.body.to_vec()), seen));
    }

    fn recall_all(&mut self, keyed: &Keyed<'_>, seqs: &mut Vec<u64>) -> Recall {
        let (key, message) = of_all(keyed);
        match self.keys_of_all.iter().find(|(other, ..)| *other == key) {
            None => Recall::New,
            Some((_, other, kept)) if *other == message => {
                seqs.extend_from_slice(kept);
                Recall::Seen(Seen { first: kept[0], last: kept[0], records: 1 })
            }
            Some(_) => Recall::Conflict,
        }
    }

    fn remember_all(&mut self, keyed: &Keyed<'_>, seqs: &[u64]) {
        assert_eq!(keyed.rings.len(), seqs.len());
        let (key, message) = of_all(keyed);
        self.keys_of_all.push((key, message, seqs.to_vec()));
    }

    fn subscription(&self, _ring: RingId, name: &str) -> Option<u16> {
        (name == "default").then_some(0)
    }

    fn hold_until_consumed(&mut self, bytes: Range<usize>, wait: Consumption) {
        assert!(bytes.start < bytes.end);
        let Consumption { of, within, late, statuses, answered } = wait;
        for Release { ring, seq, by } in of {
            self.awaited.push((ring.0, seq, by, within, late.clone()));
        }
        self.events.push(Event::HttpStatus(statuses.0));
        if let Some(answered) = answered.0 {
            answered(statuses.0);
        }
    }

    fn next_seq(&self, ring: RingId) -> u64 {
        self.next_seqs[usize::from(ring.0)]
    }

    fn note(&mut self, event: Event) {
        self.events.push(event);
    }

    fn is_out_of_space(&self, _: RingId) -> bool {
        self.is_out_of_space
    }

    fn is_ending(&self) -> bool {
        self.is_ending
    }

    fn now(&self) -> Instant {
        Instant::now()
    }

    fn date(&self) -> [u8; 29] {
        *b"Sun, 06 Nov 1994 08:49:37 GMT"
    }
}

/// How a conversation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The peer closed its sending side after everything was decoded.
    Input,
    /// The codec closed.
    Closed,
    /// Handed over, with so many bytes before.
    HandedOver(usize),
}

/// Plays an event loop: shows `bytes` to the codec, cut after each length of `cuts` (the rest comes
/// at once), then ends the input. Returns the answers.
///
/// # Panics
/// If the codec breaks the rules of [`Progress`].
pub fn converse<C: Codec>(
    codec: &mut C,
    sink: &mut Trial,
    bytes: &[u8],
    cuts: &[usize],
) -> (Vec<u8>, End) {
    let (mut sent, mut out, mut buffer) = (Vec::new(), Vec::new(), Vec::new());
    let (mut bytes_left, mut before) = (bytes, 0);
    let mut cuts = cuts.iter();
    while !bytes_left.is_empty() {
        let cut = cuts.next().map_or(bytes_left.len(), |cut| (*cut).clamp(1, bytes_left.len()));
        let (piece, rest) = bytes_left.split_at(cut);
        buffer.extend_from_slice(piece);
        bytes_left = rest;
        loop {
            let Progress { consumed, end, state, .. } = codec.decode(&mut buffer, sink, &mut out);
            assert!(consumed <= end && end <= buffer.len(), "{consumed} of {end}");
            buffer.truncate(end);
            buffer.drain(..consumed);
            before += consumed;
            assert!(out.len() < OUTPUT_BYTES_MAX + (16 << 10), "{} bytes", out.len());
            match state {
                State::More { need, .. } => {
                    assert!(need > buffer.len(), "{need} bytes are there");
                    break;
                }
                State::Parked => assert!(sink.fulls > 0, "there was room"),
                State::Away => codec.take_job().expect("one is there").run(),
                State::Flush => sent.append(&mut out),
                State::Page(page) => {
                    sent.append(&mut out);
                    sent.extend_from_slice(format!("{page:?}\n").as_bytes());
                    if page.then == Persistence::Close {
                        return (sent, End::Closed);
                    }
                }
                State::HandOver => {
                    sent.append(&mut out);
                    return (sent, End::HandedOver(before));
                }
                State::Close => {
                    sent.append(&mut out);
                    return (sent, End::Closed);
                }
            }
        }
    }
    codec.end_of_input(&buffer, sink, &mut out);
    sent.append(&mut out);
    (sent, End::Input)
}

/// The certificate that [`OneCertificate`] knows.
pub fn certificate() -> Arc<Peer> {
    Arc::new(Peer { names: vec![PeerName::Dns("client.example".to_owned())] })
}

/// Credentials that are a certificate, which may write to ring `a`.
#[derive(Debug)]
pub struct OneCertificate;

impl Credentials for OneCertificate {
    fn check(&self, presented: &Presented<'_>) -> Check {
        self.verify(presented).map_or(Check::Denied, Check::Granted)
    }

    fn verify(&self, presented: &Presented<'_>) -> Option<Arc<Credential>> {
        let is_known = *presented == Presented::Certificate(&certificate());
        let rings = Some(vec!["a".to_owned()]);
        is_known.then(|| Arc::new(Credential { name: "client".to_owned(), rings, mark: 0 }))
    }

    fn renew(&self, before: &Credential) -> Option<Arc<Credential>> {
        Some(Arc::new(before.clone()))
    }
}

/// Credentials that are one name and one secret.
#[derive(Debug)]
pub struct OneCredential {
    /// The name.
    pub name: &'static str,
    /// The secret.
    pub secret: &'static str,
    /// Where it may write.
    pub rings: Option<Vec<String>>,
    /// Whether a worker finds out.
    pub is_slow: bool,
}

impl OneCredential {
    fn credential(&self) -> Credential {
        let of_secret = self.secret.bytes().map(u64::from).sum();
        Credential { name: self.name.to_owned(), rings: self.rings.clone(), mark: of_secret }
    }
}

impl Credentials for OneCredential {
    fn check(&self, presented: &Presented<'_>) -> Check {
        if self.is_slow {
            return Check::Slow;
        }
        self.verify(presented).map_or(Check::Denied, Check::Granted)
    }

    fn verify(&self, presented: &Presented<'_>) -> Option<Arc<Credential>> {
        let right = Presented::Basic { name: self.name.as_bytes(), secret: self.secret.as_bytes() };
        (*presented == right).then(|| Arc::new(self.credential()))
    }

    fn renew(&self, before: &Credential) -> Option<Arc<Credential>> {
        let own = self.credential();
        (own.mark == before.mark).then(|| Arc::new(own))
    }
}
