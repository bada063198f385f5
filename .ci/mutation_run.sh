#!/usr/bin/env bash
# Change the source in small ways and see whether the tests notice, with mutmut (docs/testing.md).
#   .ci/mutation_run.sh MODULE [arguments of `mutmut run`]        MODULE: losses, matching, denoising, fusion or pq
# In a copy of the working tree, work_dirs/mutation/MODULE, where an interrupted run goes on; remove it to start from scratch.
# Environment: PYTHON (the interpreter, default .venv/bin/python, with requirements/dev.txt installed).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() { echo "usage: .ci/mutation_run.sh losses|matching|denoising|fusion|pq [arguments of mutmut run]" >&2; exit 2; }
module=${1:-}
models=mmmaskdino/models
not_run=''
case "$module" in
  losses)
    sources=("$models/losses/*.py")
    tests=(tests/test_models/test_losses)
    not_run=forked_process  # mutmut would take the process that this test starts for its own
    ;;
  matching)
    sources=("$models/task_modules/hybrid_assigner.py" "$models/task_modules/match_costs.py")
    tests=(tests/test_models/test_task_modules/test_{hybrid_assigner,match_costs}.py)
    ;;
  denoising)
    sources=("$models/task_modules/denoising.py")
    tests=(tests/test_models/test_task_modules/test_denoising.py)
    ;;
  fusion) sources=("$models/seg_heads/*.py") tests=(tests/test_models/test_seg_heads) ;;
  pq)
    sources=('mmmaskdino/evaluation/panoptic_*.py')
    tests=(tests/test_evaluation/test_panoptic_{files,metric,quality,table}.py tests/test_robustness/test_hostile_names.py)
    ;;
  *) usage ;;
esac
shift

python=$(realpath -s "${PYTHON:-.venv/bin/python}")
copy=work_dirs/mutation/$module
mkdir -p "$copy"
git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
  if [ -f "$file" ]; then cp --parents -u "$file" "$copy"; fi
done
if [ -d ../shared ]; then ln -sfn "$(realpath ../shared)" "$copy/shared"; fi  # mutmut's copy looks for it here
cd "$copy"
{
  printf '[mutmut]\nsource_paths=\n    mmmaskdino\nonly_mutate=\n'
  printf '    %s\n' "${sources[@]}"
  printf 'pytest_add_cli_args_test_selection=\n'
  printf '    %s\n' "${tests[@]}"
  printf 'also_copy=\n'
  printf '    %s\n' configs tools requirements setup.py README.md
  if [ -n "$not_run" ]; then printf 'pytest_add_cli_args=\n    -k\n    not %s\n' "$not_run"; fi
} > setup.cfg

# The tests keep tensors small; threads would only get in each other's way, and do not survive a fork.
export OMP_NUM_THREADS=1 CUDA_VISIBLE_DEVICES=-1
status=0
"$python" -m mutmut run --max-children "${MAX_CHILDREN:-1}" "$@" || status=$?
"$python" -m mutmut results
exit "$status"
