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
    /// Which of the inputs, from 0, and how many bytes of it are published.
    pub(super) input: usize,
    pub(super) offset: u64,
    /// Records published in all runs.
    pub(super) records: u64,
    /// A batch that begins there was sent, and its answer is not known.
    pub(super) in_flight: bool,
    /// Most records and bytes of a batch: the same in all runs, so that batches are.
    pub(super) batch_records: usize,
    pub(super) batch_bytes: usize,
    /// Everything is published.
    pub(super) is_done: bool,
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
