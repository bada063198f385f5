#!/usr/bin/env bash
# Train and predict with the mmmaskdino on the PATH, outside of the repository: configs are found by name.
#   .ci/try_installed.sh EMPTY_FOLDER
set -euo pipefail
cd "${1:?usage: .ci/try_installed.sh EMPTY_FOLDER}"
if [ -n "$(ls -A)" ]; then echo "try_installed.sh: $1 is not empty" >&2; exit 2; fi
config=maskdino_r18_shapes_panoptic
mmmaskdino doctor
python -W ignore -c 'import mmmaskdino, sys; from mmmaskdino.apis import load_config
print(mmmaskdino.__file__, load_config(sys.argv[1]).filename, sep="\n")' "$config"
python -W ignore -c 'from mmmaskdino.datasets.shapes import make_shapes_dataset
make_shapes_dataset("data/shapes", 4, 2, size=64, progress=False)'
mmmaskdino data check data/shapes --quick
mmmaskdino data config data/shapes --kind panoptic --out own.py --base "$config"
mmmaskdino train own.py --cfg-options train_cfg.max_iters=1 train_cfg.val_interval=1 train_dataloader.num_workers=0
mmmaskdino test "$config" work_dirs/own/iter_1.pth
mmmaskdino predict data/shapes/val --config "$config" --weights work_dirs/own/iter_1.pth --out out --save pictures instances
ls out/pictures/*.jpg out/instances.json
