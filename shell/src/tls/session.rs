//! One TLS session: what the peer sends in, plain bytes out, and the other way.

use std::io::{Read, Write};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::{ServerConfig, ServerConnection};

use super::{Broken, Peer};

/// The server's side of one connection.
pub struct Session {
    connection: ServerConnection,
    /// The peer has said that nothing more comes.
    has_ended: bool,
    /// By which authorities and lists its client is judged.
    rules: [u8; 32],
}

/// What a client has shown in a handshake, for an [`Acceptor`](super::Acceptor) that came later.
pub struct Shown {
    /// Its own certificate first; nothing if none was asked for.
    pub(super) chain: Vec<CertificateDer<'static>>,
    /// By which authorities and lists it was found good.
    pub(super) rules: [u8; 32],
}

impl Session {
    pub(super) fn new(config: &Arc<ServerConfig>, rules: [u8; 32]) -> Option<Self> {
        let mut connection = ServerConnection::new(Arc::clone(config)).ok()?;
        // What waits is bounded by whoever sends, as without TLS.
        connection.set_buffer_limit(None);
        Some(Self { connection, has_ended: false, rules })
    }

    /// Takes bytes as they came from the peer, and appends what they say to `plain`. Afterwards
    /// there may be something to be sent, also if they break the protocol: the alert.
    pub fn receive(&mut self, mut wire: &[u8], plain: &mut Vec<u8>) -> Result<(), Broken> {
        while !wire.is_empty() && !self.has_ended {
            match self.connection.read_tls(&mut wire) {
                Ok(0) | Err(_) => return Err(Broken),
                Ok(_) => {}
            }
            let state = self.connection.process_new_packets().map_err(|_| Broken)?;
            let (bytes, at) = (state.plaintext_bytes_to_read(), plain.len());
            plain.resize(at + bytes, 0);
            let read = self.connection.reader().read_exact(&mut plain[at..]);
            debug_assert!(read.is_ok(), "rustls said that they are there");
            self.has_ended = state.peer_has_closed();
        }
        Ok(())
    }

    /// Whether the handshake is not over.
    pub fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Who the client is, by the certificate that it has shown and an authority has signed. `None`
    /// if it has shown none, and before the end of the handshake.
    pub fn peer(&self) -> Option<Arc<Peer>> {
        if self.is_handshaking() {
            return None;
        }
        let own = self.connection.peer_certificates()?.first()?;
        Some(Arc::new(Peer::of_certificate(own)))
    }

    /// Returns what the client has shown: nothing before the end of the handshake.
    pub fn shown(&self) -> Shown {
        let chain = self.connection.peer_certificates().unwrap_or_default();
        let chain = chain.iter().map(|one| one.clone().into_owned()).collect();
        Shown { chain, rules: self.rules }
    }

    /// Whether the peer has said that nothing more comes.
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Encrypts plain bytes; appends to `wire` what is to be sent.
    pub fn send(&mut self, plain: &[u8], wire: &mut Vec<u8>) {
        // Writing to memory cannot fail.
        let _ = self.connection.writer().write_all(plain);
        self.flush(wire);
    }

    /// Whether there is something to be sent.
    pub fn wants_to_send(&self) -> bool {
        self.connection.wants_write()
    }

    /// Says that nothing more comes from here.
    pub fn finish(&mut self, wire: &mut Vec<u8>) {
        self.connection.send_close_notify();
        self.flush(wire);
    }

    fn flush(&mut self, wire: &mut Vec<u8>) {
        while self.connection.wants_write() {
            if self.connection.write_tls(wire).is_err() {
                return;
            }
        }
    }
}
