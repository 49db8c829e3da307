#!/usr/bin/env bash
# The benchmark on a machine with one GPU: draft beside the target on it, and draft on a CPU core.
#
#   bash scripts/bench_gpu.sh [FOLDER]      results, doctor's report and versions go there (gpu-results)
#
# Needs neither Ray nor a network; $PYTHON (python3) has to have torch, transformers, grpcio, msgpack and the
# other packages of pyproject.toml with its extra `bench`. $TARGET and $DRAFTS name other devices, $WIDEN the
# FFN neurons of the target; further settings of `amusd bench` go into $OPTIONS.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
folder="$(realpath -m "${1:-gpu-results}")"
python="${PYTHON:-python3}"
target="${TARGET:-cuda:0}"
last_core=$(($(nproc) - 1))
drafts="${DRAFTS:-cuda:0 cpu:$last_core}"
read -ra options <<<"${OPTIONS:-}"
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"

mkdir -p "$folder"
command -v nvidia-smi >/dev/null && nvidia-smi >"$folder/nvidia-smi.txt"
for draft in $drafts; do
    place="$folder/draft-on-${draft/:/-}"
    mkdir -p "$place"
    sharing=()
    [[ "$draft" != "$target" ]] || sharing=(--share-gpu)
    echo "==> target on $target, draft on $draft: $place"
    "$python" -m amusd doctor --launcher local "${sharing[@]}" \
        --target-devices "$target" --draft-devices "$draft" | tee "$place/doctor.txt"
    "$python" -m amusd bench --target-devices "$target" --draft-devices "$draft" \
        --widen "${WIDEN:-262144}" --out "$place" "${options[@]}" | tee "$place/bench.txt"
done
