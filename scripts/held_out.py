"""The embedded prompts, for the scripts that load a server."""

import json

from amusd.bench.prompts import EMBEDDED_FILE


def held_out_prompts() -> list[str]:
    """Prompts that the embedded models were not trained on."""
    return [json.loads(line)["prompt"] for line in EMBEDDED_FILE.read_text(encoding="utf-8").splitlines()]
