//! Weakens every memory ordering of the core, one at a time, and demands that a loom model notices.
//!
//! `cargo run --release -p aqueduct-verify --bin ordering_mutants [-- [--list] FILTER…]`; a FILTER
//! is part of a line of the table, with `^` in front what must not be part of it; `--list` only
//! lists them. It works on a copy of `core` and `verify` in a temporary directory, or in
//! `$AQUEDUCT_MUTANTS_DIR`, with its own target directory. Tests whose names say `refused` are left
//! out: they judge models. The first test that fails decides. A survivor is a needless ordering or
//! a missing model, and fails the run unless `verify/mutants/explained.txt` gives the reason
//! (`path: line of code => mutant => reason`); so does a reason that explains nothing.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, io, thread};

/// The judges: every `loom_*` test of `verify/models`, the quickest first.
const FIRST: &[&str] =
    &["loom_claims", "loom_create", "loom_space", "loom_publish", "loom_sleep", "loom_observer"];
/// What a model must mention to have a say about mutants of a file. Others are judged by all.
const CONCERNS: &[(&str, &str)] = &[
    ("core/src/shared/mod.rs", "SharedProducer"),
    ("core/src/shared/grant.rs", "SharedProducer"),
    ("core/src/shared/place.rs", "SharedProducer"),
    ("core/src/shared/publishing.rs", "SharedProducer"),
    ("core/src/shared/claims.rs", "Claims"),
    ("core/src/read/observer.rs", "Observer"),
];
/// Tests that run only if all others of their file passed: they take longest.
const LAST: &[&str] = &["three_producers", "more_interleavings", "lap"];
/// A test file that takes longer than this hangs, which is noticed too.
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
            let len =
                code[from..].find(|c: char| !c.is_alphanumeric()).unwrap_or(code.len() - from);
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
            found.extend(
                weaker(ordering)
                    .iter()
                    .map(|&instead| mutant(from..from + len, instead, instead.into())),
            );
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
    /// This test failed.
    Failed(String),
    /// It does not compile.
    Unbuilt(String),
    /// A test file does not end.
    Hangs(String),
}

/// The models, and what is known of them.
struct Judges {
    copy: PathBuf,
    /// Test files with their text.
    models: Vec<(String, String)>,
    /// Tests that killed mutants of a file: (test file, test), the latest first.
    killers: HashMap<String, Vec<(String, String)>>,
}

impl Judges {
    fn cargo(&self, arguments: &[&str]) -> io::Result<std::process::Output> {
        let mut cargo = Command::new("cargo");
        cargo
            .args(arguments)
            .args(["--release", "-q", "-p", "aqueduct-verify"])
            .current_dir(&self.copy);
        // Built often, run briefly.
        cargo
            .env("CARGO_PROFILE_RELEASE_INCREMENTAL", "true")
            .env("CARGO_PROFILE_RELEASE_DEBUG", "0");
        cargo.env("CARGO_TARGET_DIR", self.copy.join("target")).output()
    }

    /// The executable of a test file, or why there is none.
    fn build(&self, model: &str) -> io::Result<Result<String, String>> {
        let built = self.cargo(&[
            "test",
            "--no-run",
            "--message-format",
            "json-render-diagnostics",
            "--test",
            model,
        ])?;
        if !built.status.success() {
            return Ok(Err(String::from_utf8_lossy(&built.stderr).into()));
        }
        let messages = String::from_utf8_lossy(&built.stdout);
        // The package's programs are built, too.
        let lines = messages.lines().filter(|line| {
            line.contains(&format!(
                "\"kind\":[\"test\"],\"crate_types\":[\"bin\"],\"name\":\"{model}\""
            ))
        });
        let mut paths =
            lines.filter_map(|line| line.split_once("\"executable\":\"")?.1.split('"').next());
        Ok(paths
            .next()
            .map(str::to_owned)
            .ok_or_else(|| format!("cargo names no executable of {model}")))
    }

    /// Runs one test file until a test fails.
    fn run(&self, executable: &str, model: &str, arguments: &[&str]) -> io::Result<Verdict> {
        let report = self.copy.join("report.txt");
        let mut run = Command::new(executable);
        run.args(arguments)
            .args(["--skip", "refused", "--test-threads", "2"])
            .env("RUST_BACKTRACE", "0");
        run.current_dir(self.copy.join("verify"));
        let mut child = run.stdout(fs::File::create(&report)?).stderr(Stdio::null()).spawn()?;
        let begun = Instant::now();
        loop {
            let ended = child.try_wait()?;
            let report = String::from_utf8_lossy(&fs::read(&report)?).into_owned();
            let failed = report
                .lines()
                .find_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"));
            let verdict = match (failed, ended) {
                (Some(test), _) => Verdict::Failed(test.into()),
                (None, Some(status)) if status.success() => Verdict::Passed,
                (None, Some(_)) => Verdict::Failed("(died)".into()),
                (None, None) if begun.elapsed() > PATIENCE => Verdict::Hangs(model.into()),
                (None, None) => {
                    thread::sleep(Duration::from_millis(10));
                    continue;
                }
            };
            if ended.is_none() {
                child.kill()?;
                child.wait()?;
            }
            return Ok(verdict);
        }
    }

    /// Judges the copy with a mutant of `file` in it, up to the first test that fails: those that
    /// killed one of its mutants before, then all.
    fn judge(&mut self, file: &str) -> io::Result<Verdict> {
        let known = self.killers.get(file).cloned().unwrap_or_default();
        let concern =
            CONCERNS.iter().find(|concern| concern.0 == file).map_or("", |concern| concern.1);
        let models: Vec<String> = self
            .models
            .iter()
            .filter(|model| model.1.contains(concern))
            .map(|model| model.0.clone())
            .collect();
        let mut executables = HashMap::new();
        let quick: Vec<&str> = LAST.iter().flat_map(|last| ["--skip", last]).collect();
        let rounds = known.iter().map(|(model, test)| (model, vec![test.as_str(), "--exact"]));
        let rounds = rounds
            .chain(models.iter().map(|model| (model, quick.clone())))
            .chain(models.iter().map(|model| (model, LAST.to_vec())));
        for (model, arguments) in rounds {
            if !executables.contains_key(model) {
                match self.build(model)? {
                    Ok(executable) => executables.insert(model.clone(), executable),
                    Err(why) => return Ok(Verdict::Unbuilt(why)),
                };
            }
            match self.run(&executables[model], model, &arguments)? {
                Verdict::Passed => {}
                Verdict::Failed(test) => {
                    let killer = (model.clone(), test.clone());
                    let known = self.killers.entry(file.into()).or_default();
                    known.retain(|known| *known != killer);
                    if test != "(died)" {
                        known.insert(0, killer);
                    }
                    return Ok(Verdict::Failed(format!("{model}::{test}")));
                }
                other => return Ok(other),
            }
        }
        Ok(Verdict::Passed)
    }
}

/// The models that `verify/models` has, with their text.
fn models(verify: &Path) -> io::Result<Vec<(String, String)>> {
    let mut models = Vec::new();
    for entry in fs::read_dir(verify.join("models"))? {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with("loom_") && path.extension().is_some_and(|extension| extension == "rs")
        {
            models.push((name, fs::read_to_string(&path)?));
        }
    }
    models.sort_by_key(|(name, _)| {
        (FIRST.iter().position(|first| first == name).unwrap_or(usize::MAX), name.clone())
    });
    Ok(models)
}

/// Copies what is mutated and what judges it, in place of what an earlier run left, whose files may
/// have moved since. From here on the originals may change.
fn set_up(root: &Path, work: &Path) -> io::Result<()> {
    fs::create_dir_all(work)?;
    for part in ["core", "verify"] {
        let copied = work.join(part);
        if copied.exists() {
            fs::remove_dir_all(&copied)?;
        }
        copy(&root.join(part), &copied)?;
    }
    fs::copy(root.join("Cargo.lock"), work.join("Cargo.lock"))?;
    let manifest = fs::read_to_string(root.join("Cargo.toml"))?;
    let members = manifest.lines().map(|line| {
        if line.starts_with("members") { "members = [\"core\", \"verify\"]" } else { line }
    });
    fs::write(work.join("Cargo.toml"), members.collect::<Vec<_>>().join("\n") + "\n")
}

/// Every source file below `folder`, named from `root`, in order.
fn sources(root: &Path, folder: &Path, found: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            sources(root, &path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && !path.ends_with("tests.rs")
        {
            found.push(path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned());
        }
    }
    found.sort();
    Ok(())
}

/// What is to be explained: (path: line of code, mutant, reason).
fn explanations(text: &str) -> Vec<(&str, &str, &str)> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| {
            line.split_once(" => ")
                .and_then(|(at, rest)| rest.split_once(" => ").map(|(name, why)| (at, name, why)))
        })
        .collect()
}

fn main() -> io::Result<ExitCode> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize()?;
    let (options, filters): (Vec<String>, Vec<String>) =
        env::args().skip(1).partition(|argument| argument == "--list");
    let wanted = |mutant: &Mutant| {
        let line = format!("{}:{} {} {}", mutant.file, mutant.line, mutant.code, mutant.name);
        let (not, any): (Vec<_>, Vec<_>) =
            filters.iter().partition(|filter| filter.starts_with('^'));
        (any.is_empty() || any.iter().any(|filter| line.contains(*filter)))
            && !not.iter().any(|filter| line.contains(&filter[1..]))
    };
    let work = env::var_os("AQUEDUCT_MUTANTS_DIR")
        .map_or_else(|| env::temp_dir().join("aqueduct-mutants"), PathBuf::from);
    set_up(&root, &work)?;
    let (mut mutants, mut files) = (Vec::new(), Vec::new());
    sources(&work, &work.join("core/src"), &mut files)?;
    for file in files {
        mutants.extend(mutants_of(&file, &fs::read_to_string(work.join(&file))?));
    }
    mutants.retain(wanted);
    if !options.is_empty() {
        for mutant in mutants {
            println!("{}:{} | {} | {}", mutant.file, mutant.line, mutant.code, mutant.name);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let explained = fs::read_to_string(root.join("verify/mutants/explained.txt"))?;
    let mut explained = explanations(&explained);

    let mut judges = Judges {
        models: models(&work.join("verify"))?,
        copy: work.clone(),
        killers: HashMap::new(),
    };
    match judges.judge("")? {
        Verdict::Passed => {}
        Verdict::Failed(test) => panic!("{test} fails without any mutant"),
        Verdict::Unbuilt(why) => panic!("the copy does not compile:\n{why}"),
        Verdict::Hangs(model) => panic!("{model} hangs without any mutant"),
    }
    let mut ok = true;
    println!("| where | code | mutant | verdict |\n|---|---|---|---|");
    for Mutant { file, range, line, code, instead, name } in mutants {
        let original = fs::read_to_string(work.join(&file))?;
        let mut mutated = original.clone();
        mutated.replace_range(range, instead);
        fs::write(work.join(&file), mutated)?;
        let place = format!("{file}: {code}");
        let verdict = match judges.judge(&file)? {
            Verdict::Failed(test) => format!("killed by `{test}`"),
            Verdict::Hangs(model) => format!("killed: `{model}` hangs"),
            Verdict::Passed => {
                // Each reason explains one survivor.
                let reason =
                    explained.iter().position(|(at, mutant, _)| *at == place && *mutant == name);
                ok &= reason.is_some();
                reason.map_or_else(
                    || "SURVIVED".into(),
                    |index| format!("survives: {}", explained.remove(index).2),
                )
            }
            Verdict::Unbuilt(why) => {
                ok = false;
                format!("DOES NOT COMPILE: {}", why.lines().next().unwrap_or_default())
            }
        };
        println!("| {file}:{line} | `{}` | {name} | {verdict} |", code.replace('|', "\\|"));
        fs::write(work.join(&file), original)?;
    }
    if filters.is_empty() {
        for (at, name, _) in explained {
            ok = false;
            println!("no such survivor, though explained: {at} => {name}");
        }
    }
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
