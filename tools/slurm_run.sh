#!/usr/bin/env bash
# What slurm_train.sh and slurm_test.sh share: run a script of this folder with srun, one task per GPU.
#   tools/slurm_run.sh PARTITION JOB_NAME SCRIPT [arguments of the script]
# Environment: GPUS (of the whole job, default 8), GPUS_PER_NODE (default: GPUS, at most 8), CPUS_PER_TASK (default 5),
# SRUN_ARGS (more arguments of srun, separated by spaces), PYTHON (the interpreter, default python).
set -euo pipefail
tools=$(dirname "${BASH_SOURCE[0]}")
if [ $# -lt 3 ]; then
  echo "usage: tools/slurm_run.sh PARTITION JOB_NAME SCRIPT [arguments]" >&2
  exit 2
fi
gpus=${GPUS:-8}
gpus_per_node=${GPUS_PER_NODE:-$(( gpus < 8 ? gpus : 8 ))}
read -ra more_arguments <<< "${SRUN_ARGS:-}"
exec srun --partition="$1" --job-name="$2" --gres="gpu:$gpus_per_node" --ntasks="$gpus" \
  --ntasks-per-node="$gpus_per_node" --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 \
  ${more_arguments[@]+"${more_arguments[@]}"} "${PYTHON:-python}" -u "$tools/$3" "${@:4}" --launcher slurm
