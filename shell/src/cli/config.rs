//! `aqueduct check-config` and `aqueduct config`: what `serve` would make of its settings.

use std::fmt::Write;
use std::process::ExitCode;

use super::{EXIT_USAGE, ServeArgs, print};
use crate::config::{Origin, Section, Source};
use crate::server;

/// Says whether the settings are accepted.
pub(super) fn check(args: &ServeArgs) -> ExitCode {
    let checked = args.load().map_err(|error| error.to_string()).and_then(|loaded| {
        server::check_files(&loaded.config).map_err(|error| error.to_string())?;
        Ok(loaded.config.rings.len())
    });
    match checked {
        Ok(rings) => print(&format!("the configuration is accepted: rings={rings}\n")),
        Err(error) => {
            eprintln!("aqueduct: {error}");
            ExitCode::from(EXIT_USAGE)
        }
    }
}

/// Prints the settings in effect, as a file that has them all, and where each came from.
pub(super) fn show(args: &ServeArgs) -> ExitCode {
    match args.load() {
        Ok(loaded) => {
            let sections = loaded.config.describe(&loaded.tables);
            print(&file(&sections, &loaded.source))
        }
        Err(error) => {
            eprintln!("aqueduct: {error}");
            ExitCode::from(EXIT_USAGE)
        }
    }
}

/// Writes the sections as TOML. What nobody gave has no remark.
fn file(sections: &[Section], source: &Source) -> String {
    let mut text = String::new();
    for section in sections {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(section.header);
        text.push('\n');
        for entry in &section.entries {
            let line = format!("{} = {}", entry.key, entry.value);
            // Writing to a string cannot fail.
            let _ = match entry.origin {
                Origin::Default => writeln!(text, "{line}"),
                origin => writeln!(text, "{line:<39} # {}", source.place(origin)),
            };
        }
    }
    text
}
