extern crate std;
use std::string::ToString;

use super::*;

fn hello() -> [u8; HELLO_BYTES] {
    let mut packet = [0; HELLO_BYTES];
    packet[..8].copy_from_slice(b"AQDHELLO");
    packet[8] = 1;
    packet[10] = 2;
    packet[12] = 1;
    packet[16..20].copy_from_slice(b"demo");
    packet
}

fn refusal(message: &[u8]) -> [u8; WELCOME_BYTES] {
    let mut packet = [0; WELCOME_BYTES];
    packet[..8].copy_from_slice(b"AQDREPLY");
    packet[8] = 1;
    packet[10] = 2;
    packet[12] = 5;
    packet[32..32 + message.len()].copy_from_slice(message);
    packet
}

#[test]
fn a_hello_without_subscription_means_default() {
    assert_eq!(
        Hello::parse(&hello()),
        Ok(Hello { kind: Kind::Attach, ring: "demo", subscription: "default" })
    );
}

#[test]
fn a_hello_is_written_byte_for_byte() {
    let asked = Hello { kind: Kind::Attach, ring: "demo", subscription: "" };
    assert_eq!(asked.encode(), Ok(hello()));
    let mut other = hello();
    other[12] = 4;
    other[80..85].copy_from_slice(b"audit");
    let asked = Hello { kind: Kind::AttachLatest, ring: "demo", subscription: "audit" };
    assert_eq!(asked.encode(), Ok(other));
    assert_eq!(Hello::parse(&other), Ok(asked));
}

#[test]
fn a_name_may_fill_its_field_and_no_more() {
    let (ring, subscription) = ("r".repeat(64), "s".repeat(32));
    let asked = Hello { kind: Kind::Observe, ring: &ring, subscription: &subscription };
    assert_eq!(Hello::parse(&asked.encode().unwrap()), Ok(asked));
    let (ring, subscription) = ("r".repeat(65), "s".repeat(33));
    assert_eq!(Hello { ring: &ring, ..asked }.encode(), Err(NameError { bytes: 65, limit: 64 }));
    assert_eq!(
        Hello { subscription: &subscription, ..asked }.encode(),
        Err(NameError { bytes: 33, limit: 32 })
    );
}

#[test]
fn every_kind_is_read_and_no_other() {
    for (number, kind) in
        [(1, Kind::Attach), (2, Kind::Observe), (3, Kind::AttachOldest), (4, Kind::AttachLatest)]
    {
        let mut packet = hello();
        packet[12] = number;
        assert_eq!(Hello::parse(&packet).map(|hello| hello.kind), Ok(kind));
        packet[15] = 1;
        assert!(Hello::parse(&packet).is_err());
    }
}

#[test]
fn a_hello_of_any_minor_may_ask_for_every_kind() {
    for (minor, kind) in [(0, 1), (0, 2), (0, 3), (0, 4), (9, 2)] {
        let mut packet = hello();
        (packet[10], packet[12]) = (minor, kind);
        let parsed = Hello::parse(&packet);
        assert_eq!(parsed.map(|hello| hello.kind as u8), Ok(kind), "minor {minor}");
    }
}

#[test]
fn a_hello_of_another_major_is_told_from_a_malformed_one() {
    let mut other = hello();
    other[8] = 2;
    assert_eq!(Hello::parse(&other), Err(HelloError::Version { found: 2 }));
}

#[test]
fn every_broken_hello_is_malformed() {
    let breaks: [fn(&mut [u8; HELLO_BYTES]); 5] = [
        |p| p[0] = b'X',
        |p| p[12] = 5,
        |p| p[16] = 0xff,
        |p| p[30] = b'x',
        |p| p[80..84].copy_from_slice(&[b'a', 0, b'b', 0]),
    ];
    for damage in breaks {
        let mut broken = hello();
        damage(&mut broken);
        let parsed = Hello::parse(&broken);
        assert!(matches!(parsed, Err(HelloError::Malformed { .. })), "{broken:?}");
    }
    for bytes in [0, HELLO_BYTES - 1, HELLO_BYTES + 1] {
        let parsed = Hello::parse(&[0; HELLO_BYTES + 1][..bytes]);
        assert!(matches!(parsed, Err(HelloError::Malformed { .. })), "{bytes}");
    }
}

#[test]
fn a_reader_knows_attributes_from_minor_2_on_and_only_by_a_hello() {
    let mut packet = hello();
    for (minor, knows) in [(0, false), (1, false), (2, true), (255, true)] {
        packet[10] = minor;
        assert_eq!(knows_attributes(&packet), knows, "{minor}");
    }
    packet[10..12].copy_from_slice(&[0, 1]);
    assert!(knows_attributes(&packet));
    assert!(!knows_attributes(&packet[..HELLO_BYTES - 1]) && !knows_attributes(&[]));
    packet[0] ^= 1;
    assert!(!knows_attributes(&packet), "no HELLO begins so");
}

#[test]
fn a_welcome_is_written_byte_for_byte() {
    let mut attached = refusal(b"");
    attached[12] = 0;
    attached[16..24].copy_from_slice(&0x0123_4567_89ab_u64.to_le_bytes());
    attached[24..28].copy_from_slice(&4096_u32.to_le_bytes());
    let welcome = Welcome::Attached { ring_bytes: 0x0123_4567_89ab, cursor_bytes: 4096 };
    assert_eq!(welcome.encode(), attached);
    assert_eq!(Welcome::parse(&attached), Ok(welcome));
    let welcome = Welcome::refused(Status::Busy, "it has a reader");
    assert_eq!(welcome.encode(), refusal(b"it has a reader"));
    assert_eq!(Welcome::parse(&welcome.encode()), Ok(welcome));
}

#[test]
fn a_refusal_by_an_unknown_number_is_a_refusal() {
    let mut packet = refusal(b"later");
    packet[12..16].copy_from_slice(&[9, 0, 0, 7]);
    assert_eq!(
        Welcome::parse(&packet),
        Ok(Welcome::Refused { status: 0x0700_0009, message: b"later" })
    );
}

#[test]
fn a_refusals_message_is_whatever_its_sender_wrote_up_to_a_zero() {
    let message = |packet: &[u8]| match Welcome::parse(packet) {
        Ok(Welcome::Refused { message, .. }) => message.to_vec(),
        other => panic!("{other:?}"),
    };
    assert_eq!(message(&refusal(b"\xff\x1b[2J\0hidden")), b"\xff\x1b[2J");
    assert_eq!(message(&refusal(&[b'x'; MESSAGE_BYTES])), [b'x'; MESSAGE_BYTES]);
}

#[test]
fn every_broken_welcome_is_malformed_and_another_major_is_told_from_it() {
    let mut packet = refusal(b"");
    packet[9] = 1;
    assert_eq!(Welcome::parse(&packet), Err(WelcomeError::Version { found: 257 }));
    packet[0] = b'B';
    assert_eq!(Welcome::parse(&packet), Err(WelcomeError::Malformed { bytes: 128 }));
    for bytes in [0, WELCOME_BYTES - 1, WELCOME_BYTES + 1] {
        let parsed = Welcome::parse(&[0; WELCOME_BYTES + 1][..bytes]);
        assert_eq!(parsed, Err(WelcomeError::Malformed { bytes }));
    }
}

#[test]
fn a_long_message_is_cut_between_characters() {
    for (message, kept) in [
        ("é".repeat(60), "é".repeat(48)),
        (std::format!("x{}", "é".repeat(60)), std::format!("x{}", "é".repeat(47))),
        ("x".repeat(97), "x".repeat(96)),
    ] {
        let packet = Welcome::refused(Status::Busy, &message).encode();
        assert_eq!(
            Welcome::parse(&packet),
            Ok(Welcome::Refused { status: 5, message: kept.as_bytes() })
        );
    }
    let nonsense = Welcome::Refused { status: 5, message: &[0x80; 200] };
    assert_eq!(Welcome::parse(&nonsense.encode()), Ok(Welcome::refused(Status::Busy, "")));
}

#[test]
fn every_status_is_found_by_its_number() {
    for (number, status) in (0..).zip(Status::ALL) {
        assert_eq!(Status::from_number(number), Some(status));
    }
    assert_eq!(Status::from_number(9), None);
}

#[test]
fn every_message_carries_its_facts() {
    for (message, part) in [
        (HelloError::Malformed { what: "wrong magic" }.to_string(), "hello: wrong magic"),
        (HelloError::Version { found: 7 }.to_string(), "ABI major 7; this producer speaks 1"),
        (WelcomeError::Malformed { bytes: 12 }.to_string(), "12 bytes is not a welcome"),
        (WelcomeError::Version { found: 7 }.to_string(), "ABI 7; this client speaks ABI 1"),
    ] {
        assert!(message.contains(part), "{message:?} lacks {part:?}");
    }
}
