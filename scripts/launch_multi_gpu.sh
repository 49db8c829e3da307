#!/usr/bin/env bash
# One machine, several GPUs, no Ray: says which are the target's and which the draft's, then serves.
#
#   bash scripts/launch_multi_gpu.sh [OPTIONS OF amusd serve]
#   TARGET=0,1,2 DRAFT=3 bash scripts/launch_multi_gpu.sh --target Qwen/Qwen3-32B --draft Qwen/Qwen3-0.6B
#
# $TARGET and $DRAFT are GPU numbers, or devices as amusd names them (cpu:0). Unless they are given, the last GPU
# is the draft's and the others are the target's; with one GPU the draft gets the last core; without any, cores
# stand in for GPUs. $PYTHON (python3) is an interpreter that has amusd's packages, such as .venv/bin/python.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"

# devices "0,1" gives cuda:0,cuda:1; what has a colon is left as it is.
devices() {
    if [[ "$1" == *:* ]]; then printf '%s\n' "$1"; else printf 'cuda:%s\n' "${1//,/,cuda:}"; fi
}

gpus=0
if command -v nvidia-smi >/dev/null; then
    gpus="$(nvidia-smi --query-gpu=index --format=csv,noheader | wc -l)"
fi
cores="$(nproc)"
if ((gpus > 1)); then
    target="$(seq -s, 0 $((gpus - 2)))" draft="$((gpus - 1))"
elif ((gpus == 1)); then
    target=0 draft="cpu:$((cores - 1))"
elif ((cores > 1)); then
    target="cpu:0-$((cores - 2))" draft="cpu:$((cores - 1))"
else
    echo "launch_multi_gpu: one core and no GPU cannot hold two models apart" >&2
    exit 1
fi
target="$(devices "${TARGET:-$target}")"
draft="$(devices "${DRAFT:-$draft}")"

echo "==> target on $target, draft on $draft" >&2
exec "${PYTHON:-python3}" -m amusd serve --launcher local \
    --target-devices "$target" --draft-devices "$draft" "$@"
