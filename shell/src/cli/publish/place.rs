//! How far publishing has come, in a file: so that the next run neither loses nor repeats a record.
//!
//! It is written before a batch is sent and after it is answered, each time under another name that
//! is renamed then: whatever kills the process, the file is one of the two.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// What the file holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Place {
    /// Begins every idempotency key: random, the same in all runs.
    pub(super) run: String,
    /// What is being published, and where to: a run with other arguments is another task.
    pub(super) task: String,
    /// Which of the inputs is at work, from 0.
    pub(super) input: usize,
    /// How much of each is published.
    pub(super) inputs: Vec<Read>,
    /// Records published in all runs.
    pub(super) records: u64,
    /// A batch that begins there was sent, and its answer is not known.
    pub(super) in_flight: bool,
    /// Records in that batch: if the input has grown since, it is still the same one.
    pub(super) in_flight_records: usize,
    /// Most records and bytes of a batch: the same in all runs, so that batches are.
    pub(super) batch_records: usize,
    pub(super) batch_bytes: usize,
}

/// What of an input is published.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Read {
    /// Bytes.
    pub(super) offset: u64,
    /// Their CRC-32/ISO-HDLC: whatever goes on from there has the same before it.
    pub(super) crc: u32,
    /// The last record ended with the input and not with what ends records.
    pub(super) is_torn: bool,
    /// It was read to its end, at least once.
    pub(super) is_whole: bool,
}

/// The file.
pub(super) struct PlaceFile(Option<PathBuf>);

impl PlaceFile {
    pub(super) fn new(path: Option<&Path>) -> Self {
        Self(path.map(Path::to_owned))
    }

    /// Reads what an earlier run left; `None` if there is none.
    pub(super) fn read(&self) -> io::Result<Option<Place>> {
        let Some(path) = &self.0 else { return Ok(None) };
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        serde_json::from_slice(&text).map(Some).map_err(io::Error::other)
    }

    /// Replaces what is there.
    pub(super) fn write(&self, place: &Place) -> io::Result<()> {
        let Some(path) = &self.0 else { return Ok(()) };
        let mut beside = path.clone().into_os_string();
        beside.push(".new");
        let mut file = std::fs::File::create(&beside)?;
        file.write_all(&serde_json::to_vec(place)?)?;
        std::fs::rename(&beside, path)
    }
}
