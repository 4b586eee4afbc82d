//! What a connection does with each packet after CONNECT, and with CONNECT itself.

use aqueduct_core::attributes::name::TOPIC;

use super::connect::{self, BadConnect, Connect, Version};
use super::property::{self, Owner};
use super::publish::{self, Publish};
use super::reason::Code;
use super::wire::{FixedHeader, Reader, push_packet};
use super::{Config, Route, key};
use crate::codec::text::push_decimal;
use crate::codec::{
    Access, Event, Kept, Keyed, Login, Outcome, Reason, Recall, Record, Ring, Seen, Sink,
};

/// A client that was accepted.
pub(super) struct Session {
    pub(super) version: Version,
    /// Seconds between two packets; 0 is no limit.
    pub(super) keep_alive: u16,
    /// Largest packet that it takes, bytes.
    max_packet_bytes: u32,
    /// CONNECT asked for a session that outlives the connection.
    is_to_outlive: bool,
    /// What is published when it leaves without a word.
    will: Option<Box<Will>>,
}

struct Will {
    /// Nothing if no rule means its topic.
    route: Option<Route>,
    payload: Box<[u8]>,
    /// `None` if it is more than a record may have.
    kept: Option<Kept>,
}

/// What happens after a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// The next one.
    GoOn,
    /// The ring is full: the same one again.
    Wait,
    /// The connection ends.
    Close,
}

/// What came of the first packet.
pub(super) enum Connected {
    Session(Session),
    /// It is answered, or deserves no answer.
    Refused,
    /// A worker is needed: it is to be tried again afterwards.
    Away,
}

/// Where the packets of a session come from.
pub(super) struct From<'a> {
    pub(super) config: &'a Config,
    /// Who the client is.
    pub(super) login: &'a Login,
    /// Its address, where that is kept.
    pub(super) peer: &'a str,
}

impl From<'_> {
    fn may_write<S: Sink>(&self, route: &Route, sink: &S) -> bool {
        let credentials = self.config.credentials.as_ref();
        self.login.may_write(credentials, sink.name(route.ring.id))
    }
}

/// Answers the first packet.
pub(super) fn connect<S: Sink>(
    packet: &[u8],
    config: &Config,
    login: &mut Login,
    (number, peer): (u64, &str),
    sink: &mut S,
    out: &mut Vec<u8>,
) -> Connected {
    let connect = match connect::read(packet) {
        Ok(connect) => connect,
        Err(bad) => {
            sink.note(Event::ProtocolError);
            match bad {
                BadConnect::NotMqtt => {}
                BadConnect::OtherVersion => push_packet(out, 0x20, &[0, 1]),
                BadConnect::Refused(version, code) => refuse_connect(version, code, out),
            }
            return Connected::Refused;
        }
    };
    match permit(&connect, config, login, sink) {
        Ok(true) => {}
        Ok(false) => return Connected::Away,
        Err(code) => {
            refuse_connect(connect.version, code, out);
            return Connected::Refused;
        }
    }
    let will = connect.will.map(|will| {
        Box::new(Will {
            route: config.route(will.topic),
            payload: will.payload.into(),
            kept: keep(config, peer, will.topic, will.properties),
        })
    });
    let limit = config.max_keep_alive;
    let keep_alive = match connect.keep_alive {
        // A client of 3.1.1 cannot be told.
        wanted if limit == 0 || connect.version == Version::Three => wanted,
        0 => limit,
        wanted => wanted.min(limit),
    };
    let session = Session {
        version: connect.version,
        keep_alive,
        max_packet_bytes: connect.properties.max_packet_bytes.unwrap_or(u32::MAX),
        is_to_outlive: connect.properties.session_expiry.unwrap_or(0) > 0,
        will,
    };
    match connect.version {
        Version::Three => push_packet(out, 0x20, &[0, 0]),
        Version::Five => {
            let mut answer = Vec::with_capacity(64);
            let assigned = connect.client_id.is_empty().then_some(number);
            let told = (keep_alive != connect.keep_alive).then_some(keep_alive);
            push_properties(&mut answer, config, session.is_to_outlive, assigned, told);
            session.push(out, 0x20, &answer);
        }
    }
    Connected::Session(session)
}

/// Whether a client may connect; false: a worker finds out.
fn permit<S: Sink>(
    connect: &Connect<'_>,
    config: &Config,
    login: &mut Login,
    sink: &mut S,
) -> Result<bool, Code> {
    if connect.version == Version::Five && connect.properties.has_method {
        return Err(Code::BadAuthentication);
    }
    // MQTT-3.1.3-8 of 3.1.1: only a clean session goes without an identifier.
    if connect.version == Version::Three && connect.client_id.is_empty() && !connect.is_clean {
        return Err(Code::ClientId);
    }
    if let Some(will) = &connect.will {
        if will.quality == 2 {
            return Err(Code::QualityOfService);
        }
        if will.is_retained && connect.version == Version::Five {
            return Err(Code::Retain);
        }
    }
    if sink.is_ending() {
        return Err(Code::ShuttingDown);
    }
    let credentials = config.credentials.as_ref();
    let has_said = connect.name.is_some() || connect.password.is_some();
    let (name, secret) = (connect.name.unwrap_or(""), connect.password.unwrap_or(b""));
    let access = if !has_said && login.ask_certificate(credentials) {
        Access::Granted
    } else {
        login.ask(credentials, name.as_bytes(), secret)
    };
    match access {
        Access::Away => return Ok(false),
        Access::Denied if connect.name.is_none() => return Err(Code::NotAuthorized),
        Access::Denied => return Err(Code::BadCredentials),
        Access::Busy => return Err(Code::Busy),
        Access::Open | Access::Granted => {}
    }
    // A will is published when nobody can be asked any more.
    let from = From { config, login, peer: "" };
    let will = connect.will.as_ref().and_then(|will| config.route(will.topic));
    match will {
        Some(route) if !from.may_write(&route, sink) => Err(Code::NotAuthorized),
        _ => Ok(true),
    }
}

/// CONNACK with what went wrong; the return codes of 3.1.1 are its §3.2.2.3. It has none for a
/// broken packet: the connection just ends.
fn refuse_connect(version: Version, code: Code, out: &mut Vec<u8>) {
    let code = match (version, code) {
        (Version::Five, code) => return push_packet(out, 0x20, &[0, code as u8, 0]),
        (Version::Three, Code::ClientId) => 2,
        (Version::Three, Code::ShuttingDown | Code::Busy) => 3,
        (Version::Three, Code::BadCredentials) => 4,
        (Version::Three, Code::NotAuthorized) => 5,
        (Version::Three, _) => return,
    };
    push_packet(out, 0x20, &[0, code]);
}

/// The rest of a CONNACK of MQTT 5 that accepts: what this server does not do.
fn push_properties(
    answer: &mut Vec<u8>,
    config: &Config,
    is_to_outlive: bool,
    assigned: Option<u64>,
    keep_alive: Option<u16>,
) {
    answer.extend_from_slice(&[0, 0, 0]);
    // Maximum QoS 1; no retained messages; largest packet; no wildcard, numbered or shared
    // subscriptions.
    answer.extend_from_slice(&[0x24, 1, 0x25, 0]);
    answer.push(0x27);
    let bytes = u32::try_from(config.max_packet_bytes).unwrap_or(u32::MAX);
    answer.extend_from_slice(&bytes.to_be_bytes());
    answer.extend_from_slice(&[0x28, 0, 0x29, 0, 0x2a, 0]);
    if is_to_outlive {
        answer.extend_from_slice(&[0x11, 0, 0, 0, 0]);
    }
    if let Some(seconds) = keep_alive {
        answer.push(0x13);
        answer.extend_from_slice(&seconds.to_be_bytes());
    }
    if let Some(number) = assigned {
        let mut id = b"aqueduct-".to_vec();
        push_decimal(&mut id, number);
        answer.push(0x12);
        answer.extend_from_slice(&u16::try_from(id.len()).unwrap_or(0).to_be_bytes());
        answer.extend_from_slice(&id);
    }
    answer[2] = u8::try_from(answer.len() - 3).unwrap_or(0);
}

impl Session {
    /// Does what one whole packet says.
    pub(super) fn packet<S: Sink>(
        &mut self,
        header: FixedHeader,
        packet: &[u8],
        from: &From<'_>,
        sink: &mut S,
        out: &mut Vec<u8>,
    ) -> Result<Then, Code> {
        // §2.1.3: all others have flags that may vary, or none.
        let flags = match header.kind {
            3 => header.flags,
            6 | 8 | 10 => 2,
            _ => 0,
        };
        if header.flags != flags {
            return Err(Code::Malformed);
        }
        match header.kind {
            3 => return self.publish(flags, packet, from, sink, out),
            6 => self.release(packet, out)?,
            8 => self.subscribe(packet, out)?,
            10 => self.unsubscribe(packet, out)?,
            12 if packet.is_empty() => push_packet(out, 0xd0, &[]),
            14 => {
                self.disconnect(packet)?;
                return Ok(Then::Close);
            }
            0 | 12 => return Err(Code::Malformed),
            // A second CONNECT, or what answers something that is never sent.
            _ => return Err(Code::Protocol),
        }
        Ok(Then::GoOn)
    }

    fn publish<S: Sink>(
        &mut self,
        flags: u8,
        packet: &[u8],
        from: &From<'_>,
        sink: &mut S,
        out: &mut Vec<u8>,
    ) -> Result<Then, Code> {
        let message = publish::read(packet, flags, self.version)?;
        let refused = match from.config.route(message.topic) {
            Some(route) if !from.may_write(&route, sink) => {
                let (ring, reason) = (Some(route.ring.id), Reason::Denied);
                sink.note(Event::Rejected { ring, reason, records: 1 });
                Some(Code::NotAuthorized)
            }
            None => {
                let reason = Reason::Denied;
                sink.note(Event::Rejected { ring: None, reason, records: 1 });
                Some(Code::TopicName)
            }
            Some(route) => match append_once(route, &message, from, sink) {
                Once::Appended | Once::Repeated => None,
                Once::Full => return Ok(Then::Wait),
                Once::Refused(reason) => {
                    let ring = Some(route.ring.id);
                    sink.note(Event::Rejected { ring, reason, records: 1 });
                    Some(match reason {
                        Reason::Full | Reason::Journal | Reason::RateLimited => Code::Quota,
                        Reason::Denied => Code::NotAuthorized,
                        Reason::ShuttingDown => return Err(Code::ShuttingDown),
                        _ => Code::Implementation,
                    })
                }
            },
        };
        match (message.id, refused) {
            // QoS 0 promises nothing.
            (None, _) => {}
            (Some(id), None) => {
                let [high, low] = id.to_be_bytes();
                self.push(out, 0x40, &[high, low]);
            }
            (Some(id), Some(code)) => {
                let [high, low] = id.to_be_bytes();
                match self.version {
                    Version::Five => self.push(out, 0x40, &[high, low, code as u8]),
                    // MQTT-3.3.5-2 of 3.1.1: an acknowledgement would be a lie.
                    Version::Three => return Err(code),
                }
            }
        }
        Ok(Then::GoOn)
    }

    /// PUBREL: of a message that some earlier connection received.
    fn release(&self, packet: &[u8], out: &mut Vec<u8>) -> Result<(), Code> {
        let mut reader = Reader(packet);
        let [high, low] = reader.id()?.to_be_bytes();
        match self.version {
            Version::Three if reader.is_empty() => self.push(out, 0x70, &[high, low]),
            Version::Three => return Err(Code::Malformed),
            Version::Five => {
                self.reason_and_properties(&mut reader, Owner::Release)?;
                // Packet identifier not found.
                self.push(out, 0x70, &[high, low, 0x92]);
            }
        }
        Ok(())
    }

    /// SUBSCRIBE: there is nothing to be had here.
    fn subscribe(&self, packet: &[u8], out: &mut Vec<u8>) -> Result<(), Code> {
        let mut reader = Reader(packet);
        let id = reader.id()?;
        if self.version == Version::Five {
            property::read(&mut reader, Owner::Subscribe)?;
        }
        let mut filters = 0;
        while !reader.is_empty() {
            reader.text()?;
            let options = reader.byte()?;
            let (reserved, retain_handling) = match self.version {
                Version::Three => (options & 0xfc, 0),
                Version::Five => (options & 0xc0, options >> 4 & 3),
            };
            if reserved != 0 {
                return Err(Code::Malformed);
            }
            if options & 3 == 3 || retain_handling == 3 {
                return Err(if self.version == Version::Five {
                    Code::Protocol
                } else {
                    Code::Malformed
                });
            }
            filters += 1;
        }
        let code = match self.version {
            Version::Three => 0x80,
            Version::Five => Code::NotAuthorized as u8,
        };
        self.acknowledge_filters(0x90, id, filters, Some(code), out)
    }

    fn unsubscribe(&self, packet: &[u8], out: &mut Vec<u8>) -> Result<(), Code> {
        let mut reader = Reader(packet);
        let id = reader.id()?;
        if self.version == Version::Five {
            property::read(&mut reader, Owner::Unsubscribe)?;
        }
        let mut filters = 0;
        while !reader.is_empty() {
            reader.text()?;
            filters += 1;
        }
        // No subscription existed.
        let code = (self.version == Version::Five).then_some(0x11);
        self.acknowledge_filters(0xb0, id, filters, code, out)
    }

    /// SUBACK or UNSUBACK, with the same code for each filter.
    fn acknowledge_filters(
        &self,
        first: u8,
        id: u16,
        filters: usize,
        code: Option<u8>,
        out: &mut Vec<u8>,
    ) -> Result<(), Code> {
        if filters == 0 {
            return Err(Code::Protocol);
        }
        let properties: &[u8] = if self.version == Version::Five { &[0] } else { &[] };
        let codes = code.map_or(0, |_| filters);
        let bytes = 2 + properties.len() + codes;
        if bytes + 5 > self.max_packet_bytes as usize {
            return Ok(());
        }
        out.push(first);
        push_variable(out, bytes);
        out.extend_from_slice(&id.to_be_bytes());
        out.extend_from_slice(properties);
        out.resize(out.len() + codes, code.unwrap_or(0));
        Ok(())
    }

    /// DISCONNECT: the will is forgotten, unless the client wants it to be published.
    fn disconnect(&mut self, packet: &[u8]) -> Result<(), Code> {
        let mut reader = Reader(packet);
        match self.version {
            Version::Three if reader.is_empty() => self.will = None,
            Version::Three => return Err(Code::Malformed),
            Version::Five => {
                let reason = reader.0.first().copied().unwrap_or(0);
                let properties = self.reason_and_properties(&mut reader, Owner::Disconnect)?;
                // MQTT-3.14.2.2.2: a session cannot be asked for at the end.
                if properties.session_expiry.unwrap_or(0) > 0 && !self.is_to_outlive {
                    return Err(Code::Protocol);
                }
                if reason == 0 {
                    self.will = None;
                }
            }
        }
        Ok(())
    }

    /// The end of a packet that may leave out its reason code, or its properties.
    fn reason_and_properties(
        &self,
        reader: &mut Reader<'_>,
        owner: Owner,
    ) -> Result<property::Properties, Code> {
        debug_assert_eq!(self.version, Version::Five);
        if reader.is_empty() {
            return Ok(property::Properties::default());
        }
        reader.byte()?;
        if reader.is_empty() {
            return Ok(property::Properties::default());
        }
        let properties = property::read(reader, owner)?;
        if reader.is_empty() { Ok(properties) } else { Err(Code::Malformed) }
    }

    /// Says why the connection ends, to a client that can be told.
    pub(super) fn disconnected(&self, code: Code, out: &mut Vec<u8>) {
        if self.version == Version::Five {
            // The length of no properties could be left out, but not every client knows that.
            self.push(out, 0xe0, &[code as u8, 0]);
        }
    }

    /// Publishes the will of a client that is gone. If the ring is full, it is lost and counted.
    pub(super) fn leave<S: Sink>(&mut self, from: &From<'_>, sink: &mut S) {
        let Some(will) = self.will.take() else { return };
        let outcome = match will.route {
            // It was allowed at the start; a reload may have forbidden it.
            Some(route) if from.may_write(&route, sink) => {
                append(route, &will.payload, will.kept.as_ref(), sink)
            }
            _ => Outcome::Refused(Reason::Denied),
        };
        let reason = match outcome {
            Outcome::Accepted(_) => return,
            Outcome::Full => Reason::Full,
            Outcome::Refused(reason) => reason,
        };
        let ring = will.route.map(|route| route.ring.id);
        sink.note(Event::Rejected { ring, reason, records: 1 });
    }

    /// Appends a packet, unless it is larger than the client takes (MQTT-3.1.2-24).
    fn push(&self, out: &mut Vec<u8>, first: u8, rest: &[u8]) {
        if rest.len() + 2 <= self.max_packet_bytes as usize {
            push_packet(out, first, rest);
        }
    }
}

/// Collects what is kept of a message; `None` if that is more than a record may have.
fn keep(config: &Config, peer: &str, topic: &str, properties: &[u8]) -> Option<Kept> {
    let kept = config.keep.collect(peer, |collector| {
        collector.value(TOPIC, topic.as_bytes())?;
        property::for_each_text(properties, &mut |key, value| match key {
            None => collector.content_type(value),
            Some(key) => collector.property(key, value),
        })
    });
    kept.ok()
}

/// What became of a message that may have come before.
enum Once {
    Appended,
    /// Its key was seen with the same payload: it is in the ring.
    Repeated,
    Full,
    Refused(Reason),
}

/// Appends a message, unless its key says that it is in the ring.
fn append_once<S: Sink>(
    route: Route,
    message: &Publish<'_>,
    from: &From<'_>,
    sink: &mut S,
) -> Once {
    let Ok(key) = key::read(message.properties) else { return Once::Refused(Reason::Malformed) };
    let (ring, type_tag, body) = (route.ring.id, route.type_tag, message.payload);
    let owner = from.login.name().unwrap_or("").as_bytes();
    let keyed =
        key.as_ref().map(|key| Keyed { owner, key: key.as_bytes(), type_tag, body, rings: &[] });
    match keyed.as_ref().map_or(Recall::New, |keyed| sink.recall(ring, keyed)) {
        Recall::New => {}
        Recall::Seen(_) => return Once::Repeated,
        Recall::Conflict | Recall::Off => return Once::Refused(Reason::Malformed),
    }
    let kept = keep(from.config, from.peer, message.topic, message.properties);
    match append(route, body, kept.as_ref(), sink) {
        Outcome::Accepted(seq) => {
            if let Some(keyed) = &keyed {
                sink.remember(ring, keyed, Seen { first: seq, last: seq, records: 1 });
            }
            Once::Appended
        }
        Outcome::Full => Once::Full,
        Outcome::Refused(reason) => Once::Refused(reason),
    }
}

fn append<S: Sink>(route: Route, payload: &[u8], kept: Option<&Kept>, sink: &mut S) -> Outcome {
    let Route { ring: Ring { id, max_payload_bytes, .. }, type_tag } = route;
    let Some(kept) = kept else { return Outcome::Refused(Reason::TooLarge) };
    if (payload.len() + kept.bytes()) as u64 > u64::from(max_payload_bytes) {
        return Outcome::Refused(Reason::TooLarge);
    }
    sink.record(Record { ring: id, type_tag, payload, attributes: kept.block() })
}

fn push_variable(out: &mut Vec<u8>, mut number: usize) {
    loop {
        let digit = u8::try_from(number & 0x7f).unwrap_or(0);
        number >>= 7;
        out.push(if number > 0 { digit | 0x80 } else { digit });
        if number == 0 {
            return;
        }
    }
}
