//! What stands for TLS where the program was built without it.

use std::sync::Arc;

use super::{Broken, Peer, TlsSettings};

/// Cannot be made.
pub enum Acceptor {}

/// Cannot be made.
pub enum Session {}

/// Cannot be made.
pub enum Shown {}

impl Acceptor {
    /// Refuses.
    pub fn read(_: &TlsSettings, _: &[&[u8]]) -> Result<Self, String> {
        Err("this program was built without TLS".to_owned())
    }

    /// Returns when its certificates end.
    pub fn expires_s(&self) -> Option<i64> {
        match *self {}
    }

    /// Whether a client of an earlier one would be let in.
    pub fn accepts(&self, _: &mut Shown) -> bool {
        match *self {}
    }

    /// Begins a session.
    pub fn session(&self) -> Option<Session> {
        match *self {}
    }
}

impl Session {
    /// Takes bytes of the peer.
    pub fn receive(&mut self, _: &[u8], _: &mut Vec<u8>) -> Result<(), Broken> {
        match *self {}
    }

    /// Whether the handshake is not over.
    pub fn is_handshaking(&self) -> bool {
        match *self {}
    }

    /// Who the client is.
    pub fn peer(&self) -> Option<Arc<Peer>> {
        match *self {}
    }

    /// What the client has shown.
    pub fn shown(&self) -> Shown {
        match *self {}
    }

    /// Whether the peer has ended its side.
    pub fn has_ended(&self) -> bool {
        match *self {}
    }

    /// Encrypts.
    pub fn send(&mut self, _: &[u8], _: &mut Vec<u8>) {
        match *self {}
    }

    /// Whether there is something to be sent.
    pub fn wants_to_send(&self) -> bool {
        match *self {}
    }

    /// Ends our side.
    pub fn finish(&mut self, _: &mut Vec<u8>) {
        match *self {}
    }
}
