"""Count the bytes of the messages between target and draft, per committed token, both directions.

    python scripts/measure_messages.py

Decodes held-out prompts with the target in this process, so that its frames can be counted where they are
encoded and decoded: what gRPC is handed, without HTTP/2's and TCP's own headers (`verify_overlap.py` counts
those too, of all streams).
"""

import argparse
from collections.abc import Callable
from typing import Any

from held_out import held_out_prompts

from amusd import LLM, SamplingParams
from amusd.workers import target, target_engine


class Counter:
    """Bytes and frames of one direction."""

    def __init__(self, name: str, code: Callable[[Any], Any]) -> None:
        self.name, self._code = name, code
        self.bytes = self.frames = 0

    def encode(self, messages: Any) -> Any:
        """Encode a frame and count it."""
        frame = self._code(messages)
        self._count(frame)
        return frame

    def decode(self, frame: Any) -> Any:
        """Count a frame and decode it."""
        self._count(frame)
        return self._code(frame)

    def _count(self, frame: Any) -> None:
        self.frames += 1
        self.bytes += frame.ByteSize()


def main() -> None:
    """Count at temperature 0 and at 1."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prompts", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=150, help="of output per prompt")
    parser.add_argument("--widen", type=int, default=12288, help="FFN neurons of the target")
    options = parser.parse_args()
    proposals = Counter("to the target", target.decode_drafter)
    commits = Counter("to the draft", target_engine.encode_target)
    target.decode_drafter, target_engine.encode_target = proposals.decode, commits.encode
    with LLM(target="demo", draft="demo", widen=options.widen, launcher="inprocess") as llm:
        for temperature in (0.0, 1.0):
            for counter in (proposals, commits):
                counter.bytes = counter.frames = 0
            params = SamplingParams(
                temperature=temperature, seed=7, max_tokens=options.tokens, ignore_eos=True
            )
            tokens = 0
            for prompt in held_out_prompts()[: options.prompts]:
                tokens += len(llm.generate(prompt, params)[0].token_ids)
            parts = [
                f"{counter.bytes / tokens:.0f} bytes in {counter.frames / tokens:.1f} frames {counter.name}"
                for counter in (proposals, commits)
            ]
            total = (proposals.bytes + commits.bytes) / tokens
            print(f"temperature {temperature:g}: {total:.0f} bytes a token ({', '.join(parts)})", flush=True)


if __name__ == "__main__":
    main()
