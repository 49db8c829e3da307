"""Fail when a process whose environment carries TEST_RUN_OF_AMUSD=MARK is still alive.

Ray's daemons end a moment after the run that started them, hence the deadline.

    python scripts/check_left_behind.py MARK
"""

import sys
import time

import psutil

DEADLINE_S = 15.0


def marked_processes(mark: str) -> list[psutil.Process]:
    """Live processes, this one excepted, that inherited the mark; zombies have ended."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() == psutil.STATUS_ZOMBIE or process.pid == psutil.Process().pid:
                continue
            if process.environ().get("TEST_RUN_OF_AMUSD") == mark:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def describe(process: psutil.Process) -> str:
    """Process id and the start of the command line."""
    try:
        return f"{process.pid} {' '.join(process.cmdline())[:150]}"
    except psutil.NoSuchProcess:
        return f"{process.pid} (has ended since)"


def main(mark: str) -> int:
    """The exit code: 1 when something is still there at the deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while (left := marked_processes(mark)) and time.monotonic() < deadline:
        psutil.wait_procs(left, timeout=0.5)
    for process in left:
        print(f"left behind: {describe(process)}", file=sys.stderr)
    if not left:
        print("none")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
