#!/bin/sh
# The way from one absolute directory to another, by text alone: relative.sh FROM TO. Not realpath
# --relative-to, which BusyBox and BSD do not have.
exec awk -v from="$1" -v to="$2" '
function parts(path, into,   n, i, raw, m) {
    n = split(path, raw, "/")
    m = 0
    for (i = 1; i <= n; i++) {
        if (raw[i] == ".." && m > 0) {
            m--
        } else if (raw[i] != "" && raw[i] != "." && raw[i] != "..") {
            into[++m] = raw[i]
        }
    }
    return m
}
BEGIN {
    n = parts(from, a)
    m = parts(to, b)
    for (i = 1; i <= n && i <= m && a[i] == b[i]; i++) {
    }
    way = ""
    for (j = i; j <= n; j++) {
        way = way "../"
    }
    for (j = i; j <= m; j++) {
        way = way b[j] "/"
    }
    sub(/\/$/, "", way)
    print way == "" ? "." : way
}'
