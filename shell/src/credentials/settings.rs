//! The `[credentials]` table of the configuration.

use std::path::PathBuf;

use serde::Deserialize;

use crate::config::{Change, Given, Section, quoted};

/// `[credentials]` as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CredentialsTable {
    /// The file of the credentials.
    pub file: Option<Given<PathBuf>>,
}

impl CredentialsTable {
    /// Lists what is in effect.
    pub fn describe(&self) -> Section {
        let mut section = Section::new("[credentials]");
        if let Some(file) = &self.file {
            let change = Change::Fixed("connections were let in without or with credentials");
            section.put("file", quoted(file.value.display()), Some(file), change);
        }
        section
    }
}
