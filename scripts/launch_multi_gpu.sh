#!/usr/bin/env bash
# One machine, several GPUs, no Ray: says which are the target's and which the draft's, then serves.
#
#   bash scripts/launch_multi_gpu.sh [OPTIONS OF amusd serve]
#   TARGET=0,1,2 DRAFT=3 bash scripts/launch_multi_gpu.sh --target Qwen/Qwen3-32B --draft Qwen/Qwen3-0.6B
#
# $TARGET and $DRAFT are GPU numbers, or devices as amusd names them (cpu:0). What is not given amusd chooses: of
# several GPUs the last is the draft's and the others are the target's; with one GPU the draft gets the last core;
# without any, cores stand in for GPUs. $PYTHON (python3) is an interpreter that has amusd's packages, such as
# .venv/bin/python.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"

# devices 0,1 gives cuda:0,cuda:1; what has a colon is left as it is.
devices() {
    if [[ "$1" == *:* ]]; then printf '%s\n' "$1"; else printf 'cuda:%s\n' "${1//,/,cuda:}"; fi
}

places=()
[[ -z "${TARGET:-}" ]] || places+=(--target-devices "$(devices "$TARGET")")
[[ -z "${DRAFT:-}" ]] || places+=(--draft-devices "$(devices "$DRAFT")")
exec "${PYTHON:-python3}" -m amusd serve --launcher local "${places[@]}" "$@"
