#!/usr/bin/env bash
# Build the documentation site; warnings, such as a broken link, are errors.
#   tools/build_docs.sh [OUTPUT_FOLDER]      default: docs/_build/html; open its index.html
# To publish it, serve the folder as it is, for example from a branch of GitHub Pages.
set -euo pipefail
output=$(realpath -m "${1:-$(dirname "${BASH_SOURCE[0]}")/../docs/_build/html}")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash tools/setup_env.sh current docs
.venv/bin/python -m sphinx -W --keep-going -q -b html docs "$output"
touch "$output/.nojekyll"  # GitHub Pages would leave out folders that begin with an underscore
echo "$output/index.html"
