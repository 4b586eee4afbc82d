//! HELLO and WELCOME, the packets by which a reader attaches over a control socket (ABI §6.2,
//! §6.3).
//!
//! Pure over bytes, both directions; sockets and descriptors are the caller's.
//!
//! ```
//! use aqueduct_core::handshake::{
//!     Hello, HelloError, Kind, Status, Welcome, WelcomeError, knows_attributes,
//! };
//!
//! // A reader asks,
//! let hello = Hello { kind: Kind::Attach, ring: "orders", subscription: "" }.encode()?;
//! // the producer's process reads it,
//! let asked = Hello::parse(&hello)?;
//! assert_eq!((asked.kind, asked.ring, asked.subscription), (Kind::Attach, "orders", "default"));
//! assert!(knows_attributes(&hello));
//! assert!(matches!(Hello::parse(b"GET / HTTP/1.1"), Err(HelloError::Malformed { .. })));
//! // and answers, with descriptors or with the reason.
//! let answer = Welcome::refused(Status::Busy, "somebody reads it").encode();
//! let Welcome::Refused { status, .. } = Welcome::parse(&answer)? else { panic!("it was refused") };
//! assert_eq!(Status::from_number(status).map(Status::label), Some("busy"));
//! assert!(matches!(Welcome::parse(&[]), Err(WelcomeError::Malformed { .. })));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use core::fmt;
use core::mem::offset_of;

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::layout::{ABI_MAJOR, NameError, RING_NAME_BYTES, SUBSCRIPTION_NAME_BYTES, name_field};

/// Size of a HELLO.
pub const HELLO_BYTES: usize = 144;
/// Size of a WELCOME.
pub const WELCOME_BYTES: usize = 128;
/// Room for the reason in a WELCOME.
pub const MESSAGE_BYTES: usize = 96;
/// First bytes of a HELLO.
pub const HELLO_MAGIC: [u8; 8] = *b"AQDHELLO";
/// First bytes of a WELCOME.
pub const WELCOME_MAGIC: [u8; 8] = *b"AQDREPLY";
/// Minor version of both packets, which is not that of the segments: 1 brought the kinds 2 to 4, 2
/// the attributes of records.
pub const PACKET_MINOR: u16 = 2;
/// One-byte packet from producer to reader: there is data.
pub const WAKE: u8 = b'W';
/// One-byte packet from reader to producer: there is space.
pub const SPACE: u8 = b'S';

/// The first packet of a reader, as it lies on the wire.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
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

const _: () = assert!(offset_of!(HelloPacket, abi_major) == 8);
const _: () = assert!(offset_of!(HelloPacket, abi_minor) == 10);
const _: () = assert!(offset_of!(HelloPacket, kind) == 12);
const _: () = assert!(offset_of!(HelloPacket, ring) == 16);
const _: () = assert!(offset_of!(HelloPacket, subscription) == 80);
const _: () = assert!(offset_of!(HelloPacket, reserved) == 112);
const _: () = assert!(size_of::<HelloPacket>() == HELLO_BYTES);

/// The answer to it, as it lies on the wire.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct WelcomePacket {
    magic: [u8; 8],
    abi_major: U16,
    abi_minor: U16,
    status: U32,
    ring_bytes: U64,
    cursor_bytes: U32,
    reserved: U32,
    message: [u8; MESSAGE_BYTES],
}

const _: () = assert!(offset_of!(WelcomePacket, abi_major) == 8);
const _: () = assert!(offset_of!(WelcomePacket, abi_minor) == 10);
const _: () = assert!(offset_of!(WelcomePacket, status) == 12);
const _: () = assert!(offset_of!(WelcomePacket, ring_bytes) == 16);
const _: () = assert!(offset_of!(WelcomePacket, cursor_bytes) == 24);
const _: () = assert!(offset_of!(WelcomePacket, reserved) == 28);
const _: () = assert!(offset_of!(WelcomePacket, message) == 32);
const _: () = assert!(size_of::<WelcomePacket>() == WELCOME_BYTES);

/// What a reader asks to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A gating reader that continues where its subscription is.
    Attach = 1,
    /// An observer: it gets the ring only and holds nobody back.
    Observe = 2,
    /// A gating reader whose subscription goes back to the oldest intact record first.
    AttachOldest = 3,
    /// A gating reader whose subscription goes forward past the last published record first.
    AttachLatest = 4,
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

/// Returns whether the reader that sent this HELLO knows records with attributes, by its minor
/// version. False for bytes that are no HELLO.
#[must_use]
pub fn knows_attributes(hello: &[u8]) -> bool {
    HelloPacket::ref_from_bytes(hello)
        .is_ok_and(|packet| packet.magic == HELLO_MAGIC && packet.abi_minor.get() >= 2)
}

/// What a reader asks for: the content of a HELLO.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hello<'a> {
    /// What it asks to become.
    pub kind: Kind,
    /// Name of the ring; empty means the only one.
    pub ring: &'a str,
    /// Name of the subscription; empty means `default`. Ignored for an observer.
    pub subscription: &'a str,
}

impl<'a> Hello<'a> {
    /// Writes the packet.
    ///
    /// # Errors
    /// A name does not fit its field.
    pub fn encode(&self) -> Result<[u8; HELLO_BYTES], NameError> {
        let packet = HelloPacket {
            magic: HELLO_MAGIC,
            abi_major: U16::new(ABI_MAJOR),
            abi_minor: U16::new(PACKET_MINOR),
            kind: U32::new(self.kind as u32),
            ring: name_field(self.ring)?,
            subscription: name_field(self.subscription)?,
            reserved: [0; 32],
        };
        Ok(zerocopy::transmute!(packet))
    }

    /// Checks and reads a packet of any size. An empty name of the subscription is read as
    /// `default`.
    ///
    /// # Errors
    /// The bytes are not a HELLO of this ABI.
    pub fn parse(packet: &'a [u8]) -> Result<Self, HelloError> {
        let malformed = |what| HelloError::Malformed { what };
        let hello =
            HelloPacket::ref_from_bytes(packet).map_err(|_| malformed("it must have 144 bytes"))?;
        if hello.magic != HELLO_MAGIC {
            return Err(malformed("wrong magic"));
        }
        if hello.abi_major.get() != ABI_MAJOR {
            return Err(HelloError::Version { found: hello.abi_major.get() });
        }
        let kind = Kind::from_wire(hello.kind.get())
            .ok_or(malformed("unknown kind; 1, 3, 4 attach as gating reader, 2 as observer"))?;
        let ring =
            name(&hello.ring).ok_or(malformed("the ring's name is not zero-padded UTF-8"))?;
        let subscription = name(&hello.subscription)
            .ok_or(malformed("the subscription's name is not zero-padded UTF-8"))?;
        let subscription = if subscription.is_empty() { "default" } else { subscription };
        Ok(Self { kind, ring, subscription })
    }
}

/// Reads the text in a zero-padded field.
fn name(field: &[u8]) -> Option<&str> {
    let text = until_zero(field);
    let padding = &field[text.len()..];
    if padding.iter().any(|&byte| byte != 0) {
        return None;
    }
    core::str::from_utf8(text).ok()
}

fn until_zero(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// Why a packet is not a HELLO.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HelloError {
    /// Its bytes make no sense.
    Malformed {
        /// What is wrong with them.
        what: &'static str,
    },
    /// Its sender speaks another major version of the ABI.
    Version {
        /// The sender's.
        found: u16,
    },
}

impl fmt::Display for HelloError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed { what } => write!(f, "malformed hello: {what}"),
            Self::Version { found } => {
                write!(f, "ABI major {found}; this producer speaks {ABI_MAJOR}")
            }
        }
    }
}

impl core::error::Error for HelloError {}

/// `status` of a WELCOME.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// Attached.
    Attached = 0,
    /// The HELLO is malformed.
    Malformed = 1,
    /// The HELLO has another ABI major.
    Version = 2,
    /// There is no ring of that name.
    NoRing = 3,
    /// There is no subscription of that name.
    NoSubscription = 4,
    /// The subscription has a reader.
    Busy = 5,
    /// This peer may not attach.
    NotPermitted = 6,
    /// The producer is shutting down.
    ShuttingDown = 7,
    /// The producer lacks a resource.
    Resource = 8,
}

impl Status {
    /// All of them, in the order of their numbers.
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

    /// Finds the status with this number; `None` if this version does not know it.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|&status| status as u32 == number)
    }

    /// Names it in metrics and logs.
    #[must_use]
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

/// What the producer's process answers: the content of a WELCOME.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Welcome<'a> {
    /// The reader is attached. The packet carries the descriptor of the ring and, unless an
    /// observer asked, that of the cursor segment.
    Attached {
        /// Size of the ring segment.
        ring_bytes: u64,
        /// Size of the cursor segment; 0 for an observer.
        cursor_bytes: u32,
    },
    /// The reader is refused. The packet carries no descriptor, and the connection ends.
    Refused {
        /// The number of a [`Status`], which may be later than this version.
        status: u32,
        /// The reason, for people. UTF-8 by agreement only: a peer may have sent anything.
        message: &'a [u8],
    },
}

impl<'a> Welcome<'a> {
    /// Refuses, and says why. A message that is too long is cut between characters.
    #[must_use]
    pub const fn refused(status: Status, message: &'a str) -> Self {
        Self::Refused { status: status as u32, message: message.as_bytes() }
    }

    /// Writes the packet.
    #[must_use]
    pub fn encode(&self) -> [u8; WELCOME_BYTES] {
        let (status, ring_bytes, cursor_bytes, text) = match *self {
            Self::Attached { ring_bytes, cursor_bytes } => {
                (Status::Attached as u32, ring_bytes, cursor_bytes, &[][..])
            }
            Self::Refused { status, message } => (status, 0, 0, message),
        };
        let mut message = [0; MESSAGE_BYTES];
        let cut = cut_between_characters(text, MESSAGE_BYTES);
        message[..cut.len()].copy_from_slice(cut);
        let packet = WelcomePacket {
            magic: WELCOME_MAGIC,
            abi_major: U16::new(ABI_MAJOR),
            abi_minor: U16::new(PACKET_MINOR),
            status: U32::new(status),
            ring_bytes: U64::new(ring_bytes),
            cursor_bytes: U32::new(cursor_bytes),
            reserved: U32::new(0),
            message,
        };
        zerocopy::transmute!(packet)
    }

    /// Checks and reads a packet of any size.
    ///
    /// # Errors
    /// The bytes are not a WELCOME of this ABI.
    pub fn parse(packet: &'a [u8]) -> Result<Self, WelcomeError> {
        let bytes = packet.len();
        let malformed = WelcomeError::Malformed { bytes };
        let welcome = WelcomePacket::ref_from_bytes(packet).map_err(|_| malformed)?;
        if welcome.magic != WELCOME_MAGIC {
            return Err(malformed);
        }
        if welcome.abi_major.get() != ABI_MAJOR {
            return Err(WelcomeError::Version { found: welcome.abi_major.get() });
        }
        let status = welcome.status.get();
        if status != Status::Attached as u32 {
            return Ok(Self::Refused { status, message: until_zero(&welcome.message) });
        }
        let (ring_bytes, cursor_bytes) = (welcome.ring_bytes.get(), welcome.cursor_bytes.get());
        Ok(Self::Attached { ring_bytes, cursor_bytes })
    }
}

/// The start of a text, at most `limit` bytes, without a piece of a UTF-8 character at its end.
fn cut_between_characters(text: &[u8], limit: usize) -> &[u8] {
    let continues = |at: usize| text.get(at).is_some_and(|&byte| byte & 0xC0 == 0x80);
    let at = (0..=limit.min(text.len())).rev().find(|&at| !continues(at));
    &text[..at.unwrap_or(0)]
}

/// Why a packet is not a WELCOME.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WelcomeError {
    /// Size or magic are wrong.
    Malformed {
        /// Its size.
        bytes: usize,
    },
    /// Its sender speaks another major version of the ABI.
    Version {
        /// The sender's.
        found: u16,
    },
}

impl fmt::Display for WelcomeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed { bytes } => write!(f, "the answer of {bytes} bytes is not a welcome"),
            Self::Version { found } => {
                write!(f, "the listener speaks ABI {found}; this client speaks ABI {ABI_MAJOR}")
            }
        }
    }
}

impl core::error::Error for WelcomeError {}

#[cfg(test)]
mod tests;
