#!/usr/bin/env bash
# Generates amusd/rpc from protos/: messages, their type stubs, and the services. The tool's version is
# pinned in pyproject.toml. With --check nothing is written: it fails when the result would differ.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/_environment.sh"

# generate FOLDER: paths below FOLDER are those below protos/, so imports resolve inside the package.
generate() {
    cd "$root/protos"
    find amusd -name '*.proto' -print0 | sort -z | xargs -0 "$python" -m grpc_tools.protoc \
        --proto_path=. --python_out="$1" --pyi_out="$1" --grpc_python_out="$1"
}

"$python" -c 'import grpc_tools' 2>/dev/null || prepare_environment dev

if [[ "${1:-}" == --check ]]; then
    fresh="$(mktemp -d)"
    trap 'rm -rf "$fresh"' EXIT
    generate "$fresh"
    # __init__.py and __pycache__ are not generated; everything else in amusd/rpc must be.
    diff --recursive --exclude=__init__.py --exclude=__pycache__ "$fresh/amusd/rpc" "$root/amusd/rpc" ||
        fail "amusd/rpc is not what protos/ gives; run: bash scripts/generate_protos.sh"
    say "amusd/rpc is what protos/ gives"
elif [[ $# -eq 0 ]]; then
    generate "$root"
    say "generated amusd/rpc"
else
    fail "unknown option $1; usage: bash scripts/generate_protos.sh [--check]"
fi
