//! Weakens every memory ordering of the core, one at a time, and demands that a loom model notices.
//!
//! `cargo run --release -p aqueduct-verify --bin ordering_mutants [-- FILTER]`; FILTER is part of `file:line` or of a mutant's text, `--list` only lists them.
//! It works on a copy of `core` and `verify` in a temporary directory, or in `$AQUEDUCT_MUTANTS_DIR`, with its own target directory. Tests whose names say
//! `refused` are left out: they judge models. A survivor is a needless ordering or a missing model, and fails
//! the run unless `verify/mutants/explained.txt` gives the reason (`path:line-of-code-text => mutant => reason`).

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, io, thread};

/// What is mutated, in the order of the table.
const SOURCES: &[&str] = &["shared", "shared/grant", "region/turns", "walk", "observer", "producer", "gate", "subscriptions", "reader"];
/// The judges: every `loom_*` test of `verify/tests`, those that know most first.
const FIRST: &[&str] = &["loom_observer", "loom_publish", "loom_create", "loom_space", "loom_sleep", "loom_shared"];
/// Tests that run only if all others passed: they take longest.
const LAST: &[&str] = &["three_producers", "more_interleavings"];
/// One that takes longer than this hangs, which is noticed too.
const PATIENCE: Duration = Duration::from_secs(300);

/// One weaker ordering.
struct Mutant {
    file: String,
    /// Byte range of what is replaced.
    range: std::ops::Range<usize>,
    line: usize,
    /// The line as it ships, without spaces around it.
    code: String,
    /// What replaces it.
    instead: &'static str,
    /// What is said in the table: which of the orderings of a line, and what it becomes.
    name: String,
}

/// Weaker orderings than this one, as text.
fn weaker(ordering: &str) -> &'static [&'static str] {
    match ordering {
        "AcqRel" => &["Acquire", "Release"],
        "SeqCst" => &["AcqRel"],
        "Acquire" | "Release" => &["Relaxed"],
        _ => &[],
    }
}

/// Every mutant of one file's code before its unit tests. Comments are passed over.
fn mutants_of(file: &str, text: &str) -> Vec<Mutant> {
    let (mut found, mut start) = (Vec::new(), 0);
    for (index, line) in text.split_inclusive('\n').enumerate() {
        if line.contains("#[cfg(test)]") {
            break;
        }
        let code = line.split("//").next().unwrap_or_default();
        for (nth, (at, _)) in code.match_indices("Ordering::").enumerate() {
            let from = at + "Ordering::".len();
            let len = code[from..].find(|c: char| !c.is_alphanumeric()).unwrap_or(code.len() - from);
            let ordering = &code[from..from + len];
            let mutant = |range: std::ops::Range<usize>, instead, what: String| Mutant {
                file: file.into(),
                range: start + range.start..start + range.end,
                line: index + 1,
                code: code.trim().into(),
                instead,
                name: format!("{}{ordering} -> {what}", if nth > 0 { "second " } else { "" }),
            };
            if code.contains(".fence(") {
                // A relaxed fence is not allowed, so it goes.
                let statement = code.len() - code.trim_start().len()..code.trim_end().len();
                found.push(mutant(statement, "", "no fence".into()));
                if ordering != "SeqCst" {
                    continue;
                }
            }
            found.extend(weaker(ordering).iter().map(|&instead| mutant(from..from + len, instead, instead.into())));
        }
        start += line.len();
    }
    found
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            if entry.file_name() != "target" {
                copy(&from, &to)?;
            }
        } else {
            // Files that did not change keep their time, so that only what changed is built again.
            let bytes = fs::read(&from)?;
            if fs::read(&to).ok() != Some(bytes.clone()) {
                fs::write(&to, bytes)?;
            }
        }
    }
    Ok(())
}

/// What the models say about the copy.
enum Verdict {
    /// Everything passed.
    Passed,
    /// These tests failed.
    Failed(Vec<String>),
    /// It does not compile.
    Unbuilt(String),
    /// It does not end.
    Hangs,
}

/// Judges the copy, test file by test file, up to the first that fails; tests named in `skip` do not count.
fn judge(copy: &Path, tests: &[String], skip: &[String], all: bool) -> io::Result<Verdict> {
    let mut failed = Vec::new();
    let strings = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    let every = skip.to_vec();
    let quick = [skip, &strings(LAST)].concat();
    let mut compiler = Command::new("cargo");
    compiler.args(["build", "--release", "-q", "-p", "aqueduct-verify", "--lib"]);
    let built = compiler.current_dir(copy).env("CARGO_TARGET_DIR", copy.join("target")).output()?;
    if !built.status.success() {
        return Ok(Verdict::Unbuilt(String::from_utf8_lossy(&built.stderr).into()));
    }
    let rounds = tests
        .iter()
        .map(|test| (test, &quick, &[][..]))
        .chain(tests.iter().filter(|test| *test == "loom_shared").map(|test| (test, &every, LAST)));
    for (test, skip, only) in rounds {
        let mut run = Command::new("cargo");
        run.args(["test", "--release", "-q", "-p", "aqueduct-verify", "--test", test, "--", "--skip", "refused", "--test-threads", "2"]);
        run.args(skip.iter().flat_map(|skip| ["--skip", skip])).args(only);
        run.current_dir(copy).env("CARGO_TARGET_DIR", copy.join("target")).env("RUST_BACKTRACE", "0");
        let report = copy.join("report.txt");
        let mut child = run.stdout(fs::File::create(&report)?).stderr(Stdio::null()).spawn()?;
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if begun.elapsed() > PATIENCE {
                child.kill()?;
                child.wait()?;
                return Ok(Verdict::Hangs);
            }
            thread::sleep(Duration::from_millis(20));
        };
        if status.success() {
            continue;
        }
        let report = String::from_utf8_lossy(&fs::read(&report)?).into_owned();
        let names = report.lines().rev().skip_while(|line| !line.starts_with("    ")).take_while(|line| line.starts_with("    "));
        let names: Vec<String> = names.map(|name| name.trim().to_owned()).collect();
        failed.extend(if names.is_empty() { vec![format!("{test} (died)")] } else { names });
        if !all {
            break;
        }
    }
    Ok(if failed.is_empty() { Verdict::Passed } else { Verdict::Failed(failed) })
}

/// The models that `verify/tests` has.
fn models(verify: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(verify.join("tests"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(".rs").filter(|name| name.starts_with("loom_")).map(str::to_owned));
    }
    names.sort_by_key(|name| (FIRST.iter().position(|first| first == name).unwrap_or(usize::MAX), name.clone()));
    Ok(names)
}

/// Copies what is mutated and what judges it. From here on the originals may change.
fn set_up(root: &Path, work: &Path) -> io::Result<()> {
    fs::create_dir_all(work)?;
    for part in ["core", "verify"] {
        copy(&root.join(part), &work.join(part))?;
    }
    fs::copy(root.join("Cargo.lock"), work.join("Cargo.lock"))?;
    let manifest = fs::read_to_string(root.join("Cargo.toml"))?;
    let members = manifest.lines().map(|line| if line.starts_with("members") { "members = [\"core\", \"verify\"]" } else { line });
    // Built often, run briefly.
    fs::write(work.join("Cargo.toml"), members.collect::<Vec<_>>().join("\n") + "\nincremental = true\n")
}

fn main() -> io::Result<ExitCode> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize()?;
    let filter = env::args().nth(1).unwrap_or_default();
    let (list, filter) = (filter == "--list", if filter == "--list" { String::new() } else { filter });
    let work = env::var_os("AQUEDUCT_MUTANTS_DIR").map_or_else(|| env::temp_dir().join("aqueduct-mutants"), PathBuf::from);
    set_up(&root, &work)?;
    let mut mutants = Vec::new();
    for source in SOURCES {
        let file = format!("core/src/{source}.rs");
        mutants.extend(mutants_of(&file, &fs::read_to_string(work.join(&file))?));
    }
    mutants.retain(|mutant| format!("{}:{} {} {}", mutant.file, mutant.line, mutant.code, mutant.name).contains(&filter));
    if list {
        for mutant in mutants {
            println!("{}:{} | {} | {}", mutant.file, mutant.line, mutant.code, mutant.name);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let explained = fs::read_to_string(root.join("verify/mutants/explained.txt"))?;
    let explained: Vec<(&str, &str, &str)> = explained
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(" => ").and_then(|(at, rest)| rest.split_once(" => ").map(|(name, why)| (at, name, why))))
        .collect();

    let tests = models(&work.join("verify"))?;
    let mut ok = true;
    let skip = match judge(&work, &tests, &[], true)? {
        Verdict::Passed => Vec::new(),
        Verdict::Failed(names) => {
            println!("these models fail without any mutant and judge nothing: {}", names.join(", "));
            ok = false;
            names
        }
        Verdict::Unbuilt(why) => panic!("the copy does not compile:\n{why}"),
        Verdict::Hangs => panic!("a model hangs without any mutant"),
    };
    println!("| where | code | mutant | verdict |\n|---|---|---|---|");
    for Mutant { file, range, line, code, instead, name } in mutants {
        let original = fs::read_to_string(work.join(&file))?;
        let mut text = original.clone();
        text.replace_range(range, instead);
        fs::write(work.join(&file), text)?;
        let mut tests = tests.clone();
        // Those that know most about the file, first.
        tests.sort_by_key(|test| (file.contains("shared") || file.contains("turns")) != (test == "loom_shared"));
        let verdict = match judge(&work, &tests, &skip, false)? {
            Verdict::Failed(names) => format!("killed by {}", names.join(", ")),
            Verdict::Hangs => "killed: a model hangs".into(),
            Verdict::Unbuilt(why) => {
                ok = false;
                format!("DOES NOT COMPILE: {}", why.lines().next().unwrap_or_default())
            }
            Verdict::Passed => {
                let reason = explained
                    .iter()
                    .find(|(at, mutant, _)| file.ends_with(at.split(": ").next().unwrap_or(at)) && at.ends_with(&code) && *mutant == name);
                ok &= reason.is_some();
                reason.map_or_else(|| "SURVIVED".into(), |reason| format!("survives: {}", reason.2))
            }
        };
        println!("| {file}:{line} | `{code}` | {name} | {verdict} |");
        fs::write(work.join(&file), original)?;
    }
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
