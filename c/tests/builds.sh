#!/bin/sh
# Compilers, standards and flags that others build with: each builds, or says in a sentence what it
# lacks. Run: make check-builds     Expect: lines that begin with "ok - ", the last: 0 failed
# Needs gcc, g++, clang, musl-gcc, tcc, avr-gcc, cmake, meson (apt: g++ clang musl-tools tcc gcc-avr
# avr-libc cmake meson ninja-build). Writes to a temporary directory only.
cd "$(dirname "$0")/.." || exit 2
. tests/ok.sh
need gcc g++ clang clang++ musl-gcc tcc avr-gcc cmake meson ninja readelf
sources=$(printf 'include Makefile\nsources: ; @echo $(LIB_SOURCES)\n' | $make -f - sources)
free=$(printf 'include Makefile\nsources: ; @echo $(FREE_SOURCES)\n' | $make -f - sources)

# ---- Headers ----
for header in include/aqueduct/*.h; do echo "#include \"aqueduct/${header##*/}\""; done >"$work/headers.c"
echo "int nothing;" >>"$work/headers.c"
# With what strict projects ask of every header that they include.
picky="-Wshadow -Wundef -Wcast-qual -Wsign-conversion -Wredundant-decls"
picky_c="$picky -Wdeclaration-after-statement -Wstrict-prototypes -Wmissing-prototypes -Wc++-compat"
picky_cpp="$picky -Wold-style-cast -Wzero-as-null-pointer-constant"
headers() { $1 $strict $2 -Iinclude -fsyntax-only "$work/headers.c"; }
for standard in gnu99 c99 c11 c17 c2x; do
    for compiler in gcc clang; do test_that "headers: $compiler -std=$standard" headers "$compiler -std=$standard" "$picky_c"; done
done
for standard in 11 14 17 20 2b; do
    for compiler in g++ clang++; do test_that "headers: $compiler -std=c++$standard" headers "$compiler -x c++ -std=c++$standard" "$picky_cpp"; done
done

# ---- Sources, all in one ----
for source in $sources; do echo "#include \"$PWD/$source\""; done >"$work/unity.c"
unity() { "$@" $strict -Iinclude -c -o "$work/unity.o" "$work/unity.c"; }
for standard in c11 c17 c2x; do
    for compiler in gcc clang; do test_that "a unity build: $compiler -std=$standard" unity $compiler -std=$standard; done
done
test_that "a unity build for musl" unity musl-gcc -std=c11
test_that "a unity build with -D_GNU_SOURCE" unity gcc -std=c11 -D_GNU_SOURCE
refuses() {
    wanted=$1
    shift
    ! "$@" -Iinclude -c -o "$work/refused.o" src/reader.c >"$work/refused" 2>&1 && grep -q "error: .*$wanted" "$work/refused"
}
test_that "as C++ the sources say that they are C" refuses "Compile Aqueduct's sources as C11 or later; a C++ program includes" g++ -x c++
test_that "as C99 they ask for C11" refuses "Compile Aqueduct's sources as C11 or later (-std=c11)" gcc -std=c99
test_that "tcc is told what they need" refuses "sources need GCC or Clang" tcc -std=c11
test_that "an AVR is told what they need" refuses "needs pointers of 32 bits or more" avr-gcc -std=c11
# An x86-64 whose pointers have 32 bits, so that no word of load.h has 64.
x32() { for source in $free; do "$1" -std=c11 -mx32 -ffreestanding $strict -Iinclude -c -o "$work/x32.o" "$source" || return 1; done; }
for compiler in gcc clang; do test_that "the freestanding half for x32: $compiler" x32 $compiler; done

# ---- Flags ----
library() { $make BUILD="$work/$1" WERROR=-Werror "$work/$1/libaqueduct.a" "$work/$1/reader" "$2" "$3"; }
test_that "make CC=musl-gcc" library musl CC=musl-gcc LDFLAGS=-static
musl_runs() { "$work/musl/reader" 2>&1 | grep -q 'a system call failed: connect'; }
test_that "what musl links runs" musl_runs
test_that "make CFLAGS=-D_GNU_SOURCE" library gnu CFLAGS=-D_GNU_SOURCE EXTRA_CFLAGS=
test_that "make CFLAGS=-fsanitize=thread" library thread CFLAGS=-fsanitize=thread EXTRA_CFLAGS=
flags() {
    $make BUILD="$work/flags" CPPFLAGS=-DAQD_CRC_SMALL LDFLAGS=-Wl,--build-id=0x5eed5eed LDLIBS="-Wl,--no-as-needed -lm" shared "$work/flags/reader" || return 1
    for file in "$work/flags/reader" "$work/flags/libaqueduct.so"; do
        readelf -nW "$file" | grep -q 'Build ID: 5eed5eed' && readelf -dW "$file" | grep -q 'NEEDED.*libm.so' || return 1
    done
    ! nm "$work/flags/libaqueduct.so" | grep -q 'aqd_crc32_table$' # CPPFLAGS chose the small table
}
test_that "CPPFLAGS, LDFLAGS and LDLIBS are used" flags
no_werror() { ! $make -n BUILD="$work/none" | grep -q -- -Werror && $make -n BUILD="$work/none" check | grep -q -- -Werror; }
test_that "warnings are errors in check only" no_werror

# ---- In another build ----
test_that "make dist" $make BUILD="$work/build" dist
archive=$(ls "$work"/build/aqueduct-c-*.tar.gz)
fetch() {
    rm -rf "$work/fetch"
    cmake -S tests/fetch -B "$work/fetch" -DAQUEDUCT_ARCHIVE="$archive" "$@" && cmake --build "$work/fetch" && says_installed "$work/fetch/use"
}
test_that "CMake: FetchContent" fetch
test_that "CMake: FetchContent, shared, as a unity build" fetch -DBUILD_SHARED_LIBS=ON -DCMAKE_UNITY_BUILD=ON
with_meson() {
    rm -rf "$work/meson"
    mkdir -p "$work/meson/subprojects/packagefiles"
    cp tests/meson/meson.build tests/package/use.c "$work/meson"
    cp "$work/build/aqueduct.wrap" "$work/meson/subprojects" && cp "$archive" "$work/meson/subprojects/packagefiles"
    meson setup "$@" "$work/meson/build" "$work/meson" && ninja -C "$work/meson/build" && says_installed "$work/meson/build/use"
}
test_that "Meson: a wrap" with_meson
same_sources() { [ "$(grep -o "'src/[^']*'" meson.build | tr -d "'" | sort)" = "$(printf '%s\n' $sources | sort)" ]; }
test_that "meson.build has the Makefile's sources" same_sources
same_version() { [ "$(sed -n "s/.*version: '\([0-9.]*\)', license.*/\1/p" meson.build)" = "$(sed -n 's/^#define AQD_VERSION "\(.*\)"/\1/p' include/aqueduct/status.h)" ]; }
test_that "and its version" same_version
finish
