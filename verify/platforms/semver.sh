#!/bin/sh
# Says what a user of the crates would have to change since a commit: cargo-semver-checks compares
# the interfaces of aqueduct-core and aqueduct-client with those of that commit, each with the
# features that docs.rs shows. Ends with 1 if the version numbers promise more than the interfaces
# hold.
#
#   semver.sh BASELINE     a tag or a commit: the last release, once there is one
#
# Installs cargo-semver-checks if it is missing, which takes some 10 minutes of two cores: run it
# before a release, by hand. 2026-11-30, cargo-semver-checks 0.51, 6bb20e3 beside 5159819: of 202
# checks of aqueduct-core one failed, which was meant (`recovery::Cut` became `non_exhaustive`;
# nothing has been published yet, so the version stays), and of 202 of aqueduct-client none.
set -eu
cd "$(dirname "$0")/../.."

baseline=${1:?the commit to compare with}
git rev-parse --verify --quiet "$baseline^{commit}" >/dev/null || {
    echo "no commit $baseline"
    exit 1
}
# Nobody measures the tool: without optimisation it is built in a third of the time.
command -v cargo-semver-checks >/dev/null ||
    CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_DEBUG=0 \
        CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 cargo install --locked cargo-semver-checks

# What docs.rs is told, a line each: crate and features.
failed=0
shown=$(cargo metadata --format-version 1 --no-deps | python3 -c '
import json, sys
for package in json.load(sys.stdin)["packages"]:
    if package["name"] in sys.argv[1:]:
        features = package["metadata"]["docs"]["rs"].get("features", [])
        print(package["name"], ",".join(features))
' aqueduct-core aqueduct-client)
while read -r crate features; do
    cargo semver-checks --baseline-rev "$baseline" -p "$crate" --only-explicit-features ${features:+--features "$features"} || failed=1
done <<EOF
$shown
EOF
exit $failed
