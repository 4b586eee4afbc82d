//! `mqtt`: any cut of the bytes gives the same records and answers; whatever is taken for a message
//! is the same one to the crate `mqttbytes`, which also understands every answer.

use std::sync::Arc;

use aqueduct::codec::mqtt::{Config, Filter, Mqtt, Route, Rule};
use aqueduct::codec::trial::Trial;
use aqueduct::codec::{Keep, Sink};
use bytes::BytesMut;
use mqttbytes::{v4, v5};

use crate::conversation::{Way, hear};
use crate::input::Input;

/// Topics with an `a` in front go to ring `a`, all others to ring `b`; or only some.
fn config(all: bool) -> Config {
    let rule = |filter, ring: &str| Rule {
        filter: Filter::new(filter).expect("a filter"),
        route: Route { ring: Trial::new().ring(ring.as_bytes()).expect("a ring"), type_tag: 7 },
    };
    let others = if all { rule("#", "b") } else { rule("b/+", "b") };
    Config {
        rules: vec![rule("a/#", "a"), others],
        max_packet_bytes: 300,
        max_keep_alive: 100,
        keep: Keep::default(),
        credentials: None,
    }
}

/// One input.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (all, connect) = (input.below(2) == 1, input.below(4));
    let config = Arc::new(config(all));
    let way = Way::take(&mut input);
    // Most inputs would never come past CONNECT.
    let connect: &[u8] = match connect {
        0 => b"",
        1 | 2 => b"\x10\x0d\0\x04MQTT\x04\x02\0\x0a\0\x01c",
        _ => b"\x10\x0e\0\x04MQTT\x05\x02\0\x0a\0\0\x01c",
    };
    let bytes = [connect, input.rest()].concat();
    let heard = hear(|| Mqtt::new(Arc::clone(&config), 1), &bytes, &way);
    let level = length(bytes.get(1..).unwrap_or(&[])).and_then(|(_, used)| bytes.get(1 + used + 6));
    let is_five = level == Some(&5);
    let mut messages = messages(&bytes, is_five).into_iter();
    let mut records = heard.records.iter();
    for record in records.by_ref() {
        let Some((packet, payload)) = messages.find(|(_, payload)| *payload == record.payload)
        else {
            // A will comes after all messages.
            assert!(records.next().is_none(), "{heard:?}");
            break;
        };
        assert_eq!(by_mqttbytes(packet, is_five).as_deref(), Some(payload));
    }
    answers(&heard.answers, is_five);
}

/// The packets that could be messages, each with its payload by the plainest reading.
fn messages(mut bytes: &[u8], is_five: bool) -> Vec<(&[u8], &[u8])> {
    let mut messages = Vec::new();
    while let Some((length, used)) = length(bytes.get(1..).unwrap_or(&[])) {
        let Some((packet, rest)) = bytes.split_at_checked(1 + used + length) else { break };
        if let (3, Some(payload)) =
            (packet[0] >> 4, payload(packet[0], &packet[1 + used..], is_five))
        {
            messages.push((packet, payload));
        }
        bytes = rest;
    }
    messages
}

/// What comes after topic, identifier and properties.
fn payload(first: u8, packet: &[u8], is_five: bool) -> Option<&[u8]> {
    let (topic, rest) = packet.split_first_chunk::<2>()?;
    let rest = rest.get(usize::from(u16::from_be_bytes(*topic))..)?;
    let rest = if first & 6 == 0 { rest } else { rest.get(2..)? };
    if !is_five {
        return Some(rest);
    }
    let (properties, used) = length(rest)?;
    rest.get(used + properties..)
}

/// A length of up to four bytes, and how many they are.
fn length(bytes: &[u8]) -> Option<(usize, usize)> {
    let used = bytes.iter().take(4).position(|byte| byte & 0x80 == 0)? + 1;
    let length =
        bytes[..used].iter().rev().fold(0, |length, byte| length << 7 | usize::from(byte & 0x7f));
    Some((length, used))
}

/// The payload of a message that we took, by the other implementation.
fn by_mqttbytes(packet: &[u8], is_five: bool) -> Option<Vec<u8>> {
    let mut packet = BytesMut::from(packet);
    if is_five {
        match v5::read(&mut packet, 1000) {
            Ok(v5::Packet::Publish(message)) => Some(message.payload.to_vec()),
            _ => None,
        }
    } else {
        match v4::read(&mut packet, 1000) {
            Ok(v4::Packet::Publish(message)) => Some(message.payload.to_vec()),
            _ => None,
        }
    }
}

/// Every answer is a packet that a server may send.
fn answers(answers: &[u8], is_five: bool) {
    let mut answers = BytesMut::from(answers);
    while !answers.is_empty() {
        if is_five {
            match v5::read(&mut answers, 1000) {
                Ok(
                    v5::Packet::ConnAck(_)
                    | v5::Packet::PubAck(_)
                    | v5::Packet::PubComp(_)
                    | v5::Packet::SubAck(_)
                    | v5::Packet::UnsubAck(_)
                    | v5::Packet::PingResp
                    | v5::Packet::Disconnect(_),
                ) => {}
                other => panic!("{other:?} before {answers:?}"),
            }
        } else {
            match v4::read(&mut answers, 1000) {
                Ok(
                    v4::Packet::ConnAck(_)
                    | v4::Packet::PubAck(_)
                    | v4::Packet::PubComp(_)
                    | v4::Packet::SubAck(_)
                    | v4::Packet::UnsubAck(_)
                    | v4::Packet::PingResp,
                ) => {}
                other => panic!("{other:?} before {answers:?}"),
            }
        }
    }
}
