#!/usr/bin/env bash
# A new environment with mmmaskdino, installed with pip as docs/installation.md says.
#   .ci/install_with_pip.sh FOLDER [REQUIREMENT]        default: mmmaskdino[current]
# Environment: PYTHON (the interpreter, default python); FORCE_CUDA=1 compiles mmcv for GPUs.
set -euo pipefail
folder=${1:?usage: .ci/install_with_pip.sh FOLDER [REQUIREMENT]}
cd "$(dirname "${BASH_SOURCE[0]}")/.."
"${PYTHON:-python}" -m venv "$folder"
pip() { "$folder/bin/python" -m pip --disable-pip-version-check install "$@"; }
first=$(grep -E '^(setuptools|numpy|torch|torchvision)[=<>]' requirements/current.txt)
readarray -t first <<<"$first"
pip "${first[@]}" wheel ninja psutil packaging
MMCV_WITH_OPS=1 pip --no-build-isolation "$(grep '^onedl-mmcv=' requirements/current.txt)"
pip --no-build-isolation "${2:-mmmaskdino[current]}"
