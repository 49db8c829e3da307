#!/usr/bin/env python3
"""Run an amusd command as a job on a Ray cluster, follow its log, and exit as it does.

    python scripts/submit_job.py -- python -m amusd batch prompts.jsonl /shared/results.jsonl --seed 7
    python scripts/submit_job.py --address http://head:8265 --no-wait -- python cluster/jobs/service.py

The repository (or --working-dir) travels to the cluster, without what .gitignore and .rayignore name. What
`ray job submit --working-dir . -- COMMAND` does, plus an exit code, and Ctrl-C stops the job.
Exit codes: 0 done, 1 failed, 2 wrong use or an address where no Ray answers, 130 stopped by Ctrl-C.
"""

import argparse
import asyncio
import logging
import os
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ray.job_submission import JobStatus, JobSubmissionClient

ROOT = Path(__file__).resolve().parent.parent
ADDRESS = os.environ.get("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:8265")
POLL_SECONDS = 0.5
AGENT_SECONDS_MAX = 180.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Submit, follow, and return the exit code."""
    options = read_options(arguments)
    logging.disable(logging.WARNING)  # of the upload Ray tells a line a folder
    try:
        client = JobSubmissionClient(options.address)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        print(f"submit_job: no Ray answers at {options.address} ({reason}); give --address", file=sys.stderr)
        return 2
    job = submit(client, options)
    print(f"submitted {job}: {shlex.join(options.command)}", file=sys.stderr)
    if options.no_wait:
        print(job)
        return 0
    try:
        asyncio.run(follow(client, job))
        return finish(client, job)
    except KeyboardInterrupt:
        client.stop_job(job)
        print(f"stopped {job}", file=sys.stderr)
        return 130
    except OSError as error:
        reason = " ".join(str(error).split())[:200]
        print(f"submit_job: lost sight of {job}, which may go on ({reason})", file=sys.stderr)
        return 1


def submit(client: JobSubmissionClient, options: argparse.Namespace) -> str:
    """Hand the job over; a head that has just started takes none for some seconds, and is asked again."""
    until = time.monotonic() + AGENT_SECONDS_MAX
    while True:
        try:
            return client.submit_job(
                entrypoint=shlex.join(options.command),
                submission_id=options.id,
                runtime_env={"working_dir": str(options.working_dir)},
            )
        except RuntimeError as error:
            if "No available agent" not in str(error) or time.monotonic() > until:
                raise
        time.sleep(POLL_SECONDS)


async def follow(client: JobSubmissionClient, job: str) -> None:
    """Print the job's log until it ends."""
    async for lines in client.tail_job_logs(job):
        print(lines, end="", flush=True)


def finish(client: JobSubmissionClient, job: str) -> int:
    """The exit code for the job's end, which its log may precede a little."""
    while not (status := client.get_job_status(job)).is_terminal():
        time.sleep(POLL_SECONDS)
    if status is JobStatus.SUCCEEDED:
        return 0
    print(f"{job} {status.lower()}: {client.get_job_info(job).message}", file=sys.stderr)
    return 1


def read_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Options before `--`, the command after it."""
    parser = argparse.ArgumentParser(
        description="Run an amusd command as a job on a Ray cluster.",
        usage="%(prog)s [options] -- COMMAND [ARGUMENT ...]",
    )
    parser.add_argument("--address", default=ADDRESS, help="of Ray's dashboard (default: %(default)s)")
    parser.add_argument("--working-dir", type=Path, default=ROOT, help="what travels (default: %(default)s)")
    parser.add_argument("--id", help="of the job; Ray makes one up")
    parser.add_argument("--no-wait", action="store_true", help="print the job's id and leave it running")
    parser.add_argument("command", nargs="+", help="runs in the working directory, on the cluster's head")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
