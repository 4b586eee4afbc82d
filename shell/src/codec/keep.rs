//! Which attributes an address keeps with its records, and what they are for one connection or
//! message.

use std::cell::RefCell;

use aqueduct_core::attributes::name::{CONTENT_TYPE, PEER, TRACEPARENT, USER_PREFIX};
use aqueduct_core::layout::ATTRIBUTES_MAX_BYTES;
use aqueduct_core::{AttributeBlock, AttributeError, AttributeWriter};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::TRACEPARENT_BYTES;

thread_local! {
    /// Where blocks are written; what is kept of them is copied. Cleared by nobody: a writer writes
    /// all bytes of what it finishes.
    static ROOM: RefCell<[u8; ATTRIBUTES_MAX_BYTES]> =
        const { RefCell::new([0; ATTRIBUTES_MAX_BYTES]) };
}

/// Stands for every user property.
pub const ALL_USER_PROPERTIES: &str = "user:*";
/// The HTTP header by which a request names attributes itself: a block of them (`core/ABI.md` §3.1)
/// in base64. An address that keeps it believes whatever is in there.
pub const GIVEN: &str = "aqueduct-attributes";

/// The names of what an address keeps. Nothing by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// As the attributes will be called; those of HTTP headers in lower case.
    names: Vec<String>,
}

impl Keep {
    /// Keeps what has these names.
    pub fn new(names: Vec<String>) -> Self {
        Self { names }
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Whether the attribute of this name is kept.
    pub fn keeps(&self, name: &str) -> bool {
        self.names.iter().any(|kept| kept == name)
    }

    /// The name under which the header of a line is kept, and its value.
    pub fn header_of<'l>(&self, line: &'l [u8]) -> Option<(&str, &'l [u8])> {
        // Most lines are none of them: the colon says so before any name is compared.
        self.names.iter().filter(|kept| *kept != GIVEN).find_map(|kept| {
            let (name, rest) = line.split_at_checked(kept.len())?;
            let value = rest.strip_prefix(b":")?;
            // Names of the listener's own have a colon, which the name of a header has not.
            let is_it = name.eq_ignore_ascii_case(kept.as_bytes()) && !name.contains(&b':');
            is_it.then(|| (kept.as_str(), value.trim_ascii()))
        })
    }

    /// The names of the HTTP headers that are kept.
    pub fn headers(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str).filter(|name| !name.starts_with(':'))
    }

    fn keeps_property(&self, key: &str) -> bool {
        self.names
            .iter()
            .any(|kept| kept == ALL_USER_PROPERTIES || kept.strip_prefix(USER_PREFIX) == Some(key))
    }

    /// Collects what is kept of a connection or message. `peer` is its address.
    ///
    /// # Errors
    /// It does not fit a block; it is refused then, never cut. Or whatever `each` returns.
    ///
    /// # Panics
    /// `each` collects something else meanwhile.
    pub fn collect<E: From<AttributeError>>(
        &self,
        peer: &str,
        each: impl FnOnce(&mut Collector<'_, '_>) -> Result<(), E>,
    ) -> Result<Kept, E> {
        if self.is_empty() {
            return Ok(Kept::default());
        }
        ROOM.with_borrow_mut(|room| {
            let mut writer = AttributeWriter::new(room);
            if self.keeps(PEER) {
                writer.add(PEER, peer.as_bytes())?;
            }
            each(&mut Collector { keep: self, writer: &mut writer, has_trace: false })?;
            Ok(Kept(writer.finish().as_bytes().into()))
        })
    }

    /// What is kept of a connection that says nothing of its records.
    pub fn of_peer(&self, peer: &str) -> Kept {
        // An address always fits.
        self.collect(peer, |_| Ok::<_, AttributeError>(())).unwrap_or_default()
    }
}

/// Why the attributes of a request are not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadGiven {
    /// They do not fit a block.
    Room(AttributeError),
    /// The address does not keep what requests name themselves.
    Unwanted,
    /// It is no block in base64.
    Malformed,
}

impl From<AttributeError> for BadGiven {
    fn from(error: AttributeError) -> Self {
        Self::Room(error)
    }
}

/// Takes what may be kept.
pub struct Collector<'k, 'w> {
    keep: &'k Keep,
    writer: &'k mut AttributeWriter<'w>,
    /// The message has said which trace it belongs to.
    has_trace: bool,
}

impl Collector<'_, '_> {
    /// Takes a value if the attribute of this name is kept.
    pub fn value(&mut self, name: &str, value: &[u8]) -> Result<(), AttributeError> {
        if self.keep.keeps(name) { self.writer.add(name, value) } else { Ok(()) }
    }

    /// Takes an HTTP header as its line, `Name: value`.
    pub fn line(&mut self, line: &[u8]) -> Result<(), AttributeError> {
        let Some((name, value)) = self.keep.header_of(line) else { return Ok(()) };
        self.has_trace |= name == TRACEPARENT;
        self.writer.add(name, value)
    }

    /// Takes the trace that begins with this message, if it belongs to none and traces are kept. To
    /// be called after all headers.
    pub fn root(
        &mut self,
        root: impl FnOnce() -> Option<[u8; TRACEPARENT_BYTES]>,
    ) -> Result<(), AttributeError> {
        if self.has_trace || !self.keep.keeps(TRACEPARENT) {
            return Ok(());
        }
        root().map_or(Ok(()), |root| self.writer.add(TRACEPARENT, &root))
    }

    /// Takes the attributes that a request names itself, by [`GIVEN`].
    ///
    /// # Errors
    /// [`BadGiven`].
    pub fn given(&mut self, value: &[u8]) -> Result<(), BadGiven> {
        if !self.keep.keeps(GIVEN) {
            return Err(BadGiven::Unwanted);
        }
        let bytes = STANDARD.decode(value).map_err(|_| BadGiven::Malformed)?;
        let block = AttributeBlock::from_bytes(&bytes).ok_or(BadGiven::Malformed)?;
        for attribute in block.attributes() {
            let name = std::str::from_utf8(attribute.name).map_err(|_| BadGiven::Malformed)?;
            self.has_trace |= name == TRACEPARENT;
            self.writer.add(name, attribute.value)?;
        }
        Ok(())
    }

    /// Takes the content type of an MQTT message.
    pub fn content_type(&mut self, value: &str) -> Result<(), AttributeError> {
        self.value(CONTENT_TYPE, value.as_bytes())
    }

    /// Takes an MQTT user property.
    pub fn property(&mut self, key: &str, value: &str) -> Result<(), AttributeError> {
        if self.keep.keeps_property(key) {
            return self.writer.add_parts(&[USER_PREFIX, key], value.as_bytes());
        }
        Ok(())
    }
}

/// What is kept with the records of a connection or message: a block, or no bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept(Box<[u8]>);

impl Kept {
    /// The attributes, ready for a record.
    pub fn block(&self) -> AttributeBlock<'_> {
        AttributeBlock::from_bytes(&self.0).unwrap_or_default()
    }

    /// Bytes that they take in a record.
    pub fn bytes(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(kept: &Kept) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        kept.block().attributes().map(|one| (text(one.name), text(one.value))).collect()
    }

    #[test]
    fn only_what_is_named_is_kept_and_a_client_cannot_pass_for_the_listener() {
        let keep = |names: &[&str]| Keep::new(names.iter().map(|&name| name.to_owned()).collect());
        let all = |collector: &mut Collector<'_, '_>| {
            collector.line(b"X-Id: 7")?;
            collector.line(b"peer: forged")?;
            collector.line(b":peer: forged")?;
            collector.property("a", "1")?;
            collector.property(":peer", "2")
        };
        assert_eq!(keep(&[]).collect("p", all), Ok(Kept::default()));
        let kept = keep(&["x-id", "user:*", ":peer"]).collect("10.0.0.1:9", all).unwrap();
        let expected =
            [(":peer", "10.0.0.1:9"), ("x-id", "7"), ("user:a", "1"), ("user::peer", "2")];
        assert_eq!(listed(&kept), expected.map(|(name, value)| (name.into(), value.into())));
        let kept = keep(&["user:a"]).collect("p", all).unwrap();
        assert_eq!(listed(&kept), [("user:a".into(), "1".into())]);
    }

    #[test]
    fn what_a_request_names_itself_is_kept_where_that_is_wanted_and_nowhere_else() {
        let mut room = [0; 64];
        let names = [(":path", &b"/a"[..]), ("x", &b"\xff"[..])];
        let block = AttributeBlock::write(names, &mut room).expect("it fits");
        let value = STANDARD.encode(block.as_bytes());
        let given = |keep: &Keep, value: &[u8]| keep.collect("p", |it| it.given(value));
        let keep = Keep::new(vec![GIVEN.to_owned()]);
        assert_eq!(
            given(&keep, value.as_bytes()).map(|kept| kept.0.to_vec()),
            Ok(block.as_bytes().to_vec())
        );
        let other = Keep::new(vec!["x".to_owned()]);
        assert_eq!(given(&other, value.as_bytes()), Err(BadGiven::Unwanted));
        for bad in [&b"*"[..], b"QUJD", &value.as_bytes()[4..]] {
            assert_eq!(given(&keep, bad), Err(BadGiven::Malformed), "{bad:?}");
        }
        let line = format!("{GIVEN}: 7");
        assert_eq!(keep.header_of(line.as_bytes()), None, "it is no attribute of its own");
    }

    #[test]
    fn a_trace_begins_only_where_there_is_none_and_traces_are_kept() {
        let root = || Some([b'r'; TRACEPARENT_BYTES]);
        let kept = |names: &[&str], own: Option<&[u8]>| {
            let keep = Keep::new(names.iter().map(|&name| name.to_owned()).collect());
            let kept = keep.collect("", |collector| {
                own.map_or(Ok(()), |own| collector.line(&[b"Traceparent: ", own].concat()))?;
                collector.root(root)
            });
            listed(&kept.unwrap()).pop().map(|(_, value)| value)
        };
        assert_eq!(kept(&["traceparent"], None), Some("r".repeat(TRACEPARENT_BYTES)));
        assert_eq!(kept(&["traceparent"], Some(b"theirs")), Some("theirs".to_owned()));
        assert_eq!(kept(&["x-id"], None), None);
    }

    #[test]
    fn what_does_not_fit_is_an_error_and_not_cut() {
        let keep = Keep::new(vec!["x".to_owned()]);
        let long = |bytes| [b"x: ".to_vec(), vec![b'v'; bytes]].concat();
        let refused = keep.collect("", |collector| collector.line(&long(4080)));
        assert_eq!(refused, Err(AttributeError::Room { needed: 4088, limit: 4080 }));
        let kept = keep.collect("", |collector| collector.line(&long(4072))).unwrap();
        assert_eq!(kept.bytes(), 4080);
    }

    #[test]
    fn a_trace_that_a_request_names_itself_is_not_begun_again() {
        let keep = Keep::new(vec![GIVEN.to_owned(), TRACEPARENT.to_owned()]);
        let kept = |name: &str| {
            let mut room = [0; 64];
            let block = AttributeBlock::write([(name, &b"theirs"[..])], &mut room).expect("fits");
            let value = STANDARD.encode(block.as_bytes());
            let kept = keep.collect("", |it| {
                it.given(value.as_bytes())?;
                it.root(|| Some([b'r'; TRACEPARENT_BYTES])).map_err(BadGiven::from)
            });
            listed(&kept.expect("good"))
        };
        assert_eq!(kept(TRACEPARENT), [(TRACEPARENT.to_owned(), "theirs".to_owned())]);
        assert_eq!(kept("x").len(), 2);
    }

    #[test]
    fn the_address_of_a_connection_is_kept_where_it_is_wanted() {
        let kept = Keep::new(vec![PEER.to_owned()]).of_peer("192.0.2.1:9");
        assert_eq!(listed(&kept), [(PEER.to_owned(), "192.0.2.1:9".to_owned())]);
        assert_eq!(Keep::default().of_peer("192.0.2.1:9"), Kept::default());
    }
}
