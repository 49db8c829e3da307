"""A small benchmark's results, made up: two repeats, two prompts, round numbers."""

from amusd.bench.contenders import Variant
from amusd.bench.results import PromptFacts, Record, Results, digest_of

OUTPUTS = {0.0: [[1, 2, 3, 4], [5, 6, 7, 8]], 1.0: [[2, 2, 2, 2], [9, 9, 9, 9]]}
VARIANTS = {
    # variant: seconds of a prompt in each repeat
    Variant("transformers [target]"): (2.0, 4.0),
    Variant("transformers [all]"): (1.0, 2.0),
    Variant("transformers-assisted, best k [all]", "demo-small", 3): (0.8, 1.6),
    Variant("alone [target]"): (1.0, 2.0),
    Variant("sync", "demo-small", 3): (0.8, 0.8),
    Variant("async", "demo-small"): (0.5, 1.0),
    Variant("async", "demo-large"): (0.4, 0.8),
}
SETTINGS = {
    "target": "demo",
    "widen": 64,
    "dtype": "float32",
    "num_prompts": 2,
    "max_tokens": 4,
    "target_devices": "cpu:0",
    "draft_devices": "cpu:1",
}
MACHINE = {"cpu": "Test CPU", "cpu_flags": ["avx2"]}


def record(variant, repeat, temperature, prompt, seconds, **changes):
    """One run: the reference's output, a quarter of the time until the first token."""
    ours = not variant.contender.startswith("transformers")
    drafted = variant.draft is not None
    values = {
        "phase": "measure",
        "repeat": repeat,
        "temperature": temperature,
        "variant": variant.key,
        "prompt": prompt,
        "tokens": 4,
        "seconds": seconds,
        "first_seconds": seconds / 4,
        "first_tokens": 1,
        "passes": 2 if drafted else 4,
        "verified": 4 if drafted else 0,
        "accepted": 2 if drafted else 0,
        "extras": {"overlap": 0.5, "corrections": 4.0, "foreseen_corrections": 1.0} if ours else {},
        "counts": {"depth_verified": [9, 6, 2], "depth_accepted": [6, 3, 1]} if ours and drafted else {},
        "joules": None,
        "digest": digest_of(OUTPUTS[temperature][prompt]),
    }
    return Record(**values | changes)


def recorded(**changes):
    """The whole; changes are fields of `Results`."""
    records = [
        record(variant, repeat, temperature, prompt, seconds[repeat])
        for temperature in OUTPUTS
        for repeat in (0, 1)
        for variant, seconds in VARIANTS.items()
        for prompt in (0, 1)
    ]
    ranks = [[1, 1, 2, 1], [1, 5, 1, 1]]
    values = {
        "settings": SETTINGS,
        "machine": MACHINE,
        "excluded": {"pearl": "this version of amusd has no mode pearl"},
        "prompts": [PromptFacts("a", "code", 10), PromptFacts("b", "prose", 12)],
        "variants": {variant.key: variant for variant in VARIANTS},
        "records": records,
        "references": OUTPUTS,
        "reference": "alone [target]",
        "pass_costs": {1: [10.0] * 9, 4: [11.0] * 9, 5: [99.0]},
        "busy_pass_costs": {"async": {4: [12.0] * 8}},
        "draft_costs": {"demo-small": {1: [1.0, 2.0, 3.0]}, "demo-large": {1: [4.0], 2: [1.0]}},
        "ranks": {name: dict.fromkeys(OUTPUTS, ranks) for name in ("demo-small", "demo-large")},
        "seconds": 12.0,
    }
    return Results(**values | changes)
