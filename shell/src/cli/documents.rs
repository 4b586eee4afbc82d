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
            say!("aqueduct: {}: {error}", directory.display());
            ExitCode::FAILURE
        }
    }
}

fn write(directory: &Path, command: &clap::Command, name: &str) -> io::Result<()> {
    std::fs::write(directory.join(format!("{name}.1")), page(command, name)?)?;
    command
        .get_subcommands()
        .filter(|inner| inner.get_name() != "help")
        .try_for_each(|inner| write(directory, inner, &format!("{name}-{}", inner.get_name())))
}

/// A page as `man` takes it without a warning.
fn page(command: &clap::Command, name: &str) -> io::Result<String> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone())
        .title(name)
        .date(date())
        .source(concat!("aqueduct ", env!("CARGO_PKG_VERSION")))
        .manual("Aqueduct")
        .render(&mut page)?;
    // Addresses are long words: lines that end where they end, not at the margin. And clap_mangen
    // breaks a line before and after an empty one, which is a break by itself.
    let page = String::from_utf8_lossy(&page).replace(".br\n\n.br\n", "\n");
    let page = page.replacen(".SH NAME\n", ".ad l\n.SH NAME\n", 1);
    Ok(page + ".SH EXIT STATUS\nThose of aqueduct(1).\n.SH SEE ALSO\n.BR aqueduct (1)\n")
}

/// The date of `aqueduct.1`, so that a page is the same whenever it is made.
fn date() -> &'static str {
    let mut lines = include_str!("../../man/aqueduct.1").lines();
    lines.find_map(|line| line.strip_prefix(".Dd ")).unwrap_or_default()
}
