//! Messages as records, and the life of a connection, in both versions.

use std::sync::Arc;
use std::time::Duration;

use super::super::{Config, Mqtt};
use super::{
    CONNACK_3, CONNACK_5, CONNECT_3, CONNECT_5, codec, config, packet, rejected, say, say_to,
    say_with,
};
use crate::codec::trial::{End, Kept, OneCredential, Trial, converse};
use crate::codec::{Codec, Event, OUTPUT_BYTES_MAX, Reason, State, Wait};
use crate::middleware::credentials::Credentials;

/// PUBLISH with this first byte; in MQTT 5 the rest has an empty block of properties.
fn publish(first: u8, topic: &str, id: Option<u16>, is_five: bool, payload: &[u8]) -> Vec<u8> {
    let mut rest = vec![0, u8::try_from(topic.len()).expect("it is short")];
    rest.extend_from_slice(topic.as_bytes());
    rest.extend(id.into_iter().flat_map(u16::to_be_bytes));
    rest.extend(is_five.then_some(0));
    rest.extend_from_slice(payload);
    packet(first, &rest)
}

const VERSIONS: [(bool, &[u8], &[u8]); 2] =
    [(false, CONNECT_3, CONNACK_3), (true, CONNECT_5, CONNACK_5)];

#[test]
fn messages_become_records_by_their_topics_and_only_quality_1_is_acknowledged() {
    for (is_five, connect, connack) in VERSIONS {
        let heard = say(&[
            connect,
            &publish(0x30, "a/x", None, is_five, b"zero"),
            &publish(0x32, "a", Some(0x0102), is_five, b""),
            &publish(0x3a, "b/1/x", Some(7), is_five, b"again"),
        ]);
        let kept =
            |ring, type_tag, payload: &[u8]| Kept { ring, type_tag, payload: payload.to_vec() };
        let expected = [kept(0, 7, b"zero"), kept(0, 7, b""), kept(1, 9, b"again")];
        assert_eq!(heard.sink.records, expected);
        assert_eq!(heard.answers, [connack, &[0x40, 2, 1, 2, 0x40, 2, 0, 7]].concat());
        assert_eq!((heard.end, heard.sink.events), (End::Input, vec![]));
    }
}

#[test]
fn a_full_ring_withholds_the_acknowledgement_until_there_is_room() {
    for (is_five, connect, connack) in VERSIONS {
        let sink = Trial { fulls: 2, ..Trial::new() };
        let message = publish(0x32, "a/x", Some(1), is_five, b"m");
        let heard = say_to(sink, &[connect, &message, &packet(0xc0, b"")]);
        assert_eq!(heard.sink.records.len(), 1);
        assert_eq!(heard.answers, [connack, &[0x40, 2, 0, 1, 0xd0, 0]].concat());
    }
}

#[test]
fn a_record_that_is_not_taken_is_never_acknowledged_as_if_it_were() {
    for (reason, code) in [(Reason::Full, 0x97), (Reason::Denied, 0x87), (Reason::TooLarge, 0x83)] {
        for (is_five, connect, connack) in VERSIONS {
            let message = publish(0x32, "a/x", Some(1), is_five, b"m");
            let sink = Trial { refusal: Some(reason), ..Trial::new() };
            let heard = say_to(sink, &[connect, &message, &packet(0xc0, b"")]);
            let (answers, end): (&[u8], _) = if is_five {
                (&[0x40, 3, 0, 1, code, 0xd0, 0], End::Input)
            } else {
                (&[], End::Closed)
            };
            assert_eq!((heard.answers, heard.end), ([connack, answers].concat(), end));
            assert_eq!(heard.sink.events, [rejected(Some(0), reason)]);
        }
    }
}

#[test]
fn a_message_without_acknowledgement_that_is_not_taken_is_counted() {
    for (is_five, connect, connack) in VERSIONS {
        let message = publish(0x30, "a/x", None, is_five, b"m");
        let sink = Trial { refusal: Some(Reason::Full), ..Trial::new() };
        let heard = say_to(sink, &[connect, &message]);
        assert_eq!((heard.answers, heard.end), (connack.to_vec(), End::Input));
        assert_eq!(heard.sink.events, [rejected(Some(0), Reason::Full)]);
    }
}

#[test]
fn a_topic_without_a_rule_is_refused() {
    let (three, five) =
        (publish(0x32, "c", Some(1), false, b"m"), publish(0x32, "c", Some(1), true, b"m"));
    let heard = say(&[CONNECT_3, &three, &packet(0xc0, b"")]);
    assert_eq!((heard.answers, heard.end), (CONNACK_3.to_vec(), End::Closed));
    let heard = say(&[CONNECT_5, &five, &packet(0xc0, b"")]);
    assert_eq!(heard.answers, [CONNACK_5, &[0x40, 3, 0, 1, 0x90, 0xd0, 0]].concat());
    assert_eq!(heard.sink.events, [rejected(None, Reason::Denied)]);
}

#[test]
fn a_record_over_the_limit_of_its_ring_is_refused() {
    let heard = say(&[CONNECT_5, &publish(0x32, "b/1/x", Some(1), true, &[0; 17])]);
    assert_eq!(heard.answers, [CONNACK_5, &[0x40, 3, 0, 1, 0x83]].concat());
    assert_eq!(heard.sink.events, [rejected(Some(1), Reason::TooLarge)]);
}

#[test]
fn a_process_that_ends_says_so_after_what_it_has_acknowledged() {
    let message = |is_five| publish(0x32, "a/x", Some(1), is_five, b"m");
    let mut session = codec();
    let (mut sink, mut out) = (Trial::new(), Vec::new());
    let connected = session.decode(&mut CONNECT_5.to_vec(), &mut sink, &mut out);
    assert_eq!(connected.consumed, CONNECT_5.len());
    (sink.is_ending, out) = (true, Vec::new());
    let progress = session.decode(&mut message(true), &mut sink, &mut out);
    assert_eq!((progress.state, &*out), (State::Close, &[0x40, 2, 0, 1, 0xe0, 2, 0x8b, 0][..]));
    let ending = || Trial { refusal: Some(Reason::ShuttingDown), ..Trial::new() };
    let heard = say_to(ending(), &[CONNECT_5, &message(true)]);
    assert_eq!(heard.answers, [CONNACK_5, &[0xe0, 2, 0x8b, 0]].concat());
    let heard = say_to(ending(), &[CONNECT_3, &message(false)]);
    assert_eq!((heard.answers, heard.end), (CONNACK_3.to_vec(), End::Closed));
    let heard = say_to(Trial { is_ending: true, ..Trial::new() }, &[CONNECT_3]);
    assert_eq!(heard.answers, [0x20, 2, 0, 3]);
}

#[test]
fn a_will_is_published_unless_the_client_says_goodbye() {
    for (is_five, properties) in [(false, &b""[..]), (true, b"\0")] {
        let version = if is_five { 5 } else { 4 };
        let connect = [
            &b"\0\x04MQTT"[..],
            &[version, 0x06, 0, 10],
            properties,
            b"\0\x01c",
            properties,
            b"\0\x03a/w\0\x04gone",
        ];
        let connect = packet(0x10, &connect.concat());
        for (last, wills) in [
            (&b""[..], 1),
            (b"\xe0\0", 0),
            (if is_five { b"\xe0\x01\x04" } else { b"\xff\0" }, 1),
            (if is_five { b"\xe0\x01\x04" } else { b"\xe0\x01\0" }, 1),
            (b"\x01\0", 1),
        ] {
            let heard = say(&[&connect, last]);
            let wanted = Kept { ring: 0, type_tag: 7, payload: b"gone".to_vec() };
            assert_eq!(heard.sink.records, vec![wanted; wills], "{is_five} {last:?}");
        }
        let mut session = codec();
        let (mut sink, mut out) = (Trial::new(), Vec::new());
        let connected = session.decode(&mut connect.clone(), &mut sink, &mut out);
        assert_eq!(connected.consumed, connect.len());
        sink.refusal = Some(Reason::Full);
        session.broken(b"", &mut sink);
        session.broken(b"", &mut sink);
        assert_eq!(sink.events, [rejected(Some(0), Reason::Full)], "lost once, and counted");
    }
}

#[test]
fn the_clock_is_one_and_a_half_times_what_the_client_asked_for() {
    let (mut session, mut sink, mut out) = (codec(), Trial::new(), Vec::new());
    let waits = |session: &mut super::Mqtt, bytes: &[u8], sink: &mut Trial, out: &mut Vec<u8>| {
        match session.decode(&mut bytes.to_vec(), sink, out).state {
            State::More { wait, .. } => wait,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(waits(&mut session, b"", &mut sink, &mut out), Wait::First);
    assert_eq!(waits(&mut session, b"\x10", &mut sink, &mut out), Wait::Head);
    let wait = waits(&mut session, CONNECT_5, &mut sink, &mut out);
    assert_eq!(wait, Wait::Peer(Duration::from_secs(15)));
    assert_eq!(waits(&mut session, b"\x30", &mut sink, &mut out), wait, "half a packet is none");
    out.clear();
    session.timed_out(b"\x30", &mut sink, &mut out);
    assert_eq!(out, [0xe0, 2, 0x8d, 0]);
    assert_eq!(sink.events, [rejected(None, Reason::Timeout)]);
    let endless = [&CONNECT_3[..10], &[0, 0], &CONNECT_3[12..]].concat();
    let mut session = codec();
    assert_eq!(waits(&mut session, &endless, &mut sink, &mut out), Wait::Idle);
    assert_eq!(waits(&mut session, b"\x30", &mut sink, &mut out), Wait::Body);
    out.clear();
    session.timed_out(b"", &mut sink, &mut out);
    assert!(out.is_empty(), "a client of 3.1.1 cannot be told");
    let mut session = codec();
    session.timed_out(b"\x10", &mut sink, &mut out);
    assert!(out.is_empty(), "nor one that never connected");
}

#[test]
fn half_a_packet_is_counted_when_its_client_leaves() {
    let message = publish(0x30, "a/x", None, false, b"m");
    let heard = say(&[CONNECT_3, &message, &message[..5]]);
    assert_eq!((heard.sink.records.len(), heard.end), (1, End::Input));
    assert_eq!(heard.sink.events, [rejected(None, Reason::Disconnected)]);
}

#[test]
fn credentials_are_checked_before_anything_else() {
    let known = |is_slow| {
        let rings = Some(vec!["a".to_owned()]);
        OneCredential { name: "n", secret: "s", rings, is_slow }
    };
    let connect = |version: u8, flags: u8, login: &[u8]| {
        let properties: &[u8] = if version == 5 { b"\0" } else { b"" };
        let head = [&b"\0\x04MQTT"[..], &[version, flags, 0, 10], properties].concat();
        packet(0x10, &[&head[..], b"\0\x01c", login].concat())
    };
    for (version, refused, wrong) in [
        (4, &[0x20, 2, 0, 5][..], &[0x20, 2, 0, 4][..]),
        (5, &[0x20, 3, 0, 0x87, 0], &[0x20, 3, 0, 0x86, 0]),
    ] {
        // Whether they are known at once or a worker finds out.
        for is_slow in [false, true] {
            let say_to = |packets: &[&[u8]]| say_with(known(is_slow), packets);
            let message = publish(0x30, "a/x", None, version == 5, b"m");
            let heard = say_to(&[&connect(version, 2, b""), &message]);
            assert_eq!((&*heard.answers, heard.end), (refused, End::Closed));
            let heard = say_to(&[&connect(version, 0xc2, b"\0\x01n\0\x01x"), &message]);
            assert_eq!((&*heard.answers, heard.end), (wrong, End::Closed));
            assert!(heard.sink.records.is_empty());
            let heard = say_to(&[&connect(version, 0xc2, b"\0\x01n\0\x01s"), &message]);
            assert_eq!((heard.sink.records.len(), heard.end), (1, End::Input));
        }
    }
}

#[test]
fn a_reload_that_takes_credentials_away_ends_the_session_at_its_next_packet() {
    let with = |secret| {
        let known = OneCredential { name: "n", secret, rings: None, is_slow: false };
        let credentials: Option<Arc<dyn Credentials>> = Some(Arc::new(known));
        Arc::new(Config { credentials, ..config() })
    };
    for (version, goodbye) in [(4, &b""[..]), (5, &[0xe0, 2, 0x87, 0])] {
        // With a will, which is to a topic that the credential could write to.
        let properties: &[u8] = if version == 5 { b"\0" } else { b"" };
        let head = [&b"\0\x04MQTT"[..], &[version, 0xc6, 0, 10], properties].concat();
        let will = [properties, b"\0\x03a/w\0\x01w"].concat();
        let rest = [&head[..], b"\0\x01c", &will, b"\0\x01n\0\x01s"].concat();
        let (mut connect, mut sink) = (packet(0x10, &rest), Trial::new());
        let mut message = publish(0x30, "a/x", None, version == 5, b"m");
        let (mut codec, mut out) = (Mqtt::new(with("s"), 42), Vec::new());
        let _ = codec.decode(&mut connect, &mut sink, &mut out);
        let _ = codec.decode(&mut message.clone(), &mut sink, &mut out);
        codec.follow(&with("s"));
        let _ = codec.decode(&mut message.clone(), &mut sink, &mut out);
        assert_eq!((sink.records.len(), &sink.events[..]), (2, &[][..]), "it is still in the file");
        out.clear();
        codec.follow(&with("other"));
        let progress = codec.decode(&mut message, &mut sink, &mut out);
        assert_eq!((progress.state, &out[..]), (State::Close, goodbye));
        assert_eq!(sink.records.len(), 2, "neither the message nor the will");
        let denied = [rejected(None, Reason::Denied), rejected(Some(0), Reason::Denied)];
        assert_eq!(sink.events, denied);
    }
}

#[test]
fn what_breaks_the_protocol_is_counted() {
    let heard = say(&[CONNECT_3, b"\0\0"]);
    assert_eq!((heard.end, heard.sink.events), (End::Closed, vec![Event::ProtocolError]));
}

/// PUBLISH of MQTT 5 at quality 1, with the user property `idempotency-key`.
fn keyed(id: u8, key: &str, payload: &[u8]) -> Vec<u8> {
    let mut property = vec![0x26, 0, 15];
    property.extend_from_slice(b"idempotency-key");
    property.extend([0, u8::try_from(key.len()).expect("it is short")]);
    property.extend_from_slice(key.as_bytes());
    let length = u8::try_from(property.len()).expect("it is short");
    let rest = [&[0, 1, b'a', 0, id, length][..], &property, payload].concat();
    packet(0x32, &rest)
}

#[test]
fn a_message_that_comes_again_with_its_key_is_acknowledged_and_not_appended() {
    let heard = say(&[
        CONNECT_5,
        &keyed(1, "k", b"one"),
        &keyed(2, "k", b"one"),
        &keyed(3, "k", b"two"),
        &keyed(4, "other", b"one"),
        &keyed(5, "", b"three"),
    ]);
    let payloads: Vec<_> = heard.sink.records.iter().map(|record| &record.payload[..]).collect();
    assert_eq!(payloads, [b"one", b"one"]);
    let answers: &[&[u8]] = &[
        CONNACK_5,
        &[0x40, 2, 0, 1],
        &[0x40, 2, 0, 2],
        // Another payload, and a key that is none.
        &[0x40, 3, 0, 3, 0x83],
        &[0x40, 2, 0, 4],
        &[0x40, 3, 0, 5, 0x83],
    ];
    assert_eq!(heard.answers, answers.concat());
    assert_eq!(heard.sink.events, [rejected(Some(0), Reason::Malformed); 2]);
}

#[test]
fn credentials_are_good_for_their_rings_only() {
    let known = || {
        let rings = Some(vec!["a".to_owned()]);
        OneCredential { name: "n", secret: "s", rings, is_slow: false }
    };
    let connect = |flags: u8, payload: &[u8]| {
        let head = [&b"\0\x04MQTT\x05"[..], &[flags, 0, 10, 0], b"\0\x01c"].concat();
        packet(0x10, &[&head[..], payload, b"\0\x01n\0\x01s"].concat())
    };
    let mine = publish(0x32, "a/x", Some(1), true, b"m");
    let other = publish(0x32, "b/1/x", Some(2), true, b"m");
    let heard = say_with(known(), &[&connect(0xc2, b""), &mine, &other]);
    let expected = b"\x40\x02\0\x01\x40\x03\0\x02\x87";
    assert_eq!((heard.answers, heard.end), ([CONNACK_5, expected].concat(), End::Input));
    assert_eq!((heard.sink.records.len(), heard.sink.records[0].ring), (1, 0));
    assert_eq!(heard.sink.events, [rejected(Some(1), Reason::Denied)]);
    // Nobody can be asked when a will is published.
    let heard = say_with(known(), &[&connect(0xc6, b"\0\0\x05a/bye\0\x01x")]);
    assert_eq!((heard.answers, heard.end), (CONNACK_5.to_vec(), End::Input));
    let heard = say_with(known(), &[&connect(0xc6, b"\0\0\x05b/1/x\0\x01x")]);
    assert_eq!((&*heard.answers, heard.end), (&[0x20, 3, 0, 0x87, 0][..], End::Closed));
    assert!(heard.sink.records.is_empty());
}

#[test]
fn packets_are_counted_as_messages_and_one_of_the_largest_size_is_taken() {
    let rest = [b"\0\x03a/x", &vec![b'm'; 4096 - 3 - 5][..]].concat();
    let largest = [&[0x30, 0xfd, 0x1f][..], &rest].concat();
    let mut input = [CONNECT_3, b"\xc0\0", &largest].concat();
    assert_eq!(largest.len(), 4096);
    let (mut sink, mut out) = (Trial::new(), Vec::new());
    let progress = codec().decode(&mut input, &mut sink, &mut out);
    assert_eq!((progress.consumed, progress.messages), (input.len(), 3));
    assert_eq!(sink.events, [rejected(Some(0), Reason::TooLarge)]);
}

#[test]
fn a_record_of_the_largest_size_is_taken() {
    let heard = say(&[CONNECT_3, &publish(0x30, "b/1/x", None, false, &[b'm'; 16])]);
    assert_eq!((heard.sink.records.len(), heard.sink.events.len()), (1, 0));
}

#[test]
fn a_connection_follows_the_rules_of_its_address() {
    let (mut codec, mut sink) = (codec(), Trial::new());
    let message = publish(0x30, "a/x", None, false, b"m");
    converse(&mut codec, &mut sink, &[CONNECT_3, &message].concat(), &[]);
    codec.follow(&Arc::new(Config { rules: Vec::new(), ..config() }));
    converse(&mut codec, &mut sink, &message, &[]);
    assert_eq!(sink.records.len(), 1);
    assert_eq!(sink.events, [rejected(None, Reason::Denied)]);
}

#[test]
fn only_what_a_client_had_begun_to_say_is_counted_as_late() {
    let timed_out = |said: &[u8], rest: &[u8]| {
        let (mut codec, mut sink, mut out) = (codec(), Trial::new(), Vec::new());
        let _ = codec.decode(&mut said.to_vec(), &mut sink, &mut out);
        codec.timed_out(rest, &mut sink, &mut out);
        sink.events
    };
    assert_eq!(timed_out(b"", b"\x10"), [], "it is no client yet");
    assert_eq!(timed_out(CONNECT_3, b""), []);
    assert_eq!(timed_out(CONNECT_3, b"\x30"), [rejected(None, Reason::Timeout)]);
}

#[test]
fn answers_that_nobody_reads_stop_the_decoding_until_they_are_sent() {
    let pings = b"\xc0\0".repeat(OUTPUT_BYTES_MAX);
    let heard = say(&[CONNECT_3, &pings]);
    assert_eq!(heard.answers.len(), CONNACK_3.len() + pings.len());
    let mut input = [CONNECT_3, &pings[..OUTPUT_BYTES_MAX - CONNACK_3.len()]].concat();
    let (mut sink, mut out) = (Trial::new(), Vec::new());
    let progress = codec().decode(&mut input, &mut sink, &mut out);
    assert!(out.len() >= OUTPUT_BYTES_MAX);
    assert!(matches!(progress.state, State::More { .. }), "{progress:?}");
}
