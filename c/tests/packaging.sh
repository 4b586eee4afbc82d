#!/bin/sh
# Installs into a directory of its own, uses what is there in every way that a package offers, and
# uninstalls.
#
#   make check-packaging     prints lines that begin with "ok - ", the last: 0 failed
#
# Needs gcc, g++, clang, cmake, pkg-config, nm, objdump and readelf (apt: g++ clang cmake
# pkg-config binutils). Writes to a temporary directory only.
cd "$(dirname "$0")/.." || exit 2
. tests/ok.sh
need gcc g++ clang clang++ cmake pkg-config nm objdump readelf
declared >"$work/declared"

stage=$work/stage
prefix=/opt/aqueduct
root=$stage$prefix
package="$make BUILD=$work/build DESTDIR=$stage PREFIX=$prefix"
version=$(sed -n 's/^#define AQD_VERSION "\(.*\)"/\1/p' include/aqueduct/status.h)
so=libaqueduct.so.$(sed -n 's/^SOVERSION = //p' package.mk)
test_that "install succeeds" $package install
[ $failed = 0 ] || exit 1
test_that "install again succeeds" $package install
installed() {
    for file in bin/aqd-tail lib/libaqueduct.a lib/libaqueduct.so lib/$so lib/libaqueduct.so.$version lib/pkgconfig/aqueduct.pc \
        lib/cmake/aqueduct/aqueduct-config.cmake include/aqueduct/client.h; do
        [ -f "$root/$file" ] || { echo "$file is missing"; return 1; }
    done
    ! grep -rlIF "$work" "$stage" # no file names the place of the build
}
test_that "everything is in its place and nothing names the build directory" installed
if [ -f ../Cargo.toml ]; then
    same_version() { [ "$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' ../Cargo.toml)" = "$version" ]; }
    test_that "version $version is that of the Rust workspace" same_version
fi

soname() { [ "$(objdump -p "$root/lib/libaqueduct.so" | awk '$1 == "SONAME" {print $2}')" = "$so" ]; }
test_that "the shared library's soname is $so" soname
# Its second column of @-versions: that of the map. Undefined symbols may come from libc alone.
exported() {
    nm -D --defined-only "$root/lib/libaqueduct.so" | awk '$2 != "A" {sub(/@.*/, "", $3); print $3}' | sort >"$work/exported"
    same "$work/declared" "$work/exported"
}
test_that "it exports the $(wc -l <"$work/declared") functions of the headers and nothing else" exported
needed() { [ "$(objdump -p "$root/lib/libaqueduct.so" | awk '$1 == "NEEDED" {print $2}')" = libc.so.6 ]; }
test_that "it needs libc and nothing else" needed
archived() {
    readelf -sW "$root/lib/libaqueduct.a" | awk '$5 == "GLOBAL" && $7 != "UND" && $6 == "DEFAULT" {print $8}' | sort >"$work/archived"
    same "$work/declared" "$work/archived"
}
test_that "of the static library nothing else leaves a program that is a shared library itself" archived
prefixed() { nm -g --defined-only "$root/lib/libaqueduct.a" | awk 'NF == 3 && $3 !~ /^aqd_/ {print; bad = 1} END {exit bad}'; }
test_that "and what it has inside begins with aqd_" prefixed

export PKG_CONFIG_LIBDIR="$root/lib/pkgconfig" PKG_CONFIG_SYSROOT_DIR="$stage"
with_pkg_config() {
    compiler=$1
    shift
    # shellcheck disable=SC2046
    $compiler $strict -o "$work/use" tests/package/use.c $(pkg-config --cflags aqueduct) "$@" $(pkg-config --libs aqueduct) -Wl,-Bdynamic
}
shared() {
    with_pkg_config "$@" && objdump -p "$work/use" | grep -q "NEEDED *$so" && says_installed env LD_LIBRARY_PATH="$root/lib" "$work/use"
}
static() {
    with_pkg_config "$@" -Wl,-Bstatic && ! objdump -p "$work/use" | grep -q libaqueduct && says_installed "$work/use"
}
knows_version() { [ "$(pkg-config --modversion aqueduct)" = "$version" ]; }
test_that "pkg-config knows version $version" knows_version
test_that "pkg-config: C11, gcc, shared" shared "gcc -std=c11"
test_that "pkg-config: C11, clang, shared" shared "clang -std=c11"
test_that "pkg-config: C11, gcc, static" static "gcc -std=c11"
test_that "pkg-config: C++17, g++, shared" shared "g++ -std=c++17 -x c++"
test_that "pkg-config: C++17, clang++, shared" shared "clang++ -std=c++17 -x c++"

for header in include/aqueduct/*.h; do
    name=aqueduct/$(basename "$header")
    alone() {
        echo "#include <$name>" >"$work/alone.c"
        for compiler in "gcc -std=c11" "clang -std=c11" "g++ -std=c++17 -x c++" "clang++ -std=c++17 -x c++"; do
            $compiler $strict -I"$root/include" -fsyntax-only "$work/alone.c" || return 1
        done
    }
    test_that "$name compiles alone as C11 and C++17, with gcc and clang" alone
done

with_cmake() {
    rm -rf "$work/cmake"
    cmake -S tests/package -B "$work/cmake" -DCMAKE_PREFIX_PATH="$1" -DAQUEDUCT_WANTED="$2"
}
uses_cmake() {
    with_cmake "$1" "$version" && cmake --build "$work/cmake" || return 1
    for program in use_shared use_static use_cxx; do
        says_installed "$work/cmake/$program" || return 1
    done
}
other_version() { ! with_cmake "$root" "$1"; }
test_that "CMake: shared, static and C++17 by find_package" uses_cmake "$root"
cp -R "$root" "$work/moved"
test_that "CMake: the same where the installation was moved to" uses_cmake "$work/moved"
test_that "CMake: a later major version is refused" other_version 99
rm "$work/moved/lib/libaqueduct.a"
uses_shared() {
    with_cmake "$1" "$version" && cmake --build "$work/cmake" --target use_shared && says_installed "$work/cmake/use_shared"
}
test_that "CMake: the shared library where the distribution drops the static one" uses_shared "$work/moved"
cp "$root/lib/libaqueduct.a" "$work/moved/lib" && rm "$work/moved/lib"/libaqueduct.so*
test_that "CMake: the static library where there is no shared one" uses_shared "$work/moved"
rm "$work/moved/lib/libaqueduct.a"
says_missing() { ! with_cmake "$1" "$version" >"$work/missing" 2>&1 && tr '\n' ' ' <"$work/missing" | tr -s ' ' | grep -q 'neither .* nor .* is there'; }
test_that "CMake: without either it says so" says_missing "$work/moved"

tail_names_socket() { "$root/bin/aqd-tail" /nonexistent/socket 2>&1 | grep -q /nonexistent/socket; }
test_that "the installed aqd-tail runs" tail_names_socket

odd="$make BUILD=$work/build DESTDIR=$work/odd PREFIX=/usr libdir=/usr/lib/x86_64-linux-gnu includedir=/usr/include/extra"
other_directories() {
    $odd install && [ -f "$work/odd/usr/lib/x86_64-linux-gnu/$so" ] || return 1
    uses_cmake "$work/odd/usr" && $odd uninstall && [ -z "$(find "$work/odd" ! -type d)" ]
}
test_that "libdir and includedir may be given, and CMake finds them" other_directories

# Where realpath is BusyBox's, and fails.
mkdir "$work/bin"
printf '#!/bin/sh\necho "realpath: unrecognized option" >&2\nexit 1\n' >"$work/bin/realpath"
chmod +x "$work/bin/realpath"
no_realpath() { PATH="$work/bin:$PATH" $odd install && uses_cmake "$work/odd/usr" && $odd uninstall; }
test_that "realpath is not needed" no_realpath
refuses_relative() { ! $make BUILD="$work/build" DESTDIR="$work/relative" "$1" install >"$work/refused" 2>&1 && grep -q "$1 is relative" "$work/refused" && [ ! -e "$work/relative" ]; }
for directory in PREFIX=usr libdir=lib includedir=./include bindir=bin mandir=man; do
    test_that "$directory is refused" refuses_relative $directory
done
says_ldconfig() { $make BUILD="$work/build" PREFIX="$work/default" install | grep -q ldconfig && ! $package install | grep -q ldconfig; }
test_that "an installation that a program would not find yet says what is missing" says_ldconfig

all_gone() { $package uninstall && find "$stage" ! -type d | tee "$work/left" && [ ! -s "$work/left" ]; }
test_that "uninstall leaves no file" all_gone

test_that "the amalgamation is made" $make BUILD="$work/build" amalgamation
two=$work/two
mkdir "$two"
cp "$work/build/amalgamation/aqueduct.h" "$work/build/amalgamation/aqueduct.c" tests/package/use.c "$two"
for compiler in gcc clang; do
    amalgamated() {
        $compiler -std=c11 $strict -DAMALGAMATED -o "$two/use" "$two/use.c" "$two/aqueduct.c" && says_installed "$two/use"
    }
    cpp=$([ $compiler = gcc ] && echo g++ || echo clang++)
    amalgamated_cpp() {
        $compiler -std=c11 $strict -O2 -c -o "$two/aqueduct.o" "$two/aqueduct.c" &&
            $cpp -std=c++17 $strict -DAMALGAMATED -o "$two/use" -x c++ "$two/use.c" -x none "$two/aqueduct.o" && says_installed "$two/use"
    }
    for macros in "" -DAQD_CRC_PATH=16 -DAQD_CRC_PATH=32 -DAQD_CRC_PORTABLE -DAQD_CRC_1K -DAQD_CRC_SMALL -DAQD_CRC_HOOK; do
        compiles() { $compiler -std=c11 $strict -O2 $macros -c -o "$two/aqueduct.o" "$two/aqueduct.c"; }
        test_that "the amalgamation compiles with $compiler $macros" compiles
    done
    freestanding() {
        $compiler -std=c11 $strict -O2 -ffreestanding -DAQD_CRC_SMALL -c -o "$two/free.o" "$two/aqueduct.c" &&
            nm -u "$two/free.o" | awk '$2 !~ /^(memcpy|memset|memmove)$/ {print "undefined: " $2; bad = 1} END {exit bad}'
    }
    test_that "the amalgamation compiles freestanding with $compiler, without a libc" freestanding
    test_that "a program with it in its tree, $compiler" amalgamated
    test_that "a C++17 program with it in its tree, $cpp" amalgamated_cpp
done
# The library's own tests, with one object in place of all.
gcc -std=c11 -O2 -DAQD_INTERNAL= -c -o "$two/whole.o" "$two/aqueduct.c"
mkdir "$work/whole"
test_that "the unit tests pass on the amalgamation" $make BUILD="$work/whole" LIB_OBJECTS="$two/whole.o" check

finish
