#!/usr/bin/env bash
# Look up the installed packages in an advisory database (of the Python Package Index, else osv.dev), with pip-audit.
#   .ci/audit_dependencies.sh [current|classic] [arguments of pip-audit, for example --ignore-vuln ID]
# Exit status: 0 nothing known against them, 1 a known vulnerability or a failure, 2 no environment, 3 not audited,
# because no database answers. Takes the pip-audit on the PATH, else installs one in .venv-audit.
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

not_audited() { echo "audit_dependencies.sh: not audited: $*" >&2; exit 3; }

# In an environment of its own: a tool's dependencies are not the project's.
if ! tool=$(command -v pip-audit); then
  tool=.venv-audit/bin/pip-audit
  if [ ! -x "$tool" ]; then
    "$venv/bin/python" -m venv .venv-audit
    .venv-audit/bin/python -m pip --disable-pip-version-check install -q 'pip-audit>=2.7,<3' ||
      not_audited 'pip-audit could not be installed'
  fi
fi

# A mirror may answer without knowing any advisory, so a database counts if it knows those of a release that has some.
canary=$(mktemp)
trap 'rm -f "$canary"' EXIT
echo 'pillow==9.0.0' > "$canary"
knows_advisories() {
  { "$tool" --vulnerability-service "$1" --progress-spinner off --timeout 15 --no-deps --disable-pip -r "$canary" || true; } \
    2>/dev/null | grep -E 'PYSEC-|GHSA-|CVE-' >/dev/null
}
for source in pypi osv; do
  if knows_advisories "$source"; then
    echo "audit_dependencies.sh: $venv, advisories of $source"
    status=0
    "$tool" --vulnerability-service "$source" --progress-spinner off --skip-editable --path "$site" "$@" || status=$?
    exit "$status"
  fi
done
not_audited 'no advisory source reachable (pypi.org, osv.dev)'
