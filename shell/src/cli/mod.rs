//! The `aqueduct` command: arguments, log, exit status.
//!
//! A subcommand is a variant of [`Command`], and a file here that does it.

/// What a command has to say for itself: a line on stderr, for which nothing waits.
macro_rules! say {
    ($($said:tt)*) => { $crate::log::say(format_args!($($said)*)) };
}

mod args;
#[cfg(feature = "operate")]
mod bench;
mod config;
mod credential;
#[cfg(feature = "look")]
mod doctor;
#[cfg(feature = "operate")]
mod documents;
mod http;
#[cfg(feature = "look")]
pub mod inspect;
mod journal;
mod listener;
#[cfg(feature = "operate")]
mod publish;
mod reload;
mod serve;
#[cfg(feature = "look")]
mod tail;
#[cfg(feature = "operate")]
mod target;
mod text;
#[cfg(feature = "operate")]
mod top;
mod wire;

use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::{log, server};

pub use args::{Args, Command};
#[cfg(feature = "operate")]
pub use bench::BenchArgs;
pub use config::ConfigArgs;
pub use credential::{AddArgs, CredentialCommand};
#[cfg(feature = "look")]
pub use doctor::DoctorArgs;
#[cfg(feature = "look")]
pub use inspect::InspectArgs;
pub use journal::JournalArgs;
pub use listener::ListenerArgs;
#[cfg(feature = "operate")]
pub use publish::PublishArgs;
pub use reload::ReloadArgs;
pub use serve::ServeArgs;
#[cfg(feature = "look")]
pub use tail::TailArgs;
pub use text::FormatArgs;
#[cfg(feature = "operate")]
pub use top::TopArgs;
#[cfg(feature = "operate")]
pub use wire::TrustArgs;

/// Exit status for a command line or a file that is wrong; clap uses the same.
const EXIT_USAGE: u8 = 2;

/// Does what the command line says.
pub fn main() -> ExitCode {
    server::ignore_file_size_signal();
    let args = match Args::try_parse() {
        Ok(args) => args,
        // Help and version are output like any other; the rest is an error of the command line.
        Err(said) if !said.use_stderr() => return print(&said.render().to_string()),
        Err(error) => {
            #[cfg(not(feature = "operate"))]
            left_out(&error);
            say!("{}", error.render().to_string().trim_end());
            return ExitCode::from(EXIT_USAGE);
        }
    };
    match args.command {
        Some(Command::Serve(args)) => serve::run(*args),
        Some(Command::CheckConfig(args)) => config::check(&args),
        Some(Command::Config(args)) => config::show(&args),
        Some(Command::Credential(command)) => credential::run(&command),
        Some(Command::Reload(args)) => reload::run(&args),
        Some(Command::Journal(args)) => journal::run(&args),
        #[cfg(feature = "look")]
        Some(Command::Tail(args)) => tail::run(&args),
        #[cfg(feature = "look")]
        Some(Command::Inspect(args)) => inspect::run(&args),
        #[cfg(feature = "look")]
        Some(Command::Doctor(args)) => doctor::run(&args),
        #[cfg(feature = "operate")]
        Some(Command::Publish(args)) => publish::run(&args),
        #[cfg(feature = "operate")]
        Some(Command::Top(args)) => top::run(&args),
        #[cfg(feature = "operate")]
        Some(Command::Bench(args)) => bench::run(&args),
        #[cfg(feature = "operate")]
        Some(Command::Completions { shell }) => documents::completions(shell),
        #[cfg(feature = "operate")]
        Some(Command::Man { directory }) => documents::pages(&directory),
        None => print(&Args::command().render_help().to_string()),
    }
}

/// Writes to stdout, after what was said. A reader that stops early, as `head` does, is no error.
fn print(text: &str) -> ExitCode {
    log::flush();
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if !is_quiet_end(&error) => {
            say!("aqueduct: {error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

/// Whether writing failed only because nobody takes the output any more.
fn is_quiet_end(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::BrokenPipe
}

/// Says of a command that exists, and is not in this program, what it is built with.
#[cfg(not(feature = "operate"))]
fn left_out(error: &clap::Error) {
    use clap::error::{ContextKind, ContextValue};
    const OF_LOOK: [&str; 3] = ["tail", "inspect", "doctor"];
    const OF_OPERATE: [&str; 5] = ["publish", "top", "bench", "completions", "man"];
    let Some(ContextValue::String(name)) = error.get(ContextKind::InvalidSubcommand) else {
        return;
    };
    let feature = match &**name {
        look if OF_LOOK.contains(&look) => "look",
        operate if OF_OPERATE.contains(&operate) => "operate",
        _ => return,
    };
    say!("aqueduct: `{name}` is in programs that are built with the cargo feature `{feature}`");
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Args;

    /// Looks for the command and its flags, and for those of its own commands.
    fn missing(command: &clap::Command, page: &str, found: &mut Vec<String>) {
        for flag in command.get_arguments().filter_map(clap::Arg::get_long) {
            let written = format!("Fl -{flag}");
            if !matches!(flag, "help" | "version")
                && !page.lines().any(|line| line.split(" Ar ").any(|part| part.ends_with(&written)))
            {
                found.push(format!("{}: --{flag}", command.get_name()));
            }
        }
        for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
            let name = inner.get_name();
            let is_named = |line: &str| {
                line.contains("Cm") && line.split_whitespace().any(|word| word == name)
            };
            if !page.lines().any(is_named) {
                found.push(name.to_owned());
            }
            missing(inner, page, found);
        }
    }

    #[test]
    fn the_manual_page_has_every_command_and_every_flag() {
        let mut found = Vec::new();
        missing(&Args::command(), include_str!("../../man/aqueduct.1"), &mut found);
        assert_eq!(found, Vec::<String>::new());
    }
}
