#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# tools/test.sh [--sanitize] [CTEST-OPTION...]: builds everything and runs every test, after the same set-up as run.sh.
# Packages that only some tests use are installed where that needs no password; without them those tests are skipped.
# With --sanitize, or where CI=true, the tests that are not labelled slow run a second time under ASan and UBSan.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/setup.sh"

sanitize=false
if [[ ${CI:-} == true ]]; then sanitize=true; fi
if [[ ${1:-} == --sanitize ]]; then
  sanitize=true
  shift
fi

jobs=$(nproc)
run_tests() {
  ctest --test-dir "$decant_root/build/$1" --output-on-failure --timeout 600 -j "$jobs" "${@:2}" </dev/null
}

lock_build
ensure_packages
ensure_test_packages || true  # before anything is configured: some tests are only there with what they use
build release
unlock_build
run_tests release "$@"

if $sanitize; then
  lock_build
  build asan-ubsan
  unlock_build
  export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}
  run_tests asan-ubsan -LE slow "$@"
fi
