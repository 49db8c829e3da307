"""Starts stub workers from a plain, unguarded script: `driver.py LAUNCHER ENDING [FAIL]`.

ENDING says what follows: `wait` for a signal, `return` without closing, or `close`.
"""

import json
import sys
import threading

from amusd.devices import DeviceSpec, usable_cores
from amusd.launchers.base import WorkerSpec

name, ending, *fail = sys.argv[1:]
if name == "local":
    from amusd.launchers.local import LocalLauncher as Launcher
else:
    from amusd.launchers.ray import RayLauncher as Launcher

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
    case "wait":
        threading.Event().wait()
    case "close":
        launcher.close()
