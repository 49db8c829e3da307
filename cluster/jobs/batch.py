"""The job that decodes a file: wait for the cluster's nodes, then `amusd batch` with the other arguments.

ray job submit --working-dir . -- python cluster/jobs/batch.py --wait-gpus 2 \
    /shared/prompts.jsonl /shared/results.jsonl --target-devices cuda:0 --draft-devices cuda:0

Submitted again after a failure, it goes on behind the results that are there.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from readiness import read_needs, wait_for_cluster

from amusd.cli import main as amusd


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job; the exit code of `amusd batch`."""
    needs, rest = read_needs("Decode a file on a Ray cluster; other arguments go to amusd batch.", arguments)
    copy = Path.cwd()
    for path in rest[1:2]:
        if "working_dir_files" in copy.parts and Path(path).resolve().is_relative_to(copy):
            sys.exit(f"output: {path}: {copy} is removed after the job; give a path on storage that stays")
    wait_for_cluster(needs)
    return amusd(["batch", *rest])


if __name__ == "__main__":
    sys.exit(main())
