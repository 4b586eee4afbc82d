//! HELLO and WELCOME, byte for byte (ABI §6.2 and §6.3).
//!
//! Pure; sockets are the parent module's. Next: `listener`.

use std::mem::offset_of;

use aqueduct_core::layout::{ABI_MAJOR, RING_NAME_BYTES, SUBSCRIPTION_NAME_BYTES};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::HelloError;

/// Size of a HELLO.
pub const HELLO_BYTES: usize = 144;
const HELLO_MAGIC: [u8; 8] = *b"AQDHELLO";
const WELCOME_MAGIC: [u8; 8] = *b"AQDREPLY";
/// Minor of the packets, which have one of their own: 1 brought the kinds 2 to 4.
const PACKET_MINOR: u16 = 1;
const MESSAGE_BYTES: usize = 96;

/// Producer to reader: there is data.
pub(super) const WAKE: u8 = b'W';
/// Reader to producer: there is space.
pub(super) const SPACE: u8 = b'S';

/// First packet of a reader.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct HelloPacket {
    magic: [u8; 8],
    abi_major: U16,
    abi_minor: U16,
    kind: U32,
    ring: [u8; RING_NAME_BYTES],
    subscription: [u8; SUBSCRIPTION_NAME_BYTES],
    reserved: [u8; 32],
}

const _: () = assert!(offset_of!(HelloPacket, kind) == 12);
const _: () = assert!(offset_of!(HelloPacket, ring) == 16);
const _: () = assert!(offset_of!(HelloPacket, subscription) == 80);
const _: () = assert!(offset_of!(HelloPacket, reserved) == 112);
const _: () = assert!(size_of::<HelloPacket>() == HELLO_BYTES);

/// The answer.
#[derive(IntoBytes, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Welcome {
    magic: [u8; 8],
    abi_major: U16,
    abi_minor: U16,
    status: U32,
    ring_bytes: U64,
    cursor_bytes: U32,
    reserved: U32,
    message: [u8; MESSAGE_BYTES],
}

const _: () = assert!(offset_of!(Welcome, status) == 12);
const _: () = assert!(offset_of!(Welcome, ring_bytes) == 16);
const _: () = assert!(offset_of!(Welcome, cursor_bytes) == 24);
const _: () = assert!(offset_of!(Welcome, message) == 32);
const _: () = assert!(size_of::<Welcome>() == 128);

/// What a reader wants to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Gating reader, where the subscription stands.
    Attach,
    /// Observer: the ring only.
    Observe,
    /// Gating reader; its subscription goes back to the oldest whole record first.
    AttachOldest,
    /// Gating reader; its subscription goes forward behind the last record first.
    AttachLatest,
}

impl Kind {
    const fn from_wire(kind: u32) -> Option<Self> {
        Some(match kind {
            1 => Self::Attach,
            2 => Self::Observe,
            3 => Self::AttachOldest,
            4 => Self::AttachLatest,
            _ => return None,
        })
    }
}

/// What a reader asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// What it wants to be.
    pub kind: Kind,
    /// Name of the ring; empty means the only one.
    pub ring: String,
    /// Name of the subscription; never empty; means nothing to an observer.
    pub subscription: String,
}

impl Hello {
    /// Checks a packet, whatever its size.
    pub(super) fn parse(packet: &[u8]) -> Result<Self, HelloError> {
        let Ok(hello) = HelloPacket::ref_from_bytes(packet) else {
            return Err(HelloError::Malformed { what: "it must have 144 bytes" });
        };
        if hello.magic != HELLO_MAGIC {
            return Err(HelloError::Malformed { what: "wrong magic" });
        }
        if hello.abi_major.get() != ABI_MAJOR {
            return Err(HelloError::Version { found: hello.abi_major.get() });
        }
        let kind = Kind::from_wire(hello.kind.get()).ok_or(HelloError::Malformed {
            what: "unknown kind; 1, 3, 4 attach as gating reader, 2 as observer",
        })?;
        let ring = text(&hello.ring)
            .ok_or(HelloError::Malformed { what: "the ring's name is not zero-padded UTF-8" })?;
        let name = text(&hello.subscription).ok_or(HelloError::Malformed {
            what: "the subscription's name is not zero-padded UTF-8",
        })?;
        let subscription = if name.is_empty() { "default" } else { name };
        Ok(Self { kind, ring: ring.to_owned(), subscription: subscription.to_owned() })
    }
}

/// The text in a zero-padded field.
fn text(field: &[u8]) -> Option<&str> {
    let end = field.iter().position(|&byte| byte == 0).unwrap_or(field.len());
    let (name, padding) = field.split_at(end);
    if padding.iter().any(|&byte| byte != 0) {
        return None;
    }
    std::str::from_utf8(name).ok()
}

/// `status` of a WELCOME.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Attached.
    Attached = 0,
    /// Malformed HELLO.
    Malformed = 1,
    /// Other ABI major.
    Version = 2,
    /// No such ring.
    NoRing = 3,
    /// No such subscription.
    NoSubscription = 4,
    /// The subscription has a reader.
    Busy = 5,
    /// Not permitted.
    NotPermitted = 6,
    /// The producer is shutting down.
    ShuttingDown = 7,
    /// The producer lacks a resource.
    Resource = 8,
}

impl Status {
    /// All, for metrics.
    pub const ALL: [Self; 9] = [
        Self::Attached,
        Self::Malformed,
        Self::Version,
        Self::NoRing,
        Self::NoSubscription,
        Self::Busy,
        Self::NotPermitted,
        Self::ShuttingDown,
        Self::Resource,
    ];

    /// In metrics and logs.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Attached => "attached",
            Self::Malformed => "malformed",
            Self::Version => "version",
            Self::NoRing => "no_ring",
            Self::NoSubscription => "no_subscription",
            Self::Busy => "busy",
            Self::NotPermitted => "not_permitted",
            Self::ShuttingDown => "shutting_down",
            Self::Resource => "resource",
        }
    }
}

impl Welcome {
    pub(super) fn attached(ring_bytes: u64, cursor_bytes: u32) -> Self {
        let mut welcome = Self::refused(Status::Attached, "");
        welcome.ring_bytes = U64::new(ring_bytes);
        welcome.cursor_bytes = U32::new(cursor_bytes);
        welcome
    }

    /// The message is cut to what fits, between characters.
    pub(super) fn refused(status: Status, message: &str) -> Self {
        let mut field = [0; MESSAGE_BYTES];
        let cut = (0..=message.len().min(MESSAGE_BYTES))
            .rev()
            .find(|&at| message.is_char_boundary(at))
            .unwrap_or(0);
        field[..cut].copy_from_slice(&message.as_bytes()[..cut]);
        Self {
            magic: WELCOME_MAGIC,
            abi_major: U16::new(ABI_MAJOR),
            abi_minor: U16::new(PACKET_MINOR),
            status: U32::new(status as u32),
            ring_bytes: U64::new(0),
            cursor_bytes: U32::new(0),
            reserved: U32::new(0),
            message: field,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet() -> [u8; HELLO_BYTES] {
        let mut packet = [0; HELLO_BYTES];
        packet[..8].copy_from_slice(b"AQDHELLO");
        packet[8] = 1;
        packet[12] = 1;
        packet[16..20].copy_from_slice(b"demo");
        packet
    }

    #[test]
    fn a_hello_without_subscription_means_default() {
        let hello = Hello::parse(&packet()).expect("well formed");
        assert_eq!(
            hello,
            Hello { kind: Kind::Attach, ring: "demo".into(), subscription: "default".into() }
        );
    }

    #[test]
    fn every_kind_is_read_and_no_other() {
        for (kind, expected) in [
            (1, Kind::Attach),
            (2, Kind::Observe),
            (3, Kind::AttachOldest),
            (4, Kind::AttachLatest),
        ] {
            let mut packet = packet();
            packet[12] = kind;
            assert_eq!(Hello::parse(&packet).map(|hello| hello.kind).ok(), Some(expected));
            packet[15] = 1;
            assert!(Hello::parse(&packet).is_err());
        }
    }

    #[test]
    fn a_hello_of_another_major_is_told_from_a_malformed_one() {
        let mut other = packet();
        other[8] = 2;
        assert!(matches!(Hello::parse(&other), Err(HelloError::Version { found: 2 })));
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
            let mut broken = packet();
            damage(&mut broken);
            assert!(
                matches!(Hello::parse(&broken), Err(HelloError::Malformed { .. })),
                "{broken:?}"
            );
        }
        assert!(matches!(Hello::parse(&packet()[..143]), Err(HelloError::Malformed { .. })));
        assert!(matches!(Hello::parse(&[0; HELLO_BYTES + 1]), Err(HelloError::Malformed { .. })));
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let welcome = Welcome::refused(Status::Busy, &"é".repeat(60));
        assert_eq!(text(&welcome.message), Some("é".repeat(48).as_str()));
        let welcome = Welcome::refused(Status::Busy, &format!("x{}", "é".repeat(60)));
        assert_eq!(text(&welcome.message).map(str::len), Some(95));
    }
}
