#!/bin/sh
# The manual pages: mandoc finds no fault, and what they say of the interface is what the headers
# say. Run: make lint-man       Expect: lines that begin with "ok - " Needs mandoc and gcc (apt:
# mandoc). Writes to a temporary directory only.
set -u
cd "$(dirname "$0")/.." || exit 2
command -v mandoc >/dev/null || { echo "mandoc is missing"; exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 2' INT TERM
failed=0

test_that() {
    sentence=$1
    shift
    if "$@" >"$work/out" 2>&1; then
        echo "ok - $sentence"
    else
        echo "not ok - $sentence"
        sed 's/^/    /' "$work/out"
        failed=1
    fi
}

# As after an installation: every name of a page leads to it. References to the system's manual may
# be missing here.
mkdir "$work/man"
cp man/*.[1-8] "$work/man"
for page in man/*.[1-8]; do
    sed -n '/^\.Sh NAME/,/^\.Nd/s/^\.Nm \([^ ]*\).*/\1/p' "$page" | while read -r name; do
        [ -e "$work/man/$name.${page##*.}" ] || ln -s "${page##*/}" "$work/man/$name.${page##*.}"
    done
done
lint() {
    (cd "$work/man" && mandoc -Tlint -Wstyle ./*.[1-8] 2>&1) |
        grep -vE 'outdated mandoc.db|Xr (epoll|epoll_wait|eventfd|fork|fstat|poll|signalfd) ' >"$work/lint"
    cat "$work/lint"
    [ ! -s "$work/lint" ]
}
test_that "mandoc finds no fault in $(ls man/*.[1-8] | wc -l) pages" lint

for header in include/aqueduct/*.h; do
    gcc -fpreprocessed -dD -E -P "$header"
done 2>/dev/null | grep -oE '\baqd_[a-z0-9_]+ ?\(' | tr -d ' (' | sort -u >"$work/declared"
sed -n 's/^\.Fo //p' man/*.3 | sort >"$work/documented"
once() { diff -u "$work/declared" "$work/documented"; }
test_that "each of the $(wc -l <"$work/declared") functions has one synopsis" once
sed -n '/^\.Sh NAME/,/^\.Nd/s/^\.Nm \([^ ]*\).*/\1/p' man/*.3 | sort >"$work/named"
names() { diff -u "$work/declared" "$work/named"; }
test_that "each is a name of a page" names

# A synopsis as C: a second declaration of the function, which a compiler takes only if it is the
# same.
awk '
/^\.Ft / {type = $0; sub(/^\.Ft /, "", type); gsub(/"/, "", type)}
/^\.Fo / {name = $2; arguments = ""; open = 1}
open && /^\.Fa / {argument = $0; sub(/^\.Fa /, "", argument); gsub(/"/, "", argument); arguments = arguments (arguments == "" ? "" : ", ") argument}
/^\.Fc/ {print type " " name "(" arguments ");"; open = 0}
' man/*.3 >"$work/synopses.h"
compiles() {
    printf '#include "aqueduct/client.h"\n#include "aqueduct/trace.h"\n#include "%s"\n' "$work/synopses.h" | gcc -std=c11 -Wall -Werror -Iinclude -fsyntax-only -x c -
}
test_that "the synopses are the headers' declarations" compiles

statuses() {
    grep -oE '\bAQD_[A-Z_]+ = [0-9]+' include/aqueduct/status.h | sed 's/\(.*\) = \(.*\)/\2 \1/' | sort >"$work/statuses"
    sed -n 's/^\.It \([0-9]*\) Dv \(AQD_.*\)/\1 \2/p' man/aqd_strerror.3 | sort >"$work/listed"
    diff -u "$work/statuses" "$work/listed"
}
test_that "aqd_strerror(3) lists every status with its number" statuses

# Every constant that the pages name exists.
constants() {
    grep -ohE '\bAQD_[A-Z0-9_]+\b' man/*.[1-8] | grep -vE '^AQD_(ATTRIBUTE|OPEN|NEXT|SEEK|WAIT|FD|GET_INFO|STRERROR|TRACEPARENT|READER_INIT|OBSERVER_INIT)$' | sort -u |
        while read -r constant; do grep -qw "$constant" include/aqueduct/*.h || echo "$constant is in no header"; done >"$work/unknown"
    cat "$work/unknown"
    [ ! -s "$work/unknown" ]
}
test_that "every constant on a page is in a header" constants
# The reading loop is one program, compiled and run by tests/test_loop.c, and shown word for word.
sed -n '/^#include/,$p' examples/reader.c >"$work/reader.c"
shown() {
    case $1 in
    *.md) sed -n '/^```c$/,/^```$/p' "$1" | sed '/^```/d' | sed -n '/^#include <aqueduct/,/^}/p' ;;
    *) sed -n '/^#include/,/^\.Ed/p' "$1" | sed -e '/^\.Ed/d' -e 's/\\e/\\/g' ;;
    esac >"$work/shown.c"
    diff -u "$work/reader.c" "$work/shown.c"
}
for document in README.md ../README.md man/libaqueduct.7; do
    [ ! -e "$document" ] || test_that "the loop in $document is examples/reader.c" shown "$document"
done
options() {
    getopt=$(sed -n 's/.*getopt(argc, argv, "\(.*\)").*/\1/p' examples/tail.c | tr -d ':' | fold -w1 | sort | tr -d '\n')
    listed=$(sed -n 's/^\.It Fl \(.\).*/\1/p' man/aqd-tail.1 | sort | tr -d '\n')
    echo "getopt: $getopt, aqd-tail(1): $listed"
    [ "$getopt" = "$listed" ]
}
test_that "aqd-tail(1) has the program's options" options
exit $failed
