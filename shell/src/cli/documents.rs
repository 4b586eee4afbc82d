//! What packages install beside the program: completions of shells, a manual page per command.

use std::io;
use std::path::Path;
use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Args, print};

/// Prints the completions of a shell.
pub(super) fn completions(shell: Shell) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "aqueduct", &mut script);
    print(&String::from_utf8_lossy(&script))
}

/// Writes `aqueduct-COMMAND.1` for each command, made of the texts of `--help`; `aqueduct.1`, which
/// is written by hand, is not among them.
pub(super) fn pages(directory: &Path) -> ExitCode {
    let mut command = Args::command();
    command.build();
    let written = std::fs::create_dir_all(directory).and_then(|()| {
        let mut inner = command.get_subcommands().filter(|inner| inner.get_name() != "help");
        inner.try_for_each(|inner| {
            write(directory, inner, &format!("aqueduct-{}", inner.get_name()))
        })
    });
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("aqueduct: {}: {error}", directory.display());
            ExitCode::FAILURE
        }
    }
}

fn write(directory: &Path, command: &clap::Command, name: &str) -> io::Result<()> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).title(name).render(&mut page)?;
    std::fs::write(directory.join(format!("{name}.1")), page)?;
    command
        .get_subcommands()
        .filter(|inner| inner.get_name() != "help")
        .try_for_each(|inner| write(directory, inner, &format!("{name}-{}", inner.get_name())))
}
