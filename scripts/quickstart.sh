#!/usr/bin/env bash
# Sets everything up in .venv, then decodes one prompt twice under Ray with the embedded models: with
# the target alone, and with the draft running ahead on a device of its own. Options go to the job:
#   bash scripts/quickstart.sh [--max-tokens N] [--temperature T] [--prompt TEXT] ...
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/_environment.sh"

prepare_environment
say "decoding one prompt with the target alone, then together with its draft"
exec "$python" "$root/cluster/jobs/quickstart.py" "$@"
