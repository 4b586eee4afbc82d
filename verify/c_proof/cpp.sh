#!/bin/sh
# The preprocessor of the proof: cpp.sh INPUT OUTPUT ARGUMENTS. To WP `void *` and `unsigned char *`
# are pointers into different memories; to C11 they are the same pointers (6.2.5), and here nothing
# but bytes is ever behind a `void *`. So the proof reads one for the other.
set -e
input=$1 output=$2
shift 2
gcc -E -C "$@" "$input" | sed 's/\bvoid \*/unsigned char */g' >"$output"
