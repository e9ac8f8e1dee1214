#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# tools/run.sh PROMPT [OPTION...]: streams text from the bundled model. On a fresh Debian or Ubuntu it installs the
# packages that decant needs and builds it first. Everything that is given goes on to `decant run`.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/setup.sh"

lock_build
build release decant_program
unlock_build
exec "$decant_root/build/release/tools/decant" run "$@"
