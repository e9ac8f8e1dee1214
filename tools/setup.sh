# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Sourced by run.sh and test.sh: what a machine needs, and how the tree is built. Everything is done only where it isn't
# done yet, and all of it speaks on standard error.

decant_root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)

decant_packages=(g++ cmake ninja-build pkg-config libspdlog-dev doctest-dev libbenchmark-dev libdnnl-dev libcli11-dev
                 nlohmann-json3-dev libpcre2-dev libutf8proc-dev libxxhash-dev)
# What a few tests use besides; without them those tests are skipped.
decant_test_packages=(chromium chromium-driver python3-selenium python3-jsonschema abigail-tools clang doxygen dpkg-dev file)

say() { printf 'decant: %s\n' "$*" >&2; }
die() { say "$@"; exit 1; }

# version_at_least FOUND WANTED
version_at_least() { [[ $(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1) == "$2" ]]; }

# missing_packages PACKAGE...: Debian, Ubuntu and their relatives: those that aren't installed.
missing_packages() {
  local installed package
  installed=" $(dpkg-query -W -f='${db:Status-Status}:${Package}\n' "$@" 2>/dev/null \
                | sed -n 's/^installed://p' | tr '\n' ' ' || true)"  # it fails for a package that it never heard of
  for package in "$@"; do
    [[ $installed == *" $package "* ]] || printf '%s\n' "$package"
  done
}

# Prints a line for each tool or library that can't be found, and the Debian package that has it.
missing_pieces() {
  local version cxx=
  for cxx in ${CXX:+"$CXX"} c++ g++ clang++ ''; do
    if [[ $cxx ]] && command -v "$cxx" >/dev/null; then break; fi
  done
  if [[ ! $cxx ]]; then
    echo "a compiler of C++20: g++ 12 or clang++ 14, or later (g++)"
  elif "$cxx" --version | grep -q 'Free Software Foundation'; then
    version=$("$cxx" -dumpfullversion)
    version_at_least "$version" 12 || echo "g++ 12 or later, found $version (g++)"
  fi
  if ! command -v cmake >/dev/null; then
    echo "cmake 3.25 or later (cmake)"
  elif version=$(cmake --version | sed -n '1s/[^0-9]*//p') && ! version_at_least "$version" 3.25; then
    echo "cmake 3.25 or later, found $version (cmake)"
  fi
  command -v ninja >/dev/null || echo "ninja (ninja-build)"
  if ! command -v pkg-config >/dev/null; then
    echo "pkg-config (pkg-config)"
  else
    pkg-config --exists libpcre2-8 || echo "PCRE2, 8 bit (libpcre2-dev)"
    pkg-config --exists libutf8proc || echo "utf8proc (libutf8proc-dev)"
    pkg-config --exists spdlog || echo "spdlog with fmt (libspdlog-dev)"
  fi
  local header
  for header in 'doctest/doctest.h doctest (doctest-dev)' 'benchmark/benchmark.h Google Benchmark (libbenchmark-dev)' \
                'oneapi/dnnl/dnnl.hpp oneDNN (libdnnl-dev)' 'CLI/CLI.hpp CLI11 (libcli11-dev)' \
                'nlohmann/json.hpp nlohmann-json (nlohmann-json3-dev)' 'xxhash.h xxHash (libxxhash-dev)'; do
    if [[ $cxx ]] && ! "$cxx" -std=c++20 -E -x c++ - <<<"#include <${header%% *}>" >/dev/null 2>&1; then
      echo "${header#* }"
    fi
  done
}

# Installs what is missing where that is possible; otherwise names it and ends.
ensure_packages() {
  local -a missing as_root=()
  if command -v apt-get >/dev/null && command -v dpkg-query >/dev/null; then
    mapfile -t missing < <(missing_packages "${decant_packages[@]}")
    ((${#missing[@]})) || return 0
    if ((EUID != 0)); then
      if command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [[ -t 2 && -r /dev/tty ]]; }; then
        as_root=(sudo)
      else
        missing_or_die
        return 0
      fi
    fi
    say "installing ${missing[*]}"
    local log
    log=$(mktemp)
    local -a apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq)
    if ! { "${apt[@]}" update && "${apt[@]}" install -y --no-install-recommends "${missing[@]}"; } \
         </dev/null >"$log" 2>&1; then
      tail -n 20 "$log" >&2
      rm -f "$log"
      die "apt-get could not install ${missing[*]}; install them by hand, then start this again"
    fi
    rm -f "$log"
  fi
  missing_or_die
}

# Installs what only some tests use, where that is possible without asking. It never ends the caller, and doesn't try
# again what failed once with this list.
ensure_test_packages() {
  local package log
  local -a missing=() lacking=() as_root=()
  local stamp=$decant_root/build/.lacks-test-packages
  if command -v apt-get >/dev/null && command -v dpkg-query >/dev/null; then
    mapfile -t missing < <(missing_packages "${decant_test_packages[@]}")
    if ((${#missing[@]} == 0)); then return 0; fi
    if ((EUID != 0)); then as_root=(sudo -n); fi
    if [[ $stamp -nt ${BASH_SOURCE[0]} ]] || { ((EUID != 0)) && ! sudo -n true 2>/dev/null; }; then
      lacking=("${missing[@]}")
    else
      say "installing ${missing[*]} (for some tests only)"
      log=$(mktemp) || return 0
      local -a apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq
                    -o Acquire::Retries=1 -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20)
      "${apt[@]}" update </dev/null >"$log" 2>&1 || true
      for package in "${missing[@]}"; do  # one by one: not every release has all of them
        "${apt[@]}" install -y --no-install-recommends "$package" </dev/null >>"$log" 2>&1 || lacking+=("$package")
      done
      if ((${#lacking[@]})); then
        grep '^E:' "$log" | tail -n 5 >&2 || true
        : 2>/dev/null >"$stamp" || true
      fi
      rm -f "$log"
    fi
  else
    lacking=("${decant_test_packages[@]}")
  fi
  if ((${#lacking[@]})); then say "without ${lacking[*]} the tests that use them are skipped"; fi
}

missing_or_die() {
  local -a pieces
  mapfile -t pieces < <(missing_pieces)
  ((${#pieces[@]})) || return 0
  say "this machine lacks (Debian's package in parentheses):"
  printf '  %s\n' "${pieces[@]}" >&2
  die "install them (as root: apt-get install ${decant_packages[*]}), then start this again"
}

# quietly LOG COMMAND...: the output goes to LOG, and its end to standard error if the command fails.
quietly() {
  local log=$1
  shift
  if [[ -t 2 ]]; then
    # On a terminal one line follows ninja's count.
    if "$@" 2>&1 </dev/null | tee "$log" \
        | while IFS= read -r line; do
            [[ $line == \[*/*\]* ]] && printf '\r\033[Kdecant: building %s' "${line%%]*}]" >&2
          done; [[ ${PIPESTATUS[0]} == 0 ]]; then
      printf '\r\033[K' >&2
      return 0
    fi
    printf '\r\033[K' >&2
  elif "$@" >"$log" 2>&1 </dev/null; then
    return 0
  fi
  tail -n 40 "$log" >&2
  die "failed: $* (all of its output is in $log)"
}

# configure PRESET: once; ninja itself notices later changes of CMake's files.
configure() {
  local dir=$decant_root/build/$1
  mkdir -p "$dir"
  if [[ -f $dir/build.ninja ]] && grep -qxF "CMAKE_HOME_DIRECTORY:INTERNAL=$decant_root" "$dir/CMakeCache.txt" \
     && ! { [[ ${CI:-} == true ]] && grep -qxF DECANT_WERROR:BOOL=OFF "$dir/CMakeCache.txt"; }; then
    return 0
  fi
  local -a cache=()
  if command -v ccache >/dev/null; then cache+=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache); fi
  # A compiler that is newer than ours may warn of more: no reason not to build for its user.
  if [[ ${CI:-} != true ]]; then cache+=(-DDECANT_WERROR=OFF); fi
  (cd -- "$decant_root" && quietly "$dir/configure.log" cmake --fresh --preset "$1" "${cache[@]}")
}

# build PRESET [TARGET...]: installs, configures and builds what isn't up to date. One process at a time.
build() {
  local preset=$1 dir=$decant_root/build/$1
  shift
  # A tree that was configured found its packages: a second start needn't look for them again.
  if ! command -v ninja >/dev/null || [[ ! $dir/build.ninja -nt ${BASH_SOURCE[0]} ]]; then ensure_packages; fi
  configure "$preset"
  if [[ $(ninja -n -C "$dir" "$@" 2>/dev/null </dev/null | tail -n 1) == 'ninja: no work to do.' ]]; then return 0; fi
  say "building into $dir (a few minutes the first time)"
  quietly "$dir/build.log" ninja -C "$dir" "$@"
}

# Two starts at once must not build into one folder: the later one waits.
lock_build() {
  mkdir -p "$decant_root/build"
  local lock=$decant_root/build/.lock
  if command -v flock >/dev/null && { [[ -w $lock ]] || { [[ ! -e $lock ]] && [[ -w $decant_root/build ]]; }; }; then
    exec {decant_lock}>"$lock"
    flock -n "$decant_lock" || { say "waiting for another build to end"; flock "$decant_lock"; }
  fi
}
unlock_build() {
  if [[ -n ${decant_lock:-} ]]; then exec {decant_lock}>&-; fi
}
