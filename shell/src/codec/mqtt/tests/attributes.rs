//! What is kept of a message with its record.

use std::sync::Arc;

use aqueduct_core::AttributeBlock;

use super::super::{Config, Mqtt};
use super::{CONNECT_3, CONNECT_5, config, packet};
use crate::codec::trial::{End, Trial, converse};
use crate::codec::{Event, Keep, Reason};

const PEER: &str = "192.0.2.1:4711";

fn say(names: &[&str], packets: &[&[u8]]) -> (Vec<u8>, End, Trial) {
    let keep = Keep::new(names.iter().map(|&name| name.to_owned()).collect());
    let mut codec = Mqtt::of_peer(Arc::new(Config { keep, ..config() }), 42, PEER);
    let mut sink = Trial::new();
    let (answers, end) = converse(&mut codec, &mut sink, &packets.concat(), &[]);
    (answers, end, sink)
}

fn listed(block: &[u8]) -> Vec<(String, String)> {
    let block = AttributeBlock::from_bytes(block).expect("a block");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    block.attributes().map(|one| (text(one.name), text(one.value))).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Content type `text/x`, correlation data, user properties `k` and `:peer`; a payload of `m`.
const PROPERTIES: &[u8] = b"\x03\0\x06text/x\x09\0\x02??\x26\0\x01k\0\x01v\x26\0\x05:peer\0\x01w";

fn publish_5(properties: &[u8]) -> Vec<u8> {
    let length = u8::try_from(properties.len()).expect("it is short");
    let rest = [&b"\0\x03a/t\0\x07"[..], &[length], properties, b"m"].concat();
    let remaining = u8::try_from(rest.len()).expect("it is short");
    [&[0x32, remaining][..], &rest].concat()
}

#[test]
fn topic_peer_content_type_and_user_properties_are_kept_as_named() {
    let all = [":topic", ":peer", "content-type", "user:*"];
    let (_, _, sink) = say(&all, &[CONNECT_5, &publish_5(PROPERTIES)]);
    let expected = [
        (":peer", PEER),
        (":topic", "a/t"),
        ("content-type", "text/x"),
        ("user:k", "v"),
        ("user::peer", "w"),
    ];
    assert_eq!(listed(&sink.attributes[0]), pairs(&expected));
    assert_eq!(sink.records[0].payload, b"m");
    let (_, _, sink) = say(&["user:k"], &[CONNECT_5, &publish_5(PROPERTIES)]);
    assert_eq!(listed(&sink.attributes[0]), pairs(&[("user:k", "v")]));
    let (_, _, sink) = say(&[], &[CONNECT_5, &publish_5(PROPERTIES)]);
    assert_eq!(sink.attributes, [b""]);
    let (_, _, sink) = say(&all, &[CONNECT_3, b"\x30\x06\0\x03a/tm"]);
    assert_eq!(listed(&sink.attributes[0]), pairs(&[(":peer", PEER), (":topic", "a/t")]));
}

#[test]
fn the_will_has_the_attributes_of_its_own_topic() {
    let connect = b"\x10\x1a\0\x04MQTT\x04\x06\0\x0a\0\x01c\0\x05a/bye\0\x04gone";
    let (_, _, sink) = say(&[":topic"], &[connect]);
    assert_eq!(sink.records[0].payload, b"gone");
    assert_eq!(listed(&sink.attributes[0]), pairs(&[(":topic", "a/bye")]));
}

#[test]
fn what_does_not_fit_is_refused_and_counted() {
    // Ring b takes 16 bytes, which the block fills.
    let message = b"\x32\x0a\0\x05b/a/x\0\x07m";
    let (answers, _, sink) = say(&[":topic"], &[CONNECT_5, b"\x32\x0b\0\x05b/a/x\0\x07\0m"]);
    assert!(answers.ends_with(&[0x40, 3, 0, 7, 0x83]), "{answers:?}");
    assert!(sink.records.is_empty());
    assert!(matches!(
        sink.events[..],
        [Event::Rejected { reason: Reason::TooLarge, records: 1, .. }]
    ));
    let (_, end, sink) = say(&[":topic"], &[CONNECT_3, message]);
    assert_eq!((end, sink.records.len()), (End::Closed, 0));
}

#[test]
fn what_stands_before_a_user_property_does_not_hide_it() {
    let others: [&[u8]; 4] =
        [b"\x01\x01", b"\x02\0\0\0\x09", b"\x08\0\x01r", b"\x09\0\x02\xff\xfe"];
    for other in others {
        let properties = [other, b"\x26\0\x01k\0\x01v"].concat();
        let (_, _, sink) = say(&["user:*"], &[CONNECT_5, &publish_5(&properties)]);
        assert_eq!(listed(&sink.attributes[0]), pairs(&[("user:k", "v")]), "{other:?}");
    }
    let will = b"\x0d\x18\0\0\0\x05\x26\0\x01k\0\x02vv\0\x05a/bye\0\x01x";
    let rest = [&b"\0\x04MQTT\x05\x06\0\x0a\0\0\x01c"[..], will].concat();
    let (_, _, sink) = say(&["user:*"], &[&packet(0x10, &rest)]);
    assert_eq!(listed(&sink.attributes[0]), pairs(&[("user:k", "vv")]));
}
