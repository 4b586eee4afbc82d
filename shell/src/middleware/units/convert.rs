//! Bodies that become another format.

use crate::middleware::{Problem, Unit, xml};

/// From what to what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conversion {
    /// JSON to XML.
    JsonToXml,
    /// XML to JSON.
    XmlToJson,
}

impl Conversion {
    /// All of them, with their names in the configuration: from and to.
    pub const ALL: [(&'static str, &'static str, Self); 2] =
        [("json", "xml", Self::JsonToXml), ("xml", "json", Self::XmlToJson)];
}

/// Makes another format of a body.
#[derive(Debug)]
pub struct Convert(
    /// From what to what.
    pub Conversion,
);

impl Unit for Convert {
    fn name(&self) -> &'static str {
        "convert"
    }

    fn changes_bodies(&self) -> bool {
        true
    }

    fn writes(&self, bytes: usize) -> usize {
        match self.0 {
            Conversion::JsonToXml => xml::most_bytes(bytes),
            // A tab as a reference becomes an escape, which is shorter, as all else is.
            Conversion::XmlToJson => bytes,
        }
    }

    fn body(&self, body: Vec<u8>, limit: usize, _: &[String]) -> Result<Vec<u8>, Problem> {
        match self.0 {
            Conversion::JsonToXml => xml::from_json(&body, limit),
            Conversion::XmlToJson => xml::to_json(&body, limit),
        }
    }
}
