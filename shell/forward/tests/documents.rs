//! What README.md and the manual page say of flags, tables and metrics is what there is.

use std::process::Command;

const README: &str = include_str!("../README.md");
const MANUAL: &str = include_str!("../man/aqueduct-forward.1");

#[test]
fn every_flag_is_in_the_manual_page_and_none_that_there_is_not() {
    let help = Command::new(env!("CARGO_BIN_EXE_aqueduct-forward")).arg("--help").output();
    let help = String::from_utf8(help.expect("it runs").stdout).expect("UTF-8");
    let mut flags: Vec<_> = help
        .split_whitespace()
        .filter_map(|word| word.strip_prefix("--"))
        .map(|flag| flag.trim_end_matches(|end: char| !end.is_ascii_alphanumeric()).to_owned())
        .filter(|flag| !["help", "version"].contains(&flag.as_str()))
        .collect();
    flags.sort();
    flags.dedup();
    assert!(flags.len() > 8, "{flags:?}");
    let mut described: Vec<_> = MANUAL
        .lines()
        .filter_map(|line| line.strip_prefix(".It Fl -"))
        .map(|rest| rest.split(' ').next().expect("a word").to_owned())
        .collect();
    described.sort();
    assert_eq!(described, flags);
    for flag in &flags {
        assert!(MANUAL.contains(&format!(".Op Fl -{flag}")), "{flag} is not in the synopsis");
        assert!(flag == "config" || README.contains(&format!("--{flag}")), "{flag}");
    }
}

#[test]
fn every_metric_is_in_the_readme() {
    let metrics = aqueduct_forward::metrics::Metrics::default();
    let limits = aqueduct_forward::metrics::Readiness {
        acknowledgement: std::time::Duration::from_secs(1),
        lag_records: 1,
    };
    let page = metrics.page("file", limits);
    let names: Vec<_> = page
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE aqueduct_forward_")?.split(' ').next())
        .collect();
    assert!(names.len() > 15, "{names:?}");
    for name in names {
        let short = format!("`…_{name}`");
        assert!(README.contains(&short) || README.contains(&format!("aqueduct_forward_{name}`")));
    }
}
