#!/usr/bin/env bash
# Everything that a change must pass. Options go to pytest:
#   bash scripts/test.sh [-x] [tests/cli] ...
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/_environment.sh"

prepare_environment test,dev,serve,bench
cd "$root"

say "lint (ruff)"
"$python" -m ruff check .
say "types (mypy)"
"$python" -m mypy
say "layers (import-linter)"
"$root/.venv/bin/lint-imports"
say "generated code (scripts/generate_protos.sh --check)"
bash scripts/generate_protos.sh --check
say "tests (pytest)"
# Every process that the tests start inherits the mark, so whatever outlives them is found by it.
mark="$$-$(date +%s)"
status=0
TEST_RUN_OF_AMUSD="$mark" "$python" -m pytest "$@" || status=$?
say "processes left behind"
"$python" scripts/check_left_behind.py "$mark" || status=1
if ((status)); then
    fail "the tests did not pass (exit code $status)"
fi
say "all checks passed"
