"""The job that serves: wait for the cluster's nodes, then `amusd serve` with the other arguments.

ray job submit --no-wait --working-dir . -- python cluster/jobs/service.py --wait-gpus 2 \
    --target-devices cuda:0 --draft-devices cuda:0

It listens on the node where the job runs, the head; `ray job stop` drains it for as long as the cluster's
RAY_JOB_STOP_WAIT_TIME_S says (3 seconds unless set).
"""

import os
import sys
from collections.abc import Sequence

from readiness import read_needs, wait_for_cluster

from amusd.cli import main as amusd


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the service until it is stopped; the exit code of `amusd serve`."""
    needs, rest = read_needs("Serve on a Ray cluster; other arguments go to amusd serve.", arguments)
    address = wait_for_cluster(needs)
    print(f"serving on node {address}; the log says the ports when it is ready", file=sys.stderr, flush=True)
    if "AMUSD_HOST" not in os.environ and "--host" not in rest:
        rest = ["--host", "0.0.0.0", *rest]
    return amusd(["serve", *rest])


if __name__ == "__main__":
    sys.exit(main())
