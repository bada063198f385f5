#!/usr/bin/env bash
# Set up the environment if needed, check style and types and run the tests on the CPU.
#   tools/run_tests.sh [current|classic] [arguments of pytest]
# current (the default): .venv; classic: .venv-classic with the original OpenMMLab releases.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

stack=current
case "${1:-}" in
  current | classic) stack=$1; shift ;;
esac
bash tools/setup_env.sh "$stack" tests
venv=.venv
if [ "$stack" = classic ]; then venv=.venv-classic; fi

# The page is tested in a real browser; without one its test says so.
has_browser() {
  for name in chromium chromium-browser google-chrome google-chrome-stable; do
    if command -v "$name" >/dev/null; then return 0; fi
  done
  ls "$HOME"/.cache/ms-playwright/chromium* >/dev/null 2>&1
}
install_browser() {
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    if ! apt-get install -y -qq --no-install-recommends chromium; then
      apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium
    fi
  else
    "$venv/bin/python" -m playwright install chromium
  fi
}
if ! has_browser; then
  install_browser >"$venv/browser.log" 2>&1 || echo "run_tests.sh: no browser could be installed, see $venv/browser.log" >&2
fi

export CUDA_VISIBLE_DEVICES=-1  # setup_env.sh compiles mmcv for the CPU
failed=0
if [ "$stack" = current ]; then
  "$venv/bin/python" -m ruff check . || failed=1
  "$venv/bin/python" -m ruff format --check . || failed=1
  "$venv/bin/python" -m mypy || failed=1
fi
if [ $# -gt 0 ]; then
  "$venv/bin/python" -m pytest "$@" || failed=1
  exit "$failed"
fi
# All tests, a process per core. tests/conftest.py puts files with long tests first, so that none is left for the end.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
"$venv/bin/python" -m pytest -n "$(env -u OMP_NUM_THREADS nproc)" --dist loadfile --no-loadscope-reorder || failed=1
if [ "${CI:-}" = true ]; then  # known vulnerabilities fail; where no advisory database answers, it says so (status 3)
  audit=0
  bash .ci/audit_dependencies.sh "$stack" || audit=$?
  if [ "$audit" != 0 ] && [ "$audit" != 3 ]; then failed=1; fi
fi
exit "$failed"
