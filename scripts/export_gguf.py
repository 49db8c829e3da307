"""Write an embedded model, or another Llama, as a GGUF file for llama.cpp.

    python scripts/export_gguf.py demo --widen 12288 --out target.gguf
    python scripts/export_gguf.py demo-large --out draft.gguf

The file holds no tokenizer: prompts go in as token ids. Needs the package `gguf`.
"""

import argparse
import sys
from pathlib import Path

from amusd.bench.gguf_export import export
from amusd.errors import AmusdError


def main() -> int:
    """Export one model; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="demo, demo-small, demo-large, a folder or a hub id")
    parser.add_argument("--dtype", default="auto", choices=["auto", "bfloat16", "float32"])
    parser.add_argument("--widen", type=int, default=0, metavar="NEURONS")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    options = parser.parse_args()
    try:
        export(options.model, "target", options.out, dtype=options.dtype, widen=options.widen)
    except AmusdError as error:
        print(f"export_gguf: {error}", file=sys.stderr)
        return 2
    print(f"{options.out}: {options.out.stat().st_size / 2**20:.1f} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
