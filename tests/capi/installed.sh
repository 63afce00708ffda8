#!/bin/sh
# What users do with the library, from nothing: build and install it by CMake and by make, then find it by find_package,
# by pkg-config and by FetchContent, and plan with each. `installed.sh BUNDLE [FOLDER]`; no Python.
set -eu
bundle=$(realpath "$1")
root=$(cd "$(dirname "$0")/../.." && pwd)
out=${2:-$root/build/capi/installed}
rm -rf "$out" && mkdir -p "$out" && out=$(realpath "$out")
export MAKEFLAGS= CMAKE_BUILD_PARALLEL_LEVEL="${CMAKE_BUILD_PARALLEL_LEVEL:-2}"
plans() { "$1" "$bundle" > "$out/said"; tail -1 "$out/said"; }
quiet() { "$@" > "$out/log" 2>&1 || { cat "$out/log"; exit 1; }; }

echo "make install, pkg-config"
quiet make -s -f "$root/csrc/capi/Makefile" install PREFIX="$out/made"
export PKG_CONFIG_PATH="$out/made/lib/pkgconfig"
# shellcheck disable=SC2046
cc -std=c99 -Wall -Wextra -Werror "$root/examples/c/plan_umaze.c" $(pkg-config --cflags --libs diffuser_fast) \
  -Wl,-rpath,"$out/made/lib" -o "$out/by_pkg_config"
plans "$out/by_pkg_config"
# shellcheck disable=SC2046
cc -std=c99 "$root/examples/c/plan_umaze.c" -I"$out/made/include" "$out/made/lib/libdiffuser_fast.a" \
  $(pkg-config --libs --static diffuser_fast | sed 's/-ldiffuser_fast//') -o "$out/static"
plans "$out/static"

command -v cmake > /dev/null || { echo "without CMake, which is not here"; exit 0; }
echo "cmake --install, find_package"
quiet cmake -S "$root" -B "$out/build" -DCMAKE_INSTALL_LIBDIR=lib
quiet cmake --build "$out/build"
quiet cmake --install "$out/build" --prefix "$out/prefix"
quiet cmake -S "$root/examples" -B "$out/examples" -DCMAKE_PREFIX_PATH="$out/prefix"
quiet cmake --build "$out/examples"
plans "$out/examples/plan_umaze"
"$out/examples/controller" "$bundle" 50

test "$(PKG_CONFIG_PATH="$out/prefix/lib/pkgconfig" pkg-config --variable=libdir diffuser_fast | xargs realpath)" = "$out/prefix/lib"

echo "FetchContent (configured)"
mkdir "$out/fetching"
cat > "$out/fetching/CMakeLists.txt" <<END
cmake_minimum_required(VERSION 3.18)
project(fetching LANGUAGES C CXX)
include(FetchContent)
FetchContent_Declare(diffuser_fast SOURCE_DIR $root)
FetchContent_MakeAvailable(diffuser_fast)
add_executable(fetched $root/examples/c/plan_umaze.c)
target_link_libraries(fetched PRIVATE diffuser_fast::diffuser_fast)
END
quiet cmake -S "$out/fetching" -B "$out/fetching/build"

cmp "$out/made/include/diffuser_fast.h" "$out/prefix/include/diffuser_fast.h"
nm -D --defined-only "$out/prefix/lib/libdiffuser_fast.so" | awk '{print $3}' | sort > "$out/by_cmake"
nm -D --defined-only "$out/made/lib/libdiffuser_fast.so" | awk '{print $3}' | sort > "$out/by_make"
cmp "$out/by_cmake" "$out/by_make"
echo "all the same"
