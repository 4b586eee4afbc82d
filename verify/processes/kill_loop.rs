//! A bounded run of the program `kill_loop`: 12 rounds of real processes that are killed.

use std::process::Command;

#[test]
fn killed_processes_lose_nothing_that_was_published() {
    let output = Command::new(env!("CARGO_BIN_EXE_kill_loop"))
        .args(["12", "1"])
        .output()
        .expect("the program runs");
    let (told, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{told}");
    assert!(output.status.success(), "{}\n{told}\n{complained}", output.status);
}
