#!/usr/bin/env bash
# Write requirements/quickstart-lock.txt: the exact version of every package that the quick start installs, for Python 3.10
# to 3.12. tools/setup_env.sh takes it with LOCKED=1. Environment: UV (default uv).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
lock=requirements/quickstart-lock.txt
new=$(mktemp)
trap 'rm -f "$new"' EXIT
echo '# Written by .ci/lock.sh, taken by tools/setup_env.sh with LOCKED=1.' > "$new"
"${UV:-uv}" pip compile -q --universal --python-version 3.10 --no-header --no-annotate --no-emit-index-url \
  requirements/current.txt requirements/runtime.txt >> "$new"
cp "$new" "$lock"
