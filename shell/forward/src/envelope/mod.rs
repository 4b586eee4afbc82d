//! What a record looks like outside: its payload alone, or with (epoch, seq), type, timestamp and
//! attributes around it. Pure over bytes; the schemas are in `schema/`.

mod avro;
mod json;
pub(crate) mod protobuf;
mod xml;

use std::sync::Arc;

use serde::Deserialize;

use crate::batch::View;

pub use json::base64;
pub use protobuf::element;
pub use xml::is_name as is_xml_name;

/// The form of a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// The payload as it is. Where the other side has headers, the rest travels in them.
    #[default]
    Raw,
    /// One JSON object, without line breaks.
    Json,
    /// `aqueduct.v1.Record` of `schema/record.proto`.
    Protobuf,
    /// `schema/record.avsc`, in Avro's single-object encoding.
    Avro,
    /// One XML document; payloads must be JSON objects.
    Xml,
}

/// How records are written.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// The form.
    pub form: Form,
    /// JSON only: payloads are JSON, and become the value of `payload`.
    pub is_json_payload: bool,
    /// XML only: name of the root element.
    pub root: Arc<str>,
}

impl Default for Envelope {
    fn default() -> Self {
        Self { form: Form::Raw, is_json_payload: false, root: "record".into() }
    }
}

impl Envelope {
    /// Appends a record.
    ///
    /// # Errors
    /// The record has no such form: its payload should be JSON and is not, for instance. `into` may
    /// have grown.
    pub fn encode(&self, record: &View<'_>, into: &mut Vec<u8>) -> Result<(), String> {
        match self.form {
            Form::Raw => into.extend_from_slice(record.payload),
            Form::Json => return json::encode(record, self.is_json_payload, into),
            Form::Protobuf => protobuf::encode(record, into),
            Form::Avro => avro::encode(record, into),
            Form::Xml => return xml::encode(record, &self.root, into),
        }
        Ok(())
    }

    /// Returns the media type of one record.
    pub const fn media_type(&self) -> &'static str {
        match self.form {
            Form::Raw => "application/octet-stream",
            Form::Json => "application/json",
            Form::Protobuf => "application/x-protobuf",
            Form::Avro => "application/vnd.apache.avro.single-object",
            Form::Xml => "application/xml",
        }
    }
}

#[cfg(test)]
mod tests;
