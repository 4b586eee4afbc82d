//! Imports point one way: a module uses only modules that its crate's `lib.rs` lists before it.
//!
//! Reads the sources: each file of a module (`crate::other`, `use crate::{a, b}`), and inside a
//! module that is a directory nothing, for its parts make one whole. Comments and unit tests, which
//! may use anything, are passed over.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Crates whose order is kept, by the directory that holds `src`.
const CRATES: &[&str] = &[
    "core",
    "shell",
    "shell/client",
    "shell/forward",
    "verify",
    "fuzz",
    "benches/ring",
    "benches/peers",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("verify has a parent").to_owned()
}

/// The code of a file: without comments, and up to its unit tests.
fn code(text: &str) -> String {
    text.lines()
        .take_while(|line| !line.starts_with("#[cfg(test)]") || line.contains(';'))
        .map(|line| line.find("//").map_or(line, |at| &line[..at]))
        .collect::<Vec<_>>()
        .join("\n")
}

/// The modules that a `lib.rs` declares, in its order.
fn modules(lib: &str) -> Vec<String> {
    code(lib)
        .lines()
        .filter_map(|line| {
            let line = line.trim_start_matches("pub ").trim_start_matches("pub(crate) ");
            Some(line.strip_prefix("mod ")?.strip_suffix(';')?.to_owned())
        })
        .collect()
}

/// Every file of a module.
fn files_of(src: &Path, module: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let file = src.join(format!("{module}.rs"));
    if file.is_file() {
        found.push(file);
    }
    let mut directories = vec![src.join(module)];
    while let Some(directory) = directories.pop() {
        let Ok(entries) = fs::read_dir(directory) else { continue };
        for entry in entries {
            let path = entry.expect("a directory can be listed").path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs")
                && path.file_stem().is_none_or(|stem| stem != "tests")
            {
                found.push(path);
            }
        }
    }
    found
}

/// First parts of the paths in a group: `{a, b::{c, d}, e}` gives a, b, e. `text` begins after the
/// opening brace.
fn heads(text: &str) -> Vec<&str> {
    let (mut heads, mut depth, mut from) = (Vec::new(), 0, 0);
    for (at, character) in text.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => {
                heads.push(&text[from..at]);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                heads.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    heads.into_iter().map(first_word).filter(|head| !head.is_empty()).collect()
}

/// The identifier with which a text begins.
fn first_word(text: &str) -> &str {
    let text = text.trim_start();
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

/// What a file names right under `crate::`.
fn used(code: &str) -> BTreeSet<&str> {
    let mut used = BTreeSet::new();
    for (at, path) in code.match_indices("crate::") {
        // `$crate::` in a macro, or the end of another name.
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &code[at + path.len()..];
        match rest.strip_prefix('{') {
            Some(group) => used.extend(heads(group)),
            None => drop(used.insert(first_word(rest))),
        }
    }
    used
}

/// Uses of a later module, `file uses module`.
fn arrows_up(directory: &str) -> Vec<String> {
    let src = root().join(directory).join("src");
    let lib = fs::read_to_string(src.join("lib.rs")).expect("a crate has a lib.rs");
    let order = modules(&lib);
    assert!(order.len() > 3, "{directory}: only {order:?} in lib.rs");
    let mut wrong = Vec::new();
    for (place, module) in order.iter().enumerate() {
        let files = files_of(&src, module);
        assert!(!files.is_empty(), "{directory}: no file of module {module}");
        for file in files {
            let text = fs::read_to_string(&file).expect("sources are text");
            for name in used(&code(&text)) {
                if order[place + 1..].iter().any(|later| later == name) {
                    wrong.push(format!("{} uses {name}", file.display()));
                }
            }
        }
    }
    wrong
}

#[test]
fn no_module_uses_one_that_its_crate_lists_later() {
    let wrong: Vec<_> = CRATES.iter().flat_map(|directory| arrows_up(directory)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn uses_are_found_in_every_form_and_not_in_comments_or_tests() {
    let text = "\
        //! See crate::comment.\n\
        use crate::a::{B, C};\n\
        use crate::{d::E, f::{self, G}, h};\n\
        fn i() -> crate::j::K { crate::l::m() } // crate::behind\n\
        #[cfg(test)]\n\
        mod tests { use crate::test::T; }\n";
    assert_eq!(used(&code(text)).into_iter().collect::<Vec<_>>(), ["a", "d", "f", "h", "j", "l"]);
    let lib = "pub mod a;\n// A group.\npub(crate) mod b;\nmod c;\n#[cfg(test)]\nmod tests;\n";
    assert_eq!(modules(lib), ["a", "b", "c"]);
}
