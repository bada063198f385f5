#!/usr/bin/env bash
# Create or complete a virtual environment in the project's root; safe to interrupt and run again.
#   tools/setup_env.sh [current|classic] [docs] [export] [page] [photos] [tests]
# current: .venv with the maintained OneDL packages; classic: .venv-classic with the original OpenMMLab releases.
# The further words name files of requirements/ whose packages are installed too.
# LOCKED=1: the exact versions of requirements/quickstart-lock.txt (current packages), a set that was tried together.
# mmcv is compiled for the CPU; docs/installation.md tells how to install for GPUs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

stack=current
case "${1:-}" in
  current | classic) stack=$1; shift ;;
esac
case "$stack" in
  current) venv=.venv newest_python='(3, 12)' ;;
  classic) venv=.venv-classic newest_python='(3, 11)' ;;
esac
for extra; do
  case "$extra" in
    docs | export | page | photos | tests) ;;
    *) echo "usage: tools/setup_env.sh [current|classic] [docs|export|page|photos|tests ...], got '$extra'" >&2; exit 2 ;;
  esac
done
requirements=requirements/$stack.txt
python=$venv/bin/python
locked=()
if [ "${LOCKED:-}" = 1 ] && [ "$stack" = current ]; then locked=(-c requirements/quickstart-lock.txt); fi

# What an environment was made from: if it changes, it is completed again. The folder counts too: after a move the
# editable install points nowhere.
fingerprint() { { pwd; cat "$requirements" requirements/runtime.txt ${locked[1]+"${locked[1]}"} "$@" setup.py tools/setup_env.sh; } | cksum; }
wanted=$(fingerprint)
is_complete() { [ -x "$python" ] && [ "$(cat "$venv/.complete" 2>/dev/null)" = "$wanted" ]; }
has_extra() {
  cat "$venv/.complete-$1" "$venv/.complete-tests" 2>/dev/null |  # the packages for tests include all others
    grep -Fx "$(fingerprint requirements/{docs,export,page,photos,tests}.txt)" >/dev/null
}
has_all() { is_complete || return 1; for extra; do has_extra "$extra" || return 1; done; }
if has_all "$@"; then exit 0; fi

say() { printf '\n== %s\n' "$*"; }
die() { printf '\nsetup_env.sh: %s\n' "$*" >&2; exit 1; }

mkdir -p "$venv"
if command -v flock >/dev/null; then
  exec 9>"$venv/.setup-lock"  # uv has a lock of its own, named .lock
  flock -n 9 || { say "waiting for another setup of $venv"; flock 9; }
  if has_all "$@"; then exit 0; fi
fi

pip() { "$python" -m pip --disable-pip-version-check "$@"; }
pinned() { grep -E "^($1)[=<>]" "$requirements"; }

# uv downloads and unpacks many packages at once, several times as fast as pip, and takes pip's package index; where it
# cannot be had or fails, pip does the same.
uv=()
index_of_pip() { pip config list 2>/dev/null | sed -n "s/^.*[.]$1='\(.*\)'$/\1/p" | tail -n 1; }
prepare_uv() {
  [ -z "$(index_of_pip no-index)" ] || return 0
  [ -x "$venv/bin/uv" ] || pip install -q uv >/dev/null 2>&1 || return 0
  uv=("$venv/bin/uv" pip install --python "$python" --compile-bytecode --index-strategy unsafe-best-match)
  local index more address
  index=$(index_of_pip index-url)
  more=$(index_of_pip extra-index-url)
  [ -z "$index" ] || uv+=(--default-index "$index")
  for address in ${more//\\n/ }; do
    case "$address" in http*) uv+=(--index "$address") ;; esac
  done
}
install() {
  if [ ${#uv[@]} -gt 0 ]; then
    if "${uv[@]}" "$@"; then return; fi
    echo 'uv did not succeed; once more with pip'
  fi
  pip install "$@"
}

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

# The package index has torch for GPUs only on x86 (3 GB); an index with builds for the CPU alone (200 MB), such as
# PyTorch's own as PIP_EXTRA_INDEX_URL, is used if it has both torch and torchvision.
write_torch_requirements() {
  pinned 'torch|torchvision' | sed 's/$/+cpu/' > "$1"
  if ! pip install -q --dry-run --no-deps --only-binary=:all: -r "$1" >/dev/null 2>&1; then
    pinned 'torch|torchvision' > "$1"
    echo 'up to 3 GB are downloaded: the package index has no build of torch and torchvision for the CPU alone'
  fi
  pinned 'setuptools|numpy' >> "$1"
}

# A machine without a screen often lacks libGL, which only OpenCV's windows need. The headless build is laid over the
# usual one, whose entry stays, because other packages require it by name.
fix_opencv() {
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
  cores=$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc 2>/dev/null ||  # it would obey these, which are for training
          getconf _NPROCESSORS_ONLN)  # macOS
  memory=$(awk '/^MemAvailable/ { print int($2 / 2000000) }' /proc/meminfo 2>/dev/null) || memory=$cores
  echo $(( memory < 1 ? 1 : memory < cores ? memory : cores ))
}

# Reads ninja's "[12/78] ..." and says now and then how far it is, with the time left at the pace so far.
compile_progress() {
  local start=$SECONDS first='' said=0 line count total before
  while IFS= read -r line; do
    [[ $line =~ ^\ *\[([0-9]+)/([0-9]+)\] ]] || continue
    count=${BASH_REMATCH[1]} total=${BASH_REMATCH[2]}
    if [ -z "$first" ]; then  # the first had to wait for torch's headers
      first=$SECONDS said=$SECONDS before=$count
      echo "torch's headers compiled in $((SECONDS - start)) s"
    elif [ "$count" = "$total" ] || [ $((SECONDS - said)) -ge 15 ]; then
      said=$SECONDS
      echo "$count of $total files, about $(( (SECONDS - first) * (total - count) / (count - before) )) s left"
    fi
  done
}

# From a source tree that stays until the end, so that an interrupted build goes on where it stopped. pip must see
# torch (--no-build-isolation): without it mmcv builds silently without operators. No wheel of another torch is reused.
compile_mmcv() {
  local source=$venv/mmcv-source wheel=$venv/mmcv-wheel log=$venv/mmcv-build.log jobs=${MAX_JOBS:-$(compile_jobs)}
  if [ "$(cat "$source/.for" 2>/dev/null)" != "$mmcv torch $(torch_version)" ]; then
    rm -rf "$source" "$source.part" && mkdir -p "$source.part"
    pip download -q --no-deps --no-binary=:all: --no-build-isolation -d "$source.part" "$mmcv"
    tar -xzf "$source.part"/*.tar.gz -C "$source.part" --strip-components=1
    echo "$mmcv torch $(torch_version)" > "$source.part/.for"
    mv "$source.part" "$source"
  fi
  local compiler=$PWD/tools/cxx_with_torch_header.sh
  command -v flock >/dev/null || compiler=${CXX:-c++}  # macOS: each file compiles torch's headers
  rm -rf "$wheel"
  echo "compiling $mmcv with $jobs processes, 2 to 4 minutes with two on cores of their own; log: $log"
  MMCV_WITH_OPS=1 MAX_JOBS=$jobs CUDA_VISIBLE_DEVICES=-1 HEADER_DIR=$PWD/$source \
    CXX=$compiler "$python" -m pip wheel -v --no-deps --no-build-isolation \
      --no-cache-dir -w "$wheel" "$source" 2>&1 | tee "$log" | compile_progress ||
    die "compiling mmcv failed; the last lines of $log: $(tail -n 20 "$log")"
  pip install -q --no-deps --force-reinstall "$wheel"/*.whl
  torch_version > "$venv/.mmcv-torch"
  "$python" -c 'import mmcv.ops' || die "mmcv cannot be imported with its operators; see above and $log"
  rm -rf "$source" "$wheel"
}

install_base() {
  say "1/4 virtual environment $venv"
  if ! "$python" -m pip --version >/dev/null 2>&1; then
    base=$(find_python) || die "expected Python 3.10 up to $newest_python (3.11 is tested); set PYTHON=/path/to/python"
    "$base" -m venv "$venv" || die "could not create $venv; on Debian: apt-get install python3-venv"
  fi
  command -v g++ >/dev/null || die 'mmcv is compiled and needs a C++ compiler; on Debian: apt-get install g++'
  "$python" - <<'PY' || die 'mmcv is compiled and needs Python.h; on Debian: apt-get install python3-dev'
import pathlib, sys, sysconfig
sys.exit(not (pathlib.Path(sysconfig.get_paths()['include']) / 'Python.h').exists())
PY
  prepare_uv

  say "2/4 $(pinned torch)"
  write_torch_requirements "$venv/torch.txt"
  install -r "$venv/torch.txt" wheel ninja psutil packaging

  say '3/4 mmcv with its compiled operators'
  mmcv=$(pinned '(onedl-)?mmcv')
  install -c "$requirements" ${locked[@]+"${locked[@]}"} "$(pinned '(onedl-)?mmengine')" opencv-python
  fix_opencv
  mmcv_works || compile_mmcv

  say '4/4 mmdet, mmsegmentation, mmpretrain, mmmaskdino (editable)'
  install ${locked[@]+"${locked[@]}"} -r "$requirements" -r requirements/runtime.txt
  fix_opencv
  pip install -q --no-deps --no-build-isolation -e .
  "$python" -W ignore -c 'import mmmaskdino' >/dev/null  # checks the stack
  echo "$wanted" > "$venv/.complete"
  say "$venv is complete"
}

if is_complete; then
  prepare_uv
else
  rm -f "$venv"/.complete*
  install_base
fi
for extra; do
  if ! has_extra "$extra"; then
    say "requirements/$extra.txt"
    install -c "$requirements" -r "requirements/$extra.txt"
    fix_opencv
    fingerprint requirements/{docs,export,page,photos,tests}.txt > "$venv/.complete-$extra"
  fi
done
