"""Waiting for a cluster that still grows: an autoscaler adds nodes minutes after the head is up."""

import argparse
import sys
import time
from collections.abc import Sequence

import ray

POLL_SECONDS = 1.0


def read_needs(description: str, arguments: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    """What the job waits for, and the arguments of the command behind it."""
    parser = argparse.ArgumentParser(description=description, allow_abbrev=False)
    parser.add_argument("--wait-nodes", type=int, default=1, metavar="N", help="start when N nodes are up")
    parser.add_argument("--wait-gpus", type=int, default=0, metavar="N", help="start when there are N GPUs")
    parser.add_argument("--wait-seconds", type=float, default=900.0, metavar="S", help="then give up")
    return parser.parse_known_args(arguments)


def wait_for_cluster(needs: argparse.Namespace) -> str:
    """Return this node's address once the cluster has what the job needs.

    Raises:
        SystemExit: it has not within the time.
    """
    ray.init(address="auto", logging_level="error", log_to_driver=False)
    try:
        until = time.monotonic() + needs.wait_seconds
        told = ""
        while True:
            nodes = sum(node["Alive"] for node in ray.nodes())
            gpus = int(ray.cluster_resources().get("GPU", 0))
            if nodes >= needs.wait_nodes and gpus >= needs.wait_gpus:
                return ray.util.get_node_ip_address()
            there = f"{nodes} of {needs.wait_nodes} nodes and {gpus} of {needs.wait_gpus} GPUs are there"
            if time.monotonic() > until:
                sys.exit(f"after {needs.wait_seconds:g} seconds {there}: see `ray status`")
            if there != told:
                told = there
                print(there, file=sys.stderr, flush=True)
            time.sleep(POLL_SECONDS)
    finally:
        ray.shutdown()
