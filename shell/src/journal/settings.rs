//! The `[journal]` table of the configuration.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::Durability;
use super::format::GRANULE;
use crate::config::{
    Change, ConfigError, Given, Millis, Origin, Section, Size, quoted, time, written_size,
    written_time,
};

/// Records in a segment, bytes, where nothing else is said.
const SEGMENT_BYTES_DEFAULT: u64 = 64 << 20;
/// Smallest segment.
const SEGMENT_BYTES_MIN: u64 = 64 << 10;
/// Largest segment: larger than the largest ring.
const SEGMENT_BYTES_MAX: u64 = 1 << 36;
/// How often cursors are made durable, ms.
const CURSOR_SYNC_MS_DEFAULT: u64 = 1000;

/// `[journal]` as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JournalTable {
    /// Where the journals of all rings are.
    pub directory: Option<Given<PathBuf>>,
    /// Size of the records in a segment.
    pub segment_bytes: Option<Given<Size>>,
    /// What is kept of a ring after everyone has read it.
    pub retain_bytes: Option<Given<Size>>,
    /// How long it is kept.
    pub retain_ms: Option<Given<Millis>>,
    /// How often cursors are made durable.
    pub cursor_sync_ms: Option<Given<Millis>>,
}

/// The journals, checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JournalSettings {
    /// Where the journals of all rings are, a directory for each.
    pub directory: PathBuf,
    /// Size of the records in a segment, bytes; that of a larger ring is as large as the ring.
    pub segment_bytes: u64,
    /// Segments that everyone has read are kept up to so many bytes in all.
    pub retain_bytes: u64,
    /// Segments that everyone has read are kept for so long.
    pub retain: Duration,
    /// How often cursors are made durable.
    pub cursor_sync: Duration,
}

impl JournalSettings {
    /// Checks the table; `None` if there are no journals. `rings` are the names of those that want
    /// one, with the place where that is said.
    pub fn check(
        table: &JournalTable,
        rings: &[(String, Durability, Origin)],
    ) -> Result<Option<Self>, ConfigError> {
        let bytes = |key: &str, given: Option<&Given<Size>>, default, least| {
            let (bytes, origin) =
                given.map_or((default, Origin::Default), |given| (given.value.0, given.origin));
            if (least..=SEGMENT_BYTES_MAX << 8).contains(&bytes) {
                return Ok(bytes);
            }
            let allowed = format!("{} or more", written_size(least));
            Err(ConfigError::value(origin, format!("journal.{key}"), bytes, allowed))
        };
        let segment = bytes(
            "segment_bytes",
            table.segment_bytes.as_ref(),
            SEGMENT_BYTES_DEFAULT,
            SEGMENT_BYTES_MIN,
        )?;
        let settings = Self {
            directory: PathBuf::new(),
            segment_bytes: segment.min(SEGMENT_BYTES_MAX).next_multiple_of(GRANULE),
            retain_bytes: bytes("retain_bytes", table.retain_bytes.as_ref(), 0, 0)?,
            retain: time("journal.retain_ms", table.retain_ms.as_ref(), 0, 0)?,
            cursor_sync: time(
                "journal.cursor_sync_ms",
                table.cursor_sync_ms.as_ref(),
                CURSOR_SYNC_MS_DEFAULT,
                1,
            )?,
        };
        let wanted = rings.iter().find(|(_, durability, _)| *durability != Durability::Memory);
        let Some((ring, durability, origin)) = wanted else { return Ok(None) };
        let Some(directory) = &table.directory else {
            return Err(ConfigError::value(
                *origin,
                format!("ring {ring}: durability"),
                durability.as_str(),
                "memory, or a directory in [journal]",
            ));
        };
        Ok(Some(Self { directory: directory.value.clone(), ..settings }))
    }

    /// Lists what is in effect.
    pub fn describe(&self, table: &JournalTable) -> Section {
        const OPEN: Change = Change::Fixed("journals are opened at the start");
        let mut section = Section::new("[journal]");
        let directory = quoted(self.directory.display());
        section.put("directory", directory, table.directory.as_ref(), OPEN);
        let size = written_size(self.segment_bytes);
        section.put("segment_bytes", size, table.segment_bytes.as_ref(), OPEN);
        let kept = written_size(self.retain_bytes);
        section.put("retain_bytes", kept, table.retain_bytes.as_ref(), OPEN);
        section.put("retain_ms", written_time(self.retain), table.retain_ms.as_ref(), OPEN);
        let often = written_time(self.cursor_sync);
        section.put("cursor_sync_ms", often, table.cursor_sync_ms.as_ref(), OPEN);
        section
    }
}

impl Durability {
    /// Names it as the configuration does.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Process => "process",
            Self::Disk => "disk",
        }
    }
}
