#!/bin/sh
# Packs each crate as for crates.io and builds what is in the archives, without the tree around
# them; then checks that licence and README are inside, and makes the pages of each crate as docs.rs
# is told to: its targets, its features, no warning. Publishes nothing. Some minutes.
set -eu
cd "$(dirname "$0")/../.."

crates="aqueduct-core aqueduct-client aqueduct aqueduct-forward"
for crate in $crates; do set -- "$@" -p "$crate"; done
# Cargo keeps what it unpacked and built of an archive of ours, and takes it for every other one of
# the same version.
rm -rf "${CARGO_HOME:-$HOME/.cargo}"/registry/src/-*/aqueduct*-[0-9]*
packed=$(mktemp -d)
trap 'rm -rf "$packed"' EXIT
CARGO_TARGET_DIR=$packed cargo package --allow-dirty --quiet "$@"
for crate in $crates; do
    archive=$(ls "$packed/package/$crate"-[0-9]*.crate)
    for file in LICENSE README.md; do
        tar -tzf "$archive" | grep -q "^[^/]*/$file\$" || {
            echo "FAIL $archive: no $file"
            exit 1
        }
    done
    # A link to the licence of the tree must have become a copy of it.
    tar -xzOf "$archive" "$(basename "$archive" .crate)/LICENSE" | cmp -s - LICENSE || {
        echo "FAIL $archive: another LICENSE than the repository's"
        exit 1
    }
    echo "PASS packed and built: $(basename "$archive")"
done

# What docs.rs is told, a line each: crate, target, features.
cargo metadata --format-version 1 --no-deps | python3 -c '
import json, sys
for package in json.load(sys.stdin)["packages"]:
    if package["name"] in sys.argv[1:]:
        docs = package["metadata"]["docs"]["rs"]
        for target in docs["targets"]:
            print(package["name"], target, ",".join(docs.get("features", [])))
' $crates | while read -r crate target features; do
    rustc --print target-libdir --target "$target" | xargs test -d || rustup target add "$target"
    RUSTDOCFLAGS="-D warnings" cargo doc --quiet --no-deps --lib -p "$crate" --target "$target" ${features:+--features "$features"}
    echo "PASS pages of $crate for $target${features:+ with $features}"
done
verify/documents/links --pages
