//! Rings that outlive the process: the real binary, killed and started again.

mod common;

#[path = "journal/faults.rs"]
mod faults;
#[path = "journal/history.rs"]
mod history;
#[path = "journal/kills.rs"]
mod kills;
#[path = "journal/lagging.rs"]
mod lagging;
#[path = "journal/missing.rs"]
mod missing;
#[path = "journal/survive.rs"]
mod survive;

use std::path::PathBuf;

use common::{Response, Scratch, Server};
use rustix::process::Signal;

/// A configuration with one ring and its journal in the scratch directory, and the flags for it.
fn configured(scratch: &Scratch, durability: &str, more: &str) -> Vec<String> {
    let directory = scratch.path("journal");
    let text = format!(
        "[journal]\ndirectory = \"{}\"\n{more}\n\
         [[ring]]\nname = \"default\"\ncapacity_bytes = \"64KiB\"\nfull_wait_ms = 0\n\
         durability = \"{durability}\"\n\
         [[listen]]\naddress = \"127.0.0.1:0\"\nprotocol = \"resp\"\n",
        directory.display()
    );
    let file = scratch.path("aqueduct.toml");
    std::fs::write(&file, text).expect("the file is written");
    ["--config", file.to_str().expect("ASCII")].map(str::to_owned).to_vec()
}

fn start(durability: &str, more: &str) -> (Server, Vec<String>) {
    let scratch = Scratch::new();
    let flags = configured(&scratch, durability, more);
    let server = Server::start_in(scratch, &strs(&flags));
    (server, flags)
}

fn strs(flags: &[String]) -> Vec<&str> {
    flags.iter().map(String::as_str).collect()
}

fn kill(server: &mut Server, flags: &[String]) {
    server.signal(Signal::KILL);
    let _ = server.wait();
    server.start_again(&strs(flags));
}

/// What an answer says: sequence number and epoch.
fn place(response: &Response) -> (u64, String) {
    assert_eq!(response.status, 202, "{response:?}");
    place_in(&response.body)
}

fn place_in(body: &str) -> (u64, String) {
    let field = |name: &str| {
        let after = body.split_once(name).unwrap_or_else(|| panic!("{body}")).1;
        after.trim_start_matches(['"', ':']).split(['"', ',', '}']).next().unwrap_or("").to_owned()
    };
    (field("seq").parse().expect("a number"), field("epoch"))
}

fn journal(server: &Server) -> PathBuf {
    server.scratch.path("journal").join("default")
}
