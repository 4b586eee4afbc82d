//! What is missing of what was published: the commands say so, and a start does.

use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde_json::Value;

use crate::common::{Ends, Server, command};
use crate::{journal, place, start, strs};

/// Status of a command, what it printed as JSON, and its complaints.
fn said(what: &str, directory: &Path) -> (Option<i32>, Value, String) {
    let output =
        command().args(["journal", what]).arg(directory).args(["--format", "json"]).ended();
    let output = output.expect("it runs");
    let value = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output.status.code(), value, String::from_utf8_lossy(&output.stderr).into_owned())
}

fn segments(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).expect("a directory");
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "segment"))
        .collect();
    paths.sort();
    paths
}

/// A ring with twenty records, of which the cursors know, that was killed.
fn killed(durability: &str) -> (Server, Vec<String>, String) {
    let (mut server, flags) = start(durability, "");
    let mut epoch = String::new();
    for n in 0..20_u8 {
        epoch = place(&server.post("default", &[n; 40])).1;
    }
    let directory = journal(&server);
    server.eventually("the cursors are saved", || {
        let (status, said, _) = said("inspect", &directory);
        assert_eq!(status, Some(0), "a journal in use is whole: {said}");
        let copies = said["cursors"].as_array().expect("copies");
        copies.iter().any(|copy| copy["next_seq"] == 20)
    });
    server.signal(Signal::KILL);
    let _ = server.wait();
    (server, flags, epoch)
}

/// Cuts the only segment after so many bytes of records.
fn cut(directory: &Path, bytes: u64) {
    let only = &segments(directory)[0];
    let file = std::fs::File::options().write(true).open(only).expect("it is there");
    file.set_len(4096 + bytes).expect("cut");
}

#[test]
fn a_journal_that_lost_its_end_is_damaged_for_every_command_and_for_the_next_start() {
    // Each record has three granules; the cut is between records, inside one, before all.
    for (durability, bytes, left) in
        [("disk", Some(96 * 5), 5), ("process", Some(96 * 18 + 50), 18), ("disk", None, 0)]
    {
        let (mut server, flags, epoch) = killed(durability);
        let directory = journal(&server);
        assert_eq!(said("verify", &directory).0, Some(0), "{durability}");
        match bytes {
            Some(bytes) => cut(&directory, bytes),
            None => {
                for path in segments(&directory) {
                    std::fs::remove_file(path).expect("it was there");
                }
            }
        }
        let missing = format!("records {left} to 19 are missing, which the cursors say");
        let (status, verified, complaints) = said("verify", &directory);
        assert_eq!((status, &verified["damaged"]), (Some(1), &1.into()), "{verified}");
        assert!(complaints.contains(&missing), "{complaints}");
        let (status, inspected, _) = said("inspect", &directory);
        assert_eq!((status, &inspected["damaged"]), (Some(1), &1.into()), "{inspected}");
        let output = command().args(["journal", "inspect"]).arg(&directory).ended();
        let text = String::from_utf8(output.expect("it runs").stdout).expect("UTF-8");
        assert!(text.contains(&missing) && !text.contains("never answered"), "{text}");

        server.start_again(&strs(&flags));
        let log = server.log();
        assert!(log.contains("ERROR") && log.contains("the journal is damaged"), "{log}");
        assert!(log.contains(&missing), "{log}");
        let metric =
            |name: &str| server.metric(&format!("aqueduct_journal_{name}{{ring=\"default\"}}"));
        let (places, records) = (metric("damaged_places"), metric("missing_records"));
        #[allow(clippy::cast_precision_loss, reason = "small numbers")]
        let lost = (20 - left) as f64;
        assert!((places - 1.0).abs() < 0.1 && (records - lost).abs() < 0.1, "{places} {records}");
        let (seq, other) = place(&server.post("default", b"anew"));
        assert_eq!(seq, left);
        assert_ne!(other, epoch, "numbers that were given are not given again");
    }
}

#[test]
fn a_write_that_was_torn_is_said_not_to_be_answered_if_the_cursors_do_not_say_otherwise() {
    let (server, ..) = killed("process");
    let directory = journal(&server);
    let only = &segments(&directory)[0];
    let mut bytes = std::fs::read(only).expect("readable");
    let end = 4096 + 96 * 20;
    bytes[end..end + 64].fill(0xA5);
    std::fs::write(only, bytes).expect("written");
    let (status, inspected, _) = said("inspect", &directory);
    assert_eq!((status, &inspected["damaged"]), (Some(0), &0.into()), "{inspected}");
    assert_eq!(inspected["segments"][0]["ends"][0]["kind"], "torn", "{inspected}");
    let output = command().args(["journal", "inspect"]).arg(&directory).ended();
    let text = String::from_utf8(output.expect("it runs").stdout).expect("UTF-8");
    assert!(text.contains("torn end, never answered at position 60"), "{text}");
}
