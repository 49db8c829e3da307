"""Measure what lookups take of the target's time and memory.

    python scripts/measure_lookups.py

Prints the median time from a commit to the last guess below it, at the end of held-out prompts that are
committed token by token, and the memory of an n-gram trie that is full.
"""

import argparse
import json
import time
import tracemalloc
from pathlib import Path
from random import Random
from statistics import median

from amusd.drafters.base import Lookup
from amusd.drafters.ngram import NODES_MAX, NgramLookup
from amusd.drafters.prompt_lookup import PromptLookup
from amusd.models import load_tokenizer
from amusd.speculation.messages import RequestId
from amusd.speculation.target import TargetEndpoint
from amusd.workers.lookups import Lookups

PROMPTS = Path(__file__).parent.parent / "amusd" / "models" / "demo" / "prompts.jsonl"
DEPTH = 7  # as `num_speculative_tokens`
US_PER_NS, MB = 1e-3, 1e6
REQUEST = RequestId(1)


def guess_ns(made: list[Lookup], tokens: list[int], read: int, vocabulary_size: int) -> list[int]:
    """How long each guess took, the last tokens being committed one by one after `read` others."""
    endpoint, lookups = TargetEndpoint(1, vocabulary_size), Lookups(made)
    endpoint.on_open(REQUEST, tokens[:read], read, len(tokens), frozenset())
    lookups.open(REQUEST)
    lookups.read(REQUEST, tokens, read)
    found = []
    for token in tokens[read:]:
        begun = time.perf_counter_ns()
        lookups.guess(endpoint, REQUEST, DEPTH)
        found.append(time.perf_counter_ns() - begun)
        verified = endpoint.on_verified(REQUEST, [], [], [token])
        assert verified is not None, "the request goes on to its last token"
        lookups.learn(REQUEST, verified.guesses)
    return found


def full_trie() -> tuple[int, float]:
    """The nodes of a full n-gram lookup, and its megabytes."""
    chance = Random(0)
    tokens = [chance.randrange(2048) for _ in range(NODES_MAX // 3)]  # each adds about four nodes
    tracemalloc.start()
    ngram = NgramLookup()
    ngram.open(REQUEST)
    most = 0
    for start in range(0, len(tokens), 100):
        ngram.follow(REQUEST, tokens[start : start + 100])
        most = max(most, ngram.nodes)
    megabytes = tracemalloc.get_traced_memory()[1] / MB
    tracemalloc.stop()
    return most, megabytes


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prompts", type=int, default=12)
    parser.add_argument("--commits", type=int, default=75, help="of each prompt")
    options = parser.parse_args()
    tokenizer = load_tokenizer("demo", "target")
    lines = PROMPTS.read_text(encoding="utf-8").splitlines()[: options.prompts]
    texts = [tokenizer.encode(json.loads(line)["prompt"]) for line in lines]
    for names in (["prompt-lookup"], ["prompt-lookup", "ngram"]):
        ngram = NgramLookup()
        found = []
        for tokens in texts:
            made: list[Lookup] = [PromptLookup(), ngram] if "ngram" in names else [PromptLookup()]
            found += guess_ns(made, tokens, len(tokens) - options.commits, len(tokenizer))
        print(f"{', '.join(names)}: {median(found) * US_PER_NS:.0f} us, median of {len(found)} commits")
    nodes, megabytes = full_trie()
    print(f"ngram: {nodes} nodes, {megabytes:.0f} MB")


if __name__ == "__main__":
    main()
