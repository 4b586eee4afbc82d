//! Conversations with the MQTT codec.

mod attributes;
mod five;
mod peers;
mod publishing;
mod three;

use std::sync::Arc;

use super::{Config, Filter, Mqtt, Route, Rule};
use crate::codec::trial::{End, OneCredential, Trial, converse};
use crate::codec::{Event, Keep, Reason, RingId, Sink};
use crate::middleware::credentials::Credentials;

/// CONNECT of 3.1.1 with a clean session, a keep-alive time of 10 s and the identifier `c`.
pub(super) const CONNECT_3: &[u8] = b"\x10\x0d\0\x04MQTT\x04\x02\0\x0a\0\x01c";
/// The same of MQTT 5.
pub(super) const CONNECT_5: &[u8] = b"\x10\x0e\0\x04MQTT\x05\x02\0\x0a\0\0\x01c";
/// The answer to [`CONNECT_3`].
pub(super) const CONNACK_3: &[u8] = &[0x20, 2, 0, 0];
/// The answer to [`CONNECT_5`].
pub(super) const CONNACK_5: &[u8] =
    &[0x20, 18, 0, 0, 15, 0x24, 1, 0x25, 0, 0x27, 0, 0, 16, 0, 0x28, 0, 0x29, 0, 0x2a, 0];

/// Topics below `a/` go to ring `a` under tag 7, `b/+/x` to ring `b` under tag 9.
pub(super) fn config() -> Config {
    let rule = |filter, ring: &str, type_tag| Rule {
        filter: Filter::new(filter).expect("a filter"),
        route: Route { ring: Trial::new().ring(ring.as_bytes()).expect("a ring"), type_tag },
    };
    Config {
        rules: vec![rule("a/#", "a", 7), rule("b/+/x", "b", 9)],
        max_packet_bytes: 4096,
        max_keep_alive: 0,
        keep: Keep::default(),
        credentials: None,
    }
}

pub(super) fn codec() -> Mqtt {
    Mqtt::new(Arc::new(config()), 42)
}

/// What a whole conversation came to.
pub(super) struct Heard {
    pub(super) answers: Vec<u8>,
    pub(super) end: End,
    pub(super) sink: Trial,
}

/// Says `packets` at once, to a sink that takes everything.
pub(super) fn say(packets: &[&[u8]]) -> Heard {
    say_to(Trial::new(), packets)
}

/// Says it where these credentials are asked for.
pub(super) fn say_with(credentials: OneCredential, packets: &[&[u8]]) -> Heard {
    let credentials: Option<Arc<dyn Credentials>> = Some(Arc::new(credentials));
    let config = Arc::new(Config { credentials, ..config() });
    let (mut codec, mut sink) = (Mqtt::new(config, 42), Trial::new());
    let (answers, end) = converse(&mut codec, &mut sink, &packets.concat(), &[]);
    Heard { answers, end, sink }
}

pub(super) fn say_to(mut sink: Trial, packets: &[&[u8]]) -> Heard {
    let (answers, end) = converse(&mut codec(), &mut sink, &packets.concat(), &[]);
    Heard { answers, end, sink }
}

/// A packet of fewer than 128 bytes after its header.
pub(super) fn packet(first: u8, rest: &[u8]) -> Vec<u8> {
    [&[first, u8::try_from(rest.len()).expect("it is short")][..], rest].concat()
}

/// The count of a record that is not taken.
pub(super) fn rejected(ring: Option<u16>, reason: Reason) -> Event {
    Event::Rejected { ring: ring.map(RingId), reason, records: 1 }
}
