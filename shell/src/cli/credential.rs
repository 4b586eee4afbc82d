//! `aqueduct credential add`: makes a token, the hash of a password, or what a client's certificate
//! is known by, and the line for the file.

use std::fs::OpenOptions;
use std::io::{self, BufRead, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use serde_json::json;

use super::print;
use super::text::FormatArgs;
use crate::credentials::{new_certificate, new_password, new_token};
use crate::log;

/// What can be done with credentials.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum CredentialCommand {
    /// Make a credential: prints the line for the file, and on stderr the new token.
    Add(AddArgs),
}

/// Flags of `aqueduct credential add`.
#[derive(Clone, Debug, clap::Args)]
pub struct AddArgs {
    /// Whose it is: 1 to 64 of A-Z a-z 0-9 . _ @ -; a name may have several
    pub name: String,
    /// A password instead of a token; it is read from stdin, and never a flag
    #[arg(long)]
    pub password: bool,
    /// No secret, but a name in the client's certificate: dns:NAME, email:ADDRESS, uri:URI, or its
    /// subject, as CN=robot,O=Works
    #[arg(long, value_name = "NAME", conflicts_with = "password")]
    pub certificate: Option<String>,
    /// A ring that it may write to; may be repeated [default: every ring]
    #[arg(long, value_name = "NAME")]
    pub ring: Vec<String>,
    /// Append the line to this file, which is made with mode 0600 if it is not there
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// The shape of what is printed
    #[command(flatten)]
    pub format: FormatArgs,
}

/// Does what the command line says.
pub(super) fn run(command: &CredentialCommand) -> ExitCode {
    let CredentialCommand::Add(args) = command;
    match add(args) {
        Ok((token, line)) if args.format.is_json() => {
            let object = json!({ "name": args.name, "line": line, "token": token });
            print(&format!("{object}\n"))
        }
        Ok((token, line)) => {
            // Once the line is safe: it is the only time that anybody sees it.
            if let Some(token) = token {
                let shown = format!("the token, which is shown this once: {token}\n");
                if let Err(error) = log::write_stderr(&shown) {
                    say!("aqueduct: nobody takes the token: {error}");
                    return ExitCode::FAILURE;
                }
            }
            match &args.file {
                None => print(&format!("{line}\n")),
                Some(_) => ExitCode::SUCCESS,
            }
        }
        Err(error) => {
            say!("aqueduct: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Makes the token, if it is one, and the line, which is in the file then if there is one.
fn add(args: &AddArgs) -> Result<(Option<String>, String), String> {
    let rings = (!args.ring.is_empty()).then(|| args.ring.clone());
    let (token, line) = if let Some(certificate) = &args.certificate {
        (None, new_certificate(&args.name, certificate, rings)?)
    } else if args.password {
        let password = read_password().map_err(|error| format!("reading the password: {error}"))?;
        (None, new_password(&args.name, password.as_bytes(), rings)?)
    } else {
        let (token, line) = new_token(&args.name, rings)?;
        (Some(token), line)
    };
    if let Some(path) = &args.file {
        append(path, &line).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok((token, line))
}

/// Appends a line in one piece, so that a process that reads the file sees all of it or nothing.
fn append(path: &Path, line: &str) -> io::Result<()> {
    let ends =
        std::fs::read(path).map_or(true, |text| text.last().is_none_or(|last| *last == b'\n'));
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    let line = format!("{}{line}\n", if ends { "" } else { "\n" });
    file.write_all(line.as_bytes())?;
    file.sync_all()
}

/// Reads a line; a terminal does not show it.
fn read_password() -> io::Result<String> {
    let stdin = io::stdin();
    let hidden = stdin.is_terminal().then(|| tcgetattr(&stdin)).transpose()?;
    if let Some(shown) = &hidden {
        log::write_stderr("password: ")?;
        let mut modes = shown.clone();
        modes.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&stdin, OptionalActions::Flush, &modes)?;
    }
    let mut line = String::new();
    let read = stdin.lock().read_line(&mut line);
    if let Some(shown) = &hidden {
        tcsetattr(&stdin, OptionalActions::Flush, shown)?;
        log::write_stderr("\n")?;
    }
    read?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
