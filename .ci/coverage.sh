#!/usr/bin/env bash
# Run tests and report the lines and branches of the package that they reach (docs/testing.md).
#   .ci/coverage.sh [arguments of pytest]
# Environment: PYTHON (the interpreter, default .venv/bin/python, with requirements/dev.txt installed).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-.venv/bin/python}
if ! "$python" -c 'import coverage' 2>/dev/null; then
  echo "coverage.sh: coverage is not installed: $python -m pip install -r requirements/dev.txt" >&2
  exit 2
fi
export CUDA_VISIBLE_DEVICES=-1
status=0
"$python" -m coverage erase
"$python" -m coverage run -m pytest "$@" || status=$?
"$python" -m coverage combine -q
"$python" -m coverage report
exit "$status"
