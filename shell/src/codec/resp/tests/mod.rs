//! Conversations with the RESP codec.

mod commands;
mod frames;
mod splits;

use std::sync::Arc;

use super::{Config, Resp};
use crate::codec::Keep;
use crate::codec::trial::{End, OneCredential, Trial, converse};
use crate::middleware::credentials::Credentials;

/// What a whole conversation came to.
pub(super) struct Heard {
    pub(super) replies: String,
    pub(super) end: End,
    pub(super) sink: Trial,
}

impl Heard {
    pub(super) fn payloads(&self) -> Vec<&[u8]> {
        self.sink.records.iter().map(|record| &*record.payload).collect()
    }
}

pub(super) fn codec() -> Resp {
    Resp::new(
        Arc::new(Config { max_command_bytes: 4096, keep: Keep::default(), credentials: None }),
        42,
    )
}

/// A connection of an address that asks for these credentials.
pub(super) fn codec_with(credentials: OneCredential) -> Resp {
    let credentials: Option<Arc<dyn Credentials>> = Some(Arc::new(credentials));
    Resp::new(Arc::new(Config { max_command_bytes: 4096, keep: Keep::default(), credentials }), 42)
}

/// Says `bytes` at once, to a sink that takes everything.
pub(super) fn say(bytes: impl AsRef<[u8]>) -> Heard {
    say_to(Trial::new(), bytes)
}

/// Says it where these credentials are asked for.
pub(super) fn say_with(credentials: OneCredential, bytes: impl AsRef<[u8]>) -> Heard {
    let (mut codec, mut sink) = (codec_with(credentials), Trial::new());
    let (replies, end) = converse(&mut codec, &mut sink, bytes.as_ref(), &[]);
    Heard { replies: String::from_utf8_lossy(&replies).into_owned(), end, sink }
}

pub(super) fn say_to(mut sink: Trial, bytes: impl AsRef<[u8]>) -> Heard {
    let (replies, end) = converse(&mut codec(), &mut sink, bytes.as_ref(), &[]);
    Heard { replies: String::from_utf8_lossy(&replies).into_owned(), end, sink }
}

/// A command as an array of bulk strings.
pub(super) fn array<A: AsRef<[u8]>>(args: &[A]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        bytes.extend_from_slice(format!("${}\r\n", arg.as_ref().len()).as_bytes());
        bytes.extend_from_slice(arg.as_ref());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}
