#!/usr/bin/env bash
# What dist_train.sh and dist_test.sh share: run a script of this folder in several processes.
#   tools/dist_run.sh NUM_PROCESSES SCRIPT [arguments of the script]
# Environment: PYTHON (the interpreter, default python); OMP_NUM_THREADS (threads per process, default: the cores are
# shared out); for several machines NNODES, NODE_RANK, MASTER_ADDR, and PORT (default 29500).
set -euo pipefail
tools=$(dirname "${BASH_SOURCE[0]}")
num_processes=${1:?usage: tools/dist_run.sh NUM_PROCESSES SCRIPT [arguments]}
script=${2:?usage: tools/dist_run.sh NUM_PROCESSES SCRIPT [arguments]}
if ! [[ $num_processes =~ ^[1-9][0-9]*$ ]]; then
  echo "dist_run.sh: expected the number of processes (GPUs) of this machine, got '$num_processes'" >&2
  exit 2
fi

cores=$(getconf _NPROCESSORS_ONLN)
threads=$(( cores > num_processes ? cores / num_processes : 1 ))
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$threads}
export MKL_NUM_THREADS=${MKL_NUM_THREADS:-$OMP_NUM_THREADS}

rendezvous=(--standalone)  # one machine: a free port is found
if [ "${NNODES:-1}" -gt 1 ] || [ -n "${PORT:-}" ]; then
  rendezvous=(--nnodes "${NNODES:-1}" --node_rank "${NODE_RANK:-0}"
              --master_addr "${MASTER_ADDR:-127.0.0.1}" --master_port "${PORT:-29500}")
fi
exec "${PYTHON:-python}" -m torch.distributed.run "${rendezvous[@]}" --nproc_per_node "$num_processes" \
  "$tools/$script" "${@:3}" --launcher pytorch
