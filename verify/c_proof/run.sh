#!/bin/sh
# Frama-C WP over the freestanding reader, as it is compiled: every goal must be proved; then each
# seeded bug must leave a goal unproved.
#
#   run.sh                   proofs, then seeded bugs
#   run.sh proofs            only the proofs
#   run.sh proofs FILE...    only those of some files, such as seek or lag
#   run.sh mutants [NAME...] only the seeded bugs, or some of them, such as seek_uncounted
#
# Installs what it needs (apt, as root). Ends with 1 if anything is otherwise than it must be.
# TIMEOUT: seconds for one goal, default 30. LIMIT: for one file, default 1200. CACHE: a folder that
# keeps the provers' answers between runs, for the same goals.
set -u
[ -z "${CACHE:-}" ] || { mkdir -p "$CACHE" && FRAMAC_WP_CACHEDIR=$(cd "$CACHE" && pwd) && export FRAMAC_WP_CACHEDIR; } || exit 2
cd "$(dirname "$0")/../.." || exit 2
root=$PWD
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
failed=0

need() {
    missing=
    for package; do
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
    done
    # shellcheck disable=SC2086
    [ -z "$missing" ] || { apt-get update -qq && apt-get install -qq -y $missing >/dev/null; } || exit 2
}

# wp OUTPUT SECONDS DIRECTORY FRAMA-C-ARGUMENTS...: WP over files of the tree in DIRECTORY.
wp() {
    output=$1 seconds=$2 tree=$3
    shift 3
    (cd "$tree" && timeout "${LIMIT:-1200}" frama-c -c11 -no-autoload-plugins -load-module wp,rtegen -cpp-frama-c-compliant \
        -cpp-command "$root/verify/c_proof/cpp.sh %i %o %args" \
        -cpp-extra-args="-I$root/verify/c_proof/stubs -Ic/include -include $root/verify/c_proof/stubs/frama_c.h ${define:-}" \
        -wp -wp-rte -wp-model Typed ${CACHE:+-wp-cache update -wp-cache-env} -wp-prover cvc4,z3 -wp-par 2 -wp-timeout "$seconds" "$@") >"$output" 2>&1
}

counts() { sed -n 's/^\[wp\] Proved goals: *\([0-9]*\) *\/ *\([0-9]*\).*/\1 \2/p' "$1"; }

# proof NAME DEFINES FRAMA-C-ARGUMENTS...
proof() {
    name=$1 define=$2
    shift 2
    started=$(date +%s)
    wp "$work/log" "${TIMEOUT:-30}" "$root" "$@"
    counted=$(counts "$work/log")
    proved=${counted% *} goals=${counted#* }
    if [ -n "$counted" ] && [ "$proved" = "$goals" ]; then
        verdict=PASS
    else
        verdict=FAIL failed=1
    fi
    printf '%-4s  %-44s %4s of %4s goals  %4s s\n' $verdict "$name" "${proved:-0}" "${goals:-?}" $(($(date +%s) - started))
    [ $verdict = PASS ] || grep -E 'Failed|Timeout|Unknown|rror|Stepout' "$work/log"
    # A cast that WP does not understand makes it forget what it knows: nothing false is proved, but
    # it must not go unnoticed.
    grep -q 'Cast with incompatible' "$work/log" && { echo "      $name: a cast between memories"; failed=1; }
}

# axioms: the three that c/src/bytes.h gives to the provers, for every number of the width used, by
# their definitions.
axioms() {
    cat >"$work/axioms.smt2" <<'SMT'
(declare-const x (_ BitVec 32))
(declare-const y (_ BitVec 32))
(declare-const i Int)
(define-fun wrap ((n Int)) Int (mod n 18446744073709551616))
(assert (or (bvugt (bvand x y) y)
            (and (<= (- 18446744073709551616) i) (< i 0) (not (= (wrap i) (+ i 18446744073709551616))))
            (and (<= 18446744073709551616 i) (< i 36893488147419103232) (not (= (wrap i) (- i 18446744073709551616))))))
(check-sat)
SMT
    if [ "$(z3 "$work/axioms.smt2")" = unsat ]; then
        echo "PASS  the axioms hold"
    else
        echo "FAIL  the axioms"
        failed=1
    fi
}

# proof_of NAME: a file, by each of the machine descriptions under which it is compiled.
proof_of() {
    # As for AArch64: no other machine description has these kernels.
    arm="-U__x86_64__ -D__aarch64__ -D__ARM_NEON"
    case $1 in
    record_load)
        # Its kernels are those of clmul.c and arm.c, in the same headers, and proved there.
        kernels=aqd_finish,aqd_finish_16,aqd_finish_32,aqd_finish_64,aqd_bulk_16,aqd_bulk_32,aqd_bulk_64
        kernels=$kernels,aqd_sum_by_16,aqd_sum_by_32,aqd_sum_few_by_32,aqd_sum_wide,aqd_sum_by_64
        kernels=$kernels,aqd_bulk_on_16,aqd_sum_long,aqd_in_both,aqd_in_rest,aqd_due,aqd_due_at,aqd_kept_before,aqd_kept_next,aqd_fold_over_units
        proof "record_load.c, 64 bits and vectors" "" -machdep gcc_x86_64 c/src/record_load.c -wp-skip-fct "$kernels"
        proof "record_load.c, 32 bits" "" -machdep gcc_x86_32 c/src/record_load.c
        kernels=aqd_pass_word,aqd_pass_few,aqd_state_from,aqd_three_lanes,aqd_state_by_8,aqd_bulk,aqd_state_by_blocks
        proof "record_load.c, AArch64" "$arm" -machdep gcc_x86_64 c/src/record_load.c -wp-skip-fct "$kernels"
        ;;
    clmul) proof "crc32/clmul.c, the addresses of every vector path" "" -machdep gcc_x86_64 c/src/crc32/clmul.c ;;
    arm) proof "crc32/arm.c, the addresses of every path" "$arm" -machdep gcc_x86_64 c/src/crc32/arm.c ;;
    table)
        proof "crc32/table.c, 8 KiB of tables" "" -machdep gcc_x86_64 c/src/crc32/table.c
        proof "crc32/table.c, AQD_CRC_1K, 32 bits" "-DAQD_CRC_1K" -machdep gcc_x86_32 c/src/crc32/table.c
        proof "crc32/table.c, AQD_CRC_SMALL, 32 bits" "-DAQD_CRC_SMALL" -machdep gcc_x86_32 c/src/crc32/table.c
        proof "crc32/table.c, AQD_CRC_HOOK, 32 bits" "-DAQD_CRC_HOOK" -machdep gcc_x86_32 c/src/crc32/table.c
        ;;
    *)
        proof "$1.c, 64 bits" "" -machdep gcc_x86_64 "c/src/$1.c"
        proof "$1.c, 32 bits" "" -machdep gcc_x86_32 "c/src/$1.c"
        ;;
    esac
}

proofs() {
    axioms
    [ $# -gt 0 ] || set -- ring reader_init reader reader_sleep batch seek lag observer_find observer observer_batch attributes status record_load clmul arm table
    for file; do
        proof_of "$file"
    done
}

# mutants/NAME.sed: first line "# FILE FUNCTION: what is wrong". It must change the file, and a goal
# of the function must then fail.
mutants() {
    for mutant in verify/c_proof/mutants/*.sed; do
        name=$(basename "$mutant" .sed)
        case " $* " in "  " | *" $name "*) ;; *) continue ;; esac
        header=$(sed -n '1s/^# //p' "$mutant")
        file=${header%% *}
        function=${header#* }
        what=${function#*: }
        function=${function%%:*}
        tree=$work/tree
        rm -rf "$tree"
        mkdir -p "$tree/c"
        cp -r c/src c/include "$tree/c/"
        sed -i -f "$mutant" "$tree/c/src/$file"
        if cmp -s "c/src/$file" "$tree/c/src/$file"; then
            printf 'FAIL  %-28s changes nothing\n' "$name"
            failed=1
            continue
        fi
        started=$(date +%s)
        define=
        case $file in
        batch.h) of=batch.c ;;
        crc32/arm_*.h) of=crc32/arm.c define="-U__x86_64__ -D__aarch64__ -D__ARM_NEON" ;;
        crc32/*.h) of=crc32/clmul.c ;;
        *.h) of=reader.c ;;
        *) of=$file ;;
        esac
        wp "$work/log" "${TIMEOUT:-30}" "$tree" -machdep gcc_x86_64 "c/src/$of" -wp-fct "$function"
        counted=$(counts "$work/log")
        proved=${counted% *} goals=${counted#* }
        # No count at all is a broken mutant, not a killed one.
        if [ -n "$counted" ] && [ "$proved" -lt "$goals" ]; then
            verdict=seen
        else
            verdict=FAIL failed=1
        fi
        printf '%-4s  %-28s %-64s %3s of %3s unproved  %3s s\n' $verdict "$name" "$what" $((${goals:-0} - ${proved:-0})) "${goals:-?}" \
            $(($(date +%s) - started))
    done
}

need frama-c-base why3 z3 cvc4 gcc
why3 config detect >/dev/null 2>&1
case ${1:-all} in
proofs)
    shift
    proofs "$@"
    ;;
mutants)
    shift
    mutants "$@"
    ;;
all)
    proofs
    mutants
    ;;
*)
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac
exit $failed
