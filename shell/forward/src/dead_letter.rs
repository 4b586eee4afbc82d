//! Records that the other side will never take: a line of JSON each, on disk before the record is
//! released.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::batch::View;
use crate::envelope::{Envelope, Form};

/// The file, opened when there is something for it.
#[derive(Debug)]
pub struct DeadLetters {
    path: PathBuf,
    file: Option<File>,
}

impl DeadLetters {
    /// Takes its path. It is appended to, and made if it is not there.
    pub const fn new(path: PathBuf) -> Self {
        Self { path, file: None }
    }

    /// Appends a record: `{"reason":…,"sink":…,"time_ns":…,"record":{…}}`, the record as the
    /// envelope `json` has it. Returns when it is on disk. After a crash a record may be there
    /// twice.
    ///
    /// # Errors
    /// The file cannot be opened or written. The next call opens it again.
    pub fn add(&mut self, record: &View<'_>, sink: &str, reason: &str) -> io::Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut line = format!(
            r#"{{"reason":{},"sink":{},"time_ns":{},"record":"#,
            serde_json::Value::from(reason),
            serde_json::Value::from(sink),
            now.as_nanos()
        )
        .into_bytes();
        let envelope = Envelope { form: Form::Json, ..Envelope::default() };
        envelope.encode(record, &mut line).map_err(io::Error::other)?;
        line.extend_from_slice(b"}\n");
        let written = self.write(&line);
        if written.is_err() {
            self.file = None;
        }
        written
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let file = if let Some(file) = &mut self.file {
            file
        } else {
            let opened = OpenOptions::new().append(true).create(true).open(&self.path)?;
            opened.sync_all()?;
            self.file.insert(opened)
        };
        file.write_all(line)?;
        file.sync_data()
    }
}
