//! What was measured: one measure is one quantity of one subject, one sample per round. Next:
//! `commands`.

use std::collections::BTreeMap;
use std::path::Path;

use aqueduct_benches::rounds::Series;
use serde::{Deserialize, Serialize};

/// One quantity of one subject.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measure {
    /// What belongs in one table; its rounds were interleaved.
    pub group: String,
    /// Who was measured.
    pub subject: String,
    /// What with: `bytes`, `batch`, `readers` …
    pub with: BTreeMap<String, u64>,
    /// With its unit.
    pub quantity: String,
    /// The middle of the rounds.
    pub median: f64,
    /// A tenth of the rounds stay below: what undisturbed rounds give.
    pub quiet: f64,
    /// In the order of the rounds.
    pub samples: Vec<f64>,
}

impl Measure {
    /// From the rounds of one quantity.
    pub fn new(
        group: &str,
        subject: &str,
        with: &[(&str, u64)],
        quantity: &str,
        series: &Series,
    ) -> Self {
        Self {
            group: group.into(),
            subject: subject.into(),
            with: with.iter().map(|&(name, value)| (name.into(), value)).collect(),
            quantity: quantity.into(),
            median: round(series.median()),
            quiet: round(series.quiet()),
            samples: series.samples().iter().map(|&sample| round(sample)).collect(),
        }
    }

    /// The one figure to show, and what it is: the quiet one. Of threads that take lines from each
    /// other the median: a round in which the machine runs one after the other is a quick one, and
    /// says nothing.
    pub fn shown(&self) -> (f64, &'static str) {
        if self.group == "producing threads" {
            (self.median, "median")
        } else {
            (self.quiet, "quiet")
        }
    }

    /// As a series again.
    pub fn series(&self) -> Series {
        Series::of(self.samples.clone())
    }
}

/// Four digits tell all that there is; the file stays readable.
fn round(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap_or(value)
}

/// A whole run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Run {
    /// Day of the run.
    pub date: String,
    /// Processor, cores, kernel, compilers, load.
    pub machine: BTreeMap<String, String>,
    /// Of the peers.
    pub versions: BTreeMap<String, String>,
    /// How it was started.
    pub command: String,
    /// All of it.
    pub measures: Vec<Measure>,
}

impl Run {
    /// The measure of this subject in this group whose parameters contain these.
    pub fn find(
        &self,
        group: &str,
        subject: &str,
        with: &[(&str, u64)],
        quantity: &str,
    ) -> Option<&Measure> {
        self.measures.iter().find(|measure| {
            measure.group == group
                && measure.subject == subject
                && measure.quantity == quantity
                && with.iter().all(|&(name, value)| measure.with.get(name) == Some(&value))
        })
    }

    /// Subjects of a group in the order in which they were measured.
    pub fn subjects(&self, group: &str) -> Vec<&str> {
        let mut subjects = Vec::new();
        for measure in self.measures.iter().filter(|measure| measure.group == group) {
            if !subjects.contains(&measure.subject.as_str()) {
                subjects.push(&measure.subject);
            }
        }
        subjects
    }

    /// Values of a parameter in a group, ascending.
    pub fn values(&self, group: &str, parameter: &str) -> Vec<u64> {
        let mut values: Vec<u64> = self
            .measures
            .iter()
            .filter(|measure| measure.group == group)
            .filter_map(|measure| measure.with.get(parameter).copied())
            .collect();
        values.sort_unstable();
        values.dedup();
        values
    }
}

/// Adds measures to a part of a run, a JSON file of them in this directory.
pub fn save(directory: &Path, part: &str, measures: &[Measure]) -> std::io::Result<()> {
    std::fs::create_dir_all(directory)?;
    let text = serde_json::to_string(measures).map_err(std::io::Error::other)?;
    std::fs::write(directory.join(format!("{part}.json")), text)
}

/// All parts in this directory, by name.
pub fn load_parts(directory: &Path) -> std::io::Result<Vec<Measure>> {
    let mut paths: Vec<_> =
        std::fs::read_dir(directory)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    let mut measures = Vec::new();
    for path in paths {
        let part: Vec<Measure> =
            serde_json::from_str(&std::fs::read_to_string(path)?).map_err(std::io::Error::other)?;
        measures.extend(part);
    }
    Ok(measures)
}
