//! `aqueduct check-config` and `aqueduct config`: what `serve` would make of its settings.

use std::fmt::Write;
use std::process::ExitCode;

use serde_json::{Map, Value, json};

use super::text::FormatArgs;
use super::{EXIT_USAGE, ServeArgs, print};
use crate::config::{Origin, Section, Source};
use crate::server;

/// Flags of `aqueduct check-config` and `aqueduct config`: those of `serve`, and the shape.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ConfigArgs {
    #[command(flatten)]
    serve: ServeArgs,
    #[command(flatten)]
    format: FormatArgs,
}

/// Says whether the settings are accepted.
pub(super) fn check(args: &ConfigArgs) -> ExitCode {
    let checked = args.serve.load().map_err(|error| error.to_string()).and_then(|loaded| {
        server::check_files(&loaded.config).map_err(|error| error.to_string())?;
        Ok(loaded.config.rings.len())
    });
    match checked {
        Ok(rings) => print(&args.format.choose(
            || format!("the configuration is accepted: rings={rings}\n"),
            &json!({ "accepted": true, "rings": rings, "error": null }),
        )),
        Err(error) => refused(args, &error),
    }
}

/// Says why the settings are not accepted.
fn refused(args: &ConfigArgs, error: &str) -> ExitCode {
    say!("aqueduct: {error}");
    if args.format.is_json() {
        print(&format!("{}\n", json!({ "accepted": false, "rings": null, "error": error })));
    }
    ExitCode::from(EXIT_USAGE)
}

/// Prints the settings in effect, as a file that has them all, and where each came from.
pub(super) fn show(args: &ConfigArgs) -> ExitCode {
    match args.serve.load() {
        Ok(loaded) => {
            let sections = loaded.config.describe(&loaded.tables);
            print(&if args.format.is_json() {
                format!("{}\n", object(&sections, &loaded.source))
            } else {
                file(&sections, &loaded.source)
            })
        }
        Err(error) => refused(args, &error.to_string()),
    }
}

/// Writes the sections as an array of objects: the table, its settings, and where those that
/// somebody gave come from.
fn object(sections: &[Section], source: &Source) -> Value {
    let of = |section: &Section| {
        let (mut settings, mut from) = (Map::new(), Map::new());
        for entry in &section.entries {
            // A value that is no TOML would be a mistake of ours; it is shown as it is then.
            let value = toml::from_str::<Map<String, Value>>(&format!("v = {}", entry.value));
            let value = value.ok().and_then(|mut parsed| parsed.remove("v"));
            let value = value.unwrap_or_else(|| Value::from(entry.value.as_str()));
            settings.insert(entry.key.to_owned(), value);
            if entry.origin != Origin::Default {
                let place = Value::from(source.place(entry.origin));
                from.insert(entry.key.to_owned(), place);
            }
        }
        let table = section.header.trim_matches(['[', ']']);
        json!({ "table": table, "settings": settings, "from": from })
    };
    json!({ "tables": sections.iter().map(of).collect::<Vec<_>>() })
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
