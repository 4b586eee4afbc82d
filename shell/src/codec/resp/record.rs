//! Commands that bring records.

use std::borrow::Cow;

use super::command::{Executed, Parts, printable, wrong_number};
use super::frame::Args;
use super::reply;
use crate::codec::{
    BatchSize, Event, Kept, Keyed, Outcome, Reason, Recall, Record, Ring, Room, Seen, Sink, text,
};

/// `XADD ring [NOMKSTREAM] * (data|payload) bytes [type n] [crc32 n] [id key]`: answers the id
/// `epoch-seq`; of a key that the ring has seen with the same record from the same owner, that of
/// the first.
pub(super) fn xadd<S: Sink>(
    mut args: Args<'_>,
    owner: &[u8],
    kept: &Kept,
    sink: &mut S,
    out: &mut Vec<u8>,
) -> Executed {
    let Some(ring) = args.next() else { return short("xadd", out) };
    let mut id = args.next();
    // Rings are never made by a command.
    if id.is_some_and(|word| word.eq_ignore_ascii_case(b"NOMKSTREAM")) {
        id = args.next();
    }
    let Some(id) = id else { return short("xadd", out) };
    let Some(ring) = find(ring, sink, out) else { return Executed::Answered };
    if id != b"*" {
        reject(&ring, Reason::Malformed, 1, sink);
        return refused(out, &[bad_id(id)]);
    }
    let entry = match Entry::read(args) {
        Ok(entry) => entry,
        Err(BadEntry(reason, detail)) => {
            reject(&ring, reason, 1, sink);
            reply::error(out, &["ERR ", &detail]);
            return Executed::Answered;
        }
    };
    let Entry { payload, type_tag, key } = entry;
    let keyed = key.map(|key| Keyed { owner, key, type_tag, body: payload, rings: &[] });
    match keyed.as_ref().map_or(Recall::New, |keyed| sink.recall(ring.id, keyed)) {
        Recall::New => {}
        Recall::Seen(seen) => {
            reply::id(out, ring.epoch, seen.first);
            return Executed::Answered;
        }
        Recall::Conflict => {
            reject(&ring, Reason::Malformed, 1, sink);
            return refused(out, &["ERR this id came before with another record"]);
        }
        Recall::Off => {
            reject(&ring, Reason::Malformed, 1, sink);
            return refused(out, &["ERR ids are not remembered here"]);
        }
    }
    match take(&ring, type_tag, payload, kept, sink, out) {
        Ok(seq) => {
            if let Some(keyed) = &keyed {
                sink.remember(ring.id, keyed, Seen { first: seq, last: seq, records: 1 });
            }
            reply::id(out, ring.epoch, seq);
            Executed::Answered
        }
        Err(executed) => executed,
    }
}

/// `RPUSH ring bytes…`, `LPUSH ring bytes…`: records of type 0, all or none, in the order they are
/// given. Answers how many records the ring has taken in its epoch.
pub(super) fn push<S: Sink>(
    name: &[u8],
    mut args: Args<'_>,
    kept: &Kept,
    sink: &mut S,
    out: &mut Vec<u8>,
) -> Executed {
    let Some(ring) = args.next() else { return short(&printable(name).to_lowercase(), out) };
    let mut payloads = args.clone();
    let Some(only) = payloads.next() else { return short(&printable(name).to_lowercase(), out) };
    let Some(ring) = find(ring, sink, out) else { return Executed::Answered };
    let taken = match payloads.next() {
        None => take(&ring, 0, only, kept, sink, out).map(|_| ()),
        Some(_) => take_all(&ring, &args, kept, sink, out),
    };
    match taken {
        Ok(()) => {
            reply::integer(out, sink.next_seq(ring.id));
            Executed::Answered
        }
        Err(executed) => executed,
    }
}

/// `PUBLISH ring bytes`: a record of type 0. Answers 1.
pub(super) fn publish<S: Sink>(
    mut args: Args<'_>,
    kept: &Kept,
    sink: &mut S,
    out: &mut Vec<u8>,
) -> Executed {
    let (Some(ring), Some(payload), None) = (args.next(), args.next(), args.next()) else {
        return short("publish", out);
    };
    let Some(ring) = find(ring, sink, out) else { return Executed::Answered };
    match take(&ring, 0, payload, kept, sink, out) {
        Ok(_) => {
            reply::integer(out, 1);
            Executed::Answered
        }
        Err(executed) => executed,
    }
}

/// `XLEN ring`: how many records the ring has taken in its epoch.
pub(super) fn xlen<S: Sink>(mut args: Args<'_>, sink: &mut S, out: &mut Vec<u8>) {
    let (Some(ring), None) = (args.next(), args.next()) else {
        return wrong_number("xlen", out);
    };
    if let Some(ring) = find(ring, sink, out) {
        reply::integer(out, sink.next_seq(ring.id));
    }
}

/// Longest key of an entry.
const KEY_BYTES_MAX: usize = 255;

/// The fields of an `XADD`.
struct Entry<'a> {
    payload: &'a [u8],
    type_tag: u16,
    key: Option<&'a [u8]>,
}

/// Why an entry is refused.
struct BadEntry(Reason, Cow<'static, str>);

impl BadEntry {
    const fn new(reason: Reason, detail: &'static str) -> Self {
        Self(reason, Cow::Borrowed(detail))
    }

    const fn malformed(detail: &'static str) -> Self {
        Self::new(Reason::Malformed, detail)
    }
}

impl<'a> Entry<'a> {
    fn read(mut args: Args<'a>) -> Result<Self, BadEntry> {
        let (mut payload, mut tag, mut crc, mut key) = (None, None, None, None);
        while let Some(name) = args.next() {
            let Some(value) = args.next() else {
                return Err(BadEntry::malformed("wrong number of arguments for 'xadd' command"));
            };
            let field = match name {
                b"data" | b"payload" => &mut payload,
                b"type" => &mut tag,
                b"crc32" => &mut crc,
                b"id" => &mut key,
                _ => {
                    let name = printable(name);
                    let detail =
                        format!("unknown field '{name}': a record has data, type, crc32, id");
                    return Err(BadEntry(Reason::Malformed, detail.into()));
                }
            };
            if field.replace(value).is_some() {
                return Err(BadEntry::malformed("a field is there twice"));
            }
        }
        let payload = payload.ok_or_else(|| BadEntry::malformed("the field data is missing"))?;
        let type_tag = tag.map_or(Some(0), text::type_tag).ok_or_else(|| {
            let detail = "type must be one decimal number from 0 to 65535";
            BadEntry::new(Reason::BadType, detail)
        })?;
        if let Some(text) = crc {
            check(payload, text)?;
        }
        if key.is_some_and(|key| key.is_empty() || key.len() > KEY_BYTES_MAX) {
            return Err(BadEntry::malformed("an id has 1 to 255 bytes"));
        }
        Ok(Self { payload, type_tag, key })
    }
}

/// Compares a payload with the checksum that came with it: decimal, or hexadecimal after `0x`.
fn check(payload: &[u8], stated: &[u8]) -> Result<(), BadEntry> {
    let number = match stated.strip_prefix(b"0x").or_else(|| stated.strip_prefix(b"0X")) {
        Some(digits @ [_, ..]) if digits.len() <= 8 && digits.iter().all(u8::is_ascii_hexdigit) => {
            Some(text::hexadecimal(digits))
        }
        Some(_) => None,
        None => text::decimal(stated),
    };
    let stated = number.and_then(|number| u32::try_from(number).ok()).ok_or_else(|| {
        let detail = "crc32 must be a number of 32 bits: decimal, or hexadecimal after 0x";
        BadEntry::malformed(detail)
    })?;
    let computed = crc32fast::hash(payload);
    if stated == computed {
        return Ok(());
    }
    let detail = format!("crc32 is {stated:#010x}, but the data has {computed:#010x}");
    Err(BadEntry(Reason::Malformed, detail.into()))
}

/// Appends one record; answers if it is not taken.
fn take<S: Sink>(
    ring: &Ring,
    type_tag: u16,
    payload: &[u8],
    kept: &Kept,
    sink: &mut S,
    out: &mut Vec<u8>,
) -> Result<u64, Executed> {
    if (payload.len() + kept.bytes()) as u64 > u64::from(ring.max_payload_bytes) {
        return Err(refuse(ring, Reason::TooLarge, 1, sink, out));
    }
    let attributes = kept.block();
    match sink.record(Record { ring: ring.id, type_tag, payload, attributes }) {
        Outcome::Accepted(seq) => Ok(seq),
        Outcome::Full => Err(Executed::Full),
        Outcome::Refused(reason) => Err(refuse(ring, reason, 1, sink, out)),
    }
}

/// Appends records of type 0, all or none; answers if they are not taken.
fn take_all<S: Sink>(
    ring: &Ring,
    payloads: &Args<'_>,
    kept: &Kept,
    sink: &mut S,
    out: &mut Vec<u8>,
) -> Result<(), Executed> {
    let mut size = BatchSize::default();
    for payload in payloads.clone() {
        if (payload.len() + kept.bytes()) as u64 > u64::from(ring.max_payload_bytes) {
            return Err(refuse(ring, Reason::TooLarge, payloads.clone().count() as u64, sink, out));
        }
        size.add(payload.len() + kept.bytes());
    }
    if !size.fits(ring) {
        return Err(refuse(ring, Reason::TooLarge, size.records, sink, out));
    }
    match sink.room(ring.id, size) {
        Room::Yes => {}
        Room::Full => return Err(Executed::Full),
        Room::Refused(reason) => return Err(refuse(ring, reason, size.records, sink, out)),
    }
    for payload in payloads.clone() {
        let attributes = kept.block();
        let outcome = sink.record(Record { ring: ring.id, type_tag: 0, payload, attributes });
        debug_assert!(matches!(outcome, Outcome::Accepted(_)), "there was room: {outcome:?}");
        if !matches!(outcome, Outcome::Accepted(_)) {
            reply::error(out, &["ERR only a part of the values was taken"]);
            return Err(Executed::Close);
        }
    }
    Ok(())
}

fn find<S: Sink>(name: &[u8], sink: &S, out: &mut Vec<u8>) -> Option<Ring> {
    let ring = sink.ring(name);
    if ring.is_none() {
        reply::error(out, &["ERR there is no ring '", &printable(name), "'"]);
    }
    ring
}

fn reject<S: Sink>(ring: &Ring, reason: Reason, records: u64, sink: &mut S) {
    sink.note(Event::Rejected { ring: Some(ring.id), reason, records });
}

/// Counts and answers records that are not taken.
fn refuse<S: Sink>(
    ring: &Ring,
    reason: Reason,
    records: u64,
    sink: &mut S,
    out: &mut Vec<u8>,
) -> Executed {
    reject(ring, reason, records, sink);
    let name = sink.name(ring.id);
    match reason {
        Reason::Full if sink.is_out_of_space(ring.id) => {
            let detail = "' takes nothing: there is no space for its journal";
            reply::error(out, &["BUSY ring '", name, detail]);
        }
        Reason::Full => {
            let detail = "' stayed full: its readers have not released enough";
            reply::error(out, &["BUSY ring '", name, detail]);
        }
        Reason::TooLarge => {
            let limit = ring.max_payload_bytes.to_string();
            let detail = " bytes, and all of a command fit into the ring";
            reply::error(out, &["ERR a record of ring '", name, "' has at most ", &limit, detail]);
        }
        Reason::Journal => {
            let detail = "' failed: nothing is taken";
            reply::error(out, &["ERR the journal of ring '", name, detail]);
        }
        Reason::ShuttingDown => reply::error(out, &["ERR shutting down"]),
        Reason::RateLimited => reply::error(out, &["BUSY too many commands"]),
        Reason::Denied => reply::error(out, &["NOPERM not allowed to write to ring '", name, "'"]),
        Reason::BadType
        | Reason::Malformed
        | Reason::Timeout
        | Reason::Disconnected
        | Reason::NoMemory => {
            reply::error(out, &["ERR ring '", name, "' does not take this record"]);
        }
    }
    Executed::Answered
}

/// What is said of anything but `*` where the id is.
fn bad_id(word: &[u8]) -> &'static str {
    if word.eq_ignore_ascii_case(b"MAXLEN") || word.eq_ignore_ascii_case(b"MINID") {
        "ERR a ring bounds itself: MAXLEN and MINID are not supported"
    } else {
        "ERR the id of a record is given by the ring: use *"
    }
}

fn short(command: &str, out: &mut Vec<u8>) -> Executed {
    wrong_number(command, out);
    Executed::Answered
}

fn refused(out: &mut Vec<u8>, parts: Parts<'_>) -> Executed {
    reply::error(out, parts);
    Executed::Answered
}
