#!/usr/bin/env bash
# Evaluate in several processes of one machine, one per GPU where there are GPUs:
#     tools/dist_test.sh CONFIG PROCESSES [arguments of tools/test.py]
# PORT=29501 (default 29500) keeps two runs on one machine apart; several machines: NNODES, NODE_RANK, MASTER_ADDR.
set -euo pipefail
CONFIG=$1
PROCESSES=$2
torchrun --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}" --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --master_port="${PORT:-29500}" --nproc_per_node="$PROCESSES" \
    "$(dirname "$0")/test.py" "$CONFIG" --launcher pytorch "${@:3}"
