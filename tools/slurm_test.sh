#!/usr/bin/env bash
# Evaluate through Slurm: [GPUS=4] [GPUS_PER_NODE=4] tools/slurm_test.sh PARTITION JOB_NAME CONFIG [arguments of tools/test.py]
# SRUN_ARGS adds options of srun or replaces those below; nodes without GPUs: SRUN_ARGS=--gres=none.
set -euo pipefail
PARTITION=$1
JOB_NAME=$2
CONFIG=$3
GPUS=${GPUS:-4}
GPUS_PER_NODE=${GPUS_PER_NODE:-$((GPUS < 4 ? GPUS : 4))}
# shellcheck disable=SC2086 # SRUN_ARGS holds several words
srun --partition="$PARTITION" --job-name="$JOB_NAME" --gres="gpu:$GPUS_PER_NODE" --ntasks="$GPUS" \
    --ntasks-per-node="$GPUS_PER_NODE" --cpus-per-task="${CPUS_PER_TASK:-4}" --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
    python -u "$(dirname "$0")/test.py" "$CONFIG" --launcher slurm "${@:4}"
