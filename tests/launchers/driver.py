"""Starts stub workers from a plain, unguarded script: `driver.py LAUNCHER ENDING [FAIL]`.

ENDING says what follows: `wait` for a signal, `exit-on-term` (the same, but SIGTERM ends the script as
`sys.exit` does), `return` without closing, or `close`.
"""

import json
import signal
import sys
import threading

from amusd.devices import DeviceSpec, usable_cores
from amusd.launchers.base import WorkerSpec

name, ending, *fail = sys.argv[1:]
if name == "local":
    from amusd.launchers.local import LocalLauncher as Launcher
else:
    from amusd.launchers.ray import RayLauncher as Launcher

if ending == "exit-on-term":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
cores = usable_cores()
options = {"entry": "tests.launchers.stub:run_worker", **({"fail": fail[0]} if fail else {})}
launcher = Launcher()
launcher.start(
    [
        WorkerSpec("target", 0, DeviceSpec("cpu", cores[:1]), cores[-1:], options),
        WorkerSpec("draft", 0, DeviceSpec("cpu", cores[-1:]), cores[-1:], options),
    ]
)
sys.stdout.write(json.dumps({role: launcher.pid(role, 0) for role in ("target", "draft")}) + "\n")
sys.stdout.flush()
match ending:
    case "wait" | "exit-on-term":
        threading.Event().wait()
    case "close":
        launcher.close()
