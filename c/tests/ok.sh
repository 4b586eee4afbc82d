# What the test scripts share; they are run in the directory above and source this. A temporary
# directory that goes with the script, no variables of an outer make, a line for each sentence.
set -u
need() { for tool; do command -v "$tool" >/dev/null || { echo "$tool is missing"; exit 2; }; done; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 2' INT TERM
unset MAKEFLAGS MFLAGS MAKELEVEL DESTDIR PREFIX CFLAGS CPPFLAGS LDFLAGS LDLIBS
strict="-Wall -Wextra -Wpedantic -Wconversion -Werror"
make="make --no-print-directory -s"
passed=0
failed=0

# test_that SENTENCE COMMAND...: the output of what fails is shown.
test_that() {
    sentence=$1
    shift
    if "$@" >"$work/out" 2>&1; then
        echo "ok - $sentence"
        passed=$((passed + 1))
    else
        echo "not ok - $sentence"
        sed 's/^/    /' "$work/out"
        failed=$((failed + 1))
    fi
}

says_installed() { [ "$("$@")" = installed ]; }
same() { diff -u "$1" "$2"; }

# The functions that the headers declare, one a line, without those that they define themselves.
declared() {
    expanded | grep '^static inline ' | function_names >"$work/inline"
    expanded | function_names | grep -vxFf "$work/inline"
}
expanded() {
    for header in include/aqueduct/*.h; do
        gcc -fpreprocessed -dD -E -P "$header"
    done 2>/dev/null
}
function_names() { grep -oE '\baqd_[a-z0-9_]+ ?\(' | tr -d ' (' | sort -u; }

finish() {
    echo "$passed passed, $failed failed"
    [ $failed = 0 ]
}
