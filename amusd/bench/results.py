"""Everything that one benchmark measured, and its JSON form."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal, Self

from amusd.bench.contenders import Variant
from amusd.bench.runs import Run
from amusd.errors import InputError

FORMAT = 1

Costs = dict[int, list[float]]
"""Rows to milliseconds."""


@dataclass(frozen=True, slots=True)
class Record:
    """One run; see `Run` for what is not explained here.

    Args:
        phase: "tune" while k is chosen, on prompts that are not measured.
        repeat: from 0.
        variant: its key.
        prompt: index into `Results.prompts`.
        tokens: of output.
        joules: of the processor packages during the call; None where they cannot be read.
        digest: of the output's token ids.
    """

    phase: Literal["tune", "measure"]
    repeat: int
    temperature: float
    variant: str
    prompt: int
    tokens: int
    seconds: float
    first_seconds: float
    first_tokens: int
    passes: int
    verified: int
    accepted: int
    extras: dict[str, float]
    counts: dict[str, list[int]]
    joules: float | None
    digest: str

    @classmethod
    def of(
        cls,
        run: Run,
        *,
        phase: Literal["tune", "measure"],
        repeat: int,
        temperature: float,
        variant: Variant,
        prompt: int,
        joules: float | None,
    ) -> Self:
        """The record of a run."""
        values = {name: getattr(run, name) for name in Run.__slots__ if name != "token_ids"}
        return cls(
            phase=phase,
            repeat=repeat,
            temperature=temperature,
            variant=variant.key,
            prompt=prompt,
            tokens=len(run.token_ids),
            joules=joules,
            digest=digest_of(run.token_ids),
            **values,
        )


@dataclass(frozen=True, slots=True)
class PromptFacts:
    """A prompt as it was used; the first `Results.measured` are measured, the others for tuning."""

    name: str
    kind: str
    tokens: int


@dataclass(slots=True)
class Results:
    """One benchmark.

    Args:
        settings: `BenchSettings.to_dict`.
        machine: `machine_facts`.
        excluded: contenders that cannot run here, and why.
        prompts: in order; record.prompt is an index.
        variants: by key.
        engines: by contender, what its processes say about the models that they loaded.
        references: by temperature, for each measured prompt the token ids of the reference output.
        reference: the contender whose output that is; empty where none of ours ran.
        exact: whether our engines' self-checks say that passes agree bit for bit here.
        pass_costs: milliseconds of the target's passes while the draft sleeps.
        busy_pass_costs: by contender, the same while it decodes as it does.
        draft_costs: by draft, milliseconds of its steps while the target sleeps.
        ranks: by draft and temperature, for each measured prompt the ranks of the reference output.
        seconds: how long all of it took.
    """

    settings: dict[str, Any]
    machine: dict[str, Any]
    excluded: dict[str, str] = field(default_factory=dict)
    prompts: list[PromptFacts] = field(default_factory=list)
    variants: dict[str, Variant] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)
    engines: dict[str, str] = field(default_factory=dict)
    references: dict[float, list[list[int]]] = field(default_factory=dict)
    reference: str = ""
    exact: bool = True
    pass_costs: Costs = field(default_factory=dict)
    busy_pass_costs: dict[str, Costs] = field(default_factory=dict)
    draft_costs: dict[str, Costs] = field(default_factory=dict)
    ranks: dict[str, dict[float, list[list[int]]]] = field(default_factory=dict)
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; keys that are numbers become text."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote.

        Raises:
            InputError: it is of another format.
        """
        if values.get("format") != FORMAT:
            raise InputError("format", values.get("format"), f"this version reads results of format {FORMAT}")
        plain: dict[str, Any] = {name: value for name, value in values.items() if name in cls.__slots__}
        return cls(
            **plain
            | {
                "prompts": [PromptFacts(**item) for item in values["prompts"]],
                "variants": {key: Variant(**item) for key, item in values["variants"].items()},
                "records": [Record(**item) for item in values["records"]],
                "references": _by_number(float, values["references"]),
                "pass_costs": _by_number(int, values["pass_costs"]),
                "busy_pass_costs": {
                    name: _by_number(int, costs) for name, costs in values["busy_pass_costs"].items()
                },
                "draft_costs": {
                    name: _by_number(int, costs) for name, costs in values["draft_costs"].items()
                },
                "ranks": {name: _by_number(float, ranks) for name, ranks in values["ranks"].items()},
            }
        )

    def write(self, path: Path, extra: Mapping[str, Any]) -> None:
        """Write the JSON file, with what was made of the values beside them."""
        path.write_text(json.dumps(self.to_dict() | dict(extra), indent=1) + "\n", encoding="utf-8")


def read_results(path: Path) -> Results:
    """Read a results file.

    Raises:
        InputError: it cannot be read as one.
    """
    try:
        return Results.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        problem = f"cannot be read ({type(error).__name__}: {error})"
        raise InputError("results", str(path), f"{problem}; give what amusd bench wrote") from None


def digest_of(token_ids: Sequence[int]) -> str:
    """A short name of an output: equal for equal ids."""
    return blake2b(",".join(map(str, token_ids)).encode(), digest_size=8).hexdigest()


def _by_number(kind: type, values: Mapping[str, Any]) -> dict[Any, Any]:
    return {kind(key): value for key, value in values.items()}
