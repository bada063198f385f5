#!/usr/bin/env bash
# Create or complete a virtual environment in the project's root; safe to interrupt and run again.
#   tools/setup_env.sh [current|classic]
# current: .venv with the maintained OneDL packages; classic: .venv-classic with the original OpenMMLab releases.
# mmcv is compiled for the CPU; docs/installation.md tells how to install for GPUs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

stack=${1:-current}
case "$stack" in
  current) venv=.venv newest_python='(3, 12)' ;;
  classic) venv=.venv-classic newest_python='(3, 11)' ;;
  *) echo "usage: tools/setup_env.sh [current|classic], got '$stack'" >&2; exit 2 ;;
esac
requirements=requirements/$stack.txt
python=$venv/bin/python
stamp=$venv/.complete
# The folder counts too: after a move the editable install points nowhere.
wanted=$({ pwd; cat "$requirements" requirements/{runtime,tests,export,page,docs}.txt setup.py tools/setup_env.sh; } | cksum)

is_complete() { [ -x "$python" ] && [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; }
if is_complete; then exit 0; fi

say() { printf '\n== %s\n' "$*"; }
die() { printf '\nsetup_env.sh: %s\n' "$*" >&2; exit 1; }

mkdir -p "$venv"
if command -v flock >/dev/null; then
  exec 9>"$venv/.lock"
  flock -n 9 || { say "waiting for another setup of $venv"; flock 9; }
  if is_complete; then exit 0; fi
fi
rm -f "$stamp"

pip() { "$python" -m pip --disable-pip-version-check "$@"; }
pinned() { grep -E "^($1)[=<>]" "$requirements"; }

# A Python that the stack's torch has wheels for.
find_python() {
  for candidate in ${PYTHON:-} python3.11 python3.10 python3.12 python3; do
    if command -v "$candidate" >/dev/null &&
       "$candidate" -c "import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= $newest_python)" 2>/dev/null; then
      echo "$candidate"; return
    fi
  done
  return 1
}

# A machine without a screen often lacks libGL, which only OpenCV's windows need. The headless build is laid over the
# usual one, whose entry stays, because other packages require it by name.
mend_opencv() {
  if "$python" -c 'import cv2' >/dev/null 2>&1; then return; fi
  version=$(pip show opencv-python | sed -n 's/^Version: //p')
  pip install --no-deps --force-reinstall "opencv-python-headless==$version"
  "$python" -c 'import cv2' || die 'OpenCV cannot be imported; the reason is above'
}

torch_version() { "$python" -c 'import torch; print(torch.__version__)'; }

# Installed in the wanted version, importable, and (if it was compiled here) compiled for the torch that is here.
mmcv_works() {
  pip list --format=freeze 2>/dev/null | grep -x "$mmcv" >/dev/null || return 1
  [ ! -f "$venv/.mmcv-torch" ] || [ "$(cat "$venv/.mmcv-torch")" = "$(torch_version)" ] || return 1
  "$python" -c 'import mmcv.ops' >/dev/null 2>&1
}

# One compiler process per core, as long as each finds about 2 GB of memory.
compile_jobs() {
  local cores memory
  cores=$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc)  # nproc would obey these, which are for training
  memory=$(awk '/^MemAvailable/ { print int($2 / 2000000) }' /proc/meminfo)
  echo $(( memory < 1 ? 1 : memory < cores ? memory : cores ))
}

# From a source tree that stays until the end, so that an interrupted build goes on where it stopped. pip must see
# torch (--no-build-isolation): without it mmcv builds silently without operators. No wheel of another torch is reused.
compile_mmcv() {
  local source=$venv/mmcv-source wheel=$venv/mmcv-wheel log=$venv/mmcv-build.log jobs=${MAX_JOBS:-$(compile_jobs)}
  if [ "$(cat "$source/.for" 2>/dev/null)" != "$mmcv torch $(torch_version)" ]; then
    rm -rf "$source" "$source.part" && mkdir -p "$source.part"
    pip download --no-deps --no-binary=:all: --no-build-isolation -d "$source.part" "$mmcv"
    tar -xzf "$source.part"/*.tar.gz -C "$source.part" --strip-components=1
    echo "$mmcv torch $(torch_version)" > "$source.part/.for"
    mv "$source.part" "$source"
  fi
  rm -rf "$wheel"
  echo "compiling $mmcv with $jobs processes, 8 to 22 minutes with two; log: $log"
  MMCV_WITH_OPS=1 MAX_JOBS=$jobs CUDA_VISIBLE_DEVICES=-1 "$python" -m pip wheel -v --no-deps \
      --no-build-isolation --no-cache-dir -w "$wheel" "$source" 2>&1 | tee "$log" |
    { grep --line-buffered -oE '^ *\[[0-9]+/[0-9]+\]' || true; } ||
    die "compiling mmcv failed; the last lines of $log: $(tail -n 20 "$log")"
  pip install --no-deps --force-reinstall "$wheel"/*.whl
  torch_version > "$venv/.mmcv-torch"
  "$python" -c 'import mmcv.ops' || die "mmcv cannot be imported with its operators; see above and $log"
  rm -rf "$source" "$wheel"
}

say "1/5 virtual environment $venv"
if ! "$python" -m pip --version >/dev/null 2>&1; then
  base=$(find_python) || die "expected Python 3.10 up to $newest_python (3.11 is tested); set PYTHON=/path/to/python"
  "$base" -m venv "$venv" || die "could not create $venv; on Debian: apt-get install python3-venv"
fi
command -v g++ >/dev/null || die 'mmcv is compiled and needs a C++ compiler; on Debian: apt-get install g++'
"$python" - <<'PY' || die 'mmcv is compiled and needs Python.h; on Debian: apt-get install python3-dev'
import pathlib, sys, sysconfig
sys.exit(not (pathlib.Path(sysconfig.get_paths()['include']) / 'Python.h').exists())
PY

say "2/5 torch ($(pinned torch))"
pip install -r <(pinned 'setuptools|torch|torchvision|numpy') wheel ninja psutil packaging

say '3/5 mmcv with its compiled operators'
mmcv=$(pinned '(onedl-)?mmcv')
pip install -c "$requirements" "$(pinned '(onedl-)?mmengine')" opencv-python
mend_opencv
mmcv_works || compile_mmcv

say '4/5 mmdet, mmsegmentation, mmpretrain and the rest'
pip install -r "$requirements" -r requirements/runtime.txt -r requirements/tests.txt
mend_opencv

say '5/5 mmmaskdino (editable)'
pip install --no-deps --no-build-isolation -e .
"$python" -W ignore -c 'import mmmaskdino' >/dev/null  # checks the stack
echo "$wanted" > "$stamp"
say "$venv is complete"
