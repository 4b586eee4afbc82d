//! Replays the committed corpora through the targets, without a fuzzer and without a sanitizer:
//! `cargo test`.

use std::fs;
use std::path::Path;

#[test]
fn every_committed_input_passes_its_target() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, target) in aqueduct_fuzz::targets::ALL {
        let mut inputs = 0;
        for entry in fs::read_dir(corpus.join(name)).expect("each target has a corpus") {
            let path = entry.expect("readable").path();
            eprintln!("{}", path.display());
            target(&fs::read(path).expect("readable"));
            inputs += 1;
        }
        assert!(inputs > 0, "{name}");
    }
}

#[test]
fn every_target_bears_the_empty_input() {
    for (_, target) in aqueduct_fuzz::targets::ALL {
        target(&[]);
    }
}
