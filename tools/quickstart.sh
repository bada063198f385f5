#!/usr/bin/env bash
# From a bare clone to a trained Mask DINO, its metrics and pictures, on the CPU; run it again to go on or look again.
#   tools/quickstart.sh [--task panoptic|semantic] [--seed N] [--processes N]        generated shapes
#   tools/quickstart.sh --photos FOLDER [options of mmmaskdino quickstart]           photographs of one's own
set -euo pipefail
called_in=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  echo "usage: tools/quickstart.sh [--task panoptic|semantic] [--seed N] [--processes 1|2|4]" >&2
  echo "       tools/quickstart.sh --photos FOLDER [options of mmmaskdino quickstart]" >&2
  exit 2
}
export CUDA_VISIBLE_DEVICES=-1  # setup_env.sh compiles mmcv for the CPU
if [ "${1:-}" = --photos ]; then
  [ $# -ge 2 ] || usage
  folder=$2
  if [ "$called_in" != "$PWD" ] && [[ $folder != /* ]]; then folder=$called_in/$folder; fi
  if [ ! -e "$folder" ]; then echo "quickstart.sh: $folder: no such file or folder" >&2; exit 1; fi
  bash tools/setup_env.sh current photos
  exec .venv/bin/mmmaskdino quickstart "$folder" "${@:3}"
fi
task=panoptic
seed=0
processes=$(( $(env -u OMP_NUM_THREADS nproc) > 1 ? 2 : 1 ))
while [ $# -gt 0 ]; do
  case "$1 ${2:-}" in
    '--task panoptic' | '--task semantic') task=$2 ;;
    '--seed '*) [[ ${2:-} =~ ^[0-9]+$ ]] || usage; seed=$2 ;;
    '--processes '[124]) processes=$2 ;;
    *) usage ;;
  esac
  shift 2
done

config=configs/maskdino/maskdino_r18_shapes_$task.py
work_dir=work_dirs/quickstart
if [ "$task" != panoptic ]; then work_dir=${work_dir}_$task; fi
if [ "$seed" != 0 ]; then work_dir=${work_dir}_seed$seed; fi
export PYTHON=.venv/bin/python
export PYTHONWARNINGS=${PYTHONWARNINGS:-ignore}
# On operations as small as these a process per core is faster than threads.
export OMP_NUM_THREADS=1
# Memory in large pages, and kept: docs/performance.md.
export GLIBC_TUNABLES=${GLIBC_TUNABLES:-glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=1073741824:glibc.malloc.trim_threshold=4294967296}
say() { printf '\n== %s\n' "$*"; }

bash tools/setup_env.sh current

say "data: data/shapes"
"$PYTHON" tools/dataset_converters/make_shapes.py data/shapes

mkdir -p "$work_dir"
log=$work_dir/training.log
say "training: $config, seed $seed, $processes process(es) of $((4 / processes)) image(s)"
echo "a picture per evaluation in $work_dir/pictures; log: $log"
if [ -f "$work_dir/last_checkpoint" ]; then
  echo "going on from $(cat "$work_dir/last_checkpoint"); to start from scratch, delete $work_dir"
fi
bash tools/dist_train.sh "$config" "$processes" --work-dir "$work_dir" --resume \
    --cfg-options randomness.seed="$seed" train_dataloader.batch_size=$((4 / processes)) >>"$log" || {
  status=$?
  echo "quickstart.sh: the training ended with status $status; its log: $log" >&2
  exit "$status"
}

say "done: on images that were not in training"
"$PYTHON" - "$work_dir" <<'PY'
import json
import sys
from pathlib import Path

runs = sorted(Path(sys.argv[1]).glob('*/vis_data/scalars.json'))
lines = [json.loads(line) for run in runs for line in run.read_text().splitlines()]
for name, value in [values for values in lines if any('mIoU' in name for name in values)][-1].items():
    if name.endswith(('bbox_mAP', 'segm_mAP', '/PQ', '/PQ_th', '/PQ_st', 'mIoU', 'mAcc')):
        print(f'{name:24} {value:.3f}')
PY
echo "checkpoint:  $(cat "$work_dir/last_checkpoint")"
echo "pictures:    $(find "$work_dir/pictures" -name '*.png' | sort | tail -n 1)"
