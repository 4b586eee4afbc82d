//! Properties: cuts do not matter, and the crate `mqttbytes` writes and reads the same packets.

use bytes::BytesMut;
use mqttbytes::{QoS, v4, v5};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::{CONNACK_3, CONNECT_3, CONNECT_5, codec, say};
use crate::codec::trial::{End, Kept, Trial, converse};

const PACKETS: &[&[u8]] = &[
    b"\x30\x06\0\x03a/xm",
    b"\x30\x07\0\x03a/x\0m",
    b"\x32\x08\0\x03a/x\0\x01m",
    b"\x32\x09\0\x03a/x\0\x01\0m",
    b"\x32\x09\0\x05b/1/x\0\x02",
    b"\x32\x0a\0\x05b/1/x\0\x02\0",
    b"\x32\x06\0\x01c\0\x03\0",
    b"\xc0\0",
    b"\xc0\0",
    b"\x82\x06\0\x01\0\x01a\0",
    b"\x82\x07\0\x01\0\0\x01a\0",
    b"\xa2\x05\0\x01\0\x01a",
    b"\xa2\x06\0\x01\0\0\x01a",
    b"\x62\x02\0\x09",
    b"\xe0\0",
    // A remaining length of two bytes.
    b"\x30\x88\x01\0\x03a/x\0\
      ................................................................................\
      ..................................................",
];

const CONNECTS: &[&[u8]] = &[
    CONNECT_3,
    CONNECT_5,
    b"\x10\x17\0\x04MQTT\x04\x06\0\x0a\0\x01c\0\x03a/w\0\x03wil",
    b"\x10\x19\0\x04MQTT\x05\x06\0\x0a\0\0\x01c\0\0\x03a/w\0\x03wil",
    b"\xc0\0",
];

fn quality() -> impl Strategy<Value = QoS> {
    select(&[QoS::AtMostOnce, QoS::AtLeastOnce][..])
}

proptest! {
    #[test]
    fn any_split_gives_the_same_records_and_answers(
        connect in select(CONNECTS),
        packets in vec(select(PACKETS), 0..10),
        damage in proptest::option::of((any::<Index>(), any::<u8>())),
        cuts in vec(1_usize..20, 0..40),
        fulls in 0_u32..3,
    ) {
        let mut bytes = [connect, &packets.concat()].concat();
        if let Some((index, byte)) = damage {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        let play = |cuts: &[usize]| {
            let mut sink = Trial { fulls, ..Trial::new() };
            let (answers, end) = converse(&mut codec(), &mut sink, &bytes, cuts);
            (answers, end, sink.records, sink.events)
        };
        let whole = play(&[]);
        prop_assert_eq!(&play(&cuts), &whole);
        prop_assert_eq!(&play(&vec![1; bytes.len()]), &whole);
    }

    #[test]
    fn messages_written_by_another_implementation_of_3_1_1_are_taken(
        login in any::<bool>(),
        messages in vec((quality(), "a/[a-z\u{e9}]{0,5}", vec(any::<u8>(), 0..200), 1_u16..), 0..8),
    ) {
        let mut bytes = BytesMut::new();
        let mut connect = v4::Connect::new("id");
        if login {
            connect.set_login("n", "s");
        }
        connect.write(&mut bytes).expect("written");
        for (quality, topic, payload, id) in &messages {
            let mut message = v4::Publish::new(topic, *quality, payload.clone());
            message.pkid = if *quality == QoS::AtLeastOnce { *id } else { 0 };
            message.write(&mut bytes).expect("written");
        }
        let heard = say(&[&bytes]);
        let kept = |payload: &Vec<u8>| Kept { ring: 0, type_tag: 7, payload: payload.clone() };
        let expected: Vec<Kept> = messages.iter().map(|(_, _, payload, _)| kept(payload)).collect();
        prop_assert_eq!(heard.sink.records, expected);
        let mut answers = BytesMut::from(&heard.answers[..]);
        let mut acknowledged = Vec::new();
        prop_assert!(matches!(v4::read(&mut answers, 1000), Ok(v4::Packet::ConnAck(ack))
            if ack.code == v4::ConnectReturnCode::Success && !ack.session_present));
        while !answers.is_empty() {
            match v4::read(&mut answers, 1000) {
                Ok(v4::Packet::PubAck(ack)) => acknowledged.push(ack.pkid),
                other => prop_assert!(false, "{:?}", other),
            }
        }
        let asked: Vec<u16> =
            messages.iter().filter(|message| message.0 == QoS::AtLeastOnce).map(|message| message.3).collect();
        prop_assert_eq!(acknowledged, asked);
    }

    #[test]
    fn messages_written_by_another_implementation_of_5_are_taken(
        messages in vec((quality(), "[ac]/[a-z]{0,5}", vec(any::<u8>(), 0..200), 1_u16..), 0..8),
        expiry in proptest::option::of(any::<u32>()),
        user in vec(("[a-z]{0,3}", "[a-z]{0,3}"), 0..3),
    ) {
        let mut bytes = BytesMut::new();
        v5::Connect::new("id").write(&mut bytes).expect("written");
        for (quality, topic, payload, id) in &messages {
            let mut message = v5::Publish::new(topic, *quality, payload.clone());
            message.pkid = if *quality == QoS::AtLeastOnce { *id } else { 0 };
            message.properties = Some(v5::PublishProperties {
                payload_format_indicator: Some(0),
                message_expiry_interval: expiry,
                topic_alias: None,
                response_topic: Some("answers".to_owned()),
                correlation_data: None,
                user_properties: user.clone(),
                subscription_identifiers: Vec::new(),
                content_type: None,
            });
            message.write(&mut bytes).expect("written");
        }
        let heard = say(&[&bytes]);
        prop_assert_eq!(heard.end, End::Input);
        let payloads: Vec<_> = heard.sink.records.iter().map(|record| &record.payload).collect();
        let of_a = |topic: &str| topic.starts_with('a');
        let expected: Vec<_> =
            messages.iter().filter(|message| of_a(&message.1)).map(|message| &message.2).collect();
        prop_assert_eq!(payloads, expected);
        let mut answers = BytesMut::from(&heard.answers[..]);
        let Ok(v5::Packet::ConnAck(ack)) = v5::read(&mut answers, 1000) else {
            panic!("{:?}", heard.answers)
        };
        let properties = ack.properties.expect("there are some");
        prop_assert_eq!((ack.session_present, properties.max_qos), (false, Some(1)));
        prop_assert_eq!((properties.retain_available, properties.max_packet_size), (Some(0), Some(4096)));
        let mut acknowledged = Vec::new();
        while !answers.is_empty() {
            match v5::read(&mut answers, 1000) {
                Ok(v5::Packet::PubAck(ack)) => {
                    acknowledged.push((ack.pkid, ack.reason == v5::PubAckReason::Success));
                }
                other => prop_assert!(false, "{:?}", other),
            }
        }
        let asked: Vec<_> = messages
            .iter()
            .filter(|message| message.0 == QoS::AtLeastOnce)
            .map(|message| (message.3, of_a(&message.1)))
            .collect();
        prop_assert_eq!(acknowledged, asked);
    }

    /// Whatever we take for a message, the other implementation reads as the same one.
    #[test]
    fn a_damaged_message_that_is_taken_is_the_same_to_another_implementation(
        original in select(&PACKETS[..7]),
        damage in vec((any::<Index>(), any::<u8>()), 1..4),
        is_five in any::<bool>(),
    ) {
        let mut bytes = original.to_vec();
        for (index, byte) in damage {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        let connect = if is_five { CONNECT_5 } else { CONNECT_3 };
        let mut sink = Trial::new();
        let (answers, _) = converse(&mut codec(), &mut sink, &[connect, &bytes].concat(), &[]);
        prop_assert!(is_five || answers.starts_with(CONNACK_3));
        if let Some(record) = sink.records.first() {
            let mut theirs = BytesMut::from(&bytes[..]);
            let payload = if is_five {
                match v5::read(&mut theirs, 4096) {
                    Ok(v5::Packet::Publish(message)) => message.payload,
                    other => panic!("{other:?}"),
                }
            } else {
                match v4::read(&mut theirs, 4096) {
                    Ok(v4::Packet::Publish(message)) => message.payload,
                    other => panic!("{other:?}"),
                }
            };
            prop_assert_eq!(&record.payload[..], &payload[..]);
        }
    }
}
