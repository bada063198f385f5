#!/usr/bin/env bash
# Set up the environment if needed, check the style and run the tests on the CPU.
#   tools/run_tests.sh [current|classic] [arguments of pytest]
# current (the default): .venv; classic: .venv-classic with the original OpenMMLab releases.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

stack=current
case "${1:-}" in
  current | classic) stack=$1; shift ;;
esac
bash tools/setup_env.sh "$stack"
venv=.venv
if [ "$stack" = classic ]; then venv=.venv-classic; fi

export CUDA_VISIBLE_DEVICES=-1  # setup_env.sh compiles mmcv for the CPU
failed=0
if [ "$stack" = current ]; then
  "$venv/bin/python" -m ruff check . || failed=1
  "$venv/bin/python" -m ruff format --check . || failed=1
fi
"$venv/bin/python" -m pytest "$@" || failed=1
exit "$failed"
