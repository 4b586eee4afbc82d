//! Normative statements of MQTT 3.1.1, by their names. In all of them the connection is just
//! closed: the version has no way to say why.

use super::{CONNACK_3, CONNECT_3, packet, say};
use crate::codec::trial::End;

/// Packets after a good CONNECT that end the connection.
const BROKEN: &[(&str, &[u8])] = &[
    ("MQTT-1.5.3-1 a topic that is not UTF-8", b"\x30\x04\0\x01\xff\0"),
    ("MQTT-1.5.3-1 a surrogate", b"\x30\x06\0\x03\xed\xa0\x80\0"),
    ("MQTT-1.5.3-2 U+0000 in a topic", b"\x30\x05\0\x03a/\0"),
    ("MQTT-2.2.2-2 flags of SUBSCRIBE", b"\x80\x06\0\x01\0\x01a\0"),
    ("MQTT-2.2.2-2 flags of PINGREQ", b"\xc1\0"),
    ("MQTT-2.3.1-1 identifier 0", b"\x32\x05\0\x01a\0\0"),
    ("a remaining length of five bytes", b"\x30\x80\x80\x80\x80\x01"),
    ("a packet over the limit", b"\x30\xff\x7f\0\x01a"),
    ("MQTT-3.1.0-2 a second CONNECT", b"\x10\x0d\0\x04MQTT\x04\x02\0\x0a\0\x01c"),
    ("MQTT-3.3.1-2 a duplicate of quality 0", b"\x38\x04\0\x01ax"),
    ("MQTT-3.3.1-4 quality 3", b"\x36\x06\0\x01a\0\x01x"),
    ("quality 2, which is not taken", b"\x34\x06\0\x01a\0\x01x"),
    ("MQTT-3.3.2-2 a topic with #", b"\x30\x06\0\x03a/#x"),
    ("MQTT-3.3.2-2 a topic with +", b"\x30\x04\0\x01+x"),
    ("MQTT-4.7.3-1 an empty topic", b"\x30\x03\0\0x"),
    ("a topic longer than its packet", b"\x30\x03\0\x02a"),
    ("PUBLISH without an identifier", b"\x32\x03\0\x01a"),
    ("MQTT-3.8.3-3 SUBSCRIBE without a filter", b"\x82\x02\0\x01"),
    ("MQTT-3.8.3-4 reserved bits of a quality", b"\x82\x06\0\x01\0\x01a\x04"),
    ("MQTT-3.8.3-4 quality 3 of a filter", b"\x82\x06\0\x01\0\x01a\x03"),
    ("MQTT-3.10.3-2 UNSUBSCRIBE without a filter", b"\xa2\x02\0\x01"),
    ("MQTT-3.14.1-1 flags of DISCONNECT", b"\xe1\0"),
    ("DISCONNECT with something in it", b"\xe0\x01\0"),
    ("PINGREQ with something in it", b"\xc0\x01\0"),
    ("PUBREL with something in it", b"\x62\x03\0\x01\0"),
    ("PUBACK of nothing", b"\x40\x02\0\x01"),
    ("type 0", b"\0\0"),
    ("type 15", b"\xf0\0"),
    ("CONNACK, a server's", b"\x20\x02\0\0"),
];

#[test]
fn what_breaks_the_standard_ends_the_connection() {
    for (statement, bytes) in BROKEN {
        let heard = say(&[CONNECT_3, bytes, b"\xc0\0"]);
        assert_eq!((&*heard.answers, heard.end), (CONNACK_3, End::Closed), "{statement}");
        assert!(heard.sink.records.is_empty(), "{statement}");
    }
}

#[test]
fn a_first_packet_that_is_not_a_good_connect_is_answered_as_the_standard_says() {
    for (statement, bytes, answer) in [
        ("MQTT-3.1.0-1 something else first", &b"\xc0\0"[..], &b""[..]),
        ("MQTT-3.1.2-1 another protocol", b"\x10\x0d\0\x04MQTX\x04\x02\0\x0a\0\x01c", b""),
        (
            "MQTT-3.1.2-2 another level",
            b"\x10\x0d\0\x04MQTT\x06\x02\0\x0a\0\x01c",
            b"\x20\x02\0\x01",
        ),
        ("3.1, an older one", b"\x10\x0f\0\x06MQIsdp\x03\x02\0\x0a\0\x01c", b"\x20\x02\0\x01"),
        ("MQTT-3.1.2-3 the reserved flag", b"\x10\x0d\0\x04MQTT\x04\x03\0\x0a\0\x01c", b""),
        ("MQTT-3.1.2-11 quality without a will", b"\x10\x0d\0\x04MQTT\x04\x0a\0\x0a\0\x01c", b""),
        (
            "MQTT-3.1.2-14 will quality 3",
            b"\x10\x13\0\x04MQTT\x04\x1e\0\x0a\0\x01c\0\x01a\0\x01w",
            b"",
        ),
        ("MQTT-3.1.2-15 retain without a will", b"\x10\x0d\0\x04MQTT\x04\x22\0\x0a\0\x01c", b""),
        (
            "MQTT-3.1.2-22 password without a name",
            b"\x10\x10\0\x04MQTT\x04\x42\0\x0a\0\x01c\0\x01p",
            b"",
        ),
        (
            "MQTT-3.1.3-8 no identifier, no clean session",
            b"\x10\x0c\0\x04MQTT\x04\0\0\x0a\0\0",
            b"\x20\x02\0\x02",
        ),
        ("cut short", b"\x10\x0c\0\x04MQTT\x04\x02\0\x0a\0\x01", b""),
        ("something after its end", b"\x10\x0e\0\x04MQTT\x04\x02\0\x0a\0\x01cx", b""),
        ("an HTTP request", b"GET / HTTP/1.1\r\n\r\n", b""),
    ] {
        let heard = say(&[bytes, b"\x30\x04\0\x01ax"]);
        assert_eq!((&*heard.answers, heard.end), (answer, End::Closed), "{statement}");
        assert!(heard.sink.records.is_empty(), "{statement}");
    }
}

#[test]
fn a_clean_session_needs_no_identifier_and_none_is_ever_kept() {
    for flags in [0, 2] {
        let connect = [&b"\0\x04MQTT\x04"[..], &[flags], b"\0\x0a\0\x01c"].concat();
        let heard = say(&[&packet(0x10, &connect)]);
        assert_eq!(heard.answers, CONNACK_3, "MQTT-3.2.2-1: no session is present");
    }
    assert_eq!(say(&[b"\x10\x0c\0\x04MQTT\x04\x02\0\x0a\0\0"]).answers, CONNACK_3);
}

#[test]
fn subscriptions_are_refused_and_their_ends_acknowledged() {
    let heard = say(&[
        CONNECT_3,
        b"\x82\x0a\0\x09\0\x01a\x01\0\x01b\x02",
        b"\xa2\x08\0\x0a\0\x01a\0\x01b",
        b"\xc0\0",
    ]);
    let expected = b"\x90\x04\0\x09\x80\x80\xb0\x02\0\x0a\xd0\0";
    assert_eq!((heard.answers, heard.end), ([CONNACK_3, expected].concat(), End::Input));
}

#[test]
fn a_retained_message_is_taken_like_any_other() {
    let heard = say(&[CONNECT_3, b"\x31\x06\0\x03a/xm"]);
    assert_eq!((heard.sink.records.len(), heard.end), (1, End::Input));
}

#[test]
fn a_release_of_an_earlier_connection_is_completed() {
    let heard = say(&[CONNECT_3, b"\x62\x02\0\x09"]);
    assert_eq!(heard.answers, [CONNACK_3, b"\x70\x02\0\x09"].concat());
}

#[test]
fn after_disconnect_nothing_is_listened_to() {
    let heard = say(&[CONNECT_3, b"\xe0\0", b"\x30\x06\0\x03a/xm"]);
    assert_eq!((&*heard.answers, heard.end), (CONNACK_3, End::Closed));
    assert!(heard.sink.records.is_empty() && heard.sink.events.is_empty());
}

#[test]
fn an_answer_of_many_codes_has_a_length_of_two_bytes() {
    let filters = b"\0\x01a\0".repeat(130);
    let subscribe = [&b"\x82\x8a\x04\0\x09"[..], &filters].concat();
    let heard = say(&[CONNECT_3, &subscribe]);
    let expected = [CONNACK_3, b"\x90\x84\x01\0\x09", &[0x80; 130]].concat();
    assert_eq!((heard.answers, heard.end), (expected, End::Input));
}

#[test]
fn topics_are_compared_byte_by_byte() {
    // Of these only the first is meant by the rule `a/#`.
    for (topic, records) in [("a/x", 1), ("A/x", 0), ("\u{feff}a/x", 0), ("/a/x", 0), ("a /x", 0)] {
        let length = [0, u8::try_from(topic.len()).expect("it is short")];
        let message = packet(0x32, &[&length[..], topic.as_bytes(), b"\0\x01m"].concat());
        let heard = say(&[CONNECT_3, &message]);
        let acknowledged: &[u8] = if records == 1 { b"\x40\x02\0\x01" } else { b"" };
        assert_eq!(heard.answers, [CONNACK_3, acknowledged].concat(), "MQTT-4.7.3-4 {topic:?}");
        assert_eq!(heard.sink.records.len(), records, "MQTT-1.5.3-3 {topic:?}");
    }
}

#[test]
fn every_identifier_of_a_client_is_taken() {
    let letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    for id in [&letters[..1], &letters[..23], letters, "with space, \u{e9} and /#+"] {
        let length = [0, u8::try_from(id.len()).expect("it is short")];
        let connect = [&b"\0\x04MQTT\x04\x02\0\x0a"[..], &length, id.as_bytes()].concat();
        assert_eq!(say(&[&packet(0x10, &connect)]).answers, CONNACK_3, "MQTT-3.1.3-5 {id}");
    }
}
