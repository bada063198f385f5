#!/usr/bin/env bash
# Evaluate with one process per GPU; on a machine without GPUs, with that many processes on the CPU.
#   tools/dist_test.sh CONFIG CHECKPOINT NUM_PROCESSES [arguments of tools/test.py]
# Environment variables: see tools/dist_run.sh.
set -euo pipefail
if [ $# -lt 3 ]; then
  echo "usage: tools/dist_test.sh CONFIG CHECKPOINT NUM_PROCESSES [arguments of tools/test.py]" >&2
  exit 2
fi
exec bash "$(dirname "${BASH_SOURCE[0]}")/dist_run.sh" "$3" test.py "$1" "$2" "${@:4}"
