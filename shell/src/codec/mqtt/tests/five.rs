//! Normative statements of MQTT 5, by their names or sections.

use std::sync::Arc;

use super::{CONNACK_5, CONNECT_5, config, packet, say};
use crate::codec::Codec;
use crate::codec::mqtt::{Config, Mqtt};
use crate::codec::trial::{End, OneCertificate, Trial, certificate, converse};
use crate::middleware::credentials::Credentials;

/// Packets after a good CONNECT, and the reason code of the DISCONNECT that answers them.
const BROKEN: &[(&str, u8, &[u8])] = &[
    ("MQTT-1.5.4-1 a topic that is not UTF-8", 0x81, b"\x30\x05\0\x01\xff\0x"),
    ("MQTT-1.5.4-2 U+0000 in a topic", 0x81, b"\x30\x06\0\x03a/\0\0"),
    ("MQTT-1.5.5-1 a length that is not the shortest", 0x81, b"\x30\x06\0\x01a\x80\0x"),
    ("§2.1.3 flags of SUBSCRIBE", 0x81, b"\x80\x07\0\x01\0\0\x01a\0"),
    ("§2.2.1 identifier 0", 0x82, b"\x32\x06\0\x01a\0\0\0"),
    ("§2.2.2 a property that does not exist", 0x81, b"\x30\x07\0\x01a\x02\x7f\0x"),
    ("§2.2.2 a property of another packet", 0x82, b"\x30\x0a\0\x01a\x05\x11\0\0\0\0x"),
    ("§2.2.2 a property twice", 0x82, b"\x30\x09\0\x01a\x04\x01\0\x01\0x"),
    ("properties longer than the packet", 0x81, b"\x30\x05\0\x01a\x05x"),
    ("a property longer than its block", 0x81, b"\x30\x07\0\x01a\x02\x02\0x"),
    ("a remaining length of five bytes", 0x81, b"\x30\x80\x80\x80\x80\x01"),
    ("§3.2.2.3.6 a packet over the limit", 0x95, b"\x30\xff\x7f\0\x01a"),
    ("MQTT-3.1.0-2 a second CONNECT", 0x82, b"\x10\x0e\0\x04MQTT\x05\x02\0\x0a\0\0\x01c"),
    ("MQTT-3.3.1-2 a duplicate of quality 0", 0x81, b"\x38\x05\0\x01a\0x"),
    ("MQTT-3.3.1-4 quality 3", 0x81, b"\x36\x07\0\x01a\0\x01\0x"),
    ("MQTT-3.2.2-11 more than Maximum QoS", 0x9b, b"\x34\x07\0\x01a\0\x01\0x"),
    ("MQTT-3.2.2-14 retained", 0x9a, b"\x31\x05\0\x01a\0x"),
    ("MQTT-3.3.2-2 a topic with #", 0x90, b"\x30\x07\0\x03a/#\0x"),
    ("§3.3.2.1 no topic, no alias", 0x90, b"\x30\x04\0\0\0x"),
    ("MQTT-3.2.2-18 an alias", 0x94, b"\x30\x08\0\x01a\x03\x23\0\x01x"),
    ("MQTT-3.3.2-14 wildcards in the response topic", 0x82, b"\x30\x09\0\x01a\x04\x08\0\x01+x"),
    ("MQTT-3.3.4-6 a subscription identifier", 0x82, b"\x30\x07\0\x01a\x02\x0b\x01x"),
    ("§3.3.2.3.2 a payload format of 2", 0x82, b"\x30\x07\0\x01a\x02\x01\x02x"),
    ("MQTT-3.8.3-2 SUBSCRIBE without a filter", 0x82, b"\x82\x03\0\x01\0"),
    ("MQTT-3.8.3-5 reserved options", 0x81, b"\x82\x07\0\x01\0\0\x01a\xc0"),
    ("§3.8.3.1 retain handling 3", 0x82, b"\x82\x07\0\x01\0\0\x01a\x30"),
    ("MQTT-3.10.3-2 UNSUBSCRIBE without a filter", 0x82, b"\xa2\x03\0\x01\0"),
    ("§3.14.2.2.2 a session wanted at the end", 0x82, b"\xe0\x07\0\x05\x11\0\0\0\x01"),
    ("MQTT-3.14.1-1 flags of DISCONNECT", 0x81, b"\xe1\0"),
    ("PINGREQ with something in it", 0x81, b"\xc0\x01\0"),
    ("PUBACK of nothing", 0x82, b"\x40\x02\0\x01"),
    ("AUTH without a method", 0x82, b"\xf0\x02\x18\0"),
    ("type 0", 0x81, b"\0\0"),
];

#[test]
fn what_breaks_the_standard_is_answered_with_its_reason() {
    for (statement, code, bytes) in BROKEN {
        let heard = say(&[CONNECT_5, bytes, b"\xc0\0"]);
        let expected = [CONNACK_5, &[0xe0, 2, *code, 0]].concat();
        assert_eq!((heard.answers, heard.end), (expected, End::Closed), "{statement}");
        assert!(heard.sink.records.is_empty(), "{statement}");
    }
}

/// CONNECT with these flags, properties and payload.
fn connect(flags: u8, properties: &[u8], payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(properties.len()).expect("they are short");
    let head = [&b"\0\x04MQTT\x05"[..], &[flags, 0, 10, length]].concat();
    packet(0x10, &[&head[..], properties, payload].concat())
}

#[test]
fn a_connect_that_is_refused_is_told_why() {
    for (statement, code, bytes) in [
        ("MQTT-3.1.2-3 the reserved flag", 0x81, connect(3, b"", b"\0\x01c")),
        ("MQTT-3.1.2-12 will quality 3", 0x81, connect(0x1e, b"", b"\0\x01c\0\0\x01a\0\x01w")),
        (
            "MQTT-3.2.2-12 will over Maximum QoS",
            0x9b,
            connect(0x16, b"", b"\0\x01c\0\0\x01a\0\x01w"),
        ),
        ("MQTT-3.2.2-13 retained will", 0x9a, connect(0x26, b"", b"\0\x01c\0\0\x01a\0\x01w")),
        ("a will to all", 0x90, connect(6, b"", b"\0\x01c\0\0\x01#\0\x01w")),
        ("§3.1.2.11.3 Receive Maximum 0", 0x82, connect(2, b"\x21\0\0", b"\0\x01c")),
        ("§3.1.2.11.4 Maximum Packet Size 0", 0x82, connect(2, b"\x27\0\0\0\0", b"\0\x01c")),
        ("§3.1.2.11.7 Problem Information 2", 0x82, connect(2, b"\x17\x02", b"\0\x01c")),
        ("§3.1.2.11.10 data without a method", 0x82, connect(2, b"\x16\0\x01d", b"\0\x01c")),
        ("§4.12 a method", 0x8c, connect(2, b"\x15\0\x01m", b"\0\x01c")),
        ("a property of another packet", 0x82, connect(2, b"\x23\0\x01", b"\0\x01c")),
        ("cut short", 0x81, connect(2, b"", b"\0\x02c")),
        ("something after its end", 0x81, connect(2, b"", b"\0\x01cx")),
    ] {
        let heard = say(&[&bytes]);
        assert_eq!(heard.answers, [0x20, 3, 0, code, 0], "{statement}");
        assert_eq!(heard.end, End::Closed, "{statement}");
    }
}

#[test]
fn a_client_without_an_identifier_is_given_one() {
    let heard = say(&[&connect(2, b"", b"\0\0")]);
    let assigned = b"\x12\0\x0baqueduct-42";
    assert!(heard.answers.ends_with(assigned), "{:?}", heard.answers);
    assert_eq!(usize::from(heard.answers[1]), heard.answers.len() - 2);
    assert_eq!(usize::from(heard.answers[4]), heard.answers.len() - 5);
}

#[test]
fn a_session_is_never_kept_and_the_client_told_so() {
    let heard =
        say(&[&connect(0, b"\x11\xff\xff\xff\xff", b"\0\x01c"), b"\xe0\x07\0\x05\x11\0\0\0\x01"]);
    assert!(heard.answers.ends_with(b"\x11\0\0\0\0"), "{:?}", heard.answers);
    assert_eq!(heard.end, End::Closed);
}

#[test]
fn a_keep_alive_over_the_limit_is_replaced() {
    let config = Arc::new(Config { max_keep_alive: 5, ..config() });
    for asked in [0, 10] {
        let connect = [&b"\0\x04MQTT\x05\x02\0"[..], &[asked], b"\0\0\x01c"].concat();
        let (mut codec, mut sink) = (Mqtt::new(Arc::clone(&config), 1), Trial::new());
        let (answers, _) = converse(&mut codec, &mut sink, &packet(0x10, &connect), &[]);
        assert!(answers.ends_with(b"\x13\0\x05"), "{answers:?}");
    }
}

#[test]
fn no_answer_is_larger_than_the_client_takes() {
    let publish = b"\x32\x08\0\x03a/x\0\x01\0";
    let refused = b"\x32\x06\0\x01c\0\x01\0";
    let connect = connect(2, b"\x27\0\0\0\x04", b"\0\x01c");
    let heard = say(&[&connect, publish, refused, b"\x82\x07\0\x01\0\0\x01a\0"]);
    assert_eq!(heard.answers, b"\x40\x02\0\x01", "only PUBACK has four bytes");
    assert_eq!((heard.sink.records.len(), heard.end), (1, End::Input));
}

#[test]
fn an_answer_that_the_client_takes_is_sent() {
    let refused = b"\x32\x06\0\x01c\0\x01\0";
    let heard = say(&[&connect(2, b"\x27\0\0\0\x05", b"\0\x01c"), refused]);
    assert_eq!(heard.answers[heard.answers.len() - 5..], *b"\x40\x03\0\x01\x90");
    let subscribe = b"\x82\x07\0\x01\0\0\x01a\0";
    let heard = say(&[&connect(2, b"\x27\0\0\0\x09", b"\0\x01c"), subscribe]);
    assert_eq!(heard.answers[heard.answers.len() - 6..], *b"\x90\x04\0\x01\0\x87");
}

#[test]
fn subscriptions_are_refused_and_their_ends_acknowledged() {
    let heard = say(&[
        CONNECT_5,
        b"\x82\x0f\0\x09\x02\x0b\x01\0\x01a\x01\0\x03$/x\x02",
        b"\xa2\x09\0\x0a\0\0\x01a\0\x01b",
    ]);
    let expected = b"\x90\x05\0\x09\0\x87\x87\xb0\x05\0\x0a\0\x11\x11";
    assert_eq!((heard.answers, heard.end), ([CONNACK_5, expected].concat(), End::Input));
}

#[test]
fn properties_of_a_message_are_understood_and_left_behind() {
    let properties: &[&[u8]] = &[
        b"\x01\x01",
        b"\x02\0\0\0\x09",
        b"\x03\0\x01t",
        b"\x08\0\x01r",
        b"\x09\0\x02\xff\0",
        b"\x26\0\x01k\0\x01v",
        b"\x26\0\x01k\0\x01w",
    ];
    let properties = properties.concat();
    let length = u8::try_from(properties.len()).expect("they are short");
    let message = packet(0x30, &[b"\0\x03a/x", &[length][..], &properties, b"m"].concat());
    let heard = say(&[CONNECT_5, &message]);
    assert_eq!(heard.sink.records[0].payload, b"m");
}

#[test]
fn a_release_of_an_earlier_connection_is_unknown() {
    for release in [&b"\x62\x02\0\x09"[..], b"\x62\x03\0\x09\x92", b"\x62\x04\0\x09\x92\0"] {
        let heard = say(&[CONNECT_5, release]);
        assert_eq!(heard.answers, [CONNACK_5, b"\x70\x03\0\x09\x92"].concat());
    }
}

#[test]
fn properties_of_other_packets_are_refused_and_unknown_ones_malformed() {
    let server = [0x12, 0x13, 0x1a, 0x1c, 0x24, 0x25, 0x28, 0x29, 0x2a];
    let other = [0x0b, 0x11, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1f, 0x21, 0x22, 0x27];
    let known = server.into_iter().chain(other).map(|id| (id, 0x82));
    for (id, code) in known.chain([0, 4, 0x10, 0x1b, 0x2b, 0x7f].map(|id| (id, 0x81))) {
        let heard = say(&[CONNECT_5, &packet(0x30, &[0, 1, b'a', 5, id, 0, 0, 0, 1, b'x'])]);
        let expected = [CONNACK_5, &[0xe0, 2, code, 0]].concat();
        assert_eq!((heard.answers, heard.end), (expected, End::Closed), "{id:#x}");
    }
}

#[test]
fn a_will_may_be_late_a_goodbye_have_a_reason_and_a_client_take_aliases() {
    let will = b"\0\x01c\x05\x18\0\0\0\x05\0\x05a/bye\0\x01x";
    let heard = say(&[&connect(0x06, b"\x22\0\x09", will)]);
    assert_eq!((heard.answers, heard.end), (CONNACK_5.to_vec(), End::Input));
    let heard = say(&[CONNECT_5, b"\xe0\x06\0\x04\x1f\0\x01y"]);
    assert_eq!((heard.answers, heard.end), (CONNACK_5.to_vec(), End::Closed));
    assert!(heard.sink.events.is_empty());
}

#[test]
fn a_certificate_lets_in_who_presents_nothing_else() {
    for (introduced, flags, payload, code) in [
        (true, 2, &b"\0\x01c"[..], 0),
        (true, 0x42, b"\0\x01c\0\x01x", 0x87),
        (true, 0xc2, b"\0\x01c\0\x01n\0\x01x", 0x86),
        (false, 2, b"\0\x01c", 0x87),
    ] {
        let credentials: Option<Arc<dyn Credentials>> = Some(Arc::new(OneCertificate));
        let config = Arc::new(Config { credentials, ..config() });
        let (mut codec, mut sink) = (Mqtt::new(config, 1), Trial::new());
        if introduced {
            codec.introduce(certificate());
        }
        let (answers, _) = converse(&mut codec, &mut sink, &connect(flags, b"", payload), &[]);
        assert_eq!(answers[3], code, "{introduced} {flags:x}");
    }
}
