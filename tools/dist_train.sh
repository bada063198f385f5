#!/usr/bin/env bash
# Train with one process per GPU; on a machine without GPUs, with that many processes on the CPU.
#   tools/dist_train.sh CONFIG NUM_PROCESSES [arguments of tools/train.py]
# Environment variables: see tools/dist_run.sh.
set -euo pipefail
if [ $# -lt 2 ]; then
  echo "usage: tools/dist_train.sh CONFIG NUM_PROCESSES [arguments of tools/train.py]" >&2
  exit 2
fi
exec bash "$(dirname "${BASH_SOURCE[0]}")/dist_run.sh" "$2" train.py "$1" "${@:3}"
