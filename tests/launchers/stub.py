"""A worker without a model: it accepts TCP connections and tells each what its process looks like."""

import json
import os
import socketserver
import sys
import threading

from amusd.errors import InputError, ModelError


class StubWorker:
    def __init__(self, spec):
        facts = {
            "pid": os.getpid(),
            "spec": spec,
            "torch_imported": "torch" in sys.modules,
            "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
            "cuda_visible_devices": os.environ.get("CUDA_VISIBLE_DEVICES"),
            "cores": sorted(os.sched_getaffinity(os.getpid())),
        }

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                self.request.sendall(json.dumps(facts).encode())

        self._server = socketserver.ThreadingTCPServer((spec["options"]["host"], 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        self.address = "{}:{}".format(*self._server.server_address)

    def stop(self):
        self._server.shutdown()
        self._server.server_close()


def run_worker(spec):
    """Start; or fail in the way that the option `fail` names."""
    options = spec["options"]
    match options.get("fail"):
        case None:
            pass
        case "model":
            raise ModelError("no model called nothing; name a folder or a hub id")
        case "input":
            raise InputError("dtype", "int3", "give bfloat16 or float32")
        case "bug":
            raise RuntimeError("the stub has a bug")
        case "exit":
            sys.stderr.write("out of cheese\n")
            sys.stderr.flush()
            os._exit(7)
        case "hang":
            threading.Event().wait()
        case "once-started":  # only a restart fails: `marker` is a file that the first start creates
            if os.path.exists(options["marker"]):
                raise ModelError("the model has gone")
            with open(options["marker"], "x", encoding="utf-8"):
                pass
    return StubWorker(spec)
