#!/bin/sh
# Says what a user of the crates would have to change since a commit: cargo-semver-checks compares
# the interfaces of aqueduct-core and aqueduct-client with those of that commit, each with the
# features that docs.rs shows. Ends with 1 if the version numbers promise more than the interfaces
# hold.
#
#   semver.sh BASELINE     a tag or a commit, for example the last release
#
# Installs cargo-semver-checks if it is missing, which takes some 20 minutes of two cores: run it
# before a release, by hand. It was written from the tool's documentation and has not been run.
set -eu
cd "$(dirname "$0")/../.."

baseline=${1:?the commit to compare with}
git rev-parse --verify --quiet "$baseline^{commit}" >/dev/null || {
    echo "no commit $baseline"
    exit 1
}
command -v cargo-semver-checks >/dev/null || cargo install --locked cargo-semver-checks

cargo semver-checks --baseline-rev "$baseline" -p aqueduct-core --only-explicit-features --features alloc,async,std
cargo semver-checks --baseline-rev "$baseline" -p aqueduct-client
