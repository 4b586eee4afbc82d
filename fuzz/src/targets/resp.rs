//! `resp`: any cut of the bytes gives the same records and replies, and the crate `redis-protocol`
//! finds the same commands in them: as many replies as commands, records by a plain reading.

use std::collections::HashSet;
use std::sync::Arc;

use aqueduct::codec::Keep;
use aqueduct::codec::resp::{Config, Resp};
use aqueduct::codec::trial::{End, Kept, MAX_PAYLOADS, RINGS};
use redis_protocol::resp2::decode::decode;
use redis_protocol::resp2::types::OwnedFrame;
use redis_protocol::resp3;

use crate::conversation::{Way, hear};
use crate::input::Input;

/// One input.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let config =
        Arc::new(Config { max_command_bytes: 512, keep: Keep::default(), credentials: None });
    let way = Way::take(&mut input);
    let bytes = input.rest();
    let heard = hear(|| Resp::new(Arc::clone(&config), 1), bytes, &way);
    let (commands, is_all) = commands(bytes);
    let mut keys = HashSet::new();
    let theirs: Vec<Kept> = commands.iter().flat_map(|args| records(args, &mut keys)).collect();
    let both = theirs.len().min(heard.records.len());
    assert_eq!(heard.records[..both], theirs[..both]);
    if is_all {
        assert!(heard.records.len() <= theirs.len(), "{heard:?}, plainly {theirs:?}");
        if heard.end == End::Input {
            assert_eq!(heard.records, theirs);
        }
    }
    replies(&heard.answers);
}

/// The arrays of bulk strings, and whether they are all that could bring records: a typed line that
/// names such a command is ours alone.
fn commands(mut bytes: &[u8]) -> (Vec<Vec<Vec<u8>>>, bool) {
    let mut commands = Vec::new();
    while let Some(first) = bytes.first() {
        if *first != b'*' {
            let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { break };
            let line = bytes[..end].to_ascii_uppercase();
            let names: [&[u8]; 4] = [b"XADD", b"PUSH", b"PUBLISH", b"\""];
            if names.iter().any(|name| line.windows(name.len()).any(|word| word == *name)) {
                return (commands, false);
            }
            bytes = &bytes[end + 1..];
            continue;
        }
        let (frames, used) = match decode(bytes) {
            Ok(Some((OwnedFrame::Array(frames), used))) => (frames, used),
            Ok(Some((OwnedFrame::Null, used))) => (Vec::new(), used),
            // A negative count that Redis takes for an empty command.
            _ if bytes.starts_with(b"*-") => return (commands, false),
            _ => break,
        };
        let args = frames.into_iter().map(|frame| match frame {
            OwnedFrame::BulkString(arg) => Some(arg),
            _ => None,
        });
        let Some(args) = args.collect() else { break };
        commands.push(args);
        bytes = &bytes[used..];
    }
    (commands, true)
}

/// The records of one command. A key that its ring has had brings none.
fn records(args: &[Vec<u8>], keys: &mut HashSet<(usize, Vec<u8>)>) -> Vec<Kept> {
    let Some((name, rest)) = args.split_first() else { return Vec::new() };
    let Some((ring, rest)) = rest.split_first() else { return Vec::new() };
    let Some(ring) = RINGS.iter().position(|name| name.as_bytes() == ring) else {
        return Vec::new();
    };
    let kept = |type_tag, payload: &[u8]| Kept {
        ring: u16::try_from(ring).unwrap_or(u16::MAX),
        type_tag,
        payload: payload.to_vec(),
    };
    let limit = MAX_PAYLOADS[ring] as usize;
    let records = match (name.to_ascii_uppercase().as_slice(), rest) {
        (b"RPUSH" | b"LPUSH", values) => values.iter().map(|value| kept(0, value)).collect(),
        (b"PUBLISH", [value]) => vec![kept(0, value)],
        (b"XADD", rest) => {
            let skipped = rest.first().is_some_and(|arg| arg.eq_ignore_ascii_case(b"NOMKSTREAM"));
            match &rest[usize::from(skipped)..] {
                [id, fields @ ..] if id == b"*" => {
                    entry(fields).map_or_else(Vec::new, |(tag, payload, key)| {
                        let is_taken = payload.len() <= limit;
                        let is_new = key.is_none_or(|key| is_taken && keys.insert((ring, key)));
                        if is_new { vec![kept(tag, &payload)] } else { Vec::new() }
                    })
                }
                _ => Vec::new(),
            }
        }
        _ => Vec::new(),
    };
    if records.iter().all(|record| record.payload.len() <= limit) { records } else { Vec::new() }
}

/// Tag, payload and key of an entry's fields.
fn entry(fields: &[Vec<u8>]) -> Option<(u16, Vec<u8>, Option<Vec<u8>>)> {
    let (mut payload, mut tag, mut crc, mut key) = (None, None, None, None);
    for field in fields.chunks(2) {
        let [name, value] = field else { return None };
        let slot = match name.as_slice() {
            b"data" | b"payload" => &mut payload,
            b"type" => &mut tag,
            b"crc32" => &mut crc,
            b"id" => &mut key,
            _ => return None,
        };
        if slot.replace(value.clone()).is_some() {
            return None;
        }
    }
    let digits = |text: &[u8], radix| {
        let text = std::str::from_utf8(text).ok().filter(|text| !text.starts_with('+'))?;
        u64::from_str_radix(text, radix).ok()
    };
    let payload = payload?;
    let tag = tag.map_or(Some(0), |tag| u16::try_from(digits(&tag, 10)?).ok())?;
    if let Some(crc) = crc {
        let stated = match crc.strip_prefix(b"0x").or(crc.strip_prefix(b"0X")) {
            Some(hex) if hex.len() > 8 => None,
            Some(hex) => digits(hex, 16),
            None => digits(&crc, 10),
        };
        if stated != Some(u64::from(crate::wire::crc(&payload))) {
            return None;
        }
    }
    if key.as_ref().is_some_and(|key: &Vec<u8>| !(1..=255).contains(&key.len())) {
        return None;
    }
    Some((tag, payload, key))
}

/// What was answered is RESP3, of which RESP2 is a part, from beginning to end.
fn replies(mut answers: &[u8]) {
    while !answers.is_empty() {
        let Ok(Some((_, used))) = resp3::decode::complete::decode(answers) else {
            panic!("{}", String::from_utf8_lossy(answers))
        };
        answers = &answers[used..];
    }
}
