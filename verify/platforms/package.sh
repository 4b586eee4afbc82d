#!/bin/sh
# Packs each crate as for crates.io and builds what is in the archives, without the tree around
# them; then checks that licence and README are inside. Publishes nothing.
set -eu
cd "$(dirname "$0")/../.."

crates="aqueduct-core aqueduct-client aqueduct"
for crate in $crates; do set -- "$@" -p "$crate"; done
cargo package --allow-dirty --quiet "$@"
for crate in $crates; do
    archive=$(ls -t "${CARGO_TARGET_DIR:-target}/package/$crate"-[0-9]*.crate | head -1)
    for file in LICENSE README.md; do
        tar -tzf "$archive" | grep -q "^[^/]*/$file\$" || {
            echo "$archive: no $file"
            exit 1
        }
    done
    echo "ok: $archive"
done
