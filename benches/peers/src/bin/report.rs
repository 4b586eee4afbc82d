//! Puts the parts of a run together: the file of the results, the plots, and the tables between the
//! markers of `benches/README.md`; a sentence between those of the front page.
//!
//! Run by `benches/run`: `report PARTS_DIRECTORY BENCHES_DIRECTORY NAME=VALUE …`; `date`,
//! `command`, and `peer …` for versions are taken out, the rest describes the machine.
//! `report --again RESULTS.json BENCHES_DIRECTORY` makes plots and tables from an older file.

use std::path::Path;

use aqueduct_peers::plots::draw_all;
use aqueduct_peers::results::{Run, load_parts};
use aqueduct_peers::tables::{front, page};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (run, benches) = match &args[..] {
        [again, file, benches] if again == "--again" => {
            (serde_json::from_str(&std::fs::read_to_string(file)?)?, Path::new(benches))
        }
        [parts, benches, facts @ ..] => {
            let run = gather(Path::new(parts), facts)?;
            let benches = Path::new(benches);
            std::fs::create_dir_all(benches.join("results"))?;
            std::fs::write(
                benches.join("results").join(format!("{}.json", run.date)),
                run.to_json()?,
            )?;
            (run, benches)
        }
        _ => {
            eprintln!(
                "usage: report PARTS_DIRECTORY BENCHES_DIRECTORY NAME=VALUE … | report --again RESULTS.json BENCHES_DIRECTORY"
            );
            std::process::exit(2);
        }
    };
    draw_all(&run, &benches.join("results"))?;
    write(&benches.join("README.md"), "benches", &page(&run))?;
    write(&benches.join("../README.md"), "front", &front(&run))
}

/// Replaces what is between the markers of this name.
fn write(page: &Path, name: &str, results: &str) -> Result<(), Box<dyn std::error::Error>> {
    let (begin, end) = (format!("<!-- results:{name} -->"), format!("<!-- /results:{name} -->"));
    let text = std::fs::read_to_string(page)?;
    let (before, rest) = text.split_once(&begin).ok_or("no marker in the page")?;
    let (_, after) = rest.split_once(&end).ok_or("no end marker in the page")?;
    std::fs::write(page, format!("{before}{begin}\n\n{results}{end}{after}"))?;
    Ok(())
}

fn gather(parts: &Path, facts: &[String]) -> std::io::Result<Run> {
    let mut run = Run { measures: load_parts(parts)?, ..Run::default() };
    for fact in facts {
        let (name, value) = fact
            .split_once('=')
            .ok_or_else(|| std::io::Error::other(format!("{fact}: not NAME=VALUE")))?;
        let value = value.trim().to_string();
        match name.strip_prefix("peer ") {
            Some(peer) => drop(run.versions.insert(peer.into(), value)),
            None if name == "date" => run.date = value,
            None if name == "command" => run.command = value,
            None => drop(run.machine.insert(name.into(), value)),
        }
    }
    run.summarise();
    Ok(run)
}
