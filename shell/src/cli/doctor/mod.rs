//! `aqueduct doctor`: looks at what a listener needs, and says what is wrong and how it is mended.

mod kernel;
mod listener;
mod machine;

use std::fmt::Write;
use std::process::ExitCode;

use super::listener::ListenerArgs;
use super::text::{Format, json, plain};
use super::{EXIT_USAGE, print};

/// Flags of `aqueduct doctor`.
#[allow(clippy::doc_markdown, reason = "the texts are the help that the command prints")]
#[derive(Clone, Debug, clap::Args)]
pub struct DoctorArgs {
    #[command(flatten)]
    listener: ListenerArgs,
    /// Where the running listener serves its pages for operators [default: as in the settings]
    #[arg(long, value_name = "HOST:PORT")]
    admin: Option<String>,
    /// Ends with 1 for warnings, too
    #[arg(long)]
    strict: bool,
    /// Shape of the output
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Good,
    Warning,
    Failure,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Check {
    name: &'static str,
    status: Status,
    text: String,
    /// A command, or what to do.
    mend: Option<String>,
}

impl Check {
    fn good(name: &'static str, text: impl Into<String>) -> Self {
        Self { name, status: Status::Good, text: text.into(), mend: None }
    }

    fn warning(name: &'static str, text: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { name, status: Status::Warning, text: text.into(), mend: Some(mend.into()) }
    }

    fn failure(name: &'static str, text: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { name, status: Status::Failure, text: text.into(), mend: Some(mend.into()) }
    }
}

/// Looks at everything, and says how it is.
pub(super) fn run(args: &DoctorArgs) -> ExitCode {
    let settings = match args.listener.settings() {
        Ok(settings) => settings,
        Err(error) => {
            say!("aqueduct: {error}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let mut checks = kernel::checks();
    let running = listener::find(&settings, args);
    checks.extend(machine::checks(&settings, running.is_some()));
    checks.extend(listener::checks(&settings, args, running));
    let printed = print(&match args.format {
        Format::Text => text(&checks),
        Format::Json => object(&checks),
    });
    let worst = if args.strict { Status::Warning } else { Status::Failure };
    let is_bad = |check: &Check| match worst {
        Status::Warning => check.status != Status::Good,
        _ => check.status == Status::Failure,
    };
    if checks.iter().any(is_bad) { ExitCode::FAILURE } else { printed }
}

fn text(checks: &[Check]) -> String {
    let mut text = String::new();
    for check in checks {
        let word = match check.status {
            Status::Good => "ok  ",
            Status::Warning => "WARN",
            Status::Failure => "FAIL",
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{word} {}: {}", check.name, plain(&check.text));
        if let Some(mend) = &check.mend {
            let _ = writeln!(text, "     mend: {}", plain(mend));
        }
    }
    text
}

fn object(checks: &[Check]) -> String {
    let count = |status| checks.iter().filter(|check| check.status == status).count();
    let list: Vec<String> = checks
        .iter()
        .map(|check| {
            let status = match check.status {
                Status::Good => "ok",
                Status::Warning => "warning",
                Status::Failure => "failure",
            };
            let mend = check.mend.as_deref().map_or("null".to_owned(), json);
            let (name, text) = (check.name, json(&check.text));
            format!(
                "{{\"name\":\"{name}\",\"status\":\"{status}\",\"text\":{text},\"mend\":{mend}}}"
            )
        })
        .collect();
    let (failures, warnings) = (count(Status::Failure), count(Status::Warning));
    format!("{{\"failures\":{failures},\"warnings\":{warnings},\"checks\":[{}]}}\n", list.join(","))
}

#[cfg(test)]
mod tests;
