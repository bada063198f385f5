#!/usr/bin/env bash
# Look up the packages of the environment in the advisory database of the Python Package Index, with pip-audit.
#   tools/audit_dependencies.sh [current|classic] [arguments of pip-audit]
# Needs the network. Fails if a package has a known vulnerability, or if one could not be looked up.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

stack=current
case "${1:-}" in
  current | classic) stack=$1; shift ;;
esac
venv=.venv
if [ "$stack" = classic ]; then venv=.venv-classic; fi
if [ ! -x "$venv/bin/python" ]; then
  echo "audit_dependencies.sh: $venv does not exist; make it with tools/setup_env.sh $stack" >&2
  exit 2
fi
site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')

# In an environment of its own: a tool's dependencies are not the project's.
tool=.venv-audit
if [ ! -x "$tool/bin/pip-audit" ]; then
  "$venv/bin/python" -m venv "$tool"
  "$tool/bin/python" -m pip --disable-pip-version-check install -q 'pip-audit>=2.7,<3'
fi
exec "$tool/bin/pip-audit" --strict --path "$site" "$@"
