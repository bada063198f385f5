#!/usr/bin/env bash
# From a bare clone to a trained Mask DINO, its metrics and pictures, on the CPU; run it again to go on or look again.
#   tools/quickstart.sh [--task panoptic|semantic] [--seed N] [--processes N]        generated shapes
#   tools/quickstart.sh --photos FOLDER [options of mmmaskdino quickstart]           photographs of one's own
set -euo pipefail
called_in=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  echo "usage: tools/quickstart.sh [--task panoptic|semantic] [--seed N] [--processes 1|2|4]"
  echo "       tools/quickstart.sh --photos FOLDER [options of mmmaskdino quickstart]"
}
wrong() { usage >&2; exit 2; }
case "${1:-}" in -h | --help) usage; exit 0 ;; esac
export CUDA_VISIBLE_DEVICES=-1  # setup_env.sh compiles mmcv for the CPU
if [ "${1:-}" = --photos ]; then
  [ $# -ge 2 ] || wrong
  folder=$2
  if [ "$called_in" != "$PWD" ] && [[ $folder != /* ]]; then folder=$called_in/$folder; fi
  if [ ! -e "$folder" ]; then echo "quickstart.sh: $folder: no such file or folder" >&2; exit 1; fi
  bash tools/setup_env.sh current photos
  exec .venv/bin/mmmaskdino quickstart "$folder" "${@:3}"
fi
arguments=("$@")
while [ $# -gt 0 ]; do  # before the installation, which takes minutes
  case "$1 ${2:-}" in
    '--task panoptic' | '--task semantic' | '--processes '[124]) ;;
    '--seed '*) [[ ${2:-} =~ ^[0-9]+$ ]] || wrong ;;
    *) wrong ;;
  esac
  shift 2
done
bash tools/setup_env.sh current
exec .venv/bin/mmmaskdino quickstart ${arguments[@]+"${arguments[@]}"}
