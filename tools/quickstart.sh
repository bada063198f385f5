#!/usr/bin/env bash
# From a bare clone to a trained Mask DINO, its metrics and pictures, on the CPU; run it again to go on or look again.
#   tools/quickstart.sh [--task panoptic|semantic] [--seed N]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() { echo "usage: tools/quickstart.sh [--task panoptic|semantic] [--seed N]" >&2; exit 2; }
task=panoptic
seed=0
while [ $# -gt 0 ]; do
  case "$1 ${2:-}" in
    '--task panoptic' | '--task semantic') task=$2 ;;
    '--seed '*) [[ ${2:-} =~ ^[0-9]+$ ]] || usage; seed=$2 ;;
    *) usage ;;
  esac
  shift 2
done

config=configs/maskdino/maskdino_r18_shapes_$task.py
work_dir=work_dirs/quickstart
if [ "$task" != panoptic ]; then work_dir=${work_dir}_$task; fi
if [ "$seed" != 0 ]; then work_dir=${work_dir}_seed$seed; fi
python=.venv/bin/python
export CUDA_VISIBLE_DEVICES=-1  # setup_env.sh compiles mmcv for the CPU
# On operations as small as these two threads are hardly faster than one, and far slower where other work runs too.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
say() { printf '\n== %s\n' "$*"; }

bash tools/setup_env.sh current

say "data: data/shapes"
"$python" tools/dataset_converters/make_shapes.py data/shapes

say "training: $config, seed $seed, log and checkpoints in $work_dir"
if [ -f "$work_dir/last_checkpoint" ]; then
  echo "going on from $(cat "$work_dir/last_checkpoint"); to start anew, delete $work_dir"
fi
"$python" tools/train.py "$config" --work-dir "$work_dir" --resume --cfg-options randomness.seed="$seed"
checkpoint=$(cat "$work_dir/last_checkpoint")

say "evaluation: $checkpoint on images that were not in training"
"$python" tools/test.py "$config" "$checkpoint" --work-dir "$work_dir/test"

say "pictures: ground truth beside prediction"
"$python" tools/analysis_tools/draw_results.py "$config" "$checkpoint" "$work_dir/pictures" --num 16

metrics=$(find "$work_dir/test" -mindepth 2 -maxdepth 2 -name '*.json' | sort | tail -n 1)
say "done"
"$python" - "$metrics" <<'PY'
import json
import sys

for name, value in json.load(open(sys.argv[1])).items():
    if name.endswith(('bbox_mAP', 'segm_mAP', '/PQ', '/PQ_th', '/PQ_st', 'mIoU', 'mAcc')):
        print(f'{name:24} {value:.3f}')
PY
echo "all metrics: $metrics"
echo "pictures:    $work_dir/pictures"
