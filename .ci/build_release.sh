#!/usr/bin/env bash
# Build the sdist, and the wheel from it.
#   .ci/build_release.sh TAG FOLDER       TAG: v and the version, or it fails
# Environment: MMMASKDINO_ADDRESS (of the repository, for the links in the metadata).
set -euo pipefail
folder=$(mkdir -p "${2:?usage: .ci/build_release.sh TAG FOLDER}" && cd "$2" && pwd)
cd "$(dirname "${BASH_SOURCE[0]}")/.."
version=$(sed -n "s/^__version__ = '\(.*\)'$/\1/p" mmmaskdino/version.py)
if [ "$1" != "v$version" ]; then
  echo "build_release.sh: the tag is $1, mmmaskdino/version.py says $version" >&2
  exit 1
fi
if ! grep -q "^## $version, 20" CHANGELOG.md; then
  echo "build_release.sh: CHANGELOG.md has no '## $version, DATE'" >&2
  exit 1
fi
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
git archive HEAD | tar -x -C "$build"
python -m venv "$build/venv"
"$build/venv/bin/pip" --disable-pip-version-check install -q 'build>=1.2,<2'
"$build/venv/bin/python" -m build --outdir "$folder" "$build"
