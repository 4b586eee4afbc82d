//! Measures and runs: a measure is one quantity of one subject. While a run is measured it holds a
//! sample of each round; what is kept of it are the median, the spread and the ratios of the
//! rounds.

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
    /// The smallest and the largest of the rounds.
    pub spread: (f64, f64),
    /// Number of rounds.
    pub rounds: usize,
    /// By the subject it was compared with: the median of the ratios, round by round.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ratios: BTreeMap<String, f64>,
    /// In the order of the rounds; in the parts of a run only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    samples: Vec<f64>,
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
        let (low, high) = series.spread();
        Self {
            group: group.into(),
            subject: subject.into(),
            with: with.iter().map(|&(name, value)| (name.into(), value)).collect(),
            quantity: quantity.into(),
            median: round(series.median()),
            quiet: round(series.quiet()),
            spread: (round(low), round(high)),
            rounds: series.samples().len(),
            ratios: BTreeMap::new(),
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

    fn series(&self) -> Series {
        Series::of(self.samples.clone())
    }
}

/// What the measures of a group are compared with in the tables: group and subject.
fn bases(group: &str) -> &'static [(&'static str, &'static str)] {
    match group {
        "threads" => &[("threads", "ring")],
        "threads, trips" => &[("threads, trips", "ring"), ("trips, busy", "limit")],
        "processes" => &[("processes", "ring, C reader")],
        "readers" => &[("readers", "ring, C reader")],
        "reading alone" => &[("reading alone", "Rust reader")],
        "trips, busy" => &[("trips, busy", "ring"), ("trips, busy", "limit")],
        "trips, sleep" => &[("trips, sleep", "ring"), ("trips, sleep", "limit")],
        _ => &[],
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

    /// Takes the ratios that the tables show from the samples of the rounds, and drops the samples.
    pub fn summarise(&mut self) {
        let ratios: Vec<_> = self.measures.iter().map(|measure| self.ratios_of(measure)).collect();
        for (measure, ratios) in self.measures.iter_mut().zip(ratios) {
            measure.ratios = ratios;
            measure.samples = Vec::new();
        }
    }

    fn ratios_of(&self, measure: &Measure) -> BTreeMap<String, f64> {
        let with: Vec<_> =
            measure.with.iter().map(|(name, &value)| (name.as_str(), value)).collect();
        let ratio = |&(group, subject): &(&str, &str)| {
            let base = self.find(group, subject, &with, &measure.quantity)?;
            let ratio = measure.series().over(&base.series()).median();
            Some((subject.to_string(), format!("{ratio:.5e}").parse().unwrap_or(ratio)))
        };
        bases(&measure.group).iter().filter_map(ratio).collect()
    }

    /// As JSON, a line for each measure.
    pub fn to_json(&self) -> serde_json::Result<String> {
        let lines =
            self.measures.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>()?;
        let head = serde_json::to_string_pretty(&Self { measures: Vec::new(), ..self.clone() })?;
        let measures = format!("\"measures\": [\n    {}\n  ]", lines.join(",\n    "));
        Ok(head.replace("\"measures\": []", &measures) + "\n")
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

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> Run {
        let of = |subject, samples: &[f64]| {
            let series = Series::of(samples.to_vec());
            Measure::new("threads", subject, &[("bytes", 64)], "ns per record", &series)
        };
        let measures = vec![of("ring", &[1.0, 10.0, 1.0]), of("rtrb", &[2.0, 40.0, 3.0])];
        Run { date: "2026-01-01".into(), measures, ..Run::default() }
    }

    #[test]
    fn a_kept_run_has_the_ratios_of_its_rounds_and_no_samples() {
        let mut run = run();
        run.summarise();
        let json = run.to_json().unwrap();
        assert!(!json.contains("samples"), "{json}");
        let kept: Run = serde_json::from_str(&json).unwrap();
        assert_eq!(kept.measures[1].ratios["ring"].to_bits(), 3.0_f64.to_bits());
        assert_eq!((kept.measures[1].spread, kept.measures[1].rounds), ((2.0, 40.0), 3));
    }

    #[test]
    fn every_measure_of_a_kept_run_has_a_line_of_its_own() {
        let mut run = run();
        run.summarise();
        let json = run.to_json().unwrap();
        assert_eq!(json.lines().filter(|line| line.contains("\"median\"")).count(), 2, "{json}");
    }
}
