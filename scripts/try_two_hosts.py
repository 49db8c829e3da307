"""Run target and draft in two network namespaces with a slow link between them, and cut it in mid-request.

    sudo unshare --net .venv/bin/python scripts/try_two_hosts.py --delay-ms 20 --cut-seconds 4

Needs root, `ip` (Debian: iproute2) and /dev/net/tun. `unshare` gives it a namespace for the target and the
coordinator, away from the machine's own network; it makes another for the draft. The link is a pair of TUN
devices whose packets this script carries over, each after the delay (the kernel needs no netem); while the
link is cut packets are lost. Workers and coordinator are started by hand as docs/deploy.md says. Every text
is compared with that without drafts. Exits with 1 when one differs, or when no drafts were used before the
cut or after it.
"""

import argparse
import fcntl
import os
import select
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from held_out import held_out_prompts

from amusd import Client, SamplingParams
from amusd.devices import available, default_devices

NEAR, FAR, NAMESPACE = "10.0.0.1", "10.0.0.2", f"amusd-far-{os.getpid()}"
DEVICES = ("amusd-near", "amusd-far")
PACKET_BYTES_MAX = 65535
TUN, TUN_WITHOUT_HEADER, SET_TUN = 0x0001, 0x1000, 0x400454CA  # of linux/if_tun.h
ATTACH_SECONDS_MAX = 60.0
START_SECONDS_MAX = 120.0
WARM = SamplingParams(temperature=0, max_tokens=64, ignore_eos=True)


class SlowLink(threading.Thread):
    """Carries packets between two TUN devices, each after a delay, or loses them while the link is cut.

    Args:
        ends: file descriptors of the devices.
        delay_seconds: in each direction.
    """

    def __init__(self, ends: tuple[int, int], delay_seconds: float) -> None:
        super().__init__(name="slow-link", daemon=True)
        self.is_cut = False
        self._ends = ends
        self._delay_seconds = delay_seconds
        self._under_way: deque[tuple[float, int, bytes]] = deque()  # when, where to, what; in order of time

    def run(self) -> None:
        """Until the devices go."""
        near, far = self._ends
        try:
            while True:
                self._carry(near, far)
        except OSError as error:
            print(f"the link has ended: {error}", flush=True)  # as it does when the namespace goes

    def _carry(self, near: int, far: int) -> None:
        wait = max(0.0, self._under_way[0][0] - time.monotonic()) if self._under_way else None
        for end in select.select(self._ends, (), (), wait)[0]:
            packet = os.read(end, PACKET_BYTES_MAX)
            if not self.is_cut:
                arrival = time.monotonic() + self._delay_seconds
                self._under_way.append((arrival, far if end == near else near, packet))
        while self._under_way and self._under_way[0][0] <= time.monotonic():
            _, end, packet = self._under_way.popleft()
            os.write(end, packet)


def ip(*arguments: str) -> None:
    """Run `ip`."""
    subprocess.run(["ip", *arguments], check=True)


@contextmanager
def slow_link(delay_seconds: float) -> Iterator[SlowLink]:
    """The namespace and a link to it, both gone at the end."""
    ends = []
    for device in DEVICES:
        end = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(end, SET_TUN, struct.pack("16sH22x", device.encode(), TUN | TUN_WITHOUT_HEADER))
        ends.append(end)
    ip("netns", "add", NAMESPACE)
    try:
        ip("link", "set", DEVICES[1], "netns", NAMESPACE)
        for where, device, here, there in (
            ((), DEVICES[0], NEAR, FAR),
            (("-n", NAMESPACE), DEVICES[1], FAR, NEAR),
        ):
            ip(*where, "address", "add", here, "peer", there, "dev", device)
            ip(*where, "link", "set", device, "up")
        ip("link", "set", "lo", "up")
        ip("-n", NAMESPACE, "link", "set", "lo", "up")
        link = SlowLink((ends[0], ends[1]), delay_seconds)
        link.start()
        yield link
    finally:
        ip("netns", "delete", NAMESPACE)


@contextmanager
def amusd(log: Path, *arguments: str, far: bool = False) -> Iterator[None]:
    """One process of ours, on this side or on the far one; what it says goes to the log."""
    place = ("ip", "netns", "exec", NAMESPACE) if far else ()
    command = [*place, sys.executable, "-m", "amusd", *arguments]
    print(f"{'far ' if far else 'near'}  amusd {' '.join(arguments)}", flush=True)
    with log.open("w", encoding="utf-8") as written:
        process = subprocess.Popen(command, stderr=written)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


def wait_until_ready(address: str) -> None:
    """Return once the coordinator has decoded a first token.

    Raises:
        OSError: it has not within a time that is enough to load the embedded models.
    """
    until = time.monotonic() + START_SECONDS_MAX
    while True:
        try:
            urllib.request.urlopen(f"{address}/health", timeout=5).close()
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)
        else:
            return


def wait_until_drafts_are_used(client: Client, prompt: str) -> float:
    """Seconds until a request has accepted drafts.

    Raises:
        SystemExit: none had for a minute.
    """
    began = time.monotonic()
    while time.monotonic() < began + ATTACH_SECONDS_MAX:
        [output] = client.generate(prompt, WARM)
        if output.metrics.accepted:
            return time.monotonic() - began
    sys.exit(f"no drafts were used for {ATTACH_SECONDS_MAX:g} seconds")


def decode(client: Client, link: SlowLink, prompt: str, params: SamplingParams, cut_seconds: float) -> str:
    """Stream one answer; the link is cut after a third of it, for some seconds."""
    text, seen, pieces, largest, accepted = "", 0, 0, 0.0, 0
    restore, before, was_cut = threading.Timer(cut_seconds, setattr, (link, "is_cut", False)), 0, False
    last = began = time.monotonic()
    for chunk in client.stream(prompt, params):
        now = time.monotonic()
        largest, last = max(largest, now - last), now
        text, seen, pieces = text + chunk.text, seen + len(chunk.token_ids), pieces + 1
        if cut_seconds and not was_cut and seen > params.max_tokens / 3:
            was_cut = link.is_cut = True
            restore.start()
        if link.is_cut:
            before += len(chunk.token_ids)
        if chunk.finished is not None:
            accepted = chunk.finished.metrics.accepted
    during = f", {before} of them while the link was cut" if was_cut else ""
    print(
        f"{seen} tokens in {now - began:.1f} s{during}; {accepted} accepted from the draft,"
        f" longest pause {largest * 1e3:.0f} ms",
        flush=True,
    )
    if was_cut:
        restore.join()
    return text


def run(options: argparse.Namespace, link: SlowLink, client: Client) -> int:
    """Three answers: before, across and after the cut."""
    prompt = held_out_prompts()[0]
    params = SamplingParams(temperature=0.7, seed=7, max_tokens=options.max_tokens, ignore_eos=True)
    [alone] = client.generate(prompt, params, speculative=False)
    print(f"drafts are used {wait_until_drafts_are_used(client, prompt):.1f} s after the start")
    trips = {
        name: f"{worker['round_trip_seconds'] * 1e3:.1f} ms"
        for name, worker in client.info()["workers"].items()
        if worker.get("round_trip_seconds")
    }
    print(f"round trips of the coordinator: {trips}")
    texts = {"before": decode(client, link, prompt, params, 0.0)}
    texts["across the cut"] = decode(client, link, prompt, params, options.cut_seconds)
    print(f"drafts are used {wait_until_drafts_are_used(client, prompt):.1f} s after the answer")
    texts["after"] = decode(client, link, prompt, params, 0.0)
    wrong = [when for when, text in texts.items() if text != alone.text]
    print(f"texts other than the target's own: {', '.join(wrong) or 'none'}")
    return int(bool(wrong))


def main() -> int:
    """Build the link, start everything, decode."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--delay-ms", type=float, default=20.0, help="in each direction")
    parser.add_argument("--cut-seconds", type=float, default=4.0)
    parser.add_argument("--max-tokens", type=int, default=800)
    parser.add_argument("--draft", default="demo-large")
    options = parser.parse_args()
    if subprocess.run(["ip", "route"], check=True, capture_output=True).stdout:
        parser.error("this is the machine's own network: start it with `unshare --net`, as above")
    target, (draft,) = default_devices(available())
    pair, logs = ("--draft", options.draft), Path(tempfile.mkdtemp())
    print(f"logs: {logs}")
    targets, drafts = f"{NEAR}:9001", f"{FAR}:9002"
    with ExitStack() as stack:
        link = stack.enter_context(slow_link(options.delay_ms / 1e3))
        here = amusd(
            logs / "target", "worker", "target", "--listen", targets, "--devices", str(target), *pair
        )
        stack.enter_context(here)
        there = ("worker", "draft", "--listen", drafts, "--connect", targets, "--devices", str(draft), *pair)
        stack.enter_context(amusd(logs / "draft", *there, far=True))
        addresses = ("--target-address", targets, "--draft-address", drafts)
        stack.enter_context(amusd(logs / "coordinator", "coordinator", *addresses, *pair))
        wait_until_ready("http://127.0.0.1:8000")
        client = stack.enter_context(Client("127.0.0.1:8001", timeout_seconds=300))
        return run(options, link, client)


if __name__ == "__main__":
    sys.exit(main())
